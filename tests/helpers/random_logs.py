"""Random small logs, messy ones among them, written in every form and read in every way.

What must be found is said by a few lines of plain Python over the rows; a row that is wrong is
refused in every way, in every form that can hold it.
"""

import bz2
import csv
import datetime
import gzip
import io
import json
import random
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tests.reading.test_prepare import by_user
from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.text import is_null_word
from ufnrec_tf.config import load_config
from ufnrec_tf.reading.histories import HistoryFile
from ufnrec_tf.reading.prepare.prepare import prepare
from ufnrec_tf.reading.prepare.prepared_folder import read_prepared
from ufnrec_tf.reading.sources import large_log, load, settings_of

DAY_2019 = 1_546_300_800  # 2019-01-01T00:00:00Z
IDS = ["a", "b", "007", "7", "1.0", "é", "日本", "nan", "None", "-1", "=1+1", "x" * 40, "a b"]
NULL_IDS = ["nan", "NULL", "None", "N/A", "\\N", "<NA>", "-", "undefined", ""]
ODD_IDS = ["a,b", 'say "a"', "two\nlines", " a", "a\tb"]
"""Ids for the forms that quote."""
NAMES = [("user_id", "item_id", "timestamp", "rating"), ("Customer", "SKU", "Date", "stars")]


class Kind(NamedTuple):
    """A kind of times: seconds or ranks as the log must have them, and how they are written."""

    draw: Callable[[random.Random], float]
    write: Callable[[float], Any]


