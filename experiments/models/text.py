"""Models of text: how well they tell a text, and what they write."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxrnn as rnn
from experiments import lab
from experiments.data.vocabulary import Vocabulary

PIECE = 1024  # characters of which logits are in memory at once
AtMost1 = lab.Range("at most 1", lambda v: v <= 1)


@dataclass(frozen=True)
class Writing(lab.Config):
    """How a model writes; a finished run may be asked for another way."""

    length: lab.Asked[lab.AtLeast1] = 500
    """How many characters to write, in the samples at the end of a run too."""
    temperature: lab.Asked[tuple[lab.NotNegative, ...]] = (0.5, 0.8, 1.0)
    """A text at each: below 1 more probable, above 1 more variety, 0 the likeliest."""
    top_p: lab.Asked[Annotated[lab.Above0[float], AtMost1] | None] = None
    """Draw from the fewest characters whose probabilities sum to this; None: all."""

    def __post_init__(self):
        super().__post_init__()
        expected = "one temperature or more"
        lab.require(self.temperature != (), "temperature", expected, "none")


def mean_nats(model: rnn.Cell, params: Any, tokens: jax.Array) -> jax.Array:
    """The cross-entropy of a text that is read in one pass, in nats per character.

    Args:
      model: from a character `[]` to the logits of the next one `[V]`.
      params: of the model.
      tokens: [N]; each but the first is predicted, from all before it.

    Returns:
      [].

    Example:
      >>> model = rnn.chain(rnn.embedding(7, 3), rnn.gru(3, 5), rnn.linear(5, 7))
      >>> params = jax.tree.map(jnp.zeros_like, model.init(jax.random.key(0)))
      >>> round(float(mean_nats(model, params, jnp.arange(3000) % 7)), 3)  # log 7
      1.946
    """
    count = len(tokens) - 1

    def pieces(a):
        return jnp.pad(a, (0, -count % PIECE)).reshape(-1, PIECE)

    def read(carry, piece):
        inputs, targets, mask = piece
        carry, logits = model.unroll(params, carry, inputs, mask=mask)
        loss = rnn.cross_entropy(logits, targets, mask)
        return carry, loss * mask.sum(dtype=loss.dtype)

    cut = pieces(tokens[:-1]), pieces(tokens[1:]), pieces(jnp.ones(count, bool))
    return lax.scan(read, model.initial_carry(params), cut)[1].sum() / count


def nats_of_pieces(
    model: rnn.Cell, params: Any, pieces: Iterable[np.ndarray]
) -> tuple[float, int]:
    """As `mean_nats`, of a text that comes in pieces, and how many were predicted.

    Args:
      model: from a character `[]` to the logits of the next one `[V]`.
      params: of the model.
      pieces: of the text, [N] each.

    Raises:
      ValueError: if the text has fewer than two characters.

    Example:
      >>> model = rnn.chain(rnn.embedding(7, 3), rnn.gru(3, 5), rnn.linear(5, 7))
      >>> params = jax.tree.map(jnp.zeros_like, model.init(jax.random.key(0)))
      >>> text = np.arange(3000, dtype=np.int32) % 7
      >>> nats, count = nats_of_pieces(model, params, [text[:2], text[2:]])
      >>> round(nats, 3), count
      (1.946, 2999)
    """

    @jax.jit
    def read(carry, inputs, targets, mask):
        carry, logits = model.unroll(params, carry, inputs, mask=mask)
        loss = rnn.cross_entropy(logits, targets, mask)
        return carry, loss * mask.sum(dtype=loss.dtype)

    carry, total, count, rest = model.initial_carry(params), 0.0, 0, np.zeros(0, int)
    for piece in itertools.chain(pieces, [None]):
        last = piece is None
        rest = rest if last else np.concatenate([rest, piece])
        while len(rest) > (1 if last else PIECE):
            size = min(PIECE, len(rest) - 1)
            block = np.resize(rest[: size + 1], PIECE + 1).astype(np.int32)
            mask = np.arange(PIECE) < size
            carry, nats = read(carry, block[:-1], block[1:], mask)
            total, count, rest = total + float(nats), count + size, rest[size:]
    if not count:
        raise ValueError("expected a text of two characters or more")
    return total / count, count


def per_character(where: str, nats: Mapping[str, Any]) -> lab.Table:
    """A table of cross-entropies, a number each or one for each seed."""
    rows = [
        lab.Row(name, [values, values / np.log(2), np.exp(values)])
        for name, values in nats.items()
    ]
    columns = {"nats": ".3f", "bits": ".3f", "perplexity": ".2f"}
    return lab.Table(f"per character of {where}", columns, rows)


def reading(
    model: rnn.Cell, params: Any, tokens: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What a model makes of a passage: its last hidden states, and its surprise.

    Args:
      model: a `rnn.chain` that ends in a layer and its dropout and a readout, or a
        `rnn.tied_embedding` of one.
      params: of the model.
      tokens: [T + 1].

    Returns:
      h_1 .. h_T, [T, H], and log p(x_{t+1} | x_1 .. x_t) for t = 1 .. T, [T].
    """

    @jax.jit
    def read(params, tokens):
        inputs = model.initial_carry(params), tokens[:-1]
        outputs = rnn.trace(model, params, *inputs)
        layers = outputs.cell if isinstance(outputs, rnn.TiedParams) else outputs
        *_, states, _ = layers  # without a key the dropout changes nothing
        log_p = jax.nn.log_softmax(model.unroll(params, *inputs)[1])
        return states, jnp.take_along_axis(log_p, tokens[1:, None], axis=1)[:, 0]

    states, log_p = read(params, tokens)
    return np.asarray(states), np.asarray(log_p)


def written(
    model: rnn.Cell,
    params: Any,
    vocabulary: Vocabulary,
    prompt: str | None,
    seed: int,
    how: Writing,
) -> Iterator[Iterator[str]]:
    """For each temperature, piece by piece, what a model writes after a prompt.

    Args:
      model: from a character `[]` to the logits of the next one `[V]`.
      params: of the model.
      vocabulary: its V characters.
      prompt: at least one character; it is part of what is returned. None: a line end,
        or the first character of the vocabulary where it has none.
      seed: of the draws.
      how: it writes.

    Raises:
      ValueError: if the prompt has a character that the vocabulary lacks.
    """
    characters = vocabulary.characters
    if prompt is None:
        prompt = "\n" if "\n" in characters else characters[0]
    start = model.initial_carry(params)
    carry, first = rnn.prefill(model, params, start, vocabulary.encode(prompt))
    keys = jax.random.split(jax.random.key(seed), len(how.temperature))

    def text(temperature, key):
        yield f"--- temperature {temperature} ---\n{prompt}"
        choose = rnn.greedy
        if temperature > 0:
            choose = rnn.sample(temperature, top_p=how.top_p)
        for token in rnn.stream(model, params, carry, first, how.length, choose, key):
            yield vocabulary.decode([token])
        yield "\n"

    return map(text, how.temperature, keys)
