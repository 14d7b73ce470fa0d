"""README.md: the card of a network, whose figures are those of summary.json."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from experiments import lab
from experiments.card import blocks
from experiments.card.layout import Layout
from experiments.card.shared import Shared
from experiments.lab import tables
from experiments.lab.run import DAMAGED

PIPELINES = {  # of the tasks, those for which hubs have a page
    *("image-classification", "image-to-text", "text-classification"),
    *("text-generation", "time-series-forecasting", "translation"),
}


class Card(NamedTuple):
    """All that a card tells."""

    shared: Shared
    finished: lab.Finished
    options: Mapping[str, Any]
    place: int  # of the seed, among all
    seed: int
    numbers: int  # in the network
    arrays: Mapping[str, np.ndarray]  # of model.safetensors
    layout: Layout | None

    @property
    def cell(self) -> str:
        """The name of the recurrent cell."""
        return self.options.get("cell", "gru")  # captioning has no other

    @property
    def study(self) -> str:
        """The name of the study."""
        return self.finished.summary["experiment"]

    @property
    def name(self) -> str:
        """Of the model."""
        study = self.study.replace("_", "-")
        return f"{study}-{self.shared.sources[0].name}-{self.cell.replace('_', '-')}"

    @property
    def seeds(self) -> int:
        """How many there were."""
        return self.options["seeds"]

    @property
    def why(self) -> str:
        """Why it is this seed."""
        if self.seeds == 1:
            return "the only one"
        if self.shared.best is None:
            return f"the first of {self.seeds}: no validation part tells them apart"
        metric = self.shared.best.removeprefix("-")
        return f"the best of {self.seeds} by {metric}, which is not of the test"

    @property
    def own(self) -> list[tuple[Any, float]]:
        """The figures of this seed, those that are finite."""
        pairs = [(r, float(r.values[self.place])) for r in self.shared.results]
        return [(result, value) for result, value in pairs if math.isfinite(value)]


def page(card: Card) -> str:
    """The card."""
    shared = card.shared
    note = f"\n{shared.note}\n" if shared.note else ""
    parts = [
        f"---\n{front_matter(card)}\n---\n\n# {card.name}\n",
        f"{shared.about}\n\n- **Inputs:** {shared.inputs}\n- **Outputs:** "
        f"{shared.outputs}\n- **Size:** {card.numbers:,} numbers\n{note}",
        f"## Figures\n\n{figures(card)}",
        f"## Data\n\n{data(card)}",
        f"## Training\n\n{training(card)}",
        f"## Files\n\n{files(card)}",
        f"## How to load it\n\n{blocks.blocks(card.layout, shared, card.study)}",
        f"## Licence\n\n{licence(card)}",
        "## Limits\n\nThe figures hold for data like those above. Nobody has examined "
        "what the network does with other data, whom its mistakes would harm, or "
        "whether it is fit for any use but study.\n",
    ]
    return "\n".join(parts)


def front_matter(card: Card) -> str:
    """YAML, as the Hugging Face Hub specifies it."""
    from huggingface_hub import EvalResult, ModelCardData

    shared = card.shared
    first = shared.sources[0]
    known, link = first.licence.known_as, first.licence.link
    found = [
        EvalResult(
            task_type=shared.task,
            dataset_type=first.licence.hub or first.name,
            dataset_name=first.title,
            dataset_split=result.split,
            metric_type=result.metric,
            metric_name=result.name,
            metric_value=value,
        )
        for result, value in card.own
    ]
    languages = [s for source in shared.sources for s in source.licence.languages]
    codes = {} if card.layout is None else card.layout.codes
    known_by = {"torch": "pytorch", "keras": "keras", "flax": "flax"}
    frameworks = [tag for name, tag in known_by.items() if name in codes]
    tags = ["jaxrnn", "jax", *frameworks, "rnn", card.cell, card.study, first.name]
    other = {"license_name": _slug(first.licence.said), "license_link": link}
    return ModelCardData(
        language=list(dict.fromkeys(languages)) or None,
        license=known,
        **(other if known == "other" else {}),
        library_name="jaxrnn",
        pipeline_tag=shared.task if shared.task in PIPELINES else None,
        tags=list(dict.fromkeys(tags)),
        datasets=[s.licence.hub or s.name for s in shared.sources],
        metrics=list(dict.fromkeys(result.metric for result in shared.results)),
        model_name=card.name if found else None,
        eval_results=found or None,
    ).to_yaml()


def figures(card: Card) -> str:
    """The tables of the run, and the figures of this seed."""
    lines = [f"The file holds seed {card.seed}, {card.why}.", ""]
    if card.own:
        lines += ["| this seed | |", "|---|---:|"]
        lines += [f"| {r.name} | {value:{r.form}} |" for r, value in card.own]
        lines += [""]
    over = f" Mean over {card.seeds} seeds, lowest and highest." * (card.seeds > 1)
    try:
        for stored in card.finished.summary["tables"]:
            rows = [lab.Row(row["name"], row["values"]) for row in stored["rows"]]
            table = lab.Table(stored["title"], stored["columns"], rows)
            lines += [f"{_whole(table.title)}.{over}", "", *_table(table), ""]
    except DAMAGED as error:
        path = card.finished.path / "summary.json"
        raise lab.UsageError(f"--out: {path} is damaged: {error}") from None
    return "\n".join(lines)


def data(card: Card) -> str:
    """Names, origins and licences."""
    lines = ["| data | what it is | from | licence, as its owners state it |"]
    lines += ["|---|---|---|---|"]
    for source in card.shared.sources:
        licence = source.licence
        said = f"[{licence.said}]({licence.link})" if licence.link else licence.said
        cells = map(_cell, (source.name, source.title, source.origin, said))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def training(card: Card) -> str:
    """Options, versions and the machine."""
    summary = card.finished.summary
    lines = ["| option | value |", "|---|---|"]
    for name, value in card.options.items():
        if value not in (None, [], ""):
            text = value if isinstance(value, str) else json.dumps(value)
            lines.append(f"| `--{name.replace('_', '-')}` | {_cell(text)} |")
    versions = ", ".join(f"{k} {v}" for k, v in summary["versions"].items())
    device = summary["device"]
    machine = f"{device['platform']}, {device['kind']}"
    lines += [
        "",
        f"By `python -m experiments.{card.study}`, with {versions}, on {machine}.",
    ]
    return "\n".join([*lines, ""])


def files(card: Card) -> str:
    """What is in the folder, and in model.safetensors."""
    shared = card.shared
    named = "torch's" if card.layout is not None else "jaxrnn's own"
    lines = ["| file | what it holds |", "|---|---|"]
    lines += [f"| `model.safetensors` | the network, under {named} names |"]
    lines += ["| `config.json` | sizes and options |"]
    known = {**shared.files, **{name: what for name, (_, what) in shared.texts.items()}}
    lines += [f"| `{name}` | {what} |" for name, what in known.items()]
    lines += ["", "| tensor | shape | numbers |", "|---|---|---|"]
    for name, a in card.arrays.items():
        lines.append(f"| `{name}` | {list(a.shape)} | {a.dtype} |")
    return "\n".join([*lines, ""])


def licence(card: Card) -> str:
    """The lines on licences."""
    said = "; ".join(f"{s.name}: {s.licence.said}" for s in card.shared.sources)
    return (
        f"Data: {said}. The program that trained the network, jaxrnn, has the licence "
        "Apache-2.0. The weights have no licence but the one that whoever publishes "
        "them gives them, with regard to that of the data, which the line `license` "
        "above repeats (`unknown` where none is stated).\n"
    )


def _table(table: lab.Table) -> list[str]:
    columns = ["", *map(_cell, table.columns)]
    lines = [f"| {' | '.join(columns)} |", f"|---|{'---:|' * len(table.columns)}"]
    for row in table.rows:
        cells = map(_cell, [row.name, *tables.cells(table, row)])
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _cell(text: str) -> str:
    return _whole(text).replace("|", "\\|")


def _whole(text: str) -> str:
    """In one line."""
    return " ".join(text.split())


def _slug(text: str) -> str:
    return re.sub(r"\W+", "-", text.lower()).strip("-")
