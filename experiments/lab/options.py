"""The options of a study as data: their ranges and their groups."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NamedTuple,
    TypeVar,
    get_args,
    get_type_hints,
)

import jax
import numpy as np

import jaxrnn as rnn
from experiments.lab.errors import require

T = TypeVar("T")
ConfigT = TypeVar("ConfigT", bound="Config")


class Range(NamedTuple):
    """The values that an option may have; stands in the option's `Annotated` type."""

    expected: str  # for the message
    holds: Callable[[Any], bool]


class _Asked:
    """Marks an option that belongs to a question and not to the run."""


if TYPE_CHECKING:
    CellName = str
else:  # every cell of the library that has a name
    CellName = Literal[rnn.cells.NAMES]
AtLeast1 = Annotated[int, Range("at least 1", lambda v: v >= 1)]
AtLeast0 = Annotated[int, Range("at least 0", lambda v: v >= 0)]
Above0 = Annotated[T, Range("above 0", lambda v: v > 0)]  # Above0[int], Above0[float]
NotNegative = Annotated[float, Range("at least 0", lambda v: v >= 0)]
Share = Annotated[float, Range("in [0, 1)", lambda v: 0 <= v < 1)]
# Asked[str | None]: an option that asks a finished run something, or says how a run
# shows what it has learned. It does not decide what is learned: a resumed run and a
# finished one may have another value.
Asked = Annotated[T, _Asked()]


@dataclass(frozen=True)
class Checked:
    """A group of options that are held to the ranges in their types.

    In a path `~` is the home folder: a shell leaves it as it is in `--out=~/runs`.
    """

    def __post_init__(self):
        for name in places(type(self)):
            home = _each_path(partial(_at_home, name), getattr(self, name))
            object.__setattr__(self, name, home)
        for name, hint in get_type_hints(type(self), include_extras=True).items():
            value = getattr(self, name)
            values = value if isinstance(value, tuple) else (value,)
            for expected, holds in _ranges(hint):
                fits = (v is None or (math.isfinite(v) and holds(v)) for v in values)
                require(all(fits), name, expected, " ".join(map(str, values)))


def _ranges(hint: Any) -> list[Range]:
    """All ranges in a type such as `tuple[Above0[float], ...] | None`."""
    here = [part for part in getattr(hint, "__metadata__", ()) if type(part) is Range]
    return here + [found for part in get_args(hint) for found in _ranges(part)]


def places(config: type) -> list[str]:
    """The names of the options that are paths."""
    hints = get_type_hints(config)
    return [name for name, hint in hints.items() if _is_path(hint)]


def _is_path(hint: Any) -> bool:
    return hint is Path or any(map(_is_path, get_args(hint)))


def _each_path(fun: Callable[[Path], Path], value: Any) -> Any:
    """The value of an option, with its paths made others."""
    if isinstance(value, tuple):
        return tuple(_each_path(fun, part) for part in value)
    return fun(value) if isinstance(value, Path) else value


