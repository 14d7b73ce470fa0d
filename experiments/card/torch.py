"""Code of torch that loads a network, for a card."""

from experiments.card.layout import KINDS
from experiments.card.net import Net

CLASSES = {"rnn": "RNN", "gru": "GRU", "lstm": "LSTM"}
READ = {
    "steps": "states",
    "last": "states[:, -1]",
    "mean": "states.mean(1)",
    "max": "states.amax(1)",
    "ends": "torch.cat([states[:, -1, :{H}], states[:, 0, {H}:]], -1)",
    "attention": "((states @ self.query).softmax(1)[..., None] * states).sum(1)",
}


def code(net: Net) -> str:
    """Defines `network`, a module from the inputs of a batch to its outputs."""
    D, H, K = net.sizes
    xs = "tokens" if net.embedding is not None else "xs"
    states = H * (1 + net.both)
    made, read = [], []
    if net.embedding is not None:
        made.append(f"self.embedding = nn.Embedding({len(net.embedding)}, {D})")
        read.append("xs = self.embedding(tokens)")
    given = "xs"
    for name in _starts(net):
        rows = f"{len(net.layers)}, {H}"
        made.append(f"self.{name} = nn.Parameter(torch.zeros({rows}))")
        each = f"self.{name}[:, None].expand(-1, len(xs), -1)"
        read.append(f"{name} = {each}.contiguous()")
    if net.start:
        pair = "h_0" if net.kind != "lstm" else "(h_0, c_0)"
        given = f"xs, {pair}"
    made.append(f"self.rnn = nn.{CLASSES[net.kind]}({_options(net)})")
    read.append(f"states, _ = self.rnn({given})")
    if net.query is not None:
        made.append(f"self.query = nn.Parameter(torch.zeros({states}))")
    summed = READ[net.reads].format(H=H)
    if net.projection is not None:
        made.append(f"self.projection = nn.Linear({states}, {D})")
        summed, states = f"self.projection({summed})", D
    bias = "" if net.output.b is not None else ", bias=False"
    made.append(f"self.output = nn.Linear({states}, {K}{bias})")
    if net.projection is not None:
        made.append("self.output.weight = self.embedding.weight")
    read.append(f"return self.output({summed})")
    indent = "\n        "
    return f"""\
import torch
from safetensors.torch import load_file
from torch import nn


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        {indent.join(made)}

    def forward(self, {xs}):  # {net.shapes}
        {indent.join(read)}


network = Network()
network.load_state_dict(load_file("model.safetensors"))
network.eval()
"""


def _starts(net: Net) -> list[str]:
    if not net.start:
        return []
    return ["h_0", "c_0"] if net.kind == "lstm" else ["h_0"]


def _options(net: Net) -> str:
    D, H, _ = net.sizes
    options = [str(D), str(H)]
    if len(net.layers) > 1:
        options.append(f"num_layers={len(net.layers)}")
    if KINDS[net.cell][1] != "tanh":
        options.append(f'nonlinearity="{KINDS[net.cell][1]}"')
    if not net.bias:
        options.append("bias=False")
    if net.both:
        options.append("bidirectional=True")
    return ", ".join([*options, "batch_first=True"])
