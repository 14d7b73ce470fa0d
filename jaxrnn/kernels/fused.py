"""The loops of Elman, GRU and LSTM over time, each in one launch on a GPU, in Pallas.

A program of the grid keeps `ROWS` rows of the batch for all steps. Their state stays in
registers, in tiles of hidden units. Where the chip holds the matrix of the recurrence,
it is loaded once before the first step (`resident`), and there is one tile. Otherwise
each step reads it from L2, in chunks that are fetched ahead; since every gate needs all
of h, the tiles pass h on through a buffer of this program, with one barrier.

The inputs of all steps meet their weights before the launch: one large product runs on
the whole GPU, and a loop could give it a few rows at a time. Sums are in float32.

The back end is Triton's, by name: without a name jax 0.10 lowers for Mosaic GPU and jax
0.12 for Triton. docs/DESIGN.md has what each of them lowers on Hopper.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.kernels.gates import Gates

ROWS = 16  # the fewest that the units for products take


class Plan(NamedTuple):
    """What is fixed in a launch."""

    gates: Gates
    time: int  # T
    units: int  # H, and the padding
    tile: int  # units whose state is one array
    chunk: int  # units that one turn of a product reads
    reverse: bool
    interpret: bool

    @property
    def resident(self) -> bool:
        """Whether the matrix of the recurrence is loaded once."""
        return self.tile == self.chunk == self.units

    @property
    def tiles(self) -> list[slice]:
        """The units of each tile."""
        return [slice(i, i + self.tile) for i in range(0, self.units, self.tile)]


def launch(plan: Plan, body: Callable, reads: Any, axes: Any, writes: Any, out: Any):
    """Runs `body(plan, reads, writes)` for all rows of the batch.

    `axes` and `out` are pytree prefixes that say where the batch is, below 0 where all
    rows share an array.
    """
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import triton

    axes = jax.tree.leaves(jax.tree.broadcast(axes, reads))
    out = jax.tree.leaves(jax.tree.broadcast(out, writes))
    reads, tree = jax.tree.flatten(reads)
    shapes, out_tree = jax.tree.flatten(writes)

    def fused(*refs):
        inner = tree.unflatten(refs[: len(reads)])
        body(plan, inner, out_tree.unflatten(refs[len(reads) :]))

    def spec(a, axis):
        shape = tuple(ROWS if i == axis else n for i, n in enumerate(a.shape))
        place = [int(i == axis) for i in range(len(shape))]
        return pl.BlockSpec(shape, lambda row: tuple(row * here for here in place))

    outs = pl.pallas_call(
        fused,
        out_shape=shapes,
        grid=(shapes[0].shape[out[0]] // ROWS,),
        in_specs=list(map(spec, reads, axes)),
        out_specs=list(map(spec, shapes, out)),
        compiler_params=triton.CompilerParams(
            num_warps=8 if plan.units > 32 else 4, num_stages=1 if plan.resident else 3
        ),
        interpret=plan.interpret,
    )(*reads)
    return out_tree.unflatten(outs)


def forward(plan: Plan, reads: Any, writes: Any) -> None:
    """All steps of the rows of one program: from `Forward` to `After`."""
    gates, w = plan.gates, _weights(plan, reads.w_h)

    def step(i, state):
        t = plan.time - 1 - i if plan.reverse else i
        if reads.starts is not None:
            begin = partial(_where, reads.starts, t)
            state = list(map(begin, _read(plan, reads.initial), state))
        chunks = _everywhere(plan, writes.buffer, i, 0, [s[:1] for s in state])
        zs = []
        for tile in plan.tiles:
            zs_x = [_wide(reads.zs_x[t, :, g, tile]) for g in range(gates.of_x)]
            zs_h = _products(plan, lambda u: chunks(u) * gates.of_h, w, tile)
            zs.append((zs_x, zs_h))
        if gates.inner is not None:
            read = [[gates.inner(*z, s)] for z, s in zip(zs, state, strict=True)]
            chunks = _everywhere(plan, writes.buffer, i, 1, read)
            for tile, (_, zs_h) in zip(plan.tiles, zs, strict=True):
                zs_h += _products(plan, chunks, w, tile, gates.of_h)
        after = []
        for tile, z, old in zip(plan.tiles, zs, state, strict=True):
            b_h = None if reads.b_h is None else _wide(reads.b_h[:, tile])
            new, kept = gates.forward(*z, b_h, old)
            if writes.kept is not None:
                parts = [[kept[name] for name in names] for names in gates.kept]
                _store(writes.kept, t, tile, parts)
            new = [_wide(a.astype(writes.hs.dtype)) for a in new]
            new = _where(reads.mask, t, new, old)
            writes.hs[t, :, tile] = new[0].astype(writes.hs.dtype)
            after.append(new)
        return after

    _write(plan, writes.state, _loop(plan.time, step, _read(plan, reads.state)))


def backward(plan: Plan, reads: Any, writes: Any) -> None:
    """All steps of the rows of one program, back: from `Backward` to `Before`."""
    gates, w = plan.gates, _weights(plan, reads.w_t)

    def step(i, carried):
        cts, sums = carried
        t = i if plan.reverse else plan.time - 1 - i
        cts = [
            [ct_h + _wide(reads.ct_hs[t, :, tile]), *more]
            for tile, (ct_h, *more) in zip(plan.tiles, cts, strict=True)
        ]
        given = [_where(reads.mask, t, ct, list(map(jnp.zeros_like, ct))) for ct in cts]
        kept = [
            {
                name: _wide(ref[t, :, j, tile])
                for names, ref in zip(gates.kept, reads.kept, strict=True)
                for j, name in enumerate(names)
            }
            for tile in plan.tiles
        ]
        by_inner: list[Any] = [None] * len(plan.tiles)
        if gates.inner_back is not None:
            read = [[a] for a in map(gates.inner_back, kept, given)]
            chunks = _everywhere(plan, writes.buffer, i, gates.of_h, read)
            products = partial(_products, plan, chunks, w, first=gates.of_h)
            by_inner = [products(tile=tile)[0] for tile in plan.tiles]
        through, past = [], []
        for tile, *args in zip(plan.tiles, kept, given, by_inner, strict=True):
            h = None if reads.hs is None else _wide(reads.hs[t, :, tile])
            pieces, of_h, old = gates.backward(args[0], h, *args[1:])
            _store(writes.of_z, t, tile, pieces)
            through.append(of_h)
            past.append(old)
        chunks = _everywhere(plan, writes.buffer, i, 0, through)
        before, totals = [], []
        for j, (of_h, *old) in enumerate(past):
            by_z = sum(_products(plan, chunks, w, plan.tiles[j]))
            new = [by_z if of_h is None else of_h + by_z, *old]
            new = _where(reads.mask, t, new, cts[j])
            if reads.starts is not None:
                zeros = list(map(jnp.zeros_like, new))
                begun = _where(reads.starts, t, new, zeros)
                totals.append([a + b for a, b in zip(sums[j], begun, strict=True)])
                new = _where(reads.starts, t, zeros, new)
            before.append(new)
        return before, totals

    cts, sums = _read(plan, reads.ct), []
    if reads.starts is not None:
        sums = [list(map(jnp.zeros_like, ct)) for ct in cts]
    cts, sums = _loop(plan.time, step, (cts, sums))
    _write(plan, writes.ct, cts)
    if reads.starts is not None:
        _write(plan, writes.ct_initial, sums)


def _weights(plan, ref):
    return [ref[g] for g in range(plan.gates.matrices)] if plan.resident else ref


def _everywhere(plan, buffer, i, part, pieces):
    """Lets every tile read the pieces of all: `(units) -> one array for each gate`."""
    if plan.resident:
        return lambda units: pieces[0]
    for tile, arrays in zip(plan.tiles, pieces, strict=True):
        for g, a in enumerate(arrays, part):
            buffer[i % 2, :, g, tile] = a.astype(buffer.dtype)
    if not plan.interpret:
        from jax.experimental.pallas import triton

        triton.debug_barrier()  # the next step writes the other half, so one will do
    parts = range(part, part + len(pieces[0]))
    return lambda units: [buffer[i % 2, :, g, units] for g in parts]


def _products(plan, chunks, w, tile, first=0):
    """The products of [rows, units] and some columns of the matrices from `first`."""
    from jax.experimental import pallas as pl

    def dot(a, w):
        return jnp.dot(a.astype(w.dtype), w, preferred_element_type=jnp.float32)

    if plan.resident:
        return [dot(a, w[g]) for g, a in enumerate(chunks(None), first)]

    def turn(k, sums):
        units = pl.ds(k * plan.chunk, plan.chunk)
        pairs = enumerate(zip(sums, chunks(units), strict=True), first)
        return [total + dot(a, w[g, units, tile]) for g, (total, a) in pairs]

    zeros = jnp.zeros((ROWS, plan.tile), jnp.float32)
    count = plan.gates.of_h if first == 0 else 1
    return _loop(plan.units // plan.chunk, turn, [zeros] * count)


def _store(refs, t, tile, pieces):
    for ref, parts in zip(refs, pieces, strict=True):
        for j, a in enumerate(parts):
            ref[t, :, j, tile] = a.astype(ref.dtype)


def _loop(length, body, start):
    return lax.fori_loop(jnp.int32(0), jnp.int32(length), body, start)


def _where(flags, t, new, old):
    if flags is None:
        return new
    return list(map(partial(jnp.where, flags[t][:, None]), new, old))


def _read(plan, refs):
    return [[_wide(ref[:, tile]) for ref in refs] for tile in plan.tiles]


def _write(plan, refs, tiles):
    for tile, arrays in zip(plan.tiles, tiles, strict=True):
        for ref, a in zip(refs, arrays, strict=True):
            ref[:, tile] = a.astype(ref.dtype)


def _wide(a):
    return a.astype(jnp.float32)
