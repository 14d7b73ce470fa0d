"""Decoding: a cell reads its own outputs.

`generate` is one compiled loop and `stream` the same loop one token at a time; both
take a chooser, `(y, key) -> token`, such as `greedy` or `sample()`. `beam_search`
looks for the most probable sequence.

All three begin at `first`: one token, or a prompt `[P]`, of which all but the last are
read by `unroll`. Prompts that are padded to one size, with a mask, share one program:
`jax.jit(rnn.generate, static_argnames=("cell", "length", "choose"))`. A cell whose
inputs are vectors reads whatever the chooser makes of its outputs.
"""

import dataclasses
import itertools
import numbers
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.build import step_of
from jaxrnn.checks import (
    Input,
    check_array,
    check_input,
    check_key,
    check_length,
    check_mask,
    check_number,
    check_size,
)
from jaxrnn.core import About, Cell, last, scan_unroll, select

TOKEN = Input((), jnp.integer)


class Choose(Protocol):
    """Makes the next input of a cell from its output: `(y, key) -> token`."""

    def __call__(self, y: Any, key: jax.Array | None, /) -> Any: ...


class Generated(NamedTuple):
    """What `generate` made, and what it needs to go on."""

    tokens: Any  # [length]
    carry: Any  # has read all of them but the last
    key: jax.Array | None
    length: jax.Array  # [], how many tokens there are, the stop token among them


class Hypotheses(NamedTuple):
    """Sequences found by `beam_search`, the best first."""

    tokens: jax.Array  # [beam_size, length]
    scores: jax.Array  # [beam_size]
    lengths: jax.Array  # [beam_size], the stop token counted


def greedy(logits: jax.Array, key: jax.Array | None = None) -> jax.Array:
    """The token with the largest logit; of equal ones, the first.

    Args:
      logits: `[V]`.
      key: not used.

    Returns:
      `[]` int32.

    Raises:
      ValueError: if the logits are not floating numbers `[V]`.

    Example:
      >>> import jax.numpy as jnp, jaxrnn as rnn
      >>> rnn.greedy(jnp.array([1.0, 3.0, 3.0])).item()
      1
    """
    del key
    return jnp.argmax(_check_logits("greedy", logits)).astype(jnp.int32)


def sample(
    temperature: float = 1.0, *, top_k: int | None = None, top_p: float | None = None
) -> Choose:
    """Makes a chooser that draws a token.

        p = softmax(logits / temperature)

    Only the `top_k` most probable tokens are kept, and of those, with their share of
    p made to sum to one, the fewest whose sum reaches `top_p`. Of equally probable
    tokens the first is kept. Choosers made with the same arguments are equal, so that
    `jax.jit` compiles a program for one of them once.

    Args:
      temperature: below 1 for more probable tokens, above 1 for more variety.
      top_k: at least 1; None for all.
      top_p: in (0, 1]; None for all. At least one token is kept.

    Returns:
      `(logits, key) -> token`, from `[V]` to `[]` int32.

    Raises:
      ValueError: if an argument is outside its range; from the chooser, if the logits
        are not floating numbers `[V]` or there is no key.

    References:
      Holtzman et al., "The curious case of neural text degeneration", ICLR 2020.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> choose = rnn.sample(0.8, top_k=2)
      >>> choose(jnp.array([1.0, -jnp.inf, -jnp.inf]), jax.random.key(0)).item()
      0
    """
    temperature = check_number(
        "sample: temperature",
        temperature,
        "a positive number",
        lambda value: 0 < value <= sys.float_info.max,
    )
    if top_k is not None:
        top_k = check_size("sample: top_k", top_k)
    if top_p is not None:
        top_p = check_number(
            "sample: top_p", top_p, "a number in (0, 1]", lambda value: 0 < value <= 1
        )
    return _Sample(temperature, top_k, top_p)


