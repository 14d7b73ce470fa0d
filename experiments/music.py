"""Reads music step by step, tells which notes come next, and goes on with it.

    python -m experiments.music --data-dir FOLDER
    python -m experiments.music --data-dir FOLDER --dataset nottingham
    python -m experiments.music --out RUN --generate --piece 5 --temperature 0.7

x_t in {0, 1}^88 are the notes that sound in step t, and every note of the next step is
a decision of its own, given all that has sounded:

    h_t = cell(x_t, h_{t-1}),    p_t = sigmoid(V h_t + b)

    NLL = -sum over the 88 notes of x_{t+1} log p_t + (1 - x_{t+1}) log(1 - p_t)

in nats a step. Every step but the first of a piece is predicted; the figure is the mean
over all such steps of all pieces, as in Bai et al. (2018). Long pieces are cut for the
training alone. The epoch is chosen by the validation pieces; the test pieces are
measured once, at the end.

What to expect on the test pieces, in nats a step:

                                            jsb     nottingham
    each note as often as it sounds         11.09   10.26
    the last step again                     10.49    5.15
    LSTM, Bai et al. (2018)                  8.45    3.29
    TCN, the best of theirs                  8.10    3.07
    LSTM, this one                           8.446   3.353
    seeds, and time on two cores             3, 1 min 37 s    1, 2 min 18 s

References: Boulanger-Lewandowski, Bengio and Vincent, "Modeling temporal dependencies
in high-dimensional sequences", ICML 2012, for the data; Bai, Kolter and Koltun, "An
empirical evaluation of generic convolutional and recurrent networks for sequence
modeling", 2018, for the protocol.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn as rnn
from experiments import runs, training
from experiments.data import buckets
from experiments.data.midi import write_midi
from experiments.data.music import (
    DATASETS,
    KEYS,
    Music,
    cut,
    load_music,
    room,
    transpose,
)
from experiments.measures.rolls import (
    Scores,
    averaged,
    each_note_alone,
    last_step_again,
)
from experiments.models.stack import stack
from experiments.plots import curves
from experiments.plots.music import foresight, piano_roll


@dataclass(frozen=True)
class Options(runs.Options):
    """Where and how a run runs, and what music a finished one makes."""

    generate: bool = False
    """Train nothing; make music with the finished run in --out."""
    piece: int = 0
    """Which test piece to go on with, at the end of a run too."""
    prompt: int = 16
    """Begin with so many quarter notes of it."""
    length: int = 48
    """Make so many quarter notes."""
    temperature: float = 0.8
    """Below 1 for more probable notes, above 1 for more variety."""
    most_notes: int | None = None
    """At most so many at once, the likeliest. None: as many as in training."""
    music_seed: int = 0
    """Of what is drawn: another one makes another piece."""

    def __post_init__(self):
        super().__post_init__()
        runs.check(self, at_least_0=("piece", "music_seed"), above_0=("temperature",))
        runs.check(self, at_least_1=("prompt", "length", "most_notes"))
        most = self.most_notes
        expected = f"at most {KEYS}"
        runs.require(most is None or most <= KEYS, "most_notes", expected, most)
        if self.generate:
            runs.only(self, "generate")


@dataclass(frozen=True)
class Config:
    """Reads music step by step, tells which notes come next, and goes on with it.

    The defaults shown are those of the chosen --dataset and --preset.
    """

    dataset: Literal["jsb", "nottingham"] = "jsb"
    """Bach's chorales in quarter notes, or English folk tunes in eighths."""
    preset: Literal["default", "smoke"] = "default"
    """A set of defaults: default, for results; smoke, to see quickly that all works."""
    cell: Literal["elman", "gru", "lstm"] = "lstm"
    """The recurrent cell."""
    hidden_size: int = 256
    """Size of the hidden state."""
    layers: int = 1
    """How many recurrent layers, one on top of the other."""
    input_dropout: float = 0.1
    """Share of the notes that are not heard while training."""
    dropout: float = 0.5
    """Share of the hidden units left out while training, after each layer."""
    transpose: bool = False
    """Train in all keys, by -5 to +6 semitones; the pieces as they are stand in C."""
    longest: int = 160
    """Cut pieces so that at most so many steps are trained on at once."""
    lengths: int = 3
    """Pad to so many lengths at most, each of which is compiled once."""
    pieces: int | None = None
    """Use only so many pieces of each split, the first ones; None: all."""
    train: training.Settings = field(
        default_factory=lambda: training.Settings(
            epochs=60,
            batch_size=8,
            learning_rate=3e-3,
            weight_decay=1e-2,
            seeds=3,
        )
    )
    run: Options = field(default_factory=Options)

    def __post_init__(self):
        runs.check(self, at_least_1=("hidden_size", "layers", "longest", "lengths"))
        runs.check(self, shares=("input_dropout", "dropout"), above_0=("pieces",))


