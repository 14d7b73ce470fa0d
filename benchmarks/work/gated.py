"""Gated cells: sizes, and the work and the weights that follow from them.

B batch, T time, D input, H hidden, K classes.

Weights are in a neutral layout, and each system converts them to its own. Products are
written `x @ w_x`; gates are in the order i, f, g, o (LSTM) or r, z, n (GRU); there is
one bias.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from benchmarks.work.equal import CLASSES, Data, Weights

GATES = {"elman": 1, "gru": 3, "lstm": 4}
BYTES = {"float32": 4, "bfloat16": 2}

ALL, RAGGED, MASKED = "all", "ragged", "masked"  # which steps are read

# Variants of a GRU: what a peer that computes another function is compared with.
NO_INNER_BIAS = "no inner bias"  # no b_h
RESET_BEFORE = "reset before"  # the reset gate acts before the product, and no b_h
# A second bias beside b learns the same, so that their sum moves twice as far.
TWO_BIASES = "two biases"


@dataclass(frozen=True)
class Case:
    """One call of a stack of recurrent layers with a linear readout.

    The readout reads the last output of each direction of the top layer. The mode
    `train` is one step of SGD on the mean softmax cross-entropy of a batch, `forward`
    computes the logits of a batch. `valid` says which steps are read: all of them, as
    many as the own length of each sequence, or those that a mask with holes leaves; a
    step that is not read leaves the state as it was.
    """

    work: ClassVar[str] = "gated"
    checked: ClassVar[bool] = True
    modes: ClassVar[tuple[str, ...]] = ("train", "forward")

    cell: str
    batch: int
    time: int
    input_size: int
    hidden_size: int
    mode: str = "train"
    dtype: str = "float32"
    layers: int = 1
    directions: int = 1
    valid: str = ALL

    def __post_init__(self):
        for name, known in (
            ("cell", GATES),
            ("mode", self.modes),
            ("dtype", BYTES),
            ("valid", (ALL, RAGGED, MASKED)),
        ):
            if getattr(self, name) not in known:
                expected = ", ".join(known)
                got = getattr(self, name)
                raise ValueError(f"{name}: expected one of {expected}, got {got}")
        plain = self.directions == 1 and self.mode in ("train", "forward")
        if self.valid != ALL and not plain:
            raise ValueError(
                f"valid: expected {ALL} in two directions or the mode {self.mode}, "
                f"got {self.valid}"
            )

    @property
    def name(self) -> str:
        """Such as `lstm train 32x100x64x256`."""
        words = [self.cell, self.mode, "x".join(map(str, self.sizes))]
        words += [f"{self.layers} layers"] if self.layers > 1 else []
        words += ["bidirectional"] if self.directions == 2 else []
        words += [self.valid] if self.valid != ALL else []
        words += [self.dtype] if self.dtype != "float32" else []
        return " ".join(words)

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """B, T, D, H."""
        return self.batch, self.time, self.input_size, self.hidden_size

    @property
    def steps(self) -> int:
        """The number of time steps in one call."""
        return self.time

    @property
    def sequences(self) -> int:
        """The number of sequences in one call."""
        return self.batch * self.num_updates

    @property
    def tokens(self) -> int:
        """The number of time steps that are read of all sequences in one call."""
        if self.valid == ALL:
            return self.sequences * self.steps
        return int(valid_steps(self).sum())

    @property
    def num_updates(self) -> int:
        """The number of batches that one call reads, one after the other."""
        return 1

    @property
    def trains(self) -> bool:
        """Whether one call is one step of training."""
        return self.mode == "train"

    @property
    def layer_inputs(self) -> list[int]:
        """The input size of each layer."""
        above = self.directions * self.hidden_size
        return [self.input_size] + [above] * (self.layers - 1)

    @property
    def flops(self) -> int:
        """Floating-point operations of all matrix products in one call.

        Pointwise work and steps that are not read are left out, so the share of the
        product rate is a lower bound. In a backward pass each product is followed by
        two, except that the gradient of the input is not needed.
        """
        H, gates = self.hidden_size, GATES[self.cell] * self.hidden_size
        total = 2 * self.sequences * self.directions * H * CLASSES
        total *= 3 if self.trains else 1
        for layer, D in enumerate(self.layer_inputs):
            from_input = 2 * self.tokens * D * gates
            from_hidden = 2 * self.tokens * H * gates
            passes = (2 if layer == 0 else 3, 3) if self.trains else (1, 1)
            one_way = passes[0] * from_input + passes[1] * from_hidden
            total += self.directions * one_way
        return total

    @property
    def num_params(self) -> int:
        """The number of weights of the model, with one bias for each gate."""
        gates, H = GATES[self.cell] * self.hidden_size, self.hidden_size
        inner = H if self.cell == "gru" else 0
        block = sum((D + H + 1) * gates + inner for D in self.layer_inputs)
        readout = (self.directions * H + 1) * CLASSES
        return self.directions * block + readout

    @property
    def num_bytes(self) -> int:
        """The least memory traffic of a call: inputs and weights read, results written.

        What a backward pass keeps is left out: whether it leaves the cache depends on
        the program.
        """
        numbers = self.tokens * self.input_size
        numbers += self.num_updates * self.num_params * (2 if self.trains else 1)
        return numbers * BYTES[self.dtype]


class Block(NamedTuple):
    """The weights of one direction of one layer; G is the number of gates times H."""

    w_x: Any  # [D, G]
    w_h: Any  # [H, G]
    b: Any  # [G]
    b_h: Any = None  # [H], GRU: added to h w_h of gate n, inside the reset


def valid_steps(case: Case) -> np.ndarray:
    """Which steps are read: lengths [B] if ragged, a mask [B, T] if masked."""
    random = np.random.default_rng(1)
    if case.valid == RAGGED:
        lengths = random.integers(1, case.time + 1, case.batch)
        lengths[0] = case.time  # the batch is padded to its longest sequence
        return lengths.astype(np.int32)
    mask = random.random((case.batch, case.time)) < 0.75
    mask[:, 0] = True
    return mask


def make(case: Case, variant: str = "") -> Data:
    """The weights and inputs of a case, the same in every process.

    Args:
      case: the case.
      variant: "", `NO_INNER_BIAS`, `RESET_BEFORE` or `TWO_BIASES`.

    Returns:
      float32 arrays, whatever the dtype of the case.
    """
    random = np.random.default_rng(0)
    B, T, D, H = case.sizes
    bound = 1 / np.sqrt(H)

    def uniform(*shape):
        return random.uniform(-bound, bound, shape).astype(np.float32)

    gates = GATES[case.cell] * H
    inner = case.cell == "gru" and variant not in (NO_INNER_BIAS, RESET_BEFORE)
    layers = tuple(
        tuple(
            Block(
                uniform(D_layer, gates),
                uniform(H, gates),
                uniform(gates),
                uniform(H) if inner else None,
            )
            for _ in range(case.directions)
        )
        for D_layer in case.layer_inputs
    )
    weights = Weights(layers, uniform(case.directions * H, CLASSES), uniform(CLASSES))
    B = B * case.num_updates
    xs = random.standard_normal((B, T, D)).astype(np.float32)
    labels = random.integers(0, CLASSES, B).astype(np.int32)
    valid = None if case.valid == ALL else valid_steps(case)
    return Data(weights, xs, labels, valid)


def moved_twice(case: Case, before: Weights, after: Weights) -> Weights:
    """The weights after an update of `TWO_BIASES`, from those of one bias."""
    return _with_biases(case, before, after, lambda old, new: 2 * new - old)


def one_of_two(case: Case, before: Weights, after: Weights) -> Weights:
    """The first of the two biases, from their sum; the second began at 0."""
    return _with_biases(case, before, after, lambda old, new: (old + new) / 2)


def _with_biases(
    case: Case, before: Weights, after: Weights, change: Callable[[Any, Any], Any]
) -> Weights:
    # The gate n of a GRU has b_h, which is no second b.
    shared = (2 if case.cell == "gru" else GATES[case.cell]) * case.hidden_size

    def block(old: Block, new: Block) -> Block:
        old_b, new_b = np.asarray(old.b), np.asarray(new.b)
        moved = change(old_b[:shared], new_b[:shared])
        return new._replace(b=np.concatenate([moved, new_b[shared:]]))

    layers = tuple(
        tuple(map(block, *blocks))
        for blocks in zip(before.layers, after.layers, strict=True)
    )
    return after._replace(layers=layers)
