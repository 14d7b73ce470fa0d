"""The folder of a page: the network, what runs it, the page and what it must know."""

import json
import shutil
from collections.abc import Callable, Mapping
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
FACTS = "demo.json"
LARGEST = 15_000_000  # bytes of a folder that is pleasant to load

Answer = Callable[[Any, lab.Finished], lab.Report]


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
    otherwise: tuple[rnn.Cell, ...] = ()  # the same, where ONNX cannot say the cell


def write(page: Page, config: Any, finished: lab.Finished) -> lab.Report:
    """Writes RUN/demo, whole or not at all; an older one is replaced.

    Raises:
      DataError: if there is nothing to run the network with; see `runtime`.
      UsageError: if the network cannot be shown, or RUN/demo is another folder.
      RunError: if the folder cannot be written.
    """
    folder = finished.path / "demo"
    mine = not folder.exists() or (folder / FACTS).is_file()
    lab.require(mine, "demo", f"no other folder in the place of {folder}", "one")
    parts = contents(page, config)
    half, old = finished.path / "demo-half", finished.path / "demo-old"
    try:
        for place in (half, old):  # of a command that was killed
            shutil.rmtree(place, ignore_errors=True)
        for name, content in parts.items():
            path = half / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if folder.exists():
            folder.replace(old)
        half.replace(folder)
    except OSError as error:
        if old.exists() and not folder.exists():
            old.replace(folder)
        raise lab.RunError(f"cannot write {folder}: {error}") from error
    finally:
        for place in (half, old):
            shutil.rmtree(place, ignore_errors=True)
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
    model = exported(page, config)
    facts = {
        **{"study": page.study, "cell": config.cell},
        **{"params": sum(a.size for a in weights)},
        **{"graph": described(model), **page.facts},
    }
    names = *SHARED, *page.scripts, f"{page.study}.js"
    found = {name: (PAGES / name).read_bytes() for name in names}
    found |= {"index.html": (PAGES / f"{page.study}.html").read_bytes()}
    found |= {FACTS: json.dumps(plain(facts), ensure_ascii=False).encode()}
    found |= {"model.onnx": model.SerializeToString(), **page.files}
    served = {f"runtime/{k}": v for k, v in runtime(config.demo_runtime).items()}
    return found | served | {"runtime/LICENSE": (PAGES / "LICENSE").read_bytes()}


def exported(page: Page, config: Any) -> Any:
    """The network as a file."""
    batch = 1 if page.stream else None
    how = {"batch": batch, "stream": page.stream, "x": page.x}
    reasons = []
    for cell in (page.cell, *page.otherwise):
        try:
            return interop.to_onnx(cell, page.params, **how)
        except ImportError as error:
            raise lab.UsageError(f"--demo: {error}") from None
        except ValueError as error:
            reasons.append(error)
    expected = "--demo: expected a run of a network that ONNX can say"
    got = f"--cell {config.cell} ({reasons[-1]})"
    raise lab.UsageError(f"{expected}, got {got}") from reasons[-1]


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
    carry = metadata.get("jaxrnn.initial_carry", "{}")
    return {
        **{"inputs": listed(model.graph.input), "outputs": listed(model.graph.output)},
        # JSON has no infinity; a page reads its name as the number.
        "carry": json.loads(carry, parse_constant=str),
    }
