"""The code of a card is run in each framework, as a reader of the card would run it.

The programs of all cases run one after the other in a process for each framework, since
Keras fixes its back end when it is imported. Torch computes in double precision, too.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import needs_data
from safetensors.numpy import save_file

import jaxrnn as rnn
from experiments import (
    captioning,
    card,
    forecasting,
    lab,
    language_model,
    memory,
    music,
    rows,
    sentiment,
    translation,
)
from experiments.card.decoders import captioner, translator
from experiments.card.forecasts import Sizes, forecasts
from experiments.card.layout import FRAMEWORKS, KINDS
from experiments.card.recurrent import recurrent
from experiments.lab.run import find_finished
from experiments.models.captioner import captioner as captioner_net
from experiments.models.classifier import classifier
from experiments.models.forecasters import direct, stepwise
from experiments.models.reader import reader
from experiments.models.sequence import sequence
from experiments.models.stack import stack
from experiments.models.translator import translator as translator_net

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
B, T, D, H, K, V = 3, 7, 4, 5, 6, 11
RUNNER = """
import os, sys
import numpy as np

framework, *folders = sys.argv[1:]
for folder in folders:
    os.chdir(folder)
    names = {"__name__": "block"}
    with open(f"{framework}.txt") as file:
        exec(compile(file.read(), f"{folder}/{framework}", "exec"), names)
    network = names["network"]
    xs = [np.load(f"x{i}.npy", allow_pickle=False) for i in range(len([
        name for name in os.listdir() if name.startswith("x") and name.endswith("npy")
    ]))]
    if framework == "torch":
        import torch

        def run(kind):
            whole = [torch.from_numpy(x) for x in xs]
            given = [x.to(kind) if x.is_floating_point() else x for x in whole]
            with torch.no_grad():
                return network.to(kind)(*given).numpy()

        np.save("torch.npy", run(torch.float32))
        np.save("torch64.npy", run(torch.float64))
    elif framework == "keras":
        np.save("keras.npy", np.asarray(network(xs if len(xs) > 1 else xs[0])))
    else:
        np.save(f"{framework}.npy", np.asarray(network(*xs)))
