"""Checkpoints of a run: made in the background, whole or not at all, and checked.

orbax-checkpoint writes each into a temporary folder and renames it when it is whole.
What it does not do is done here: a digest tells a damaged checkpoint from a good one,
shapes and the version of the format are compared before anything is read, and a damaged
one is set aside, never deleted.
"""

import contextlib
import gc
import logging
import sys
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.lab import states
from experiments.lab.errors import RunError, say
from experiments.lab.storage import passing, retried

PATIENCE = 300.0  # seconds for the other processes to write their parts
FORMAT = 1  # to be raised when an old checkpoint can no longer be read


def _orbax() -> Any:  # its annotations do not admit a Path
    from orbax.checkpoint import v1

    return v1


class Restored(NamedTuple):
    """What a checkpoint holds."""

    step: int
    state: Any
    record: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run.

    Args:
      folder: where they are; each is a folder with the number of its step as its name.
      keep: how many of the latest to keep. The one with the best score stays as well.
    """

    def __init__(self, folder: Path, keep: int):
        ocp = _orbax()
        self.folder = folder
        policies = ocp.training.preservation_policies
        best = policies.BestN(
            get_metric_fn=lambda metrics: metrics["score"],
            n=1,
            keep_checkpoints_without_metrics=False,
        )
        try:
            self._saver = ocp.training.Checkpointer(
                folder.resolve(),
                preservation_policy=policies.AnyPreservationPolicy(
                    [policies.LatestN(keep), best]
                ),
                cleanup_tmp_directories=True,
            )
        except OSError as error:
            raise RunError(f"cannot keep checkpoints in {folder}: {error}") from error
        self._pending: tuple[int, Any] | None = None
        latest = self._saver.latest
        self.latest = None if latest is None else latest.step

    def save(
        self,
        step: int,
        state: Any,
        record: dict[str, Any],
        *,
        score: float | None = None,
        wait: bool = False,
    ) -> None:
        """Begins to save, after the save before has ended.

        Where that failed for a moment only, as storage over a network does, this one
        takes its place and is waited for.

        Args:
          step: how many updates have been made.
          state: pytree of arrays.
          record: what JSON can hold; kept in the same commit.
          score: the higher, the better; None where nothing has been measured.
          wait: whether to return only once it is on disk.

        Raises:
          RunError: if this save cannot begin or the one before has failed.
        """
        try:
            self.finish()
        except RunError as error:
            if not passing(error):
                raise
            say(f"{error.__cause__}: saving that of update {step} in its place")
            wait = True

        def save():
            if step != self.latest:
                self._begin(step, state, record, score)
                if wait:
                    self.finish()

        retried(f"saving the checkpoint of update {step}", save)

    def _begin(self, step: int, state: Any, record: Any, score: float | None) -> None:
        state = states.without_keys(state)
        record = {"format": FORMAT, "shapes": states.shapes(state), **record}
        try:
            pending = self._saver.save_async(
                step,
                jax.tree.leaves(state),
                force=True,
                metrics=None if score is None else {"score": score},
                custom_metadata={**record, "digest": states.digest(state, record)},
            )
        except Exception as error:
            raise self._failure(step, error) from error
        self._pending = step, pending

    def finish(self) -> None:
        """Waits until what was begun is on disk."""
        if self._pending is None:
            return
        (step, pending), self._pending = self._pending, None
        try:
            # Orbax lets the others wait for one that cannot write.
            pending.result(PATIENCE if jax.process_count() > 1 else None)
        except Exception as error:
            raise self._failure(step, error) from error
        self.latest = step

    def close(self) -> None:
        """Ends the work in the background; to be called once."""
        with _quiet():
            with contextlib.suppress(Exception):  # `finish` is what raises
                self._saver.close()
            self._pending = None

    def _failure(self, step: int, error: Exception) -> RunError:
        reason = str(error) or type(error).__name__
        good = "none" if self.latest is None else f"that of update {self.latest}"
        return RunError(
            f"cannot save the checkpoint of update {step} in {self.folder}: {reason}; "
            f"the last good one is {good}; once there is room, go on with --resume"
        )


def restore(folder: Path, like: Any) -> Restored | None:
    """The latest good checkpoint; None if there is none at all.

    Damaged ones are renamed to `<step>.damaged`, and a line says so.

    Args:
      folder: of the checkpoints.
      like: a state of the same shapes; the arrays are placed as its arrays are.

    Raises:
      RunError: if all are damaged, or the latest is of another version or of other
        shapes.
    """
    steps = sorted(
        (int(path.name) for path in folder.glob("*") if path.name.isdecimal()),
        reverse=True,
    )
    for step in steps:
        path = folder / str(step)
        try:
            with _quiet():
                return retried(f"reading {path}", partial(_load, path, step, like))
        except RunError:
            raise
        except Exception as error:
            reason = str(error).split("\n")[0][:200] or type(error).__name__
            if passing(error):
                raise RunError(
                    f"cannot read the checkpoint {path}: {reason}"
                ) from error
            say(f"the checkpoint of update {step} is damaged ({reason})")
            if jax.process_index() == 0:
                path.rename(_free(path.with_name(f"{step}.damaged")))
    if steps:
        raise RunError(
            f"none of the {len(steps)} checkpoints in {folder} can be read; they are "
            "kept as *.damaged; --overwrite starts the run anew"
        )
    return None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the logs and warnings by which orbax accompanies an exception."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda args: None
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"):
            try:
                yield
            finally:
                gc.collect()  # tasks that are left over complain when they are deleted
    finally:
        logging.disable(logging.NOTSET)
        sys.unraisablehook = hook


def _load(path: Path, step: int, like: Any) -> Restored:
    ocp = _orbax()
    metadata = ocp.metadata(path.resolve())
    record: dict[str, Any] = dict(metadata.custom_metadata or {})
    if "format" not in record:
        raise ValueError("it has no record of its format")
    if record["format"] != FORMAT:
        raise RunError(
            f"{path} is a checkpoint of format {record['format']}; this version of "
            f"jaxrnn reads format {FORMAT}"
        )
    raw = states.without_keys(like)
    expected = states.shapes(raw)
    if record["shapes"] != expected:
        raise RunError(
            f"{path} does not fit: {states.difference(record['shapes'], expected)}"
        )
    digest = record.pop("digest")
    leaves = ocp.load(
        path.resolve(), [_abstract(leaf) for leaf in jax.tree.leaves(raw)]
    )
    state = jax.tree.unflatten(jax.tree.structure(raw), leaves)
    if states.digest(state, record) != digest:
        raise ValueError("its bytes are not those that were saved")
    return Restored(step, states.with_keys(state, like), record)


def _abstract(leaf: Any) -> Any:
    if isinstance(leaf, np.ndarray):
        return leaf  # orbax reads its shape and dtype, and gives an array of NumPy
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def _free(path: Path) -> Path:
    """The path, with a number after it if it is taken."""
    number, free = 2, path
    while free.exists():
        free, number = path.with_name(f"{path.name}-{number}"), number + 1
    return free
