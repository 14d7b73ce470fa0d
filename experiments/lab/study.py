"""What an experiment is made of: the one interface between a study and the lab.

`lab.main(STUDY)` calls the functions of a `Study` in this order:

    config  = STUDY.recipes(...) and the command line
    data    = STUDY.load(config)
    problem = STUDY.prepare(config, data, keep)        in the folder of the run
    task    = STUDY.task(config, problem)
    outcome = the loop trains all seeds at once, saves, resumes
    report  = STUDY.report(config, problem, outcome)   printed, stored, drawn

S is the number of seeds, B that of the examples in a batch.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn as rnn
from experiments.lab.batches import Batches
from experiments.lab.errors import UsageError
from experiments.lab.guard import Guard
from experiments.lab.recipes import Recipes


class Task(NamedTuple):
    """What is learned: pure functions of one example, and where examples come from."""

    init: Callable[..., Any]  # (key) -> params
    # (params, *example, key) -> loss, {name: value}; with a `carry`
    # (params, carry, *example, key) -> loss, (carry, {name: value})
    loss: Callable[..., Any]
    batches: Batches
    # (params [S, ...]) -> {metric: [S]}, after each epoch
    measure: Callable[[Any], dict[str, Any]]
    # The metric by which the best epoch is known: of `measure`, or train_loss or
    # train_<name> of the loss; "-loss" where less is better.
    best: str
    # Whether the params of each seed's best epoch are the result, or those of the last.
    keep_best: bool = True
    # (params) -> carry of one stream, for truncated backpropagation through time
    carry: Callable[[Any], Any] | None = None

    def starter(self, optimizer: Any, batch_size: int) -> Callable[[jax.Array], Any]:
        """Makes (key) -> the state of a seed before the first update."""

        def start(key):
            params_key, update_key = jax.random.split(key)
            params = self.init(params_key)
            carry = () if self.carry is None else self.carry(params)
            carry = jax.tree.map(
                lambda a: jnp.broadcast_to(a, (batch_size, *a.shape)), carry
            )
            return rnn.train_state(params, optimizer, update_key, carry)

        return start

    def aux_names(self, example: tuple[Any, ...]) -> list[str]:
        """The names of what the loss returns beside its value."""

        def aux(key):
            params = self.init(key)
            if self.carry is None:
                return self.loss(params, *example, key)[1]
            return self.loss(params, self.carry(params), *example, key)[1][1]

        return list(jax.eval_shape(aux, jax.random.key(0)))


class Outcome(NamedTuple):
    """The result of training."""

    params: Any  # [S, ...], of the best epoch of each seed or of the last
    history: list[dict[str, Any]]  # for each epoch, each metric as a list over seeds
    guard: Guard
    times: dict[str, float]


class Row(NamedTuple):
    """A line of a table."""

    name: str  # what was measured, or what the result is compared with
    # A value for each column: a number, a number for each seed [S], a text, or None.
    values: Sequence[Any]


class Table(NamedTuple):
    """Results side by side, this run first.

    Example:
      >>> Table(
      ...     "accuracy on 360 test images",
      ...     {"accuracy": ".2%"},
      ...     [Row("lstm", [[0.981, 0.975]]), Row("the most frequent class", [0.1])],
      ... ).columns
      {'accuracy': '.2%'}
    """

    title: str  # what was measured, on what, in which unit
    columns: Mapping[str, str]  # by name, the format of the numbers
    rows: Sequence[Row]


class Report(NamedTuple):
    """The results of a run. The lab prints the body and writes all the rest."""

    # Texts and tables, printed in this order; the tables go to summary.json, too.
    body: Sequence[str | Table]
    facts: Mapping[str, Any] = {}  # for summary.json
    # By the name of the file, what draws it or what is in it. Only the process with
    # index 0 calls the functions (path) -> None.
    figures: Mapping[str, Callable[[Path], Any]] = {}
    files: Mapping[str, str | Callable[[Path], Any]] = {}


class Keep(Protocol):
    """Writes a file into the folder of the run the first time, and finds it later."""

    def __call__(self, name: str, write: Callable[[Path], Any], /) -> Path: ...


class Finished(NamedTuple):
    """A finished run, for questions to it."""

    path: Path  # its folder, with all that it kept
    summary: dict[str, Any]
    load: Callable[[Callable[..., Any]], Any]  # (init) -> params [S, ...]
    asked: Any  # the config of the command that asks, before it became the run's

    def per_seed(self, name: str) -> np.ndarray:
        """A number of each seed from the summary, NaN where it was not finite; [S]."""
        try:
            values = np.array(self.summary[f"{name}_per_seed"], float)
            if values.shape != (self.summary["config"]["seeds"],):
                raise ValueError(f"{name}_per_seed is not one number for each seed")
            return values
        except (KeyError, TypeError, ValueError) as error:
            path = self.path / "summary.json"
            raise UsageError(f"--out: {path} is damaged: {error}") from None


class Study(NamedTuple):
    """An experiment."""

    name: str  # of its module
    recipes: Recipes[Any]  # the options, and what each choice makes of them
    # (config) -> data, in NumPy: JAX has not started, and there is no folder yet. It
    # checks all that the options and the data must fulfil together.
    load: Callable[..., Any]
    task: Callable[..., Task]  # (config, problem)
    report: Callable[..., Report]  # (config, problem, outcome)
    # (config, data, keep) -> problem: what is made of the data, such as subwords that
    # are learned once and kept, and the networks that `task` and `report` share.
    prepare: Callable[..., Any] = lambda config, data, keep: data
    # (data) -> a pytree of the arrays and texts that a resumed run must find again
    digested: Callable[[Any], Any] = lambda data: data
    # By the option that asks, (config, finished) -> what to print and write, or None
    answers: Mapping[str, Callable[..., Report | None]] = {}
