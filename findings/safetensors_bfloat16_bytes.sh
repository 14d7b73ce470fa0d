#!/usr/bin/env bash
# safetensors reads bfloat16 weights of a JAX model from a file and not from bytes.
#
# One would guess: load(bytes) of safetensors.flax and load_file(path) are one reader, and
# what save() writes, load() reads. bfloat16 is the usual dtype of JAX weights.
#
# What happens: save() writes a good file of dtype BF16; load() of these very bytes raises
# KeyError: 'BF16', in safetensors.flax and in safetensors.numpy, while load_file() of the
# same bytes on disk gives the bfloat16 array back in both.
# load() looks the dtype up in a table of NumPy's own types, load_file() goes another way.
#
# Seen with safetensors 0.8.0, jax 0.10.2, ml_dtypes 0.6.0; safetensors/numpy.py (_TYPES).
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q safetensors==0.8.0 jax==0.10.2 jaxlib==0.10.2 ml_dtypes==0.6.0 \
  numpy==2.4.6 flax==0.12.8

cat > read.py <<'END'
import jax.numpy as jnp
import numpy as np
import safetensors.flax
import safetensors.numpy

for module, array in ((safetensors.flax, jnp.arange), (safetensors.numpy, np.arange)):
    for dtype in ("float32", "bfloat16"):
        weights = {"w_x": array(4).astype(jnp.dtype(dtype))}
        data = module.save(weights)
        path = f"{module.__name__}.{dtype}"
        module.save_file(weights, path)
        assert open(path, "rb").read() == data
        back = module.load_file(path)["w_x"]
        assert back.dtype == weights["w_x"].dtype and (back == weights["w_x"]).all()
        try:
            result = f"{module.load(data)['w_x'].dtype}"
        except KeyError as error:
            result = f"KeyError: {error}"
        print(f"{module.__name__}, {dtype}: load_file {back.dtype}, load {result}")
        assert result.startswith("KeyError") == (dtype != "float32")
END
JAX_PLATFORMS=cpu env/bin/python read.py
echo "as described"
