# ruff: noqa: B905, UP032 (Python 3.8 has no zip(strict=))
"""What recurrent layers of other frameworks compute: run where one is installed.

    python tests/library/frameworks.py torch [FOLDER]

writes `torch-VERSION.npz` into the folder, by default `goldens` beside this file, with
the weights, inputs and results of each case; `test_frameworks.py` holds the readers of
`jaxrnn.interop` to such files, so that no framework is needed there. A file has an
entry `about`, JSON with the versions of the framework, of numpy and of Python.

This file imports numpy alone and runs on Python 3.8 and numpy 1.18, which Chainer
needs. Weights are multiples of 1/32, which every dtype represents.
"""

# pyright: reportMissingImports=false, reportMissingModuleSource=false

import contextlib
import json
import os
import sys

import numpy as np

T, D, H, P, B = 4, 3, 5, 2, 2
LENGTHS = np.array([4, 2])
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def values(*shape, seed=0, dtype="f8"):
    """Multiples of 1/32 between -1 and 1."""
    drawn = np.random.RandomState(seed).randint(-32, 33, shape) / 32
    return drawn.astype(dtype)


XS = values(B, T, D, seed=99)


def starts(number, width=H):
    return [values(B, width, seed=50 + i) for i in range(number)]


def case(weights, ys, carry, *, reader, args, start=None, lengths=None, **options):
    """One case, as it is written.

    `carry` and `start` hold the leaves [B, H] of jaxrnn's carry in their order;
    without `start` it is zeros. `lengths` are those of the sequences of the batch.
    """
    arrays = {"weights": weights, "ys": ys, "carry": carry, "start": start or []}
    return {
        "reader": reader,
        "args": list(args),
        "options": options,
        "lengths": None if lengths is None else [int(n) for n in lengths],
        **arrays,
    }


def torch_cases():
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    def filled(module):
        for i, parameter in enumerate(module.parameters()):
            parameter.data = torch.from_numpy(values(*parameter.shape, seed=i))
        return {k: a.numpy() for k, a in module.state_dict().items()}

    forms = [
        ("rnn", {}),
        ("rnn", {"nonlinearity": "relu", "bias": False}),
        ("gru", {"num_layers": 2, "bidirectional": True}),
        ("gru", {"bias": False}),
        ("lstm", {}),
        ("lstm", {"num_layers": 2, "bidirectional": True}),
        ("lstm", {"proj_size": P}),
        ("lstm", {"proj_size": P, "num_layers": 2, "bidirectional": True}),
    ]
    for kind, options in forms:
        module = getattr(torch.nn, kind.upper())(
            D, H, batch_first=True, dtype=torch.float64, **options
        )
        weights = filled(module)
        number = options.get("num_layers", 1) * (1 + options.get("bidirectional", 0))
        hs, cs = starts(number, options.get("proj_size", H)), starts(number)
        h_0, c_0 = (torch.from_numpy(np.stack(a)) for a in (hs, cs))
        packed = pack_padded_sequence(
            torch.from_numpy(XS), torch.from_numpy(LENGTHS), batch_first=True
        )
        lstm = kind == "lstm"
        with torch.no_grad():
            ys, carry = module(packed, (h_0, c_0) if lstm else h_0)
        ys, _ = pad_packed_sequence(ys, batch_first=True)
        leaves = [a for pair in zip(*carry) for a in pair] if lstm else list(carry)
        start = [a for pair in zip(hs, cs) for a in pair] if lstm else hs
        read = {k: a for k, a in options.items() if k not in ("bias", "proj_size")}
        name = " ".join([kind, *map(str, sum(options.items(), ()))])
        yield (
            name,
            case(
                *(weights, ys.numpy(), [a.numpy() for a in leaves]),
                **{"reader": "load_torch", "args": [kind], "start": start},
                **{"lengths": LENGTHS, **read},
            ),
        )
    for kind in ("rnn", "gru", "lstm"):
        module = getattr(torch.nn, kind.upper() + "Cell")(D, H, dtype=torch.float64)
        weights, ys = filled(module), []
        carry = [torch.from_numpy(a) for a in starts(1 + (kind == "lstm"))]
        with torch.no_grad():
            for t in range(T):
                x = torch.from_numpy(XS[:, t])
                new = module(x, tuple(carry) if kind == "lstm" else carry[0])
                carry = list(new) if kind == "lstm" else [new]
                ys.append(carry[0].numpy())
        yield (
            kind + " cell",
            case(
                *(weights, np.stack(ys, 1), [a.numpy() for a in carry]),
                **{"reader": "load_torch", "args": [kind], "start": starts(len(carry))},
            ),
        )
    return


