"""The linear recurrence over time in one launch on a GPU, in Pallas.

A program of the grid takes a block of elements of one sequence through all steps, with
their s in registers. Complex numbers are two arrays, since Triton has none. Memory sets
the pace: a step reads a and b once, and writes once.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.loops.linear import Linear

ELEMENTS = 256  # of a program
DTYPES = ("float32", "complex64")


def why_not(loop: Linear, a: Any, b: Any, h: Any, *flags: Any) -> str:
    """Why a recurrence runs as a loop of JAX, or an empty string."""
    del flags
    if loop.method != "best":
        return f"the method is {loop.method}"
    if 0 in b.shape:
        return "a size is 0"
    found = {a.dtype.name, b.dtype.name, h.dtype.name}
    if len(found) != 1 or not found <= set(DTYPES):
        return f"the fused linear loop reads {' or '.join(DTYPES)} alone"
    if b.size >= 1 << 31:
        return "an array has 2**31 numbers or more"
    try:
        from jax.experimental.pallas import triton as triton
    except ImportError:
        return f"jax {jax.__version__} has no Triton back end of Pallas"
    return ""


def run(interpret: bool, loop: Linear, a, b, h, mask, starts) -> Any:
    """The loop of `jaxrnn.loops.linear`, of a batch."""
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import triton

    batch, time, *rest = b.shape
    size = b.size // (time * batch)
    width = size + -size % min(ELEMENTS, 1 << (size - 1).bit_length())
    block = min(ELEMENTS, width)
    parts = (jnp.real, jnp.imag) if jnp.iscomplexobj(b) else (lambda a: a,)

    def flat(a, *leading):
        """The real and the imaginary part, padded to whole blocks."""
        a = a.reshape(*leading, size)
        more = [(0, 0)] * len(leading) + [(0, width - size)]
        return [jnp.pad(part(a), more) for part in parts]

    reads = [flat(a, batch, a.shape[1]), flat(b, batch, time), flat(h, batch)]
    flags = [mask, starts]
    writes = [
        [jax.ShapeDtypeStruct((*leading, width), p.dtype) for p in reads[2]]
        for leading in ((batch,), (batch, time))
    ]

    def spec(leaf):
        shape = 1, *leaf.shape[1:-1], block
        return pl.BlockSpec(shape, lambda row, k: (row, *[0] * (leaf.ndim - 2), k))

    def flag_spec(leaf):
        return pl.BlockSpec((1, time), lambda row, k: (row, 0))

    arrays, tree = jax.tree.flatten((reads, flags))
    shapes, out_tree = jax.tree.flatten(writes)

    def fused(*refs):
        operands = tree.unflatten(refs[: len(arrays)])
        _steps(loop, time, *operands, *out_tree.unflatten(refs[len(arrays) :]))

    specs = jax.tree.map(spec, reads), jax.tree.map(flag_spec, flags)
    outs = pl.pallas_call(
        fused,
        out_shape=shapes,
        grid=(batch, width // block),
        in_specs=jax.tree.leaves(specs),
        out_specs=list(map(spec, shapes)),
        compiler_params=triton.CompilerParams(num_warps=4),
        interpret=interpret,
    )(*arrays)

    def joined(found, *leading):
        parts = [part[..., :size].reshape(*leading, *rest) for part in found]
        return lax.complex(*parts) if len(parts) == 2 else parts[0]

    last, out = out_tree.unflatten(outs)
    return joined(last, batch), joined(out, batch, time)


def _steps(loop: Linear, time: int, reads, flags, last, out) -> None:
    a, b, h = reads
    mask, starts = flags
    constant = a[0].shape[1] < time

    def times(t, s):
        decay = [ref[0, 0 if constant else t] for ref in a]
        if len(s) == 1:
            return [decay[0] * s[0]]
        (a_re, a_im), (re, im) = decay, s
        return [a_re * re - a_im * im, a_re * im + a_im * re]

    def chosen(ref, t, new, old, without):
        if ref is None:
            return without
        return [jnp.where(ref[0, t], n, o) for n, o in zip(new, old, strict=True)]

    def step(i, s):
        t = time - 1 - i if loop.reverse else i
        b_t = [ref[0, t] for ref in b]
        plus = partial(map, jnp.add, b_t)
        if loop.after:
            given = list(plus(s))
            new = times(t, given)
            new = chosen(mask, t, new, given, new)
            new = chosen(starts, t, list(map(jnp.zeros_like, new)), new, new)
        else:
            new = list(plus(times(t, s)))
            new = chosen(mask, t, new, s, new)
            given = new = chosen(starts, t, b_t, new, new)
        for ref, part in zip(out, given, strict=True):
            ref[0, t] = part
        return new

    start = [ref[0] for ref in h]
    s = lax.fori_loop(jnp.int32(0), jnp.int32(time), step, start)
    for ref, part in zip(last, s, strict=True):
        ref[0] = part
