"""The closed-form continuous-time network."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import initializers, sigmoid

from jaxrnn.cells.draws import uniform
from jaxrnn.cells.driven import driven, reads_timed, spans_of
from jaxrnn.checks import check_flag, check_floating, check_function, check_size
from jaxrnn.core import Cell, recorded
from jaxrnn.layers import LinearParams
from jaxrnn.loops.dense import dot
from jaxrnn.loops.rows import rows_product
from jaxrnn.precision import plus

HEADS = {"default": 4, "no_gate": 4, "pure": 1}


class CfCCarry(NamedTuple):
    """Carry of `cfc`."""

    h: jax.Array  # [H]


class CfCParams(NamedTuple):
    """Weights of `cfc`; U units in each of L layers of the backbone."""

    # Of w: [D + H, U], L - 1 times [U, U], then the heads [U, 4H]: f, g and those of
    # the time, a and c; for "pure" [U, H]: f. Without a backbone the heads alone.
    layers: tuple[LinearParams, ...]
    w_tau: jax.Array | None = None  # [H], of "pure"
    a: jax.Array | None = None  # [H], of "pure"


def lecun_tanh(x: jax.Array) -> jax.Array:
    """1.7159 tanh(0.666 x), as the authors round LeCun's 2/3."""
    return 1.7159 * jnp.tanh(0.666 * x)


@recorded
def cfc(
    input_size: int,
    hidden_size: int,
    *,
    mode: Literal["default", "no_gate", "pure"] = "default",
    backbone_layers: int = 1,
    backbone_units: int = 128,
    activation: Callable[[jax.Array], jax.Array] = lecun_tanh,
    timed: bool = False,
    dtype: Any = jnp.float32,
) -> Cell:
    """The closed-form continuous-time network (CfC).

        u = backbone(concat(x_t, h_{t-1})),    f, g, a, c = heads of u, each affine
        s = sigmoid(a span + c)
        h_t = (1 - s) tanh(f) + s tanh(g)                            "default"
        h_t = tanh(f) + s tanh(g)                                    "no_gate"
        h_t = A - A exp(-span (|w_tau| + |f|)) f                     "pure"
        y_t = h_t

    It is the closed-form approximation of a liquid time-constant network (`ltc`) after
    the time `span`, so that steps may be of any length. This is the authors' package
    ncps. The paper's "pure" form has h_{t-1} - A in the place of -A and f(-x) in that
    of the last f, and no absolute values; its default has no c.

    Start values are those of ncps: Xavier uniform for the weights and U(-r, r), r =
    1/sqrt(inputs), for the biases. ncps sets w_tau to 0 and A to 1, and then draws all
    that has two axes anew, those two included: they start as U(-r, r), r = sqrt(6 / (1
    + H)), as here. For the values that it meant: `params._replace(w_tau=
    jnp.zeros_like(params.w_tau), a=jnp.ones_like(params.a))`.

    Args:
      input_size: D.
      hidden_size: H.
      mode: "default", "no_gate" or "pure".
      backbone_layers: L, at least 0.
      backbone_units: U, of each layer.
      activation: of each layer of the backbone, any pointwise function; the default is
        `jaxrnn.cells.lecun_tanh`.
      timed: whether each step comes with its span. Without, it is 1.
      dtype: of the params and of the carry.

    Returns:
      A cell from `x` `[D]`, or from `Timed(x, span)` of `[D]` and `[]` if `timed`, to
      `y` `[H]`, with `CfCParams` and `CfCCarry`.

    Raises:
      ValueError: if a size is too small or an option does not fit; later, if an
        argument does not fit the cell.

    References:
      Hasani et al., "Closed-form continuous-time neural networks", Nature Machine
      Intelligence 4, 2022; ncps 1.0.1, github.com/mlech26l/ncps.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.cfc(3, 5, backbone_units=7, timed=True)
      >>> params = cell.init(jax.random.key(0))
      >>> xs = rnn.Timed(jnp.ones((4, 3)), span=jnp.array([1.0, 0.1, 2.5, 0.0]))
      >>> cell.unroll(params, cell.initial_carry(params), xs)[1].shape
      (4, 5)
    """
    input_size = check_size("cfc: input_size", input_size)
    hidden_size = check_size("cfc: hidden_size", hidden_size)
    if not isinstance(mode, str) or mode not in HEADS:
        raise ValueError(f"cfc: mode: expected one of {', '.join(HEADS)}, got {mode!r}")
    if backbone_layers != 0 or isinstance(backbone_layers, bool):
        backbone_layers = check_size("cfc: backbone_layers", backbone_layers)
    backbone_units = check_size("cfc: backbone_units", backbone_units)
    check_function("cfc: activation", activation)
    timed = check_flag("cfc: timed", timed)
    check_floating("cfc: dtype", dtype)
    units = [input_size + hidden_size, *[backbone_units] * backbone_layers]

    def init(key):
        *keys, head_key, tau_key, a_key = jax.random.split(key, len(units) + 2)
        layers = [
            _drawn(k, inputs, outputs, 1, dtype)
            for k, inputs, outputs in zip(keys, units[:-1], units[1:], strict=True)
        ]
        layers.append(_drawn(head_key, units[-1], hidden_size, HEADS[mode], dtype))
        if mode != "pure":
            return CfCParams(tuple(layers))
        vectors = uniform(math.sqrt(6 / (1 + hidden_size)))
        w_tau, a = (vectors(k, (hidden_size,), dtype) for k in (tau_key, a_key))
        return CfCParams(tuple(layers), w_tau, a)

    def initial_carry(params, key=None):
        del key
        return CfCCarry(jnp.zeros(hidden_size, params.layers[0].w.dtype))

    def drive(params, xs):
        first = params.layers[0]
        xs, spans = spans_of(xs, first.w.dtype)
        return plus(rows_product(xs, first.w[:input_size]), first.b[None]), spans

    def advance(params, carry, u):
        first, *layers = params.layers
        z, span = u
        z = z + dot(carry.h, first.w[input_size:])
        for layer in layers:
            z = dot(activation(z), layer.w) + layer.b
        h = _FORMS[mode](params, z, span)
        return CfCCarry(h), h

    return driven(
        f"cfc({input_size}, {hidden_size})",
        reads_timed(input_size, timed),
        init,
        initial_carry,
        drive,
        advance,
    )


def _drawn(key, inputs: int, outputs: int, heads: int, dtype: Any) -> LinearParams:
    """Affine maps of one input, drawn as torch's with Xavier's weights."""
    b_key, *keys = jax.random.split(key, heads + 1)
    xavier = initializers.glorot_uniform()
    w = [xavier(k, (inputs, outputs), dtype) for k in keys]
    b = uniform(1 / math.sqrt(inputs))(b_key, (heads * outputs,), dtype)
    return LinearParams(jnp.concatenate(w, axis=1), b)


def _interpolated(gated: bool, params, z, span):
    del params
    f, g, a, c = jnp.split(z, 4)
    s, f = sigmoid(a * span + c), jnp.tanh(f)
    return (f * (1 - s) if gated else f) + s * jnp.tanh(g)


def _pure(params, f, span):
    decay = jnp.exp(-span * (jnp.abs(params.w_tau) + jnp.abs(f)))
    return params.a - params.a * decay * f


_FORMS = {
    "default": partial(_interpolated, True),
    "no_gate": partial(_interpolated, False),
    "pure": _pure,
}
