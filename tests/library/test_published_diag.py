"""What the readers of diagonal linear cells refuse, and what they make of arrays."""

import jax.numpy as jnp
import numpy as np
import pytest
from battery import assert_refused

from jaxrnn.interop import load_published


def of(**shapes):
    """Arrays of ones; in a name two underscores stand for a dot."""
    return {
        name.replace("__", "."): np.ones(shape, np.float32)
        for name, shape in shapes.items()
    }


LRU = of(nu_log=8, theta_log=8, gamma_log=8, B_re=(8, 5), B_im=(8, 5))
LRU |= of(C_re=(5, 8), C_im=(5, 8), D=5)
S5 = of(Lambda_re=8, Lambda_im=8, log_step=(8, 1), B=(8, 5, 2), C=(5, 8, 2), D=5)
BLOCKS = of(input_gate__w=(2, 3, 3), input_gate__b=(2, 3), a_param=6)
BLOCKS |= of(a_gate__w=(2, 3, 3), a_gate__b=(2, 3))
SCAN = of(A=(6, 4), D=6, delta_bias=6)
BLOCK = of(A_log=(8, 3), D=8, in_proj__weight=(16, 4), conv1d__weight=(8, 1, 4))
BLOCK |= of(x_proj__weight=(8, 8), dt_proj__weight=(8, 2), dt_proj__bias=8)
BLOCK |= of(out_proj__weight=(4, 8), conv1d__bias=8)
GATES = of(to_hidden_and_gate__weight=(16, 5))
QRNN = of(linear__weight=(18, 10), linear__bias=18)

RG_LRU = "recurrentgemma.rglru"
REFUSED = {
    "missing": ("minimal_lru", {"D": LRU["D"]}, {}, "nu_log: expected an array"),
    "unknown": ("minimal_lru", LRU | of(E=5), {}, "E: expected only the entries"),
    "shape": ("minimal_lru", LRU | of(B_im=(8, 4)), {}, "B_im: expected shape [H, D]"),
    "dtype": (
        "minimal_lru",
        LRU | {"D": np.ones(5, np.float16)},
        {},
        "D: expected dtype float32",
    ),
    "double": (
        "minimal_lru",
        {name: a.astype(np.float64) for name, a in LRU.items()},
        {},
        "jax_enable_x64 is off",
    ),
    "half of two": ("s5", S5 | of(C1=(5, 8, 2)), {}, "C: expected only the entries"),
    "discretization": ("s5", S5, {"discretization": "euler"}, "zoh, bilinear"),
    "heads": (RG_LRU, BLOCKS, {"num_heads": 3}, "num_heads: expected 2"),
    "ring": (RG_LRU, BLOCKS | of(a_param=5), {}, "a_param: expected shape (6,)"),
    "complex": (
        RG_LRU,
        BLOCKS | of(a_imag_param=6),
        {},
        "twice as many rows as columns",
    ),
    "fixed b": (
        "mamba.selective_scan",
        SCAN | of(B=(6, 4)),
        {},
        "B: expected none, or one that changes with time",
    ),
    "one bias": ("mambapy.block", BLOCK | of(in_proj__bias=16), {}, "or neither"),
    "rank": (
        "mambapy.block",
        BLOCK | of(dt_proj__weight=(8, 3)),
        {},
        "x_proj.weight: expected shape [R+2N, E]",
    ),
    "odd": ("mingru_pytorch.mingru", of(**{"to_out__weight": (5, 8)}), {}, "2H, D"),
    "window": ("qrnn", QRNN, {"window": 3}, "linear.weight: expected shape [3H, 3D]"),
    "gate": ("qrnn", QRNN, {"output_gate": 1}, "output_gate: expected a bool"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(name):
    kind, arrays, options, part = REFUSED[name]
    assert_refused(lambda: load_published(kind, arrays, **options), part)


def test_an_option_that_a_kind_does_not_have():
    with pytest.raises(TypeError, match="window"):
        load_published("minimal_lru", LRU, window=2)


def test_what_the_arrays_tell():
    for kind, arrays, options, expected in (
        ("s5", S5, {}, "s5(5, 8)"),
        (RG_LRU, BLOCKS, {"num_heads": 2}, "rg_lru(6)"),
        ("mamba.selective_scan", SCAN, {}, "selective_scan(6, 4)"),
        ("mambapy.block", BLOCK, {}, "mamba(4)"),
        ("mingru_pytorch.mingru", GATES, {}, "mingru(5, 8)"),
        ("qrnn", QRNN, {"window": 2}, "qrnn(5, 6)"),
        ("qrnn", QRNN, {"output_gate": False}, "qrnn(10, 9)"),
    ):
        cell, params = load_published(kind, arrays, **options)
        assert repr(cell) == expected
        cell.initial_carry(params)  # which checks them
    two = {name: S5[name] for name in S5 if name != "C"} | of(
        C1=(5, 8, 2), C2=(5, 8, 2)
    )
    for arrays in (two, S5 | of(C=(5, 16, 2))):
        cell, params = load_published("s5", arrays)
        assert cell.step is None
        assert params.c_re.shape == (16, 5)


def test_names_of_a_flax_tree():
    arrays = {f"params/{name.replace('.', '/')}": a for name, a in BLOCKS.items()}
    cell, params = load_published(RG_LRU, arrays)
    assert cell.about.name == "rg_lru(6)"
    assert params.w_a.shape == (2, 3, 3)


def test_complex_eigenvalues_of_a_scan():
    a = np.full((6, 4), -1 + 2j, np.complex64)
    _, params = load_published("mamba.selective_scan", SCAN | {"A": a})
    assert (params.a == -1).all()
    assert (params.a_imag == 2).all()
    assert params.a_imag.dtype == jnp.float32
