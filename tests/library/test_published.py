"""Cells against numbers that the authors' own programs gave."""

import importlib
import os
from pathlib import Path

import numpy as np
import pytest

from jaxrnn import interop

HERE = Path(__file__).parent
# By the name of a file, what it must tell: see `goldens_*.py` beside this file.
GOLDENS = {
    name: check
    for path in sorted(HERE.glob("goldens_*.py"))
    for name, check in importlib.import_module(path.stem).GOLDENS.items()
}
FOLDER = os.environ.get("JAXRNN_GOLDENS")


def _files():
    return sorted(Path(FOLDER).glob("*.npz")) if FOLDER else []


@pytest.mark.skipif(not FOLDER, reason="JAXRNN_GOLDENS names no folder")
def test_goldens_are_there():
    assert _files(), f"there is no .npz file in {FOLDER}"


@pytest.mark.parametrize("path", _files(), ids=lambda path: path.stem)
def test_golden(path):
    """A file that no check knows is a failure."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    assert path.stem in GOLDENS, f"expected one of {', '.join(GOLDENS)}"
    GOLDENS[path.stem](arrays)


def test_kinds_are_named():
    with pytest.raises(
        ValueError, match=r"load_published: kind: expected one of .*'s6"
    ):
        interop.load_published("s6", {})
