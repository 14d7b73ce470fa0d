"""Weights of other frameworks, held against the frameworks themselves.

Each framework runs in float64 on random weights and ragged sequences, and so does the
cell that is loaded; then once more with the weights that are handed back.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from battery import quick_jit, step_of

import jaxrnn as rnn
from jaxrnn import interop

ROOT = Path(__file__).parents[2]
T, D, H, B = 11, 3, 5, 7
LENGTHS = np.array([11, 1, 4, 7, 2, 11, 5])
MASK = np.arange(T) < LENGTHS[:, None]
KINDS = ("rnn", "gru", "lstm")
GATES = {"rnn": 1, "gru": 3, "lstm": 4}


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def lenient():
    """The settings under which the other frameworks of JAX are written."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def installed(name) -> Any:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    return pytest.importorskip(name, reason=f"{name} is not installed")


def normal(*shape, seed=0, dtype: Any = np.float64) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def random_like(tree):
    """Nothing is left at its initial zero; `tree` may be shapes."""
    leaves, structure = jax.tree.flatten(tree)
    return structure.unflatten(
        normal(*a.shape, seed=i, dtype=a.dtype) for i, a in enumerate(leaves)
    )


def random_params(cell):
    return random_like(jax.eval_shape(cell.init, jax.random.key(0)))


XS = normal(B, T, D, seed=99)


def run(cell, params, carries=None):
    """Carries [B, ...] and ys [B, T, ...] of the ragged batch."""

    def one(carry, xs, mask):
        carry = cell.initial_carry(params) if carries is None else carry
        return cell.unroll(params, carry, xs, mask=mask)

    return quick_jit(jax.vmap(one))(carries, XS, MASK)


def assert_close(got, expected):
    assert np.shape(got) == np.shape(expected)
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


def assert_computes(loaded, carry, ys):
    """The cell has these carries, a list of [B, H], and these ys where valid."""
    got_carry, got_ys = run(*loaded)
    for got, expected in zip(jax.tree.leaves(got_carry), carry, strict=True):
        assert_close(got, expected)
    assert_close(got_ys, np.where(MASK[..., None], ys, 0))


# torch


def torch_module(kind, **options):
    torch = installed("torch")
    classes = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
    module = classes[kind](D, H, batch_first=True, dtype=torch.float64, **options)
    for i, parameter in enumerate(module.parameters()):
        parameter.data = torch.from_numpy(normal(*parameter.shape, seed=i))
    return module


def torch_run(module, h_0, c_0):
    """[h_n], or [h_n, c_n], and ys."""
    torch, packing = installed("torch"), installed("torch.nn.utils.rnn")
    starts = [torch.from_numpy(a) for a in (h_0, c_0)]
    is_lstm = isinstance(module, torch.nn.LSTM)
    packed = packing.pack_padded_sequence(
        torch.from_numpy(XS), LENGTHS, batch_first=True, enforce_sorted=False
    )
    with torch.no_grad():
        ys, carry = module(packed, tuple(starts) if is_lstm else starts[0])
    ys, _ = packing.pad_packed_sequence(ys, batch_first=True, total_length=T)
    return [a.numpy() for a in (carry if is_lstm else [carry])], ys.numpy()


@pytest.mark.parametrize(
    ("num_layers", "both", "bias"),
    [(1, False, True), (1, True, False), (2, False, False), (2, True, True)],
)
@pytest.mark.parametrize("kind", [*KINDS, "relu"])
def test_torch(kind, num_layers, both, bias):
    options = {"num_layers": num_layers, "bidirectional": both}
    if kind == "relu":
        kind, options["nonlinearity"] = "rnn", "relu"
    module = torch_module(kind, bias=bias, **options)
    starts = normal(2, num_layers * (1 + both), B, H)
    carry, ys = torch_run(module, *starts)

    state = module.state_dict()
    cell, params = interop.load_torch(kind, state, **options)
    # As documented: h_n, and c_n between, are the leaves of the carry.
    per = 2 if kind == "lstm" else 1
    leaves = [a for pair in zip(*starts[:per], strict=True) for a in pair]
    carries = jax.tree.structure(cell.initial_carry(params)).unflatten(leaves)
    got, got_ys = run(cell, params, carries)
    for i in range(per):
        assert_close(jnp.stack(jax.tree.leaves(got)[i::per]), carry[i])
    assert_close(got_ys, ys)

    back = interop.to_torch(kind, params)
    assert list(back) == list(state)
    torch = installed("torch")
    module.load_state_dict({k: torch.from_numpy(a) for k, a in back.items()})
    again, ys_again = torch_run(module, *starts)
    assert_close(ys_again, ys)
    for a, b in zip(again, carry, strict=True):
        assert_close(a, b)