def paddle_cases():
    import paddle

    paddle.set_default_dtype("float64")
    names = {"rnn": "SimpleRNN", "gru": "GRU", "lstm": "LSTM"}
    forms = [
        ("rnn", {}),
        ("rnn", {"activation": "relu"}),
        ("gru", {"num_layers": 2, "direction": "bidirect"}),
        ("lstm", {"num_layers": 2, "direction": "bidirect"}),
        ("lstm", {"proj_size": P}),
        ("lstm", {"proj_size": P, "num_layers": 2, "direction": "bidirect"}),
    ]
    for kind, options in forms:
        try:
            layer = getattr(paddle.nn, names[kind])(D, H, **options)
        except TypeError:  # before Paddle 3 an LSTM has no projection
            continue
        for i, parameter in enumerate(layer.parameters()):
            parameter.set_value(values(*parameter.shape, seed=i))
        weights = {k: a.numpy() for k, a in layer.state_dict().items()}
        both = "direction" in options
        number = options.get("num_layers", 1) * (1 + both)
        hs, cs = starts(number, options.get("proj_size", H)), starts(number)
        h_0, c_0 = (paddle.to_tensor(np.stack(a)) for a in (hs, cs))
        lstm = kind == "lstm"
        ys, carry = layer(
            paddle.to_tensor(XS),
            (h_0, c_0) if lstm else h_0,
            sequence_length=paddle.to_tensor(LENGTHS),
        )
        carry = [a.numpy() for a in (carry if lstm else [carry])]
        read: dict = {"bidirectional": True} if both else {}
        if "num_layers" in options:
            read["num_layers"] = 2
        if "activation" in options:
            read["nonlinearity"] = "relu"
        name = " ".join([kind, *map(str, sum(options.items(), ()))])
        yield (
            name,
            case(
                *(weights, ys.numpy(), [a for arrays in zip(*carry) for a in arrays]),
                **{"reader": "load_paddle", "args": [kind], "lengths": LENGTHS},
                start=[a for pair in zip(hs, cs) for a in pair] if lstm else hs,
                **read,
            ),
        )
    for kind in names:
        cell = getattr(paddle.nn, names[kind] + "Cell")(D, H)
        for i, parameter in enumerate(cell.parameters()):
            parameter.set_value(values(*parameter.shape, seed=i))
        carry = [paddle.to_tensor(a) for a in starts(1 + (kind == "lstm"))]
        ys = []
        for t in range(T):
            x = paddle.to_tensor(XS[:, t])
            y, new = cell(x, tuple(carry) if kind == "lstm" else carry[0])
            carry = list(new) if kind == "lstm" else [new]
            ys.append(y.numpy())
        yield (
            kind + " cell",
            case(
                {k: a.numpy() for k, a in cell.state_dict().items()},
                *(np.stack(ys, 1), [a.numpy() for a in carry]),
                **{
                    "reader": "load_paddle",
                    "args": [kind],
                    "start": starts(len(carry)),
                },
            ),
        )


