"""Recurrent cells: Elman, GRU, LSTM, and any other that a pointwise function makes.

All are one affine map of the input and of the hidden state followed by a pointwise
part, so all unroll through the fast recurrence.
"""

import numbers
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import initializers, sigmoid

from jaxrnn.build import leaf
from jaxrnn.checks import Input, check_flag, check_floating, check_function, check_size
from jaxrnn.core import Cell, blank, scan_unroll
from jaxrnn.recurrence import Affine, Pointwise, dot, recurrence

Initializer = Callable[..., jax.Array]  # (key, shape, dtype) -> array

ORTHOGONAL = initializers.orthogonal()
LECUN_NORMAL = initializers.lecun_normal()


class ElmanCarry(NamedTuple):
    """Carry of `elman`."""

    h: jax.Array  # [H]


class ElmanParams(NamedTuple):
    """Weights of `elman`."""

    w_x: jax.Array  # [D, H]
    w_h: jax.Array  # [H, H]
    b: jax.Array | None = None  # [H]
    carry: ElmanCarry | None = None  # the initial carry, if it is learned


class GRUCarry(NamedTuple):
    """Carry of `gru`."""

    h: jax.Array  # [H]


class GRUParams(NamedTuple):
    """Weights of `gru`."""

    w_x: jax.Array  # [D, 3H], gates r, z, n
    w_h: jax.Array  # [H, 3H], gates r, z, n
    b: jax.Array | None = None  # [3H]
    b_h: jax.Array | None = None  # [H], inside the reset gate's product
    carry: GRUCarry | None = None


class LSTMCarry(NamedTuple):
    """Carry of `lstm`."""

    h: jax.Array  # [H]
    c: jax.Array  # [H]


class LSTMParams(NamedTuple):
    """Weights of `lstm`."""

    w_x: jax.Array  # [D, 4H], gates i, f, g, o
    w_h: jax.Array  # [H, 4H], gates i, f, g, o
    b: jax.Array | None = None  # [4H]
    carry: LSTMCarry | None = None


class RecurrentParams(NamedTuple):
    """Weights of `recurrent`."""

    w_x: jax.Array  # [D, GH], gate after gate
    w_h: jax.Array  # [H, GH]
    b: jax.Array | None = None  # [GH]
    theta: Any = ()  # the pointwise part's own params
    carry: Any = None


def elman(
    input_size: int,
    hidden_size: int,
    *,
    activation: Callable[[jax.Array], jax.Array] = jnp.tanh,
    bias: bool = True,
    w_x_init: Initializer = LECUN_NORMAL,
    w_h_init: Initializer = ORTHOGONAL,
    b_init: Initializer = initializers.zeros,
    carry_init: Initializer | None = None,
    dtype: Any = jnp.float32,
    compute_dtype: Any = None,
    unroll: int = 1,
) -> Cell:
    """The simple recurrent network of Elman.

        h_t = activation(x_t w_x + h_{t-1} w_h + b),    y_t = h_t

    Args:
      input_size: D.
      hidden_size: H.
      activation: `jnp.tanh`, `jax.nn.relu` or any pointwise function.
      bias: whether there is a b.
      w_x_init, w_h_init, b_init: a `jax.nn.initializers` function for each weight.
      carry_init: an initializer `[H]` for a learned initial carry; None for zeros
        that are not learned.
      dtype: of the params and of the carry.
      compute_dtype: of the operands of the matrix products, `jnp.bfloat16` for speed on
        accelerators; they are added up, and all else is computed, in the params' dtype.
        None for the params' dtype.
      unroll: how many steps `lax.scan` puts into one turn of its loop.

    Returns:
      A cell from `x` `[D]` to `y` `[H]`, with `ElmanParams` and `ElmanCarry`.

    Raises:
      ValueError: if a size is below 1; later, if an argument does not fit the cell.

    References:
      Elman, "Finding structure in time", Cognitive Science 14, 1990.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.elman(3, 5, activation=jax.nn.relu)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, y = cell.step(params, cell.initial_carry(params), jnp.ones(3))
      >>> y.shape
      (5,)
    """
    check_function("elman: activation", activation)
    bias = check_flag("elman: bias", bias)

    def split(params: ElmanParams):
        return Affine(params.w_x, params.w_h, _bias(params, params.w_h.shape[1])), ()

    return _cell(
        "elman",
        input_size,
        hidden_size,
        ElmanParams,
        ElmanCarry,
        _TANH if activation is jnp.tanh else Pointwise(partial(_elman, activation)),
        split,
        gates=1,
        inits=(w_x_init, w_h_init, b_init if bias else None, carry_init),
        dtype=dtype,
        compute_dtype=compute_dtype,
        unroll=unroll,
    )


