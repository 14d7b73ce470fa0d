"""Which loops of a cell kernels run, and why the others are loops of JAX."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.checks import check_size, inputs_like
from jaxrnn.core import Cell
from jaxrnn.kernels import gpu
from jaxrnn.kernels.build import switched_off
from jaxrnn.loops.substitute import KERNELS, refusal, whole_loops


class Path(NamedTuple):
    """How one loop of a training step runs."""

    loop: str  # forward_loop, backward_loop, rows_gradient: of the weights
    kernel: bool  # whether a kernel runs it
    why_not: str  # why it is a loop of JAX, or an empty string

    def __str__(self):
        how = "a kernel" if self.kernel else f"a loop of JAX, since {self.why_not}"
        return f"{self.loop}: {how}"


def explain(
    cell: Cell, batch: int, time: int, *, platform: str | None = None
) -> list[Path]:
    """Tells how a training step of a cell runs: by kernels, or by loops of JAX.

    Nothing is computed, but a native library may be built to see whether it can be.

    Args:
      cell: a cell that says what it reads, as all of this library do.
      batch: B, how many sequences `vmap` runs together.
      time: T, how many steps they have.
      platform: "cpu", "cuda", "rocm" or "tpu"; None for that of the default device.

    Returns:
      One `Path` for each loop that a kernel could replace, in the order of the program;
      an empty list for a cell without one, such as `embedding`.

    Raises:
      ValueError: if a size is below 1, or the cell does not say what it reads.

    Example:
      >>> import jaxrnn as rnn
      >>> for path in rnn.kernels.explain(rnn.lstm(3, 5), batch=4, time=7):
      ...     print(path.loop)
      forward_loop
      backward_loop
      rows_gradient
    """
    batch = check_size("explain: batch", batch)
    time = check_size("explain: time", time)
    if inputs_like(cell.about.reads) is None:
        raise ValueError(f"explain: cell: expected one that says what it reads: {cell}")
    if platform is None:
        platform = jax.default_backend()
        platform = {"gpu": "cuda"}.get(platform, platform)
    params = jax.eval_shape(cell.init, jax.random.key(0))
    dtype = next((a.dtype for a in jax.tree.leaves(params)), jnp.dtype("float32"))
    dtype = dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.float32
    xs = inputs_like(cell.about.reads, (batch, time), dtype)

    def loss(params, xs):
        def one(xs):
            ys = cell.unroll(params, cell.initial_carry(params), xs)[1]
            return sum((y.sum() for y in jax.tree.leaves(ys)), jnp.zeros(()))

        return jax.vmap(one)(xs).sum()

    with whole_loops():
        forward, both = (
            [
                _path(eqn, platform)
                for eqn in _operations(jax.make_jaxpr(fun)(params, xs))
            ]
            for fun in (loss, jax.grad(loss))
        )
    # A loop whose derivative JAX finds is no operation of its own in a gradient.
    known = {path.loop for path in both}
    return [path for path in forward if path.loop not in known] + both


def _path(eqn: Any, platform: str) -> Path:
    name = eqn.params["name"]
    avals = [v.aval for v in eqn.invars]
    if kernel := KERNELS.get((name, platform)):
        why_not = refusal(kernel, avals, eqn.params)
    elif platform == "cuda" and (kernel := gpu.kernels().get(name)):
        why_not = refusal(kernel, avals, eqn.params) or gpu.UNMEASURED
    else:
        why_not = switched_off() or f"there is no kernel on {platform}"
    return Path(name, not why_not, why_not)


def _operations(program: Any) -> Iterator[Any]:
    """All operations that a kernel may replace, those in loops and calls too."""
    for eqn in getattr(program, "jaxpr", program).eqns:
        if eqn.primitive.name == "substituted":
            yield eqn
            continue
        for value in jax.tree.leaves(
            list(eqn.params.values()), is_leaf=lambda a: hasattr(a, "eqns")
        ):
            if hasattr(value, "eqns"):
                yield from _operations(value)
