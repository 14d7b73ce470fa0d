"""Prints, stores and draws a report, in which each number is given once."""

from experiments.lab import page, records
from experiments.lab.folder import Folder
from experiments.lab.options import Config
from experiments.lab.study import Outcome, Report, Study, Table
from experiments.lab.tables import stored, text


def write(report: Report, folder: Folder) -> None:
    """Writes the files and draws the figures of a report."""
    for name, content in [*report.files.items(), *report.figures.items()]:
        folder.write(name, content)


def conclude(
    study: Study,
    report: Report,
    folder: Folder,
    config: Config,
    outcome: Outcome,
    steps: int,
) -> None:
    """Writes all that a run leaves, last of all the summary, and prints the report.

    Args:
      study: of the run.
      report: of the study.
      folder: of the run.
      config: of the run.
      outcome: of the training.
      steps: updates in an epoch.
    """
    training, guard = config.train, outcome.guard
    write(report, folder)
    folder.save_params(outcome.params)
    seconds, updates = outcome.times["train_seconds"], outcome.times["updates"]
    examples = updates * training.batch_size * training.seeds
    folder.time(
        **outcome.times,
        steps_per_second=updates / seconds if updates else None,
        examples_per_second=examples / seconds if updates else None,
    )
    summary = folder.summary(
        epochs_done=len(outcome.history),
        steps=training.epochs * steps,
        **report.facts,
        not_finite_at_update_per_seed=[
            int(step) + 1 if stopped else None
            for stopped, step in zip(guard.stopped, guard.step, strict=True)
        ],
        tables=[stored(part) for part in report.body if isinstance(part, Table)],
    )
    if folder.writes:
        record = records.read(folder.path, summary)
        folder.write(page.NAME, page.of_run(record, study))
    folder.summarize(summary)
    if folder.writes:
        show(report)
        print(f"results in {folder.path}")


def show(report: Report) -> None:
    """Prints the body of a report."""
    for part in report.body:
        print(text(part) if isinstance(part, Table) else part)