def _elman(activation, theta, z, carry):
    del theta, carry
    return ElmanCarry(activation(z))


def _tanh_forward(theta, z, carry):
    y = jnp.tanh(z)
    return ElmanCarry(y), y


def _tanh_backward(theta, y, h, ct):
    return (), ct.h * (1 - y * y), ElmanCarry(jnp.zeros_like(h))


_TANH = Pointwise(partial(_elman, jnp.tanh), _tanh_forward, _tanh_backward)


def lstm(
    input_size: int,
    hidden_size: int,
    *,
    bias: bool = True,
    forget_bias: float = 1.0,
    w_x_init: Initializer = LECUN_NORMAL,
    w_h_init: Initializer = ORTHOGONAL,
    b_init: Initializer = initializers.zeros,
    carry_init: Initializer | None = None,
    dtype: Any = jnp.float32,
    compute_dtype: Any = None,
    unroll: int = 1,
) -> Cell:
    """The long short-term memory.

        i, f, g, o = split(x_t w_x + h_{t-1} w_h + b, 4)
        c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)
        h_t = sigmoid(o) tanh(c_t),    y_t = h_t

    Args:
      input_size: D.
      hidden_size: H.
      bias: whether there is a b.
      forget_bias: added to the initial bias of the forget gate, so that the cell
        remembers before it has learned to (Jozefowicz, Zaremba and Sutskever, 2015).
      w_x_init, w_h_init, b_init: a `jax.nn.initializers` function for each weight,
        applied to each gate by itself.
      carry_init: an initializer `[H]` for a learned initial carry; None for zeros
        that are not learned.
      dtype: of the params and of the carry.
      compute_dtype: of the operands of the matrix products, `jnp.bfloat16` for speed on
        accelerators; they are added up, and all else is computed, in the params' dtype.
        None for the params' dtype.
      unroll: how many steps `lax.scan` puts into one turn of its loop.

    Returns:
      A cell from `x` `[D]` to `y` `[H]`, with `LSTMParams` and `LSTMCarry`.

    Raises:
      ValueError: if a size is below 1; later, if an argument does not fit the cell.

    References:
      Hochreiter and Schmidhuber, "Long short-term memory", Neural Computation 9,
      1997; with the forget gate of Gers, Schmidhuber and Cummins, 2000.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.lstm(3, 5)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))
      >>> carry.c.shape, ys.shape
      ((5,), (7, 5))
    """

    bias = check_flag("lstm: bias", bias)
    check_function("lstm: b_init", b_init)
    if not isinstance(forget_bias, numbers.Real):
        raise ValueError(f"lstm: forget_bias: expected a number, got {forget_bias!r}")

    def split(params: LSTMParams):
        return Affine(params.w_x, params.w_h, _bias(params, params.w_h.shape[1])), ()

    def biased(key, shape, dtype):
        size = shape[0] // 4
        return b_init(key, shape, dtype).at[size : 2 * size].add(forget_bias)

    return _cell(
        "lstm",
        input_size,
        hidden_size,
        LSTMParams,
        LSTMCarry,
        _LSTM,
        split,
        gates=4,
        inits=(w_x_init, w_h_init, biased if bias else None, carry_init),
        dtype=dtype,
        compute_dtype=compute_dtype,
        unroll=unroll,
    )


def _lstm(theta, z, carry):
    return _lstm_forward(theta, z, carry)[0]


def _lstm_forward(theta, z, carry):
    i, f, g, o = jnp.split(z, 4)
    i, f, g, o = sigmoid(i), sigmoid(f), jnp.tanh(g), sigmoid(o)
    c = f * carry.c + i * g
    tanh_c = jnp.tanh(c)
    return LSTMCarry(o * tanh_c, c), (i, f, g, o, carry.c, tanh_c)


