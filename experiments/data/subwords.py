"""Subwords by byte pair encoding, from the tokenizers library."""

from collections.abc import Iterable, Sequence
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

    def pieces(self, tokens: Iterable[int]) -> list[str]:
        """Each token by itself, as one would draw it."""
        return [
            self._tokenizer.id_to_token(int(t)).replace("▁", "") or "▁" for t in tokens
        ]
