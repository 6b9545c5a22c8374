"""Forms of dates other than ISO 8601: 2024/01/31, 31.01.2024, 01/31/2024, Tue Apr 03 18:00 2012.

A text of a known form becomes the ISO 8601 text of the same moment. The order of day and month in
01/31/2024 is that of the whole column: one part above 12 decides. Brackets around a date
and the name of a zone after its difference from UTC are no part of it.
"""

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NAME = r"(?P<name>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_CLOCK = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?"
    r"\s*(?P<half>[ap]\.?m\.?)?"
)
_ZONE = r"\s*(?P<zone>z|utc|gmt|[+-]\d\d:?\d\d)?"
_TIME = rf"(?:[\sT,:]+{_CLOCK}{_ZONE})?"
_WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,?\s+)?"
_FLAGS = re.IGNORECASE
_YEAR_FIRST = re.compile(
    rf"\s*(?P<year>\d{{4}})(?P<mark>[/.-])(?P<month>\d{{1,2}})(?P=mark)(?P<day>\d{{1,2}}){_TIME}\s*",
    _FLAGS,
)
_YEAR_LAST = re.compile(
    rf"\s*(?P<first>\d{{1,2}})(?P<mark>[/.-])(?P<second_part>\d{{1,2}})(?P=mark)(?P<year>\d{{4}})"
    rf"{_TIME}\s*",
    _FLAGS,
)
_OTHERS = tuple(
    re.compile(rf"\s*{pattern}\s*", _FLAGS)
    for pattern in (
        # 20240131T183000Z and 20240131183000Z, ISO 8601's basic form and LDAP's.
        r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)T?(?P<hour>\d\d)(?P<minute>\d\d)"
        rf"(?P<second>\d\d)(?:[.,](?P<fraction>\d{{1,9}}))?(?P<half>){_ZONE}",
        rf"(?P<year>\d{{4}})\s*[年년]\s*(?P<month>\d{{1,2}})\s*[月월]\s*(?P<day>\d{{1,2}})\s*[日일]{_TIME}",
    )
)
_MILLIS = re.compile(r"\\?/Date\((-?\d{1,14})(?:[+-]\d{4})?\)\\?/")  # of .NET, in UTC
_ZONE_NAME = re.compile(r"(?<=[\dZz])\s*\[[\w/+-]+\]$|(?<=[+-]\d{4}) (?:[A-Z]{2,5}|\(.*\))$")
_NAMED = tuple(
    re.compile(rf"\s*{_WEEKDAY}{pattern}\s*", _FLAGS)
    for pattern in (
        rf"(?P<day>\d{{1,2}})[\s/-]+{_NAME}[\s/,-]+(?P<year>\d{{4}}){_TIME}",
        rf"{_NAME}\s+(?P<day>\d{{1,2}}),?\s+(?P<year>\d{{4}}){_TIME}",
        rf"{_NAME}\s+(?P<day>\d{{1,2}})\s+{_CLOCK}{_ZONE}\s+(?P<year>\d{{4}})",
        rf"(?P<month>\d{{1,2}})\s+(?P<day>\d{{1,2}}),\s*(?P<year>\d{{4}}){_TIME}",
    )
)
_DATE_AND_CLOCK = re.compile(
    r"\W?\d{1,4}[-/. ]{1,2}(?:\d{1,2}|[^\W\d]{3,9})[-/., ]{1,2}\d{2,4}\b.*\d{1,2}[:.]\d\d.*"
)
_LIKE_DATE = re.compile(
    r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}|\d{1,2}[\s-]*[A-Za-z]{3,9}|[A-Za-z]{3,9}\.? \d"
)


class DateForm(NamedTuple):
    """The form of the dates of a column.

    Attributes:
        day_first: Whether the day comes first in 01/02/2024; None where it does not matter.
        is_ambiguous: True if it matters and no date shows it.
        words: For people.
    """

    day_first: bool | None
    is_ambiguous: bool
    words: str


