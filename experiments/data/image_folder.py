"""Images of your own: a folder with a folder for each class.

Either FOLDER/class/image.jpg, of which some are held out to measure on, the same ones
in every run; or FOLDER/train/class/image.jpg and FOLDER/test/class/image.jpg. Images
may lie deeper in the folder of their class.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments import lab
from experiments.data import DataError
from experiments.data.formats.pictures import read_whole
from experiments.data.images import ImageData, Images, load_images
from experiments.data.own import is_own

SUFFIXES = {  # of files that are meant to be images; not all of them can be read
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".bmp", ".dib"),
    *(".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".mpo"),
    *(".heic", ".heif", ".svg", ".psd", ".tga", ".jp2", ".ico", ".dng", ".cr2"),
}
CLUTTER = {"thumbs.db", "desktop.ini", "__macosx"}  # of systems, not of people
TEST = ("test", "val", "valid", "validation")  # the first one there is measured on
HELD_OUT = 5  # one image of so many, of each class


@dataclass(frozen=True)
class OwnImages(lab.Config):
    """Options of a study that can read such a folder."""

    dataset: str = ""
    """The data set; own: that of --images."""
    images: Path | None = None
    """Images of your own: a folder with a folder for each class, or with two folders,
    train and test, that have these. Otherwise a fifth of each class is measured on."""
    size: tuple[lab.AtLeast1, lab.AtLeast1] = (28, 28)
    """--images: scale them to so many rows and columns, whole and in proportion."""
    color: bool = False
    """--images: whether colors are read, or only grays."""
    light_on_dark: bool = False
    """--images: invert those with a light edge, so that drawings dark on light and
    light on dark are alike."""
    predict: lab.Asked[tuple[Path, ...] | None] = None
    """Train nothing; say which classes these images have, or those in these folders,
    with the finished run in --out."""

    @property
    def how(self) -> "How":
        """How new images are read; those of the known data sets are light on dark."""
        if self.images is not None:
            return How(*self.size, self.color, self.light_on_dark)
        side = 8 if self.dataset == "digits" else 28
        return How(side, side, light_on_dark=True)

    def load(self) -> ImageData:
        """Reads the folder, or the data set of that name."""
        if is_own(self, "images") and self.images:
            return load_folder(self.images, self.how)
        return load_images(self.dataset, self.run.data_dir)


class How(NamedTuple):
    """How an image is read."""

    rows: int = 28
    columns: int = 28
    color: bool = False  # [rows, columns, 3], or else its grays, [rows, columns]
    light_on_dark: bool = False  # whether one with a light edge is inverted

    def read(self, path: Path) -> np.ndarray:
        """All of an image, uint8; see `pictures.read_whole`.

        Raises:
          DataError: with the name of the file, if it cannot be read.
        """
        from PIL import Image

        pixels = read_whole(path, self.rows, self.columns)
        if not self.color:
            pixels = np.asarray(Image.fromarray(pixels).convert("L"))
        return light_on_dark(pixels) if self.light_on_dark else pixels

    def read_all(self, paths: Sequence[Path]) -> np.ndarray:
        """Images [N, ...], with a bar that shows how far it is."""
        from tqdm import tqdm

        bar = tqdm(paths, desc="reading images", leave=False, disable=None)
        return np.stack([self.read(path) for path in bar])


def light_on_dark(pixels: np.ndarray) -> np.ndarray:
    """An image, inverted if its edge is light.

    Example:
      >>> light_on_dark(np.uint8([[255, 255, 255], [255, 9, 255], [255, 255, 255]]))
      array([[  0,   0,   0],
             [  0, 246,   0],
             [  0,   0,   0]], dtype=uint8)
    """
    edges = pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]
    light = np.median(np.concatenate([edge.ravel() for edge in edges])) > 127
    return 255 - pixels if light else pixels


def load_folder(folder: Path, how: How) -> ImageData:
    """Reads a folder of images, in an order that is always the same and mixes classes.

    Args:
      folder: see above.
      how: images are read.

    Raises:
      DataError: if there is no such folder, or it has no folders of two classes or
        more; if a class has no images, or too few to hold one out; if an image cannot
        be read.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist or is no folder")
    parts = {path.name.lower(): path for path in _entries(folder) if path.is_dir()}
    if "train" not in parts:
        classes = _classes(folder)
        pairs = [_divided(folder / name, paths) for name, paths in classes.items()]
        train, test = ([pair[i] for pair in pairs] for i in (0, 1))
    else:
        other = next((parts[name] for name in TEST if name in parts), None)
        if other is None:
            raise DataError(f"{folder}: has a folder train and none called test")
        classes, measured = _classes(parts["train"]), _classes(other, least=1)
        if unknown := sorted(set(measured) - set(classes)):
            raise DataError(
                f"{other}: has the classes {', '.join(unknown)[:80]}, of which there "
                f"are none in {parts['train']}"
            )
        train = list(classes.values())
        test = [measured.get(name, []) for name in classes]
    splits = (_mixed(of_classes, how) for of_classes in (train, test))
    return ImageData(*splits, classes=tuple(classes), max_value=255)


def _mixed(of_classes: list[list[Path]], how: How) -> Images:
    labeled = [(path, i) for i, paths in enumerate(of_classes) for path in paths]
    order = np.random.default_rng(0).permutation(len(labeled))
    paths, labels = zip(*(labeled[i] for i in order), strict=True)
    return Images(how.read_all(paths), np.array(labels, np.int32))


def image_paths(given: Iterable[Path]) -> list[Path]:
    """Files as they are, and of folders the images in them, at any depth.

    Raises:
      DataError: if there is no such file or folder, or a folder has no images.
    """
    found = []
    for path in given:
        if path.is_dir():
            inside = _images(path)
            if not inside:
                raise DataError(f"{path}: has no images")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise DataError(f"{path} does not exist")
    return found


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(
            path
            for path in folder.iterdir()
            if not path.name.startswith(".") and path.name.lower() not in CLUTTER
        )
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error}") from error


def _images(folder: Path) -> list[Path]:
    found = []
    for path in _entries(folder):
        if path.is_dir():
            found += _images(path)
        elif path.suffix.lower() in SUFFIXES:
            found.append(path)
    return found


def _classes(folder: Path, least: int = 2) -> dict[str, list[Path]]:
    """The images of each class, by its name."""
    entries = _entries(folder)
    found = {path.name: _images(path) for path in entries if path.is_dir()}
    loose = [path for path in entries if path.suffix.lower() in SUFFIXES]
    loose = [path for path in loose if path.is_file()]
    if len(found) < least or loose:
        raise DataError(
            f"{folder}: expected a folder for each class and nothing beside them, "
            f"found {len(found)} folders and {len(loose)} images"
        )
    for name, paths in found.items():
        if not paths:
            raise DataError(f"{folder / name}: has no images")
    return found


def _divided(folder: Path, paths: list[Path]) -> tuple[list[Path], list[Path]]:
    if len(paths) < 2:
        raise DataError(f"{folder}: has one image, and one is needed to measure on")
    order = np.random.default_rng(0).permutation(len(paths))
    count = max(1, round(len(paths) / HELD_OUT))
    learned, held_out = (
        [paths[i] for i in sorted(some)] for some in (order[count:], order[:count])
    )
    return learned, held_out
