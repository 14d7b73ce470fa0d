"""The network that captions images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from experiments.data import scenes
from experiments.data.subwords import PAD, START, STOP, padded, words
from experiments.models.captioner import captioner, neighborhoods, prepare


@pytest.mark.parametrize("stride", [1, 2])
def test_a_layer_over_neighborhoods_is_a_convolution(stride):
    x = jax.random.normal(jax.random.key(0), (8, 6, 5))
    w = jax.random.normal(jax.random.key(1), (45, 7))
    expected = lax.conv_general_dilated(
        x[None],
        w.reshape(3, 3, 5, 7),
        (stride, stride),
        [(1, 1), (1, 1)] if stride == 1 else [(1, 0), (1, 0)],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )[0]
    found = neighborhoods(x, stride) @ w[None]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_an_image_that_the_strides_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="image_size: expected a multiple of 8, got 6"):
        captioner(63, 1, 11, channels=2, embedding_size=3, hidden_size=5)


def test_photographs_are_moved_only_in_training():
    image = jnp.arange(72 * 72 * 3).reshape(72, 72, 3) % 251
    still = prepare(image, 64)
    np.testing.assert_allclose(still, image[4:68, 4:68] / 255)
    move = jax.jit(prepare, static_argnums=1)
    moved = [move(image, 64, jax.random.key(i)) for i in range(3)]
    assert len({float(m.sum()) for m in moved}) == 3
    assert all(m.shape == still.shape for m in moved)
    scene = image[:64, :64, :1]
    same = prepare(scene, 64, jax.random.key(0))
    np.testing.assert_array_equal(same, prepare(scene, 64))


@pytest.fixture(scope="module")
def small():
    """A network, params, an image, and two captions, one of them padded."""
    vocabulary = words(scenes.all_captions())
    sizes = {"channels": 7, "embedding_size": 11, "hidden_size": 37}
    net = captioner(64, 1, vocabulary.size, **sizes)
    params = jax.jit(net.init)(jax.random.key(0))
    image = jax.random.uniform(jax.random.key(1), (64, 64, 1))
    texts = [["a three left of a seven", "a small seven below a three"]]
    return net, params, image, padded(vocabulary, texts, 8)[0]


def test_padding_changes_nothing(small):
    net, params, image, tokens = small
    logits_of = jax.jit(net.logits)
    together = logits_of(params, image, jnp.array(tokens[:, :-1]))
    for caption, logits in zip(tokens, together, strict=True):
        length = (caption != PAD).sum() - 1
        alone = logits_of(params, image, jnp.array(caption[None, :length]))
        np.testing.assert_allclose(logits[:length], alone[0], rtol=1e-4, atol=1e-5)


def test_what_is_said_word_by_word_agrees_with_what_is_read(small):
    net, params, image, _ = small
    said = jax.jit(net.greedy, static_argnums=2)(params, image, 9)
    given = jnp.concatenate([jnp.array([START]), said[:-1]])
    logits = jax.jit(net.logits)(params, image, given[None])[0]
    stop = np.flatnonzero(np.append(said == STOP, True))[0] + 1
    np.testing.assert_array_equal(logits.argmax(-1)[:stop], said[:stop])
    search = jax.jit(net.search, static_argnums=(2, 3, 4))
    best = search(params, image, 9, 3, 0.0)
    assert best.shape == (3, 9)

    def log_probability(tokens):
        given = jnp.concatenate([jnp.array([START]), tokens[:-1]])
        log_p = jax.nn.log_softmax(jax.jit(net.logits)(params, image, given[None])[0])
        stop = np.flatnonzero(np.append(tokens == STOP, True))[0] + 1
        return log_p[np.arange(9), tokens][:stop].sum()

    found = [float(log_probability(tokens)) for tokens in (*best, said)]
    assert found[:3] == sorted(found[:3], reverse=True)
    assert found[0] >= found[3] - 1e-4
    weights = jax.jit(net.attention)(params, image, said)
    assert weights.shape == (9, 64)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-5)
