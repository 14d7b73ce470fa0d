"""Generation: a cell reads its own outputs, all at once or one at a time."""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.build import step_of
from jaxrnn.checks import check_array, check_length, check_mask, check_size
from jaxrnn.core import Cell, last, select
from jaxrnn.decode.choosers import Choose
from jaxrnn.decode.inputs import check_arrays, check_first, match, next_input


class Generated(NamedTuple):
    """What `generate` made, and what it needs to go on."""

    tokens: Any  # [length]
    carry: Any  # has read all of them but the last
    key: jax.Array | None
    length: jax.Array  # [], how many tokens there are, the stop token among them


def prefill(
    cell: Cell, params: Any, carry: Any, prompt: Any, mask: jax.Array | None = None
) -> tuple[Any, Any]:
    """Reads all of a prompt but its last token, with which a generation begins.

    Prompts that are padded to one size, with a mask, share one program.

    Args:
      cell: with a `step`.
      params: of the cell.
      carry: before the first step.
      prompt: inputs of the cell, with a leading axis P.
      mask: `[P]` bool, False where the prompt is padded, or None if all of it is valid.
        If it is False everywhere nothing is read, and the token is zero.

    Returns:
      The carry, and the last valid token of the prompt: the `first` of `generate`,
      `stream` and `beam_search`.

    Raises:
      ValueError: if the cell has no step or an argument does not fit it.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> model = rnn.chain(rnn.embedding(11, 3), rnn.lstm(3, 5), rnn.linear(5, 11))
      >>> params = model.init(jax.random.key(0))
      >>> carry = model.initial_carry(params)
      >>> prompt, mask = jnp.array([3, 1, 4, 0, 0]), jnp.arange(5) < 3
      >>> carry, token = rnn.prefill(model, params, carry, prompt, mask)
      >>> token.item()
      4
      >>> rnn.generate(model, params, carry, token, 7, rnn.greedy).tokens.shape
      (7,)
    """
    step_of("prefill", cell)
    prompt = jax.tree.map(lambda a: check_array("prefill: prompt", a), prompt)
    check_arrays("prefill", params, carry)
    length = check_length("prefill: prompt", prompt)
    mask = check_mask("prefill", mask, length, axis="P")
    if mask is None:
        mask = jnp.ones(length, bool)
    before = mask & (jnp.cumsum(mask[::-1])[::-1] > 1)  # others follow
    carry, _ = jax.jit(cell.unroll)(params, carry, prompt, mask=before)
    return carry, last(prompt, mask)


def generate(
    cell: Cell,
    params: Any,
    carry: Any,
    first: Any,
    length: int,
    choose: Choose,
    key: jax.Array | None = None,
    *,
    stop_token: int | jax.Array | None = None,
    stopped: bool | jax.Array = False,
) -> Generated:
    """Feeds a cell its own outputs.

        carry, y = step(params, carry, token)
        key, choice_key = split(key)
        token = choose(y, choice_key)

    A prompt is read before, by `prefill`. To go on where a generation ended, give the
    carry, the last token and the key that came back: the two parts are together what
    one call would have made. If the first part may have ended, say so by
    `stopped=part.tokens[-1] == stop_token`.

    Args:
      cell: with a `step`.
      params: of the cell.
      carry: before the first step.
      first: what the cell reads first: a token `[]`, or any input of one step.
      length: how many tokens to make.
      choose: `(y, key) -> token`. What it returns is the next input.
      key: for all choices; None for choosers that need none.
      stop_token: after this token all are this token, and the carry stays.
      stopped: `[]` bool, whether the stop token has already come.

    Returns:
      The tokens and what is needed to go on.

    Raises:
      ValueError: if the cell has no step, `length` is below 1, an argument does not
        fit the cell, or `choose` does not return what the cell reads.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> model = rnn.chain(rnn.embedding(11, 3), rnn.lstm(3, 5), rnn.linear(5, 11))
      >>> params = model.init(jax.random.key(0))
      >>> carry = model.initial_carry(params)
      >>> key = jax.random.key(1)
      >>> out = rnn.generate(model, params, carry, 3, 7, rnn.sample(0.8), key)
      >>> out.tokens.shape
      (7,)
      >>> more = rnn.generate(
      ...     model, params, out.carry, out.tokens[-1], 7, rnn.sample(0.8), out.key
      ... )
    """
    length = check_size("generate: length", length)
    step = step_of("generate", cell)
    params, x = check_first("generate", cell, params, carry, first)
    x, stop = match("generate", step, params, carry, x, choose, key, stop_token)
    if stop is None and stopped is not False:
        raise ValueError("generate: stopped: expected a stop_token with it, got None")
    stopped = check_array("generate: stopped", stopped)
    if stopped.dtype != jnp.bool_ or stopped.ndim:
        raise ValueError(
            "generate: stopped: expected a bool of shape [], "
            f"got {stopped.dtype} {stopped.shape}"
        )

    def body(state, _):
        carry, x, key, stopped = state
        new, y = step(params, carry, x)
        token, key = next_input(choose, y, key)
        if stop is not None:
            new = select(~stopped, new, carry)
            token = jnp.where(stopped, stop, token)
        ends = stopped if stop is None else token == stop
        return (new, token, key, ends), (token, ~stopped)

    state = carry, x, key, stopped
    (carry, _, key, _), (tokens, made) = lax.scan(body, state, length=length)
    return Generated(tokens, carry, key, made.sum(dtype=jnp.int32))


def stream(
    cell: Cell,
    params: Any,
    carry: Any,
    first: Any,
    length: int | None,
    choose: Choose,
    key: jax.Array | None = None,
    *,
    stop_token: int | None = None,
) -> Iterator[Any]:
    """The tokens of `generate` as an iterator, each as soon as it is made.

    The step is compiled once for a cell, whatever the number of streams. The carry is
    not donated, so that the caller's can be used again.

    Args:
      cell, params, carry, first, choose, key: as in `generate`.
      length: how many tokens to make at most; None for no end.
      stop_token: the last token, if it comes.

    Returns:
      An iterator over tokens, arrays `[]`.

    Raises:
      ValueError: as `generate`.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> model = rnn.chain(rnn.embedding(11, 3), rnn.lstm(3, 5), rnn.linear(5, 11))
      >>> params = model.init(jax.random.key(0))
      >>> carry = model.initial_carry(params)
      >>> tokens = rnn.stream(model, params, carry, 3, 7, rnn.greedy)
      >>> len([int(token) for token in tokens])
      7
    """
    if length is not None:
        length = check_size("stream: length", length)
    step = jax.jit(step_of("stream", cell))
    params, x = check_first("stream", cell, params, carry, first)
    x, stop = match("stream", step, params, carry, x, choose, key, stop_token)

    def tokens(carry, x, key):
        for _ in itertools.count() if length is None else range(length):
            carry, y = step(params, carry, x)
            x, key = _jitted_next(choose, y, key)
            yield x
            if stop is not None and x == stop:
                return

    return tokens(carry, x, key)


_jitted_next = jax.jit(next_input, static_argnums=0)
