"""Runs a study from its data to its results, or answers from a finished run."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax

from experiments.lab import records, results
from experiments.lab.errors import UsageError, require
from experiments.lab.folder import Folder, saved_options
from experiments.lab.loop import train
from experiments.lab.options import replaced, restored
from experiments.lab.processes import check_shares, connect
from experiments.lab.records import DAMAGED
from experiments.lab.seeds import keys
from experiments.lab.storage import retried
from experiments.lab.study import Finished, Study
from experiments.lab.tensorboard import Board
from jaxrnn import interop


def run(study: Study, config: Any) -> None:
    """Trains and reports, or answers a question from a finished run.

    Raises:
      DataError, UsageError: if the data or an option is at fault.
      RunError: if the run cannot go on.
      Stopped: after a signal.
    """
    if option := asking(study, config):
        answer(study, config, option)
        return
    data = study.load(config)
    mesh = connect(config.run)
    check_shares(config, mesh)
    with Folder(study.name, config, study.recipes) as folder:
        if folder.finished:
            print(f"finished before: results in {folder.path}")
            if config.run.tensorboard and folder.writes:
                history = records.read(folder.path).history
                Board(folder.path, config.train.every_seed, history).close()
            return
        folder.check(study.digested(data))
        problem = study.prepare(config, data, folder.keep)
        task = study.task(config, problem)
        outcome = train(task, config, folder, mesh)
        report = study.report(config, problem, outcome)
        steps = task.batches.steps
        results.conclude(study, report, folder, config, outcome, steps)


def asking(study: Study, config: Any) -> str | None:
    """The option that asks a finished run something; None if nothing is asked."""
    given = (o for o in study.answers if getattr(config, o) not in (None, False))
    return next(given, None)


def answer(study: Study, config: Any, option: str) -> None:
    """Answers a question to the finished run in `--out`."""
    for other in ("resume", "overwrite"):
        flag = option.replace("_", "-")
        require(not getattr(config.run, other), other, f"no --{flag}", True)
    config, finished = find_finished(study, config, option)
    report = study.answers[option](config, finished)
    if report is None:
        return
    if report.files or report.figures:
        locked = replace(config, run=replace(config.run, resume=True))
        with Folder(study.name, locked, study.recipes) as folder:
            results.write(report, folder)
    results.show(report)


def find_finished(study: Study, config: Any, option: str) -> tuple[Any, Finished]:
    """Opens the finished run in `--out`.

    Args:
      study: that it must be of.
      config: its `Running` and `Asked` options are kept, with the run's folder of data
        unless they name one; the others become those of the run.
      option: what asks for the run, for messages.

    Raises:
      UsageError: if there is no such run.
    """
    asked, folder = config, config.run.out
    require(
        folder is not None, option, "an --out too, the folder of a finished run", "none"
    )
    try:
        path = folder / "summary.json"
        summary = json.loads(retried(f"reading {path}", path.read_text))
        if summary["experiment"] != study.name:
            raise ValueError(f"it is one of {summary['experiment']}")
        saved = study.recipes.completed(summary["config"])
        if config.run.data_dir is None:
            saved["data_dir"] = saved_options(folder)[1].get("data_dir")
        config = replaced(config, restored(config, saved))
    except DAMAGED as error:
        missing = isinstance(error, FileNotFoundError)
        why = "it has no summary.json" if missing else error
        raise UsageError(
            f"--out: {folder} holds no finished run of {study.name}: {why}"
        ) from None

    def load(init: Callable[[jax.Array], Any]) -> Any:
        path = folder / "params.safetensors"
        like = jax.eval_shape(jax.vmap(init), keys(config.train))
        try:
            read = partial(interop.load_safetensors, path, like)
            return retried(f"reading {path}", read)
        except (OSError, ValueError) as error:
            raise UsageError(f"--out: cannot read {path}: {error}") from error

    return config, Finished(folder, summary, load, asked)
