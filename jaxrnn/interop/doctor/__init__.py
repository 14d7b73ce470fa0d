"""ONNX files with recurrent nodes: which runtimes compute them otherwise, and why.

`diagnose(model)` names the runtimes that drop or misread what a file says, or refuse
it; `rewrite(model)` gives a file on which they agree. As a command:

    python -m jaxrnn.interop.doctor model.onnx --rewrite same.onnx --run

The runtimes are onnxruntime, OpenVINO, tract, OpenCV, MNN, and onnx's own reference
evaluator; none needs to be installed but for `--run`. `docs/RUNTIMES.md` has the table.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxrnn.interop.doctor.diagnosis import Finding, diagnose
    from jaxrnn.interop.doctor.effects import RUNTIMES
    from jaxrnn.interop.doctor.rewriting import rewrite

WHERE = {
    "Finding": "diagnosis",
    "diagnose": "diagnosis",
    "rewrite": "rewriting",
    "RUNTIMES": "effects",
}
__all__ = ["RUNTIMES", "Finding", "diagnose", "rewrite"]


def __getattr__(name: str) -> Any:
    """Imports a part when it is first used, which needs onnx."""
    if name not in WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(f"{__name__}.{WHERE[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise ImportError(
            f"{__name__} needs onnx: pip install 'jaxrnn[onnx]'"
        ) from None
