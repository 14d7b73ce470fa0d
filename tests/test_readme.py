"""The documents: their code runs, their links lead somewhere, the README is short."""

import contextlib
import importlib
import re
import shlex
import warnings
from importlib.util import find_spec
from pathlib import Path

import jax
import pytest
import tyro
from conftest import needs_data

from benchmarks.figures.records import UsageError
from benchmarks.options import Config
from experiments.lab import cli
from jaxrnn import cells

ROOT = Path(__file__).parent.parent
README, KOREAN = (ROOT / "README.md", ROOT / "README.ko.md")
DESIGN, CONTRIBUTING = (ROOT / "docs" / "DESIGN.md", ROOT / "CONTRIBUTING.md")
ROOMS = (".ci", "benchmarks", "docs", "experiments", "jaxrnn", "tests")
TUTORIAL = ROOT / "experiments" / "TUTORIAL.md"
TUTORIAL_KOREAN = ROOT / "experiments" / "TUTORIAL.ko.md"
PAGES = [
    page
    for pattern in ("*.md", "docs/**/*.md", "experiments/*.md", "benchmarks/**/*.md")
    for page in sorted(ROOT.glob(pattern))
    if page.parent != ROOT / "docs" / "reference"  # written by a build of the site
]
COMING_FROM = ROOT / "docs" / "coming_from"
FRAMEWORKS = ("torch", "keras", "flax", "haiku")
MOST_WORDS = 950


def each(*pages: Path) -> pytest.MarkDecorator:
    """Runs a test for each of the pages, as its argument `page`."""
    ids = [page.relative_to(ROOT).as_posix() for page in pages]
    return pytest.mark.parametrize("page", pages, ids=ids)


def blocks(page: Path, language: str) -> list[str]:
    pattern = rf"^```{language}\n(.*?)^```$"
    return re.findall(pattern, page.read_text(), re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """The text without its blocks of code and without comments."""
    pattern = r"^```.*?^```$|<!--.*?-->"
    return re.sub(pattern, "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def run(page: Path) -> dict:
    code = blocks(page, "python")
    assert code
    namespace: dict = {}
    for number, block in enumerate(code):
        exec(compile(block, f"{page.name}, block {number}", "exec"), namespace)
    return namespace


def without_words(code: str) -> str:
    """Without comments and without what is printed around the values."""
    code = re.sub(r"\s*#.*", "", code)
    return re.sub(r'(f")[^{]*|(})[^{}"]*', r"\1\2", code)


def paths(text: str) -> set[str]:
    """The files and folders of the tree in spans of code, but for NAME in their place.

    A span is a path if it begins with a room of the tree, or is the name of a file in
    the root.
    """
    spans = re.findall(r"`([^`\n]+)`", text)
    words = {word for span in spans for word in span.split()}
    rooms = rf"(?:{'|'.join(map(re.escape, ROOMS))})/[\w./-]*"
    pattern = re.compile(rf"{rooms}|[\w.-]+\.(?:md|toml)")
    return {word for word in words if pattern.fullmatch(word) and "NAME" not in word}


def anchors(page: Path) -> set[str]:
    """The names by which links reach the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {word.replace(" ", "-") for word in words}


def with_code(*but: Path) -> list[Path]:
    return [page for page in PAGES if blocks(page, "python") and page not in but]


@each(*with_code(KOREAN, TUTORIAL, TUTORIAL_KOREAN, *COMING_FROM.glob("*.md")))
def test_the_code_runs(page):
    run(page)


def test_the_page_of_cells_has_each_by_its_name():
    text = (ROOT / "docs" / "CELLS.md").read_text()
    assert [name for name in cells.NAMES if f"`{name}`" not in text] == []


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_framework_and_jaxrnn_compute_the_same(framework):
    if find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed: pip install -e '.[benchmarks]'")
    # The frameworks promote ranks and types, and warn, as they like.
    with (
        jax.numpy_rank_promotion("allow"),
        jax.numpy_dtype_promotion("standard"),
        warnings.catch_warnings(action="ignore"),
    ):
        run(COMING_FROM / f"{framework}.md")


@needs_data("mnist")
@pytest.mark.slow
def test_the_code_of_the_tutorial_learns_to_read_digits(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert run(TUTORIAL)["accuracy"] > 0.85


@pytest.mark.parametrize("pages", [(README, KOREAN), (TUTORIAL, TUTORIAL_KOREAN)])
def test_the_code_is_the_same_in_both_languages(pages):
    ours, theirs = (
        [without_words(block) for block in blocks(page, "python")] for page in pages
    )
    assert ours == theirs


@each(README, KOREAN)
def test_a_readme_is_one_page(page):
    assert MOST_WORDS / 2 < len(prose(page).split()) <= MOST_WORDS


@each(README, KOREAN)
def test_the_first_two_commands_are_one_line_each_and_set_themselves_up(page):
    main_job, tests = blocks(page, "sh")[:2]
    for command, ending in ((main_job, "-m experiments.rows"), (tests, "-m pytest")):
        assert command.count("\n") == 1
        assert "-m venv" in command
        assert "pip install" in command
        assert ending in command


def test_a_link_is_found_with_its_anchor():
    assert "the-law" in anchors(ROOT / "docs" / "DESIGN.md")
    assert "no-such-heading" not in anchors(README)


@each(*PAGES)
def test_local_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s:]+)\)", prose(page)):
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def test_a_path_is_told_from_other_code():
    there = "`jaxrnn/cells/` `python tests/kills.py --kills 9` `pyproject.toml`"
    other = "`experiments/NAME.py` `x/y` `rnn.testing` docs/x.md `jaxrnn/no_such.py`"
    assert paths(f"{there} {other}") == {
        *("jaxrnn/cells/", "tests/kills.py", "pyproject.toml", "jaxrnn/no_such.py"),
    }


@each(CONTRIBUTING, DESIGN)
def test_files_and_folders_that_a_page_names_exist(page):
    found = paths(prose(page))
    assert len(found) > 4
    for path in sorted(found):
        assert (ROOT / path).exists(), path
        assert (ROOT / path).is_dir() == path.endswith("/"), path


@each(*PAGES)
def test_programs_that_a_page_names_exist(page):
    for program in re.findall(r"(?:python|pytest) ([\w./-]+\.py)\b", page.read_text()):
        assert (ROOT / program).exists(), program
    modules = r"python -m ((?:experiments|benchmarks)[\w.]*)"
    for module in re.findall(modules, page.read_text()):
        assert find_spec(module), module


def commands(pattern: str) -> list[list[str]]:
    """The command lines of all pages that begin with `python -m` and the pattern."""
    line = re.compile(rf"python -m ({pattern})((?: [^`|#\n]*)?)")
    found = {
        match.groups() for page in PAGES for match in line.finditer(page.read_text())
    }
    return [[module, *shlex.split(options)] for module, options in sorted(found)]


STUDIES = commands(r"experiments\.(?!data|results|report|lab)[a-z_]+")


@pytest.mark.parametrize("command", STUDIES, ids=" ".join)
def test_a_command_line_of_a_study_has_options_that_exist(command):
    module, *options = command
    study = importlib.import_module(module).STUDY
    cli.parse(study, [option for option in options if option != "..."])


@pytest.mark.parametrize("command", commands(r"benchmarks(?![.\w])"), ids=" ".join)
def test_a_command_line_of_the_benchmarks_has_options_that_exist(command: list[str]):
    words = {"N": "1", "SUITE": "quick"}
    options = [words.get(word, word) for word in command[1:]]
    with contextlib.suppress(UsageError):  # the folders that it names are not here
        tyro.cli(Config, args=options)
