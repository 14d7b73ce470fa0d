"""Forecasts time series, with intervals, and says what simpler forecasts are worth.

    python -m experiments.forecasting --data-dir FOLDER
    python -m experiments.forecasting --data-dir FOLDER --horizon 24
    python -m experiments.forecasting --data-dir FOLDER --structure stepwise
    python -m experiments.forecasting --dataset stocks
    python -m experiments.forecasting --csv FILE --columns a b --horizon 12

Every variable is a sequence of its own, read by the same network; which variable it is
decides the state s_0 that the network starts from. The window is cut into patches p_k
of P steps, so that a day of hours is one step of the recurrence. Two structures:

    direct, many to one: read the window w_1 .. w_L less its last value, and tell all
    quantiles q of the H steps to come from the last state and, linearly, the window

        s_k = GRU(relu(p_k A), s_{k-1}),    y_q = w_L + (w - w_L) W + s_K V_q

    stepwise, many to many in step: after each patch tell the quantiles of the next
    one, as differences from the last value read l_k; to forecast, read own medians

        s_k = GRU(relu((p_k - l_k) A), s_{k-1}),    p_{k+1,q} = l_k + s_k V_q

The loss is the quantile (pinball) loss, mean over q of 2 max(q e, (q - 1) e) with
e = y - y_q; that of the median is the absolute error. The intervals between quantiles
are then widened or narrowed until they hold on the validation part (conformalized
quantile regression), for each variable and step of the horizon by itself.

What to expect: mean squared errors on the test part, of standardised data (airline and
stocks: of standardised logarithms), means of three seeds (stepwise: one). With
--devices 2 on two busy cores ETTh1 takes 4 minutes, the others 1 to 2.

                             network  ridge   as a season ago   as the last value
    etth1, 24 hours          0.311    0.318   0.424             1.222
    etth1, 24, stepwise      0.311
    etth1, 96 hours          0.375    0.370   0.512             1.294
    etth1, 96, stepwise      0.390
    airline, 12 months       0.023    0.053   0.156             0.591
    sunspots, 24 months      0.595    0.583   1.364             1.312
    temperatures, 7 days     0.410    0.410   0.807             0.637
    stocks, 12 months        0.058    0.056   0.127             0.069, with drift 0.052

Intervals of 90 % hold in 91.6 % (etth1, 24) and 93.3 % (96) of all cases, and are 16 %
narrower than those around ridge. Monthly prices are close to a random walk:
nothing here is measurably better than the last price with the usual growth.

References:
  Zhou et al., "Informer", AAAI 2021, for ETTh1 and its parts; Zeng et al., "Are
  transformers effective for time series forecasting?", AAAI 2023, for the last value
  taken off; Lin et al., "SegRNN", 2023, for patches before a recurrent net; Romano,
  Patterson and Candes, "Conformalized quantile regression", NeurIPS 2019; Diebold and
  Mariano, "Comparing predictive accuracy", 1995.
"""

import csv
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import initializers
from numpy.lib.stride_tricks import sliding_window_view

import jaxrnn as rnn
from experiments import runs, training
from experiments.data import DataError
from experiments.data.series import Series, load_series, read_csv
from experiments.measures.comparison import Comparison, compare
from experiments.measures.conformal import (
    Intervals,
    calibrated,
    conformal_margins,
    measure_intervals,
)
from experiments.measures.errors import Errors, errors_of, quantile_scores
from experiments.measures.simple_forecasts import (
    drift,
    persistence,
    ridge,
    seasonal,
)
from experiments.plots import curves
from experiments.plots.forecasting import Forecast, coverage, errors_by_step, forecasts

NOMINAL = (0.95, 0.9, 0.8, 0.5)  # coverage of the intervals, from the outermost in
QUANTILES = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)
MIDDLE = len(NOMINAL)  # where the median stands among them
WALKS = ("persistence", "persistence with drift")  # what is best for a random walk
BATCH = 500  # windows that are forecast at once
ETTH1 = (8640, 2880, 2880)  # twelve, four and four months of 30 days
SETTINGS = training.Settings(
    epochs=4, batch_size=256, learning_rate=1e-3, weight_decay=1e-2, seeds=3
)


