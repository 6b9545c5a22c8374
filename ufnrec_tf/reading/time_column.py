"""The time column of a log: by its name, or by its values."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from ufnrec_tf.common.text import plain
from ufnrec_tf.data.log_description import BY_NAME, BY_VALUES, Note
from ufnrec_tf.data.times import as_numbers
from ufnrec_tf.reading.column_kinds import (
    TimeKind,
    is_named_as_time,
    is_time_of_day,
    may_be_event_time,
    time_kind,
)
from ufnrec_tf.reading.rows import Header
from ufnrec_tf.reading.text_files import TextFile

_DAY = 86400.0
_SAME_DAY = 1.6 * _DAY
"""Seconds by which a date and a finer time may differ: a day, and the zones of the world."""


class FoundTime(NamedTuple):
    """The time column.

    Attributes:
        place: Its index, or None.
        found_by: See `log_description`.
        notes: How it was found, where that is not by its usual name.
    """

    place: int | None
    found_by: str = BY_NAME
    notes: tuple[Note, ...] = ()


def find_time(
    file: TextFile,
    header: Header,
    first_rows: Sequence[pd.Series],
    named: int | None,
    taken: dict[str, int],
    time_format: str,
) -> FoundTime:
    """Returns the time column of a log whose user names none.

    A column of a usual name is taken, unless another one has the same moments, and finer. Without
    such a name the column is taken whose first values are all dates, or numbers of seconds since
    1970 (or ms, us, ns), and of several the finest.

    Args:
        file: Named in errors.
        header: Its line, and the names of all columns.
        first_rows: The first values of each column.
        named: Index of the column of a usual name, or None.
        taken: Role -> index of the user and the item column.
        time_format: The form of dates that the user named, or "".

    Raises:
        UserError: If day and time of day are two columns.
    """
    names = header[1]
    if not first_rows or not len(first_rows[0]):
        return FoundTime(named)
    if named is not None:
        _refuse_time_of_day(file, header, first_rows, named)
    found = {
        place: kind
        for place, values in enumerate(first_rows)
        if place not in taken.values()
        and (kind := time_kind(values, time_format=time_format)) is not None
    }
    if named is not None:
        finer = _finer(named, found)
        if finer == named:
            return FoundTime(named)
        words = f"time: column {_shown(names, finer)}, finer than {_shown(names, named)}"
        flag = f"--config.data.time_column={names[named]} reads that one"
        return FoundTime(finer, BY_VALUES, (Note("time_by_values", words, flag),))
    items = first_rows[taken["item"]]
    possible = {p: k for p, k in found.items() if may_be_event_time(names[p], k, items=items)}
    if not possible:
        return FoundTime(_stamp(names, first_rows, taken))
    ordered = sorted(
        possible, key=lambda p: (possible[p].resolution, not is_named_as_time(names[p]), p)
    )
    words = f"time: column {_shown(names, ordered[0])}, found by its values"
    words += ", the finest of several" * (len(ordered) > 1)
    flag = "--config.data.time_column=NAME|none changes it"
    return FoundTime(ordered[0], BY_VALUES, (Note("time_by_values", words, flag),))


def _shown(names: Sequence[str], place: int) -> str:
    return repr(plain(names[place])[:40])


def _finer(named: int, found: dict[int, TimeKind]) -> int:
    """Returns the column that has the moments of the named one in finer steps, or that one."""
    own = found.get(named)
    if own is None:
        return named
    most = _SAME_DAY if own.resolution >= _DAY else own.resolution
    finest = named
    for place, kind in found.items():
        is_finer = kind.resolution < found[finest].resolution
        if is_finer and len(kind.seconds) == len(own.seconds):
            is_same = np.abs(kind.seconds - own.seconds) <= most
            finest = place if is_same.all() else finest
    return finest


def _stamp(
    names: Sequence[str], first_rows: Sequence[pd.Series], taken: dict[str, int]
) -> int | None:
    """Returns the only column that is called a timestamp and holds numbers of another unit."""
    stamps = [
        place
        for place, name in enumerate(names)
        if place not in taken.values()
        and "timestamp" in name.lower()
        and np.isfinite(as_numbers(first_rows[place].astype(object))).all()
    ]
    return stamps[0] if len(stamps) == 1 else None


def _refuse_time_of_day(
    file: TextFile, header: Header, first_rows: Sequence[pd.Series], named: int
) -> None:
    """Refuses a day and a time of day in two columns."""
    line, names = header
    if is_time_of_day(first_rows[named]):
        days, clock = [p for p, v in enumerate(first_rows) if time_kind(v) is not None], named
    else:
        own = time_kind(first_rows[named])
        clocks = [p for p, v in enumerate(first_rows) if is_time_of_day(v)]
        if own is None or own.resolution < _DAY or not own.are_dates or not clocks:
            return
        if any(
            kind.resolution < _DAY
            for place, values in enumerate(first_rows)
            if place != named and (kind := time_kind(values)) is not None
        ):
            return  # which is the finer one
        days, clock = [named], clocks[0]
    if not days:
        raise file.error(
            f"the time column {_shown(names, clock)} holds times of day, and no column their "
            "dates: expected dates or seconds since 1970; name another with "
            "--config.data.time_column=NAME, or leave it unread with "
            "--config.data.time_column=none.",
            line=line,
        )
    day = names[days[0]]
    raise file.error(
        f"the day stands in column {_shown(names, days[0])} and the time of day in "
        f"{_shown(names, clock)}: expected both in one, such as 2019-01-31 18:30:00; join them "
        f"(pandas: frame['moment'] = frame[{day!r}].astype(str) + ' ' + "
        f"frame[{names[clock]!r}].astype(str), without both), or "
        f"read the day only with --config.data.time_column={day}.",
        line=line,
    )
