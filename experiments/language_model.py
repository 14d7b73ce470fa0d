"""Writes text, character by character, like the text that it has read.

    python -m experiments.language_model --data-dir FOLDER --devices 2
    python -m experiments.language_model --dataset python
    python -m experiments.language_model --text FILE
    python -m experiments.language_model --generate "ROMEO:" --out RUN

With x_t the character at place t, E its vector, and h_t the state after it,

    h_t = cell(E x_t, h_{t-1}),    p(x_{t+1} | x_1..x_t) = softmax(h_t W + b)

The training text lies in B streams side by side, read in chunks of T characters. The
state goes on from chunk to chunk and the gradient does not: truncated backpropagation
through time. It starts anew with each epoch.

The last tenth of a text is its validation part, read in one pass from the first to the
last character, each predicted from all before it. There is no test part: the result is
that of the epoch that does best on the validation part.

What to expect on tiny Shakespeare, in nats per character of the validation part, one
seed, 13 minutes on two cores; beside it stand n-grams (Witten and Bell, 1991) and what
the README of nanoGPT quotes for a transformer, on pieces of 256 characters:

    how often each character occurs    3.347
    interpolated 5-grams               1.669    the best of 1 to 8
    nanoGPT                            1.470    six layers, three minutes on a GPU
    this network                       1.450    1.2 million weights

On the source of Python 3.11's standard library, 14 minutes with other work beside it:

    interpolated 5-grams               1.370
    this network                       1.071
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxrnn as rnn
from experiments import runs, training
from experiments.data import corpus
from experiments.data.streams import Streams, make_streams
from experiments.data.vocabulary import Vocabulary
from experiments.measures.ngrams import ngram_losses
from experiments.measures.units import telling_units
from experiments.models.stack import stack
from experiments.plots import curves, use_korean_font_for
from experiments.plots.language_model import over_text

LONGEST = 8  # n of the longest n-gram among the baselines
PIECE = 1024  # characters that an evaluation has in memory at once


@dataclass(frozen=True)
class Options(runs.Options):
    """Where and how a run runs, and what a finished one writes."""

    generate: str | None = None
    """Go on from this text with the finished run in --out; --seed numbers the draw."""
    length: int = 500
    """How many characters to write, in the samples at the end of a run too."""
    temperature: tuple[float, ...] = (0.5, 0.8, 1.0)
    """A text at each: below 1 for the more probable, above 1 for more variety."""
    top_p: float | None = None
    """Draw from the fewest characters whose probability is so much; None: from all."""

    def __post_init__(self):
        super().__post_init__()
        runs.check(self, at_least_1=("length",), above_0=("temperature", "top_p"))
        expected = "one temperature or more"
        runs.require(self.temperature != (), "temperature", expected, "none")
        top_p = self.top_p
        runs.require(top_p is None or top_p <= 1, "top_p", "at most 1", top_p)
        if self.generate is not None:
            runs.only(self, "generate")
            runs.require(bool(self.generate), "generate", "some text", "none")


@dataclass(frozen=True)
class Config:
    """Writes text, character by character, like the text that it has read.

    The defaults shown are those of the chosen --preset and --dataset.
    """

    preset: Literal["default", "smoke"] = "default"
    """A set of defaults: default, for results; smoke, to see quickly that all works."""
    dataset: Literal["shakespeare", "python"] = "shakespeare"
    """Tiny Shakespeare, or the source of Python's standard library (needs no file)."""
    text: Path | None = None
    """Read this file, or the files *.txt of this folder, in place of --dataset."""
    characters: int | None = None
    """Read only so many characters of the text, the first ones; None: all."""
    cell: Literal["elman", "gru", "lstm"] = "lstm"
    """The recurrent cell."""
    hidden_size: int = 512
    """Size of the hidden state."""
    layers: int = 1
    """How many recurrent layers, one on top of the other."""
    embedding_size: int = 64
    """Size of the vector of a character."""
    tied: bool = False
    """Whether the vectors of the characters are the weights of the logits too."""
    dropout: float = 0.3
    """Share of the hidden units left out while training, after each layer."""
    chunk: int = 64
    """Characters through which a gradient flows back."""
    train: training.Settings = field(default_factory=lambda: SETTINGS)
    run: Options = field(default_factory=Options)

    def __post_init__(self):
        sizes = ("hidden_size", "layers", "embedding_size", "chunk")
        runs.check(self, at_least_1=sizes, shares=("dropout",))
        count, fewest = self.characters, corpus.FEWEST
        enough = count is None or count >= fewest
        runs.require(enough, "characters", f"at least {fewest}", count)


