"""What DeltaNet and gated DeltaNet share: a layer around the delta rule."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import elu, relu, sigmoid, silu, softplus

from jaxrnn.cells.convolution import ConvolutionParams, convolution_init
from jaxrnn.cells.draws import delta_bias_init
from jaxrnn.cells.matrix import (
    Parts,
    Sizes,
    by_heads,
    l2_normalized,
    matrix_cell,
    merged,
    rms_normalized,
    split_rows,
    times,
)
from jaxrnn.checks import Input, check_flag, check_function, check_size
from jaxrnn.core import Cell
from jaxrnn.loops.matrix import Choice
from jaxrnn.loops.matrix_chunk import Steps
from jaxrnn.precision import wide

ACTIVATIONS = {
    "silu": silu,
    "relu": relu,
    "elu": lambda a: elu(a) + 1,
    "identity": lambda a: a,
}


class DeltaNetParams(NamedTuple):
    """Weights of `delta_net` and of `gated_delta_net`."""

    w_q: jax.Array  # [D, heads K]
    w_k: jax.Array  # [D, heads K]
    w_v: jax.Array  # [D, heads V]
    w_beta: jax.Array | None  # [D, heads]; None for a beta of one
    norm: jax.Array  # [V]
    w_y: jax.Array  # [heads V, H]
    w_z: jax.Array | None = None  # [D, heads V], of the output gate
    conv: ConvolutionParams | None = None  # of 2 heads K + heads V channels: q, k, v
    decay: Any = None  # `DecayParams` of `gated_delta_net`


class DecayParams(NamedTuple):
    """Weights of the decay of `gated_delta_net`."""

    w: jax.Array  # [D, heads]
    b: jax.Array  # [heads], of the time step before its softplus
    a_log: jax.Array  # [heads], log of the rate


class DeltaLayer(NamedTuple):
    """The options of a layer; see `delta_net` and `gated_delta_net`."""

    gated: bool
    beta: bool
    negative_eigenvalues: bool
    activation: str
    norm: str
    output_gate: bool
    conv_size: int | None
    conv_bias: bool
    w_init: Any
    dtype: Any


def delta_layer(
    name: str,
    input_size: int,
    hidden_size: int,
    sizes: Sizes,
    layer: DeltaLayer,
    choice: Choice,
) -> Cell:
    """Builds the cell."""
    input_size = check_size(f"{name}: input_size", input_size)
    for option in ("beta", "negative_eigenvalues", "output_gate", "conv_bias"):
        check_flag(f"{name}: {option}", getattr(layer, option))
    check_function(f"{name}: w_init", layer.w_init)
    if layer.conv_size is not None:
        check_size(f"{name}: conv_size", layer.conv_size)
    (heads, key_size, _), keys, values = sizes, sizes.keys, sizes.values

    def init(key):
        return _init(key, input_size, hidden_size, sizes, layer)

    def project(params, xs):
        matrices = params.w_q, params.w_k, params.w_v, params.w_beta, params.w_z
        decay = None if params.decay is None else params.decay.w
        there = [w for w in (*matrices, decay) if w is not None]
        rows = iter(times(xs, *there))
        q, k, v = next(rows), next(rows), next(rows)
        beta, z, a = (None if w is None else next(rows) for w in (*matrices[3:], decay))
        return jnp.concatenate([q, k, v], axis=1), (beta, z, a)

    def steps(params, rows, rest):
        beta, _, a = rest
        q, k, v = split_rows(rows, keys, keys, values)
        q, k, v = (by_heads(one, heads) for one in (q, k, v))
        act = ACTIVATIONS[layer.activation]
        q, k, v = act(q), act(k), silu(v)
        normalized = l2_normalized if layer.norm == "l2" else _sum_normalized
        q, k = normalized(q), normalized(k)
        like = q.dtype
        beta = jnp.ones_like(q[..., 0]) if beta is None else sigmoid(beta.astype(like))
        if layer.negative_eigenvalues:
            beta = 2 * beta
        g = None
        if a is not None:
            _, b, a_log = (w.astype(like) for w in params.decay)
            g = -jnp.exp(a_log)[None] * softplus(a.astype(like) + b[None])
        return Steps(key_size**-0.5 * q, k, v, g, beta)

    def output(params, read, rows, rest):
        del rows
        ys = rms_normalized(read.y, params.norm)
        if params.w_z is not None:
            ys = ys * silu(by_heads(rest[1], heads))
        return merged(ys, params.w_y)

    return matrix_cell(
        f"{name}({input_size}, {hidden_size})",
        Input((input_size,)),
        init,
        lambda params: sizes.first(params.w_q.dtype),
        Parts(project, steps, output, lambda params: params.conv),
        choice,
    )


def _init(
    key: jax.Array, input_size: int, hidden_size: int, sizes: Sizes, layer: DeltaLayer
) -> DeltaNetParams:
    heads, keys, values = sizes.heads, sizes.keys, sizes.values
    names = "w_q", "w_k", "w_v", "w_beta", "w_y", "w_z", "conv", "decay"
    key_of = dict(zip(names, jax.random.split(key, len(names)), strict=True))

    def matrix(name, rows, columns, there=True) -> Any:
        shape = rows, columns
        return layer.w_init(key_of[name], shape, layer.dtype) if there else None

    conv = decay = None
    if layer.conv_size is not None:
        size = 2 * keys + values
        conv = convolution_init(
            key_of["conv"], size, layer.conv_size, layer.dtype, bias=layer.conv_bias
        )
    if layer.gated:
        decay = _decay_init(key_of["decay"], input_size, heads, layer)
    return DeltaNetParams(
        matrix("w_q", input_size, keys),
        matrix("w_k", input_size, keys),
        matrix("w_v", input_size, values),
        matrix("w_beta", input_size, heads, layer.beta),
        jnp.ones(sizes.value_size, layer.dtype),
        matrix("w_y", values, hidden_size),
        matrix("w_z", input_size, values, layer.output_gate),
        conv,
        decay,
    )


def _decay_init(
    key: jax.Array, input_size: int, heads: int, layer: DeltaLayer
) -> DecayParams:
    w_key, b_key, a_key = jax.random.split(key, 3)
    rate = jax.random.uniform(a_key, (heads,), wide(layer.dtype), 1e-6, 16)
    return DecayParams(
        layer.w_init(w_key, (input_size, heads), layer.dtype),
        delta_bias_init(b_key, heads, layer.dtype),
        jnp.log(rate).astype(layer.dtype),
    )


def _sum_normalized(a: jax.Array) -> jax.Array:
    """a / sum of |a| for each head, which is finite for zeros."""
    total = jnp.abs(a).sum(axis=-1, keepdims=True)
    return a / jnp.maximum(total, jnp.asarray(1e-6, a.dtype))
