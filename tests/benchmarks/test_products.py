"""The compiled training step does the products that are counted, and no others.

So `vmap` costs none: what is written for one sequence has, for a batch, the products of
a program written for a batch.
"""

import math
import re
from functools import partial
from unittest import mock

import jax
import pytest

from benchmarks.systems import jax_model, jaxrnn_fast
from benchmarks.work import gated
from jaxrnn.loops.substitute import KERNELS

B, T, D, H = 5, 7, 3, 11


@pytest.fixture(autouse=True)
def _as_in_the_benchmarks():
    """The harness runs under the defaults of JAX."""
    with (
        jax.numpy_rank_promotion("allow"),
        jax.numpy_dtype_promotion("standard"),
        mock.patch.dict(KERNELS, clear=True),  # the products of a kernel are its own
    ):
        yield


def shape(text: str) -> list[int]:
    """The sizes in `f32[5,7]{1,0}`."""
    found = re.match(r"\w+\[([\d,]*)\]", text)
    assert found is not None, text
    return [int(size) for size in found[1].split(",") if size]


def computations(program: str) -> dict[str, list[str]]:
    """The lines of each computation of a compiled program, the main one first."""
    parts, lines, entry = {}, [], ""
    for line in program.splitlines():
        if opening := re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{$", line):
            lines = parts.setdefault(opening[2], [])
            entry = opening[2] if opening[1] else entry
        else:
            lines.append(line)
    return {entry: parts.pop(entry)} | parts


def products(program: str) -> list[tuple[int, int, list[int]]]:
    """How often each product is computed, its FLOPs, and its batch axes."""
    parts = computations(program)

    def inside(name: str, times: int):
        shapes = {}
        for line in parts[name]:
            matched = re.match(r"\s*(?:ROOT )?%?([\w.\-]+) = (\S+) (.*)", line)
            if matched is None:
                continue
            shapes[matched[1]], operation = matched[2], matched[3]
            repeats = times
            if operation.startswith("dot("):
                left = re.search(r"%([\w.\-]+)", operation)
                assert left is not None
                sizes = shape(shapes[left[1]])
                axes = axes_of("lhs_contracting_dims", operation)
                inner = math.prod(sizes[axis] for axis in axes)
                flops = 2 * math.prod(shape(matched[2])) * inner
                yield times, flops, axes_of("lhs_batch_dims", operation)
            elif " while(" in line:
                count = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
                assert count is not None, line
                repeats = times * int(count[1])
            for called in re.findall(r"(?:calls|body|to_apply)=%?([\w.\-]+)", line):
                yield from inside(called, repeats)

    return list(inside(next(iter(parts)), 1))


def axes_of(name: str, operation: str) -> list[int]:
    matched = re.search(name + r"=\{([\d,]*)\}", operation)
    return [int(axis) for axis in matched[1].split(",")] if matched else []


def compiled(fun, *args) -> str:
    text = jax.jit(fun).lower(*args).compile().as_text()
    assert text
    return text


@pytest.mark.parametrize("more", [{}, {"layers": 2, "directions": 2}])
@pytest.mark.parametrize("cell", gated.GATES)
def test_a_batch_of_sequences_takes_the_products_of_a_batch(cell, more):
    case = gated.Case(cell, B, T, D, H, **more)
    data = gated.make(case)
    model = jaxrnn_fast.model(case)
    params = jax_model.params_of(model, data.weights)
    loss = partial(jax_model.loss_of, model)
    program = compiled(jax.value_and_grad(loss), params, data.xs, data.labels)
    found = products(program)
    assert all(batch == [] for _, _, batch in found)
    total = sum(times * flops for times, flops, _ in found)
    # The gradients of the biases come with those of the weights, as of one more input,
    # and a GRU reads all inputs also for the gate that only h reaches.
    gates, inner = gated.GATES[cell] * H, H * (cell == "gru")
    extra = sum(gates + inner * (1 + size) for size in case.layer_inputs)
    assert case.flops <= total <= case.flops + 2 * B * T * case.directions * extra


def test_the_count_sees_products_of_each_example():
    case = gated.Case("lstm", B, T, D, H)
    data = gated.make(case)
    model = jaxrnn_fast.model(case)
    params = jax_model.params_of(model, data.weights)

    def loss(params, x, label):
        return jax_model.loss_of(model, params, x[None], label[None])

    each = jax.vmap(jax.grad(loss), (None, 0, 0))
    found = products(compiled(each, params, data.xs, data.labels))
    assert any(batch for _, _, batch in found)