SETTINGS = training.Settings(
    epochs=12, batch_size=64, learning_rate=4e-3, weight_decay=1e-2
)


def defaults(preset: str, dataset: str) -> Config:
    """The options of a preset."""
    config = Config()
    if dataset == "python":
        config = replace(config, characters=1_000_000)
    if preset == "smoke":
        config = Config(
            preset="smoke",
            characters=40_000,
            hidden_size=61,
            embedding_size=23,
            chunk=31,
            train=replace(SETTINGS, epochs=2, batch_size=16, learning_rate=1e-2),
        )
    return config


parse = runs.parser("language_model", defaults, preset="default", dataset="shakespeare")


def network(config: Config, vocab_size: int) -> rnn.Cell:
    """From characters to logits of the next: stacked cells with dropout."""
    cell, sizes = (
        training.CELLS[config.cell],
        (config.embedding_size, config.hidden_size),
    )
    layers = stack(cell, *sizes, config.layers, dropout=config.dropout)
    size = config.hidden_size
    if config.tied:
        layers.append(rnn.linear(size, config.embedding_size))
        core = rnn.chain(*layers)
        return rnn.tied_embedding(vocab_size, config.embedding_size, core)
    table = rnn.embedding(vocab_size, config.embedding_size)
    return rnn.chain(table, *layers, rnn.linear(size, vocab_size))


def chunk_loss(model: rnn.Cell) -> Callable[..., Any]:
    """The loss of a chunk after others, for `rnn.make_update(has_carry=True)`.

    What goes on from chunk to chunk is the carry without a key, as in evaluation; the
    dropout masks are drawn anew for each.
    """

    def loss_fn(params, carry, tokens, anew, key):
        start = model.initial_carry(params, key)
        carry = tuple(
            jax.tree.map(partial(jnp.where, anew), new, old) if old else new
            for new, old in zip(start, carry, strict=True)
        )
        carry, logits = model.unroll(params, carry, tokens[:-1])
        memory = tuple(() if isinstance(c, rnn.DropoutCarry) else c for c in carry)
        return rnn.cross_entropy(logits, tokens[1:]), memory

    return loss_fn


@lru_cache
def evaluator(model: rnn.Cell) -> Callable[[Any, np.ndarray], jax.Array]:
    """Nats per character of a text read in one pass: (params [S, ...], [N]) -> [S]."""

    @jax.jit
    @partial(jax.vmap, in_axes=(0, None))
    def evaluate(params, tokens):
        count = len(tokens) - 1

        def pieces(a):
            return jnp.pad(a, (0, -count % PIECE)).reshape(-1, PIECE)

        def read(carry, piece):
            inputs, targets, mask = piece
            carry, logits = model.unroll(params, carry, inputs, mask=mask)
            loss = rnn.cross_entropy(logits, targets, mask)
            return carry, loss * mask.sum(dtype=loss.dtype)

        cut = pieces(tokens[:-1]), pieces(tokens[1:]), pieces(jnp.ones(count, bool))
        return lax.scan(read, model.initial_carry(params), cut)[1].sum() / count

    return evaluate


class Problem(NamedTuple):
    """A model and the text that it is trained and measured on."""

    config: Config
    model: rnn.Cell
    text: corpus.Corpus
    streams: Streams  # of the training part

    def measure(self, params: Any) -> np.ndarray:
        """Nats per character of the validation part, [S]."""
        params = training.local(params)
        return np.asarray(evaluator(self.model)(params, self.text.valid))


