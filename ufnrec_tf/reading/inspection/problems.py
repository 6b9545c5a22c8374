"""The problems of a log, and the settings that mend them: --mode=inspect shows them first."""

import time
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from ufnrec_tf.common.text import percent, plain
from ufnrec_tf.data.events import EventBatch
from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.data.log_description import FEW_VALUES
from ufnrec_tf.data.times import TIME_UNITS, as_text, detect_unit, lie_in
from ufnrec_tf.reading.filters import is_duplicate
from ufnrec_tf.reading.readers import Log

_HUGE_SHARE = 0.05
_EVALUATED = 3  # of a user whose last two are held out
NO_PROBLEMS = ("files", "time_by_values", "unread_rating", FEW_VALUES)
"""Names of notes that are shown with the columns."""
_DAY = 86400.0
_FIRST = 100_000  # times that are looked at
_YEAR = 365 * _DAY


class Problem(NamedTuple):
    """A problem of a log.

    Attributes:
        name: Name of its kind, for programs.
        words: The problem and its effect.
        share: Share of the rows, events, users or ids concerned, 0..1.
        remedies: Flags that mend it, or advice if there is none.
    """

    name: str
    words: str
    share: float
    remedies: tuple[str, ...]


def problems_of_log(log: Log) -> list[Problem]:
    """Returns the problems of a file as it is, before any filter."""
    notes = (note for note in log.reading.notes if note.name not in NO_PROBLEMS)
    return [
        *(Problem(n.name, f"{n.words}.", n.share, (n.remedy,) if n.remedy else ()) for n in notes),
        *_problems_of_values(log),
    ]


def _problems_of_values(log: Log) -> list[Problem]:
    return [*_date_numbers(log), *_mixed_units(log), *_rows_twice(log.events), *_order_of_file(log)]


def unused_of(log: Log) -> list[Problem]:
    """Returns the columns that could be used and are not."""
    return [*_unused_ratings(log)]


def problems_of(data: Interactions) -> list[Problem]:
    """Returns the problems of the events that are left."""
    return [
        *_ties(data),
        *_repeats(data),
        *_ids_alike(data),
        *_rounded_ids(data),
        *_short_users(data),
        *_odd_times(data),
        *_huge_user(data),
        *_unknown_items(data),
    ]


def _rows_twice(log: EventBatch) -> Iterator[Problem]:
    if log.times is None:
        return
    is_twice = is_duplicate(log.users, log.items, log.times, log.ratings, log.types)
    count = int(is_twice.sum())
    if count:
        share = count / len(is_twice)
        yield Problem(
            "duplicate_rows",
            f"{count:,} rows ({percent(share)}) say again what another says: same user, item and "
            "time.",
            share,
            ("--config.data.duplicates=drop",),
        )


def _unused_ratings(log: Log) -> Iterator[Problem]:
    name = log.reading.columns.get("rating")
    ratings = log.events.ratings
    if name is None or ratings is None:
        return
    low, middle, high = np.quantile(ratings, [0, 0.5, 1])
    if low == high:
        return
    # Of few values the middle is a usual threshold, of many it halves the log at most.
    share = float(np.mean(ratings < middle))
    yield Problem(
        "unused_ratings",
        f"column {plain(name)!r} holds ratings from {low:g} to {high:g}, and an event counts "
        f"whatever its rating is; {percent(share)} are below the median, {middle:g}.",
        share,
        (f"--config.data.min_rating={middle:g}", "--config.data.rating_column=none"),
    )


def _order_of_file(log: Log) -> Iterator[Problem]:
    users, times = log.events.users, log.events.times
    if times is None:
        left = [plain(name) for name in log.names if name not in log.reading.columns.values()]
        unread = f", of those not read: {', '.join(left[:12])}" if left else ""
        yield Problem(
            "no_times",
            "no times: the order of the file is taken for the order of events.",
            1.0,
            (f"--config.data.time_column=NAME{unread}" if left else "a file with a time column",),
        )
        return
    count = int(np.count_nonzero(times[1:] < times[:-1]))
    order = np.argsort(users, kind="stable")
    is_same = users[order][1:] == users[order][:-1]
    own = int(np.count_nonzero((times[order][1:] < times[order][:-1]) & is_same))
    if own:
        share = own / max(len(times) - 1, 1)
        yield Problem(
            "unsorted",
            f"the file is not in order of time: {count:,} rows are older than the row before, "
            f"{own:,} older than their user's row before. Events are sorted by time; rows of equal "
            "time keep the file's order, which may mean nothing here.",
            share,
            ("nothing, if the time column is right; else --config.data.time_column=NAME",),
        )


