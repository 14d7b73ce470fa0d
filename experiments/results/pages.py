"""The parts of the pages that are made of stored results, in English and Korean.

A generated part stands between `<!-- NAME: begin -->` and `<!-- NAME: end -->`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.lab.errors import UsageError
from experiments.results import stored

ROOT = Path(__file__).parents[2]


class Line(NamedTuple):
    """An experiment in the READMEs: what it does and what came of it."""

    experiment: str
    name: str  # of the summary
    form: str  # of its numbers
    does: tuple[str, str]  # in English and in Korean
    # {0} is the result, {ROW} what it is compared with
    result: tuple[str, str]


HEADS = (
    ("`python -m`", "what it does", "measured on two CPU cores"),
    ("`python -m`", "하는 일", "CPU 코어 2개로 잰 결과"),
)
MINUTES = (", {} minutes", ", {}분")
LINES = (
    Line(
        "rows",
        "rows_mnist",
        ".1%",
        ("reads images as sequences of rows", "그림을 한 줄씩 읽고 무엇인지 맞힌다"),
        ("MNIST: {0} right", "MNIST: 정확도 {0}"),
    ),
    Line(
        "language_model",
        "language_model_shakespeare",
        ".3f",
        (
            "writes like Shakespeare, or like a text of yours",
            "셰익스피어처럼, 또는 주어진 글처럼 쓴다",
        ),
        ("{0} nats a character", "글자당 {0} nat"),
    ),
    Line(
        "sentiment",
        "sentiment_nsmc",
        ".1%",
        (
            "judges film reviews, Korean or English",
            "한국어나 영어 영화평이 호평인지 악평인지 가린다",
        ),
        ("NSMC: {0} right", "NSMC: 정확도 {0}"),
    ),
    Line(
        "translation",
        "translation_multi30k",
        ".1f",
        (
            "English to German or Korean, with attention",
            "어텐션으로 영어를 독일어나 한국어로 옮긴다",
        ),
        ("Multi30k: {0} BLEU", "Multi30k: {0} BLEU"),
    ),
    Line(
        "captioning",
        "captioning_scenes",
        ".1%",
        ("says what is in a picture", "그림에 무엇이 있는지 말한다"),
        ("scenes of digits: {0} right", "숫자 둘을 놓은 그림: {0} 맞음"),
    ),
    Line(
        "music",
        "music_jsb",
        ".3f",
        (
            "goes on with a chorale, as a MIDI file",
            "코랄을 이어 지어 MIDI 파일로 쓴다",
        ),
        ("JSB: {0} nats a step", "JSB: 스텝당 {0} nat"),
    ),
    Line(
        "forecasting",
        "forecasting_24",
        ".3f",
        ("forecasts series with intervals", "시계열의 값과 예측 구간을 낸다"),
        (
            "ETTh1, 24 hours: squared error {0} (ridge {ridge}; within chance)",
            "ETTh1 24시간: 제곱 오차 {0}(릿지 {ridge}, 차이는 우연의 범위 안)",
        ),
    ),
)


def experiments(language: int) -> str:
    """The results of all experiments; language 0 is English, 1 Korean."""
    rows = []
    for line in LINES:
        summary = stored.read(line.name)
        values = {r["name"]: r["values"][0] for r in summary["tables"][0]["rows"]}
        told = {
            name: number(value, line.form)
            for name, value in values.items()
            if isinstance(value, int | float | dict)
        }
        result = line.result[language].format(*told.values(), **told)
        if summary["seconds"] is not None:
            result += MINUTES[language].format(round(summary["seconds"] / 60))
        does = line.does[language]
        rows.append((f"`experiments.{line.experiment}`", does, result))
    return table(HEADS[language], rows)


def mnist() -> str:
    """What the recipes of `rows` reach on MNIST."""
    rows = []
    for name, about, form in (
        ("rows_mnist", " (LSTM, hidden size 128, 10 epochs)", ".2%"),
        ("rows_mnist_elman", "", ".2%"),
        ("rows_mnist_classic", "", ".1%"),
    ):
        summary, found = stored.read(name), stored.value(name)
        options = summary["command"].removeprefix("python -m experiments.rows ")
        middle = number(found["mean"], form)
        if "classic" in name:
            middle += f", median {number(found['median'], form)}"
        low = number(found["lowest"], form).removesuffix(" %")
        spread = f"{low} to {number(found['highest'], form)}, {found['seeds']} seeds"
        rows.append((f"`{options}`{about}", middle, spread, took(summary)))
    return table(("command", "mean", "spread", "time"), rows)


def horizons() -> str:
    """The errors of `forecasting` over a day and over four."""
    columns = {
        None: "network",
        "ridge": "ridge",
        "seasonal persistence": "as yesterday (seasonal persistence)",
        "persistence": "the last value (persistence)",
    }
    rows = []
    for hours in (24, 96):
        cells = []
        for row in columns:
            errors = (
                stored.value(f"forecasting_{hours}", row, c) for c in ("MSE", "MAE")
            )
            cells.append("{} ({})".format(*(number(error, ".3f") for error in errors)))
        rows.append((f"{hours} hours", *cells))
    return table(("mean squared (absolute) error", *columns.values()), rows)


def memory() -> str:
    """What each cell remembers of each task."""
    scores = stored.read("memory")["tables"][0]
    forms = list(scores["columns"].values())
    rows = []
    for row in scores["rows"]:
        told = [
            "" if value is None else number(value, form)
            for value, form in zip(row["values"], forms, strict=True)
        ]
        rows.append((row["name"], *told))
    return table(("", *(f"`{task}`" for task in scores["columns"])), rows)


def number(value: float | dict, form: str) -> str:
    """A number as the pages write it.

    Example:
      >>> number(0.9576, ".1%"), number({"mean": 1.45, "seeds": 3}, ".3f")
      ('95.8 %', '1.450')
    """
    return f"{stored.mean(value):{form}}".replace("%", " %")


def took(summary: dict) -> str:
    """How long a run took.

    Example:
      >>> took({"seconds": 97, "note": None}), took({"seconds": 120, "note": "busy"})
      ('1 min 37 s', '2 min, busy')
    """
    if summary["seconds"] is None:
        return "not known"
    minutes, seconds = divmod(summary["seconds"], 60)
    parts = [f"{minutes} min"] * (minutes > 0) + [f"{seconds} s"] * (seconds > 0)
    return ", ".join([" ".join(parts), *filter(None, [summary["note"]])])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown.

    Example:
      >>> print(table(["command", "mean"], [["`--cell gru`", "99 %"]]))
      | command | mean |
      |---|---|
      | `--cell gru` | 99 % |
    """
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


PAGES: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {"results": lambda: experiments(0)},
    "README.ko.md": {"results": lambda: experiments(1)},
    "experiments/README.md": {
        **{"mnist": mnist, "horizons": horizons, "memory": memory},
    },
}


def filled(page: str) -> str:
    """The text of a page with every generated part made anew."""
    text = (ROOT / page).read_text()
    for name, make in PAGES[page].items():
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
        before, begun, rest = text.partition(begin)
        _, ended, after = rest.partition(end)
        if not begun or not ended:
            raise UsageError(f"{page}: expected {begin.strip()} and {end} after it")
        text = f"{before}{begin}{make()}\n{end}{after}"
    return text
