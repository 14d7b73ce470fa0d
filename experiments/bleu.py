"""BLEU by sacrebleu, lower-cased."""

from collections.abc import Sequence
from typing import Any

from sacrebleu.metrics.bleu import BLEU


def bleu(
    said: Sequence[str],
    references: Sequence[Sequence[str]],
    order: int = 4,
    *,
    tokenize: str = "13a",
    bootstrap: int = 1,
) -> tuple[Any, str]:
    """BLEU over n-grams up to an order, in percent, and the signature of sacrebleu.

    Args:
      said: a sentence for each source or image.
      references: the sentences that are right for each, as many as there are.
      order: the longest n-grams.
      tokenize: what a word is, by its name in sacrebleu.
      bootstrap: how many samples for an interval; 1 for none.

    Example:
      >>> found, signature = bleu(["a dog runs"], [["a dog sits", "the dog runs"]], 2)
      >>> round(found.score, 1), signature.split("|")[:2]
      (100.0, ['nrefs:2', 'case:lc'])
    """
    metric = BLEU(lowercase=True, max_ngram_order=order, tokenize=tokenize)
    found = metric.corpus_score(said, _columns(references), n_bootstrap=bootstrap)
    return found, str(metric.get_signature())


def best_constant(
    train: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
    candidates: int = 300,
) -> str:
    """Of some captions the one that has the best BLEU, said of all other images.

    Args:
      train: the captions of images to choose from.
      references: the captions of the others.
      candidates: at most about so many are tried.
    """
    metric = BLEU(lowercase=True, references=_columns(references))
    texts = sorted({text for texts in train for text in texts})
    step = max(1, len(texts) // candidates)
    return max(
        texts[::step],
        key=lambda text: metric.corpus_score([text] * len(references), None).score,
    )


def _columns(references: Sequence[Sequence[str]]) -> Any:
    """The first references of all, the second, and so on; None for none."""
    most = max(map(len, references))
    return [[r[i] if i < len(r) else None for r in references] for i in range(most)]