@dataclass(frozen=True)
class Config:
    """Forecasts time series, with intervals.

    The defaults shown are those of the chosen --preset, --dataset or --csv.
    """

    preset: Literal["default", "smoke"] = "default"
    """A set of defaults: default, for results; smoke, to see quickly that all works."""
    dataset: Literal["etth1", "stocks", "airline", "sunspots", "temperatures"] = "etth1"
    """Hourly load of a transformer; monthly share prices; the classic series."""
    csv: Path | None = None
    """A file of your own instead: a header, a column of dates, columns of numbers."""
    columns: tuple[str, ...] = ()
    """Which columns of the --csv; none: all."""
    structure: Literal["direct", "stepwise"] = "direct"
    """Tell the whole horizon after the window, or the next patch after each patch."""
    window: int = 336
    """How many steps a forecast is made from (L)."""
    horizon: int = 96
    """How many steps are forecast (H)."""
    patch: int = 24
    """How many steps of the series are one step of the network (P)."""
    period: int | None = 24
    """Steps in a season, for the seasonal naive forecast; None: there is none."""
    log: bool = False
    """Whether to forecast the logarithm."""
    hidden_size: int = 128
    """Size of the hidden state, and of what is made of a patch."""
    dropout: float = 0.5
    """Share of the hidden units left out while training."""
    train: training.Settings = field(default_factory=lambda: SETTINGS)
    run: runs.Options = field(default_factory=runs.Options)

    def __post_init__(self):
        sizes = ("window", "horizon", "patch", "period", "hidden_size")
        runs.check(self, at_least_1=sizes, shares=("dropout",))
        several = "at least 2: forecasts are told from what has changed"
        runs.require(self.window >= 2, "window", several, self.window)
        patches = f"a multiple of --patch {self.patch}"
        runs.require(self.window % self.patch == 0, "window", patches, self.window)
        if self.structure == "stepwise":
            fits = self.horizon % self.patch == 0
            runs.require(fits, "horizon", patches, self.horizon)
            several = self.window > self.patch
            runs.require(several, "window", "two patches or more", self.window)
        needs = self.csv is not None or not self.columns
        runs.require(needs, "columns", "a --csv too", " ".join(self.columns))

    @property
    def name(self) -> str:
        """Of the data."""
        return self.dataset if self.csv is None else self.csv.stem


def defaults(preset: str, dataset: str, csv: str) -> Config:
    """The options of a preset, chosen on the validation part."""
    short = replace(SETTINGS, epochs=20, batch_size=32)
    config = Config()
    if csv:
        config = Config(csv=Path(csv), window=48, horizon=12, patch=1, period=None)
    elif dataset == "stocks":
        config = Config(window=36, horizon=12, patch=1, period=12, log=True)
        short = replace(short, epochs=10)
    elif dataset == "airline":
        config = Config(window=36, horizon=12, patch=3, period=12, log=True)
        short = replace(short, epochs=100, batch_size=8, learning_rate=3e-3)
    elif dataset == "sunspots":  # windows of two cycles of the sun
        config = Config(window=264, horizon=24, patch=12, period=132)
    elif dataset == "temperatures":
        config = Config(window=56, horizon=7, patch=7, period=365)
    if csv or dataset != "etth1":
        config = replace(config, hidden_size=64, train=short)
    if preset == "smoke":
        train = replace(config.train, epochs=2, seeds=2)
        config = replace(config, hidden_size=17, train=train)
        if dataset == "etth1" and not csv:
            train = replace(train, batch_size=1024, learning_rate=1e-2, epochs=1)
            config = replace(config, window=96, horizon=24, train=train)
    return config


parse = runs.parser(
    "forecasting",
    defaults,
    preset="default",
    dataset="etth1",
    csv="",
)


def pinball(quantiles: jax.Array, targets: jax.Array) -> jax.Array:
    """The quantile loss of [K, Q] for targets [K]."""
    levels = jnp.array(QUANTILES, quantiles.dtype)[None]
    errors = targets[:, None] - quantiles
    return 2 * jnp.maximum(levels * errors, (levels - 1) * errors).mean()


