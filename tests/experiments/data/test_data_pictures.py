"""Images as people have them: turned, deep, transparent, indexed, moving, cut off."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments.data import DataError
from experiments.data.formats.pictures import read_image, read_images, read_whole

RED, BLUE = (220, 60, 20), (10, 30, 200)


@pytest.fixture
def shown() -> np.ndarray:
    """Red above, blue at the left: no turn of it is itself."""
    pixels = np.full((16, 16, 3), 90, np.uint8)
    pixels[:6] = RED
    pixels[6:, :4] = BLUE
    return pixels


TURNS = {  # EXIF orientation: how the stored pixels come from those shown
    1: None,
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_90",
    7: "TRANSVERSE",
    8: "ROTATE_270",
}


@pytest.mark.parametrize("kind", ["png", "tiff", "jpg", "webp"])
def test_an_image_stands_as_its_orientation_says(shown, tmp_path, kind):
    for tag, turn in TURNS.items():
        exif, image = Image.Exif(), Image.fromarray(shown)
        exif[0x0112] = tag
        if turn is not None:
            image = image.transpose(Image.Transpose[turn])
        options = {"jpg": {"quality": 95}, "webp": {"lossless": True}}.get(kind, {})
        path = tmp_path / f"{tag}.{kind}"
        image.save(path, exif=exif, **options)
        found = read_image(path, 16).astype(int)
        assert np.abs(found - shown).mean() < (8 if kind == "jpg" else 1), tag


def test_damaged_exif_leaves_an_image_as_it_is_stored(shown, tmp_path):
    Image.fromarray(shown).save(tmp_path / "a.png", exif=b"Exif\0\0no notes at all")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", 16), shown)


def test_sixteen_bits_keep_their_grays(tmp_path):
    grays = np.arange(256, dtype=np.uint8).reshape(16, 16)
    deep = grays.astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(deep).save(tmp_path / "deep.tif")
    Image.fromarray(deep.astype(np.int32)).save(tmp_path / "int.tif")
    Image.fromarray((grays / 255).astype(np.float32)).save(tmp_path / "share.tif")
    Image.fromarray(grays.astype(np.float32)).save(tmp_path / "float.tif")
    (tmp_path / "deep.pgm").write_bytes(
        b"P5 16 16 65535\n" + deep.astype(">u2").tobytes()
    )
    for path in tmp_path.iterdir():
        found = read_image(path, 16)
        np.testing.assert_array_equal(found, np.repeat(grays[..., None], 3, 2), path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((4, 4), -2.0), "expected grays of 0 to 1, found -2 to -2"),
        (np.full((4, 4), 300.0), "expected grays of 0 to 255, found 300 to 300"),
        (np.full((4, 4), np.nan), "expected finite numbers"),
    ],
)
def test_numbers_that_are_no_grays_are_refused(values, message, tmp_path):
    Image.fromarray(values.astype(np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=rf"a\.tif: cannot be read.*{message}"):
        read_image(tmp_path / "a.tif", 4)


def save_half_seen(folder: Path, ink: tuple[int, int, int]) -> list[Path]:
    """A square of one color with nothing around it, in every form there is."""
    alpha = np.zeros((8, 8), np.uint8)
    alpha[2:6, 2:6] = 255
    rgba = np.dstack([np.full((8, 8, 3), ink, np.uint8), alpha])
    image = Image.fromarray(rgba, "RGBA")
    image.save(folder / "rgba.png")
    image.convert("LA").save(folder / "la.png")
    image.save(folder / "rgba.webp", lossless=True)
    image.save(folder / "rgba.tif")
    indexed = Image.fromarray((alpha > 0).astype(np.uint8), "P")
    indexed.putpalette([1, 2, 3, *ink])
    indexed.save(folder / "p.png", transparency=0)
    indexed.save(folder / "p.gif", transparency=0)
    key = np.where(alpha[..., None] > 0, ink, (1, 2, 3)).astype(np.uint8)
    Image.fromarray(key).save(folder / "key.png", transparency=(1, 2, 3))
    return sorted(folder.iterdir())


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
@pytest.mark.parametrize(("ink", "behind"), [((0,) * 3, 255), ((255,) * 3, 0)])
def test_what_is_transparent_is_white_or_what_lets_the_image_be_seen(
    ink, behind, tmp_path
):
    right = np.full((8, 8, 3), behind, np.uint8)
    right[2:6, 2:6] = ink
    for path in save_half_seen(tmp_path, ink):
        np.testing.assert_array_equal(read_image(path, 8), right, path.name)


def test_half_transparent_mixes_with_white(tmp_path):
    Image.new("RGBA", (4, 4), (200, 0, 0, 51)).save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png", 4)
    np.testing.assert_allclose(found[0, 0], [244, 204, 204], atol=1)


def test_palettes_grays_bits_and_inks_have_their_colors(shown, tmp_path):
    image = Image.fromarray(shown)
    image.quantize(8).save(tmp_path / "palette.png")
    image.quantize(8).save(tmp_path / "palette.bmp")
    image.convert("CMYK").save(tmp_path / "cmyk.tif")
    image.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=98, subsampling=0)
    image.convert("YCbCr").save(tmp_path / "ycbcr.tif")
    for path in tmp_path.iterdir():
        error = np.abs(read_image(path, 16).astype(int) - shown).mean()
        assert error < 6, path.name
    gray = np.array(image.convert("L"))
    image.convert("L").save(tmp_path / "gray.png")
    found = read_image(tmp_path / "gray.png", 16)
    np.testing.assert_array_equal(found, np.repeat(gray[..., None], 3, 2))
    image.convert("1").save(tmp_path / "bits.png")
    found = read_image(tmp_path / "bits.png", 16)
    np.testing.assert_array_equal(found[..., 0], np.array(image.convert("1")) * 255)


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "tiff"])
def test_of_several_pictures_the_first_one_is_read(kind, tmp_path):
    frames = [Image.new("RGB", (8, 8), color) for color in (RED, BLUE)]
    path = tmp_path / f"a.{kind}"
    options: Any = {"lossless": True} if kind == "webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    assert np.abs(read_image(path, 8).astype(int) - RED).max() <= 2


def encoded(shown: np.ndarray, kind: str) -> bytes:
    file, noise = io.BytesIO(), np.random.default_rng(0)
    pixels = noise.integers(256, size=(64, 64, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "bmp", "tiff", "webp", "ppm"])
def test_a_file_that_is_cut_off_is_refused_by_its_name(shown, kind, tmp_path):
    whole = encoded(shown, kind)
    for share in (0.0, 0.02, 0.5, 0.9):
        path = tmp_path / f"cut.{kind}"
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(DataError, match=rf"cut\.{kind}: (cannot be|is no JPEG)"):
            read_image(path, 8)
        with pytest.raises(DataError, match=rf"cut\.{kind}: "):
            read_whole(path, 8, 8)


def test_all_of_an_image_keeps_its_proportions_on_the_color_of_its_edges(tmp_path):
    wide = np.full((8, 40, 3), 200, np.uint8)
    wide[:, 10:30] = 20
    Image.fromarray(wide).save(tmp_path / "wide.png")
    found = read_whole(tmp_path / "wide.png", 20, 20)
    np.testing.assert_array_equal(found[:8], 200)
    np.testing.assert_array_equal(found[-8:], 200)
    np.testing.assert_allclose(found[8:12, 7:13].astype(int), 20, atol=2)
    np.testing.assert_allclose(found[8:12, :3].astype(int), 200, atol=2)
    np.testing.assert_array_equal(read_whole(tmp_path / "wide.png", 8, 40), wide)
    with pytest.raises(DataError, match=r"none\.png does not exist"):
        read_whole(tmp_path / "none.png", 8, 8)


def test_a_folder_gives_the_images_that_it_has(shown, tmp_path):
    Image.fromarray(shown).save(tmp_path / "a.png")
    assert set(read_images(tmp_path, ["a.png", "b.png"], 8)) == {"a.png"}
