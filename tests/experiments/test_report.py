"""Pages of runs and files for TensorBoard: whole, escaped, each point once."""

import base64
import hashlib
import importlib
import json
import math
import os
import re
import shlex
import shutil
import signal
import struct
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from experiments import lab, report, rows
from experiments.lab import commands, loop, page, pieces, records, tensorboard
from experiments.lab.options import identity, plain

EVIL = "</script><script>alert('\"&1')</script><img src=x onerror=alert(2)>"
VOID = {"meta", "link", "img"}
STUDIES = (
    *("captioning", "forecasting", "language_model", "memory", "music", "rows"),
    *("sentiment", "translation"),
)
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class Parsed(HTMLParser):
    """A page as a browser sees it: its elements are closed, its texts are no tags."""

    def __init__(self, html: str):
        super().__init__()
        self.open, self.tags, self.said = [], [], {}
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += f" {data}"
        self.said.setdefault(self.open[-1] if self.open else "", []).append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def charts(self):
        return json.loads(self.said["script"][0])


def table(accuracy):
    rows = [
        {"name": "lstm", "values": [accuracy, None]},
        {"name": "most frequent class", "values": [0.1, "a guess"]},
    ]
    columns = {"all": ".2%", "how": "s"}
    return {"title": "accuracy on 7 images", "columns": columns, "rows": rows}


def leave(folder: Path, *, done: int = 3, finished: bool = True, **options) -> Path:
    """What a run of rows, of two seeds, leaves."""
    config = plain(identity(rows.STUDY.recipes())) | {"epochs": 3, "seeds": 2}
    config |= options
    lines = [
        {
            "epoch": epoch,
            "train_loss": [1 / epoch, None if epoch == 2 else 0.5],
            "test_loss": [2.0 / epoch, 1.0],
            "test_accuracy": [0.1 * epoch, 0.2],
        }
        for epoch in range(1, done + 1)
    ]
    folder.mkdir(parents=True)
    head = {"experiment": "rows", **config, "run": {"keep": 5}}
    (folder / "config.json").write_text(json.dumps(head))
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(x)}\n" for x in lines))
    if finished:
        summary = {"experiment": "rows", "config": config, "steps": 8}
        summary |= {"tables": [table([0.3, 0.2])], "versions": {"jax": "0.10.2"}}
        summary |= {"not_finite_at_update_per_seed": [None, 7]}
        (folder / "summary.json").write_text(json.dumps(summary))
        timing = {"updates": 8, "seconds": 4.25, "train_seconds": 2.5}
        (folder / "timing.json").write_text(json.dumps(timing))
        (folder / "curves.png").write_bytes(PNG)
    return folder


def page_of(folder: Path) -> str:
    return page.of_run(records.read(folder), rows.STUDY)


def run_report(*args, status: int = 0) -> None:
    if not status:
        return report.main(list(map(str, args)))
    with pytest.raises(SystemExit) as end:
        report.main(list(map(str, args)))
    assert end.value.code == status


