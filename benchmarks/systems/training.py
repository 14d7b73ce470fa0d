"""What all JAX systems share: the training step, the split over devices, the clock."""

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from benchmarks import data as data_module
from benchmarks.cases import LEARNING_RATE, Case
from benchmarks.data import Block, Data, Reference, Weights


class Model(NamedTuple):
    """A stack of recurrent layers, as a library would have its user write it."""

    params: Callable[[Weights], Any]  # in the library's own layout
    last: Callable[[Any, jax.Array], jax.Array]  # [B, T, D] -> [B, directions * H]
    carry: Callable[[Any, int], Any]  # of B streams, before the first tick
    tick: Callable[[Any, Any, jax.Array], tuple[Any, jax.Array]]  # x [B, D], y [B, H]


class Layer(NamedTuple):
    """One direction of one layer; `stack` makes a model of it."""

    params: Callable[[Block], Any]
    run: Callable[..., Any]  # (params, xs, reverse, final) -> ys or the last y
    carry: Callable[[Any, int], Any]
    tick: Callable[[Any, Any, jax.Array], tuple[Any, jax.Array]]


def stack(layer: Layer) -> Model:
    """Layers one on top of the other, the outputs of two directions side by side."""

    def params(weights):
        return [[layer.params(block) for block in blocks] for blocks in weights.layers]

    def last(params, xs):
        for i, blocks in enumerate(params):
            final = i == len(params) - 1
            ys = [layer.run(p, xs, bool(j), final) for j, p in enumerate(blocks)]
            xs = ys[0] if len(ys) == 1 else jnp.concatenate(ys, axis=-1)
        return xs

    def carry(params, batch):
        return [layer.carry(blocks[0], batch) for blocks in params]

    def tick(params, carry, x):
        new = []
        for blocks, c in zip(params, carry, strict=True):
            c, x = layer.tick(blocks[0], c, x)
            new.append(c)
        return new, x

    return Model(params, last, carry, tick)


class Params(NamedTuple):
    """Weights of the whole model."""

    layers: Any
    w: jax.Array  # [directions * H, K]
    b: jax.Array  # [K]


def params_of(model: Model, weights: Weights) -> Params:
    """The weights in the library's layout."""
    weights = jax.tree.map(jnp.asarray, weights)
    return Params(model.params(weights), weights.w, weights.b)


def logits_of(model: Model, params: Params, xs: jax.Array) -> jax.Array:
    """[B, K]."""
    return model.last(params.layers, xs) @ params.w + params.b


def loss_of(model: Model, params: Params, xs, labels) -> jax.Array:
    """Mean over the batch."""
    logits = logits_of(model, params, xs)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses.mean()


def reference(model: Model, data: Data) -> Reference:
    """Logits, loss and the weights after one step, in float32 on one device."""

    def step(weights, xs, labels):
        def loss_fn(weights):
            return loss_of(model, params_of(model, weights), xs, labels)

        logits = logits_of(model, params_of(model, weights), xs)
        loss, grads = jax.value_and_grad(loss_fn)(weights)
        return logits, loss, _descend(weights, grads)

    return Reference(*jax.tree.map(np.asarray, jax.jit(step)(*data)))


def _descend(params, grads):
    return jax.tree.map(
        lambda p, g: p - (LEARNING_RATE * g).astype(p.dtype), params, grads
    )


class Run:
    """A case, compiled.

    Args:
      model: of the library.
      case: the case.
      data: its start.
      devices: how many devices there are; the batch is split over as many of them as
        divide it.
      platform: where it runs.
      goal: in place of `model.params` for the weights that are expected after a step,
        with NaN where nothing is.
    """

    def __init__(
        self,
        model: Model,
        case: Case,
        data: Data,
        devices: int,
        platform: str,
        goal: Callable[[Weights], Any] | None = None,
    ):
        del platform
        self.model, self.case = model, case
        self.goal = model if goal is None else model._replace(params=goal)
        self.parts = split(case.batch, devices)
        self.mesh = jax.make_mesh(
            (self.parts,),
            ("batch",),
            devices=jax.devices()[: self.parts],
            axis_types=(AxisType.Auto,),
        )
        self.params = self._host(params_of(model, data.weights))
        self.xs = self._put(self._cast(data.xs), P("batch"))
        self.labels = self._put(data.labels, P("batch"))
        program, args = getattr(self, f"_{case.kind}")()
        start = time.perf_counter()
        self.compiled = program.lower(*args).compile()
        self.compile_seconds = time.perf_counter() - start
        self.memory_bytes = memory_bytes(self.compiled, self.parts)

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
        def step(params, xs, labels):
            loss, grads = jax.value_and_grad(partial(loss_of, self.model))(
                params, xs, labels
            )
            if self.parts > 1:
                loss, grads = jax.lax.pmean((loss, grads), "batch")
            return _descend(params, grads), loss

        specs = (P(), P("batch"), P("batch"))
        program = self._jit(step, specs, (P(), P()), donate=0)
        return program, (self._put(self.params), self.xs, self.labels)

    def _forward(self):
        program = self._jit(
            partial(logits_of, self.model), (P(), P("batch")), P("batch")
        )
        return program, (self._put(self.params), self.xs)

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
        if self.case.kind == "tick":
            carry, logits = self._carry(), None
            for t in range(self.case.time):
                carry, logits = self.compiled(params, carry, self.xs[:, t])
            return data_module.logits_errors(logits, reference)
        if self.case.kind == "forward":
            return data_module.logits_errors(self.compiled(params, self.xs), reference)
        logits = self._forward()[0](params, self.xs)
        after, loss = self.compiled(params, self.xs, self.labels)
        expected = params_of(self.goal, reference.after)
        if jax.tree.structure(expected) != jax.tree.structure(after):
            raise ValueError("the structure of the params changed in a step")
        return (
            data_module.logits_errors(logits, reference)
            | data_module.loss_error(float(loss), reference)
            | data_module.update_errors(
                jax.tree.leaves(self.params),
                jax.tree.leaves(after),
                jax.tree.leaves(expected),
                self.case.dtype,
            )
        )

    def seconds(self, calls: int) -> float:
        """Of that many calls, after one that does not count.

        Training starts again from the first weights, and each step reads the params of
        the one before; a forward pass or a tick is waited for, as one who needs its
        result would.
        """
        if self.case.kind == "train":
            args = (self.xs, self.labels)
            params, _ = self.compiled(self._put(self.params), *args)
            jax.block_until_ready(params)
            start = time.perf_counter()
            for _ in range(calls):
                params, _ = self.compiled(params, *args)
                if self.parts > 1:
                    # With two steps under way, XLA's collectives on CPU can wait for
                    # each other's threads for ever.
                    jax.block_until_ready(params)
            jax.block_until_ready(params)
            return time.perf_counter() - start
        params = self._put(self.params)
        if self.case.kind == "forward":
            jax.block_until_ready(self.compiled(params, self.xs))
            start = time.perf_counter()
            for _ in range(calls):
                jax.block_until_ready(self.compiled(params, self.xs))
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
    found = compiled.memory_analysis()
    if found is None:
        return None
    sizes = (
        found.argument_size_in_bytes,
        found.output_size_in_bytes,
        found.temp_size_in_bytes,
        -found.alias_size_in_bytes,
    )
    return parts * math.trunc(sum(sizes))
