"""The records of data sets, and the command that reads them out."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import needs_data

from experiments.data import DataError, check, files
from experiments.data.__main__ import READERS, TABLES, main, state
from experiments.data.files import Files

RECORDS = {
    f"{experiment}, {name}": known
    for experiment, table in TABLES.items()
    for name, known in table.items()
}
WITH_FILES = {name: r.files for name, r in RECORDS.items() if r.files is not None}
FOLDERS = sorted({known.folder for known in WITH_FILES.values()})
HERE = sorted(set(FOLDERS) - {"tsv", "fashion_mnist", "kmnist"})


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_says_what_it_is_and_where_it_comes_from(name):
    assert RECORDS[name].title
    known = RECORDS[name].files
    if known is None:
        return
    assert known.digests
    assert known.origin
    for digest in known.digests.values():
        assert digest == "" or (len(digest) == 16 and int(digest, 16) >= 0)
    if known.folder != "tsv":
        assert known.folder in known.get
        assert "\n" not in known.get
        assert subprocess.run(["bash", "-n", "-c", known.get]).returncode == 0


@needs_data(*HERE)
@pytest.mark.parametrize("name", [n for n, f in WITH_FILES.items() if f.folder in HERE])
def test_the_files_are_those_that_were_measured(name):
    found = state(WITH_FILES[name], None)
    if WITH_FILES[name].folder == "music" and " lacks " in found:
        pytest.skip(found)  # each file of this folder is a data set of its own
    assert found == "there"


def test_altered_and_missing_files_are_told(tmp_path, monkeypatch, capsys):
    known = Files("some", {"a.txt": "0" * 16, "b.txt": ""}, "somebody", "curl it")
    (tmp_path / "a.txt").write_text("a")
    assert state(known, tmp_path).splitlines() == [
        f"for some, {tmp_path} lacks b.txt",
        "    from: somebody",
        "    get it: curl it",
    ]
    (tmp_path / "b.txt").write_text("b")
    assert state(known, tmp_path) == "there, but not as it was measured: a.txt"
    right = {"a.txt": files.digest(tmp_path / "a.txt"), "b.txt": ""}
    assert state(known._replace(digests=right), tmp_path) == "there"
    monkeypatch.setattr(sys, "argv", ["data", "--data-dir", str(tmp_path)])
    main()
    said = capsys.readouterr().out
    for name, record in RECORDS.items():
        assert f"{name}: {record.title}\n" in said
    assert "lacks input.txt\n" in said


def test_an_error_says_who_knows_more(tmp_path):
    for table in TABLES.values():
        with pytest.raises(DataError, match=r"no data set 'none'; there are: \w+, "):
            files.record(table, "none")
    known = WITH_FILES["music, jsb"]
    with pytest.raises(DataError, match=r"lacks JSB.*python -m experiments.data says"):
        known.find(tmp_path)


def test_a_page_counts_what_is_odd(monkeypatch, capsys):
    def oddities(name, data_dir):
        if name == "gone":
            raise DataError("gone is not there")
        return [("empty lines", 1234), ("others", 0)]

    titles = {"some": SimpleNamespace(title="a set"), "gone": SimpleNamespace(title="")}
    reader = SimpleNamespace(DATASETS=titles, oddities=oddities)
    quiet = SimpleNamespace(DATASETS={"other": SimpleNamespace(title="another")})
    monkeypatch.setattr(check, "round_trips", lambda data_dir: "## round trips")
    made = check.page({"reading": reader, "writing": quiet}, None)  # type: ignore
    assert made == (
        "## reading, some: a set\n\n| | count |\n|---|---:|\n"
        "| empty lines | 1,234 |\n| others | 0 |\n\n## round trips"
    )
    monkeypatch.setattr(sys, "argv", ["data", "check", "--data-dir", "nowhere"])
    main()
    assert capsys.readouterr().out.endswith("## round trips\n")


COUNTED = [
    pytest.param(title, reader, name, marks=needs_data(known.files.folder), id=title)
    for experiment, reader in READERS.items()
    if hasattr(reader, "oddities")
    for name, known in reader.DATASETS.items()
    for title in [f"{experiment}, {name}: {known.title}"]
]


@pytest.mark.parametrize(("title", "reader", "name"), COUNTED)
def test_the_documented_counts_are_right(title, reader, name):
    page = (Path(__file__).parents[3] / "docs" / "DATA.md").read_text()
    table = page.partition(f"## {title}\n")[2].partition("\n##")[0]
    try:
        found = reader.oddities(name)
    except DataError as error:
        pytest.skip(str(error))
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    assert lines[1:] == [f"| {what} | {count:,} |" for what, count in found]
