"""Small image data sets: digits, MNIST, Fashion-MNIST and KMNIST.

`digits` comes with scikit-learn, the others through tensorflow-datasets: its own
builders with two things changed. They read the original files without TensorFlow,
and they keep the order of those files, so that "the first 100 test images" are the
same everywhere; hence the names of their own, `mnist_in_order` and so on.
"""

import contextlib
import gzip
import hashlib
import io
import math
import os
import queue
import struct
import sys
import tempfile
import threading
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.data import DataError

_BUILDERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}
_PATIENCE = 5.0  # seconds for the network to show a sign of life

DATASETS = ("digits", *_BUILDERS)


class Images(NamedTuple):
    """One split of a data set."""

    images: np.ndarray  # [N, rows, cols] uint8
    labels: np.ndarray  # [N] int32

    def first(self, count: int | None) -> "Images":
        """The first n images; None: all."""
        return Images(*(a[:count] for a in self))

    def last(self, count: int) -> "Images":
        """The last n images, at least one."""
        return Images(*(a[-count:] for a in self))


class ImageData(NamedTuple):
    """A data set: two splits, and what their numbers range over."""

    train: Images
    test: Images
    num_classes: int
    max_value: int  # the brightest pixel there can be


def load_images(name: str, data_dir: Path | None = None) -> ImageData:
    """Load one of `DATASETS`.

    `digits`: scikit-learn's 1,797 pictures of 8x8, split 80/20 once and for all with
    every class in proportion (1,437 train, 360 test). The others: 60,000 train and
    10,000 test pictures of 28x28, in their original order, downloaded or built from
    the four original gzip files, and kept for the next time in tensorflow-datasets'
    usual folder (`TFDS_DATA_DIR`, else `~/tensorflow_datasets`).

    Args:
      name: one of `DATASETS`.
      data_dir: a folder with the four files, or with a folder called `name` that has
        them; nothing is downloaded then. If None, the environment variable
        `JAXRNN_DATA` may name such a folder; where it lacks the data set, the network
        is used. Files on disk are checked, every time, against the checksums that
        tensorflow-datasets ships.

    Raises:
      DataError: unknown name; files missing, altered or unreadable; neither files
        nor a network; a cache folder that cannot be written; a package missing.

    Example:
      >>> data = load_images("digits")
      >>> data.train.images.shape, data.test.labels.shape, data.max_value
      ((1437, 8, 8), (360,), 16)
    """
    if name not in DATASETS:
        raise DataError(f"no data set {name!r}; there are: {', '.join(DATASETS)}")
    try:
        return _load_digits() if name == "digits" else _load_mnist(name, data_dir)
    except ImportError as error:
        raise DataError(
            f"{name} needs more packages ({error}): pip install 'jaxrnn[experiments]'"
        ) from error
    except OSError as error:
        raise DataError(f"cannot load {name}: {error}") from error


def sequences(images: np.ndarray, max_value: int, order: str) -> np.ndarray:
    """Images [N, R, C] in 0..max_value as sequences [N, T, D] in 0..1.

    Args:
      images: bytes.
      max_value: the brightest pixel there can be.
      order: what a step is: "rows", "pixels", or "permuted", pixels in one fixed random
        order.
    """
    values = images.astype(np.float32) / max_value
    if order == "rows":
        return values
    pixels = values.reshape(len(values), -1, 1)
    if order == "permuted":
        # One order for all images and all runs: it is part of the task.
        pixels = pixels[:, np.random.default_rng(0).permutation(pixels.shape[1])]
    return pixels


def read_idx(path: Path) -> np.ndarray:
    """Read a gzip-compressed idx file of bytes.

    It holds `0 0 8 d`, the `d` sizes as big-endian 32-bit integers, and the bytes.
    Memory is taken for what the file really has, not for what its header claims.

    Args:
      path: a file of labels (`d` = 1) or of pictures (`d` = 3).

    Returns:
      A uint8 array, `[N]` or `[N, rows, cols]`.

    Raises:
      DataError: the file cannot be read, or is not exactly of that form, or is empty.
    """
    try:
        with gzip.open(path) as file:
            magic = file.read(4)
            if magic not in (b"\0\0\x08\x01", b"\0\0\x08\x03"):
                raise DataError(f"{path}: not an idx file of labels or pictures")
            header = file.read(4 * magic[3])
            if len(header) != 4 * magic[3]:
                raise DataError(f"{path}: ends within its header")
            shape = struct.unpack(f">{magic[3]}I", header)
            size, data = math.prod(shape), bytearray()
            while len(data) <= size and (block := file.read(1 << 20)):
                data += block
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read as gzip: {error}") from error
    if size == 0 or len(data) != size:
        found = "more" if len(data) > size else f"{len(data):,}"
        raise DataError(f"{path}: shape {shape} means {size:,} bytes, found {found}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _load_digits() -> ImageData:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits: Any = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target.astype(np.int32)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0
    )
    train, test = (Images(images[split], labels[split]) for split in (train, test))
    return ImageData(train, test, num_classes=10, max_value=16)


def _load_mnist(name: str, data_dir: Path | None) -> ImageData:
    import tensorflow_datasets as tfds

    stock: Any = getattr(tfds.image_classification, _BUILDERS[name])
    folder = _find_files(name, data_dir, stock.url_infos)
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
    return ImageData(train, test, num_classes=10, max_value=255)


def _find_files(name: str, data_dir: Path | None, url_infos: Any) -> Path | None:
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
    missing = [file for file in names if not (folder / file).exists()]
    if data_dir is None and missing == names:
        return None
    if missing:
        raise DataError(f"for {name}, {folder} lacks {', '.join(missing)}")
    for info in url_infos.values():
        with (folder / info.filename).open("rb") as file:
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
                files = dl_manager.download(urls)
            else:
                files = {file: folder / file for file in urls}
            return {
                split: self._generate_examples(
                    files[f"{prefix}-images-idx3-ubyte.gz"],
                    files[f"{prefix}-labels-idx1-ubyte.gz"],
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


def _read(source: Any, name: str) -> Images:
    """All of a data source, in blocks: five times faster than one by one."""
    from tqdm import tqdm

    images, labels = [], []
    bar = tqdm(total=len(source), desc=f"reading {name}", leave=False, disable=None)
    with bar:
        for start in range(0, len(source), 1000):
            block = range(start, min(start + 1000, len(source)))
            for example in source.__getitems__(block):
                images.append(example["image"])
                labels.append(example["label"])
            bar.update(len(block))
    return Images(np.stack(images), np.array(labels, np.int32))
