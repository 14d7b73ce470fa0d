"""The doctor's table against the runtimes themselves, and the files it rewrites."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import parser
from onnx_nodes import Case

from jaxrnn.interop import doctor
from jaxrnn.interop.doctor import pages, runtimes
from jaxrnn.interop.doctor.command import main
from jaxrnn.interop.doctor.effects import DIFFERS, ENDS, REFUSES
from jaxrnn.interop.doctor.rules import RULES

ROOT = Path(__file__).parents[2]
HC = ("h0", "c0")
AFTER: dict[str, Any] = {"linear_before_reset": 1}
BOTH: dict[str, Any] = {"direction": "bidirectional"}
RELU = ["Sigmoid", "Relu", "Tanh"]
CASES = {
    "plain RNN": Case("RNN"),
    "plain GRU": Case("GRU", **AFTER),
    "plain LSTM": Case("LSTM", states=HC),
    "both ways": Case("GRU", direction="bidirectional", **AFTER),
    "peepholes": Case("LSTM", peepholes=True, states=HC),
    "coupled": Case("LSTM", input_forget=1, states=HC),
    "coupled peepholes": Case("LSTM", input_forget=1, peepholes=True),
    "reverse RNN": Case("RNN", direction="reverse"),
    "reverse GRU": Case("GRU", direction="reverse", **AFTER),
    "reverse LSTM": Case("LSTM", direction="reverse", states=HC),
    "reset before": Case("GRU"),
    "reset before, both ways": Case("GRU", direction="bidirectional"),
    "lengths RNN": Case("RNN", lengths=[5, 3]),
    "lengths GRU": Case("GRU", lengths=[5, 3], fed=True, **AFTER),
    "lengths LSTM": Case("LSTM", lengths=[5, 3], states=HC),
    "lengths both ways": Case("LSTM", lengths=[3, 5], direction="bidirectional"),
    "lengths, any batch": Case("GRU", lengths=[5, 3], fed=True, batch="N", **AFTER),
    "lengths, any time": Case("LSTM", lengths=[5, 3], time="T"),
    "lengths, any size": Case("RNN", lengths=[5, 3], fed=True, time="T", batch="N"),
    "whole lengths": Case("LSTM", lengths=[5, 5]),
    "empty": Case("GRU", lengths=[5, 0], states=["h0"], **AFTER),
    "clip": Case("LSTM", clip=0.3, states=HC),
    "relu RNN": Case("RNN", activations=["Relu"]),
    "relu GRU": Case("GRU", activations=["Sigmoid", "Relu"], **AFTER),
    "relu LSTM": Case("LSTM", activations=RELU, states=HC),
    "own backward": Case("RNN", activations=["Tanh", "Relu"], **BOTH),
    "hard gates": Case("GRU", activations=["HardSigmoid", "Tanh"]),
    "written out": Case("GRU", activations=["Sigmoid", "Tanh"], **AFTER),
    "lower case": Case("RNN", activations=["tanh"]),
    "no alpha": Case("RNN", activations=["ThresholdedRelu"]),
    "alpha": Case(
        "RNN",
        activations=["ScaledTanh"],
        activation_alpha=[1.5],
        activation_beta=[0.6],
    ),
    "layout RNN": Case("RNN", layout=1),
    "layout LSTM": Case("LSTM", layout=1, states=HC),
    "float64": Case("GRU", dtype=np.float64, **AFTER),
    "zero states": Case("LSTM"),
    "one state": Case("LSTM", states=["h0"]),
    "no bias": Case("LSTM", states=HC, bias=False),
    "final GRU": Case("GRU", outputs=["", "Y_h"], **AFTER),
    "outputs GRU": Case("GRU", outputs=["Y"], **AFTER),
    "no hidden_size": Case("GRU", hidden=False, **AFTER),
    "any length": Case("GRU", time="T", **AFTER),
    "any length, clip": Case("RNN", time="T", clip=0.5, direction="reverse"),
    "much at once": Case(
        "GRU", direction="reverse", lengths=[5, 3], fed=True, clip=0.5
    ),
    "opset 7": Case("LSTM", opset=7, states=HC, input_forget=1),
}
# The extra `test` has these; the others may be absent, and take longer.
SMALL = ("onnxruntime", "reference")
here = pytest.mark.parametrize(
    "runtime",
    [
        pytest.param(
            r,
            marks=[
                pytest.mark.skipif(
                    r not in runtimes.installed(), reason="not installed"
                ),
                *([] if r in SMALL else [pytest.mark.slow]),
            ],
        )
        for r in doctor.RUNTIMES
    ],
)


def same(answer, wanted):
    return all(
        array.shape == wanted[name].shape
        and np.abs(array - wanted[name]).max()
        < 1e-5 * max(1, np.abs(wanted[name]).max())
        for name, array in answer.items()
    )


@here
def test_the_table_is_what_the_runtime_does(runtime):
    found = {
        name: doctor.diagnose(case.model, [runtime]) for name, case in CASES.items()
    }
    tried = {k: f for k, f in found.items() if all(x.kind != ENDS for x in f)}
    jobs = [(CASES[k].model.SerializeToString(), CASES[k].feeds) for k in tried]
    wrong = {}
    for (name, findings), answer in zip(
        tried.items(), runtimes.run(runtime, jobs), strict=True
    ):
        case, kinds = CASES[name], {f.kind for f in findings}
        if isinstance(answer, runtimes.Failure):
            if kinds != {REFUSES} and answer.kind not in kinds:
                wrong[name] = answer
            continue
        if REFUSES in kinds or same(answer, case.loop()) == bool(findings):
            wrong[name] = findings
        changes = {}
        for finding in findings:
            rule = next(r for r in RULES if r.feature == finding.feature)
            effect = next(
                e for e in rule.effects
                if (e.runtime, e.kind, e.what) == (runtime, DIFFERS, finding.what)
            )  # fmt: skip
            changes |= effect.as_if
        if changes and not {"layout", "outputs"} & set(changes):
            given = {"given": case.attrs.get("activations")}
            if not same(answer, case.loop(**given, **changes)):
                wrong[name] = f"is not {changes}"
    assert not wrong, wrong


@here
def test_a_rewritten_file_is_right(runtime):
    changed = {name: doctor.rewrite(case.model) for name, case in CASES.items()}
    good = {k: m for k, m in changed.items() if not doctor.diagnose(m, [runtime])}
    open_sizes = [name for name in CASES if "any " in name]
    # Without a length, some runtime has no form.
    assert len(good) >= len(CASES) - len(open_sizes)
    jobs = [(m.SerializeToString(), CASES[k].feeds) for k, m in good.items()]
    for name, answer in zip(good, runtimes.run(runtime, jobs), strict=True):
        assert not isinstance(answer, runtimes.Failure), (name, answer)
        assert same(answer, CASES[name].loop()), name


def test_a_length_makes_every_form_possible():
    for name in ("any length", "any length, clip"):
        assert doctor.diagnose(doctor.rewrite(CASES[name].model))
        assert doctor.diagnose(doctor.rewrite(CASES[name].model, time=5)) == []


def test_only_what_the_named_runtimes_need_is_changed():
    case = CASES["any length, clip"]
    ops = [n.op_type for n in doctor.rewrite(case.model, ["tract"]).graph.node]
    assert "Scan" in ops
    model = doctor.rewrite(case.model, ["openvino"])
    assert [n.op_type for n in model.graph.node] == ["RNN"]


def test_a_scan_and_a_loop_are_right():
    case = Case("LSTM", time="T", clip=0.5, lengths=[5, 3], direction="bidirectional")
    jobs = []
    for wanted in (["tract"], ["mnn"]):
        model = doctor.rewrite(case.model, wanted)
        assert {"Scan", "Loop"} & {n.op_type for n in model.graph.node}
        jobs.append((model.SerializeToString(), case.feeds))
    for answer in runtimes.run("reference", jobs):
        assert not isinstance(answer, runtimes.Failure), answer
        assert same(answer, case.loop())


UNROLLED = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[N, T, 3] X) => (float[N, 3] Y)
<int64[1] one = {1}, int64 i = {0}, int64 j = {1}>
{ A = Gather <axis = 1> (X, i)
  C = Gather <axis = 1> (X, j)
  Y = Add (A, C) }
"""


