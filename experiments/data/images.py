"""Small image data sets: digits, MNIST, Fashion-MNIST and KMNIST."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.data import DataError, files, mnist_tfds
from experiments.data.files import Files

_DIGITS = tuple("0123456789")


class ImageSet(NamedTuple):
    """A data set of images, and where it comes from."""

    title: str
    classes: tuple[str, ...]  # their names, by label
    max_value: int  # the brightest pixel there can be
    builder: str | None = None  # in tensorflow-datasets; None: in scikit-learn
    files: Files | None = None


def _files(folder: str, origin: str, url: str, *digests: str) -> Files:
    names = [
        f"{split}-{kind}-ubyte.gz"
        for split in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    ]
    known = digests or [""] * 4  # `load_images` checks them with those of tfds
    get = f"curl -L --create-dirs -o '{folder}/#1' '{url}/{{{','.join(names)}}}'"
    return Files(folder, dict(zip(names, known, strict=True)), origin, get)


MNIST = _files(
    "mnist",
    "LeCun, Cortes and Burges, 1998",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
    *("ba891046e6505d7a", "65a50cbbf4e906d7"),
    *("0fa7898d509279e4", "ff7bcfd416de3373"),
)
DATASETS = {
    "digits": ImageSet("handwritten digits of 8x8", _DIGITS, 16),
    "mnist": ImageSet(
        "handwritten digits",
        _DIGITS,
        255,
        "MNIST",
        MNIST,
    ),
    "fashion_mnist": ImageSet(
        "pictures of clothes",
        (
            *("T-shirt", "trouser", "pullover", "dress", "coat"),
            *("sandal", "shirt", "sneaker", "bag", "boot"),
        ),
        255,
        "FashionMNIST",
        _files(
            "fashion_mnist",
            "Xiao, Rasul and Vollgraf, 2017",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        ),
    ),
    "kmnist": ImageSet(
        "handwritten Japanese letters of old books",
        ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        255,
        "KMNIST",
        _files(
            "kmnist",
            "Clanuwat et al., 2018",
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist",
        ),
    ),
}


class Images(NamedTuple):
    """One split of a data set."""

    images: np.ndarray  # [N, rows, cols] uint8
    labels: np.ndarray  # [N] int32

    def first(self, count: int | None) -> "Images":
        """The first n images; None: all."""
        return Images(*(a[:count] for a in self))

    def last(self, count: int) -> "Images":
        """The last n images, at least one."""
        return Images(*(a[-count:] for a in self))


class ImageData(NamedTuple):
    """A data set: two splits, and what their numbers range over."""

    train: Images
    test: Images
    classes: tuple[str, ...]  # their names, by label
    max_value: int  # the brightest pixel there can be
    split: str = "test"  # what the images measured on are: "test" or "holdout"

    def holding_out(self, count: int) -> "ImageData":
        """With the last training images, if any, in the place of the test images."""
        if not count:
            return self
        rest = len(self.train.images) - count
        train, test = self.train.first(rest), self.train.last(count)
        return self._replace(train=train, test=test, split="holdout")


def load_images(name: str, data_dir: Path | None = None) -> ImageData:
    """Load one of `DATASETS`.

    `digits`: scikit-learn's 1,797 pictures of 8x8, split 80/20 once and for all with
    every class in proportion (1,437 train, 360 test). The others: 60,000 train and
    10,000 test pictures of 28x28, in their original order, downloaded or built from
    the four original files, packed or not, and kept for the next time in
    tensorflow-datasets' usual folder (`TFDS_DATA_DIR`, else `~/tensorflow_datasets`).

    Args:
      name: one of `DATASETS`.
      data_dir: a folder with the four files, or with a folder called `name` that has
        them; nothing is downloaded then. If None, the environment variable
        `JAXRNN_DATA` may name such a folder; where it lacks the data set, the network
        is used. Files on disk are checked, every time, against the checksums that
        tensorflow-datasets ships.

    Raises:
      DataError: unknown name; files missing, altered or unreadable; neither files
        nor a network; a cache folder that cannot be written; a package missing.

    Example:
      >>> data = load_images("digits")
      >>> data.train.images.shape, data.test.labels.shape, data.max_value
      ((1437, 8, 8), (360,), 16)
    """
    known = files.record(DATASETS, name)
    try:
        if known.builder is None:
            splits = _digits()
        else:
            digests = known.files.digests if known.files else {}
            splits = mnist_tfds.load(name, known.builder, data_dir, digests)
    except ImportError as error:
        raise DataError(
            f"{name} needs more packages ({error}): pip install -e '.[experiments]'"
        ) from error
    except OSError as error:
        raise DataError(f"cannot load {name}: {error}") from error
    train, test = (Images(*split) for split in splits)
    return ImageData(train, test, known.classes, known.max_value)


def sequences(images: np.ndarray, max_value: int, order: str) -> np.ndarray:
    """Images [N, R, C] or [N, R, C, 3] in 0..max_value as sequences [N, T, D] in 0..1.

    Args:
      images: bytes.
      max_value: the brightest pixel there can be.
      order: what a step is: "rows", "pixels", or "permuted", pixels in one fixed random
        order.
    """
    values = images.astype(np.float32) / max_value
    if order == "rows":
        return values.reshape(*values.shape[:2], -1)
    pixels = values.reshape(len(values), -1, *(values.shape[3:] or (1,)))
    if order == "permuted":
        # One order for all images and all runs: it is part of the task.
        pixels = pixels[:, np.random.default_rng(0).permutation(pixels.shape[1])]
    return pixels


def _digits() -> list[tuple[np.ndarray, np.ndarray]]:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits: Any = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target.astype(np.int32)
    splits = train_test_split(
        np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0
    )
    return [(images[split], labels[split]) for split in splits]
