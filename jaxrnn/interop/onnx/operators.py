"""JAX's primitives as operators of ONNX: one function for each, or a name.

Each function is given the graph, the equation and its inputs, names or arrays, and
returns the names of the outputs.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxrnn.interop.onnx.graph import Graph, UnsaidError, tensor_type, width

SAY: dict[str, Callable[..., Any]] = {}  # by the name of the primitive


def says(*primitives: str) -> Callable[[Callable], Callable]:
    """Registers how some primitives are written."""

    def register(fun):
        for primitive in primitives:
            SAY[primitive] = fun
        return fun

    return register


def _named(kind: str):
    return lambda g, eqn, *inputs: g.op(kind, *inputs)


_SAME = {
    **{"add": "Add", "add_any": "Add", "sub": "Sub", "mul": "Mul", "max": "Max"},
    **{"min": "Min", "neg": "Neg", "exp": "Exp", "log": "Log", "tanh": "Tanh"},
    **{"logistic": "Sigmoid", "sqrt": "Sqrt", "abs": "Abs", "sign": "Sign"},
    **{"floor": "Floor", "ceil": "Ceil", "erf": "Erf", "sin": "Sin", "cos": "Cos"},
    **{"tan": "Tan", "asin": "Asin", "acos": "Acos", "atan": "Atan", "sinh": "Sinh"},
    **{"cosh": "Cosh", "asinh": "Asinh", "acosh": "Acosh", "atanh": "Atanh"},
    **{"div": "Div", "pow": "Pow", "eq": "Equal", "lt": "Less", "gt": "Greater"},
    **{"le": "LessOrEqual", "ge": "GreaterOrEqual", "copy": "Identity"},
    **{"copy_p": "Identity", "stop_gradient": "Identity", "pvary": "Identity"},
    **{"optimization_barrier": "Identity", "reduce_precision": "Identity"},
}
SAY.update({primitive: _named(kind) for primitive, kind in _SAME.items()})


def one(g: Graph, value: float, eqn: Any, at: int = 0) -> np.ndarray:
    """A number in the dtype of an input."""
    return np.array(value, width(eqn.invars[at].aval.dtype))


@says("optimization_barrier")
def _barrier(g, eqn, *inputs):
    return tuple(inputs)


@says("max", "min", "add", "mul")
def _of_bools(g, eqn, a, b):
    name = eqn.primitive.name
    if eqn.invars[0].aval.dtype == bool:
        return g.op("Or" if name in ("max", "add") else "And", a, b)
    for x, limit in ((a, b), (b, a)):
        of_zero = isinstance(limit, np.ndarray) and not limit.ndim and limit == 0
        if name == "max" and of_zero and eqn.outvars[0].aval.dtype == np.float32:
            return g.op("Relu", x)
    return g.op(_SAME[name], a, b)


@says("and", "or", "xor", "not")
def _logic(g, eqn, *inputs):
    kind = eqn.primitive.name.capitalize()
    of_bool = eqn.invars[0].aval.dtype == bool
    if not of_bool and g.opset < 18:
        raise UnsaidError(f"primitive {eqn.primitive.name} of integers: needs opset=18")
    return g.op(kind if of_bool else f"Bitwise{kind}", *inputs)


@says("ne")
def _ne(g, eqn, a, b):
    return g.op("Not", g.op("Equal", a, b))


@says("square")
def _square(g, eqn, x):
    return g.op("Mul", x, x)


@says("rsqrt")
def _rsqrt(g, eqn, x):
    return g.op("Reciprocal", g.op("Sqrt", x))


@says("integer_pow")
def _integer_pow(g, eqn, x):
    y = eqn.params["y"]
    return g.op("Mul", x, x) if y == 2 else g.op("Pow", x, one(g, y, eqn))


@says("exp2")
def _exp2(g, eqn, x):
    return g.op("Pow", one(g, 2, eqn), x)


@says("cbrt")
def _cbrt(g, eqn, x):
    root = g.op("Pow", g.op("Abs", x), one(g, 1 / 3, eqn))
    return g.op("Mul", g.op("Sign", x), root)


@says("log1p")
def _log1p(g, eqn, x):
    # log(u) x / (u - 1) with u = 1 + x loses nothing where x is small.
    u = g.op("Add", x, one(g, 1, eqn))
    small, infinite = g.op("Equal", u, one(g, 1, eqn)), g.op("IsInf", u)
    difference = g.op("Where", small, one(g, 1, eqn), g.op("Sub", u, one(g, 1, eqn)))
    exact = g.op("Div", g.op("Mul", g.op("Log", u), x), difference)
    return g.op("Where", small, x, g.op("Where", infinite, u, exact))


@says("expm1")
def _expm1(g, eqn, x):
    # 2 sinh(x / 2) exp(x / 2), where exp(x) - 1 would cancel.
    half = g.op("Mul", x, one(g, 0.5, eqn))
    sinh, exp = g.op("Sinh", half), g.op("Exp", half)
    near = g.op("Mul", g.op("Mul", sinh, exp), one(g, 2, eqn))
    far = g.op("Sub", g.op("Exp", x), one(g, 1, eqn))
    small = g.op("Less", g.op("Abs", x), one(g, 1, eqn))
    return g.op("Where", small, near, far)


@says("erfc")
def _erfc(g, eqn, x):
    return g.op("Sub", one(g, 1, eqn), g.op("Erf", x))


@says("rem")
def _rem(g, eqn, a, b):
    return g.op("Mod", a, b, fmod=1)


@says("is_finite")
def _is_finite(g, eqn, x):
    return g.op("Not", g.op("Or", g.op("IsNaN", x), g.op("IsInf", x)))


@says("round")
def _round(g, eqn, x):
    if eqn.params["rounding_method"].name == "TO_NEAREST_EVEN":
        return g.op("Round", x)
    away = g.op("Floor", g.op("Add", g.op("Abs", x), one(g, 0.5, eqn)))
    return g.op("Mul", g.op("Sign", x), away)


@says("clamp")
def _clamp(g, eqn, low, x, high):
    return g.op("Min", g.op("Max", x, low), high)


@says("select_n")
def _select(g, eqn, which, *cases):
    if eqn.invars[0].aval.dtype != bool:
        chosen = cases[-1]
        for i in reversed(range(len(cases) - 1)):
            here = g.op("Equal", which, np.array(i, np.int32))
            chosen = g.op("Where", here, cases[i], chosen)
        return chosen
    if len(cases) == 1:
        return cases[0]
    no, yes = cases
    # Where repeats its condition by itself. An Expand would bring the sizes of the
    # file's inputs into the body of a Scan, where OpenVINO and tract refuse them.
    made = g.nodes.get(which) if isinstance(which, str) else None
    if made and made.kind == "Expand":
        which = made.inputs[0]
    inner = g.nodes.get(yes) if isinstance(yes, str) else None
    if inner and inner.kind == "Where" and inner.inputs[::2] == (which, g.operand(no)):
        return yes  # what stands in the padding is zero already
    return g.op("Where", which, yes, no)


@says("convert_element_type")
def _convert(g, eqn, x):
    old, new = eqn.invars[0].aval.dtype, eqn.outvars[0].aval.dtype
    if jnp.issubdtype(new, jnp.floating) and jnp.finfo(new).bits < 32:
        # Such a number is kept as a float32 of the same value.
        rounded = g.op("Cast", x, to=tensor_type(new))
        return g.op("Cast", rounded, to=tensor_type(np.float32))
    return x if width(old) == width(new) else g.cast(x, new)
