"""Measures what recurrent cells can remember: every cell on every task, of equal size.

    python -m experiments.memory --out FOLDER
    python -m experiments.memory --out FOLDER --cells lstm gru --tasks parity adding
    python -m experiments.memory --task permuted --cell lstm --data-dir FOLDER

The first two make a table, a run for each cell and task in FOLDER/TASK/CELL; the same
command again makes those that are missing, and goes on with one that was stopped. With
--task or --cell it is one run. All options of a run are options of the table.

    h_t = cells(x_t, h_{t-1}),    p(y_t) = softmax(h_t V)        or y = h_T V

The tasks are in `experiments.data.recall`: adding (the squared error), copy, selective
copy, recall (MQAR), parity and counting (the share of right answers); and MNIST pixel
by pixel, in order and permuted. The hidden size is the one with which the whole network
comes nearest to --params numbers. Parity and counting are learned on sequences that
grow to --train-length and measured on longer ones.

Shapes: S seeds, N examples, T steps, K outputs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, NamedTuple, get_args

import numpy as np

import jaxrnn as rnn
from experiments import lab
from experiments.data import recall
from experiments.data.images import load_images, sequences
from experiments.data.recall import Examples, Made
from experiments.measures.memory import PUBLISHED, TASKS, Grid
from experiments.models.decays import DECAYS
from experiments.models.sequence import (
    CELLS,
    CellName,
    Sequence,
    count_params,
    fitted,
    sequence,
)

TaskName = Literal[
    "adding", "copy", "selective", "recall", "parity", "counting", "pixels", "permuted"
]
GATED = (  # not linear in their state: stacked without shortcuts
    *("elman", "gru", "lstm", "coupled_lstm", "peephole_lstm", "layer_norm_lstm"),
    *("layer_norm_gru", "mgu", "slstm", "irnn", "indrnn", "orthogonal", "clockwork"),
    *("cornn", "lem", "cfc", "ltc"),
)
IMAGES = "pixels", "permuted"
COUNTS = "parity", "counting"  # that ask at each step


EVERY_TASK = get_args(TaskName)


@dataclass(frozen=True)
class Config(lab.Config):
    """Measures what recurrent cells can remember: every cell on every task.

    The defaults shown are those of the chosen --preset, --task and --cell.
    """

    preset: Literal["default", "smoke"] = "default"
    """A set of defaults: default, for results; smoke, to see quickly that all works."""
    task: TaskName = "parity"
    """What is to be remembered, in one run."""
    cell: CellName = "lstm"
    """The recurrent cell, in one run."""
    tasks: lab.Asked[tuple[TaskName, ...]] = EVERY_TASK
    """The columns of the table."""
    cells: lab.Asked[tuple[CellName, ...]] = ()
    """The rows of the table; none: every cell."""
    length: lab.AtLeast1 = 256
    """T: steps of a sequence; of copy, those of the pause. MNIST has 784."""
    train_length: lab.AtLeast1 = 64
    """Of parity and counting: the longest sequences learned from, at the end."""
    pairs: lab.AtLeast1 = 16
    """Of recall: how many keys have a value."""
    symbols: lab.AtLeast1 = 64
    """Of recall: how many keys there are, and how many values."""
    modulus: Annotated[int, lab.Range("at least 2", lambda v: v >= 2)] = 5
    """Of counting: m."""
    params: lab.AtLeast1 = 10_000
    """Numbers in a network, which decide the hidden size."""
    hidden_size: lab.AtLeast1 | None = None
    """Size of the hidden state, in place of --params."""
    layers: lab.AtLeast1 = 1
    """How many recurrent layers."""
    block: Literal["plain", "residual"] = "residual"
    """A layer: the cell alone; or a norm, the cell, a gated unit and a shortcut."""
    pool: Literal["last", "mean"] = "last"
    """Of one answer: what it is read from, the last state or the mean of all."""
    window: lab.AtLeast1 = 1
    """How many inputs a network reads at a step: 2 for the one before, too."""
    dropout: lab.Share = 0.0
    """Share of the hidden units left out while training, after each layer."""
    updates: lab.AtLeast1 = 100
    """Updates in an epoch, where examples are made as they are needed."""
    train_images: lab.Above0[int] | None = None
    """Use only the first n training images; None: all."""
    test_examples: lab.AtLeast1 = 1000
    """How many examples to measure on, where they are made."""


BASE = lab.Training(
    epochs=20, batch_size=32, learning_rate=3e-3, weight_decay=0.0, seeds=3
)
SMOKE = {
    **{"length": 8, "train_length": 8, "pairs": 2, "symbols": 4, "params": 700},
    **{"epochs": 2, "updates": 5, "batch_size": 8, "test_examples": 20, "seeds": 2},
    **{"train_images": 40},
}
RECIPES = lab.Recipes(
    Config(train=BASE),
    lab.When({"cell": GATED}, {"block": "plain"}),
    lab.When({"task": "adding"}, {"length": 200}),
    lab.When({"task": "copy"}, {"length": 500}),
    lab.When({"task": "selective"}, {"length": 200}),
    lab.When({"task": COUNTS}, {"epochs": 40, "learning_rate": 1e-2}),
    lab.When({"task": COUNTS, "cell": GATED}, {"learning_rate": 3e-3}),
    lab.When({"task": COUNTS, "cell": tuple(DECAYS)}, {"block": "plain"}),
    lab.When({"task": "recall"}, {"length": 96, "window": 2, "params": 30_000}),
    lab.When(
        {"task": IMAGES},
        {"params": 70_000, "pool": "mean", "epochs": 10, "batch_size": 50, "seeds": 1},
    ),
    lab.When({"task": IMAGES, "cell": GATED}, {"pool": "last"}),
    lab.When({"preset": "smoke"}, SMOKE),
    lab.When({"preset": "smoke", "task": "selective"}, {"length": 20}),
)


class Data(NamedTuple):
    """A task, and its examples."""

    task: Made
    train: Examples | None  # None: made as they are needed
    test: Examples


def load(config: Config) -> Data:
    """Makes the examples to measure on, or loads the images."""
    size, count = config.train.batch_size, config.test_examples
    if config.task in IMAGES:
        images = load_images("mnist", config.run.data_dir)
        train, test = images.train.first(config.train_images), images.test
        if config.preset == "smoke":
            test = test.first(count)
        lab.check_batch_size(size, len(train.images))
        parts = [
            Examples(sequences(part.images, images.max_value, config.task), part.labels)
            for part in (train, test)
        ]
        known = Made(None, 1, len(images.classes), 0.1, lambda *_: parts[0])
        return Data(known, *parts)
    pairs, symbols = config.pairs, config.symbols
    least = {"adding": 2, "selective": recall.SELECTED, "recall": 4 * pairs}
    expected = f"at least {least.get(config.task, 1)} for {config.task}"
    fits = config.length >= least.get(config.task, 1)
    lab.require(fits, "length", expected, config.length)
    if config.task == "recall":
        lab.require(pairs <= symbols, "pairs", f"at most {symbols} --symbols", pairs)
    more = {"recall": (pairs, symbols), "counting": (config.modulus,)}
    make = recall.TASKS[config.task]
    task = make(config.length, *more.get(config.task, ()))
    return Data(task, None, task.make(np.random.default_rng(2**31), count, None))


class Problem(NamedTuple):
    """A network for a task."""

    data: Data
    net: Sequence
    hidden_size: int
    measure: Callable  # (params [S, ...], *examples) -> {metric: [S, N]}


def prepare(config: Config, data: Data, keep: lab.Keep) -> Problem:
    """Makes the network that has as many params as are asked for."""
    del keep
    task = data.task
    reads = "steps" if data.test.asked is not None else config.pool

    def make(hidden_size):
        return sequence(
            *(config.cell, task.vocab_size, task.input_size, hidden_size, task.outputs),
            layers=config.layers,
            block=config.block,
            reads=reads,
            window=config.window,
            dropout=config.dropout,
        )

    size = config.hidden_size or fitted(make, config.params)
    net = make(size)
    return Problem(data, net, size, lab.over_seeds(partial(scores, net), batch=100))


def scores(net, params, xs, answer, asked=None, key=None):
    """Of one example: the loss, and the share of right answers where there is one."""
    found = net.answers(params, xs, key)
    if np.issubdtype(answer.dtype, np.floating):
        return {"loss": rnn.squared_error(found[0], answer)}
    return {
        "loss": rnn.cross_entropy(found, answer, asked),
        "accuracy": rnn.accuracy(found, answer, asked),
    }


def task(config: Config, problem: Problem) -> lab.Task:
    """Learns the answers by their cross-entropy, or a number by the squared error."""
    data, net, size = problem.data, problem.net, config.train.batch_size

    def loss(params, *example):
        *arrays, key = example
        aux = scores(net, params, *arrays, key=key)
        return aux.pop("loss"), aux

    def measure(params):
        found = problem.measure(params, *arrays_of(data.test))
        return {f"test_{k}": np.asarray(v).mean(axis=1) for k, v in found.items()}

    def make(seed, epoch, update):
        numbers = np.random.default_rng((seed, epoch, update))
        if config.task not in COUNTS:
            return arrays_of(data.task.make(numbers, size, None))
        longest = grown(config, epoch)
        lengths = numbers.integers(1, longest + 1, size)
        made = data.task.make(numbers, size, config.train_length)
        return arrays_of(recall.shorter(made, lengths))

    if data.train is None:
        batches = lab.made(config.updates, size, make)
    else:
        read = lab.take(*arrays_of(data.train))
        batches = lab.shuffled(len(data.train.xs), size, read)
    # What is measured on chooses nothing, not even a checkpoint.
    return lab.Task(net.init, loss, batches, measure, "-train_loss", keep_best=False)


def arrays_of(examples: Examples) -> tuple[np.ndarray, ...]:
    """Those that there are."""
    return tuple(array for array in examples if array is not None)


def grown(config: Config, epoch: int) -> int:
    """The longest sequences of an epoch: from 4 to --train-length, by a factor."""
    share = min(1.0, epoch / max(1, 0.6 * config.train.epochs))
    first = min(4, config.train_length)
    return round(first * (config.train_length / first) ** share)


def report(config: Config, problem: Problem, outcome: lab.Outcome) -> lab.Report:
    """The score of each seed, beside those that are published, and the curves."""
    from experiments.plots import curves

    data, name = problem.data, TASKS[config.task].score
    form, chance = TASKS[config.task].form, data.task.chance
    score = np.array(outcome.history[-1][f"test_{name}"], float)
    count = count_params(problem.net.init)
    published = PUBLISHED.get(config.task, {})
    rows = [
        lab.Row(config.cell, [score]),
        lab.Row("by chance", [chance]),
        *(lab.Row(source, [value]) for source, value in published.items()),
    ]
    title = f"{TASKS[config.task].title}, {problem.hidden_size} hidden units"
    panels = {"loss": ("train_loss", "test_loss")}
    if name == "accuracy":
        panels["accuracy"] = ("train_accuracy", "test_accuracy")
    return lab.Report(
        body=[lab.Table(title, {name: form}, rows)],
        facts={
            "task": config.task,
            "cell": config.cell,
            "hidden_size": problem.hidden_size,
            "params": count,
            "chance": chance,
            "score": score.mean(),
            "score_per_seed": score,
        },
        figures={
            "curves.png": lambda path: curves(
                path, outcome.history, panels, f"{config.task}, {config.cell}"
            ),
        },
    )


STUDY = lab.Study(
    *("memory", RECIPES, load, task, report),
    prepare=prepare,
    digested=lambda data: (data.train, data.test),
)


def table(config: Config, done: Mapping[tuple[str, str], lab.Done]) -> lab.Report:
    """Every cell on every task: its score, its size and its time; plots of all."""
    from experiments.plots.memory import heat, learning

    grid = Grid(done)
    names = {task: TASKS[task].score for task in grid.tasks}
    return lab.Report(
        body=[
            lab.Table(title, columns, [lab.Row(*row) for row in rows])
            for title, columns, rows in grid.tables()
        ],
        facts={"cells": grid.cells, "tasks": grid.tasks},
        figures={
            "heat.png": lambda path: heat(
                path, grid.shares(), grid.texts(), grid.cells, grid.tasks
            ),
            "learning.png": lambda path: learning(path, grid.histories(), names),
        },
    )


GRID = lab.Grid(
    *(STUDY, "cell", "task"),
    places=lambda config: (config.cells or CELLS, config.tasks),
    report=table,
)

if __name__ == "__main__":
    lab.main_of(GRID)
