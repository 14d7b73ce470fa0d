"""ONNX files with recurrent nodes: which runtimes compute them otherwise, and why.

`diagnose(model)` names the runtimes that drop or misread what a file says, or refuse
it; `rewrite(model)` gives a file on which they agree. As a command:

    python -m jaxrnn.interop.doctor model.onnx --rewrite same.onnx --run

The runtimes are onnxruntime, OpenVINO, tract, OpenCV, MNN, and onnx's own reference
evaluator; none needs to be installed but for `--run`. `docs/RUNTIMES.md` has the table.
"""

try:
    import onnx as _onnx
except ImportError as error:
    raise ImportError(
        "jaxrnn.interop.doctor needs onnx: pip install 'jaxrnn[onnx]'"
    ) from error

from jaxrnn.interop.doctor.diagnosis import Finding, diagnose
from jaxrnn.interop.doctor.rewriting import rewrite
from jaxrnn.interop.doctor.rules import RUNTIMES

del _onnx

__all__ = ["RUNTIMES", "Finding", "diagnose", "rewrite"]