def keras_cases(keras=None):
    if keras is None:
        # On other back ends Keras 3 rounds the tanh of float64 to float32.
        os.environ.setdefault("KERAS_BACKEND", "tensorflow")
        import keras
    version = int(keras.__version__[0]) if keras.__name__ == "keras" else 2
    keras.backend.set_floatx("float64")
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
    mask = np.arange(T) < LENGTHS[:, None]
    classes = {"rnn": "SimpleRNN", "gru": "GRU", "lstm": "LSTM"}
    forms = [
        ("rnn", {}),
        ("rnn", {"activation": "relu", "use_bias": False}),
        ("gru", {}),
        ("gru", {"reset_after": False}),
        ("gru", {"recurrent_activation": "hard_sigmoid"}),
        ("gru", {"recurrent_activation": "hard_sigmoid", "reset_after": False}),
        ("gru", {"activation": "softsign", "reset_after": False}),
        ("lstm", {}),
        ("lstm", {"use_bias": False}),
        ("lstm", {"recurrent_activation": "hard_sigmoid"}),
        ("lstm", {"activation": "relu"}),
    ]
    named = "sigmoid elu selu exponential gelu swish softplus softsign linear"
    forms += [("rnn", {"activation": name}) for name in named.split()]
    for kind, options in forms:
        layer = getattr(keras.layers, classes[kind])(
            H, return_sequences=True, return_state=True, **options
        )
        layer.build((B, T, D))
        shapes = [a.shape for a in layer.get_weights()]
        layer.set_weights([values(*s, seed=i) for i, s in enumerate(shapes)])
        ys, *carry = layer(XS, mask=mask)
        read = {}
        if kind != "rnn":
            config = layer.get_config()
            read["recurrent_activation"] = config["recurrent_activation"]
            if read["recurrent_activation"] == "hard_sigmoid":
                read["version"] = version
        if "activation" in options:
            read["nonlinearity"] = options["activation"]
        name = " ".join([kind, *map(str, sum(options.items(), ()))])
        yield (
            name,
            case(
                *(layer.get_weights(), np.asarray(ys), [np.asarray(a) for a in carry]),
                **{"reader": "load_keras", "args": [kind], "lengths": LENGTHS},
                **read,
            ),
        )


def tf_keras_cases():
    import tf_keras

    return keras_cases(tf_keras)


def equinox_cases():
    import jax

    jax.config.update("jax_enable_x64", True)
    import equinox as eqx

    for kind, name in (("gru", "GRUCell"), ("lstm", "LSTMCell")):
        for bias in (True, False):
            key = jax.random.PRNGKey(0)
            cell = getattr(eqx.nn, name)(D, H, use_bias=bias, key=key)
            leaves, tree = jax.tree_util.tree_flatten(cell)
            leaves = [values(*np.shape(a), seed=i) for i, a in enumerate(leaves)]
            cell = jax.tree_util.tree_unflatten(tree, leaves)
            carry = starts(2) if kind == "lstm" else starts(1)
            ys = []
            for t in range(T):
                old = tuple(carry) if kind == "lstm" else carry[0]
                new = jax.vmap(cell)(XS[:, t], old)
                carry = list(new) if kind == "lstm" else [new]
                ys.append(np.asarray(carry[0]))
            fields = ("weight_ih", "weight_hh", "bias", "bias_n")
            found = {f: getattr(cell, f, None) for f in fields}
            yield (
                kind + ("" if bias else " without bias"),
                case(
                    {k: np.asarray(a) for k, a in found.items() if a is not None},
                    *(np.stack(ys, 1), [np.asarray(a) for a in carry]),
                    **{"reader": "load_equinox", "args": [kind]},
                    start=starts(len(carry)),
                ),
            )


def mlx_cases():
    import mlx.core as mx
    from mlx import nn

    mx.set_default_device(mx.cpu)
    for kind in ("rnn", "gru", "lstm"):
        for bias in (True, False):
            layer = getattr(nn, kind.upper())(D, H, bias=bias)
            found = {
                k: values(*a.shape, seed=i, dtype="f4")
                for i, (k, a) in enumerate(sorted(layer.parameters().items()))
            }
            layer.update({k: mx.array(a) for k, a in found.items()})
            start = [mx.array(a.astype("f4")) for a in starts(1 + (kind == "lstm"))]
            out = layer(mx.array(XS.astype("f4")), *start)
            hs = [np.array(a) for a in (out if kind == "lstm" else [out])]
            yield (
                kind + ("" if bias else " without bias"),
                case(
                    *(found, hs[0], [a[:, -1] for a in hs]),
                    **{"reader": "load_mlx", "args": [kind], "start": starts(len(hs))},
                ),
            )


