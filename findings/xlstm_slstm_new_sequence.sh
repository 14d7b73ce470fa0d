#!/usr/bin/env bash
# A new sequence beside others in a batch gives NaN in xlstm's sLSTM.
#
# One would guess: a row of a batch whose state is zeros begins anew, and computes what it
# computes alone.
#
# What happens: the stabiliser m begins as the input gate i only if n is 0 in the whole batch at
# once. Beside a row that goes on, a row of zeros takes m = max(log sigmoid(f), i), so that its
# first input counts exp(i - m): for i below about -104 in float32 that is 0, n stays 0, and
# c / n is NaN. Alone, or in a batch of new rows, the same row is right. So a batch of episodes
# that end at different steps, reset by zeros in their states, is not safe.
# The forget gate's initial bias has the same mark: for heads of one unit it is 0 / 0.
#
# Seen with xlstm 2.0.6 and torch 2.13.0; xlstm/blocks/slstm/src/vanilla/slstm.py:
# if torch.all(n == 0.0); and reset_parameters in cell.py.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q xlstm==2.0.6 torch==2.13.0

cat > new.py <<'END'
import torch
from xlstm.blocks.slstm.cell import sLSTMCell_vanilla, sLSTMCellConfig


def made(heads):
    return sLSTMCell_vanilla(sLSTMCellConfig(hidden_size=4, num_heads=heads, backend="vanilla"))


torch.manual_seed(0)
cell = made(2)
_, state = cell(torch.randn(1, 5, 16))
both = torch.cat([torch.zeros_like(state), state], dim=1)
x = torch.zeros(2, 1, 16)
x[:, :, :4], x[:, :, 8:] = -120.0, 1.0
alone, _ = cell(x[:1], both[:, :1])
beside, _ = cell(x, both)
print("the new sequence alone:", alone.flatten().tolist())
print("beside another:        ", beside[0].flatten().tolist())
assert alone.isfinite().all() and beside[0].isnan().all() and beside[1].isfinite().all()
bias = made(4)._bias_
print("initial bias of the forget gate, heads of one unit:", bias[4:8].tolist())
assert bias[4:8].isnan().all() and made(2)._bias_.isfinite().all()
END
env/bin/python -W ignore new.py
echo "as described"
