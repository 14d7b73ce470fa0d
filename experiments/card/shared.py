"""What a study says of the network that it shares, and which seed that is."""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from experiments import lab
from experiments.card.layout import Layout
from experiments.card.sources import Source
from experiments.lab.run import DAMAGED
from experiments.lab.storage import retried


class Result(NamedTuple):
    """A figure of each seed."""

    metric: str  # its name on model hubs
    name: str  # and in words
    form: str  # the format of the number
    values: Any  # [S]
    split: str = "test"


class Shared(NamedTuple):
    """A trained network, for others."""

    about: str  # what it does
    inputs: str
    outputs: str
    task: str  # its name on model hubs
    init: Callable[..., Any]  # (key) -> params
    # (params of one seed) -> the network as torch has it; None where it has it not
    layout: Callable[[Any], Layout | None]
    # In Python, how `net` is made from `config`, and what it computes with `params` of
    # one example.
    make: str
    call: str
    sources: tuple[Source, ...]
    results: tuple[Result, ...]
    # The metric of metrics.jsonl by which a seed is chosen, "-loss" where less is
    # better; None: nothing but the test tells the seeds apart.
    best: str | None = None
    last: bool = False  # whether the params are of the last epoch, not of the best
    files: Mapping[str, str] = {}  # by name, what they are: those of the run
    texts: Mapping[str, tuple[str, str]] = {}  # by name, what is in it, what it is
    # Where the tensors have torch's names, and `codes` of the layout no jaxrnn: makes
    # params `like` those of the network from `state`, the tensors.
    read: str = ""
    imports: str = ""
    example: str = ""  # code that makes inputs of text
    note: str = ""


def chosen(finished: lab.Finished, metric: str | None, last: bool) -> int:
    """The index of the best seed, by a metric of the validation part; see `Shared`.

    Raises:
      UsageError: if metrics.jsonl is missing or damaged.
    """
    if metric is None:
        return 0
    path, name = finished.path / "metrics.jsonl", metric.removeprefix("-")
    try:
        lines = retried(f"reading {path}", path.read_text).splitlines()
        values = np.array([json.loads(line)[name] for line in lines], float)
        if values.ndim != 2 or values.shape[1] != finished.summary["config"]["seeds"]:
            raise ValueError(f"{name} is not one number for each seed")
    except DAMAGED as error:
        raise lab.UsageError(f"--out: {path} is damaged: {error}") from None
    signed = -values if metric.startswith("-") else values
    signed = np.where(np.isnan(signed), -np.inf, signed)
    return int((signed[-1] if last else signed.max(0)).argmax())


def of_each_seed(finished: lab.Finished, name: str, *path: Any) -> np.ndarray:
    """Numbers of each seed that stand deeper in the summary, [S].

    Args:
      finished: the run.
      name: in the summary.
      *path: keys from there to the list of seeds, and last of all the place of the
        number in what each seed has; None if that is the number.
    """
    *keys, place = path
    try:
        found = finished.summary[name]
        for key in keys:
            found = found[key]
        values = [v if place is None else v[place] for v in found]
        if len(values) != finished.summary["config"]["seeds"]:
            raise ValueError(f"{name} has not one entry for each seed")
        return np.array(values, float)
    except DAMAGED as error:
        where = finished.path / "summary.json"
        raise lab.UsageError(f"--out: {where} is damaged: {error}") from None