def sonnet_cases():
    import sonnet as snt
    import tensorflow as tf

    forms = [
        ("rnn", "VanillaRNN", {}),
        ("rnn", "VanillaRNN", {"activation": tf.nn.relu}),
        ("gru", "GRU", {}),
        ("lstm", "LSTM", {}),
        ("lstm", "LSTM", {"projection_size": P}),
    ]
    for kind, name, options in forms:
        core = getattr(snt, name)(H, dtype=tf.float64, **options)
        carry = core.initial_state(B)
        core(tf.constant(XS[:, 0]), carry)
        for i, variable in enumerate(core.variables):
            variable.assign(values(*variable.shape, seed=i))
        sizes = (options.get("projection_size", H), H) if kind == "lstm" else (H,)
        start = [starts(2, size)[i] for i, size in enumerate(sizes)]
        carry = tf.nest.pack_sequence_as(carry, [tf.constant(a) for a in start])
        ys = []
        for t in range(T):
            y, carry = core(tf.constant(XS[:, t]), carry)
            ys.append(y.numpy())
        read = {"nonlinearity": "relu"} if "activation" in options else {}
        yield (
            kind + (" " + next(iter(options)) if options else ""),
            case(
                {v.name: v.numpy() for v in core.variables},
                *(np.stack(ys, 1), [a.numpy() for a in tf.nest.flatten(carry)]),
                **{"reader": "load_sonnet", "args": [kind], "start": start, **read},
            ),
        )


def chainer_cases():
    import warnings

    warnings.simplefilter("ignore")
    import chainer
    from chainer import links

    chainer.global_config.dtype = np.dtype("f8")

    def filled(link):
        for i, (_, parameter) in enumerate(sorted(link.namedparams())):
            parameter.array = values(*parameter.shape, seed=i)
        return {k.lstrip("/"): a.array.copy() for k, a in link.namedparams()}

    link = links.StatelessLSTM(D, H)
    h, c = (chainer.Variable(a) for a in starts(2))
    weights, ys = filled(link), []
    for t in range(T):
        c, h = link(c, h, XS[:, t])
        ys.append(h.array)
    yield (
        "lstm StatelessLSTM",
        case(
            *(weights, np.stack(ys, 1), [h.array, c.array]),
            **{"reader": "load_chainer", "args": ["lstm"], "start": starts(2)},
        ),
    )
    link = links.LSTM(D, H)
    weights = filled(link)
    ys = [link(XS[:, t]).array for t in range(T)]
    yield (
        "lstm LSTM",
        case(
            *(weights, np.stack(ys, 1), [link.h.array, link.c.array]),
            **{"reader": "load_chainer", "args": ["lstm"]},
        ),
    )
    link = links.StatelessGRU(D, H)
    weights, ys = filled(link), []
    (h,) = starts(1)
    for t in range(T):
        h = link(h, XS[:, t])
        ys.append(h.array)  # pyright: ignore
    yield (
        "gru StatelessGRU",
        case(
            *(weights, np.stack(ys, 1), [h.array]),  # pyright: ignore
            **{"reader": "load_chainer", "args": ["gru"], "start": starts(1)},
        ),
    )
    link = links.GRU(D, H)
    weights = filled(link)
    # Without a state it leaves out the biases of U in its first step.
    link.set_state(chainer.Variable(starts(1)[0]))
    ys = [link(XS[:, t]).array for t in range(T)]
    yield (
        "gru GRU",
        case(
            *(weights, np.stack(ys, 1), [ys[-1]]),
            **{"reader": "load_chainer", "args": ["gru"], "start": starts(1)},
        ),
    )
    forms = [
        ("rnn", "NStepRNNTanh", 1, {}),
        ("rnn", "NStepRNNReLU", 2, {"nonlinearity": "relu"}),
        ("gru", "NStepGRU", 1, {}),
        ("gru", "NStepBiGRU", 2, {"bidirectional": True}),
        ("lstm", "NStepLSTM", 2, {}),
        ("lstm", "NStepBiLSTM", 1, {"bidirectional": True}),
    ]
    for kind, name, layers, options in forms:
        link = getattr(links, name)(layers, D, H, 0.0)
        weights = filled(link)
        number = layers * (1 + len(options) * ("Bi" in name))
        lstm = kind == "lstm"
        per = 1 + lstm
        leaves = starts(number * per)
        states = [np.stack(leaves[i::per]) for i in range(per)]
        rows = [XS[i, :n] for i, n in enumerate(LENGTHS)]
        *carry, ys = link(*states, rows)
        padded = np.zeros((B, T, ys[0].shape[1]))
        for i, y in enumerate(ys):
            padded[i, : len(y.array)] = y.array
        carry = [a.array for a in carry]
        yield (
            "{} {}".format(kind, name),
            case(
                *(weights, padded, [a for arrays in zip(*carry) for a in arrays]),
                **{"reader": "load_chainer", "args": [kind], "start": leaves},
                **{"lengths": LENGTHS, "num_layers": layers, **options},
            ),
        )


