"""A network that reads a text in both directions and says yes or no, or which class.

With x_t the subwords of the text and E a table of vectors, states of one network that
reads forward and one that reads backward, a pool of them, and a decision,

    h_t = [forward(E x_t, ...); backward(E x_t, ...)],    a = softmax(h q)
    p(yes) = sigmoid(v sum_t a_t h_t + b)

Of K > 2 classes, p = softmax(v sum_t a_t h_t + b). T is the length of a text, H
that of a state.

References:
  Yang et al., "Hierarchical attention networks for document classification", NAACL
  2016, for the query q; Iyyer et al., "Deep unordered composition rivals syntactic
  methods for text classification", ACL 2015, for words left out while training.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn as rnn
from experiments import lab
from experiments.data.documents import Tokenized
from experiments.data.subwords import UNKNOWN
from experiments.measures import words
from experiments.measures.words import Explanation
from experiments.models.stack import cell_named

AT_ONCE = 256  # the most texts in a batch that is only read,
TOKENS_AT_ONCE = 2**15  # and the most tokens in it


class Params(NamedTuple):
    """Weights of `classifier`."""

    reader: Any
    query: jax.Array  # [2 H], what the attention asks for
    readout: Any


class Classifier(NamedTuple):
    """A network as pure functions of one text."""

    init: Callable[..., Params]  # (key) -> params
    # (params, tokens [T], mask [T] or None, key=None) -> the logit of yes [], or those
    # of K > 2 classes [K], and how much of it came from where [T]
    read: Callable[..., tuple[jax.Array, jax.Array]]
    # The same compiled, of all seeds: (params [S, ...], tokens_NT, mask_NT) ->
    # logits_SN or logits_SNK, weights_SNT
    read_batch: Callable[..., tuple[jax.Array, jax.Array]]


Pool = Literal["attention", "mean", "max", "last"]


def classifier(
    cell: str | Callable[..., rnn.Cell],
    vocab_size: int,
    embedding_size: int,
    hidden_size: int,
    layers: int = 1,
    *,
    classes: int = 2,
    pool: Pool = "attention",
    dropout: float = 0.0,
    word_dropout: float = 0.0,
) -> Classifier:
    """An embedding, bidirectional layers, a pool and a linear readout.

    Args:
      cell: the recurrent cell, its name or (input_size, hidden_size) -> cell.
      vocab_size: how many subwords there are.
      embedding_size: of the vector of a subword.
      hidden_size: H, of the state of each direction.
      layers: how many bidirectional layers.
      classes: K; two are told apart by one logit.
      pool: how the states become one vector, see `pooling`.
      dropout: the share of the units left out while training, between all layers.
      word_dropout: the share of the subwords made unknown while training.

    Example:
      >>> net = classifier("gru", 11, 3, 5, layers=2)
      >>> params = jax.eval_shape(net.init, jax.random.key(0))
      >>> logit, weights = jax.eval_shape(net.read, params, jnp.arange(7))
      >>> logit.shape, weights.shape
      ((), (7,))
    """
    size = embedding_size
    recurrent = cell_named(cell) if isinstance(cell, str) else cell
    parts = [rnn.embedding(vocab_size, size)]
    for _ in range(layers):
        both = recurrent(size, hidden_size), recurrent(size, hidden_size)
        parts += [rnn.dropout(dropout), rnn.bidirectional(*both)]
        size = 2 * hidden_size
    reader = rnn.chain(*parts)
    readout = rnn.chain(
        rnn.dropout(dropout), rnn.linear(size, 1 if classes == 2 else classes)
    )

    def init(key):
        reader_key, readout_key = jax.random.split(key)
        query = jnp.zeros(size)  # the attention begins as a mean
        return Params(reader.init(reader_key), query, readout.init(readout_key))

    def read(params, tokens, mask=None, key=None):
        reader_key = readout_key = None
        if key is not None:
            word_key, reader_key, readout_key = jax.random.split(key, 3)
            drop = jax.random.bernoulli(word_key, word_dropout, tokens.shape)
            tokens = jnp.where(drop, UNKNOWN, tokens)
        carry = reader.initial_carry(params.reader, reader_key)
        _, states = reader.unroll(params.reader, carry, tokens, mask=mask)
        pooled = pooling(pool, params.query, states, mask)
        carry = readout.initial_carry(params.readout, readout_key)
        _, logits = readout.unroll(params.readout, carry, pooled.output[None])
        return logits[0, 0] if classes == 2 else logits[0], pooled.weights

    return Classifier(init, read, lab.over_seeds(jax.vmap(read, (None, 0, 0))))


def pooling(
    pool: Pool, query: jax.Array, states: jax.Array, mask: jax.Array | None = None
) -> rnn.Attended:
    """States as one vector, and the weight of each step in it.

    Args:
      pool: "attention", by what the query asks for; "mean"; "max", of each unit; or
        "last", the final state of each direction.
      query: `[2 H]`.
      states: `[T, 2 H]`.
      mask: `[T]` bool, or None if there is no padding, which stands at the end.
    """
    if pool == "attention":
        return rnn.attention_pool(query, states, mask)
    if pool == "mean":
        return rnn.attention_pool(jnp.zeros_like(query), states, mask)
    steps = jnp.arange(states.shape[0])  # a symbol while it is exported
    valid = steps >= 0 if mask is None else mask
    if pool == "max":
        states = jnp.where(valid[:, None], states, -jnp.inf)
        came_from = states.argmax(0)
        weights = (came_from[None] == steps[:, None]).mean(1)
        return rnn.Attended(states.max(0), weights)
    ahead, back = jnp.split(states, 2, axis=1)
    ends = [steps == 0, steps == valid.sum() - 1]
    weights = jnp.stack(ends).mean(0)
    return rnn.Attended(jnp.concatenate([rnn.last(ahead, mask), back[0]]), weights)


def read_all(
    net: Classifier,
    params: Any,
    sequences: Sequence[np.ndarray],
    sizes: Sequence[int],
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Reads each of N sequences once, padded to the least of the sizes that holds it.

    Args:
      net: what reads.
      params: of all seeds.
      sequences: of tokens, [T] each.
      sizes: padded lengths, rising; the last one holds the longest sequence.

    Returns:
      Logits [S, N] or [S, N, K], and for each sequence the weights of its steps [S, T].
    """
    bucket = np.searchsorted(sizes, [len(s) for s in sequences])
    members = [np.flatnonzero(bucket == i) for i in range(len(sizes))]
    seeds = len(params.query)
    logits = np.empty(0, np.float32)
    weights = [np.empty((seeds, len(s)), np.float32) for s in sequences]
    for size, some in zip(sizes, members, strict=True):
        batch_size = max(1, min(AT_ONCE, TOKENS_AT_ONCE // size))
        for _, index, count in lab.Buckets((size,), (some,), batch_size).every():
            found = net.read_batch(params, *lab.pad(sequences, index, size))
            logits_SN, weights_SNT = map(np.asarray, found)
            if not logits.size:
                shape = seeds, len(sequences), *logits_SN.shape[2:]
                logits = np.empty(shape, np.float32)
            logits[:, index[:count]] = logits_SN[:, :count]
            for row, i in enumerate(index[:count]):
                weights[i][:] = weights_SNT[:, row, : len(sequences[i])]
    return logits, weights


def told(logit: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The cross-entropy of a text in nats, and 1 where the answer is right, else 0.

    Args:
      logit: of yes, [], or of K classes, [K].
      label: 0 or 1, or the number of the class.
    """
    if logit.ndim:
        return rnn.cross_entropy(logit, label), rnn.accuracy(logit, label)
    right = ((logit > 0) == (label > 0)).astype(logit.dtype)
    return rnn.sigmoid_cross_entropy(logit, label), right


def up_to(sizes: Sequence[int], longest: int) -> tuple[int, ...]:
    """The sizes, and more of them, each twice the one before, up to the longest.

    Example:
      >>> up_to((5, 8), 30)
      (5, 8, 16, 30)
    """
    sizes = tuple(sizes)
    while sizes[-1] < longest:
        sizes = (*sizes, min(2 * sizes[-1], longest))
    return sizes


def explain(
    net: Classifier, params: Any, documents: Tokenized, sizes: Sequence[int]
) -> list[Explanation]:
    """What the first seed says of documents, with and without each of their words.

    Args:
      net: what reads.
      params: of all seeds.
      documents: to be explained.
      sizes: padded lengths, see `read_all`.
    """
    first_seed = jax.tree.map(lambda a: a[:1], params)

    def read(sequences):
        (logits_N,), weights = read_all(net, first_seed, sequences, sizes)
        return logits_N, [of_seeds[0] for of_seeds in weights]

    return words.explain(read, *documents, unknown=UNKNOWN)
