"""Writes text, character by character, like the text that it has read.

    python -m experiments.language_model --data-dir FOLDER --devices 2
    python -m experiments.language_model --dataset python
    python -m experiments.language_model --text FILE
    python -m experiments.language_model --generate "ROMEO:" --out RUN
    python -m experiments.language_model --predict FILE --out RUN
    python -m experiments.language_model --export FOLDER --out RUN
    python -m experiments.language_model --demo --out RUN

With x_t the character at place t, E its vector, and h_t the state after it,

    h_t = cell(E x_t, h_{t-1}),    p(x_{t+1} | x_1..x_t) = softmax(h_t W + b)

The training text lies in B streams side by side, read in chunks of T characters. The
state goes on from chunk to chunk and the gradient does not: truncated backpropagation
through time. It starts anew with each epoch.

The last tenth of a text, at most 4,194,304 characters, is its validation part, read in
one pass from the first to the last character, each predicted from all before it. There
is no test part: the result is that of the epoch that does best on the validation part.

A text may be of any size. One of more than 16,777,216 characters is never in memory as
a whole: its tokens are written to the folder of the run and read from there, and the
n-grams are counted in the last 2,097,152 characters that are trained on.

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

Shapes: S seeds, N characters, D and H the sizes of E x_t and of h_t, V of p.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn as rnn
from experiments import card, lab
from experiments.data import corpus
from experiments.demo.language_model import page
from experiments.demo.options import Showing
from experiments.measures.ngrams import ngram_losses
from experiments.models.stack import cell_named, stack
from experiments.models.text import (
    Writing,
    mean_nats,
    nats_of_pieces,
    per_character,
    reading,
    written,
)

TOKENS = "tokens.bin"  # of a text that is not in memory
FEWEST = lab.Range(f"at least {corpus.FEWEST}", lambda v: v >= corpus.FEWEST)


@dataclass(frozen=True)
class Config(Writing, card.Sharing, Showing):
    """Writes text, character by character, like the text that it has read.

    The defaults shown are those of the chosen --preset and --dataset.
    """

    preset: Literal["default", "smoke"] = "default"
    """A set of defaults: default, for results; smoke, to see quickly that all works."""
    dataset: Literal["shakespeare", "python"] = "shakespeare"
    """Tiny Shakespeare, or the source of Python's standard library (needs no file)."""
    text: Path | None = None
    """Read this file, or the files *.txt of this folder, in place of --dataset."""
    characters: Annotated[int, FEWEST] | None = None
    """Read only the first n characters of the text; None: all."""
    cell: lab.CellName = "lstm"
    """The recurrent cell."""
    hidden_size: lab.AtLeast1 = 512
    """Size of the hidden state."""
    layers: lab.AtLeast1 = 1
    """How many recurrent layers, one on top of the other."""
    embedding_size: lab.AtLeast1 = 64
    """Size of the vector of a character."""
    tied: bool = False
    """Whether the vectors of the characters are the weights of the logits too."""
    dropout: lab.Share = 0.3
    """Share of the hidden units left out while training, after each layer."""
    chunk: lab.AtLeast1 = 64
    """Characters through which a gradient flows back."""
    generate: lab.Asked[str | None] = None
    """Go on from this text with the finished run in --out; --seed numbers the draw."""
    prompt_file: lab.Asked[Path | None] = None
    """As --generate, from the text in this file."""
    predict: lab.Asked[Path | None] = None
    """How well does the finished run in --out predict the text in this file, or in the
    files *.txt of this folder?"""

    def __post_init__(self):
        super().__post_init__()
        lab.require(self.generate != "", "generate", "some text", "none")


TRAIN = lab.Training(epochs=12, batch_size=64, learning_rate=4e-3, weight_decay=1e-2)
SMOKE = {
    **{"characters": 40_000, "hidden_size": 61, "embedding_size": 23, "chunk": 31},
    **{"epochs": 2, "batch_size": 16, "learning_rate": 1e-2},
}
RECIPES = lab.Recipes(
    Config(train=TRAIN),
    lab.When({"dataset": "python"}, {"characters": 1_000_000}),
    lab.When({"preset": "smoke"}, SMOKE),
)


def load(config: Config) -> corpus.Corpus | corpus.LongText:
    """The text that the options name."""
    named = config.text or config.dataset, config.run.data_dir, config.characters
    text = corpus.load_corpus(*named)
    source = str(config.text or f"--dataset {config.dataset}")
    sizes = config.train.batch_size, config.chunk
    lab.stream_steps(corpus.train_count(text.size), *sizes, source)
    return text


def network(config: Config, V: int) -> rnn.Cell:
    """From characters to logits of the next, as in the equations above."""
    D, H = config.embedding_size, config.hidden_size
    layers = stack(cell_named(config.cell), D, H, config.layers, dropout=config.dropout)
    if config.tied:
        return rnn.tied_embedding(V, D, rnn.chain(*layers, rnn.linear(H, D)))
    return rnn.chain(rnn.embedding(V, D), *layers, rnn.linear(H, V))


class Problem(NamedTuple):
    """A model, and the text that it is trained and measured on."""

    text: corpus.Corpus
    batches: lab.Batches  # of the training part, in streams
    model: rnn.Cell


def prepare(config: Config, text: Any, keep: lab.Keep) -> Problem:
    """Makes a model for the characters of the text."""
    if isinstance(text, corpus.LongText):
        text = corpus.long_corpus(text, keep(TOKENS, text.write))
    batches = lab.streams(text.train, config.train.batch_size, config.chunk)
    return Problem(text, batches, network(config, text.vocabulary.size))


