"""`python -m experiments.forecasting`, from the command line to the files it leaves."""

import csv
import gzip
import json
import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import needs_data
from made import made_series

from experiments import forecasting, lab
from experiments.data.series import load_series, read_csv
from experiments.models.forecasters import of_all

needs_series = needs_data("ett", "series")


def run(out: Path, *options: str) -> dict:
    lab.main(forecasting.STUDY, ["--out", str(out), *options])
    return json.loads((out / "summary.json").read_text())


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The folder of a run on ETTh1, and its summary."""
    out = tmp_path_factory.mktemp("forecasting") / "run"
    return out, run(out, "--preset", "smoke")


@pytest.mark.slow
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
    assert rows[1][:3] == ["HUFL", "2018-02-21T00:00:00", "1"]
    quantiles = np.array([row[3:] for row in rows[1:]], float)
    assert (np.diff(quantiles, axis=1) >= 0).all()


@pytest.mark.slow
@needs_series
def test_intervals_on_etth1_hold_about_as_often_as_asked(smoke):
    _, summary = smoke
    assert summary["nominal_coverage"] == [0.95, 0.9, 0.8, 0.5]
    for forecast in (summary, *summary["baselines"].values()):
        nominal = np.array(summary["nominal_coverage"])
        assert np.abs(np.array(forecast["coverage"]) - nominal).max() < 0.1
        assert (np.diff(forecast["width"]) < 0).all()


@pytest.mark.slow
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
@pytest.mark.slow
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


@pytest.mark.slow
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


def made_csv(path: Path, rows: slice = slice(None), names: str = "v0;v1") -> Path:
    """The made series with a decimal comma."""
    series = made_series()
    lines = [
        f"{date};{a};{b}".replace(".", ",")
        for date, (a, b) in zip(series.dates, series.values, strict=True)
    ]
    path.write_text("\n".join([f"day;{names}", *lines[rows]]) + "\n")
    return path


def test_a_finished_run_forecasts_new_data(tmp_path, capsys):
    out = tmp_path / "run"
    sizes = "--window 14 --horizon 3 --hidden-size 4 --epochs 1 --seeds 1"
    run(out, "--csv", str(made_csv(tmp_path / "all.csv")), *sizes.split())

    def predict(path, *options, number=""):
        lab.main(
            forecasting.STUDY, ["--out", str(out), "--predict", str(path), *options]
        )
        with (out / f"forecast-{path.stem}{number}.csv").open() as file:
            return list(csv.reader(file))

    # What follows the data of the run is what the run itself has forecast.
    again = predict(tmp_path / "all.csv")
    with (out / "forecast.csv").open() as file:
        assert again == list(csv.reader(file))
    assert [row[:3] for row in again[1:5]] == [
        ["v0", "2001-07-31", "1"],
        ["v0", "2001-08-01", "2"],
        ["v0", "2001-08-02", "3"],
        ["v1", "2001-07-31", "1"],
    ]
    # Only the last window counts, and it is read as the options say.
    end = predict(made_csv(tmp_path / "end.csv", slice(-14, None)))
    np.testing.assert_allclose(
        np.array([r[3:] for r in end[1:]], float),
        np.array([r[3:] for r in again[1:]], float),
        rtol=1e-4,
    )
    (out / "forecast-earlier.csv").write_text("kept")
    earlier = predict(made_csv(tmp_path / "earlier.csv", slice(100)), number="-2")
    assert (out / "forecast-earlier.csv").read_text() == "kept"
    assert earlier[1][1] == "2001-04-11"
    assert earlier[1][3:] != again[1][3:]
    capsys.readouterr()
    for path, message in [
        (
            made_csv(tmp_path / "b.csv", slice(None, None, 2)),
            "expected times 1 day apart",
        ),
        (made_csv(tmp_path / "c.csv", names="v0;load"), "has no column v1; there are"),
        (made_csv(tmp_path / "d.csv", slice(5)), "has 5 rows, expected 14 or more"),
    ]:
        with pytest.raises(SystemExit) as error:
            predict(path)
        assert error.value.code == 2
        assert message in capsys.readouterr().err


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
