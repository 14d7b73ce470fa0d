"""What a study can ask of the lab, by a study that counts."""

import json
from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import lab
from experiments.lab.options import identity, lasting
from experiments.lab.pieces import Feed


@dataclass(frozen=True)
class Config(lab.Config):
    """Counts."""

    kind: str = "up"
    """Which way."""
    step: lab.Above0[float] = 1.0
    """How far."""
    names: tuple[str, ...] = ("a", "b")
    """Of what."""
    source: str | None = None
    """From where."""
    tell: lab.Asked[str | None] = None
    """Asks a finished run."""
    scale: lab.Asked[tuple[lab.Above0[float], ...]] = (1.0,)
    """How large."""
    share: Annotated[float, lab.Range("in [0, 10]", lambda v: 0 <= v <= 10)] = 1.0
    """Of what."""


TRAIN = lab.Training(
    *(2, 2, 1.0, "sgd", "constant"), clip=None, seeds=2, weight_decay=0.0
)
RECIPES = lab.Recipes(
    Config(train=TRAIN),
    lab.When({"kind": ("down", "sideways")}, {"step": 3.0, "epochs": 3}),
    lab.When({"kind": "down", "source": lab.GIVEN}, {"step": 5.0}),
)


def prepare(config, data, keep):
    keep("words.json", lambda path: path.write_text(json.dumps(config.names)))
    return data


def task(config, xs):
    def loss(params, carry, x, key):
        del key
        carry = carry + x
        return config.step * params["w"] * x, (carry, {"sum": carry})

    def measure(params):
        return {"w": params["w"]}

    return lab.Task(
        lambda key: {"w": jnp.zeros(())},
        loss,
        lab.in_turn(len(xs), 2, lab.take(xs)),
        measure,
        "-w",
        carry=lambda params: jnp.zeros(()),
    )


def report(config, xs, outcome):
    rows = [lab.Row("this", [outcome.params["w"], None]), lab.Row("it", ["a text", 2])]
    return lab.Report(
        ["some words", lab.Table("counts", {"w": ".1f", "n": "d"}, rows)],
        facts={"w": outcome.params["w"]},
        figures={"w.png": lambda path: path.write_bytes(b"a picture")},
        files={"w.txt": "a text", "w.bin": lambda path: path.write_bytes(b"\0")},
    )


def tell(config, finished):
    params = finished.load(lambda key: {"w": jnp.zeros(())})
    words = json.loads((finished.path / "words.json").read_text())
    said = f"{config.tell} {words} {params['w'].tolist()} {config.scale} {config.step}"
    assert config.names == tuple(words)
    return lab.Report([said], files={f"{config.tell}.txt": said})


STUDY = lab.Study(
    *("counting", RECIPES, lambda config: np.ones(6, np.float32), task, report),
    prepare=prepare,
    answers={"tell": tell},
)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    out = tmp_path_factory.mktemp("counting") / "run"
    lab.main(STUDY, ["--out", str(out), "--scale", "2", "3", "--step", "2"])
    return out


def failing(capsys, *options: str) -> str:
    with pytest.raises(SystemExit) as error:
        lab.main(STUDY, list(options))
    assert error.value.code == 2
    return capsys.readouterr().err


def test_a_run_leaves_what_the_report_has(out):
    assert (out / "w.txt").read_text() == "a text"
    assert (out / "w.bin").read_bytes() == b"\0"
    assert (out / "w.png").read_bytes() == b"a picture"
    summary = json.loads((out / "summary.json").read_text())
    # Three updates an epoch of rate 1 and gradient 2, two epochs.
    assert summary["w"] == [-12.0, -12.0]
    (table,) = summary["tables"]
    assert table["columns"] == {"w": ".1f", "n": "d"}
    assert [row["values"] for row in table["rows"]] == [
        [[-12, -12], None],
        ["a text", 2],
    ]
    lines = (out / "metrics.jsonl").read_text().splitlines()
    # The carry goes on from epoch to epoch: 1, 2, 3 and then 4, 5, 6.
    sums = [json.loads(line)["train_sum"] for line in lines]
    assert sums == [[2.0, 2.0], [5.0, 5.0]]


def test_a_finished_run_answers(out, capsys):
    before = {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()}
    lab.main(STUDY, ["--out", str(out), "--tell", "me"])
    said = "me ['a', 'b'] [-12.0, -12.0] (1.0,) 2.0"
    assert capsys.readouterr().out == said + "\n"
    assert (out / "me.txt").read_text() == said
    for name, content in before.items():
        assert name == ".lock" or (out / name).read_bytes() == content


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--tell me", "--tell: expected an --out too, the folder of a finished run"),
        ("--tell me --out RUN --resume", "--resume: expected no --tell, got True"),
        ("--tell me --out RUN --overwrite", "--overwrite: expected no --tell"),
        ("--tell me --out /no", "/no holds no finished run of counting: it has no sum"),
        ("--scale 1 0", "--scale: expected above 0, got 1.0 0.0"),
        ("--step nan", "--step: expected above 0, got nan"),
        ("--share 11", "--share: expected in [0, 10], got 11.0"),
    ],
)
def test_mistakes(out, options, message, capsys):
    assert message in failing(capsys, *options.replace("RUN", str(out)).split())


