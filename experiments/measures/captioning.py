"""What captions are worth, by the measure of each data set.

A result is a dict of rows to set side by side, texts to print below them, and facts.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.data import captioned, scenes
from experiments.measures.captions import all_found, mistakes, right, wilson_interval


class Said(NamedTuple):
    """Captions of N test images, and those that are true."""

    greedy: list[list[str]]  # of each seed, [S][N]
    beams: list[list[list[str]]]  # of each seed and image the best first, [S][N][K]
    simple: Mapping[str, list[str]]  # by the name of a baseline, [N]
    references: list[list[str]]

    @property
    def best(self) -> list[list[str]]:
        """The first caption of each beam, [S][N]."""
        return [[hypotheses[0] for hypotheses in seed] for seed in self.beams]


class Result(NamedTuple):
    """What was measured."""

    columns: dict[str, str]
    rows: dict[str, list[Any]]
    texts: list[str]
    facts: dict[str, Any]


def accuracy(said: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """The share of captions that are wholly right."""
    return float(np.mean(right(said, references)))


def bleu_4(said: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """BLEU-4, in percent."""
    from experiments.measures.bleu import bleu

    return bleu(said, references)[0].score


def scenes_result(said: Said) -> Result:
    """How many captions of scenes are wholly right, and what the mistakes are."""
    facts: dict[str, Any] = {}
    rows: dict[str, list[Any]] = {}
    references, count = said.references, len(said.references)
    for way, seeds in {"greedy": said.greedy, "beam": said.best}.items():
        hits = [int(right(texts, references).sum()) for texts in seeds]
        intervals = [wilson_interval(n, count) for n in hits]
        facts[f"test_accuracy_{way}"] = np.mean(hits) / count
        facts[f"test_accuracy_{way}_per_seed"] = np.array(hits) / count
        facts[f"test_accuracy_{way}_95_percent_intervals"] = intervals
        rows[way] = [np.array(hits) / count, *intervals[0]]
    both = [all_found(hypotheses, references) for hypotheses in said.beams]
    facts["both_true_captions_are_the_two_best_per_seed"] = both
    rows["both true captions are the two best of the beam"] = [both, None, None]
    simple = {"a caption at random": 2 / np.prod(scenes.PARTS)}
    for name, texts in said.simple.items():
        simple[f"{name}, {texts[0]!r}"] = right(texts, references).mean()
    facts["baselines"] = simple
    rows |= {name: [share, None, None] for name, share in simple.items()}
    parts = scenes.parts_of_captions()
    wrong = mistakes(said.best[0], references, parts, scenes.KINDS).counts
    facts["mistakes_of_the_first_seed"] = wrong
    listed = ", ".join(f"{kind} {n}" for kind, n in wrong.items())
    text = f"wrong with the beam, of the first seed: {listed}"
    columns = {"wholly right": ".3%"}
    columns |= {"95% of the first seed, from": ".2%", "to": ".2%"}
    return Result(columns, rows, [text], facts)


def photographs_result(said: Said) -> Result:
    """BLEU-1 to BLEU-4 of the network, of simple ways and of people."""
    from experiments.measures.bleu import bleu, bleu_1_to_4, people

    facts: dict[str, Any] = {}
    rows: dict[str, list[Any]] = {}
    references = said.references
    ways = {"beam": said.best, "greedy": said.greedy}
    ways |= {name: [texts] for name, texts in said.simple.items()}
    for name, seeds in ways.items():
        values = [bleu_1_to_4(texts, references) for texts in seeds]
        facts[f"test_bleu_{name}"] = np.mean(values, axis=0)
        facts[f"test_bleu_{name}_per_seed"] = values
        rows[name] = list(np.transpose(values))
    if values := people(references):
        facts["test_bleu_people"] = values
        rows["a person's caption, against the others"] = values
    score, signature = bleu(said.best[0], references, bootstrap=1000)
    facts["bleu_4_of_the_first_seed"] = str(score)
    facts["bleu_signature"] = signature
    columns = {f"BLEU-{order}": ".1f" for order in (1, 2, 3, 4)}
    return Result(columns, rows, [f"the first seed: {score}", signature], facts)


class Kind(NamedTuple):
    """How a data set is read, and what captions of it are worth."""

    read: Callable[..., Any]  # (options, data_dir) -> data
    material: Callable[..., captioned.Material]  # (options, data)
    picture: Callable[..., np.ndarray]  # (options, path) -> an image of your own
    score: Callable[..., float]  # (captions, references)
    result: Callable[[Said], Result]


KINDS = {
    "scenes": Kind(
        captioned.read_scenes,
        captioned.scenes_material,
        captioned.picture_of_scene,
        accuracy,
        scenes_result,
    ),
    "flickr8k": Kind(
        captioned.read_photographs,
        captioned.photographs_material,
        captioned.picture_of_photograph,
        bleu_4,
        photographs_result,
    ),
}
KINDS["own"] = KINDS["flickr8k"]
