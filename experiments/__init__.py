"""Runnable studies built on the public face of jaxrnn; nothing imports them."""

from importlib.util import find_spec

_missing = [
    name
    for name in (
        "matplotlib",
        "mido",
        "numpy",
        "orbax",
        "sacrebleu",
        "safetensors",
        "sklearn",
        "tokenizers",
        "tqdm",
        "tyro",
    )
    if find_spec(name) is None
]
if _missing:
    # They are programs: a person wants this line and not a traceback.
    raise SystemExit(
        f"the experiments need {', '.join(_missing)}: pip install 'jaxrnn[experiments]'"
    )
