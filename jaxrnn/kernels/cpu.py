"""The native loops as kernels: which recurrences they take, and how they are called."""

import functools
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.cells.elman import RELU, TANH
from jaxrnn.cells.gru import GRU, RESET_BEFORE
from jaxrnn.cells.lstm import LSTM
from jaxrnn.kernels.build import (
    PARTS,
    REAL,
    Library,
    library,
    load,
    loaded,
    target,
)
from jaxrnn.kernels.check import difference
from jaxrnn.loops.dense import DENSE
from jaxrnn.loops.gated import Coefficients, Inputs, Kept, Loop
from jaxrnn.loops.inner import INNER
from jaxrnn.loops.linear import Linear
from jaxrnn.loops.mix import Mix
from jaxrnn.loops.substitute import Kernel


class Recurrence(NamedTuple):
    """A recurrence that has a native loop."""

    mix: Mix
    residuals: tuple[int, ...]  # their widths, in units of H
    places: tuple[int, ...]  # of each piece of the gradient of z: its residual's


RECURRENCES = {
    TANH.name: Recurrence(DENSE, (1,), (0,)),
    RELU.name: Recurrence(DENSE, (1,), (0,)),
    GRU.name: Recurrence(DENSE, (3, 1), (1, 0)),
    RESET_BEFORE.name: Recurrence(INNER, (2, 1), (0, 1)),
    LSTM.name: Recurrence(DENSE, (4, 1), (0,)),
}
# As many rows, those of a live stream, have their product without packing. XLA would
# run the whole program of a tick on another thread if it had a product of its own.
FEW = 4


@functools.cache
def native() -> Library:
    """The native loops, built or found and loaded once for a process."""
    return loaded(library(_check))


def _check(new: Library) -> str:
    """Where a new library differs from the loops of JAX, or nothing."""
    load(new)
    # JAX may be tracing the caller's program, so the check has a thread of its own.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(difference, kernels(lambda: new)).result()


def _why_not(loop: Loop, *operands: Any) -> str:
    """Why a recurrence runs as a loop of JAX, or an empty string."""
    leaves = jax.tree.leaves(operands)
    dtypes = {a.dtype.name for a in leaves if a.dtype != bool}
    if any(0 in a.shape for a in leaves):
        return "a size is 0"
    known = RECURRENCES.get(loop.part.name)
    if known is None:
        return f"there are native loops of {', '.join(RECURRENCES)} only"
    if loop.mix != known.mix:
        return "native loops have a full w_h alone"
    if loop.compute_dtype:
        dtypes = dtypes | {jnp.dtype(loop.compute_dtype).name}
    if len(dtypes) != 1 or not dtypes <= set(REAL):
        found = ", ".join(sorted(dtypes))
        return f"native loops compute in {' or in '.join(REAL)} alone, not in {found}"
    return native().why_not


