"""Classifies images that are read row by row, as sequences.

    python -m experiments.rows
    python -m experiments.rows --dataset mnist --data-dir FOLDER
    python -m experiments.rows --dataset mnist --data-dir FOLDER --cell elman
    python -m experiments.rows --dataset mnist --data-dir FOLDER --recipe classic
    python -m experiments.rows --images FOLDER
    python -m experiments.rows --out RUN --predict IMAGE FOLDER

With s_t the state after row t and T the number of rows,

    s_t = cell(x_t, s_{t-1}),    p = softmax(s_T V)

What to expect on two CPU cores, as the mean accuracy on the test images:

    digits    LSTM              98 %    3 seeds     half a minute
    MNIST     LSTM              99.1 %  3 seeds     5 minutes
    MNIST     Elman             98.0 %  3 seeds     2 minutes
    MNIST     classic (Elman)   90 %    16 seeds    20 minutes; the median, for 6 of
                                                    the 16 runs diverge

Shapes: S seeds, N images, T steps, D values of a step, H hidden units, K classes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn as rnn
from experiments import lab
from experiments.data.classes import keep_classes, kept_classes, of_each, told
from experiments.data.image_folder import OwnImages, image_paths
from experiments.data.images import DATASETS, ImageData, sequences
from experiments.measures.decisions import mean_probabilities
from experiments.models.reader import Reader, reader, scores
from experiments.models.stack import check_options


@dataclass(frozen=True)
class Config(OwnImages):
    """Classifies images that are read row by row, as sequences.

    The defaults shown are those of the chosen --preset, --recipe, --dataset and --cell.
    """

    preset: Literal["default", "smoke"] = "default"
    """A set of defaults: default, for results; smoke, to see quickly that all works."""
    dataset: Literal["digits", "mnist", "fashion_mnist", "kmnist", "own"] = "digits"
    """digits comes with scikit-learn; the others, where no folder has their files, are
    downloaded by tensorflow-datasets. own: that of --images."""
    recipe: Literal["tuned", "classic"] = "tuned"
    """A set of defaults: tuned, today's practice; classic, that of the old tutorial."""
    cell: lab.CellName = "lstm"
    """The recurrent cell."""
    order: Literal["rows", "pixels", "permuted"] = "rows"
    """What a step reads: a row, a pixel, or a pixel in one fixed random order."""
    hidden_size: lab.AtLeast1 = 128
    """Size of the hidden state."""
    layers: lab.AtLeast1 = 1
    """How many recurrent layers, one on top of the other."""
    dropout: lab.Share = 0.2
    """Share of the hidden units left out while training, between and after layers."""
    bias: bool = True
    """Whether the layers have biases."""
    init_scale: lab.Above0[float] | None = None
    """Draw weights and a learned first state from N(0, this^2); None: orthogonal."""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the operands of the recurrent products; all else is float32."""
    shuffle: bool = True
    """Whether the images are shuffled anew in each epoch."""
    train_images: lab.Above0[int] | None = None
    """Use only the first n training images; None: all."""
    holdout: lab.AtLeast0 = 0
    """Hold out the last n training images, and measure on them, not on the test set."""


TUNED = lab.Training(
    epochs=10, batch_size=100, learning_rate=3e-3, weight_decay=1e-2, seeds=3
)
CLASSIC = {
    **{"cell": "elman", "hidden_size": 100, "dropout": 0.0, "bias": False},
    **{"init_scale": 0.01, "shuffle": False, "epochs": 20, "batch_size": 100},
    **{"optimizer": "sgd", "learning_rate": 0.1, "schedule": "constant"},
    **{"weight_decay": 0.0, "clip": None, "seeds": 16},
}
SMOKE = {
    **{"hidden_size": 31, "train_images": 1500, "epochs": 5, "batch_size": 32},
    **{"learning_rate": 1e-2, "seeds": 2},
}
RECIPES = lab.Recipes(  # chosen on held-out training images
    Config(train=TUNED),
    lab.When({"dataset": "digits"}, {"epochs": 60, "batch_size": 32}),
    lab.When({"cell": "elman"}, {"learning_rate": 1e-3}),
    lab.When({"recipe": "classic"}, CLASSIC),
    lab.When({"recipe": "classic", "dataset": "mnist"}, {"train_images": 55_000}),
    lab.When({"images": lab.GIVEN}, {"dataset": "own", "epochs": 30, "batch_size": 32}),
    lab.When({"preset": "smoke"}, SMOKE),
)


def load(config: Config) -> ImageData:
    """Loads the images to learn from and those to measure on."""
    asked = {
        "bias": not config.bias,
        "compute_dtype": config.compute_dtype != "float32",
    }
    weights = "w_x_init", "w_h_init", "b_init", "carry_init"
    options = {name: (name,) for name, given in asked.items() if given}
    options |= {} if config.init_scale is None else {"init_scale": weights}
    check_options(config.cell, options)
    data, count = config.load(), config.holdout
    expected = f"fewer than the {len(data.train.images)} training images"
    lab.require(count < len(data.train.images), "holdout", expected, count)
    data = data.holding_out(count)
    train = data.train.first(config.train_images)
    lab.check_batch_size(config.train.batch_size, len(train.images))
    return data._replace(train=train)


def network(config: Config, D: int, K: int) -> Reader:
    """The equations above, for one image."""
    whole = config.compute_dtype == "float32"
    return reader(
        *(config.cell, D, config.hidden_size, K),
        layers=config.layers,
        dropout=config.dropout,
        bias=config.bias,
        init_scale=config.init_scale,
        compute_dtype=None if whole else jnp.dtype(config.compute_dtype),
    )


class Problem(NamedTuple):
    """A network, and the images as it reads them."""

    data: ImageData
    net: Reader
    train_NTD: np.ndarray
    test_NTD: np.ndarray
    predict: Callable[..., jax.Array]  # (params [S, ...], xs_NTD) -> logits_SNK


def prepare(config: Config, data: ImageData, keep: lab.Keep) -> Problem:
    """Turns images into sequences, and makes a network for them."""
    if config.images is not None:
        keep_classes(keep, data.classes)
    train_NTD, test_NTD = (
        sequences(images.images, data.max_value, config.order)
        for images in (data.train, data.test)
    )
    net = network(config, train_NTD.shape[-1], len(data.classes))
    predict = lab.over_seeds(net.logits, batch=500)
    return Problem(data, net, train_NTD, test_NTD, predict)


def task(config: Config, problem: Problem) -> lab.Task:
    """Learns the labels by their cross-entropy."""
    data, net, train_NTD, test_NTD, predict = problem

    def loss(params, xs, label, key):
        logits = net.logits(params, xs, key)
        aux = {"accuracy": rnn.accuracy(logits, label)}
        return rnn.cross_entropy(logits, label), aux

    def measure(params):
        logits_SNK = np.asarray(predict(params, test_NTD))
        found = scores(logits_SNK, data.test.labels)
        return {f"{data.split}_{name}": values for name, values in found.items()}

    make = lab.shuffled if config.shuffle else lab.in_turn
    read = lab.take(train_NTD, data.train.labels)
    batches = make(len(train_NTD), config.train.batch_size, read)
    # Test images choose nothing, not even a checkpoint.
    best = "-train_loss" if data.split == "test" else "holdout_accuracy"
    return lab.Task(net.init, loss, batches, measure, best, keep_best=False)


def report(config: Config, problem: Problem, outcome: lab.Outcome) -> lab.Report:
    """The accuracy of each seed, the curves, what is confused, and one image read."""
    from experiments.plots import curves
    from experiments.plots.rows import confusion, memory

    data, net, _, test_NTD, predict = problem
    split, (images, labels_N) = data.split, data.test
    logits_SNK = np.asarray(predict(outcome.params, test_NTD))
    found = scores(logits_SNK, labels_N)
    diverged = lab.divergence(outcome.history, f"{split}_accuracy")
    rows = [lab.Row(config.cell, [found["accuracy"], found["first_100_accuracy"]])]
    if config.recipe == "classic":  # one seed says little, and the last epoch, too
        for line in outcome.history:
            both = line[f"{split}_accuracy"], line[f"{split}_first_100_accuracy"]
            medians = [lab.spread(values, ".2%", np.median) for values in both]
            rows.append(lab.Row(f"epoch {line['epoch']}, median", medians))
    title = f"accuracy on the {len(labels_N):,} {split} images of {config.dataset}"
    each = of_each("images", logits_SNK.argmax(-1), labels_N, data.classes)
    names = {"cross-entropy (nats)": "loss", "accuracy": "accuracy"}
    panels = {label: (f"train_{n}", f"{split}_{n}") for label, n in names.items()}
    label, classes = int(labels_N[0]), data.classes

    def draw_memory(path):
        params = lab.of_seed(outcome.params, 0)
        states_TH = net.read(params, jnp.asarray(test_NTD[0]))
        p_TK = jax.nn.softmax(net.tell(params, states_TH))
        shown = images[0], np.asarray(states_TH), np.asarray(p_TK), classes
        memory(path, *shown, label=label, by_row=config.order == "rows")

    return lab.Report(
        body=[
            lab.Table(title, {"all": ".2%", "first 100": ".2%"}, rows),
            *([each] if config.images else []),
            f"{diverged['diverged']} of {config.train.seeds} seeds diverged: they "
            "ended more than 5 points below their own best epoch, or not finite",
        ],
        facts={
            "dataset": config.dataset,
            "train_images": len(problem.train_NTD),
            f"{split}_images": len(labels_N),
            **{f"{split}_{name}": values.mean() for name, values in found.items()},
            **{f"{split}_{name}_per_seed": values for name, values in found.items()},
            **diverged,
        },
        figures={
            "curves.png": lambda path: curves(
                path, outcome.history, panels, f"{config.dataset}, {config.cell}"
            ),
            "confusion.png": lambda path: confusion(
                path, labels_N, logits_SNK.argmax(-1), classes
            ),
            "memory.png": draw_memory,
        },
    )


def answer(config: Config, finished: lab.Finished) -> lab.Report:
    """Which classes the images of `--predict` have, by the mean of the seeds."""
    paths = image_paths(config.predict or ())
    known = DATASETS.get(config.dataset)
    classes = known.classes if known else kept_classes(finished.path)
    xs_NTD = sequences(config.how.read_all(paths), 255, config.order)
    net = network(config, xs_NTD.shape[-1], len(classes))
    predict = lab.over_seeds(net.logits, batch=500)
    p_NK = mean_probabilities(predict(finished.load(net.init), xs_NTD))
    return told(finished.path, ("image", paths), classes, p_NK, {})


STUDY = lab.Study(
    *("rows", RECIPES, load, task, report),
    prepare=prepare,
    digested=lambda data: (data.train, data.test),
    answers={"predict": answer},
)

if __name__ == "__main__":
    lab.main(STUDY)
