"""The images and captions of each data set, as a network learns and is measured on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments import lab
from experiments.data import scenes
from experiments.data.captions import CaptionData, Captioned, load_captions
from experiments.data.formats.pictures import nearest, read_image
from experiments.data.own_captions import load_own
from experiments.data.subwords import Subwords, padded, words

SIZE = scenes.SIZE  # of the images that a network reads, in pixels
REFERENCES = 5  # at most so many captions of an image are used


@dataclass(frozen=True)
class OwnPhotographs(lab.Config):
    """Options of a study that can read photographs and captions of your own."""

    images: Path | None = None
    """Photographs of your own: a folder."""
    captions: Path | None = None
    """--images: their captions, .csv, .tsv, .json, .jsonl or .txt; None: the one in the
    folder called captions or metadata, or else the texts beside the images."""
    limit: lab.AtLeast1 | None = None
    """Use only so many images of each set, the first ones (of scenes, only those that
    are measured on); None: all."""
    captions_file: str = "captions.tsv"
    """flickr8k: name of the file of captions."""
    images_file: str = "images128.tar"
    """flickr8k: name of the archive, or the folder, of images."""
    shift: lab.AtLeast0 = 8
    """flickr8k: while training, move images by up to so many pixels, mirror half of
    them and change light and contrast; 0: none of it."""
    least_count: lab.AtLeast1 = 4
    """flickr8k: words that are rarer in the training captions are not learned."""
    most_words: lab.AtLeast1 = 8
    """Longer captions are cut, and none are said."""
    predict: lab.Asked[tuple[Path, ...] | None] = None
    """Train nothing; caption these images, or those in these folders, with the finished
    run in --out."""


class Examples(NamedTuple):
    """Images with captions; N of them."""

    names: list[str]
    images: np.ndarray  # [N, R, R, channels] uint8
    tokens: np.ndarray  # [N, captions, T] int32
    references: list[list[str]]  # the true captions of each

    def table(self, said: Sequence[str]) -> str:
        """What was said of each image and what is true, separated by tabs."""
        rows = zip(self.names, said, self.references, strict=True)
        lines = ["\t".join([name, text, *true]) for name, text, true in rows]
        return "\n".join(["image\tsaid\ttrue", *lines, ""])


class Material(NamedTuple):
    """What is learned from, what is measured on, and what simple ways say of it."""

    vocabulary: Subwords
    # Examples, or for scenes (count, seed, epoch, update) -> images, tokens
    train: Examples | Callable[..., tuple[np.ndarray, np.ndarray]]
    validation: Examples
    test: Examples
    simple: dict[str, list[str]]  # by its name, what a baseline says of the test images

    def sizes(self) -> dict[str, int]:
        """How many words there are, and images to measure on."""
        images = len(self.validation.names), len(self.test.names)
        names = "vocabulary", "validation_images", "test_images"
        return dict(zip(names, (self.vocabulary.size, *images), strict=True))


def read_scenes(options: OwnPhotographs, data_dir: Path | None) -> scenes.Digits:
    """The digits of which scenes are composed."""
    return scenes.load_digits(data_dir)


def read_photographs(options: OwnPhotographs, data_dir: Path | None) -> CaptionData:
    """Flickr8k, or photographs and captions of your own."""
    if options.images is not None:
        return load_own(SIZE + options.shift, options.images, options.captions)
    return load_captions(
        SIZE + options.shift,
        data_dir,
        captions=options.captions_file,
        images=options.images_file,
    )


def picture_of_scene(options: OwnPhotographs, path: Path) -> np.ndarray:
    """An image of your own, [SIZE, SIZE, 1], white on black as MNIST's digits are."""
    pixels = read_image(path, SIZE, gray=True)
    return 255 - pixels if np.median(pixels) > 127 else pixels


def picture_of_photograph(options: OwnPhotographs, path: Path) -> np.ndarray:
    """An image of your own, [R, R, 3], as it would be read for training."""
    return read_image(path, SIZE + options.shift)


def scenes_material(options: OwnPhotographs, digits: scenes.Digits) -> Material:
    """Scenes of two digits; those to learn from are composed as they are needed."""
    captions = scenes.all_captions()
    vocabulary, most = words(captions), options.most_words
    tokens = padded(vocabulary, [[text] for text in captions], most)[:, 0]

    def make(count, seed, epoch, update):
        batch = scenes.drawn(digits.train, count, seed, epoch, update)
        return batch.images[..., None], tokens[batch.captions]

    def examples(source, count, seed):
        made = scenes.captioned(scenes.each_once(source, count, seed))
        names, images, texts = made.first(options.limit)
        return Examples(names, images, padded(vocabulary, texts, most), texts)

    validation = examples(digits.validation, 1000, 0)
    test = examples(digits.test, None, 1)
    texts, counts = np.unique(test.references, return_counts=True)
    often = str(texts[counts.argmax()])
    simple = {"the caption that is true most often": [often] * len(test.names)}
    return Material(vocabulary, make, validation, test, simple)


def photographs_material(options: OwnPhotographs, data: CaptionData) -> Material:
    """Photographs and what people say of them."""
    from experiments.measures.bleu import best_constant

    train, validation, test = (split.first(options.limit) for split in data)
    texts = (text for own in train.captions for text in own)
    vocabulary = words(texts, options.least_count)

    def examples(split: Captioned) -> Examples:
        references = [texts[:REFERENCES] for texts in split.captions]
        tokens = padded(vocabulary, references, options.most_words)
        return Examples(split.names, split.images, tokens, references)

    train, validation, test = map(examples, (train, validation, test))
    constant = best_constant(train.references, validation.references)
    alike = nearest(train.images, test.images)
    simple = {
        "one caption for all": [constant] * len(test.names),
        "that of the most similar photograph": [train.references[i][0] for i in alike],
    }
    return Material(vocabulary, train, validation, test, simple)
