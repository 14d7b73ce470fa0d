"""What is measured: sizes, kinds of work, suites; and the work counted from the sizes.

B batch, T time, D input, H hidden, K classes.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

CLASSES = 10  # K
LEARNING_RATE = 0.1
GATES = {"elman": 1, "gru": 3, "lstm": 4}
BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class Case:
    """One piece of work, the same for every system.

    The model is a stack of recurrent layers and a linear readout of the last output of
    each direction of the top layer. `train` is one step of SGD on the mean softmax
    cross-entropy of a batch; `forward` computes the logits of a batch; `tick` is one
    time step of B streams, with the logits after it.
    """

    cell: str
    batch: int
    time: int
    input_size: int
    hidden_size: int
    kind: Literal["train", "forward", "tick"] = "train"
    dtype: Literal["float32", "bfloat16"] = "float32"
    layers: int = 1
    directions: int = 1

    def __post_init__(self):
        if self.kind == "tick" and self.directions == 2:
            raise ValueError("a bidirectional network has no tick")

    @property
    def name(self) -> str:
        """Such as `lstm train 32x100x64x256`."""
        words = [self.cell, self.kind, "x".join(map(str, self.sizes))]
        words += [f"{self.layers} layers"] if self.layers > 1 else []
        words += ["bidirectional"] if self.directions == 2 else []
        words += [self.dtype] if self.dtype != "float32" else []
        return " ".join(words)

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """B, T, D, H."""
        return self.batch, self.time, self.input_size, self.hidden_size

    @property
    def steps(self) -> int:
        """Time steps in one call."""
        return 1 if self.kind == "tick" else self.time

    @property
    def layer_inputs(self) -> list[int]:
        """How many numbers each layer reads in one time step."""
        above = self.directions * self.hidden_size
        return [self.input_size] + [above] * (self.layers - 1)


def from_json(fields: dict[str, Any]) -> Case:
    """The inverse of `dataclasses.asdict`."""
    return Case(**fields)


def to_json(case: Case) -> dict[str, Any]:
    """The fields of a case."""
    return asdict(case)


def flops(case: Case) -> int:
    """Floating-point operations of all matrix products in one call.

    Pointwise work is left out, so a share of the product rate is a lower bound. In a
    backward pass each product is followed by two, except that nobody asks for the
    gradient of the input.
    """
    B, T, H = case.batch, case.steps, case.hidden_size
    gates = GATES[case.cell] * H
    train = case.kind == "train"
    total = 2 * B * case.directions * H * CLASSES * (3 if train else 1)
    for layer, D in enumerate(case.layer_inputs):
        from_input = 2 * B * T * D * gates
        from_hidden = 2 * B * T * H * gates
        passes = (2 if layer == 0 else 3, 3) if train else (1, 1)
        one_way = passes[0] * from_input + passes[1] * from_hidden
        total += case.directions * one_way
    return total


def num_params(case: Case) -> int:
    """How many weights the model has, one bias for each gate."""
    gates, H = GATES[case.cell] * case.hidden_size, case.hidden_size
    extra = H if case.cell == "gru" else 0
    block = sum((D + H + 1) * gates + extra for D in case.layer_inputs)
    readout = (case.directions * H + 1) * CLASSES
    return case.directions * block + readout


def num_bytes(case: Case) -> int:
    """The least memory traffic of one call: inputs and weights read, results written.

    What a backward pass keeps is left out: whether it leaves the cache is the
    program's affair.
    """
    B, _, D, H = case.sizes
    numbers = B * case.steps * D + num_params(case) * (2 if case.kind == "train" else 1)
    if case.kind == "tick":
        numbers += 2 * B * H * case.layers * (2 if case.cell == "lstm" else 1)
    return numbers * BYTES[case.dtype]


CPU_SIZES = (
    (100, 28, 28, 100),
    (32, 100, 64, 256),
    (16, 200, 32, 64),
    (20, 35, 200, 200),
    (64, 50, 128, 512),
    (1, 1000, 32, 128),
    (256, 20, 64, 128),
)
GPU_SIZES = (
    (16, 100, 128, 128),
    (64, 100, 128, 256),
    (256, 100, 256, 512),
    (16, 1000, 256, 512),
    (64, 200, 512, 1024),
    (256, 100, 512, 1024),
)
CELLS = ("lstm", "gru", "elman")


def quick() -> list[Case]:
    """One small case of training and one of streaming."""
    return [Case("lstm", 32, 28, 28, 64), Case("lstm", 1, 28, 28, 64, kind="tick")]


def cpu() -> list[Case]:
    """Training at the sizes people use on a CPU; some inference."""
    train = [Case(cell, *sizes) for cell in CELLS for sizes in CPU_SIZES]
    second = [Case(cell, *CPU_SIZES[1]) for cell in CELLS]
    train += [replace(case, layers=2) for case in second]
    train += [replace(case, directions=2) for case in second]
    forward = [replace(case, kind="forward") for case in second]
    ticks = [
        Case("lstm", 1, 100, 32, 128, kind="tick"),
        Case("gru", 1, 100, 32, 128, kind="tick"),
        Case("elman", 1, 100, 32, 128, kind="tick"),
        Case("lstm", 32, 100, 64, 256, kind="tick"),
    ]
    return train + forward + ticks


def gpu() -> list[Case]:
    """Training at the sizes people use on a GPU, in two precisions."""
    base = [Case("lstm", *sizes) for sizes in GPU_SIZES]
    others = [Case(cell, *GPU_SIZES[2]) for cell in ("gru", "elman")]
    half = [replace(case, dtype="bfloat16") for case in base]
    more = [
        replace(base[2], layers=2),
        replace(base[2], directions=2),
        replace(base[2], kind="forward"),
        Case("lstm", 16, 100, 256, 512, kind="tick"),
    ]
    return base + others + half + more


SCALING_BASE = Case("lstm", 32, 64, 64, 128)
SCALING_SIZES = {
    "time": (16, 32, 64, 128, 256, 512, 1024),
    "batch": (4, 8, 16, 32, 64, 128, 256),
    "hidden_size": (16, 32, 64, 128, 256, 512, 1024),
}


def scaling() -> list[Case]:
    """One training step, with T, B and H doubled in turn."""
    found = [
        replace(SCALING_BASE, **{axis: size})
        for axis, sizes in SCALING_SIZES.items()
        for size in sizes
    ]
    return list(dict.fromkeys(found))


SUITES = {"quick": quick, "cpu": cpu, "gpu": gpu, "scaling": scaling}
