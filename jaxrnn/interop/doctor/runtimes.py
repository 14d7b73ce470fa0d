"""Runs models in the runtimes that are installed, each in a process of its own.

A runtime may end its process, or never come back: it takes nobody with it. This file is
also the program of that process, which imports no more than the runtime.
"""

import importlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

PACKAGES = {
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "tract": "tract",
    "opencv": "cv2",
    "mnn": "_tools",  # MNN.tools would install a package, and call home, on import
    "reference": "onnx",
}
Feeds = Mapping[str, np.ndarray]


class Failure(NamedTuple):
    """What a runtime did in the place of an answer."""

    kind: str  # "refuses" or "ends the process"
    message: str


def installed() -> list[str]:
    """The runtimes that are here."""
    return [r for r, p in PACKAGES.items() if importlib.util.find_spec(p) is not None]


def run(
    runtime: str, jobs: Sequence[tuple[bytes, Feeds]], timeout: float = 120.0
) -> list[dict[str, np.ndarray] | Failure]:
    """The outputs of each model on its inputs, by name, or how it failed."""
    found: list[dict[str, np.ndarray] | Failure] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for i, (model, feeds) in enumerate(jobs):
            (folder / f"{i}.onnx").write_bytes(model)
            np.savez(folder / f"{i}.feeds.npz", **dict[str, Any](feeds))
        while len(found) < len(jobs):
            command = [sys.executable, "-P", __file__, runtime, name, str(len(found))]
            try:
                done = subprocess.run(command, capture_output=True, timeout=timeout)
                ended = f"exit status {done.returncode}"
            except subprocess.TimeoutExpired:
                ended = f"no answer in {timeout:g} s"
            for i in range(len(found), len(jobs)):
                answer = _answer(folder / f"{i}")
                if answer is None:
                    found.append(Failure("ends the process", ended))
                    break
                found.append(answer)
    return found


def _answer(stem: Path) -> dict[str, np.ndarray] | Failure | None:
    error, arrays = stem.with_suffix(".error"), stem.with_suffix(".npz")
    if error.exists():
        return Failure("refuses", error.read_text())
    if not arrays.exists():
        return None
    with np.load(arrays, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _main(runtime: str, folder: str, first: str) -> None:
    compute = globals()[f"_{runtime}"]
    count = len(list(Path(folder).glob("*.onnx")))
    for i in range(int(first), count):
        path = os.path.join(folder, f"{i}.onnx")
        with np.load(os.path.join(folder, f"{i}.feeds.npz"), allow_pickle=False) as f:
            feeds = {name: f[name] for name in f.files}
        try:
            answer = compute(path, feeds, _outputs(path))
        except Exception as error:  # whatever a runtime raises is its refusal
            text = f"{type(error).__name__}: {error}"
            Path(folder, f"{i}.error").write_text(text)
        else:
            half = os.path.join(folder, f"{i}.half")
            arrays: dict[str, Any] = {k: np.asarray(v) for k, v in answer.items()}
            with open(half, "wb") as file:
                np.savez(file, **arrays)
            os.replace(half, os.path.join(folder, f"{i}.npz"))


def _outputs(path: str) -> list[str]:
    import onnx

    return [o.name for o in onnx.load(path).graph.output]


def _onnxruntime(path: str, feeds: Feeds, names: list[str]):
    onnxruntime = importlib.import_module("onnxruntime")

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(
        path, options, providers=["CPUExecutionProvider"]
    )
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def _openvino(path: str, feeds: Feeds, names: list[str]):
    openvino = importlib.import_module("openvino")

    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    core.set_property("CPU", settings)
    found = core.compile_model(core.read_model(path), "CPU")(dict(feeds))
    return {name: np.array(found[name]) for name in names}


def _reference(path: str, feeds: Feeds, names: list[str]):
    from onnx.reference import ReferenceEvaluator

    found = ReferenceEvaluator(path).run(names, dict(feeds))
    return dict(zip(names, found, strict=True))


def _tract(path: str, feeds: Feeds, names: list[str]):
    tract = importlib.import_module("tract")

    model = tract.onnx().load(path)
    order = [model.input_name(i) for i in range(model.input_count())]
    for i, name in enumerate(order):
        array = feeds[name]
        kind = (
            "bool" if array.dtype == bool else f"{array.dtype.kind}{array.itemsize * 8}"
        )
        model.set_input_fact(i, ",".join([*map(str, array.shape), kind]))
    found = model.into_model().into_runnable().run([feeds[name] for name in order])
    return {n: np.array(f.to_numpy()) for n, f in zip(names, found, strict=True)}


def _opencv(path: str, feeds: Feeds, names: list[str]):
    cv2 = importlib.import_module("cv2")

    net = cv2.dnn.readNetFromONNX(path)
    for name, array in feeds.items():
        net.setInput(array, name)
    return dict(zip(names, net.forward(names), strict=True))


def _mnn(path: str, feeds: Feeds, names: list[str]):
    _tools, MNN = map(importlib.import_module, ("_tools", "MNN"))

    made = f"{path}.mnn"
    command = ["mnnconvert", "-f", "ONNX", "--modelFile", path, "--MNNModel", made]
    _tools.mnnconvert([*command, "--bizCode", "none"])
    if not os.path.exists(made):
        raise ValueError("not converted")
    kinds = {
        "float32": MNN.expr.float,
        "float64": MNN.expr.double,
        "int32": MNN.expr.int,
        "int64": MNN.expr.int64,
    }
    module = MNN.nn.load_module_from_file(made, list(feeds), names)
    inputs = []
    for array in feeds.values():
        kind = kinds.get(str(array.dtype), MNN.expr.float)
        inputs.append(MNN.expr.placeholder(list(array.shape), MNN.expr.NCHW, kind))
        inputs[-1].write(array.ravel().tolist())
    found = module.forward(inputs)
    if not found:
        raise ValueError("computed nothing")
    return {n: np.array(f.read()) for n, f in zip(names, found, strict=True)}


if __name__ == "__main__":
    _main(*sys.argv[1:])
