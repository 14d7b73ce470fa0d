"""ONNX files as other libraries write them: run where the exporters are installed.

    python tests/library/exporters.py torch-dynamo FOLDER

writes NAME.onnx and NAME.npz, with an input `x` and what the library computes, `y`, of
each case into the folder. `test_exporters.py` runs it, in a process of its own, since
Keras fixes its back end when it is imported.
"""

import os
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

D, H, V, B, T = 3, 5, 11, 2, 7
KINDS = "LSTM", "GRU", "RNN"
TORCH_HEADS = {
    "seq": lambda ys, h, c: ys,
    "last": lambda ys, h, c: ys[:, -1],
    "state": lambda ys, h, c: h[-1],
    "memory": lambda ys, h, c: c[-1],
    "norm": lambda ys, h, c: ys,
    "mean": lambda ys, h, c: ys.mean(1),
    "both ends": lambda ys, h, c: ys[:, 0],
}
TORCH_CASES = [(kind, *c) for kind in KINDS for c in (
    (1, False, "seq"), (2, False, "last"), (1, False, "state"), (1, False, "norm"),
    (2, True, "seq"), (1, True, "states"), (1, True, "both ends"), (1, False, "mean"),
)] + [("LSTM", 1, False, "memory")]  # fmt: skip


def torch_files(folder, dynamo):
    torch: Any = import_module("torch")

    class Model(torch.nn.Module):
        def __init__(self, kind, layers, both, head):
            super().__init__()
            cell = getattr(torch.nn, kind)
            options = {"num_layers": layers, "bidirectional": both, "batch_first": True}
            self.cell, self.head = cell(D, H, **options), head
            self.norm = torch.nn.LayerNorm(H * (1 + both))
            self.out = torch.nn.Linear(H * (1 + both), 2)

        def forward(self, x):
            ys, h = self.cell(x)
            h, c = h if isinstance(h, tuple) else (h, h)
            if self.head == "states":
                return self.out(torch.cat([h[-2], h[-1]], 1))
            found = TORCH_HEADS[self.head](ys, h, c)
            return self.out(
                torch.relu(self.norm(found)) if self.head == "norm" else found
            )

    auto = torch.export.Dim.AUTO if dynamo else None
    axes = {"x": {0: "B", 1: "T"}}
    options: dict = {"dynamo": False, "input_names": ["x"], "dynamic_axes": axes}
    if dynamo:
        options = {"dynamo": True, "dynamic_shapes": ({0: auto, 1: auto},)}
    for kind, layers, both, head in TORCH_CASES:
        torch.manual_seed(0)
        model, x = Model(kind, layers, both, head).eval(), torch.randn(B, T, D)
        name = f"{kind} {layers}{' both' * both} {head}"
        torch.onnx.export(model, (x,), str(folder / f"{name}.onnx"), **options)
        np.savez(folder / f"{name}.npz", x=x.numpy(), y=model(x).detach().numpy())


def keras_models(keras):
    """Each case as its input and its output."""
    L = keras.layers
    for kind in ("LSTM", "GRU", "SimpleRNN"):

        def cell(kind=kind, **options):
            return getattr(L, kind)(H, **options)

        def both(kind=kind, **options):
            return L.Bidirectional(getattr(L, kind)(H, **options))

        name = kind.removeprefix("Simple")
        i = keras.Input((None, D))
        yield f"{name} seq", i, cell(return_sequences=True)(i)
        i = keras.Input((None, D))
        yield f"{name} last", i, L.Dense(2)(cell()(cell(return_sequences=True)(i)))
        i = keras.Input((None, D))
        yield f"{name} both", i, L.Dense(2)(both()(i))
        i = keras.Input((T, D))
        yield f"{name} backward", i, L.Dense(2)(cell(go_backwards=True)(i))
        i = keras.Input((None,), dtype="int32")
        x = both()(L.Dropout(0.5)(both(return_sequences=True)(L.Embedding(V, D)(i))))
        yield f"{name} tokens", i, L.Dense(2, activation="softmax")(x)
        i = keras.Input((None,), dtype="int32")
        x = cell()(L.Embedding(V, D, mask_zero=True)(i))
        yield f"{name} mask", i, L.Dense(2)(x)
    i = keras.Input((T, D))
    yield "GRU before", i, L.GRU(H, reset_after=False, return_sequences=True)(i)
    i = keras.Input((T, D))
    yield "LSTM relu", i, L.LSTM(H, activation="relu", return_sequences=True)(i)
    i = keras.Input((T, D))
    gates = {"recurrent_activation": "hard_sigmoid", "return_sequences": True}
    yield "LSTM hard", i, L.LSTM(H, **gates)(i)


def keras_files(folder, backend):
    os.environ["KERAS_BACKEND"] = backend if backend != "tf2onnx" else "tensorflow"
    keras: Any = import_module("tf_keras" if backend == "tf2onnx" else "keras")
    for name, given, found in keras_models(keras):
        model, noise = keras.Model(given, found), np.random.default_rng(0)
        weights = [noise.normal(0, 0.4, w.shape) for w in model.get_weights()]
        model.set_weights([w.astype(np.float32) for w in weights])
        path = str(folder / f"{name}.onnx")
        if len(given.shape) == 3:
            x = noise.normal(size=(B, T, D)).astype(np.float32)
        else:
            x = noise.integers(1, V, (B, T)).astype(np.int32)
        if "mask" in name:
            x[0, 5:] = 0
        y = np.asarray(model.predict(x, verbose=0))
        try:
            if backend == "tf2onnx":
                tf: Any = import_module("tensorflow")
                tf2onnx: Any = import_module("tf2onnx")
                shape = [None, *model.input_shape[1:]]
                spec = [tf.TensorSpec(shape, x.dtype, name="x")]
                tf2onnx.convert.from_keras(
                    model, input_signature=spec, opset=17, output_path=path
                )
            else:
                model.export(path, format="onnx", verbose=False)
        except Exception as error:  # of the exporter: it has no file for us to read
            (folder / f"{name}.txt").write_text(f"{type(error).__name__}: {error}")
            continue
        np.savez(folder / f"{name}.npz", x=x, y=y)


EXPORTERS = {
    "torch": (torch_files, False, ["torch"]),
    "torch-dynamo": (torch_files, True, ["torch", "onnxscript"]),
    "tf2onnx": (keras_files, "tf2onnx", ["tf_keras", "tf2onnx"]),
    "keras-tensorflow": (keras_files, "tensorflow", ["keras", "tf2onnx"]),
    "keras-jax": (keras_files, "jax", ["keras", "onnx_ir"]),
    "keras-torch": (keras_files, "torch", ["keras", "torch", "onnxscript"]),
}


def main():
    warnings.simplefilter("ignore")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    write, option, _ = EXPORTERS[sys.argv[1]]
    write(Path(sys.argv[2]), option)


if __name__ == "__main__":
    main()