def _date_numbers(log: Log) -> Iterator[Problem]:
    """Dates as digits, 20240131, keep the order but have no distances."""
    times = log.events.times
    if times is None or log.reading.is_epoch or not len(times):
        return
    for form, digits in (("%Y%m%d", 8), ("%Y%m%d%H%M", 12), ("%Y%m%d%H%M%S", 14)):
        low, high = np.nanmin(times), np.nanmax(times)
        if len(f"{low:.0f}") == digits == len(f"{high:.0f}") and np.all(times == np.round(times)):
            texts = pd.Series([f"{number:.0f}" for number in np.unique(times[:_FIRST])])
            dates = pd.to_datetime(texts, format=form, errors="coerce")
            if dates.notna().all() and dates.dt.year.between(1980, 2100).all():
                yield Problem(
                    "dates_as_numbers",
                    f"the times are dates written as numbers, as {texts[0]}: only their order is "
                    "read.",
                    1.0,
                    (f"--config.data.time_format='{form}'",),
                )


def _mixed_units(log: Log) -> Iterator[Problem]:
    times = log.events.times
    if times is None or log.reading.is_epoch:
        return
    middle = float(np.nanmedian(times))
    unit = detect_unit(middle, middle)
    if not unit.is_epoch:
        return
    values = times / unit.per_second
    share = float(1 - lie_in(times, unit).mean())
    name = next(name for name, factor in TIME_UNITS.items() if factor == unit.per_second)
    yield Problem(
        "mixed_times",
        f"most times are {unit.words}, but {percent(share)} do not lie between 1980 and 2100 "
        f"({values.min():.15g} to {values.max():.15g} s): all are taken for their order alone.",
        share,
        (
            f"--config.data.time_unit={name} --config.data.start=1980-01-01 "
            "--config.data.end=2100-01-01",
        ),
    )


def _ties(data: Interactions) -> Iterator[Problem]:
    if data.timestamps is None or data.num_events < 2:
        return
    is_tie = (np.diff(data.timestamps) == 0) & (np.diff(data.users) == 0)
    is_tied = np.concatenate([is_tie, [False]]) | np.concatenate([[False], is_tie])
    share = float(is_tied.mean())
    if share:
        users = len(np.unique(data.users[is_tied]))
        yield Problem(
            "ties",
            f"{np.count_nonzero(is_tied):,} events ({percent(share)}) of {users:,} users have the "
            "time of another event of the same user: their order is the file's, and a next item "
            "among them may be chance.",
            share,
            (
                "--config.data.time_column=NAME, where there is a finer one",
                "--config.split.name=temporal, whose parts no tie crosses",
            ),
        )


def _repeats(data: Interactions) -> Iterator[Problem]:
    if data.num_repeats:
        before = sum(
            step.before["events"] - step.after["events"]
            for step in (data.reading.steps if data.reading else ())
            if step.name == "repeats"
        )
        if before:
            return  # dropped, and shown among the filters
        share = data.num_repeats / data.num_events
        yield Problem(
            "repeats",
            f"{data.num_repeats:,} events ({percent(share)}) are of an item that the user had had "
            "before: items seen are masked, so that as targets they count as misses.",
            share,
            (
                "--config.data.repeats=drop",
                "--config.evaluation.mask=none --config.export.mask_seen=false, to recommend "
                "items again",
            ),
        )


def _as_seen(id: str) -> str:
    """Returns an id as a reader sees it: without case, outer spaces and invisible characters."""
    if not id.isascii():
        id = "".join(
            c for c in unicodedata.normalize("NFKC", id) if unicodedata.category(c) != "Cf"
        )
    return id.strip().casefold()