def _threads() -> np.int64:
    """How many cores a call may use: each device has its share of them."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return np.int64(max(1, cores // jax.local_device_count("cpu")))


def _call(
    name: str,
    outs: Any,
    operands: Any,
    *,
    grouped: bool,
    aliases: dict[int, int] | None = None,
    **static: Any,
) -> Any:
    """Calls a function of the library, which takes groups: of one, if they are none."""
    operands = jax.tree.leaves(operands)
    if not grouped:
        operands = [a[None] for a in operands]
    groups = max(len(a) for a in operands)
    outs, tree = jax.tree.flatten(outs)
    outs = [jax.ShapeDtypeStruct((groups, *a.shape), a.dtype) for a in outs]
    # What all groups share stays as it is.
    own = {i: out for i, out in (aliases or {}).items() if len(operands[i]) == groups}
    call = jax.ffi.ffi_call(name, outs, input_output_aliases=own)
    outs = call(*operands, threads=_threads(), **static)
    return tree.unflatten(outs if grouped else [a[0] for a in outs])


def _of_group(tree: Any, grouped: bool) -> Any:
    """The shapes of one group."""
    return jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape[1:] if grouped else a.shape, a.dtype),
        tree,
    )


def _forward(key: Any, loop: Loop, inputs: Inputs) -> Any:
    grouped = inputs.xs.ndim == 4
    like = _of_group(inputs, grouped)
    (time, batch, size), units = like.xs.shape, like.carry.h.shape[1]
    shape: Any = partial(jax.ShapeDtypeStruct, dtype=like.xs.dtype)
    kept = None
    if loop.keep:
        widths = [n * units for n in RECURRENCES[loop.part.name].residuals]
        each: Any = tuple(shape((time, batch, width)) for width in widths)
        residuals = each if len(each) > 1 else each[0]
        kept = Kept(shape((time, batch, units + 1 + size)), residuals)
    return _call(
        target(key(), "forward", like.xs.dtype.name),
        (like.carry, shape((time, batch, units)), kept),
        inputs,
        grouped=grouped,
        cell=loop.part.name,
        reverse=loop.reverse,
        keep=loop.keep,
        masked=inputs.mask is not None,
        started=inputs.starts is not None,
    )


def _step(
    key: Any, loop: Loop, weights: Any, theta: Any, carry: Any, x: jax.Array
) -> Any:
    xs = jnp.expand_dims(x, -3)
    inputs = Inputs(weights, theta, carry, None, xs, None, None)
    return _forward(key, loop, inputs)[0]


def _backward(key: Any, loop: Loop, coefficients: Coefficients, ct: Any) -> Any:
    grouped = ct[1].ndim == 4
    like, (carry, ct_hs) = _of_group((coefficients, ct), grouped)
    started = like.starts is not None
    # The gradients of z take the place of residuals, which nobody reads afterwards.
    residuals = jax.tree.leaves(like.kept.residuals)
    places = RECURRENCES[loop.part.name].places
    of_z = [residuals[place] for place in places]
    first = len(jax.tree.leaves((like.weights, like.kept.rows)))
    aliases = {first + place: piece for piece, place in enumerate(places)}
    return _call(
        target(key(), "backward", ct_hs.dtype.name),
        (of_z, (), carry, carry if started else None),
        (coefficients, ct),
        grouped=grouped,
        aliases=aliases,
        cell=loop.part.name,
        reverse=loop.reverse,
        masked=like.mask is not None,
        started=started,
    )


def _product(kind: str, key: Any, dtype: Any, a: jax.Array, b: jax.Array) -> jax.Array:
    """A product of `jaxrnn.loops.rows`."""
    shape = {
        "rows": (a.shape[-2], b.shape[-1]),
        "turned": (a.shape[-2], b.shape[-2]),
        "gradient": (a.shape[-1], b.shape[-1]),
    }[kind]
    name = target(key(), "product", dtype.name)
    out = jax.ShapeDtypeStruct(shape, b.dtype)
    return _call(name, out, (a, b), grouped=a.ndim == 3, kind=kind)


def _why_not_product(kind: str, dtype: Any, a: Any, b: Any) -> str:
    if a.shape[0] < 16 and (kind != "rows" or a.shape[0] > FEW):
        return "packing does not pay for fewer than 16 rows"
    if 0 in (*a.shape, *b.shape):
        return "a size is 0"
    found = {a.dtype.name, b.dtype.name, dtype.name}
    if len(found) != 1 or not found <= set(REAL):
        return f"native products are in {' or in '.join(REAL)} alone"
    return native().why_not


def _linear(key: Any, loop: Linear, a, b, h, mask, starts) -> Any:
    """The loop of `jaxrnn.loops.linear`."""
    return _call(
        target(key(), "linear", b.dtype.name),
        (h, b),
        (a, b, h, mask, starts),
        grouped=False,
        aliases=_spent(loop, a.shape == b.shape),
        reverse=loop.reverse,
        after=loop.after,
        masked=mask is not None,
        started=starts is not None,
    )


def _spent(loop: Linear, full: bool) -> dict[int, int]:
    """In whose place the outputs are written, so that no new memory is mapped."""
    if loop.after:  # the gradient of the outputs, which is read once
        return {1: 1}
    return {0: 1} if full and not loop.keep else {}


def _why_not_linear(loop: Linear, a: Any, b: Any, h: Any, *flags: Any) -> str:
    del flags
    if loop.method != "best":
        return f"the method is {loop.method}"
    if 0 in b.shape:
        return "a size is 0"
    found = {a.dtype.name, b.dtype.name, h.dtype.name}
    if len(found) != 1 or not found <= set(PARTS["linear"]):
        return f"native linear loops are in {' or in '.join(PARTS['linear'])} alone"
    return native().why_not


def kernels(key: Any = native) -> dict[str, Kernel]:
    """The kernels of a library by the loops that they replace."""

    def of(run, why_not=_why_not):
        return Kernel(partial(run, key), why_not, exports=False, groups=True)

    def product(kind):
        return of(partial(_product, kind), partial(_why_not_product, kind))

    return {
        "forward_loop": of(_forward),
        "backward_loop": of(_backward),
        "one_step": of(_step),
        "linear_loop": of(_linear, _why_not_linear),
        "rows_times": product("rows"),
        "rows_turned": product("turned"),
        "rows_gradient": product("gradient"),
    }
