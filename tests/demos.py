"""Runs that were never trained, and their pages."""

from pathlib import Path

import jax

from experiments import lab


def finished(path: Path, study, *options, summary=()):
    """A run of random params, as far as a question can tell: (config, run)."""
    config = lab.parse(study, [*options, "--out", str(path), "--demo"])

    def load(init):
        return jax.vmap(init)(jax.random.split(jax.random.key(0), config.train.seeds))

    known = {"config": {"seeds": config.train.seeds}, **dict(summary)}
    return config, lab.Finished(path, known, load, config)


def folder_of(path: Path, study, *options, summary=()) -> Path:
    """The folder of its page."""
    report = study.answers["demo"](*finished(path, study, *options, summary=summary))
    assert str(path / "demo") in report.body[0]
    return path / "demo"
