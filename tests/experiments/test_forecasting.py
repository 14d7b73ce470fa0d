"""`python -m experiments.forecasting`, from the command line to the files it leaves."""

import csv
import gzip
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import needs_data
from made import made_series

from experiments import forecasting, runs
from experiments.data import files
from experiments.data.series import load_series, read_csv

FILES = {
    "metrics.jsonl",
    "summary.json",
    "timing.json",
    "config.json",
    "params.safetensors",
    "forecast.csv",
    "forecasts.png",
    "steps.png",
    "coverage.png",
    "curves.png",
}
needs_series = needs_data("ett", "series")


def run(out: Path, *options: str) -> dict:
    arguments = ["--out", str(out), *options]
    runs.main(forecasting.parse, forecasting.run, arguments)
    return json.loads((out / "summary.json").read_text())


def failing(capsys, *options: str) -> str:
    with pytest.raises(SystemExit) as error:
        runs.main(forecasting.parse, forecasting.run, list(options))
    assert error.value.code == 2
    return " ".join(capsys.readouterr().err.replace("│", "").split())


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The folder of a run on ETTh1, its summary, and what it printed."""
    import contextlib
    import io

    out = tmp_path_factory.mktemp("forecasting") / "run"
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        summary = run(out, "--preset", "smoke")
    return out, summary, said.getvalue()


@needs_series
def test_etth1_from_end_to_end(smoke):
    out, summary, said = smoke
    assert {p.name for p in out.iterdir()} == FILES | {
        "checkpoints",
        ".lock",
        "data.sha256",
    }
    for name in FILES:
        assert (out / name).stat().st_size > 100
        if name.endswith(".png"):
            assert (out / name).read_bytes().startswith(b"\x89PNG")
    assert summary["windows"] == [8640 - 96 - 24 + 1, 2880 - 24 + 1, 2880 - 24 + 1]
    assert len(summary["test_mse_per_seed"]) == 2
    assert summary["test_mse"] < summary["baselines"]["persistence"]["mse"]
    assert f"{summary['test_mse']:.4f}" in said
    assert f"{summary['baselines']['ridge']['mae']:.4f}" in said
    assert f"{summary['coverage'][0]:.1%}" in said
    with (out / "forecast.csv").open() as file:
        rows = list(csv.reader(file))
    assert len(rows) == 1 + 7 * 24
    quantiles = np.array([row[2:] for row in rows[1:]], float)
    assert (np.diff(quantiles, axis=1) >= 0).all()


@needs_series
def test_intervals_on_etth1_hold_about_as_often_as_asked(smoke):
    _, summary, _ = smoke
    assert summary["nominal_coverage"] == [0.95, 0.9, 0.8, 0.5]
    for forecast in (summary, *summary["baselines"].values()):
        nominal = np.array(summary["nominal_coverage"])
        assert np.abs(np.array(forecast["coverage"]) - nominal).max() < 0.1
        assert (np.diff(forecast["width"]) < 0).all()


@needs_series
def test_baselines_on_etth1_are_those_of_numpy(smoke):
    _, summary, _ = smoke
    with gzip.open(files.find("ett", None, "ETTh1.csv.gz")[0], "rt") as file:
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
    config = forecasting.parse(options.split())
    assert (config.name, config.period, config.log) == ("mine", None, False)
    found = read_csv(path, config.columns)
    assert found.names == ("v1", "v0")
    np.testing.assert_array_equal(found.dates, series.dates)
    np.testing.assert_array_equal(found.values, series.values[:, ::-1])
    problem = forecasting.make_problem(config, found)
    data = problem.data
    undone = [data.scale.undo(data.values[:, i], i) for i in range(2)]
    np.testing.assert_allclose(np.stack(undone, 1), found.values, rtol=1e-5)


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
        ("--data-dir /nowhere", "/nowhere does not exist"),
        ("--csv nothing.csv", "nothing.csv: cannot be read"),
        ("--columns a", "--columns: expected a --csv too, got a"),
        ("--window 100", "--window: expected a multiple of --patch 24, got 100"),
        (
            "--structure stepwise --horizon 25",
            "--horizon: expected a multiple of --patch 24, got 25",
        ),
        ("--dataset stocks --patch 1 --window 1", "--window: expected at least 2"),
        ("--structure stepwise --window 24", "--window: expected two patches or more"),
        ("--dropout 1", "--dropout: expected in [0, 1), got 1.0"),
        ("--dataset stocks --window 300", "300 + 12 steps do not fit into 234 steps"),
        ("--dataset stocks --batch-size 2000", "at most the 1309 training examples"),
        ("--csv zero.csv --log", "--log: expected values above 0, got 0"),
        ("--csv zero.csv", "zero.csv: column a is constant in the training part"),
        ("--csv large.csv", "large.csv: column a is constant in the training part"),
        ("--data-dir short", "ETTh1.csv.gz: has 3 rows, expected 14,400 or more"),
    ],
)
def test_mistakes_end_in_one_message(options, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{year}-01,0\n" for year in range(1000, 1400))
    (tmp_path / "zero.csv").write_text("year,a\n" + rows)
    # The mean of so many of these is not quite their value.
    (tmp_path / "large.csv").write_text("year,a\n" + rows.replace(",0", ",1234567.1"))
    (tmp_path / "short").mkdir()
    with gzip.open(tmp_path / "short" / "ETTh1.csv.gz", "wt") as file:
        file.write("date,OT\n2016-07-01,1\n2016-07-02,2\n2016-07-03,1\n")
    before = set(tmp_path.iterdir())
    assert message in failing(capsys, *options.split())
    assert set(tmp_path.iterdir()) == before
