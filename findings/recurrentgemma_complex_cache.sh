#!/usr/bin/env bash
# A complex RG-LRU of recurrentgemma cannot go on: with a state it forgets what is imaginary.
#
# One would guess: RGLRU(only_real=False) in JAX, given the state that it returned, goes on
# where it ended, so that two halves of a sequence give what the whole gives, as they do
# with only_real=True.
#
# What happens: its scan takes the dtype to add up in from the state. For a state of native
# complex numbers that is float32 (get_acc_dtype returns the real dtype, which is meant for
# the package's own Complex class), so the inputs and the decays are cast to float32 too and
# lose their imaginary parts: nothing turns any more, and only what the state had of
# imaginary numbers fades. From a state of zeros every imaginary output is zero. Without a
# state, as in training, all is right. No error; JAX does not warn of the cast.
#
# Seen with recurrentgemma 1.0.1, jax 0.10.2, flax 0.12.8, Python 3.11; jax/pallas.py,
# jax/scan.py.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q recurrentgemma==1.0.1 jax==0.10.2 flax==0.12.8

cat > halves.py <<'END'
import jax
import jax.numpy as jnp
import numpy as np
from recurrentgemma.jax.layers import RGLRU

xs = jnp.asarray(np.random.default_rng(0).normal(size=(1, 12, 8)), jnp.float32)
position = jnp.arange(12)[None]

for only_real in (True, False):
    layer = RGLRU(width=8, num_heads=2, only_real=only_real)
    params = layer.init(jax.random.key(0), xs, position)
    whole, _ = layer.apply(params, xs, position)
    first, state = layer.apply(params, xs[:, :6], position[:, :6])
    second, _ = layer.apply(params, xs[:, 6:], position[:, 6:], state)
    assert abs(whole[:, :6] - first).max() < 1e-6
    gap = float(abs(whole[:, 6:] - second).max())
    print(f"only_real={only_real}: the second half is off by {gap:.2g}")
    if only_real:
        assert gap < 1e-6
    else:
        assert gap > 0.1
        zeros, _ = layer.apply(params, xs[:, 6:], position[:, 6:], 0 * state)
        none, _ = layer.apply(params, xs[:, 6:], position[:, 6:])
        sizes = [float(abs(ys[..., 4:]).max()) for ys in (zeros, none)]
        print("imaginary outputs are at most {} from zeros, {:.2g} without".format(*sizes))
        assert sizes[0] == 0
        assert sizes[1] > 0.1
END
env/bin/python -W ignore halves.py
echo "as described"
