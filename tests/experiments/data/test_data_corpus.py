"""Texts: their characters, and the streams they are read in."""

import numpy as np
import pytest

from experiments import lab
from experiments.data import DataError
from experiments.data.vocabulary import Vocabulary


@pytest.mark.parametrize(
    ("length", "batch_size", "chunk"), [(7, 2, 3), (100, 3, 7), (101, 1, 100)]
)
def test_streams_cover_the_text_once(length, batch_size, chunk):
    batches = lab.streams(np.arange(length), batch_size, chunk)
    used = batches.steps * batch_size * chunk
    assert 0 <= length - 1 - used < batch_size * chunk
    for epoch in range(5):
        tokens, anew = batches.read(batches.plan(epoch, 0))
        assert tokens.shape == (batches.steps, batch_size, chunk + 1)
        read = tokens[..., :-1].transpose(1, 0, 2).ravel()  # stream after stream
        start = tokens[0, 0, 0]
        assert 0 <= start <= length - 1 - used
        np.testing.assert_array_equal(read, start + np.arange(used))
        np.testing.assert_array_equal(tokens[..., 1:], tokens[..., :-1] + 1)
        assert anew[0].all()
        assert not anew[1:].any()
    with pytest.raises(DataError, match=f"need {length + 1}"):
        lab.streams(np.arange(length), 1, length)


def test_a_vocabulary_comes_back_from_its_file(tmp_path):
    vocabulary = Vocabulary.of('한글\n\t"\\ 🙂')
    vocabulary.save(tmp_path / "v.json")
    assert Vocabulary.load(tmp_path / "v.json") == vocabulary
    text = "🙂한\\"
    assert vocabulary.decode(vocabulary.encode(text)) == text
    for damaged in ("[1]", '""', "{"):
        (tmp_path / "v.json").write_text(damaged)
        with pytest.raises(DataError, match=r"v\.json: holds no vocabulary"):
            Vocabulary.load(tmp_path / "v.json")