def iso(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def day(seconds: float) -> str:
    return iso(seconds)[:10]


KINDS = {
    "ranks": Kind(lambda rng: rng.randrange(8), int),
    "seconds": Kind(lambda rng: DAY_2019 + rng.randrange(8), int),
    "fractions": Kind(lambda rng: DAY_2019 + rng.randrange(8) / 4, float),
    "ms": Kind(lambda rng: DAY_2019 + rng.randrange(8) / 1000, lambda t: round(t * 1000)),
    "us": Kind(lambda rng: DAY_2019 + rng.randrange(8), lambda t: int(t) * 10**6),
    "ns": Kind(lambda rng: DAY_2019 + rng.randrange(8), lambda t: int(t) * 10**9),
    "moments": Kind(lambda rng: DAY_2019 + rng.randrange(8) * 3600, iso),
    "days": Kind(lambda rng: DAY_2019 + rng.randrange(8) * 86400, day),
}
CLOCKS = {
    "slashes": "%Y/%m/%d %H:%M",
    "dots": "%d.%m.%Y",
    "months first": "%m/%d/%Y",
    "named": "%a %b %d %H:%M:%S %Y",
    "zoned": "%Y-%m-%d %H:%M:%S+00:00",
}
"""Forms of dates that are recognised."""
GIVEN_CLOCK = "%d-%m-%y %Hh%M"
"""One that only data.time_format names."""


class Case(NamedTuple):
    """A log and what must be found in it.

    Attributes:
        names: Names of the columns, as many as there are.
        rows: Values as they are written.
        events: User, item, time or 0, of what the filters leave; None: the log is refused.
        has_times: Whether there is a time column.
        overrides: Of the configuration.
        is_bare: Whether no id needs quotes.
        headers: Places of rows above which text tables say their header again.
        packed: How the file is compressed, a key of `PACK`.
    """

    names: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    events: list[tuple[str, str, float]] | None
    has_times: bool
    overrides: list[tuple[str, str]]
    is_bare: bool
    headers: tuple[int, ...] = ()
    packed: str = ""


def random_case(rng: random.Random) -> Case:
    kind = KINDS[rng.choice([*KINDS])]
    is_bare = rng.random() < 0.5
    ids = IDS if is_bare else IDS + ODD_IDS
    users, items = rng.sample(ids, rng.randint(1, 4)), rng.sample(ids, rng.randint(1, 6))
    width, count = rng.choice([2, 3, 4, 4]), rng.choice([1, 3, 12, 60])
    drawn = [
        (rng.choice(users), rng.choice(items), kind.draw(rng), rng.choice([1, 2.5, 5]))
        for _ in range(count)
    ]
    rows = [(user, item, kind.write(t), stars)[:width] for user, item, t, stars in drawn]
    overrides, is_refused = [], False
    if width == 4 and rng.random() < 0.5:
        overrides.append(("data.min_rating", "2"))
        drawn = [row for row in drawn if row[3] >= 2]
    if width >= 3 and kind.draw(rng) > 8 and rng.random() < 0.3:
        overrides.append(("data.start", iso(DAY_2019 + 3)))
        drawn = [row for row in drawn if row[2] >= DAY_2019 + 3]
    is_refused = not drawn
    if count == 12:
        overrides.append(("data.strip", "false"))
    else:
        drawn = [(user.strip(), item.strip(), t, stars) for user, item, t, stars in drawn]
    if rng.random() < 0.25:
        place, at = rng.randrange(count), rng.randrange(min(width, 3))
        rows[place] = (*rows[place][:at], "", *rows[place][at + 1 :])
        is_refused = True
    events = [(user, item, t if width > 2 else 0) for user, item, t, _ in drawn]
    return Case(
        rng.choice(NAMES)[:width],
        rows,
        None if is_refused else events,
        width > 2,
        overrides,
        is_bare,
    )


class Event(NamedTuple):
    """An event of a messy log, as it is meant; see `messy_case` for how it is written."""

    user: str
    item: str
    time: float | None
    rating: float
    type: str


def dates(rng: random.Random, form: str) -> Kind:
    """Returns dates of a form, days above 12 among them, so that day and month can be told."""

    def draw(rng: random.Random) -> float:
        moment = DAY_2019 + 86400 * rng.randrange(13, 27)
        has_clock = "%H" in form
        return moment + 60 * rng.randrange(3) * has_clock

    def write(seconds: float) -> str:
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime(form)

    return Kind(draw, write)


def messy_case(rng: random.Random) -> Case:
    """Returns a log with null words, spaces, doubles, headers, event types and odd dates."""
    overrides: list[tuple[str, str]] = []
    is_bare, width = rng.random() < 0.6, rng.choice([2, 3, 4, 5, 5])
    ids = [raw for raw in (IDS if is_bare else IDS + ODD_IDS) if raw not in ("nan", "None")]
    clock = rng.choice([*CLOCKS.values(), GIVEN_CLOCK, ""])
    kind = dates(rng, clock) if clock else KINDS[rng.choice([*KINDS])]
    if clock == GIVEN_CLOCK and width > 2:
        overrides.append(("data.time_format", clock))
    users, items = rng.sample(ids, rng.randint(1, 4)), rng.sample(ids, rng.randint(1, 6))
    if rng.random() < 0.1:
        items = [f"{number}.0" for number in range(101, 106)]
    spaces = rng.choice([0, 0, 0.2])
    nulls = rng.choice([0, 0, 0.1])
    drawn = [
        Event(
            rng.choice(users),
            rng.choice(items),
            kind.draw(rng),
            rng.choice([1, 2.5, 5]),
            rng.choice(["view", "cart", "purchase"]),
        )
        for _ in range(rng.choice([1, 3, 12, 60]))
    ]
    if rng.random() < 0.5:
        drawn += rng.choices(drawn, k=rng.randint(1, 5))

    def spoilt(event: Event) -> Event:
        if rng.random() < nulls:
            role = rng.choice(["user", "item", *(["time"] if width > 2 else [])])
            value: Any = None if role == "time" else rng.choice(NULL_IDS)
            event = event._replace(**{role: value})
        if rng.random() < spaces:
            event = event._replace(user=f" {event.user}", item=f"{event.item}  ")
        return event

    drawn = [spoilt(event) for event in drawn]
    if rng.random() < 0.05:
        drawn[-1] = drawn[-1]._replace(item="4.00638E+12")
    no_time = rng.choice(["", "NULL", "nan"])
    rows = [
        (
            event.user,
            event.item,
            no_time if event.time is None else kind.write(event.time),
            event.rating,
            rng.choice(["{}", " {}", "{} "]).format(event.type),
        )[:width]
        for event in drawn
    ]
    events, is_refused = _left(drawn, rng, width, overrides)
    names = (*rng.choice(NAMES), rng.choice(["event_type", "Action"]))[:width]
    count = len(rows)
    headers = tuple(rng.sample(range(count), min(count, 2))) if rng.random() < 0.2 else ()
    found = None if is_refused else [(e.user, e.item, (e.time or 0) * (width > 2)) for e in events]
    is_bare = is_bare and (spaces == 0 or width > 2)
    return Case(
        names, rows, found, width > 2, overrides, is_bare, headers, rng.choice([*PACK, "", ""])
    )


def _left(
    drawn: list[Event], rng: random.Random, width: int, overrides: list[tuple[str, str]]
) -> tuple[list[Event], bool]:
    """Adds overrides, and returns the events that they leave, and whether the log is refused."""
    left, is_refused = drawn, any(event.item == "4.00638E+12" for event in drawn)
    if rng.random() < 0.5:
        overrides.append(("data.null_ids", "drop"))
        nulls = {word.lower() for word in NULL_IDS}
        left = [
            event
            for event in left
            if not {event.user.strip().lower(), event.item.strip().lower()} & nulls
        ]
    else:
        is_refused |= not all(event.user.strip() and event.item.strip() for event in left)
    if width > 2 and rng.random() < 0.5:
        overrides.append(("data.null_times", "drop"))
        left = [event for event in left if event.time is not None]
    elif width > 2:
        is_refused |= any(event.time is None for event in drawn)
    if rng.random() < 0.3:
        overrides.append(("data.strip", "false"))
    else:
        left = [e._replace(user=e.user.strip(), item=e.item.strip()) for e in left]
    if width == 5 and rng.random() < 0.6:
        kept = rng.sample(["view", "cart", "purchase"], rng.choice([1, 2]))
        overrides.append(("data.events", ",".join(kept)))
        is_refused |= not {event.type for event in left} >= set(kept)
        left = [event for event in left if event.type in kept]
    if width > 3 and rng.random() < 0.3:
        overrides.append(("data.min_rating", "2"))
        left = [event for event in left if event.rating >= 2]
    if width > 2 and rng.random() < 0.3:
        overrides.append(("data.duplicates", "drop"))
        asked = [key for key, _ in overrides]
        said = dict[tuple[Any, ...], Event]()
        for event in left:
            rating = "data.min_rating" in asked and event.rating
            said.setdefault((*event[:3], rating, "data.events" in asked and event.type), event)
        left = [*said.values()]
    return left, is_refused or not left


# ---- how a log is written


def as_csv(case: Case, separator: str = ",") -> bytes:
    buffer = io.StringIO(newline="")
    rows = with_headers(case, case.names)
    csv.writer(buffer, delimiter=separator).writerows([case.names, *rows])
    return buffer.getvalue().encode()


def has_no_spaces(case: Case) -> bool:
    """True if every field of a log has some text and no white space: a space may separate them."""
    fields = (str(field) for row in [case.names, *case.rows] for field in row)
    return all(len(field.split()) == 1 and field == field.strip() for field in fields)


def with_headers(case: Case, header: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """Returns the rows with the header again above some."""
    rows = []
    for place, row in enumerate(case.rows):
        rows += [header] * (place in case.headers) + [row]
    return rows


def as_inter(case: Case) -> bytes:
    kinds = ("token", "token", "float", "float", "token")
    header = tuple(f"{n}:{kind}" for n, kind in zip(case.names, kinds, strict=False))
    rows = [header, *with_headers(case, header)]
    return "\n".join([*("\t".join(map(str, row)) for row in rows), ""]).encode()


def as_json(case: Case) -> bytes:
    rows = (dict(zip(case.names, row, strict=True)) for row in case.rows)
    return "\n".join([*(json.dumps(row) for row in rows), ""]).encode()


def as_array(case: Case) -> bytes:
    rows = [dict(zip(case.names, row, strict=True)) for row in case.rows]
    return json.dumps(rows, indent=[None, 1][len(rows) % 2]).encode()


def columns_of(case: Case) -> dict[str, list[Any]]:
    """Columns with their types; a null word among numbers is a missing one."""
    columns = dict(zip(case.names, map(list, zip(*case.rows, strict=True)), strict=True))
    for name in case.names[2:]:
        values = [None if is_null_word(str(value)) else value for value in columns[name]]
        if not any(isinstance(value, str) for value in values):
            columns[name] = values
    return columns


def as_parquet(case: Case) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns_of(case)), buffer)
    return buffer.getvalue()


