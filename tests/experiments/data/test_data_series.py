"""Series: CSV files, whole and damaged, and windows that read no future."""

import numpy as np
import pytest
from conftest import needs_data
from made import made_series, summer_time

from experiments.data import DataError
from experiments.data.formats.csv import Form
from experiments.data.series import forecast_csv, load_series, read_csv
from experiments.data.windows import make_windows, windows


@needs_data("ett", "series")
@pytest.mark.parametrize(
    ("dataset", "shape", "end"),
    [
        ("etth1", (17_420, 7), "2018-06-26T19:00:00"),
        ("airline", (144, 1), "1960-12-01T00:00:00"),
        ("sunspots", (2820, 1), "1983-12-01T00:00:00"),
        ("temperatures", (3650, 1), "1990-12-31T00:00:00"),
    ],
)
def test_all_of_a_series_is_read(dataset, shape, end):
    series = load_series(dataset)
    assert series.values.shape == (len(series.dates), len(series.names)) == shape
    assert str(series.dates[-1]) == end


def test_what_comes_later_changes_nothing_before():
    """Neither the scale nor any input; and the parts share no target."""
    series = made_series()
    problem = make_windows(series, 15, 6)
    train, validation, test = problem.parts
    assert (train, validation, test) == (range(126), range(126, 168), range(168, 211))
    changed = series._replace(values=series.values.copy())
    changed.values[validation.start :] *= -3
    other = make_windows(changed, 15, 6)
    np.testing.assert_array_equal(problem.scale.mean, other.scale.mean)
    np.testing.assert_array_equal(problem.scale.deviation, other.scale.deviation)
    np.testing.assert_array_equal(problem.windows(train), other.windows(train))
    np.testing.assert_allclose(problem.values[:126].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(problem.values[:126].std(axis=0), 1, rtol=1e-6)

    # Windows of the number of the step: what is in them?
    numbers = np.arange(211.0)[:, None]
    seen = set()
    for part in problem.parts:
        steps = windows(numbers, part, 15, 6)[0].astype(int)  # [N, 21]
        np.testing.assert_array_equal(np.diff(steps), 1)
        targets = set(steps[:, 15:].ravel().tolist())
        expected = range(15, 126) if part is train else part
        assert targets == set(expected)
        assert not targets & seen
        seen |= targets


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"date,a,b\n", "has no data"),
        (b"# only\n# comments\n", "line 3: expected the names of a column of dates"),
        (b"date\n2001-01\n", "line 1: expected the names of a column of dates"),
        (b"date,a,a\n2001-01,1,2\n", "line 1: has two columns 'a'"),
        (b"date,a,b\n2001-01,1,2\n2001-02,3\n", "line 3: expected 3 columns"),
        (b"date,a,b\n2001-01,1,x\n", "line 2: b: expected a finite number, found 'x'"),
        (b"date,a,b\n2001-01,nan,1\n", "line 2: a: expected a finite number"),
        (b"date,a,b\n2001-01,1,inf\n", "line 2: b: expected a finite number"),
        (b"date,a,b\n2001-01,,1\n", "line 2: a: expected a finite number, found none"),
        (
            b"t,a\n2001-01-01T00Z,1\n2001-01-01T01,1\n",
            "line 3: expected a time with an",
        ),
        (b"t,a\n1/2/2001,1\n", "--date-format names another form"),
        (b"t;a\n2001-01;1,500\n", "line 2: '1,500' may have a decimal comma or thou"),
        (b"t;a\n2001-01;1.5.0\n", "line 2: a: expected a finite number, found '1.5.0'"),
        (b"t,a\n2001-01,1_0\n", "line 2: a: expected a finite number, found '1_0'"),
        (b"date,a,b\nJanuary,1,2\n", "line 2: expected a date such as 2016-07-01"),
        (b'date,a,b\n"2001-01,1,2\n', "line 2: is not CSV"),
        (b"date,a,b\n2001-01,1,2\n2001-02,\xff,2\n", "line 3: is not UTF-8"),
        (b"date,a,c\n2001-01,1,2\n", "line 1: has no column b; there are a, c"),
    ],
)
def test_bad_files_are_named_with_the_line(content, message, tmp_path):
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    columns = ["b"] if b",c\n" in content else []
    with pytest.raises(DataError) as error:
        read_csv(path, columns)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)


def read(tmp_path, content, *args, **options):
    path = tmp_path / "mine.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_csv(path, *args, **options)


