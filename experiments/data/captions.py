"""Photographs and what people say of them, in the forms in which Flickr8k goes about.

The captions stand in a text file, a line for each, in one of these forms:

    image<TAB>flickr8k_split<TAB>caption    below that header; the split may be missing
    image,caption                           below that header
    name.jpg#0<TAB>caption                  without a header, as in Flickr8k.token.txt

and the images in a folder or in a tar archive, which is never unpacked. Without splits
a tenth of the images are for validation and a tenth for the test, always the same ones.
"""

import io
import re
import stat
import tarfile
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from experiments.data import DataError, files
from experiments.data.subwords import SPECIALS, Subwords

MOST_BYTES = 32 << 20  # of one image; what is larger is no photograph of ours
MOST_PIXELS = 50_000_000
ABSENT = (
    "2258277193_586949ec62.jpg.1"  # Flickr8k.token.txt names it; it never was there
)
SPLITS = {"train": "train", "dev": "validation", "val": "validation", "test": "test"}


class Captioned(NamedTuple):
    """One split of a data set."""

    names: list[str]  # of the images
    images: np.ndarray  # [N, R, R, 3] uint8
    captions: list[list[str]]  # of each, one or more; words with a space between them

    def first(self, count: int | None) -> "Captioned":
        """So many of them, the first ones; None: all."""
        return Captioned(self.names[:count], self.images[:count], self.captions[:count])


class CaptionData(NamedTuple):
    """A data set."""

    train: Captioned
    validation: Captioned
    test: Captioned


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
        splits = _divide(sorted(splits))
    # Names in the order of the file, so that "the first 10" are the same everywhere.
    parts = {
        part: [
            name for name, split in splits.items() if SPLITS.get(split or "") == part
        ]
        for part in ("train", "validation", "test")
    }
    for part, names in parts.items():
        if not names:
            raise DataError(f"{path}: has no images for {part}")
    wanted = {name: lines[name] for names in parts.values() for name in names}
    pictures = _read_images(path.parent / images, wanted, size, path)
    return CaptionData(
        *(
            Captioned(
                names,
                np.stack([pictures[name] for name in names]),
                [found[name] for name in names],
            )
            for names in parts.values()
        )
    )


def normalized(text: str) -> str:
    """Lower case, words and numbers only, as captions are usually compared.

    Example:
      >>> normalized('A T-shirt says , " ADHD " .')
      'a t-shirt says adhd'
    """
    return " ".join(re.findall(r"'?\w[\w'-]*", text.lower()))


def words(texts: Iterable[str], least: int = 1) -> Subwords:
    """A vocabulary of whole words.

    Args:
      texts: words with a space between them.
      least: words that occur less often are unknown.

    Returns:
      What also subwords have: `encode` and `decode`.

    Example:
      >>> vocabulary = words(["a dog runs", "a dog sits"], 2)
      >>> vocabulary.decode(vocabulary.encode(["a dog sits"])[0]), vocabulary.size
      ('a dog', 6)
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordLevel(unk_token=SPECIALS[-1]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordLevelTrainer(
        vocab_size=1 << 30,
        min_frequency=least,
        special_tokens=list(SPECIALS),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return Subwords(tokenizer)


def nearest(train: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Of each image the number of the training image with the most similar colors."""

    def coarse(images):  # means over 8x8 parts
        for axis in (1, 2):
            parts = np.array_split(images, 8, axis)
            images = np.stack([part.mean(axis) for part in parts], axis)
        return images.reshape(len(images), -1)

    a, b = coarse(images), coarse(train)
    distances = (a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)
    return distances.argmin(1)


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


def _divide(names: list[str]) -> dict[str, str | None]:
    order = np.random.default_rng(0).permutation(len(names))
    tenth = len(names) // 10
    splits = ["dev"] * tenth + ["test"] * tenth + ["train"] * (len(names) - 2 * tenth)
    return {names[i]: split for i, split in zip(order, splits, strict=True)}


def _read_images(
    source: Path, wanted: dict[str, int], size: int, captions: Path
) -> dict[str, np.ndarray]:
    """Each image that is wanted, [R, R, 3]; `wanted` has the lines that name them."""
    try:
        if source.is_dir():
            data = _from_folder(source, wanted)
        elif source.is_file():
            data = _from_archive(source, wanted)
        else:
            raise DataError(f"{source} does not exist: expected a folder or an archive")
        pictures = {name: _decode(where, item, size) for name, where, item in data}
    except (OSError, EOFError, tarfile.TarError) as error:
        raise DataError(f"{source}: cannot be read: {error}") from error
    for name, line in wanted.items():
        if name not in pictures:
            raise DataError(f"{captions}, line {line}: {source} has no image {name!r}")
    return pictures


def _from_folder(folder: Path, wanted: dict[str, int]):
    for name in wanted:
        path = folder / name
        if not path.exists():
            continue
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MOST_BYTES:
            raise DataError(f"{path}: is no file of at most {MOST_BYTES:,} bytes")
        yield name, str(path), path.read_bytes()


def _from_archive(archive: Path, wanted: dict[str, int]):
    # Not packed, so that no small file can claim endless memory.
    with tarfile.open(archive, "r:") as tar:
        for member in tar:
            where = f"{archive}, {member.name[:80]!r}"
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts or "\\" in member.name:
                raise DataError(f"{where}: its name leads out of the archive")
            if member.isdir():
                continue
            if not member.isreg() or member.size > MOST_BYTES:
                raise DataError(
                    f"{where}: is no plain file of at most {MOST_BYTES:,} bytes"
                )
            if path.name in wanted:
                file = tar.extractfile(member)
                assert file is not None  # it is a plain file
                yield path.name, where, file.read()


def read_image(path: Path, size: int, *, gray: bool = False) -> np.ndarray:
    """The middle of one image, [size, size, 3] uint8, or [size, size, 1] if gray.

    Raises:
      DataError: if there is none, or it is no JPEG or PNG image of usual size.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist")
    picture = _read_images(path.parent, {path.name: 1}, size, path)[path.name]
    return picture.mean(-1, keepdims=True).astype(np.uint8) if gray else picture


def _decode(where: str, data: bytes, size: int) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG"))
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise ValueError(f"{width}x{height} are too many pixels")
            side = min(width, height)
            left, top = (width - side) // 2, (height - side) // 2
            square = image.convert("RGB").crop((left, top, left + side, top + side))
            return np.asarray(square.resize((size, size), Image.Resampling.LANCZOS))
    except UnidentifiedImageError:
        raise DataError(f"{where}: is no JPEG or PNG image") from None
    except Exception as error:  # damaged images raise errors of many kinds
        raise DataError(f"{where}: cannot be read as an image: {error}") from error
