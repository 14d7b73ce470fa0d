"""Translates: an encoder reads a sentence, a decoder with attention writes another.

    python -m experiments.translation --data-dir FOLDER --devices 2
    python -m experiments.translation --data-dir FOLDER --source de
    python -m experiments.translation --data-dir FOLDER --attention none
    python -m experiments.translation --data-dir FOLDER --target ko
    python -m experiments.translation --pairs FILE --source fr --target vi
    python -m experiments.translation --out RUN --translate "A dog runs in the snow."
    python -m experiments.translation --out RUN --predict FILE
    python -m experiments.translation --out RUN --export FOLDER

With m_s what the encoder, which reads in both directions, gives at token s of the
source, and e_t the vector of the target's token before t, a row of E,

    h_t = cell([e_t, a_{t-1}], h_{t-1}),    h_0 = tanh([last states of the encoder] W_0)
    c_t = sum over s of softmax(h_t . m_s W_k)_s m_s
    a_t = tanh([c_t, h_t] W),    p(y_t) = softmax(a_t U E^T + b)

Tokens are subwords in lower case, learned on the training sentences. The result is BLEU
by sacrebleu, lower-cased, greedy and with a beam of 5: for English and German on
test_2016_flickr, for English and Korean on a tenth of Tatoeba's 3,700 pairs, where into
Korean the n-grams are of characters. Of pairs of your own a tenth is for the test and a
tenth for validation. What to expect, with one seed:

                        greedy   beam    minutes on two cores
    en to de            36.44   37.43    28, other work beside it
      --attention none  23.48   25.43
      the source as it is        0.74
    en to ko            13.54   15.40     8, other work beside it; of characters
      the source as it is        0.56
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jax
import numpy as np

import jaxrnn as rnn
from experiments import card, lab
from experiments.data import own_pairs
from experiments.data.pairs import Pairs, make_pairs, one_below_another, side_by_side
from experiments.data.parallel import Corpus
from experiments.data.subwords import Subwords, kept_subwords
from experiments.measures.bleu import bleu_per_seed, compare
from experiments.models.interpreter import Interpreter, interpreter

SHOWN = 4  # translations printed, and drawn
SUBWORDS = "subwords.{}.json"  # by language
Even = Annotated[lab.AtLeast1, lab.Range("an even number", lambda v: v % 2 == 0)]
Penalty = Annotated[float, lab.Range("in [0, 10]", lambda v: 0 <= v <= 10)]


@dataclass(frozen=True)
class Config(own_pairs.OwnPairs, card.Sharing):
    """Translates sentences, and shows where it looks while it does.

    The defaults shown are those of the chosen --preset, --source and --target.
    """

    preset: Literal["default", "smoke"] = "default"
    """A set of defaults: default, for results; smoke, to see quickly that all works."""
    attention: Literal["luong", "bahdanau", "none"] = "luong"
    """How the decoder looks at the source; none: it has the encoder's last states."""
    cell: Literal["gru", "lstm"] = "gru"
    """The recurrent cell."""
    embedding_size: lab.AtLeast1 = 192
    """Size of a token's vector."""
    hidden_size: Even = 256
    """Size of the decoder's state; each direction of the encoder has half of it."""
    vocab_size: lab.AtLeast1 = 4000
    """Subwords of each language."""
    dropout: lab.Share = 0.3
    """Share left out while training: of vectors, encoder's and decoder's outputs."""
    label_smoothing: lab.Share = 0.1
    """Share of the target that all tokens have alike while training."""
    scheduled_sampling: lab.Share = 0.0
    """Probability that the decoder reads its own draw in training."""
    max_tokens: lab.AtLeast1 = 40
    """Leave out training pairs with more tokens, in either language."""
    lengths: lab.AtLeast1 = 8
    """Pad to at most n lengths, each of which is compiled once."""
    beam_size: lab.AtLeast1 = 5
    """How many translations are followed at once, beside the greedy one."""
    length_penalty: Penalty = 1.0
    """0: the most probable translation, a short one; 1: by the mean over its tokens."""
    translate: lab.Asked[tuple[str, ...] | None] = None
    """Translate these texts with the finished run in --out, and do nothing else."""
    predict: lab.Asked[Path | None] = None
    """Translate the lines of this file with the finished run in --out, and write them
    to its folder. With translations after a tab in each line: how good is it?"""

    def __post_init__(self):
        super().__post_init__()
        if self.translate is not None:
            texts = bool(self.translate) and all(map(str.strip, self.translate))
            lab.require(texts, "translate", "some text", "none")


