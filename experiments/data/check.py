"""What is odd about each data set: the page that counts it.

A reader module counts what is odd about its data sets in a function

    oddities(name, data_dir) -> [(what, how often), ...]

with the name as in its `DATASETS`. Where the data set is not there it raises a
DataError.
"""

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from experiments.data import DataError, documents, parallel
from experiments.data.subwords import Subwords, losses

VOCABULARY = {"nsmc": 16_000, "sst2": 8000, "de": 4000, "ko": 2000}


def page(modules: Mapping[str, ModuleType], data_dir: Path | None) -> str:
    """A table for each data set that is there, in Markdown; zeros are told too.

    Args:
      modules: the readers, by the experiment.
      data_dir: see `files.find`.
    """
    parts = []
    for experiment, module in modules.items():
        for name, known in module.DATASETS.items():
            if not hasattr(module, "oddities"):
                continue
            try:
                rows = module.oddities(name, data_dir)
            except DataError:
                continue
            head = (
                f"## {experiment}, {name}: {known.title}\n\n| | count |\n|---|---:|\n"
            )
            parts.append(head + _lines(rows))
    return "\n".join([*parts, round_trips(data_dir)])


def _lines(rows: list[tuple[str, int]]) -> str:
    return "".join(f"| {what} | {count:,} |\n" for what, count in rows)


def texts_of(name: str, data_dir: Path | None) -> dict[str, dict[str, list[str]]]:
    """All texts of a data set of `VOCABULARY`, by what reads them and by their part."""
    if name in documents.DATASETS:
        parts = documents.load_documents(name, data_dir)._asdict().items()
        return {name: {part: list(own.texts) for part, own in parts}}
    parts = parallel.load_corpus("en", name, data_dir)._asdict()
    corpus = parts.pop("name")
    return {
        f"{corpus}, {language}": {
            part: own.pairs()[column] for part, own in parts.items()
        }
        for column, language in enumerate(("en", name))
    }


def round_trips(data_dir: Path | None) -> str:
    """How many texts do not come back from their subwords letter for letter.

    Of each data set that is there, with the subwords that its study learns.
    """
    lines = []
    for name, size in VOCABULARY.items():
        try:
            every = texts_of(name, data_dir)
        except DataError:
            continue
        for title, parts in every.items():
            subwords = Subwords.of(parts["train"], size, lowercase=True)
            for part, texts in parts.items():
                found = losses(subwords, texts)
                if not lines:
                    lines += [["", *found], ["---", *("---:" for _ in found)]]
                counts = (f"{count:,}" for count in found.values())
                lines.append([f"{title}, {part}", *counts])
    rows = ("| " + " | ".join(line) + " |\n" for line in lines)
    return f"## round trips through subwords\n\n{''.join(rows)}"