def defaults(dataset: str, preset: str) -> Config:
    """The options of a data set and a preset."""
    config = Config()
    if dataset == "nottingham":
        config = replace(
            config,
            dropout=0.3,
            longest=128,
            train=replace(config.train, epochs=30, batch_size=16, seeds=1),
        )
    if preset == "smoke":
        config = replace(
            config,
            hidden_size=61,
            dropout=0.0,
            longest=32,
            lengths=1,
            pieces=40,
            train=replace(config.train, epochs=5, learning_rate=1e-2, seeds=2),
        )
    return config


parse = runs.parser("music", defaults, dataset="jsb", preset="default")


def network(config: Config) -> rnn.Cell:
    """From the notes of a step to the logits of those of the next one."""
    cell, size = training.CELLS[config.cell], config.hidden_size
    layers = stack(cell, KEYS, size, config.layers, dropout=config.dropout)
    heard = rnn.dropout(config.input_dropout, per_step=True)
    # At first a note sounds in one step of twenty, about as often as in the music.
    seldom = jax.nn.initializers.constant(-3.0)
    return rnn.chain(heard, *layers, rnn.linear(size, KEYS, b_init=seldom))


def logits(net, params, roll, mask=None, key=None) -> jax.Array:
    """Of the notes of each step of a piece but the first, [T - 1, 88]."""
    xs = roll[:-1].astype(jnp.float32)
    mask = None if mask is None else mask[1:]
    return net.unroll(params, net.initial_carry(params, key), xs, mask=mask)[1]


def mean_nll(net, params, roll, mask, key=None) -> jax.Array:
    """Of a piece, in nats a step."""
    predicted = logits(net, params, roll, mask, key)
    return KEYS * rnn.sigmoid_cross_entropy(predicted, roll[1:], mask[1:])


class Problem(NamedTuple):
    """A network and the music it is trained and measured on."""

    config: Config
    net: rnn.Cell
    music: Music

    def measure(self, params: Any, rolls: Sequence[np.ndarray]) -> np.ndarray:
        """The mean NLL of each piece, whole, for each seed: [S, N]."""
        lengths = np.array([len(roll) for roll in rolls])
        found = np.full((self.config.train.seeds, len(rolls)), np.nan)
        params, measure = training.local(params), _measurer(self.net)
        most = self.config.lengths
        groups = buckets.make_buckets(lengths, 20, most=most, together=False)
        for size, index, count in groups.every():
            values = measure(params, *buckets.pad(rolls, index, size))
            found[:, index[:count]] = np.asarray(values)[:, :count]
        return found


@lru_cache
def _measurer(net: rnn.Cell):
    of_batch = jax.vmap(partial(mean_nll, net), (None, 0, 0))
    return jax.jit(jax.vmap(of_batch, (0, None, None)))