@pytest.mark.parametrize(
    ("content", "form", "names", "values"),
    [
        ("date,a\n\n2001-01,1\n\n2001-02,2\n\n\n", {}, "a", [1, 2]),
        ("2001-01,1.5\n2001-02,2\n", {}, "column 2", [1.5, 2]),
        ("year,a\n1949,1\n1950,2\n", {}, "a", [1, 2]),
        ("t;a\n2001-01;1,5\n2001-02;2\n", {}, "a", [1.5, 2]),
        ("t;a\n2001-01;1.234,5\n2001-02;2\n", {}, "a", [1234.5, 2]),
        ("t;a\n2001-01;1,500\n2001-02;2\n", {"decimal": ","}, "a", [1.5, 2]),
        ("t;a\n2001-01;1,500\n2001-02;2\n", {"decimal": "."}, "a", [1500, 2]),
        ('t,a\n2001-01,"1,500"\n2001-02,2\n', {}, "a", [1500, 2]),
        ("t\ta\n2001-01\t1 500\n2001-02\t2\n", {}, "a", [1500, 2]),
        ("t a\n2001-01 1\n2001-02 2\n", {"separator": "space"}, "a", [1, 2]),
        ("sep=|\nt|a\n2001-01|1\n2001-02|2\n", {}, "a", [1, 2]),
        ("t;a;;\n2001-01;1;;\n2001-02;2;;\n;;;\n", {}, "a", [1, 2]),
        (",t,a\n0,2001-01,1\n1,2001-02,2\n", {}, "a", [1, 2]),
        ("a,t\n1,2001-01\n2,2001-02\n", {"date_column": "t"}, "a", [1, 2]),
        ("a,t\n1,2001-01\n2,2001-02\n", {"date_column": "2"}, "a", [1, 2]),
        ("t,a\n1.2.01,1\n1.3.01,2\n", {"date_format": "%d.%m.%y"}, "a", [1, 2]),
        ('t,"a\nb"\n2001-01,1\n2001-02,2\n', {}, "a\nb", [1, 2]),
        ("t,größe\n2001-01,1\n2001-02,2\n".encode("utf-8-sig"), {}, "größe", [1, 2]),
        ("t,größe\n2001-01,1\n2001-02,2\n".encode("utf-16"), {}, "größe", [1, 2]),
        ("t,size\n2001-01,1\n2001-02,2\n".encode("utf-16-be"), {}, "size", [1, 2]),
        (
            *("t,부하\n2001-01,1\n2001-02,2\n".encode("cp949"), {"encoding": "cp949"}),
            *("부하", [1, 2]),
        ),
    ],
)
def test_a_series_as_people_write_it(content, form, names, values, tmp_path):
    series = read(tmp_path, content, (), Form(**form))
    assert series.names == (names,)
    assert series.values[:, 0].tolist() == values
    assert str(series.spacing) in ("1 month", "1 year")


def test_another_encoding_is_told_with_the_line_and_what_fits(tmp_path):
    content = "t,a\n2001-01,1\n# 부하\n".encode("cp949")
    with pytest.raises(DataError, match=r"line 3: is not UTF-8.*--encoding.*cp949"):
        read(tmp_path, content)
    with pytest.raises(DataError, match="line 3: is not ascii"):
        read(tmp_path, content, (), Form(encoding="ascii"))
    with pytest.raises(DataError, match="--encoding: expected one that Python knows"):
        read(tmp_path, content, (), Form(encoding="klingon"))


GAPS = "t,a,b\n2020-01-03,1,9\n2020-01-04,,8\n2020-01-05,3,7\n2020-01-08,9,4\n"


@pytest.mark.parametrize(
    ("how", "a", "b"),
    [
        ("linear", [1, 2, 3, 5, 7, 9], [9, 8, 7, 6, 5, 4]),
        ("last", [1, 1, 3, 3, 3, 9], [9, 8, 7, 7, 7, 4]),
        ("zero", [1, 0, 3, 0, 0, 9], [9, 8, 7, 0, 0, 4]),
    ],
)
def test_gaps_are_filled_as_asked(how, a, b, tmp_path):
    series = read(tmp_path, GAPS, fill=how)
    np.testing.assert_allclose(series.values.T, [a, b])
    assert (np.diff(series.dates) == np.timedelta64(1, "D")).all()
    said = f"filled 2 missing times in 1 gaps and 1 missing values ({how})"
    assert series.remarks == (said,)


