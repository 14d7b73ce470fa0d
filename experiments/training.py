"""The training loop of the experiments: it survives being stopped, at any moment.

All that a run is made of is saved in one commit: params, optimizer state, key, position
in the data, and the metrics so far. What comes after depends on nothing else, so that a
run that is killed and resumed leaves bit for bit what one that was left alone does.
"""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tqdm import tqdm

from experiments import checkpoints
from experiments.runs import Options, Output, RunError, Stopped, plain, say

PIECE = 25  # at most so many updates between two looks at the clock and at signals


class Share(NamedTuple):
    """Which examples of a batch this process reads."""

    number: int
    of_all: int

    def of(self, batch: np.ndarray, axis: int = -1) -> np.ndarray:
        """The share of an array whose axis is the batch."""
        return np.split(batch, self.of_all, axis)[self.number]


class Job(NamedTuple):
    """What there is to train; S seeds, each with a state of its own."""

    start: Callable[[], Any]  # () -> state, arrays [S, ...]
    update: Callable[..., Any]  # of one seed: (state, *batch) -> (state, rnn.Metrics)
    aux: tuple[str, ...]  # names in the dict that the update's metrics have as aux
    # (epoch, first, stop, share) -> arrays [S, stop - first, B, ...]
    batches: Callable[[int, int, int, Share], tuple[Any, ...]]
    measure: Callable[[Any], dict[str, Any]]  # (state) -> metrics, after each epoch
    score: str  # the metric by which the best checkpoint is known
    higher_is_better: bool
    epochs: int
    steps: int  # updates in an epoch


class Guard(NamedTuple):
    """Whether a seed had to stop, and why: its first loss that was not finite."""

    stopped: Any  # [S] bool
    step: Any  # [S] int32, of the update that was not made
    loss: Any  # [S]
    grad_norm: Any  # [S]


class Result(NamedTuple):
    """What training leaves behind."""

    state: Any
    guard: Guard
    history: list[dict[str, Any]]  # a line for each epoch
    times: dict[str, float]


def train(
    job: Job, output: Output, options: Options, nonfinite: str, mesh: Mesh | None
) -> Result:
    """Trains, from the start or from the last checkpoint.

    Args:
      job: what to train.
      output: where the records and the checkpoints go.
      options: when to save, and whether to resume.
      nonfinite: what to do about a loss or a gradient that is not finite: "stop", the
        seed stays as it was before that update; "skip", it goes on with the next batch.
      mesh: the devices over which batches are split; None for one device.

    Raises:
      RunError: if every seed had to stop, or a checkpoint cannot be saved or read.
      Stopped: after SIGINT or SIGTERM, once the state is saved.
    """
    loop = _Loop(job, output, options, nonfinite, mesh)
    with _signals() as received:
        try:
            return loop.run(received)
        finally:
            loop.saver.close()


