"""JPEG and PNG images, in a folder or in a tar archive that is never unpacked."""

import io
import stat
import tarfile
import warnings
from collections.abc import Collection
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, UnidentifiedImageError

from experiments.data import DataError
from experiments.lab.storage import retried

MOST_BYTES = 32 << 20  # of one image; what is larger is no photograph of ours
MOST_PIXELS = 50_000_000


def read_images(
    source: Path, names: Collection[str], size: int
) -> dict[str, np.ndarray]:
    """The middles of images, [size, size, 3] uint8, by name.

    Args:
      source: a folder of JPEG or PNG images, or a tar archive of them, which is packed
        if its name ends in `.gz`.
      names: of the images to read; those that are not there are left out.
      size: the largest square in the middle of each image is scaled to it.

    Raises:
      DataError: if there is no such folder or archive, or it cannot be read; if an
        archive has a link, or a name that leads out of it; if an image is damaged or
        too large for a photograph.
    """
    wanted = dict.fromkeys(names)
    try:
        if source.is_dir():
            data = _from_folder(source, wanted)
        elif source.is_file():
            data = _from_archive(source, wanted)
        else:
            raise DataError(f"{source} does not exist: expected a folder or an archive")
        return {name: _decode(where, item, size) for name, where, item in data}
    except (OSError, EOFError, tarfile.TarError) as error:
        raise DataError(f"{source}: cannot be read: {error}") from error


def read_image(path: Path, size: int, *, gray: bool = False) -> np.ndarray:
    """The middle of one image, [size, size, 3] uint8, or [size, size, 1] if gray.

    Raises:
      DataError: if there is none, or it is no JPEG or PNG image of usual size.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist")
    picture = read_images(path.parent, [path.name], size)[path.name]
    return picture.mean(-1, keepdims=True).astype(np.uint8) if gray else picture


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


def _from_folder(folder: Path, wanted: Collection[str]):
    for name in wanted:
        path = folder / name
        if not path.exists():
            continue
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MOST_BYTES:
            raise DataError(f"{path}: is no file of at most {MOST_BYTES:,} bytes")
        yield name, str(path), retried(f"reading {path}", path.read_bytes)


def _from_archive(archive: Path, wanted: Collection[str]):
    mode = "r:gz" if archive.suffix == ".gz" else "r:"
    with tarfile.open(archive, mode) as tar:
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
