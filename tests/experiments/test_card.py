"""`--export FOLDER`: a finished run as model hubs expect it."""

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any, get_args, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from experiments import (
    captioning,
    card,
    forecasting,
    lab,
    language_model,
    memory,
    music,
    rows,
    sentiment,
    translation,
)
from experiments.card.options import without_places
from experiments.card.sources import LICENCES
from experiments.card.writing import write
from experiments.data.images import load_images, sequences
from experiments.lab import tables as lab_tables
from experiments.lab.folder import Folder
from experiments.lab.seeds import keys

STUDIES = [
    study.STUDY
    for study in (
        *(captioning, forecasting, language_model, memory),
        *(music, rows, sentiment, translation),
    )
]
TINY = (
    *("--preset", "smoke", "--epochs", "2", "--train-images", "120"),
    *("--hidden-size", "7", "--layers", "2", "--cell", "gru", "--holdout", "150"),
)
HUBS = {  # names of licences on the Hugging Face Hub
    *("apache-2.0", "mit", "cc0-1.0", "cc-by-2.0", "cc-by-4.0", "cc-by-sa-3.0"),
    *("cc-by-sa-4.0", "cc-by-nd-4.0", "other", "unknown"),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """What a run of rows leaves, of two seeds, with images to choose one of them."""
    out = tmp_path_factory.mktemp("rows") / "run"
    config = lab.parse(rows.STUDY, ["--out", str(out), *TINY])
    params = jax.vmap(rows.network(config, 8, 10).init)(keys(config.train))
    waves = [
        0.1 * np.cos(np.arange(a.size, dtype="f")) for a in jax.tree.leaves(params)
    ]
    waves = jax.tree.unflatten(jax.tree.structure(params), waves)
    params = jax.tree.map(lambda a, wave: a + wave.reshape(a.shape), params, waves)
    right = [[0.25, 0.5], [0.75, 0.625]]
    tables = [
        lab.Table(
            "accuracy", {"all": ".2%", "n": ",d"}, [lab.Row("gru", [right[1], 7])]
        ),
        lab.Table("of | each", {"taken for": ""}, [lab.Row("a | b", ["c | d"])]),
    ]
    with Folder("rows", config, rows.RECIPES) as folder:
        folder.log([{"epoch": i + 1, "holdout_accuracy": right[i]} for i in (0, 1)])
        folder.save_params(params)
        folder.summarize(
            folder.summary(
                holdout_accuracy_per_seed=right[1],
                tables=[lab_tables.stored(table) for table in tables],
            )
        )
    return out


@pytest.fixture(scope="module")
def shared(finished, tmp_path_factory):
    """Its folder."""
    folder = tmp_path_factory.mktemp("shared") / "model"
    export(finished, folder)
    return folder


def export(run: Path, folder: Path, study: lab.Study = rows.STUDY) -> None:
    lab.main(study, ["--out", str(run), "--export", str(folder)])


def failing(capsys, run: Path, folder: Path, *options: str, status: int = 2) -> str:
    given = ["--out", str(run), "--export", str(folder), *options]
    with pytest.raises(SystemExit) as error:
        lab.main(rows.STUDY, given)
    said = capsys.readouterr().err
    assert error.value.code == status
    assert "Traceback" not in said
    return said


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def section(folder: Path, title: str) -> str:
    text = (folder / "README.md").read_text()
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def tables(text: str) -> list[list[list[str]]]:
    """The tables of a page of Markdown, without the line below their heads."""
    found = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    split = [
        [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in table.splitlines()
        ]
        for table in found
    ]
    return [[table[0], *table[2:]] for table in split]


def test_a_folder_has_what_hubs_look_for(finished, shared):
    names = {"model.safetensors", "config.json", "README.md", "classes.json"}
    assert {path.name for path in shared.iterdir()} == names
    assert shared.stat().st_mode & 0o777 == 0o755
    assert read(shared / "classes.json") == list("0123456789")
    config, summary = read(shared / "config.json"), read(finished / "summary.json")
    assert config["sizes"] == {"D": 8, "H": 7, "K": 10, "layers": 2}
    assert config["tensors"] == "torch"
    assert config["options"].items() >= summary["config"].items()
    assert config["versions"] == summary["versions"]
    with safe_open(shared / "model.safetensors", "np") as file:
        assert file.metadata() == {"format": "pt"}


def test_the_front_matter_is_yaml_as_the_hub_specifies_it(finished, shared):
    text = (shared / "README.md").read_text()
    assert text.startswith("---\n")
    found = yaml.safe_load(text.split("---\n")[1])
    config, summary = read(shared / "config.json"), read(finished / "summary.json")
    index = config["seed"] - config["options"]["seed"]
    assert found["license"] == "cc-by-4.0"
    assert found["library_name"] == "jaxrnn"
    assert found["pipeline_tag"] == "image-classification"
    assert found["datasets"] == ["digits"]
    assert found["metrics"] == ["accuracy"]
    assert {"jaxrnn", "pytorch", "keras", "flax", "gru"} <= set(found["tags"])
    (model,) = found["model-index"]
    (result,) = model["results"]
    assert result["task"] == {"type": "image-classification"}
    assert result["dataset"]["split"] == "holdout"
    (metric,) = result["metrics"]
    assert metric["type"] == "accuracy"
    assert metric["value"] == summary["holdout_accuracy_per_seed"][index]
    read_back: Any = ModelCard.load(
        shared / "README.md", ignore_metadata_errors=False
    ).data
    (again,) = read_back.eval_results
    assert again.metric_value == metric["value"]
    assert read_back.model_name == model["name"] == "rows-digits-gru"


def test_every_figure_is_that_of_the_summary(finished, shared):
    summary, config = read(finished / "summary.json"), read(shared / "config.json")
    index = config["seed"] - config["options"]["seed"]
    own, *others = tables(section(shared, "Figures"))
    value = summary["holdout_accuracy_per_seed"][index]
    assert own[1:] == [["accuracy on holdout images", f"{value:.2%}"]]
    assert len(others) == len(summary["tables"])
    for stored, shown in zip(summary["tables"], others, strict=True):
        table = lab.Table(stored["title"], stored["columns"], [])
        assert shown[0][1:] == list(stored["columns"])
        for row, cells in zip(stored["rows"], shown[1:], strict=True):
            values = lab_tables.cells(table, lab.Row(row["name"], row["values"]))
            shown_as = [text.replace("|", "\\|") for text in (row["name"], *values)]
            assert cells == shown_as
    options = dict(tables(section(shared, "Training"))[0][1:])
    for name, text in options.items():
        value = summary["config"][name.strip("`").removeprefix("--").replace("-", "_")]
        assert text == (value if isinstance(value, str) else json.dumps(value))
    arrays = load_file(shared / "model.safetensors")
    count = sum(a.size for a in load_file(finished / "params.safetensors").values())
    assert f"**Size:** {count // 2:,} numbers" in (shared / "README.md").read_text()
    listed = tables(section(shared, "Files"))[1][1:]
    assert sorted(listed) == [
        [f"`{name}`", str(list(a.shape)), "float32"]
        for name, a in sorted(arrays.items())
    ]


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def as_torch_documents_it(state, xs, layers):
    """`nn.GRU` by the equations on torch's page, one sequence, in double precision."""
    state = {name: a.astype(np.float64) for name, a in state.items()}
    for i in range(layers):
        w_i, w_h = (state[f"rnn.weight_{side}_l{i}"] for side in ("ih", "hh"))
        b_i, b_h = (state[f"rnn.bias_{side}_l{i}"] for side in ("ih", "hh"))
        h, hs = np.zeros(w_h.shape[1]), []
        for x in xs:
            of_x, of_h = np.split(w_i @ x + b_i, 3), np.split(w_h @ h + b_h, 3)
            r, z = sigmoid(of_x[0] + of_h[0]), sigmoid(of_x[1] + of_h[1])
            n = np.tanh(of_x[2] + r * of_h[2])
            h = (1 - z) * n + z * h
            hs.append(h)
        xs = np.stack(hs)
    return state["output.weight"] @ xs[-1] + state["output.bias"]


def test_the_tensors_are_torchs(finished, shared):
    state = load_file(shared / "model.safetensors")
    shapes = {
        **{"rnn.weight_ih_l0": (21, 8), "rnn.weight_hh_l0": (21, 7)},
        **{"rnn.bias_ih_l0": (21,), "rnn.bias_hh_l0": (21,)},
        **{"rnn.weight_ih_l1": (21, 7), "rnn.weight_hh_l1": (21, 7)},
        **{"rnn.bias_ih_l1": (21,), "rnn.bias_hh_l1": (21,)},
        **{"output.weight": (10, 7), "output.bias": (10,)},
    }
    assert {name: a.shape for name, a in state.items()} == shapes
    config = card.config(rows.STUDY, shared / "config.json")
    xs = sequences(load_images("digits").test.images[:5], 16, "rows")
    net = rows.network(config, 8, 10)
    like = jax.eval_shape(net.init, jax.random.key(0))
    arrays = load_file(finished / "params.safetensors")
    paths, tree = jax.tree_util.tree_flatten_with_path(like)
    index = read(shared / "config.json")["seed"]
    named = [arrays[jax.tree_util.keystr(path)][index] for path, _ in paths]
    params = jax.tree.unflatten(tree, [jnp.asarray(a) for a in named])
    found = jax.jit(jax.vmap(net.logits, (None, 0)))(params, xs)
    wanted = [as_torch_documents_it(state, x.astype(np.float64), 2) for x in xs]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize(("holdout", "seed"), [([0.3, 0.9], 1), ([None, 0.1], 1)])
def test_validation_chooses_the_seed(finished, tmp_path, holdout, seed, capsys):
    run = shutil.copytree(finished, tmp_path / "run")
    lines = [json.loads(x) for x in (run / "metrics.jsonl").read_text().splitlines()]
    lines[-1]["holdout_accuracy"] = holdout
    (run / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    export(run, tmp_path / "model")
    assert read(tmp_path / "model" / "config.json")["seed"] == seed
    why = f"seed {seed} (the best of 2 by holdout_accuracy"
    assert why in capsys.readouterr().out


def test_a_folder_is_written_whole_or_not_at_all(finished, tmp_path, capsys):
    full = tmp_path / "full"
    full.mkdir()
    (full / "note.txt").write_text("mine")
    message = failing(capsys, finished, full)
    assert f"--export: expected a new folder, or an empty one, got {full}" in message
    assert [path.name for path in full.iterdir()] == ["note.txt"]
    (tmp_path / "file").write_text("mine")
    assert "--export: expected a new folder" in failing(
        capsys, finished, tmp_path / "file"
    )
    message = failing(capsys, finished, tmp_path / "file" / "model", status=1)
    assert f"error: cannot write {tmp_path / 'file' / 'model'}" in message
    with pytest.raises(lab.RunError, match="cannot write"):
        write(tmp_path / "new", {"a": b"a", "no/b": b"b"})
    assert {path.name for path in tmp_path.iterdir()} == {"full", "file"}
    (tmp_path / "empty").mkdir()
    export(finished, tmp_path / "empty")
    assert (tmp_path / "empty" / "README.md").exists()


def test_runs_that_cannot_be_shared(finished, tmp_path, capsys):
    run, folder = shutil.copytree(finished, tmp_path / "run"), tmp_path / "model"

    def damaged(name: str, content: bytes | None, message: str) -> None:
        before = (run / name).read_bytes()
        if content is None:
            (run / name).unlink()
        else:
            (run / name).write_bytes(content)
        assert message in failing(capsys, run, folder)
        (run / name).write_bytes(before)
        assert not folder.exists()

    damaged("summary.json", None, "holds no finished run of rows: it has no summary")
    damaged("summary.json", b"{", "holds no finished run of rows: ")
    damaged("metrics.jsonl", None, "metrics.jsonl is damaged: ")
    damaged("metrics.jsonl", b'{"epoch": 1}\n', "metrics.jsonl is damaged: ")
    damaged("params.safetensors", b"none", "--out: cannot read ")
    summary = read(run / "summary.json")
    for name in ("tables", "versions", "holdout_accuracy_per_seed"):
        less = {k: v for k, v in summary.items() if k != name}
        damaged("summary.json", json.dumps(less).encode(), "summary.json is damaged: ")
    odd = json.dumps(summary | {"tables": [{"title": "x"}]}).encode()
    damaged("summary.json", odd, "summary.json is damaged: ")
    arrays = load_file(run / "params.safetensors")
    for a in arrays.values():
        a[...] = math.nan
    save_file(arrays, tmp_path / "nan")
    nan = (tmp_path / "nan").read_bytes()
    damaged("params.safetensors", nan, "--export: expected a run whose params are fin")
    assert "--resume: expected no --export" in failing(capsys, run, folder, "--resume")


def test_all_studies_share_and_none_trains_when_asked_without_a_run(tmp_path, capsys):
    for study in STUDIES:
        assert "export" in study.answers
        carry_out = {"memory": lambda argv: lab.main_of(memory.GRID, argv)}
        main = carry_out.get(study.name, lambda argv, s=study: lab.main(s, argv))
        with pytest.raises(SystemExit) as error:
            main(["--out", str(tmp_path / "run"), "--export", str(tmp_path / "model")])
        assert error.value.code == 2
        assert f"holds no finished run of {study.name}" in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []


def test_every_data_set_has_a_licence_that_hubs_know():
    for study in STUDIES:
        hint = get_type_hints(type(study.recipes.base)).get("dataset")
        for name in get_args(hint):
            assert name in (*LICENCES, "own", "tsv"), name
    for licence in LICENCES.values():
        assert licence.known_as in HUBS
        assert licence.known_as != "other" or licence.link
        assert (licence.known_as == "unknown") == licence.said.startswith("none stated")


def test_a_card_says_nothing_of_the_machine_of_the_run():
    config = rows.STUDY.recipes(images="x")
    saved = {"images": "/home/me/secret/pictures", "epochs": 3, "dataset": "own"}
    found = {"images": "pictures", "epochs": 3, "dataset": "own"}
    assert without_places(config, saved) == found
    pairs = {"pairs": ["/home/me/a.txt", "/home/me/b.txt"], "source": "en"}
    base = translation.STUDY.recipes.base
    assert without_places(base, pairs)["pairs"] == ["a.txt", "b.txt"]
