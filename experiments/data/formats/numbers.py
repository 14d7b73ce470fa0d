"""Numbers as people write them: decimal commas, thousands, values that are missing."""

import math
import re
from collections.abc import Iterable

MISSING = frozenset(
    ("", "-", "--", ".", "?", "na", "n/a", "#n/a", "nan", "null", "none", "nil")
)
_GROUPED = {  # 1,234,567.8 and 1.234.567,8; 1 234 567 and 1'234'567 in both
    decimal: re.compile(
        rf"[+-]?\d{{1,3}}(?:([{other} '\u00a0\u202f\u2019])\d{{3}})"
        rf"(?:\1\d{{3}})*(?:{re.escape(decimal)}\d*)?"
    )
    for decimal, other in ((".", ","), (",", "."))
}


def decimal_sign(texts: Iterable[str], separator: str = ",") -> str:
    """Whether "." or "," stands before the decimals of these numbers.

    Args:
      texts: of numbers.
      separator: between the fields of a line. Where it is a comma, "1,234" is read as
        one thousand two hundred and thirty-four.

    Raises:
      ValueError: if they may be read either way.

    Example:
      >>> [decimal_sign([text], ";") for text in ("1,5", "1.234,5", "1,234.5")]
      [',', ',', '.']
    """
    unclear = ""
    for text in texts:
        points, commas = text.count("."), text.count(",")
        if not points and not commas:
            continue
        if points and commas:
            return "." if text.rindex(".") > text.rindex(",") else ","
        if points == 1:
            return "."
        if points > 1:
            return ","
        if commas > 1:
            return "."
        if not _GROUPED["."].fullmatch(text) or re.match(r"[+-]?0,", text):
            return ","
        unclear = unclear or text
    if unclear and separator != ",":
        raise ValueError(
            f"{unclear!r} may have a decimal comma or thousands; say --decimal , or "
            "--decimal ."
        )
    return "."


def number(text: str, decimal: str = ".") -> float:
    """A number; NaN where it is missing.

    Raises:
      ValueError: if it is none, or is infinite.

    Example:
      >>> number("1.234,5", ","), number("1 234"), number("1e3"), number("n/a")
      (1234.5, 1234.0, 1000.0, nan)
    """
    text = text.strip()
    if text.lower() in MISSING:
        return math.nan
    try:
        plain = text
        if group := _GROUPED[decimal].fullmatch(text):
            plain = text.replace(group[1], "")
        elif decimal == "," and "." in text:
            raise ValueError
        value = float(plain.replace(decimal, "."))
        if "_" in text or not math.isfinite(value):  # Python's own 1_000
            raise ValueError
    except ValueError:
        raise ValueError(f"expected a finite number, found {text[:40]!r}") from None
    return value
