"""The options of a study that a page can show."""

from dataclasses import dataclass
from pathlib import Path

from experiments import lab


@dataclass(frozen=True)
class Showing(lab.Config):
    """How a finished run is shown in a web page."""

    demo: lab.Asked[bool] = False
    """Train nothing; write a web page of the finished run in --out, in its folder demo.
    What runs the network there is downloaded the first time."""
    demo_runtime: lab.Asked[Path | None] = None
    """Without a network: onnxruntime-web of npm, its archive .tgz or the folder that
    npm has installed."""

    def __post_init__(self):
        super().__post_init__()
        alone = self.demo_runtime is not None and not self.demo
        lab.require(not alone, "demo_runtime", "--demo beside it", "none")
