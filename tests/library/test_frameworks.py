"""The readers of weights, held to what the frameworks computed.

The files in `goldens` were written by `frameworks.py`, each by one version of one
framework. With a framework installed, the same cases are computed by it anew.
"""

import importlib.util
import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import frameworks
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from battery import quick_jit

import jaxrnn as rnn
from jaxrnn import interop

FILES = sorted((Path(__file__).parent / "goldens").glob("*.npz"))
WRITERS = {f"load_{n[3:]}": n for n in interop.__all__ if n.startswith("to_")}
FLOAT32 = {"mlx", "mindspore", "tinygrad", "tensorflow"}
UNIQUE = {"load_tensorflow"}  # with one bias, so that the way back is the same
# Two versions of each framework; Keras 2 has two names.
SEEN = {
    **dict.fromkeys(("chainer", "cudnn", "equinox", "haiku", "mlx", "sonnet"), 2),
    **dict.fromkeys(("tensorflow", "tinygrad", "torch", "keras"), 2),
}


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


@cache
def golden(path: Path) -> dict[str, dict[str, Any]]:
    """The cases of a file, by name, as `frameworks.case` made them."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    cases = json.loads(str(arrays.pop("about")))["cases"]
    for name, case in cases.items():

        def array(*parts, name=name):
            return arrays["/".join([name, *map(str, parts)])]

        if isinstance(case["weights"], int):
            case["weights"] = [array("weights", i) for i in range(case["weights"])]
        else:
            case["weights"] = {
                k: array("weights", k)
                if many is None
                else [array("weights", f"{k}{i}") for i in range(many)]
                for k, many in case["weights"].items()
            }
        case["ys"] = array("ys")
        for what in ("carry", "start"):
            case[what] = [array(what, i) for i in range(case[what])]
    return cases


def weights_as_read(case: dict[str, Any]) -> tuple[Any, ...]:
    """The arguments of the reader after the kind."""
    weights = case["weights"]
    if case["reader"] == "load_cudnn":
        return weights["weights"], weights["biases"]
    if case["reader"] in ("load_flax", "load_haiku"):
        separator = "/" if case["reader"] == "load_flax" else "|"
        nested: dict[str, dict[str, np.ndarray]] = {}
        for name, array in weights.items():
            module, leaf = name.split(separator)
            nested.setdefault(module, {})[leaf] = array
        weights = nested
    return (weights,)


def run(cell: rnn.Cell, params: Any, case: dict[str, Any]) -> tuple[Any, Any]:
    """The final carries and the ys of a case."""
    lengths = np.array(case["lengths"] or [frameworks.T] * frameworks.B)
    mask = np.arange(frameworks.T) < lengths[:, None]
    initial = cell.initial_carry(params)
    leaves = [jnp.stack([a] * len(mask)) for a in jax.tree.leaves(initial)]
    if case["start"]:
        leaves = [
            jnp.asarray(given, a.dtype)
            for given, a in zip(case["start"], leaves, strict=True)
        ]
    carries = jax.tree.structure(initial).unflatten(leaves)
    xs = jnp.asarray(frameworks.XS, leaves[0].dtype)

    @quick_jit
    def computed(params, carries):
        def one(carry, xs, mask):
            return cell.unroll(params, carry, xs, mask=mask)

        return jax.vmap(one)(carries, xs, jnp.asarray(mask))

    return computed(params, carries)


def hold(framework: str, case: dict[str, Any]) -> None:
    """The loaded cell computes the case, and so does what is written back."""
    name, args, options = case["reader"], case["args"], case["options"]
    tolerance = 3e-6 if framework in FLOAT32 else 1e-12
    if "gelu" in options.values():  # of a constant that Keras rounds to float32
        tolerance = 1e-6
    load = getattr(interop, name)
    cell, params = load(*args, *weights_as_read(case), **options)
    carry, ys = run(cell, params, case)
    lengths = np.array(case["lengths"] or [frameworks.T] * frameworks.B)
    valid = (np.arange(frameworks.T) < lengths[:, None])[..., None]
    near: Any = {"rtol": tolerance, "atol": tolerance}
    np.testing.assert_allclose(ys, np.where(valid, case["ys"], 0), **near)
    for got, expected in zip(jax.tree.leaves(carry), case["carry"], strict=True):
        np.testing.assert_allclose(got, expected, **near)
    if name not in WRITERS:
        return
    with_cells = name in ("load_torch", "load_paddle")
    of_cell = {"cell": True} if with_cells and "weight_ih" in case["weights"] else {}
    if name == "load_flax":
        parts = case["weights"]
        layout = "nnx" if any("dense" in k or "if_" in k for k in parts) else "linen"
        fused = layout == "nnx" and args == ["lstm"] and "dense_i/kernel" in parts
        of_cell = {"layout": "nnx_optimized" if fused else layout}
    if name == "load_chainer":
        of_cell = {"n_step": "0/w0" in case["weights"]}
    if name == "load_tensorflow":
        of_cell = {k: options[k] for k in ("forget_bias", "prefix") if k in options}
        of_cell |= {"prefix": f"{of_cell['prefix']}/"} if "prefix" in of_cell else {}
    back = getattr(interop, WRITERS[name])(*args, params, **of_cell)
    back = back if name == "load_cudnn" else (back,)
    given = weights_as_read(case)
    if name == "load_paddle" and not of_cell:
        given = ({k: a for k, a in given[0].items() if ".cell" in k},)
    if name == "load_tensorflow":
        given = ({k.removesuffix(":0"): a for k, a in given[0].items()},)
    assert jax.tree.map(np.shape, back) == jax.tree.map(np.shape, given)
    if name in UNIQUE:
        for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(given), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=3e-7)
    again = load(*args, *back, **options)[1]
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6 if a.dtype == "float32" else 1e-15)


def framework_of(path: Path) -> str:
    return path.stem.rsplit("-", 1)[0]


def new_cases() -> list[Any]:
    """Cases of all files; a case that another version has equal is tried once."""
    found, seen = [], {}
    for path in FILES[::-1]:
        for name, case in golden(path).items():
            key = framework_of(path), name
            if key in seen and same(seen[key], case):
                continue
            seen.setdefault(key, case)
            found.append(pytest.param(path, name, id=f"{path.stem} {name}"))
    return found


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    leaves = jax.tree.leaves((a, b), is_leaf=lambda x: x is None)
    half = len(leaves) // 2
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        np.allclose(x, y, rtol=1e-15, atol=1e-15)
        if isinstance(x, np.ndarray)
        else x == y
        for x, y in zip(leaves[:half], leaves[half:], strict=True)
    )


@pytest.mark.parametrize(("path", "name"), new_cases())
def test_golden(path, name):
    hold(framework_of(path), golden(path)[name])


def test_two_versions_of_each_framework():
    files: dict[str, int] = {}
    for path in FILES:
        files[framework_of(path)] = files.get(framework_of(path), 0) + 1
    assert {name: files.get(name, 0) >= 2 for name in SEEN} == dict.fromkeys(SEEN, True)


MODULES = {"cudnn": "tf_keras", "keras": "tensorflow", "mlx": "mlx.core"}


@pytest.mark.slow
@pytest.mark.parametrize("framework", frameworks.CASES)
def test_framework_itself(framework: str, tmp_path):
    """In a process of its own: frameworks set what holds for a whole process."""
    module = MODULES.get(framework, framework).split(".")[0]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{framework} is not installed")
    program = [sys.executable, frameworks.__file__, framework, str(tmp_path)]
    subprocess.run(program, check=True, capture_output=True)
    (path,) = tmp_path.glob("*.npz")
    for case in golden(path).values():
        hold(framework, case)