def begin(cell: rnn.Cell, params: Any, state: jax.Array, key: jax.Array | None) -> Any:
    """The carry of a chain (linear, activation, GRU, ...) that starts from a state."""
    carry = cell.initial_carry(params, key)
    return *carry[:2], rnn.GRUCarry(state), *carry[3:]


class DirectParams(NamedTuple):
    """Weights of `Direct`."""

    start: Any  # [C, H], the first state for each variable
    reader: Any
    skip: Any
    readout: Any


class Direct(NamedTuple):
    """Many to one: reads the window, then tells the whole horizon."""

    horizon: int
    patch: int
    start: rnn.Cell
    reader: rnn.Cell
    skip: rnn.Cell
    readout: rnn.Cell

    def init(self, key: jax.Array) -> DirectParams:
        keys = jax.random.split(key, 4)
        parts = (self.start, self.reader, self.skip, self.readout)
        return DirectParams(*(p.init(k) for p, k in zip(parts, keys, strict=True)))

    def outputs(self, params, variable, values, key=None):
        """Quantiles [H, Q] and their targets [H], from a window and its future."""
        window, future = values[: -self.horizon], values[-self.horizon :]
        return self.quantiles(params, variable, window, key), future

    def quantiles(self, params, variable, window, key=None):
        relative = window - window[-1]
        _, state = self.start.unroll(params.start, (), variable[None])
        carry = begin(self.reader, params.reader, state[0], key)
        patches = relative.reshape(-1, self.patch)
        _, states = self.reader.unroll(params.reader, carry, patches)
        _, middle = self.skip.unroll(params.skip, (), relative[None])
        _, spread = self.readout.unroll(params.readout, (), states[-1:])
        return window[-1] + middle[0][:, None] + spread.reshape(self.horizon, -1)

    def forecast(self, params, variable, window):
        """Quantiles [H, Q] of what follows a window [L]."""
        return jnp.sort(self.quantiles(params, variable, window), axis=-1)


class StepwiseParams(NamedTuple):
    """Weights of `Stepwise`."""

    start: Any  # [C, H], the first state for each variable
    cell: Any


class Stepwise(NamedTuple):
    """Many to many in step: tells the next patch after each patch."""

    horizon: int
    patch: int
    start: rnn.Cell
    cell: rnn.Cell  # from a patch and the value before it, [P + 1], to [P + 1, Q]

    def init(self, key: jax.Array) -> StepwiseParams:
        start_key, cell_key = jax.random.split(key)
        return StepwiseParams(self.start.init(start_key), self.cell.init(cell_key))

    def patches(self, values):
        """Each patch after the last value of the one before, [K, P + 1]."""
        patches = values.reshape(-1, self.patch)
        before = jnp.concatenate([values[:1], patches[:-1, -1]])
        return jnp.concatenate([before[:, None], patches], axis=1)

    def begin(self, params, variable, key):
        _, state = self.start.unroll(params.start, (), variable[None])
        return begin(self.cell, params.cell, state[0], key)

    def outputs(self, params, variable, values, key=None):
        """Quantiles [K, Q] of all patches but the first, and their targets [K]."""
        patches = self.patches(values)
        carry = self.begin(params, variable, key)
        _, quantiles = self.cell.unroll(params.cell, carry, patches[:-1])
        return quantiles[:, 1:].reshape(-1, len(QUANTILES)), values[self.patch :]

    def forecast(self, params, variable, window):
        """Quantiles [H, Q] of what follows a window [L], from the own medians."""
        patches = self.patches(window)
        carry = self.begin(params, variable, None)
        carry, _ = self.cell.unroll(params.cell, carry, patches[:-1])
        steps, first = self.horizon // self.patch, patches[-1]
        made = rnn.generate(self.cell, params.cell, carry, first, steps, median)
        # Reading what was made once more gives the quantiles beside the medians.
        read = jnp.concatenate([first[None], made.tokens[:-1]])
        _, quantiles = self.cell.unroll(params.cell, carry, read)
        quantiles = quantiles[:, 1:].reshape(-1, len(QUANTILES))
        return jnp.sort(quantiles, axis=-1)