def test_a_file_that_reads_an_examples_length():
    model = parser.parse_model(UNROLLED)
    found = doctor.diagnose(model)
    assert {f.runtime for f in found} == set(doctor.RUNTIMES)
    assert "first 2 steps" in found[0].what
    changed = doctor.rewrite(model)
    assert changed.graph.input[0].type.tensor_type.shape.dim[1].dim_value == 2
    assert doctor.diagnose(changed) == []
    whole = UNROLLED.replace("Y = Add (A, C)", "S = ReduceSum(X, one) Y = Sum(A, C, S)")
    assert doctor.diagnose(parser.parse_model(whole)) == []


def test_nodes_in_subgraphs_and_functions_are_found():
    text = """
    <ir_version: 8, opset_import: ["" : 17, "own" : 1]>
    g (float[5, 2, 3] X, bool go) => (float[1, 2, 4] H)
    <float[1, 4, 3] W = {%s}, float[1, 4, 4] R = {%s}>
    { H = If (go) <
        then_branch = t () => (float[1, 2, 4] A)
          { B, A = RNN <hidden_size = 4, clip = 1.0> (X, W, R) },
        else_branch = e () => (float[1, 2, 4] C) { C = own.F (X, W, R) }> }
    <domain: "own", opset_import: ["" : 17]>
    F (X, W, R) => (C) { D, C = RNN <hidden_size = 4, direction = "reverse"> (X, W, R) }
    """
    text = text.replace("%s", ",".join(["0.1"] * 12), 1)
    text = text.replace("%s", ",".join(["0.1"] * 16), 1)
    found = doctor.diagnose(parser.parse_model(text), ["tract"])
    assert {f.feature for f in found} == {"function", "clip", "direction=reverse"}
    assert any(f.node.startswith("If:") for f in found)
    changed = doctor.rewrite(parser.parse_model(text), ["tract"])
    assert doctor.diagnose(changed, ["tract"]) == []


