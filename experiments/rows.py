"""Reads images row by row, as sequences, and tells what they show.

    python -m experiments.rows
    python -m experiments.rows --dataset mnist --data-dir FOLDER
    python -m experiments.rows --dataset mnist --data-dir FOLDER --cell elman
    python -m experiments.rows --dataset mnist --data-dir FOLDER --recipe classic

With s_t the state after row t and T the number of rows,

    s_t = cell(x_t, s_{t-1}),    p = softmax(s_T V)

What to expect on two CPU cores, as the mean accuracy on the test images:

    digits    LSTM              98 %    3 seeds     half a minute
    MNIST     LSTM              99.1 %  3 seeds     5 minutes
    MNIST     Elman             98.0 %  3 seeds     2 minutes
    MNIST     classic (Elman)   88 %    16 seeds    22 minutes; the median, for 7 of
                                                    the 16 runs diverge
"""

from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxrnn as rnn
from experiments import runs, training
from experiments.data.images import Images, load_images
from experiments.plots import curves
from experiments.plots.rows import CLASS_NAMES, confusion, memory

SETTINGS = training.Settings(
    epochs=10, batch_size=100, learning_rate=3e-3, weight_decay=1e-2, seeds=3
)


@dataclass(frozen=True)
class Config:
    """Reads images row by row, as sequences, and tells what they show.

    The defaults shown are those of the chosen --preset, --recipe, --dataset and --cell.
    """

    preset: Literal["default", "smoke"] = "default"
    """A set of defaults: default, for results; smoke, to see quickly that all works."""
    dataset: Literal["digits", "mnist", "fashion_mnist", "kmnist"] = "digits"
    """digits comes with scikit-learn; the others, where no folder has their files, are
    downloaded by tensorflow-datasets."""
    recipe: Literal["tuned", "classic"] = "tuned"
    """A set of defaults: tuned, what one does today; classic, the old tutorial's."""
    cell: Literal["elman", "gru", "lstm"] = "lstm"
    """The recurrent cell."""
    order: Literal["rows", "pixels", "permuted"] = "rows"
    """What a step reads: a row, a pixel, or a pixel in one fixed random order."""
    hidden_size: int = 128
    """Size of the hidden state."""
    layers: int = 1
    """How many recurrent layers, one on top of the other."""
    dropout: float = 0.2
    """Share of the hidden units left out while training, between and after layers."""
    bias: bool = True
    """Whether the layers have biases."""
    init_scale: float | None = None
    """Draw weights and a learned first state from N(0, this^2); None: orthogonal."""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the operands of the recurrent products; all else is float32."""
    shuffle: bool = True
    """Whether each epoch has an order of its own."""
    train_images: int | None = None
    """Use only so many of the training images, the first ones; None: all."""
    holdout: int = 0
    """Measure on so many held-out training images, not on the test images."""
    train: training.Settings = field(default_factory=lambda: SETTINGS)
    run: runs.Options = field(default_factory=runs.Options)

    def __post_init__(self):
        runs.check(self, at_least_1=("hidden_size", "layers"), shares=("dropout",))
        runs.check(self, above_0=("init_scale", "train_images"))
        runs.check(self, at_least_0=("holdout",))


def defaults(preset: str, recipe: str, dataset: str, cell: str) -> Config:
    """The options of a recipe, chosen on held-out training images."""
    if preset == "smoke":
        config = defaults("default", recipe, dataset, cell)
        train = replace(config.train, epochs=5, batch_size=32, seeds=2)
        train = replace(train, learning_rate=1e-2)
        config = replace(config, preset="smoke", hidden_size=31, train=train)
        return replace(config, train_images=1500)
    if recipe == "classic":
        return Config(
            recipe="classic",
            cell="elman",
            hidden_size=100,
            dropout=0.0,
            bias=False,
            init_scale=0.01,
            shuffle=False,
            train_images=55_000 if dataset == "mnist" else None,
            train=training.Settings(
                epochs=20,
                batch_size=100,
                optimizer="sgd",
                learning_rate=0.1,
                schedule="constant",
                clip=None,
                seeds=16,
            ),
        )
    train = SETTINGS
    if dataset == "digits":
        train = replace(train, epochs=60, batch_size=32)
    if cell == "elman":
        train = replace(train, learning_rate=1e-3)
    return Config(train=train)


parse = runs.parser(
    "rows",
    defaults,
    preset="default",
    recipe="tuned",
    dataset="digits",
    cell="lstm",
)


class Params(NamedTuple):
    """Weights of the network."""

    reader: Any
    readout: Any


class Network(NamedTuple):
    """A reader of sequences and a readout of its state."""

    reader: rnn.Cell
    readout: rnn.Cell

    def init(self, key: jax.Array) -> Params:
        reader_key, readout_key = jax.random.split(key)
        return Params(self.reader.init(reader_key), self.readout.init(readout_key))

    def states(self, params: Params, xs: jax.Array, key: jax.Array | None = None):
        """The state after each step, [T, H]."""
        carry = self.reader.initial_carry(params.reader, key)
        return self.reader.unroll(params.reader, carry, xs)[1]

    def logits(self, params: Params, xs: jax.Array, key: jax.Array | None = None):
        """The decision after the last step, [K]."""
        state = rnn.last(self.states(params, xs, key))
        return self.readout.unroll(params.readout, (), state[None])[1][0]


def network(config: Config, input_size: int, num_classes: int) -> Network:
    """Stacked cells with dropout, and a linear readout."""
    options: dict[str, Any] = {"bias": config.bias}
    readout_options: dict[str, Any] = {"bias": config.bias}
    if config.init_scale is not None:
        normal = jax.nn.initializers.normal(config.init_scale)
        options |= dict.fromkeys(
            ["w_x_init", "w_h_init", "b_init", "carry_init"], normal
        )
        readout_options |= dict.fromkeys(["w_init", "b_init"], normal)
    size, layers = input_size, []
    for _ in range(config.layers):
        cell = training.CELLS[config.cell](
            size,
            config.hidden_size,
            compute_dtype=jnp.dtype(config.compute_dtype),
            **options,
        )
        layers += [cell, rnn.dropout(config.dropout)]
        size = config.hidden_size
    return Network(
        rnn.chain(*layers),
        rnn.linear(config.hidden_size, num_classes, **readout_options),
    )


def sequences(images: np.ndarray, max_value: int, order: str) -> np.ndarray:
    """Images [N, R, C] in 0..max_value as sequences [N, T, D] in 0..1."""
    values = images.astype(np.float32) / max_value
    if order == "rows":
        return values
    pixels = values.reshape(len(values), -1, 1)
    if order == "permuted":
        # One order for all images and all runs: it is part of the task.
        pixels = pixels[:, np.random.default_rng(0).permutation(pixels.shape[1])]
    return pixels


class Problem(NamedTuple):
    """A network and the images it is trained and measured on."""

    config: Config
    net: Network
    train_set: tuple[np.ndarray, np.ndarray]  # [N, T, D], [N]
    eval_set: tuple[np.ndarray, np.ndarray]
    split: str  # the name of the latter

    def logits(self, params: Params) -> np.ndarray:
        """On the images measured on, [S, N, K]."""
        predict = _predictor(self.net)
        return np.asarray(predict(training.local(params), self.eval_set[0]))


@lru_cache
def _predictor(net: Network):
    @jax.jit
    @partial(jax.vmap, in_axes=(0, None))
    def predict(params, xs):
        return lax.map(partial(net.logits, params), xs, batch_size=500)

    return predict


def make_job(problem: Problem, mesh: jax.sharding.Mesh | None) -> training.Job:
    """Training of all seeds at once, each measured after each epoch."""
    config, net, split = problem.config, problem.net, problem.split
    num_images, batch_size = len(problem.train_set[0]), config.train.batch_size
    steps = num_images // batch_size
    total = config.train.epochs * steps
    optimizer = training.make_optimizer(config.train, total, training.matrices)

    def loss_fn(params, xs, label, key):
        logits = net.logits(params, xs, key)
        aux = {"accuracy": rnn.accuracy(logits, label)}
        return rnn.cross_entropy(logits, label), aux

    in_turn = np.arange(steps * batch_size).reshape(1, steps, batch_size)
    shuffled = training.shuffler(config.train, num_images)

    def orders(epoch):  # [S, steps, B]
        if config.shuffle:
            return shuffled(epoch)
        return in_turn.repeat(config.train.seeds, axis=0)

    def batches(epoch, first, stop, share):
        return training.take(problem.train_set, orders(epoch)[:, first:stop], share)

    def measure(state):
        found = scores(problem.logits(state.params), problem.eval_set[1])
        return {f"{split}_{name}": values for name, values in found.items()}

    return training.Job(
        settings=config.train,
        start=training.starter(config.train, net.init, optimizer),
        update=rnn.make_update(loss_fn, optimizer, has_aux=True, mesh=mesh),
        aux=("accuracy",),
        batches=batches,
        measure=measure,
        # Test images choose nothing, not even a checkpoint.
        score="train_loss" if split == "test" else f"{split}_accuracy",
        higher_is_better=split != "test",
        steps=steps,
    )


def scores(logits: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Per seed: accuracy on all images and on the first 100, and the loss."""
    hits = logits.argmax(-1) == labels
    log_p = np.asarray(jax.nn.log_softmax(logits), np.float64)
    rows = np.arange(len(labels))
    return {
        "accuracy": hits.mean(axis=1),
        "first_100_accuracy": hits[:, :100].mean(axis=1),
        "loss": -log_p[:, rows, labels].mean(axis=1),
    }


