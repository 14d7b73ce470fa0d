"""Series: CSV files, whole and damaged, and windows that read no future."""

import numpy as np
import pytest
from conftest import needs_data
from made import made_series

from experiments.data import DataError
from experiments.data.series import load_series, read_csv
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
        (b"date,a,b\n2001-01,1,2\n\n2001-02,3,4\n", "line 3: expected 3 columns"),
        (b"date,a,b\n2001-01,1,x\n", "line 2: b: expected a finite number, found 'x'"),
        (b"date,a,b\n2001-01,nan,1\n", "line 2: a: expected a finite number"),
        (b"date,a,b\n2001-01,1,inf\n", "line 2: b: expected a finite number"),
        (b"date,a,b\n2001-01,,1\n", "line 2: a: expected a finite number, found ''"),
        (b"# c\ndate,a,b\n2001-01-02,1,2\n2001-01-01,1,2\n", "line 4: expected a date"),
        (b"date,a,b\n2001-01,1,2\n2001-01,1,2\n", "line 3: expected a date after 2001"),
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
