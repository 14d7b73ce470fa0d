"""What a page must know to make of a drawing an image like those of a data set."""

from typing import Any

import numpy as np

from experiments.data.images import Images, sequences

SEEN = 500  # images that are looked at


def handwriting(images: np.ndarray, max_value: int) -> dict[str, Any]:
    """Paper, pen and place of the figures in images [N, R, C] or [N, R, C, 3].

    A line of the width w and the length L has the area w L and the edge 2 L, so w is
    twice the area over the edge. An edge is measured along rows and columns, which
    makes slanted ones longer, by 4 / pi in the mean.

    Returns:
      light: whether the paper is; pen: its width in pixels; middle: of the figures, row
      and column as shares of the image; extent: rows and columns that the largest but a
      few fill, as shares.

    Example:
      >>> image = np.zeros((1, 20, 20)); image[:, 2:18, 9:11] = 1
      >>> found = handwriting(image, 1)
      >>> found["light"], found["middle"], found["extent"]
      (False, [0.5, 0.5], [0.8, 0.1])
    """
    ink = images[:SEEN].reshape(*images[:SEEN].shape[:3], -1).mean(-1) / max_value
    edges = ink[:, 0], ink[:, -1], ink[:, :, 0], ink[:, :, -1]
    light = bool(np.median(np.concatenate(edges, axis=1)) > 0.5)
    ink = 1 - ink if light else ink
    padded = np.pad(ink, [(0, 0), (1, 1), (1, 1)])
    edge = sum(np.abs(np.diff(padded, axis=axis)).sum() for axis in (1, 2))
    pen = 2 * ink.sum() / max(edge * np.pi / 4, 1e-6)
    middles, extents = [], []
    for axis in (2, 1):
        there = ink.max(axis) > 0.25
        some = there[there.any(1)] if there.any() else np.ones_like(there)
        first, last = some.argmax(1), some.shape[1] - some[:, ::-1].argmax(1)
        size = some.shape[1]
        middles.append(round(float(((first + last) / 2).mean()) / size, 4))
        extents.append(round(float(np.quantile(last - first, 0.9)) / size, 4))
    pen = round(float(np.clip(pen, 0.5, max(1, min(ink.shape[1:]) / 4))), 4)
    return {"light": light, "pen": pen, "middle": middles, "extent": extents}


def places(shape: tuple[int, ...], order: str) -> np.ndarray:
    """Which number of an image each number of each step is, [T, D].

    Example:
      >>> places((2, 3), "rows").tolist()
      [[0, 1, 2], [3, 4, 5]]
    """
    numbers = np.arange(np.prod(shape), dtype=np.float64)
    # Float32 holds whole numbers up to 2^24, more than an image has.
    return sequences(numbers.reshape(1, *shape), 1, order)[0].astype(int)


def samples(images: Images, classes: int) -> list[dict[str, Any]]:
    """The first image of each class."""
    found = []
    for label in range(classes):
        (numbers,) = np.nonzero(images.labels == label)
        if len(numbers):
            pixels = images.images[numbers[0]].reshape(-1)
            found.append({"label": label, "pixels": pixels})
    return found