def test_torch_parameters_as_they_are():
    """In float32, with gradients, and not the same memory as the cell's params."""
    torch = installed("torch")
    module = torch.nn.GRU(D, H)
    _, params = interop.load_torch("gru", dict(module.named_parameters()))
    assert params.b_h.dtype == jnp.float32
    before = np.array(params.b)
    with torch.no_grad():
        module.bias_ih_l0 += 1
    np.testing.assert_array_equal(params.b, before)


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        (rnn.lstm(D, H, dtype=float), "lstm"),
        (
            rnn.chain(
                rnn.bidirectional(*[rnn.gru(D, H, dtype=float)] * 2),
                rnn.bidirectional(*[rnn.gru(2 * H, H, dtype=float)] * 2),
            ),
            "gru",
        ),
    ],
    ids=["lstm", "two layers of two directions"],
)
def test_torch_from_params_of_jaxrnn(cell, kind):
    torch = installed("torch")
    params = random_params(cell)
    state = interop.to_torch(kind, params)
    both = "weight_ih_l0_reverse" in state
    layers = 1 + ("weight_ih_l1" in state)
    module = torch_module(kind, num_layers=layers, bidirectional=both)
    module.load_state_dict({k: torch.from_numpy(a) for k, a in state.items()})
    carry, ys = torch_run(module, *np.zeros((2, layers * (1 + both), B, H)))
    leaves = [a for arrays in zip(*carry, strict=True) for a in arrays]
    assert_computes((cell, params), leaves, ys)


def test_torch_through_a_safetensors_file(tmp_path):
    module = torch_module("lstm")
    path = tmp_path / "lstm.safetensors"
    installed("safetensors.torch").save_file(module.state_dict(), path)
    state = installed("safetensors.numpy").load_file(path)
    carry, ys = torch_run(module, *np.zeros((2, 1, B, H)))
    assert_computes(interop.load_torch("lstm", state), [a[0] for a in carry], ys)


# flax

FLAX: dict[str, Any] = {
    "SimpleCell": "rnn",
    "GRUCell": "gru",
    "LSTMCell": "lstm",
    "OptimizedLSTMCell": "lstm",
}


def flax_leaves(carry):
    """(c, h) in the order of jaxrnn."""
    return list(carry[::-1]) if isinstance(carry, tuple) else [carry]


@pytest.mark.parametrize("name", FLAX)
def test_linen(name, lenient):
    nn = installed("flax.linen")
    cell = getattr(nn, name)(H, param_dtype=float)
    layer = nn.RNN(cell, return_carry=True)

    @quick_jit
    def computes(params):
        variables = {"params": {"cell": params}}
        return layer.apply(variables, XS, seq_lengths=LENGTHS)

    start = cell.initialize_carry(jax.random.key(0), (D,))
    variables = jax.eval_shape(cell.init, jax.random.key(0), start, XS[0, 0])
    params = random_like(variables["params"])
    carry, ys = computes(params)
    loaded = interop.load_flax(FLAX[name], params)
    assert_computes(loaded, flax_leaves(carry), ys)

    back = interop.to_flax(FLAX[name], loaded[1])
    assert jax.tree.map(np.shape, back) == jax.tree.map(np.shape, params)
    assert_close(computes(back)[1], ys)


@pytest.mark.parametrize("name", FLAX)
def test_nnx(name, lenient):
    nnx = installed("flax.nnx")
    cell = getattr(nnx, name)(D, H, dtype=float, param_dtype=float, rngs=nnx.Rngs(0))
    layer = nnx.RNN(cell, return_carry=True, rngs=False)
    zeros = np.zeros((B, H))
    start = (zeros, zeros) if FLAX[name] == "lstm" else zeros

    def computes():
        return layer(XS, initial_carry=start, seq_lengths=LENGTHS)

    nnx.update(cell, random_like(nnx.to_pure_dict(nnx.state(cell, nnx.Param))))
    carry, ys = computes()
    state = nnx.state(cell, nnx.Param)
    loaded = interop.load_flax(FLAX[name], state)
    assert_computes(loaded, flax_leaves(carry), ys)

    layout = "nnx_optimized" if name == "OptimizedLSTMCell" else "nnx"
    back = interop.to_flax(FLAX[name], loaded[1], layout=layout)
    before = nnx.to_pure_dict(state)
    assert jax.tree.map(np.shape, back) == jax.tree.map(np.shape, before)
    nnx.update(cell, jax.tree.map(np.zeros_like, before))
    nnx.update(cell, back)
    assert_close(computes()[1], ys)


# haiku


@pytest.mark.parametrize(
    ("kind", "name", "options"),
    [
        ("rnn", "VanillaRNN", {}),
        ("rnn", "VanillaRNN", {"double_bias": False}),
        ("gru", "GRU", {}),
        ("lstm", "LSTM", {"name": "core"}),
    ],
    ids=["rnn", "rnn with one bias", "gru", "lstm"],
)
def test_haiku(kind, name, options, lenient):
    hk = installed("haiku")

    def unroll(xs):
        core = getattr(hk, name)(H, **options)
        return hk.dynamic_unroll(
            core, xs, core.initial_state(B), time_major=False, return_all_states=True
        )

    model = hk.without_apply_rng(hk.transform(unroll))

    @quick_jit
    def computes(params):
        ys, states = model.apply(params, XS)
        return [a[np.arange(B), LENGTHS - 1] for a in jax.tree.leaves(states)], ys

    params = random_like(jax.eval_shape(model.init, jax.random.key(0), XS))
    carry, ys = computes(params)
    loaded = interop.load_haiku(kind, params)
    assert_computes(loaded, carry, ys)

    back = interop.to_haiku(kind, loaded[1], name=options.get("name"))
    assert params.keys() == back.keys()
    assert_close(computes(back)[1], ys)