def form_of(texts: Iterable[str]) -> DateForm | None:
    """Returns the form of a column's dates by the first of them, or None if it is not known.

    Args:
        texts: The dates; all of them say whether day or month comes first.
    """
    given = list(texts)
    texts = list(map(_bare, given))
    first = texts[0]
    if _MILLIS.fullmatch(first) or _match(first):
        return DateForm(None, False, f"dates such as {given[0].strip()[:40]!r}")
    found = _YEAR_LAST.fullmatch(first)
    if not found:
        return None
    if found["mark"] == ".":
        return DateForm(True, False, f"dates such as {first.strip()[:40]!r}, the day first")
    matches = [match for text in texts if (match := _YEAR_LAST.fullmatch(text))]
    is_day_first = any(int(match["first"]) > 12 for match in matches)
    is_month_first = any(int(match["second_part"]) > 12 for match in matches)
    order = "the day first" if is_day_first else "the month first"
    words = f"dates such as {first.strip()[:40]!r}, {order}"
    return DateForm(is_day_first, is_day_first == is_month_first, words)


def _match(text: str) -> re.Match[str] | None:
    """Returns the match of a date in whose form the order of its parts is known."""
    patterns = (_YEAR_FIRST, *_OTHERS, *_NAMED)
    return next((match for one in patterns if (match := one.fullmatch(text))), None)


def _bare(text: str) -> str:
    """Returns a date without brackets around it and the name of its zone."""
    text = text.strip()
    if text[:1] == "[" and text[-1:] == "]":
        text = text[1:-1]
    return _ZONE_NAME.sub("", text.replace(" GMT+", " +").replace(" GMT-", " -"))


def iso_text(text: str, form: DateForm) -> str:
    """Returns the ISO 8601 text of a date, or "" if it has another form."""
    if form.is_ambiguous:
        return ""
    text = _bare(text)
    if millis := _MILLIS.fullmatch(text):
        moment = datetime(1970, 1, 1) + timedelta(milliseconds=int(millis[1]))
        return moment.isoformat(timespec="milliseconds")
    if form.day_first is not None:
        found = _YEAR_LAST.fullmatch(text)
        if not found:
            return ""
        places = ("first", "second_part") if form.day_first else ("second_part", "first")
        day, month = (int(found[place]) for place in places)
    else:
        found = _match(text)
        if not found:
            return ""
        own = found.groupdict()
        day = int(own["day"])
        month = int(own["month"]) if "month" in own else _MONTHS.index(own["name"].lower()) + 1
    return f"{found['year']}-{month:02}-{day:02}{_iso_time(found)}"


def _iso_time(found: re.Match[str]) -> str:
    if found["hour"] is None:
        return ""
    hour, half = int(found["hour"]), (found["half"] or "").lower()[:1]
    if half:
        hour = hour % 12 + 12 * (half == "p")
    fraction = f".{found['fraction']}" if found["fraction"] else ""
    zone = (found["zone"] or "").upper()
    zone = "Z" if zone in ("UTC", "GMT", "Z") else zone
    return f"T{hour:02}:{found['minute']}:{found['second'] or '00'}{fraction}{zone}"


def looks_like_date(text: str) -> bool:
    """Returns True if a text that is no number seems to be a date of some form."""
    return bool(_LIKE_DATE.search(text))


def is_date_and_clock(text: str) -> bool:
    """Returns True if a text seems to be a date with a time of day, of a form that is not known."""
    return bool(_DATE_AND_CLOCK.fullmatch(text.strip()))


def formats_like(text: str) -> list[str]:
    """Returns the strptime formats that a date with day and month in digits may have."""
    match = re.fullmatch(
        r"\s*(\d{1,2})([/.-])(\d{1,2})\2(\d{2}|\d{4})(?:([T\s])(.*?))?\s*", text, re.DOTALL
    )
    if not match:
        return []
    first, mark, second, year, gap, clock = match.groups()
    time = ""
    if clock:
        is_half = bool(re.search(r"[AaPp][Mm]", clock))
        time = gap + ("%I" if is_half else "%H") + ":%M" + ":%S" * (clock.count(":") > 1)
        time += ".%f" * ("." in clock) + " %p" * is_half
    end = f"{mark}%{'Y' if len(year) == 4 else 'y'}{time}"
    orders = [f"%m{mark}%d{end}"] * (int(first) <= 12) + [f"%d{mark}%m{end}"] * (int(second) <= 12)
    return orders
