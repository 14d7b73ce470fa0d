"""The records of data sets, and the command that reads them out."""

import subprocess
import sys

import pytest
from conftest import needs_data

from experiments.data import DataError, files
from experiments.data.__main__ import TABLES, main, state
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
