"""How well tasks of memory are done, by which cell; what others have published."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np


class Kind(NamedTuple):
    """What is measured of a task."""

    score: str  # its name in the metrics
    form: str  # the format of the number
    title: str


_ERROR = "loss", ".5f", "the squared error of the sum"
_SHARE = "accuracy", ".2%"
TASKS = {
    "adding": Kind(*_ERROR),
    "copy": Kind(*_SHARE, "symbols of a copy that are right"),
    "selective": Kind(*_SHARE, "symbols of a selective copy that are right"),
    "recall": Kind(*_SHARE, "keys whose value is right (MQAR)"),
    "parity": Kind(*_SHARE, "bits whose parity is right"),
    "counting": Kind(*_SHARE, "digits whose sum modulo m is right"),
    "pixels": Kind(*_SHARE, "accuracy on MNIST, pixel by pixel"),
    "permuted": Kind(*_SHARE, "accuracy on MNIST, pixels permuted"),
}
_BAI = "Bai, Kolter and Koltun, 2018"
PUBLISHED = {  # test accuracy
    "pixels": {
        f"LSTM ({_BAI})": 0.872,
        f"GRU ({_BAI})": 0.962,
        f"RNN ({_BAI})": 0.215,
        f"TCN ({_BAI})": 0.990,
        "S5 (Smith, Warrington and Linderman, 2023)": 0.9965,
    },
    "permuted": {
        f"LSTM ({_BAI})": 0.857,
        f"GRU ({_BAI})": 0.873,
        f"RNN ({_BAI})": 0.253,
        f"TCN ({_BAI})": 0.972,
        "S5 (Smith, Warrington and Linderman, 2023)": 0.9867,
    },
}


def sources(tasks: Iterable[str]) -> list[str]:
    """Whose figures there are for some of the tasks.

    Example:
      >>> sources(["parity"]), len(sources(["pixels", "permuted"]))
      ([], 5)
    """
    return list(dict.fromkeys(s for task in tasks for s in PUBLISHED.get(task, {})))


def solved(task: str, score: np.ndarray, chance: float) -> np.ndarray:
    """How much of a task is done: 0 by chance, 1 without a mistake.

    Args:
      task: its name.
      score: of any shape; NaN, of a seed that has none, counts as chance.
      chance: the score of one who knows nothing.

    Example:
      >>> solved("parity", np.array([0.5, 0.75, 1.0]), 0.5).tolist()
      [0.0, 0.5, 1.0]
      >>> solved("adding", np.array([0.2, 0.1, 0.0]), 0.2).tolist()
      [0.0, 0.5, 1.0]
    """
    best = 0.0 if TASKS[task].score == "loss" else 1.0
    share = (np.asarray(score, float) - chance) / (best - chance)
    return np.clip(np.nan_to_num(share), 0, 1) + 0.0  # no minus before a zero


class Grid:
    """The results of runs, by cell and by task.

    Args:
      done: by (cell, task), an object with the `summary`, the `timing` and the
        `history` of a finished run.
    """

    def __init__(self, done: Mapping[tuple[str, str], Any]):
        self.done = done
        self.cells = list(dict.fromkeys(cell for cell, _ in done))
        self.tasks = list(dict.fromkeys(task for _, task in done))

    def rows(self, value: Callable[[Any], Any]) -> list[tuple[str, list[Any]]]:
        """A line for each cell: a value of each task, None where there is no run."""
        places = {cell: [(cell, task) for task in self.tasks] for cell in self.cells}
        return [
            (cell, [value(self.done[p]) if p in self.done else None for p in line])
            for cell, line in places.items()
        ]

    def tables(self) -> list[tuple[str, dict[str, str], list[tuple[str, list[Any]]]]]:
        """Title, columns with their formats, and rows: scores, sizes, times."""
        chance = {
            one.summary["task"]: one.summary["chance"] for one in self.done.values()
        }
        known = [
            (source, [PUBLISHED.get(task, {}).get(source) for task in self.tasks])
            for source in sources(self.tasks)
        ]
        by_chance = "by chance", [chance[task] for task in self.tasks]
        forms = {task: TASKS[task].form for task in self.tasks}
        whole, tenth = dict.fromkeys(self.tasks, ",d"), dict.fromkeys(self.tasks, ".1f")
        return [
            (
                "test accuracy; of adding the squared error",
                forms,
                [*self.rows(_score), by_chance, *known],
            ),
            ("hidden units", whole, self.rows(lambda one: one.summary["hidden_size"])),
            ("params", whole, self.rows(lambda one: one.summary["params"])),
            (
                "milliseconds for an update of all seeds",
                tenth,
                self.rows(_milliseconds),
            ),
        ]

    def shares(self) -> np.ndarray:
        """How much of each task is done, the mean over seeds; [cells, tasks]."""

        def share(one):
            known = one.summary
            return solved(known["task"], _score(one), known["chance"]).mean()

        lines = [values for _, values in self.rows(share)]
        return np.array([[np.nan if v is None else v for v in line] for line in lines])

    def texts(self) -> list[list[str]]:
        """The mean score of each run."""
        forms = [TASKS[task].form for task in self.tasks]
        return [
            [
                "" if v is None else f"{np.nanmean(v):{f}}"
                for v, f in zip(line, forms, strict=True)
            ]
            for _, line in self.rows(_score)
        ]

    def histories(self) -> dict[str, dict[str, np.ndarray]]:
        """The score by epoch, [epochs, S], by task and cell."""
        found: dict[str, dict[str, np.ndarray]] = {task: {} for task in self.tasks}
        for (cell, task), one in self.done.items():
            name = f"test_{TASKS[task].score}"
            found[task][cell] = np.array([line[name] for line in one.history], float)
        return found


def _score(one: Any) -> np.ndarray:
    return np.array(one.summary["score_per_seed"], float)


def _milliseconds(one: Any) -> float | None:
    """None of a run whose last process made no update."""
    rate = one.timing["steps_per_second"]
    return 1000 / rate if rate else None
