"""Reads a review and tells whether it is for or against the film, and by which words.

    python -m experiments.sentiment --data-dir FOLDER --devices 2
    python -m experiments.sentiment --data-dir FOLDER --devices 2 --dataset sst2
    python -m experiments.sentiment --texts FILE.csv --class-weights balanced
    python -m experiments.sentiment --out RUN --classify "a film to forget"
    python -m experiments.sentiment --out RUN --predict FILE.txt
    python -m experiments.sentiment --out RUN --export FOLDER
    python -m experiments.sentiment --out RUN --demo

With x_t the subwords of the text and E a table of vectors, one network that reads
forward, one that reads backward, attention that learns what to ask for (q), a decision,

    h_t = [forward(E x_t, ...); backward(E x_t, ...)],    a = softmax(h q)
    p(positive) = sigmoid(v sum_t a_t h_t + b)

In training a share of the subwords is replaced by the one for what is unknown. So one
may ask the network what it would say without a word:

    contribution of a word = logit(text) - logit(text with that word unknown)

The attention a_t need not be what moved the decision (Jain and Wallace, 2019): the
report says how often the two name the same word. The best epoch is chosen on validation
documents; the test documents are read once.

What to expect: right answers on the test documents, with time on two cores.

                                     nsmc       sst2
    the more frequent answer         49.65 %    49.92 %
    logistic regression on n-grams   87.46 %    81.11 %
    this network                     86.78 %    80.29 %, mean of ten (78.64 to 81.27 %)
    the ten, their mean probability             80.83 %
    minutes                          7          5, other work beside it
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from experiments import card, lab
from experiments.data import documents
from experiments.data.classes import keep_classes, kept_classes, of_each, told
from experiments.data.own_texts import OwnTexts, read_texts
from experiments.data.subwords import Subwords, kept_subwords
from experiments.demo.options import Showing
from experiments.demo.sentiment import page
from experiments.measures import decisions
from experiments.measures.accounts import account, listing
from experiments.measures.verdicts import verdicts
from experiments.models import classifier

SUBWORDS = "subwords.json"
EXPLAINED = 5000  # the most test documents that are read again without each word,
EXPLAINED_WORDS = 50_000  # and the most words that these have together


@dataclass(frozen=True)
class Config(OwnTexts, card.Sharing, Showing):
    """Reads a text and tells whether it is positive or negative, and by which words.

    The defaults shown are those of the chosen --dataset and --preset.
    """

    dataset: Literal["nsmc", "sst2", "tsv", "own"] = "nsmc"
    """Korean or English reviews; own: that of --texts; tsv: train.tsv, validation.tsv
    and test.tsv in --data-dir, each line "label<TAB>document" with the label 0 or 1."""
    preset: Literal["default", "smoke"] = "default"
    """A set of defaults: default, for results; smoke, to see quickly that all works."""
    documents: lab.AtLeast1 | None = None
    """Use only the first n documents of each split; None: all."""
    vocab_size: lab.AtLeast1 = 16_000
    """How many subwords are learned, from the training documents."""
    embedding_size: lab.AtLeast1 = 128
    """Size of the vector of a subword."""
    cell: lab.CellName = "gru"
    """The recurrent cell."""
    hidden_size: lab.AtLeast1 = 128
    """Size of the hidden state, of each direction."""
    layers: lab.AtLeast1 = 1
    """How many bidirectional layers, one on top of the other."""
    pool: classifier.Pool = "attention"
    """How the states become one vector; last: the final state of each direction."""
    dropout: lab.Share = 0.5
    """Share of the units left out while training, of the embedding and of all after."""
    word_dropout: lab.Share = 0.15
    """Share of the subwords made unknown while training."""
    max_tokens: lab.AtLeast1 = 64
    """Cut longer documents to their first n subwords, in training only."""
    buckets: lab.AtLeast1 = 8
    """Pad to at most n lengths, each of which is compiled once."""
    classify: lab.Asked[str | None] = None
    """Train nothing: what does the finished run in --out say of this text? (Its first
    seed says it.)"""

    def __post_init__(self):
        super().__post_init__()
        text = self.classify is None or bool(self.classify.strip())
        lab.require(text, "classify", "some text", "none")


TRAIN = lab.Training(epochs=5, batch_size=128, learning_rate=2e-3, weight_decay=1e-2)
SMALL = {  # a few thousand documents
    **{"vocab_size": 8000, "embedding_size": 64, "hidden_size": 64},
    **{"word_dropout": 0.2, "buckets": 5, "epochs": 8, "batch_size": 64, "seeds": 10},
}
SMOKE = {
    **{"documents": 1200, "vocab_size": 2003, "embedding_size": 29, "hidden_size": 23},
    **{"dropout": 0.1, "buckets": 2},
    **{"epochs": 3, "batch_size": 16, "learning_rate": 1e-2, "seeds": 1},
}
RECIPES = lab.Recipes(
    Config(train=TRAIN),
    lab.When({"dataset": ("sst2", "tsv")}, SMALL),
    lab.When({"texts": lab.GIVEN}, {"dataset": "own", **SMALL, "seeds": 3}),
    lab.When({"preset": "smoke"}, SMOKE),
)


class Data(NamedTuple):
    """Documents, and the names of their classes."""

    documents: documents.DocumentData
    classes: tuple[str, ...]


def load(config: Config) -> Data:
    """Loads the documents, of all labels."""
    data, classes = config.load()
    data = documents.DocumentData(*(split.first(config.documents) for split in data))
    labels = set(data.train.labels.tolist())
    every = "both" if len(classes) == 2 else "all"
    expected = f"enough of the first training documents for {every} labels"
    found = f"only label {labels}"
    lab.require(len(labels) == len(classes), "documents", expected, found)
    lab.check_batch_size(config.train.batch_size, len(data.train.texts))
    return Data(data, classes)


def network(
    config: Config, vocab_size: int, classes: int = 2, cell: Any = None
) -> classifier.Classifier:
    """The equations above; `cell` stands in the place of that of the config."""
    names = ("embedding_size", "hidden_size", "layers", "pool", "dropout")
    options = {name: getattr(config, name) for name in (*names, "word_dropout")}
    cell = cell or config.cell
    return classifier.classifier(cell, vocab_size, classes=classes, **options)


class Problem(NamedTuple):
    """A network, and the documents that it is trained and measured on."""

    data: documents.DocumentData
    classes: tuple[str, ...]
    vocab_size: int
    net: classifier.Classifier
    train: documents.Tokenized
    validation: documents.Tokenized
    test: documents.Tokenized
    buckets: lab.Buckets  # of the training documents, cut if they are long
    sizes: tuple[int, ...]  # padded lengths that hold all others


def prepare(config: Config, loaded: Data, keep: lab.Keep) -> Problem:
    """Learns subwords on the training documents, and makes a network for them."""
    data, classes = loaded
    if config.texts is not None:
        keep_classes(keep, classes)
    subwords = kept_subwords(keep, SUBWORDS, data.train.texts, config.vocab_size)
    train, validation, test = (documents.tokenize(subwords, part) for part in data)
    lengths = np.minimum(train.lengths, config.max_tokens)
    buckets = lab.make_buckets(lengths, config.train.batch_size, most=config.buckets)
    net = network(config, subwords.size, len(classes))
    longest = max(int(part.lengths.max()) for part in (validation, test))
    sizes = classifier.up_to(buckets.sizes, longest)
    parts = train, validation, test
    return Problem(data, classes, subwords.size, net, *parts, buckets, sizes)


def task(config: Config, problem: Problem) -> lab.Task:
    """Learns the labels by their cross-entropy; the best epoch of each seed is kept."""
    _, classes, _, net, train, validation, _, buckets, sizes = problem

    weights = None
    if config.class_weights == "balanced":
        weights = jnp.array(decisions.class_weights(train.labels, len(classes)))

    def loss(params, tokens, mask, label, key):
        logit, _ = net.read(params, tokens, mask, key)
        nats, right = classifier.told(logit, label)
        return nats if weights is None else weights[label] * nats, {"accuracy": right}

    def measure(params):
        logits_SN, _ = classifier.read_all(net, params, validation.tokens, sizes)
        found = decisions.scores(logits_SN, validation.labels)
        if weights is not None:
            answers_SN = decisions.chosen(logits_SN)
            found["macro_f1"] = decisions.macro_f1(answers_SN, validation.labels)
        return {f"validation_{name}": values for name, values in found.items()}

    def read(numbers, size):
        return *lab.pad(train.tokens, numbers, size), train.labels[numbers]

    batches = lab.bucketed(buckets, read)
    best = "validation_accuracy" if weights is None else "validation_macro_f1"
    return lab.Task(net.init, loss, batches, measure, best)


def report(config: Config, problem: Problem, outcome: lab.Outcome) -> lab.Report:
    """Accuracy beside that of simple classifiers, and by which words it decides."""
    from experiments.plots import curves
    from experiments.plots import sentiment as plots

    data, classes, vocab_size, net, _, validation, test, buckets, sizes = problem
    held_out_SN, _ = classifier.read_all(net, outcome.params, validation.tokens, sizes)
    held_out = decisions.scores(held_out_SN, validation.labels)["accuracy"]
    logits_SN, _ = classifier.read_all(net, outcome.params, test.tokens, sizes)
    known, balanced = documents.DATASETS.get(config.dataset), config.class_weights
    how = known.n_grams if known else "letters", balanced == "balanced"
    whose = f"{config.cell}, {config.pool}"
    found = verdicts(whose, logits_SN, data, *how)
    some = test.up_to(EXPLAINED, words=EXPLAINED_WORDS)
    explained = classifier.explain(net, outcome.params, some, sizes)
    words = account(explained, classes=classes)
    table = lab.Table(
        f"accuracy on {len(test.labels):,} test documents of {config.dataset}, and on "
        f"the {found.new:,} of them whose text is not among the training documents",
        {"all": ".2%", "new": ".2%", "macro F1": ".4f"},
        [lab.Row(*row) for row in found.rows.items()],
    )
    facts = {
        **{f"{part}_documents": len(of.texts) for part, of in data._asdict().items()},
        **{"vocab_size_learned": vocab_size, "padded_lengths": buckets.sizes},
        **{"validation_accuracy": held_out.mean()},
        **{"validation_accuracy_per_seed": held_out, **found.facts, **words.facts},
    }
    names = {"cross-entropy (nats)": "loss", "accuracy": "accuracy"}
    panels = {label: (f"train_{n}", f"validation_{n}") for label, n in names.items()}
    title = f"{config.dataset}, {config.cell}"
    own = config.texts is not None
    what, sides = ("", plots.poles(classes)) if own else ("review", plots.REVIEWS)
    figures = {
        "curves.png": lambda path: curves(path, outcome.history, panels, title),
        "words.png": lambda path: plots.draw_words(path, words.telling, what),
        "documents.png": lambda path: plots.draw_contributions(
            path, words.samples, sides
        ),
    }
    each = of_each("documents", found.answers, test.labels, classes)
    body = [*words.lines, table, *([each] if own else [])]
    return lab.Report(body, facts, figures)


def reader(config: Config, finished: lab.Finished):
    """The subwords, the names of the classes, and the network of a finished run."""
    subwords, classes = Subwords.load(finished.path / SUBWORDS), documents.SIDES
    if config.texts is not None:
        classes = kept_classes(finished.path)
    return subwords, classes, network(config, subwords.size, len(classes))


def answer(config: Config, finished: lab.Finished) -> lab.Report:
    """What a finished run says of the text of `--classify`, and by which words."""
    subwords, classes, net = reader(config, finished)
    texts = documents.Documents([config.classify or ""], np.zeros(1, np.int32))
    document = documents.tokenize(subwords, texts)
    params, sizes = finished.load(net.init), document.lengths.tolist()
    (found,) = classifier.explain(net, params, document, sizes)
    found = found._replace(label=None)  # nobody knows it
    return lab.Report([listing(found, classes)])


def predict(config: Config, finished: lab.Finished) -> lab.Report:
    """Which classes the texts in files have, by the mean of the seeds."""
    subwords, classes, net = reader(config, finished)
    texts, places = zip(*read_texts(config.predict or (), config), strict=True)
    some = documents.Documents(list(texts), np.zeros(len(texts), np.int32))
    read = documents.tokenize(subwords, some)
    sizes = classifier.up_to((config.max_tokens,), int(read.lengths.max()))
    logits_SN, _ = classifier.read_all(net, finished.load(net.init), read.tokens, sizes)
    p_NK = decisions.probabilities(logits_SN)
    asked, more = ("text", texts), {"place": places}
    return told(finished.path, asked, classes, p_NK, more)


STUDY = lab.Study(
    *("sentiment", RECIPES, load, task, report, prepare),
    digested=lambda data: data.documents,
    answers={
        **{"predict": predict, "classify": answer, "demo": page(reader, network)},
        "export": partial(card.share, card.sentiment, network),
    },
)

if __name__ == "__main__":
    lab.main(STUDY)
