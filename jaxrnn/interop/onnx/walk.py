"""A program of JAX as an ONNX graph: its jaxpr, walked equation by equation."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

import jaxrnn.interop.onnx.indexing
import jaxrnn.interop.onnx.sums  # noqa: F401 - as that does
from jaxrnn.core import is_key
from jaxrnn.interop.onnx.graph import Graph, Operand, UnsaidError
from jaxrnn.interop.onnx.native import native
from jaxrnn.interop.onnx.operators import SAY
from jaxrnn.interop.onnx.recognized import Recurrent
from jaxrnn.interop.onnx.shapes import counted, ints

# What a call, of `jit` for example, names the program that it runs.
INNER = ("jaxpr", "call_jaxpr", "fun_jaxpr", "call")
SMALL = 4096  # numbers in a constant that was computed here and not in the file


def walk(
    g: Graph, jaxpr: Any, consts: Sequence[Any], args: Sequence[Operand]
) -> list[Operand]:
    """Writes a program into the graph.

    Args:
      g: the graph.
      jaxpr: the program.
      consts, args: what it reads: names of values, or arrays.

    Returns:
      What it gives, names or arrays. What depends on no input is computed here.

    Raises:
      UnsaidError: if ONNX has no operator for one of the primitives.
    """
    env: dict[Any, Operand] = {}
    for var, value in zip(
        [*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True
    ):
        env[var] = value

    def read(var: Any):
        if isinstance(var, Literal):  # a Python number has the type of its place
            return np.asarray(var.val, getattr(var.aval, "dtype", None))
        return env[var]

    for eqn in jaxpr.eqns:
        inputs = [read(var) for var in eqn.invars]
        outputs = _folded(eqn, inputs)
        if outputs is None:
            outputs = _said(g, eqn, inputs)
        for var, value in zip(eqn.outvars, outputs, strict=True):
            env[var] = value
    return [read(var) for var in jaxpr.outvars]


def walk_closed(g: Graph, closed: Any, args: Sequence[Operand]) -> list[Operand]:
    """`walk` of a program with its constants, or of one that has none."""
    if isinstance(closed, ClosedJaxpr):
        return walk(g, closed.jaxpr, [constant(c) for c in closed.consts], args)
    return walk(g, closed, (), args)


def constant(value: Any) -> Any:
    """As numpy, but for keys of random numbers, which only JAX has."""
    return value if is_key(value) else np.asarray(value)


def _folded(eqn: Any, inputs: list[Operand]) -> list[Any] | None:
    """The outputs of an equation that reads no input of the file; else None."""
    if any(isinstance(value, str) for value in inputs) or eqn.effects:
        return None
    for var in eqn.outvars:
        shape = var.aval.shape
        if not all(isinstance(size, int | np.integer) for size in shape):
            return None
        size, read = np.prod(shape), max((np.size(i) for i in inputs), default=0)
        if size > SMALL and size > read:
            return None
    if any(name in eqn.params for name in INNER) and eqn.primitive.name != "scan":
        return None  # by its own equations
    outputs = eqn.primitive.bind(*inputs, **eqn.params)
    if not eqn.primitive.multiple_results:
        outputs = [outputs]
    return [constant(value) for value in outputs]


def _said(g: Graph, eqn: Any, inputs: list[Operand]) -> Sequence[Operand]:
    name = eqn.primitive.name
    if name in CONTROL:
        return CONTROL[name](g, eqn, inputs)
    if name in SAY:
        outputs = SAY[name](g, eqn, *inputs)
        return outputs if isinstance(outputs, tuple) else [outputs]
    for key in INNER:
        if key in eqn.params and hasattr(eqn.params[key], "eqns"):
            return walk_closed(g, eqn.params[key], inputs)
    raise UnsaidError(f"primitive {name}: ONNX has no operator for it")


def _substituted(g: Graph, eqn: Any, inputs: list[Operand]) -> Sequence[Operand]:
    """A loop of the library: an operator of its own, or a Scan."""
    params = eqn.params
    outputs = native(g, Recurrent.of(params, inputs))
    if outputs is not None:
        return outputs
    shapes = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in eqn.invars]
    return walk_closed(g, jax.make_jaxpr(params["loop"])(*shapes), inputs)


def _linear_map(g: Graph, eqn: Any, inputs: list[Operand]) -> Sequence[Operand]:
    n, fun = eqn.params["num_coefficients"], eqn.params["fun"]
    shapes = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in eqn.invars]
    closed = jax.make_jaxpr(lambda *args: fun(args[:n], args[n:]))(*shapes)
    return walk_closed(g, closed, inputs)


def _dim_as_value(g: Graph, eqn: Any, inputs: list[Operand]) -> Sequence[Operand]:
    size = g.op("Squeeze", g.size(eqn.params["dim"]), ints([0]))
    return [g.cast(size, eqn.outvars[0].aval.dtype)]


def _body(
    g: Graph,
    name: str,
    avals: Sequence[Any],
    write: Callable[[Graph, list[str]], list[Operand]],
    first: Sequence[tuple[Any, Any]] = (),
    out_avals: Sequence[Any] = (),
) -> Any:
    """A graph inside an operator, whose inputs are of these avals.

    `first` are inputs before those, each a dtype and a shape.
    """
    inner = g.inner()
    declared = [*first, *((a.dtype, a.shape) for a in avals)]
    names = [inner.name("in") for _ in declared]
    inputs = [
        inner.value(n, *d, inner=True) for n, d in zip(names, declared, strict=True)
    ]
    results = [inner.named(inner.name("out"), v) for v in write(inner, names)]
    outputs = [
        inner.value(n, a.dtype, a.shape, inner=True)
        for n, a in zip(results, out_avals, strict=True)
    ]
    return inner.proto(name, inputs, outputs)


def _scan(g: Graph, eqn: Any, inputs: list[Operand]) -> Sequence[Operand]:
    params, closed = eqn.params, eqn.params["jaxpr"]
    inside = closed.jaxpr if isinstance(closed, ClosedJaxpr) else closed
    # What has a time axis is an x or a y; how many there are, versions of JAX tell each
    # in another way.
    m = len(eqn.outvars) - _stacked(eqn.outvars, inside.outvars)
    n = len(inputs) - m - _stacked(eqn.invars, inside.invars)
    consts, carry, xs = inputs[:n], inputs[n : n + m], inputs[n + m :]
    avals = [v.aval for v in inside.invars[n:]]
    out_avals = [v.aval for v in inside.outvars]
    first = []
    if not xs:  # a Scan reads something at each step
        xs, avals = [counted(g, params["length"])], [*avals, None]

    def write(inner, names):
        used = names[: len(names) - (avals[-1] is None)]
        return walk_closed(inner, closed, [*consts, *used])

    shown = [jax.ShapeDtypeStruct((), np.int64) if a is None else a for a in avals]
    body = _body(g, "step", shown, write, first, out_avals)
    back = int(params["reverse"])
    return g.ops(
        "Scan",
        *carry,
        *xs,
        outputs=len(out_avals),
        body=body,
        num_scan_inputs=len(xs),
        scan_input_directions=[back] * len(xs),
        scan_output_directions=[back] * (len(out_avals) - m) or None,
    )


def _stacked(outside: Sequence[Any], inside: Sequence[Any]) -> int:
    """How many variables have one axis more outside a loop than inside."""
    pairs = zip(outside, inside, strict=True)
    return sum(a.aval.ndim > b.aval.ndim for a, b in pairs)


def _while(g: Graph, eqn: Any, inputs: list[Operand]) -> Sequence[Operand]:
    params = eqn.params
    n, m = params["cond_nconsts"], params["body_nconsts"]
    of_cond, of_body, carry = inputs[:n], inputs[n : n + m], inputs[n + m :]
    avals = [v.aval for v in params["body_jaxpr"].jaxpr.outvars]

    def goes_on(graph, values):
        return walk_closed(graph, params["cond_jaxpr"], [*of_cond, *values])[0]

    def write(inner, names):
        new = walk_closed(inner, params["body_jaxpr"], [*of_body, *names[2:]])
        return [goes_on(inner, new), *new]

    boolean = jax.ShapeDtypeStruct((), bool)
    first = [(np.int64, ()), (bool, ())]
    body = _body(g, "step", avals, write, first, [boolean, *avals])
    start = goes_on(g, carry)
    return g.ops("Loop", None, start, *carry, outputs=len(avals), body=body)


def _cond(g: Graph, eqn: Any, inputs: list[Operand]) -> Sequence[Operand]:
    index, *operands = inputs
    branches = eqn.params["branches"]
    avals = [v.aval for v in eqn.outvars]

    def choose(g, first):
        if first == len(branches) - 1:
            return walk_closed(g, branches[first], operands)
        # The first branch also serves an index below 0, the last one those above.
        here = g.op("LessOrEqual", g.cast(index, np.int32), np.int32(first))
        then = _body(
            g,
            "then",
            (),
            lambda inner, _: walk_closed(inner, branches[first], operands),
            out_avals=avals,
        )
        other = _body(
            g, "else", (), lambda inner, _: choose(inner, first + 1), out_avals=avals
        )
        bodies = {"then_branch": then, "else_branch": other}
        return list(g.ops("If", here, outputs=len(avals), **bodies))

    return choose(g, 0)


CONTROL = {
    "scan": _scan,
    "while": _while,
    "cond": _cond,
    "substituted": _substituted,
    "linear_map": _linear_map,
    "dim_as_value": _dim_as_value,
}
