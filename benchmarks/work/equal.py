"""The check that all systems do the same work: what they start from and arrive at."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

CLASSES = 10  # K
LEARNING_RATE = 0.1


class Weights(NamedTuple):
    """The weights of a model, in a neutral layout."""

    layers: tuple[tuple[Any, ...], ...]  # for each layer, for each direction
    w: Any  # [directions * H, K]
    b: Any  # [K]


class Data(NamedTuple):
    """All that a case starts from."""

    weights: Weights
    xs: np.ndarray  # [B, T, D], of all updates one after the other
    labels: np.ndarray  # [B]
    valid: np.ndarray | None = None  # lengths [B], a mask [B, T], or all steps


class Reference(NamedTuple):
    """What a system has to arrive at."""

    logits: np.ndarray  # [B, K], of the first batch before any update
    loss: np.ndarray  # [], of the last update
    after: Weights  # after all updates


def leaves(tree: Any) -> list[Any]:
    """The arrays of nested tuples, without what is None."""
    if tree is None:
        return []
    if isinstance(tree, tuple):
        return [leaf for part in tree for leaf in leaves(part)]
    return [tree]


def _filled(like: Any, arrays: Any) -> Any:
    """Nested tuples as in `like`, with the next arrays for its leaves."""
    if like is None:
        return None
    if isinstance(like, tuple):
        parts = [_filled(part, arrays) for part in like]
        return type(like)(*parts) if hasattr(like, "_fields") else tuple(parts)
    return next(arrays)


def save(path: Path, reference: Reference) -> None:
    """Writes a reference as .npz."""
    arrays: dict[str, Any] = {"logits": reference.logits, "loss": reference.loss}
    arrays |= {f"after_{i}": a for i, a in enumerate(leaves(reference.after))}
    np.savez(path, **arrays)


def load(path: Path, like: Weights) -> Reference:
    """Reads a reference whose weights have the structure of `like`."""
    with np.load(path, allow_pickle=False) as file:
        arrays = iter([file[f"after_{i}"] for i in range(len(leaves(like)))])
        return Reference(file["logits"], file["loss"], _filled(like, arrays))


def logits_errors(logits: Any, reference: Reference) -> dict[str, float]:
    """The largest error of the logits, relative to the largest logit."""
    logits = np.asarray(logits, np.float64)
    difference = np.abs(logits - reference.logits).max()
    return {"logits": float(difference / np.abs(reference.logits).max())}


def loss_error(loss: float, reference: Reference) -> dict[str, float]:
    """The relative error of the loss."""
    return {"loss": abs(float(loss) - float(reference.loss)) / float(reference.loss)}


def update_errors(
    before: list[Any], after: list[Any], expected: list[Any], dtype: str
) -> dict[str, float]:
    """The largest error of the change of an array, relative to its largest change.

    Args:
      before: the system's own arrays.
      after: the same after one training step of the program that will be timed.
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