def median(quantiles: jax.Array, key: jax.Array | None) -> jax.Array:
    """Chooses the next input of `Stepwise.cell`, [P + 1, Q] -> [P + 1]."""
    del key
    return jnp.sort(quantiles, axis=-1)[:, MIDDLE]


def relative(cell: rnn.Cell, patch: int) -> rnn.Cell:
    """Reads and tells differences from the last value that was read.

    Args:
      cell: from [P] to [P Q].
      patch: P.

    Returns:
      A cell with the params and the carry of `cell`, from [P + 1] to [P + 1, Q]; the
      first row of its output is the last value read, the one before the next patch.
    """

    def before(x):
        return x[:-1] - x[-1]

    def after(x, y):
        return x[-1] + jnp.pad(y.reshape(patch, -1), ((1, 0), (0, 0)))

    def step(params, carry, x):
        assert cell.step is not None  # a GRU streams
        carry, y = cell.step(params, carry, before(x))
        return carry, after(x, y)

    def unroll(params, carry, xs, *, mask=None, reverse=False):
        inputs = jax.vmap(before)(xs)
        carry, ys = cell.unroll(params, carry, inputs, mask=mask, reverse=reverse)
        return carry, jax.vmap(after)(xs, ys)

    return rnn.Cell(lambda key: cell.init(key), cell.initial_carry, step, unroll)


def network(config: Config, variables: int) -> Direct | Stepwise:
    """The network of a structure."""
    H, P, Q = config.hidden_size, config.patch, len(QUANTILES)
    start = rnn.embedding(variables, H, w_init=initializers.zeros)
    reader = (
        rnn.linear(P, H),
        rnn.activation(jax.nn.relu),
        rnn.gru(H, H),
        rnn.dropout(config.dropout),
    )
    if config.structure == "stepwise":
        cell = relative(rnn.chain(*reader, rnn.linear(H, P * Q)), P)
        return Stepwise(config.horizon, P, start, cell)
    skip = rnn.linear(
        config.window, config.horizon, bias=False, w_init=initializers.zeros
    )
    readout = rnn.linear(H, config.horizon * Q)
    return Direct(config.horizon, P, start, rnn.chain(*reader), skip, readout)


class Scale(NamedTuple):
    """How a series is standardised: by what its training part alone tells."""

    log: bool
    mean: np.ndarray  # [C]
    deviation: np.ndarray  # [C]

    def standardise(self, values: np.ndarray) -> np.ndarray:
        """[T, C] in the units of the series."""
        values = np.log(values) if self.log else values
        return (values - self.mean) / self.deviation

    def undo(self, values: np.ndarray, variable: int) -> np.ndarray:
        """Standardised values of a variable in its own units."""
        values = values * self.deviation[variable] + self.mean[variable]
        return np.exp(values) if self.log else values


def make_scale(series: Series, train: range, log: bool) -> Scale:
    """The scale of a series.

    Raises:
      UsageError: if there is no logarithm.
      DataError: if a variable does not vary in the training part.
    """
    for name, lowest in zip(series.names, series.values.min(axis=0), strict=True):
        got = f"{lowest:g} in column {name}"
        runs.require(not log or lowest > 0, "log", "values above 0", got)
    values = np.log(series.values) if log else series.values
    values = values[train.start : train.stop]
    for name, size in zip(series.names, np.ptp(values, axis=0), strict=True):
        if size == 0:
            raise DataError(
                f"{series.source}: column {name} is constant in the training part"
            )
    return Scale(log, values.mean(axis=0), values.std(axis=0))