def make_job(problem: Problem, mesh: jax.sharding.Mesh | None) -> training.Job:
    """Training of all seeds at once, each measured after each epoch."""
    settings, model, streams = problem.config.train, problem.model, problem.streams
    total = settings.epochs * streams.steps
    optimizer = training.make_optimizer(settings, total, training.matrices)

    def carry(params):
        one = model.initial_carry(params)
        size = settings.batch_size
        return jax.tree.map(lambda a: jnp.broadcast_to(a, (size, *a.shape)), one)

    def batches(epoch, first, stop, share):
        chunks = []
        for seed in range(settings.seed, settings.seed + settings.seeds):
            # Each epoch cuts the text at other places.
            rng = np.random.default_rng((seed, epoch))
            start = int(rng.integers(streams.rest + 1))
            chunks.append(streams.chunks(start, first, stop))
        tokens = share.of(np.stack(chunks), axis=2)  # [S, updates, B, T + 1]
        anew = np.broadcast_to(np.arange(first, stop)[:, None] == 0, tokens.shape[:3])
        return tokens, anew

    loss_fn = chunk_loss(model)
    return training.Job(
        settings=settings,
        start=training.starter(settings, model.init, optimizer, carry),
        update=rnn.make_update(loss_fn, optimizer, has_carry=True, mesh=mesh),
        aux=(),
        batches=batches,
        measure=lambda state: {"valid_loss": problem.measure(state.params)},
        score="valid_loss",
        higher_is_better=False,
        steps=streams.steps,
        keep_best=True,
    )


def read_text(config: Config) -> str:
    """The text that the options name."""
    if config.text is not None:
        return corpus.from_path(config.text)[: config.characters]
    return corpus.load_text(config.dataset, config.run.data_dir, config.characters)


def run(config: Config) -> None:
    """Loads the text and does the study; with --generate, goes on with one that is."""
    if config.run.generate is not None:
        write(config, config.run.generate)
        return
    source = str(config.text or f"--dataset {config.dataset}")
    text = corpus.make_corpus(read_text(config), source)
    settings = config.train
    sizes = settings.batch_size, config.chunk
    streams = make_streams(text.train, *sizes, source)
    mesh = runs.connect(config.run)
    training.check_batch_size(settings, mesh)
    model = network(config, text.vocabulary.size)
    problem = Problem(config, model, text, streams)
    data = text.train, text.valid, text.vocabulary.characters
    runs.carry_out("language_model", config, data, partial(study, problem, mesh))


def study(problem: Problem, mesh, output: runs.Output) -> None:
    """Trains, measures, and writes and prints the results."""
    config, text = problem.config, problem.text
    job = make_job(problem, mesh)
    result = training.train(job, output, config.run, mesh)
    ngrams = ngram_losses(text.train, text.valid, text.vocabulary.size, LONGEST)
    # [epochs, S], NaN for null
    losses = np.array([line["valid_loss"] for line in result.history], float)
    losses = np.where(np.isnan(losses), np.inf, losses)
    best = losses.min(axis=0)
    results = {
        "train_characters": len(text.train),
        "valid_characters": len(text.valid),
        "vocabulary": text.vocabulary.size,
        "valid_loss": best.mean(),
        "valid_bits": best.mean() / np.log(2),
        "valid_perplexity": np.exp(best.mean()),
        "valid_loss_per_seed": best,
        "best_epoch_per_seed": losses.argmin(axis=0) + 1,
        "unigram_loss": ngrams[0],
        "ngram_loss": min(ngrams),
        "ngram": int(np.argmin(ngrams)) + 1,
    }
    params = jax.tree.map(lambda a: a[best.argmin()], result.params)
    samples = make_samples(problem, params)
    if output.writes:
        with output.replacing("vocabulary.json") as path:
            text.vocabulary.save(path)
        with output.replacing("samples.txt") as path:
            path.write_text(samples, encoding="utf-8")
        draw(problem, output, params, result.history)
    training.conclude(output, job, result, **results)
    report(config, output, results, samples)


def report(config: Config, output, results: dict[str, Any], samples: str) -> None:
    """Prints samples, the result, and where the files went."""
    print(samples)
    print(
        f"validation part, {results['valid_characters']:,} characters: "
        f"{runs.over_seeds(results['valid_loss_per_seed'], '.3f')} nats per character "
        f"({results['valid_bits']:.3f} bits, perplexity "
        f"{results['valid_perplexity']:.2f})"
    )
    epochs = ", ".join(map(str, results["best_epoch_per_seed"]))
    print(
        f"with the params of the best epoch ({epochs} of {config.train.epochs}), chosen"
        " by this very number: there is no test part"
    )
    print(
        f"how often each character occurs: {results['unigram_loss']:.3f} nats; "
        f"interpolated {results['ngram']}-grams, the best of 1 to {LONGEST}: "
        f"{results['ngram_loss']:.3f} nats"
    )
    print(f"results in {output.path}")


