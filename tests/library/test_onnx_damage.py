"""Damaged ONNX files: each is read rightly, or a ValueError says what is wrong."""

import copy
import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnx_damage
import onnx_nodes
import pytest
from onnx import TensorProto, helper, numpy_helper

from jaxrnn import interop
from jaxrnn.interop import doctor

NAMED = "node|initializer|input|output|attribute|opset|ONNX file|operator|graph|shape"
NAMED += "|RNN:|GRU:|LSTM:|Field|functions|model|direction|rank|[Tt]ype"
WITH_ALPHA = ("affine", "elu", "hardsigmoid", "leakyrelu", "scaledtanh")
WITH_ALPHA = (*WITH_ALPHA, "thresholdedrelu")
WITH_BETA = ("affine", "hardsigmoid", "scaledtanh")
CALLS = [interop.load_onnx, doctor.diagnose, doctor.rewrite]
SEEDS = [
    *range(45),
    *(pytest.param(n, marks=pytest.mark.slow) for n in range(45, 2000)),
]


@functools.cache
def models():
    """Valid files: of one node by their name, and those of `to_onnx`."""
    cases = onnx_damage.of_one_node()
    return {name: case.model for name, case in cases.items()} | onnx_damage.exported()


def tried(call, model):
    """What a call gives, or None where it refuses the file as it should."""
    try:
        return call(model)
    except ValueError as refused:
        error = refused
    assert type(error) is ValueError, error
    assert re.search(NAMED, str(error)), error
    assert len(str(error)) < 3000
    return None


def constants(names, alpha, taking):
    """One number for each activation, or None."""
    rest = list(alpha or [])
    return [rest.pop(0) if n.lower() in taking and rest else None for n in names]


def expected(model):
    """The outputs of a file of one node by loops in float64, and its inputs."""
    (node,) = [n for n in model.graph.node if n.op_type in onnx_nodes.GATES]
    given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    given = {k: v.decode() if isinstance(v, bytes) else v for k, v in given.items()}
    stored = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    key, feeds = np.random.default_rng(0), {}
    for entry in model.graph.input:
        if entry.name not in stored:
            shape = [d.dim_value or 5 for d in entry.type.tensor_type.shape.dim]
            whole = entry.type.tensor_type.elem_type == TensorProto.INT32
            array = key.integers(1, 5, shape) if whole else key.normal(size=shape)
            feeds[entry.name] = array.astype(np.int32 if whole else np.float32)
    places = [*node.input, *[""] * 8]
    known = stored | feeds
    w = {k: known[n] for k, n in zip("WRB", places[1:4], strict=True) if n}
    w |= {"P": known[places[7]]} if places[7] else {}
    read = {"X": known[places[0]]}
    read |= {k: known[n] for k, n in (("h0", places[5]), ("c0", places[6])) if n}
    lengths = known[places[4]] if places[4] else None
    activations: Any = given.get("activations", [])
    names = [a.decode() for a in activations]
    if names:
        given["activations"] = names
        for what, taking in (("alpha", WITH_ALPHA), ("beta", WITH_BETA)):
            numbers = given.get(f"activation_{what}")
            given[f"activation_{what}"] = constants(names, numbers, taking)
    else:
        given = {k: v for k, v in given.items() if not k.startswith("activation")}
    # A constant state is the cell's own, one that is an input the caller's.
    states = [n if n in feeds else "" for n in places[5:7]]
    found = onnx_nodes.loop(node.op_type, w, read, {**given, "lengths": lengths})
    return given.get("layout", 0), read["X"], lengths, states, feeds, found


def check(cell, params, model):
    """The cell of a file of one node is equal to the loops."""
    layout, xs, lengths, states, feeds, found = expected(model)
    xs = xs if layout else xs.swapaxes(0, 1)
    first = cell.initial_carry(params)
    halves = [first.forward, first.backward] if hasattr(first, "forward") else [first]

    def one(row):
        begun = []
        for d, half in enumerate(halves):
            for field, name in zip(half._fields, states, strict=False):
                if name:
                    state = feeds[name].swapaxes(0, 1) if not layout else feeds[name]
                    half = half._replace(**{field: jnp.asarray(state[row, d])})
            begun.append(half)
        carry = type(first)(*begun) if len(begun) == 2 else begun[0]
        n = xs.shape[1] if lengths is None else lengths[row]
        mask = jnp.arange(xs.shape[1]) < n
        carry, ys = cell.unroll(params, carry, jnp.asarray(xs[row]), mask=mask)
        ends = [carry.forward, carry.backward] if len(begun) == 2 else [carry]
        return ys, jnp.stack([end.h for end in ends])

    for row in range(len(xs)):
        ys, h = one(row)
        want = found["Y"][row] if layout else found["Y"][:, :, row]
        np.testing.assert_allclose(
            ys.reshape(want.shape), want, atol=1e-4, rtol=1e-4, equal_nan=True
        )
        want = found["Y_h"][row] if layout else found["Y_h"][:, row]
        np.testing.assert_allclose(h, want, atol=1e-4, rtol=1e-4, equal_nan=True)