def test_haiku_with_tanh():
    params = interop.to_haiku("rnn", rnn.ElmanParams(normal(D, H), normal(H, H)))
    cell, params = interop.load_haiku("rnn", params, nonlinearity="tanh")
    expected = rnn.elman(D, H, dtype=float)
    assert_close(run(cell, params)[1], run(expected, params)[1])


# Keras


@pytest.fixture
def keras(lenient):
    """In float64, for which its layers need `jnp.tanh`: its own rounds to float32."""
    keras = installed("keras")
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    yield keras
    keras.config.set_floatx(before)


# What numpy says of the arrays of Keras.
old_array = pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning")


@old_array
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SimpleRNN", {}),
        ("SimpleRNN", {"activation": "relu", "use_bias": False}),
        ("GRU", {}),
        ("GRU", {"use_bias": False}),
        ("GRU", {"reset_after": False}),
        ("GRU", {"reset_after": False, "use_bias": False}),
        ("LSTM", {}),
        ("LSTM", {"use_bias": False}),
    ],
    ids=str,
)
def test_keras(name, options, keras):
    layer = getattr(keras.layers, name)(
        H,
        return_sequences=True,
        return_state=True,
        **{"activation": jnp.tanh} | options,
    )
    layer.build((B, T, D))

    def computes():
        ys, *carry = layer(XS, mask=MASK)
        return [np.asarray(a) for a in carry], np.asarray(ys)

    layer.set_weights(random_like(layer.get_weights()))
    carry, ys = computes()
    kind: Any = name.removeprefix("Simple").lower()
    more: Any = {"nonlinearity": "relu"} if "activation" in options else {}
    if kind != "rnn":
        more["recurrent_activation"] = "sigmoid"
    if "use_bias" in options and "reset_after" in options:  # which no bias tells
        more["reset_after"] = options["reset_after"]
    loaded = interop.load_keras(kind, layer.get_weights(), **more)
    assert_computes(loaded, carry, ys)

    layer.set_weights([np.zeros_like(a) for a in layer.get_weights()])
    layer.set_weights(interop.to_keras(kind, loaded[1]))
    assert_close(computes()[1], ys)


@old_array
def test_keras_in_two_directions(keras):
    inner = keras.layers.SimpleRNN(H, activation="relu", return_sequences=True)
    layer = keras.layers.Bidirectional(inner)
    layer.build((B, T, D))
    weights = random_like(layer.get_weights())
    layer.set_weights(weights)
    cells, params = zip(
        interop.load_keras("rnn", weights[:3], nonlinearity="relu"),
        interop.load_keras("rnn", weights[3:], nonlinearity="relu"),
        strict=True,
    )
    got = run(rnn.bidirectional(*cells), rnn.Directions(*params))[1]
    assert_close(got, np.where(MASK[..., None], layer(XS, mask=MASK), 0))


# Mistakes, for which no framework is needed


def torch_state(kind, num_layers=1, both=False, dtype=np.float64):
    state = {}
    for i in range(num_layers):
        for suffix in ("", "_reverse") if both else ("",):
            rows, reads = GATES[kind] * H, (1 + both) * H if i else D
            state[f"weight_ih_l{i}{suffix}"] = normal(rows, reads, dtype=dtype)
            state[f"weight_hh_l{i}{suffix}"] = normal(rows, H, dtype=dtype)
            state[f"bias_ih_l{i}{suffix}"] = normal(rows, dtype=dtype)
            state[f"bias_hh_l{i}{suffix}"] = normal(rows, dtype=dtype)
    return state


def linen_lstm():
    side = {"kernel": normal(H, H), "bias": normal(H)}
    return {f"i{g}": {"kernel": normal(D, H)} for g in "ifgo"} | {
        f"h{g}": side for g in "ifgo"
    }


LSTM = torch_state("lstm")
GRU = rnn.GRUParams(normal(D, 3 * H), normal(H, 3 * H), normal(3 * H), normal(H))
NO_INNER = GRU._replace(b_h=None)
PADDLE = {f"0.cell.{k.removesuffix('_l0')}": a for k, a in LSTM.items()}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("op", ["BlockLSTM", "BlockLSTMV2"])
def test_tensorflow_computes_what_it_is_given(op):
    tf = installed("tensorflow")
    cell = rnn.lstm(D, H, dtype=jnp.float32)
    params = random_params(cell)
    arrays = interop.to_tensorflow(op, params)
    zeros = np.zeros((B, H), np.float32)
    xs = normal(T, B, D, seed=9, dtype=np.float32)
    out = getattr(tf.raw_ops, op)(
        **{"seq_len_max": tf.constant(T, tf.int64), "x": xs, "cell_clip": 0.0},
        **{"cs_prev": zeros, "h_prev": zeros, "use_peephole": False},
        **{**arrays, **dict.fromkeys(("wci", "wcf", "wco"), zeros[0])},
    )
    carry = cell.initial_carry(params)
    _, ys = jax.vmap(lambda xs: cell.unroll(params, carry, xs), 1, 1)(xs)
    np.testing.assert_allclose(out.h.numpy(), ys, atol=1e-6)


