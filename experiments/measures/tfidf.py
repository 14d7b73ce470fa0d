"""A classifier of texts without a network: logistic regression on n-grams."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

Texts = tuple[Sequence[str], Sequence[int] | np.ndarray]  # and the label of each


def n_gram_accuracy(
    train: Texts, validation: Texts, test: Texts, **options: Any
) -> float:
    """The share of right answers on `test`; see `n_gram_answers`.

    Example:
      >>> texts = ["a fine film", "so fine", "dull", "a dull film"]
      >>> some = texts, np.array([1, 1, 0, 0])
      >>> n_gram_accuracy(some, some, (["fine and long", "long and dull"], [1, 0]))
      1.0
    """
    answers = n_gram_answers(train, validation, test[0], **options)
    return float((answers == np.asarray(test[1])).mean())


def n_gram_answers(
    train: Texts,
    validation: Texts,
    test: Sequence[str],
    *,
    of: Literal["words", "letters"] = "words",
    penalties: Sequence[float] = (1.0, 3.0, 10.0),
    balanced: bool = False,
) -> np.ndarray:
    """The answers [N] of logistic regression on tf-idf weights of n-grams.

    Of more than two classes, each is told from all others.

    A text is a vector of length 1 with a number for each n-gram g,

        (1 + log n_g) (1 + log((1 + N) / (1 + N_g)))

    where g occurs n_g times in it and in N_g of the N training texts. N-grams are of 1
    or 2 words; or of 1 to 4 letters, which suit languages that build words of many
    parts. Those of letters must occur in 3 training texts, if there are more than 1000.

    Args:
      train: to learn from.
      validation: chooses the penalty.
      test: to be told.
      of: what n-grams are made of; words are what stands between spaces.
      penalties: inverse strengths C of the penalty |w|^2 to choose from.
      balanced: whether all classes weigh alike in training.

    References:
      Wang and Manning, "Baselines and bigrams: simple, good sentiment and topic
      classification", ACL 2012.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    texts, labels = train
    options: dict[str, Any] = {"sublinear_tf": True, "dtype": np.float32}
    if of == "words":
        options |= {"token_pattern": r"\S+", "ngram_range": (1, 2)}
    else:
        options |= {"analyzer": "char", "ngram_range": (1, 4)}
        options |= {"min_df": 3 if len(texts) > 1000 else 1}
    vectorizer = TfidfVectorizer(**options)
    vectors = vectorizer.fit_transform(texts)
    held_out = vectorizer.transform(validation[0])
    several = len(np.unique(labels)) > 2
    how: dict[str, Any] = {"solver": "liblinear"}
    how |= {"class_weight": "balanced"} if balanced else {}
    models: list[Any] = [LogisticRegression(C=c, **how) for c in penalties]
    models = [OneVsRestClassifier(m) if several else m for m in models]
    models = [model.fit(vectors, labels) for model in models]
    best = max(models, key=lambda model: model.score(held_out, validation[1]))
    return best.predict(vectorizer.transform(test))