def make_samples(problem: Problem, params: Any) -> str:
    """Texts that the model writes, from nothing but the beginning of a line."""
    vocabulary = problem.text.vocabulary
    first = "\n" if "\n" in vocabulary.characters else vocabulary.characters[0]
    texts = written(problem.config, problem.model, params, vocabulary, first)
    return "\n".join("".join(text) for text in texts)


def written(
    config: Config, model: rnn.Cell, params: Any, vocabulary, prompt: str
) -> Iterator[Iterator[str]]:
    """For each temperature, piece by piece, what the model writes after a prompt."""
    options = config.run
    tokens = vocabulary.encode(prompt)
    keys = jax.random.split(jax.random.key(config.train.seed), len(options.temperature))

    def text(temperature, key):
        yield f"--- temperature {temperature} ---\n{prompt}"
        start = model.initial_carry(params)
        choose = rnn.sample(temperature, top_p=options.top_p)
        begun = rnn.prefill(model, params, start, tokens)
        stream = rnn.stream(model, params, *begun, options.length, choose, key)
        for token in stream:
            yield vocabulary.decode([token])
        yield "\n"

    return map(text, options.temperature, keys)


def draw(problem: Problem, output, params: Any, history) -> None:
    """Draws the curves, and how the model reads a passage of the validation part."""
    with output.replacing("curves.png") as path:
        panels = {"nats per character": ("train_loss", "valid_loss")}
        curves(path, history, panels, title=f"{_name(problem.config)}, next character")
    model, tokens = problem.model, problem.text.valid[:4000]
    text = problem.text.vocabulary.decode(tokens)
    use_korean_font_for(text)

    @jax.jit
    def read(params, tokens):
        assert model.step is not None  # for the type checker
        read_one = model.step

        def step(carry, pair):
            carry, logits = read_one(params, carry, pair[0])
            h = [layer.h for layer in carry if hasattr(layer, "h")][-1]
            return carry, (h, jax.nn.log_softmax(logits)[pair[1]])

        pairs = tokens[:-1], tokens[1:]
        return lax.scan(step, model.initial_carry(params), pairs)[1]

    states, log_p = map(np.asarray, read(params, tokens))
    column, slow = telling_units(states, text[:-1])
    # From a line on, for at the very beginning all is a surprise.
    start = max(text.find("\n", 500, -500) + 1, 1)
    states, log_p = states[start:], log_p[start - 1 : -1]
    with output.replacing("passage.png") as path:
        over_text(
            path,
            text[start:-1],
            -log_p / np.log(2),
            {
                f"unit {column}, which follows the place in the line": states[
                    :, column
                ],
                f"unit {slow}, which changes most slowly": states[:, slow],
            },
        )


def _name(config: Config) -> str:
    return config.dataset if config.text is None else config.text.stem


def write(config: Config, prompt: str) -> None:
    """Prints what a finished run writes after a text; changes no file."""
    model, params, vocabulary = load(config)
    prompt = corpus.tidy(prompt)
    try:
        vocabulary.encode(prompt)
    except ValueError as error:
        raise runs.UsageError(f"--generate: {error}") from error
    for text in written(config, model, params, vocabulary, prompt):
        for piece in text:
            print(piece, end="", flush=True)


def load(config: Config) -> tuple[rnn.Cell, Any, Vocabulary]:
    """The model of a finished run, the params of its best seed, and its characters."""
    config, summary = runs.finished_run("language_model", config, "generate")
    assert config.run.out is not None  # for the type checker
    vocabulary = Vocabulary.load(config.run.out / "vocabulary.json")
    model = network(config, vocabulary.size)
    params = training.saved_params(config, model.init)
    try:
        best = np.nanargmin(np.array(summary["valid_loss_per_seed"], float))
    except (KeyError, TypeError, ValueError) as error:
        path = config.run.out / "summary.json"
        raise runs.UsageError(f"--out: {path} is damaged: {error}") from None
    return model, jax.tree.map(lambda a: a[best], params), vocabulary


if __name__ == "__main__":
    runs.main(parse, run)
