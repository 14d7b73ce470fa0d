"""A page where a network judges what one types, word by word."""

import json
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import jaxrnn as rnn
from experiments import lab
from experiments.data.subwords import UNKNOWN
from experiments.demo.watched import Verdict, by_steps, whole
from experiments.demo.writing import Answer, Page, write
from experiments.models.stack import cell_named

SUBWORDS = "subwords.json"  # in the page
SAMPLES = {  # texts to begin with
    "nsmc": [
        "정말 재미있고 감동적인 영화",
        "지루하고 시간이 아깝다",
        "배우는 좋은데 내용이 별로",
    ],
    "sst2": [
        "a warm and funny film",
        "a dull , lifeless mess",
        "good actors , bad story",
    ],
}


def page(reader: Callable[..., Any], network: Callable[..., Any]) -> Answer:
    """What writes the page of the first seed.

    Args:
      reader: (config, finished) -> the subwords, the names of the classes, and a
        `models.classifier.Classifier`.
      network: (config, number of subwords, number of classes, cell) -> another of them.
    """

    def answer(config: Any, finished: lab.Finished) -> lab.Report:
        # ONNX says a last state only of one length; a page reads texts of all lengths.
        lab.require(config.pool != "last", "demo", "a run with another --pool", "last")
        subwords, classes, net = reader(config, finished)
        params = lab.of_seed(finished.load(net.init), 0)
        stepping = by_steps(cell_named(config.cell))
        again = network(config, subwords.size, len(classes), stepping)
        cell, otherwise = (judging(read) for read in (net.read, again.read))
        facts = {
            **{"dataset": config.dataset, "hidden_size": config.hidden_size},
            **{"classes": classes, "subwords": subwords.size, "unknown": UNKNOWN},
            "samples": SAMPLES.get(config.dataset, []),
        }
        parts = json.dumps(subwords.parts, ensure_ascii=False, separators=(",", ":"))
        more = {"scripts": ("subwords.js",), "files": {SUBWORDS: parts.encode()}}
        x = jax.ShapeDtypeStruct((), jnp.int32)
        more |= {"stream": False, "x": x, "otherwise": (otherwise,)}
        return write(Page("sentiment", cell, params, facts, **more), config, finished)

    return answer


def judging(read: Callable[..., Any]) -> rnn.Cell:
    """A network of whole texts, from that of a `Classifier`."""
    return whole("sentiment", lambda params, tokens: Verdict(*read(params, tokens)))
