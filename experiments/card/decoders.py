"""Networks that write sentences, as torch has them, and back.

An encoder makes a memory, and a cell of torch, with attention and its own last output
beside each token, writes. Keras and flax have no such decoder.
"""

from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

import jax
import numpy as np

import jaxrnn as rnn
from experiments.card.layout import Layout, linear
from jaxrnn import interop

TEMPLATES = Path(__file__).parent / "templates"
CLASSES = {"gru": "GRU", "lstm": "LSTM"}
INDENT = "\n        "
LAYERS = {  # beside the memory's keys, by whether a query is added or multiplied
    "none": ["# the cell alone, without attention"],
    "luong": [
        "self.keys = nn.Linear({M}, {A}, bias=False)",
        "self.attended = nn.Linear({MH}, {H}, bias=False)",
    ],
    "bahdanau": [
        "self.keys = nn.Linear({M}, {A}, bias=False)",
        "self.query = nn.Linear({H}, {A}, bias=False)",
        "self.score = nn.Linear({A}, 1, bias=False)",
        "self.attended = nn.Linear({MH}, {H}, bias=False)",
    ],
}
READ = [
    "context = (scores.softmax(1)[..., None] * memory).sum(1)",
    "return torch.tanh(self.attended(torch.cat([context, h], -1)))",
]
ATTEND = {
    "none": ["return h"],
    "luong": ["scores = (self.keys(memory) * h[:, None]).sum(-1)", *READ],
    "bahdanau": [
        "both = torch.tanh(self.query(h)[:, None] + self.keys(memory))",
        "scores = self.score(both)[..., 0]",
        *READ,
    ],
}


def _attention(name: str, params: Any, H: int) -> dict[str, str]:
    """Its layers and its code; H units in a query."""
    sizes = {"H": H}
    if name != "none":
        M, A = params.w_k.shape
        sizes |= {"M": M, "A": A, "MH": M + H}
    layers = [layer.format(**sizes) for layer in LAYERS[name]]
    return {"layers": INDENT.join(layers), "attend": INDENT.join(ATTEND[name])}


def _attention_tensors(params: Any) -> dict[str, Any]:
    found = {"keys.weight": params.w_k.T, "attended.weight": params.w.T}
    if params.w_q is not None:
        found |= {"query.weight": params.w_q.T, "score.weight": params.v[None]}
    return found


def _attention_params(state: Mapping[str, Any]) -> rnn.AttentionParams:
    found = state["attended.weight"].T, state["keys.weight"].T
    if "query.weight" not in state:
        return rnn.AttentionParams(*found)
    added = state["query.weight"].T, state["score.weight"][0]
    return rnn.AttentionParams(*found, *added)


def _dense(name: str, state: Mapping[str, Any]) -> rnn.LinearParams:
    return rnn.LinearParams(state[f"{name}.weight"].T, state[f"{name}.bias"])


def _made(name: str, tensors: Mapping[str, Any], names: Mapping[str, Any]) -> Layout:
    text = (TEMPLATES / f"{name}_torch.txt").read_text(encoding="utf-8")
    arrays = {key: np.array(a, order="C") for key, a in tensors.items()}
    sizes = {key: value for key, value in names.items() if isinstance(value, int)}
    return Layout(arrays, {"torch": Template(text).substitute(names)}, sizes)


