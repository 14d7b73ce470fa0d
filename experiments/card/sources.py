"""The licences of the data sets, as those who made or publish them state them."""

from typing import Any, NamedTuple


class Licence(NamedTuple):
    """What may be done with a data set."""

    said: str  # in words, and by whom; "none stated" where nobody states one
    known_as: str = "unknown"  # to model hubs; "other" where they have no name for it
    link: str | None = None  # where it is stated
    hub: str | None = None  # the same data on the Hugging Face Hub
    languages: tuple[str, ...] = ()  # ISO 639-1, or "code"
    origin: str | None = None  # where the record of the data set has no files


class Source(NamedTuple):
    """A data set that a network has learned from."""

    name: str
    title: str
    origin: str
    licence: Licence


NONE = "none stated with the files"
RESEARCH = "none stated with the files; published for research"
LICENCES = {
    "digits": Licence(
        "CC BY 4.0 (UCI Machine Learning Repository)",
        "cc-by-4.0",
        "https://archive.ics.uci.edu/dataset/80",
        origin="Alpaydin and Kaynak, 1998, as scikit-learn has it",
    ),
    "mnist": Licence(
        "CC BY-SA 3.0 (as Keras states it for Y. LeCun and C. Cortes)",
        "cc-by-sa-3.0",
        "https://keras.io/api/datasets/mnist",
        hub="ylecun/mnist",
    ),
    "fashion_mnist": Licence(
        "MIT (Zalando SE)",
        "mit",
        "https://github.com/zalandoresearch/fashion-mnist/blob/master/LICENSE",
        hub="zalando-datasets/fashion_mnist",
    ),
    "kmnist": Licence(
        "CC BY-SA 4.0 (ROIS-DS Center for Open Data in the Humanities)",
        "cc-by-sa-4.0",
        "https://github.com/rois-codh/kmnist",
    ),
    "shakespeare": Licence(
        "none stated with the file; the text is in the public domain",
        link="https://github.com/karpathy/char-rnn",
        languages=("en",),
    ),
    "python": Licence(
        "PSF License Agreement (Python Software Foundation)",
        "other",
        "https://docs.python.org/3/license.html",
        languages=("code",),
        origin="the files of the Python that ran the training",
    ),
    "nsmc": Licence(
        "CC0 1.0 (L. Park)",
        "cc0-1.0",
        "https://github.com/e9t/nsmc",
        hub="e9t/nsmc",
        languages=("ko",),
    ),
    "sst2": Licence(
        RESEARCH, link="https://nlp.stanford.edu/sentiment", languages=("en",)
    ),
    "multi30k": Licence(
        RESEARCH, link="https://github.com/multi30k/dataset", languages=("en", "de")
    ),
    "tatoeba": Licence(
        "CC BY 2.0 FR (Tatoeba)",
        "cc-by-2.0",
        "https://tatoeba.org/en/terms_of_use",
        languages=("en", "ko"),
    ),
    **dict.fromkeys(("jsb", "nottingham", "muse", "piano"), Licence(RESEARCH)),
    "etth1": Licence(
        "CC BY-ND 4.0 (Zhou et al.)",
        "cc-by-nd-4.0",
        "https://github.com/zhouhaoyi/ETDataset",
    ),
    "stocks": Licence(NONE, origin="matplotlib's sample data"),
    **dict.fromkeys(("airline", "sunspots", "temperatures"), Licence(NONE)),
    "flickr8k": Licence(
        "none stated with the files; published for research, and the photographs are "
        "their owners'",
        languages=("en",),
    ),
}
LICENCES["scenes"] = LICENCES["mnist"]._replace(languages=("en",))
OWN = Licence("yours to state: these were files of your own", origin="you")
MADE = Licence("none needed: the examples are made by a program", origin="a program")


def source(name: str, record: Any = None, languages: tuple[str, ...] = ()) -> Source:
    """What there is to say of a data set.

    Args:
      name: of the data set; one that is not in `LICENCES` is of the user's own.
      record: of `DATASETS` of its reader, with a title and files; None if it has none.
      languages: of data of the user's own.

    Example:
      >>> source("mine").licence.known_as, source("nsmc").licence.said
      ('unknown', 'CC0 1.0 (L. Park)')
    """
    licence = LICENCES.get(name) or OWN._replace(languages=languages)
    files = None if record is None else record.files
    origin = licence.origin or ("you" if files is None else files.origin)
    title = "files of your own" if name not in LICENCES else record and record.title
    return Source(name, title or name, origin, licence)


def made(name: str, title: str) -> Source:
    """Examples that no data set has."""
    return Source(name, title, "a program", MADE)
