"""Who may import whom: the rooms of the house, and the floors of the library."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CELL = {"cells.gated", "cells.options", "checks", "core"}
LINEAR = {"cells.linear", "checks", "core", "precision"}
READER = {"core", "interop.entries", "interop.weights"}  # of weights
DOCTOR = "interop.doctor"
LOOPS = {"loops.dense", "loops.substitute"}
DRIVEN = {"cells.driven", "checks", "core", "layers"}
SIBLINGS = {
    "checks": set(),
    "made": set(),
    "serialization": set(),
    "precision": set(),
    "ends": set(),
    "core": {"checks", "made", "precision"},
    "build": {"checks", "core"},
    "steps": {"build", "core"},
    "lift": {"build", "checks", "core", "steps"},
    "loops/primitives": set(),
    "loops/kernels": set(),
    "loops/substituted": {"loops.kernels"},
    "loops/substitute": {"loops.kernels", "loops.primitives", "loops.substituted"},
    "loops/pointwise": set(),
    "loops/recent": set(),
    "loops/rows": {"loops.primitives", "loops.substitute"},
    "loops/mix": {"loops.rows", "precision"},
    "loops/dense": {"loops.mix", "loops.rows"},
    "loops/inner": {"loops.dense", "loops.mix", "loops.rows"},
    "loops/gated": {
        *("core", "loops.dense", "loops.mix", "loops.pointwise"),
        *("loops.primitives", "loops.substitute", "precision"),
    },
    "loops/matrix_chunk": set(),
    "loops/matrix": {"core", "loops.matrix_chunk", "loops.primitives"},
    "loops/forms": {"core"},
    "loops/linear": {
        *("core", "loops.forms", "loops.mix"),
        *("loops.primitives", "loops.substitute"),
    },
    "loops/blocks": set(),
    "loops/newton": {"core", "loops.blocks"},
    "loops/flat": {"core", "precision"},
    "cells/linear": {"build", "checks", "core", "loops.forms", "loops.linear"},
    "cells/options": {"checks", "combinators.carries", "core"},
    "cells/gated": {
        *("build", "checks", "core", "cells.options"),
        *("loops.dense", "loops.gated", "loops.mix", "loops.pointwise"),
    },
    "cells/dropped": {*CELL, "cells.gru", "cells.lstm", "layers", "loops.pointwise"},
    "cells/convolution": {
        "cells.draws",
        *("build", "cells.options", "checks", "core", "loops.recent", "precision"),
    },
    "cells/matrix": {
        *("build", "cells.convolution", "checks", "core", "loops.matrix"),
        *("loops.matrix_chunk", "loops.rows", "precision"),
    },
    "cells/gla": {
        "cells.draws",
        *("cells.convolution", "cells.matrix", "cells.options", "checks", "core"),
        *("loops.matrix_chunk", "loops.rows", "precision"),
    },
    "cells/delta_rule": {"cells.matrix", "checks", "core", "loops.matrix_chunk"},
    "cells/delta_layer": {
        "cells.draws",
        *("cells.convolution", "cells.matrix", "checks", "core", "loops.matrix"),
        *("loops.matrix_chunk", "precision"),
    },
    "cells/delta_net": {
        "cells.draws",
        *("cells.delta_layer", "cells.matrix", "cells.options", "checks", "core"),
    },
    "cells/gla_recurrence": {"cells.matrix", "checks", "core", "loops.matrix_chunk"},
    "cells/mlstm_recurrence": {
        *("cells.matrix", "checks", "core", "loops.matrix_chunk", "precision"),
    },
    "cells/mlstm_cell": {
        *("cells.matrix", "cells.mlstm_recurrence", "checks", "core"),
        *("loops.matrix_chunk", "precision"),
    },
    "cells/mlstm": {
        *("cells.convolution", "cells.matrix", "cells.mlstm_cell", "checks", "core"),
        *("cells.mlstm_recurrence", "loops.rows"),
    },
    "cells/elman": {*CELL, "loops.pointwise"},
    "cells/gru": {*CELL, *LOOPS, "build", "loops.inner", "loops.pointwise"},
    "cells/lstm": {*CELL, "loops.pointwise"},
    "cells/projected": {*CELL, "cells.lstm", "loops.dense", "loops.pointwise"},
    "cells/recurrent": {*CELL, "cells.elman", "loops.pointwise"},
    "cells/irnn": {*CELL, "cells.elman"},
    "cells/indrnn": {*CELL, "cells.elman", "loops.mix", "loops.pointwise"},
    "cells/mgu": {*CELL, "loops.inner", "loops.pointwise"},
    "cells/peephole": {*CELL, "cells.lstm", "loops.pointwise"},
    "cells/coupled": {*CELL, "cells.lstm", "loops.pointwise"},
    "cells/layer_norm": {
        *(*CELL, "cells.gru", "cells.lstm", "layers", "loops.pointwise", "precision"),
    },
    "cells/conv_lstm": {*CELL, "cells.lstm", "cells.peephole", "loops.mix"},
    "cells/slstm": {*CELL, "loops.pointwise"},
    "cells/slstm_layer": {
        *(*CELL, "build", "cells.convolution", "cells.slstm", "loops.mix", "precision"),
    },
    "cells/modes": {*LINEAR, "loops.rows"},
    "cells/hippo": set(),
    "cells/lru": {"cells.modes", "checks", "core", "precision"},
    "cells/s5": {
        *("cells.hippo", "cells.modes", "checks", "combinators.compose", "core"),
        *("lift", "precision"),
    },
    "cells/rg_lru": {*LINEAR, "build", "loops.recent"},
    "cells/minimal": {*LINEAR, "cells.draws", "loops.rows"},
    "cells/qrnn": {*LINEAR, "cells.draws", "build", "loops.recent", "loops.rows"},
    "cells/selective_scan": {*LINEAR, "cells.draws"},
    "cells/names": {"checks", "core"}
    | {
        f"cells.{name}"
        for name in (
            *("cfc", "clockwork", "cornn", "coupled", "delta_net", "elman", "gla"),
            *("gru", "indrnn", "irnn", "layer_norm", "lem", "lru", "lstm", "ltc"),
            *("mamba", "mgu", "minimal", "mlstm", "orthogonal", "peephole", "qrnn"),
            *("rg_lru", "s5", "slstm", "slstm_layer", "sru"),
        )
    },
    "cells/mamba": {
        *("build", "cells.convolution", "cells.draws", "cells.selective_scan"),
        *("checks", "core", "loops.rows", "precision", "steps"),
    },
    "cells/draws": {"cells.options", "precision"},
    "cells/driven": {"build", "checks", "core"},
    "cells/cfc": {
        *(*DRIVEN, "cells.draws", "loops.dense", "loops.rows", "precision"),
    },
    "cells/clockwork": {*CELL, "loops.pointwise"},
    "cells/cornn": {
        *(*CELL, "build", "cells.elman", "cells.draws", "loops.pointwise"),
    },
    "cells/lem": {
        *(*CELL, "cells.draws", "loops.dense", "loops.inner", "loops.pointwise"),
    },
    "cells/ltc": {"cells.driven", "checks", "core"},
    "cells/orthogonal": {
        *(*CELL, "cells.draws", "loops.dense", "loops.pointwise", "precision"),
    },
    "cells/sru": {*DRIVEN, "cells.draws", "loops.rows"},
    "layers": {"build", "checks", "core", "loops.rows", "precision"},
    "pooling": {"checks", "core", "precision"},
    "attention": {
        "build",
        "checks",
        "core",
        "lift",
        "pooling",
        "loops.rows",
        "precision",
    },
    "combinators/carries": {"build", "checks", "core", "lift", "steps"},
    "combinators/compose": {
        "build",
        "checks",
        "core",
        "layers",
        "lift",
        "loops.rows",
        "precision",
    },
    "combinators/feedback": {"build", "checks", "core", "lift", "pooling"},
    "combinators/noise": {"build", "checks", "core", "layers", "lift"},
    "combinators/time": {"build", "checks", "core", "precision", "steps"},
    "combinators/dilated": {"build", "checks", "core", "lift", "steps"},
    "combinators/parallel": {
        *("build", "checks", "core", "loops", "loops.flat", "steps"),
        *("combinators.newton", "combinators.time"),
    },
    "combinators/newton": {"checks"},
    "decode/choosers": {"checks"},
    "decode/inputs": {"checks", "core", "decode.choosers"},
    "decode/generation": {
        "build",
        "checks",
        "core",
        "decode.choosers",
        "decode.inputs",
    },
    "decode/beam": {"build", "checks", "core", "decode.choosers", "decode.inputs"},
    "decode/scheduled": {
        "build",
        "checks",
        "core",
        "decode.choosers",
        "decode.inputs",
        "lift",
    },
    "means": {"checks", "precision"},
    "losses": {"checks", "means", "precision"},
    "penalties": {"checks", "losses"},
    "kernels/build": set(),
    "kernels/check": {
        *("cells.elman", "cells.gru", "cells.lstm", "loops.dense", "loops.gated"),
        "loops.linear",
        *("loops.inner", "loops.mix", "loops.pointwise", "loops.rows"),
        "loops.substitute",
    },
    "kernels/cpu": {
        *("cells.elman", "cells.gru", "cells.lstm", "kernels.build", "kernels.check"),
        *("loops.dense", "loops.gated", "loops.inner", "loops.linear", "loops.mix"),
        "loops.substitute",
    },
    "kernels/gates": set(),
    "kernels/fused": {"kernels.gates"},
    "kernels/fused_linear": {"loops.linear"},
    "kernels/gpu": {
        *("kernels", "kernels.fused", "kernels.gates", "loops.dense", "loops.gated"),
        *("loops.inner", "loops.substitute"),
    },
    "kernels/explain": {
        *("checks", "core", "kernels", "kernels.build", "loops.substitute"),
    },
    "packing": {"checks"},
    "testing/trees": {"core"},
    "testing/trial": {"checks", "core", "testing.trees"},
    "testing/forms": {"core", "testing.trees", "testing.trial"},
    "testing/laws": {"testing.trees", "testing.trial"},
    "train/optimizer": set(),
    "train/batch": set(),
    "train/state": {"checks", "core", "train.optimizer"},
    "train/update": {
        *("checks", "core", "means"),
        *("train.batch", "train.optimizer", "train.state"),
    },
    "train/epoch": {"checks", "core", "train.state"},
    "train/projection": {"checks", "train.optimizer"},
    "interop/entries": set(),
    "interop/weights": {"cells", "checks", "combinators", "core", "interop.entries"},
    "interop/layers": READER,
    "interop/torch": {*READER, "interop.layers"},
    "interop/paddle": {*READER, "interop.layers"},
    "interop/cudnn": READER,
    "interop/chainer": {*READER, "interop.cudnn"},
    "interop/flax": READER,
    "interop/haiku": READER,
    "interop/sonnet": READER,
    "interop/equinox": READER,
    "interop/mlx": READER,
    "interop/keras_layers": set(),
    "interop/keras": {*READER, "combinators", "interop.keras_layers"},
    "interop/tensorflow_ops": {"cells", "checks"},
    "interop/tensorflow": {*READER, "cells", "checks", "interop.tensorflow_ops"},
    "interop/safetensors": {"interop.entries"},
    "interop/published/indrnn": {"cells.indrnn", "core", "interop.entries"},
    "interop/published/xlstm": {
        *("cells.convolution", "cells.slstm", "cells.slstm_layer", "core"),
        "interop.entries",
    },
    "interop/published/entries": {"interop.entries"},
    "interop/published/state_spaces": {
        *("cells.convolution", "cells.lru", "cells.mamba", "cells.s5"),
        *("cells.selective_scan", "core", "interop.published.entries"),
    },
    "interop/published/averages": {
        *("cells.minimal", "cells.qrnn", "cells.rg_lru", "checks", "core"),
        "interop.published.entries",
    },
    "interop/published/matrix": {"cells", "checks", "core", "interop.entries"},
    "interop/published/named": {"interop.entries"},
    "interop/published/ncps": {
        *("cells.cfc", "cells.ltc", "core", "interop.entries", "layers"),
        "interop.published.named",
    },
    "interop/published/oscillators": {
        *("cells.cornn", "cells.lem", "core", "interop.published.named"),
    },
    "interop/published/sru": {
        *("cells.sru", "core", "interop.published.named", "layers"),
    },
    "interop/doctor/graphs": {"interop.onnx.valid"},
    "interop/doctor/recurrent": {f"{DOCTOR}.graphs"},
    "interop/doctor/effects": {f"{DOCTOR}.recurrent"},
    "interop/doctor/guards": {f"{DOCTOR}.graphs", f"{DOCTOR}.recurrent"},
    "interop/doctor/equations": {
        *(f"{DOCTOR}.{name}" for name in ("effects", "guards", "recurrent")),
    },
    "interop/doctor/notation": {f"{DOCTOR}.effects", f"{DOCTOR}.recurrent"},
    "interop/doctor/rules": {
        *(f"{DOCTOR}.{name}" for name in ("effects", "equations", "notation")),
    },
    "interop/doctor/operators": {f"{DOCTOR}.recurrent"},
    "interop/doctor/loops": {
        *(f"{DOCTOR}.operators", f"{DOCTOR}.recurrent", "interop.onnx.valid"),
    },
    "interop/doctor/fixed": {f"{DOCTOR}.graphs"},
    "interop/doctor/diagnosis": {
        *("interop.doctor", f"{DOCTOR}.fixed", f"{DOCTOR}.graphs", f"{DOCTOR}.rules"),
        *(f"{DOCTOR}.effects", "interop.onnx.valid"),
    },
    "interop/doctor/rewriting": {
        *("interop.doctor", f"{DOCTOR}.diagnosis", f"{DOCTOR}.fixed"),
        *(f"{DOCTOR}.{name}" for name in ("graphs", "loops", "operators")),
        *(f"{DOCTOR}.{name}" for name in ("effects", "notation", "recurrent")),
        "interop.onnx.valid",
    },
    "interop/doctor/runtimes": set(),  # a program of its own
    "interop/doctor/comparison": {
        *("interop.doctor", f"{DOCTOR}.diagnosis", f"{DOCTOR}.graphs"),
    },
    "interop/doctor/pages": {f"{DOCTOR}.effects", f"{DOCTOR}.rules"},
    "interop/doctor/__main__": {"interop", f"{DOCTOR}.command"},
    "interop/doctor/command": {
        *("interop.doctor", f"{DOCTOR}.diagnosis", f"{DOCTOR}.rewriting"),
        f"{DOCTOR}.effects",
    },
    "interop/onnx/valid": set(),
    "interop/onnx/graph": set(),
    "interop/onnx/cell": {"build", "cells", "checks", "core", *LOOPS},
    "interop/onnx/operators": {"interop.onnx.graph"},
    "interop/onnx/shapes": {"interop.onnx.graph", "interop.onnx.operators"},
    "interop/onnx/indexing": {
        *("interop.onnx.graph", "interop.onnx.operators", "interop.onnx.shapes"),
    },
    "interop/onnx/sums": {"interop.onnx.graph", "interop.onnx.operators"},
    "interop/onnx/recognized": {
        *("cells.elman", "cells.gru", "cells.lstm", "cells.projected"),
        *("interop.onnx.cell", "interop.onnx.graph", "interop.weights"),
        *("loops.dense", "loops.inner"),
    },
    "interop/onnx/native": {
        *("interop.onnx.cell", "interop.onnx.graph", "interop.onnx.recognized"),
    },
    "interop/onnx/walk": {
        *("interop.onnx.graph", "interop.onnx.native", "interop.onnx.operators"),
        *("core", "interop.onnx.indexing", "interop.onnx.recognized"),
        *("interop.onnx.shapes", "interop.onnx.sums"),
    },
    "interop/onnx/program": {
        *("attention", "build", "combinators.time", "core", "loops.substitute"),
        *("interop.onnx.graph", "interop.onnx.shapes", "interop.onnx.walk"),
    },
    "interop/onnx/export": {
        *("attention", "build", "checks", "core"),
        *("interop.onnx.graph", "interop.onnx.program"),
    },
    "interop/onnx/recurrent": {
        *("combinators", "core", "interop.entries", "interop.onnx.cell"),
        "interop.weights",
    },
    "interop/onnx/flow": {"combinators", "core", "lift"},
    "interop/onnx/states": {"combinators", "core", "interop.onnx.flow", "lift"},
    "interop/onnx/axes": {"interop.onnx.flow", "interop.onnx.graph"},
    "interop/onnx/layers": {
        *("layers", "interop.onnx.axes", "interop.onnx.states"),
        *("interop.onnx.cell", "interop.onnx.flow", "interop.onnx.graph"),
    },
    "interop/onnx/nodes": {
        *("interop.onnx.cell", "interop.onnx.flow", "interop.onnx.recurrent"),
        "interop.onnx.states",
    },
    "interop/onnx/reader": {
        *("interop.onnx.axes", "interop.onnx.flow", "interop.onnx.graph"),
        *("interop.onnx.layers", "interop.onnx.nodes", "interop.onnx.states"),
        "interop.onnx.valid",
    },
    "interop/onnx/load": {
        *("core", "interop.onnx.flow", "interop.onnx.graph"),
        *("interop.onnx.reader", "interop.onnx.states", "interop.onnx.valid"),
    },
}
OUTSIDE = {
    "losses": {"optax"},
    "train/optimizer": {"optax"},
    "train/projection": {"optax"},
    "train/state": {"optax"},
    "train/update": {"optax"},
    "interop/safetensors": {"safetensors"},  # when it is called
    "interop/onnx/graph": {"onnx"},  # when it is called
    "interop/onnx/load": {"onnx"},
    "interop/onnx/valid": {"onnx"},
} | {
    f"interop/doctor/{name}": {"onnx"}
    for name in (
        *("graphs", "recurrent", "notation", "operators", "loops", "fixed"),
        *("diagnosis", "rewriting", "comparison", "runtimes"),
    )
}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return found


def modules(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found
    return found


def test_every_module_of_the_library_has_a_floor():
    paths = [p.relative_to(ROOT / "jaxrnn") for p in modules("jaxrnn")]
    names = {p.with_suffix("").as_posix() for p in paths if p.stem != "__init__"}
    assert names == set(SIBLINGS)


@pytest.mark.parametrize("name", SIBLINGS)
def test_a_module_imports_only_what_lies_below(name):
    found = imports(ROOT / "jaxrnn" / f"{name}.py")
    siblings = {i.removeprefix("jaxrnn.") for i in found if i.startswith("jaxrnn")}
    assert siblings <= SIBLINGS[name]
    outside = {i.split(".")[0] for i in found} - {"jaxrnn"} - sys.stdlib_module_names
    assert outside <= {"jax", "numpy"} | OUTSIDE.get(name, set())


@pytest.mark.parametrize("folder", ["experiments", "benchmarks"])
def test_users_of_the_library_import_only_its_public_face(folder):
    for path in (ROOT / folder).rglob("*.py"):
        assert not {i for i in imports(path) if i.startswith("jaxrnn.")}, path


def test_the_lab_knows_no_study_and_its_modules_make_no_circle():
    paths = modules("experiments/lab")
    graph = {path.stem: set() for path in paths if path.stem != "__init__"}
    for name, below in graph.items():
        for node in ast.walk(ast.parse((paths[0].parent / f"{name}.py").read_text())):
            module = getattr(node, "module", None) or ""
            if not isinstance(node, ast.ImportFrom) or "experiments" not in module:
                continue
            found = module.removeprefix("experiments.lab").removeprefix(".")
            if module != "experiments.data":  # which has no more than its error
                below |= {found} if found else {alias.name for alias in node.names}
        assert below <= set(graph), f"{name} imports {below - set(graph)}"
    graphlib.TopologicalSorter(graph).prepare()  # raises where there is a circle


def test_nothing_imports_the_experiments_but_themselves():
    for folder in ("jaxrnn", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not {i for i in imports(path) if i.startswith("experiments")}, path


def test_importing_the_library_needs_only_jax_and_optax():
    extras = {"tensorflow_datasets", "sklearn", "tyro", "tqdm", "matplotlib", "PIL"}
    extras |= {"onnx"}
    show = f"print(sorted({extras} & set(sys.modules)))"
    code = f"import jaxrnn, jaxrnn.interop, sys; {show}"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "[]"
