"""Images as people have them, in a folder or in a tar archive that is never unpacked.

Every image becomes 8-bit RGB as a viewer shows it:

- upright, as its EXIF orientation says;
- 16 bits a channel: 65,535 is white; decimal numbers: 1 is white, or 255 where any
  number is above 1;
- what is transparent is white; where nothing could be seen on white, black;
- of an animation or of several pages the first one;
- CMYK by the plain formula; profiles of colors are not applied.

A file that is damaged, even in its last bytes, is refused by its name.
"""

import io
import stat
import tarfile
import warnings
from collections.abc import Callable, Collection
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from experiments.data import DataError
from experiments.lab.storage import retried

MOST_BYTES = 32 << 20  # of one image; what is larger is no photograph of ours
MOST_PIXELS = 64_000_000
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "AVIF")


def read_images(
    source: Path, names: Collection[str], size: int
) -> dict[str, np.ndarray]:
    """The middles of images, [size, size, 3] uint8, by name.

    Args:
      source: a folder of images, or a tar archive of them, which is packed if its name
        ends in `.gz`.
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
      DataError: if there is none, or it is no image of usual size and form.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist")
    picture = read_images(path.parent, [path.name], size)[path.name]
    return picture.mean(-1, keepdims=True).astype(np.uint8) if gray else picture


def read_whole(path: Path, rows: int, columns: int) -> np.ndarray:
    """All of an image, [rows, columns, 3] uint8.

    It keeps its proportions: the border that this may leave has the color that is most
    frequent at the edges of the image.

    Raises:
      DataError: as `read_image`.
    """

    def fitted(image):
        from PIL import ImageOps

        if image.size == (columns, rows):
            return image
        pixels = np.asarray(image)
        edges = [pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]
        colors, counts = np.unique(np.concatenate(edges), axis=0, return_counts=True)
        color = tuple(map(int, colors[counts.argmax()]))
        return ImageOps.pad(image, (columns, rows), _lanczos(), color=color)

    if not path.exists():
        raise DataError(f"{path} does not exist")
    try:
        ((_, where, data),) = _from_folder(path.parent, [path.name])
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    return np.asarray(_shown(where, data, fitted))


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
    def middle(image):
        side = min(image.size)
        left, top = ((length - side) // 2 for length in image.size)
        square = image.crop((left, top, left + side, top + side))
        return square.resize((size, size), _lanczos())

    return np.asarray(_shown(where, data, middle))


def _shown(where: str, data: bytes, fit: Callable[[Any], Any]) -> Any:
    """What `fit` makes of an image as a viewer shows it, 8-bit RGB."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Damaged notes beside the pixels hurt nobody.
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            Image.init()
            formats = [name for name in FORMATS if name in Image.OPEN]
            image = Image.open(io.BytesIO(data), formats=formats)
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise ValueError(f"{width}x{height} are too many pixels")
            image.load()
            return fit(_rgb(_upright(image)))
    except UnidentifiedImageError:
        known = "JPEG, PNG, GIF, BMP, TIFF, WebP, AVIF or PNM"
        raise DataError(f"{where}: is no {known} image, or a damaged one") from None
    except Exception as error:  # damaged images raise errors of many kinds
        raise DataError(f"{where}: cannot be read as an image: {error}") from error


def _upright(image: Any) -> Any:
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a viewer shows an image with damaged notes as it is stored
        return image


def _rgb(image: Any) -> Any:
    from PIL import Image

    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_eight_bits(image)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    on_white, on_black = (
        Image.alpha_composite(Image.new("RGBA", image.size, c), image).convert("RGB")
        for c in ("white", "black")
    )
    white: Any = on_white.getextrema()
    black: Any = on_black.getextrema()
    unseen = min(low for low, _ in white) > 250
    seen = any(low < high for low, high in black)
    return on_black if unseen and seen else on_white


def _eight_bits(image: Any) -> np.ndarray:
    """Grays of more than 8 bits, [rows, columns] uint8."""
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("expected finite numbers")
    low, high = values.min(), values.max()
    white = 65535.0
    if image.mode == "F":
        white = 1.0 if high <= 1 else 255.0
    if low < 0 or high > white:
        raise ValueError(f"expected grays of 0 to {white:g}, found {low:g} to {high:g}")
    grays = (values * (255 / white)).round().astype(np.uint8)
    if (unseen := image.info.get("transparency")) is not None:
        grays[values == unseen] = 255
    return grays


def _lanczos() -> Any:
    from PIL import Image

    return Image.Resampling.LANCZOS
