"""`python -m experiments.forecasting`, from the command line to the files it leaves."""

import csv
import gzip
import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import needs_data

import jaxrnn as rnn
from experiments import forecasting, lab
from experiments.data import DataError
from experiments.data.series import Series, load_series, read_csv
from experiments.data.windows import Windowed, make_windows, windows
from experiments.models.forecasters import Forecaster, of_all, relative

needs_series = needs_data("ett", "series")


def run(out: Path, *options: str) -> dict:
    lab.main(forecasting.STUDY, ["--out", str(out), *options])
    return json.loads((out / "summary.json").read_text())


def made_series(length: int = 211, variables: int = 2, seed: int = 0) -> Series:
    """A noisy wave with a period of 7 steps."""
    rng = np.random.default_rng(seed)
    steps = np.arange(length)
    dates = np.datetime64("2001-01-01") + steps.astype("timedelta64[D]")
    waves = np.sin(2 * np.pi * steps[:, None] / 7 + np.arange(variables))
    values = 5 + waves + 0.1 * rng.standard_normal((length, variables))
    return Series(dates, values, tuple(f"v{i}" for i in range(variables)))


def made(series: Series, structure: str) -> tuple[Windowed, Forecaster]:
    """The series in windows of 15 steps with a horizon of 6, and a network for it."""
    sizes = "--window 15 --horizon 6 --patch 3 --period 7 --hidden-size 11 --csv x.csv"
    arguments = [*sizes.split(), "--structure", structure]
    config = lab.parse(forecasting.STUDY, arguments)
    data = make_windows(series, 15, 6)
    return data, forecasting.prepare(config, data, lambda name, write: Path(name)).net


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The folder of a run on ETTh1, and its summary."""
    out = tmp_path_factory.mktemp("forecasting") / "run"
    return out, run(out, "--preset", "smoke")


@needs_series
def test_etth1_from_end_to_end(smoke):
    out, summary = smoke
    assert summary["windows"] == [8640 - 96 - 24 + 1, 2880 - 24 + 1, 2880 - 24 + 1]
    assert len(summary["test_mse_per_seed"]) == 2
    assert summary["test_mse"] < summary["baselines"]["persistence"]["mse"]
    (table,) = summary["tables"]
    own, *others = table["rows"]
    assert own["values"][0] == summary["test_mse_per_seed"]
    assert np.isclose(np.mean(own["values"][4]), summary["coverage"][1])
    assert [row["name"] for row in others] == list(summary["baselines"])
    assert others[-1]["values"][1] == summary["baselines"]["ridge"]["mae"]
    with (out / "forecast.csv").open() as file:
        rows = list(csv.reader(file))
    assert len(rows) == 1 + 7 * 24
    quantiles = np.array([row[2:] for row in rows[1:]], float)
    assert (np.diff(quantiles, axis=1) >= 0).all()


@needs_series
def test_intervals_on_etth1_hold_about_as_often_as_asked(smoke):
    _, summary = smoke
    assert summary["nominal_coverage"] == [0.95, 0.9, 0.8, 0.5]
    for forecast in (summary, *summary["baselines"].values()):
        nominal = np.array(summary["nominal_coverage"])
        assert np.abs(np.array(forecast["coverage"]) - nominal).max() < 0.1
        assert (np.diff(forecast["width"]) < 0).all()


@needs_series
def test_baselines_on_etth1_are_those_of_numpy(smoke):
    _, summary = smoke
    with gzip.open(
        Path(os.environ["JAXRNN_DATA"]) / "ett" / "ETTh1.csv.gz", "rt"
    ) as file:
        raw = np.loadtxt(file, delimiter=",", skiprows=1, usecols=range(1, 8))
    values = (raw - raw[:8640].mean(0)) / raw[:8640].std(0)
    origins = np.arange(11520, 14400 - 24 + 1)
    truth = np.stack([values[origins + j] for j in range(24)], axis=1)
    naive = {
        "persistence": values[origins - 1][:, None].repeat(24, axis=1),
        "seasonal persistence": np.stack(
            [values[origins + j - 24] for j in range(24)], axis=1
        ),
    }
    for name, forecast in naive.items():
        found = summary["baselines"][name]
        np.testing.assert_allclose(
            found["mse"], np.mean((forecast - truth) ** 2), rtol=1e-5
        )
        np.testing.assert_allclose(
            found["mae"], np.mean(abs(forecast - truth)), rtol=1e-5
        )


@needs_series
def test_a_classic_series_step_by_step(tmp_path, capsys):
    options = "--dataset airline --structure stepwise --preset smoke"
    summary = run(tmp_path / "run", *options.split())
    assert "airline, 12 steps ahead, 19 windows of the test" in capsys.readouterr().out
    assert np.isfinite(summary["test_mse_per_seed"]).all()
    assert set(summary["baselines"]) == {
        "persistence",
        "persistence with drift",
        "seasonal persistence",
        "ridge",
    }


@needs_series
@pytest.mark.parametrize(
    ("dataset", "shape", "end"),
    [
        ("etth1", (17_420, 7), "2018-06-26T19:00:00"),
        ("airline", (144, 1), "1960-12-01T00:00:00"),
        ("sunspots", (2820, 1), "1983-12-01T00:00:00"),
        ("temperatures", (3650, 1), "1990-12-31T00:00:00"),
    ],
)
def test_all_of_a_series_is_read(dataset, shape, end):
    series = load_series(dataset)
    assert series.values.shape == (len(series.dates), len(series.names)) == shape
    assert str(series.dates[-1]) == end


def test_share_prices_are_said_to_be_close_to_a_random_walk(tmp_path, capsys):
    summary = run(tmp_path / "run", "--dataset", "stocks", "--preset", "smoke")
    assert "close to a random walk: the network" in capsys.readouterr().out
    assert summary["variables"][:2] == ["IBM", "AAPL"]
    against = summary["squared_error_against"]["persistence"]
    ratio = summary["test_mse"] / summary["baselines"]["persistence"]["mse"]
    np.testing.assert_allclose(against["horizon"]["ratio"], ratio, rtol=1e-6)
    series = load_series("stocks")
    assert series.values.shape == (390, 7)
    assert str(series.dates[-1])[:10] == "2022-06-01"


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / "mine.csv"
    series = made_series()
    lines = ['"day","v0","left, out","v1"']
    for date, (a, b) in zip(series.dates, series.values, strict=True):
        lines.append(f'"{date}",{a},x,{b}')
    path.write_bytes("\r\n".join(lines).encode())
    options = f"--csv {path} --columns v1 v0 --window 14 --horizon 5 --patch 2"
    config = lab.parse(forecasting.STUDY, options.split())
    assert (config.name, config.period, config.log) == ("mine", None, False)
    found = read_csv(path, config.columns)
    assert found.names == ("v1", "v0")
    np.testing.assert_array_equal(found.dates, series.dates)
    np.testing.assert_array_equal(found.values, series.values[:, ::-1])
    problem = forecasting.load(config)
    undone = [problem.scale.undo(problem.values[:, i], i) for i in range(2)]
    np.testing.assert_allclose(np.stack(undone, 1), found.values, rtol=1e-5)


def test_what_comes_later_changes_nothing_before():
    """Neither the scale nor any input; and the parts share no target."""
    series = made_series()
    problem, _ = made(series, "direct")
    train, validation, test = problem.parts
    assert (train, validation, test) == (range(126), range(126, 168), range(168, 211))
    changed = series._replace(values=series.values.copy())
    changed.values[validation.start :] *= -3
    other, _ = made(changed, "direct")
    np.testing.assert_array_equal(problem.scale.mean, other.scale.mean)
    np.testing.assert_array_equal(problem.scale.deviation, other.scale.deviation)
    np.testing.assert_array_equal(problem.windows(train), other.windows(train))
    np.testing.assert_allclose(problem.values[:126].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(problem.values[:126].std(axis=0), 1, rtol=1e-6)

    # Windows of the number of the step: what is in them?
    numbers = np.arange(211.0)[:, None]
    seen = set()
    for part in problem.parts:
        steps = windows(numbers, part, 15, 6)[0].astype(int)  # [N, 21]
        np.testing.assert_array_equal(np.diff(steps), 1)
        targets = set(steps[:, 15:].ravel().tolist())
        expected = range(15, 126) if part is train else part
        assert targets == set(expected)
        assert not targets & seen
        seen |= targets


@pytest.mark.parametrize("structure", ["direct", "stepwise"])
def test_forecasts_move_with_the_series_and_read_no_future(structure):
    problem, net = made(made_series(), structure)
    params = jax.jit(net.init)(jax.random.key(0))
    values = jnp.asarray(problem.windows(problem.parts[0])[1, 5])
    variable = jnp.int32(1)
    forecast = jax.jit(net.forecast)
    low = forecast(params, variable, values[:15])
    assert low.shape == (6, 9)
    assert bool((jnp.diff(low, axis=1) >= 0).all())
    high = forecast(params, variable, values[:15] + 7)
    np.testing.assert_allclose(high, low + 7, rtol=1e-4)

    @jax.jit
    @jax.jacobian
    def jacobian(values):
        return net.outputs(params, variable, values)[0].sum(axis=1)

    reads = np.asarray(jacobian(values)) != 0  # [K, L + H]
    start = 15 if structure == "direct" else 3
    targets = range(start, 21)
    outputs = jax.jit(net.outputs)(params, variable, jnp.arange(21.0))
    np.testing.assert_array_equal(outputs[1], targets)
    for row, target in zip(reads, targets, strict=True):
        patch_start = 15 if structure == "direct" else target - target % 3
        assert not row[patch_start:].any()
        assert row[:patch_start].any()


def test_stepwise_forecasts_are_those_of_a_loop_over_steps():
    problem, net = made(made_series(), "stepwise")
    params, variable = jax.jit(net.init)(jax.random.key(1)), jnp.int32(0)
    window = jnp.asarray(problem.windows(problem.parts[0])[0, 3, :15])
    outputs, values, found = jax.jit(net.outputs), np.asarray(window), []
    for _ in range(2):
        padded = jnp.asarray([*values, 0, 0, 0], jnp.float32)  # a target to ignore
        quantiles = outputs(params, variable, padded)[0][-3:]
        found.append(np.sort(np.asarray(quantiles), axis=1))
        values = np.append(values, found[-1][:, 4])
    forecast = jax.jit(net.forecast)(params, variable, window)
    np.testing.assert_allclose(forecast, np.concatenate(found), rtol=1e-5, atol=1e-5)


def test_the_relative_cell_keeps_the_law():
    inner = rnn.chain(rnn.linear(3, 5), rnn.gru(5, 5), rnn.linear(5, 3 * 9))
    cell = relative(inner, 3)
    assert cell.step is not None
    params, mask = cell.init(jax.random.key(0)), jnp.arange(7) != 2
    carry, xs = cell.initial_carry(params), jax.random.normal(jax.random.key(1), (7, 4))
    for options in ({}, {"mask": mask}, {"reverse": True}, {"starts": ~mask}):
        found = cell.unroll(params, carry, xs, **options)
        expected = rnn.scan_unroll(cell.step, cell.initial_carry)
        expected = expected(params, carry, xs, **options)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected
        )
    _, ys = jax.jit(cell.unroll)(params, carry, xs)
    np.testing.assert_array_equal(ys[:, 0], np.repeat(xs[:, -1:], 9, axis=1))


def test_many_windows_are_forecast_as_one_by_one():
    windows = np.arange(2 * 5 * 3, dtype=np.float32).reshape(2, 5, 3)

    def forecast(params, variable, window):
        return params * window.sum() + jnp.float32(variable) + jnp.arange(4.0)[:, None]

    found = of_all(forecast, batch=4)(2.0, windows)
    assert found.shape == (2, 5, 4, 1)
    for c, n in np.ndindex(2, 5):
        np.testing.assert_array_equal(found[c, n], forecast(2.0, c, windows[c, n]))


def test_the_loss_is_that_of_quantiles():
    rng = np.random.default_rng(0)
    quantiles, targets = rng.standard_normal((5, 9)), rng.standard_normal(5)
    errors = targets[:, None] - quantiles
    levels = np.array(forecasting.QUANTILES)
    expected = np.where(errors > 0, levels * errors, (levels - 1) * errors).mean() * 2
    found = forecasting.pinball(jnp.asarray(quantiles), jnp.asarray(targets))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"date,a,b\n", "has no data"),
        (b"# only\n# comments\n", "line 3: expected the names of a column of dates"),
        (b"date\n2001-01\n", "line 1: expected the names of a column of dates"),
        (b"date,a,a\n2001-01,1,2\n", "line 1: has two columns 'a'"),
        (b"date,a,b\n2001-01,1,2\n2001-02,3\n", "line 3: expected 3 columns"),
        (b"date,a,b\n2001-01,1,2\n\n2001-02,3,4\n", "line 3: expected 3 columns"),
        (b"date,a,b\n2001-01,1,x\n", "line 2: b: expected a finite number, found 'x'"),
        (b"date,a,b\n2001-01,nan,1\n", "line 2: a: expected a finite number"),
        (b"date,a,b\n2001-01,1,inf\n", "line 2: b: expected a finite number"),
        (b"date,a,b\n2001-01,,1\n", "line 2: a: expected a finite number, found ''"),
        (b"# c\ndate,a,b\n2001-01-02,1,2\n2001-01-01,1,2\n", "line 4: expected a date"),
        (b"date,a,b\n2001-01,1,2\n2001-01,1,2\n", "line 3: expected a date after 2001"),
        (b"date,a,b\nJanuary,1,2\n", "line 2: expected a date such as 2016-07-01"),
        (b'date,a,b\n"2001-01,1,2\n', "line 2: is not CSV"),
        (b"date,a,b\n2001-01,1,2\n2001-02,\xff,2\n", "line 3: is not UTF-8"),
        (b"date,a,c\n2001-01,1,2\n", "line 1: has no column b; there are a, c"),
    ],
)
def test_bad_files_are_named_with_the_line(content, message, tmp_path):
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    columns = ["b"] if b",c\n" in content else []
    with pytest.raises(DataError) as error:
        read_csv(path, columns)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--csv zero.csv --log", "--log: expected values above 0, got 0"),
        ("--csv zero.csv", "zero.csv: column a is constant in the training part"),
        ("--csv large.csv", "large.csv: column a is constant in the training part"),
        ("--data-dir short", "ETTh1.csv.gz: has 3 rows, expected 14,400 or more"),
    ],
)
def test_bad_values_end_in_one_message(options, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{year}-01,0\n" for year in range(1000, 1400))
    (tmp_path / "zero.csv").write_text("year,a\n" + rows)
    # The mean of so many of these is not quite their value.
    (tmp_path / "large.csv").write_text("year,a\n" + rows.replace(",0", ",1234567.1"))
    (tmp_path / "short").mkdir()
    with gzip.open(tmp_path / "short" / "ETTh1.csv.gz", "wt") as file:
        file.write("date,OT\n2016-07-01,1\n2016-07-02,2\n2016-07-03,1\n")
    before = set(tmp_path.iterdir())
    with pytest.raises(SystemExit) as error:
        lab.main(forecasting.STUDY, options.split())
    assert error.value.code == 2
    assert message in capsys.readouterr().err
    assert set(tmp_path.iterdir()) == before
