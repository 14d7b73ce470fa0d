"""Says which data sets are there, how to get the others, and what is odd about them.

python -m experiments.data
python -m experiments.data --data-dir FOLDER
python -m experiments.data check            (minutes)
"""

import argparse
from pathlib import Path

from experiments.data import (
    DataError,
    captions,
    check,
    corpus,
    documents,
    files,
    images,
    music,
    parallel,
    series,
)
from experiments.data.files import Files
from experiments.lab.pipe import until_closed

READERS = {
    "rows": images,
    "language_model": corpus,
    "sentiment": documents,
    "translation": parallel,
    "captioning": captions,
    "music": music,
    "forecasting": series,
}
TABLES = {experiment: reader.DATASETS for experiment, reader in READERS.items()}


def state(known: Files | None, data_dir: Path | None) -> str:
    """What is in the folder of a data set, and where the files come from if not all.

    Example:
      >>> state(None, None)
      'comes with a package'
    """
    if known is None:
        return "comes with a package"
    try:
        paths = files.find(known.folder, data_dir, *known.digests)
        other = [
            path.name
            for path, digest in zip(paths, known.digests.values(), strict=True)
            if digest and files.digest(path) != digest
        ]
    except DataError as error:
        get = f"\n    get it: {known.get}" if known.get else ""
        return f"{error}\n    from: {known.origin}{get}"
    if other:
        return f"there, but not as it was measured: {', '.join(other)}"
    return "there"


def main() -> None:
    """Prints a line for each data set, or more where something is missing.

    With `check`, prints what is odd about those that are there, in Markdown.
    """
    parser = argparse.ArgumentParser(
        "python -m experiments.data",
        description="Says which data sets are there, and how to get the others; with "
        "check, what is odd about those that are there.",
    )
    parser.add_argument("--data-dir", type=Path, help="default: $JAXRNN_DATA")
    parser.add_argument("check", nargs="?", choices=["check"])
    options = parser.parse_args()
    data_dir = options.data_dir and options.data_dir.expanduser()
    if options.check:
        print(check.page(READERS, data_dir))
        return
    for experiment, table in TABLES.items():
        for name, known in table.items():
            print(f"{experiment}, {name}: {known.title}")
            print(f"    {state(known.files, data_dir)}")


if __name__ == "__main__":
    with until_closed():
        main()
