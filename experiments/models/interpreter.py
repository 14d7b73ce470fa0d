"""A translator of texts: many at once, padded to a few lengths, by all seeds."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

import jaxrnn as rnn
from experiments import lab
from experiments.data.own_pairs import words_of
from experiments.data.pairs import (
    Pairs,
    one_below_another,
    side_by_side,
    source_tokens,
    target_tokens,
)
from experiments.data.subwords import UNKNOWN, Subwords
from experiments.measures.bleu import bleu_per_seed
from experiments.models.translator import Translator, translator

AT_ONCE = 100  # sentences
SHOWN = 4  # translations of a file that are printed


class AttentionMap(NamedTuple):
    """Where a decoder looked while it wrote a sentence."""

    source: Sequence[str]  # S tokens
    target: Sequence[str]  # T tokens
    weights: np.ndarray  # [T, S]


class Interpreter(NamedTuple):
    """A network, and the subwords that it reads and writes."""

    net: Translator
    source: Subwords
    target: Subwords
    lengths: int  # padded lengths, at most
    greedy: Callable[..., jax.Array]  # (params, sources_NT, masks_NT) -> tokens_SNL
    beam: Callable[..., jax.Array]
    nats: Callable[..., jax.Array]  # (params, *padded pairs) -> nats_SN

    def translate(
        self, params: Any, texts: Sequence[str], *, beam: bool = False
    ) -> list[list[str]]:
        """The translations of texts by each seed, [S][N]."""
        sources = source_tokens(self.source, texts)
        search = self.beam if beam else self.greedy
        lengths = np.array([len(tokens) for tokens in sources])
        groups = grouped(lengths, min(AT_ONCE, len(texts)), self.lengths)
        found = [[""] * len(texts) for _ in jax.tree.leaves(params)[0]]
        for size, index, count in groups.every():
            tokens_SNL = np.asarray(search(params, *lab.pad(sources, index, size)))
            for of_seed, tokens_NL in zip(found, tokens_SNL, strict=True):
                for i, tokens in zip(index[:count], tokens_NL[:count], strict=True):
                    of_seed[i] = self.target.decode(tokens)
        return found

    def by_first(self, params: Any, texts: Sequence[str]) -> list[str]:
        """The translations of texts by the first seed; of a text without words none."""
        for text in self.with_unknown(texts):
            lab.say(f"note: {text!r} has letters that the run has not learned")
        params = jax.tree.map(lambda a: a[:1], params)
        some = [text for text in texts if text.strip()]
        said = iter(self.translate(params, some, beam=True)[0])
        return [next(said) if text.strip() else "" for text in texts]

    def report(
        self, params: Any, columns: dict[str, list[str]], language: str, folder: Path
    ) -> lab.Report:
        """The translations of a file by the first seed, and BLEU if it has any.

        Args:
          params: of the seeds.
          columns: see `experiments.data.own_pairs.read_questions`.
          language: that is translated into.
          folder: of the run.
        """
        said = self.by_first(params, columns["source"])
        found = {**columns, "beam": said}
        body: list[str | lab.Table] = [*one_below_another(found, SHOWN)]
        if "reference" in columns:
            pairs = zip(said, columns["reference"], columns["source"], strict=True)
            some = [(text, [right]) for text, right, source in pairs if source]
            texts, references = zip(*some, strict=True)
            words = words_of(language, columns["reference"])
            scores, signature = bleu_per_seed([texts], references, words)
            title = f"BLEU of {len(some):,} sentences ({signature})"
            row = lab.Row("beam", [scores])
            body.append(lab.Table(title, {"BLEU": ".2f"}, [row]))
        name = lab.free(folder, "predictions.tsv")
        body.append(f"{len(said):,} lines in {folder / name}")
        return lab.Report(body, files={name: side_by_side(found)})

    def with_unknown(self, texts: Sequence[str]) -> list[str]:
        """The texts with a part that no subword of the source stands for."""
        pairs = zip(texts, self.source.encode(texts), strict=True)
        return [text for text, tokens in pairs if UNKNOWN in tokens]

    def batches(self, pairs: Pairs, batch_size: int) -> lab.Batches:
        """Pairs of like length for training; see `padded`."""
        groups = grouped(pairs.lengths, batch_size, self.lengths, together=True)
        return lab.bucketed(groups, partial(padded, pairs))

    def nats_per_token(self, params: Any, pairs: Pairs) -> np.ndarray:
        """The cross-entropy of the targets given their sources, [S]."""
        size = min(AT_ONCE, len(pairs.sources))
        groups = grouped(pairs.lengths, size, self.lengths)
        nats = [
            np.asarray(self.nats(params, *padded(pairs, index, size)))[:, :count]
            for size, index, count in groups.every()
        ]
        tokens = sum(len(target) - 1 for target in pairs.targets)
        return np.concatenate(nats, axis=1).sum(axis=1) / tokens

    def look(
        self, params: Any, sources: Sequence[str], targets: Sequence[str]
    ) -> list[AttentionMap]:
        """Where the network of one seed looks while it writes these translations."""
        read = source_tokens(self.source, sources)
        written = target_tokens(self.target, targets)
        every = np.arange(len(sources))
        padded, mask = lab.pad(read, every, max(map(len, read)))
        inputs, _ = lab.pad(written, every, max(map(len, written)))
        look = jax.jit(jax.vmap(self.net.attention, (None, 0, 0, 0)))
        weights_NTS = np.asarray(look(params, padded, mask, inputs))
        return [
            AttentionMap(
                self.source.pieces(source),
                self.target.pieces(target[1:]),
                weights_TS[: len(target) - 1, : len(source)],
            )
            for source, target, weights_TS in zip(
                read, written, weights_NTS, strict=True
            )
        ]


def interpreter(
    source: Subwords,
    target: Subwords,
    *,
    cell: Literal["gru", "lstm"],
    lengths: int,
    beam_size: int,
    length_penalty: float,
    **options: Any,
) -> Interpreter:
    """A translator, and compiled functions of texts and of all seeds.

    Args:
      source: subwords of the source language.
      target: subwords of the target language.
      cell: the name of the recurrent cell.
      lengths: to how many lengths texts are padded at most.
      beam_size: how many translations a beam follows.
      length_penalty: of a beam, see `jaxrnn.beam_search`.
      **options: of `translator`.
    """
    net = translator(cell, source.size, target.size, **options)

    def beam(params, source, mask):
        return net.search(params, source, mask, beam_size, length_penalty)

    def nats(params, source, source_mask, target, target_mask):
        mask = target_mask[1:]
        logits = net.logits(params, source, source_mask, target[:-1], mask)
        tokens = mask.sum().astype(logits.dtype)
        return tokens * rnn.cross_entropy(logits, target[1:], mask)

    return Interpreter(
        *(net, source, target, lengths),
        greedy=lab.over_seeds(jax.vmap(net.greedy, (None, 0, 0))),
        beam=lab.over_seeds(jax.vmap(beam, (None, 0, 0))),
        nats=lab.over_seeds(jax.vmap(nats, (None, 0, 0, 0, 0))),
    )


def grouped(
    lengths: np.ndarray, batch_size: int, most: int, *, together: bool = False
) -> lab.Buckets:
    """Buckets of lengths that are multiples of 4, so that parts share programs."""
    lengths = -(-lengths // 4) * 4
    return lab.make_buckets(lengths, batch_size, most=most, together=together)


def padded(pairs: Pairs, numbers: np.ndarray, size: int) -> tuple[np.ndarray, ...]:
    """The chosen pairs: sources [..., T] and mask, targets [..., T + 1] and mask."""
    sources = lab.pad(pairs.sources, numbers, size)
    return *sources, *lab.pad(pairs.targets, numbers, size + 1)
