"""The options of `python -m benchmarks`, and the plan that follows from them."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from benchmarks.figures import records
from benchmarks.figures.records import UsageError
from benchmarks.paths import at_home
from benchmarks.process.session import Plan, Start
from benchmarks.suites import SUITES
from benchmarks.systems import (
    BASELINE,
    ROOFS,
    SUBJECT,
    SYSTEMS,
    System,
)
from benchmarks.work.whole_run import FILES

SuiteName = Literal["quick", "cpu", "gpu", "scaling", "devices", "whole_run"]


@dataclass(frozen=True)
class Config:
    """Measures jaxrnn against other libraries."""

    suite: tyro.conf.Positional[SuiteName | None] = None
    """Which cases to run. None: only --compare or --redraw."""
    systems: tuple[str, ...] = ()
    """Systems to measure beside jaxrnn, by name. None named: all that do the work but
    jaxrnn_scan; in quick without the slow ones."""
    baseline: Path | None = None
    """The root of another checkout, whose jaxrnn is measured in the same rounds."""
    filter: tuple[str, ...] = ()
    """Keep the cases whose name has every one of these words, such as lstm train."""
    rounds: int | None = None
    """Rounds for each system. None: 9, 5 in quick, 2 in whole_run."""
    min_ms: float = 50.0
    """The least milliseconds that a round lasts."""
    devices: int | None = None
    """Host devices (JAX) or threads (torch) to split a batch over; one device is
    measured too, but not in whole_run. None: all cores."""
    platform: Literal["cpu", "gpu", "tpu"] | None = None
    """Where to run. None: gpu in the suite gpu, else cpu."""
    timeout: float | None = None
    """Seconds after which a system that does not answer counts as hung. None: 600, or
    7200 in whole_run."""
    data_dir: Path | None = None
    """Folder with the four original files of MNIST, for whole_run."""
    epochs: int = 20
    """Passes over the training images, in whole_run."""
    out: Path | None = None
    """Folder for the results. None: benchmarks/results/<suite>-<time>."""
    compare: tuple[Path, ...] = ()
    """A results.json to compare this run with; without a suite two of them."""
    redraw: Path | None = None
    """Make table and pictures again from the results.json in this folder."""

    def __post_init__(self):
        for name, value in vars(self).items():
            object.__setattr__(self, name, at_home(value))
        for name in self.systems:
            if name not in SYSTEMS:
                known = ", ".join(SYSTEMS)
                raise UsageError(f"--systems: expected some of {known}, got {name}")
        for name in ("rounds", "devices", "epochs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"--{name}: expected at least 1, got {value}")
        for name in ("min_ms", "timeout"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                flag = "--" + name.replace("_", "-")
                raise UsageError(f"{flag}: expected above 0, got {value}")
        if self.baseline is not None:
            if not (self.baseline / SUBJECT / "__init__.py").is_file():
                raise UsageError(
                    f"--baseline: there is no {SUBJECT} in {self.baseline}"
                )
            if self.suite is None:
                raise UsageError("--baseline: expected a suite to run")
        if self.suite == "whole_run":
            self._check_data_dir()
        if self.suite is not None and len(self.compare) > 1:
            raise UsageError("--compare: expected one file with a suite")
        idle = self.suite is None and self.redraw is None
        if idle and len(self.compare) != 2:
            raise UsageError(
                f"expected a suite ({', '.join(SUITES)}), --compare OLD NEW, or "
                "--redraw FOLDER"
            )

    def _check_data_dir(self) -> None:
        if self.data_dir is None:
            raise UsageError("--data-dir: expected a folder with the files of MNIST")
        for name in FILES:
            if not (self.data_dir / name).is_file():
                raise UsageError(f"--data-dir: there is no {name} in {self.data_dir}")


def plan(config: Config, argv: Sequence[str]) -> Plan:
    """What a run does.

    Args:
      config: the options, with a suite.
      argv: the command line that they came from, for the record.

    Returns:
      The plan.
    """
    if config.suite is None:
        raise UsageError("expected a suite to run")
    suite = SUITES[config.suite]
    arguments = (config.data_dir, config.epochs) if config.suite == "whole_run" else ()
    cases = [
        case
        for case in suite.cases(*arguments)
        if all(word in case.name for word in config.filter)
    ]
    if not cases:
        raise UsageError(f"--filter: no case of {config.suite} has all of these words")
    platform = config.platform or suite.platform
    devices = (config.devices or records.cores()) if platform == "cpu" else 1
    settings = sorted({1, devices}) if suite.one_device else [devices]
    starts, left_out = [], {}
    for system in SYSTEMS.values():
        counts = [n for n in settings if n >= system.min_devices]
        reason = _left_out(system, config, platform, {case.work for case in cases})
        if not counts:
            reason = reason or f"needs {system.min_devices} devices"
        if reason:
            left_out[system.name] = {"status": "left out", "reason": reason}
            continue
        names = [(system.name, False)]
        if system.name == SUBJECT and config.baseline is not None:
            names.append((BASELINE, True))
        starts += [
            Start(f"{name}@{n}", system.module, n, is_baseline, system.environment)
            for name, is_baseline in names
            for n in counts
        ]
    return Plan(
        suite=config.suite,
        command=shlex.join(["python", "-m", "benchmarks", *argv]),
        cases=cases,
        starts=starts,
        left_out=left_out,
        platform=platform,
        rounds=config.rounds or suite.rounds,
        min_seconds=config.min_ms / 1e3,
        timeout=config.timeout or suite.timeout,
        devices=devices,
        out=config.out,
        baseline=None if config.baseline is None else config.baseline.resolve(),
    )


def _left_out(
    system: System, config: Config, platform: str, works: set[str]
) -> str | None:
    """Why a system is not measured, if it is not."""
    if not works & set(system.work):
        return f"does no work of the kind {', '.join(sorted(works))}"
    if config.systems and system.name not in (SUBJECT, *ROOFS, *config.systems):
        return "not among --systems"
    if platform not in system.platforms:
        return f"does not run on {platform}"
    if not system.by_default and not config.systems:
        return "is measured where --systems names it"
    if config.suite == "quick" and not system.in_quick and not config.systems:
        return "takes too long for quick; name it in --systems"
    return None
