#!/usr/bin/env bash
# The step of xlstm's sLSTM cell returns the state that it was given.
#
# One would guess: y, state = cell.step(x, state), called for one input after the other, gives
# what cell(xs) gives, and state is the new state, as it is of cell(xs).
#
# What happens: the new state is computed, its y is returned, and the old state is handed back.
# So every step begins at the state of the first call: the first output is that of cell(xs), and
# all others differ, without a word. sLSTMLayer.step does not show it, since it calls the cell's
# forward with one input. But it cannot go on where the layer's own forward ended: that returns
# the last three inputs of the convolution as a tensor, and step wants four in a tuple.
# What helps: cell(x, state) with one input.
#
# Seen with xlstm 2.0.6 and torch 2.13.0; xlstm/blocks/slstm/cell.py, sLSTMCellBase.step.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q xlstm==2.0.6 torch==2.13.0

cat > step.py <<'END'
import torch
from xlstm.blocks.slstm.cell import sLSTMCell_vanilla, sLSTMCellConfig
from xlstm.blocks.slstm.layer import sLSTMLayer, sLSTMLayerConfig

torch.manual_seed(0)
cell = sLSTMCell_vanilla(sLSTMCellConfig(hidden_size=4, num_heads=2, backend="vanilla"))
x = torch.randn(1, 3, 16)
whole, last = cell(x)
state, one, by_one = torch.zeros(4, 1, 4), torch.zeros(4, 1, 4), []
for t in range(3):
    y, new = cell.step(x[:, t : t + 1], state)
    by_step = (y[:, :, -1] - whole[:, :, t]).abs().max().item()
    y, one = cell(x[:, t : t + 1], one)
    by_forward = (y[:, :, -1] - whole[:, :, t]).abs().max().item()
    print(f"input {t}: step differs by {by_step:.3f}, forward of one input by {by_forward:.3f}")
    assert new is state and (by_step > 0.01) == (t > 0) and by_forward < 1e-6
    state = new

layer = sLSTMLayer(sLSTMLayerConfig(embedding_dim=4, num_heads=2, backend="vanilla"))
_, states = layer(x[..., :4], return_last_state=True)
try:
    layer.step(x[:, :1, :4], **states)
except AssertionError as error:
    print("layer.step after layer:", error)
else:
    raise SystemExit("a step goes on after a layer now")
END
env/bin/python -W ignore step.py
echo "as described"