def load(*args, **options):
    return lambda: interop.load_torch(*args, **options)


LSTM_PARAMS = random_params(rnn.lstm(D, H))


def with_theta(theta):
    return rnn.RecurrentParams(*LSTM_PARAMS, theta=theta)


MISTAKES = {
    "kind": (load("LSTM", LSTM), "load_torch: kind", "rnn, gru, lstm", "'LSTM'"),
    "nonlinearity": (
        load("rnn", torch_state("rnn"), nonlinearity="sigmoid"),
        "load_torch: nonlinearity",
        "tanh, relu",
        "'sigmoid'",
    ),
    "nonlinearity of an lstm": (
        load("lstm", LSTM, nonlinearity="relu"),
        "load_torch: nonlinearity of 'lstm'",
        "expected one of tanh",
        "'relu'",
    ),
    "layers": (
        load("lstm", LSTM, num_layers=0),
        "load_torch: num_layers",
        "at least 1",
        "got 0",
    ),
    "directions": (
        load("lstm", LSTM, bidirectional="yes"),
        "load_torch: bidirectional",
        "a bool",
        "'yes'",
    ),
    "no mapping": (load("lstm", [1]), "load_torch: state", "a mapping", "got list"),
    "missing": (
        load("lstm", {k: a for k, a in LSTM.items() if k != "bias_hh_l0"}),
        "load_torch: state['bias_hh_l0']",
        "expected an array of shape [4H]",
        "got no such entry",
    ),
    "a layer too few": (
        load("lstm", LSTM, num_layers=2),
        "load_torch: state['weight_hh_l1']",
        "expected an array of shape [4H, H]",
        "got no such entry",
    ),
    "no reverse": (
        load("lstm", LSTM, bidirectional=True),
        "load_torch: state['weight_hh_l0_reverse']",
        "expected an array of shape [4H, H]",
        "got no such entry",
    ),
    "a projection that does not fit": (
        load("lstm", LSTM | {"weight_hr_l0": normal(2, H)}),
        "load_torch: state['weight_hh_l0']",
        "expected shape [4H, P] with P = 2, H = 5",
        "got (20, 5)",
    ),
    "a projection of a gru": (
        load("gru", torch_state("gru") | {"weight_hr_l0": normal(2, H)}),
        "load_torch: state['weight_hr_l0']",
        "expected only the entries ['weight_hh_l0'], ",
        "got this one too",
    ),
    "a prefix": (
        load("lstm", {f"module.{k}": a for k, a in LSTM.items()}),
        "load_torch: state: expected the names of one module",
        "pass prefix='module.'",
    ),
    "another prefix": (
        load("lstm", {f"module.{k}": a for k, a in LSTM.items()}, prefix="encoder"),
        "load_torch: prefix: expected one of the names module.weight_ih_l0",
        "got 'encoder.'",
    ),
    "a prefix that is too short": (
        load("lstm", {f"a.b.{k}": a for k, a in LSTM.items()}, prefix="a"),
        "load_torch: state under 'a.'",
        "pass prefix='a.b.'",
    ),
    "missing under a prefix": (
        load("lstm", {"a.weight_ih_l0": LSTM["weight_ih_l0"]}, prefix="a"),
        "load_torch: state under 'a.'['weight_hh_l0']",
        "got no such entry",
    ),
    "params of two layers for a cell": (
        lambda: interop.to_torch("gru", (GRU, GRU._replace(w_x=GRU.w_h)), cell=True),
        "to_torch: params: expected those of one layer",
    ),
    "mlx: missing": (
        lambda: interop.load_mlx(
            "gru", {"Wx": normal(15, D), "Wh": normal(15, H), "b": normal(15)}
        ),
        "load_mlx: params['bhn']",
        "expected an array of shape [H]",
    ),
    "equinox: no cell": (
        lambda: interop.load_equinox("gru", 3),
        "load_equinox: cell: expected a mapping or a module",
        "got int",
    ),
    "equinox: rnn": (
        lambda: interop.load_equinox("rnn", {}),
        "load_equinox: kind: expected one of gru, lstm",
    ),
    "paddle: a second name that stands for nothing": (
        lambda: interop.load_paddle(
            "lstm", PADDLE | {"weight_ih_l0": normal(20, D, seed=7)}
        ),
        "load_paddle: state['weight_ih_l0']",
        "expected an array that also stands under one of 0.cell.weight_ih",
    ),
    "paddle: only the names of four arrays, with a projection": (
        lambda: interop.load_paddle("lstm", LSTM | {"weight_hh_l0": normal(20, 2)}),
        "load_paddle: state['weight_hh_l0']",
        "expected shape [4H, H]",
    ),
    "paddle: directions": (
        lambda: interop.load_paddle(
            "lstm", {k.replace("cell", "cell_fw"): a for k, a in PADDLE.items()}
        ),
        "expected only the entries ['0.cell.weight_hh']",
        "pass bidirectional=True",
    ),
    "chainer: layers": (
        lambda: interop.load_chainer(
            "rnn",
            {
                f"{i}/{k}": normal(H, H) if k[0] == "w" else normal(H)
                for i in range(2)
                for k in ("w0", "w1", "b0", "b1")
            },
        ),
        "load_chainer: state['1/w0']",
        "there are 2 layers times directions",
    ),
    "cudnn: a matrix too few": (
        lambda: interop.load_cudnn("rnn", [normal(H, D)], [normal(H)] * 2),
        "load_cudnn: weights[1]",
        "expected an array of shape [H, H]",
    ),
    "tensorflow: forget_bias": (
        lambda: interop.load_tensorflow("BlockLSTMV2", {}, forget_bias=1.0),
        "load_tensorflow: forget_bias: expected None, since BlockLSTMV2 adds nothing",
    ),
    "tensorflow: a projection": (
        lambda: interop.load_tensorflow(
            "LSTMCell",
            {
                "kernel": normal(8, 20),
                "bias": normal(20),
                "projection/kernel": normal(5, 2),
            },
        ),
        "load_tensorflow: variables['projection/kernel']",
        "got this one too",
    ),
    "keras: an activation that is not said": (
        lambda: interop.load_keras("lstm", interop.to_keras("gru", NO_INNER)),
        "load_keras: recurrent_activation of 'lstm': expected 'sigmoid'",
        "since the weights do not tell; or pass the layer",
        "got None",
    ),
    "keras: hard_sigmoid of no version": (
        lambda: interop.load_keras(
            "gru", interop.to_keras("gru", GRU), recurrent_activation="hard_sigmoid"
        ),
        "load_keras: recurrent_activation: expected also version=2 or version=3",
        "got version=None",
    ),
    "keras: an unknown activation": (
        lambda: interop.load_keras(
            "gru", interop.to_keras("gru", GRU), recurrent_activation="glu"
        ),
        "load_keras: recurrent_activation: expected one of tanh, sigmoid",
        "got 'glu'",
    ),
    "a layer too many": (
        load("gru", torch_state("gru", 3), num_layers=2),
        "load_torch: state['weight_ih_l2']",
        "expected only",
        "pass num_layers=3",
    ),
    "a direction too many": (
        load("rnn", torch_state("rnn", both=True)),
        "load_torch: state['weight_ih_l0_reverse']",
        "expected only",
        "pass bidirectional=True",
    ),
    "the state of another kind": (
        load("gru", LSTM),
        "load_torch: state['weight_hh_l0']",
        "expected shape [3H, H]",
        "got (20, 5)",
    ),
    "shape": (
        load("lstm", LSTM | {"bias_ih_l0": normal(19)}),
        "load_torch: state['bias_ih_l0']",
        "expected shape [4H] with H = 5",
        "got (19,)",
    ),
    "shape of the second layer": (
        load(
            "gru",
            torch_state("gru", 2, both=True) | {"weight_ih_l1_reverse": normal(15, 5)},
            num_layers=2,
            bidirectional=True,
        ),
        "load_torch: state['weight_ih_l1_reverse']",
        "expected shape [3H, 2H] with H = 5",
        "got (15, 5)",
    ),
    "rank": (
        load("lstm", LSTM | {"weight_hh_l0": normal(1, 20, 5)}),
        "load_torch: state['weight_hh_l0']",
        "expected shape [4H, H]",
        "got (1, 20, 5)",
    ),
    "nothing": (
        load("rnn", torch_state("rnn") | {"weight_hh_l0": normal(0, 0)}),
        "load_torch: state['weight_hh_l0']",
        "expected shape [H, H]",
        "got (0, 0)",
    ),
    "mixed dtypes": (
        load("lstm", LSTM | {"bias_hh_l0": normal(20, dtype=np.float32)}),
        "load_torch: state['bias_hh_l0']",
        "expected dtype float64, as ['weight_hh_l0'] has",
        "got float32",
    ),
    "integers": (
        load("lstm", LSTM | {"bias_hh_l0": np.arange(20)}),
        "load_torch: state['bias_hh_l0']",
        "expected an array of one of float32, float64, float16, bfloat16",
        "got int64",
    ),
    "no array": (
        load("lstm", LSTM | {"bias_hh_l0": [[1.0], 2.0]}),
        "load_torch: state['bias_hh_l0']",
        "expected an array",
        "got list",
    ),
    "nested": (
        load("lstm", {"lstm": LSTM}),
        "load_torch: state['lstm']['weight_ih_l0']",
        "expected only the entries",
        "got this one too",
    ),
    "flax: missing": (
        lambda: interop.load_flax(
            "lstm", {k: v for k, v in linen_lstm().items() if k != "io"}
        ),
        "load_flax: params['io']['kernel']",
        "expected an array of shape [D, H]",
        "got no such entry",
    ),
    "flax: surplus": (
        lambda: interop.load_flax("lstm", linen_lstm() | {"i": normal(3)}),
        "load_flax: params['i']",
        "expected only",
        "got this one too",
    ),
    "flax: shape": (
        lambda: interop.load_flax("lstm", linen_lstm() | {"if": {"kernel": XS[0]}}),
        "load_flax: params['if']['kernel']",
        "expected shape [D, H] with H = 5, D = 3",
        "got (11, 3)",
    ),
    "flax: layout": (
        lambda: interop.to_flax("gru", GRU, layout="nnx_optimized"),  # type: ignore
        "to_flax: layout of 'gru'",
        "linen, nnx",
        "got 'nnx_optimized'",
    ),
    "flax: an inner bias": (
        lambda: interop.to_flax("gru", GRU, layout="nnx"),
        "to_flax: params.b_h",
        "expected zeros",
        "got others",
    ),
    "flax: reset before": (
        lambda: interop.to_flax("gru", NO_INNER),
        "to_flax: params.b_h",
        "expected an array",
        "got None",
    ),
    "haiku: missing": (
        lambda: interop.load_haiku("lstm", {"lstm/linear": {"w": normal(8, 20)}}),
        "load_haiku: params['lstm/linear']['b']",
        "expected an array of shape [4H]",
        "got no such entry",
    ),
    "haiku: shape": (
        lambda: interop.load_haiku(
            "lstm", {"lstm/linear": {"w": normal(5, 20), "b": normal(20)}}
        ),
        "load_haiku: params['lstm/linear']['w']",
        "expected shape [D+H, 4H] with H = 5",
        "got (5, 20)",
    ),
    "haiku: more than the core": (
        lambda: interop.load_haiku("gru", {"gru": {}, "linear": {"w": XS[0]}}),
        "load_haiku: params['linear']['w']",
        "expected only",
        "got this one too",
    ),
    "haiku: reset after": (
        lambda: interop.to_haiku("gru", GRU),
        "to_haiku: params.b_h",
        "expected None",
        "got an array",
    ),
    "keras: missing": (
        lambda: interop.load_keras(
            "lstm", [normal(D, 20)], recurrent_activation="sigmoid"
        ),
        "load_keras: weights[1]",
        "expected an array of shape [H, 4H]",
        "got no such entry",
    ),
    "keras: two directions": (
        lambda: interop.load_keras("rnn", [XS[0]] * 6),
        "load_keras: weights[3]",
        "expected only",
        "got this one too; of a Bidirectional",
    ),
    "keras: reset_after": (
        lambda: interop.load_keras(
            *("gru", interop.to_keras("gru", NO_INNER)),
            **{"reset_after": True, "recurrent_activation": "sigmoid"},
        ),
        "load_keras: weights[2]",
        "expected shape [2, 3H] with H = 5",
        "got (15,)",
    ),
    "keras: reset_after of an lstm": (
        lambda: interop.load_keras("lstm", [], reset_after=True),
        "load_keras: reset_after",
        "expected a bool for kind 'gru'",
        "got True for kind 'lstm'",
    ),
    "keras: no list": (
        lambda: interop.load_keras("lstm", XS),
        "load_keras: weights",
        "expected a layer, or a list of its arrays",
        "got ndarray",
    ),
    "params of another kind": (
        lambda: interop.to_torch("lstm", GRU),
        "to_torch: params",
        "expected LSTMParams",
        "got GRUParams",
    ),
    "params of a readout": (
        lambda: interop.to_torch("gru", (GRU, rnn.LinearParams(normal(5, 2)))),
        "to_torch: params[1]",
        "expected GRUParams",
        "got LinearParams",
    ),
    "params that reset before": (
        lambda: interop.to_torch("gru", NO_INNER),
        "to_torch: params.b_h",
        "expected an array",
        "got None",
    ),
    "params that do not fit": (
        lambda: interop.to_torch("gru", GRU._replace(b=normal(14))),
        "to_torch: params.b:",
        "expected shape [3H] with H = 5",
        "got (14,)",
    ),
    "layers that do not fit": (
        lambda: interop.to_torch("gru", (GRU, GRU)),
        "to_torch: params: as torch's ['weight_ih_l1']",
        "expected shape [3H, H] with H = 5",
        "got (15, 3)",
    ),
    "to_cudnn: reset before": (
        lambda: interop.to_cudnn("gru", GRU._replace(b_h=None)),
        "to_cudnn: params.b_h: expected an array",
    ),
    "to_cudnn: a projection": (
        lambda: interop.to_cudnn("lstm", random_params(rnn.projected_lstm(D, H, 2))),
        "to_cudnn: params: expected LSTMParams, got ProjectedLSTMParams",
    ),
    "to_cudnn: layers that do not fit": (
        lambda: interop.to_cudnn("gru", (GRU, GRU)),
        "to_cudnn: params: as cuDNN's weights[8]",
        "expected shape [H, H]",
    ),
    "to_chainer: reset after": (
        lambda: interop.to_chainer("gru", GRU, n_step=False),
        "to_chainer: params.b_h: expected None",
    ),
    "to_chainer: layers of a link of one": (
        lambda: interop.to_chainer("lstm", (LSTM_PARAMS,), n_step=False),
        "to_chainer: params: expected LSTMParams, got tuple",
    ),
    "to_chainer: a plain rnn": (
        lambda: interop.to_chainer("rnn", random_params(rnn.elman(D, H)), n_step=False),
        "to_chainer: n_step: expected True for 'rnn'",
    ),
    "to_tensorflow: an op that is not there": (
        lambda: interop.to_tensorflow("CudnnLSTM", LSTM_PARAMS),  # pyright: ignore
        "to_tensorflow: op: expected one of BlockLSTM, BlockLSTMV2",
    ),
    "to_tensorflow: reset after": (
        lambda: interop.to_tensorflow("GRUCell", GRU),
        "to_tensorflow: params.b_h: expected None",
    ),
    "to_tensorflow: forget_bias": (
        lambda: interop.to_tensorflow("BlockLSTMV2", LSTM_PARAMS, forget_bias=1.0),
        "to_tensorflow: forget_bias: expected None, since BlockLSTMV2 adds nothing",
    ),
    "to_tensorflow: peepholes": (
        lambda: interop.to_tensorflow("BasicLSTMCell", with_theta(normal(3, H))),
        "to_tensorflow: params.theta: expected none, since 'BasicLSTMCell'",
    ),
    "to_tensorflow: another theta": (
        lambda: interop.to_tensorflow("LSTMCell", with_theta(normal(2, H))),
        "to_tensorflow: params.theta: expected the peepholes of i, f and o",
        "got shape (2, 5)",
    ),
    "to_tensorflow: a cell of other gates": (
        lambda: interop.to_tensorflow(
            "LSTMCell", rnn.RecurrentParams(normal(D, 2 * H), normal(H, 2 * H))
        ),
        "to_tensorflow: params.w_h: expected shape [H, 4H]",
    ),
    "one layer with two directions": (
        lambda: interop.to_torch("gru", (GRU, rnn.Directions(GRU, GRU))),
        "to_torch: params: as torch's ['weight_ih_l1_reverse']",
        "expected only",
        "got this one too",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake(name):
    mistake, *parts = MISTAKES[name]
    with pytest.raises(ValueError) as error:  # noqa: PT011
        mistake()
    assert type(error.value) is ValueError
    assert all(part in str(error.value) for part in parts), error.value


def test_float64_without_x64():
    message = r"weight_hh_l0.*float32.*jax_enable_x64.*float64"
    with jax.enable_x64(False), pytest.raises(ValueError, match=message):
        interop.load_torch("lstm", LSTM)
    _, params = interop.load_torch("lstm", LSTM)
    with jax.enable_x64(False):  # no harm on the way out
        back = interop.to_torch("lstm", params)
    np.testing.assert_array_equal(back["weight_hh_l0"], LSTM["weight_hh_l0"])


@pytest.mark.parametrize("dtype", [np.float32, np.float16, jnp.bfloat16])
def test_dtypes(dtype):
    with jax.enable_x64(False):
        state = torch_state("gru", dtype=dtype)
        cell, params = interop.load_torch("gru", state)
        _, y = step_of(cell)(params, cell.initial_carry(params), jnp.ones(D))
        assert y.dtype == dtype
        back = interop.to_torch("gru", params)
        # torch.from_numpy knows no bfloat16; float32 holds it exactly.
        written = np.float32 if dtype == jnp.bfloat16 else dtype
        assert back["weight_hh_l0"].dtype == written
        np.testing.assert_array_equal(back["weight_hh_l0"], state["weight_hh_l0"])


def test_arrays_are_those_of_the_caller():
    """They may be written to, on both sides, and nothing else changes."""
    state = torch_state("rnn")
    _, params = interop.load_torch("rnn", state)
    back = interop.to_torch("rnn", params)
    before = np.array(params.w_x)
    for a in [*state.values(), *back.values()]:
        a += 1
        assert a.flags.c_contiguous
    np.testing.assert_array_equal(params.w_x, before)


def test_flax_without_biases():
    """Zeros stand where flax has some."""
    params = rnn.GRUParams(normal(D, 3 * H), normal(H, 3 * H))
    expected = run(rnn.gru(D, H, bias=False, dtype=float), params)
    for layout in ("linen", "nnx"):
        got = run(
            *interop.load_flax("gru", interop.to_flax("gru", params, layout=layout))
        )
        assert_close(got[1], expected[1])


# safetensors


@pytest.fixture
def saved(tmp_path):
    installed("safetensors")
    cell = rnn.chain(
        rnn.embedding(7, D),
        rnn.bidirectional(rnn.gru(D, H, bias=False), rnn.lstm(D, H)),
        rnn.linear(2 * H, 2, dtype=jnp.bfloat16),
    )
    params = jax.tree.map(jnp.asarray, random_params(cell))
    path = tmp_path / "params.safetensors"
    interop.save_safetensors(params, path)
    return cell, params, path


def test_safetensors(saved):
    cell, params, path = saved
    for like in (params, jax.eval_shape(cell.init, jax.random.key(0))):
        got = interop.load_safetensors(path, like)
        assert jax.tree.structure(got) == jax.tree.structure(params)
        assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), got, params))
        assert all(isinstance(a, jax.Array) for a in jax.tree.leaves(got))


