"""Subwords by byte pair encoding, or whole words, from the tokenizers library."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.data import DataError

PAD, START, STOP, UNKNOWN = range(4)
SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")


class Subwords:
    """A text as numbers, and back.

    Example:
      >>> subwords = Subwords.of(["low lower lowest", "new newer newest"], 30)
      >>> subwords.decode(subwords.encode(["newest low"])[0])
      'newest low'
    """

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer

    @classmethod
    def of(
        cls, texts: Iterable[str], vocab_size: int, *, lowercase: bool = False
    ) -> "Subwords":
        """Subwords learned from texts (Sennrich et al., 2016).

        A word begins with the space before it; punctuation stands alone.
        """
        from tokenizers import (
            Tokenizer,
            decoders,
            models,
            normalizers,
            pre_tokenizers,
            trainers,
        )

        tokenizer: Any = Tokenizer(models.BPE(unk_token=SPECIALS[UNKNOWN]))
        forms = [normalizers.NFC(), normalizers.Lowercase()]
        tokenizer.normalizer = normalizers.Sequence(forms[: 1 + lowercase])
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation("isolated")]
        )
        tokenizer.decoder = decoders.Metaspace()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size, special_tokens=list(SPECIALS), show_progress=False
        )
        tokenizer.train_from_iterator(texts, trainer)
        return cls(tokenizer)

    @classmethod
    def load(cls, path: Path) -> "Subwords":
        """From a file that `save` wrote; a DataError if it is none."""
        from tokenizers import Tokenizer

        try:
            return cls(Tokenizer.from_str(path.read_text(encoding="utf-8")))
        except Exception as error:
            raise DataError(f"{path}: holds no subwords: {error}") from error

    def save(self, path: Path) -> None:
        """Writes JSON."""
        path.write_text(self._tokenizer.to_str(pretty=True), encoding="utf-8")

    @property
    def size(self) -> int:
        """V, with `SPECIALS`."""
        return self._tokenizer.get_vocab_size()

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The tokens of each text, int32 [T], without start and stop."""
        found = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [np.array(e.ids, np.int32) for e in found]

    def decode(self, tokens: Iterable[int]) -> str:
        """The text up to the first stop, without `SPECIALS`."""
        kept = []
        for token in map(int, tokens):
            if token == STOP:
                break
            kept.append(token)
        return self._tokenizer.decode(kept, skip_special_tokens=True)

    def texts(self, tokens: Any) -> Any:
        """The texts of tokens [..., T], in nested lists."""
        tokens = np.asarray(tokens)
        if tokens.ndim == 1:
            return self.decode(tokens)
        return [self.texts(own) for own in tokens]

    def pieces(self, tokens: Iterable[int]) -> list[str]:
        """Each token by itself, as one would draw it."""
        return [
            self._tokenizer.id_to_token(int(t)).replace("▁", "") or "▁" for t in tokens
        ]


def kept_subwords(
    keep: Callable[..., Path], name: str, texts: Iterable[str], vocab_size: int
) -> Subwords:
    """Subwords in lower case: learned the first time, and later found again.

    Args:
      keep: (name, write) -> the path of the file, which `write(path)` has written.
      name: of the file.
      texts: to learn from.
      vocab_size: how many subwords to learn at most.
    """

    def write(path):
        Subwords.of(texts, vocab_size, lowercase=True).save(path)

    return Subwords.load(keep(name, write))


def words(texts: Iterable[str], least: int = 1) -> Subwords:
    """A vocabulary of whole words.

    Args:
      texts: words with a space between them.
      least: words that occur less often are unknown.

    Example:
      >>> vocabulary = words(["a dog runs", "a dog sits"], 2)
      >>> vocabulary.decode(vocabulary.encode(["a dog sits"])[0]), vocabulary.size
      ('a dog', 6)
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordLevel(unk_token=SPECIALS[-1]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordLevelTrainer(
        vocab_size=1 << 30,
        min_frequency=least,
        special_tokens=list(SPECIALS),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return Subwords(tokenizer)


def padded(subwords: Subwords, texts: Sequence[Sequence[str]], most: int) -> np.ndarray:
    """Start, tokens, stop and padding of several texts for each example.

    Args:
      subwords: of the texts.
      texts: for each of N examples, one text or more.
      most: a text with more tokens is cut, and does not stop.

    Returns:
      int32 [N, the most texts of an example, most + 2].

    Example:
      >>> padded(words(["a dog"]), [["a dog", "a"], ["dog"]], 2).tolist()
      [[[1, 4, 5, 2], [1, 4, 2, 0]], [[1, 5, 2, 0], [0, 0, 0, 0]]]
    """
    size = max(map(len, texts))
    tokens = np.full((len(texts), size, most + 2), PAD, np.int32)
    for rows, own in zip(tokens, texts, strict=True):
        for row, found in zip(rows, subwords.encode(own), strict=False):
            sentence = [START, *found, STOP][: most + 2]
            row[: len(sentence)] = sentence
    return tokens
