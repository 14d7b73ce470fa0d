"""Networks that look at images."""

import json
from typing import Any

from experiments import lab
from experiments.card.decoders import captioner
from experiments.card.recurrent import recurrent
from experiments.card.shared import Result, Shared, of_each_seed
from experiments.card.sources import source
from experiments.data import captioned, captions, images
from experiments.data.classes import kept_classes
from experiments.data.subwords import Subwords

ORDERS = {
    "rows": "a row is a step",
    "pixels": "a pixel is a step",
    "permuted": "a pixel is a step, in the order "
    "`numpy.random.default_rng(0).permutation({T})`",
}


def rows(network: Any, config: Any, finished: lab.Finished) -> Shared:
    """Of `experiments.rows`."""
    known = images.DATASETS.get(config.dataset)
    classes = known.classes if known else kept_classes(finished.path)
    how, K = config.how, len(classes)
    T, D = how.rows * how.columns, 3 if how.color else 1
    if config.order == "rows":
        T, D = how.rows, how.columns * D
    net = network(config, D, K)
    order = ORDERS[config.order].format(T=T)
    light = ", light on dark" if known or config.light_on_dark else ""
    split = "holdout" if config.holdout else "test"
    right = finished.per_seed(f"{split}_accuracy")
    rounded = config.compute_dtype
    note = (
        f"In training the operands of the recurrent products were rounded to "
        f"{rounded}; below they are not, and the logits differ a little."
    )
    return Shared(
        about=f"A network that reads an image of {how.rows} x {how.columns} pixels as "
        f"a sequence, and tells which of {K} classes it shows.",
        inputs=f"xs [{T}, {D}], float32, pixels from 0 to 1{light}; {order}",
        outputs=f"[{K}], logits of the classes in classes.json",
        task="image-classification",
        init=net.init,
        layout=lambda params: recurrent(
            config.cell, params.reader, params.readout, "last"
        ),
        make=f"net = rows.network(config, {D}, {K})",
        call="lambda xs: net.logits(params, xs)",
        sources=(source(config.dataset, known),),
        results=(
            Result("accuracy", f"accuracy on {split} images", ".2%", right, split),
        ),
        best="holdout_accuracy" if config.holdout else None,
        last=True,
        texts={
            "classes.json": (
                json.dumps(classes, ensure_ascii=False) + "\n",
                "the names of the classes, in the order of the logits",
            )
        },
        note="" if rounded == "float32" else note,
    )


def captioning(network: Any, config: Any, finished: lab.Finished) -> Shared:
    """Of `experiments.captioning`."""
    V = Subwords.load(finished.path / "vocabulary.json").size
    known, length = captions.SETS[config.dataset], config.most_words + 1
    net, size = network(config, known.channels, V), captioned.SIZE
    data = source(config.dataset, captions.DATASETS.get(config.dataset))
    if config.dataset == "scenes":
        values = finished.per_seed("test_accuracy_beam")
        result = Result("accuracy", "captions wholly right, by a beam", ".3%", values)
    else:
        values = of_each_seed(finished, "test_bleu_beam_per_seed", 3)
        result = Result("bleu", "BLEU-4, by a beam", ".1f", values)
        size += config.shift
    return Shared(
        about="A network that looks at an image, and says in a sentence what it shows.",
        inputs=f"image [{size}, {size}, {known.channels}], uint8",
        outputs=f"[{length}], integers below {V}: words in vocabulary.json, the "
        "likeliest one by one, up to a stop (2)",
        task="image-to-text",
        init=net.init,
        layout=lambda params: captioner(
            params, captioned.SIZE, (size, known.channels), length
        ),
        make=f"net = captioning.network(config, {known.channels}, {V})",
        call=f"lambda image: net.greedy(params, image, {length})",
        read="card.captioner_params(like, state)",
        sources=(data,),
        results=(result,),
        best="-validation_loss",
        files={"vocabulary.json": "the words, for `tokenizers.Tokenizer.from_file`"},
    )