def test_a_damaged_run_answers_nothing(out, tmp_path, capsys):
    summary = json.loads((out / "summary.json").read_text())
    options = "--tell", "me", "--out", str(tmp_path)
    for damage in ({"experiment": "rows"}, {"config": {}}, {"config": 7}):
        (tmp_path / "summary.json").write_text(json.dumps(summary | damage))
        assert "holds no finished run of counting: " in failing(capsys, *options)
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    assert "cannot read" in failing(capsys, *options)


def test_recipes_follow_the_choices():
    parse = lab.parse
    assert parse(STUDY, []).step == 1.0
    assert parse(STUDY, ["--kind", "sideways"]).step == 3.0
    found = parse(STUDY, ["--kind=down", "--source", "there", "--epochs", "7"])
    assert (found.step, found.train.epochs, found.kind) == (5.0, 7, "down")
    with pytest.raises(KeyError, match="no such options: nothing"):
        lab.Recipes(Config(), lab.When({}, {"nothing": 1}))()


def test_what_is_asked_is_not_what_the_run_is():
    config = Config(tell="me", scale=(2.0,))
    assert list(identity(config)) == [
        *("kind", "step", "names", "source", "share", "epochs", "batch_size"),
        *("learning_rate", "optimizer", "schedule", "weight_decay", "clip", "seeds"),
        *("seed", "nonfinite"),
    ]
    names = ["data_dir", "checkpoint_minutes", "checkpoint_steps", "keep", "devices"]
    assert list(lasting(config)) == [*names, "tensorboard", "tell", "scale"]


def every_kind_of_batches() -> dict[str, lab.Batches]:
    rng = np.random.default_rng(0)
    sequences = [np.arange(1, n + 1) for n in rng.integers(1, 12, 53)]
    buckets = lab.make_buckets(np.array([len(s) for s in sequences]), 4, most=3)
    xs = rng.normal(size=(53, 3))

    def make(seed, epoch, update):
        return (np.random.default_rng((seed, epoch, update)).normal(size=(4, 2)),)

    return {
        "shuffled": lab.shuffled(53, 4, lab.take(xs, np.arange(53))),
        "in_turn": lab.in_turn(53, 4, lab.take(xs)),
        "bucketed": lab.bucketed(buckets, lambda n, size: lab.pad(sequences, n, size)),
        "made": lab.made(13, 4, make),
        "streams": lab.streams(np.arange(401), 4, 7),
    }


@pytest.mark.parametrize("kind", every_kind_of_batches())
def test_what_is_read_depends_on_seed_epoch_and_update_alone(kind):
    batches = every_kind_of_batches()[kind]
    both, alone = Feed(batches, range(5, 7), None), Feed(batches, range(6, 7), None)
    seen = []
    for epoch in (0, 1):
        first = 0
        while first < batches.steps:
            count, arrays = both.piece(epoch * batches.steps + first)
            again = alone.piece(epoch * batches.steps + first)
            assert again[0] == count
            for array, own in zip(arrays, again[1], strict=True):
                assert array.shape[:3] == (2, count, 4)
                np.testing.assert_array_equal(array[1:], own)
            if first == 0:
                seen.append(arrays[0])
            first += count
        assert first == batches.steps
    differ = not np.array_equal(*seen) if seen[0].shape == seen[1].shape else True
    assert differ == (kind != "in_turn")
    # A process that reads a share of each batch reads a share of the same arrays.
    numbers = batches.plan(0, 5)[:1]
    size = () if batches.sizes is None else (batches.sizes(0)[0],)
    whole = batches.read(numbers, *size)
    parts = [batches.read(part, *size) for part in np.split(numbers, 2, axis=1)]
    for array, *shares in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(np.concatenate(shares, axis=1), array)
    example = both.example()
    assert [np.shape(a) for a in example] == [a.shape[2:] for a in whole]


def test_over_seeds_is_each_seed_alone():
    def fun(params, x, y):
        return params @ x + y

    keys = jax.random.split(jax.random.key(0), 3)
    params, xs, ys = (
        jax.random.normal(k, shape)
        for k, shape in zip(keys, [(2, 5, 3), (7, 3), (7, 5)], strict=True)
    )
    found = lab.over_seeds(fun, batch=3)(params, xs, ys)
    assert found.shape == (2, 7, 5)
    for seed in (0, 1):
        want = [fun(params[seed], x, y) for x, y in zip(xs, ys, strict=True)]
        np.testing.assert_allclose(found[seed], jnp.stack(want), rtol=1e-5, atol=1e-6)
    of_all = lab.over_seeds(fun)(params, xs[0], ys[0])
    np.testing.assert_allclose(of_all, found[:, 0], rtol=1e-5, atol=1e-6)
