"""Runs a file, and the rewritten one, on the same random inputs."""

from collections.abc import Collection
from typing import Any

import numpy as np
import onnx

from jaxrnn.interop.doctor import recurrent, runtimes
from jaxrnn.interop.doctor.diagnosis import inlined
from jaxrnn.interop.doctor.graphs import RECURRENT, walk

FREE = 4  # the size of an axis that the file leaves open


def inputs(model: onnx.ModelProto, seed: int = 0) -> dict[str, np.ndarray]:
    """Random inputs: normal numbers, lengths from 1 to T, else zeros and ones."""
    key = np.random.default_rng(seed)
    lengths = {}
    for place in walk(inlined(model)):
        if place.node.op_type in RECURRENT:
            node = recurrent.read(place)
            if isinstance(node.lengths, str):
                lengths[node.lengths] = (
                    node.time if isinstance(node.time, int) else FREE
                )
    stored = {i.name for i in model.graph.initializer}
    found = {}
    for value in model.graph.input:
        if value.name in stored:
            continue
        kind = value.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        shape = [d.dim_value or FREE for d in kind.shape.dim]
        if value.name in lengths:
            array = key.integers(1, lengths[value.name] + 1, shape)
        elif np.issubdtype(dtype, np.floating):
            array = key.normal(size=shape)
        else:
            array = key.integers(0, 2, shape)
        found[value.name] = np.asarray(array, dtype)
    return found


def compare(
    model: onnx.ModelProto,
    changed: onnx.ModelProto,
    wanted: Collection[str],
    seed: int = 0,
) -> dict[str, Any]:
    """The largest difference of each runtime from the reference, for both files.

    The reference is the rewritten file, whose operators are plain, in the first
    runtime that runs it. A failure stands in the place of a number.
    """
    feeds = inputs(changed, seed)
    jobs = [(m.SerializeToString(), feeds) for m in (model, changed)]
    here = [r for r in runtimes.PACKAGES if r in wanted and r in runtimes.installed()]
    answers = {r: runtimes.run(r, jobs) for r in here}
    right = next(
        (a[1] for a in answers.values() if not isinstance(a[1], runtimes.Failure)), None
    )
    rows = {r: [_apart(answer, right) for answer in a] for r, a in answers.items()}
    return {"seed": seed, "runtimes": rows}


def _apart(answer, right) -> float | str:
    if isinstance(answer, runtimes.Failure):
        return answer.kind
    if right is None:
        return "no reference"
    apart = 0.0
    for name, array in answer.items():
        if array.shape != right[name].shape:
            return f"{name} has shape {list(array.shape)}"
        error = np.abs(np.float64(array) - np.float64(right[name])).max(initial=0.0)
        apart = max(apart, float(error))
    return apart