def mindspore_cases():
    import mindspore as ms

    ms.set_device("CPU") if hasattr(ms, "set_device") else ms.set_context(
        device_target="CPU"
    )
    forms = [
        ("rnn", {"nonlinearity": "relu", "has_bias": False}),
        ("gru", {}),
        ("gru", {"num_layers": 2, "bidirectional": True}),
        ("lstm", {}),
        ("lstm", {"num_layers": 2, "bidirectional": True}),
    ]
    lengths = ms.Tensor(LENGTHS.astype("i4"))
    for kind, options in forms:
        layer = getattr(ms.nn, kind.upper())(D, H, batch_first=True, **options)
        named = layer.parameters_dict()
        for i, parameter in enumerate(named.values()):
            parameter.set_data(ms.Tensor(values(*parameter.shape, seed=i, dtype="f4")))
        number = options.get("num_layers", 1) * (1 + options.get("bidirectional", 0))
        lstm = kind == "lstm"
        per = 1 + lstm
        leaves = starts(number * per)
        states = [ms.Tensor(np.stack(leaves[i::per]).astype("f4")) for i in range(per)]
        ys, carry = layer(
            ms.Tensor(XS.astype("f4")), tuple(states) if lstm else states[0], lengths
        )
        carry = [a.asnumpy() for a in (carry if lstm else [carry])]
        read = {k: a for k, a in options.items() if k != "has_bias"}
        yield (
            " ".join([kind, *map(str, sum(options.items(), ()))]),
            case(
                {k: a.asnumpy() for k, a in named.items()},
                *(ys.asnumpy(), [a for arrays in zip(*carry) for a in arrays]),
                **{"reader": "load_torch", "args": [kind], "start": leaves},
                **{"lengths": LENGTHS, **read},
            ),
        )
    for kind in ("rnn", "gru", "lstm"):
        cell = getattr(ms.nn, kind.upper() + "Cell")(D, H)
        named = cell.parameters_dict()
        for i, parameter in enumerate(named.values()):
            parameter.set_data(ms.Tensor(values(*parameter.shape, seed=i, dtype="f4")))
        carry = [ms.Tensor(a.astype("f4")) for a in starts(1 + (kind == "lstm"))]
        ys = []
        for t in range(T):
            x = ms.Tensor(XS[:, t].astype("f4"))
            new = cell(x, tuple(carry) if kind == "lstm" else carry[0])
            carry = list(new) if kind == "lstm" else [new]
            ys.append(carry[0].asnumpy())
        yield (
            kind + " cell",
            case(
                {k: a.asnumpy() for k, a in named.items()},
                *(np.stack(ys, 1), [a.asnumpy() for a in carry]),
                **{"reader": "load_torch", "args": [kind], "start": starts(len(carry))},
            ),
        )


