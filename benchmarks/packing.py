"""Whether packing pays: padded, bucketed and packed batches of the same sentences.

    python -m benchmarks.packing --data-dir FOLDER

A language model (embedding, LSTM, readout) reads the English sentences of Multi30k, the
words split at spaces and lower-cased. Three ways to make batches of B rows:

- padded: a sentence a row, all rows as long as the longest sentence;
- bucketed: a sentence a row, in five buckets of like length, each padded to its longest;
- packed: as many sentences a row as fit (`jaxrnn.pack`), which begin where `starts` says.

Each makes one pass over all sentences, the loss and its gradient with fixed params, in
rounds that take turns. Counted are the words read a second, padding not counted; what
compiling takes is shown apart. All three have to arrive at the same loss and gradient.
"""

import argparse
import gzip
import json
import os
import platform
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn as rnn

TOLERANCE = 1e-3  # of the loss and of the gradient's norm, in single precision


class Batch(NamedTuple):
    """Rows of sentences, [B, T]; `starts` is None for one sentence a row."""

    tokens: Any
    labels: Any
    mask: Any
    starts: Any = None


def read_sentences(path: Path, count: int, vocab_size: int) -> list[np.ndarray]:
    """The first sentences as tokens between two zeros; 1 is any rare word."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        words = [line.lower().split() for line, _ in zip(lines, range(count))]
    words = [sentence for sentence in words if sentence]
    if not words:
        raise ValueError(f"{path}: expected sentences, found none")
    common = Counter(word for sentence in words for word in sentence)
    numbers = {
        word: i for i, (word, _) in enumerate(common.most_common(vocab_size - 2), 2)
    }
    return [np.array([0, *(numbers.get(w, 1) for w in s), 0], np.int32) for s in words]


def batches_of(rows: list[np.ndarray], size: int) -> list[Batch]:
    """Cuts arrays [N, T] into batches of B rows, the last filled up with empty rows."""
    fill = -len(rows[0]) % size
    padded = [np.concatenate([a, np.zeros((fill, a.shape[1]), a.dtype)]) for a in rows]
    parts = [np.split(a, len(a) // size) for a in padded]
    return [Batch(*map(jnp.asarray, batch)) for batch in zip(*parts, strict=True)]


def make_batches(way: str, sentences: list[np.ndarray], options) -> list[Batch]:
    """The batches of all sentences, in one of the three ways."""
    lengths = np.array([len(s) - 1 for s in sentences])
    shares = np.arange(1, 6) / 5 if way == "bucketed" else [1.0]
    ends = [int(n) for n in np.unique(np.quantile(lengths, shares, method="higher"))]
    found = []
    for low, end in zip([0, *ends], ends, strict=False):
        here = [s for s, n in zip(sentences, lengths, strict=True) if low < n <= end]
        size = max(options.row_length, end) if way == "packed" else end
        # One sentence fills a row if each counts as long as the row.
        sizes = [len(s) - 1 if way == "packed" else size for s in here]
        if way == "packed":
            packed = rnn.pack(sizes, size)
            tokens, labels = (
                packed.rows([s[i : len(s) - 1 + i] for s in here]) for i in (0, 1)
            )
            found += batches_of(
                [tokens, labels, packed.mask, packed.starts], options.batch_size
            )
    return found
