"""N-gram models with Witten-Bell smoothing."""

import numpy as np


def ngram_losses(
    train: np.ndarray, valid: np.ndarray, vocab_size: int, longest: int = 8
) -> list[float]:
    """The cross-entropy of n-gram models, in nats per character, for n = 1 .. longest.

        p_n(x | h) = (count(h x) + types(h) p_{n-1}(x | h')) / (count(h) + types(h))

    with h the n - 1 characters before x, h' all of them but the first, types(h) how
    many different characters follow h in the training text, and p_0 = 1 / V.

    Args:
      train: the text to count in, [N] integers below V.
      valid: the text to predict, each character but the first; it goes on from the
        training text.
      vocab_size: V.
      longest: the n of the last model.

    References:
      Witten and Bell, "The zero-frequency problem", 1991.

    Example:
      >>> text = np.arange(60) % 3
      >>> losses = ngram_losses(text[:45], text[45:], 3, 2)
      >>> [round(loss, 3) for loss in losses]  # the second is nearly certain
      [1.099, 0.043]
    """
    tokens = np.concatenate([train, valid]).astype(np.int64)
    p = np.full(len(tokens), 1 / vocab_size)
    h = np.zeros(len(tokens), np.int64)  # at each place, the number of its history
    losses = []
    for _ in range(longest):
        _, hx = np.unique(h * vocab_size + tokens, return_inverse=True)
        first = np.unique(hx[: len(train)], return_index=True)[1]
        count_hx = np.bincount(hx[: len(train)], minlength=hx.max() + 1)
        count_h = np.bincount(h[: len(train)], minlength=h.max() + 1)
        types = np.bincount(h[first], minlength=h.max() + 1)
        p = np.divide(
            count_hx[hx] + types[h] * p, (count_h + types)[h], out=p, where=types[h] > 0
        )
        losses.append(float(-np.log(p[len(train) + 1 :]).mean()))
        h = np.append(0, hx[:-1] + 1)  # one longer, at the next place; 0 at the first
    return losses