class _Loop:
    def __init__(self, job, output, options, nonfinite, mesh):
        self.job, self.output, self.options, self.mesh = job, output, options, mesh
        self.piece = Compiled(jax.vmap(partial(_guarded, job.update, nonfinite)))
        state = job.start()
        self.seeds = len(jax.tree.leaves(state)[0])
        self.state = self._everywhere((state, _no_guard(self.seeds)))
        # Equal pieces need one compilation.
        equal = [n for n in range(PIECE, PIECE // 3, -1) if job.steps % n == 0]
        self.size = equal[0] if equal else PIECE
        self.step = self.made = 0  # in the whole run, and by this process
        self.history: list[dict[str, Any]] = []
        # Of the epoch under way, one number for each update.
        self.partial = {
            name: np.full((self.seeds, job.steps), np.nan, np.float32)
            for name in ("loss", *job.aux)
        }
        found = checkpoints.restore(output.checkpoints, self._saved())
        if found is not None:
            self.step = found.step
            self.state, self.partial = found.state
            self.partial = jax.tree.map(np.array, self.partial)
            self.history = found.record["history"]
            say(f"going on after update {self.step} of {job.epochs * job.steps}")
        elif options.resume:
            say("there is no checkpoint: starting")
        output.log(self.history)
        self.saver = checkpoints.Checkpoints(output.checkpoints, options.keep)
        self.saved_at = self.step, time.monotonic()

    def run(self, received: list[int]) -> Result:
        job = self.job
        total = job.epochs * job.steps
        told = np.array(self.state[1].stopped)
        bar = tqdm(total=total, initial=self.step, unit="step", disable=None)
        with bar:
            while self.step < total and not told.all():
                self._advance(bar)
                told = self._tell(told)
                if self.step % job.steps == 0:
                    self._end_epoch()
                signum = self._agree(received)
                if signum and self.step < total:
                    self._save(wait=True)
                    raise Stopped(
                        signum,
                        f"stopped by {signal.Signals(signum).name} after update "
                        f"{self.step} of {total}; go on with "
                        f"--resume --out {self.output.path}",
                    )
        self._save(wait=True)
        if told.all():
            raise RunError(self._advice())
        times = {
            "train_seconds": self.piece.seconds,
            "compile_seconds": self.piece.compile_seconds,
            "updates": self.made,
        }
        guard = jax.tree.map(np.array, self.state[1])
        return Result(self.state[0], guard, self.history, times)

    def _advance(self, bar: tqdm) -> None:
        epoch, first = divmod(self.step, self.job.steps)
        stop = min(first + self.size, self.job.steps)
        share = Share(jax.process_index(), jax.process_count())
        batch = self._split(self.job.batches(epoch, first, stop, share))
        self.state, metrics = self.piece(self.state, *batch)
        metrics = jax.tree.map(np.asarray, metrics)
        shown = {}
        for name, values in {"loss": metrics.loss, **metrics.aux}.items():
            self.partial[name][:, first:stop] = values
            shown[name] = f"{values.mean():.3f}"
        self.step += stop - first
        self.made += stop - first
        bar.update(stop - first)
        bar.set_postfix(shown)

    def _end_epoch(self) -> None:
        means = {
            f"train_{name}": self.partial[name].mean(axis=1)
            for name in ("loss", *self.job.aux)
        }
        line = {"epoch": self.step // self.job.steps, **means}
        line |= self.job.measure(self.state[0])
        self.history.append(plain(line))
        self.output.log(self.history)

    def _agree(self, received: list[int]) -> int:
        """Saves if it is time to; returns the signal that one of the processes got."""
        at_step, at_time = self.saved_at
        if self.options.checkpoint_steps is not None:
            due = self.step - at_step >= self.options.checkpoint_steps
        else:
            due = time.monotonic() - at_time >= 60 * self.options.checkpoint_minutes
        signum = received[0] if received else 0
        if jax.process_count() > 1:
            all_of_them = multihost_utils.process_allgather(np.array([due, signum]))
            due, signum = all_of_them[0, 0], int(all_of_them[:, 1].max())
        if due and not signum:
            self._save()
        return signum

    def _saved(self) -> Any:
        return self.state, self.partial

    def _save(self, *, wait: bool = False) -> None:
        score = None
        if self.history and self.step % self.job.steps == 0:
            values = [v for v in self.history[-1][self.job.score] if v is not None]
            if values:
                score = float(np.mean(values)) * (
                    1 if self.job.higher_is_better else -1
                )
        record = {"history": self.history}
        self.saver.save(self.step, self._saved(), record, score=score)
        if wait:
            self.saver.finish()
        self.saved_at = self.step, time.monotonic()

    def _tell(self, told: np.ndarray) -> np.ndarray:
        guard = jax.tree.map(np.asarray, self.state[1])
        for seed in np.flatnonzero(guard.stopped & ~told):
            say(f"seed {seed} stopped: {_reason(guard, int(seed))}")
        return guard.stopped

    def _advice(self) -> str:
        guard = jax.tree.map(np.asarray, self.state[1])
        seed = int(np.argmin(guard.step))
        return (
            f"{_reason(guard, seed)}; the state before it is kept in "
            f"{self.output.checkpoints}. Try a lower --learning-rate, a limit on the "
            "gradient's norm (--clip 1), or --nonfinite skip"
        )

    def _everywhere(self, tree: Any) -> Any:
        """The same arrays on all devices of all processes."""
        if self.mesh is None:
            return tree
        sharding = NamedSharding(self.mesh, PartitionSpec())
        return jax.jit(lambda t: t, out_shardings=sharding)(tree)

    def _split(self, batch: tuple[Any, ...]) -> tuple[Any, ...]:
        """Each device gets its share of the third axis."""
        if self.mesh is None:
            return batch
        sharding = NamedSharding(self.mesh, PartitionSpec(None, None, "batch"))
        make = partial(jax.make_array_from_process_local_data, sharding)
        return jax.tree.map(make, batch)


def _guarded(update, nonfinite: str, start: Any, *batches: Any) -> Any:
    """Several updates of one seed, without those that are not finite."""

    def body(carry, batch):
        state, guard = carry
        new, metrics = update(state, *batch)
        finite = jnp.isfinite(metrics.loss) & jnp.isfinite(metrics.grad_norm)
        first = ~finite & ~guard.stopped
        state = jax.tree.map(partial(jnp.where, finite & ~guard.stopped), new, state)
        if nonfinite == "stop":
            found = Guard(True, state.step, metrics.loss, metrics.grad_norm)
            guard = jax.tree.map(partial(jnp.where, first), found, guard)
        return (state, guard), metrics

    return lax.scan(body, start, batches)


def _no_guard(seeds: int) -> Guard:
    nothing = jnp.zeros(seeds)
    return Guard(nothing != 0, nothing.astype(jnp.int32), nothing, nothing)


def _reason(guard: Guard, seed: int) -> str:
    return (
        f"the loss is {guard.loss[seed]:g} and the gradient's norm "
        f"{guard.grad_norm[seed]:g} at update {guard.step[seed] + 1}"
    )


def local(tree: Any) -> Any:
    """The arrays as this process has them, on one of its devices."""
    return jax.tree.map(lambda a: a.addressable_data(0), tree)


def take(data: tuple[np.ndarray, ...], order: np.ndarray, share: Share) -> tuple:
    """Batches for `Job.batches` from arrays [N, ...] and numbers [S, updates, B]."""
    index = share.of(order)
    return tuple(a[index] for a in data)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """A list that gets the signals that ask the run to end; a second one ends it."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received  # only the main thread hears signals
        return

    def receive(signum, frame):
        del frame
        if received:
            raise KeyboardInterrupt
        received.append(signum)

    before = {s: signal.signal(s, receive) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


class Compiled:
    """A function compiled ahead of time for each shape of its arguments.

    Keeps the seconds spent on compiling apart from those spent on running.
    """

    def __init__(self, fun: Callable[..., Any]):
        self._jitted = jax.jit(fun)
        self._compiled: dict[Any, Callable[..., Any]] = {}
        self.compile_seconds = 0.0
        self.seconds = 0.0

    def __call__(self, *args: Any) -> Any:
        start = time.perf_counter()
        shapes = tuple(jax.typeof(leaf) for leaf in jax.tree.leaves(args))
        if shapes not in self._compiled:
            self._compiled[shapes] = self._jitted.lower(*args).compile()
            self.compile_seconds += time.perf_counter() - start
            start = time.perf_counter()
        out = jax.block_until_ready(self._compiled[shapes](*args))
        self.seconds += time.perf_counter() - start
        return out