def tinygrad_cases():
    from tinygrad import Tensor, nn

    cell = nn.LSTMCell(D, H)
    named = nn.state.get_state_dict(cell)
    for i, tensor in enumerate(named.values()):
        tensor.assign(Tensor(values(*tensor.shape, seed=i, dtype="f4"))).realize()
    carry, ys = [Tensor(a.astype("f4")) for a in starts(2)], []
    for t in range(T):
        carry = list(cell(Tensor(XS[:, t].astype("f4")), tuple(carry)))
        ys.append(carry[0].numpy())
    yield (
        "lstm cell",
        case(
            {k: a.numpy() for k, a in named.items()},
            *(np.stack(ys, 1), [a.numpy() for a in carry]),
            **{"reader": "load_torch", "args": ["lstm"], "start": starts(2)},
        ),
    )


def tensorflow_cases():
    import tensorflow as tf

    def block(name, options, peephole=False):
        shapes = {"w": (D + H, 4 * H), "b": (4 * H,)}
        shapes.update(dict.fromkeys(("wci", "wcf", "wco"), (H,)))
        found = {
            k: 2 * values(*s, seed=i, dtype="f4")
            for i, (k, s) in enumerate(shapes.items())
        }
        h, c = (a.astype("f4") for a in starts(2))
        out = getattr(tf.raw_ops, name)(
            seq_len_max=tf.constant(T, tf.int64),
            x=XS.swapaxes(0, 1).astype("f4"),
            **{"cs_prev": 4 * c, "h_prev": h, "use_peephole": peephole},
            **{**found, **options},
        )
        weights = found if peephole else {k: found[k] for k in "wb"}
        return case(
            *(weights, out.h.numpy().swapaxes(0, 1)),
            [out.h.numpy()[-1], out.cs.numpy()[-1]],
            **{"reader": "load_tensorflow", "args": [name], "start": [h, 4 * c]},
            **options,
        )

    yield "BlockLSTM", block("BlockLSTM", {})
    yield (
        "BlockLSTM options",
        block("BlockLSTM", {"forget_bias": 0.5, "cell_clip": 1.0}),
    )
    yield "BlockLSTM peephole", block("BlockLSTM", {}, peephole=True)
    yield "BlockLSTM without clip", block("BlockLSTM", {"cell_clip": 0.0})
    yield "BlockLSTMV2", block("BlockLSTMV2", {})
    yield "BlockLSTMV2 clip", block("BlockLSTMV2", {"cell_clip": 2.0}, peephole=True)
    try:
        cells = tf.compat.v1.nn.rnn_cell
        forms = [
            ("BasicRNNCell", {}, {}),
            ("GRUCell", {}, {}),
            ("BasicLSTMCell", {"forget_bias": 0.5}, {"forget_bias": 0.5}),
            ("LSTMCell", {"use_peepholes": True, "cell_clip": 1.0}, {"cell_clip": 1.0}),
        ]
        made = [
            (n, getattr(cells, n)(H, dtype=tf.float64, **o), r) for n, o, r in forms
        ]
    except (AttributeError, ImportError):  # they came with Keras 2
        return
    for name, cell, read in made:
        cell.build(tf.TensorShape([B, D]))
        for i, variable in enumerate(cell.variables):
            variable.assign(values(*variable.shape, seed=i))
        lstm = "LSTM" in name
        h, c = (tf.constant(a) for a in starts(2))
        carry, ys = ((c, h) if lstm else h), []
        for t in range(T):
            if name == "BasicLSTMCell" or name == "LSTMCell":
                carry = cells.LSTMStateTuple(*carry)
            y, carry = cell(tf.constant(XS[:, t]), carry)
            ys.append(y.numpy())  # pyright: ignore
        leaves = [carry[1], carry[0]] if lstm else [carry]
        yield (
            name,
            case(
                {v.name: v.numpy() for v in cell.variables},
                *(np.stack(ys, 1), [a.numpy() for a in leaves]),  # pyright: ignore
                **{"reader": "load_tensorflow", "args": [name]},
                **{"start": starts(2) if lstm else starts(1), **read},
                prefix=cell.variables[0].name.split("/")[0],
            ),
        )


