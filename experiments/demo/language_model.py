"""A page where one writes with a network."""

from collections.abc import Callable
from typing import Any

import jaxrnn as rnn
from experiments import lab
from experiments.demo.watched import watched
from experiments.demo.writing import Answer, Page, write
from experiments.models.stack import cell_named, stack


def page(opened: Callable[..., Any]) -> Answer:
    """What writes the page of the best seed.

    Args:
      opened: (config, finished) -> the vocabulary, the model, which is a chain of an
        embedding, a stack and a readout, or a tied embedding of one, and its params.
    """

    def answer(config: Any, finished: lab.Finished) -> lab.Report:
        vocabulary, _, params = opened(config, finished)
        V, D, H = vocabulary.size, config.embedding_size, config.hidden_size
        layers = stack(cell_named(config.cell), D, H, config.layers)
        body = rnn.chain(rnn.embedding(V, D), *layers)
        if config.tied:  # the vectors of the characters are the weights of the logits
            w, (*inner, to_vector), b = params
            of_logits = rnn.LinearParams(w.T, b)
            params = (rnn.EmbeddingParams(w), *inner), (to_vector, of_logits)
            readout = rnn.chain(rnn.linear(H, D), rnn.linear(D, V))
        else:
            params, readout = (tuple(params[:-1]), params[-1]), rnn.linear(H, V)
        name = config.text.stem if config.text else config.dataset
        facts = {"dataset": name, "vocabulary": vocabulary.characters}
        shown = Page("language_model", watched(body, readout), params, facts)
        return write(shown, config, finished)

    return answer