def test_safetensors_names_are_paths(tmp_path):
    files = installed("safetensors.numpy")
    params = ({"a": jnp.float32(3)}, rnn.LinearParams(jnp.arange(6.0).reshape(3, 2).T))
    interop.save_safetensors(params, str(tmp_path / "params"))
    arrays = files.load_file(tmp_path / "params")
    assert set(arrays) == {"[0]['a']", "[1].w"}
    assert arrays["[0]['a']"].shape == ()
    np.testing.assert_array_equal(arrays["[1].w"], params[1].w)


def test_a_file_is_written_whole_or_not_at_all(saved, monkeypatch):
    _, params, path = saved
    before = path.read_bytes()

    def fail(*args):
        raise OSError("disk full")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail)
            with pytest.raises(OSError, match="disk full"):
                interop.save_safetensors(params, path)
        assert list(path.parent.iterdir()) == [path]
        assert path.read_bytes() == before
    interop.save_safetensors((), path)
    assert interop.load_safetensors(path, ()) == ()


def test_files_that_do_not_fit(saved, tmp_path):
    _, params, path = saved
    embedding, both, linear = params

    def check(like, *parts, path=path, error: Any = ValueError):
        with pytest.raises(error) as raised:
            interop.load_safetensors(path, like)
        assert all(part in str(raised.value) for part in parts), raised.value

    check((embedding, both), "expected only the names [0].w", "got [2].")
    check((embedding, both, linear, linear), "expected the name [3].w", "got ")
    check(
        (embedding, both, linear._replace(w=linear.w[1:])),
        "[2].w: expected shape (9, 2)",
        "got (10, 2)",
    )
    check(
        (embedding._replace(w=embedding.w.astype(float)), both, linear),
        "[0].w: expected dtype float64",
        "got float32",
    )
    check(params, "none.safetensors", path=tmp_path / "none.safetensors", error=OSError)
    for content in (b"", b"\x80\x04K\x01.", path.read_bytes()[:-1]):
        other = tmp_path / "other"
        other.write_bytes(content)
        check(params, "expected a safetensors file", "other", path=other)


