"""`load_onnx` of what torch, Keras and tf2onnx export, against onnxruntime."""

import importlib.util
import subprocess
import sys
from typing import Any

import exporters
import jax
import numpy as np
import onnxruntime
import pytest

from jaxrnn import interop

INSTALL = "pip install 'jaxrnn[exporters]'"
# The cases that are read; all others are refused by name.
HEADS = {"1 seq", "2 last", "1 state", "1 norm", "2 both seq", "1 both states"}
OF_TORCH = {f"{kind} {head}" for kind in exporters.KINDS for head in HEADS}
OF_KERAS = {"LSTM seq", "LSTM last", "LSTM both", "LSTM backward", "LSTM relu"}
READ = {
    "torch": OF_TORCH | {"LSTM 1 memory"},
    "torch-dynamo": {n for n in OF_TORCH if "RNN" not in n} | {"LSTM 1 memory"},
    "tf2onnx": OF_KERAS
    | {n.replace("LSTM", "GRU") for n in OF_KERAS if "relu" not in n}
    | {"LSTM tokens", "GRU tokens", "LSTM hard"},
    "keras-tensorflow": OF_KERAS,
    "keras-jax": set(),
    "keras-torch": set(),
}


def of_onnxruntime(path, x) -> Any:
    """The first output; None where onnxruntime refuses the file."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), options)
        given = session.get_inputs()[0]
        kinds = {"tensor(float)": "f4", "tensor(int64)": "i8", "tensor(int32)": "i4"}
        return session.run(None, {given.name: x.astype(kinds[given.type])})[0]
    except Exception:  # of many classes
        return None


@pytest.mark.slow
@pytest.mark.parametrize("name", exporters.EXPORTERS)
def test_a_file_is_read_or_refused_by_name(name, tmp_path):
    modules = exporters.EXPORTERS[name][2]
    if not all(map(importlib.util.find_spec, modules)):
        pytest.skip(f"{name} is not installed: {INSTALL}")
    program = [sys.executable, exporters.__file__, name, str(tmp_path)]
    run = subprocess.run(program, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    read, refused = set(), {}
    for path in sorted(tmp_path.glob("*.onnx")):
        if not path.with_suffix(".npz").exists():  # the exporter broke off
            continue
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as stored:
            x, y = stored["x"], stored["y"]
        try:
            cell, params = interop.load_onnx(path)
        except ValueError as error:
            refused[path.stem] = str(error)
            continue
        read.add(path.stem)
        carry = cell.initial_carry(params)
        got = jax.vmap(lambda x, c=cell, p=params, s=carry: c.unroll(p, s, x)[1])(x)
        got = got if got.shape == y.shape else got[:, -1]
        wanted = of_onnxruntime(path, x)
        assert wanted is not None, path
        np.testing.assert_allclose(got, wanted, atol=1e-5, err_msg=path.stem)
        np.testing.assert_allclose(got, y, atol=1e-5, err_msg=path.stem)
    assert read == READ[name]
    named = [message.startswith("load_onnx: ") for message in refused.values()]
    assert all(named), refused