@dataclasses.dataclass(frozen=True)
class _Sample:
    temperature: float
    top_k: int | None
    top_p: float | None

    def __call__(self, logits: jax.Array, key: jax.Array | None, /) -> jax.Array:
        logits = _check_logits("sample", logits)
        key = check_key("sample: key", key)
        logits = (logits - logits.max()) / self.temperature
        if self.top_k is None and self.top_p is None:
            return jax.random.categorical(key, logits).astype(jnp.int32)
        size = logits.size if self.top_k is None else min(self.top_k, logits.size)
        logits, tokens = lax.top_k(logits, size)  # in order, of equal ones the first
        if self.top_p is not None and self.top_p < 1:
            p = jax.nn.softmax(logits)
            reached = jnp.cumsum(p) - p >= self.top_p * (1 - 1e-6)  # but for rounding
            logits = jnp.where(reached, -jnp.inf, logits)
        return tokens[jax.random.categorical(key, logits)]


def generate(
    cell: Cell,
    params: Any,
    carry: Any,
    first: Any,
    length: int,
    choose: Choose,
    key: jax.Array | None = None,
    *,
    mask: jax.Array | None = None,
    stop_token: int | jax.Array | None = None,
    stopped: bool | jax.Array = False,
) -> Generated:
    """Feeds a cell its own outputs.

        carry, y = step(params, carry, token)
        key, choice_key = split(key)
        token = choose(y, choice_key)

    To go on where it ended, give it the carry, the last token and the key that came
    back: the two parts are together what one call would have made. If the first part
    may have ended, say so by `stopped=part.tokens[-1] == stop_token`.

    Args:
      cell: with a `step`.
      params: of the cell.
      carry: before the first step.
      first: what the cell reads first: a token `[]`, or any input of one step; or a
        prompt of several, with a leading axis P.
      length: how many tokens to make.
      choose: `(y, key) -> token`. What it returns is the next input.
      key: for all choices; None for choosers that need none.
      mask: `[P]` bool, False where the prompt is padded; with no True at all the first
        input is zero. None if all of it is valid; but a prompt for a cell that does not
        say what it reads, such as a chain that begins with `dropout`, needs one.
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
      >>> prompt, key = jnp.array([3, 1, 4]), jax.random.key(1)
      >>> out = rnn.generate(model, params, carry, prompt, 7, rnn.sample(0.8), key)
      >>> out.tokens.shape
      (7,)
      >>> more = rnn.generate(
      ...     model, params, out.carry, out.tokens[-1], 7, rnn.sample(0.8), out.key
      ... )
    """
    length = check_size("generate: length", length)
    step = step_of("generate", cell)
    carry, x = _read_prompt("generate", cell, params, carry, first, mask)
    x, stop = _match("generate", step, params, carry, x, choose, key, stop_token)
    if stop is None and stopped is not False:
        raise ValueError("generate: stopped: expected a stop_token with it, got None")
    stopped = jnp.asarray(stopped)
    if stopped.dtype != jnp.bool_ or stopped.ndim:
        raise ValueError(
            "generate: stopped: expected a bool of shape [], "
            f"got {stopped.dtype} {stopped.shape}"
        )

    def body(state, _):
        carry, x, key, stopped = state
        new, y = step(params, carry, x)
        token, key = _next(choose, y, key)
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
    mask: jax.Array | None = None,
    stop_token: int | None = None,
) -> Iterator[Any]:
    """The tokens of `generate` as an iterator, each as soon as it is made.

    The step is compiled once for a cell, whatever the number of streams. The carry is
    not donated, so that the caller's can be used again.

    Args:
      cell, params, carry, first, choose, key, mask: as in `generate`.
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
    carry, x = _read_prompt("stream", cell, params, carry, first, mask)
    x, stop = _match("stream", step, params, carry, x, choose, key, stop_token)

    def tokens(carry, x, key):
        for _ in itertools.count() if length is None else range(length):
            carry, y = step(params, carry, x)
            x, key = _jitted_next(choose, y, key)
            yield x
            if stop is not None and x == stop:
                return

    return tokens(carry, x, key)


def _next(choose, y, key):
    """The next token, and the key of the choices after it."""
    if key is None:
        return choose(y, None), None
    key, choice_key = jax.random.split(key)
    return choose(y, choice_key), key


_jitted_next = jax.jit(_next, static_argnums=0)


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
    mask: jax.Array | None = None,
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
      params, carry, first, mask: as in `generate`.
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
    carry, token = _read_prompt(name, cell, params, carry, first, mask)
    token = check_input(f"{name}: first", token, TOKEN, ()).astype(jnp.int32)

    def advance(carry, token):
        carry, logits = step(params, carry, token)
        return carry, jax.nn.log_softmax(_check_logits(name, logits))

    log_p = jax.eval_shape(advance, carry, token)[1]
    stop = _check_stop(name, stop_token)
    if isinstance(stop_token, numbers.Integral) and not 0 <= stop_token < log_p.size:
        raise ValueError(
            f"{name}: stop_token: expected 0 to {log_p.size - 1}, got {stop_token}"
        )

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
        n = search.step + 1
        stopping = Hypotheses(
            search.going.tokens,  # all that follows is the stop token
            scores[:, stop] / n.astype(scores.dtype) ** penalty,
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


class SamplingCarry(NamedTuple):
    """What `scheduled_sampling` needs while training."""

    cell: Any
    token: jax.Array  # [], drawn after the step before
    steps: jax.Array  # [], how many have been taken
    key: jax.Array


def scheduled_sampling(cell: Cell, rate: float | jax.Array) -> Cell:
    """In training, a cell reads some of its own outputs in place of the given tokens.

        x'_t = a draw from softmax(y_{t-1}), with probability rate, from the second on
        x'_t = x_t, otherwise

    So it learns to go on after mistakes of its own. No gradient flows through a draw.
    Without a key, as in evaluation, it is the cell alone.

    Args:
      cell: from tokens to logits, with a `step`.
      rate: in [0, 1]; it may be a traced scalar, to rise in the course of training.

    Returns:
      A cell with the params of `cell`, and `SamplingCarry`, or without a key the carry
      of `cell`.

    Raises:
      ValueError: if the cell has no step or the rate is outside [0, 1].

    References:
      Bengio et al., "Scheduled sampling for sequence prediction with recurrent neural
      networks", NIPS 2015.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> model = rnn.chain(rnn.embedding(11, 3), rnn.lstm(3, 5), rnn.linear(5, 11))
      >>> params = model.init(jax.random.key(0))
      >>> mixed = rnn.scheduled_sampling(model, 0.25)
      >>> carry = mixed.initial_carry(params, jax.random.key(1))
      >>> mixed.unroll(params, carry, jnp.array([3, 1, 4, 1]))[1].shape
      (4, 11)
    """
    cell_step = step_of("scheduled_sampling", cell)
    if not isinstance(rate, jax.Array):
        rate = check_number(
            "scheduled_sampling: rate",
            rate,
            "a number in [0, 1]",
            lambda value: 0 <= value <= 1,
        )
    elif rate.shape != () or not jnp.issubdtype(rate.dtype, jnp.floating):
        raise ValueError(
            "scheduled_sampling: rate: expected one floating number, got "
            f"{rate.dtype} {rate.shape}"
        )
    name = f"scheduled_sampling({cell.about.name})"

    def initial_carry(params, key=None):
        if key is None:
            return cell.initial_carry(params)
        cell_key, key = jax.random.split(check_key(f"{name}: key", key))
        zero = jnp.zeros((), jnp.int32)
        return SamplingCarry(cell.initial_carry(params, cell_key), zero, zero, key)

    def step(params, carry, x):
        if not isinstance(carry, SamplingCarry):
            return cell_step(params, carry, x)
        x = check_input(f"{name}: x", x, TOKEN, ())
        rate_key, draw_key = jax.random.split(
            jax.random.fold_in(carry.key, carry.steps)
        )
        own = jax.random.bernoulli(rate_key, rate) & (carry.steps > 0)
        x = jnp.where(own, carry.token.astype(x.dtype), x)
        inner, y = cell_step(params, carry.cell, x)
        logits = lax.stop_gradient(_check_logits(name, y))
        token = jax.random.categorical(draw_key, logits).astype(jnp.int32)
        return SamplingCarry(inner, token, carry.steps + 1, carry.key), y

    unroll_by_scan = scan_unroll(step, initial_carry)

    def unroll(params, carry, xs, *, mask=None, reverse=False, starts=None):
        unroll = unroll_by_scan if isinstance(carry, SamplingCarry) else cell.unroll
        return unroll(params, carry, xs, mask=mask, reverse=reverse, starts=starts)

    return Cell(cell.init, initial_carry, step, unroll, About(name, cell.about.reads))


def _read_prompt(name, cell, params, carry, first, mask):
    """Reads all of a prompt but its last token, which is returned with the carry."""
    first = jax.tree.map(lambda a: check_array(f"{name}: first", a), first)
    for what, tree in (("params", params), ("carry", carry)):
        for leaf in jax.tree.leaves(tree):
            if not hasattr(leaf, "dtype"):
                check_array(f"{name}: {what}", leaf)
    reads = cell.about.reads
    shape = None if reads is None else reads.shape
    if mask is None and (shape is None or first.ndim != len(shape) + 1):
        return carry, first
    length = check_length(f"{name}: first", first)
    mask = check_mask(name, mask, length)
    if mask is None:
        mask = jnp.ones(length, bool)
    before = mask & (jnp.cumsum(mask[::-1])[::-1] > 1)  # others follow
    carry, _ = jax.jit(cell.unroll)(params, carry, first, mask=before)
    return carry, last(first, mask)


def _match(name, step, params, carry, x, choose, key, stop_token):
    """Checks that the cell reads what is chosen; x and the stop token in its dtype."""
    if not callable(choose):
        raise ValueError(f"{name}: choose: expected a function, got {choose!r}")
    if key is not None:
        check_key(f"{name}: key", key)

    def choice(carry, x, key):
        return _next(choose, step(params, carry, x)[1], key)[0]

    chosen = jax.eval_shape(choice, carry, x, key)

    def kinds(tree):
        return jax.tree.map(
            lambda a: (a.shape, jnp.issubdtype(a.dtype, jnp.integer)), tree
        )

    if kinds(chosen) != kinds(x):
        raise ValueError(
            f"{name}: choose: expected it to return what the cell reads, "
            f"{jax.eval_shape(lambda: x)}, got {chosen}"
        )
    x = jax.tree.map(lambda a, b: a.astype(b.dtype), x, chosen)
    if stop_token is None:
        return x, None
    if kinds(x) != ((), True):
        raise ValueError(
            f"{name}: stop_token: expected None, since choose returns no tokens, "
            f"integers [], but {chosen}; got {stop_token!r}"
        )
    return x, _check_stop(name, stop_token).astype(x.dtype)


def _check_stop(name: str, stop_token: Any) -> jax.Array:
    return check_input(f"{name}: stop_token", stop_token, TOKEN, ()).astype(jnp.int32)


def _check_logits(name: str, logits: Any) -> jax.Array:
    """The logits in at least single precision."""
    logits = check_array(f"{name}: logits", logits)
    floating = jnp.issubdtype(logits.dtype, jnp.floating)
    if not floating or logits.ndim != 1 or not logits.size:
        hint = "; for a batch use jax.vmap" if logits.ndim > 1 else ""
        raise ValueError(
            f"{name}: logits: expected floating numbers of shape [V], "
            f"got {logits.dtype} {logits.shape}{hint}"
        )
    return logits if jnp.finfo(logits).bits >= 32 else logits.astype(jnp.float32)
