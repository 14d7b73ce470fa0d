"""The folder of a page: the network, what runs it, the page and what it must know."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import jaxrnn as rnn
from experiments import lab
from experiments.demo.runtime import runtime
from experiments.lab.options import plain
from jaxrnn import interop

PAGES = Path(__file__).parent / "pages"
SHARED = "page.css", "page.js", "session.js", "local.js"
LARGEST = 15_000_000  # bytes of a folder that is pleasant to load


class Page(NamedTuple):
    """A page of a trained network."""

    study: str  # the name of its page
    cell: rnn.Cell
    params: Any
    facts: Mapping[str, Any]  # what the page must know beside the network, for JSON
    scripts: tuple[str, ...] = ()  # more of `pages`
    files: Mapping[str, bytes] = {}  # more, by name
    stream: bool = True  # whether the file is one step
    x: Any = None  # one input, where the cell does not tell what it reads


def write(page: Page, config: Any, finished: lab.Finished) -> lab.Report:
    """Writes RUN/demo, whole or not at all; an older one is replaced.

    Raises:
      DataError: if there is nothing to run the network with; see `runtime`.
      UsageError: if the network cannot be shown.
      RunError: if the folder cannot be written.
    """
    folder = finished.path / "demo"
    parts = contents(page, config)
    half = finished.path / "demo-half"
    try:
        shutil.rmtree(half, ignore_errors=True)
        for name, content in parts.items():
            path = half / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        shutil.rmtree(folder, ignore_errors=True)
        half.replace(folder)
    except OSError as error:
        raise lab.RunError(f"cannot write {folder}: {error}") from error
    finally:
        shutil.rmtree(half, ignore_errors=True)
    size = sum(map(len, parts.values()))
    large = ", which is long to load over a network" if size > LARGEST else ""
    return lab.Report(
        [
            f"a page of {size / 1e6:.1f} MB in {folder}{large}",
            "to show it, open localhost:8000 in a browser after",
            f"    python -m http.server 8000 --bind localhost --directory {folder}",
        ]
    )


def contents(page: Page, config: Any) -> dict[str, bytes]:
    """All files of the folder, by their names in it."""
    weights = jax.tree.leaves(page.params)
    finite = all(bool(np.isfinite(np.asarray(a)).all()) for a in weights)
    lab.require(finite, "demo", "a run whose params are finite", "others")
    try:
        batch = 1 if page.stream else None
        how = {"batch": batch, "stream": page.stream, "x": page.x}
        model = interop.to_onnx(page.cell, page.params, **how)
    except ImportError as error:
        raise lab.UsageError(f"--demo: {error}") from None
    except ValueError as error:
        raise lab.UsageError(f"--demo: {error}") from error
    facts = {
        **{"study": page.study, "cell": config.cell},
        **{"params": sum(a.size for a in weights)},
        **{"graph": described(model), **page.facts},
    }
    script = f"{page.study}.js"
    found = {name: (PAGES / name).read_bytes() for name in (*SHARED, *page.scripts)}
    found |= {script: (PAGES / script).read_bytes()}
    found |= {"index.html": (PAGES / f"{page.study}.html").read_bytes()}
    found |= {"demo.json": json.dumps(plain(facts), ensure_ascii=False).encode()}
    found |= {"model.onnx": model.SerializeToString(), **page.files}
    served = {f"runtime/{k}": v for k, v in runtime(config.demo_runtime).items()}
    return found | served | {"runtime/LICENSE": (PAGES / "LICENSE").read_bytes()}


def described(model: Any) -> dict[str, Any]:
    """What goes in and out of a file, and the carry before the first step."""
    from onnx import TensorProto

    def listed(entries):
        return {
            entry.name: {
                "type": TensorProto.DataType.Name(kind.elem_type).lower(),
                "shape": [d.dim_value for d in kind.shape.dim],
            }
            for entry in entries
            for kind in [entry.type.tensor_type]
        }

    metadata = {entry.key: entry.value for entry in model.metadata_props}
    carry = json.loads(metadata.get("jaxrnn.initial_carry", "{}"))
    inputs, outputs = listed(model.graph.input), listed(model.graph.output)
    return {"inputs": inputs, "outputs": outputs, "carry": carry}
