"""How the documentation is built: `.ci/docs`.

The whole repository is the source, so that a page has the same links on the site as in
a clone. Nothing is loaded from elsewhere, neither for the build nor by the pages.
"""

import posixpath
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(ROOT)]

import reference  # noqa: E402

import jaxrnn  # noqa: E402

project = "jaxrnn"
version = release = jaxrnn.__version__
root_doc = "docs/index"
source_suffix = {".md": "markdown"}
include_patterns = [
    *("README.md", "README.ko.md", "CHANGELOG.md", "CONTRIBUTING.md"),
    *("docs/**.md", "experiments/*.md", "benchmarks/README.md"),
    "benchmarks/results/**.md",
]
exclude_patterns = [
    *(".*", "runs", "site", "findings", "tests", "jaxrnn", "dist", "**/node_modules"),
    *("docs/site", "docs/notebooks/.ipynb_checkpoints"),
]
extensions = [
    *("myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"),
    *("docstrings", "mathml", "search"),
]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
myst_fence_as_directive = ["math"]

autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
maximum_signature_line_length = 60
add_module_names = False
default_role = "code"
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"

html_theme = "pydata_sphinx_theme"
html_title = "jaxrnn"
html_math_renderer = "mathml"
html_search_language = "ko-en"
html_context = {"default_mode": "auto"}
html_favicon = "_static/icon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_additional_pages = {"index": "moved.html"}
templates_path = ["_templates"]
html_sidebars = {"docs/index": []}
html_theme_options = {
    "navbar_persistent": ["language", "search-button"],
    "navbar_end": ["theme-switcher"],
    "header_links_before_dropdown": 7,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": [],
    "footer_center": [],
    "footer_end": [],
    "show_toc_level": 2,
    "pygments_light_style": pygments_style,
    "pygments_dark_style": pygments_dark_style,
}
KOREAN = {  # beside each other in two languages
    "README": "README.ko",
    "experiments/TUTORIAL": "experiments/TUTORIAL.ko",
}


def twins(
    app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any
) -> None:
    """Tells a page its language, and where it stands in the other one."""
    del template, tree
    other = {**KOREAN, **{korean: english for english, korean in KOREAN.items()}}
    if page in KOREAN.values():
        context["language"] = "ko"
    if page in other:
        there = app.builder.get_target_uri(other[page])
        folder = posixpath.dirname(app.builder.get_target_uri(page))
        context["twin"] = posixpath.relpath(there, folder or ".")


def setup(app: Sphinx) -> None:
    """Writes the pages of the reference before they are read."""
    reference.write(ROOT / "docs" / "reference")
    app.connect("html-page-context", twins)
