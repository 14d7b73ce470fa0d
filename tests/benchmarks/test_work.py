"""Kinds of work: what is counted from the sizes, and the check of equal work."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from harness import TICK, TINY

from benchmarks import suites, work
from benchmarks.systems import SYSTEMS
from benchmarks.work import equal, gated, tick, update, whole_run
from benchmarks.work.equal import CLASSES

KINDS = (gated, tick, update, whole_run)


def test_flops():
    B, T, D, H, K = 4, 5, 3, 6, CLASSES
    forward = replace(TINY, mode="forward")
    readout = 2 * B * H * K
    assert forward.flops == 2 * B * T * (D + H) * 4 * H + readout
    assert replace(forward, cell="gru", layers=2).flops == (
        2 * B * T * (D + H + H + H) * 3 * H + readout
    )
    assert replace(forward, cell="elman", directions=2).flops == (
        2 * (2 * B * T * (D + H) * H + readout)
    )
    assert TICK.flops == 2 * B * (D + H) * 4 * H + readout
    # The gradient of the input is not needed, so D counts twice and H three times.
    train = 2 * B * T * (2 * D + 3 * H) * 4 * H + 3 * readout
    assert TINY.flops == train
    assert update.Case("lstm", B, T, D, H).flops == train


def test_bytes():
    B, T, D, H = 4, 5, 3, 6
    assert TINY.num_bytes == 4 * (B * T * D + 2 * TINY.num_params)
    assert TICK.num_bytes == 4 * (B * D + TICK.num_params + 2 * (2 * B * H))
    half = replace(TINY, mode="forward", dtype="bfloat16")
    assert half.num_bytes == 2 * (B * T * D + TINY.num_params)


@pytest.mark.parametrize("cell", suites.CELLS)
def test_the_number_of_params_is_that_of_the_weights(cell):
    case = replace(TINY, cell=cell, layers=2, directions=2)
    leaves = equal.leaves(gated.make(case).weights)
    assert case.num_params == sum(a.size for a in leaves)


def test_a_case_survives_json():
    whole = whole_run.Case("folder", 3)
    for case in (TINY, TICK, update.Case("gru", 1, 2, 3, 4), whole):
        assert work.from_json(work.to_json(case)) == case
        assert work.kind(case.work).Case is type(case)


def test_every_kind_is_done_by_jaxrnn_and_is_in_a_suite():
    kinds = {kind.Case.work for kind in KINDS}
    folder = Path(work.__file__).parent
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "equal"}
    assert kinds == files
    assert kinds == set(SYSTEMS["jaxrnn"].work)
    cases = [case for name in suites.SUITES for case in cases_of(name)]
    assert kinds == {case.work for case in cases}


def cases_of(suite):
    arguments = (Path(), 20) if suite == "whole_run" else ()
    return suites.SUITES[suite].cases(*arguments)


def test_the_suites():
    for suite in suites.SUITES:
        names = [case.name for case in cases_of(suite)]
        assert names
        assert len(names) == len(set(names))
    train = [case for case in suites.cpu() if case.mode == "train"]
    assert {case.sizes for case in train} == set(suites.CPU_SIZES)
    for cell in suites.CELLS:
        assert sum(case.cell == cell for case in train) == len(suites.CPU_SIZES) + 2


def test_mistakes_in_a_case_are_told():
    with pytest.raises(ValueError, match="no single step"):
        replace(TICK, directions=2)
    with pytest.raises(ValueError, match="mode: expected one of train, forward"):
        replace(TINY, mode="tick")
    with pytest.raises(ValueError, match="cell: expected"):
        replace(TINY, cell="jordan")


def test_references_survive_the_file(tmp_path):
    case = replace(TINY, cell="gru", layers=2)
    weights = gated.make(case).weights
    written = equal.Reference(np.ones((4, 10)), np.ones(()), weights)
    equal.save(tmp_path / "a.npz", written)
    read = equal.load(tmp_path / "a.npz", weights)
    assert isinstance(read.after.layers[0][0], gated.Block)
    arrays = zip(equal.leaves(read.after), equal.leaves(weights), strict=True)
    for a, b in arrays:
        np.testing.assert_array_equal(a, b)


def test_an_error_in_the_update_shows():
    before = [np.ones((2, 2)), np.ones(2)]
    goal = [np.full((2, 2), 0.9), np.full(2, np.nan)]
    errors = equal.update_errors(before, [goal[0], np.zeros(2)], goal, "float32")
    assert errors == {"update": 0.0}
    errors = equal.update_errors(before, before, goal, "float32")
    assert errors["update"] == pytest.approx(1, rel=1e-4)
    after = [goal[0] * np.nan, before[1]]
    errors = equal.update_errors(before, after, goal, "float32")
    assert errors["update"] == np.inf