def run(config: Config) -> None:
    """Loads the data and checks that all fits together, then does the study."""
    data = load_images(config.dataset, config.run.data_dir)
    train_images, eval_images, split = data.train, data.test, "test"
    if config.holdout:
        cut = len(train_images.images) - config.holdout
        if cut < 1:
            raise runs.UsageError(
                f"--holdout: expected fewer than the {cut + config.holdout} training "
                f"images, got {config.holdout}"
            )
        eval_images = Images(*(a[cut:] for a in train_images))
        train_images, split = Images(*(a[:cut] for a in train_images)), "holdout"
    train_images = Images(*(a[: config.train_images] for a in train_images))
    mesh = runs.connect(config.run)
    training.check_batch_size(config.train, mesh, len(train_images.images))

    def arrays(images: Images) -> tuple[np.ndarray, np.ndarray]:
        return sequences(images.images, data.max_value, config.order), images.labels

    train_set, eval_set = arrays(train_images), arrays(eval_images)
    net = network(config, train_set[0].shape[-1], data.num_classes)
    problem = Problem(config, net, train_set, eval_set, split)
    used = train_images, eval_images
    runs.carry_out("rows", config, used, partial(study, problem, eval_images, mesh))


def study(problem: Problem, images: Images, mesh, output: runs.Output) -> None:
    """Trains, measures, and writes and prints the results."""
    config, split = problem.config, problem.split
    job = make_job(problem, mesh)
    result = training.train(job, output, config.run, mesh)
    params, logits = result.params, problem.logits(result.params)
    final = scores(logits, images.labels)
    draw(problem, output, params, logits, images, result.history)
    training.conclude(
        output,
        job,
        result,
        dataset=config.dataset,
        train_images=len(problem.train_set[0]),
        **{f"{split}_images": len(images.images)},
        **{f"{split}_{name}": values.mean() for name, values in final.items()},
        **{f"{split}_{name}_per_seed": values for name, values in final.items()},
        **divergence(result.history, f"{split}_accuracy"),
    )
    report(config, output, final, result.history, split)