"""


class Case(NamedTuple):
    """A network, as this library has it and as others have it."""

    params: Any
    fun: Any  # (params, *xs of one example) -> ys
    layout: Any
    xs: tuple[np.ndarray, ...]  # of a batch


def noise(like: Any) -> Any:
    """Params of this form, none of which are zero."""
    numbers = np.random.default_rng(0)
    return jax.tree.map(
        lambda a: (0.4 * numbers.normal(size=a.shape)).astype(np.float32), like
    )


def drawn(init: Any) -> Any:
    return noise(jax.eval_shape(init, jax.random.key(0)))


def numbers_(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def tokens_(*shape: int, below: int = V) -> np.ndarray:
    return np.random.default_rng(1).integers(0, below, shape, dtype=np.int32)


def of_reader(cell: str, **options: Any) -> Case:
    net = reader(cell, D, H, K, **options)
    params = drawn(net.init)
    layout = recurrent(cell, params.reader, params.readout, "last")
    return Case(params, net.logits, layout, (numbers_(B, T, D),))


def of_text(cell: str, tied: bool) -> Case:
    layers = stack(rnn.cells.by_name(cell), D, H, 2, dropout=0.5)
    if tied:
        net = rnn.tied_embedding(V, D, rnn.chain(*layers, rnn.linear(H, D)))
        params = drawn(net.init)
        *cells, projection = params.cell
        output = rnn.LinearParams(params.w.T, params.b)
        more = {"embedding": params.w, "projection": projection}
    else:
        net = rnn.chain(rnn.embedding(V, D), *layers, rnn.linear(H, V))
        params = drawn(net.init)
        (table,), *cells, output = params
        more = {"embedding": table}
    layout = recurrent(cell, cells, output, "steps", **more)

    def fun(params, tokens):
        return net.unroll(params, net.initial_carry(params), tokens)[1]

    return Case(params, fun, layout, (tokens_(B, T),))


def of_classifier(cell: str, pool: Any, classes: int) -> Case:
    net = classifier(cell, V, D, H, layers=2, pool=pool, classes=classes)
    params = drawn(net.init)
    (table,), *layers = params.reader
    reads: Any = "ends" if pool == "last" else pool
    more = {"query": params.query} if pool == "attention" else {}
    output = params.readout[-1]
    layout = recurrent(cell, layers, output, reads, embedding=table, **more)

    def fun(params, tokens):
        return jnp.atleast_1d(net.read(params, tokens)[0])

    return Case(params, fun, layout, (tokens_(B, T),))


def of_memory(cell: str) -> Case:
    net = sequence(cell, None, D, H, K, reads="mean")
    params = drawn(net.init)
    layout = recurrent(cell, params.reader, params.readout, "mean")
    return Case(params, net.answers, layout, (numbers_(B, T, D),))


def of_forecaster(cell: str, structure: str) -> Case:
    sizes = Sizes(C=2, L=12, F=9, P=3, H=H, Q=5)
    options: Any = {"cell": cell, "variables": 2, "quantiles": 5}
    if structure == "direct":
        net = direct(12, 9, 3, H, **options)
        params = drawn(net.init)
        dense, _, inner, _ = params.reader
        last = params.readout, params.skip
    else:
        net = stepwise(9, 3, H, **options)
        params = drawn(net.init)
        dense, _, inner, _, output = params.cell
        last = output, None
    layout = forecasts(cell, sizes, params.start.w, dense, inner, *last)
    xs = tokens_(B, below=2), numbers_(B, 12)
    return Case(params, net.forecast, layout, xs)


def of_translator(cell: Any, attention: Any) -> Case:
    net = translator_net(cell, V, 13, D, 6, attention=attention)
    params = drawn(net.init)
    layout = translator(cell, attention, params)

    def fun(params, source):
        return net.greedy(params, source, source >= 0)

    again = card.translator_params(cell, params, layout.tensors)
    jax.tree.map(np.testing.assert_array_equal, again, params)
    return Case(params, fun, layout, (tokens_(B, T),))


def of_captioner(channels: int, margin: int, dropout: float) -> Case:
    sizes = {"channels": 2, "embedding_size": D, "hidden_size": H}
    net = captioner_net(16, channels, V, **sizes, dropout=dropout)
    params = drawn(net.init)
    layout = captioner(params, 16, (16 + margin, channels), 7)
    again = card.captioner_params(params, layout.tensors)
    jax.tree.map(np.testing.assert_array_equal, again, params)
    size = 16 + margin
    xs = tokens_(B, size, size, channels, below=256).astype(np.uint8)
    return Case(params, lambda p, image: net.greedy(p, image, 7), layout, (xs,))


def made() -> dict[str, Case]:
    """Every cell that torch has, in every place that the studies have for it."""
    found = {}
    for cell in KINDS:
        found[f"two layers of {cell}"] = of_reader(cell, layers=2)
        found[f"{cell} without biases"] = of_reader(cell, bias=False)
        found[f"{cell} with a learned start"] = of_reader(
            cell, init_scale=1.0, layers=2
        )
        found[f"{cell}, mean"] = of_memory(cell)
        for tied in (False, True):
            found[f"text, {cell}, tied {tied}"] = of_text(cell, tied)
        for structure in ("direct", "stepwise"):
            found[f"{structure}, {cell}"] = of_forecaster(cell, structure)
    for pool in ("attention", "mean", "max", "last"):
        for cell, classes in (("gru", 2), ("lstm", 3)):
            found[f"{pool} of {cell}"] = of_classifier(cell, pool, classes)
    for attention in ("luong", "bahdanau", "none"):
        for cell in ("gru", "lstm"):
            found[f"translator, {cell}, {attention}"] = of_translator(cell, attention)
    found["captioner"] = of_captioner(1, 0, 0.0)
    found["captioner of colors with a margin"] = of_captioner(3, 5, 0.5)
    return found


def place(folder: Path, xs: tuple[np.ndarray, ...], codes: dict[str, str]) -> None:
    """Inputs and programs, in a folder that has a model."""
    for name, code in codes.items():
        (folder / f"{name}.txt").write_text(code)
    for i, x in enumerate(xs):
        np.save(folder / f"x{i}.npy", x)


def run(framework: str, folders: list[Path]) -> None:
    """Runs the programs of a framework in these folders."""
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    env = os.environ | {"PYTHONPATH": str(ROOT), "KERAS_BACKEND": "jax"}
    env |= {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", RUNNER, framework, *map(str, folders)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    root, found = tmp_path_factory.mktemp("cases"), {}
    for number, (name, case) in enumerate(made().items()):
        folder = root / str(number)
        folder.mkdir()
        save_file(dict(case.layout.tensors), folder / "model.safetensors")
        place(folder, case.xs, case.layout.codes)
        found[name] = folder, case
    return found


def wanted(case: Case, dtype: Any) -> np.ndarray:
    """What this library computes."""

    def cast(a):
        return jnp.asarray(a, dtype if a.dtype == np.float32 else a.dtype)

    params, xs = jax.tree.map(cast, case.params), tuple(map(cast, case.xs))
    fun = jax.jit(jax.vmap(case.fun, (None, *[0] * len(xs))))
    return np.asarray(fun(params, *xs))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_network_computes_the_same_everywhere(framework, cases):
    some = {k: v for k, v in cases.items() if framework in v[1].layout.codes}
    assert len(some) > 30
    run(framework, [folder for folder, _ in some.values()])
    for name, (folder, case) in some.items():
        ys, there = (
            wanted(case, np.float32),
            np.load(folder / f"{framework}.npy", allow_pickle=False),
        )
        assert there.shape == ys.shape, name
        np.testing.assert_allclose(there, ys, atol=1e-5, rtol=1e-5, err_msg=name)
        if framework == "torch" and ys.dtype == np.float32:
            with jax.enable_x64(True):
                ys, there = (
                    wanted(case, np.float64),
                    np.load(folder / "torch64.npy", allow_pickle=False),
                )
            assert there.dtype == ys.dtype == np.float64
            np.testing.assert_allclose(there, ys, atol=1e-11, err_msg=name)


class Study(NamedTuple):
    """A study, a run of it, and what its network reads."""

    module: Any
    options: tuple[str, ...]
    data: tuple[str, ...]
    xs: Any  # (the config.json of the folder) -> inputs of a batch


EXAMPLES = {  # what the code for inputs makes
    "language_model": ("tokens",),
    "sentiment": ("tokens",),
    "translation": ("source",),
}
STUDIES = {
    "rows": Study(
        rows,
        ("--epochs", "2", "--train-images", "200"),
        (),
        lambda known: (numbers_(B, 8, 8),),
    ),
    "rows, a cell that torch lacks": Study(
        rows,
        ("--epochs", "1", "--train-images", "100", "--cell", "mgu"),
        (),
        lambda known: (numbers_(B, 8, 8),),
    ),
    "language_model": Study(
        language_model,
        ("--characters", "5000", "--dataset", "python", "--tied", "--length", "20"),
        (),
        lambda known: (tokens_(B, T, below=known["sizes"]["V"]),),
    ),
    "music": Study(
        music,
        ("--pieces", "8", "--epochs", "1"),
        ("music",),
        lambda known: ((numbers_(B, T, 88) > 1).astype(np.float32),),
    ),
    "sentiment": Study(
        sentiment,
        ("--documents", "200", "--vocab-size", "300", "--batch-size", "32"),
        ("nsmc",),
        lambda known: (tokens_(B, T, below=known["sizes"]["V"]),),
    ),
    "forecasting": Study(
        forecasting,
        ("--dataset", "stocks", "--epochs", "1"),
        (),
        lambda known: (tokens_(B, below=7), numbers_(B, known["sizes"]["L"])),
    ),
    "memory": Study(
        memory,
        ("--task", "parity", "--cell", "lstm"),
        (),
        lambda known: (tokens_(B, T, below=3),),
    ),
    "captioning": Study(
        captioning,
        ("--scenes", "64", "--epochs", "1"),
        ("mnist",),
        lambda known: (tokens_(B, 64, 64, 1, below=256).astype(np.uint8),),
    ),
    "translation": Study(
        translation,
        ("--sentences", "97", "--lengths", "1", "--beam-size", "2", "--epochs", "1"),
        ("multi30k",),
        lambda known: (tokens_(B, T, below=known["sizes"]["V"]),),
    ),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[needs_data(*s.data)] if s.data else [])
        for name, s in STUDIES.items()
    ],
)
def test_the_card_of_each_study_loads_its_network(name, tmp_path, monkeypatch):
    module, options, _, inputs = STUDIES[name]
    study, out, folder = module.STUDY, tmp_path / "run", tmp_path / "model"
    lab.main(study, ["--preset", "smoke", "--out", str(out), *options])
    lab.main(study, ["--out", str(out), "--export", str(folder)])
    known = json.loads((folder / "config.json").read_text())
    codes = blocks(folder)
    example = codes.pop("inputs", "")
    there = {"mgu": ["jaxrnn"]}.get(known["cell"], FRAMEWORKS)
    if name in ("captioning", "translation"):
        there = ["torch", "jaxrnn"]
    assert list(codes) == list(there)
    assert (known["tensors"] == "torch") == ("torch" in codes)
    xs = inputs(known)
    place(folder, xs, codes)
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(example, names)
    for one in EXAMPLES.get(name, ()):
        assert names[one].shape[0] == 1
        assert names[one].size > 2
    ys = computed(module, out, folder, known, xs)
    ran = []
    for framework in codes:
        if importlib.util.find_spec(framework) is not None:
            run(framework, [folder])
            there = np.load(folder / f"{framework}.npy", allow_pickle=False)
            assert there.shape == ys.shape
            np.testing.assert_allclose(there, ys, atol=1e-5, rtol=1e-5)
            ran.append(framework)
    assert "jaxrnn" in ran


def blocks(folder: Path) -> dict[str, str]:
    """The code of a card, by framework."""
    text = (folder / "README.md").read_text().split("## How to load it\n")[1]
    named = re.findall(r"### (\w+)\n.*?```python\n(.*?)```", text, re.S)
    return {title.lower(): code for title, code in named}


def computed(module, out, folder, known, xs) -> np.ndarray:
    """What the network of the study computes with the params of the run."""
    config = card.config(module.STUDY, folder / "config.json")
    config = replace(config, run=replace(config.run, out=out))
    describe, network = module.STUDY.answers["export"].args
    config, finished = find_finished(module.STUDY, config, "export")
    shared = describe(network, config, finished)
    names = {module.STUDY.name: module, "config": config}
    exec(shared.imports, names)
    exec(shared.make, names)
    params = finished.load(names["net"].init)
    names["params"] = lab.of_seed(params, known["seed"] - config.train.seed)
    exec(f"fun = {shared.call}", names)
    return np.asarray(jax.jit(jax.vmap(names["fun"]))(*map(jnp.asarray, xs)))