FORMS: dict[str, Callable[[Case], bytes]] = {
    "csv": as_csv,
    "tsv": lambda case: as_csv(case, "\t"),
    "inter": as_inter,
    "jsonl": as_json,
    "array": as_array,
    "semicolons": lambda case: as_csv(case, ";"),
    "bars": lambda case: as_csv(case, "|"),
    "spaces": lambda case: as_csv(case, " "),
    "parquet": as_parquet,
}


def as_zip(body: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("log", body)
    return buffer.getvalue()


PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "zst": lambda body: pa.Codec("zstd").compress(body, asbytes=True),
    "zip": as_zip,
}

# ---- how a log is read; each returns user -> items and times, oldest first, and the items' order


def trained_on(path: Path, case: Case) -> Any:
    data = load(load_config("", case.overrides), str(path)).interactions
    return by_user(data), data.item_ids.tolist()[1:]


def prepared(path: Path, case: Case) -> Any:
    made = path.with_name("prepared")
    log = large_log(load_config("", case.overrides), str(path))
    prepare(*log, workdir=str(made), display=Display())
    data = read_prepared(made)
    return by_user(data), data.item_ids.tolist()[1:]


def framed(path: Path, case: Case) -> Any:
    data = load(load_config("", case.overrides), pd.DataFrame(columns_of(case))).interactions
    return by_user(data), data.item_ids.tolist()[1:]


