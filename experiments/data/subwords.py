"""Subwords by byte pair encoding, or whole words, from the tokenizers library."""

import json
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.data import DataError

PAD, START, STOP, UNKNOWN = range(4)
SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")
# The tokenizers library writes a space as this letter. Where it stands in a text, it is
# read as a code that Unicode gives to no letter.
SPACE, NO_SPACE = "\u2581", "\ufdd0"


class Subwords:
    """A text as numbers, and back.

    The names of `SPECIALS` in a text are text. What `decode` makes of what `encode` has
    given is the text in its `form`, but for letters that were not learned, which are
    unknown tokens; `losses` counts them.

    Example:
      >>> subwords = Subwords.of(["low lower lowest", "new newer newest"], 30)
      >>> subwords.decode(subwords.encode(["newest low"])[0])
      'newest low'
    """

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer
        tokenizer.encode_special_tokens = True  # as text; no file keeps this

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
        tokenizer.train_from_iterator(map(_spelled, texts), trainer)
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
    def parts(self) -> dict[str, Any]:
        """All that byte pair encoding needs, in JSON's types.

        The text of each token, by its number; the pairs that are merged, the first ones
        first, by the numbers of their tokens; and whether texts are in lower case.
        """
        known = json.loads(self._tokenizer.to_str())
        vocab = known["model"]["vocab"]
        merges = [[vocab[a], vocab[b]] for a, b in known["model"]["merges"]]
        tokens = sorted(vocab, key=vocab.__getitem__)
        lowercase = any(
            form["type"] == "Lowercase"
            for form in (known["normalizer"] or {}).get("normalizers", [])
        )
        return {"tokens": tokens, "merges": merges, "lowercase": lowercase}

    @property
    def size(self) -> int:
        """V, with `SPECIALS`."""
        return self._tokenizer.get_vocab_size()

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The tokens of each text, int32 [T], without start and stop."""
        # The library puts a space in front of a text that does not begin with one.
        texts = [f" {text}" if text[:1] == " " else text for text in texts]
        texts = list(map(_spelled, texts))
        found = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        return [np.array(e.ids, np.int32) for e in found]

    def decode(self, tokens: Iterable[int]) -> str:
        """The text up to the first stop, without `SPECIALS`."""
        kept = []
        for token in map(int, tokens):
            if token == STOP:
                break
            kept.append(token)
        text = self._tokenizer.decode(kept, skip_special_tokens=True)
        return text.replace(NO_SPACE, SPACE)

    def form(self, text: str) -> str:
        """A text as these subwords know it: in NFC, and in lower case if they are."""
        normalizer = self._tokenizer.normalizer
        return text if normalizer is None else normalizer.normalize_str(text)

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


def _spelled(text: str) -> str:
    return text.replace(SPACE, NO_SPACE)


def losses(subwords: Subwords, texts: Sequence[str]) -> dict[str, int]:
    """How many texts do not come back letter for letter, by the reason.

    Example:
      >>> subwords = Subwords.of(["low new"], 30, lowercase=True)
      >>> losses(subwords, ["low", "Low", "slow", "<unk>"])
      {'texts': 4, 'in lower case': 1, 'in another form of Unicode': 0, \
'with unknown letters': 2, 'otherwise': 0}
    """
    cased = composed = unknown = other = 0
    for text, tokens in zip(texts, subwords.encode(texts), strict=True):
        form, plain = subwords.form(text), unicodedata.normalize("NFC", text)
        composed += plain != text
        cased += form != plain
        if UNKNOWN in tokens:
            unknown += 1
        else:
            other += subwords.decode(tokens) != form
    return {
        **{"texts": len(texts), "in lower case": cased},
        **{"in another form of Unicode": composed},
        **{"with unknown letters": unknown, "otherwise": other},
    }


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

    Blanks between words come back as one space.

    Args:
      texts: words with blanks between them.
      least: words that occur less often are unknown.

    Example:
      >>> vocabulary = words(["a dog runs", "a dog sits"], 2)
      >>> vocabulary.decode(vocabulary.encode(["a dog sits"])[0]), vocabulary.size
      ('a dog', 6)
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    # No word has a space, so that a word called as a special token is another one.
    specials = [f" {name}" for name in SPECIALS]
    tokenizer = Tokenizer(models.WordLevel(unk_token=specials[UNKNOWN]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordLevelTrainer(
        vocab_size=1 << 30,
        min_frequency=least,
        special_tokens=specials,
        show_progress=False,
    )
    tokenizer.train_from_iterator(map(_spelled, texts), trainer)
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