def _rounded_ids(data: Interactions) -> Iterator[Problem]:
    """Spreadsheets keep 15 digits of a number, and write zeros for the others."""
    for noun, ids in (("user", data.user_ids), ("item", data.item_ids[1:])):
        long = [id for id in ids if len(id) > 15 and id.isascii() and id.isdecimal()]
        zeros = sum(len(id) - 15 for id in long)
        if zeros >= 6 and all(not id[15:].strip("0") for id in long):
            yield Problem(
                f"rounded_{noun}_ids",
                f"all {len(long):,} {noun} ids of more than 15 digits end in zeros from the 16th "
                f"on, as {long[0]}: a spreadsheet rounded them, so that several became one.",
                len(long) / len(ids),
                ("write the column again from its source, as text",),
            )


def _ids_alike(data: Interactions) -> Iterator[Problem]:
    for noun, ids in (("user", data.user_ids), ("item", data.item_ids[1:])):
        keys = pd.Series([_as_seen(id) for id in ids], dtype=object)
        is_alike = keys.duplicated(keep=False).to_numpy()
        if is_alike.any():
            first = keys[is_alike].iloc[0]
            pair = [plain(id) for id in ids[(keys == first).to_numpy()][:2]]
            share = float(is_alike.mean())
            yield Problem(
                f"{noun}_ids_alike",
                f"{np.count_nonzero(is_alike):,} {noun} ids ({percent(share)}) differ from another "
                f"by case, spaces or invisible characters alone, as {pair[0]!r} and {pair[1]!r}: "
                f"each is {'an' if noun == 'item' else 'a'} {noun} of its own.",
                share,
                ("write them alike in the file, where they are the same",),
            )


def _short_users(data: Interactions) -> Iterator[Problem]:
    one, short = (int(np.count_nonzero(data.lengths < most)) for most in (2, _EVALUATED))
    if short:
        share = short / data.num_users
        yield Problem(
            "short_users",
            f"{short:,} users ({percent(share)}) have fewer than {_EVALUATED} events and are not "
            f"evaluated by last events; {one:,} have one, of which nothing is learnt.",
            share,
            (f"--config.data.min_length={_EVALUATED}",),
        )


def _odd_times(data: Interactions) -> Iterator[Problem]:
    if data.timestamps is None or not data.is_epoch:
        return
    now = time.time()
    for name, is_odd, words, flag in (
        ("future_times", data.timestamps > now + _DAY, "in the future", f"end={as_text(now)[:10]}"),
        ("times_of_1970", data.timestamps < _YEAR, "in 1970 or before", "start=1971-01-01"),
    ):
        count = int(np.count_nonzero(is_odd))
        if count:
            first = as_text(float(data.timestamps[is_odd][0]))
            yield Problem(
                name,
                f"{count:,} events ({percent(count / data.num_events)}) are {words}, as {first}: "
                "a wrong unit, or a stand-in for an unknown time.",
                count / data.num_events,
                (f"--config.data.{flag}", "--config.data.time_unit=s|ms|us|ns"),
            )


def _huge_user(data: Interactions) -> Iterator[Problem]:
    share = float(data.lengths.max()) / data.num_events
    if share > _HUGE_SHARE and data.num_users > 2 / _HUGE_SHARE:
        user = plain(str(data.user_ids[int(np.argmax(data.lengths))]))
        yield Problem(
            "huge_user",
            f"user {user[:40]!r} has {percent(share)} of all events ({data.lengths.max():,}): a "
            "test account, a shared one, or a stand-in for no user?",
            share,
            ("delete the user's rows, if so",),
        )


def _unknown_items(data: Interactions) -> Iterator[Problem]:
    if data.item_titles is None:
        return
    share = float(np.mean(data.item_titles[1:] == ""))
    if share:
        yield Problem(
            "items_without_title",
            f"{np.count_nonzero(data.item_titles[1:] == ''):,} items ({percent(share)}) have no "
            "title in the item table: they are shown by their ids.",
            share,
            ("--config.data.titles=FILE, one that has them",),
        )
