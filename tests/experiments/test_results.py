"""Stored results, and the tables that are made of them."""

import json
import shutil
from pathlib import Path

import pytest

from experiments.results import pages, stored
from experiments.results.__main__ import main


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """A copy of the pages and of the stored results."""
    for page in pages.PAGES:
        (tmp_path / page).parent.mkdir(exist_ok=True)
        shutil.copy(pages.ROOT / page, tmp_path / page)
    shutil.copytree(stored.FOLDER, tmp_path / "results")
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    monkeypatch.setattr(stored, "FOLDER", tmp_path / "results")
    return tmp_path


@pytest.fixture
def run(tmp_path) -> Path:
    """What the lab leaves of a run of two seeds, one of which diverged."""
    from experiments.lab.options import identity, plain
    from experiments.rows import STUDY

    config = plain(identity(STUDY.recipes(dataset="kmnist")))
    config |= {"dataset": "kmnist", "hidden_size": 31, "seeds": 2}
    row = {"name": "lstm", "values": [[0.25, None], [0.5, 1.0], 0.1, None]}
    columns = {"all": ".2%", "first": ".2%", "chance": ".2%", "none": ".2%"}
    summary = {
        **{"experiment": "rows", "config": config, "steps": 8, "versions": {}},
        **{"device": {}, "tables": [{"title": "t", "columns": columns, "rows": [row]}]},
    }
    path = tmp_path / "rows_kmnist"
    path.mkdir()
    (path / "summary.json").write_text(json.dumps(summary))
    (path / "timing.json").write_text(json.dumps({"seconds": 90.4, "updates": 8}))
    return path


def test_the_pages_are_those_of_the_stored_results():
    main(["--check"])


def test_each_line_of_the_readme_is_of_its_experiment():
    for line in pages.LINES:
        assert stored.read(line.name)["experiment"] == line.experiment


@pytest.mark.parametrize("page", pages.PAGES)
def test_a_changed_page_is_named_and_mended(elsewhere, capsys, page):
    path = elsewhere / page
    before = path.read_text()
    name = next(iter(pages.PAGES[page]))
    path.write_text(before.replace(f"{name}: begin -->\n", f"{name}: begin -->\n1"))
    with pytest.raises(SystemExit, match="differs from the results"):
        main(["--check"])
    assert capsys.readouterr().out == f"{page}\n"
    assert path.read_text() != before
    main([])
    assert path.read_text() == before


def test_a_page_without_its_marks_is_an_error(elsewhere, capsys):
    (elsewhere / "README.md").write_text("# nothing")
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "README.md: expected <!-- results: begin -->" in capsys.readouterr().err


def test_a_run_is_stored_under_the_name_of_its_folder(elsewhere, run):
    main(["add", str(run), "--note", "on a busy machine"])
    found = stored.read("rows_kmnist")
    assert found["command"] == (
        "python -m experiments.rows --dataset=kmnist --hidden-size=31 --seeds=2"
    )
    assert (found["seconds"], found["note"]) == (90, "on a busy machine")
    one, two, *rest = found["tables"][0]["rows"][0]["values"]
    assert one["mean"] == one["highest"] == 0.25
    assert (one["seeds"], one["not_finite"]) == (2, 1)
    assert (two["mean"], two["lowest"], two["highest"]) == (0.75, 0.5, 1.0)
    assert rest == [0.1, None]


def test_the_time_of_a_resumed_run_is_not_known(elsewhere, run):
    (run / "timing.json").write_text(json.dumps({"seconds": 9, "updates": 3}))
    main(["add", str(run)])
    assert stored.read("rows_kmnist")["seconds"] is None


@pytest.mark.parametrize("missing", ["summary.json", "timing.json"])
def test_a_run_that_is_not_finished_stores_nothing(elsewhere, run, capsys, missing):
    (run / missing).unlink()
    with pytest.raises(SystemExit) as caught:
        main(["add", str(run)])
    assert caught.value.code == 2
    assert "holds no finished run" in capsys.readouterr().err
    assert not (elsewhere / "results" / "rows_kmnist.json").exists()


@pytest.fixture
def table_of_runs(tmp_path, run) -> Path:
    """What the lab leaves of a table with one run."""
    from experiments.lab.options import identity, plain
    from experiments.memory import STUDY

    path = tmp_path / "memory_two"
    shutil.copytree(run, path / "parity" / "gru")
    summary = json.loads((run / "summary.json").read_text())
    config = plain(identity(STUDY.recipes(task="parity", cell="gru")))
    config |= {"task": "parity", "cell": "gru", "seeds": 2}
    summary |= {"experiment": "memory", "config": config}
    (path / "parity" / "gru" / "summary.json").write_text(json.dumps(summary))
    row = {"name": "gru", "values": [[0.5, 1.0]]}
    table = {"title": "t", "columns": {"parity": ".2%"}, "rows": [row]}
    (path / "table.json").write_text(json.dumps({"tables": [table]}))
    return path


def test_a_table_of_runs_is_stored_with_the_command_of_each(elsewhere, table_of_runs):
    main(["add", str(table_of_runs)])
    found = stored.read("memory_two")
    told = "python -m experiments.memory --cell=gru --seeds=2"
    assert found["commands"] == [told]
    assert (found["experiment"], found["seconds"]) == ("memory", 90)
    assert found["tables"][0]["rows"][0]["values"][0]["mean"] == 0.75


@pytest.mark.parametrize("missing", ["table.json", "parity"])
def test_a_table_without_runs_stores_nothing(elsewhere, table_of_runs, capsys, missing):
    path = table_of_runs / missing
    path.write_text("{") if path.is_file() else shutil.rmtree(path)
    with pytest.raises(SystemExit) as caught:
        main(["add", str(table_of_runs)])
    assert caught.value.code == 2
    assert "holds no table of runs" in capsys.readouterr().err
    assert not (elsewhere / "results" / "memory_two.json").exists()
