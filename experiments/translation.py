"""Translates: an encoder reads a sentence, a decoder with attention writes another.

    python -m experiments.translation --data-dir FOLDER --devices 2
    python -m experiments.translation --data-dir FOLDER --source de
    python -m experiments.translation --data-dir FOLDER --attention none
    python -m experiments.translation --data-dir FOLDER --target ko
    python -m experiments.translation --out RUN --translate "A dog runs in the snow."

With m_s what the encoder, which reads in both directions, gives at token s of the
source, and e_t the vector of the target's token before t,

    h_t = cell([e_t, a_{t-1}], h_{t-1}),    h_0 = tanh([last states of the encoder] W_0)
    c_t = sum over s of softmax(h_t . m_s W_k)_s m_s
    a_t = tanh([c_t, h_t] W),    p(y_t) = softmax(a_t U E^T + b)

where the rows of E are the vectors e (Luong, Pham and Manning, 2015; Press and Wolf,
2017). Tokens are subwords in lower case, learned on the training sentences.

The result is BLEU by sacrebleu, lower-cased, greedy and with a beam of 5: for English
and German on test_2016_flickr, for English and Korean on a tenth of Tatoeba's 3,700
pairs, where into Korean the n-grams are of characters.

What to expect, with one seed:

                        greedy   beam    minutes on two cores
    en to de            36.44   37.43    28, other work beside it
      --attention none  23.48   25.43
      the source as it is        0.74
    en to ko            13.54   15.40     8, other work beside it; of characters
      the source as it is        0.56
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
from experiments.data.parallel import WORDS, Corpus, Part, load_corpus
from experiments.data.subwords import START, STOP, UNKNOWN, Subwords
from experiments.measures.bleu import bleu, by_length
from experiments.plots import curves, use_korean_font_for
from experiments.plots.translation import AttentionMap, bars, heat_maps

DECODED = 100  # sentences translated at once
SHOWN = 4  # translations printed, and drawn
SUBWORDS = "subwords.{}.json"  # by language
Language = Literal["en", "de", "ko"]


@dataclass(frozen=True)
class Options(runs.Options):
    """Where and how a run runs, and what a finished one translates."""

    translate: tuple[str, ...] | None = None
    """Translate these texts with the finished run in --out, and do nothing else."""

    def __post_init__(self):
        super().__post_init__()
        if self.translate is not None:
            runs.only(self, "translate")
            texts = bool(self.translate) and all(map(str.strip, self.translate))
            runs.require(texts, "translate", "some text", "none")


@dataclass(frozen=True)
class Config:
    """Translates sentences, and shows where it looks while it does.

    The defaults shown are those of the chosen --preset, --source and --target.
    """

    preset: Literal["default", "smoke"] = "default"
    """A set of defaults: default, for results; smoke, to see quickly that all works."""
    source: Language = "en"
    """The language to translate from."""
    target: Language = "de"
    """The language to translate into; one of the two is en."""
    attention: Literal["luong", "bahdanau", "none"] = "luong"
    """How the decoder looks at the source; none: it has the encoder's last states."""
    cell: Literal["gru", "lstm"] = "gru"
    """The recurrent cell."""
    embedding_size: int = 192
    """Size of a token's vector."""
    hidden_size: int = 256
    """Size of the decoder's state; each direction of the encoder has half of it."""
    vocab_size: int = 4000
    """Subwords of each language."""
    dropout: float = 0.3
    """Share left out while training: of vectors, encoder's and decoder's outputs."""
    label_smoothing: float = 0.1
    """Share of the target that all tokens have alike while training."""
    scheduled_sampling: float = 0.0
    """How often the decoder reads a draw of its own while training."""
    max_tokens: int = 40
    """Leave out training pairs with more tokens, in either language."""
    lengths: int = 8
    """Pad to at most so many lengths; for each there are programs to compile."""
    beam_size: int = 5
    """How many translations are followed at once, beside the greedy one."""
    length_penalty: float = 1.0
    """0: the most probable translation, a short one; 1: by the mean over its tokens."""
    sentences: int | None = None
    """Use only so many sentences of each part of the data; None: all."""
    train: training.Settings = field(default_factory=lambda: SETTINGS)
    run: Options = field(default_factory=Options)

    def __post_init__(self):
        penalty = self.length_penalty
        runs.require(0 <= penalty <= 10, "length_penalty", "in [0, 10]", penalty)
        sizes = ("embedding_size", "hidden_size", "vocab_size", "max_tokens", "lengths")
        runs.check(self, at_least_1=(*sizes, "beam_size", "sentences"))
        runs.check(self, shares=("dropout", "label_smoothing", "scheduled_sampling"))
        even = self.hidden_size % 2 == 0
        runs.require(even, "hidden_size", "an even number", self.hidden_size)
        pair = {self.source, self.target}
        expected = f"en, since --source is {self.source}"
        if self.source == "en":
            expected = "de or ko, since --source is en"
        fits = len(pair) == 2 and "en" in pair
        runs.require(fits, "target", expected, self.target)


