"""MNIST and its kin through tensorflow-datasets.

Its own builders are used with two things changed. They read the original files without
TensorFlow, and they keep the order of those files, so that "the first 100 test images"
are the same everywhere; hence the names of their own, `mnist_in_order` and so on.
"""

import contextlib
import hashlib
import io
import os
import queue
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.data import DataError, files
from experiments.data.formats.idx import read_idx

_PATIENCE = 5.0  # seconds for the network to show a sign of life

Split = tuple[np.ndarray, np.ndarray]  # images [N, 28, 28] uint8, labels [N] int32


def load(
    name: str,
    builder: str,
    data_dir: Path | None,
    digests: Mapping[str, str],
) -> tuple[Split, Split]:
    """Reads a data set from its original files or the network, and keeps it.

    Args:
      name: of the data set and, perhaps, of its folder in `data_dir`.
      builder: name of the class in `tensorflow_datasets.image_classification`.
      data_dir: see `experiments.data.images.load_images`.
      digests: of the files unpacked, by name; see `experiments.data.files.digest`.

    Returns:
      The training and the test split.

    Raises:
      DataError: if files are missing or altered, if there are neither files nor a
        network, or if the cache folder cannot be written.
      ImportError: if a package is missing.
      OSError: if a file or folder cannot be read.
    """
    import tensorflow_datasets as tfds

    stock: Any = getattr(tfds.image_classification, builder)
    folder = _find_files(name, data_dir, stock.url_infos, digests)
    builder_class = _in_order(stock, folder)
    root = Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    prepared = root / builder_class.name / str(builder_class.VERSION)
    if not prepared.exists():
        if folder is None:
            _check_network(name, stock.url_infos)
        _prepare(builder_class, root, prepared)
    try:
        sources: Any = tfds.builder_from_directory(prepared).as_data_source()
        train, test = (_read(sources[split], name) for split in ("train", "test"))
    except ImportError:
        raise
    except Exception as error:
        raise DataError(
            f"the prepared copy of {name} in {prepared} cannot be read ({error}); "
            "delete that folder and run again"
        ) from error
    return train, test


def _find_files(
    name: str, data_dir: Path | None, url_infos: Any, digests: Mapping[str, str]
) -> Path | None:
    """The folder of the four files, checked; None if there is none to look in."""
    given = data_dir or os.environ.get("JAXRNN_DATA")
    if not given:
        return None
    folder = Path(given).expanduser()
    if data_dir is not None and not folder.is_dir():
        raise DataError(f"the data folder {folder} does not exist or is no folder")
    if (folder / name).is_dir():
        folder = folder / name
    names = [info.filename for info in url_infos.values()]
    missing = [file for file in names if not files.in_place(folder / file).exists()]
    if data_dir is None and missing == names:
        return None
    if missing:
        raise DataError(f"for {name}, {folder} lacks {', '.join(missing)}")
    for info in url_infos.values():
        path, digest = files.in_place(folder / info.filename), digests[info.filename]
        if path.suffix != ".gz":
            if digest not in ("", files.digest(path)):
                raise DataError(f"{path} is not the original file of {name}, unpacked")
            continue
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
        if (size, found) != (info.size, info.checksum):
            raise DataError(
                f"{folder / info.filename} is not the original file of {name}: "
                f"expected {info.size:,} bytes with sha256 {info.checksum}, "
                f"found {size:,} bytes with sha256 {found}"
            )
    return folder


def _check_network(name: str, url_infos: Any) -> None:
    """Say at once what tensorflow-datasets would find out in minutes."""
    import requests

    url, answers = next(iter(url_infos)), queue.SimpleQueue()

    def ask():
        try:
            with requests.get(url, stream=True, timeout=_PATIENCE) as response:
                response.raise_for_status()
            answers.put(None)
        except Exception as error:
            answers.put(type(error).__name__)

    # In a thread, because no timeout covers the look-up of the host's name.
    threading.Thread(target=ask, daemon=True).start()
    try:
        problem = answers.get(timeout=_PATIENCE)
    except queue.Empty:
        problem = f"no answer in {_PATIENCE:g} seconds"
    if problem:
        raise DataError(
            f"{name} is not on this machine, and {url} cannot be reached ({problem}). "
            "Either run once with a network, or pass --data-dir or set JAXRNN_DATA "
            f"(now {os.environ.get('JAXRNN_DATA') or 'not set'}) to a folder with "
            f"these four files: {', '.join(i.filename for i in url_infos.values())}"
        )


def _in_order(stock: Any, folder: Path | None) -> Any:
    """`stock`, but in order, without TensorFlow, and from `folder` if there is one."""
    import tensorflow_datasets as tfds

    class InOrder(stock, skip_registration=True):  # pyright: ignore
        name = f"{stock.name}_in_order"
        url_infos = stock.url_infos

        def _info(self):
            info = super()._info()
            # Bytes as they are: PNG, the stock encoding, needs TensorFlow to write,
            # and takes several times longer to read.
            image = tfds.features.Tensor(
                shape=info.features["image"].shape[:2], dtype=np.uint8, encoding="bytes"
            )
            return tfds.core.DatasetInfo(
                builder=self,
                description=info.description,
                features=tfds.features.FeaturesDict({**info.features, "image": image}),
                homepage=info.homepage,
                citation=info.citation,
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager):
            urls = {info.filename: url for url, info in self.url_infos.items()}
            if folder is None:
                paths = dl_manager.download(urls)
            else:
                paths = {file: folder / file for file in urls}
            return {
                split: self._generate_examples(
                    paths[f"{prefix}-images-idx3-ubyte.gz"],
                    paths[f"{prefix}-labels-idx1-ubyte.gz"],
                )
                for split, prefix in (("train", "train"), ("test", "t10k"))
            }

        def _generate_examples(self, images_path, labels_path):
            images, labels = read_idx(images_path), read_idx(labels_path)
            for index, (image, label) in enumerate(zip(images, labels, strict=True)):
                yield index, {"image": image, "label": int(label)}

    return InOrder


def _prepare(builder_class: Any, root: Path, prepared: Path) -> None:
    """Let tensorflow-datasets write `prepared`: whole, or not at all."""
    import tensorflow_datasets as tfds

    tfds.display_progress_bar(sys.stderr.isatty())
    try:
        with (
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as downloads,
            contextlib.redirect_stdout(io.StringIO()),  # it prints as it goes
        ):
            builder_class(data_dir=root).download_and_prepare(
                file_format="array_record", download_dir=downloads
            )
    except (DataError, ImportError):
        raise
    except Exception as error:
        # tensorflow-datasets writes elsewhere and renames at the end, which fails if
        # another process was first; that one's copy is as good.
        if not prepared.exists():
            raise DataError(f"cannot prepare {prepared}: {error}") from error


def _read(source: Any, name: str) -> Split:
    """All of a data source, in blocks: five times faster than one by one."""
    images, labels = [], []
    from tqdm import tqdm

    bar = tqdm(total=len(source), desc=f"reading {name}", leave=False, disable=None)
    with bar:
        for start in range(0, len(source), 1000):
            block = range(start, min(start + 1000, len(source)))
            for example in source.__getitems__(block):
                images.append(example["image"])
                labels.append(example["label"])
            bar.update(len(block))
    return np.stack(images), np.array(labels, np.int32)
