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
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tqdm import tqdm

import jaxrnn as rnn
from experiments import checkpoints
from experiments.runs import (
    Options,
    Output,
    RunError,
    Stopped,
    UsageError,
    check,
    plain,
    require,
    say,
)
from jaxrnn import interop

CELLS = {"elman": rnn.elman, "gru": rnn.gru, "lstm": rnn.lstm}
PIECE = 25  # at most so many updates between two looks at the clock and at signals


@dataclass(frozen=True)
class Settings:
    """How to train; every experiment has these options, with defaults of its own."""

    epochs: int
    """Passes over the training data."""
    batch_size: int
    """Examples in an update."""
    learning_rate: float
    """Step size, at its peak where there is a schedule."""
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    """From optax."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """cosine: a short rise and then a fall to zero."""
    weight_decay: float = 0.0
    """For adamw."""
    clip: float | None = 1.0
    """Largest global norm of a gradient; None: no limit."""
    seeds: int = 1
    """How many runs to train at once, each from a random start of its own."""
    seed: int = 0
    """Number of the first of them."""
    nonfinite: Literal["stop", "skip"] = "stop"
    """A loss that is not finite: stop that seed before it, or skip that update."""

    def __post_init__(self):
        check(self, at_least_1=("epochs", "batch_size", "seeds"))
        check(self, above_0=("learning_rate", "clip"))
        check(self, at_least_0=("weight_decay", "seed"))
        last = self.seed + self.seeds - 1
        require(last < 2**31, "seed", "no seed above 2,147,483,647", last)


def make_optimizer(
    settings: Settings, total_steps: int, decayed: Callable[[Any], Any] | None = None
) -> optax.GradientTransformation:
    """The optimizer with its schedule and clipping.

    Args:
      settings: which, and how fast.
      total_steps: of the schedule.
      decayed: (params) -> pytree of bool, which arrays the weight decay is for; None
        for all.
    """
    rate: Any = settings.learning_rate
    if settings.schedule == "cosine":
        warmup = max(1, total_steps // 20)
        rate = optax.warmup_cosine_decay_schedule(0.0, rate, warmup, total_steps + 1)
    decay = {"weight_decay": settings.weight_decay, "mask": decayed}
    optimizer = {
        "adamw": partial(optax.adamw, **decay),
        "adam": optax.adam,
        "sgd": optax.sgd,
    }[settings.optimizer](rate)
    if settings.clip is None:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(settings.clip), optimizer)


def matrices(params: Any) -> Any:
    """True for matrices, False for biases, scales and first states."""
    return jax.tree.map(lambda a: a.ndim > 1, params)


def keys(settings: Settings) -> jax.Array:
    """A key for each seed, [S]."""
    return jax.vmap(jax.random.key)(settings.seed + jnp.arange(settings.seeds))


def starter(
    settings: Settings,
    init: Callable[[jax.Array], Any],
    optimizer: optax.GradientTransformation,
    carry: Callable[[Any], Any] = lambda params: (),
) -> Callable[[], Any]:
    """Makes `Job.start`.

    Args:
      settings: which seeds.
      init: (key) -> params.
      optimizer: from optax.
      carry: (params) -> carry [B, ...], for truncated backpropagation.
    """

    def start(key):
        params_key, update_key = jax.random.split(key)
        params = init(params_key)
        return rnn.train_state(params, optimizer, update_key, carry(params))

    return lambda: jax.jit(jax.vmap(start))(keys(settings))


def shuffler(settings: Settings, examples: int) -> Callable[[int], np.ndarray]:
    """Makes (epoch) -> [S, steps, B], which examples each batch of each seed has.

    Args:
      settings: the seeds, and B.
      examples: how many there are.
    """

    @jax.jit
    @partial(jax.vmap, in_axes=(0, None))
    def orders(key, epoch):
        key = jax.random.split(key, 3)[2]  # `starter` has used the other two
        key = jax.random.fold_in(key, epoch)
        return rnn.shuffled(key, examples, settings.batch_size)

    return lru_cache(1)(lambda epoch: np.asarray(orders(keys(settings), epoch)))


def check_batch_size(
    settings: Settings, mesh: Mesh | None, examples: int | None = None
) -> None:
    """Raises a UsageError unless the devices can share a batch of so many examples."""
    size, parts = settings.batch_size, 1 if mesh is None else mesh.size
    if examples is not None:
        expected = f"at most the {examples} training examples"
        require(size <= examples, "batch_size", expected, size)
    expected = f"a multiple of the {parts} devices"
    require(size % parts == 0, "batch_size", expected, size)


def saved_params(config: Any, init: Callable[[jax.Array], Any]) -> Any:
    """The params of a finished run, [S, ...].

    Args:
      config: from `runs.finished_run`.
      init: (key) -> params.

    Raises:
      UsageError: if they cannot be read or are of other sizes.
    """
    path = config.run.out / "params.safetensors"
    like = jax.eval_shape(jax.vmap(init), keys(config.train))
    try:
        return interop.load_safetensors(path, like)
    except (OSError, ValueError) as error:
        raise UsageError(f"--out: cannot read {path}: {error}") from error


class Share(NamedTuple):
    """Which examples of a batch this process reads."""

    number: int
    of_all: int

    def of(self, batch: np.ndarray, axis: int = -1) -> np.ndarray:
        """The share of an array whose axis is the batch."""
        return np.split(batch, self.of_all, axis)[self.number]


class Job(NamedTuple):
    """What there is to train; S seeds, each with a state of its own."""

    settings: Settings
    start: Callable[[], Any]  # () -> state, arrays [S, ...]
    update: Callable[..., Any]  # of one seed: (state, *batch) -> (state, rnn.Metrics)
    aux: tuple[str, ...]  # names in the dict that the update's metrics have as aux
    # (epoch, first, stop, share) -> arrays [S, stop - first, B, ...]
    batches: Callable[[int, int, int, Share], tuple[Any, ...]]
    measure: Callable[[Any], dict[str, Any]]  # (state) -> metrics, after each epoch
    score: str  # the metric by which the best checkpoint is known
    higher_is_better: bool
    steps: int  # updates in an epoch
    # Updates between two looks at the clock, compiled as one loop over batches of one
    # shape: 1 where batches differ in shape. None: PIECE.
    piece: int | None = None
    # Whether the params of the epoch with the best score are the result, for each seed.
    keep_best: bool = False


class Guard(NamedTuple):
    """Whether a seed had to stop, and why: its first loss that was not finite."""

    stopped: Any  # [S] bool
    step: Any  # [S] int32, of the update that was not made
    loss: Any  # [S]
    grad_norm: Any  # [S]


class Result(NamedTuple):
    """What training leaves behind."""

    state: Any
    params: Any  # [S, ...] after the last update, or of the best epoch
    guard: Guard
    history: list[dict[str, Any]]  # a line for each epoch
    times: dict[str, float]


def train(job: Job, output: Output, options: Options, mesh: Mesh | None) -> Result:
    """Trains, from the start or from the last checkpoint.

    A loss or a gradient that is not finite changes nothing: with `nonfinite` "stop" the
    seed stays as it was before that update; with "skip" it goes on with the next batch.

    Args:
      job: what to train.
      output: where the records and the checkpoints go.
      options: when to save, and whether to resume.
      mesh: the devices over which batches are split; None for one device.

    Raises:
      RunError: if every seed had to stop, or a checkpoint cannot be saved or read.
      Stopped: after SIGINT or SIGTERM, once the state is saved.
    """
    loop = _Loop(job, output, options, mesh)
    with _signals() as received:
        try:
            result = loop.run(received)
        finally:
            loop.saver.close()
    if received:  # too late for the loop to hear it
        raise KeyboardInterrupt(received[0])
    return result


class _Loop:
    def __init__(self, job, output, options, mesh):
        self.job, self.output, self.options, self.mesh = job, output, options, mesh
        self.seeds, self.total = job.settings.seeds, job.settings.epochs * job.steps
        piece = jax.vmap(partial(_guarded, job.update, job.settings.nonfinite))
        self.whole = None if mesh is None else NamedSharding(mesh, PartitionSpec())
        self.piece = Compiled(piece, out_shardings=self.whole)
        state = job.start()
        self.state = self._everywhere((state, _no_guard(self.seeds)))
        self.best: Any = ()  # if asked for: scores [S], and the params that had them
        if job.keep_best:
            self.best = np.full(self.seeds, -np.inf), self.state[0].params
            self.choose = self._jitted(_choose)
        # Equal pieces need one compilation.
        most = job.piece or PIECE
        equal = [n for n in range(most, most // 3, -1) if job.steps % n == 0]
        self.size = equal[0] if equal else most
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
            self.state, self.best, self.partial = found.state
            self.partial = jax.tree.map(np.array, self.partial)
            self.history = found.record["history"]
            say(f"going on after update {self.step} of {self.total}")
        elif options.resume:
            say("there is no checkpoint: starting")
        output.log(self.history)
        self.saver = checkpoints.Checkpoints(output.checkpoints, options.keep)
        self.saved_at = self.step, time.monotonic()

    def run(self, received: list[int]) -> Result:
        job, total = self.job, self.total
        told = np.array(self.state[1].stopped)
        bar = tqdm(total=total, initial=self.step, unit="step", disable=None)
        with bar:
            while self.step < total and not told.all():
                self._advance(bar)
                told = self._tell(told)
                if self.step % job.steps == 0:
                    self._end_epoch()
                    if bar.disable and self.output.writes:
                        say(self._last_epoch())
                signum = self._agree(received)
                if signum and self.step < total:
                    self._save(wait=True)
                    raise Stopped(
                        signum,
                        f"stopped by {signal.Signals(signum).name} after update "
                        f"{self.step} of {total}; go on with {self.output.command}",
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
        state = self.state[0]
        params = self.best[1] if job.keep_best else state.params
        return Result(state, local(params), guard, self.history, times)

    def _advance(self, bar: tqdm) -> None:
        epoch, first = divmod(self.step, self.job.steps)
        stop = min(first + self.size, self.job.steps)
        share = Share(jax.process_index(), jax.process_count())
        batch = self._split(self.job.batches(epoch, first, stop, share))
        self.state, metrics = self.piece(self.state, *batch)
        metrics = jax.tree.map(np.asarray, metrics)
        shown = {}
        for name, values in {"loss": metrics.loss, **dict(metrics.aux)}.items():
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
        if self.job.keep_best:
            before, params = self.best
            scores = self._scores()
            better = scores > before
            params = self.choose(better, self.state[0].params, params)
            self.best = np.where(better, scores, before), params

    def _last_epoch(self) -> str:
        """For people who see no progress bar."""
        line = dict(self.history[-1])
        epoch = f"epoch {line.pop('epoch')} of {self.job.settings.epochs}"
        values = {k: np.atleast_1d(np.array(v, float)) for k, v in line.items()}
        finite = {k: v[np.isfinite(v)] for k, v in values.items()}
        means = {k: v.mean() if len(v) else np.nan for k, v in finite.items()}
        return ", ".join([epoch, *(f"{k} {v:.4g}" for k, v in means.items())])

    def _scores(self) -> np.ndarray:
        """Of each seed after the last epoch, the higher the better; [S]."""
        values = np.array(self.history[-1][self.job.score], float)  # NaN for null
        return np.where(
            np.isnan(values), -np.inf, values * (1 if self.job.higher_is_better else -1)
        )

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
        return self.state, self.best, self.partial

    def _save(self, *, wait: bool = False) -> None:
        score = None
        if self.history and self.step % self.job.steps == 0:
            scores = self._scores()
            if np.isfinite(scores).any():
                score = float(scores[np.isfinite(scores)].mean())
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
        return tree if self.mesh is None else self._jitted(lambda t: t)(tree)

    def _jitted(self, fun: Callable) -> Callable:
        return jax.jit(fun, out_shardings=self.whole)

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


def _choose(first: jax.Array, a: Any, b: Any) -> Any:
    """For each seed one of two trees."""

    def of_one(first, a, b):
        return jax.tree.map(partial(jnp.where, first), a, b)

    return jax.vmap(of_one)(first, a, b)


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


def conclude(output: Output, job: Job, result: Result, **results: Any) -> None:
    """Writes the params, the times and, last of all, the summary."""
    settings, guard = job.settings, result.guard
    output.save_params(result.params)
    seconds, updates = result.times["train_seconds"], result.times["updates"]
    examples = updates * settings.batch_size * settings.seeds
    output.time(
        **result.times,
        steps_per_second=updates / seconds if updates else None,
        examples_per_second=examples / seconds if updates else None,
    )
    output.summarize(
        epochs_done=len(result.history),
        steps=settings.epochs * job.steps,
        **results,
        not_finite_at_update_per_seed=[
            int(step) + 1 if stopped else None
            for stopped, step in zip(guard.stopped, guard.step, strict=True)
        ],
    )


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
            raise KeyboardInterrupt(signum)
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

    def __init__(self, fun: Callable[..., Any], **options: Any):
        self._jitted = jax.jit(fun, **options)
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
