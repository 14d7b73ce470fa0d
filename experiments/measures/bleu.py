"""BLEU by sacrebleu, lower-cased.

    BLEU = 100 min(1, exp(1 - r / c)) (p_1 p_2 .. p_n)^(1 / n)

with p_k the share of the k-grams said that stand in a reference, no more often than
there, c the words said and r the words of the references nearest in length (Papineni et
al., "BLEU: a method for automatic evaluation of machine translation", ACL 2002).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


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
      order: n, the longest n-grams.
      tokenize: what a word is, by its name in sacrebleu.
      bootstrap: how many samples for an interval; 1 for none.

    Example:
      >>> found, signature = bleu(["a dog runs"], [["a dog sits", "the dog runs"]], 2)
      >>> round(found.score, 1), signature.split("|")[:2]
      (100.0, ['nrefs:2', 'case:lc'])
    """
    from sacrebleu.metrics.bleu import BLEU

    metric = BLEU(lowercase=True, max_ngram_order=order, tokenize=tokenize)
    found = metric.corpus_score(said, _columns(references), n_bootstrap=bootstrap)
    return found, str(metric.get_signature())


def bleu_per_seed(
    translations: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
    tokenize: str = "13a",
) -> tuple[np.ndarray, str]:
    """BLEU of several systems on the same sentences, [S], and sacrebleu's signature.

    Args:
      translations: of each system, N sentences.
      references: the sentences that are right for each source.
      tokenize: what a word is, by its name in sacrebleu.

    Example:
      >>> right = [["a dog runs home"]]
      >>> found, _ = bleu_per_seed([["a dog runs home"], ["a cat"]], right)
      >>> found.round(1).tolist()
      [100.0, 0.0]
    """
    found = [bleu(texts, references, tokenize=tokenize) for texts in translations]
    return np.array([one.score for one, _ in found]), found[0][1]


def bleu_1_to_4(
    said: Sequence[str], references: Sequence[Sequence[str]]
) -> list[float]:
    """BLEU-1, BLEU-2, BLEU-3 and BLEU-4.

    Example:
      >>> [round(x, 1) for x in bleu_1_to_4(["a dog runs fast"], [["a dog runs home"]])]
      [75.0, 70.7, 63.0, 59.5]
    """
    return [bleu(said, references, order)[0].score for order in (1, 2, 3, 4)]


def people(references: Sequence[Sequence[str]]) -> list[float] | None:
    """BLEU-1 to BLEU-4 of the first reference of each image against the others.

    Images with one reference are left out; None if there are no others.

    Example:
      >>> found = people([["a dog runs fast", "a dog runs home"], ["a cat"]])
      >>> round(found[0], 1)
      75.0
    """
    several = [r for r in references if len(r) > 1]
    if not several:
        return None
    return bleu_1_to_4([r[0] for r in several], [r[1:] for r in several])


def by_length(
    lengths: np.ndarray,
    translations: Mapping[str, Sequence[str]],
    references: Sequence[Sequence[str]],
    *,
    tokenize: str = "13a",
    parts: int = 5,
) -> dict[str, dict[str, float]]:
    """BLEU of translations, for parts of the sentences by the length of their sources.

    Args:
      lengths: of each source, [N].
      translations: by the name of a kind, N sentences.
      references: the sentences that are right for each source.
      tokenize: what a word is, by its name in sacrebleu.
      parts: how many; sources of the same length are in one part.

    Returns:
      For each kind BLEU by lengths, such as "1 to 7".

    Example:
      >>> right = [["a dog runs on"], ["a big dog runs on"], ["a cat runs off home"]]
      >>> found = {"ours": ["a dog runs on", "a big dog runs on", "a cat sleeps"]}
      >>> scores = by_length(np.array([4, 5, 6]), found, right, parts=2)["ours"]
      >>> {lengths: round(score, 1) for lengths, score in scores.items()}
      {'1 to 5': 100.0, '6': 0.0}
    """
    most = np.unique(
        np.quantile(lengths, np.arange(1, parts + 1) / parts, method="higher")
    )
    scores: dict[str, dict[str, float]] = {name: {} for name in translations}
    for low, high in zip([0, *most[:-1]], most, strict=True):
        chosen = np.flatnonzero((low < lengths) & (lengths <= high)).tolist()
        right = [references[i] for i in chosen]
        for name, texts in translations.items():
            label = f"{low + 1} to {high}" if low + 1 < high else f"{high}"
            found, _ = bleu([texts[i] for i in chosen], right, tokenize=tokenize)
            scores[name][label] = found.score
    return scores


def compare(
    translations: Mapping[str, Sequence[Sequence[str]]],
    sources: Sequence[str],
    references: Sequence[Sequence[str]],
    tokenize: str = "13a",
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, float]], str]:
    """BLEU of several kinds of translations, each by one system or more.

    Args:
      translations: by the name of a kind, N sentences of each of its systems.
      sources: what was translated.
      references: the sentences that are right for each source.
      tokenize: what a word is, by its name in sacrebleu.

    Returns:
      For each kind BLEU of each system, [S]; for each kind BLEU of the first system by
      the number of words in the source, see `by_length`; the signature of sacrebleu.

    Example:
      >>> said = {"ours": [["a dog runs home"], ["a cat"]], "copy": [["ein Hund"]]}
      >>> found = compare(said, ["ein Hund rennt"], [["a dog runs home"]])
      >>> found[0]["ours"].round(1).tolist(), list(found[1]["copy"])
      ([100.0, 0.0], ['1 to 3'])
    """
    found = {
        name: bleu_per_seed(of_one, references, tokenize)
        for name, of_one in translations.items()
    }
    first = {name: of_one[0] for name, of_one in translations.items()}
    lengths = np.array([len(text.split()) for text in sources])
    scores = {name: of_one for name, (of_one, _) in found.items()}
    by = by_length(lengths, first, references, tokenize=tokenize)
    return scores, by, next(iter(found.values()))[1]


def best_constant(
    train: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
    candidates: int = 300,
) -> str:
    """The caption that has the best BLEU when it is said of all images.

    Args:
      train: the captions to choose from, of each training image.
      references: the captions of the images to say it of.
      candidates: about how many to try, evenly spaced in alphabetical order.

    Example:
      >>> best_constant([["a dog runs fast", "a cat"]], [["the dog runs fast"]])
      'a dog runs fast'
    """
    from sacrebleu.metrics.bleu import BLEU

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