KOREAN = {"vocab_size": 2000, "dropout": 0.4}  # a tenth as many pairs
KOREAN |= {"epochs": 40, "batch_size": 32, "learning_rate": 1e-3}
SMOKE = {
    **{"embedding_size": 61, "hidden_size": 62, "vocab_size": 1000, "dropout": 0.0},
    **{"max_tokens": 24, "lengths": 2, "beam_size": 3, "sentences": 307},
    **{"epochs": 2, "batch_size": 32, "learning_rate": 1e-2},
}
TRAIN = lab.Training(epochs=24, batch_size=128, learning_rate=2e-3, weight_decay=1e-4)
RECIPES = lab.Recipes(
    Config(train=TRAIN),
    lab.When({"source": "de"}, {"source": "de", "target": "en"}),
    lab.When({"source": "ko"}, {"source": "ko", "target": "en", **KOREAN}),
    lab.When({"target": "ko"}, KOREAN),
    lab.When({"pairs": lab.GIVEN}, {"source": "source", "target": "target"}),
    lab.When({"preset": "smoke"}, SMOKE),
)


def load(config: Config) -> Corpus:
    """Loads the sentences and their translations."""
    corpus = config.load()
    lab.check_batch_size(config.train.batch_size, len(corpus.train.pairs()[0]))
    return corpus


def make_interpreter(config: Config, source: Subwords, target: Subwords) -> Interpreter:
    """The equations above, for these subwords."""
    net = ("cell", "embedding_size", "hidden_size", "attention", "dropout")
    search = ("scheduled_sampling", "lengths", "beam_size", "length_penalty")
    options = {name: getattr(config, name) for name in (*net, *search)}
    return interpreter(source, target, **options)


class Problem(NamedTuple):
    """An interpreter, and the sentences that it is trained and measured on."""

    corpus: Corpus
    interpreter: Interpreter
    train: Pairs
    val: Pairs
    words: str  # that translations are compared by


def prepare(config: Config, corpus: Corpus, keep: lab.Keep) -> Problem:
    """Learns subwords on the training sentences, and makes a network for them."""
    names = (SUBWORDS.format(name) for name in (config.source, config.target))
    both = zip(names, corpus.train.pairs(), strict=True)
    size = config.vocab_size
    subwords = (kept_subwords(keep, name, texts, size) for name, texts in both)
    inter = make_interpreter(config, *subwords)
    train, val = (make_pairs(part, inter.source, inter.target) for part in corpus[1:3])
    words = own_pairs.words_of(config.target, corpus.train.pairs()[1])
    return Problem(corpus, inter, train.up_to(config.max_tokens), val, words)


def task(config: Config, problem: Problem) -> lab.Task:
    """Learns each token by its cross-entropy, given the source and those before."""
    corpus, inter, train, val, words = problem

    def loss(params, source, source_mask, target, target_mask, key):
        inputs, labels, mask = target[:-1], target[1:], target_mask[1:]
        logits = inter.net.logits(params, source, source_mask, inputs, mask, key)
        smoothing = config.label_smoothing
        smooth = rnn.cross_entropy(logits, labels, mask, label_smoothing=smoothing)
        return smooth, {"nats": rnn.cross_entropy(logits, labels, mask)}

    def measure(params):
        greedy = inter.translate(params, corpus.val.sources)
        return {
            "val_nats": inter.nats_per_token(params, val),
            "val_bleu": bleu_per_seed(greedy, corpus.val.references, words)[0],
        }

    batches = inter.batches(train, config.train.batch_size)
    return lab.Task(inter.net.init, loss, batches, measure, "val_bleu")


