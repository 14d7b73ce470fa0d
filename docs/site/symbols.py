"""A piece of an equation, from plain text to TeX: see `equations`."""

import re
from typing import NamedTuple

GREEK = {
    *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "kappa"),
    *("lambda", "mu", "nu", "xi", "pi", "rho", "sigma", "tau", "phi", "chi", "psi"),
    *("omega", "Gamma", "Delta", "Theta", "Lambda", "Sigma", "Phi", "Psi", "Omega"),
}
SYMBOLS = {
    **{"->": r"\to", ">=": r"\ge", "<=": r"\le", "!=": r"\ne", "..": r"\ldots"},
    **{"*": r"\ast", "~": r"\sim", ".": r"\cdot", "%": r"\%", "&": r"\&", "#": r"\#"},
    **{"{": r"\{", "}": r"\}", "_": r"\_", "^": r"\hat{}", "$": r"\$", "@": "@"},
}
CLOSING = {"(": ")", "[": "]", "{": "}"}
NUMBER = re.compile(r"(\d+(?:\.\d+)?)(?:e([+-]?\d+))?")
NAME = re.compile(r"[^\W\d_][^\W_]*(?:_[^\W_]+)*")
OVER = re.compile(r"(sum|mean|max|min|product) over ([^,]+?) of\b")
QUOTED = re.compile(r'"[^"]*"|`[^`]*`')
OPERATORS = ("->", ">=", "<=", "!=", "..")


class Item(NamedTuple):
    """A piece of a row: what it looks like, and what it is."""

    tex: str
    kind: str  # "factor", "word" (a factor of letters), "break", "over"
    bare: str = ""  # without its parentheses


def words(text: str) -> str:
    """Words as TeX shows them."""
    return re.sub(r"([_{}^%#&$])", r"\\\1", text.replace("`", ""))


def math(text: str) -> str:
    """The TeX of a piece of an equation."""
    return joined(Reader(text.strip()).items())


def joined(items: list[Item]) -> str:
    """The pieces side by side, with space between words and fractions made."""
    made: list[Item] = []
    for item in items:
        if item.tex == "/" and any(i.kind != "break" for i in made[-1:]):
            made.append(item._replace(kind="over"))
        elif made and made[-1].kind == "over" and item.kind != "break":
            made.pop()
            above: list[Item] = []
            while made and made[-1].kind in ("factor", "word"):
                above.insert(0, made.pop())
            top = above[0].bare if len(above) == 1 else ""
            tex = rf"\frac{{{top or spaced(above)}}}{{{item.bare or item.tex}}}"
            made.append(Item(tex, "factor"))
        else:
            made.append(item)
    return spaced(made)


def spaced(items: list[Item]) -> str:
    """Factors side by side, with more space around words."""
    tex, before = "", None
    for item in items:
        if before and "break" not in (before.kind, item.kind):
            tex += r"\;" if "word" in (before.kind, item.kind) else r"\,"
        tex += f" {item.tex}"
        before = item
    return tex.strip()


