"""The image data sets: files, checksums, caches and what is said when they fail."""

import dataclasses
import gzip
import hashlib
import http.server
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import needs_data

from experiments.data import DataError, mnist_tfds
from experiments.data.formats.idx import read_idx
from experiments.data.images import DATASETS, load_images

NAMES = [
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
]


def idx_bytes(array: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_idx(path: Path, content: np.ndarray | bytes) -> Path:
    if isinstance(content, np.ndarray):
        content = idx_bytes(content)
    path.write_bytes(gzip.compress(content))
    return path


def contents(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    """No data folder, no proxy settings, and caches under `tmp_path`."""
    for variable in ("JAXRNN_DATA", "ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "cache"))


@pytest.fixture
def dead_network(monkeypatch):
    """A proxy where nothing listens: every request fails at once."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for variable in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(variable, f"http://127.0.0.1:{port}")
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def arrays():
    generator = np.random.default_rng(0)
    sizes = {"train": 2500, "t10k": 30}  # more than two blocks, and less than one
    return {
        split: (
            generator.integers(0, 256, (size, 28, 28), np.uint8),
            generator.integers(0, 10, size, np.uint8),
        )
        for split, size in sizes.items()
    }


@pytest.fixture
def folder(tmp_path, arrays):
    folder = tmp_path / "files"
    folder.mkdir()
    for split, (pictures, labels) in arrays.items():
        write_idx(folder / f"{split}-images-idx3-ubyte.gz", pictures)
        write_idx(folder / f"{split}-labels-idx1-ubyte.gz", labels)
    return folder


def expect(folder: Path, base_url: str | None = None):
    """Make the files in `folder` pass for the originals of MNIST."""
    import tensorflow_datasets as tfds

    mnist = tfds.image_classification.MNIST
    infos = {}
    for url, info in (mnist.url_infos or {}).items():
        content = (folder / info.filename).read_bytes()
        checksum = hashlib.sha256(content).hexdigest()
        if base_url:
            url = f"{base_url}/{info.filename}"
        infos[url] = dataclasses.replace(info, size=len(content), checksum=checksum)
    assert {info.filename for info in infos.values()} == set(NAMES)
    return mnist, "url_infos", infos


@pytest.fixture
def accepted(monkeypatch, folder):
    monkeypatch.setattr(*expect(folder))
    return folder


def check_equal(data, arrays):
    for split, (pictures, labels) in zip(data[:2], arrays.values(), strict=True):
        assert split.images.dtype == np.uint8
        assert split.labels.dtype == np.int32
        np.testing.assert_array_equal(split.images, pictures)
        np.testing.assert_array_equal(split.labels, labels)


# --- idx files


@pytest.mark.parametrize("shape", [(7,), (3, 4, 5), (1, 1, 1), (30, 200, 200)])
def test_read_idx(tmp_path, shape):
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    result = read_idx(write_idx(tmp_path / "file.gz", array))
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, array)


GOOD = idx_bytes(np.arange(12).reshape(3, 2, 2))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not an idx file"),
        (b"\0\0\x08", "not an idx file"),
        (b"\0\0\x09" + GOOD[3:], "not an idx file"),  # signed bytes
        (b"\1" + GOOD[1:], "not an idx file"),
        (b"\0\0\x08\x02" + GOOD[4:], "not an idx file"),
        (b"\0\0\x08\0", "not an idx file"),
        (GOOD[:4], "within its header"),
        (GOOD[:15], "within its header"),
        (GOOD[:16], "12 bytes, found 0"),
        (GOOD[:-1], "12 bytes, found 11"),
        (GOOD + b"x", "12 bytes, found more"),
        (GOOD[:4] + b"\xff" * 12 + GOOD[16:], "found 12"),
        (GOOD[:4] + b"\xff\xff\xff\xff" + GOOD[8:], "found 12"),
        (GOOD[:4] + b"\0" * 12, "0 bytes, found 0"),
        (GOOD[:4] + b"\0\0\0\0" + b"\xff" * 8, "0 bytes, found 0"),
    ],
)
def test_read_idx_refuses(tmp_path, content, complaint):
    path = write_idx(tmp_path / "file.gz", content)
    with pytest.raises(DataError, match=complaint) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_read_idx_refuses_what_is_not_whole_gzip(tmp_path):
    path = write_idx(tmp_path / "file.gz", np.arange(200))
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    nonsense = whole[:10] + b"\xff" * 20
    for content in (b"", whole[:-9], whole[:5], damaged, nonsense, whole + b"x"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"file\.gz"):
            read_idx(path)
    for other in (tmp_path, tmp_path / "absent"):
        with pytest.raises(DataError, match=str(other)):
            read_idx(other)


def test_read_idx_stops_at_the_size_in_the_header(tmp_path):
    """A small file that unpacks to 2 GB is given up after the first block."""
    path = tmp_path / "file.gz"
    zeros = gzip.compress(bytes(1 << 24))
    path.write_bytes(gzip.compress(GOOD) + 128 * zeros)
    start = time.perf_counter()
    with pytest.raises(DataError, match="found more"):
        read_idx(path)
    assert time.perf_counter() - start < 1


# --- digits


def test_digits_are_split_once_and_for_all():
    from sklearn.datasets import load_digits

    data, again = load_images("digits"), load_images("digits")
    assert (len(data.classes), data.max_value) == (10, 16)
    assert data.train.images.shape == (1437, 8, 8)
    assert data.test.images.shape == (360, 8, 8)
    assert data.train.images.dtype == np.uint8
    assert data.train.labels.dtype == np.int32
    for split, same in zip(data[:2], again[:2], strict=True):
        np.testing.assert_array_equal(split.images, same.images)
        np.testing.assert_array_equal(split.labels, same.labels)
    # Stratified: each class gives a fifth of its pictures, within one.
    source: Any = load_digits()
    totals = np.bincount(source.target)
    test_counts = np.bincount(data.test.labels)
    assert np.all(np.abs(test_counts - totals / 5) < 1)
    # Every picture once, with its own label: disjoint and complete.
    both = [
        (image.tobytes(), int(label))
        for split in data[:2]
        for image, label in zip(split.images, split.labels, strict=True)
    ]
    original = [
        (image.astype(np.uint8).tobytes(), int(label))
        for image, label in zip(source.images, source.target, strict=True)
    ]
    assert sorted(both) == sorted(original)
    assert data.train.images.max() == 16
    # The split itself, so that a change of it is noticed.
    assert data.train.labels[:8].tolist() == [3, 9, 1, 3, 1, 9, 4, 4]
    assert data.test.labels[:8].tolist() == [7, 6, 3, 7, 7, 3, 2, 8]


def test_digits_need_neither_tensorflow_datasets_nor_files(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    monkeypatch.setenv("JAXRNN_DATA", str(tmp_path / "absent"))
    assert len(load_images("digits").train.labels) == 1437
    assert not (tmp_path / "cache").exists()


# --- names and packages


def test_unknown_name():
    with pytest.raises(
        DataError, match=r"'mnst'.*digits, mnist, fashion_mnist, kmnist"
    ):
        load_images("mnst")


@pytest.mark.parametrize(
    ("name", "package"),
    [("digits", "sklearn.datasets"), ("mnist", "tensorflow_datasets")],
)
def test_missing_package_names_the_install_command(
    monkeypatch, accepted, name, package
):
    for module in {package, *sys.modules}:
        if f"{module}.".startswith(f"{package}."):
            monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError) as caught:
        load_images(name, accepted)
    assert package in str(caught.value)
    assert "pip install -e '.[experiments]'" in str(caught.value)


# --- files on disk


@pytest.mark.usefixtures("dead_network")
def test_files_are_prepared_once_and_kept(
    monkeypatch, accepted, arrays, tmp_path, capfd
):
    data = load_images("mnist", accepted)
    check_equal(data, arrays)
    assert (len(data.classes), data.max_value) == (10, 255)
    cache = contents(tmp_path / "cache")
    assert not [name for name in cache if "incomplete" in name or "download" in name]

    def never(*_):
        raise AssertionError("prepared a second time")

    monkeypatch.setattr(mnist_tfds, "_prepare", never)
    check_equal(load_images("mnist", accepted), arrays)
    check_equal(load_images("mnist"), arrays)  # neither files nor a network now
    assert contents(tmp_path / "cache") == cache
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.usefixtures("dead_network")
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("through", ["argument", "variable"])
def test_ways_to_name_the_folder(
    monkeypatch, accepted, arrays, tmp_path, nested, through
):
    named = accepted
    if nested:
        named = tmp_path / "data"
        named.mkdir()
        accepted.rename(named / "mnist")
    if through == "variable":
        monkeypatch.setenv("JAXRNN_DATA", str(named))
        check_equal(load_images("mnist"), arrays)
    else:
        monkeypatch.setenv("JAXRNN_DATA", str(tmp_path / "absent"))
        check_equal(load_images("mnist", named), arrays)


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("through", ["argument", "variable"])
def test_an_altered_file_is_named_whether_cached_or_not(
    monkeypatch, accepted, tmp_path, cached, through
):
    if cached:
        load_images("mnist", accepted)
    before = contents(tmp_path)
    path = accepted / NAMES[2]
    original = path.read_bytes()
    altered = bytearray(original)
    altered[-1] ^= 1
    for content in (original[:-100], bytes(altered), b"", original + b"\0"):
        path.write_bytes(content)
        monkeypatch.setenv("JAXRNN_DATA", str(accepted))
        with pytest.raises(DataError) as caught:
            load_images("mnist", accepted if through == "argument" else None)
        message = str(caught.value)
        assert str(path) in message
        for expected in (original, content):
            assert hashlib.sha256(expected).hexdigest() in message
            assert f"{len(expected):,} bytes" in message
    assert contents(tmp_path) == before


def test_the_real_checksums_hold_without_a_seam(folder):
    """Nothing patched: the small files are no MNIST."""
    with pytest.raises(DataError, match="not the original file of mnist") as caught:
        load_images("mnist", folder)
    checksum = "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
    assert checksum in str(caught.value)


@pytest.mark.parametrize("through", ["argument", "variable"])
def test_missing_files_are_all_named(monkeypatch, accepted, through):
    (accepted / NAMES[0]).unlink()
    (accepted / NAMES[3]).unlink()
    monkeypatch.setenv("JAXRNN_DATA", str(accepted))
    with pytest.raises(DataError) as caught:
        load_images("mnist", accepted if through == "argument" else None)
    for name in NAMES:
        assert (name in str(caught.value)) == (name in (NAMES[0], NAMES[3]))


def test_a_folder_given_is_never_passed_over(monkeypatch, accepted, tmp_path):
    monkeypatch.setenv("JAXRNN_DATA", str(accepted))
    load_images("mnist")  # a cache, and good files elsewhere, change nothing
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=f"{empty} lacks {NAMES[2]}"):
        load_images("mnist", empty)
    for path in (tmp_path / "absent", accepted / NAMES[0]):
        with pytest.raises(DataError, match=f"{path} does not exist or is no folder"):
            load_images("mnist", path)


def test_a_file_that_cannot_be_read_is_named(accepted):
    (accepted / NAMES[1]).unlink()
    (accepted / NAMES[1]).mkdir()  # not permissions: those do not bind root
    with pytest.raises(DataError, match=f"cannot load mnist.*{NAMES[1]}"):
        load_images("mnist", accepted)


# --- the cache


def test_a_cache_folder_that_cannot_be_written(monkeypatch, accepted, tmp_path):
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(DataError, match=f"cannot prepare {tmp_path / 'cache'}"):
        load_images("mnist", accepted)


@pytest.mark.parametrize("damage", ["empty", "no info", "no records", "altered"])
def test_a_damaged_cache_is_named(accepted, tmp_path, damage):
    load_images("mnist", accepted)
    (prepared,) = (tmp_path / "cache" / "mnist_in_order").iterdir()
    (records,) = prepared.glob("*train*")
    if damage == "empty":
        for path in prepared.iterdir():
            path.unlink()
    elif damage == "no info":
        (prepared / "dataset_info.json").unlink()
    elif damage == "no records":
        records.unlink()
    else:
        content = bytearray(records.read_bytes())
        content[len(content) // 2] ^= 1
        records.write_bytes(content)
    with pytest.raises(DataError, match=f"{prepared} cannot be read.*delete that"):
        load_images("mnist", accepted)


def test_files_that_pass_but_do_not_fit_leave_nothing(
    monkeypatch, folder, arrays, tmp_path
):
    write_idx(folder / NAMES[1], arrays["train"][1][:-1])  # one label too few
    monkeypatch.setattr(*expect(folder))
    with pytest.raises(DataError, match="cannot prepare"):
        load_images("mnist", folder)
    assert contents(tmp_path / "cache") == {"mnist_in_order"}
    write_idx(folder / NAMES[1], arrays["train"][1])
    monkeypatch.setattr(*expect(folder))
    check_equal(load_images("mnist", folder), arrays)


def start_load(folder: Path, before: str = "") -> subprocess.Popen:
    """Load in a process of its own, `before` run first."""
    program = (
        "import sys, time, os, signal, pathlib\n"
        "from experiments.data import images, mnist_tfds\n"
        "from tests.experiments.data.test_data_images import expect\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "setattr(*expect(folder))\n"
        f"{before}\n"
        "data = images.load_images('mnist', folder)\n"
        "print(len(data.train.labels), data.train.images.sum())\n"
    )
    root = Path(__file__).parents[3]
    return subprocess.Popen(
        [sys.executable, "-c", program, str(folder)],
        cwd=root,
        env=os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("cached", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_package_missing_late_names_the_install_command(accepted, cached):
    """What tensorflow-datasets itself imports only when it writes or reads."""
    if cached:
        load_images("mnist", accepted)
    process = start_load(accepted, "sys.modules['array_record.python'] = None")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    last = errors.splitlines()[-1]
    assert "DataError: mnist needs more packages" in last
    assert "array_record" in last
    assert "pip install -e '.[experiments]'" in last


def test_a_killed_preparation_is_not_taken_for_whole(accepted, arrays, tmp_path):
    killer = (
        "read = mnist_tfds.read_idx\n"
        "def read_idx(path):\n"
        "    if 't10k' in path.name: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return read(path)\n"
        "mnist_tfds.read_idx = read_idx\n"
    )
    process = start_load(accepted, killer)
    process.communicate(timeout=60)
    assert process.returncode == -9
    left = contents(tmp_path / "cache")
    assert any("incomplete" in name and "train" in name for name in left)
    check_equal(load_images("mnist", accepted), arrays)


@pytest.mark.slow
def test_processes_that_prepare_at_once(accepted, arrays, tmp_path):
    # Each waits within its preparation until all have begun theirs.
    wait = (
        "read, cache = mnist_tfds.read_idx, pathlib.Path(os.environ['TFDS_DATA_DIR'])\n"
        "def read_idx(path):\n"
        "    deadline = time.monotonic() + 30\n"
        "    while len(list(cache.glob('*/*'))) < 3 and time.monotonic() < deadline:\n"
        "        time.sleep(0.01)\n"
        "    mnist_tfds.read_idx = read\n"
        "    return read(path)\n"
        "mnist_tfds.read_idx = read_idx\n"
    )
    processes = [start_load(accepted, wait) for _ in range(3)]
    outputs = [process.communicate(timeout=60) for process in processes]
    expected = f"2500 {arrays['train'][0].sum()}\n"
    assert outputs == [(expected, "")] * 3
    left = contents(tmp_path / "cache")
    assert left
    assert not [name for name in left if "incomplete" in name]


# --- the network


def check_tells_both_ways(message: str):
    for part in ("network", "--data-dir", "JAXRNN_DATA", *NAMES):
        assert part in message


@pytest.mark.usefixtures("dead_network")
@pytest.mark.parametrize("name", [n for n, d in DATASETS.items() if d.builder])
def test_no_network_and_no_files(monkeypatch, tmp_path, name):
    monkeypatch.setenv("JAXRNN_DATA", str(tmp_path))
    start = time.perf_counter()
    with pytest.raises(DataError, match=f"^{name} is not on this machine") as caught:
        load_images(name)
    assert time.perf_counter() - start < 10
    check_tells_both_ways(str(caught.value))
    assert str(tmp_path) in str(caught.value)
    assert contents(tmp_path) == set()


@pytest.mark.parametrize("hangs", ["proxy", "name look-up"])
def test_a_network_that_hangs(monkeypatch, hangs):
    monkeypatch.setattr(mnist_tfds, "_PATIENCE", 0.5)
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        if hangs == "proxy":
            address = f"http://127.0.0.1:{silent.getsockname()[1]}"
            monkeypatch.setenv("http_proxy", address)
            monkeypatch.setenv("https_proxy", address)
            for variable in ("no_proxy", "NO_PROXY"):
                monkeypatch.delenv(variable, raising=False)
        else:

            def getaddrinfo(*_args, **_keywords):
                done.wait(30)
                raise socket.gaierror("no such host")

            monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        start = time.perf_counter()
        with pytest.raises(DataError) as caught:
            load_images("mnist")
        assert time.perf_counter() - start < 5
        done.set()
    check_tells_both_ways(str(caught.value))


@pytest.fixture
def server(folder, monkeypatch):
    """A local server that has the files; yields its address."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **keywords):
            super().__init__(*args, directory=str(folder), **keywords)

        def log_message(self, format, *args):
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_download(monkeypatch, server, folder, arrays, tmp_path, capfd):
    monkeypatch.setattr(*expect(folder, server))
    monkeypatch.setenv("JAXRNN_DATA", str(tmp_path))  # has no MNIST: go on
    check_equal(load_images("mnist"), arrays)
    left = contents(tmp_path / "cache")
    assert left
    assert not [name for name in left if "incomplete" in name]
    assert not [name for name in left if "download" in name]
    assert "".join(capfd.readouterr()) == ""


def test_a_download_of_something_else(monkeypatch, server, folder, tmp_path):
    monkeypatch.setattr(*expect(folder, server))
    path = folder / NAMES[0]
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(b"<html>Please log in</html>")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(DataError, match="cannot prepare") as caught:
        load_images("mnist")
    for part in (NAMES[0], expected, found):
        assert part in str(caught.value)
    assert contents(tmp_path / "cache") == {"mnist_in_order"}


def test_a_server_without_the_files(monkeypatch, server, folder):
    monkeypatch.setattr(*expect(folder, server + "/moved"))
    with pytest.raises(DataError, match="HTTPError") as caught:
        load_images("mnist")
    check_tells_both_ways(str(caught.value))


# --- the real files

REAL = Path(os.environ.get("JAXRNN_DATA", "absent"), "mnist")


@pytest.mark.slow
@needs_data("mnist")
def test_real_mnist(monkeypatch):
    monkeypatch.setenv("JAXRNN_DATA", str(REAL.parent))
    data = load_images("mnist")
    assert data.train.images.shape == (60_000, 28, 28)
    assert data.test.images.shape == (10_000, 28, 28)
    assert data.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    direct = {
        split: (
            read_idx(REAL / f"{split}-images-idx3-ubyte.gz"),
            read_idx(REAL / f"{split}-labels-idx1-ubyte.gz"),
        )
        for split in ("train", "t10k")
    }
    check_equal(data, direct)
