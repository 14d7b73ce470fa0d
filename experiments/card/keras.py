"""Code of Keras that loads a network, for a card."""

from experiments.card.layout import KINDS, read_layers
from experiments.card.net import Net

CLASSES = {"rnn": "SimpleRNN", "gru": "GRU", "lstm": "LSTM"}
READ = {
    "steps": "x",
    "last": "x[:, -1]",
    "mean": "keras.ops.mean(x, axis=1)",
    "max": "keras.ops.max(x, axis=1)",
    "ends": "keras.ops.concatenate([x[:, -1, :{H}], x[:, 0, {H}:]], axis=-1)",
    "attention": "keras.ops.sum(weights * x, axis=1)",
}
ATTENTION = """\
scores = keras.ops.sum(x * state["query"], axis=-1, keepdims=True)
weights = keras.ops.softmax(scores, axis=1)
"""
STARTED = """\
for i, layer in enumerate(layers):
    rows = [state[name][i] for name in {names}]
    x = layer(x, initial_state=[keras.ops.zeros_like(x[:, 0, :1]) + h for h in rows])
"""
PLAIN = """\
for layer in layers:
    x = layer(x)
"""


def code(net: Net) -> str:
    """Defines `network`, a model from the inputs of a batch to its outputs."""
    D, H, K = net.sizes
    layer = f"keras.layers.{CLASSES[net.kind]}({H}, {_options(net)})"
    if net.both:
        layer = f"keras.layers.Bidirectional({layer})"
    count = len(net.layers)
    tokens = net.embedding is not None
    inputs = '(None,), dtype="int32"' if tokens else f"(None, {D})"
    names = '("h_0", "c_0")' if net.kind == "lstm" else '("h_0",)'
    parts = [
        "import keras\nfrom safetensors.numpy import load_file\n",
        'from jaxrnn import interop\n\nstate = load_file("model.safetensors")',
        f"_, params = {read_layers(net.cell, count, net.both)}",
        f"layers = [{layer} for _ in range({count})]",
    ]
    if tokens:
        sizes = f"{len(net.embedding)}, {D}"
        parts.append(f"embedding = keras.layers.Embedding({sizes})")
    if net.projection is not None:
        parts.append(f"projection = keras.layers.Dense({D})")
    bias = "" if net.output.b is not None else ", use_bias=False"
    parts.append(f"output = keras.layers.Dense({K}{bias})\n")
    first = "embedding(inputs)" if tokens else "inputs"
    parts.append(f"inputs = keras.Input({inputs})  # {net.shapes}\nx = {first}")
    looped = STARTED.format(names=names) if net.start else PLAIN
    attention = ATTENTION if net.reads == "attention" else ""
    parts.append((looped + attention).rstrip())
    summed = READ[net.reads].format(H=H)
    if net.projection is not None:
        summed = f"projection({summed})"
    parts.append(f"network = keras.Model(inputs, output({summed}))\n")
    several = "params" if count > 1 else "[params]"
    parts.append(f"for layer, weights in zip(layers, {several}):")
    parts.append(f'    layer.set_weights(interop.to_keras("{net.kind}", weights))')
    if tokens:
        parts.append('embedding.set_weights([state["embedding.weight"]])')
    dense = ["output"] if net.projection is None else ["projection", "output"]
    for name in dense:
        weights = [f'state["{name}.weight"].T', f'state["{name}.bias"]']
        kept = weights if getattr(net, name).b is not None else weights[:1]
        parts.append(f"{name}.set_weights([{', '.join(kept)}])")
    return "\n".join(parts) + "\n"


def _options(net: Net) -> str:
    options = ["return_sequences=True"]
    if KINDS[net.cell][1] != "tanh":
        options.append(f'activation="{KINDS[net.cell][1]}"')
    if not net.bias:
        options.append("use_bias=False")
    return ", ".join(options)
