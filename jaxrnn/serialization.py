"""The names of params and carries in the files of `jax.export`."""

import sys

from jax import export


def register() -> None:
    """Tells `jax.export` of every NamedTuple of the library that holds arrays.

    A file then has arguments and results as they are, under names such as
    `jaxrnn.LSTMCarry`, wherever in the library the class stands. Classes are registered
    once in a process: where the library is imported anew, the first ones stay.
    """
    modules = [m for n, m in sys.modules.items() if n.split(".")[0] == "jaxrnn"]
    for kind in {c for module in modules for c in vars(module).values() if _ours(c)}:
        try:
            name = f"jaxrnn.{kind.__name__}"
            export.register_namedtuple_serialization(kind, serialized_name=name)
        except ValueError as error:
            if "Duplicate" not in str(error):
                raise


def _ours(value: object) -> bool:
    tuples = isinstance(value, type) and issubclass(value, tuple)
    return tuples and value.__module__.split(".")[0] == "jaxrnn"
