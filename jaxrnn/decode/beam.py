"""Beam search: the most probable sequences that a cell can make."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.build import step_of
from jaxrnn.checks import check_input, check_number, check_size, check_token
from jaxrnn.core import Cell
from jaxrnn.decode.choosers import check_logits
from jaxrnn.decode.inputs import TOKEN, check_first, check_stop


class Hypotheses(NamedTuple):
    """Sequences found by `beam_search`, the best first."""

    tokens: jax.Array  # [beam_size, length]
    scores: jax.Array  # [beam_size]
    lengths: jax.Array  # [beam_size], the stop token counted


class _Search(NamedTuple):
    """Where `beam_search` stands: beams that go on, and the best that have ended."""

    step: jax.Array  # []
    carry: Any  # of each beam
    token: jax.Array  # [beam_size], to be read next
    going: Hypotheses  # scores are log probabilities
    ended: Hypotheses


def beam_search(
    cell: Cell,
    params: Any,
    carry: Any,
    first: Any,
    length: int,
    *,
    beam_size: int,
    stop_token: int | jax.Array,
    length_penalty: float = 0.0,
) -> Hypotheses:
    """Looks for the most probable sequences.

        score = log p(tokens) / n^length_penalty,    n tokens with the stop token

    Each step extends every beam by every token. A beam followed by the stop token is a
    hypothesis, and the best `beam_size` of all steps are kept; of the others the most
    probable `beam_size` go on. At the end these are hypotheses of the full length
    without a stop token. The search ends early when no beam can do better any more.

    With as many beams as there are sequences the search is exhaustive.

    Args:
      cell: with a `step`, from a token `[]` to logits `[V]`.
      params, carry, first: as in `generate`.
      length: of the longest hypothesis.
      beam_size: how many beams, and how many hypotheses are returned.
      stop_token: ends a hypothesis; in 0..V-1.
      length_penalty: 0 for the log probability, which favors short sequences; 1 for
        its mean over the tokens; at most 10.

    Returns:
      The hypotheses, the best first. After its stop token each is filled up with stop
      tokens. If there are fewer than `beam_size`, the others have score -inf and
      length 0.

    Raises:
      ValueError: if the cell has no step or gives no logits, a size is below 1, the
        penalty is negative, or an argument does not fit the cell.

    References:
      Graves, "Sequence transduction with recurrent neural networks", 2012. The
      division is that of Wu et al., "Google's neural machine translation system",
      2016, without their constants.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> model = rnn.chain(rnn.embedding(11, 3), rnn.gru(3, 5), rnn.linear(5, 11))
      >>> params = model.init(jax.random.key(0))
      >>> carry = model.initial_carry(params)
      >>> best = rnn.beam_search(
      ...     model, params, carry, 1, 7, beam_size=3, stop_token=0
      ... )
      >>> best.tokens.shape, best.scores.shape
      ((3, 7), (3,))
    """
    name = "beam_search"
    length = check_size(f"{name}: length", length)
    size = check_size(f"{name}: beam_size", beam_size)
    penalty = check_number(
        f"{name}: length_penalty",
        length_penalty,
        "a number in [0, 10]",
        lambda value: 0 <= value <= 10,
    )
    step = step_of(name, cell)
    params, token = check_first(name, cell, params, carry, first)
    token = check_input(f"{name}: first", token, TOKEN, ()).astype(jnp.int32)

    def advance(carry, token):
        carry, logits = step(params, carry, token)
        return carry, jax.nn.log_softmax(check_logits(name, logits))

    log_p = jax.eval_shape(advance, carry, token)[1]
    stop = check_stop(name, stop_token)
    check_token(f"{name}: stop_token", stop, log_p.size)

    def best(*hypotheses):
        every = jax.tree.map(lambda *a: jnp.concatenate(a), *hypotheses)
        _, index = lax.top_k(every.scores, size)
        return jax.tree.map(lambda a: a[index], every)

    def may_improve(search):
        attainable = search.going.scores.max() / length**penalty
        return (search.step < length) & (attainable > search.ended.scores.min())

    def extend(search):
        carry, log_p = jax.vmap(advance)(search.carry, search.token)
        scores = search.going.scores[:, None] + log_p  # [beam_size, V]
        stopped = scores.at[:, stop].get(
            mode="fill", fill_value=jnp.nan, wrap_negative_indices=False
        )
        n = search.step + 1
        stopping = Hypotheses(
            search.going.tokens,  # all that follows is the stop token
            stopped / n.astype(scores.dtype) ** penalty,
            jnp.broadcast_to(n, size),
        )
        scores = scores.at[:, stop].set(-jnp.inf)
        scores, index = lax.top_k(scores.ravel(), size)
        parent, token = jnp.divmod(index, log_p.shape[1])
        tokens = search.going.tokens[parent].at[:, search.step].set(token)
        return _Search(
            n,
            jax.tree.map(lambda a: a[parent], carry),
            token,
            Hypotheses(tokens, scores, search.going.lengths),
            best(search.ended, stopping),
        )

    def beams(tree):
        return jax.tree.map(lambda a: jnp.broadcast_to(a, (size, *jnp.shape(a))), tree)

    nothing = Hypotheses(
        jnp.broadcast_to(stop, (size, length)),
        jnp.full(size, -jnp.inf, log_p.dtype),
        jnp.full(size, length, jnp.int32),
    )
    start = nothing._replace(scores=nothing.scores.at[0].set(0))
    search = _Search(
        jnp.zeros((), jnp.int32), beams(carry), beams(token), start, nothing
    )
    search = lax.while_loop(may_improve, extend, search)
    going = search.going._replace(scores=search.going.scores / length**penalty)
    found = best(search.ended, going)
    real = found.scores > -jnp.inf
    return Hypotheses(
        jnp.where(real[:, None], found.tokens, stop),
        found.scores,
        jnp.where(real, found.lengths, 0),
    )