def cudnn_cases():
    """The canonical weights are those that Keras 2 hands to cuDNN; on CPU it fails.

    Keras computes on CPU what it computes with cuDNN, by `standard_lstm` and
    `standard_gru`.
    """
    import tensorflow as tf

    try:
        from keras.src.layers.rnn import gru, gru_lstm_utils, lstm
    except ImportError:
        from tf_keras.src.layers.rnn import gru, gru_lstm_utils, lstm

    captured = {}

    def canonical(weights, biases, shape, transpose_weights=False):
        turned = [tf.transpose(w) if transpose_weights else w for w in weights]
        captured["weights"] = [w.numpy() for w in turned]
        captured["biases"] = [b.numpy() for b in biases]
        raise StopIteration

    gru_lstm_utils.canonical_to_params = canonical
    of_cuda = {"is_cuda_build": True, "is_rocm_build": False}
    for module in (gru, lstm):
        module.tf.sysconfig.get_build_info = lambda: of_cuda
    for kind, gates in (("gru", 3), ("lstm", 4)):
        kernel, recurrent = values(D, gates * H), values(H, gates * H, seed=1)
        bias = values(*((2, 3 * H) if kind == "gru" else (4 * H,)), seed=2)
        states = [tf.constant(a) for a in starts(1 + (kind == "lstm"))]
        named = dict(zip(("init_h", "init_c"), states))
        options = {
            "inputs": tf.constant(XS),
            "kernel": tf.constant(kernel),
            "recurrent_kernel": tf.constant(recurrent),
            "bias": tf.constant(bias),
            "mask": None,
            "time_major": False,
            "go_backwards": False,
            "sequence_lengths": None,
            "return_sequences": True,
            **named,
        }
        module = gru if kind == "gru" else lstm
        with contextlib.suppress(StopIteration):
            getattr(module, "gpu_" + kind)(**options)
        out = getattr(module, "standard_" + kind)(zero_output_for_mask=False, **options)
        _, ys, *carry, _ = out
        yield (
            kind,
            case(
                dict(captured),
                ys.numpy(),
                [a.numpy() for a in carry],
                **{
                    "reader": "load_cudnn",
                    "args": [kind],
                    "start": starts(len(states)),
                },
            ),
        )


def flax_cases():
    import jax

    jax.config.update("jax_enable_x64", True)
    import flax.linen as nn
    from flax import nnx

    names = {"SimpleCell": "rnn", "GRUCell": "gru", "LSTMCell": "lstm"}
    names["OptimizedLSTMCell"] = "lstm"

    def filled(tree):
        leaves, structure = jax.tree_util.tree_flatten(tree)
        drawn = [values(*np.shape(a), seed=i) for i, a in enumerate(leaves)]
        return jax.tree_util.tree_unflatten(structure, drawn)

    for name, kind in names.items():
        leaves = starts(1 + (kind == "lstm"))
        start = tuple(leaves[::-1]) if kind == "lstm" else leaves[0]
        for form in ("linen", "nnx"):
            if form == "linen":
                cell = getattr(nn, name)(H, param_dtype=np.float64, dtype=np.float64)
                made = jax.eval_shape(cell.init, jax.random.PRNGKey(0), start, XS[:, 0])
                params = filled(made["params"])

                def step(carry, x):
                    return cell.apply({"params": params}, carry, x)
            else:
                cell = getattr(nnx, name)(
                    D, H, dtype=np.float64, param_dtype=np.float64, rngs=nnx.Rngs(0)
                )
                state = nnx.state(cell, nnx.Param)
                params = filled(nnx.to_pure_dict(state))
                nnx.update(cell, params)
                step = cell
            carry, ys = start, []
            for t in range(T):
                carry, y = step(carry, XS[:, t])
                ys.append(np.asarray(y))
            found = carry[::-1] if kind == "lstm" else [carry]
            flat = {
                f"{a}/{b}": np.asarray(v)
                for a, d in params.items()
                for b, v in d.items()
            }
            yield (
                f"{name} {form}",
                case(
                    *(flat, np.stack(ys, 1), [np.asarray(a) for a in found]),
                    **{"reader": "load_flax", "args": [kind], "start": leaves},
                ),
            )


