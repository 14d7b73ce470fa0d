#!/usr/bin/env bash
# unroll=True takes zero_output_for_mask away from a Keras layer on JAX.
#
# One would guess: unroll=True, which the documentation calls a matter of speed and memory,
# gives the numbers of unroll=False, and zero_output_for_mask=True gives zeros at the masked
# steps in both.
#
# What happens with the JAX backend: unrolled, the layer ignores zero_output_for_mask and
# repeats the output of the step before. Bidirectional sets zero_output_for_mask on its two
# layers unasked, so there one keyword changes the outputs at every masked step, and a sum
# or mean over time that counted on the zeros changes too. Final states do not differ.
#
# Seen with keras 3.15.1 and jax 0.10.2; keras/src/backend/jax/rnn.py.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q keras==3.15.1 jax==0.10.2 jaxlib==0.10.2

cat > unrolled.py <<'END'
import keras
import numpy as np

x = np.ones((1, 5, 2), np.float32)
mask = np.array([[True, True, False, True, False]])


def outputs(make, weights=None):
    layer = make()
    layer.build(x.shape)
    if weights is not None:
        layer.set_weights(weights)
    return np.asarray(layer(x, mask=mask))[0], layer.get_weights()


for name in ("SimpleRNN", "GRU", "LSTM"):
    kind = getattr(keras.layers, name)
    options = {"return_sequences": True, "zero_output_for_mask": True}
    loop, weights = outputs(lambda: kind(3, **options))
    unrolled, _ = outputs(lambda: kind(3, unroll=True, **options), weights)
    print(name, "sizes of the outputs:", np.abs(loop).sum(-1).round(2), "unrolled",
          np.abs(unrolled).sum(-1).round(2))
    assert np.all(loop[~mask[0]] == 0) and np.allclose(loop[mask[0]], unrolled[mask[0]], atol=1e-6)
    assert np.array_equal(unrolled[2], unrolled[1]) and np.array_equal(unrolled[4], unrolled[3])

both = lambda **more: keras.layers.Bidirectional(keras.layers.GRU(3, return_sequences=True, **more))
loop, weights = outputs(both)
unrolled, _ = outputs(lambda: both(unroll=True), weights)
print("Bidirectional GRU, sum over time of the first unit:", loop[:, 0].sum(), "unrolled",
      unrolled[:, 0].sum())
assert np.all(loop[~mask[0]] == 0) and np.all(unrolled[~mask[0]].any(-1))
END
KERAS_BACKEND=jax JAX_PLATFORMS=cpu env/bin/python unrolled.py
echo "as described"
