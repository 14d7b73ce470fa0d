"""The loops of Elman, GRU and LSTM over time in one launch on a GPU, in Pallas.

A program of the grid keeps some rows of the batch for all steps. The state of its rows
stays in registers, in tiles of hidden units. A step needs every hidden unit for every
gate, so where there are several tiles the program passes h from one to the other
through a buffer that only it reads, and one barrier a step. The matrix of the
recurrence is loaded before the first step where the registers hold it (`resident`);
otherwise each step reads it, from the L1 cache or from L2, in chunks that the compiler
fetches ahead.

The product of all inputs with their weights is made before the launch: as one large
product it runs on the whole GPU, and a loop over time could use a few rows at a time.
Sums are in float32, whatever the operands are.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import sigmoid

ROWS = 16  # of the batch for one program, the fewest that the units for products take
FAST_BYTES = 128 << 10  # of weights in registers: half of what a multiprocessor has


class Plan(NamedTuple):
    """What is fixed in a launch."""

    cell: "Fused"
    time: int  # T
    units: int  # H, and the padding
    tile: int  # units whose state is one array
    chunk: int  # units that one turn of a product reads
    resident: bool  # whether the weights are in registers
    reverse: bool
    interpret: bool

    @property
    def tiles(self) -> list[Any]:
        """The slices of the units."""
        from jax.experimental import pallas as pl

        return [pl.ds(start, self.tile) for start in range(0, self.units, self.tile)]

    def at(self, i: Any, *, back: bool = False) -> Any:
        """The time of turn i of the loop, or of the loop back."""
        return self.time - 1 - i if self.reverse != back else i


class Fused(NamedTuple):
    """A cell as this module computes it, on tiles [ROWS, units] in float32.

    Attributes:
      of_x, of_h: how many gates get a share of the inputs, and of h.
      kept: what the forward loop keeps, by name: the arrays, and the parts of each.
      forward: `(zs_x, zs_h, b_h, state) -> (state, kept by name)`.
      backward: `(kept, h, ct) -> (of the gates that only x reaches, of those h reaches,
        ct of the state before but for what passes through the gates)`.
      only_h: whether the last gate of h has a bias of its own, b_h.
    """

    of_x: int
    of_h: int
    kept: tuple[tuple[str, ...], ...]
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    only_h: bool = False


class Forward(NamedTuple):
    """What the forward launch reads. The state is (h,) or (h, c)."""

    zs_x: Any  # [T, B, gates, H], of x alone, with the biases
    w_h: Any  # [gates, H, H]
    b_h: Any  # [1, H], or None
    state: Any  # [B, H] each
    initial: Any
    mask: Any  # [T, B]
    starts: Any  # [T, B]


class Backward(NamedTuple):
    """What the backward launch reads."""

    w_t: Any  # [gates, H, H], transposed
    kept: Any  # [T, B, parts, H] each
    hs: Any  # [T, B, H] before each step, or None
    ct_hs: Any  # [T, B, H]
    ct: Any  # [B, H] each
    mask: Any
    starts: Any


class Found(NamedTuple):
    """What the forward launch writes."""

    hs: Any  # [T, B, H]
    state: Any
    kept: Any
    buffer: Any  # [2, B, 1, H]: h, for one turn and the next


class FoundBack(NamedTuple):
    """What the backward launch writes."""

    of_z: Any  # [T, B, gates, H] each
    ct: Any
    ct_initial: Any
    buffer: Any  # [2, B, gates, H]


def launch(plan: Plan, body: Callable, reads: Any, axes: Any, writes: Any, out: Any):
    """Runs `body(plan, reads, writes)` for all rows of the batch.

    `axes` and `out` are pytree prefixes that say where the batch is; None: all rows
    share the array.
    """
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import triton

    reads, tree = jax.tree.flatten(reads)
    shapes, out_tree = jax.tree.flatten(writes)

    def kernel(*refs):
        inner = tree.unflatten(refs[: len(reads)])
        body(plan, inner, out_tree.unflatten(refs[len(reads) :]))

    def spec(a, axis):
        shape = tuple(ROWS if i == axis else n for i, n in enumerate(a.shape))
        place = [int(i == axis) for i in range(len(shape))]
        return pl.BlockSpec(shape, lambda row: tuple(row * here for here in place))

    (batch,) = {a.shape[n] for a, n in zip(shapes, out, strict=True)}
    found = pl.pallas_call(
        kernel,
        out_shape=shapes,
        grid=(batch // ROWS,),
        in_specs=[spec(a, n) for a, n in zip(reads, axes, strict=True)],
        out_specs=[spec(a, n) for a, n in zip(shapes, out, strict=True)],
        compiler_params=triton.CompilerParams(
            num_warps=8 if plan.units > 32 else 4, num_stages=1 if plan.resident else 3
        ),
        interpret=plan.interpret,
    )(*reads)
    return out_tree.unflatten(found)


def forward(plan: Plan, reads: Forward, writes: Found) -> None:
    """All steps of the rows of one program."""
    w = _weights(plan, reads.w_h)
    width = plan.cell.of_h

    def step(i, state):
        t = plan.at(i)
        if reads.starts is not None:
            start = reads.starts[t][:, None]
            state = [
                tuple(
                    jnp.where(start, _wide(new[:, tile]), old)
                    for new, old in zip(reads.initial, s, strict=True)
                )
                for tile, s in zip(plan.tiles, state, strict=True)
            ]
        chunks = _shared(plan, writes.buffer, i, [[s[0]] for s in state])
        after = []
        for tile, old in zip(plan.tiles, state, strict=True):
            zs_h = _products(plan, lambda part: chunks(part) * width, w, tile)
            zs_x = [_wide(reads.zs_x[t, :, g, tile]) for g in range(plan.cell.of_x)]
            b_h = None if reads.b_h is None else _wide(reads.b_h[:, tile])
            new, kept = plan.cell.forward(zs_x, zs_h, b_h, old)
            for names, ref in zip(plan.cell.kept, writes.kept or (), strict=False):
                for j, name in enumerate(names):
                    ref[t, :, j, tile] = kept[name].astype(ref.dtype)
            new = [_wide(a.astype(writes.hs.dtype)) for a in new]
            if reads.mask is not None:
                valid = reads.mask[t][:, None]
                new = [jnp.where(valid, a, b) for a, b in zip(new, old, strict=True)]
            writes.hs[t, :, tile] = new[0].astype(writes.hs.dtype)
            after.append(tuple(new))
        return after

    state = [tuple(_wide(a[:, tile]) for a in reads.state) for tile in plan.tiles]
    state = _loop(plan.time, step, state)
    _write(plan, writes.state, state)


def backward(plan: Plan, reads: Backward, writes: FoundBack) -> None:
    """All steps of the rows of one program, from the last to the first."""
    w = _weights(plan, reads.w_t)
    cell = plan.cell

    def step(i, carried):
        cts, sums = carried
        t = plan.at(i, back=True)
        valid = None if reads.mask is None else reads.mask[t][:, None]
        pieces, rests, known = [], [], []
        for tile, (ct_h, *others) in zip(plan.tiles, cts, strict=True):
            ct = ct_h + _wide(reads.ct_hs[t, :, tile]), *others
            kept = {
                name: _wide(ref[t, :, j, tile])
                for names, ref in zip(cell.kept, reads.kept, strict=True)
                for j, name in enumerate(names)
            }
            h = None if reads.hs is None else _wide(reads.hs[t, :, tile])
            given = ct
            if valid is not None:
                given = [jnp.where(valid, a, jnp.zeros_like(a)) for a in ct]
            *parts, old = cell.backward(kept, h, given)
            parts = [part for part in parts if part]
            for part, ref in zip(parts, writes.of_z, strict=True):
                for j, a in enumerate(part):
                    ref[t, :, j, tile] = a.astype(ref.dtype)
            pieces.append(parts[-1])
            rests.append(old)
            known.append(ct)
        chunks = _shared(plan, writes.buffer, i, pieces)
        after, more = [], []
        for tile, (of_h, *old), ct, total in zip(
            plan.tiles, rests, known, sums, strict=True
        ):
            by_z = sum(_products(plan, chunks, w, tile))
            new = [by_z if of_h is None else of_h + by_z, *old]
            if valid is not None:
                new = [jnp.where(valid, a, b) for a, b in zip(new, ct, strict=True)]
            if reads.starts is not None:
                start = reads.starts[t][:, None]
                total = tuple(
                    s + jnp.where(start, a, jnp.zeros_like(a))
                    for s, a in zip(total, new, strict=True)
                )
                new = [jnp.where(start, jnp.zeros_like(a), a) for a in new]
            after.append(tuple(new))
            more.append(total)
        return after, more

    cts = [tuple(_wide(a[:, tile]) for a in reads.ct) for tile in plan.tiles]
    started = reads.starts is not None
    sums = [tuple(map(jnp.zeros_like, ct)) if started else () for ct in cts]
    cts, sums = _loop(plan.time, step, (cts, sums))
    _write(plan, writes.ct, cts)
    if started:
        _write(plan, writes.ct_initial, sums)


def _weights(plan, ref):
    if plan.resident:
        return [ref[g] for g in range(plan.cell.of_h)]
    return ref


def _shared(plan, buffer, i, pieces):
    """Gives every tile the others' pieces: `(part of the units) -> one array a gate`.

    `pieces` are for each tile one array a gate, which become operands of products.
    """
    if plan.resident:
        return lambda part: [a.astype(buffer.dtype) for a in pieces[0]]
    for tile, arrays in zip(plan.tiles, pieces, strict=True):
        for g, a in enumerate(arrays):
            buffer[i % 2, :, g, tile] = a.astype(buffer.dtype)
    if not plan.interpret:
        from jax.experimental.pallas import triton

        # One is enough, since the next turn writes the other half.
        triton.debug_barrier()
    return lambda part: [buffer[i % 2, :, g, part] for g in range(len(pieces[0]))]


def _products(plan, chunks, w, tile):
    """For each gate the product of [ROWS, units] with the columns of its matrix."""
    from jax.experimental import pallas as pl

    dot = partial(jnp.dot, preferred_element_type=jnp.float32)
    if plan.resident:
        return [dot(a, b) for a, b in zip(chunks(None), w, strict=True)]

    def turn(k, sums):
        part = pl.ds(k * plan.chunk, plan.chunk)
        pairs = enumerate(zip(sums, chunks(part), strict=True))
        return [total + dot(a, w[g, part, tile]) for g, (total, a) in pairs]

    zeros = jnp.zeros((ROWS, plan.tile), jnp.float32)
    return _loop(plan.units // plan.chunk, turn, [zeros] * plan.cell.of_h)


def _loop(length, body, start):
    return lax.fori_loop(jnp.int32(0), jnp.int32(length), body, start)


def _write(plan, refs, tiles):
    for tile, arrays in zip(plan.tiles, tiles, strict=True):
        for ref, a in zip(refs, arrays, strict=True):
            ref[:, tile] = a.astype(ref.dtype)


def _wide(a):
    return a.astype(jnp.float32)


def _elman(activation, zs_x, zs_h, b_h, state):
    y = activation(zs_x[0] + zs_h[0])
    return (y,), {"y": y}


def _tanh_back(kept, h, ct):
    return [], [ct[0] * (1 - kept["y"] * kept["y"])], (None,)


def _relu_back(kept, h, ct):
    return [], [jnp.where(kept["y"] > 0, ct[0], jnp.zeros_like(ct[0]))], (None,)


def _gru(zs_x, zs_h, b_h, state):
    r, z = (sigmoid(a + b) for a, b in zip(zs_x[:2], zs_h[:2], strict=True))
    of_h = zs_h[2] + b_h
    n = jnp.tanh(zs_x[2] + r * of_h)
    return (n + z * (state[0] - n),), {"r": r, "z": z, "n": n, "of_h": of_h}


def _gru_back(kept, h, ct):
    r, z, n, of_h = (kept[name] for name in ("r", "z", "n", "of_h"))
    ct_n = ct[0] * (1 - z) * (1 - n * n)
    of_r, of_z = ct_n * of_h * r * (1 - r), ct[0] * (h - n) * z * (1 - z)
    return [ct_n], [of_r, of_z, ct_n * r], (ct[0] * z,)


def _lstm(zs_x, zs_h, b_h, state):
    i, f, g, o = (a + b for a, b in zip(zs_x, zs_h, strict=True))
    i, f, g, o = sigmoid(i), sigmoid(f), jnp.tanh(g), sigmoid(o)
    c = f * state[1] + i * g
    kept = {"i": i, "f": f, "g": g, "o": o, "c": state[1], "tanh_c": jnp.tanh(c)}
    return (o * kept["tanh_c"], c), kept


def _lstm_back(kept, h, ct):
    i, f, g, o, c = (kept[name] for name in ("i", "f", "g", "o", "c"))
    tanh_c = jnp.tanh(f * c + i * g)
    ct_c = ct[1] + ct[0] * o * (1 - tanh_c * tanh_c)
    of_f, of_g = ct_c * c * f * (1 - f), ct_c * i * (1 - g * g)
    of_z = [ct_c * g * i * (1 - i), of_f, of_g, ct[0] * tanh_c * o * (1 - o)]
    return [], of_z, (None, ct_c * f)


# By the name of the pointwise part. What is kept is in the order of its residuals.
CELLS = {
    "elman tanh": Fused(1, 1, (("y",),), partial(_elman, jnp.tanh), _tanh_back),
    "elman relu": Fused(1, 1, (("y",),), partial(_elman, jax.nn.relu), _relu_back),
    "gru": Fused(3, 3, (("r",), ("z",), ("n",), ("of_h",)), _gru, _gru_back, True),
    "lstm": Fused(
        4, 4, (("i",), ("f",), ("g",), ("o",), ("c",), ("tanh_c",)), _lstm, _lstm_back
    ),
}
