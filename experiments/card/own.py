"""Code of this library that loads a network, for a card."""

from experiments.card.layout import read_layers
from experiments.card.net import Net

READ = {
    "last": "states[-1]",
    "mean": "states.mean(0)",
    "max": "states.max(0)",
    "ends": "jnp.concatenate([states[-1, :{H}], states[0, {H}:]])",
    "attention": 'rnn.attention_pool(state["query"], states).output',
}


def code(net: Net) -> str:
    """Defines `network`, a function from the inputs of one sequence to its outputs."""
    D, H, _ = net.sizes
    tokens = net.embedding is not None
    cells, params = ["cell"], ["params"]
    if tokens:
        cells.insert(0, f"rnn.embedding({len(net.embedding)}, {D})")
        params.insert(0, 'rnn.EmbeddingParams(state["embedding.weight"])')
    last, weights = [], []
    for name in ("projection", "output"):
        layer = getattr(net, name)
        if layer is not None:
            bias, leaves = ", bias=False", [f'state["{name}.weight"].T']
            if layer.b is not None:
                bias, leaves = "", [*leaves, f'state["{name}.bias"]']
            last.append(f"rnn.linear({layer.w.shape[0]}, {layer.w.shape[1]}{bias})")
            weights.append(f"rnn.LinearParams({', '.join(leaves)})")
    if net.reads == "steps":
        cells += last
        params += weights
        told = "return states"
    else:
        summed = READ[net.reads].format(H=H)
        told = f"return rnn.apply({last[0]}, {weights[0]}, {summed})"
    whole = ",\n    ".join(params)
    start = "start = model.initial_carry(params)"
    if net.start:
        rows = 'state["h_0"]'
        if net.kind == "lstm":
            rows = '(a for pair in zip(state["h_0"], state["c_0"]) for a in pair)'
        start += (
            f"\nstart = jax.tree.unflatten(jax.tree.structure(start), list({rows}))"
        )
    xs = "tokens" if tokens else "xs"
    return f"""\
import jax
import jax.numpy as jnp
from safetensors.numpy import load_file

import jaxrnn as rnn
from jaxrnn import interop

state = {{k: jnp.asarray(a) for k, a in load_file("model.safetensors").items()}}
cell, params = {read_layers(net.cell, len(net.layers), net.both)}
model = rnn.chain({", ".join(cells)})
params = (
    {whole},
)
{start}

def one({xs}):  # without the B
    _, states = model.unroll(params, start, {xs})
    {told}

network = jax.jit(jax.vmap(one))  # {net.shapes}
"""