def divergence(history: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Which seeds ended far below their own best epoch, or in numbers not finite."""
    accuracy = np.array([m[name] for m in history], float)  # [epochs, S]
    loss = np.array([m["train_loss"] for m in history], float)  # NaN for null
    best = accuracy.max(axis=0)
    diverged = (accuracy[-1] < best - 0.05) | ~np.isfinite(loss[-1])
    return {
        "best_epoch_accuracy_per_seed": best,
        "diverged_per_seed": diverged,
        "diverged": int(diverged.sum()),
    }


def report(config, output, final, history, split) -> None:
    """Prints the result and where the files went."""

    def spread(values):
        low, median, high = np.quantile(values, [0, 0.5, 1])
        return f"median {median:.2%}, {low:.2%} to {high:.2%}"

    classic = config.recipe == "classic"
    if classic:
        print(f"accuracy over {config.train.seeds} seeds after each epoch")
        for metrics in history:
            first, every = (
                spread(metrics[f"{split}_{name}"])
                for name in ("first_100_accuracy", "accuracy")
            )
            print(f"{metrics['epoch']:3}  first 100: {first}   all: {every}")
        found = divergence(history, f"{split}_accuracy")
        print(
            f"{found['diverged']} of {config.train.seeds} seeds diverged: they ended "
            "more than 5 points below their own best epoch, or in numbers not finite"
        )
    names = {"accuracy": f"all {split} images", "first_100_accuracy": "the first 100"}
    for name, where in names.items():
        if name == "accuracy" or classic:
            print(f"accuracy on {where}: {runs.over_seeds(final[name], '.2%')}")
    print(f"results in {output.path}")


def draw(problem, output, params, logits, images, history) -> None:
    """Draws the curves, the confusion matrix and the memory of one image."""
    if not output.writes:
        return
    config, net, split = problem.config, problem.net, problem.split
    classes = CLASS_NAMES.get(config.dataset, [str(i) for i in range(10)])
    with output.replacing("curves.png") as path:
        panels = {
            "cross-entropy (nats)": ("train_loss", f"{split}_loss"),
            "accuracy": ("train_accuracy", f"{split}_accuracy"),
        }
        curves(path, history, panels, title=f"{config.dataset}, {config.cell}")
    with output.replacing("confusion.png") as path:
        confusion(path, images.labels, logits.argmax(-1), classes)
    first = jax.tree.map(lambda a: a[0], params)
    states = net.states(first, jnp.asarray(problem.eval_set[0][0]))
    after_each = net.readout.unroll(first.readout, (), states)[1]
    with output.replacing("memory.png") as path:
        memory(
            path,
            images.images[0],
            np.asarray(states),
            np.asarray(jax.nn.softmax(after_each)),
            classes,
            label=int(images.labels[0]),
            by_row=config.order == "rows",
        )


if __name__ == "__main__":
    runs.main(parse, run)
