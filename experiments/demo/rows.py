"""A page where a network reads what one draws, row by row."""

from collections.abc import Callable
from typing import Any

from experiments import lab
from experiments.data.classes import kept_classes
from experiments.demo.drawn import handwriting, places, samples
from experiments.demo.watched import watched
from experiments.demo.writing import Answer, Page, write


def page(network: Callable[..., Any]) -> Answer:
    """What writes the page of the first seed.

    Args:
      network: (config, size of a step, number of classes) -> `models.reader.Reader`.
    """

    def answer(config: Any, finished: lab.Finished) -> lab.Report:
        data = config.load()
        if config.images is not None:  # they may have changed since
            known = kept_classes(finished.path)
            expected = f"images of the classes {known}, as in training"
            same = tuple(known) == tuple(data.classes)
            lab.require(same, "demo", expected, data.classes)
        shape = data.test.images.shape[1:]
        steps_TD = places(shape, config.order)
        net = network(config, steps_TD.shape[-1], len(data.classes))
        params = lab.of_seed(finished.load(net.init), 0)
        facts = {
            **{"dataset": config.dataset, "classes": data.classes},
            **{"order": config.order, "steps": steps_TD},
            **{"shape": shape, "max_value": data.max_value},
            **handwriting(data.train.images, data.max_value),
            "samples": samples(data.test, len(data.classes)),
        }
        cell = watched(net.cells, net.readout)
        shown = Page("rows", cell, tuple(params), facts, scripts=("pen.js",))
        return write(shown, config, finished)

    return answer