def haiku_cases():
    import jax

    jax.config.update("jax_enable_x64", True)
    import haiku as hk

    for name, kind in (("VanillaRNN", "rnn"), ("GRU", "gru"), ("LSTM", "lstm")):

        def run(xs, leaves):
            core = getattr(hk, name)(H)
            state = hk.LSTMState(*leaves) if kind == "lstm" else leaves[0]
            ys = []
            for t in range(T):
                y, state = core(xs[:, t], state)
                ys.append(y)
            return jax.numpy.stack(ys, 1), state

        leaves = starts(1 + (kind == "lstm"))
        model = hk.without_apply_rng(hk.transform(run))
        made = model.init(jax.random.PRNGKey(0), XS, leaves)
        params, i = {}, 0
        for module, named in made.items():
            for leaf, a in named.items():
                params[f"{module}|{leaf}"], i = values(*a.shape, seed=i), i + 1
        nested = {}
        for key, a in params.items():
            module, leaf = key.split("|")
            nested.setdefault(module, {})[leaf] = a
        ys, state = model.apply(nested, XS, leaves)
        yield (
            kind,
            case(
                *(params, np.asarray(ys)),
                [np.asarray(a) for a in jax.tree_util.tree_leaves(state)],
                **{"reader": "load_haiku", "args": [kind], "start": leaves},
            ),
        )


CASES = {
    name[: -len("_cases")]: made
    for name, made in list(globals().items())
    if name.endswith("_cases")
}


def version(framework: str):
    module = {
        "haiku": "haiku",
        "cudnn": "tensorflow",
        "mlx": "mlx.core",
    }.get(framework, framework)
    __import__(module)
    return str(getattr(sys.modules[module], "__version__", "unknown"))


def number(framework):
    """The version; tinygrad has none in its module."""
    found = version(framework)
    if found == "unknown":
        from importlib.metadata import version as of_package

        found = of_package(framework)
    return found.split("+")[0]


def pack(cases):
    """The arrays of a file, and what JSON says of them."""
    arrays, about = {}, {}
    for name, found in cases:
        weights = found.pop("weights")
        if isinstance(weights, dict):
            found["weights"] = {k: isinstance(a, list) for k, a in weights.items()}
            for k, a in weights.items():
                for i, one in enumerate(a) if isinstance(a, list) else [("", a)]:
                    arrays["{}/weights/{}{}".format(name, k, i)] = one
            found["weights"] = {
                k: len(a) if isinstance(a, list) else None for k, a in weights.items()
            }
        else:
            found["weights"] = len(weights)
            for i, a in enumerate(weights):
                arrays["{}/weights/{}".format(name, i)] = a
        arrays[name + "/ys"] = found.pop("ys")
        for what in ("carry", "start"):
            leaves = found.pop(what)
            found[what] = len(leaves)
            for i, a in enumerate(leaves):
                arrays["{}/{}/{}".format(name, what, i)] = a
        about[name] = found
    return arrays, about


def main():
    framework = sys.argv[1]
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "goldens")
    folder = sys.argv[2] if len(sys.argv) > 2 else folder
    arrays, about = pack(CASES[framework]())
    versions = {
        framework: number(framework),
        "numpy": np.__version__,
        "python": sys.version.split()[0],
    }
    text = json.dumps({"versions": versions, "cases": about})
    path = os.path.join(folder, "{}-{}.npz".format(framework, versions[framework]))
    np.savez_compressed(path, about=np.array(text), **arrays)
    print(path, len(about), "cases", os.path.getsize(path), "bytes")


if __name__ == "__main__":
    main()
