"""Photographs of your own and captions of them, in the forms that go about.

A table (.csv, .tsv, .jsonl, or .json with a list) has a column of images and one of
captions, and perhaps one of splits. JSON may also be that of COCO (images and
annotations), that of Karpathy (images with sentences), or {"name.jpg": captions}. A
text (.txt) has a line for each caption: the name of the image, perhaps with #0, then a
tab, a bar or a comma, then the caption; Flickr30k's bars with a number between them
count too. Without such a file each image may have a text of its name beside it, with a
caption on each line.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from experiments.data import DataError, files
from experiments.data.captions import SPLITS, CaptionData, divided, in_parts, normalized
from experiments.data.formats import tables
from experiments.data.formats.pictures import read_images
from experiments.data.image_folder import image_paths

IMAGE = ("image", "file_name", "filename", "image_name", "image_path", "filepath")
IMAGE += ("path", "file", "img", "image_id", "name")
CAPTION = ("caption", "captions", "text", "comment", "sentence", "sentences", "raw")
CAPTION += ("description", "title")
SPLIT = ("split", "flickr8k_split", "set")
OWN_SPLITS = {name: name for name in SPLITS} | {
    **{"training": "train", "restval": "train", "valid": "val", "validation": "val"}
}
USUAL = tuple(
    f"{name}.{form}"
    for name in ("captions", "metadata", "results", "labels")
    for form in ("csv", "tsv", "txt", "token", "jsonl", "json")
)


class Line(NamedTuple):
    """A caption of an image."""

    where: str  # the file and the line, for messages
    image: str  # its name, as the file of captions has it
    split: str | None
    caption: str


def load_own(size: int, images: Path, captions: Path | None) -> CaptionData:
    """Reads images and captions of your own.

    Args:
      size: see `load_captions`.
      images: the folder of the images.
      captions: the file of the captions, see `read_captions`.

    Raises:
      DataError: with the line, if a caption or its image is missing or not as it should
        be; if there are fewer than 3 images, or none for a part.
    """
    if not images.is_dir():
        raise DataError(f"{images} does not exist or is no folder")
    found: dict[str, list[str]] = {}
    splits: dict[str, str | None] = {}
    find = finder(images)
    for where, name, split, caption in read_captions(images, captions):
        try:
            image, text = find(name), normalized(caption)
        except ValueError as error:
            raise DataError(f"{where}: {error}") from error
        if image is None:
            raise DataError(f"{where}: {images} has no image {name[:80]!r}")
        if not text:
            raise DataError(f"{where}: expected a caption, found {caption[:40]!r}")
        part = OWN_SPLITS.get((split or "").lower())
        if split is not None and part is None:
            raise DataError(f"{where}: expected a split, found {split[:40]!r}")
        if splits.setdefault(image, part) != part:
            raise DataError(f"{where}: {image} is in two splits")
        found.setdefault(image, []).append(text)
    if set(splits.values()) == {None}:
        if len(splits) < 3:
            raise DataError(f"{images}: expected 3 images with captions or more")
        splits = divided(sorted(splits), least=1)
    parts = in_parts(images, splits)
    pictures = read_images(images, [n for names in parts for n in names], size)
    return CaptionData.of(parts, pictures, found)


def read_captions(images: Path, captions: Path | None) -> list[Line]:
    """Reads all captions.

    Args:
      images: the folder of the images.
      captions: the file of the captions; None: the one in the folder that is called
        captions or metadata, or else the texts beside the images.

    Raises:
      DataError: with the line, if a file is not as it should be; if there is none.
    """
    if captions is None:
        usual = [images / name for name in USUAL if (images / name).is_file()]
        if not usual:
            return list(_beside(images))
        if len(usual) > 1:
            names = " and ".join(path.name for path in usual)
            raise DataError(f"{images}: has {names}: choose one with --captions")
        captions = usual[0]
    form = Path(captions.name.removesuffix(".gz")).suffix.lower()
    if form == ".json":
        return list(_from_json(captions, tables.read_json(captions)))
    if form in (".csv", ".tsv", ".jsonl", ".ndjson"):
        found = tables.records(captions, (*IMAGE, *CAPTION))
        return [line for record in found for line in _of_record(record)]
    return list(_from_text(captions))


def finder(images: Path) -> Callable[[str], str | None]:
    """(name) -> the path of that image in the folder.

    The name may be a path below the folder, or the last part of one; it may lack its
    suffix where only one image has it.

    Raises (the function):
      ValueError: if several images have it.
    """
    paths = [path.relative_to(images) for path in image_paths([images])]
    whole = {path.as_posix(): path for path in paths}
    by_name: dict[str, list[Path]] = {}
    for path in paths:
        for key in (path.name, path.stem, path.with_suffix("").as_posix()):
            if path not in by_name.setdefault(key, []):
                by_name[key].append(path)

    def find(name):
        name = name.replace("\\", "/").removeprefix("./")
        found = [whole[name]] if name in whole else by_name.get(name, [])
        found = found or by_name.get(name.rsplit("/", 1)[-1], [])
        if len(found) > 1:
            raise ValueError(f"{name[:80]!r} may be {found[0]} or {found[1]}")
        return found[0].as_posix() if found else None

    return find


def _beside(images: Path) -> Iterator[Line]:
    for path in image_paths([images]):
        text = path.with_suffix(".txt")
        if not text.is_file():
            text = path.with_name(f"{path.name}.txt")
        if text.is_file():
            for number, line in enumerate(files.read_lines(text), 1):
                if line.strip():
                    name = path.relative_to(images).as_posix()
                    yield Line(f"{text}, line {number}", name, None, line)


def _from_text(path: Path) -> Iterator[Line]:
    lines = files.read_lines(path)
    separator = next((s for s in "\t|," if s in lines[0]), None)
    if separator is None:
        raise DataError(
            f"{path}, line 1: expected an image, a tab, bar or comma and a caption, "
            f"found {lines[0][:80]!r}"
        )
    head = [part.strip().strip('"').lower() for part in lines[0].split(separator)]
    named = head[0] in IMAGE and head[-1] in CAPTION
    for number, line in enumerate(lines, 1):
        if not line.strip() or (named and number == 1):
            continue
        where = f"{path}, line {number}"
        name, *rest = line.split(separator, 1)
        if not rest:
            raise DataError(f"{where}: expected an image and a caption: {line[:40]!r}")
        caption = rest[0].strip()
        if separator == "|":  # perhaps with the number of the caption between
            caption = re.sub(r"^\d+\s*\|", "", caption).strip()
        if separator == "," and len(caption) > 1 and caption[0] == caption[-1] == '"':
            caption = caption[1:-1].replace('""', '"')
        yield Line(where, re.sub(r"#\d+$", "", name.strip()), None, caption)


def _from_json(path: Path, value: Any) -> Iterator[Line]:
    try:
        if isinstance(value, dict) and "annotations" in value:
            names = {image["id"]: image["file_name"] for image in value["images"]}
            for number, one in enumerate(value["annotations"], 1):
                where = f"{path}, annotation {number}"
                yield Line(where, names[one["image_id"]], None, one["caption"])
            return
        if isinstance(value, dict) and isinstance(value.get("images"), list):
            value = value["images"]
        if isinstance(value, dict):
            value = [{"image": name, "caption": own} for name, own in value.items()]
        for number, one in enumerate(value, 1):
            yield from _of_record(tables.Record(f"{path}, item {number}", dict(one)))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: is no captions of images: {error!r}") from error


def _of_record(record: tables.Record) -> Iterator[Line]:
    where, fields = record
    image, caption, split = (
        tables.column(list(fields), names, None) for names in (IMAGE, CAPTION, SPLIT)
    )
    if image is None or caption is None:
        raise DataError(
            f"{where}: expected the columns image and caption, found "
            f"{', '.join(fields)[:80]}"
        )
    said = fields[caption]
    for one in said if isinstance(said, list) else [said]:
        text = one.get("raw") if isinstance(one, dict) else one
        if not isinstance(text, str):
            raise DataError(f"{where}: expected a caption, found {str(text)[:40]!r}")
        part = None if split is None else str(fields[split])
        yield Line(where, re.sub(r"#\d+$", "", str(fields[image]).strip()), part, text)
