"""Data of your own in a study that also has data sets with names."""

from typing import Any

from experiments import lab


def is_own(config: Any, option: str) -> bool:
    """Whether a study reads your own data, which `option` names.

    Raises:
      UsageError: if the data set is not own and there is such an option, or the other
        way round.
    """
    own, given = config.dataset == "own", getattr(config, option) is not None
    expected = f"own together with --{option}, and only with it"
    lab.require(own == given, "dataset", expected, config.dataset)
    return own
