"""The folder of a network that is shared: written whole or not at all."""

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import lab
from experiments.card.options import without_places
from experiments.card.page import Card, page
from experiments.card.shared import Shared, chosen
from experiments.lab.options import identity, plain
from experiments.lab.storage import retried

MODEL = "model.safetensors"
NEEDED = ("tables", "versions", "device")


def share(
    describe: Callable[..., Shared],
    network: Callable[..., Any],
    config: Any,
    finished: lab.Finished,
) -> lab.Report:
    """Writes the folder of `--export`.

    Args:
      describe: the study, (network, config, finished) -> what it says of its network.
      network: what the study makes its network with.
      config: of the run.
      finished: the run.

    Raises:
      UsageError: if the folder is there and not empty, or the run is damaged or has
        params that are not finite.
      RunError: if the folder cannot be written.
    """
    folder = Path(config.export).absolute()
    check_place(folder)
    check_summary(finished)
    shared = describe(network, config, finished)
    index = chosen(finished, shared.best, shared.last)
    params = lab.of_seed(finished.load(shared.init), index)
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(params)]
    finite = all(bool(np.isfinite(leaf).all()) for leaf in leaves)
    lab.require(finite, "export", "a run whose params are finite", "others")
    layout, seed = shared.layout(params), config.train.seed + index
    options = without_places(config, identity(config))
    count = sum(leaf.size for leaf in leaves)
    arrays = own_names(params) if layout is None else layout.tensors
    card = Card(shared, finished, options, index, seed, count, arrays, layout)
    files = {MODEL: stored(arrays, "np" if layout is None else "pt")}
    files |= {name: _kept(finished.path / name) for name in shared.files}
    files |= {name: text.encode() for name, (text, _) in shared.texts.items()}
    files |= {"config.json": described(card), "README.md": page(card).encode()}
    write(folder, files)
    size = sum(map(len, files.values()))
    return lab.Report(
        [
            f"seed {seed} ({card.why}) in {folder}, {size / 1e6:.1f} MB; its README.md "
            "is the card: see that its license line is the one you want",
        ]
    )


def own_names(params: Any) -> dict[str, np.ndarray]:
    """Arrays under their paths, as `interop.load_safetensors` reads them."""
    pairs = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(k): np.array(a, order="C") for k, a in pairs}


def stored(arrays: Mapping[str, np.ndarray], kind: str) -> bytes:
    """A safetensors file; hubs ask for the kind, "pt" where torch has the names."""
    from safetensors.numpy import save

    return save(dict(arrays), metadata={"format": kind})


def described(card: Card) -> bytes:
    """config.json: what one needs to make the network again."""
    shared, summary = card.shared, card.finished.summary
    layout = card.layout
    found = {
        "library_name": "jaxrnn",
        "study": summary["experiment"],
        "cell": card.cell,
        "sizes": {} if layout is None else layout.sizes,
        "parameters": card.numbers,
        "tensors": "jaxrnn" if layout is None else "torch",
        "inputs": shared.inputs,
        "outputs": shared.outputs,
        "files": [*shared.files, *shared.texts],
        "seed": card.seed,
        "options": card.options,
        "versions": summary["versions"],
    }
    text = json.dumps(plain(found), indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def check_summary(finished: lab.Finished) -> None:
    """Raises a UsageError unless the summary has what a card tells."""
    lacks = [name for name in NEEDED if name not in finished.summary]
    if lacks:
        path = finished.path / "summary.json"
        raise lab.UsageError(f"--out: {path} is damaged: it lacks {', '.join(lacks)}")


def check_place(folder: Path) -> None:
    """Raises a UsageError unless the folder is new or empty."""
    try:
        empty = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    except OSError as error:
        raise lab.UsageError(f"--export: cannot read {folder}: {error}") from None
    lab.require(empty, "export", "a new folder, or an empty one", folder)


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes files into a new folder beside its place, and then gives it its name."""
    half = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        half = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        for name, content in files.items():
            (half / name).write_bytes(content)
        half.chmod(0o755)
        if folder.exists():
            folder.rmdir()  # it is empty
        half.rename(folder)
    except OSError as error:
        raise lab.RunError(f"cannot write {folder}: {error}") from error
    finally:
        if half is not None:
            shutil.rmtree(half, ignore_errors=True)


def _kept(path: Path) -> bytes:
    """A file of the run."""
    try:
        return retried(f"reading {path}", path.read_bytes)
    except OSError as error:
        raise lab.UsageError(f"--out: cannot read {path}: {error}") from None
