"""A search index that finds parts of Korean words.

Korean joins a noun and its particle, or two nouns, into one word: the index holds each
pair of neighbouring syllables, and a query is cut into the same pairs.
"""

import re

from sphinx.application import Sphinx
from sphinx.search.en import SearchEnglish

HANGUL = re.compile("[가-힣]+")


class KoreanAndEnglish(SearchEnglish):
    """English words by their stems, Korean words by their pairs of syllables."""

    lang = "ko-en"
    js_splitter_code = """
function splitQuery(query) {
  const words = query.split(/[^\\p{Letter}\\p{Number}_]+/gu).filter((word) => word);
  return words.flatMap((word) =>
    word.split(/([가-힣]+)/u).filter((part) => part).flatMap((part) => {
      if (!/[가-힣]/u.test(part) || part.length < 2) return [part];
      return [...part.slice(1)].map((_, at) => part.slice(at, at + 2));
    }),
  );
}
"""

    def split(self, input: str) -> list[str]:
        return [part for word in super().split(input) for part in pairs(word)]


def pairs(word: str) -> list[str]:
    """The pairs of syllables of the Korean in a word, and the rest as it is."""
    parts = [part for part in re.split("([가-힣]+)", word) if part]
    made: list[str] = []
    for part in parts:
        korean = HANGUL.fullmatch(part) and len(part) > 1
        made += [part[at : at + 2] for at in range(len(part) - 1)] if korean else [part]
    return made


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers the language of the index."""
    app.add_search_language(KoreanAndEnglish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
