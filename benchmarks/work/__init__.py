"""Kinds of work. A kind is a module of this folder, and its name is the kind's name.

The module has

    Case                          # a frozen dataclass, see below
    make(case, variant) -> Data   # weights and inputs, see benchmarks.work.equal

and nothing else names it but the suites that ask for it and the systems that do it.
"""

from dataclasses import asdict
from importlib import import_module
from typing import Any, ClassVar, Protocol


class Case(Protocol):
    """One piece of work, the same for every system."""

    work: ClassVar[str]
    """The kind of work, which is the name of its module."""
    checked: ClassVar[bool]
    """Whether every system has to arrive at the results of jaxrnn."""

    @property
    def name(self) -> str:
        """Such as `lstm train 32x100x64x256`."""
        ...

    @property
    def mode(self) -> str:
        """What is done within the kind, such as `train`; means are taken over one."""
        ...

    @property
    def sequences(self) -> int:
        """How many sequences one call reads."""
        ...

    @property
    def tokens(self) -> int:
        """How many time steps of all sequences one call reads."""
        ...

    @property
    def flops(self) -> int | None:
        """Floating-point operations of all matrix products of one call, if counted."""
        ...

    @property
    def num_bytes(self) -> int | None:
        """The least memory traffic of one call, if counted."""
        ...


def to_json(case: Any) -> dict[str, Any]:
    """The fields of a case and its kind of work."""
    return {"work": case.work, **asdict(case)}


def from_json(fields: dict[str, Any]) -> Any:
    """The inverse of `to_json`."""
    fields = dict(fields)
    return kind(fields.pop("work")).Case(**fields)


def kind(name: str) -> Any:
    """The module of a kind of work."""
    return import_module(f"benchmarks.work.{name}")
