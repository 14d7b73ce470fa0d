"""The checkpoints of a run; they live in the lab."""

from experiments.lab.checkpoints import (
    Checkpoints as Checkpoints,
)
from experiments.lab.checkpoints import (
    Restored as Restored,
)
from experiments.lab.checkpoints import (
    restore as restore,
)
