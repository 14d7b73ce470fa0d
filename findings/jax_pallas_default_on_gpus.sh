#!/usr/bin/env bash
# The same `pallas_call` without parameters is a Mosaic kernel in jax 0.10 and a Triton
# kernel in jax 0.12, and each version calls its own choice deprecated.
#
# One would guess: a kernel that names no back end goes to the one that JAX recommends, and
# a move from one default to another goes one way.
#
# What happens on GPUs: jax 0.10.2 lowers it for Mosaic GPU and warns that `pallas_call` for
# Mosaic GPU is deprecated (use `plgpu.kernel`). jax 0.12.0 lowers it for Triton and warns
# that the Triton back end is deprecated (use Mosaic GPU); there, parameters of Mosaic GPU
# for `pallas_call` fail with an AssertionError that has no message. Whoever names the
# Triton back end, `compiler_params=triton.CompilerParams()`, gets the same program in both,
# without a warning in 0.10.2 and with one in 0.12.0. One more difference: 0.12.0 lowers for
# Triton only if it knows the GPU, from a device or from an abstract one.
#
# Seen with jax 0.10.2 and 0.12.0.1; jax/_src/pallas/pallas_call.py. Needs no GPU. The
# package absl-py is for `jax.experimental.pallas.mosaic_gpu`, which jax does not declare.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat > lower.py <<'END'
import warnings

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu, triton
from jax.sharding import AbstractDevice, AbstractMesh, use_abstract_mesh


def double(x, y):
    y[...] = 2 * x[...]


def tell(name, **options):
    x = jax.ShapeDtypeStruct((128,), jnp.float32)
    program = jax.jit(pl.pallas_call(double, out_shape=x, **options)).trace(x)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            text = program.lower(lowering_platforms=("cuda",)).as_text()
            what = "triton" if "triton" in text else "mosaic"
        except Exception as error:
            what = f"{type(error).__name__} {str(error)[:29]!r}"
    texts = [str(w.message) for w in said if "Pallas" in str(w.message) or "pallas" in str(w.message)]
    print(f"{name}: {what}; {'deprecated' if any('deprecated' in t for t in texts) else 'no warning'}")


print("jax", jax.__version__)
tell("no device, triton", compiler_params=triton.CompilerParams())
device = AbstractDevice(device_kind="NVIDIA H100 80GB HBM3", num_cores=132, platform="cuda")
with use_abstract_mesh(AbstractMesh((), (), abstract_device=device)):
    tell("no parameters")
    tell("triton", compiler_params=triton.CompilerParams())
    tell("mosaic", compiler_params=mosaic_gpu.CompilerParams())
END

for version in 0.10.2 0.12.0.1; do
  python3.12 -m venv "$version"
  "$version/bin/pip" install -q "jax==$version" "jaxlib==$version" absl-py
  JAX_PLATFORMS=cpu "$version/bin/python" lower.py | tee "$version.txt"
done

grep -qx "no device, triton: triton; no warning" 0.10.2.txt
grep -qx "no parameters: mosaic; deprecated" 0.10.2.txt
grep -qx "triton: triton; no warning" 0.10.2.txt
grep -qx "mosaic: mosaic; no warning" 0.10.2.txt
grep -qx "no device, triton: RuntimeError 'No supported GPU devices foun'; deprecated" 0.12.0.1.txt
grep -qx "no parameters: triton; deprecated" 0.12.0.1.txt
grep -qx "triton: triton; deprecated" 0.12.0.1.txt
grep -qx "mosaic: AssertionError ''; no warning" 0.12.0.1.txt
echo "as described"