def test_the_page_of_a_run_has_all_that_it_left(tmp_path):
    folder = leave(tmp_path / "a run", hidden_size=31)
    (folder / "samples.txt").write_text("KING:\n<b>Farewell</b>")
    (folder / ".half.png-x.png").write_bytes(b"half")
    html = page_of(folder)
    seen = Parsed(html)
    # The table, with the mean and the range over seeds, beside the baseline.
    assert "25.00% (20.00% to 30.00%)" in seen.said["td"]
    assert {"most frequent class", "a guess"} <= set(seen.said["th"] + seen.said["td"])
    assert "accuracy on 7 images (mean over 2 seeds" in seen.text
    # Curves of one measure in one chart, each seed's value or null.
    loss, accuracy = seen.charts
    assert [one["name"] for one in loss["series"]] == ["train", "test"]
    assert loss["series"][0]["values"] == [[1.0, 0.5], [0.5, None], [0.333333, 0.5]]
    assert accuracy["series"][0]["epochs"] == [1, 2, 3]
    assert len(seen.all("figure")) == 2 + 1
    assert [image["alt"] for image in seen.all("img")] == ["curves"]
    data = seen.all("img")[0]["src"].removeprefix("data:image/png;base64,")
    assert base64.b64decode(data) == PNG
    assert "KING:\n<b>Farewell</b>" in seen.said["pre"]
    # The option that was chosen before the fold, and all of them in it, explained.
    chosen, every = html.split("<summary>All ", 1)[0], html
    assert ">hidden_size</th><td>31</td><td>Size of the hidden state.</td>" in chosen
    assert ">learning_rate</th>" not in chosen
    assert ">learning_rate</th><td>0.003</td>" in every
    assert ">keep</th><td>5</td>" in every
    assert "seeds 0 to 1; seed 1 stopped at update 7, not finite" in seen.text
    out = shlex.quote(str(folder))
    assert f"python -m experiments.rows --resume --out {out}" in seen.said["code"]
    assert f"python -m experiments.rows --out {out} --predict FILE ..." in seen.text
    assert (
        "python -m experiments.rows --hidden-size=31 --epochs=3 --seeds=2"
        in (seen.said["code"])
    )
    assert "0.10.2" in seen.said["td"]


def test_a_page_needs_nothing_and_runs_no_script_but_its_own(tmp_path):
    seen = Parsed(page_of(leave(tmp_path / "run")))
    for tag, attrs in seen.tags:
        for name in ("src", "href"):
            assert attrs.get(name, "data:").startswith("data:"), tag
        assert not any(name.startswith("on") for name in attrs)
    (policy,) = (m["content"] for m in seen.all("meta") if "http-equiv" in m)
    assert policy.startswith("default-src 'none'; img-src data:; ")
    codes = {"style": seen.said["style"][0], "script": seen.said["script"][1]}
    for tag, code in codes.items():
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


@pytest.mark.parametrize("text", [EVIL, "한국어 & <b>", "\udce9 no text", "a\u2028b"])
def test_every_text_is_shown_as_it_is(tmp_path, text):
    folder = leave(tmp_path / "run", dataset=text, order=[text, "x"])
    summary = json.loads((folder / "summary.json").read_text())
    made = summary["tables"][0]
    made["title"] = made["rows"][0]["name"] = made["rows"][1]["values"][1] = text
    made["columns"] = {text: ".2%", "how": "s"}
    summary["versions"] = {text: text}
    (folder / "summary.json").write_text(json.dumps(summary))
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    lines = [json.dumps(json.loads(line) | {text: [0.0, 1.0]}) for line in lines]
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    record = records.read(folder)
    other = record._replace(path=tmp_path / "other", options={"text": text})
    for html in (page.of_run(record, None), page.of_runs([record, other])):
        seen = Parsed(html.encode("utf-8").decode())
        assert len(seen.all("script")) == 2
        shown = text.encode("utf-8", "backslashreplace").decode()
        assert shown in seen.said["td"]
        assert shown in seen.said["th"]
        titles = {chart["title"] for chart in seen.charts}
        assert text.replace("_", " ") in titles


def test_the_same_run_has_the_same_page(tmp_path):
    folder = leave(tmp_path / "run")
    html = page_of(folder)
    (folder / "timing.json").write_text(json.dumps({"updates": 3, "seconds": 99.0}))
    assert page_of(folder) == html  # resumed, at another speed
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").unlink()
    assert page.of_run(records.read(folder, summary), rows.STUDY) == html
    (folder / "metrics.jsonl").write_text("")
    assert page_of(folder) != html