def task(config: Config, problem: Problem) -> lab.Task:
    """Learns the next character of streams; their state goes on from chunk to chunk."""
    text, batches, model = problem
    nats = lab.over_seeds(partial(mean_nats, model))

    def loss(params, carry, tokens, anew, key):
        start = model.initial_carry(params)
        carry = jax.tree.map(partial(jnp.where, anew), start, carry)
        carry = rnn.rekeyed(model, params, carry, key)  # masks of this chunk's own
        carry, logits = model.unroll(params, carry, tokens[:-1])
        memory = rnn.rekeyed(model, params, carry)
        return rnn.cross_entropy(logits, tokens[1:]), (memory, {})

    def measure(params):
        return {"valid_loss": np.asarray(nats(params, text.valid))}

    parts = model.init, loss, batches, measure, "-valid_loss"
    return lab.Task(*parts, carry=model.initial_carry)


def report(config: Config, problem: Problem, outcome: lab.Outcome) -> lab.Report:
    """Nats per character beside n-grams, what the model writes, and how it reads."""
    from experiments.plots import curves
    from experiments.plots.language_model import passage

    text, _, model = problem
    vocabulary, seen_N = text.vocabulary, text.valid[:4000]
    best_S, epochs_S = lab.lowest(outcome.history, "valid_loss")
    ngrams = ngram_losses(corpus.counted_in(text.train), text.valid, vocabulary.size)
    n = int(np.argmin(ngrams)) + 1
    params = lab.of_seed(outcome.params, int(best_S.argmin()))
    seed = config.train.seed
    texts = written(model, params, vocabulary, None, seed, config)
    samples = "\n".join(map("".join, texts))
    panels = {"nats per character": ("train_loss", "valid_loss")}
    name = config.dataset if config.text is None else config.text.stem
    title = f"{name}, next character"
    return lab.Report(
        body=[
            samples,
            per_character(
                f"the validation part, {len(text.valid):,} characters",
                {
                    config.cell: best_S,
                    "how often each character occurs": ngrams[0],
                    f"{n}-grams, the best of 1 to {len(ngrams)}": min(ngrams),
                },
            ),
            f"with the params of the best epoch ({', '.join(map(str, epochs_S))} of "
            f"{config.train.epochs}), which these numbers chose: there is no test part",
        ],
        facts={
            "train_characters": len(text.train),
            "valid_characters": len(text.valid),
            "vocabulary": vocabulary.size,
            "valid_loss": best_S.mean(),
            "valid_bits": best_S.mean() / np.log(2),
            "valid_perplexity": np.exp(best_S.mean()),
            **{"valid_loss_per_seed": best_S, "best_epoch_per_seed": epochs_S},
            **{"unigram_loss": ngrams[0], "ngram_loss": min(ngrams), "ngram": n},
        },
        figures={
            "curves.png": lambda path: curves(path, outcome.history, panels, title),
            "passage.png": lambda path: passage(
                path, vocabulary.decode(seen_N), *reading(model, params, seen_N)
            ),
        },
        files={"vocabulary.json": vocabulary.save, "samples.txt": samples},
    )


def opened(config: Config, finished: lab.Finished) -> tuple[Any, Any, Any]:
    """The vocabulary of a finished run, its model, and the params of the best seed."""
    vocabulary = corpus.Vocabulary.load(finished.path / "vocabulary.json")
    model = network(config, vocabulary.size)
    losses_S = finished.per_seed("valid_loss")
    some = bool(np.isfinite(losses_S).any())
    lab.require(some, "out", "a run with a seed whose loss is finite", "none")
    best = int(np.nanargmin(losses_S))
    return vocabulary, model, lab.of_seed(finished.load(model.init), best)


def generate(config: Config, finished: lab.Finished) -> None:
    """Prints what a finished run writes after a text; changes no file."""
    vocabulary, model, params = opened(config, finished)
    seed = finished.asked.train.seed
    file, prompt = config.prompt_file, corpus.tidy(config.generate or "")
    option = "--prompt-file" if file else "--generate"
    try:
        prompt = corpus.from_path(file) if file else prompt
        texts = written(model, params, vocabulary, prompt, seed, config)
    except ValueError as error:
        raise lab.UsageError(f"{option}: {error}") from error
    for text in texts:
        for piece in text:
            print(piece, end="", flush=True)


def predict(config: Config, finished: lab.Finished) -> lab.Report:
    """Nats per character of a new text, read in one pass."""
    vocabulary, model, params = opened(config, finished)
    path = config.predict or Path()
    tokens = map(vocabulary.encode, corpus.pieces(path))
    try:
        nats, count = nats_of_pieces(model, params, tokens)
    except ValueError as error:
        raise lab.UsageError(f"--predict: {path}: {error}") from error
    title = f"{path}, {count:,} predicted characters"
    return lab.Report([per_character(title, {config.cell: nats})])


STUDY = lab.Study(
    *("language_model", RECIPES, load, task, report),
    prepare=prepare,
    digested=corpus.digested,
    answers={
        **{"generate": generate, "prompt_file": generate, "predict": predict},
        "demo": page(opened),
        "export": partial(card.share, card.language_model, network),
    },
)

if __name__ == "__main__":
    lab.main(STUDY)
