"""Trained networks in a web page: `--demo --out RUN` writes the folder RUN/demo.

Any static server shows it, and nothing in it asks the network for more:

    python -m http.server --directory RUN/demo

The network is an ONNX file, one step of it where it can read step by step; ONNX Runtime
Web runs it, and the page carries the state from step to step. `pages` has what the
pages share, `page.css`, `page.js` and `session.js`, and a page for each study.
"""

from experiments.demo.options import Showing as Showing
from experiments.demo.watched import Verdict as Verdict
from experiments.demo.watched import Watched as Watched
from experiments.demo.watched import watched as watched
from experiments.demo.watched import whole as whole
from experiments.demo.writing import Page as Page
from experiments.demo.writing import write as write
