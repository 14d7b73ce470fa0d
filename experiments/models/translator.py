"""A network that translates: an encoder, a bridge, and a decoder with attention.

With m_s what the encoder, which reads in both directions, gives at token s of the
source, and e_t the vector of the target's token before t,

    h_t = cell([e_t, a_{t-1}], h_{t-1}),    h_0 = tanh([last states of the encoder] W_0)
    c_t = sum over s of softmax(h_t . m_s W_k)_s m_s
    a_t = tanh([c_t, h_t] W),    p(y_t) = softmax(a_t U E^T + b)

where the rows of E are the vectors e. Without attention a_t = h_t, and the cell reads
e_t alone. S is the length of the source, T of the target, V the tokens of the target.

References:
  Luong, Pham and Manning, "Effective approaches to attention-based neural machine
  translation", EMNLP 2015; Bahdanau, Cho and Bengio, "Neural machine translation by
  jointly learning to align and translate", ICLR 2015; Press and Wolf, "Using the output
  embedding to improve language models", EACL 2017.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

import jaxrnn as rnn
from experiments.data.subwords import START, STOP


class Params(NamedTuple):
    """Weights of `translator`."""

    encoder: Any
    bridge: Any
    decoder: Any


class Translator(NamedTuple):
    """A network as pure functions of one sentence [S] and its mask [S]."""

    init: Callable[..., Params]  # (key) -> params
    # (params, source, mask, key=None) -> the decoder with the sentence as its memory,
    # a cell from the token before to the logits of the next, with params.decoder
    writer: Callable[..., rnn.Cell]
    # (params, source, source mask, inputs [T], mask [T], key=None) -> logits [T, V]
    logits: Callable[..., jax.Array]
    # (params, source, mask) -> the likeliest tokens one by one, [L] up to a STOP
    greedy: Callable[..., jax.Array]
    # (params, source, mask, beam_size, length_penalty) -> the best tokens of a beam
    search: Callable[..., jax.Array]
    # (params, source, mask, inputs [T]) -> where the decoder looks, [T, S]
    attention: Callable[..., jax.Array]


def translator(
    cell: Literal["gru", "lstm"],
    source_size: int,
    target_size: int,
    embedding_size: int,
    hidden_size: int,
    *,
    attention: Literal["luong", "bahdanau", "none"] = "luong",
    dropout: float = 0.0,
    scheduled_sampling: float = 0.0,
) -> Translator:
    """The equations above.

    Args:
      cell: the name of the recurrent cell.
      source_size: how many tokens the source language has.
      target_size: V.
      embedding_size: of the vector of a token.
      hidden_size: H, even, of the decoder's state; each direction of the encoder has
        half of it.
      attention: "none" leaves the decoder nothing but h_0.
      dropout: the share of vectors and of outputs that is left out while training.
      scheduled_sampling: the probability that the decoder reads its own draw.

    Example:
      >>> net = translator("lstm", 11, 13, 3, 6)
      >>> params = jax.eval_shape(net.init, jax.random.key(0))
      >>> source, mask, inputs = jnp.arange(5), jnp.ones(5, bool), jnp.arange(7)
      >>> given = params, source, mask, inputs
      >>> jax.eval_shape(net.logits, *given, jnp.ones(7, bool)).shape
      (7, 13)
      >>> jax.eval_shape(net.attention, *given).shape
      (7, 5)
    """
    E, H, recurrent = embedding_size, hidden_size, rnn.cells.by_name(cell)
    drop = rnn.dropout(dropout)
    reader = rnn.bidirectional(recurrent(E, H // 2), recurrent(E, H // 2))
    encoder = rnn.chain(rnn.embedding(source_size, E), drop, reader, drop)
    carried = H * (2 if cell == "lstm" else 1)  # a bridge for all of a carry
    bridge = rnn.linear(carried, carried)

    def decoder(start=None, memory=None, mask=None):
        if attention == "none":
            core = rnn.starting(recurrent(E, H), start)
        else:
            asking = rnn.starting(recurrent(E + H, H), start)
            looking = (
                rnn.luong(H, H, memory=memory, mask=mask)
                if attention == "luong"
                else rnn.bahdanau(H, H, H, memory=memory, mask=mask)
            )
            core = rnn.input_feeding(rnn.chain(asking, looking), H)
        layers = rnn.chain(drop, core, drop, rnn.linear(H, E))
        speaker = rnn.tied_embedding(target_size, E, layers)
        if scheduled_sampling:
            return rnn.scheduled_sampling(speaker, scheduled_sampling)
        return speaker

    def init(key):
        encoder_key, bridge_key, decoder_key = jax.random.split(key, 3)
        return Params(
            encoder.init(encoder_key),
            bridge.init(bridge_key),
            decoder().init(decoder_key),
        )

    def writer(params, source, mask, key=None):
        carry = encoder.initial_carry(params.encoder, key)
        carry, memory = encoder.unroll(params.encoder, carry, source, mask=mask)
        both = only(rnn.Directions, carry)
        ends = jax.tree.map(lambda *halves: jnp.concatenate(halves), *both)
        flat, unflatten = ravel_pytree(ends)
        start = unflatten(jnp.tanh(rnn.apply(bridge, params.bridge, flat)))
        return decoder(start, memory, mask)

    def logits(params, source, source_mask, inputs, mask, key=None):
        read_key, write_key = (None, None) if key is None else jax.random.split(key)
        cell = writer(params, source, source_mask, read_key)
        carry = cell.initial_carry(params.decoder, write_key)
        return cell.unroll(params.decoder, carry, inputs, mask=mask)[1]

    def ready(params, source, mask):  # -> what `generate` and `beam_search` begin with
        cell, length = writer(params, source, mask), 10 + len(source) * 3 // 2
        carry = cell.initial_carry(params.decoder)
        return cell, params.decoder, carry, jnp.int32(START), length

    def greedy(params, source, mask):
        start = ready(params, source, mask)
        return rnn.generate(*start, rnn.greedy, stop_token=STOP).tokens

    def search(params, source, mask, beam_size, length_penalty):
        options = {"beam_size": beam_size, "length_penalty": length_penalty}
        start = ready(params, source, mask)
        return rnn.beam_search(*start, stop_token=STOP, **options).tokens[0]

    def look(params, source, mask, inputs):
        cell = writer(params, source, mask)
        carry = cell.initial_carry(params.decoder)
        traced = rnn.trace(cell, params.decoder, carry, inputs)
        return only(rnn.Attended, traced).weights

    return Translator(init, writer, logits, greedy, search, look)


def only(kind: type, tree: Any) -> Any:
    """The one node of a kind in a pytree, such as a carry or what `trace` returns.

    Example:
      >>> only(rnn.GRUCarry, ((), (rnn.GRUCarry(jnp.zeros(3)), ()))).h.shape
      (3,)
    """

    def found(node):
        return isinstance(node, kind)

    (node,) = filter(found, jax.tree.leaves(tree, is_leaf=found))
    return node
