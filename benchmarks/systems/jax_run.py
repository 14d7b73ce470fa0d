"""A case on a JAX library: compiled, split over devices, checked, timed."""

import math
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from benchmarks.systems import resident
from benchmarks.systems.jax_model import (
    Model,
    batches,
    descend,
    logits_of,
    loss_of,
    params_of,
)
from benchmarks.work import equal
from benchmarks.work.equal import Data, Reference, Weights


class Run:
    """A compiled case.

    Args:
      model: of the library.
      case: the case.
      data: its start.
      devices: the number of devices; the batch is split over as many of them as divide
        it.
      platform: where it runs.
      goal: in place of `model.params` for the weights that are expected after a step,
        with NaN where nothing is expected.
    """

    def __init__(
        self,
        model: Model,
        case: Any,
        data: Data,
        devices: int,
        platform: str,
        goal: Callable[[Weights], Any] | None = None,
    ):
        del platform
        self.model, self.case = model, case
        self.goal = model if goal is None else model._replace(params=goal)
        self.parts = split(len(data.xs) // case.num_updates, devices)
        self.mesh = jax.make_mesh(
            (self.parts,),
            ("batch",),
            devices=jax.devices()[: self.parts],
            axis_types=(AxisType.Auto,),
        )
        self.replicated = NamedSharding(self.mesh, P())
        self.params = self._host(params_of(model, data.weights))
        self.batches = [
            self._put((self._cast(xs), labels, valid), P("batch"))
            for xs, labels, valid in batches(data, case.num_updates)
        ]
        self.xs, self.labels, self.valid = self.batches[0]
        program, args = getattr(self, f"_{case.mode}")()
        start = time.perf_counter()
        self.compiled = program.lower(*args).compile()
        self.compile_seconds = time.perf_counter() - start
        self.memory_bytes = memory_bytes(self.compiled, self.parts)
        self.temp_bytes = temp_bytes(self.compiled, self.parts)
        self.peak_bytes = resident.growth(self._once) if case.trains else None
        self.sent_bytes = sent_bytes(self.compiled.as_text() or "")

    def _cast(self, tree):
        dtype = jnp.dtype(self.case.dtype)
        return jax.tree.map(lambda a: np.asarray(a).astype(dtype), tree)

    def _host(self, tree):
        return self._cast(jax.tree.map(np.asarray, tree))

    def _put(self, tree, spec=None):
        spec = P() if spec is None else spec
        return jax.device_put(tree, NamedSharding(self.mesh, spec))

    def _jit(self, fun, in_specs, out_specs, donate=()):
        if self.parts > 1:
            fun = jax.shard_map(
                fun,
                mesh=self.mesh,
                in_specs=in_specs,
                out_specs=out_specs,
                check_vma=False,
            )
        return jax.jit(fun, donate_argnums=donate)

    def _train(self):
        def step(params, xs, labels, valid):
            loss, grads = jax.value_and_grad(partial(loss_of, self.model))(
                params, xs, labels, valid
            )
            if self.parts > 1:
                loss, grads = jax.lax.pmean((loss, grads), "batch")
            return descend(params, grads), loss

        specs = (P(), P("batch"), P("batch"), P("batch"))
        program = self._jit(step, specs, (P(), P()), donate=0)
        return program, (self._first_state(), *self.batches[0])

    def _epoch(self):
        return self._train()

    def _pass(self, state: Any) -> tuple[Any, Any]:
        """The state after one call, and what the last update says."""
        more = None
        for batch in self.batches:
            state, more = self.compiled(state, *batch)
            if self.parts > 1:
                # With two steps under way, XLA's collectives on CPU can wait for each
                # other's threads for ever.
                jax.block_until_ready(state)
        return state, more

    def _once(self) -> None:
        jax.block_until_ready(self._pass(self._first_state()))

    def _first_state(self) -> Any:
        """What the first step of training reads and later steps replace."""
        return self._put(self.params)

    def _params_and_loss(self, state: Any, more: Any) -> tuple[Any, float]:
        """The new params and the loss, from the two results of a step."""
        return state, float(more)

    def _forward(self):
        program = self._jit(
            partial(logits_of, self.model), (P(), P("batch"), P("batch")), P("batch")
        )
        return program, (self._put(self.params), self.xs, self.valid)

    def _tick(self):
        def tick(params, carry, x):
            carry, y = self.model.tick(params.layers, carry, x)
            return carry, y @ params.w + params.b

        specs = (P(), P("batch"), P("batch"))
        program = self._jit(tick, specs, (P("batch"), P("batch")), donate=1)
        return program, (self._put(self.params), self._carry(), self.xs[:, 0])

    def _carry(self):
        carry = self.model.carry(self.params.layers, self.case.batch)
        return self._put(self._host(carry), P("batch"))

    def check(self, reference: Reference) -> dict[str, float]:
        """The errors of the compiled program."""
        params = self._put(self.params)
        if self.case.mode == "tick":
            carry, logits = self._carry(), None
            for t in range(self.case.time):
                carry, logits = self.compiled(params, carry, self.xs[:, t])
            return equal.logits_errors(logits, reference)
        if self.case.mode == "forward":
            logits = self.compiled(params, self.xs, self.valid)
            return equal.logits_errors(logits, reference)
        logits = self._forward()[0](params, self.xs, self.valid)[: self.case.batch]
        after, loss = self._params_and_loss(*self._pass(self._first_state()))
        expected = params_of(self.goal, reference.after)
        if jax.tree.structure(expected) != jax.tree.structure(after):
            raise ValueError("the structure of the params changed in a step")
        return (
            equal.logits_errors(logits, reference)
            | equal.loss_error(loss, reference)
            | equal.update_errors(
                jax.tree.leaves(self.params),
                jax.tree.leaves(after),
                jax.tree.leaves(expected),
                self.case.dtype,
            )
        )

    def seconds(self, calls: int) -> float:
        """The time of that many calls, after one that does not count.

        Training starts again from the first weights, and each step reads the params of
        the one before; a forward pass or a tick is waited for, as one who needs its
        result would.
        """
        if self.case.trains:
            state, _ = jax.block_until_ready(self._pass(self._first_state()))
            start = time.perf_counter()
            for _ in range(calls):
                state, _ = self._pass(state)
            jax.block_until_ready(state)
            return time.perf_counter() - start
        params = self._put(self.params)
        if self.case.mode == "forward":
            args = (params, self.xs, self.valid)
            jax.block_until_ready(self.compiled(*args))
            start = time.perf_counter()
            for _ in range(calls):
                jax.block_until_ready(self.compiled(*args))
            return time.perf_counter() - start
        x = self.xs[:, 0]
        carry, _ = jax.block_until_ready(self.compiled(params, self._carry(), x))
        start = time.perf_counter()
        for _ in range(calls):
            carry, _ = jax.block_until_ready(self.compiled(params, carry, x))
        return time.perf_counter() - start


def split(batch: int, devices: int) -> int:
    """The largest number of parts, at most `devices`, that divides the batch."""
    return max(n for n in range(1, min(batch, devices) + 1) if batch % n == 0)


def memory_bytes(compiled: Any, parts: int = 1) -> int | None:
    """Arguments, results and temporaries of all parts, as the compiler plans them."""
    plan = compiled.memory_analysis()
    if plan is None:
        return None
    sizes = (
        plan.argument_size_in_bytes,
        plan.output_size_in_bytes,
        plan.temp_size_in_bytes,
        -plan.alias_size_in_bytes,
    )
    return parts * math.trunc(sum(sizes))


def temp_bytes(compiled: Any, parts: int = 1) -> int | None:
    """Temporaries of all parts, as the compiler plans them."""
    plan = compiled.memory_analysis()
    return None if plan is None else parts * math.trunc(plan.temp_size_in_bytes)


def sent_bytes(compiled_text: str) -> int:
    """Bytes of all arrays that one call of a compiled program sums over devices."""
    total = 0
    pattern = r"= (\([^)]*\)|\S+) all-reduce(?:-start)?\("
    for shapes in re.findall(pattern, compiled_text):
        for bits, dims in re.findall(r"[a-z]+(\d*)\[([\d,]*)\]", shapes):
            numbers = math.prod(map(int, filter(None, dims.split(","))))
            total += int(bits or 8) // 8 * numbers  # pred has no digits
    return total
