"""ONNX Runtime Web, which runs a network in a page: from npm's registry to a folder.

Its package is downloaded once, in one fixed version that is held to its checksum, and
kept in the user's cache. It is no part of this repository, for it has 14 MB; nor does
npm have to be installed, for the three files that are used stand in the package as they
are. Packed by gzip, which browsers unpack, they have 4 MB.
"""

import gzip
import hashlib
import io
import os
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from experiments import lab
from experiments.data import DataError
from experiments.lab.storage import replace

VERSION = "1.30.0"
SHA512 = (
    "ab4cbe26baedba45d2cec05610c71c55fa97db92d19a8b171c5f8269126683ca"
    "590a5cdc57bb2f35ce2b298de32f4d956fb42644c0ecd528a0a91e025c07ca61"
)
REGISTRY = "https://registry.npmjs.org"
FOLDER = "package/dist"  # in the archive
SCRIPTS = "ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs"
PROGRAM = "ort-wasm-simd-threaded.wasm"
SECONDS = 8  # without an answer, until the download is given up


def runtime(given: Path | None = None) -> dict[str, bytes]:
    """The files of the runtime by name, the large one packed by gzip.

    Args:
      given: the archive of the package, or the folder where it is installed; None for
        the user's cache, and npm's registry where that is empty. The variable
        `NPM_CONFIG_REGISTRY` names another registry, as for npm.

    Raises:
      DataError: if there is no network, or what was found is another version.
    """
    if given is not None:
        return _packed(_of_folder(given) if given.is_dir() else _of_archive(given))
    cache = _cache() / f"onnxruntime-web-{VERSION}"
    names = *SCRIPTS, f"{PROGRAM}.gz"
    if not all((cache / name).is_file() for name in names):
        found = _packed(_unpacked(_downloaded(), "what was downloaded"))
        try:
            cache.mkdir(parents=True, exist_ok=True)
            for name, content in found.items():
                replace(cache / name, _writing(content))
        except OSError as error:
            raise DataError(f"cannot write to {cache}: {error}") from error
    return {name: (cache / name).read_bytes() for name in names}


def _writing(content: bytes) -> Callable[[Path], int]:
    return lambda path: path.write_bytes(content)


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxrnn"


def _downloaded() -> bytes:
    registry = os.environ.get("NPM_CONFIG_REGISTRY", REGISTRY).rstrip("/")
    url = f"{registry}/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
    lab.say(f"downloading {url} (33 MB, once)")
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            return answer.read()
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise DataError(
            f"cannot download {url}: {reason}; fetch it elsewhere, by `npm pack "
            f"onnxruntime-web@{VERSION}`, and name the file by --demo-runtime FILE"
        ) from error


def _of_archive(path: Path) -> dict[str, bytes]:
    try:
        return _unpacked(path.read_bytes(), f"--demo-runtime: {path}")
    except OSError as error:
        raise DataError(f"--demo-runtime: {path}: {error.strerror}") from error


def _unpacked(archive: bytes, whose: str) -> dict[str, bytes]:
    """The files in the archive of the package, which is held to its checksum."""
    if hashlib.sha512(archive).hexdigest() != SHA512:
        raise DataError(
            f"{whose}: expected the archive of onnxruntime-web {VERSION}, of SHA-512 "
            f"{SHA512[:16]}..., got {hashlib.sha512(archive).hexdigest()[:16]}..."
        )
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        return {
            name: content.read()
            for name in (*SCRIPTS, PROGRAM)
            if (content := files.extractfile(f"{FOLDER}/{name}"))
        }


def _of_folder(folder: Path) -> dict[str, bytes]:
    """The files of an installed package: of itself, or below it in node_modules."""
    places = ("", "dist", "package/dist", "node_modules/onnxruntime-web/dist")
    for place in places:
        paths = {name: folder / place / name for name in (*SCRIPTS, PROGRAM)}
        if all(path.is_file() for path in paths.values()):
            break
    else:
        raise DataError(
            f"--demo-runtime: {folder} lacks {', '.join((*SCRIPTS, PROGRAM))}, in it "
            "or in dist or node_modules/onnxruntime-web/dist"
        )
    found = {name: path.read_bytes() for name, path in paths.items()}
    if f"ONNX Runtime Web v{VERSION}".encode() not in found[SCRIPTS[0]][:200]:
        expected = f"onnxruntime-web {VERSION}"
        raise DataError(f"--demo-runtime: {folder}: expected {expected}, got another")
    return found


def _packed(found: dict[str, bytes]) -> dict[str, bytes]:
    program = found.pop(PROGRAM)
    return found | {f"{PROGRAM}.gz": gzip.compress(program, 9, mtime=0)}
