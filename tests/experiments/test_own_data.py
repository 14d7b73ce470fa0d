"""Every study that reads images, texts or music learns from your own and answers."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from made import random_roll
from PIL import Image

from experiments import captioning, lab, music, rows, sentiment
from experiments.data.midi import Grid, read_midi, write_midi

SMALL = ["--hidden-size", "5", "--batch-size", "4", "--epochs", "1", "--seeds", "1"]


def table(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def summary(out: Path) -> dict:
    return json.loads((out / "summary.json").read_text())


def bars(folder: Path) -> Path:
    """Images of three classes: bright above, in the middle, below."""
    for number, name in enumerate(("위", "middle", "below")):
        (folder / name).mkdir(parents=True)
        for shade in range(6):
            pixels = np.full((6, 9, 3), shade, np.uint8)
            pixels[2 * number : 2 * number + 2] = 200 + shade
            Image.fromarray(pixels).save(folder / name / f"{shade}.png")
    return folder


def test_rows_learns_a_folder_of_images_and_names_their_classes(tmp_path, capsys):
    images, out = bars(tmp_path / "images"), tmp_path / "run"
    options = ["--images", str(images), "--out", str(out), *SMALL, "--size", "6", "9"]
    options += ["--epochs", "20", "--learning-rate", "0.03", "--dropout", "0"]
    lab.main(rows.STUDY, [*options, "--color"])
    said = capsys.readouterr().out
    assert "of each class" in said
    classes = ["below", "middle", "위"]
    assert json.loads((out / "classes.json").read_text(encoding="utf-8")) == classes
    each = summary(out)["tables"][1]
    assert [row["name"] for row in each["rows"]] == classes
    assert [row["values"][0] for row in each["rows"]] == [1, 1, 1]
    asked = ["--out", str(out), "--predict", str(images), str(images / "위" / "1.png")]
    lab.main(rows.STUDY, asked)
    assert f"19 answers in {out / 'predictions.csv'}" in capsys.readouterr().out
    header, *found = table(out / "predictions.csv")
    assert header == ["image", "class", "probability", *classes]
    assert np.mean([Path(row[0]).parent.name == row[1] for row in found]) > 0.9
    for row in found:
        np.testing.assert_allclose(sum(map(float, row[3:])), 1, atol=1e-4)
    lab.main(rows.STUDY, asked)  # nothing is written over
    assert table(out / "predictions-2.csv") == table(out / "predictions.csv")
    with pytest.raises(SystemExit):
        lab.main(rows.STUDY, ["--out", str(out), "--predict", str(tmp_path / "no.png")])
    assert "no.png does not exist" in capsys.readouterr().err


@pytest.mark.slow
def test_sentiment_learns_three_classes_of_unlike_size(tmp_path, capsys):
    words = {"sport": "goal team", "food": "soup bread", "tech": "chip code"}
    counts = {"sport": 60, "food": 30, "tech": 20}
    lines = [f"the {words[k]},{k}" for k, n in counts.items() for _ in range(n)]
    lines = [line.replace(" ", f" {i % 7} ", 1) for i, line in enumerate(lines)]
    path, out = tmp_path / "topics.csv", tmp_path / "run"
    path.write_text("\n".join(["text,label", *lines]))
    options = ["--texts", str(path), "--class-weights", "balanced", "--out", str(out)]
    options += [*SMALL, "--epochs", "10", "--learning-rate", "0.03", "--buckets", "1"]
    options += ["--dropout", "0", "--word-dropout", "0", "--embedding-size", "7"]
    lab.main(sentiment.STUDY, options)
    assert "macro F1" in capsys.readouterr().out
    found = summary(out)
    assert found["test_macro_f1"] > 0.9
    assert set(found["words_for_class"]) == set(counts)
    new = tmp_path / "new.txt"
    new.write_text("goal team\n\nthe soup\n")
    lab.main(sentiment.STUDY, ["--out", str(out), "--predict", str(new)])
    header, *answers = table(out / "predictions.csv")
    assert header == ["text", "class", "probability", "place", "food", "sport", "tech"]
    assert [row[:2] for row in answers] == [
        ["goal team", "sport"],
        ["the soup", "food"],
    ]
    assert answers[1][3] == f"{new}, line 3"
    capsys.readouterr()
    lab.main(sentiment.STUDY, ["--out", str(out), "--classify", "the soup"])
    assert capsys.readouterr().out.startswith("food ")


@pytest.mark.slow
def test_music_learns_midi_files_and_goes_on_with_another(tmp_path, capsys):
    folder, out, own = tmp_path / "midi", tmp_path / "run", tmp_path / "mine.mid"
    folder.mkdir()
    for number in range(6):
        write_midi(folder / f"{number}.mid", random_roll(number, 20), 4, 100)
    write_midi(own, random_roll(9, 13), 4, 77)
    lab.main(music.STUDY, ["--midi", str(folder), "--out", str(out), *SMALL])
    capsys.readouterr()
    asked = ["--out", str(out), "--predict", str(own), "--length", "2"]
    lab.main(music.STUDY, [*asked, "--variations", "2"])
    said, rolls = capsys.readouterr().out, []
    for seed in (0, 1):
        path = out / f"mine-seed-{seed}-at-0.8.mid"
        assert f"{own} goes on in {path}" in said
        piece = read_midi(path, Grid(4))
        np.testing.assert_array_equal(piece.roll[:13], random_roll(9, 13))
        assert (len(piece.roll), piece.tempo) == (13 + 8, 77)
        rolls.append(piece.roll)
    assert (rolls[0] != rolls[1]).any()
    lab.main(music.STUDY, [*asked, "--prompt", "1"])
    piece = read_midi(out / "mine-seed-0-at-0.8-2.mid", Grid(4))
    assert len(piece.roll) == 4 + 8


@pytest.mark.slow
def test_captioning_learns_photographs_and_captions_others(tmp_path, capsys):
    images, out = bars(tmp_path / "images"), tmp_path / "run"
    lines = [
        f"{p.parent.name}/{p.name},a {p.parent.name} bar" for p in images.rglob("*.png")
    ]
    (images / "captions.csv").write_text("\n".join(["image,caption", *lines]))
    options = ["--images", str(images), "--out", str(out), *SMALL, "--channels", "2"]
    options += ["--embedding-size", "3", "--beam-size", "2", "--most-words", "4"]
    lab.main(captioning.STUDY, [*options, "--least-count", "1", "--shift", "2"])
    capsys.readouterr()
    lab.main(captioning.STUDY, ["--out", str(out), "--predict", str(images / "위")])
    assert f"6 answers in {out / 'predictions.csv'}" in capsys.readouterr().out
    header, *found = table(out / "predictions.csv")
    assert header == ["image", "caption", "caption 2"]
    assert [Path(row[0]).name for row in found] == [f"{n}.png" for n in range(6)]
