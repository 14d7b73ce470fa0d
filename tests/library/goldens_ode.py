"""What the authors of coRNN, LEM, ncps and SRU compute, held against jaxrnn.

Each function is given the arrays of a file: inputs, params under "param/" with the
authors' own names, outputs of every step and, where there is one, the last state.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn as rnn
from jaxrnn import interop
from jaxrnn.testing.trees import quick_jit

Arrays = dict[str, np.ndarray]


class Run(NamedTuple):
    """One way to run a cell over a batch."""

    carry: Any  # after the last step, [B, ...]
    ys: Any  # [B, T, ...]
    carries: Any = None  # after each step, [B, T, ...]


def params_of(arrays: Arrays) -> Arrays:
    """The params under the authors' names."""
    start = "param/"
    return {k.removeprefix(start): a for k, a in arrays.items() if k.startswith(start)}


def number(arrays: Arrays, name: str) -> float:
    """A number that the file holds as an array."""
    return float(arrays[name].reshape(()))


def both_ways(cell: rnn.Cell, params: Any, carry: Any, xs: Any) -> list[Run]:
    """By one unroll, and step by step."""
    unrolled = Run(*quick_jit(jax.vmap(cell.unroll, (None, 0, 0)))(params, carry, xs))
    assert cell.step is not None
    step = quick_jit(jax.vmap(cell.step, (None, 0, 0)))
    ys, carries = [], []
    for t in range(jax.tree.leaves(xs)[0].shape[1]):
        carry, y = step(params, carry, jax.tree.map(lambda a, t=t: a[:, t], xs))
        ys.append(y)
        carries.append(carry)

    def stacked(*steps):
        return np.stack(steps, axis=1)

    in_turn = Run(carry, stacked(*ys), jax.tree.map(stacked, *carries))
    return [unrolled, in_turn]


def assert_golden(got: Any, expected: np.ndarray, like: np.ndarray) -> None:
    """To 1e-10 where the authors compute in float64, else to 2e-6 of the largest."""
    assert got.shape == expected.shape
    error = np.abs(np.asarray(got, np.float64) - expected).max()
    if like.dtype == np.float64:
        assert error < 1e-10, error
    else:
        assert error < 2e-6 * np.abs(expected).max(), error


def by_example(a: np.ndarray) -> jax.Array:
    """From `[T, B, ...]` to `[B, T, ...]`."""
    return jnp.asarray(a.swapaxes(0, 1))


def zeros(cell: rnn.Cell, params: Any, batch: int) -> Any:
    """The initial carry of a batch."""
    carry = cell.initial_carry(params)
    return jax.tree.map(lambda a: jnp.broadcast_to(a, (batch, *a.shape)), carry)


def _second_order(kind: str, names: tuple[str, ...], arrays: Arrays) -> None:
    """coRNN and LEM: two states, y and z, of every step."""
    options = {name: number(arrays, name) for name in names if name in arrays}
    cell, params = interop.load_published(kind, params_of(arrays), **options)
    xs, ys, zs = (by_example(arrays[name]) for name in "xyz")
    carry = zeros(cell, params, len(xs))
    carry = carry._replace(
        **{
            field: jnp.asarray(arrays[name])
            for field, name in (("h", "y0"), ("z", "z0"))
            if name in arrays
        }
    )
    for run in both_ways(cell, params, carry, xs):
        assert_golden(run.ys, np.asarray(ys), arrays["x"])
        assert_golden(run.carry.h, np.asarray(ys[:, -1]), arrays["x"])
        assert_golden(run.carry.z, np.asarray(zs[:, -1]), arrays["x"])
        if run.carries is not None:
            assert_golden(run.carries.z, np.asarray(zs), arrays["x"])


def cornn(arrays: Arrays) -> None:
    """psMNIST/network.py of tk-rusch/coRNN"""
    with jax.enable_x64(True):
        _second_order("cornn", ("dt", "gamma", "epsilon"), arrays)


def lem(arrays: Arrays) -> None:
    """src/psMNIST/network.py of tk-rusch/LEM"""
    with jax.enable_x64(True):
        _second_order("lem", ("dt",), arrays)


