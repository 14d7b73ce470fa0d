"""Who may import whom in the benchmarks."""

import pytest
from test_layering import imports, modules

ROOMS = {
    "work": {"work"},
    "systems": {"work", "systems"},
    "figures": {"work", "systems", "figures", "suites", "pipe"},
    "process": {"work", "systems", "figures", "process", "pipe"},
}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_lies_below(room):
    for path in modules(f"benchmarks/{room}"):
        names = {name.split(".")[1] for name in imports(path) if "benchmarks." in name}
        assert names <= ROOMS[room], path


# A record names the versions; the others measure the library by itself.
OTHERS = {
    *("records.py", "outputs.py", "launches.py"),
    *("packing.py", "linear.py", "linear_peers.py", "matrix.py"),
    *("newton.py", "trained.py"),
}


def test_only_systems_import_the_library_or_a_peer():
    for path in modules("benchmarks"):
        if "systems" not in path.parts and path.name not in OTHERS:
            roots = {name.split(".")[0] for name in imports(path)}
            assert not roots & {"jax", "jaxrnn", "torch", "flax", "keras"}, path
