"""The recurrent network whose recurrent matrix is orthogonal, whatever its weights."""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import initializers
from jax.scipy.linalg import expm

from jaxrnn.cells.draws import uniform
from jaxrnn.cells.gated import dense_init, gated
from jaxrnn.cells.options import Initializer, check_options
from jaxrnn.checks import Input, check_size
from jaxrnn.core import Cell, recorded
from jaxrnn.loops.dense import Dense
from jaxrnn.loops.pointwise import Pointwise
from jaxrnn.precision import wide

HE_NORMAL, SMALL = initializers.he_normal(), uniform(0.01)


class OrthogonalCarry(NamedTuple):
    """Carry of `orthogonal`."""

    h: jax.Array  # [H]


class OrthogonalParams(NamedTuple):
    """Weights of `orthogonal`."""

    w_x: jax.Array  # [D, H]
    a: jax.Array  # [H (H - 1) / 2], of A above its diagonal, row after row
    b: jax.Array  # [H], of modReLU


class _Matrices(NamedTuple):
    """What a sequence reads in the place of the params."""

    w_x: jax.Array  # [D, H]
    w_h: jax.Array  # [H, H], orthogonal
    b: jax.Array  # [H]


@recorded
def orthogonal(
    input_size: int,
    hidden_size: int,
    *,
    matrix: Literal["exponential", "cayley"] = "exponential",
    a_init: Literal["henaff", "cayley"] = "henaff",
    w_x_init: Initializer = HE_NORMAL,
    b_init: Initializer = SMALL,
    carry_init: Initializer | None = None,
    dtype: Any = jnp.float32,
    compute_dtype: Any = None,
    unroll: int = 1,
) -> Cell:
    """The recurrent network with an orthogonal recurrent matrix.

        w_h = expm(A)                        matrix="exponential" (expRNN)
        w_h = (I + A)^-1 (I - A)             matrix="cayley"
        h_t = modReLU(x_t w_x + h_{t-1} w_h, b),    y_t = h_t
        modReLU(z, b) = sign(z) relu(|z| + b)

    A = -A^T is any skew-symmetric matrix, and the params are its entries above the
    diagonal, so that every step of any optimizer leaves w_h orthogonal: no gradient
    through time grows or vanishes by w_h. w_h is computed once for a sequence; whoever
    takes step after step gives `about.prepare(params)` in the place of the params.

    A starts with blocks [[0, s], [-s, 0]] on its diagonal. "henaff" draws s from
    U(-pi, pi), "cayley" sets s = -tan(u/2) with u from U(0, pi/2). As in the authors'
    code: with the Cayley map the eigenvalues of "cayley" are exp(i u), but with the
    exponential exp(i tan(u/2)), at angles below 1 and not up to pi/2.

    scoRNN is the Cayley map with w_h = (I + A)^-1 (I - A) S, where the diagonal S has
    fixed entries -1 and 1, since that map reaches no eigenvalue -1; its code draws w_x
    from U(-0.01, 0.01). The authors' code of expRNN keeps all H x H entries of A, of
    which it reads those above the diagonal. Its "dtriv" moves the base of the
    exponential in training, which changes the optimizer and no output.

    Args:
      input_size: D.
      hidden_size: H.
      matrix: "exponential" or "cayley".
      a_init: "henaff" or "cayley", the angles at the start.
      w_x_init: a `jax.nn.initializers` function; the default has variance 2 / D.
      b_init: the same for b; the default is U(-0.01, 0.01).
      carry_init, dtype, compute_dtype, unroll: see `jaxrnn.cells.Options`.

    Returns:
      A cell from `x` `[D]` to `y` `[H]`, with `OrthogonalParams` and `OrthogonalCarry`.

    Raises:
      ValueError: if a size is below 1 or an option does not fit; later, if an argument
        does not fit the cell.

    References:
      Lezcano-Casado and Martinez-Rubio, "Cheap orthogonal constraints in neural
      networks: a simple parametrization of the orthogonal and unitary group", ICML
      2019; github.com/Lezcano/expRNN. Helfrich, Willmott and Ye, "Orthogonal recurrent
      neural networks with scaled Cayley transform", ICML 2018.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.orthogonal(3, 5)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))
      >>> params.a.shape, ys.shape
      ((10,), (7, 5))
    """
    input_size = check_size("orthogonal: input_size", input_size)
    hidden_size = check_size("orthogonal: hidden_size", hidden_size)
    for option, value, choices in (
        ("matrix", matrix, _MATRICES),
        ("a_init", a_init, _ANGLES),
    ):
        if not isinstance(value, str) or value not in choices:
            raise ValueError(
                f"orthogonal: {option}: expected one of {', '.join(choices)}, "
                f"got {value!r}"
            )
    shared = {"carry_init": carry_init, "dtype": dtype, "compute_dtype": compute_dtype}
    weights = {"w_x_init": w_x_init, "b_init": b_init, "unroll": unroll}
    settings = check_options("orthogonal", shared | weights)

    def init(key):
        key, a_key = jax.random.split(key)
        # Of the weights w_h is not used, and it is drawn small.
        drawn, _ = dense_init(key, input_size, hidden_size, 1, settings, output_size=1)
        s = _ANGLES[a_init](a_key, (hidden_size // 2,), settings.dtype)
        a = jnp.zeros(hidden_size * (hidden_size - 1) // 2, settings.dtype)
        blocks = 2 * jnp.arange(hidden_size // 2)
        a = a.at[_place(blocks, blocks + 1, hidden_size)].set(s)
        return OrthogonalParams(drawn["w_x"], a, drawn["b"])

    def prepare(params):
        a = _skew(params.a.astype(wide(params.a.dtype)), hidden_size)
        w_h = _MATRICES[matrix](a).astype(params.a.dtype)
        return _Matrices(params.w_x, w_h, params.b)

    def initial_carry(params, key=None):
        del key
        return OrthogonalCarry(jnp.zeros(hidden_size, params.w_x.dtype))

    return gated(
        f"orthogonal({input_size}, {hidden_size})",
        Input((input_size,)),
        init,
        initial_carry,
        lambda made: (Dense(made.w_x, made.w_h, jnp.zeros_like(made.b)), made.b),
        MODRELU,
        settings=settings,
        prepare=prepare,
    )


def _place(row, column, size: int):
    """Where the entry of a matrix above its diagonal stands, row after row."""
    return row * size - row * (row + 1) // 2 + column - row - 1


def _skew(a: jax.Array, size: int) -> jax.Array:
    if size == 1:
        return jnp.zeros((1, 1), a.dtype)
    row, column = jnp.indices((size, size))
    entries = a.at[_place(row, column, size)].get(mode="clip")
    upper = jnp.where(column > row, entries, 0)
    return upper - upper.T


def _cayley(a: jax.Array) -> jax.Array:
    one = jnp.eye(len(a), dtype=a.dtype)
    return jnp.linalg.solve(one + a, one - a)


def _of_cayley(key, shape, dtype):
    u = jax.random.uniform(key, shape, dtype, 0, math.pi / 2)
    return -jnp.tan(u / 2)


_MATRICES: dict[str, Callable[[jax.Array], jax.Array]] = {
    "exponential": expm,
    "cayley": _cayley,
}
_ANGLES: dict[str, Initializer] = {"henaff": uniform(math.pi), "cayley": _of_cayley}


def _modrelu(b, z, carry):
    del carry
    return OrthogonalCarry(jnp.sign(z) * jax.nn.relu(jnp.abs(z) + b))


def _modrelu_forward(b, z, carry):
    new = _modrelu(b, z, carry)
    return new, new.h


def _modrelu_backward(b, y, h, ct):
    del b
    sign = jnp.sign(y)  # that of z where there is a slope, else 0
    return ct.h * sign, ct.h * sign * sign, OrthogonalCarry(jnp.zeros_like(h))


MODRELU = Pointwise(_modrelu, _modrelu_forward, _modrelu_backward)