def test_a_projection_is_refused_by_its_name():
    case = Case("LSTM", states=HC)
    case.model.graph.input[2].type.tensor_type.shape.dim[2].dim_value = 8
    with pytest.raises(ValueError, match=r"initial state c0 .* proj_size"):
        doctor.diagnose(case.model)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: doctor.diagnose(3), "model: expected a ModelProto or a path, got 3"),  # pyright: ignore
        (lambda: doctor.diagnose("absent.onnx"), "absent.onnx: not a valid ONNX model"),
        (lambda: doctor.diagnose(onnx.ModelProto()), "it has no node"),
        (lambda: doctor.diagnose(CASES["clip"].model, ["ort"]), "runtimes: expected"),
        (lambda: doctor.rewrite(CASES["clip"].model, time=0), "time: expected an int"),
        (
            lambda: doctor.rewrite(CASES["clip"].model, time=4),
            "time: no recurrent node",
        ),
    ],
)
def test_mistakes(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_the_command(tmp_path, capsys):
    path, out = tmp_path / "model.onnx", tmp_path / "same.onnx"
    onnx.save(CASES["coupled"].model, path)
    assert main([str(path), "--rewrite", str(out), "--for", "tract,reference"]) == 1
    text = capsys.readouterr().out
    assert "LSTM:node\n  input_forget=1\n    tract        differs" in text
    assert main([str(out), "--for", "tract,reference"]) == 0
    assert "alike" in capsys.readouterr().out
    assert main([str(path), "--json", "--run", "--for", "reference"]) == 1
    report = json.loads(capsys.readouterr().out)
    before, after = report["run"]["runtimes"]["reference"]
    assert before > 0.01
    assert after < 1e-6
    assert report["left"] == []
    path.write_bytes(b"no model")
    assert main([str(path)]) == 2
    assert str(path) in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 2


def test_the_page_has_the_table():
    text = (ROOT / "docs" / "RUNTIMES.md").read_text()
    begin, end = "<!-- runtimes: begin -->\n", "\n<!-- runtimes: end -->"
    assert text.split(begin)[1].split(end)[0] == pages.table()


def test_without_onnx_the_command_says_what_to_install():
    program = """
import runpy, sys
sys.modules["onnx"] = None
sys.argv = ["doctor", "model.onnx"]
runpy.run_module("jaxrnn.interop.doctor", run_name="__main__")
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert run.returncode == 1
    need = "jaxrnn.interop.doctor needs onnx: pip install 'jaxrnn[onnx]'\n"
    assert run.stderr == need
