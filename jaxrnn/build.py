"""How a leaf cell is built: it checks what it is given and then calls its functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jaxrnn.checks import (
    check_flag,
    check_input,
    check_key,
    check_mask,
    check_starts,
    check_tree,
)
from jaxrnn.core import (
    About,
    Cell,
    Init,
    InitialCarry,
    Step,
    Unroll,
    blank,
    is_key,
    owned,
    recorded,
    scan_unroll,
)


def check_cell(name: str, cell: Any) -> Cell:
    """Returns the cell, or raises a ValueError for anything else."""
    if not isinstance(cell, Cell):
        raise ValueError(f"{name}: expected a Cell, got {cell!r}")
    return cell


def step_of(name: str, cell: Any) -> Step:
    """The step of a cell; ValueError, with the name before it, if it has none."""
    if check_cell(f"{name}: cell", cell).step is None:
        raise ValueError(
            f"{name}: cell: expected one with a step, got {cell.about.name}, which "
            "reads the future (step=None)"
        )
    return cell.step


class Prepared(NamedTuple):
    """What a leaf reads in the place of its params: see `About.prepare`."""

    params: Any
    made: Any  # what the leaf's `prepare` returned


class _Once:
    """A value computed when it is first asked for."""

    def __init__(self, make: Callable[[], Any]):
        self._make, self._value = make, None

    def __call__(self) -> Any:
        if self._value is None:
            self._value = self._make()
        return self._value


@recorded
def leaf(
    name: str,
    reads: Any,
    init: Init,
    initial_carry: InitialCarry,
    step: Step,
    unroll: Unroll | None = None,
    *,
    stateless: bool = False,
    prepare: Callable[[Any], Any] | None = None,
    local: Callable[[Any, Any, Any], Any] | None = None,
) -> Cell:
    """Builds a cell whose arguments are checked before they are used.

    Args:
      name: as the factory was called, for messages.
      reads: what one step reads, such as `Input((input_size,))`, or a pytree of them,
        such as a NamedTuple, for a step that reads several arrays.
      init, initial_carry, step: see `Cell`.
      unroll: a faster equal of `scan_unroll(step, initial_carry)`, which is the
        default.
      stateless: the step neither reads nor changes its carry, so all steps of a
        sequence are taken at once.
      prepare: `(params) -> prepared`, what depends on the params and on no step. `step`
        and `unroll`, but not `initial_carry`, are then given `prepared` in the place
        of the params; it is computed once for a sequence.
      local: see `About`; `local` too is then given `prepared`.

    Returns:
      The cell.

    Raises:
      ValueError: from `init`, `initial_carry`, `step` and `unroll`, when an argument
        has the wrong structure, shape or kind of number.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn as rnn
      >>> def init(key):
      ...     return jnp.full(3, 0.5)
      >>> def initial_carry(params, key=None):
      ...     return jnp.zeros(3)
      >>> def step(params, carry, x):
      ...     carry = params * carry + x
      ...     return carry, carry
      >>> average = rnn.leaf("average(3)", rnn.Input((3,)), init, initial_carry, step)
      >>> params = average.init(jax.random.key(0))
      >>> carry = average.initial_carry(params)
      >>> average.unroll(params, carry, jnp.ones((2, 3)))[0]
      Array([1.5, 1.5, 1.5], dtype=float32)
    """
    if unroll is None and stateless:
        unroll = _map_unroll(step)
    scanned = scan_unroll(
        lambda prepared, carry, x: step(prepared.made, carry, x),
        lambda prepared, *key: initial_carry(prepared.params, *key),
    )
    params_shape = _Once(lambda: jax.eval_shape(lambda: init(jax.random.key(0))))

    def check_params(params):
        check_tree(f"{name}: params", params, params_shape())
        return params

    def check(params, carry):
        """Returns what the leaf's own functions read."""
        prepared = ready(params)
        keys = [leaf for leaf in jax.tree.leaves(carry) if is_key(leaf)]
        expected = jax.eval_shape(initial_carry, prepared.params, *keys[:1])
        if stateless or jax.tree.leaves(expected):  # that of dropout may be () or not
            check_tree(f"{name}: carry", carry, expected, True)
        return prepared

    def ready(params):
        if isinstance(params, Prepared):
            return params
        check_params(params)
        return Prepared(params, params if prepare is None else prepare(params))

    def checked_init(key):
        return init(check_key(f"{name}: key", key))

    def checked_initial_carry(params, key=None):
        params = params.params if isinstance(params, Prepared) else check_params(params)
        key = None if key is None else check_key(f"{name}: key", key)
        return owned(initial_carry(params, key))

    def checked_step(params, carry, x):
        made = check(params, carry).made
        return step(made, carry, check_input(f"{name}: x", x, reads, ()))

    def checked_unroll(
        params, carry, xs, *, mask=None, reverse=False, starts=None
    ) -> tuple[Any, Any]:
        prepared = check(params, carry)
        xs = check_input(f"{name}: xs", xs, reads, ("T",))
        length = jax.tree.leaves(xs)[0].shape[0]
        options: Any = {
            "mask": check_mask(name, mask, length),
            "reverse": check_flag(f"{name}: reverse", reverse),
            "starts": check_starts(name, starts, length),
        }
        if unroll is None:
            return scanned(prepared, carry, xs, **options)
        return unroll(prepared.made, carry, xs, **options)

    about = About(name, reads) if prepare is None else About(name, reads, ready)
    if local is not None:
        about = about._replace(
            local=lambda params, carry, x: local(ready(params).made, carry, x)
        )
    return Cell(
        checked_init, checked_initial_carry, checked_step, checked_unroll, about
    )


def _map_unroll(step: Step) -> Unroll:
    def unroll_by_map(params, carry, xs, *, mask=None, reverse=False, starts=None):
        del reverse, starts
        ys = jax.vmap(lambda x: step(params, carry, x)[1])(blank(mask, xs))
        return carry, blank(mask, ys)

    return unroll_by_map
