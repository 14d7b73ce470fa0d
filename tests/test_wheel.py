"""What a user installs: the wheel is the library alone and runs the README's code."""

import os
import subprocess
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from test_readme import README, blocks

ROOT = Path(__file__).parent.parent


def command(*args: object, cwd: Path) -> str:
    """What a program prints. The test fails with its output if the program fails."""
    run = subprocess.run([*map(str, args)], cwd=cwd, capture_output=True, text=True)
    assert run.returncode == 0, f"{args}\n{run.stdout}\n{run.stderr}"
    return run.stdout


@pytest.fixture(scope="module")
def tools(tmp_path_factory) -> Path:
    """The Python of an environment with pip and the build backend."""
    folder = tmp_path_factory.mktemp("tools")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    pip = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--retries",
        "1",
        "--timeout",
        "9",
    ]
    run = subprocess.run(
        [*pip, *project["build-system"]["requires"]],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if run.returncode:
        pytest.skip(f"pip reaches no package registry: {run.stderr.strip()[-300:]}")
    return python


def build(tools: Path, target: str, source: Path, folder: Path) -> Path:
    """The sdist or wheel that the build backend makes of a source tree."""
    backend = [tools, "-m", "hatchling", "build", "--directory", folder]
    command(*backend, "--target", target, cwd=source)
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def wheel(tools, tmp_path_factory) -> Path:
    return build(tools, "wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(tools, wheel, tmp_path_factory) -> Path:
    """The Python of an environment with the wheel and what it requires, no more."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = [tools, "-m", "pip", "--python", python, "install", "--quiet", "--no-compile"]
    command(*pip, wheel, cwd=folder)
    return python


def members(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_the_library_alone(wheel):
    names = members(wheel)
    info = "-".join(wheel.name.split("-")[:2]) + ".dist-info"
    paths = [path for path in (ROOT / "jaxrnn").rglob("*") if path.is_file()]
    library = {
        path.relative_to(ROOT).as_posix()
        for path in paths
        if path.parent.name != "__pycache__"
    }
    assert "jaxrnn/py.typed" in library
    assert {name for name in names if not name.startswith(f"{info}/")} == library
    assert f"{info}/licenses/LICENSE" in names


def test_the_sdist_makes_the_same_wheel_and_holds_the_tests(tools, wheel, tmp_path):
    sdist = build(tools, "sdist", ROOT, tmp_path / "sdist")
    command(tools, "-m", "tarfile", "--extract", sdist, tmp_path, cwd=tmp_path)
    source = tmp_path / sdist.name.removesuffix(".tar.gz")
    again = build(tools, "wheel", source, tmp_path / "wheel")
    assert members(again) == members(wheel)
    assert (source / "tests" / "library" / "test_law.py").exists()
    assert not (source / "experiments").exists()
    assert not (source / "benchmarks").exists()


def test_the_library_needs_only_jax_and_optax(installed, tmp_path):
    code = """
import importlib.metadata, importlib.util
print(*[line for line in importlib.metadata.requires("jaxrnn") if "extra" not in line])
others = ["benchmarks", "experiments", "tests", "matplotlib", "safetensors", "tyro"]
print(*filter(importlib.util.find_spec, others))
"""
    requires, others, _ = command(installed, "-I", "-c", code, cwd=tmp_path).split("\n")
    assert {line.split(">=")[0] for line in requires.split()} == {"jax", "optax"}
    assert not others


def test_the_code_of_the_readme_runs_on_the_wheel(installed, tmp_path):
    program = tmp_path / "tour.py"
    where = "import jaxrnn; print('from', jaxrnn.__file__)"
    program.write_text("\n".join([*blocks(README, "python"), where]))
    printed = command(installed, "-I", program, cwd=tmp_path)
    prefix = os.path.realpath(installed.parent.parent)
    assert printed.splitlines()[-1].startswith(f"from {prefix}")
