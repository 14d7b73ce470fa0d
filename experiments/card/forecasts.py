"""Networks that forecast, as other frameworks have them: see `models.forecasters`.

    s_k = cell(relu(p_k A), s_{k-1}),    s_0 by the variable

Their code is in `templates`, a whole program for each structure and framework.
"""

from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import numpy as np

from experiments.card.layout import FRAMEWORKS, KINDS, Layout, linear, read_layers
from jaxrnn import interop

TEMPLATES = Path(__file__).parent / "templates"
CLASSES = {
    "torch": {"rnn": "RNN", "gru": "GRU", "lstm": "LSTM"},
    "keras": {"rnn": "SimpleRNN", "gru": "GRU", "lstm": "LSTM"},
    "flax": {"rnn": "SimpleCell", "gru": "GRUCell", "lstm": "OptimizedLSTMCell"},
}
RELU = {
    "torch": ', nonlinearity="relu"',
    "keras": ', activation="relu"',
    "flax": ", activation_fn=nn.relu",
}
CARRY = {"torch": "h", "keras": "[h]", "flax": "h"}
CARRY_OF_LSTM = {
    "torch": "(h, torch.zeros_like(h))",
    "keras": "[h, ops.zeros_like(h)]",
    "flax": "(jnp.zeros_like(h), h)",
}


class Sizes(NamedTuple):
    """Sizes of a network that forecasts."""

    C: int  # variables
    L: int  # window
    F: int  # horizon
    P: int  # patch
    H: int  # state
    Q: int  # quantiles


def forecasts(
    cell: str, sizes: Sizes, start: Any, dense: Any, inner: Any, output: Any, skip: Any
) -> Layout | None:
    """The tensors and the code, or None where torch lacks the cell.

    Args:
      cell: its name.
      sizes: of the network.
      start: the first state of each variable, [C, H].
      dense: A, LinearParams.
      inner: params of the cell.
      output: LinearParams of the readout.
      skip: those of the window in the structure direct, None in stepwise.
    """
    if cell not in KINDS:
        return None
    kind, nonlinearity = KINDS[cell]
    found = {"start.weight": start, **linear("input", dense)}
    found |= interop.to_torch(kind, inner, prefix="rnn.")
    found |= linear("output", output) | ({} if skip is None else linear("skip", skip))
    structure = "stepwise" if skip is None else "direct"
    names = {
        **sizes._asdict(),
        **{"K": sizes.L // sizes.P, "M": sizes.F // sizes.P},
        **{"N": output.w.shape[1], "middle": sizes.Q // 2},
        **{"kind": f'"{kind}"', "read": read_layers(cell)},
    }
    codes = {}
    for framework in FRAMEWORKS:
        carry = CARRY_OF_LSTM if kind == "lstm" else CARRY
        own = {
            "cls": CLASSES.get(framework, {}).get(kind),
            "carry": carry.get(framework),
            "relu": RELU.get(framework, "") if nonlinearity == "relu" else "",
        }
        text = (TEMPLATES / f"{structure}_{framework}.txt").read_text(encoding="utf-8")
        codes[framework] = Template(text).substitute(names | own)
    arrays = {name: np.array(a, order="C") for name, a in found.items()}
    return Layout(arrays, codes, sizes._asdict())