def report(config: Config, problem: Problem, outcome: lab.Outcome) -> lab.Report:
    """BLEU of the test sentences, translations, and where the first seed looks."""
    from experiments.plots import curves
    from experiments.plots.translation import bars, heat_maps

    corpus, inter, train, _, words = problem
    (sources, references), params = corpus.test, outcome.params
    pair = f"{config.source} to {config.target}"
    title = f"{pair}, attention: {config.attention}"
    said = {  # by each seed
        "copy": [sources],
        "greedy": inter.translate(params, sources),
        "beam": inter.translate(params, sources, beam=True),
    }
    bleu, bleu_by_length, signature = compare(said, sources, references, words)
    texts = {"source": sources, "reference": list(map(" / ".join, references))}
    texts |= {name: said[name][0] for name in ("greedy", "beam")}  # of the first seed
    every, used = len(corpus.train.pairs()[0]), len(train.sources)
    names = {"beam": f"beam of {config.beam_size}", "greedy": "greedy"}
    names |= {"copy": "the source as it is"}
    table = lab.Table(
        f"BLEU of {len(sources)} test sentences from {pair} ({signature})",
        {"BLEU": ".2f"},
        [lab.Row(label, [bleu[name]]) for name, label in names.items()],
    )
    facts = {
        "data": corpus.name,
        **{"train_pairs": used, "train_pairs_left_out": every - used},
        **{"val_sentences": len(corpus.val.sources), "test_sentences": len(sources)},
        **{"source_subwords": inter.source.size, "target_subwords": inter.target.size},
        "weights": sum(leaf[0].size for leaf in jax.tree.leaves(params)),
        "val_bleu": np.max([e["val_bleu"] for e in outcome.history], axis=0).mean(),
        **{f"test_bleu_{name}": of_seeds.mean() for name, of_seeds in bleu.items()},
        **{"test_bleu_per_seed": bleu, "test_bleu_by_length": bleu_by_length},
        "bleu_signature": signature,
    }
    panels = {"cross-entropy (nats a token)": ["train_nats", "val_nats"]}
    panels["BLEU"] = ["val_bleu"]
    figures = {
        "curves.png": lambda path: curves(path, outcome.history, panels, title),
        "lengths.png": lambda path: bars(path, bleu_by_length, title),
    }
    if config.attention != "none":
        some = sources[:SHOWN], texts["beam"][:SHOWN]
        maps = inter.look(lab.of_seed(params, 0), *some)
        figures["attention.png"] = lambda path: heat_maps(path, maps, title)
    body = [*one_below_another(texts, SHOWN), table]
    return lab.Report(body, facts, figures, {"translations.tsv": side_by_side(texts)})


def opened(config: Config, finished: lab.Finished) -> tuple[Interpreter, Any]:
    """The interpreter of a finished run, and the params of its seeds."""
    languages = config.source, config.target
    paths = (finished.path / SUBWORDS.format(language) for language in languages)
    inter = make_interpreter(config, *map(Subwords.load, paths))
    return inter, finished.load(inter.net.init)


def answer(config: Config, finished: lab.Finished) -> lab.Report:
    """Translates the texts of `--translate` by the first seed."""
    texts, (source, target) = config.translate or (), (config.source, config.target)
    inter, params = opened(config, finished)
    pairs = zip(texts, inter.by_first(params, texts), strict=True)
    return lab.Report([f"{source}: {text}\n{target}: {said}" for text, said in pairs])


def predict(config: Config, finished: lab.Finished) -> lab.Report:
    """Translates the lines of `--predict` by the first seed."""
    inter, params = opened(config, finished)
    questions = own_pairs.read_questions(config.predict or Path())
    return inter.report(params, questions, config.target, finished.path)


STUDY = lab.Study(
    *("translation", RECIPES, load, task, report, prepare),
    answers={
        **{"translate": answer, "predict": predict},
        "export": partial(card.share, card.translation, make_interpreter),
    },
)

if __name__ == "__main__":
    lab.main(STUDY)
