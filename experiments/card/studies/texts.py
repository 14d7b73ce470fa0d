"""Networks that read texts."""

import json
from typing import Any

import jaxrnn as rnn
from experiments import lab
from experiments.card.decoders import translator
from experiments.card.recurrent import recurrent
from experiments.card.shared import Result, Shared, of_each_seed
from experiments.card.sources import source
from experiments.data import corpus, documents, parallel
from experiments.data.classes import kept_classes
from experiments.data.subwords import Subwords

SUBWORDS = "the subwords, for `tokenizers.Tokenizer.from_file`"
CHARACTERS = """\
import json

import numpy as np

with open("vocabulary.json", encoding="utf-8") as file:
    characters = json.load(file)
text = {text!r}
tokens = np.array([[characters.index(letter) for letter in text]])
"""
TOKENS = """\
import numpy as np
from tokenizers import Tokenizer

subwords = Tokenizer.from_file("{name}")
subwords.encode_special_tokens = True  # "<unk>" in a text is text
text = "{text}"
{tokens} = np.array([subwords.encode(text, add_special_tokens=False).ids{stop}])
"""
TEXTS = {"ko": "좋은 영화", "de": "Ein Hund rennt."}


def language_model(network: Any, config: Any, finished: lab.Finished) -> Shared:
    """Of `experiments.language_model`."""
    vocabulary = corpus.Vocabulary.load(finished.path / "vocabulary.json")
    V = vocabulary.size
    net, name = network(config, V), "own" if config.text else config.dataset

    def layout(params):
        more = {}
        if config.tied:
            *cells, more["projection"] = params.cell
            table, output = params.w, rnn.LinearParams(params.w.T, params.b)
        else:
            (table,), *cells, output = params
        return recurrent(config.cell, cells, output, "steps", embedding=table, **more)

    nats = finished.per_seed("valid_loss")
    said = "nats per character of the validation part"
    return Shared(
        about="A network that reads a text character by character, and tells which "
        "character comes next.",
        inputs=f"tokens [T], integers below {V}: the place of each character in "
        "vocabulary.json",
        outputs=f"[T, {V}], logits of the next character",
        task="text-generation",
        init=net.init,
        layout=layout,
        make=f"net = language_model.network(config, {V})",
        call="lambda x: net.unroll(params, net.initial_carry(params), x)[1]",
        sources=(source(name, corpus.DATASETS.get(name)),),
        results=(Result("loss", said, ".3f", nats, "validation"),),
        best="-valid_loss",
        files={"vocabulary.json": "all characters, in one string, by their numbers"},
        note="The validation part chose the epoch and the seed; there is no test part.",
        example=CHARACTERS.format(text=vocabulary.characters[-5:]),
    )


def sentiment(network: Any, config: Any, finished: lab.Finished) -> Shared:
    """Of `experiments.sentiment`."""
    own = config.texts is not None
    classes = kept_classes(finished.path) if own else documents.SIDES
    V, K = Subwords.load(finished.path / "subwords.json").size, len(classes)
    net, binary = network(config, V, K), K == 2
    reads: Any = "ends" if config.pool == "last" else config.pool

    def layout(params):
        (table,), *layers = params.reader
        more = {"query": params.query} if reads == "attention" else {}
        output = params.readout[-1]
        return recurrent(config.cell, layers, output, reads, embedding=table, **more)

    told = f"[1], the logit of {classes[-1]!r} against {classes[0]!r}"
    many = f"[{K}], logits of the classes in classes.json"
    chooses = "accuracy" if config.class_weights == "none" else "macro_f1"
    data = source(config.dataset, documents.DATASETS.get(config.dataset))
    text = TEXTS.get("".join(data.licence.languages), "a good film")
    right, f1 = (finished.per_seed(f"test_{n}") for n in ("accuracy", "macro_f1"))
    said = "accuracy on test documents", "mean F1 of the classes"
    return Shared(
        about="A network that reads a text in both directions, and tells its class: "
        f"{', '.join(classes)}.",
        inputs=f"tokens [T], integers below {V}: the subwords of the text; all texts "
        "of a batch have one length",
        outputs=told if binary else many,
        task="text-classification",
        init=net.init,
        layout=layout,
        make=f"net = sentiment.network(config, {V}, {K})",
        call=f"lambda tokens: net.read(params, tokens)[0]{'[None]' * binary}",
        sources=(data,),
        results=(
            Result("accuracy", said[0], ".2%", right),
            Result("f1", said[1], ".4f", f1),
        ),
        best=f"validation_{chooses}",
        files={"subwords.json": SUBWORDS},
        texts={
            "classes.json": (
                json.dumps(classes, ensure_ascii=False) + "\n",
                "the names of the classes",
            )
        },
        example=TOKENS.format(
            name="subwords.json", text=text, tokens="tokens", stop=""
        ),
    )


def translation(network: Any, config: Any, finished: lab.Finished) -> Shared:
    """Of `experiments.translation`."""
    languages = config.source, config.target
    names = [f"subwords.{language}.json" for language in languages]
    subwords = [Subwords.load(finished.path / name) for name in names]
    net = network(config, *subwords).net
    data = source("own", languages=tuple(n for n in languages if len(n) == 2))
    if config.pairs is None:
        known = next(parallel.DATASETS[n] for n in languages if n != "en")
        data = source(known.name, known)
    bleu = of_each_seed(finished, "test_bleu_per_seed", "beam", None)
    V, W = (known.size for known in subwords)
    return Shared(
        about=f"A network that translates from {config.source} to {config.target}.",
        inputs=f"source [S], integers below {V}: the subwords of a sentence, and a "
        "stop (2); all sentences of a batch have one length",
        outputs=f"integers below {W}: the subwords of the translation, the likeliest "
        "one by one, up to a stop (2)",
        task="translation",
        init=net.init,
        layout=lambda params: translator(config.cell, config.attention, params),
        make=f"subwords = [Subwords.load(Path(name)) for name in {names}]\n"
        "net = translation.make_interpreter(config, *subwords).net",
        call="lambda source: net.greedy(params, source, source >= 0)",
        read=f'card.translator_params("{config.cell}", like, state)',
        sources=(data,),
        results=(Result("bleu", f"BLEU, a beam of {config.beam_size}", ".2f", bleu),),
        best="val_bleu",
        files=dict.fromkeys(names, SUBWORDS),
        imports="from pathlib import Path\n"
        "from experiments.data.subwords import Subwords",
        example=TOKENS.format(
            name=names[0],
            text=TEXTS.get(config.source, "A dog runs."),
            tokens="source",
            stop=" + [2]",
        ),
    )
