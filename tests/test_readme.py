"""The code of the README and of the tutorial runs, and the commands are as they say."""

import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README, KOREAN = (ROOT / "README.md", ROOT / "README.ko.md")
TUTORIAL = ROOT / "experiments" / "TUTORIAL.md"
TUTORIAL_KOREAN = ROOT / "experiments" / "TUTORIAL.ko.md"
PAGES = (README, KOREAN, TUTORIAL, TUTORIAL_KOREAN, ROOT / "experiments" / "README.md")
DATA = os.environ.get("JAXRNN_DATA")


def blocks(page: Path, language: str) -> list[str]:
    pattern = rf"^```{language}\n(.*?)^```$"
    return re.findall(pattern, page.read_text(), re.MULTILINE | re.DOTALL)


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


def test_the_code_of_the_readme_runs():
    run(README)


@pytest.mark.skipif(
    not DATA or not (Path(DATA) / "mnist").is_dir(),
    reason="JAXRNN_DATA names no folder with mnist",
)
def test_the_code_of_the_tutorial_learns_to_read_digits(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert run(TUTORIAL)["accuracy"] > 0.85


@pytest.mark.parametrize("pages", [(README, KOREAN), (TUTORIAL, TUTORIAL_KOREAN)])
def test_the_code_is_the_same_in_both_languages(pages):
    ours, theirs = (
        [without_words(block) for block in blocks(page, "python")] for page in pages
    )
    assert ours == theirs


@pytest.mark.parametrize("page", [README, KOREAN])
def test_the_first_two_commands_are_one_line_each_and_set_themselves_up(page):
    main_job, tests = blocks(page, "sh")[:2]
    for command, ending in ((main_job, "-m experiments.rows"), (tests, "-m pytest")):
        assert command.count("\n") == 1
        assert "-m venv" in command
        assert "pip install" in command
        assert ending in command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_local_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert targets
    for target in targets:
        assert (page.parent / target).exists(), target
