"""Dates and times as people write them, with offsets from UTC or without."""

import re
import zoneinfo
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

_FORM = re.compile(r"(\d{4})(?:([-/.])(\d{1,2})(?:\2(\d{1,2})(?:[T ]+(.+))?)?)?")
_QUARTER = re.compile(r"(\d{4})[- ]?[Qq]([1-4])")


def parse(text: str, form: str | None = None) -> datetime:
    """A date or a time.

    Args:
      text: ISO 8601, a year, a year and a month or a quarter.
      form: another form, as `datetime.strptime` takes it; None: one of these.

    Raises:
      ValueError: if it is none.

    Example:
      >>> [str(parse(text)) for text in ("1949", "2020Q2")]
      ['1949-01-01 00:00:00', '2020-04-01 00:00:00']
      >>> [str(parse(text)) for text in ("1949-01", "2016/7/1 5:30")]
      ['1949-01-01 00:00:00', '2016-07-01 05:30:00']
      >>> str(parse("2016-07-01T05:30Z")), str(parse("1.7.2016", "%d.%m.%Y"))
      ('2016-07-01 05:30:00+00:00', '2016-07-01 00:00:00')
    """
    text = text.strip()
    try:
        if form is not None:
            return datetime.strptime(text, form)
        if quarter := _QUARTER.fullmatch(text):
            return datetime(int(quarter[1]), 3 * int(quarter[2]) - 2, 1)
        if found := _FORM.fullmatch(text):
            year, _, month, day, time = found.groups()
            text = f"{year}-{int(month or 1):02}-{int(day or 1):02}"
            if time:
                clock = re.sub(r"\s+(?=[+-]|Z$)", "", time.strip())
                text += "T" + (f"0{clock}" if re.match(r"\d:", clock) else clock)
        return datetime.fromisoformat(text)
    except ValueError:
        like = (
            "such as 2016-07-01 or 2016-07" if form is None else f"of the form {form}"
        )
        hint = "; --date-format names another form" if form is None else ""
        raise ValueError(f"expected a date {like}, found {text[:40]!r}{hint}") from None


def zone(name: str) -> tzinfo:
    """A time zone such as Europe/Berlin.

    Raises:
      ValueError: if there is none of this name.
    """
    try:
        return zoneinfo.ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise ValueError(f"expected one such as Europe/Berlin, got {name}") from None


class Clock(NamedTuple):
    """The dates of a series as they are counted, and what to add to write them."""

    dates: list[datetime]  # without an offset
    zone: tzinfo | None  # to write dates in
    utc: bool  # whether the dates are counted in UTC
    remark: str = ""


def one_clock(dates: Sequence[datetime], local: tzinfo | None = None) -> Clock:
    """Dates that can be counted: an hour is an hour when summer time comes or goes.

    Days and months stay those of the calendar.

    Args:
      dates: all with an offset from UTC, or all without.
      local: the time zone of dates without an offset. Of an hour that comes twice, the
        second time is known by standing after the first.

    Raises:
      ValueError: if a time does not exist in the zone.

    Example:
      >>> texts = "2021-10-31T02:00+02:00", "2021-10-31T02:00+01:00"
      >>> [date.hour for date in one_clock([parse(text) for text in texts]).dates]
      [0, 1]
    """
    naive = [date.replace(tzinfo=None) for date in dates]
    offsets = {date.utcoffset() for date in dates}
    if offsets == {None} and local is None:
        return Clock(naive, None, False)
    days = len(set(naive)) == len(naive) > len({date.time() for date in naive})
    if days and len({date.time() for date in naive}) == 1:
        return Clock(naive, None, False)
    if offsets == {None}:
        utc = _placed(naive, local)
    elif len(offsets) == 1 and local is None:
        return Clock(naive, dates[0].tzinfo, False)
    else:
        utc = [date.astimezone(UTC).replace(tzinfo=None) for date in dates]
    remark = ""
    if local is None:
        hours = ", ".join(sorted(f"{offset}" for offset in offsets))
        remark = f"offsets from UTC change ({hours}): its times are counted in UTC"
    return Clock(utc, local or UTC, True, remark)


def _placed(dates: Sequence[datetime], local: tzinfo | None) -> list[datetime]:
    found, before = [], datetime.min
    for date in dates:
        first, second = (date.replace(tzinfo=local, fold=fold) for fold in (0, 1))
        utc = [d.astimezone(UTC).replace(tzinfo=None) for d in (first, second)]
        back = utc[0].replace(tzinfo=UTC).astimezone(local).replace(tzinfo=None)
        if back != date:
            raise ValueError(f"there is no {date} in {local}: summer time begins there")
        twice = utc[0] != utc[1] and utc[0] <= before <= utc[0] + timedelta(hours=2)
        found.append(utc[twice])
        before = found[-1]
    return found
