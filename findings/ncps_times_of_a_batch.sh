#!/usr/bin/env bash
# In ncps the times of one example reach the other examples of the batch.
#
# One would guess: CfC(...)(x, timespans=t), with x of [batch, time, features] and t of
# [batch, time], the time that passed before each step, gives each example its own times.
#
# What happens: the times of a step, a vector of length batch, meet the state [batch, units]
# along its last axis. With a batch as large as the layer has units, unit j of every example
# takes the time of example j, without a word: changed times of one example change all the
# others, and a batch differs from its examples one by one. With any other size of batch
# there is a RuntimeError about sizes, so only a batch of 1 works as one expects. LTC has the
# same, with t of [batch, time, 1] too. What helps: t repeated to [batch, time, units].
#
# Seen with ncps 1.0.1 and torch 2.13.0; ncps/torch/cfc.py and ltc.py: timespans[:, t].squeeze().
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/pip install -q ncps==1.0.1 torch==2.13.0 numpy==2.4.6

cat > times.py <<'END'
import torch
from ncps.torch import LTC, CfC

torch.manual_seed(0)
B, T, D = 4, 5, 3
x, times = torch.randn(B, T, D), torch.rand(B, T) * 2 + 0.1
later = times.clone()
later[1] *= 3


@torch.no_grad()
def main():
    for kind in (CfC, LTC):
        net = kind(D, B)  # as many units as examples
        single = torch.cat([net(x[i : i + 1], timespans=times[i : i + 1])[0] for i in range(B)])
        for t, changed in ((times, later), (times[..., None], later[..., None])):
            batch = net(x, timespans=t)[0]
            away = (batch - single).abs().max().item()
            moved = (net(x, timespans=changed)[0] - batch)[0].abs().max().item()
            print(f"{kind.__name__}, times {list(t.shape)}: batch and single differ by {away:.3f}; "
                  f"example 0 moves by {moved:.3f} with the times of example 1")
            assert away > 0.01 and moved > 0.01
        repeated = times[..., None].expand(B, T, B)
        assert (net(x, timespans=repeated)[0] - single).abs().max() < 1e-5
        try:
            net(x[:3], timespans=times[:3])
        except RuntimeError as error:
            print(f"{kind.__name__}, a batch of 3: {error}")
        else:
            raise SystemExit("a batch of another size is taken now")


main()
END
env/bin/python -W ignore times.py
echo "as described"