@pytest.mark.parametrize("name", [*onnx_damage.of_one_node()])
def test_the_loops_are_right_about_whole_files(name):
    model = models()[name]
    check(*interop.load_onnx(model), model)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_damaged_file(seed):
    names = list(models())
    name = names[seed % len(names)]
    model, _ = onnx_damage.damaged(models()[name], seed)
    before = model.SerializeToString()
    loaded = tried(interop.load_onnx, model)
    found = tried(doctor.diagnose, model)
    changed = tried(doctor.rewrite, model)
    assert model.SerializeToString() == before
    if changed is not None:
        assert found is not None
        doctor.diagnose(changed)
    alone = len(model.graph.node) == 1 and not model.functions
    if loaded is not None and alone and name in onnx_damage.of_one_node():
        check(*loaded, model)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_file_cut_short_or_with_other_bits(seed, tmp_path):
    names, path = list(models()), tmp_path / "model.onnx"
    data = models()[names[seed % len(names)]].SerializeToString()
    path.write_bytes(onnx_damage.broken(data, seed))
    for call in CALLS:
        tried(call, path)


def of(text, **weights):
    """A file in ONNX's own text form, with constants."""
    head = '<ir_version: 8, opset_import: ["" : 17]> g (float[5, 2, 3] X) => (float Y)'
    model = onnx.parser.parse_model(f"{head} {text}")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    shapes = {"W": (1, 4, 3), "R": (1, 4, 4)} | weights
    for name, shape in shapes.items():
        array = np.ones(shape, np.float32) if isinstance(shape, tuple) else shape
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


ONE = "RNN <hidden_size = 4> (X, W, R)"
SAID = {
    "Z, Y = RNN <hidden_size = -4> (X, W, R)": "hidden_size=-4",
    "Z, Y = RNN <hidden_size = 4> (X, W)": "inputs: expected 3 to 6",
    "Z, Y = RNN <hidden_size = 4> (X, , R)": "input W: it is missing",
    "Z, Y = RNN <hidden_size = 4.0> (X, W, R)": "hidden_size=4.0: expected INT",
    "Y = RNN <clip = -1.0> (X, W, R)": "attribute clip=-1.0",
    'Y = RNN <activations = ["Tanh", "Relu"]> (X, W, R)': "expected 1 of them",
    f"A = {ONE} A = {ONE} Y = Identity (A)": "'A'.*twice",
    f"A = {ONE} Y = Squeeze (A, axes)": "axes of size 1",
    f"A = {ONE} Y = Transpose <perm = [0, 0, 1, 2]> (A)": "attribute perm",
    f"A = {ONE} Y = Softmax <axis = 9> (A)": "axis 9 of 4 axes",
    f"A = {ONE} Y = Frobnicate (A)": "opset 17 has no such operator",
    f"A = {ONE} B = Expand (size, size) Y = Add (A, B)": "more than .* numbers",
    f"A = {ONE} Y = Dropout (A, , yes)": "training_mode",
    "Y = LSTM (X, W, R)": "W and R: expected .1, 4H, D.",
    "Y = RNN (X, W, doubles)": "R: expected float32 as of W, got float64",
    "Y = RNN (X, whole, whole)": "X: expected int32",
}


@pytest.mark.parametrize("text", SAID)
def test_the_message_says_what_is_wrong(text):
    more = {
        "axes": np.array([1, 2]),
        "size": np.array([2**40]),
        "yes": np.array(True),
        "doubles": np.ones((1, 4, 4)),
        "whole": np.ones((1, 4, 4), np.int32),
    }
    model = of(f"{{ {text} }}", **more)
    with pytest.raises(ValueError, match=rf"load_onnx: .*{SAID[text]}"):
        interop.load_onnx(model)


def test_a_file_of_no_opset_or_two_is_refused():
    for versions in ([], [17, 18], [0], [10**6]):
        model = of(f"{{ Y = {ONE} }}")
        del model.opset_import[:]
        model.opset_import.extend(helper.make_opsetid("", v) for v in versions)
        with pytest.raises(ValueError, match="opset_import: expected one version"):
            interop.load_onnx(model)


def test_numbers_in_another_file_are_asked_for_by_path(tmp_path):
    model = of(f"{{ Y = {ONE} }}")
    path = tmp_path / "model.onnx"
    whole = copy.deepcopy(model)
    onnx.save(model, path, save_as_external_data=True, location="w", size_threshold=0)
    apart = onnx.load(path, load_external_data=False)
    with pytest.raises(ValueError, match=r"initializer 'W'.*path of the model"):
        interop.load_onnx(apart)
    got, want = interop.load_onnx(path), interop.load_onnx(whole)
    jax.tree.map(np.testing.assert_array_equal, got[1], want[1])
    (tmp_path / "w").write_bytes(b"")
    with pytest.raises(ValueError, match="no ONNX file"):
        interop.load_onnx(path)
