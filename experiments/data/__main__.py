"""Says which data sets are there, and how to get the others.

python -m experiments.data
python -m experiments.data --data-dir FOLDER
"""

import argparse
from pathlib import Path

from experiments.data import (
    DataError,
    captions,
    corpus,
    documents,
    files,
    images,
    music,
    parallel,
    series,
)
from experiments.data.files import Files

TABLES = {
    "rows": images.DATASETS,
    "language_model": corpus.DATASETS,
    "sentiment": documents.DATASETS,
    "translation": parallel.DATASETS,
    "captioning": captions.DATASETS,
    "music": music.DATASETS,
    "forecasting": series.DATASETS,
}
# What is odd about a data set, counted: (name, data_dir) -> lines.
ODD = {"sentiment": documents.counted, "music": music.counted}


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
    """Prints a line for each data set, or more where something is missing."""
    parser = argparse.ArgumentParser(
        "python -m experiments.data",
        description="Says which data sets are there, and how to get the others.",
    )
    parser.add_argument("--data-dir", type=Path, help="default: $JAXRNN_DATA")
    data_dir = parser.parse_args().data_dir
    for experiment, table in TABLES.items():
        for name, known in table.items():
            print(f"{experiment}, {name}: {known.title}")
            found = state(known.files, data_dir)
            print(f"    {found}")
            if found == "there" and experiment in ODD:
                try:
                    lines = ODD[experiment](name, data_dir)
                except DataError as error:
                    lines = [str(error)]
                print("".join(f"    {line}\n" for line in lines), end="")


if __name__ == "__main__":
    main()