def _lstm_backward(theta, residuals, h, ct):
    i, f, g, o, c_prev, tanh_c = residuals
    ct_c = ct.c + ct.h * o * (1 - tanh_c * tanh_c)
    ct_z = jnp.concatenate(
        [
            ct_c * g * i * (1 - i),
            ct_c * c_prev * f * (1 - f),
            ct_c * i * (1 - g * g),
            ct.h * tanh_c * o * (1 - o),
        ]
    )
    return (), ct_z, LSTMCarry(jnp.zeros_like(h), ct_c * f)


_LSTM = Pointwise(_lstm, _lstm_forward, _lstm_backward)


def gru(
    input_size: int,
    hidden_size: int,
    *,
    reset_after: bool = True,
    bias: bool = True,
    w_x_init: Initializer = LECUN_NORMAL,
    w_h_init: Initializer = ORTHOGONAL,
    b_init: Initializer = initializers.zeros,
    carry_init: Initializer | None = None,
    dtype: Any = jnp.float32,
    compute_dtype: Any = None,
    unroll: int = 1,
) -> Cell:
    """The gated recurrent unit.

        r, z = sigmoid(split(x_t w_x[r, z] + h_{t-1} w_h[r, z] + b[r, z], 2))
        n = tanh(x_t w_x[n] + b[n] + r (h_{t-1} w_h[n] + b_h))    reset_after
        n = tanh(x_t w_x[n] + b[n] + (r h_{t-1}) w_h[n])          otherwise
        h_t = (1 - z) n + z h_{t-1},    y_t = h_t

    Args:
      input_size: D.
      hidden_size: H.
      reset_after: whether the reset gate acts after the product with w_h, as in
        cuDNN and torch, or before it, as in the paper. After it is faster, since one
        product serves all gates; before it the cell unrolls by a plain scan.
      bias: whether there is a b and, with `reset_after`, a b_h.
      w_x_init, w_h_init, b_init: a `jax.nn.initializers` function for each weight,
        applied to each gate by itself.
      carry_init: an initializer `[H]` for a learned initial carry; None for zeros
        that are not learned.
      dtype: of the params and of the carry.
      compute_dtype: of the operands of the matrix products, `jnp.bfloat16` for speed on
        accelerators; they are added up, and all else is computed, in the params' dtype.
        None for the params' dtype.
      unroll: how many steps `lax.scan` puts into one turn of its loop.

    Returns:
      A cell from `x` `[D]` to `y` `[H]`, with `GRUParams` and `GRUCarry`.

    Raises:
      ValueError: if a size is below 1; later, if an argument does not fit the cell.

    References:
      Cho et al., "Learning phrase representations using RNN encoder-decoder for
      statistical machine translation", EMNLP 2014.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.gru(3, 5)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))
      >>> ys.shape
      (7, 5)
    """

    bias = check_flag("gru: bias", bias)
    reset_after = check_flag("gru: reset_after", reset_after)

    def split(params: GRUParams):
        # The gate vector is r, z, n from x, n from h.
        size = params.w_h.shape[0]
        zeros = jnp.zeros(size, params.w_h.dtype)
        b_h = zeros if params.b_h is None else params.b_h
        b = jnp.concatenate([_bias(params, 3 * size), b_h])
        return Affine(params.w_x, params.w_h, b), ()

    def step_reset_before(params: GRUParams, carry: GRUCarry, x: jax.Array):
        b = _bias(params, 3 * params.w_h.shape[0])
        w_x, w_h, _ = Affine(params.w_x, params.w_h, b).astype(compute_dtype)
        size = 2 * w_h.shape[0]
        rz_x, n_x = jnp.split(dot(x.astype(params.w_x.dtype), w_x) + b, [size])
        r, z = jnp.split(sigmoid(rz_x + dot(carry.h, w_h[:, :size])), 2)
        n = jnp.tanh(n_x + dot(r * carry.h, w_h[:, size:]))
        h = (1 - z) * n + z * carry.h
        return GRUCarry(h), h

    return _cell(
        "gru",
        input_size,
        hidden_size,
        GRUParams,
        GRUCarry,
        _GRU,
        split,
        gates=3,
        inits=(w_x_init, w_h_init, b_init if bias else None, carry_init),
        extra={"b_h": lambda key: b_init(key, (hidden_size,), dtype)}
        if bias and reset_after
        else {},
        dtype=dtype,
        compute_dtype=compute_dtype,
        unroll=unroll,
        step=None if reset_after else step_reset_before,
    )


