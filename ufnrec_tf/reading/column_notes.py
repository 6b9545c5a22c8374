"""Notes on the columns of a log that are not read, and look as if they should be."""

from collections.abc import Sequence

import pandas as pd

from ufnrec_tf.common.text import plain
from ufnrec_tf.data.log_description import FEW_VALUES, Note
from ufnrec_tf.reading.column_kinds import (
    event_types,
    is_named_as_part,
    is_named_as_time,
    is_order,
    is_time_of_day,
    is_unknown_date,
    time_kind,
)
from ufnrec_tf.reading.column_names import find_role

_MOST_SHOWN = 3
_DAY = 86400.0


def unread_notes(
    names: Sequence[str],
    first_rows: Sequence[pd.Series],
    places: dict[str, int],
    flags: dict[str, str],
) -> list[Note]:
    """Returns the columns that look like times, event types or ratings, and are not read.

    Args:
        names: The names of all columns.
        first_rows: Their first values.
        places: Role -> index of the columns that are read.
        flags: Role -> the column that the user names, "none", or "".
    """
    left = [place for place in range(len(first_rows)) if place not in places.values()]
    notes: list[Note] = []
    if not flags["time"]:
        time = time_kind(first_rows[places["time"]]) if "time" in places and first_rows else None
        is_coarse = "time" not in places or (time is not None and time.resolution >= _DAY)
        users = None if "time" in places else first_rows[places["user"]] if first_rows else None
        notes += _unread_times(names, first_rows, left, users=users, is_coarse=is_coarse)
    if "event" not in places:
        notes += _unread_events(names, first_rows, left, flags["event"])
    if "rating" not in places and flags["rating"] != "none":
        rated = find_role(list(names), "rating", flags["rating"])
        ratings = [place for place in left if place == rated]
        notes += [
            Note(
                "unread_rating",
                f"column {plain(names[place])!r} looks like ratings and is not read",
                "--config.data.min_rating=NUMBER",
            )
            for place in ratings[:1]
        ]
    return notes


def _unread_times(
    names: Sequence[str],
    first_rows: Sequence[pd.Series],
    left: list[int],
    *,
    users: pd.Series | None,
    is_coarse: bool,
) -> list[Note]:
    """Without a time column, or with days only, also those that only their names call times.

    Args:
        names: The names of all columns.
        first_rows: Their first values.
        left: Indices of those that are not read.
        users: The user of each row where no time is read; else None.
        is_coarse: True if no time of day is read.
    """
    has_time = users is None
    found, orders = [], set()
    for place in left:
        name, values = names[place], first_rows[place]
        is_named, kind = is_named_as_time(name), time_kind(values)
        is_part = is_named_as_part(name) or is_time_of_day(values)
        is_time = kind is not None and (kind.are_dates or is_named)
        if users is not None and is_order(name, values, users):
            orders.add(name)
        is_time |= not has_time and (is_unknown_date(values) or name in orders)
        if is_time or (is_named and not has_time) or (is_part and is_coarse):
            found.append(name)
    if not found:
        return []
    shown = ", ".join(repr(plain(name)[:40]) for name in found[:_MOST_SHOWN])
    what = "an order of events" if orders.issuperset(found) else "a time"
    words = f"column {shown} looks like {what} and is not read"
    if len(found) > 1:
        words = f"columns {shown} look like times and are not read"
    if not has_time:
        words += ", the order of the file is taken for the order of events"
    remedy = f"--config.data.time_column={plain(found[0])}"
    if all(map(is_named_as_part, found)):
        remedy = "join the parts of the time in one column, such as 2019-01-31 18:30:00"
    return [Note("unread_time", words, remedy)]


def _unread_events(
    names: Sequence[str], first_rows: Sequence[pd.Series], left: list[int], flag: str
) -> list[Note]:
    """The columns of few words: those of a usual name as event types, others for inspection."""
    notes = []
    guessed = find_role(list(names), "event", flag)
    for place in left:
        name = names[place]
        is_named = place == guessed
        counts = event_types(first_rows[place], is_named=is_named)
        if not counts and not (is_named and flag):
            continue
        column = "" if is_named and not flag else f"--config.data.event_column={plain(name)} "
        remedy = f"{column}--config.data.events={plain(least_of(counts)) or 'NAME'}"
        words = f"column {plain(name)!r} holds few words ({counts_text(counts)})"
        if is_named:
            words = (
                f"column {plain(name)!r} looks like event types ({counts_text(counts)}), and all "
                "count alike"
            )
        notes.append(Note("unread_events" if is_named else FEW_VALUES, words, remedy))
    return notes


def counts_text(counts: dict[str, int]) -> str:
    """Returns `view 812, cart 120, ...` of the first rows."""
    shown = [f"{plain(word)} {count:,}" for word, count in list(counts.items())[:6]]
    return ", ".join(shown + ["..."] * (len(counts) > 6))


def least_of(counts: dict[str, int]) -> str:
    """Returns the event type that says most: a purchase if there is one, else the rarest."""
    strong = ("purchase", "buy", "order", "transaction", "sale", "pay")
    found = [word for word in counts if any(part in word.lower() for part in strong)]
    return [*found, *reversed(counts), ""][0]
