"""Reads music step by step, predicts the next notes, and continues a piece.

    python -m experiments.music --data-dir FOLDER
    python -m experiments.music --data-dir FOLDER --dataset nottingham
    python -m experiments.music --out RUN --generate --piece 5 --temperature 0.7

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

References: Boulanger-Lewandowski et al., ICML 2012, for the data; Bai, Kolter and
Koltun, 2018, see `measures.rolls`, for the protocol.

Shapes: S seeds, B pieces in a batch, N pieces, T steps, K = 88 notes, H hidden units.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn as rnn
from experiments import lab
from experiments.data.music import DATASETS, KEYS, Music, load_music
from experiments.data.parts import in_parts
from experiments.measures.rolls import averaged, simple_models
from experiments.models.notes import DrawNotes, gone_on
from experiments.models.stack import stack

NoMoreThanKeys = lab.Range(f"at most {KEYS}", lambda v: v <= KEYS)


@dataclass(frozen=True)
class Config(lab.Config):
    """Reads music step by step, predicts the next notes, and continues a piece.

    The defaults shown are those of the chosen --dataset and --preset.
    """

    dataset: Literal["jsb", "nottingham"] = "jsb"
    """Bach's chorales in quarter notes, or English folk tunes in eighths."""
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
    prompt: lab.Asked[lab.AtLeast1] = 16
    """Begin with the first n quarter notes of it."""
    length: lab.Asked[lab.AtLeast1] = 48
    """Make n quarter notes."""
    temperature: lab.Asked[lab.NotNegative] = 0.8
    """Below 1 for more probable notes, above 1 for more variety; 0: all likely ones."""
    most_notes: lab.Asked[Annotated[lab.AtLeast1, NoMoreThanKeys] | None] = None
    """At most n notes at once, the likeliest; None: as many as in training."""
    music_seed: lab.Asked[lab.AtLeast0] = 0
    """Of what is drawn: another one makes another piece."""


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
    lab.When({"dataset": "nottingham"}, FOLK),
    lab.When({"preset": "smoke"}, SMOKE),
)


def load(config: Config) -> tuple[Music, lab.Batches]:
    """The pieces that the options name, and how those of the training are read."""
    music = load_music(config.dataset, config.run.data_dir).first(config.pieces)
    count, piece = len(music.test), config.piece
    lab.require(piece < count, "piece", f"below {count}", piece)
    how = config.longest, config.lengths, config.transpose
    return music, in_parts(music.train, config.train.batch_size, *how)


def network(config: Config) -> rnn.Cell:
    """From the notes of a step to the logits of those of the next one."""
    H = config.hidden_size
    layers = stack(
        rnn.cells.by_name(config.cell), KEYS, H, config.layers, dropout=config.dropout
    )
    heard = rnn.dropout(config.input_dropout, per_step=True)
    # At first a note sounds in one step of twenty, about as often as in the music.
    seldom = jax.nn.initializers.constant(-3.0)
    return rnn.chain(heard, *layers, rnn.linear(H, KEYS, b_init=seldom))


def logits(net, params, roll_TK, mask_T=None, key=None) -> jax.Array:
    """Of the notes of each step of a piece but the first, [T - 1, K]."""
    xs, mask = roll_TK[:-1].astype(jnp.float32), None if mask_T is None else mask_T[1:]
    return net.unroll(params, net.initial_carry(params, key), xs, mask=mask)[1]


def mean_nll(net, params, roll_TK, mask_T, key=None) -> jax.Array:
    """Of a piece, in nats a step; []."""
    predicted = logits(net, params, roll_TK, mask_T, key)
    return KEYS * rnn.sigmoid_cross_entropy(predicted, roll_TK[1:], mask_T[1:])


class Problem(NamedTuple):
    """A network, and the music it is trained and measured on."""

    music: Music
    batches: lab.Batches
    net: rnn.Cell
    nll: Callable[..., np.ndarray]  # (params [S, ...], pieces) -> nll_SN


def prepare(config: Config, data: tuple[Music, lab.Batches], keep) -> Problem:
    """Makes a network, and measures it on whole pieces."""
    net = network(config)
    nll_SB = lab.over_seeds(jax.vmap(partial(mean_nll, net), in_axes=(None, 0, 0)))
    return Problem(*data, net, partial(lab.of_each, nll_SB, 20, config.lengths))


def task(config: Config, problem: Problem) -> lab.Task:
    """Learns the next step of parts of pieces; whole pieces choose the epoch."""
    music, batches, net, nll = problem

    def loss(params, roll, mask, key):
        return mean_nll(net, params, roll, mask, key), {}

    def measure(params):
        return {"valid_nll": averaged(nll(params, music.valid), music.valid).by_step}

    return lab.Task(net.init, loss, batches, measure, "-valid_nll")


def report(config: Config, problem: Problem, outcome: lab.Outcome) -> lab.Report:
    """The NLL of the test pieces beside that of others, and music."""
    from experiments.plots import curves
    from experiments.plots.music import foresight

    music, _, net, nll = problem
    valid_S, epochs_S = lab.lowest(outcome.history, "valid_nll")
    test = averaged(nll(outcome.params, music.test), music.test)
    simple = simple_models(music.train, music.test)
    first, source = lab.of_seed(outcome.params, 0), DATASETS[config.dataset]
    panels = {"NLL (nats a step)": ("train_loss", "valid_nll")}
    title = f"{config.dataset}, {config.cell}"
    rows = {f"this run, {config.cell}": test, **simple}
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
        files=composed(config, music, net, first, "music"),
    )


def composed(config: Config, music: Music, net: rnn.Cell, params: Any, name: str):
    """A test piece, gone on with by the network: its files, for a `lab.Report`."""
    from experiments.plots.music import midi_and_picture

    source = DATASETS[config.dataset]
    given_TK = music.test[config.piece][: config.prompt * source.steps]
    choose = DrawNotes(config.temperature, config.most_notes or music.most_notes)
    how = config.length * source.steps, choose, config.music_seed
    roll_TK = gone_on(net, params, given_TK, *how)
    title = f"{config.dataset}: the beginning of test piece {config.piece}"
    title += f", and what the {config.cell} makes of it"
    return midi_and_picture(name, roll_TK, len(given_TK), source, title)


def answer(config: Config, finished: lab.Finished) -> lab.Report:
    """Makes music with the params that a finished run left."""
    (music, _), net = load(config), network(config)
    params = lab.of_seed(finished.load(net.init), 0)
    name = f"piece-{config.piece}-seed-{config.music_seed}-at-{config.temperature:g}"
    said = f"music in {finished.path / name}.mid, drawn in {name}.png"
    return lab.Report([said], files=composed(config, music, net, params, name))


STUDY = lab.Study(
    *("music", RECIPES, load, task, report),
    prepare=prepare,
    digested=lambda data: data[0],
    answers={"generate": answer},
)

if __name__ == "__main__":
    lab.main(STUDY)
