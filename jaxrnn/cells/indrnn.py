"""The independently recurrent network: a hidden unit sees of the state only itself."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp

from jaxrnn.cells.elman import KNOWN, ElmanCarry
from jaxrnn.cells.gated import dense, dense_init, gated, zeros_of
from jaxrnn.cells.options import Options, check_options
from jaxrnn.checks import (
    Input,
    check_flag,
    check_function,
    check_number,
    check_size,
)
from jaxrnn.core import Cell, recorded
from jaxrnn.loops.mix import DIAGONAL
from jaxrnn.loops.pointwise import Pointwise


class IndRNNParams(NamedTuple):
    """Weights of `indrnn`."""

    w_x: jax.Array  # [D, H]
    w_h: jax.Array  # [H], u in the paper
    b: jax.Array | None = None  # [H]


@recorded
def indrnn(
    input_size: int,
    hidden_size: int,
    *,
    activation: Callable[[jax.Array], jax.Array] = jax.nn.relu,
    length: int | None = None,
    magnitude: float = 2.0,
    last_layer: bool = False,
    **options: Unpack[Options],
) -> Cell:
    """The independently recurrent network.

        h_t = activation(x_t w_x + b + w_h h_{t-1}),    y_t = h_t

    w_h is a vector, and its product with h is elementwise: units meet in the layers
    above. Without input a unit's state after T steps is w_h^T times what it was, so a
    bound on |w_h| is one on what a sequence can make of it. `clip_indrnn` keeps it.

    The authors draw w_h in two ways. Their cell draws it from uniform(0, 1), as is done
    here without `length`. Their experiments draw it from uniform(0, u), u =
    magnitude^(1 / length), and in the last layer, where the last output alone is read,
    from uniform(1 / u, u), so that all of its units have a long memory. Their cell
    holds neither w_x nor b: it is given x_t w_x + b, which may be normalised first.
    That is `chain(linear(D, H), normalisation, cell)` with an identity for w_x, as
    `interop.load_published("indrnn", ...)` has it.

    Args:
      input_size: D.
      hidden_size: H.
      activation: `jax.nn.relu`, `jnp.tanh` or any pointwise function.
      length: T, the number of steps of a sequence in the experiments' way; None for
        the cell's.
      magnitude: what T steps make of a state of 1 at most; 2 in the paper. With
        `length` alone.
      last_layer: whether w_h is drawn as in their last layer. With `length` alone.
      **options: bias, w_x_init, w_h_init (of w_h [1, H], in the place of the
        distributions above), b_init, carry_init, dtype, compute_dtype, unroll and
        heads, which stays 1; see `jaxrnn.cells.Options`.

    Returns:
      A cell from `x` `[D]` to `y` `[H]`, with `IndRNNParams` and `ElmanCarry`.

    Raises:
      TypeError: if there is no such option.
      ValueError: if a size or a length is below 1, or a magnitude below 1; if there is
        a last layer without a length; later, if an argument does not fit the cell.

    References:
      Li, Li, Cook, Zhu and Gao, "Independently recurrent neural network (IndRNN):
      Building a longer and deeper RNN", CVPR 2018; code by Li,
      github.com/Sunnydreamrain/IndRNN_pytorch.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> cell = rnn.indrnn(3, 5, length=784)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = cell.unroll(params, cell.initial_carry(params), jnp.ones((7, 3)))
      >>> ys.shape
      (7, 5)
    """
    input_size = check_size("indrnn: input_size", input_size)
    hidden_size = check_size("indrnn: hidden_size", hidden_size)
    check_function("indrnn: activation", activation)
    low, high = _range(length, magnitude, last_layer)

    def uniform(key, shape, dtype):
        return jax.random.uniform(key, shape, dtype, low, high)

    given: Any = {"w_h_init": uniform}
    settings = check_options("indrnn", given | options)

    def init(key):
        weights, _ = dense_init(
            key, input_size, hidden_size, 1, settings, output_size=1
        )
        return IndRNNParams(**weights | {"w_h": weights["w_h"][0]})

    return gated(
        f"indrnn({input_size}, {hidden_size})",
        Input((input_size,)),
        init,
        zeros_of(ElmanCarry, hidden_size),
        lambda params: (dense(params), ()),
        KNOWN.get(activation) or Pointwise(partial(_indrnn, activation)),
        DIAGONAL,
        settings,
    )


def _indrnn(activation, theta, z, carry):
    del theta, carry
    return ElmanCarry(activation(z))


def _range(length: Any, magnitude: Any, last_layer: bool) -> tuple[float, float]:
    """From where to where w_h is drawn."""
    last_layer = check_flag("indrnn: last_layer", last_layer)
    if length is not None:
        limit = indrnn_limit(length, magnitude)
        return (1 / limit if last_layer else 0.0), limit
    if last_layer:
        raise ValueError("indrnn: length: expected one with last_layer, got None")
    return 0.0, 1.0


def indrnn_limit(length: int, magnitude: float = 2.0) -> float:
    """The bound on |w_h| with which T steps make at most `magnitude` of a state of 1.

        limit = magnitude^(1 / length)

    Args:
      length: T.
      magnitude: at least 1; 2 in the paper, 5 in the authors' pixel-MNIST runs.

    Returns:
      The limit, for `clip_indrnn`. It is for `jax.nn.relu`; of `jnp.tanh` the paper
      says that a larger one does no harm.

    Raises:
      ValueError: if the length or the magnitude is below 1.

    Example:
      >>> import jaxrnn as rnn
      >>> round(rnn.cells.indrnn_limit(784), 6)
      1.000885
    """
    length = check_size("indrnn_limit: length", length)
    magnitude = check_number(
        "indrnn_limit: magnitude",
        magnitude,
        "a finite number of at least 1",
        lambda value: 1 <= value < float("inf"),
    )
    return magnitude ** (1 / length)


def clip_indrnn(params: Any, limit: float) -> Any:
    """The params of a model with w_h of each `indrnn` in it clipped: |w_h| <= limit.

    The authors clip after each step of the optimizer, so that gradients stay as they
    are: `params = clip_indrnn(optax.apply_updates(params, updates), limit)`. With
    `make_update` that is `rnn.train.projected(optimizer, partial(clip_indrnn,
    limit=limit))`.

    Args:
      params: of any model, a pytree; all but w_h of `IndRNNParams` stays as it is.
      limit: positive; see `indrnn_limit`.

    Returns:
      Params of the same structure.

    Raises:
      ValueError: if the limit is not positive, or there is no `IndRNNParams`.

    Example:
      >>> import jax, jaxrnn as rnn
      >>> model = rnn.chain(rnn.indrnn(3, 5), rnn.linear(5, 2))
      >>> params = rnn.cells.clip_indrnn(model.init(jax.random.key(0)), 0.25)
      >>> float(params[0].w_h.max())
      0.25
    """
    limit = check_number(
        "clip_indrnn: limit", limit, "a positive number", lambda value: value > 0
    )

    def known(node):
        return isinstance(node, IndRNNParams)

    def clip(node):
        if not known(node):
            return node
        return node._replace(w_h=jnp.clip(node.w_h, -limit, limit))

    if not any(map(known, jax.tree.leaves(params, is_leaf=known))):
        raise ValueError(
            "clip_indrnn: params: expected IndRNNParams among them, got "
            f"{jax.tree.structure(params)}"
        )
    return jax.tree.map(clip, params, is_leaf=known)