def test_what_cannot_be_saved(tmp_path):
    installed("safetensors")
    for leaf, got in ((jax.random.key(0), "key<fry>"), (1.0, "float"), ("a", "str")):
        with pytest.raises(ValueError, match=rf"params\[0\]: expected .* got {got}"):
            interop.save_safetensors((leaf,), tmp_path / "file")
    with pytest.raises(FileNotFoundError, match=r"expected a folder at .*nowhere"):
        interop.save_safetensors((), tmp_path / "nowhere" / "file")
    assert not list(tmp_path.iterdir())


def test_float64_in_a_file_without_x64(tmp_path):
    installed("safetensors")
    params = {"w": normal(3)}
    interop.save_safetensors(params, tmp_path / "file")
    message = r"\['w'\]: expected dtype float32.*float64"
    with jax.enable_x64(False), pytest.raises(ValueError, match=message):
        interop.load_safetensors(tmp_path / "file", params)


def test_without_safetensors_the_command_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.delitem(sys.modules, "safetensors.numpy", raising=False)
    for call in (
        lambda: interop.save_safetensors((), tmp_path / "file"),
        lambda: interop.load_safetensors(tmp_path / "file", ()),
    ):
        with pytest.raises(ImportError, match=r"pip install 'jaxrnn\[interop\]'"):
            call()


