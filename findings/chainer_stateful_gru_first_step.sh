#!/usr/bin/env bash
# The first step of Chainer's stateful GRU leaves out half of the biases.
#
# One would guess: after reset_state() L.StatefulGRU starts from zeros, so the first step is
# that of a state set to zeros, and that of StatelessGRU with zeros and the same parameters.
#
# What happens: without a state it leaves out the products with the state, and with them the
# biases b of U, U_r and U_z, which do not vanish at zero. Later steps add them. So a network
# trained by it computes something else wherever its weights go, unless the first step is
# treated apart; only where these three biases are zero do the two starts agree. L.LSTM and
# L.StatefulMGU, whose start is also no state at all, do not differ.
#
# Seen with chainer 7.8.1, numpy 1.23.5, Python 3.11; chainer/links/rnn/gru.py.
# Chainer needs a Python of at most 3.11 (it imports numpy.distutils).
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -c 'import sys; sys.exit(not (3, 8) <= sys.version_info < (3, 12))' ||
  { echo "this needs a python3 of 3.8 to 3.11" >&2; exit 2; }
python3 -m venv env
env/bin/pip install -q setuptools==65.5.0 wheel==0.38.4 numpy==1.23.5 six==1.17.0 \
  protobuf==3.20.3 filelock==3.12.0 typing_extensions==4.12.2
env/bin/pip install -q --no-build-isolation chainer==7.8.1

cat > start.py <<'END'
import chainer
import chainer.links as L
import numpy as np

rng = np.random.default_rng(0)
x = rng.normal(size=(2, 3)).astype(np.float32)
zeros = lambda: chainer.Variable(np.zeros((2, 4), np.float32))


def starts(link, count):
    """The outputs of the first step without a state and with zeros as the state."""
    link.reset_state()
    none = link(x).array
    link.reset_state()
    link.set_state(*[zeros() for _ in range(count)])
    return none, link(x).array


def filled(link):
    for _, parameter in sorted(link.namedparams()):
        parameter.array[...] = rng.normal(size=parameter.shape)
    return link


gru = filled(L.StatefulGRU(3, 4))
none, zero = starts(gru, 1)
print("StatefulGRU: no state and zeros differ by", abs(none - zero).max())
assert abs(none - zero).max() > 0.1

stateless = L.StatelessGRU(3, 4)
own = dict(stateless.namedparams())
for name, parameter in gru.namedparams():
    own[name].array[...] = parameter.array
assert abs(zero - stateless(zeros(), x).array).max() < 1e-6

for name, parameter in gru.namedparams():
    if name in ("/U/b", "/U_r/b", "/U_z/b"):
        parameter.array[...] = 0
assert abs(starts(gru, 1)[1] - none).max() < 1e-6
print("zeros with the biases of U taken away are the start without a state")

for link, count in ((L.LSTM(3, 4), 2), (L.StatefulMGU(3, 4), 1)):
    none, zero = starts(filled(link), count)
    print(f"{type(link).__name__}: they differ by", abs(none - zero).max())
    assert abs(none - zero).max() < 1e-6
END
env/bin/python -W ignore start.py
echo "as described"
