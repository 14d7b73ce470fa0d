#!/usr/bin/env bash
# The CTC loss of a label that does not fit into the input is about 100,000 in optax.
#
# One would guess: a label longer than the sequence of frames, or one that fits only without
# the blanks between its repeated letters, has no path at all; the loss is infinite, as in
# PyTorch and by the formula, so such an example in a batch is seen at once.
#
# What happens: log(0) is -100,000 throughout, so the loss is 100,000 and a bit, a finite
# number that a mean over a batch hides well, and the gradient is finite and not zero: it
# trains on a path that crosses a forbidden step. One must compare lengths, repeats
# included, oneself.
#
# Seen with optax 0.2.8 and jax 0.10.2, against a sum over all the paths; ctc_loss's
# log_epsilon in optax/losses/_classification.py.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q jax==0.10.2 jaxlib==0.10.2 optax==0.2.8

cat > ctc.py <<'END'
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax

T, K = 3, 4
logits = np.random.default_rng(0).normal(size=(T, K)).astype(np.float32)
probabilities = np.asarray(jax.nn.softmax(logits, axis=-1), np.float64)


def over_paths(label):
    """Minus the log of the probability of all the paths of length T that spell the label."""
    total = 0.0
    for path in itertools.product(range(K), repeat=T):
        if [k for k, _ in itertools.groupby(path) if k] == label:
            total += np.prod(probabilities[np.arange(T), list(path)])
    return -np.log(total) if total else np.inf


def loss(logits, label):
    return optax.ctc_loss(
        logits[None], jnp.zeros((1, T)), jnp.array([label]), jnp.zeros((1, len(label)))
    )[0]


for label in ([1, 2], [1, 1], [1, 1, 2], [1, 2, 3, 1]):
    right, value = over_paths(label), float(loss(jnp.array(logits), label))
    gradient = np.asarray(jax.grad(loss)(jnp.array(logits), label))
    print(f"{label} in {T} frames: by the formula {right:.4f}, optax {value:.4f}, "
          f"gradient of size {np.abs(gradient).sum():.2f}")
    if np.isfinite(right):
        assert abs(value - right) < 1e-4
    else:
        assert 1e5 <= value < 1.1e5 and np.isfinite(gradient).all() and gradient.any()
END
JAX_PLATFORMS=cpu env/bin/python ctc.py
echo "as described"
