"""Pieces of an epoch: the arrays of a few updates, and a function compiled for them."""

import time
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments.lab.batches import Batches

PIECE = 25  # the most updates between two checks of the clock and of signals


class Feed:
    """Reads the batches of all seeds, a piece at a time.

    Args:
      batches: of the task.
      seeds: that are trained.
      mesh: the devices over which batches are split; None for one device.
    """

    def __init__(self, batches: Batches, seeds: range, mesh: Mesh | None):
        self.batches, self.seeds, self.mesh = batches, seeds, mesh
        # Equal pieces need one compilation; updates of several sizes go one by one.
        most = PIECE if batches.sizes is None else 1
        equal = [n for n in range(most, most // 3, -1) if batches.steps % n == 0]
        self.size = equal[0] if equal else most
        self._plan = lru_cache(1)(self._whole_plan)
        self._sizes = batches.sizes and lru_cache(1)(batches.sizes)

    def _whole_plan(self, epoch: int) -> np.ndarray:
        """Numbers [S, steps, B, ...]."""
        steps = self.batches.steps
        numbers = np.stack([self.batches.plan(epoch, seed) for seed in self.seeds])
        if numbers.shape[1] != steps:
            raise ValueError(
                f"Batches.plan: expected a row for each of the {steps} updates, "
                f"got {numbers.shape[1]}"
            )
        return numbers

    def _numbers(self, epoch: int, first: int, stop: int) -> np.ndarray:
        """Those of some updates, [S, updates, B, ...]."""
        part = self.batches.part
        if part is None:
            return self._plan(epoch)[:, first:stop]
        return np.stack([part(epoch, seed, first, stop) for seed in self.seeds])

    def _read(self, epoch: int, first: int, numbers: np.ndarray) -> tuple[Any, ...]:
        size = () if self._sizes is None else (self._sizes(epoch)[first],)
        return self.batches.read(numbers, *size)

    def example(self) -> tuple[Any, ...]:
        """One example, as `Task.loss` takes it."""
        numbers = self._numbers(0, 0, 1)[:1, :1, :1]
        return tuple(array[0, 0, 0] for array in self._read(0, 0, numbers))

    def piece(self, step: int) -> tuple[int, tuple[Any, ...]]:
        """The updates that follow the first `step` of the run.

        Returns:
          How many there are, at least 1 and all in one epoch, and their arrays
          [S, updates, B, ...], split over the devices.
        """
        epoch, first = divmod(step, self.batches.steps)
        stop = min(first + self.size, self.batches.steps)
        numbers = self._numbers(epoch, first, stop)
        share = np.split(numbers, jax.process_count(), axis=2)[jax.process_index()]
        arrays = self._read(epoch, first, share)
        if self.mesh is not None:
            sharding = NamedSharding(self.mesh, PartitionSpec(None, None, "batch"))
            make = partial(jax.make_array_from_process_local_data, sharding)
            arrays = jax.tree.map(make, arrays)
        return stop - first, arrays


class Compiled:
    """A function compiled ahead of time for each shape of its arguments.

    Keeps the seconds spent on compiling apart from those spent on running.
    """

    def __init__(self, fun: Callable[..., Any], **options: Any):
        self._jitted = jax.jit(fun, **options)
        self._compiled: dict[Any, Callable[..., Any]] = {}
        self.compile_seconds = 0.0
        self.seconds = 0.0

    def __call__(self, *args: Any) -> Any:
        start = time.perf_counter()
        shapes = tuple(jax.typeof(leaf) for leaf in jax.tree.leaves(args))
        if shapes not in self._compiled:
            self._compiled[shapes] = self._jitted.lower(*args).compile()
            self.compile_seconds += time.perf_counter() - start
            start = time.perf_counter()
        out = jax.block_until_ready(self._compiled[shapes](*args))
        self.seconds += time.perf_counter() - start
        return out

    @property
    def programs(self) -> int:
        """How many shapes it was compiled for."""
        return len(self._compiled)
