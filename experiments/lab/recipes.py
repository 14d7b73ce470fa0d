"""The default options of a study as data: which choices set which options."""

import enum
from collections.abc import Mapping
from typing import Any, Generic, NamedTuple

from experiments.lab.options import ConfigT, identity, replaced


class When(NamedTuple):
    """Other defaults where the choices are these.

    A choice is a value, a tuple of values, or `GIVEN` for any but None.
    """

    choices: dict[str, Any]
    options: dict[str, Any]

    def holds(self, chosen: Mapping[str, Any]) -> bool:
        """Whether they are the choices of this rule."""
        for name, wanted in self.choices.items():
            found = chosen[name]
            if wanted is GIVEN:
                holds = found is not None
            else:
                holds = found in (wanted if isinstance(wanted, tuple) else (wanted,))
            if not holds:
                return False
        return True


class _Choice(enum.Enum):
    GIVEN = enum.auto()  # one in every process, so that rules can be sent


GIVEN: Any = _Choice.GIVEN


class Recipes(Generic[ConfigT]):
    """The default options of a study, and what each choice makes of them.

    Args:
      base: the config with all defaults.
      *rules: in this order; where several hold, the last one to name an option wins.

    Example:
      >>> from experiments.lab import options
      >>> recipes = Recipes(
      ...     options.Config(train=options.Training(epochs=10)),
      ...     When({"optimizer": "sgd"}, {"learning_rate": 0.1, "clip": None}),
      ... )
      >>> recipes.choices, recipes(optimizer="sgd").train.learning_rate
      ({'optimizer': 'adamw'}, 0.1)
    """

    def __init__(self, base: ConfigT, *rules: When):
        self.base, self.rules = base, rules
        known = vars(base) | vars(base.train) | vars(base.run)
        self.choices = {name: known[name] for rule in rules for name in rule.choices}

    def __call__(self, **choices: Any) -> ConfigT:
        """The defaults that hold for these choices."""
        chosen, options = self.choices | choices, {}
        for rule in self.rules:
            if rule.holds(chosen):
                options |= rule.options
        return replaced(self.base, options)

    def completed(self, saved: Mapping[str, Any]) -> dict[str, Any]:
        """Saved options, with the defaults of those that are newer than the run.

        Args:
          saved: as `identity` gives them; its choices decide what the defaults are.

        Raises:
          ValueError: if there are none.
        """
        if not isinstance(saved, Mapping) or not saved.keys() & identity(self.base):
            raise ValueError("it holds no options")
        chosen = {name: saved[name] for name in self.choices if name in saved}
        defaults = identity(self(**chosen))
        return {name: saved.get(name, value) for name, value in defaults.items()}