def _gru(theta, z, carry):
    return _gru_forward(theta, z, carry)[0]


def _gru_forward(theta, gates, carry):
    r, z, n_x, n_h = jnp.split(gates, 4)
    r, z = sigmoid(r), sigmoid(z)
    n = jnp.tanh(n_x + r * n_h)
    return GRUCarry(n + z * (carry.h - n)), (r, z, n, n_h)


def _gru_backward(theta, residuals, h, ct):
    r, z, n, n_h = residuals
    ct_n = ct.h * (1 - z) * (1 - n * n)
    ct_gates = jnp.concatenate(
        [
            ct_n * n_h * r * (1 - r),
            ct.h * (h - n) * z * (1 - z),
            ct_n,
            ct_n * r,
        ]
    )
    return (), ct_gates, GRUCarry(ct.h * z)


_GRU = Pointwise(_gru, _gru_forward, _gru_backward)


def recurrent(
    input_size: int,
    hidden_size: int,
    apply: Callable[..., Any],
    *,
    gates: int = 1,
    carry_type: Any = ElmanCarry,
    theta_init: Callable[[jax.Array], Any] | None = None,
    bias: bool = True,
    w_x_init: Initializer = LECUN_NORMAL,
    w_h_init: Initializer = ORTHOGONAL,
    b_init: Initializer = initializers.zeros,
    carry_init: Initializer | None = None,
    dtype: Any = jnp.float32,
    compute_dtype: Any = None,
    unroll: int = 1,
) -> Cell:
    """A cell of your own: an affine map and then your pointwise function.

        z_t = x_t w_x + h_{t-1} w_h + b
        carry_t = apply(z_t, carry_{t-1}),    y_t = h_t

    It unrolls as fast as the built-in cells do, and JAX finds the derivative.

    Args:
      input_size: D.
      hidden_size: H.
      apply: `(z, carry) -> carry` with z `[gates * H]`, or `(theta, z, carry) ->
        carry` where `theta_init` is given.
      gates: how many pre-activations each hidden unit has.
      carry_type: a NamedTuple class; each field is `[H]`, and one is called `h`.
      theta_init: `(key) -> theta`, the pointwise part's own params, any pytree.
      bias, w_x_init, w_h_init, b_init, carry_init, dtype, compute_dtype,
        unroll: as in `lstm`.

    Returns:
      A cell from `x` `[D]` to `y` `[H]`, with `RecurrentParams` and the carry type.

    Raises:
      ValueError: if a size is below 1 or the carry type has no field `h`; later, if
        an argument does not fit the cell.

    Example:
      The LSTM with nothing but a forget gate (van der Westhuizen and Lasenby, 2018):

      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> def janet(z, carry):
      ...     f, g = jnp.split(z, 2)
      ...     f = jax.nn.sigmoid(f)
      ...     return rnn.ElmanCarry(f * carry.h + (1 - f) * jnp.tanh(g))
      >>> cell = rnn.recurrent(3, 5, janet, gates=2)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))
      >>> ys.shape
      (7, 5)
    """
    check_function("recurrent: apply", apply)
    if theta_init is not None:
        check_function("recurrent: theta_init", theta_init)
    bias = check_flag("recurrent: bias", bias)
    if "h" not in getattr(carry_type, "_fields", ()):
        raise ValueError(
            "recurrent: carry_type: expected a NamedTuple class with a field h, "
            f"got {carry_type!r}"
        )
    gates = check_size("recurrent: gates", gates)

    def split(params: RecurrentParams):
        b = _bias(params, params.w_h.shape[1])
        return Affine(params.w_x, params.w_h, b), params.theta

    def with_theta(theta, z, carry):
        return apply(z, carry) if theta_init is None else apply(theta, z, carry)

    return _cell(
        "recurrent",
        input_size,
        hidden_size,
        RecurrentParams,
        carry_type,
        Pointwise(with_theta),
        split,
        gates=gates,
        inits=(w_x_init, w_h_init, b_init if bias else None, carry_init),
        extra={} if theta_init is None else {"theta": theta_init},
        dtype=dtype,
        compute_dtype=compute_dtype,
        unroll=unroll,
    )