def make_job(problem: Problem, mesh: jax.sharding.Mesh | None) -> training.Job:
    """Training of all seeds at once, each measured after each epoch."""
    config, music, settings = problem.config, problem.music, problem.config.train
    parts = cut(music.train, config.longest)
    lengths = np.array([len(part) for part in parts])
    groups = buckets.make_buckets(lengths, settings.batch_size, most=config.lengths)
    rooms = np.array([room(part) for part in parts])
    low, high = np.maximum(rooms[:, 0], -5), np.minimum(rooms[:, 1], 6)
    seeds = range(settings.seed, settings.seed + settings.seeds)
    total = settings.epochs * groups.steps
    optimizer = training.make_optimizer(settings, total, training.matrices)
    order = lru_cache(1)(lambda epoch: groups.epoch(epoch, seeds))

    def batches(epoch, first, stop, share):
        del stop  # batches differ in shape: one at a time
        size, index = order(epoch)[first]
        by = np.zeros_like(index)  # semitones
        if config.transpose:
            draws = [
                np.random.default_rng((seed, epoch, first)).random(index.shape[1])
                for seed in seeds
            ]
            choices = high[index] - low[index] + 1
            by = low[index] + (np.array(draws) * choices).astype(int)
        index, by = share.of(index), share.of(by)
        rolls, mask = buckets.pad(parts, index, size)
        for place, semitones in np.ndenumerate(by):
            rolls[place] = transpose(rolls[place], semitones)
        return rolls[:, None], mask[:, None]

    def measure(state):
        found = problem.measure(state.params, music.valid)
        return {"valid_nll": averaged(found, music.valid).by_step}

    return training.Job(
        settings=settings,
        start=training.starter(settings, problem.net.init, optimizer),
        update=rnn.make_update(partial(mean_nll, problem.net), optimizer, mesh=mesh),
        aux=(),
        batches=batches,
        measure=measure,
        score="valid_nll",
        higher_is_better=False,
        steps=groups.steps,
        piece=1,
        keep_best=True,
    )


@dataclass(frozen=True)
class Draw:
    """A chooser for `rnn.generate`: every note is drawn on its own."""

    temperature: float
    most_notes: int

    def __call__(self, logits: jax.Array, key: jax.Array | None, /) -> jax.Array:
        assert key is not None
        drawn = jax.random.bernoulli(key, jax.nn.sigmoid(logits / self.temperature))
        kept, keys = jax.lax.top_k(jnp.where(drawn, logits, -jnp.inf), self.most_notes)
        sounds = (kept > -jnp.inf).astype(logits.dtype)
        return jnp.zeros_like(logits).at[keys].set(sounds)


@partial(jax.jit, static_argnames=("net", "length", "choose"))
def _go_on(net, params, prompt, length, choose, key):
    begun = rnn.prefill(net, params, net.initial_carry(params), prompt)
    return rnn.generate(net, params, *begun, length, choose, key)


def compose(problem: Problem, params: Any) -> tuple[np.ndarray, int]:
    """The first measures of a test piece, and what the network makes of them.

    Args:
      problem: whose options say how.
      params: of one seed.

    Returns:
      (roll [T, 88], how many of its steps are the test piece's).
    """
    options, net, music = problem.config.run, problem.net, problem.music
    steps = DATASETS[problem.config.dataset].steps
    given = music.test[options.piece][: options.prompt * steps]
    most = max(int(roll.sum(1).max()) for roll in music.train)
    made = _go_on(
        net,
        params,
        jnp.asarray(given, jnp.float32),
        options.length * steps,
        Draw(options.temperature, options.most_notes or most),
        jax.random.key(options.music_seed),
    )
    roll = np.concatenate([given, np.asarray(made.tokens).astype(np.uint8)])
    return roll, len(given)


def write_music(problem: Problem, params: Any, output: runs.Output, name: str) -> None:
    """Composes with the first seed; leaves a MIDI file and a picture."""
    config, source = problem.config, DATASETS[problem.config.dataset]
    roll, given = compose(problem, jax.tree.map(lambda a: a[0], params))
    if not output.writes:
        return
    with output.replacing(f"{name}.mid") as path:
        write_midi(path, roll, source.steps, source.tempo, given)
    with output.replacing(f"{name}.png") as path:
        piano_roll(
            path,
            roll,
            given,
            steps=source.steps,
            title=f"{config.dataset}: the beginning of test piece {config.run.piece}"
            f", and what the {config.cell} makes of it",
        )


