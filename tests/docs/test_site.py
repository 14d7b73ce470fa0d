"""What the site is made of: a page for every public name, equations, Korean words."""

import ast
import inspect
import re
import sys
import textwrap
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

import jaxrnn as rnn

ROOT = Path(__file__).parents[2]
latex2mathml = pytest.importorskip(
    "docutils.utils.math.latex2mathml", reason="pip install -e '.[docs]'"
)
pytest.importorskip("sphinx", reason="pip install -e '.[docs]'")
sys.path.insert(0, str(ROOT / "docs" / "site"))

import docstrings  # noqa: E402
import equations  # noqa: E402
import links  # noqa: E402
import reference  # noqa: E402
import search  # noqa: E402
import symbols  # noqa: E402

PUBLIC = {one.name: one.obj for one in reference.public()}


def test_every_public_name_has_its_page():
    """The names that `import jaxrnn` gives, found in another way."""
    tree = ast.parse((ROOT / "jaxrnn" / "__init__.py").read_text())
    nodes = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    aliases = [alias.asname for node in nodes for alias in node.names if alias.asname]
    imported = {
        f"jaxrnn.{name}" for name in aliases if not inspect.ismodule(getattr(rnn, name))
    }
    names = [one.name for page in reference.pages().values() for one in page]
    assert len(names) == len(set(names))
    assert imported <= set(names)
    for page in reference.pages():
        assert reference.group_of(page) in reference.GROUPS


def test_a_module_without_a_group_is_told():
    with pytest.raises(ValueError, match="GROUPS: expected one for nowhere"):
        reference.group_of("nowhere.at_all")


def drawn(tex: str) -> str:
    """The letters and digits that a browser draws, in their plain form."""
    mathml = latex2mathml.tex2mathml(tex, as_block=True)
    mathml = re.sub(r"&(\w+);", "", mathml)
    return "".join(ElementTree.fromstring(mathml).itertext())


def letters(text: str) -> Counter[str]:
    return Counter(re.findall("[A-Za-z0-9]", text))


def blocks_of(obj: object) -> list[str]:
    """The blocks of equations in a docstring."""
    head = re.split(r"\n(?:Args|Attributes|Returns):", inspect.getdoc(obj) or "")[0]
    parts = [part for part in docstrings.paragraphs(head) if part.startswith("    ")]
    parts = [textwrap.dedent(part) for part in parts]
    return [part for part in parts if ".. math::" in docstrings.typeset(part)]


WITH_EQUATIONS = sorted(name for name, obj in PUBLIC.items() if blocks_of(obj))
SYMBOLS = re.compile(
    rf"\b(?:sum|product|sqrt|over|of|{'|'.join(symbols.GREEK)})(?![a-z])"
)


@pytest.mark.parametrize("name", WITH_EQUATIONS)
def test_equations_of_docstrings_are_set_and_no_letter_is_lost(name):
    for block in blocks_of(PUBLIC[name]):
        # What becomes a symbol, and a power of ten, has other letters.
        plain = re.sub(r"\de-\d+|\^T\b", "", block).replace("_", " _ ")
        lost = letters(SYMBOLS.sub("", plain)) - letters(drawn(equations.block(block)))
        assert not lost, block


def test_cells_have_equations():
    assert {"jaxrnn.lstm", "jaxrnn.gru", "jaxrnn.elman"} <= set(WITH_EQUATIONS)
    assert len(WITH_EQUATIONS) > 15


@pytest.mark.parametrize(
    ("plain", "tex"),
    [
        ("h_{t-1} w_h", r"& \quad h_{t - 1}\, w_{h}"),
        ("y = (a + b) / n", r"y & = \frac{a + b}{n}"),
        ("y = a b / sqrt(K + 1) - c", r"y & = \frac{a\, b}{\sqrt{K + 1}} - c"),
        ("c = sum over s of p_s m_s", r"c & = \sum_{s} p_{s}\, m_{s}"),
        ("c = sum_{j >= i} w[j, i]", r"c & = \sum_{j \ge i} w\left[j , i\right]"),
        ("x'_t = S_{t-1}^T k", r"x_{t}^{\prime} & = S_{t - 1}^{\top}\, k"),
        (
            "m ~ Bernoulli(rate)",
            r"m & \sim \mathrm{Bernoulli}\left(\mathrm{rate}\right)",
        ),
        ("w = (I + A)^-1 a", r"w & = \left( I + A \right)^{-1}\, a"),
        ("y = |x| + 1e-5", r"y & = \lvert x \rvert + 10^{-5}"),
    ],
)
def test_an_equation_as_tex(plain, tex):
    assert equations.row(plain) == tex


def test_columns_and_remarks():
    row = equations.row("h_t = a,    y_t = h_t      otherwise")
    assert row == r"h_{t} & = a &\quad y_{t} & = h_{t} &\quad & \text{otherwise}"


def test_prose_means_nothing_to_a_parser_of_markup():
    from docutils.core import publish_doctree

    text = "Two *args and |x| of w_ `a_b`, and `pack` too: **options, `x` `[D]`."
    lines = docstrings.rest(text)
    settings = {"report_level": 1, "halt_level": 2}
    source = "\n".join(lines).replace(":py:obj:", ":code:")
    tree = publish_doctree(source, settings_overrides=settings)
    assert tree.astext().replace("\n", " ") == text.replace("`", "")


def test_a_docstring_has_its_sections_and_example():
    lines = docstrings.rest(inspect.getdoc(rnn.gru) or "")
    assert lines.count(".. math::") == 1
    for title in ("Args", "Returns", "Raises", "References", "Example"):
        assert f".. rubric:: {title}" in lines
    assert ">>> cell = rnn.gru(3, 5)" in lines


def test_fields_of_a_named_tuple_have_their_shapes():
    lines = docstrings.fields(rnn.GRUParams)
    assert "   ``jax.Array``: [D, 3H], gates r, z, n" in lines
    assert "``b_h``" in lines


def test_korean_words_are_found_by_their_parts():
    assert search.pairs("순환신경망은") == ["순환", "환신", "신경", "경망", "망은"]
    assert search.pairs("GRU를") == ["GRU", "를"]
    words = set(search.KoreanAndEnglish({}).split("은닉 상태와 gates"))
    assert {"은닉", "상태", "gates"} <= words
    assert {*search.pairs("상태")} <= words


def test_a_link_that_leads_nowhere_is_told(tmp_path):
    there = '<p id="here"><a href="sub/a.html#x">a</a><img src="data:image/png,">'
    (tmp_path / "b.html").write_text(there + '<a href="https://elsewhere.org/x">b</a>')
    (tmp_path / "sub").mkdir()
    page = tmp_path / "sub" / "a.html"
    page.write_text('<i id="x"></i><a href="../b.html#here"></a><a href="#x"></a>')
    assert links.dead(tmp_path) == []
    page.write_text('<a href="../b.html#y"></a><a href="c.html"></a>')
    (tmp_path / "d.html").write_text('<script src="https://elsewhere.org/x.js">')
    assert links.dead(tmp_path) == [
        "b.html: <a> sub/a.html#x",
        "d.html: <script> https://elsewhere.org/x.js",
        "sub/a.html: <a> ../b.html#y",
        "sub/a.html: <a> c.html",
    ]