def parts(config: Config, series: Series) -> tuple[range, range, range]:
    """The steps for training, validation and test.

    Raises:
      DataError: if the series is shorter than its usual parts are.
      UsageError: if a window and its horizon do not fit into them.
    """
    length = len(series.values)
    lengths = (length * 3 // 5, length // 5, length - length * 3 // 5 - length // 5)
    if config.csv is None and config.dataset == "etth1":
        lengths = ETTH1
        if sum(lengths) > length:
            raise DataError(
                f"{series.source}: has {length:,} rows, expected {sum(lengths):,} or "
                f"more: {lengths[0]:,} for training, then {lengths[1]:,} and "
                f"{lengths[2]:,} for validation and test"
            )
    ends = np.cumsum(lengths).tolist()
    train, validation, test = (
        range(stop - size, stop) for stop, size in zip(ends, lengths, strict=True)
    )
    whole = config.window + config.horizon
    fewest = min(len(train) - whole, len(validation) - config.horizon) + 1
    if fewest < 1:
        raise runs.UsageError(
            f"--window, --horizon: {config.window} + {config.horizon} steps do not fit "
            f"into {len(train)} steps for training and {len(validation)} for "
            f"validation, of the {length} in {series.source}"
        )
    return train, validation, test


def windows(values: np.ndarray, part: range, window: int, horizon: int) -> np.ndarray:
    """All windows whose horizon lies within a part, a view [C, N, L + H].

    What a forecast is made from may lie before the part, what it is measured on not.
    """
    first = max(part.start - window, 0)
    inside = values[first : part.stop].T
    return sliding_window_view(inside, window + horizon, axis=1)


class Problem(NamedTuple):
    """A network and the series it is trained and measured on."""

    config: Config
    net: Direct | Stepwise
    series: Series
    scale: Scale
    values: np.ndarray  # [T, C] float32, standardised
    parts: tuple[range, range, range]

    def windows(self, part: range) -> np.ndarray:
        """[C, N, L + H]"""
        return windows(self.values, part, self.config.window, self.config.horizon)

    def truth(self, part: range) -> np.ndarray:
        """[C, N, H]"""
        return self.windows(part)[..., self.config.window :]


def make_problem(config: Config, series: Series) -> Problem:
    """Standardises a series and makes a network for it."""
    all_parts = parts(config, series)
    scale = make_scale(series, all_parts[0], config.log)
    values = scale.standardise(series.values).astype(np.float32)
    net = network(config, len(series.names))
    return Problem(config, net, series, scale, values, all_parts)


@lru_cache
def _forecaster(net: Direct | Stepwise):
    return jax.jit(jax.vmap(net.forecast, (None, 0, 0)))


def forecast(net: Direct | Stepwise, params: Any, windows: np.ndarray) -> np.ndarray:
    """Quantiles [C, N, H, Q] of what follows windows [C, N, L], for one seed.

    All is done in batches of one size, so that there is one compilation.
    """
    C, N, L = windows.shape
    variables = np.repeat(np.arange(C), N)
    rows = windows.reshape(-1, L)
    found = np.empty((C * N, net.horizon, len(QUANTILES)), np.float32)
    for first in range(0, C * N, BATCH):
        index = np.minimum(np.arange(first, first + BATCH), C * N - 1)
        part = _forecaster(net)(params, variables[index], rows[index])
        found[first : first + BATCH] = part[: C * N - first]
    return found.reshape(C, N, *found.shape[1:])


def of_seed(params: Any, seed: int) -> Any:
    """The params of one of the seeds."""
    return jax.tree.map(lambda a: a[seed], params)


def make_job(problem: Problem, mesh: jax.sharding.Mesh | None) -> training.Job:
    """Training of all seeds at once, each measured after each epoch."""
    config, net = problem.config, problem.net
    train_set, validation_set = map(problem.windows, problem.parts[:2])
    before = validation_set[..., : config.window]
    truth = validation_set[..., config.window :]
    variables, count = train_set.shape[:2]
    batch_size = config.train.batch_size
    steps = variables * count // batch_size
    optimizer = training.make_optimizer(
        config.train, config.train.epochs * steps, training.matrices
    )

    def loss_fn(params, variable, values, key):
        quantiles, targets = net.outputs(params, variable, values, key)
        aux = {"mae": jnp.abs(quantiles[:, MIDDLE] - targets).mean()}
        return pinball(quantiles, targets), aux

    orders = training.shuffler(config.train, variables * count)

    def batches(epoch, first, stop, share):
        index = share.of(orders(epoch)[:, first:stop])
        return index % variables, train_set[index % variables, index // variables]

    def measure(state):
        params = training.local(state.params)
        found = [
            quantile_scores(
                forecast(net, of_seed(params, seed), before), truth, QUANTILES
            )
            for seed in range(config.train.seeds)
        ]
        return {
            f"validation_{name}": np.array([own[name] for own in found])
            for name in found[0]
        }

    return training.Job(
        settings=config.train,
        start=training.starter(config.train, net.init, optimizer),
        update=rnn.make_update(loss_fn, optimizer, has_aux=True, mesh=mesh),
        aux=("mae",),
        batches=batches,
        measure=measure,
        score="validation_mse",
        higher_is_better=False,
        steps=steps,
        keep_best=True,
    )


def naive_forecasts(problem: Problem, part: range) -> dict[str, np.ndarray]:
    """The forecasts that need no training, [C, N, H] each."""
    config, values, train = problem.config, problem.values, problem.parts[0]
    L, H = config.window, config.horizon
    last = problem.windows(part)[..., L - 1]  # [C, N]
    found = {WALKS[0]: persistence(last, H)}
    if config.log:  # a random walk in logarithms
        found[WALKS[1]] = drift(last, H, values[train.start : train.stop])
    first = max(part.start, L)  # of what is forecast by the first window
    if config.period is not None and first >= config.period:
        origins = first + np.arange(last.shape[1])
        found["seasonal persistence"] = seasonal(values, origins, config.period, H)
    return found


class Evaluation(NamedTuple):
    """What the network is worth on the test part; S seeds."""

    errors: list[Errors]
    raw: list[Intervals]
    calibrated: list[Intervals]
    quantiles: np.ndarray  # [C, N, H, Q] of the first seed, calibrated
    margins: np.ndarray  # [C, 1, H, Q] of the first seed

    def mean(self, kind: str, field: str) -> np.ndarray:
        """Over seeds, of `errors`, `raw` or `calibrated`."""
        return np.mean([getattr(x, field) for x in getattr(self, kind)], axis=0)


def evaluate(problem: Problem, params: Any) -> Evaluation:
    """Forecasts, calibrates on the validation part and measures on the test part."""
    L = problem.config.window
    _, validation, test = problem.parts
    errors, raw, fixed, first = [], [], [], ()
    for seed in range(problem.config.train.seeds):
        before, quantiles = (
            forecast(problem.net, of_seed(params, seed), problem.windows(part)[..., :L])
            for part in (validation, test)
        )
        margins = conformal_margins(before, problem.truth(validation), NOMINAL)
        truth, moved = problem.truth(test), calibrated(quantiles, margins)
        errors.append(errors_of(quantiles[..., MIDDLE], truth))
        raw.append(measure_intervals(quantiles, truth))
        fixed.append(measure_intervals(moved, truth))
        first = first or (moved, margins)
    return Evaluation(errors, raw, fixed, *first)


class Baseline(NamedTuple):
    """A simpler forecast, with intervals as wide as its errors were before."""

    forecast: np.ndarray  # [C, N, H]
    errors: Errors
    intervals: Intervals


def baselines(problem: Problem) -> tuple[float, dict[str, Baseline]]:
    """The penalty of the linear forecast, and all simpler ones on the test part."""
    _, validation, test = problem.parts
    examples = [problem.windows(part) for part in problem.parts]
    penalty, linear = ridge(*examples[:2], problem.config.window)

    def quantiles(forecast):
        return np.repeat(forecast[..., None], len(QUANTILES), axis=-1)

    before = naive_forecasts(problem, validation) | {"ridge": linear(examples[1])}
    after = naive_forecasts(problem, test) | {"ridge": linear(examples[2])}
    truths = problem.truth(validation), problem.truth(test)
    found = {}
    for name in before.keys() & after.keys():
        margins = conformal_margins(quantiles(before[name]), truths[0], NOMINAL)
        moved = calibrated(quantiles(after[name]), margins)
        errors = errors_of(after[name], truths[1])
        intervals = measure_intervals(moved, truths[1])
        found[name] = Baseline(after[name], errors, intervals)
    return penalty, {name: found[name] for name in after if name in found}


def run(config: Config) -> None:
    """Loads the data and checks that all fits together, then does the study."""
    if config.csv is None:
        series = load_series(config.dataset, config.run.data_dir)
    else:
        series = read_csv(config.csv, config.columns)
    problem = make_problem(config, series)
    train_set = problem.windows(problem.parts[0])
    mesh = runs.connect(config.run)
    count = train_set.shape[0] * train_set.shape[1]
    training.check_batch_size(config.train, mesh, count)
    data = problem.values
    runs.carry_out("forecasting", config, data, partial(study, problem, mesh))


def study(problem: Problem, mesh, output: runs.Output) -> None:
    """Trains, measures, and writes and prints the results."""
    config = problem.config
    job = make_job(problem, mesh)
    result = training.train(job, output, config.run, mesh)
    found = evaluate(problem, result.params)
    penalty, simpler = baselines(problem)
    squared = found.mean("errors", "squared")  # [N, H]
    against = {
        name: {
            "horizon": compare(
                squared.mean(axis=1), other.errors.squared.mean(axis=1), config.horizon
            ),
            "first step": compare(squared[:, 0], other.errors.squared[:, 0], 1),
        }
        for name, other in simpler.items()
    }
    if output.writes:
        draw(problem, output, found, simpler, result.history)
        with output.replacing("forecast.csv") as path:
            write_forecast(path, problem, of_seed(result.params, 0), found.margins)
    means = [errors.means() for errors in found.errors]
    training.conclude(
        output,
        job,
        result,
        dataset=config.name,
        variables=problem.series.names,
        windows=[problem.windows(part).shape[1] for part in problem.parts],
        **{f"test_{k}": np.mean([m[k] for m in means]) for k in ("mse", "mae")},
        **{f"test_{k}_per_seed": [m[k] for m in means] for k in ("mse", "mae")},
        nominal_coverage=NOMINAL,
        coverage_before_calibration=found.mean("raw", "covered").mean(axis=1),
        width_before_calibration=found.mean("raw", "width").mean(axis=1),
        coverage=found.mean("calibrated", "covered").mean(axis=1),
        width=found.mean("calibrated", "width").mean(axis=1),
        baselines={
            name: {
                **other.errors.means(),
                "coverage": other.intervals.covered.mean(axis=1),
                "width": other.intervals.width.mean(axis=1),
            }
            for name, other in simpler.items()
        },
        ridge_penalty=penalty,
        squared_error_against={
            name: {where: c._asdict() for where, c in pair.items()}
            for name, pair in against.items()
        },
    )
    report(problem, output, found, simpler, against)


def report(problem, output, found, simpler, against) -> None:
    """Prints the results beside those of simpler forecasts, and where files went."""
    config = problem.config
    count = problem.windows(problem.parts[2]).shape[1]
    what = "standardised logarithms" if config.log else "standardised data"
    print(
        f"{config.name}, {config.horizon} steps ahead, {count} windows of the test "
        f"part, {what}"
    )
    print(f"{'forecast':24}{'MSE':>8}{'MAE':>8}   MSE of the network against it")
    per_seed = [errors.means()["mse"] for errors in found.errors]
    mse, mae = (found.mean("errors", name).mean() for name in Errors._fields)
    print(
        f"{'network, ' + config.structure:24}{mse:8.4f}{mae:8.4f}   "
        f"{min(per_seed):.4f} to {max(per_seed):.4f} over {len(per_seed)} seeds"
    )
    for name, other in simpler.items():
        c = against[name]["horizon"]
        means = other.errors.means()
        print(f"{name:24}{means['mse']:8.4f}{means['mae']:8.4f}   {c}")
    print("intervals: nominal  covered before, after calibration  width   ridge's")
    for i, nominal in enumerate(NOMINAL):
        raw, covered, width = (
            found.mean(kind, name)[i].mean()
            for kind, name in (
                ("raw", "covered"),
                ("calibrated", "covered"),
                ("calibrated", "width"),
            )
        )
        ridge = simpler["ridge"].intervals
        print(
            f"{nominal:18.0%}{raw:16.1%}{covered:19.1%}{width:7.3f}   "
            f"{ridge.covered[i].mean():.1%} at {ridge.width[i].mean():.3f}"
        )
    if config.csv is None and config.dataset == "stocks":
        print(verdict(against))
    print(f"results in {output.path}")


def verdict(against: dict[str, dict[str, Comparison]]) -> str:
    """What the tests say about prices, in words."""
    walks = [found for name, found in against.items() if name in WALKS]
    (one, all_steps) = (
        max((walk[where] for walk in walks), key=lambda c: c.ratio)
        for where in ("first step", "horizon")
    )
    measured = (
        "the network's squared error against that of the better random walk: one month "
        f"ahead {one}; over the whole horizon {all_steps}"
    )
    if any(c.ratio < 1 and c.p < 0.05 for c in (one, all_steps)):
        return f"on these windows the network beats a random walk: {measured}"
    return (
        f"these prices are close to a random walk: {measured}. The network is not "
        "measurably better than 'as last month, with the usual growth or without': do "
        "not trade on it"
    )


def write_forecast(path: Path, problem: Problem, params: Any, margins) -> None:
    """The forecast from the end of the test part, in the units of the series."""
    config, stop = problem.config, problem.parts[2].stop
    window = problem.values[stop - config.window : stop].T[:, None]  # [C, 1, L]
    quantiles = forecast(problem.net, params, window)
    quantiles = calibrated(quantiles, margins)[:, 0]  # [C, H, Q]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["variable", "steps_ahead", *map(str, QUANTILES)])
        for variable, name in enumerate(problem.series.names):
            rows = problem.scale.undo(quantiles[variable], variable)
            for step, row in enumerate(rows, 1):
                writer.writerow([name, step, *(f"{value:.6g}" for value in row)])


def draw(problem, output, found, simpler, history) -> None:
    """Draws forecasts, the error at each step, the coverage and the curves."""
    config, series, scale = problem.config, problem.series, problem.scale
    test, L = problem.parts[2], config.window
    examples = problem.windows(test)
    count = examples.shape[1]
    variables = [0, len(series.names) - 1] if len(series.names) > 1 else [0]
    panels = []
    for variable in variables:
        for index in np.linspace(0.1, 0.9, 3) * (count - 1):
            index = int(index)
            shown = min(L, 2 * config.horizon)
            panels.append(
                Forecast(
                    f"{series.names[variable]}, from "
                    f"{series.dates[test.start + index].astype('datetime64[D]')}",
                    scale.undo(examples[variable, index, L - shown :], variable),
                    scale.undo(found.quantiles[variable, index], variable),
                    scale.undo(simpler["ridge"].forecast[variable, index], variable),
                )
            )
    title = f"{config.name}, {config.structure}"
    with output.replacing("forecasts.png") as path:
        forecasts(path, panels, NOMINAL, title=title)
    with output.replacing("steps.png") as path:
        lines = {
            label: {
                name: getattr(b.errors, kind).mean(axis=0)
                for name, b in simpler.items()
            }
            | {"network": found.mean("errors", kind).mean(axis=0)}
            for label, kind in (
                ("mean squared error", "squared"),
                ("mean absolute error", "absolute"),
            )
        }
        errors_by_step(path, lines, title=title)
    with output.replacing("coverage.png") as path:
        covered = {
            "network, before calibration": found.mean("raw", "covered"),
            "network, calibrated": found.mean("calibrated", "covered"),
            "ridge, calibrated": simpler["ridge"].intervals.covered,
        }
        coverage(path, NOMINAL, covered, title=title)
    with output.replacing("curves.png") as path:
        names = {
            "quantile loss": ("train_loss", "validation_loss"),
            "mean squared error": ("validation_mse",),
        }
        curves(path, history, names, title=title)


if __name__ == "__main__":
    runs.main(parse, run)
