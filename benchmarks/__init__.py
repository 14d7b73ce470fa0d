"""Measures jaxrnn against other libraries: `python -m benchmarks --help`."""

from importlib.util import find_spec

_missing = [
    name for name in ("matplotlib", "numpy", "tqdm", "tyro") if find_spec(name) is None
]
if _missing:
    # It is a program: a person wants this line and not a traceback.
    raise SystemExit(
        f"the benchmarks need {', '.join(_missing)}: pip install 'jaxrnn[benchmarks]'"
    )
