"""Forecasts time series, with intervals, and says what simpler forecasts are worth.

    python -m experiments.forecasting --data-dir FOLDER
    python -m experiments.forecasting --data-dir FOLDER --horizon 24
    python -m experiments.forecasting --data-dir FOLDER --structure stepwise
    python -m experiments.forecasting --dataset stocks
    python -m experiments.forecasting --csv FILE --columns a b --horizon 12 --out RUN
    python -m experiments.forecasting --out RUN --predict NEWER

Every variable is a sequence of its own, read by the same network; which variable it is
decides the state s_0 that the network starts from. The window is cut into patches p_k
of P steps, so that a day of hours is one step of the recurrence. Two structures:

    direct, many to one: read the window w_1 .. w_L less its last value, and tell all
    quantiles q of the H steps to come from the last state and, linearly, the window

        s_k = cell(relu(p_k A), s_{k-1}),    y_q = w_L + (w - w_L) W + s_K V_q

    stepwise, many to many in step: after each patch tell the quantiles of the next
    one, as differences from the last value read l_k; to forecast, read own medians

        s_k = cell(relu((p_k - l_k) A), s_{k-1}),    p_{k+1,q} = l_k + s_k V_q

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

Shapes: S seeds, C variables, N windows of T = L + H steps, Q quantiles, K values.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import lab
from experiments.data.csv_options import CsvConfig
from experiments.data.series import DATASETS, forecast_csv
from experiments.data.windows import Windowed, make_windows
from experiments.measures.ahead import Ahead
from experiments.measures.comparison import random_walk_verdict
from experiments.measures.errors import quantile_scores
from experiments.measures.forecasts import evaluate
from experiments.models.forecasters import Forecaster, direct, of_all, stepwise

NOMINAL = (0.95, 0.9, 0.8, 0.5)  # coverage of the intervals, from the outermost in
QUANTILES = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975)


@dataclass(frozen=True)
class Config(CsvConfig):
    """Forecasts time series, with intervals.

    The defaults shown are those of the chosen --preset, --dataset or --csv.
    """

    preset: Literal["default", "smoke"] = "default"
    """A set of defaults: default, for results; smoke, to see quickly that all works."""
    dataset: Literal["etth1", "stocks", "airline", "sunspots", "temperatures"] = "etth1"
    """Hourly load of a transformer; monthly share prices; the classic series."""
    predict: lab.Asked[Path | None] = None
    """Forecast what follows this CSV file, by the finished run in --out."""
    structure: Literal["direct", "stepwise"] = "direct"
    """Tell the whole horizon after the window, or the next patch after each patch."""
    window: lab.AtLeast1 = 336
    """How many steps a forecast is made from (L)."""
    horizon: lab.AtLeast1 = 96
    """How many steps are forecast (H)."""
    patch: lab.AtLeast1 = 24
    """How many steps of the series are one step of the network (P)."""
    period: lab.AtLeast1 | None = 24
    """Steps in a season, for the seasonal naive forecast; None: there is none."""
    log: bool = False
    """Whether to forecast the logarithm."""
    cell: lab.CellName = "gru"
    """The recurrent cell."""
    hidden_size: lab.AtLeast1 = 128
    """Size of the hidden state, and of what is made of a patch."""
    dropout: lab.Share = 0.5
    """Share of the hidden units left out while training."""

    def __post_init__(self):
        super().__post_init__()
        L, H, P = self.window, self.horizon, self.patch
        several = "at least 2: forecasts are told from what has changed"
        lab.require(L >= 2, "window", several, L)
        patches = f"a multiple of --patch {P}"
        lab.require(L % P == 0, "window", patches, L)
        if self.structure == "stepwise":
            lab.require(H % P == 0, "horizon", patches, H)
            lab.require(L > P, "window", "two patches or more", L)


TRAINING = lab.Training(
    epochs=4, batch_size=256, learning_rate=1e-3, weight_decay=1e-2, seeds=3
)
SHORT = {"hidden_size": 64, "epochs": 20, "batch_size": 32, "learning_rate": 1e-3}
YEARS = {"window": 36, "horizon": 12, "patch": 1, "period": 12, "log": True}
PASSENGERS = {"patch": 3, "epochs": 100, "batch_size": 8, "learning_rate": 3e-3}
CYCLES = {"window": 264, "horizon": 24, "patch": 12, "period": 132}  # two of the sun
DAYS = {"window": 56, "horizon": 7, "patch": 7, "period": 365}
OWN = {"window": 48, "horizon": 12, "patch": 1, "period": None, "log": False}
LOADS = {"window": 96, "horizon": 24, "batch_size": 1024, "learning_rate": 1e-2}
SMOKE = {"preset": "smoke"}
RECIPES = lab.Recipes(  # chosen on the validation part
    Config(train=TRAINING),
    lab.When({"dataset": "stocks"}, SHORT | YEARS | {"epochs": 10}),
    lab.When({"dataset": "airline"}, SHORT | YEARS | PASSENGERS),
    lab.When({"dataset": "sunspots"}, SHORT | CYCLES),
    lab.When({"dataset": "temperatures"}, SHORT | DAYS),
    lab.When({"csv": lab.GIVEN}, SHORT | OWN),
    lab.When(SMOKE, {"hidden_size": 17, "epochs": 2, "seeds": 2}),
    lab.When(SMOKE | {"dataset": "etth1", "csv": None}, LOADS | {"epochs": 1}),
)


def load(config: Config) -> Windowed:
    """Reads a series, standardises it and cuts it into windows."""
    series, lengths = config.load()
    sizes = config.window, config.horizon
    data = make_windows(series, *sizes, log=config.log, lengths=lengths)
    C, N, _ = data.windows(data.parts.train).shape
    lab.check_batch_size(config.train.batch_size, C * N)
    return data


def pinball(quantiles_KQ: jax.Array, targets_K: jax.Array) -> jax.Array:
    """The quantile loss."""
    levels = jnp.array(QUANTILES, quantiles_KQ.dtype)[None]
    errors = targets_K[:, None] - quantiles_KQ
    return 2 * jnp.maximum(levels * errors, (levels - 1) * errors).mean()


class Problem(NamedTuple):
    """A network, and the series it is trained and measured on."""

    data: Windowed
    net: Forecaster
    predict: Callable[..., jax.Array]  # (params, windows_CNL) -> quantiles_SCNHQ


def prepare(config: Config, data: Windowed, keep: lab.Keep) -> Problem:
    """Makes a network for the variables of the series."""
    net = network(config, len(data.series.names))
    return Problem(data, net, lab.over_seeds(of_all(net.forecast)))


def network(config: Config, variables: int) -> Forecaster:
    """The network that the options describe."""
    is_direct = config.structure == "direct"
    make = partial(direct, config.window) if is_direct else stepwise
    return make(
        *(config.horizon, config.patch, config.hidden_size),
        cell=config.cell,
        variables=variables,
        quantiles=len(QUANTILES),
        dropout=config.dropout,
    )


def task(config: Config, problem: Problem) -> lab.Task:
    """Learns the quantiles by their loss."""
    data, net, predict = problem
    train_CNT, validation_CNT = map(data.windows, data.parts[:2])
    L, (C, N, _) = data.window, train_CNT.shape

    def loss(params, variable, values, key):
        quantiles, targets = net.outputs(params, variable, values, key)
        aux = {"mae": jnp.abs(quantiles[:, len(NOMINAL)] - targets).mean()}
        return pinball(quantiles, targets), aux

    def measure(params):
        quantiles_SCNHQ = np.asarray(predict(params, validation_CNT[..., :L]))
        truth_CNH = validation_CNT[..., L:]
        seeds = [quantile_scores(q, truth_CNH, QUANTILES) for q in quantiles_SCNHQ]
        return {f"validation_{k}": np.array([s[k] for s in seeds]) for k in seeds[0]}

    def read(numbers):
        variable, place = numbers % C, numbers // C
        return variable, train_CNT[variable, place]

    batches = lab.shuffled(C * N, config.train.batch_size, read)
    return lab.Task(net.init, loss, batches, measure, best="-validation_mse")


def report(config: Config, problem: Problem, outcome: lab.Outcome) -> lab.Report:
    """Errors and intervals on the test part, beside those of simpler forecasts."""
    from experiments.plots.forecasting import pictures

    data, _, predict = problem
    simpler = {"period": config.period, "drifts": config.log}
    found = evaluate(data, partial(predict, outcome.params), NOMINAL, **simpler)
    rows = found.rows(f"network, {config.structure}", level=NOMINAL.index(0.9))
    counts = [len(data.origins(part)) for part in data.parts]
    what = "standardised logarithms" if config.log else "standardised data"
    body: list[str | lab.Table] = [
        lab.Table(
            f"{config.name}, {config.horizon} steps ahead, {counts[2]} windows of the "
            f"test part, {what}",
            {"MSE": ".4f", "MAE": ".4f", "network's MSE / its": ".3f", "p": ".2g"}
            | {"in intervals of 90%": ".1%", "their width": ".3f"},
            [lab.Row(*pair) for pair in rows.items()],
        )
    ]
    if config.csv is None and DATASETS[config.dataset].random_walk:
        body.append(random_walk_verdict(found.against))
    names, title = data.series.names, f"{config.name}, {config.structure}"
    dates = data.series.after(data.series.dates[data.parts.test.stop - 1], data.horizon)
    return lab.Report(
        body,
        facts={"dataset": config.name, "variables": names, "windows": counts}
        | found.facts(NOMINAL),
        figures=pictures(data, found, NOMINAL, outcome.history, title),
        files={
            "forecast.csv": forecast_csv(names, dates, found.ahead, QUANTILES),
            "series.json": Ahead.of(data, found.mean.margins).text(),
        },
    )


def predict(config: Config, finished: lab.Finished) -> lab.Report:
    """Forecasts what follows newer data of the series that a run has learned."""
    path = config.predict
    assert path is not None  # it is what asks
    known = Ahead.load(finished.path / "series.json")
    series = finished.asked.reading(config).read(path, known.names)
    net, end_C1L = network(config, len(known.names)), known.end(series)
    told = lab.over_seeds(of_all(net.forecast))(finished.load(net.init), end_C1L)
    dates = series.after(series.dates[-1], config.horizon)
    rows = known.quantiles(np.asarray(told)[0])
    name = f"forecast-{path.name.removesuffix('.gz').removesuffix('.csv')}.csv"
    name = lab.free(finished.path, name)
    said = f"forecasts from {dates[0]} to {dates[-1]} of {', '.join(known.names)} in "
    text = forecast_csv(known.names, dates, rows, QUANTILES)
    return lab.Report([f"{said}{finished.path / name}"], files={name: text})


STUDY = lab.Study(
    *("forecasting", RECIPES, load, task, report),
    prepare=prepare,
    digested=lambda data: data.values,
    answers={"predict": predict},
)

if __name__ == "__main__":
    lab.main(STUDY)
