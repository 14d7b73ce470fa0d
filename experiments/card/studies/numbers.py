"""Networks that read music, series of numbers, and tasks of memory."""

from typing import Any

import jax

from experiments import lab
from experiments.card.forecasts import Sizes, forecasts
from experiments.card.layout import KINDS
from experiments.card.recurrent import recurrent
from experiments.card.shared import Result, Shared
from experiments.card.sources import made, source
from experiments.data import images, series
from experiments.data import music as pieces
from experiments.measures.ahead import Ahead
from experiments.measures.memory import TASKS

IMAGES = "pixels", "permuted"  # tasks of memory that are not made


def music(network: Any, config: Any, finished: lab.Finished) -> Shared:
    """Of `experiments.music`."""
    net, K = network(config), pieces.KEYS
    nll = finished.per_seed("test_nll")
    said = "negative log-likelihood of test pieces, nats a step"
    return Shared(
        about="A network that reads music step by step, and tells how probable each "
        "key of a piano is in the next step.",
        inputs=f"xs [T, {K}], float32: 1 where a key is down, from MIDI's 21 up",
        outputs=f"[T, {K}], logits of the keys in the next step, each by itself",
        task="music-modeling",
        init=net.init,
        layout=lambda params: recurrent(config.cell, params[:-1], params[-1], "steps"),
        make="net = music.network(config)",
        call="lambda xs: net.unroll(params, net.initial_carry(params), xs)[1]",
        sources=(source(config.dataset, pieces.DATASETS.get(config.dataset)),),
        results=(Result("nll", said, ".3f", nll),),
        best="-valid_nll",
    )


def forecasting(network: Any, config: Any, finished: lab.Finished) -> Shared:
    """Of `experiments.forecasting`."""
    known = Ahead.load(finished.path / "series.json")
    C, L, F, Q = len(known.names), config.window, config.horizon, known.margins.shape[3]
    net = network(config, C)
    sizes = Sizes(C, L, F, config.patch, config.hidden_size, Q)

    def layout(params):
        if config.cell not in KINDS:
            return None
        start = params.start.w
        if config.structure == "direct":
            dense, _, inner, _ = params.reader
            last = params.readout, params.skip
        else:
            dense, _, inner, _, output = params.cell
            last = output, None
        return forecasts(config.cell, sizes, start, dense, inner, *last)

    mse, mae = (finished.per_seed(f"test_{name}") for name in ("mse", "mae"))
    name = "own" if config.csv else config.dataset
    log = ", of its logarithm" if config.log else ""
    return Shared(
        about=f"A network that forecasts {F} steps of a series from the {L} before, "
        "with intervals.",
        inputs=f"variable [], the number of the series ({', '.join(known.names)}); "
        f"window [{L}], float32: (value - mean) / deviation{log}, by series.json",
        outputs=f"[{F}, {Q}], quantiles in the same unit, rising, before the margins "
        "in series.json are added",
        task="time-series-forecasting",
        init=net.init,
        layout=layout,
        make=f"net = forecasting.network(config, {C})",
        call="lambda variable, window: net.forecast(params, variable, window)",
        sources=(source(name, series.DATASETS.get(name)),),
        results=(
            Result("mse", "mean squared error of the test part", ".4f", mse),
            Result("mae", "mean absolute error of the test part", ".4f", mae),
        ),
        best="-validation_mse",
        files={"series.json": "the units of the series, and the intervals' margins"},
    )


def memory(network: Any, config: Any, finished: lab.Finished) -> Shared:
    """Of `experiments.memory`."""
    task, known = config.task, TASKS[config.task]
    size = finished.summary.get("hidden_size")
    if not isinstance(size, int):
        path = finished.path / "summary.json"
        raise lab.UsageError(f"--out: {path} is damaged: it says no hidden_size")
    net = network(config, size)
    reads = config.pool if task in ("adding", *IMAGES) else "steps"
    tokens = task not in ("adding", *IMAGES)
    shapes = jax.eval_shape(net.init, jax.random.key(0))
    K = shapes.readout.w.shape[1]

    def layout(params):
        if config.block != "plain" or config.window > 1:
            return None
        layers, more = params.reader, {}
        if tokens:
            (more["embedding"],), *layers = layers
        return recurrent(config.cell, layers, params.readout, reads, **more)

    vocabulary = (
        f"tokens [T], integers below {len(shapes.reader[0].w)}" if tokens else ""
    )
    data = made(task, f"the task {task} of experiments.data.recall")
    if task in IMAGES:
        data = source("mnist", images.DATASETS["mnist"])
    score = finished.per_seed("score")
    metric = "mse" if known.score == "loss" else known.score
    return Shared(
        about=f"A network that was trained to remember. Measured: {known.title}.",
        inputs=vocabulary or f"xs [T, {2 if task == 'adding' else 1}], float32",
        outputs=f"[{'T, ' * (reads == 'steps')}{K}]"
        + ("" if task == "adding" else ", logits of the answers"),
        task="sequence-modeling",
        init=net.init,
        layout=layout,
        make=f"net = memory.network(config, {size})",
        call="lambda xs: net.answers(params, xs)",
        sources=(data,),
        results=(Result(metric, known.title, known.form, score),),
    )
