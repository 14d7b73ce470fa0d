"""Equations of docstrings, which are plain text, as TeX.

    h_t = (1 - z) n + z h_{t-1},    y_t = h_t

A line is a row. Three spaces or more, after a comma or not, begin another column: one
more equation, or a remark in words. What is written in a row:

- `h_t`, `h_{t-1}`, `w_x[r, z]`, `S^T`, `x'`, `(I + A)^-1`: subscripts, indices, powers;
- `tanh(x)`, `log softmax(x)`, `sqrt(x)`, `|x|`, `a / b`: functions, roots, fractions;
- `sum over s of`, `sum_{j >= i}`, `mean over valid t of`: sums and their kin;
- `alpha`, `*` (convolution), ` . ` (inner product), `~`, `>=`, `->`: symbols.

Anything else stays as it is written: no letter is lost.
"""

import re

from symbols import SYMBOLS, math, words

WORDS = "where|otherwise|of|with|for|see|or|from|as|the|if|each|and"
SIGN = re.compile(r"\s[=~]\s")
REMARK = re.compile(rf'["`]|(?:{WORDS})\b|\w+="')


def block(text: str) -> str:
    """The TeX of the lines of one block of equations."""
    rows = [row(line) for line in text.splitlines() if line.strip()]
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"


def row(line: str) -> str:
    """The TeX of one line, its equations and remarks in columns."""
    first, *others = (part.rstrip(",") for part in re.split(r"\s{3,}", line.strip()))
    columns = [column(first) if is_remark(first) or SIGN.search(first) else more(first)]
    return " &\\quad ".join(columns + [column(part) for part in others])


def column(part: str) -> str:
    """The TeX of one column."""
    return f"& {remark(part)}" if is_remark(part) else equation(part)


def more(part: str) -> str:
    """A line that goes on with the equation of the line before."""
    return rf"& \quad {math(part)}"


def is_remark(part: str) -> bool:
    """Whether a column is words."""
    return bool(REMARK.match(part))


def equation(part: str) -> str:
    """Both sides of an equation, with the place at which rows are aligned."""
    depth = 0
    for at, letter in enumerate(part):
        depth += (letter in "([{") - (letter in ")]}")
        if (
            depth == 0
            and letter in "=~"
            and part[at - 1] == " " == part[at + 1 : at + 2]
        ):
            sign = SYMBOLS.get(letter, letter)
            return f"{math(part[:at])} & {sign} {math(part[at + 1 :])}"
    return f"& {math(part)}"


def remark(part: str) -> str:
    """Words, with the symbols among them in italics."""
    symbol = r"(?<![\w`\"])([^\W\d_]'?_(?:\{[^{}]*\}|\w\w?)(?!\w))"
    pieces = re.split(symbol, part)
    return "".join(
        math(piece) if at % 2 else rf"\text{{{words(piece)}}}"
        for at, piece in enumerate(pieces)
        if piece
    )
