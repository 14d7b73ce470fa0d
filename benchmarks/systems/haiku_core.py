"""haiku: `hk.dynamic_unroll` over `hk.LSTM`, `hk.GRU` and a tanh `hk.VanillaRNN`.

Its LSTM has gates i, g, f, o and adds 1 to f; its GRU resets before the product, has
the gates z, r, a and the other sign of z, and is held against jaxrnn's with
`reset_after=False`; its VanillaRNN knows only relu, so `Tanh` is what a user would
write.
"""

import haiku as hk
import jax.numpy as jnp

from benchmarks.systems import UnsupportedError
from benchmarks.systems.jax_model import Layer, stack
from benchmarks.systems.jax_run import Run
from benchmarks.work.equal import Data
from benchmarks.work.gated import GATES, MASKED, RESET_BEFORE, Block, Case

NAME = "haiku"
WORK = ("gated", "tick", "epoch")
PACKAGES = ("dm-haiku",)


class Tanh(hk.VanillaRNN):
    """An Elman network."""

    def __call__(self, inputs, prev_state):
        """One step."""
        w_x = hk.Linear(self.hidden_size, name="x")
        w_h = hk.Linear(self.hidden_size, with_bias=False, name="h")
        out = jnp.tanh(w_x(inputs) + w_h(prev_state))
        return out, out


CORES = {"elman": Tanh, "gru": hk.GRU, "lstm": hk.LSTM}


def variant(case: Case) -> str:
    """Which function its cell computes."""
    return RESET_BEFORE if case.cell == "gru" else ""


def layer(case: Case) -> Layer:
    """One direction of one layer."""

    def core():
        return CORES[case.cell](case.hidden_size, name="core")

    def params(block: Block):
        if case.cell == "elman":
            return {
                "core/x": {"w": block.w_x, "b": block.b},
                "core/h": {"w": block.w_h},
            }
        w_x, w_h, b = (
            jnp.split(a, GATES[case.cell], axis=-1)
            for a in (block.w_x, block.w_h, block.b)
        )

        def gru(gates):
            r, z, n = gates
            return jnp.concatenate([-z, r, n], axis=-1)

        def lstm(gates):
            i, f, g, o = gates
            return jnp.concatenate([i, g, f, o], axis=-1)

        if case.cell == "gru":
            return {"core": {"w_i": gru(w_x), "w_h": gru(w_h), "b": gru(b)}}
        b[1] = b[1] - 1
        w = jnp.concatenate([lstm(w_x), lstm(w_h)])
        return {"core/linear": {"w": w, "b": lstm(b)}}

    def run(params, xs, reverse, final, valid):
        def unroll(xs):
            cell = core()
            state = cell.initial_state(xs.shape[0])
            state = _like(state, xs)
            return hk.dynamic_unroll(cell, xs, state, time_major=False, reverse=reverse)

        ys, state = _apply(unroll, params, xs)
        if final and valid is not None:  # the output at the end of each sequence
            return jnp.take_along_axis(ys, valid[:, None, None] - 1, axis=1)[:, 0]
        return (state.hidden if case.cell == "lstm" else state) if final else ys

    def carry(params, batch):
        return _apply(lambda: core().initial_state(batch), params)

    def tick(params, carry, x):
        y, carry = _apply(lambda x, carry: core()(x, carry), params, x, carry)
        return carry, y

    return Layer(params, run, carry, tick)


def _apply(fun, params, *args):
    return hk.without_apply_rng(hk.transform(fun)).apply(params, *args)


def _like(state, xs):
    if isinstance(state, tuple):
        return type(state)(*(a.astype(xs.dtype) for a in state))
    return state.astype(xs.dtype)


def start(case: Case, data: Data, devices: int, platform: str) -> Run:
    """Compiles the case."""
    if case.valid == MASKED:
        raise UnsupportedError("hk.dynamic_unroll has no masks")
    model = stack(layer(case))
    return Run(model, case, data, devices, platform)