def translator(cell: Any, attention: str, params: Any) -> Layout:
    """Of `experiments.models.translator`."""
    (table,), both = (p for p in params.encoder if len(p))
    core, projection = (p for p in params.decoder.cell if len(p))
    inner, asked = (core, None) if attention == "none" else core
    lstm, H = cell == "lstm", inner.w_h.shape[0]
    tensors = {"source.weight": table, "target.weight": params.decoder.w}
    tensors |= interop.to_torch(cell, both, prefix="encoder.")
    tensors |= interop.to_torch(cell, inner, prefix="decoder.", cell=True)
    tensors |= {} if asked is None else _attention_tensors(asked)
    output = rnn.LinearParams(params.decoder.w.T, params.decoder.b)
    tensors |= linear("bridge", params.bridge) | linear("projection", projection)
    tensors |= linear("output", output)
    token = "self.target(token)"
    names = {
        **{"V": len(table), "E": table.shape[1], "W": len(params.decoder.w)},
        **{"H": H, "half": H // 2, "D": inner.w_x.shape[0]},
        **{"N": params.bridge.w.shape[0], "cls": CLASSES[cell]},
        **_attention(attention, asked, H),
        "ends": "*ends[0], *ends[1]" if lstm else "*ends",
        "carry": "start.chunk(2, -1)" if lstm else "start",
        "given": token if asked is None else f"torch.cat([{token}, last], -1)",
        "h": "carry[0]" if lstm else "carry",
    }
    return _made("translation", tensors, names)


def translator_params(cell: Any, like: Any, state: Mapping[str, Any]) -> Any:
    """Params of `experiments.models.translator` from the tensors of `translator`.

    Args:
      cell: "gru" or "lstm".
      like: params, or their shapes.
      state: the tensors.
    """
    both = interop.load_torch(cell, state, bidirectional=True, prefix="encoder.")[1]
    parts = [state["source.weight"], both, _dense("bridge", state)]
    parts += [state["target.weight"]]
    parts += [interop.load_torch(cell, state, prefix="decoder.")[1]]
    parts += [_attention_params(state)] if "keys.weight" in state else []
    parts += [_dense("projection", state), state["output.bias"]]
    return _filled(like, parts)


def captioner(params: Any, size: int, image: tuple[int, int], length: int) -> Layout:
    """Of `experiments.models.captioner`.

    Args:
      params: of it.
      size: rows and columns of what it reads.
      image: rows and columns of an image, which may have a margin, and its channels.
      length: of a caption.
    """
    speaker, readout = ([p for p in part if len(p)] for part in params.decoder)
    ((table,), (inner, asked)), (output,) = speaker, readout
    tensors, widths = {}, [4 * image[1]]
    for i, layers in enumerate(params.encoder):
        dense, norm = (p for p in layers if len(p))
        w = np.asarray(dense.w).reshape(3, 3, widths[-1], -1).transpose(3, 2, 0, 1)
        tensors |= {f"convolutions.{i}.weight": w, f"convolutions.{i}.bias": dense.b}
        tensors |= {f"norms.{i}.weight": norm.scale, f"norms.{i}.bias": norm.offset}
        widths.append(w.shape[0])
    S, M = params.places.shape
    tensors |= {"places": params.places, **linear("bridge", params.bridge)}
    tensors |= {"embedding.weight": table, **_attention_tensors(asked)}
    tensors |= interop.to_torch("gru", inner, prefix="decoder.", cell=True)
    tensors |= linear("output", output)
    H, first = inner.w_h.shape[0], (image[0] - size) // 2
    names = {
        **{"S": S, "M": M, "H": H, "V": len(table), "E": table.shape[1]},
        **{"D": inner.w_x.shape[0], "R": image[0], "C": image[1], "L": length},
        **{"widths": tuple(widths), "cut": f"{first} : {first + size}"},
        **_attention("bahdanau", asked, H),
    }
    return _made("captioning", tensors, names)


def captioner_params(like: Any, state: Mapping[str, Any]) -> Any:
    """Params of `experiments.models.captioner` from the tensors of `captioner`."""
    parts: list[Any] = []
    for i in range(len(like.encoder)):
        w = state[f"convolutions.{i}.weight"].transpose(2, 3, 1, 0)
        parts += [w.reshape(-1, w.shape[-1]), state[f"convolutions.{i}.bias"]]
        parts += [state[f"norms.{i}.weight"], state[f"norms.{i}.bias"]]
    parts += [state["places"], _dense("bridge", state), state["embedding.weight"]]
    parts += [interop.load_torch("gru", state, prefix="decoder.")[1]]
    parts += [_attention_params(state), _dense("output", state)]
    return _filled(like, parts)


def _filled(like: Any, parts: Any) -> Any:
    """The leaves of the parts, in the structure of the params."""
    return jax.tree.unflatten(jax.tree.structure(like), jax.tree.leaves(parts))
