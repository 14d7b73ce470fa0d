"""Scenes of two handwritten digits, composed as they are needed, and what they show.

    caption  = thing relation thing
    thing    = ("a" | "an") digit | "a small" digit
    digit    = "zero" | "one" | ... | "nine"
    relation = "left of" | "right of" | "above" | "below"

The digits are MNIST's. Those of training scenes come from its first 55,000 training
images, those of validation scenes from the other 5,000, those of test scenes from its
test images. The relation is along the axis on which the centers are further apart, by
at least `MARGIN` pixels. Either digit may be named first, so two captions are true of
every scene.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.data import DataError
from experiments.data.captions import Captioned
from experiments.data.formats.idx import read_idx
from experiments.data.images import MNIST, Images

DIGITS = (
    *("zero", "one", "two", "three", "four"),
    *("five", "six", "seven", "eight", "nine"),
)
RELATIONS = ("left of", "right of", "above", "below")
SIZE = 64  # of a scene, in pixels
MARGIN = 8  # between the distances of the centers along the two axes

# What a caption says, in this order: is the first digit small, which is it, how does it
# lie to the second, is that small, which is it.
PARTS = (2, 10, 4, 2, 10)
KINDS = {"digit": (1, 4), "relation": (2,), "size": (0, 3)}  # of parts, by place
_OPPOSITE = np.array([1, 0, 3, 2])


class Digits(NamedTuple):
    """Where the digits of each kind of scenes come from."""

    train: Images
    validation: Images
    test: Images


class Scenes(NamedTuple):
    """Some scenes; N of them, each with a first and a second digit."""

    images: np.ndarray  # [N, SIZE, SIZE] uint8
    captions: np.ndarray  # [N, 2], the numbers of the true ones, first digit first
    corners: np.ndarray  # [N, 2, 2], row and column of each digit's upper left corner
    sizes: np.ndarray  # [N, 2], of each digit, in pixels


def load_digits(data_dir: Path | None = None) -> Digits:
    """Reads MNIST's four original files.

    Args:
      data_dir: see `files.find`.

    Raises:
      DataError: if a file is missing or damaged.
    """
    paths = MNIST.find(data_dir)
    arrays = [read_idx(path) for path in paths]
    parts = []
    for i in (0, 2):
        images, labels = arrays[i : i + 2]
        if images.shape != (len(labels), 28, 28) or labels.max() > 9:
            raise DataError(
                f"{paths[i]} and {paths[i + 1].name}: expected images of 28x28 and as "
                f"many labels from 0 to 9, found {images.shape} and {labels.shape}"
            )
        parts.append(Images(images, labels.astype(np.int32)))
    train, test = parts
    cut = len(train.labels) * 11 // 12
    first, last = (Images(*(a[i] for a in train)) for i in (np.s_[:cut], np.s_[cut:]))
    return Digits(first, last, test)


def compose(digits: Images, index: np.ndarray, rng: np.random.Generator) -> Scenes:
    """Scenes of chosen digits, at random places.

    Args:
      digits: images of 28x28.
      index: [N, 2], the indices of the two digits of each scene.
      rng: decides sizes, relations and places.

    Returns:
      The scenes. Their digits never overlap.
    """
    count = len(index)
    small = rng.integers(2, size=(count, 2))
    relation = rng.integers(4, size=count)
    sizes = np.where(small, 14, 28)
    # Along the axis of the relation one digit comes before the other, with a gap.
    swap = (relation % 2).astype(bool)[:, None]  # the second one comes before
    before, after = np.where(swap, sizes[:, ::-1], sizes).T
    spare = SIZE - before - after
    starts = np.sort(rng.integers(spare[:, None] + 1, size=(count, 2)))
    main = np.stack([starts[:, 0], starts[:, 1] + before], 1)
    # Along the other axis their centers are nearer to each other, by the margin.
    reach = main[:, 1] + after // 2 - main[:, 0] - before // 2 - MARGIN
    first = rng.integers(SIZE - before + 1) + before // 2
    low = np.maximum(after // 2, first - reach)
    high = np.minimum(SIZE - after // 2, first + reach)
    cross = np.stack([first - before // 2, rng.integers(low, high + 1) - after // 2], 1)
    main, cross = (np.where(swap, a[:, ::-1], a) for a in (main, cross))
    vertical = (relation >= 2)[:, None]
    rows, columns = np.where(vertical, main, cross), np.where(vertical, cross, main)

    images = np.zeros((count, SIZE, SIZE), np.uint8)
    for n, i in np.ndindex(count, 2):
        picture, size = digits.images[index[n, i]], sizes[n, i]
        if size == 14:
            picture = picture.reshape(14, 2, 14, 2).mean((1, 3))
        row, column = rows[n, i], columns[n, i]
        images[n, row : row + size, column : column + size] = picture
    labels = digits.labels[index]
    captions = [
        number(small[:, i], labels[:, i], of, small[:, j], labels[:, j])
        for i, j, of in ((0, 1, relation), (1, 0, _OPPOSITE[relation]))
    ]
    corners = np.stack([rows, columns], -1)
    return Scenes(images, np.stack(captions, 1), corners, sizes)


def drawn(digits: Images, count: int, seed: int, epoch: int, update: int) -> Scenes:
    """The scenes of a batch, which depend on nothing but these numbers.

    Args:
      digits: images of 28x28.
      count: how many scenes.
      seed: of the run.
      epoch: of the training.
      update: in the epoch.
    """
    rng = np.random.default_rng((seed, epoch, update))
    return compose(digits, rng.integers(len(digits.labels), size=(count, 2)), rng)


def each_once(digits: Images, count: int | None, seed: int) -> Scenes:
    """Scenes to measure on: no digit stands in two of them.

    Args:
      digits: images of 28x28.
      count: how many scenes; None for as many as there can be.
      seed: of all that is random.

    Raises:
      DataError: if there are too few digits.
    """
    most = len(digits.labels) // 2
    count = most if count is None else count
    if count > most:
        raise DataError(
            f"MNIST: {2 * most} digits of a part make {most} scenes, not {count}"
        )
    rng = np.random.default_rng(seed)
    index = rng.permutation(len(digits.labels))[: 2 * count].reshape(count, 2)
    return compose(digits, index, rng)


def captioned(scenes: Scenes) -> Captioned:
    """Scenes as images [N, SIZE, SIZE, 1] with the two true captions of each."""
    texts = all_captions()
    return Captioned(
        [str(i) for i in range(len(scenes.images))],
        scenes.images[..., None],
        [[texts[n] for n in row] for row in scenes.captions],
    )


def number(*parts: np.ndarray) -> np.ndarray:
    """The number of the caption that says `PARTS`."""
    return np.ravel_multi_index(parts, PARTS)


def all_captions() -> list[str]:
    """Every sentence of the grammar, by its number.

    Example:
      >>> all_captions()[int(number(1, 3, 0, 0, 7))]
      'a small three left of a seven'
    """

    def name(small, digit):
        article = "a small" if small else "an" if DIGITS[digit] == "eight" else "a"
        return f"{article} {DIGITS[digit]}"

    return [
        f"{name(small, digit)} {RELATIONS[relation]} {name(other_small, other)}"
        for small, digit, relation, other_small, other in np.ndindex(PARTS)
    ]


def parts_of_captions() -> dict[str, tuple[int, ...]]:
    """What each sentence of the grammar says, in the order of `PARTS`.

    Example:
      >>> parts_of_captions()["a small three left of a seven"]
      (1, 3, 0, 0, 7)
    """
    return dict(zip(all_captions(), np.ndindex(PARTS), strict=True))
