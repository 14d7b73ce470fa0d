"""ONNX Runtime Web, which runs a network in a page: from npm's registry to a folder.

Its package is downloaded once, in one fixed version, and three of its files, held to
their checksums, are kept in the user's cache. It is no part of this repository, for it
has 14 MB; nor does npm have to be installed, for these files stand in the package as
they are. Packed by gzip, which browsers unpack, they have 4 MB.
"""

import gzip
import hashlib
import http.client
import io
import os
import tarfile
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path

from experiments import lab
from experiments.data import DataError
from experiments.lab.storage import replace

VERSION = "1.30.0"
PROGRAM = "ort-wasm-simd-threaded.wasm"
DIGESTS = {  # SHA-256
    "ort.wasm.min.mjs": (
        "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b"
    ),
    "ort-wasm-simd-threaded.mjs": (
        "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b"
    ),
    PROGRAM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
SERVED = tuple(f"{n}.gz" if n == PROGRAM else n for n in DIGESTS)
REGISTRY = "https://registry.npmjs.org"
FOLDER = "package/dist"  # in the archive
PLACES = "", "dist", FOLDER, "node_modules/onnxruntime-web/dist"  # in a folder
SECONDS = 8  # without an answer, until the download is given up


def runtime(given: Path | None = None) -> dict[str, bytes]:
    """The files of the runtime by name, the large one packed by gzip.

    Args:
      given: the archive of the package, or a folder where it is installed; None for
        the user's cache, and npm's registry where that is empty. The variable
        `NPM_CONFIG_REGISTRY` names another registry, as for npm.

    Raises:
      DataError: if there is no network, or what was found is another version.
    """
    if given is not None:
        found = _of_folder(given) if given.is_dir() else _of_archive(given)
        return _packed(_held(found, f"--demo-runtime: {given}"))
    cache = _cache() / f"onnxruntime-web-{VERSION}"
    if kept := _kept(cache):
        return kept
    found = _packed(_held(*_downloaded()))
    try:
        cache.mkdir(parents=True, exist_ok=True)
        for name, content in found.items():
            replace(cache / name, _writing(content))
    except OSError as error:
        raise DataError(f"cannot write to {cache}: {error}") from error
    return found


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxrnn"


def _kept(cache: Path) -> dict[str, bytes] | None:
    """What is in the cache, if all is there as it was written."""
    try:
        found = {name: (cache / name).read_bytes() for name in SERVED}
        plain = {**found, PROGRAM: gzip.decompress(found[f"{PROGRAM}.gz"])}
        _held(plain, "")
    except (OSError, EOFError, zlib.error, DataError):
        return None
    return found


def _writing(content: bytes) -> Callable[[Path], int]:
    return lambda path: path.write_bytes(content)


def _downloaded() -> tuple[dict[str, bytes], str]:
    registry = os.environ.get("NPM_CONFIG_REGISTRY", REGISTRY).rstrip("/")
    url = f"{registry}/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
    lab.say(f"downloading {url} (33 MB, once)")
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            return _unpacked(answer.read(), url), url
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise DataError(
            f"cannot download {url}: {reason}; fetch it elsewhere, by `npm pack "
            f"onnxruntime-web@{VERSION}`, and name the file by --demo-runtime FILE"
        ) from error


def _of_archive(path: Path) -> dict[str, bytes]:
    where = f"--demo-runtime: {path}"
    try:
        return _unpacked(path.read_bytes(), where)
    except OSError as error:
        raise DataError(f"{where}: {error.strerror}") from error


def _unpacked(archive: bytes, where: str) -> dict[str, bytes]:
    found = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            for name in DIGESTS:
                if content := files.extractfile(f"{FOLDER}/{name}"):
                    found[name] = content.read()
    except (tarfile.TarError, KeyError, EOFError, zlib.error) as error:
        expected = f"the archive of onnxruntime-web {VERSION}"
        raise DataError(f"{where}: expected {expected}: {error}") from error
    return found


def _of_folder(folder: Path) -> dict[str, bytes]:
    """The files of an installed package: of itself, or below it in node_modules."""
    for place in PLACES:
        paths = {name: folder / place / name for name in DIGESTS}
        if all(path.is_file() for path in paths.values()):
            return {name: path.read_bytes() for name, path in paths.items()}
    raise DataError(
        f"--demo-runtime: {folder} lacks {', '.join(DIGESTS)}, in it or in dist or "
        "node_modules/onnxruntime-web/dist"
    )


def _held(found: dict[str, bytes], where: str) -> dict[str, bytes]:
    """The files, if they are those of the one version."""
    for name, digest in DIGESTS.items():
        got = hashlib.sha256(found.get(name, b"")).hexdigest()
        if got != digest:
            raise DataError(
                f"{where}: expected onnxruntime-web {VERSION}, whose {name} has the "
                f"SHA-256 {digest[:16]}..., got {got[:16]}..."
            )
    return found


def _packed(found: dict[str, bytes]) -> dict[str, bytes]:
    packed = gzip.compress(found[PROGRAM], 9, mtime=0)
    return {n: packed if n.endswith(".gz") else found[n] for n in SERVED}
