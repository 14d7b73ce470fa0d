"""A network that says in a sentence what an image shows.

A few convolutions make of an image a grid of vectors m_1 ... m_S, the memory of a
decoder. With the word w_t as a vector and c_t what attention reads for the state s_t,

    s_0 = tanh(V mean(m) + b)
    s_t = GRU([w_{t-1}, a_{t-1}], s_{t-1})
    c_t = sum over places of softmax(v . tanh(W s_t + U m))_i m_i
    a_t = tanh(A [c_t, s_t]),    p(w_t) = softmax(B a_t + d)

References:
  Xu et al., "Show, attend and tell: neural image caption generation with visual
  attention", ICML 2015.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxrnn as rnn
from experiments.data.subwords import PAD, START, STOP, UNKNOWN

STRIDES = (1, 2, 2, 1)  # of the convolutions
WIDTHS = (1, 2, 4, 4)  # their channels, in those of the first


class Params(NamedTuple):
    """Weights of a `captioner`."""

    encoder: tuple[Any, ...]  # of each convolution
    places: jax.Array  # [S, M], what tells the places of the grid apart
    bridge: Any
    decoder: Any


class Captioner(NamedTuple):
    """A network as pure functions of one image [R, R, channels] of bytes; V words.

    Where R is above the network's size, the image has a margin: see `prepare`.
    """

    init: Callable[..., Params]  # (key) -> params
    # (params, image, tokens [N, T], key=None) -> of the next words, [N, T, V]
    logits: Callable[..., jax.Array]
    # (params, image, length) -> always the most probable word, [length]
    greedy: Callable[..., jax.Array]
    # (params, image, length, beam_size, length_penalty) -> [beam_size, length]
    search: Callable[..., jax.Array]
    # (params, image, tokens [T]) -> the weights with which each was said, [T, S]
    attention: Callable[..., jax.Array]


def captioner(
    image_size: int,
    image_channels: int,
    vocab_size: int,
    *,
    channels: int,
    embedding_size: int,
    hidden_size: int,
    dropout: float = 0.0,
) -> Captioner:
    """Four convolutions, and a decoder with attention and input feeding.

    Args:
      image_size: rows and columns of an image, a multiple of 8.
      image_channels: 1, or 3 for colors.
      vocab_size: V.
      channels: of the first convolution; the others have two and four times as many.
      embedding_size: of a word's vector.
      hidden_size: of the decoder's state.
      dropout: the share of word vectors, channels and outputs that is left out while
        training.

    Raises:
      ValueError: if the size of the image is no multiple of 8.

    Example:
      >>> sizes = {"channels": 2, "embedding_size": 3, "hidden_size": 5}
      >>> net = captioner(8, 1, 11, **sizes)
      >>> params = jax.eval_shape(net.init, jax.random.key(0))
      >>> image, tokens = jnp.zeros((8, 8, 1), jnp.uint8), jnp.array([[1, 4, 5]])
      >>> jax.eval_shape(net.logits, params, image, tokens).shape
      (1, 3, 11)
    """
    if image_size % 8:
        raise ValueError(f"image_size: expected a multiple of 8, got {image_size}")
    # Left out where it does nothing: random numbers take long to compile.
    drop = (rnn.dropout(dropout),) if dropout else ()
    encoder, size = [], 4 * image_channels
    for width in WIDTHS:
        output_size = channels * width
        layers = (
            rnn.linear(9 * size, output_size),
            rnn.layer_norm(output_size),
            rnn.activation(jax.nn.relu),
            *drop,
        )
        encoder.append(rnn.chain(*layers))
        size = output_size
    places = (image_size // 2 // math.prod(STRIDES)) ** 2, size  # S, M
    bridge = rnn.linear(size, hidden_size)  # from the mean of the memory to s_0

    def decoder(memory=None, state=None):
        start = None if state is None else rnn.GRUCarry(state)
        feeding = rnn.chain(
            rnn.starting(rnn.gru(embedding_size + hidden_size, hidden_size), start),
            rnn.bahdanau(hidden_size, size, hidden_size // 2 or 1, memory=memory),
        )
        speaker = rnn.chain(
            rnn.embedding(vocab_size, embedding_size),
            *drop,
            rnn.input_feeding(feeding, hidden_size),
        )
        readout = rnn.chain(*drop, rnn.linear(hidden_size, vocab_size))
        return rnn.chain(speaker, readout)

    def init(key):
        count = 3 + len(encoder)
        places_key, bridge_key, decoder_key, *keys = jax.random.split(key, count)
        return Params(
            tuple(cell.init(k) for cell, k in zip(encoder, keys, strict=True)),
            0.1 * jax.random.normal(places_key, places),
            bridge.init(bridge_key),
            decoder().init(decoder_key),
        )

    def see(params, image, key=None):  # -> the memory [S, M]
        # Squares of 2x2 pixels become one place with all their values.
        half = image_size // 2
        x = image.reshape(half, 2, half, 2, image_channels).transpose(0, 2, 1, 3, 4)
        x = x.reshape(half, half, -1)
        count = len(encoder)
        keys = [None] * count if key is None else jax.random.split(key, count)
        for cell, stride, p, k in zip(
            encoder, STRIDES, params.encoder, keys, strict=True
        ):
            x = neighborhoods(x, stride)
            grid, carry = x.shape[:2], cell.initial_carry(p, k)
            x = cell.unroll(p, carry, x.reshape(-1, x.shape[2]))[1].reshape(*grid, -1)
        return x.reshape(places) + params.places

    # -> the decoder with an image before it
    def looking(params, image, image_key=None, key=None):
        memory = see(params, prepare(image, image_size, image_key), key)
        mean = memory.mean(axis=0)
        return decoder(memory, jnp.tanh(rnn.apply(bridge, params.bridge, mean)))

    def logits(params, image, tokens, key=None):
        image_key = see_key = say_key = None
        if key is not None:
            image_key, key = jax.random.split(key)
            see_key, say_key = jax.random.split(key)
        cell = looking(params, image, image_key, see_key)

        def say(tokens, key):
            carry = cell.initial_carry(params.decoder, key)
            mask = tokens != PAD
            return cell.unroll(params.decoder, carry, tokens, mask=mask)[1]

        keys = None if say_key is None else jax.random.split(say_key, len(tokens))
        return jax.vmap(say)(tokens, keys)

    def ready(params, image):  # -> what `generate` and `beam_search` begin with
        cell = looking(params, image)
        return cell, params.decoder, cell.initial_carry(params.decoder), START

    def greedy(params, image, length):
        start = ready(params, image)
        return rnn.generate(*start, length, rnn.greedy, stop_token=STOP).tokens

    def search(params, image, length, beam_size, length_penalty):
        options = {"beam_size": beam_size, "length_penalty": length_penalty}
        start = ready(params, image)
        return rnn.beam_search(*start, length, stop_token=STOP, **options).tokens

    def attention(params, image, tokens):
        cell, own, carry, first = ready(params, image)
        given = jnp.concatenate([jnp.array([first], tokens.dtype), tokens[:-1]])
        (*_, (_, attended)), _ = rnn.trace(cell, own, carry, given)
        return attended.weights

    return Captioner(init, logits, greedy, search, attention)


def neighborhoods(x: jax.Array, stride: int) -> jax.Array:
    """Each place with the eight around it, [R, C, F] to [R / stride, C / stride, 9 F].

    A linear layer over them is a convolution, one product of two matrices.
    """
    rows, columns = x.shape[:2]
    x = jnp.pad(x, ((1, 1), (1, 1), (0, 0)))
    parts = [
        x[i : i + rows : stride, j : j + columns : stride] for i, j in np.ndindex(3, 3)
    ]
    return jnp.concatenate(parts, axis=-1)


def prepare(image: jax.Array, size: int, key: jax.Array | None = None) -> jax.Array:
    """An image of bytes as a network reads it, [size, size, channels] in 0..1.

    Args:
      image: [R, R, channels] uint8; where R is above `size` the image has a margin.
      size: rows and columns of what is read.
      key: for training: any part of an image with a margin is taken, mirrored or not,
        with more or less light and contrast. None: its middle.
    """
    x = image.astype(jnp.float32) / 255
    spare = image.shape[0] - size
    if spare == 0:
        return x
    if key is None:
        start = spare // 2
        return x[start : start + size, start : start + size]
    place_key, mirror_key, light_key = jax.random.split(key, 3)
    row, column = jax.random.randint(place_key, (2,), 0, spare + 1)
    x = lax.dynamic_slice(x, (row, column, 0), (size, size, x.shape[2]))
    x = jnp.where(jax.random.bernoulli(mirror_key), x[:, ::-1], x)
    light, contrast = jax.random.uniform(light_key, (2,), minval=-0.2, maxval=0.2)
    return (x - 0.5) * (1 + contrast) + 0.5 + light


def cross_entropy(
    net: Captioner, params: Any, image, tokens_NT, key=None, label_smoothing=0.0
) -> jax.Array:
    """Mean over the words of all captions, in nats; unknown words are no targets."""
    logits_NTV = net.logits(params, image, tokens_NT[:, :-1], key)
    labels = tokens_NT[:, 1:].ravel()
    mask = (labels != PAD) & (labels != UNKNOWN)
    logits = logits_NTV.reshape(len(labels), -1)
    return rnn.cross_entropy(logits, labels, mask, label_smoothing=label_smoothing)
