"""Photographs and what people say of them, in the forms in which Flickr8k goes about.

The captions stand in a text file, a line for each, in one of these forms:

    image<TAB>flickr8k_split<TAB>caption    below that header; the split may be missing
    image,caption                           below that header
    name.jpg#0<TAB>caption                  without a header, as in Flickr8k.token.txt

and the images in a folder or in a tar archive, which is never unpacked. Without splits
a tenth of the images are for validation and a tenth for the test, always the same ones.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from experiments.data import DataError, files
from experiments.data.files import Files
from experiments.data.formats.pictures import read_image as read_image
from experiments.data.formats.pictures import read_images
from experiments.data.images import MNIST

ABSENT = (
    "2258277193_586949ec62.jpg.1"  # Flickr8k.token.txt names it; it never was there
)
SPLITS = {"train": "train", "dev": "validation", "val": "validation", "test": "test"}


class CaptionSet(NamedTuple):
    """A data set of images with captions, and how captions of it are measured."""

    title: str
    files: Files | None
    channels: int  # of its images
    metric: str  # "accuracy": captions that are wholly right; or "bleu_4"
    label: str  # of the metric, in pictures


DATASETS = {
    "scenes": CaptionSet(
        "scenes of two handwritten digits, composed as they are needed",
        MNIST,
        channels=1,
        metric="accuracy",
        label="accuracy",
    ),
    "flickr8k": CaptionSet(
        "photographs, or your own in this form",
        Files(
            "flickr8k",
            {"captions.tsv": "", "images128.tar": ""},
            "Hodosh, Young and Hockenmaier, 2013; the photographs are their owners'",
            "mkdir -p flickr8k; cd flickr8k; for part in Dataset text; do curl -LO "
            "https://github.com/jbrownlee/Datasets/releases/download/Flickr8k/"
            "Flickr8k_$part.zip; unzip Flickr8k_$part.zip; done  # then pass "
            "--captions-file Flickr8k.token.txt --images-file Flicker8k_Dataset",
        ),
        channels=3,
        metric="bleu_4",
        label="BLEU-4",
    ),
}


SETS = DATASETS | {"own": DATASETS["flickr8k"]._replace(title="your own", files=None)}


class Captioned(NamedTuple):
    """One split of a data set."""

    names: list[str]  # of the images
    images: np.ndarray  # [N, R, R, 3] uint8
    captions: list[list[str]]  # of each, one or more; words with a space between them

    def first(self, count: int | None) -> "Captioned":
        """The first `count` images; None: all."""
        return Captioned(self.names[:count], self.images[:count], self.captions[:count])


class CaptionData(NamedTuple):
    """A data set."""

    train: Captioned
    validation: Captioned
    test: Captioned

    @classmethod
    def of(
        cls,
        parts: Sequence[list[str]],
        pictures: Mapping[str, np.ndarray],
        captions: Mapping[str, list[str]],
    ) -> "CaptionData":
        """From the names of the images in each part, and what they show and are."""
        return cls(
            *(
                Captioned(
                    names,
                    np.stack([pictures[name] for name in names]),
                    [captions[name] for name in names],
                )
                for names in parts
            )
        )


class _Line(NamedTuple):
    image: str
    split: str | None
    caption: str


def load_captions(
    size: int,
    data_dir: Path | None = None,
    *,
    captions: str = "captions.tsv",
    images: str = "images128.tar",
) -> CaptionData:
    """Reads Flickr8k, or images and captions of your own.

    Args:
      size: R; the largest square in the middle of each image is scaled to it.
      data_dir: see `files.find`.
      captions: name of the file of captions.
      images: name of the folder or the archive of images. An archive with links or
        with names that lead out of it is refused, as are files too large for a
        photograph.

    Raises:
      DataError: if something is missing or is not as it should be.

    References:
      Hodosh, Young and Hockenmaier, "Framing image description as a ranking task: data,
      models and evaluation metrics", Journal of Artificial Intelligence Research 47,
      2013.
    """
    (path,) = files.find("flickr8k", data_dir, captions)
    found: dict[str, list[str]] = {}
    splits: dict[str, str | None] = {}
    lines: dict[str, int] = {}  # where each image is named first
    skip, parse = _form(path)
    for number, line in enumerate(files.each_line(path, parse, skip=skip), skip + 1):
        name = line.image
        if name == ABSENT:
            continue
        found.setdefault(name, []).append(line.caption)
        lines.setdefault(name, number)
        if splits.setdefault(name, line.split) != line.split:
            raise DataError(
                f"{path}, line {number}: {name} is in {line.split!r} here and in "
                f"{splits[name]!r} on line {lines[name]}"
            )
    if set(splits.values()) == {None}:
        splits = divided(sorted(splits))
    parts = in_parts(path, splits)
    source = files.in_place(path.parent / images)
    pictures = read_images(source, [n for names in parts for n in names], size)
    for name, line in lines.items():
        if name not in pictures and splits[name] in SPLITS:
            raise DataError(f"{path}, line {line}: {source} has no image {name!r}")
    return CaptionData.of(parts, pictures, found)


def normalized(text: str) -> str:
    """Lower case, words and numbers only, as captions are usually compared.

    Example:
      >>> normalized('A T-shirt says , " ADHD " .')
      'a t-shirt says adhd'
    """
    return " ".join(re.findall(r"'?\w[\w'-]*", text.lower()))


def _form(path: Path) -> tuple[int, Callable[[str], _Line]]:
    """How many lines of header there are, and how to read the others."""
    first = files.read_lines(path)[0]
    if re.match(r"[^\t]+#\d+\t", first):
        columns = files.columns("image#number", "caption")

        def read(line: str) -> list[str]:
            name, caption = columns(line)
            return [re.sub(r"#\d+$", "", name), caption]

        return 0, _parser(["image", "caption"], read)
    separator = "\t" if "\t" in first else ","
    header = [name.strip().strip('"') for name in first.split(separator)]
    for name in ("image", "caption"):
        if name not in header:
            raise DataError(
                f"{path}, line 1: expected a column {name!r}, found {first[:80]!r}"
            )
    if separator == "\t":
        return 1, _parser(header, files.columns(*header))
    # The caption is all that follows the last comma that ends a column.
    columns = files.columns(*header, separator=",", most=len(header) - 1)

    def read_quoted(line: str) -> list[str]:
        *others, caption = columns(line)
        if len(caption) > 1 and caption[0] == caption[-1] == '"':
            caption = caption[1:-1].replace('""', '"')
        return [*others, caption]

    return 1, _parser(header, read_quoted)


def _parser(header: list[str], read: Callable[[str], list[str]]):
    image, caption = header.index("image"), header.index("caption")
    split = [i for i, name in enumerate(header) if name.endswith("split")]

    def parse(line: str) -> _Line:
        fields = read(line)
        name, text = fields[image], normalized(fields[caption])
        if not text:
            raise ValueError(f"expected a caption, found {fields[caption][:40]!r}")
        plain = name and name == PurePosixPath(name).name and name != ".."
        if not plain or "\\" in name or "\0" in name:
            raise ValueError(f"expected the name of an image, found {name[:80]!r}")
        if not split:
            return _Line(name, None, text)
        part = fields[split[0]]
        if part not in (*SPLITS, "none"):
            raise ValueError(
                f"expected a split, one of {', '.join(SPLITS)} or none, "
                f"found {part[:40]!r}"
            )
        return _Line(name, part, text)

    return parse


def divided(names: list[str], least: int = 0) -> dict[str, str | None]:
    """A tenth for validation and a tenth for the test, the same ones in every run."""
    order = np.random.default_rng(0).permutation(len(names))
    tenth = max(least, len(names) // 10)
    splits = ["dev"] * tenth + ["test"] * tenth + ["train"] * (len(names) - 2 * tenth)
    return {names[i]: split for i, split in zip(order, splits, strict=True)}


def in_parts(where: Path, splits: Mapping[str, str | None]) -> list[list[str]]:
    """The images of training, validation and test, in the order in which they came.

    So "the first 10" are the same everywhere.

    Raises:
      DataError: if one of the parts has none.
    """
    found = []
    for part in CaptionData._fields:
        own = (
            name for name, split in splits.items() if SPLITS.get(split or "") == part
        )
        found.append(list(own))
        if not found[-1]:
            raise DataError(f"{where}: has no images for {part}")
    return found
