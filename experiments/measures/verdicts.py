"""How right classifiers of documents are, beside what needs no network."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from experiments.data.documents import DocumentData
from experiments.measures import decisions
from experiments.measures.tfidf import n_gram_answers


class Verdicts(NamedTuple):
    """Of S classifiers on the test documents of a data set."""

    # By whose they are: the accuracy, that on documents whose text is not in training,
    # and the mean F1 of the classes, a number or [S]
    rows: dict[str, list[Any]]
    new: int  # how many documents have a text that is not in training
    answers: np.ndarray  # [S, N]
    facts: dict[str, Any]


def verdicts(
    whose: str,
    logits: np.ndarray,
    data: DocumentData,
    of: Literal["words", "letters"] = "letters",
    balanced: bool = False,
) -> Verdicts:
    """Beside them stand their mean probability, n-grams, and one answer for all.

    Args:
      whose: the name of the classifiers.
      logits: of the N test documents, [S, N] or [S, N, K].
      data: the documents.
      of: n-grams of what; see `n_gram_answers`.
      balanced: whether the classes weigh alike in what learns from n-grams.
    """
    labels = data.test.labels
    accuracy, nats = decisions.scores(logits, labels).values()
    together = decisions.together(logits)
    (ensemble,) = decisions.scores(together, labels)["accuracy"]
    read = set(data.train.texts)  # short reviews such as "최고" stand in both of NSMC
    new = np.array([text not in read for text in data.test.texts])
    on_new = decisions.accuracy_on(logits, labels, new)
    usual = decisions.majority(data.train.labels, labels)
    learned = data.train, data.validation
    of_n_grams = n_gram_answers(*learned, data.test.texts, of=of, balanced=balanced)
    n_grams = float((of_n_grams == labels).mean())
    answers = decisions.chosen(logits)
    simple: Sequence[Any] = [decisions.chosen(together)[0], of_n_grams]
    f1 = decisions.macro_f1(answers, labels)
    f1_together, f1_n_grams = decisions.macro_f1(np.stack(simple), labels)
    rows = {
        whose: [accuracy, on_new if new.any() else None, f1],
        "the mean probability of the seeds": [ensemble, None, f1_together],
        "logistic regression on n-grams": [n_grams, None, f1_n_grams],
        "always the more frequent answer": [usual, None, None],
    }
    if len(logits) == 1:
        del rows["the mean probability of the seeds"]
    facts = {
        **{"test_accuracy": accuracy.mean(), "test_accuracy_per_seed": accuracy},
        "test_accuracy_together": ensemble,
        **{"test_macro_f1": f1.mean(), "test_macro_f1_per_seed": f1},
        **{"test_loss": nats.mean(), "test_loss_per_seed": nats},
        **{"new_test_documents": int(new.sum()), "new_test_accuracy": on_new.mean()},
        **{"majority_test_accuracy": usual, "n_grams_test_accuracy": n_grams},
    }
    return Verdicts(rows, int(new.sum()), answers, facts)
