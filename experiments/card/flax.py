"""Code of flax that loads a network, for a card."""

from experiments.card.layout import KINDS, read_layers
from experiments.card.net import Net

CLASSES = {"rnn": "SimpleCell", "gru": "GRUCell", "lstm": "OptimizedLSTMCell"}
READ = {
    "steps": "xs",
    "last": "xs[:, -1]",
    "mean": "xs.mean(1)",
    "max": "xs.max(1)",
    "ends": "jnp.concatenate([xs[:, -1, :{H}], xs[:, 0, {H}:]], -1)",
    "attention": '(jax.nn.softmax(xs @ state["query"], 1)[..., None] * xs).sum(1)',
}
TWO = """\
    for both in {several}:
        ways = [interop.to_flax("{kind}", weights) for weights in both]
        ahead, back = ({{"params": {{"cell": way}}}} for way in ways)
        back = layer.apply(back, xs, reverse=True, keep_order=True)
        xs = jnp.concatenate([layer.apply(ahead, xs), back], -1)
"""
ONE = """\
    for weights in {several}:
        cell = {{"params": {{"cell": interop.to_flax("{kind}", weights)}}}}
        xs = layer.apply(cell, xs)
"""
STARTED = """\
    for i, weights in enumerate({several}):
        cell = {{"params": {{"cell": interop.to_flax("{kind}", weights)}}}}
        start = {start}
        xs = layer.apply(cell, xs, initial_carry=start)
"""


def code(net: Net) -> str:
    """Defines `network`, a function from the inputs of a batch to its outputs."""
    D, H, _ = net.sizes
    tokens = net.embedding is not None
    relu = ", activation_fn=nn.relu" if KINDS[net.cell][1] == "relu" else ""
    rows = {
        name: f'jnp.tile(state["{name}"][i], (len(xs), 1))' for name in ("c_0", "h_0")
    }
    pair = f"{rows['c_0']}, {rows['h_0']}" if net.kind == "lstm" else rows["h_0"]
    looped = STARTED if net.start else TWO if net.both else ONE
    several = "params" if len(net.layers) > 1 else "[params]"
    looped = looped.format(several=several, kind=net.kind, start=pair)
    first = ""
    if tokens:
        table = '{"params": {"embedding": state["embedding.weight"]}}'
        sizes = f"{len(net.embedding)}, {D}"
        first = f"    xs = nn.Embed({sizes}).apply({table}, tokens)\n"
    summed = f"    xs = {READ[net.reads].format(H=H)}\n"
    if net.reads == "steps":
        summed = ""
    if net.projection is not None:
        summed += f"    xs = {_dense(net, 'projection')}\n"
    return f"""\
import flax.linen as nn
import jax
import jax.numpy as jnp
from safetensors.numpy import load_file

from jaxrnn import interop

state = load_file("model.safetensors")
_, params = {read_layers(net.cell, len(net.layers), net.both)}
layer = nn.RNN(nn.{CLASSES[net.kind]}({H}{relu}))


@jax.jit
def network({"tokens" if tokens else "xs"}):  # {net.shapes}
{first}{looped}{summed}    return {_dense(net, "output")}
"""


def _dense(net: Net, name: str) -> str:
    """A call of a linear layer."""
    layer = getattr(net, name)
    leaves = [f'"kernel": state["{name}.weight"].T']
    bias = ", use_bias=False"
    if layer.b is not None:
        leaves.append(f'"bias": state["{name}.bias"]')
        bias = ""
    params = f'{{"params": {{{", ".join(leaves)}}}}}'
    return f"nn.Dense({layer.w.shape[1]}{bias}).apply({params}, xs)"
