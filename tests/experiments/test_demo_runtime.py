"""Where `--demo` has its runtime from: the cache, npm's registry, or a place given."""

import gzip
import hashlib
import io
import tarfile
import urllib.error
from http.client import IncompleteRead

import pytest

from experiments.data import DataError
from experiments.demo import runtime

FILES = {name: f"/* {name} */".encode() for name in runtime.DIGESTS}


@pytest.fixture(autouse=True)
def _known_files(monkeypatch, tmp_path):
    digests = {n: hashlib.sha256(content).hexdigest() for n, content in FILES.items()}
    monkeypatch.setattr(runtime, "DIGESTS", digests)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "https://npm.example/")


def archive(files):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as found:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"package/dist/{name}")
            entry.size = len(content)
            found.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def answering(monkeypatch, answer):
    """What the registry answers: bytes, or an error. The addresses that were asked."""
    asked = []

    def urlopen(url, timeout):
        asked.append(url)
        if isinstance(answer, Exception):
            raise answer
        return io.BytesIO(answer)

    monkeypatch.setattr(runtime.urllib.request, "urlopen", urlopen)
    return asked


def check(found):
    assert tuple(found) == runtime.SERVED
    packed = f"{runtime.PROGRAM}.gz"
    assert gzip.decompress(found[packed]) == FILES[runtime.PROGRAM]
    assert all(found[n] == FILES[n] for n in found if n != packed)


def test_it_is_downloaded_once_and_again_where_the_cache_is_damaged(
    monkeypatch, tmp_path
):
    asked = answering(monkeypatch, archive(FILES))
    check(runtime.runtime())
    check(runtime.runtime())
    version = runtime.VERSION
    url = f"https://npm.example/onnxruntime-web/-/onnxruntime-web-{version}.tgz"
    assert asked == [url]
    (kept,) = (tmp_path / "cache").rglob("*.wasm.gz")
    kept.write_bytes(kept.read_bytes()[:-9])
    check(runtime.runtime())
    assert asked == [url] * 2


@pytest.mark.parametrize("inside", ["", "dist", "node_modules/onnxruntime-web/dist"])
def test_an_installed_package_serves(tmp_path, inside):
    place = tmp_path / inside
    place.mkdir(parents=True, exist_ok=True)
    for name, content in FILES.items():
        (place / name).write_bytes(content)
    check(runtime.runtime(tmp_path))
    (place / runtime.PROGRAM).write_bytes(b"altered")
    got = hashlib.sha256(b"altered").hexdigest()[:16]
    with pytest.raises(DataError, match=f"--demo-runtime: .*{runtime.VERSION}.*{got}"):
        runtime.runtime(tmp_path)


def test_an_archive_serves(tmp_path):
    path = tmp_path / "onnxruntime-web.tgz"
    path.write_bytes(archive(FILES))
    check(runtime.runtime(path))


def test_what_is_no_such_package_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"--demo-runtime: .* lacks ort\.wasm\.min"):
        runtime.runtime(tmp_path)
    with pytest.raises(DataError, match=r"--demo-runtime: .*no: No such file"):
        runtime.runtime(tmp_path / "no")
    path = tmp_path / "some.tgz"
    for content in (b"", b"text", archive({"other": b""}), archive(FILES)[:-40]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="expected the archive of onnxruntime-web"):
            runtime.runtime(path)


FAILURES = [
    (urllib.error.URLError("no route to host"), "no route to host"),
    (TimeoutError("timed out"), "timed out"),
    (IncompleteRead(b""), "IncompleteRead"),
]


@pytest.mark.parametrize(("error", "says"), FAILURES, ids=str)
def test_without_a_network_the_message_says_what_to_do(
    tmp_path, monkeypatch, error, says
):
    answering(monkeypatch, error)
    expected = f"{says}.*; .*npm pack .* --demo-runtime FILE"
    with pytest.raises(DataError, match=expected):
        runtime.runtime()
    assert not list(tmp_path.iterdir())
