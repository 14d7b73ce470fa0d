"""Whether packing pays: the same sentences in padded, bucketed and packed batches.

    python -m benchmarks.packing --data-dir FOLDER --out results.json

A language model (embedding, LSTM, readout) reads the English sentences of Multi30k, cut
into words at spaces, in lower case. There are three ways to make batches of B rows:

- padded: one sentence a row; every row is as long as the longest sentence;
- bucketed: one sentence a row, in five groups of like length, each padded by itself;
- packed: as many sentences a row as fit (`jaxrnn.pack`), each begun by `starts`.

A pass over all sentences gives the loss and its gradient at fixed params, the same in
all three ways. The ways take turns. Words a second do not count padding; the first
batch of each shape, with compilation, is timed apart.
"""

import functools
import gzip
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

import jaxrnn as rnn
from benchmarks.paths import at_home
from benchmarks.pipe import until_closed

WAYS = {"padded": 1, "bucketed": 5, "packed": 0}  # buckets
TOLERANCE = 1e-3  # for the loss, and for the gradient relative to its norm


@dataclass(frozen=True)
class Config:
    """What is measured."""

    data_dir: Path
    """The folder that holds multi30k/train.en.gz."""
    rounds: int = 5
    sentences: int = 29000
    """The first n sentences."""
    batch_size: int = 64
    """B, rows of a batch, in all three ways."""
    row_length: int = 64
    """T of packed rows, at least that of the longest sentence."""
    hidden_size: int = 256
    vocab_size: int = 2000
    out: Path | None = None
    """A file for the results, in JSON."""


class Batch(NamedTuple):
    """B rows; without `starts` each is one sentence."""

    tokens: Any  # [B, T]
    labels: Any  # [B, T]
    mask: Any  # [B, T]
    starts: Any = None  # [B, T]


