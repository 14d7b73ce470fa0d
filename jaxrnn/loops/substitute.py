"""The seam through which a kernel replaces a loop on a platform.

The law of kernels: a kernel equals its loop. A kernel is a function that computes for a
batch of sequences what the loop computes for one. Where the table has a kernel for the
platform, and the kernel takes the operands at hand, it replaces the loop. Its
derivative is that of the loop. `vmap` gives the kernel its batch axis; batches of
batches are folded into one. A program exported for several platforms chooses on each.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial, wraps
from typing import Any

import jax

from jaxrnn.loops.kernels import KERNELS as KERNELS
from jaxrnn.loops.kernels import SHARED as SHARED
from jaxrnn.loops.kernels import Kernel as Kernel
from jaxrnn.loops.kernels import of_loop
from jaxrnn.loops.primitives import varying_alike
from jaxrnn.loops.substituted import Flat, substituted_p
from jaxrnn.loops.substituted import refusal as refusal

_WHOLE = ContextVar("_WHOLE", default=False)


@contextmanager
def whole_loops() -> Iterator[None]:
    """Keeps each loop one operation in the programs traced here, for a translator.

    The operation is `substituted`, with the loop's `name`, its `static` and `loop`
    itself among its parameters.
    """
    token = _WHOLE.set(True)
    try:
        yield
    finally:
        _WHOLE.reset(token)


def substituted(*axes: Any, out: Any) -> Callable[[Callable], Callable]:
    """Lets kernels replace a loop, `(static, *operands) -> outputs`.

    Args:
      *axes: for each operand, a pytree prefix that says where a batch goes: 1 for
        arrays with a leading time axis, 0 for others, `SHARED` for what a batch
        shares. Where that has a batch of its own, only kernels with `groups` run.
      out: the same for the outputs.

    Returns:
      A decorator. Without a kernel in the table the decorated loop is the loop itself.
    """

    def decorate(loop):
        @wraps(loop)
        def call(static, *operands):
            kernels = of_loop(loop.__name__)
            if not kernels and not _WHOLE.get():
                return loop(static, *operands)
            operands = varying_alike(operands)
            leaves, tree = jax.tree.flatten(operands)
            shapes = jax.eval_shape(partial(loop, static), *operands)
            outs = substituted_p.bind(
                *leaves,
                name=loop.__name__,
                loop=Flat(loop, static, tree),
                kernels=tuple(kernels.items()),
                static=static,
                trees=(tree, jax.tree.structure(shapes)),
                axes=tuple(jax.tree.leaves(jax.tree.broadcast(axes, operands))),
                out_axes=tuple(jax.tree.leaves(jax.tree.broadcast(out, shapes))),
                batched=False,
                groups=None,
            )
            return jax.tree.unflatten(jax.tree.structure(shapes), outs)

        return call

    return decorate