class Reader:
    """Reads a piece of an equation from left to right."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def items(self, closing: str = "") -> list[Item]:
        """The pieces up to the closing bracket, or to the end."""
        items: list[Item] = []
        while self.at < len(self.text) and self.text[self.at] != closing:
            if self.text[self.at] == " ":
                self.at += 1
            else:
                items.append(self.item())
        return items

    def taken(self, pattern: re.Pattern[str] | str) -> re.Match[str] | None:
        found = re.compile(pattern).match(self.text, self.at)
        if found:
            self.at = found.end()
        return found

    def item(self) -> Item:
        if found := self.taken(QUOTED):
            return Item(rf"\text{{{words(found[0])}}}", "word")
        if found := self.taken(OVER):
            return Item(self.summed(found[1]) + f"_{{{limits(found[2])}}}", "break")
        if self.taken(r"sum of\b"):
            return Item(r"\sum", "break")
        if found := self.taken(NUMBER):
            power = found[2] and rf"\cdot 10^{{{int(found[2])}}}"
            tex = f"10^{{{int(found[2])}}}" if power and found[1] == "1" else found[1]
            tex = f"{tex} {power}" if power and found[1] != "1" else tex
            return Item(tex + self.scripts(), "factor")
        if found := self.taken(NAME):
            return self.named(found[0])
        for bracket in "([":
            if self.text[self.at] == bracket and self.closes():
                inner = self.inside()
                around = rf"\left{bracket} {inner} \right{CLOSING[bracket]}"
                scripts = self.scripts()
                bare = inner if bracket == "(" and not scripts else ""
                return Item(around + scripts, "factor", bare)
        if self.text[self.at] == "|" and (found := self.taken(r"\|[^|]*\|")):
            return Item(rf"\lvert {math(found[0][1:-1])} \rvert", "factor")
        for operator in OPERATORS:
            if self.text.startswith(operator, self.at):
                self.at += len(operator)
                return Item(SYMBOLS[operator], "break")
        if self.taken(r"(?<=\w)\.(?=\w)"):
            return Item(".", "break")
        letter = self.text[self.at]
        self.at += 1
        return Item(SYMBOLS.get(letter, letter), "break")

    def closes(self) -> bool:
        """Whether the bracket here is closed in this piece."""
        depth = 0
        for letter in self.text[self.at :]:
            depth += (letter in "([{") - (letter in ")]}")
            if depth == 0:
                return True
        return False

    def inside(self) -> str:
        """What the brackets here hold; goes on behind them."""
        closing = CLOSING[self.text[self.at]]
        self.at += 1
        inner = joined(self.items(closing))
        self.at += 1
        return inner

    def named(self, name: str) -> Item:
        letter, _, below = name.partition("_")
        if letter in ("sum", "product") and not below and self.here("_{"):
            return Item(self.summed(letter) + self.scripts(), "break")
        if letter in ("sum", "product") and below:
            return Item(f"{self.summed(letter)}_{{{symbol(below)}}}", "break")
        calls = self.here("(") and self.closes()
        if name == "sqrt" and calls:
            return Item(rf"\sqrt{{{self.inside()}}}", "factor")
        short = len(letter) == 1 or letter in GREEK or len(below) <= 2
        tex = symbol(letter) if short else symbol(name)
        subscript = below_of(below) if short and below else ""
        tex += self.scripts(subscript)
        kind = "factor" if len(letter) == 1 or letter in GREEK else "word"
        if self.here("(") and self.closes():
            return Item(rf"{tex}\left({self.inside()}\right)" + self.scripts(), kind)
        if self.here("[") and self.closes():
            return Item(rf"{tex}\left[{self.inside()}\right]" + self.scripts(), kind)
        return Item(tex, kind)

    def here(self, text: str) -> bool:
        return self.text.startswith(text, self.at)

    def summed(self, name: str) -> str:
        known = {"sum": r"\sum", "product": r"\prod"}
        return known.get(name, rf"\operatorname*{{{name}}}")

    def scripts(self, below: str = "") -> str:
        """Primes, a subscript and a power, in any order."""
        above = ""
        while self.at < len(self.text):
            if found := self.taken("'+"):
                above += r"\prime" * len(found[0])
            elif self.here("_{") or self.here("^{"):
                self.at += 1
                where = self.text[self.at - 1]
                below, above = self.placed(where, self.inside(), below, above)
            elif self.here("^(") and self.closes_after():
                self.at += 1
                above += self.inside()
            elif found := self.taken(r"_([^\W_]+)"):
                below += below_of(found[1])
            elif found := self.taken(r"\^(-?\w+)"):
                above += r"\top" if found[1] == "T" else power(found[1])
            else:
                break
        down = f"_{{{below}}}" if below else ""
        return down + (f"^{{{above}}}" if above else "")

    def closes_after(self) -> bool:
        self.at += 1
        closes = self.closes()
        self.at -= 1
        return closes

    @staticmethod
    def placed(where: str, inner: str, below: str, above: str) -> tuple[str, str]:
        return (below + inner, above) if where == "_" else (below, above + inner)


def below_of(name: str) -> str:
    """A subscript: two letters are two indices."""
    return name if len(name) == 2 and name.isalpha() else symbol(name)


def power(text: str) -> str:
    """What stands above a symbol, such as -1."""
    return "-" + symbol(text[1:]) if text.startswith("-") else symbol(text)


def symbol(name: str) -> str:
    """A name as it is set: greek, one letter or digits in italics, a word upright."""
    if name in GREEK:
        return rf"\{name}"
    if len(name) == 1 or name.isdigit():
        return name
    return rf"\mathrm{{{words(name)}}}"


def limits(text: str) -> str:
    """What a sum runs over: symbols, or words with symbols among them."""
    parts = text.split()
    if len(parts) == 1:
        return math(text)
    texts = [
        math(part) if len(part) == 1 else rf"\text{{{words(part)}}}" for part in parts
    ]
    return r"\,".join(texts)