def test_gaps_are_told_with_their_counts(tmp_path):
    series = read(tmp_path, GAPS, ["b"])
    assert series.values[:, 0].tolist() == [9, 8, 7, 4]
    (said,) = series.remarks
    assert "2 times are missing in 1 gaps, the longest (2) after 2020-01-05" in said
    with pytest.raises(DataError, match=r"line 3: a: .*in all 1 values are missing"):
        read(tmp_path, GAPS)
    uneven = (
        "t,a\n2020-01-01T00,1\n2020-01-01T01,1\n2020-01-01T02,1\n2020-01-01T03:30,1\n"
    )
    assert "1 of 4 rows are no whole number of steps of 1 hour" in " ".join(
        read(tmp_path, uneven).remarks
    )
    with pytest.raises(DataError, match="needs times at whole steps of 1 hour"):
        read(tmp_path, uneven, fill="linear")


@pytest.mark.parametrize(
    ("which", "value"), [("mean", 3), ("first", 2), ("last", 4), ("refuse", None)]
)
def test_times_that_come_twice(which, value, tmp_path):
    content = "t,a\n2020-01-02,2\n2020-01-01,1\n2020-01-02,4\n2020-01-03,5\n"
    if value is None:
        with pytest.raises(
            DataError, match=r"line 4: the time 2020-01-02.* comes twice"
        ):
            read(tmp_path, content, duplicates=which)
        return
    series = read(tmp_path, content, duplicates=which)
    assert series.values[:, 0].tolist() == [1, value, 5]
    order, twice = series.remarks
    assert "out of order (1 go back in time): sorted" in order
    assert "1 rows have a time that was there before, the first in line 4" in twice


def test_both_changes_of_summer_time(tmp_path):
    """An hour is an hour: in March one is missing, in October one comes twice."""
    aware, naive, hours = summer_time()
    series = read(tmp_path, aware)
    assert len(series.dates) == hours
    assert (np.diff(series.dates) == np.timedelta64(1, "h")).all()
    zoned = read(tmp_path, naive, (), Form(timezone="Europe/Berlin"))
    np.testing.assert_array_equal(zoned.dates, series.dates)
    np.testing.assert_array_equal(zoned.values, series.values)
    assert zoned.remarks == ()
    assert zoned.after(zoned.dates[-1], 1) == ["2021-11-01T01:00:00+01:00"]
    filled = read(tmp_path, naive, fill="linear")
    assert (np.diff(filled.dates) == np.timedelta64(1, "h")).all()
    assert len(filled.dates) == hours
    twice = str(filled.remarks)
    assert "1 rows have a time that was there before" in twice
    assert "filled 1 missing times in 1 gaps" in twice
    with pytest.raises(DataError, match="there is no 2021-03-28 02:30:00 in Europe"):
        read(tmp_path, "t,a\n2021-03-28 02:30,1\n", (), Form(timezone="Europe/Berlin"))


@pytest.mark.parametrize(
    ("dates", "spacing", "after"),
    [
        ("2020-01-31 2020-02-29 2020-03-31", "1 month", "2020-04-30 2020-05-31"),
        ("1949 1950 1951", "1 year", "1952-01-01 1953-01-01"),
        ("2020-01 2020-04 2020-07", "3 months", "2020-10-01 2021-01-01"),
        ("2020-01-05 2020-01-12 2020-01-19", "7 days", "2020-01-26 2020-02-02"),
        (
            *("2021-01-01T00:00+09:00 2021-01-01T12:00+09:00", "12 hours"),
            "2021-01-02T00:00:00+09:00 2021-01-02T12:00:00+09:00",
        ),
        (
            *("2021-03-27T00:00+01:00 2021-03-28T00:00+01:00", "1 day"),
            "2021-03-29 2021-03-30",
        ),
        (
            " ".join(
                f"2021-01-{day:02}" for day in range(4, 30) if day % 7 not in (2, 3)
            ),
            *("1 weekday", "2021-02-01 2021-02-02"),
        ),
    ],
)
def test_the_dates_that_follow(dates, spacing, after, tmp_path):
    rows = "".join(f"{date},1\n" for date in dates.split())
    series = read(tmp_path, "t,a\n" + rows)
    assert str(series.spacing) == spacing
    assert " ".join(series.after(series.dates[-1], 2)) == after
    assert series.remarks == ()


def test_a_forecast_is_read_as_it_was_written(tmp_path):
    text = forecast_csv(["a"], ["2020-01-01"], [np.array([[1.5, 2.0]])], (0.1, 0.9))
    series = read(tmp_path, text, ["0.1", "0.9"])
    assert series.values.tolist() == [[1.5, 2.0]]
