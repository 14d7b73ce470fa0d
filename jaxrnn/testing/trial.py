"""One trial of a cell: params, carry and inputs, and what the cell makes of them."""

from collections.abc import Iterator
from functools import cached_property, partial
from typing import Any

import jax
import numpy as np
from jax.tree_util import keystr, tree_leaves_with_path

from jaxrnn.checks import check_length
from jaxrnn.core import Cell, is_key, scan_unroll
from jaxrnn.testing.trees import Results, as_dtype, jitter, quick_jit, results

WORDS = {  # for the fields of `Results`, in the order in which they are compared
    "ys": "the output",
    "carry": "the final carry",
    "d_params": "the gradient at params",
    "d_carry": "the gradient at the carry",
    "d_xs": "the gradient at xs",
}


class Trial:
    """A cell, and all that the laws try it on.

    Attributes:
      cell, smooth, dtype, tolerance: as for `check`.
      given: the params that the user gave, or None.
      key: of the initial carry, or None.
      xs: the inputs.
      length: T.
      mask: `[T]`, in NumPy; the first step is masked.
      starts: `[T]`, in NumPy, at valid and at masked steps.
      unroll, step: of the cell, compiled.
      traces: for each of the two, the carries for which it was traced.
    """

    def __init__(
        self,
        cell: Cell,
        given: Any,
        xs: Any,
        key: jax.Array | None,
        smooth: bool,
        dtype: Any,
        tolerance: float,
    ):
        self.cell, self.given, self.key = cell, given, key
        self.smooth, self.dtype, self.tolerance = smooth, dtype, tolerance
        self.xs = as_dtype(xs, dtype)
        self.length = check_length("check: xs", xs)
        steps = np.arange(self.length)
        self.mask = steps % 3 != 0
        self.starts = (steps % 4 == 2) | (steps % 4 == 3)
        self.everywhere = np.ones(self.length, bool)
        self._runs = [quick_jit(results(cell.unroll, way)) for way in (False, True)]
        self.traces: dict[str, list[Any]] = {"unroll": [], "step": []}
        self.unroll = self._counted("unroll", cell.unroll)
        if cell.step is not None:
            self.step = self._counted("step", cell.step)
            law = scan_unroll(cell.step, cell.initial_carry)
            self._laws = [quick_jit(results(law, way)) for way in (False, True)]

    def _counted(self, name: str, run: Any) -> Any:
        def traced(params, carry, xs):
            self.traces[name].append(carry)
            return run(params, carry, xs)

        return quick_jit(traced)

    @cached_property
    def params(self) -> Any:
        """Those that were given, or drawn with nothing left at a zero or a one."""
        if self.given is not None:
            return as_dtype(self.given, self.dtype)
        params = as_dtype(self.cell.init(jax.random.key(0)), self.dtype)
        return jitter(params, np.random.default_rng(1), 0.1)

    def initial_carry(self, params: Any) -> Any:
        """The initial carry, with the key of the trial."""
        key = [] if self.key is None else [self.key]
        return self.cell.initial_carry(params, *key)

    @cached_property
    def first(self) -> Any:
        """The initial carry with the params of the trial."""
        return self.initial_carry(self.params)

    @cached_property
    def carry(self) -> Any:
        """A carry that the cell comes to by itself."""
        step, unroll = self.cell.step, self.cell.unroll
        unroll = unroll if step is None else scan_unroll(step)
        return quick_jit(unroll)(self.params, self.first, self.xs)[0]

    def run(self, run: Any = None, *, reverse: bool = False, **others) -> Results:
        """Runs the cell, or another, on what the trial has but for `others`.

        Args:
          run: as `results` makes it; None for that of the cell.
          reverse: of the cell.
          **others: in the place of what the trial has; by the names below.
        """
        arguments = {
            "params": self.params,
            "carry": self.carry,
            "xs": self.xs,
            "mask": None,
            "starts": None,
            "read": self.everywhere,
            "read_carry": True,
        } | others
        return (run or self._runs[reverse])(*arguments.values())

    def against_law(
        self, phrase: str, *, reverse: bool, mask: Any = None, starts: Any = None
    ) -> Iterator[str]:
        """Says where the cell is not `lax.scan` of its step.

        Without a step: where in reverse it does not read the flipped sequence.
        """
        got = self.run(reverse=reverse, mask=mask, starts=starts)
        if self.cell.step is not None:
            # One program for all, with a mask and with starts.
            mask = self.everywhere if mask is None else mask
            starts = ~self.everywhere if starts is None else starts
            expected = self.run(self._laws[reverse], mask=mask, starts=starts)
            phrase = f"is not that of lax.scan of the step{phrase}"
            yield from self.differences(got, expected, phrase)
        elif reverse:
            flipped = quick_jit(results(self._flipped))
            expected = self.run(flipped, mask=mask, starts=starts)
            phrase = f"is not that of the flipped sequence{phrase}"
            yield from self.differences(got, expected, phrase)

    def _flipped(self, params, carry, xs, **options):
        flip = partial(jax.tree.map, lambda a: a[::-1])
        carry, ys = self.cell.unroll(params, carry, flip(xs), **flip(options))
        return carry, flip(ys)

    def differences(
        self, got: Results, expected: Results, phrase: str, steps: Any = None
    ) -> Iterator[str]:
        """Says where results differ.

        Args:
          got, expected: alike in structure and shapes. What is None is not compared.
          phrase: follows the words that say where.
          steps: `[T]`, at which outputs and gradients of xs are compared; None for all.
        """
        for field, word in WORDS.items():
            a, b = getattr(got, field), getattr(expected, field)
            if a is None or b is None:
                continue
            timed = field in ("ys", "d_xs")
            pairs = zip(tree_leaves_with_path(a), jax.tree.leaves(b), strict=True)
            for (path, x), y in pairs:
                x, y = map(numbers, (x, y))
                with np.errstate(invalid="ignore"):
                    near = abs(x - y) <= self.tolerance * (1 + abs(y))
                far = ~(near | (x == y) | (np.isnan(x) & np.isnan(y)))
                if timed and steps is not None:
                    far[~np.asarray(steps)] = False
                if far.any():
                    when = f" of step {np.argwhere(far)[0][0]}" if timed else ""
                    largest = np.max(abs(x - y), where=far, initial=0.0)
                    size = f"(largest difference {largest:.2g})"
                    yield f"{word}{keystr(path)}{when} {phrase} {size}"


def numbers(leaf: Any) -> np.ndarray:
    """An array, or the bits of keys, in NumPy and with signs."""
    leaf = np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)
    return leaf if np.issubdtype(leaf.dtype, np.inexact) else leaf.astype(np.float64)
