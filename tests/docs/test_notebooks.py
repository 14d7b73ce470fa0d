"""The notebooks run from nothing, are small, and are stored without outputs."""

import asyncio
from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient", reason="pip install -e '.[docs]'")
nbformat = pytest.importorskip("nbformat", reason="pip install -e '.[docs]'")

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
RIGHT = {"tutorial.ko": 0.8, "own_data": 0.8}  # the accuracy that they end with
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_are_three():
    assert len(NOTEBOOKS) == 3


@each
def test_a_notebook_is_small_and_has_no_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    assert path.stat().st_size < 20_000
    for cell in notebook.cells:
        assert not cell.get("outputs"), cell.source
        assert not cell.get("execution_count"), cell.source


def test_they_run_from_nothing(tmp_path, monkeypatch):
    """In one process, which forgets the names of one notebook before the next."""
    each_one = {path.stem: checked(path) for path in NOTEBOOKS}
    cells = []
    for notebook in each_one.values():
        cells += [nbformat.v4.new_code_cell("%reset -f"), *notebook.cells]
    run(nbformat.v4.new_notebook(cells=cells), tmp_path, monkeypatch)
    assert " sat " in printed(each_one["five_minutes"])  # it has learned the text


@pytest.mark.slow
@each
def test_each_runs_alone(path, tmp_path, monkeypatch):
    run(checked(path), tmp_path, monkeypatch)


def checked(path: Path):
    """A notebook that ends with an error where it has learned too little."""
    notebook = nbformat.read(path, as_version=4)
    if accuracy := RIGHT.get(path.stem):
        assertion = f"assert accuracy > {accuracy}, accuracy"
        notebook.cells.append(nbformat.v4.new_code_cell(assertion))
    return notebook


def run(notebook, folder: Path, monkeypatch) -> None:
    # Pictures are drawn, and kept in memory.
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("IPYTHONDIR", str(folder))
    resources = {"metadata": {"path": str(folder)}}
    client = nbclient.NotebookClient(notebook, timeout=300, resources=resources)
    asyncio.run(client.async_execute())


def printed(notebook) -> str:
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    return "".join(out.get("text", "") for out in outputs)
