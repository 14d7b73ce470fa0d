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
    # Pictures are drawn, and kept in memory.
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    notebooks = {path.stem: nbformat.read(path, as_version=4) for path in NOTEBOOKS}
    for name, accuracy in RIGHT.items():
        assertion = f"assert accuracy > {accuracy}, accuracy"
        notebooks[name].cells.append(nbformat.v4.new_code_cell(assertion))

    async def run(notebook):
        resources = {"metadata": {"path": str(tmp_path)}}
        client = nbclient.NotebookClient(notebook, timeout=300, resources=resources)
        await client.async_execute()

    async def run_all():
        await asyncio.gather(*map(run, notebooks.values()))

    asyncio.run(run_all())
    assert " sat " in printed(notebooks["five_minutes"])  # it has learned the text


def printed(notebook) -> str:
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    return "".join(out.get("text", "") for out in outputs)
