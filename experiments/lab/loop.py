"""The training loop: it survives being stopped, at any moment.

All that a run is made of is saved in one commit: params, optimizer state, key, position
in the data, and the metrics so far. What comes after depends on nothing else, so that a
run that is killed and resumed leaves bit for bit what one that was left alone does.
"""

import signal
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import jaxrnn as rnn
from experiments.lab import checkpoints, signals
from experiments.lab.errors import RunError, Stopped, say
from experiments.lab.folder import Folder
from experiments.lab.guard import Guard, guarded, no_guard
from experiments.lab.optimizers import make_optimizer
from experiments.lab.options import Config, plain
from experiments.lab.pieces import Compiled, Feed
from experiments.lab.seeds import keys, local
from experiments.lab.study import Outcome, Task
from experiments.lab.tensorboard import Board


def on_piece(step: int) -> None:
    """Called after each piece of updates with the number of all that have been made.

    It does nothing: a test replaces it, to stop a run at a moment of its choice.
    """


def train(task: Task, config: Config, folder: Folder, mesh: Mesh | None) -> Outcome:
    """Trains, from the start or from the last checkpoint.

    A loss or a gradient that is not finite changes nothing: with `nonfinite` "stop" the
    seed stays as it was before that update; with "skip" it goes on with the next batch.

    Args:
      task: what is learned.
      config: how, when to save, and whether to resume.
      folder: where the records and the checkpoints go.
      mesh: the devices over which batches are split; None for one device.

    Raises:
      RunError: if every seed had to stop, or a checkpoint cannot be saved or read.
      Stopped: after SIGINT or SIGTERM, once the state is saved.
    """
    loop = _Loop(task, config, folder, mesh)
    with signals.received() as received:
        try:
            outcome = loop.run(received)
        finally:
            loop.close()
    if received:  # too late for the loop to hear it
        raise KeyboardInterrupt(received[0])
    return outcome


