"""What a classifier of texts says by which words, told to people."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.measures.words import Explanation, Telling, agreement, telling_words

SIDES = ("negative", "positive")


class Account(NamedTuple):
    """What the explanations of many documents say."""

    # By whom they speak for, words that push most, the strongest first
    telling: dict[str, list[Telling]]
    # The first documents of 4 to 24 words, which are not chosen for what they show: the
    # verdict, and words, contributions and attention of `Explanation`
    samples: list[tuple[str, list[str], np.ndarray, np.ndarray]]
    lines: list[str]  # the samples, the most telling words, the agreement
    facts: dict[str, Any]  # the same in numbers


def account(
    explanations: Sequence[Explanation],
    samples: int = 8,
    often: int = 10,
    classes: Sequence[str] = SIDES,
) -> Account:
    """Puts the explanations of many documents together.

    Args:
      explanations: of documents.
      samples: how many explanations to list one by one.
      often: how often a word must occur to be listed.
      classes: their names.

    Example:
      >>> words, values = ["not", "so", "bad", "!"], np.array([1.0, 0, -0.5, 0])
      >>> one = Explanation(words, 1, 0.5, values, np.array([1, 0, 0, 0]))
      >>> found = account([one] * 10, samples=0)
      >>> found.telling["positive"][0].word, len(found.lines)
      ('not', 3)
    """
    telling = sides(explanations, often, classes)
    same, chance = agreement(explanations)
    few = [e for e in explanations if 4 <= len(e.words) <= 24][:samples]
    lines = [summary(one, classes=classes) for one in few]
    for side, some in telling.items():
        shown = ", ".join(f"{t.word} {t.contribution:+.2f}" for t in some[:12])
        what = f"a {side} review" if classes == SIDES else side
        lines.append(f"words that speak for {what}, on average by: {shown}")
    if not np.isnan(same):
        lines.append(
            "the word most looked at is the one that moved the answer most in "
            f"{same:.0%} of the texts; by chance in {chance:.0%}"
        )
    facts = {
        "explained_documents": len(explanations),
        "attention_agrees": same,
        "attention_agrees_by_chance": chance,
        **words_in_facts(telling, classes),
    }
    drawn = [(verdict(e, classes), e.words, e.contributions, e.attention) for e in few]
    return Account(telling, drawn, lines, facts)


def sides(
    explanations: Sequence[Explanation], often: int, classes: Sequence[str]
) -> dict[str, list[Telling]]:
    """The words that speak most for each class, the strongest first.

    Of two classes every document counts for both; of more, for the one it is given.
    """
    if len(classes) == 2:
        telling = telling_words(explanations, often)
        return {classes[1]: telling[::-1], classes[0]: telling}
    found = {}
    for number, name in enumerate(classes):
        own = [e for e in explanations if e.answer == number]
        strongest = telling_words(own, often)[::-1]
        found[name] = [t for t in strongest if t.contribution > 0]
    return found


def words_in_facts(
    telling: dict[str, list[Telling]], classes: Sequence[str]
) -> dict[str, Any]:
    """The words of `sides`, for a summary."""
    most = {name: [t._asdict() for t in some[:20]] for name, some in telling.items()}
    if len(classes) > 2:
        return {"words_for_class": most}
    return {"words_for": most[classes[1]], "words_against": most[classes[0]]}


def verdict(explanation: Explanation, classes: Sequence[str] = SIDES) -> str:
    """The answer in words, and what is right.

    Example:
      >>> verdict(Explanation(["bad"], 1, -2.0, np.array([-2.0]), np.ones(1)))
      'negative 88.1%, labelled positive'
    """
    p, answer = explanation.probability, explanation.answer
    said = f"{classes[p > 0.5]} {max(p, 1 - p):.1%}"
    if answer is not None:
        said = f"{classes[answer]} {p:.1%}"
    if explanation.label is None:
        return said
    return f"{said}, labelled {classes[explanation.label]}"


def summary(
    explanation: Explanation, most: int = 4, classes: Sequence[str] = SIDES
) -> str:
    """A document with its answer and the words that weighed most.

    Example:
      >>> one = Explanation(["not", "bad"], 1, 0.5, np.array([1.0, -0.5]), np.ones(2))
      >>> print(summary(one, most=1))
      not bad
          positive 62.2%, labelled positive
          moved by: not +1.00
          looked at: not 100%
    """

    def few(values, form):
        order = np.argsort(-np.abs(values), kind="stable")[:most]
        return ", ".join(f"{explanation.words[i]} {values[i]:{form}}" for i in order)

    return (
        f"{' '.join(explanation.words)}\n"
        f"    {verdict(explanation, classes)}\n"
        f"    moved by: {few(explanation.contributions, '+.2f')}\n"
        f"    looked at: {few(explanation.attention, '.0%')}"
    )


def listing(explanation: Explanation, classes: Sequence[str] = SIDES) -> str:
    """The answer, and below it what each word of the document has to do with it.

    Example:
      >>> one = Explanation(["not", "bad"], None, 0.5, np.array([1, -0.5]), np.ones(2))
      >>> print(listing(one))
      positive 62.2%
      contribution  attention  word
             +1.00       100%  not
             -0.50       100%  bad
    """
    of_words = explanation.words, explanation.contributions, explanation.attention
    lines = [
        f"{value:+12.2f}  {share:9.0%}  {word}"
        for word, value, share in zip(*of_words, strict=True)
    ]
    head = verdict(explanation, classes), "contribution  attention  word"
    return "\n".join([*head, *lines])
