"""From bytes to text: Unicode as it announces itself, other encodings by name."""

import codecs
from pathlib import Path

from experiments.data import DataError

_MARKS = (  # that of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OTHERS = ("cp949", "cp932", "cp1252", "latin-1")  # to name where they fit


def decode(path: Path, data: bytes, encoding: str | None = None) -> str:
    """The text of a file.

    Args:
      path: of the file, for messages.
      data: what is in it.
      encoding: as Python names it; None: UTF-8, or UTF-16 or UTF-32 where a byte order
        mark, or every second byte being zero, says so.

    Raises:
      DataError: with the number of the line, if it is not in this encoding.

    Example:
      >>> decode(Path("a.csv"), "date,Größe".encode("utf-16"))
      'date,Größe'
    """
    chosen = encoding or _announced(data)
    try:
        return data.decode(chosen).removeprefix("\ufeff")
    except LookupError:
        raise DataError(
            f"--encoding: expected one that Python knows, such as utf-8, cp949 or "
            f"latin-1, got {encoding}"
        ) from None
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        line = data[:start].decode(chosen, "ignore").count("\n") + 1
        name = "UTF-8" if chosen == "utf-8" else chosen
        why = getattr(error, "reason", error)
        fit = [other for other in _OTHERS if encoding is None and _fits(data, other)]
        hint = f"; --encoding names another one ({', '.join(fit)} fit)" if fit else ""
        message = f"{path}, line {line}: is not {name}: {why}{hint}"
        raise DataError(message) from error


def _announced(data: bytes) -> str:
    for mark, name in _MARKS:
        if data.startswith(mark):
            return name
    start = data[:2000]
    if 3 * start.count(0) > len(start):  # half of what is plain English
        return "utf-16-le" if b"\0" not in start[::2] else "utf-16-be"
    return "utf-8"


def _fits(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeError:
        return False
    return True
