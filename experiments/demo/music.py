"""A page where a network goes on with what one plays."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import lab
from experiments.data.music import KEYS
from experiments.demo.writing import Answer, Page, write

SAMPLES = 4  # beginnings of test pieces,
QUARTERS = 8  # of so many quarter notes


def page(load: Callable[..., Any], network: Callable[..., Any]) -> Answer:
    """What writes the page of the first seed.

    Args:
      load: (config) -> the music of a run and its source.
      network: (config) -> a cell from the notes of a step to the logits of the next.
    """

    def answer(config: Any, finished: lab.Finished) -> lab.Report:
        data, net = load(config), network(config)
        music, source = data.music, data.source
        params = lab.of_seed(finished.load(net.init), 0)
        (used,) = np.nonzero(np.concatenate(music.train).any(0))
        begun = [roll[: QUARTERS * source.steps] for roll in music.test[:SAMPLES]]
        facts = {
            **{"dataset": config.dataset, "hidden_size": config.hidden_size},
            **{"steps": source.steps, "tempo": source.tempo},
            "most_notes": config.most_notes or music.most_notes,
            "range": (used.min(), used.max()),
            "samples": [[np.flatnonzero(x) for x in roll] for roll in begun],
        }
        x = jax.ShapeDtypeStruct((KEYS,), jnp.float32)
        shown = Page("music", net, params, facts, scripts=("sound.js",), x=x)
        return write(shown, config, finished)

    return answer