def _timed(arrays: Arrays) -> Any:
    """The inputs `[B, T, D]`, with their spans where the file has them."""
    xs = jnp.asarray(arrays["x"])
    spans = arrays.get("timespans")
    return (
        xs if spans is None else rnn.Timed(xs, jnp.asarray(spans.reshape(xs.shape[:2])))
    )


def _started(cell: rnn.Cell, params: Any, field: str, arrays: Arrays) -> Any:
    carry = zeros(cell, params, len(arrays["x"]))
    first = arrays.get("h0")
    return carry if first is None else carry._replace(**{field: jnp.asarray(first)})


def _cfc(mode: str, arrays: Arrays) -> None:
    options: dict[str, Any] = {"mode": mode, "timed": "timespans" in arrays}
    if "activation" in arrays:
        options["activation"] = str(arrays["activation"])
    with jax.enable_x64(True):
        cell, params = interop.load_published("ncps.cfc", params_of(arrays), **options)
        carry = _started(cell, params, "h", arrays)
        for run in both_ways(cell, params, carry, _timed(arrays)):
            assert_golden(run.ys, arrays["y"], arrays["x"])
            assert_golden(run.carry.h, arrays["y"][:, -1], arrays["x"])


def cfc_default(arrays: Arrays) -> None:
    """`CfCCell` of ncps."""
    _cfc("default", arrays)


def cfc_no_gate(arrays: Arrays) -> None:
    """`CfCCell(mode="no_gate")` of ncps."""
    _cfc("no_gate", arrays)


def cfc_pure(arrays: Arrays) -> None:
    """`CfCCell(mode="pure")` of ncps."""
    _cfc("pure", arrays)


def ltc(arrays: Arrays) -> None:
    """`LTC` of ncps."""
    options: dict[str, Any] = {"timed": "timespans" in arrays}
    given = {"ode_unfolds": "unfolds", "epsilon": "epsilon"}
    given["implicit_param_constraints"] = "constrained"
    for theirs, ours in given.items():
        if theirs in arrays:
            options[ours] = arrays[theirs].item()
    if "output_w" not in params_of(arrays):
        options["motor_size"] = arrays["y"].shape[-1]
    with jax.enable_x64(True):
        cell, params = interop.load_published("ncps.ltc", params_of(arrays), **options)
        carry = _started(cell, params, "v", arrays)
        for run in both_ways(cell, params, carry, _timed(arrays)):
            assert_golden(run.ys, arrays["y"], arrays["x"])
            if "final_state" in arrays:
                assert_golden(run.carry.v, arrays["final_state"], arrays["x"])
            if "states" in arrays and run.carries is not None:
                assert_golden(run.carries.v, arrays["states"], arrays["x"])


def _sru(use_tanh: bool, arrays: Arrays) -> None:
    with jax.enable_x64(True):
        cell, params = interop.load_published(
            "sru.cell", params_of(arrays), use_tanh=use_tanh
        )
        xs = by_example(arrays["x"])
        carry = zeros(cell, params, len(xs))
        if "c0" in arrays:
            carry = carry._replace(c=jnp.asarray(arrays["c0"]))
        for run in both_ways(cell, params, carry, xs):
            assert_golden(run.ys, arrays["h"].swapaxes(0, 1), arrays["x"])
            assert_golden(run.carry.c, arrays["c_last"], arrays["x"])


def sru(arrays: Arrays) -> None:
    """`SRUCell` of sru."""
    _sru(False, arrays)


def sru_tanh(arrays: Arrays) -> None:
    """`SRUCell(use_tanh=True, ...)` of sru."""
    _sru(True, arrays)


GOLDENS = {
    "cornn_cell": cornn,
    "lem_cell": lem,
    "ncps_cfc_default": cfc_default,
    "ncps_cfc_no_gate": cfc_no_gate,
    "ncps_cfc_pure": cfc_pure,
    "ncps_ltc": ltc,
    "sru_cell_same": sru,
    "sru_cell_proj": sru,
    "sru_cell_tanh_ln": sru_tanh,
}