def _bias(params: Any, size: int) -> jax.Array:
    return jnp.zeros(size, params.w_h.dtype) if params.b is None else params.b


def _cell(
    kind: str,
    input_size: int,
    hidden_size: int,
    params_type: Any,
    carry_type: Any,
    part: Pointwise,
    split: Callable[[Any], tuple[Affine, Any]],
    *,
    gates: int,
    inits: tuple[Initializer | None, ...],
    dtype: Any,
    compute_dtype: Any,
    unroll: int,
    extra: dict[str, Callable[[jax.Array], Any]] | None = None,
    step: Callable[..., Any] | None = None,
) -> Cell:
    """Builds a cell from its pointwise part and the `split` of its params.

    `step`, if given, stands in for the affine map and the pointwise part.
    """
    input_size = check_size(f"{kind}: input_size", input_size)
    hidden_size = check_size(f"{kind}: hidden_size", hidden_size)
    unroll = check_size(f"{kind}: unroll", unroll)
    check_floating(f"{kind}: dtype", dtype)
    if compute_dtype is not None:
        check_floating(f"{kind}: compute_dtype", compute_dtype)
    w_x_init, w_h_init, b_init, carry_init = inits
    check_function(f"{kind}: w_x_init", w_x_init)
    check_function(f"{kind}: w_h_init", w_h_init)
    for name, given in (("b_init", b_init), ("carry_init", carry_init)):
        if given is not None:
            check_function(f"{kind}: {name}", given)

    def init(key):
        w_x_key, w_h_key, b_key, extra_key, carry_key = jax.random.split(key, 5)

        def by_gate(initializer, key, rows):
            # Some initializers, the orthogonal one for example, need 32 bits.
            draw_dtype = dtype if jnp.finfo(dtype).bits >= 32 else jnp.float32

            # Batched QR factorizations, which draw orthogonal weights, can wait for
            # each other for ever on CPU, so a batch is drawn one after the other.
            @jax.custom_batching.sequential_vmap
            def draw(key):
                return initializer(key, (rows, hidden_size), draw_dtype)

            blocks = [draw(k) for k in jax.random.split(key, gates)]
            return jnp.concatenate(blocks, axis=1).astype(dtype)

        carry = None
        if carry_init is not None:
            keys = jax.random.split(carry_key, len(carry_type._fields))
            carry = carry_type(*(carry_init(k, (hidden_size,), dtype) for k in keys))
        return params_type(
            w_x=by_gate(w_x_init, w_x_key, input_size),
            w_h=by_gate(w_h_init, w_h_key, hidden_size),
            b=None if b_init is None else b_init(b_key, (gates * hidden_size,), dtype),
            carry=carry,
            **{name: draw(extra_key) for name, draw in (extra or {}).items()},
        )

    def initial_carry(params, key=None):
        del key
        if params.carry is not None:
            return params.carry
        zeros = jnp.zeros(hidden_size, params.w_h.dtype)
        return carry_type(*(zeros for _ in carry_type._fields))

    def affine_step(params, carry, x):
        affine, theta = split(params)
        z = affine.astype(compute_dtype)(x.astype(params.w_x.dtype), carry.h)
        carry = part.apply(theta, z, carry)
        return carry, carry.h

    def fast_unroll(params, carry, xs, *, mask=None, reverse=False, starts=None):
        if starts is not None:
            by_scan = scan_unroll(affine_step, initial_carry, unroll=unroll)
            return by_scan(params, carry, xs, mask=mask, reverse=reverse, starts=starts)
        affine, theta = split(params)
        xs = blank(mask, xs).astype(params.w_x.dtype)
        carry, hs = recurrence(
            part,
            affine,
            theta,
            carry,
            xs,
            mask=mask,
            reverse=reverse,
            unroll=unroll,
            compute_dtype=compute_dtype,
        )
        return carry, blank(mask, hs)

    return leaf(
        f"{kind}({input_size}, {hidden_size})",
        Input((input_size,)),
        init,
        initial_carry,
        step or affine_step,
        scan_unroll(step, initial_carry, unroll=unroll) if step else fast_unroll,
    )
