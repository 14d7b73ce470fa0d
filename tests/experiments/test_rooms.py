"""What the rooms of the experiments may import."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "experiments"
ALLOWED = {
    "measures": {"experiments.data", "experiments.measures"},
    "data": {"experiments.data", "experiments.lab", "experiments.measures"},
    "models": {
        *("experiments.data", "experiments.lab", "experiments.measures"),
        *("experiments.models", "jax", "jaxrnn"),
    },
}
PATHS = [
    (room, path) for room in ALLOWED for path in sorted((ROOT / room).rglob("*.py"))
]


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names = {f"experiments.{alias.name}" for alias in node.names}
            found |= names if module == "experiments" else {module}
    return found


@pytest.mark.parametrize(("room", "path"), PATHS, ids=lambda a: getattr(a, "name", a))
def test_a_room_knows_no_study(room, path):
    for name in imports(path):
        if name.split(".")[0] in ("experiments", "jax", "jaxrnn", "optax"):
            assert any(f"{name}.".startswith(f"{a}.") for a in ALLOWED[room]), name


@pytest.mark.parametrize(("room", "path"), PATHS, ids=lambda a: getattr(a, "name", a))
def test_only_programs_print(room, path):
    if path.name == "__main__.py":
        return
    calls = (
        n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)
    )
    assert "print" not in {ast.unparse(call.func) for call in calls}
