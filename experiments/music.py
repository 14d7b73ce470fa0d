"""Reads music step by step, predicts the next notes, and continues a piece.

    python -m experiments.music --data-dir FOLDER
    python -m experiments.music --data-dir FOLDER --dataset nottingham
    python -m experiments.music --midi FOLDER
    python -m experiments.music --out RUN --generate --piece 5 --temperature 0.7
    python -m experiments.music --out RUN --predict PIECE.mid --variations 3
    python -m experiments.music --out RUN --export FOLDER
    python -m experiments.music --out RUN --demo

x_t in {0, 1}^88 are the notes that sound in step t, and every note of the next step is
a separate decision, given all steps before:

    h_t = cell(x_t, h_{t-1}),    p_t = sigmoid(V h_t + b)

    NLL = -sum over the 88 notes of x_{t+1} log p_t + (1 - x_{t+1}) log(1 - p_t)

in nats a step. Every step but the first of a piece is predicted; the figure is the mean
over all such steps of all pieces, as in Bai et al. (2018). Long pieces are cut for
training alone. Validation pieces choose the epoch; test pieces are measured once.

What to expect on the test pieces, in nats a step:

                                            jsb     nottingham
    each note as often as it sounds         11.09   10.26
    the last step again                     10.49    5.15
    LSTM, Bai et al. (2018)                  8.45    3.29
    TCN, the best of theirs                  8.10    3.07
    LSTM, this one                           8.446   3.353
    seeds, and time on two cores             3, 1 min 37 s    1, 2 min 18 s
    with --cell layer_norm_lstm              8.239

References: Boulanger-Lewandowski et al., ICML 2012, for the data; Bai, Kolter and
Koltun, 2018, see `measures.rolls`, for the protocol.

Shapes: S seeds, B pieces in a batch, N pieces, T steps, K = 88 notes, H hidden units.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn as rnn
from experiments import card, lab
from experiments.data.midi_folder import OwnMusic, midi_paths
from experiments.data.music import KEYS, OWN, Music, MusicSet, repeated
from experiments.data.parts import in_parts
from experiments.demo.music import page
from experiments.demo.options import Showing
from experiments.measures.rolls import averaged, simple_models
from experiments.models.notes import DrawNotes, Making, gone_on, logits, mean_nll
from experiments.models.stack import cell_named, stack


@dataclass(frozen=True)
class Config(OwnMusic, Making, card.Sharing, Showing):
    """Reads music step by step, predicts the next notes, and continues a piece.

    The defaults shown are those of the chosen --dataset and --preset.
    """

    dataset: Literal["jsb", "nottingham", "muse", "piano", "own"] = "jsb"
    """Bach's chorales in quarter notes; folk tunes, or music for orchestra or piano, in
    eighths; own: that of --midi."""
    preset: Literal["default", "smoke"] = "default"
    """A set of defaults: default, for results; smoke, to see quickly that all works."""
    cell: lab.CellName = "lstm"
    """The recurrent cell."""
    hidden_size: lab.AtLeast1 = 256
    """Size of the hidden state."""
    layers: lab.AtLeast1 = 1
    """How many recurrent layers, one on top of the other."""
    input_dropout: lab.Share = 0.1
    """Share of the notes that are not heard while training."""
    dropout: lab.Share = 0.5
    """Share of the hidden units left out while training, after each layer."""
    transpose: bool = False
    """Train in all keys, by -5 to +6 semitones; the pieces as they are stand in C."""
    longest: lab.AtLeast1 = 160
    """Cut pieces into parts in which at most n steps follow the first one."""
    lengths: lab.AtLeast1 = 3
    """Pad to at most n lengths, each of which is compiled once."""
    pieces: lab.Above0[int] | None = None
    """Use only the first n pieces of each split; None: all."""
    generate: lab.Asked[bool] = False
    """Train nothing; make music with the finished run in --out."""
    piece: lab.Asked[lab.AtLeast0] = 0
    """Which test piece to go on with, at the end of a run too."""


TRAIN = lab.Training(
    epochs=60, batch_size=8, learning_rate=3e-3, weight_decay=1e-2, seeds=3
)
FOLK = {"dropout": 0.3, "longest": 128, "epochs": 30, "batch_size": 16, "seeds": 1}
SMOKE = {
    **{"hidden_size": 61, "dropout": 0.0, "longest": 32, "lengths": 1, "pieces": 40},
    **{"epochs": 5, "learning_rate": 1e-2, "seeds": 2},
}
RECIPES = lab.Recipes(
    Config(train=TRAIN),
    lab.When({"dataset": ("nottingham", "muse", "piano")}, FOLK),
    lab.When({"midi": lab.GIVEN}, {"dataset": "own", **FOLK}),
    lab.When({"preset": "smoke"}, SMOKE),
)


class Data(NamedTuple):
    """Pieces, as they are measured and as they are learned."""

    music: Music
    batches: lab.Batches
    source: MusicSet


def load(config: Config) -> Data:
    """The pieces that the options name, and how those of the training are read."""
    music, source = config.load()
    music = music.first(config.pieces)
    count, piece = len(music.test), config.piece
    lab.require(piece < count, "piece", f"below {count}", piece)
    how = config.longest, config.lengths, config.transpose
    batches = in_parts(music.train, config.train.batch_size, *how)
    return Data(music, batches, source)


def network(config: Config) -> rnn.Cell:
    """From the notes of a step to the logits of those of the next one."""
    H = config.hidden_size
    layers = stack(
        cell_named(config.cell), KEYS, H, config.layers, dropout=config.dropout
    )
    heard = rnn.dropout(config.input_dropout, per_step=True)
    # At first a note sounds in one step of twenty, about as often as in the music.
    seldom = jax.nn.initializers.constant(-3.0)
    return rnn.chain(heard, *layers, rnn.linear(H, KEYS, b_init=seldom))


class Problem(NamedTuple):
    """A network, and the music it is trained and measured on."""

    music: Music
    batches: lab.Batches
    source: MusicSet
    net: rnn.Cell
    nll: Callable[..., np.ndarray]  # (params [S, ...], pieces) -> nll_SN


def prepare(config: Config, data: Data, keep: lab.Keep) -> Problem:
    """Makes a network, and measures it on whole pieces."""
    net = network(config)
    nll_SB = lab.over_seeds(jax.vmap(partial(mean_nll, net), in_axes=(None, 0, 0)))
    return Problem(*data, net, partial(lab.of_each, nll_SB, 20, config.lengths))


def task(config: Config, problem: Problem) -> lab.Task:
    """Learns the next step of parts of pieces; whole pieces choose the epoch."""
    music, batches, _, net, nll = problem

    def loss(params, roll, mask, key):
        return mean_nll(net, params, roll, mask, key), {}

    def measure(params):
        return {"valid_nll": averaged(nll(params, music.valid), music.valid).by_step}

    return lab.Task(net.init, loss, batches, measure, "-valid_nll")


def report(config: Config, problem: Problem, outcome: lab.Outcome) -> lab.Report:
    """The NLL of the test pieces beside that of others, and music."""
    from experiments.plots import curves
    from experiments.plots.music import foresight

    music, _, source, net, nll = problem
    valid_S, epochs_S = lab.lowest(outcome.history, "valid_nll")
    nll_SN, again = nll(outcome.params, music.test), repeated(music)[1]
    test = averaged(nll_SN, music.test)
    simple = simple_models(music.train, music.test)
    first = lab.of_seed(outcome.params, 0)
    panels = {"NLL (nats a step)": ("train_loss", "valid_nll")}
    title = f"{config.dataset}, {config.cell}"
    rows = {f"this run, {config.cell}": test}
    if 0 < len(again) < len(music.test):
        new = np.delete(np.arange(len(music.test)), again)
        left = averaged(nll_SN[:, new], [music.test[i] for i in new])
        rows[f"this run, without the {len(again)} that stand in training"] = left
    rows |= simple
    rows |= {f"{n}, Bai et al. (2018)": (v, None) for n, v in source.published.items()}
    columns = {"over all steps": ".3f", "over pieces": ".3f"}
    what = f"NLL of the {len(music.test)} test pieces, nats a step: the mean"
    table = lab.Table(what, columns, [lab.Row(*row) for row in rows.items()])

    def draw_foresight(path):
        roll_TK = music.test[config.piece][: 32 * source.steps]
        p_TK = np.asarray(jax.nn.sigmoid(logits(net, first, jnp.asarray(roll_TK))))
        said = f"{title}: what it expects while it hears test piece {config.piece}"
        foresight(path, roll_TK[1:], p_TK, steps=source.steps, title=said)

    return lab.Report(
        body=[table, "listen to music.mid"],
        facts={
            "dataset": config.dataset,
            **{f"{name}_pieces": len(v) for name, v in music._asdict().items()},
            "test_steps": sum(len(roll) - 1 for roll in music.test),
            "test_pieces_in_training": len(again),
            "most_notes": music.most_notes,
            "best_epoch_per_seed": epochs_S,
            **{"valid_nll": valid_S.mean(), "valid_nll_per_seed": valid_S},
            **test.facts("test_nll"),
            "baselines": {name: scores._asdict() for name, scores in simple.items()},
            "published": source.published,
        },
        figures={
            "curves.png": lambda path: curves(path, outcome.history, panels, title),
            "foresight.png": draw_foresight,
        },
        files=of_test(config, problem, net, first, ["music"]),
    )


def composed(config: Config, net, params, given_TK, source, most, names, of):
    """A beginning, gone on with by the network: the files of each variation."""
    from experiments.plots.music import midi_and_picture

    steps, found = config.length * source.steps, {}
    choose = DrawNotes(config.temperature, config.most_notes or most)
    title = f"{of}, and what the {config.cell} makes of it"
    for seed, name in enumerate(names, config.music_seed):
        roll_TK = gone_on(net, params, given_TK, steps, choose, seed)
        found |= midi_and_picture(name, roll_TK, len(given_TK), source, title)
    return found


def of_test(config: Config, data: Any, net, params, names):
    """The files of a test piece that is gone on with."""
    source, most = data.source, data.music.most_notes
    given_TK = data.music.test[config.piece][: (config.prompt or 16) * source.steps]
    title = f"{config.dataset}: the beginning of test piece {config.piece}"
    return composed(config, net, params, given_TK, source, most, names, title)


def answer(config: Config, finished: lab.Finished) -> lab.Report:
    """Goes on with a test piece, by the params that a finished run left."""
    data, net = load(config), network(config)
    params = lab.of_seed(finished.load(net.init), 0)
    names = config.names(f"piece-{config.piece}")
    said = [f"music in {finished.path / n}.mid, drawn in {n}.png" for n in names]
    return lab.Report(said, files=of_test(config, data, net, params, names))


def predict(config: Config, finished: lab.Finished) -> lab.Report:
    """Goes on with MIDI files of your own."""
    net, said, files = network(config), [], {}
    params = lab.of_seed(finished.load(net.init), 0)
    most = finished.summary.get("most_notes")  # older runs do not say
    most = most or config.most_notes or load(config).music.most_notes
    for path in midi_paths(config.predict or ()):
        piece, steps = config.read(path), config.grid.steps
        given_TK = piece.roll[: config.prompt and config.prompt * steps]
        source = MusicSet(path.name, OWN, steps, piece.tempo, {})
        names = [f"{name}.mid" for name in config.names(path.stem)]
        names = [lab.free(finished.path, name, files)[:-4] for name in names]
        said += [f"{path} goes on in {finished.path / name}.mid" for name in names]
        more = composed(config, net, params, given_TK, source, most, names, path.name)
        files |= more
    return lab.Report(said, files=files)


STUDY = lab.Study(
    *("music", RECIPES, load, task, report),
    prepare=prepare,
    digested=lambda data: data.music,
    answers={
        **{"predict": predict, "generate": answer, "demo": page(load, network)},
        "export": partial(card.share, card.music, network),
    },
)

if __name__ == "__main__":
    lab.main(STUDY)