class _Loop:
    def __init__(self, task: Task, config: Config, folder: Folder, mesh: Mesh | None):
        self.task, self.config, self.folder = task, config, folder
        training, steps = config.train, task.batches.steps
        self.total = training.epochs * steps
        whole = None if mesh is None else NamedSharding(mesh, PartitionSpec())
        self.feed = Feed(task.batches, training.every_seed, mesh)
        optimizer = make_optimizer(training, self.total)
        update = rnn.make_update(
            task.loss,
            optimizer,
            has_aux=True,
            has_carry=task.carry is not None,
            mesh=mesh,
        )
        piece = jax.vmap(partial(guarded, update, training.nonfinite))
        self.update = Compiled(piece, out_shardings=whole)
        self.choose = jax.jit(_choose, out_shardings=whole)
        start = jax.jit(jax.vmap(task.starter(optimizer, training.batch_size)))
        self.state = start(keys(training)), no_guard(training.seeds)
        if mesh is not None:  # the same arrays on all devices of all processes
            self.state = jax.jit(lambda tree: tree, out_shardings=whole)(self.state)
        self.best: Any = ()  # if asked for: scores [S], and the params that had them
        if task.keep_best:
            self.best = np.full(training.seeds, -np.inf), self.state[0].params
        self.names = "loss", *task.aux_names(self.feed.example())
        # Of the epoch under way, one number for each update.
        nothing = np.full((training.seeds, steps), np.nan, np.float32)
        self.partial = {name: nothing.copy() for name in self.names}
        self.step = self.made = 0  # in the whole run, and by this process
        self.history: list[dict[str, Any]] = []
        found = checkpoints.restore(folder.checkpoints, self._saved())
        if found is not None:
            self.step = found.step
            self.state, self.best, self.partial = found.state
            self.partial = jax.tree.map(np.array, self.partial)
            self.history = found.record["history"]
            say(f"going on after update {self.step} of {self.total}")
        elif config.run.resume:
            say("there is no checkpoint: starting")
        folder.log(self.history)
        self.board = None
        if config.run.tensorboard and folder.writes:
            self.board = Board(folder.path, training.every_seed, self.history)
        self.saver = checkpoints.Checkpoints(folder.checkpoints, config.run.keep)
        self.saved_at = self.step, time.monotonic()

    def run(self, received: list[int]) -> Outcome:
        from tqdm import tqdm

        task, total = self.task, self.total
        told = np.array(self.state[1].stopped)
        bar = tqdm(total=total, initial=self.step, unit="step", disable=None)
        with bar:
            while self.step < total and not told.all():
                count, means = self._advance()
                bar.update(count)
                bar.set_postfix({name: f"{mean:.3f}" for name, mean in means.items()})
                told = self._tell(told)
                if self.step % task.batches.steps == 0:
                    self._end_epoch()
                    if bar.disable and self.folder.writes:
                        say(self._last_epoch())
                on_piece(self.step)
                signum = self._agree(received)
                if signum and self.step < total:
                    self._save(wait=True)
                    raise Stopped(
                        signum,
                        f"stopped by {signal.Signals(signum).name} after update "
                        f"{self.step} of {total}; go on with {self.folder.command}",
                    )
        self._save(wait=True)
        guard = jax.tree.map(np.array, self.state[1])
        if told.all():
            raise RunError(self._advice(guard))
        times = {
            "train_seconds": self.update.seconds,
            "compile_seconds": self.update.compile_seconds,
            "updates": self.made,
        }
        params = self.best[1] if task.keep_best else self.state[0].params
        return Outcome(local(params), self.history, guard, times)

    def close(self) -> None:
        if self.board is not None:
            self.board.close()
        self.saver.close()

    def _advance(self) -> tuple[int, dict[str, float]]:
        """Makes a piece of updates: how many, and the means of their metrics."""
        first = self.step % self.task.batches.steps
        count, arrays = self.feed.piece(self.step)
        self.state, metrics = self.update(self.state, *arrays)
        metrics = {"loss": metrics.loss, **metrics.aux}
        means = {}
        for name, values in jax.tree.map(np.asarray, metrics).items():
            self.partial[name][:, first : first + count] = values
            means[name] = values.mean()
        self.step += count
        self.made += count
        return count, means

    def _end_epoch(self) -> None:
        line: dict[str, Any] = {"epoch": self.step // self.task.batches.steps}
        for name in self.names:
            line[f"train_{name}"] = self.partial[name].mean(axis=1)
        line |= self.task.measure(local(self.state[0].params))
        self.history.append(plain(line))
        self.folder.log(self.history)
        if self.board is not None:
            self.board.add(self.history[-1])
        if self.task.keep_best:
            before, params = self.best
            scores = self._scores()
            better = scores > before
            params = self.choose(better, self.state[0].params, params)
            self.best = np.where(better, scores, before), params

    def _last_epoch(self) -> str:
        """For people who see no progress bar."""
        line = dict(self.history[-1])
        epoch = f"epoch {line.pop('epoch')} of {self.config.train.epochs}"
        values = {k: np.atleast_1d(np.array(v, float)) for k, v in line.items()}
        finite = {k: v[np.isfinite(v)] for k, v in values.items()}
        means = {k: v.mean() if len(v) else np.nan for k, v in finite.items()}
        return ", ".join([epoch, *(f"{k} {v:.4g}" for k, v in means.items())])

    def _scores(self) -> np.ndarray:
        """Of each seed after the last epoch, the higher the better; [S]."""
        sign, name = -1 if self.task.best[0] == "-" else 1, self.task.best.lstrip("-")
        values = np.array(self.history[-1][name], float)  # NaN for null
        return np.where(np.isnan(values), -np.inf, sign * values)

    def _agree(self, received: list[int]) -> int:
        """Saves if it is time to; returns the signal that one of the processes got."""
        at_step, at_time = self.saved_at
        running = self.config.run
        if running.checkpoint_steps is not None:
            due = self.step - at_step >= running.checkpoint_steps
        else:
            due = time.monotonic() - at_time >= 60 * running.checkpoint_minutes
        signum = received[0] if received else 0
        if jax.process_count() > 1:
            all_of_them = multihost_utils.process_allgather(np.array([due, signum]))
            due, signum = all_of_them[0, 0], int(all_of_them[:, 1].max())
        if due and not signum:
            self._save()
        return signum

    def _saved(self) -> Any:
        return self.state, self.best, self.partial

    def _save(self, *, wait: bool = False) -> None:
        score = None
        if self.history and self.step % self.task.batches.steps == 0:
            scores = self._scores()
            if np.isfinite(scores).any():
                score = float(scores[np.isfinite(scores)].mean())
        record = {"history": self.history}
        self.saver.save(self.step, self._saved(), record, score=score, wait=wait)
        self.saved_at = self.step, time.monotonic()

    def _tell(self, told: np.ndarray) -> np.ndarray:
        """Says which seeds have stopped since they were `told`, [S] bool."""
        guard = jax.tree.map(np.asarray, self.state[1])
        for place in np.flatnonzero(guard.stopped & ~told):
            say(f"seed {place} stopped: {guard.reason(int(place))}")
        return guard.stopped

    def _advice(self, guard: Guard) -> str:
        return (
            f"{guard.reason(int(np.argmin(guard.step)))}; the state before it is kept "
            f"in {self.folder.checkpoints}. Try a lower --learning-rate, a limit on "
            "the gradient's norm (--clip 1), or --nonfinite skip"
        )


def _choose(first: jax.Array, a: Any, b: Any) -> Any:
    """For each seed one of two trees."""

    def of_one(first, a, b):
        return jax.tree.map(partial(jnp.where, first), a, b)

    return jax.vmap(of_one)(first, a, b)
