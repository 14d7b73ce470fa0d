"""Kinds of work: what is counted from the sizes, and the check of equal work."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from harness import TICK, TINY

from benchmarks import suites, work
from benchmarks.systems import SYSTEMS
from benchmarks.work import epoch, equal, gated, tick, update, whole_run
from benchmarks.work.equal import CLASSES

KINDS = (gated, tick, update, epoch, whole_run)
EPOCH = epoch.Case("gru", 4, 5, 3, 6, updates=3)


def valid_of(case: gated.Case) -> np.ndarray:
    valid = gated.make(case).valid
    assert valid is not None
    return valid


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
    assert replace(EPOCH, cell="lstm").flops == 3 * train
    # What is not read does not count.
    read = int(valid_of(replace(forward, valid="ragged")).sum())
    assert 4 < read < B * T
    assert replace(forward, valid="ragged").flops == (
        2 * read * (D + H) * 4 * H + readout
    )


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
    ragged = replace(TINY, valid="ragged")
    for case in (TINY, ragged, TICK, EPOCH, update.Case("gru", 1, 2, 3, 4), whole):
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
    train = [case for case in suites.cpu() if case.trains]
    assert {case.sizes for case in train} == set(suites.CPU_SIZES)
    for cell in suites.CELLS:
        of_cell = [case for case in train if case.cell == cell]
        plain = [c for c in of_cell if c.valid == "all" and c.layers < 4]
        plain = [c for c in plain if c.mode == "train"]
        assert len(plain) == len(suites.CPU_SIZES) + 2
    for cell in ("lstm", "gru"):
        of_cell = [case for case in train if case.cell == cell]
        assert {"all", "ragged", "masked"} == {case.valid for case in of_cell}
        assert {1, 2, 4} == {case.layers for case in of_cell}
        assert {1, 8} == {case.num_updates for case in of_cell}


def test_mistakes_in_a_case_are_told():
    with pytest.raises(ValueError, match="no single step"):
        replace(TICK, directions=2)
    with pytest.raises(ValueError, match="mode: expected one of train, forward"):
        replace(TINY, mode="tick")
    with pytest.raises(ValueError, match="cell: expected"):
        replace(TINY, cell="jordan")
    with pytest.raises(ValueError, match="valid: expected all in two directions"):
        replace(TINY, directions=2, valid="ragged")
    with pytest.raises(ValueError, match=r"valid: expected all .* the mode tick"):
        replace(TICK, valid="masked")
    with pytest.raises(ValueError, match="updates: expected at least 1, got 0"):
        replace(EPOCH, updates=0)


def test_what_is_read_is_the_same_in_every_process():
    lengths = valid_of(replace(TINY, valid="ragged"))
    assert lengths.shape == (4,)
    assert lengths[0] == TINY.time
    assert lengths.min() >= 1
    mask = valid_of(replace(TINY, batch=64, valid="masked"))
    assert mask.shape == (64, TINY.time)
    assert mask.any(1).all()
    holes = ~mask[:, :-1] & mask[:, 1:]
    assert holes.any()  # so that lengths would not do


def test_two_biases_for_one():
    # Each of two biases that begin at b and 0 moves by the gradient g.
    case = replace(TINY, cell="gru")
    before = gated.make(case).weights
    block = before.layers[0][0]
    g = np.arange(len(block.b), dtype=np.float32)
    after = before._replace(layers=((block._replace(b=block.b + g),),))
    total = gated.moved_twice(case, before, after).layers[0][0]
    shared = 2 * case.hidden_size
    np.testing.assert_allclose(total.b[:shared], (block.b + 2 * g)[:shared], rtol=1e-6)
    np.testing.assert_array_equal(total.b[shared:], (block.b + g)[shared:])
    moved = before._replace(layers=((total,),))
    first = gated.one_of_two(case, before, moved).layers[0][0]
    np.testing.assert_allclose(first.b, block.b + g, rtol=1e-6)


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