def as_histories(path: Path, case: Case) -> Any:
    file = HistoryFile(path, settings_of(load_config("", case.overrides)))
    (path.parent / "empty").mkdir()
    found = list(file.read(path.parent / "empty"))
    assert len(found) == file.total
    return found


def expected_of(case: Case) -> Any:
    assert case.events is not None
    found: dict[str, list[tuple[float, str]]] = {}
    for user, item, t in case.events:
        found.setdefault(user, []).append((t, item))
    ordered = {user: sorted(own, key=lambda event: event[0]) for user, own in found.items()}
    events = {
        user: ([item for _, item in own], [t for t, _ in own] if case.has_times else None)
        for user, own in ordered.items()
    }
    return events, list(dict.fromkeys(item for _, item, _ in case.events))


def check(case: Case, folder: Path, forms: Iterable[str]) -> bool:
    """Asserts that every way finds what a case must give; returns whether it is refused."""
    for form in forms:
        if (form == "inter" and not case.is_bare) or (form == "spaces" and not has_no_spaces(case)):
            continue
        body = FORMS[form](case)
        if form != "parquet":
            body = PACK[case.packed](body)
        ways = [trained_on, prepared, as_histories]
        if form == "csv":
            ways.append(framed)
        refusals = {}
        for way in ways:
            place = folder / form / way.__name__
            place.mkdir(parents=True)
            path = place / "log"
            path.write_bytes(body)
            try:
                found = way(path, case)
            except UserError as error:
                words = str(error).replace(str(place), "").replace("--histories", "--data")
                refusals[way.__name__] = words
                assert case.events is None, (form, way.__name__, words)
                continue
            assert case.events is not None, f"taken: {form}, {way.__name__}"
            events, items = expected_of(case)
            if way is as_histories:
                assert found == [(user, own) for user, (own, _) in events.items()], form
            else:
                assert found == (events, items), (form, way.__name__)
        of_files = {words for name, words in refusals.items() if name != "framed"}
        assert len(of_files) <= 1, refusals
    return case.events is None