def run(config: Config) -> None:
    """Loads the data and checks that all fits together, then does what is asked."""
    generating = config.run.generate
    if generating:
        config, _ = runs.finished_run("music", config, "generate")
        options = replace(config.run, generate=False, resume=True)
        config = replace(config, run=options)
    music = load_music(config.dataset, config.run.data_dir)
    music = music.first(config.pieces)
    count, piece = len(music.test), config.run.piece
    runs.require(piece < count, "piece", f"below {count}", piece)
    problem = Problem(config, network(config), music)
    if generating:
        with runs.Output("music", config) as output:
            generate(problem, output)
        return
    mesh = runs.connect(config.run)
    training.check_batch_size(config.train, mesh)
    job = make_job(problem, mesh)
    runs.carry_out("music", config, music, partial(study, problem, job, mesh))


def generate(problem: Problem, output: runs.Output) -> None:
    """Makes music with the params that a finished run left."""
    options = problem.config.run
    params = training.saved_params(problem.config, problem.net.init)
    name = f"piece-{options.piece}-seed-{options.music_seed}-at-{options.temperature:g}"
    write_music(problem, params, output, name)
    print(f"music in {output.path / name}.mid, drawn in {name}.png")


def study(problem: Problem, job: training.Job, mesh, output: runs.Output) -> None:
    """Trains, measures the test pieces, and writes and prints the results."""
    config, music = problem.config, problem.music
    result = training.train(job, output, config.run, mesh)
    by_epoch = np.array([m["valid_nll"] for m in result.history], float)
    valid, test = (
        averaged(problem.measure(result.params, split), split)
        for split in (music.valid, music.test)
    )
    simple = {
        "each note as often as it sounds": each_note_alone(music.train, music.test),
        "the last step again, each note with its odds to change": last_step_again(
            music.train, music.test
        ),
    }
    draw(problem, output, result)
    write_music(problem, result.params, output, "music")
    training.conclude(
        output,
        job,
        result,
        dataset=config.dataset,
        **{f"{name}_pieces": len(split) for name, split in music._asdict().items()},
        test_steps=sum(len(roll) - 1 for roll in music.test),
        best_epoch_per_seed=1 + np.nan_to_num(by_epoch, nan=np.inf).argmin(axis=0),
        valid_nll=valid.by_step.mean(),
        valid_nll_per_seed=valid.by_step,
        test_nll=test.by_step.mean(),
        test_nll_per_seed=test.by_step,
        test_nll_by_piece=test.by_piece.mean(),
        test_nll_by_piece_per_seed=test.by_piece,
        baselines={name: found._asdict() for name, found in simple.items()},
        published=DATASETS[config.dataset].published,
    )
    report(config, output, test, simple)


def report(
    config: Config, output: runs.Output, test: Scores, simple: dict[str, Scores]
) -> None:
    """Prints the result, what to hold it against, and where the files went."""
    print("NLL of the test pieces, nats a step: mean over all steps | over pieces")
    for name, found in {f"this run, {config.cell}": test, **simple}.items():
        by_step, by_piece = (np.mean(values) for values in found)
        print(f"{by_step:8.3f} | {by_piece:8.3f}  {name}")
    for name, value in DATASETS[config.dataset].published.items():
        print(f"{value:8.2f} |           {name}, as published by Bai et al. (2018)")
    print(f"this run, over all steps: {runs.over_seeds(test.by_step, '.3f')}")
    print(f"results in {output.path}; listen to music.mid")


def draw(problem: Problem, output: runs.Output, result: training.Result) -> None:
    """Draws the curves, and what is expected of one test piece as it is heard."""
    if not output.writes:
        return
    config, net, music = problem.config, problem.net, problem.music
    title = f"{config.dataset}, {config.cell}"
    with output.replacing("curves.png") as path:
        panels = {"NLL (nats a step)": ("train_loss", "valid_nll")}
        curves(path, result.history, panels, title)
    first = jax.tree.map(lambda a: jnp.asarray(a[0]), result.params)
    roll = music.test[config.run.piece][: 32 * DATASETS[config.dataset].steps]
    p = jax.nn.sigmoid(logits(net, first, jnp.asarray(roll)))
    with output.replacing("foresight.png") as path:
        foresight(
            path,
            roll[1:],
            np.asarray(p),
            steps=DATASETS[config.dataset].steps,
            title=f"{title}: what it expects while it hears test piece "
            f"{config.run.piece}",
        )


if __name__ == "__main__":
    runs.main(parse, run)
