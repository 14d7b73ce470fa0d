"""Scenes of two digits: what is said of them is true."""

import numpy as np
import pytest
from conftest import needs_data

from experiments.data import DataError, scenes
from experiments.data.images import Images


@pytest.fixture(scope="module")
def squares() -> Images:
    """Digits of one brightness each, to be found again in a scene."""
    levels = np.arange(10, 250, 10, dtype=np.uint8)
    images = np.broadcast_to(levels[:, None, None], (len(levels), 28, 28))
    return Images(images, np.arange(len(levels), dtype=np.int32) % 10)


def test_both_captions_are_true_of_the_picture(squares):
    made = scenes.each_once(squares, None, 0)
    rng = np.random.default_rng(0)
    index = np.stack([rng.permutation(len(squares.labels))[:2] for _ in range(997)])
    more = scenes.compose(squares, index, rng)
    texts = scenes.all_captions()
    assert len(set(texts)) == len(texts) == np.prod(scenes.PARTS)
    seen = set()
    for image, numbers in (
        *zip(made.images, made.captions, strict=True),
        *zip(more.images, more.captions, strict=True),
    ):
        said = {texts[n] for n in numbers}
        things = []  # name, row and column of the center
        for level in set(image.ravel().tolist()) - {0}:
            rows, columns = np.nonzero(image == level)
            size = np.ptp(rows) + 1
            assert size == np.ptp(columns) + 1
            assert size in (14, 28)
            assert len(rows) == size**2  # nothing hides any of it
            label = squares.labels[squares.images[:, 0, 0] == level][0]
            name = f"a {'small ' if size == 14 else ''}{scenes.DIGITS[label]}"
            name = name.replace("a eight", "an eight")
            things.append((name, rows.mean(), columns.mean()))
        (a, *at), (b, *other) = things
        down, right = np.subtract(other, at)
        assert abs(abs(down) - abs(right)) >= scenes.MARGIN
        if abs(down) > abs(right):
            order = ("above", "below") if down > 0 else ("below", "above")
        else:
            order = ("left of", "right of") if right > 0 else ("right of", "left of")
        assert said == {f"{a} {order[0]} {b}", f"{b} {order[1]} {a}"}
        seen |= said
    assert len(seen) > 500


def test_no_digit_is_measured_on_twice(squares):
    levels = [
        level
        for image in scenes.each_once(squares, None, 0).images
        for level in set(image.ravel().tolist()) - {0}
    ]
    assert sorted(levels) == squares.images[:, 0, 0].tolist()
    with pytest.raises(DataError, match="24 digits of a part make 12 scenes, not 13"):
        scenes.each_once(squares, 13, 0)


@needs_data("mnist")
def test_digits_of_test_scenes_are_never_trained_on():
    digits = scenes.load_digits()
    assert [len(part.labels) for part in digits] == [55_000, 5_000, 10_000]
    sets = [{image.tobytes() for image in part.images} for part in digits]
    assert not sets[0] & sets[1]
    assert not sets[0] & sets[2]