SETTINGS = training.Settings(
    epochs=24, batch_size=128, learning_rate=2e-3, weight_decay=1e-4
)


def defaults(preset: str, source: str, target: str) -> Config:
    """The options of a preset and a pair of languages."""
    other = "ko" if "ko" in (source, target) else "de"
    languages = ("en", other) if source == "en" else (other, "en")
    config = Config(source=languages[0], target=languages[1])
    if other == "ko":  # a tenth as many pairs
        config = replace(
            config,
            vocab_size=2000,
            dropout=0.4,
            train=replace(SETTINGS, epochs=40, batch_size=32, learning_rate=1e-3),
        )
    if preset == "smoke":
        config = replace(
            config,
            preset="smoke",
            embedding_size=61,
            hidden_size=62,
            vocab_size=1000,
            dropout=0.0,
            max_tokens=24,
            lengths=2,
            beam_size=3,
            sentences=307,
            train=replace(SETTINGS, epochs=2, batch_size=32, learning_rate=1e-2),
        )
    return config


parse = runs.parser("translation", defaults, preset="default", source="en", target="de")


class Params(NamedTuple):
    """Weights of the network."""

    encoder: Any
    bridge: Any
    decoder: Any


class Network(NamedTuple):
    """An encoder, a decoder, and the bridge from one's last states to the other."""

    config: Config
    source_size: int  # V of the source
    target_size: int

    @property
    def encoder(self) -> rnn.Cell:
        config, cell = self.config, training.CELLS[self.config.cell]
        size, half = config.embedding_size, config.hidden_size // 2
        return rnn.chain(
            rnn.embedding(self.source_size, size),
            rnn.dropout(config.dropout),
            rnn.bidirectional(cell(size, half), cell(size, half)),
            rnn.dropout(config.dropout),
        )

    @property
    def bridge(self) -> rnn.Cell:
        """Of all that makes up a carry."""
        size = self.config.hidden_size * (2 if self.config.cell == "lstm" else 1)
        return rnn.linear(size, size)

    def core(self, start: Any = None) -> rnn.Cell:
        """Decodes vectors, from a first carry of the recurrent cell."""
        config, size = self.config, self.config.hidden_size
        attends = config.attention != "none"
        inputs = config.embedding_size + (size if attends else 0)
        cell = training.CELLS[config.cell](inputs, size)
        if start is not None:
            cell = cell._replace(initial_carry=lambda params, key=None: start)
        if not attends:
            return cell
        attention = (
            rnn.luong(size, size)
            if config.attention == "luong"
            else rnn.bahdanau(size, size, size)
        )
        return rnn.input_feeding(rnn.chain(cell, attention), size)

    def decoder(self, start: Any = None) -> rnn.Cell:
        """From the token before to the logits of the next."""
        config = self.config
        decoder = rnn.tied_embedding(
            self.target_size,
            config.embedding_size,
            rnn.chain(
                rnn.dropout(config.dropout),
                self.core(start),
                rnn.dropout(config.dropout),
                rnn.linear(config.hidden_size, config.embedding_size),
            ),
        )
        if config.scheduled_sampling:
            return rnn.scheduled_sampling(decoder, config.scheduled_sampling)
        return decoder

    def init(self, key: jax.Array) -> Params:
        encoder_key, bridge_key, decoder_key = jax.random.split(key, 3)
        return Params(
            self.encoder.init(encoder_key),
            self.bridge.init(bridge_key),
            self.decoder().init(decoder_key),
        )

    def read(
        self,
        params: Params,
        source: jax.Array,
        mask: jax.Array,
        key: jax.Array | None = None,
    ) -> tuple[Any, jax.Array]:
        """Reads a sentence [S]: the decoder's first carry, and the memory [S, H]."""
        encoder = self.encoder
        carry = encoder.initial_carry(params.encoder, key)
        carry, memory = encoder.unroll(params.encoder, carry, source, mask=mask)
        ends = jax.tree.map(lambda *ends: jnp.concatenate(ends), *carry[2])
        parts, tree = jax.tree.flatten(ends)
        ends = jnp.concatenate(parts)[None]
        start = jnp.tanh(self.bridge.unroll(params.bridge, (), ends)[1][0])
        return tree.unflatten(jnp.split(start, len(parts))), memory

    def writer(
        self,
        params: Params,
        source: jax.Array,
        mask: jax.Array,
        key: jax.Array | None = None,
    ) -> rnn.Cell:
        """The decoder, with the sentence before its eyes."""
        start, memory = self.read(params, source, mask, key)
        decoder = self.decoder(start)
        if self.config.attention == "none":
            return decoder
        return rnn.attend(decoder, memory, mask)

    def logits(
        self,
        params: Params,
        source: jax.Array,
        source_mask: jax.Array,
        inputs: jax.Array,
        mask: jax.Array,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """After each of the given tokens of the target, [T, V]."""
        read_key, write_key = (None, None) if key is None else jax.random.split(key)
        decoder = self.writer(params, source, source_mask, read_key)
        carry = decoder.initial_carry(params.decoder, write_key)
        return decoder.unroll(params.decoder, carry, inputs, mask=mask)[1]

    def weights(
        self, params: Params, source: jax.Array, mask: jax.Array, inputs: jax.Array
    ) -> jax.Array:
        """Where it looks after each of the given tokens of the target, [T, S]."""
        start, memory = self.read(params, source, mask)
        vectors = rnn.embedding(self.target_size, self.config.embedding_size)
        core = rnn.attend(self.core(start), memory, mask)
        inputs = vectors.unroll(rnn.EmbeddingParams(params.decoder.w), (), inputs)[1]
        params = params.decoder.cell[1]
        _, read = rnn.trace(core, params, core.initial_carry(params), inputs)
        return read.weights


def sources_of(subwords: Subwords, texts: Sequence[str]) -> list[np.ndarray]:
    """What the encoder reads: tokens, and a stop."""
    return [np.append(tokens, np.int32(STOP)) for tokens in subwords.encode(texts)]


def targets_of(subwords: Subwords, texts: Sequence[str]) -> list[np.ndarray]:
    """What the decoder reads, a start and tokens, and what it is to write, one on."""
    ends = np.int32(START), np.int32(STOP)
    return [np.r_[ends[0], tokens, ends[1]] for tokens in subwords.encode(texts)]


class Pairs(NamedTuple):
    """Tokens of sentences and of their translations."""

    sources: list[np.ndarray]
    targets: list[np.ndarray]

    @property
    def lengths(self) -> np.ndarray:
        """Steps that both need, [N]."""
        pairs = zip(self.sources, self.targets, strict=True)
        return np.array([max(len(s), len(t) - 1) for s, t in pairs])

    def up_to(self, most: int) -> "Pairs":
        """Those with at most so many steps."""
        chosen = np.flatnonzero(self.lengths <= most)
        return Pairs(*([of_pairs[i] for i in chosen] for of_pairs in self))

    def padded(self, index: np.ndarray, size: int) -> tuple[np.ndarray, ...]:
        """The chosen pairs: source, its mask, target, its mask."""
        return (
            *buckets.pad(self.sources, index, size),
            *buckets.pad(self.targets, index, size + 1),
        )


def pairs_of(texts: Part, source: Subwords, target: Subwords) -> Pairs:
    """The tokens of all pairs of a part."""
    sources, targets = texts.pairs()
    return Pairs(sources_of(source, sources), targets_of(target, targets))


def grouped(
    config: Config, lengths: np.ndarray, batch_size: int, *, together: bool = False
) -> buckets.Buckets:
    """Buckets of lengths that are multiples of 4, so that parts share programs."""
    lengths = -(-lengths // 4) * 4
    most = config.lengths
    return buckets.make_buckets(lengths, batch_size, most=most, together=together)


class Translator(NamedTuple):
    """A network and the subwords it reads and writes."""

    net: Network
    source: Subwords
    target: Subwords

    def __call__(
        self, params: Params, texts: Sequence[str], beam_size: int | None
    ) -> list[list[str]]:
        """The translations of texts by each seed, [S][N]; None for greedy ones."""
        sources = sources_of(self.source, texts)
        lengths = np.array([len(tokens) for tokens in sources])
        groups = grouped(self.net.config, lengths, min(DECODED, len(texts)))
        search = searcher(self.net, beam_size)
        seeds = len(jax.tree.leaves(params)[0])
        found = [[""] * len(texts) for _ in range(seeds)]
        for padded, index, count in groups.every():
            tokens = search(params, *buckets.pad(sources, index, padded))
            for of_seed, rows in zip(found, np.asarray(tokens), strict=True):
                for i, row in zip(index[:count], rows[:count], strict=True):
                    of_seed[i] = self.target.decode(row)
        return found


class Problem(NamedTuple):
    """A translator, and the sentences it is trained and measured on."""

    config: Config
    translate: Translator
    corpus: Corpus
    train_set: Pairs
    val_set: Pairs


@lru_cache
def searcher(net: Network, beam_size: int | None):
    """Makes (params [S, ...], sources [B, T], masks [B, T]) -> tokens [S, B, L]."""

    def search(params, source, mask):
        decoder = net.writer(params, source, mask)
        carry, length = decoder.initial_carry(params.decoder), 10 + len(source) * 3 // 2
        start = jnp.int32(START)
        if beam_size is None:
            return rnn.generate(
                decoder,
                params.decoder,
                carry,
                start,
                length,
                rnn.greedy,
                stop_token=STOP,
            ).tokens
        return rnn.beam_search(
            decoder,
            params.decoder,
            carry,
            start,
            length,
            beam_size=beam_size,
            stop_token=STOP,
            length_penalty=net.config.length_penalty,
        ).tokens[0]

    return jax.jit(jax.vmap(jax.vmap(search, (None, 0, 0)), (0, None, None)))


@lru_cache
def measurer(net: Network):
    """Makes (params [S, ...], *batch of pairs) -> nats of each pair's tokens [S, B]."""

    def nats(params, source, source_mask, target, target_mask):
        mask = target_mask[1:]
        logits = net.logits(params, source, source_mask, target[:-1], mask)
        return mask.sum().astype(logits.dtype) * rnn.cross_entropy(
            logits, target[1:], mask
        )

    over_pairs = jax.vmap(nats, (None, 0, 0, 0, 0))
    return jax.jit(jax.vmap(over_pairs, (0, None, None, None, None)))


def make_job(problem: Problem, mesh: jax.sharding.Mesh | None) -> training.Job:
    """Training of all seeds at once, in batches of pairs of like length."""
    config, net = problem.config, problem.translate.net
    settings, first_seed = config.train, config.train.seed
    lengths = problem.train_set.lengths
    groups = grouped(config, lengths, settings.batch_size, together=True)
    optimizer = training.make_optimizer(
        settings, settings.epochs * groups.steps, training.matrices
    )

    def loss_fn(params, source, source_mask, target, target_mask, key):
        labels, mask = target[1:], target_mask[1:]
        logits = net.logits(params, source, source_mask, target[:-1], mask, key)
        nats = rnn.cross_entropy(logits, labels, mask)
        smoothing = config.label_smoothing
        return rnn.cross_entropy(logits, labels, mask, label_smoothing=smoothing), {
            "nats": nats
        }

    @lru_cache(1)
    def order(epoch):
        return groups.epoch(epoch, range(first_seed, first_seed + settings.seeds))

    def batches(epoch, first, stop, share):
        assert stop == first + 1  # one shape at a time
        size, index = order(epoch)[first]
        return problem.train_set.padded(share.of(index)[:, None], size)

    def measure(state):
        params, val = training.local(state.params), problem.corpus.val
        greedy = problem.translate(params, val.sources, None)
        return {
            "val_nats": nats_per_token(problem, params),
            "val_bleu": [score(config, texts, val)[0] for texts in greedy],
        }

    return training.Job(
        settings=settings,
        start=training.starter(settings, net.init, optimizer),
        update=rnn.make_update(loss_fn, optimizer, has_aux=True, mesh=mesh),
        aux=("nats",),
        batches=batches,
        measure=measure,
        score="val_bleu",
        higher_is_better=True,
        steps=groups.steps,
        piece=1,
        keep_best=True,
    )


def nats_per_token(problem: Problem, params: Params) -> np.ndarray:
    """Cross-entropy on the validation pairs, [S]."""
    pairs, net = problem.val_set, problem.translate.net
    size = min(DECODED, len(pairs.sources))
    groups = grouped(problem.config, pairs.lengths, size)
    nats = [
        np.asarray(measurer(net)(params, *pairs.padded(index, padded)))[:, :count]
        for padded, index, count in groups.every()
    ]
    tokens = sum(len(target) - 1 for target in pairs.targets)
    return np.concatenate(nats, axis=1).sum(axis=1) / tokens


def score(config: Config, texts: Sequence[str], part: Part) -> tuple[float, str]:
    """BLEU of translations of all sentences of a part, and how it was made."""
    found, signature = bleu(texts, part.references, tokenize=WORDS[config.target])
    return found.score, signature


def run(config: Config) -> None:
    """Loads the data and checks that all fits together, then does the study."""
    if config.run.translate is not None:
        translate_texts(config)
        return
    corpus = load_corpus(config.source, config.target, config.run.data_dir)
    corpus = corpus.first(config.sentences)
    mesh = runs.connect(config.run)
    training.check_batch_size(config.train, mesh, len(corpus.train.pairs()[0]))
    runs.carry_out("translation", config, corpus, partial(study, config, corpus, mesh))


def learn(
    output: runs.Output, language: str, texts: Sequence[str], vocab_size: int
) -> Subwords:
    """The subwords of a language."""

    def write(path):
        Subwords.of(texts, vocab_size, lowercase=True).save(path)

    return Subwords.load(output.once(SUBWORDS.format(language), write))


def translate_texts(config: Config) -> None:
    """Prints translations by a run that is finished."""
    translate, params = load(config)
    config, texts = translate.net.config, config.run.translate
    assert texts is not None  # for the type checker
    for text, tokens in zip(texts, translate.source.encode(texts), strict=True):
        if UNKNOWN in tokens:
            runs.say(f"note: {text!r} has letters that the run has not learned")
    for text, found in zip(
        texts, translate(params, texts, config.beam_size)[0], strict=True
    ):
        print(f"{config.source}: {text}\n{config.target}: {found}")


def load(config: Config) -> tuple[Translator, Params]:
    """The translator of the finished run in `--out`, with params of its first seed."""
    config, _ = runs.finished_run("translation", config, "translate")
    folder = config.run.out
    assert folder is not None  # for the type checker
    source, target = (
        Subwords.load(folder / SUBWORDS.format(language))
        for language in (config.source, config.target)
    )
    net = Network(config, source.size, target.size)
    params = training.saved_params(config, net.init)
    return Translator(net, source, target), jax.tree.map(lambda a: a[:1], params)


def study(config: Config, corpus: Corpus, mesh, output: runs.Output) -> None:
    """Trains, translates the test sentences, and writes and prints the results."""
    sources, targets = corpus.train.pairs()
    source = learn(output, config.source, sources, config.vocab_size)
    target = learn(output, config.target, targets, config.vocab_size)
    translate = Translator(Network(config, source.size, target.size), source, target)
    problem = Problem(
        config,
        translate,
        corpus,
        pairs_of(corpus.train, source, target).up_to(config.max_tokens),
        pairs_of(corpus.val, source, target),
    )
    job = make_job(problem, mesh)
    result = training.train(job, output, config.run, mesh)
    sources = corpus.test.sources
    found = {  # by each seed
        "copy": [sources],
        "greedy": translate(result.params, sources, None),
        "beam": translate(result.params, sources, config.beam_size),
    }
    scores = {
        name: [score(config, texts, corpus.test) for texts in of_seeds]
        for name, of_seeds in found.items()
    }
    signature = scores["beam"][0][1]
    values = {name: np.array([s for s, _ in of]) for name, of in scores.items()}
    first = {name: of_seeds[0] for name, of_seeds in found.items()}
    lengths = by_length(
        np.array([len(text.split()) for text in sources]),
        first,
        corpus.test.references,
        tokenize=WORDS[config.target],
    )
    write(problem, output, result, first, lengths)
    every, used = len(corpus.train.pairs()[0]), len(problem.train_set.sources)
    training.conclude(
        output,
        job,
        result,
        data=corpus.name,
        train_pairs=used,
        train_pairs_left_out=every - used,
        val_sentences=len(corpus.val.sources),
        test_sentences=len(sources),
        source_subwords=translate.source.size,
        target_subwords=translate.target.size,
        weights=sum(leaf[0].size for leaf in jax.tree.leaves(result.params)),
        val_bleu=np.max([line["val_bleu"] for line in result.history], axis=0).mean(),
        **{f"test_bleu_{name}": of_seeds.mean() for name, of_seeds in values.items()},
        test_bleu_per_seed=values,
        test_bleu_by_length=lengths,
        bleu_signature=signature,
    )
    report(problem, output, first, values, signature)


def report(problem, output, translations, values, signature) -> None:
    """Prints some translations, the scores, and where the files went."""
    config, test = problem.config, problem.corpus.test
    for i in range(min(SHOWN, len(test.sources))):
        print(f"source     {test.sources[i]}")
        print(f"reference  {' / '.join(test.references[i])}")
        for name in ("greedy", "beam"):
            print(f"{name:<11}{translations[name][i]}")
        print()
    print(
        f"BLEU of {len(test.sources)} test sentences from {config.source} to "
        f"{config.target} ({signature})"
    )
    names = {"copy": "the source as it is", "beam": f"beam of {config.beam_size}"}
    for name, of_seeds in values.items():
        print(f"{names.get(name, name):>20} {runs.over_seeds(of_seeds, '6.2f')}")
    print(f"results in {output.path}")


def write(problem, output, result, translations, lengths) -> None:
    """Writes all translations, and draws the pictures."""
    if not output.writes:
        return
    config, translate, test = problem.config, problem.translate, problem.corpus.test
    with output.replacing("translations.tsv") as path:
        columns = ("source", "reference", "greedy", "beam")
        references = [" / ".join(of_one) for of_one in test.references]
        texts = (test.sources, references, translations["greedy"], translations["beam"])
        rows = [columns, *zip(*texts, strict=True)]
        text = "".join("\t".join(row) + "\n" for row in rows)
        path.write_text(text, encoding="utf-8")
    use_korean_font_for([*test.sources, *translations["beam"]])
    title = f"{config.source} to {config.target}, attention: {config.attention}"
    with output.replacing("curves.png") as path:
        panels = {
            "cross-entropy (nats a token)": ("train_nats", "val_nats"),
            "BLEU": ("val_bleu",),
        }
        curves(path, result.history, panels, title=title)
    with output.replacing("lengths.png") as path:
        bars(path, lengths, title=title)
    if config.attention == "none":
        return
    maps = look(
        translate,
        jax.tree.map(lambda a: a[0], result.params),
        test.sources[:SHOWN],
        translations["beam"][:SHOWN],
    )
    with output.replacing("attention.png") as path:
        heat_maps(path, maps, title=title)


def look(
    translate: Translator, params: Params, sources: list[str], targets: list[str]
) -> list[AttentionMap]:
    """Where a network looks while it writes these translations."""
    read, written = (
        sources_of(translate.source, sources),
        targets_of(translate.target, targets),
    )
    every = np.arange(len(sources))
    padded, mask = buckets.pad(read, every, max(map(len, read)))
    inputs, _ = buckets.pad(written, every, max(map(len, written)))
    weights = jax.jit(jax.vmap(translate.net.weights, (None, 0, 0, 0)))
    found = np.asarray(weights(params, padded, mask, inputs))
    return [
        AttentionMap(
            translate.source.pieces(source),
            translate.target.pieces(target[1:]),
            of_one[: len(target) - 1, : len(source)],
        )
        for source, target, of_one in zip(read, written, found, strict=True)
    ]


if __name__ == "__main__":
    runs.main(parse, run)