def _at_home(name: str, path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:  # there is no such user, or no home
        require(False, name, "a path whose home folder is known", path)
        raise


@dataclass(frozen=True)
class Training(Checked):
    """How to train; every experiment has these options, with defaults of its own."""

    epochs: AtLeast1 = 10
    """Passes over the training data."""
    batch_size: AtLeast1 = 32
    """Examples in an update."""
    learning_rate: Above0[float] = 1e-3
    """Step size, at its peak where there is a schedule."""
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    """From optax."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """cosine: a short rise and then a fall to zero."""
    weight_decay: NotNegative = 0.0
    """For adamw."""
    clip: Above0[float] | None = 1.0
    """Largest global norm of a gradient; None: no limit."""
    seeds: AtLeast1 = 1
    """How many runs to train at once, each from a random start of its own."""
    seed: AtLeast0 = 0
    """The first seed; the others count up from it."""
    nonfinite: Literal["stop", "skip"] = "stop"
    """A loss that is not finite: stop that seed before it, or skip that update."""

    def __post_init__(self):
        super().__post_init__()
        last = self.seed + self.seeds - 1
        require(last < 2**31, "seed", "no seed above 2,147,483,647", last)

    @property
    def every_seed(self) -> range:
        """The seeds that are trained."""
        return range(self.seed, self.seed + self.seeds)


@dataclass(frozen=True)
class Running(Checked):
    """Where and how a run runs; a resumed run keeps these options or has new ones."""

    data_dir: Path | None = None
    """Folder with the files of the data sets. None: the one that JAXRNN_DATA names."""
    out: Path | None = None
    """Folder for the results. None: runs/<experiment>-<time>."""
    resume: bool = False
    """Go on with the run in --out from its last checkpoint; start if there is none."""
    overwrite: bool = False
    """Delete the run that is in --out and start anew."""
    checkpoint_minutes: Above0[float] = 5.0
    """Minutes between two checkpoints, which are saved in the background."""
    checkpoint_steps: Above0[int] | None = None
    """Updates between two checkpoints, in place of --checkpoint-minutes."""
    keep: Above0[int] = 3
    """How many of the latest checkpoints to keep, beside the best one."""
    devices: Above0[int] = 1
    """Devices of each process to split a batch over; 2 suits two CPU cores."""
    coordinator: str | None = None
    """Address of the process with index 0, host:port, where several work together;
    auto: JAX detects the cluster (Slurm, Open MPI, Kubernetes or Cloud TPU)."""
    num_processes: int | None = None
    """How many processes work together; each is started with a command of its own."""
    process_id: int | None = None
    """The index of this process, from 0."""

    def __post_init__(self):
        super().__post_init__()
        require(not (self.resume and self.overwrite), "resume", "no --overwrite", True)
        for name in ("resume", "coordinator"):
            require(
                self.out is not None or not getattr(self, name),
                name,
                "an --out too, the folder of the run",
                "none",
            )
        if self.coordinator == "auto":
            for name in ("num_processes", "process_id"):
                value = getattr(self, name)
                expected = "none beside --coordinator auto, which detects it"
                require(value is None, name, expected, value)
            return
        together = "coordinator", "num_processes", "process_id"
        missing = [name for name in together if getattr(self, name) is None]
        if 0 < len(missing) < len(together):
            expected = "a value, for --coordinator, --num-processes and --process-id "
            require(False, missing[0], expected + "go together", "none")
        n, index = self.num_processes, self.process_id
        if n is not None and index is not None:
            require(n >= 1, "num_processes", "at least 1", n)
            require(0 <= index < n, "process_id", f"0 to {n - 1}", index)


@dataclass(frozen=True)
class Config(Checked):
    """All options of a study: a subclass adds its own, each with a default."""

    train: Training = field(default_factory=Training)
    run: Running = field(default_factory=Running)


# Options of `Running` that belong to one command, and are not kept with the run.
_OF_ONE_COMMAND = (
    *("out", "resume", "overwrite"),
    *("coordinator", "num_processes", "process_id"),
)


def identity(config: Config) -> dict[str, Any]:
    """The options that decide what is learned, by name, in JSON's own types.

    Paths are absolute, so that they hold in other folders too.
    """
    return _saved(_own(config, asked=False) | vars(config.train))


def lasting(config: Config) -> dict[str, Any]:
    """The other options that a resumed run has again, by name; see `identity`."""
    running = {k: v for k, v in vars(config.run).items() if k not in _OF_ONE_COMMAND}
    return _saved(running | _own(config, asked=True))


def _saved(options: dict[str, Any]) -> dict[str, Any]:
    return plain({k: _each_path(Path.absolute, v) for k, v in options.items()})


def restored(config: Config, saved: Mapping[str, Any]) -> dict[str, Any]:
    """Options from JSON with the types that they have in a config."""
    paths = {name for part in (config, config.run) for name in places(type(part))}

    def value(v, is_path):
        if isinstance(v, list):
            return tuple(value(part, is_path) for part in v)
        return Path(v) if is_path and isinstance(v, str) else v

    return {name: value(v, name in paths) for name, v in saved.items()}


def replaced(config: ConfigT, values: Mapping[str, Any]) -> ConfigT:
    """The config with other values, named without their groups.

    Raises:
      KeyError: if there is no such option.
    """
    rest, groups = dict(values), {}
    for name in ("train", "run"):
        group = getattr(config, name)
        found = {k: rest.pop(k) for k in vars(group) if k in rest}
        groups[name] = dataclasses.replace(group, **found)
    if unknown := rest.keys() - vars(config).keys():
        raise KeyError(f"no such options: {', '.join(sorted(unknown))}")
    return dataclasses.replace(config, **groups, **rest)


def _own(config: Config, *, asked: bool) -> dict[str, Any]:
    """The options of the study itself: those that are `Asked`, or the others."""
    hints = get_type_hints(type(config), include_extras=True)
    return {
        name: value
        for name, value in vars(config).items()
        if name not in ("train", "run") and _is_asked(hints[name]) is asked
    }


def _is_asked(hint: Any) -> bool:
    return any(type(part) is _Asked for part in getattr(hint, "__metadata__", ()))


def plain(value: Any) -> Any:
    """JSON's own types, with None for numbers that JSON cannot hold."""
    if isinstance(value, Mapping):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return plain(np.asarray(value).tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    return value
