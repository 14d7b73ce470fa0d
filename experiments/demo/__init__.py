"""Trained networks in a web page: `--demo --out RUN` writes the folder RUN/demo.

Any static server shows it, and nothing in it asks the network for more:

    python -m http.server --directory RUN/demo

The network is an ONNX file, one step of it where it can read step by step; ONNX Runtime
Web runs it, and the page carries the state from step to step. A module here makes the
page of a study: `page(...)` gives what answers `--demo`. `pages` has what is served:
`page.css`, `page.js` and `session.js`, which they share, and the page of each study.
"""