def test_importing_needs_none_of_the_frameworks():
    others = {"torch", "flax", "haiku", "keras", "safetensors", "equinox", "mlx"}
    others |= {"paddle", "tensorflow", "sonnet", "chainer", "mindspore", "onnx"}
    code = f"import jaxrnn.interop, sys; print(sorted({others} & set(sys.modules)))"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "[]"


@old_array
@pytest.mark.parametrize("gate", ["sigmoid", "hard_sigmoid"])
@pytest.mark.parametrize("name", ["GRU", "LSTM"])
def test_keras_layer_tells_its_activations(name, gate, keras):
    inner = getattr(keras.layers, name)(
        H, return_sequences=True, activation="softsign", recurrent_activation=gate
    )
    layer = keras.layers.Bidirectional(inner, merge_mode="ave")
    layer.build((B, T, D))
    layer.set_weights(random_like(layer.get_weights()))
    loaded = interop.load_keras(name.lower(), layer)  # type: ignore[arg-type]
    ys = run(*loaded)[1]
    expected = np.where(MASK[..., None], layer(XS, mask=MASK), 0)
    np.testing.assert_allclose(ys, expected, atol=1e-6)  # its functions round
    # Biases are added up on the way, so the layer is computed again.
    layer.set_weights(interop.to_keras(name.lower(), loaded[1]))  # type: ignore
    again = np.where(MASK[..., None], layer(XS, mask=MASK), 0)
    np.testing.assert_allclose(again, expected, atol=1e-6)
    with pytest.raises(ValueError, match="go_backwards=False"):
        interop.load_keras(name.lower(), layer.backward_layer)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected a layer SimpleRNN"):
        interop.load_keras("rnn", inner)


def test_bfloat16_of_torch():
    torch = installed("torch")
    module = torch.nn.LSTM(D, H, dtype=torch.bfloat16)
    state = module.state_dict()
    _, params = interop.load_torch("lstm", state)
    assert params.w_x.dtype == jnp.bfloat16
    back = interop.to_torch("lstm", params)
    module.load_state_dict({k: torch.from_numpy(a) for k, a in back.items()})
    assert torch.equal(state["weight_ih_l0"], module.weight_ih_l0)
    np.testing.assert_array_equal(back["weight_ih_l0"], params.w_x.T.astype("float32"))