def test_an_unfinished_run_is_shown_as_far_as_it_is(tmp_path, capsys):
    folder = leave(tmp_path / "run", done=1, finished=False)
    run_report(folder, "--out", tmp_path / "page.html")
    assert "not finished: 1 of 3 epochs so far" in capsys.readouterr().out
    seen = Parsed((tmp_path / "page.html").read_text())
    assert "not finished: 1 of 3 epochs so far; seeds 0 to 1" in seen.text
    assert "Go on with the run from its last checkpoint:" in seen.said["p"]
    assert len(seen.charts) == 2
    (folder / "metrics.jsonl").unlink()
    assert Parsed(page_of(folder)).charts == []


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.json", "{", "config.json is damaged"),
        ("config.json", "[]", "config.json is damaged"),
        ("config.json", '{"experiment": 3}', "the experiment has no name"),
        ("config.json", None, "holds no run: it has no config.json"),
        ("metrics.jsonl", '{"epoch": 1, "a": [1], "b": [1, 2]}', "seeds"),
        ("metrics.jsonl", '{"a": [1]}', "metrics.jsonl is damaged"),
        ("metrics.jsonl", '{"epoch": 1, "a": [[1]]}', "metrics.jsonl is damaged"),
        ("metrics.jsonl", None, "No such file"),
        ("summary.json", '{"experiment": "music"}', "it is one of music"),
        ("summary.json", '{"experiment": "rows", "tables": [1]}', "is damaged"),
        ("timing.json", "3", "timing.json is damaged"),
    ],
)
def test_a_damaged_run_is_named(tmp_path, capsys, name, content, said):
    folder = leave(tmp_path / "run")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    run_report(folder, "--out", tmp_path / "page.html", status=2)
    error = capsys.readouterr().err
    assert error.startswith(f"error: {folder}")
    assert said in error
    assert not (tmp_path / "page.html").exists()


def test_numbers_that_json_has_not_are_gaps(tmp_path):
    folder = leave(tmp_path / "run")
    (folder / "metrics.jsonl").write_text('{"epoch": 1, "a": [NaN, Infinity]}')
    assert Parsed(page_of(folder)).charts[0]["series"][0]["values"] == [[None, None]]


