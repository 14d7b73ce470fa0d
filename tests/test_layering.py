"""Who may import whom: the rooms of the house, and the floors of the library."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
A_CELL = {"cells.gated", "cells.options", "checks", "core", "loops.pointwise"}
SIBLINGS = {
    "checks": set(),
    "core": {"checks"},
    "build": {"checks", "core"},
    "lift": {"build", "checks", "core"},
    "loops/primitives": set(),
    "loops/substitute": {"loops.primitives"},  # alone knows kernels
    "loops/mix": {"loops.primitives"},
    "loops/pointwise": set(),
    "loops/gated": {
        "core",
        "loops.mix",
        "loops.pointwise",
        "loops.primitives",
        "loops.substitute",
    },
    "cells/options": {"checks"},
    "cells/gated": {
        "build",
        "cells.options",
        "checks",
        "core",
        "loops.gated",
        "loops.mix",
        "loops.pointwise",
    },
    "cells/elman": A_CELL,
    "cells/gru": A_CELL | {"build", "loops.mix"},
    "cells/lstm": A_CELL,
    "cells/recurrent": A_CELL | {"cells.elman"},
    "layers": {"build", "checks", "core", "loops.primitives"},
    "combinators/carries": {"build", "checks", "core", "lift"},
    "combinators/compose": {
        "build",
        "checks",
        "core",
        "layers",
        "lift",
        "loops.primitives",
    },
    "combinators/time": {"build", "checks", "core", "lift"},
    "attention": {"build", "checks", "core", "loops.primitives"},
    "decode": {"build", "checks", "core"},
    "losses": {"checks", "core"},
    "train": {"checks"},
    "interop/weights": {"cells", "core"},
    "interop/torch": {"checks", "combinators", "core", "interop.weights"},
    "interop/flax": {"core", "interop.weights"},
    "interop/haiku": {"core", "interop.weights"},
    "interop/keras": {"core", "interop.weights"},
    "interop/safetensors": {"interop.weights"},
}
OUTSIDE = {
    "losses": {"jax", "optax"},
    "train": {"jax", "optax"},
    "interop/safetensors": {"jax", "numpy", "safetensors"},  # when it is called
}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return found


def modules(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found
    return found


def test_every_module_of_the_library_has_a_floor():
    paths = [p.relative_to(ROOT / "jaxrnn") for p in modules("jaxrnn")]
    names = {p.with_suffix("").as_posix() for p in paths if p.stem != "__init__"}
    assert names == set(SIBLINGS)


@pytest.mark.parametrize("name", SIBLINGS)
def test_a_module_imports_only_what_lies_below(name):
    found = imports(ROOT / "jaxrnn" / f"{name}.py")
    siblings = {i.removeprefix("jaxrnn.") for i in found if i.startswith("jaxrnn")}
    assert siblings <= SIBLINGS[name]
    outside = {i.split(".")[0] for i in found} - {"jaxrnn"} - sys.stdlib_module_names
    default = {"jax", "numpy"} if name.startswith("interop/") else {"jax"}
    assert outside <= OUTSIDE.get(name, default)


@pytest.mark.parametrize("folder", ["experiments", "benchmarks"])
def test_users_of_the_library_import_only_its_public_face(folder):
    for path in (ROOT / folder).rglob("*.py"):
        assert not {i for i in imports(path) if i.startswith("jaxrnn.")}, path


def test_nothing_imports_the_experiments_but_themselves():
    for folder in ("jaxrnn", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not {i for i in imports(path) if i.startswith("experiments")}, path


def test_importing_the_library_needs_only_jax_and_optax():
    extras = {"tensorflow_datasets", "sklearn", "tyro", "tqdm", "matplotlib", "PIL"}
    code = f"import jaxrnn, sys; print(sorted({extras} & set(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "[]"
