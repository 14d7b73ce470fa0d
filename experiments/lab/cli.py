"""From the command line to a run: options, messages and exit statuses."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import jax

from experiments.data import DataError
from experiments.lab import processes, signals
from experiments.lab.errors import RunError, Stopped, UsageError, require
from experiments.lab.folder import saved_options
from experiments.lab.options import Config, Running, identity, lasting
from experiments.lab.pipe import until_closed
from experiments.lab.quiet import quiet
from experiments.lab.run import run
from experiments.lab.study import Study

PACKAGES = (
    *("filelock", "matplotlib", "mido", "numpy", "orbax", "sacrebleu"),
    *("safetensors", "sklearn", "tokenizers", "tqdm", "tyro"),
)


def main(
    study: Study,
    argv: Sequence[str] | None = None,
    carry_out: Callable[
        [Study, Any, Sequence[str]], None
    ] = lambda study, config, argv: run(study, config),
) -> None:
    """Runs a study from the command line.

    Args:
      study: whose options are read.
      argv: the command line; None for that of this process.
      carry_out: (study, config, argv), what is done with the options; a run.

    Exits with one message and a status: 2 when the arguments or the data are at fault,
    1 when the run could not go on, 130 after Ctrl-C and 143 after SIGTERM; 141, without
    a message, when nobody reads on what it prints.
    """
    with until_closed():
        _main(study, sys.argv[1:] if argv is None else argv, carry_out)


def _main(study: Study, argv: Sequence[str], carry_out: Callable[..., None]) -> None:
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        names = ", ".join(missing)
        _end(f"the experiments need {names}: pip install -e '.[experiments]'", 1)
    with quiet(), signals.interruptible():
        try:
            config = parse(study, argv)
            if config.run.coordinator is not None:
                if not processes.supervised():
                    sys.exit(processes.supervise(argv))
                processes.end_with_supervisor()
            carry_out(study, config, argv)
        except (DataError, UsageError) as error:
            _end(f"error: {error}", 2)
        except RunError as error:
            _end(f"error: {error}", 1)
        except jax.errors.JaxRuntimeError as error:
            if jax.process_count() == 1:
                raise
            print(error, file=sys.stderr, flush=True)
            os.abort()  # at a usual exit JAX would wait for the process that is lost
        except Stopped as stopped:
            print(stopped, file=sys.stderr)
            sys.exit(128 + stopped.signum)
        except KeyboardInterrupt as interrupt:
            print("interrupted", file=sys.stderr)
            sys.exit(128 + signals.number(interrupt))


def _end(message: str, status: int) -> NoReturn:
    print(message, file=sys.stderr, flush=True)
    if processes.supervised():
        os._exit(status)  # at a usual exit JAX would wait for the other processes
    sys.exit(status)


def parse(study: Study, argv: Sequence[str]) -> Any:
    """Reads the command line, with `--resume` beside the options that a run began with.

    Returns:
      The config of the study.

    Raises:
      UsageError: if an option is out of its range, or `--out` has a run of another
        study.
    """
    import tyro

    prog, recipes = f"python -m experiments.{study.name}", study.recipes
    first = argparse.ArgumentParser(prog, add_help=False, allow_abbrev=False)
    first.add_argument("--out", type=Path)
    first.add_argument("--resume", action="store_true")
    for name, default in recipes.choices.items():
        first.add_argument(f"--{name.replace('_', '-')}", default=default)
    known, _ = first.parse_known_args(list(argv))
    out = Running(out=known.out).out
    if known.resume and out is not None:
        saved, kept = saved_options(out)
        other = saved.get("experiment", study.name)
        mine = other == study.name
        require(mine, "resume", f"a run of {study.name}", f"one of {other}")
        argv = [*arguments(saved | kept, recipes.base), *argv]
        known, _ = first.parse_known_args(argv)
    default = recipes(**{name: getattr(known, name) for name in recipes.choices})
    return tyro.cli(
        type(default),
        args=list(argv),
        default=default,
        prog=prog,
        config=(tyro.conf.OmitArgPrefixes,),
    )


def arguments(saved: dict[str, Any], config: Config) -> list[str]:
    """The command line that gives a run like `config` the options that were saved."""
    known = identity(config) | lasting(config)
    found = []
    for name, value in saved.items():
        if name not in known:
            continue
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            found.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list):
            found += [f"--{flag}", *map(str, value)]
        else:
            found.append(f"--{flag}={value}")
    return found
