"""Networks that make music: every note of a step is drawn on its own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn as rnn
from experiments import lab
from experiments.data.music import KEYS

NoMoreThanKeys = lab.Range(f"at most {KEYS}", lambda v: v <= KEYS)


@dataclass(frozen=True)
class Making(lab.Config):
    """What may be asked of a network that makes music."""

    predict: lab.Asked[tuple[Path, ...] | None] = None
    """Train nothing; go on with these MIDI files, or those in these folders, with the
    finished run in --out."""
    prompt: lab.Asked[lab.AtLeast1 | None] = None
    """Begin with its first n quarter notes (or seconds); None: 16, and of --predict all
    there are."""
    length: lab.Asked[lab.AtLeast1] = 48
    """Make n quarter notes."""
    temperature: lab.Asked[lab.NotNegative] = 0.8
    """Below 1 for more probable notes, above 1 for more variety; 0: all likely ones."""
    most_notes: lab.Asked[Annotated[lab.AtLeast1, NoMoreThanKeys] | None] = None
    """At most n notes at once, the likeliest; None: as many as in training."""
    music_seed: lab.Asked[lab.AtLeast0] = 0
    """Of what is drawn: another one makes another piece."""
    variations: lab.Asked[lab.AtLeast1] = 1
    """Make n pieces, with this seed and those after it."""

    def names(self, piece: str) -> list[str]:
        """Of the variations of a piece, by what is drawn."""
        seeds = range(self.music_seed, self.music_seed + self.variations)
        return [f"{piece}-seed-{seed}-at-{self.temperature:g}" for seed in seeds]


def logits(net, params, roll_TK, mask_T=None, key=None) -> jax.Array:
    """Of the notes of each step of a piece but the first, [T - 1, K]."""
    xs, mask = roll_TK[:-1].astype(jnp.float32), None if mask_T is None else mask_T[1:]
    return net.unroll(params, net.initial_carry(params, key), xs, mask=mask)[1]


def mean_nll(net, params, roll_TK, mask_T, key=None) -> jax.Array:
    """Of a piece, in nats a step; []."""
    predicted = logits(net, params, roll_TK, mask_T, key)
    return KEYS * rnn.sigmoid_cross_entropy(predicted, roll_TK[1:], mask_T[1:])


@dataclass(frozen=True)
class DrawNotes:
    """A chooser for `rnn.generate`, `(logits [K], key) -> notes [K]` of 0 and 1.

        p = sigmoid(logits / temperature)

    At temperature 0 nothing is drawn: the notes with p above one half sound.
    Of the notes that are drawn the `most_notes` with the largest logits are kept.

    Example:
      >>> choose = DrawNotes(temperature=0.5, most_notes=1)
      >>> choose(jnp.array([-99.0, 99.0, 98.0]), jax.random.key(0))
      Array([0., 1., 0.], dtype=float32)
    """

    temperature: float
    most_notes: int

    def __call__(self, logits: jax.Array, key: jax.Array | None, /) -> jax.Array:
        if key is None:
            raise ValueError("DrawNotes: key: expected a key, got None")
        drawn = logits > 0
        if self.temperature > 0:
            drawn = jax.random.bernoulli(key, jax.nn.sigmoid(logits / self.temperature))
        kept, keys = jax.lax.top_k(jnp.where(drawn, logits, -jnp.inf), self.most_notes)
        sounds = (kept > -jnp.inf).astype(logits.dtype)
        return jnp.zeros_like(logits).at[keys].set(sounds)


_generate = jax.jit(rnn.generate, static_argnames=("cell", "length", "choose"))


def gone_on(
    net: rnn.Cell,
    params: Any,
    given: np.ndarray,
    steps: int,
    choose: DrawNotes,
    seed: int,
) -> np.ndarray:
    """The beginning of a piece, and what a network makes of it.

    Args:
      net: from the notes of a step `[K]` to the logits of those of the next one.
      params: of the network.
      given: the beginning, [T, K] of 0 and 1.
      steps: how many steps are made.
      choose: how they are drawn.
      seed: of the draws.

    Returns:
      [T + steps, K] of 0 and 1.
    """
    start, xs = net.initial_carry(params), jnp.asarray(given, jnp.float32)
    carry, last = rnn.prefill(net, params, start, xs)
    key = jax.random.key(seed)
    made = _generate(net, params, carry, last, steps, choose, key).tokens
    return np.concatenate([given, np.asarray(made).astype(given.dtype)])