def test_runs_are_set_side_by_side(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [leave(tmp_path / name, hidden_size=n) for n, name in ((31, "a"), (7, "b"))]
    half = leave(tmp_path / "c", done=1, finished=False, hidden_size=7)
    run_report(*runs, half)
    said = capsys.readouterr().out
    assert said.startswith("wrote report.html: finished: 3 epochs, finished: 3")
    html = (tmp_path / "report.html").read_text()
    seen = Parsed(html)
    differ = html.split("options that differ</caption>")[1].split("</table>")[0]
    assert ">hidden_size</th><td>31</td><td>7</td><td>7</td>" in differ
    assert "learning_rate" not in differ
    assert ">learning_rate</th><td>0.003</td></tr>" in html
    # One chart a metric, and in it a line a run.
    assert [chart["title"] for chart in seen.charts] == [
        *("train loss", "test loss", "test accuracy"),
    ]
    assert [one["name"] for one in seen.charts[0]["series"]] == ["a", "b", "c"]
    # What a run has by itself, and once what all of them are compared with.
    made = json.loads((runs[0] / "summary.json").read_text())
    made["tables"] = [table([0.9, 0.9])]
    (runs[0] / "summary.json").write_text(json.dumps(made))
    run_report(*runs, half)
    seen = Parsed((tmp_path / "report.html").read_text())
    both = [name for name in seen.said["th"] if name.endswith(": lstm")]
    assert both == ["a: lstm", "b: lstm"]
    assert seen.said["th"].count("most frequent class") == 1
    assert "4.2" in seen.said["td"]  # seconds
    assert f"python -m experiments.rows --resume --out {half}" in seen.said["code"]
    assert len(seen.all("img")) == 2


def test_a_table_stands_for_its_runs_and_names_tell_them_apart(tmp_path):
    for task in ("copy", "parity"):
        leave(tmp_path / "t" / task / "gru")
    (tmp_path / "t" / "table.json").write_text("{}")
    out = tmp_path / "page.html"
    run_report(tmp_path / "t", "--out", out)
    names = [one["name"] for one in Parsed(out.read_text()).charts[0]["series"]]
    assert names == ["copy/gru", "parity/gru"]


def test_mistakes_end_in_one_message(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = leave(tmp_path / "run")
    mine = tmp_path / "mine.html"
    mine.write_text("<p>years of work")
    for args, said in (
        ([tmp_path / "none"], "there is no such folder"),
        ([folder, tmp_path / "." / "run"], "--runs: expected each run once, got"),
        ([folder, "--out", mine], "--out: expected a new file, or a page of this"),
        ([folder, "--out", tmp_path / "no" / "page.html"], "--out: cannot write to"),
        ([folder, "--out", tmp_path], "--out: cannot write to"),
    ):
        run_report(*args, status=2)
        error = capsys.readouterr().err
        assert said in error
        assert "Traceback" not in error
    assert mine.read_text() == "<p>years of work"
    assert not (tmp_path / "report.html").exists()


def test_help_explains_the_report(capsys):
    with pytest.raises(SystemExit) as end:
        report.main(["--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    for part in ("python -m experiments.report", "Folders of runs", "report.html"):
        assert part in said


@pytest.mark.parametrize("name", STUDIES)
def test_every_question_is_told_with_its_command(name, tmp_path):
    study = importlib.import_module(f"experiments.{name}").STUDY
    asked = commands.questions(study, tmp_path)
    assert len(asked) == len(study.answers)
    for option, question in zip(study.answers, asked, strict=True):
        assert f"--out {tmp_path} --{option.replace('_', '-')}" in question.command
        assert question.about.endswith((".", "?", ".)"))
        *_, last = question.command.split(" ", 5)
        value = last.partition(f"--{option.replace('_', '-')}")[2].strip()
        base = study.recipes.base
        assert (value == "") == isinstance(getattr(base, option), bool)
    config = type(study.recipes.base)
    told = commands.explained(config)
    assert set(vars(study.recipes.base)) - {"train", "run"} <= set(told)


def test_a_table_of_runs_has_a_page(tmp_path):
    one = records.read(leave(tmp_path / "copy" / "gru"))
    (tmp_path / "heat.png").write_bytes(PNG)
    made = lab.Table("scores", {"copy": ".2%"}, [lab.Row("gru", [[0.5, 0.7]])])
    html = page.of_table(tmp_path, "make & go", [made, EVIL], {"copy": {"gru": one}})
    seen = Parsed(html)
    assert "60.00% (50.00% to 70.00%)" in seen.said["td"]
    assert EVIL in seen.said["p"]
    assert "make & go" in seen.said["code"]
    titles = [chart["title"] for chart in seen.charts]
    assert titles == ["copy: test loss", "copy: test accuracy"]
    assert len(seen.all("img")) == 1


# TensorBoard.


def crc32c(data: bytes) -> int:
    """The checksum of RFC 3720, bit by bit."""
    rest = 0xFFFFFFFF
    for byte in data:
        rest ^= byte
        for _ in range(8):
            rest = rest >> 1 ^ (0x82F63B78 if rest & 1 else 0)
    return rest ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def points(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What the one file of a seed holds, by tag: the step and the value."""
    make_event = pytest.importorskip("tensorboardX.proto.event_pb2").Event
    (path,) = folder.iterdir()
    assert ".tfevents." in path.name
    data, found = path.read_bytes(), {}
    while data:
        length, check = struct.unpack("<QI", data[:12])
        assert check == masked(data[:8])
        record = data[12 : 12 + length]
        (check,) = struct.unpack_from("<I", data, 12 + length)
        assert check == masked(record)
        data = data[16 + length :]
        event = make_event.FromString(record)
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def test_tensorboard_files_have_each_point_once(tmp_path):
    pytest.importorskip("tensorboardX")
    history = records.read(leave(tmp_path / "run")).history
    board = tensorboard.Board(tmp_path, range(5, 7), history[:2])
    board.add(history[2])
    again = tensorboard.Board(tmp_path, range(5, 7), history)  # after a crash
    for writers in (board, again):
        writers.close()
    folder = tmp_path / "tensorboard"
    assert {path.name for path in folder.iterdir()} == {"seed-5", "seed-6"}
    first, second = (points(folder / name) for name in ("seed-5", "seed-6"))
    assert set(first) == {"loss/train", "loss/test", "accuracy/test"}
    assert [step for step, _ in first["loss/train"]] == [1, 2, 3]
    np.testing.assert_allclose([v for _, v in first["loss/test"]], [2, 1, 2 / 3])
    assert math.isnan(second["loss/train"][1][1])


def test_a_full_disk_is_told_at_once(tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX")
    history = records.read(leave(tmp_path / "run")).history
    board = tensorboard.Board(tmp_path, range(2), history)

    def full():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(board.writers[1], "flush", full)
    with pytest.raises(lab.RunError, match=r"cannot write .*tensorboard: .* No space"):
        board.add(history[0])
    monkeypatch.undo()
    board.close()
    (tmp_path / "file").write_text("")
    with pytest.raises(lab.RunError, match="cannot write"):
        tensorboard.Board(tmp_path / "file", range(1), history)


def test_a_missing_writer_is_one_message(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tensorboard, "missing", lambda: True)
    with pytest.raises(SystemExit) as end:
        lab.main(rows.STUDY, ["--tensorboard", "--out", str(tmp_path / "run")])
    assert end.value.code == 1
    said = "--tensorboard needs tensorboardX: pip install -e '.[tensorboard]'\n"
    assert capsys.readouterr().err == said
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_resumed_run_has_each_epoch_once_for_an_independent_reader(
    tmp_path, capsys, monkeypatch
):
    """Read by TensorBoard itself, where it is installed, and by its checksums."""
    pytest.importorskip("tensorboardX")
    out, options = tmp_path / "run", ["--hidden-size", "7", "--train-images", "320"]
    options += ["--epochs", "4", "--seeds", "2", "--seed", "3", "--out", str(out)]

    def stop(step):
        if step >= 15:  # within the second epoch: there are ten updates in one
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(pieces, "PIECE", 5)
        patch.setattr(loop, "on_piece", stop)
        with pytest.raises(SystemExit) as end:
            lab.main(rows.STUDY, [*options, "--tensorboard"])
    assert end.value.code == 128 + signal.SIGTERM
    assert len(points(out / "tensorboard" / "seed-3")["loss/train"]) == 1
    lab.main(rows.STUDY, ["--resume", "--out", str(out)])  # it keeps the option
    history = records.read(out).history
    for place, seed in enumerate((3, 4)):
        folder = out / "tensorboard" / f"seed-{seed}"
        want = {
            "/".join(filter(None, records.parted(name))): [
                (line["epoch"], np.float32(line[name][place])) for line in history
            ]
            for name in records.read(out).metrics
        }
        assert points(folder) == want
        reader = pytest.importorskip(
            "tensorboard.backend.event_processing.event_accumulator"
        ).EventAccumulator(str(folder))
        reader.Reload()
        assert set(reader.Tags()["scalars"]) == set(want)
        for tag, values in want.items():
            assert [(e.step, e.value) for e in reader.Scalars(tag)] == values
    assert "tensorboard --logdir" in (out / "report.html").read_text()
    shutil.rmtree(out / "tensorboard")
    lab.main(rows.STUDY, ["--resume", "--out", str(out)])  # a finished run, too
    assert len(points(out / "tensorboard" / "seed-4")["loss/train"]) == 4


def contrast(one: str, other: str) -> float:
    """Of two colours, as WCAG 2 defines it."""

    def luminance(color):
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        parts = [
            p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
        ]
        return np.dot(parts, [0.2126, 0.7152, 0.0722])

    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_can_be_told_apart(scheme):
    style = (Path(page.__file__).parent / "page.css").read_text()
    colors = dict(
        re.findall(
            r"--([\w]+): (#\w{6})", re.findall(r":root \{(.*?)\}", style, re.S)[scheme]
        )
    )
    for paper in ("paper", "panel"):
        for ink in ("ink", "soft", "accent", "warn"):
            assert contrast(colors[ink], colors[paper]) >= 4.5, ink
        for line in (*(f"c{n}" for n in range(8)), "line"):
            assert contrast(colors[line], colors[paper]) >= 3, line
