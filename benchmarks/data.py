"""Weights and inputs in a neutral layout, and the check that work is equal.

Each system converts the weights to its own convention. Products are written `x @ w_x`,
gates stand in the order i, f, g, o (LSTM) or r, z, n (GRU), and there is one bias.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.cases import CLASSES, GATES, Case

# Of a GRU: what a peer that computes another function is held against.
NO_INNER_BIAS = "no inner bias"  # no b_h
RESET_BEFORE = "reset before"  # the reset gate acts before the product, and no b_h


class Block(NamedTuple):
    """The weights of one direction of one layer; G is the number of gates times H."""

    w_x: Any  # [D, G]
    w_h: Any  # [H, G]
    b: Any  # [G]
    b_h: Any = None  # [H], GRU: added to h w_h of gate n, inside the reset


class Weights(NamedTuple):
    """The weights of a model."""

    layers: tuple[tuple[Block, ...], ...]  # for each layer, for each direction
    w: Any  # [directions * H, K]
    b: Any  # [K]


class Data(NamedTuple):
    """All that a case starts from."""

    weights: Weights
    xs: np.ndarray  # [B, T, D]
    labels: np.ndarray  # [B]


class Reference(NamedTuple):
    """What a system has to arrive at."""

    logits: np.ndarray  # [B, K]
    loss: np.ndarray  # []
    after: Weights  # after one training step


def make(case: Case, variant: str = "") -> Data:
    """The start of a case, the same in every process.

    Args:
      case: the case.
      variant: "", `NO_INNER_BIAS` or `RESET_BEFORE`.

    Returns:
      float32 arrays, whatever the dtype of the case.
    """
    random = np.random.default_rng(0)
    B, T, D, H = case.sizes
    bound = 1 / np.sqrt(H)

    def uniform(*shape):
        return random.uniform(-bound, bound, shape).astype(np.float32)

    gates = GATES[case.cell] * H
    inner = case.cell == "gru" and not variant
    layers = tuple(
        tuple(
            Block(
                uniform(D_layer, gates),
                uniform(H, gates),
                uniform(gates),
                uniform(H) if inner else None,
            )
            for _ in range(case.directions)
        )
        for D_layer in case.layer_inputs
    )
    weights = Weights(layers, uniform(case.directions * H, CLASSES), uniform(CLASSES))
    xs = random.standard_normal((B, T, D)).astype(np.float32)
    return Data(weights, xs, random.integers(0, CLASSES, B).astype(np.int32))


def save(path: Path, reference: Reference) -> None:
    """Writes a reference as .npz."""
    arrays: dict[str, Any] = {"logits": reference.logits, "loss": reference.loss}
    arrays |= {f"after_{i}": a for i, a in enumerate(_leaves(reference.after))}
    np.savez(path, **arrays)


def load(path: Path, like: Weights) -> Reference:
    """Reads a reference whose weights have the structure of `like`."""
    with np.load(path, allow_pickle=False) as file:
        arrays = iter([file[f"after_{i}"] for i in range(len(_leaves(like)))])

        def block(old: Block) -> Block:
            return Block(*(None if a is None else next(arrays) for a in old))

        layers = tuple(tuple(map(block, layer)) for layer in like.layers)
        after = Weights(layers, next(arrays), next(arrays))
        return Reference(file["logits"], file["loss"], after)


def _leaves(weights: Weights) -> list[np.ndarray]:
    blocks = [a for layer in weights.layers for b in layer for a in b if a is not None]
    return [*blocks, weights.w, weights.b]


def logits_errors(logits: Any, reference: Reference) -> dict[str, float]:
    """The largest error of the logits, against the largest logit."""
    logits = np.asarray(logits, np.float64)
    difference = np.abs(logits - reference.logits).max()
    return {"logits": float(difference / np.abs(reference.logits).max())}


def loss_error(loss: float, reference: Reference) -> dict[str, float]:
    """The relative error of the loss."""
    return {"loss": abs(float(loss) - float(reference.loss)) / float(reference.loss)}


def update_errors(
    before: list[Any], after: list[Any], expected: list[Any], dtype: str
) -> dict[str, float]:
    """The largest error of the change of a weight array, against its largest change.

    Args:
      before: the system's own arrays.
      after: after one training step of the program that will be timed.
      expected: the reference's weights after it, in the system's layout; NaN where
        nothing is expected, as in a second bias that only doubles the first.
      dtype: of the case; an error below its rounding does not count.

    Returns:
      The error under "update".
    """
    worst = 0.0
    epsilon = 2.0**-23 if dtype == "float32" else 2.0**-7
    for old, new, goal in zip(before, after, expected, strict=True):
        old, new, goal = (np.asarray(a, np.float64) for a in (old, new, goal))
        if old.shape != new.shape or old.shape != goal.shape:
            raise ValueError(f"shapes differ: {old.shape}, {new.shape}, {goal.shape}")
        kept = ~np.isnan(goal)
        if not kept.any():
            continue
        rounding = 4 * epsilon * np.abs(old[kept]).max()
        error = np.abs(new[kept] - goal[kept]).max()
        scale = np.abs(goal[kept] - old[kept]).max() + rounding
        error = max(error - rounding, 0.0) if np.isfinite(error) else error
        worst = max(worst, error / scale) if np.isfinite(error) else np.inf
    return {"update": float(worst)}


def tolerances(dtype: str, platform: str) -> dict[str, float]:
    """The errors that count as rounding.

    On a GPU float32 products may run in TF32, with 10 bits of mantissa.
    """
    if dtype != "float32":
        return {"logits": 0.1, "loss": 0.05, "update": 0.5}
    if platform == "gpu":
        return {"logits": 1e-2, "loss": 1e-2, "update": 5e-2}
    return {"logits": 2e-4, "loss": 1e-4, "update": 2e-3}
