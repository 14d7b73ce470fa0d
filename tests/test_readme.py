"""The code of the README runs, and its commands are what they should be."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_python_code_runs():
    code = blocks("python")
    assert code
    namespace: dict = {}
    for number, block in enumerate(code):
        exec(compile(block, f"README.md, block {number}", "exec"), namespace)


def test_the_first_two_commands_are_one_line_each_and_set_themselves_up():
    main_job, tests = blocks("sh")[:2]
    for command, ending in ((main_job, "-m experiments.rows"), (tests, "-m pytest")):
        assert command.count("\n") == 1
        assert "-m venv" in command
        assert "pip install" in command
        assert ending in command


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#:]+)\)", README))
def test_local_links_lead_somewhere(target):
    assert (ROOT / target).exists()
