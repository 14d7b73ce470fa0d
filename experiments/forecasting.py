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

import jaxrnn as rnn
from experiments import runs, training
from experiments.data.series import DATASETS, Series, load_series, read_csv
from experiments.data.windows import Windowed, make_windows
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
from experiments.models.forecasters import Forecaster, direct, stepwise
from experiments.plots import curves
from experiments.plots.forecasting import Forecast, coverage, errors_by_step, forecasts

NOMINAL = (0.95, 0.9, 0.8, 0.5)  # coverage of the intervals, from the outermost in
QUANTILES = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)
MIDDLE = len(NOMINAL)  # where the median stands among them
WALKS = ("persistence", "persistence with drift")  # what is best for a random walk
BATCH = 500  # windows that are forecast at once
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


def network(config: Config, variables: int) -> Forecaster:
    """The network of a structure."""
    sizes = config.horizon, config.patch, config.hidden_size
    options = {
        "variables": variables,
        "quantiles": len(QUANTILES),
        "dropout": config.dropout,
    }
    if config.structure == "stepwise":
        return stepwise(*sizes, **options)
    return direct(config.window, *sizes, **options)


class Problem(NamedTuple):
    """A network and the series it is trained and measured on."""

    config: Config
    net: Forecaster
    data: Windowed


def make_problem(config: Config, series: Series) -> Problem:
    """Standardises and cuts a series, and makes a network for it."""
    lengths = None if config.csv is not None else DATASETS[config.dataset].parts
    data = make_windows(
        series, config.window, config.horizon, log=config.log, lengths=lengths
    )
    return Problem(config, network(config, len(series.names)), data)


@lru_cache
def _forecaster(net: Forecaster):
    return jax.jit(jax.vmap(net.forecast, (None, 0, 0)))


def forecast(problem: Problem, params: Any, windows: np.ndarray) -> np.ndarray:
    """Quantiles [C, N, H, Q] of what follows windows [C, N, L], for one seed.

    All is done in batches of one size, so that there is one compilation.
    """
    (C, N, L), run = windows.shape, _forecaster(problem.net)
    variables = np.repeat(np.arange(C), N)
    rows = windows.reshape(-1, L)
    found = np.empty((C * N, problem.config.horizon, len(QUANTILES)), np.float32)
    for first in range(0, C * N, BATCH):
        index = np.minimum(np.arange(first, first + BATCH), C * N - 1)
        part = run(params, variables[index], rows[index])
        found[first : first + BATCH] = part[: C * N - first]
    return found.reshape(C, N, *found.shape[1:])


def of_seed(params: Any, seed: int) -> Any:
    """The params of one of the seeds."""
    return jax.tree.map(lambda a: a[seed], params)


def make_job(problem: Problem, mesh: jax.sharding.Mesh | None) -> training.Job:
    """Training of all seeds at once, each measured after each epoch."""
    config, net, data = problem.config, problem.net, problem.data
    train_set, validation_set = map(data.windows, data.parts[:2])
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
                forecast(problem, of_seed(params, seed), before), truth, QUANTILES
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
    config, data = problem.config, problem.data
    train, origins = data.parts.train, data.origins(part)
    last = data.windows(part)[..., data.window - 1]  # [C, N]
    found = {WALKS[0]: persistence(last, data.horizon)}
    if config.log:  # a random walk in logarithms
        history = data.values[train.start : train.stop]
        found[WALKS[1]] = drift(last, data.horizon, history)
    if config.period is not None and origins[0] >= config.period:
        season = seasonal(data.values, origins, config.period, data.horizon)
        found["seasonal persistence"] = season
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
    data = problem.data
    _, validation, test = data.parts
    errors, raw, fixed, first = [], [], [], ()
    for seed in range(problem.config.train.seeds):
        before, quantiles = (
            forecast(
                problem, of_seed(params, seed), data.windows(part)[..., : data.window]
            )
            for part in (validation, test)
        )
        margins = conformal_margins(before, data.truth(validation), NOMINAL)
        truth, moved = data.truth(test), calibrated(quantiles, margins)
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
    data = problem.data
    train_set, validation_set, test_set = map(data.windows, data.parts)
    _, validation, test = data.parts
    penalty, linear = ridge(train_set, validation_set, data.window)

    def quantiles(forecast):
        return np.repeat(forecast[..., None], len(QUANTILES), axis=-1)

    before = naive_forecasts(problem, validation) | {"ridge": linear(validation_set)}
    after = naive_forecasts(problem, test) | {"ridge": linear(test_set)}
    known, truth, found = data.truth(validation), data.truth(test), {}
    for name in before.keys() & after.keys():
        margins = conformal_margins(quantiles(before[name]), known, NOMINAL)
        moved = calibrated(quantiles(after[name]), margins)
        errors, intervals = (
            errors_of(after[name], truth),
            measure_intervals(moved, truth),
        )
        found[name] = Baseline(after[name], errors, intervals)
    return penalty, {name: found[name] for name in after if name in found}


def run(config: Config) -> None:
    """Loads the data and checks that all fits together, then does the study."""
    if config.csv is None:
        series = load_series(config.dataset, config.run.data_dir)
    else:
        series = read_csv(config.csv, config.columns)
    problem = make_problem(config, series)
    train_set = problem.data.windows(problem.data.parts.train)
    mesh = runs.connect(config.run)
    count = train_set.shape[0] * train_set.shape[1]
    training.check_batch_size(config.train, mesh, count)
    values = problem.data.values
    runs.carry_out("forecasting", config, values, partial(study, problem, mesh))


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
        variables=problem.data.series.names,
        windows=[len(problem.data.origins(part)) for part in problem.data.parts],
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
    count = len(problem.data.origins(problem.data.parts.test))
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
    if config.csv is None and DATASETS[config.dataset].random_walk:
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
    data, stop = problem.data, problem.data.parts.test.stop
    window = data.values[stop - data.window : stop].T[:, None]  # [C, 1, L]
    quantiles = forecast(problem, params, window)
    quantiles = calibrated(quantiles, margins)[:, 0]  # [C, H, Q]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["variable", "steps_ahead", *map(str, QUANTILES)])
        for variable, name in enumerate(data.series.names):
            rows = data.scale.undo(quantiles[variable], variable)
            for step, row in enumerate(rows, 1):
                writer.writerow([name, step, *(f"{value:.6g}" for value in row)])


def draw(problem, output, found, simpler, history) -> None:
    """Draws forecasts, the error at each step, the coverage and the curves."""
    config, data = problem.config, problem.data
    series, scale = data.series, data.scale
    test, L = data.parts.test, data.window
    examples = data.windows(test)
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