def read_sentences(path: Path, count: int, vocab_size: int) -> list[np.ndarray]:
    """The first sentences as tokens: 0 before and after each, 1 for a rare word."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        sentences = [line.lower().split() for line in islice(lines, count)]
    counts = Counter(word for sentence in sentences for word in sentence)
    common = [word for word, _ in counts.most_common(vocab_size - 2)]
    tokens = {word: i for i, word in enumerate(common, 2)}
    return [np.array([0, *(tokens.get(w, 1) for w in s), 0]) for s in sentences if s]


def make_batches(
    sentences: list[np.ndarray], buckets: int, batch_size: int, row_length: int
) -> list[Batch]:
    """All sentences; with 0 buckets they are packed. The last rows may be empty."""
    lengths = np.array([len(s) - 1 for s in sentences])
    shares = np.arange(1, max(buckets, 1) + 1) / max(buckets, 1)
    ends = np.unique(np.quantile(lengths, shares, method="higher"))
    batches = []
    for low, end in zip([0, *ends], ends, strict=False):
        inside = [s for s in sentences if low < len(s) - 1 <= end]
        if buckets:
            rows = np.stack([np.pad(s, (0, end + 1 - len(s))) for s in inside])
            mask = np.arange(end) < [[len(s) - 1] for s in inside]
            arrays = [rows[:, :-1], rows[:, 1:], mask]
        else:
            packed = rnn.pack([len(s) - 1 for s in inside], max(row_length, int(end)))
            sides = [s[:-1] for s in inside], [s[1:] for s in inside]
            arrays = [*map(packed.rows, sides), packed.mask, packed.starts]
        empty = -len(arrays[0]) % batch_size
        arrays = [np.pad(a, ((0, empty), (0, 0))) for a in arrays]
        parts = [np.split(a, len(a) // batch_size) for a in arrays]
        batches += [Batch(*map(jnp.asarray, b)) for b in zip(*parts, strict=True)]
    return batches


def make_gradient(vocab_size: int, size: int):
    """`(params, batch) -> (loss, gradient)`, both summed over words; and params."""
    model = rnn.chain(
        rnn.embedding(vocab_size, size),
        rnn.lstm(size, size),
        rnn.linear(size, vocab_size),
    )

    def loss(params, tokens, labels, mask, starts):
        carry = model.initial_carry(params)
        _, logits = model.unroll(params, carry, tokens, mask=mask, starts=starts)
        return rnn.cross_entropy(logits, labels, mask) * mask.sum(dtype=logits.dtype)

    def total(params, batch):
        return jax.vmap(loss, (None, 0, 0, 0, 0))(params, *batch).sum()

    return jax.jit(jax.value_and_grad(total)), model.init(jax.random.key(0))


def measure(config: Config) -> dict[str, Any]:
    """Measures the three ways; ValueError if they do not compute the same."""
    path = config.data_dir / "multi30k" / "train.en.gz"
    sentences = read_sentences(path, config.sentences, config.vocab_size)
    words = sum(len(s) - 1 for s in sentences)
    gradient, params = make_gradient(config.vocab_size, config.hidden_size)
    add = jax.jit(lambda a, b: jax.tree.map(jnp.add, a, b))
    sizes = config.batch_size, config.row_length
    batches = {way: make_batches(sentences, n, *sizes) for way, n in WAYS.items()}

    def read(way):
        found = (gradient(params, batch) for batch in batches[way])
        return jax.block_until_ready(functools.reduce(add, found))

    ways: dict[str, dict[str, Any]] = {}
    expected: Any = None
    for way in WAYS:
        shapes = {batch.tokens.shape: batch for batch in batches[way]}
        seconds = timed(lambda: [gradient(params, b) for b in shapes.values()])
        loss, slopes = found = read(way)
        expected = expected or found
        gap = optax.tree.norm(jax.tree.map(jnp.subtract, slopes, expected[1]))
        gap = float(gap / optax.tree.norm(expected[1]))
        if not max(gap, abs(loss / expected[0] - 1)) < TOLERANCE:
            raise ValueError(f"{way}: expected the loss and gradient of padded batches")
        ways[way] = {
            "loss": float(loss) / words,
            "gradient_difference": gap,
            "valid": words / sum(batch.mask.size for batch in batches[way]),
            "programs": len(shapes),
            "first_seconds": seconds,  # with compilation, a batch of each shape
        }
    seconds = {way: [] for way in WAYS}
    for turn in range(config.rounds):
        for way in sorted(
            WAYS, key=lambda way: ([*WAYS].index(way) - turn) % len(WAYS)
        ):
            seconds[way].append(timed(lambda: read(way)))
    for way, result in ways.items():
        speeds = words / np.array(seconds[way])
        result["seconds"] = seconds[way]
        result["words_per_second"] = float(np.median(speeds))
        result["spread"] = float(np.ptp(speeds) / np.median(speeds))
    return {
        "settings": {k: v for k, v in vars(config).items() if isinstance(v, int)},
        "machine": {"cores": os.cpu_count(), "device": jax.devices()[0].device_kind},
        "versions": {"jax": jax.__version__, "jaxrnn": rnn.__version__},
        "words": words,
        "ways": ways,
    }


def timed(fun: Callable[[], Any]) -> float:
    """The seconds that a call takes."""
    began = time.perf_counter()
    jax.block_until_ready(fun())
    return time.perf_counter() - began


def table(ways: dict[str, dict[str, Any]]) -> str:
    """The results in Markdown."""
    names = "words a second", "spread", "valid", "programs", "first pass, s", "loss"
    lines = [f"| batches | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for way, r in ways.items():
        lines.append(
            f"| {way} | {r['words_per_second']:,.0f} | {r['spread']:.0%} | "
            f"{r['valid']:.1%} | {r['programs']} | {r['first_seconds']:.1f} | "
            f"{r['loss']:.6f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measures, prints a table and writes the results where --out says."""
    config = at_home(tyro.cli(Config, description=__doc__))
    try:
        results = measure(config)
    except OSError as error:
        print(f"--data-dir: expected a folder with multi30k: {error}", file=sys.stderr)
        sys.exit(2)
    print(table(results["ways"]))
    if config.out is not None:
        config.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    with until_closed():
        main()
