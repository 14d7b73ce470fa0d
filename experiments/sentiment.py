"""Reads a review and tells whether it is for or against the film, and by which words.

    python -m experiments.sentiment --data-dir FOLDER --devices 2
    python -m experiments.sentiment --data-dir FOLDER --devices 2 --dataset sst2
    python -m experiments.sentiment --out RUN --classify "a film to forget"

With x_t the subwords of the text and E a table of vectors, one network that reads
forward and one that reads backward, attention that learns what to ask for (q), and a
decision on what it has gathered,

    h_t = [forward(E x_t, ...); backward(E x_t, ...)],    a = softmax(h q)
    p(positive) = sigmoid(v sum_t a_t h_t + b)

In training a share of the subwords is replaced by the one for what is unknown. So one
may ask the network what it would say without a word:

    contribution of a word = logit(text) - logit(text with that word unknown)

The attention a_t says where the network looked, which need not be what moved it (Jain
and Wallace, 2019); the report says how often the two name the same word.

The best epoch is chosen on validation documents; the test documents are read once.

What to expect: right answers on the test documents, with time on two cores.

                                     nsmc       sst2
    the more frequent answer         49.65 %    49.92 %
    logistic regression on n-grams   87.46 %    81.11 %
    this network                     86.78 %    80.29 %, mean of ten (78.64 to 81.27 %)
    the ten, their mean probability             80.83 %
    minutes                          7          5, other work beside it
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn as rnn
from experiments import runs, training
from experiments.data.buckets import Buckets, make_buckets, pad
from experiments.data.documents import (
    DATASETS,
    DocumentData,
    Documents,
    Tokenized,
    load_documents,
    tokenize,
)
from experiments.data.subwords import UNKNOWN, Subwords
from experiments.measures.decisions import binary_scores, majority, together
from experiments.measures.tfidf import n_gram_accuracy
from experiments.measures.words import (
    Explanation,
    agreement,
    explain,
    telling_words,
)
from experiments.plots import curves, use_korean_font_for
from experiments.plots.sentiment import draw_contributions, draw_words

EVAL_BATCH = 256
SUBWORDS = "subwords.json"
EVAL_TOKENS = 2**15  # at most so many in a batch that is only read
EXPLAINED = 5000  # so many test documents are read again without each of their words,
EXPLAINED_WORDS = 50_000  # and no more than have so many words together
SHOWN = 8
OFTEN = 10  # occurrences that a word must have to be listed


@dataclass(frozen=True)
class Options(runs.Options):
    """Where and how a run runs, and what a finished one is asked."""

    classify: str | None = None
    """Train nothing: what does the finished run in --out say of this text? (Its first
    seed says it.)"""

    def __post_init__(self):
        super().__post_init__()
        if self.classify is not None:
            runs.only(self, "classify")
            runs.require(bool(self.classify.strip()), "classify", "some text", "none")


@dataclass(frozen=True)
class Config:
    """Reads a text and tells whether it is positive or negative, and by which words.

    The defaults shown are those of the chosen --dataset and --preset.
    """

    dataset: Literal["nsmc", "sst2", "tsv"] = "nsmc"
    """Korean or English reviews, or files of your own: train.tsv, validation.tsv and
    test.tsv in --data-dir, each line "label<TAB>document" with the label 0 or 1."""
    preset: Literal["default", "smoke"] = "default"
    """A set of defaults: default, for results; smoke, to see quickly that all works."""
    documents: int | None = None
    """Use only so many documents of each split, the first ones; None: all."""
    vocab_size: int = 16_000
    """How many subwords are learned, from the training documents."""
    embedding_size: int = 128
    """Size of the vector of a subword."""
    cell: Literal["elman", "gru", "lstm"] = "gru"
    """The recurrent cell."""
    hidden_size: int = 128
    """Size of the hidden state, of each direction."""
    layers: int = 1
    """How many bidirectional layers, one on top of the other."""
    pool: Literal["attention", "mean", "max", "last"] = "attention"
    """How the states become one vector; last: the final state of each direction."""
    dropout: float = 0.5
    """Share of the units left out while training, of the embedding and of all after."""
    word_dropout: float = 0.15
    """Share of the subwords made unknown while training."""
    max_tokens: int = 64
    """Longer documents are cut to so many subwords in training, and only there."""
    buckets: int = 8
    """At most so many padded lengths, each of which is compiled once."""
    train: training.Settings = field(
        default_factory=lambda: training.Settings(
            epochs=5, batch_size=128, learning_rate=2e-3, weight_decay=1e-2
        )
    )
    run: Options = field(default_factory=Options)

    def __post_init__(self):
        sizes = ("vocab_size", "embedding_size", "hidden_size", "layers", "buckets")
        runs.check(self, at_least_1=(*sizes, "documents", "max_tokens"))
        runs.check(self, shares=("dropout", "word_dropout"))


def defaults(dataset: str, preset: str) -> Config:
    """The options of a data set."""
    config = Config()
    if dataset != "nsmc":  # a few thousand documents
        config = Config(
            vocab_size=8000,
            embedding_size=64,
            hidden_size=64,
            word_dropout=0.2,
            buckets=5,
            train=replace(config.train, epochs=8, batch_size=64, seeds=10),
        )
    if preset == "smoke":
        config = replace(
            config,
            documents=1200,
            vocab_size=2003,
            embedding_size=29,
            hidden_size=23,
            dropout=0.1,
            buckets=2,
            train=replace(
                config.train, epochs=3, batch_size=16, learning_rate=1e-2, seeds=1
            ),
        )
    return config


parse = runs.parser("sentiment", defaults, dataset="nsmc", preset="default")


class Params(NamedTuple):
    """Weights of the network."""

    reader: Any
    query: jax.Array  # [2 H], what the attention asks for
    readout: Any


class Network(NamedTuple):
    """From the subwords of a document to a decision."""

    reader: rnn.Cell  # tokens [T] to states [T, 2 H]
    readout: rnn.Cell
    size: int  # 2 H
    pool: str
    word_dropout: float

    def init(self, key: jax.Array) -> Params:
        reader_key, readout_key = jax.random.split(key)
        return Params(
            self.reader.init(reader_key),
            jnp.zeros(self.size),  # the attention begins as a mean
            self.readout.init(readout_key),
        )

    def read(
        self,
        params: Params,
        tokens: jax.Array,
        mask: jax.Array | None = None,
        key: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """The logit of "positive" `[]`, and how much of it came from where, `[T]`."""
        reader_key = readout_key = None
        if key is not None:
            word_key, reader_key, readout_key = jax.random.split(key, 3)
            drop = jax.random.bernoulli(word_key, self.word_dropout, tokens.shape)
            tokens = jnp.where(drop, UNKNOWN, tokens)
        carry = self.reader.initial_carry(params.reader, reader_key)
        _, states = self.reader.unroll(params.reader, carry, tokens, mask=mask)
        pooled = pooling(self.pool, params.query, states, mask)
        carry = self.readout.initial_carry(params.readout, readout_key)
        _, logits = self.readout.unroll(params.readout, carry, pooled.output[None])
        return logits[0, 0], pooled.weights


def pooling(
    pool: str, query: jax.Array, states: jax.Array, mask: jax.Array | None
) -> rnn.Attended:
    """States `[T, 2 H]` as one vector, and the weight of each step in it."""
    if pool == "attention":
        return rnn.attention_pool(query, states, mask)
    if pool == "mean":
        return rnn.attention_pool(jnp.zeros_like(query), states, mask)
    steps = jnp.arange(len(states))
    valid = steps >= 0 if mask is None else mask
    if pool == "max":
        states = jnp.where(valid[:, None], states, -jnp.inf)
        came_from = states.argmax(0)
        weights = (came_from[None] == steps[:, None]).mean(1)
        return rnn.Attended(states.max(0), weights)
    ahead, back = jnp.split(states, 2, axis=1)  # padding stands at the end
    ends = [steps == 0, steps == valid.sum() - 1]
    weights = jnp.stack(ends).mean(0)
    return rnn.Attended(jnp.concatenate([rnn.last(ahead, mask), back[0]]), weights)


def network(config: Config, vocab_size: int) -> Network:
    """An embedding, bidirectional layers and a linear readout, with dropout between."""
    size = config.embedding_size
    layers = [rnn.embedding(vocab_size, size), rnn.dropout(config.dropout)]
    for layer in range(config.layers):
        if layer:
            layers.append(rnn.dropout(config.dropout))
        halves = (
            training.CELLS[config.cell](size, config.hidden_size) for _ in range(2)
        )
        layers.append(rnn.bidirectional(*halves))
        size = 2 * config.hidden_size
    return Network(
        rnn.chain(*layers),
        rnn.chain(rnn.dropout(config.dropout), rnn.linear(size, 1)),
        size,
        config.pool,
        config.word_dropout,
    )


@lru_cache
def predictor(net: Network) -> training.Compiled:
    """(params [S, ...], tokens [B, T], mask) -> logits [S, B], weights [S, B, T]."""
    of_batch = jax.vmap(net.read, (None, 0, 0))
    return training.Compiled(jax.vmap(of_batch, (0, None, None)))


def read_all(
    net: Network, params: Params, sequences: Sequence[np.ndarray], sizes: Sequence[int]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Reads each sequence once, padded to the least of the sizes that holds it.

    Returns:
      Logits [S, N], and for each sequence the weights of its steps [S, T].
    """
    bucket = np.searchsorted(sizes, [len(s) for s in sequences])
    members = [np.flatnonzero(bucket == i) for i in range(len(sizes))]
    seeds = len(params.query)
    logits = np.empty((seeds, len(sequences)), np.float32)
    weights = [np.empty((seeds, len(s)), np.float32) for s in sequences]
    for size, some in zip(sizes, members, strict=True):
        batch_size = max(1, min(EVAL_BATCH, EVAL_TOKENS // size))
        for _, index, count in Buckets((size,), (some,), batch_size).every():
            found = predictor(net)(params, *pad(sequences, index, size))
            some_logits, some_weights = map(np.asarray, found)
            logits[:, index[:count]] = some_logits[:, :count]
            for row, i in enumerate(index[:count]):
                weights[i][:] = some_weights[:, row, : len(sequences[i])]
    return logits, weights


def explain_documents(
    net: Network,
    params: Params,
    documents: Tokenized,
    numbers: Sequence[int],
    sizes: Sequence[int],
) -> list[Explanation]:
    """Reads documents with all their words, and without each of them.

    Args:
      net: the network.
      params: its weights [S, ...]; those of the first seed are used.
      documents: of which some are explained.
      numbers: those.
      sizes: padded lengths.
    """
    first_seed = jax.tree.map(lambda a: a[:1], params)

    def read(sequences):
        (logits,), weights = read_all(net, first_seed, sequences, sizes)
        return logits, [of_one[0] for of_one in weights]

    return explain(read, *documents.at(numbers), unknown=UNKNOWN)


class Problem(NamedTuple):
    """A network and the documents that it is trained and measured on."""

    config: Config
    net: Network
    train: Tokenized
    validation: Tokenized
    test: Tokenized
    buckets: Buckets  # of the training documents, cut if they are long

    @property
    def sizes(self) -> tuple[int, ...]:
        """Padded lengths that hold any document."""
        longest = int(max(self.validation.lengths.max(), self.test.lengths.max()))
        sizes = self.buckets.sizes
        while sizes[-1] < longest:
            sizes = (*sizes, min(2 * sizes[-1], longest))
        return sizes

    def logits(self, params: Params, documents: Tokenized) -> np.ndarray:
        """[S, N]."""
        return read_all(self.net, training.local(params), documents.tokens, self.sizes)[
            0
        ]


def make_job(problem: Problem, mesh: jax.sharding.Mesh | None) -> training.Job:
    """Training of all seeds at once; the best epoch of each is kept."""
    config, net, buckets = problem.config, problem.net, problem.buckets
    settings = config.train
    optimizer = training.make_optimizer(
        settings, settings.epochs * buckets.steps, training.matrices
    )

    def loss_fn(params, tokens, mask, label, key):
        logit, _ = net.read(params, tokens, mask, key)
        aux = {"accuracy": ((logit > 0) == (label > 0)).astype(logit.dtype)}
        return rnn.sigmoid_cross_entropy(logit, label), aux

    seeds = range(settings.seed, settings.seed + settings.seeds)

    @lru_cache(1)
    def plan(epoch):
        return buckets.epoch(epoch, seeds)

    def batches(epoch, first, stop, share):
        del stop  # one update at a time: the next has another shape
        size, numbers = plan(epoch)[first]
        index = share.of(numbers)[:, None]  # [S, 1, B]
        tokens, mask = pad(problem.train.tokens, index, size)
        return tokens, mask, problem.train.labels[index]

    def measure(state):
        logits = problem.logits(state.params, problem.validation)
        found = binary_scores(logits, problem.validation.labels)
        return {f"validation_{name}": values for name, values in found.items()}

    return training.Job(
        settings=settings,
        start=training.starter(settings, net.init, optimizer),
        update=rnn.make_update(loss_fn, optimizer, has_aux=True, mesh=mesh),
        aux=("accuracy",),
        batches=batches,
        measure=measure,
        score="validation_accuracy",
        higher_is_better=True,
        steps=buckets.steps,
        piece=1,
        keep_best=True,
    )


def run(config: Config) -> None:
    """Loads the data and checks that all fits together, then does the study."""
    if config.run.classify is not None:
        classify(config, config.run.classify)
        return
    data = load_documents(config.dataset, config.run.data_dir)
    data = DocumentData(*(split.first(config.documents) for split in data))
    labels = set(data.train.labels.tolist())
    expected = "enough of the first training documents for both labels"
    runs.require(len(labels) == 2, "documents", expected, f"only label {labels}")
    mesh = runs.connect(config.run)
    training.check_batch_size(config.train, mesh, len(data.train.texts))
    runs.carry_out("sentiment", config, data, partial(study, config, data, mesh))


def study(config: Config, data: DocumentData, mesh, output: runs.Output) -> None:
    """Trains, measures, and writes and prints the results."""

    def learn(path):
        Subwords.of(data.train.texts, config.vocab_size, lowercase=True).save(path)

    subwords = Subwords.load(output.once(SUBWORDS, learn))
    train, validation, test = (tokenize(subwords, split) for split in data)
    net = network(config, subwords.size)
    lengths = np.minimum(train.lengths, config.max_tokens)
    buckets = make_buckets(lengths, config.train.batch_size, most=config.buckets)
    problem = Problem(config, net, train, validation, test, buckets)
    job = make_job(problem, mesh)
    result = training.train(job, output, config.run, mesh)

    params = result.params
    logits = problem.logits(params, test)
    final = binary_scores(logits, test.labels)
    held_out = binary_scores(problem.logits(params, validation), validation.labels)
    (all_seeds,) = binary_scores(together(logits), test.labels)["accuracy"]
    # Short reviews such as "최고" stand in both parts of NSMC.
    known = set(data.train.texts)
    new = np.array([text not in known for text in data.test.texts])
    none = np.full(len(logits), np.nan)
    new_accuracy = (
        binary_scores(logits[:, new], test.labels[new])["accuracy"]
        if new.any()
        else none
    )
    simple = {
        "majority": majority(data.train.labels, data.test.labels),
        "n_grams": n_gram_accuracy(*data, of=DATASETS[config.dataset].n_grams),
    }
    words = np.cumsum([len(words) for words in test.words[:EXPLAINED]])
    numbers = range(max(1, np.searchsorted(words, EXPLAINED_WORDS, side="right")))
    explanations = explain_documents(net, params, test, numbers, problem.sizes)
    telling = telling_words(explanations, OFTEN)
    same, chance = agreement(explanations)
    draw(config, output, result.history, explanations, telling)
    training.conclude(
        output,
        job,
        result,
        train_documents=len(data.train.texts),
        validation_documents=len(data.validation.texts),
        test_documents=len(data.test.texts),
        vocab_size_learned=subwords.size,
        padded_lengths=buckets.sizes,
        validation_accuracy=held_out["accuracy"].mean(),
        validation_accuracy_per_seed=held_out["accuracy"],
        test_accuracy=final["accuracy"].mean(),
        test_accuracy_per_seed=final["accuracy"],
        test_accuracy_together=all_seeds,
        test_loss=final["loss"].mean(),
        test_loss_per_seed=final["loss"],
        new_test_documents=int(new.sum()),
        new_test_accuracy=new_accuracy.mean(),
        majority_test_accuracy=simple["majority"],
        n_grams_test_accuracy=simple["n_grams"],
        explained_documents=len(explanations),
        attention_agrees=same,
        attention_agrees_by_chance=chance,
        words_for=[t._asdict() for t in telling[:-21:-1]],
        words_against=[t._asdict() for t in telling[:20]],
    )
    for explanation in samples(explanations):
        print(shown(explanation))
    for name, words in (("positive", telling[:-13:-1]), ("negative", telling[:12])):
        few = ", ".join(f"{t.word} {t.contribution:+.2f}" for t in words)
        print(f"words that speak for a {name} review, on average by: {few}")
    if not math.isnan(same):
        print(
            "the word most looked at is the one that moved the answer most in "
            f"{same:.0%} of the texts; by chance in {chance:.0%}"
        )
    print(
        f"accuracy on {len(new):,} test documents: "
        f"{runs.over_seeds(final['accuracy'], '.2%')}"
    )
    if 0 < new.sum() < len(new):
        print(
            f"on the {new.sum():,} of them whose text is not among the training "
            f"documents: {new_accuracy.mean():.2%}"
        )
    if config.train.seeds > 1:
        print(f"the mean probability of the seeds, an ensemble: {all_seeds:.2%}")
    print(
        f"for comparison: always the more frequent answer {simple['majority']:.2%}, "
        f"logistic regression on n-grams {simple['n_grams']:.2%}"
    )
    print(f"results in {output.path}")


def samples(explanations: Sequence[Explanation]) -> list[Explanation]:
    """The first ones of middle length: not chosen for what they show."""
    return [e for e in explanations if 4 <= len(e.words) <= 24][:SHOWN]


def verdict(explanation: Explanation) -> str:
    """The answer in words, and what is right."""
    names, p = ("negative", "positive"), explanation.probability
    said = f"{names[p > 0.5]} {max(p, 1 - p):.1%}"
    if explanation.label is None:
        return said
    return f"{said}, labelled {names[explanation.label]}"


def shown(explanation: Explanation) -> str:
    """A document with its answer and the words that weighed most."""

    def few(values, form):
        order = np.argsort(-np.abs(values), kind="stable")[:4]
        return ", ".join(f"{explanation.words[i]} {values[i]:{form}}" for i in order)

    return (
        f"{' '.join(explanation.words)}\n"
        f"    {verdict(explanation)}\n"
        f"    moved by: {few(explanation.contributions, '+.2f')}\n"
        f"    looked at: {few(explanation.attention, '.0%')}"
    )


def draw(config, output, history, explanations, telling) -> None:
    """Draws the curves, some documents, and the words that weighed most."""
    if not output.writes:
        return
    use_korean_font_for(word for e in explanations for word in e.words)
    with output.replacing("curves.png") as path:
        panels = {
            "cross-entropy (nats)": ("train_loss", "validation_loss"),
            "accuracy": ("train_accuracy", "validation_accuracy"),
        }
        curves(path, history, panels, title=f"{config.dataset}, {config.cell}")
    with output.replacing("words.png") as path:
        draw_words(path, telling)
    with output.replacing("documents.png") as path:
        some = samples(explanations)
        draw_contributions(
            path,
            [(verdict(e), e.words, e.contributions, e.attention) for e in some],
        )


def load(config: Config) -> tuple[Network, Subwords, Params]:
    """What a finished run has learned."""
    config, _ = runs.finished_run("sentiment", config, "classify")
    assert config.run.out is not None  # for the type checker
    subwords = Subwords.load(config.run.out / SUBWORDS)
    net = network(config, subwords.size)
    return net, subwords, training.saved_params(config, net.init)


def classify(config: Config, text: str) -> None:
    """Prints what a finished run says of a text, and by which words."""
    net, subwords, params = load(config)
    document = tokenize(subwords, Documents([text], np.zeros(1, np.int32)))
    sizes = [int(document.lengths[0])]
    (found,) = explain_documents(net, params, document, [0], sizes)
    found = found._replace(label=None)  # nobody knows
    print(verdict(found))
    print("contribution  attention  word")
    for word, value, share in zip(
        found.words, found.contributions, found.attention, strict=True
    ):
        print(f"{value:+12.2f}  {share:9.0%}  {word}")


if __name__ == "__main__":
    runs.main(parse, run)
