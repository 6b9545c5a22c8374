"""A log is read in one way: train, prepare, a DataFrame and --histories find the same events.

Random small logs, messy ones among them, are written in several forms and read in every way. What
must be found is said by a few lines of plain Python over the rows; a row that is wrong is refused
in every way, in every form that can hold it.
"""

import csv
import datetime
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.processes.prepare_run import make_small
from tests.reading.test_prepare import by_user
from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.config import load_config
from ufnrec_tf.reading.histories import HistoryFile
from ufnrec_tf.reading.prepare.prepare import prepare
from ufnrec_tf.reading.prepare.prepared_folder import read_prepared
from ufnrec_tf.reading.sources import large_log, load, settings_of

DAY_2019 = 1_546_300_800  # 2019-01-01T00:00:00Z
IDS = ["a", "b", "007", "7", "1.0", "é", "日本", "nan", "None", "-1", "=1+1", "x" * 40, "a b"]
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


class Case(NamedTuple):
    """A log and what must be found in it.

    Attributes:
        names: Names of the columns, as many as there are.
        rows: Values as they are written.
        events: User, item, time or 0, of what the filters leave; None: the log is refused.
        has_times: Whether there is a time column.
        overrides: Of the configuration.
        is_bare: Whether no id needs quotes.
    """

    names: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    events: list[tuple[str, str, float]] | None
    has_times: bool
    overrides: list[tuple[str, str]]
    is_bare: bool


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


# ---- how a log is written


def as_csv(case: Case, separator: str = ",") -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=separator).writerows([case.names, *case.rows])
    return buffer.getvalue().encode()


def as_inter(case: Case) -> bytes:
    kinds = ("token", "token", "float", "float")
    header = "\t".join(f"{n}:{kind}" for n, kind in zip(case.names, kinds, strict=False))
    return "\n".join([header, *("\t".join(map(str, row)) for row in case.rows), ""]).encode()


def as_json(case: Case) -> bytes:
    rows = (dict(zip(case.names, row, strict=True)) for row in case.rows)
    return "\n".join([*(json.dumps(row) for row in rows), ""]).encode()


def columns_of(case: Case) -> dict[str, list[Any]]:
    """Columns with their types; a blank among numbers is a missing one."""
    columns = dict(zip(case.names, map(list, zip(*case.rows, strict=True)), strict=True))
    for name in case.names[2:]:
        are_texts = any(isinstance(value, str) and value for value in columns[name])
        if not are_texts:
            columns[name] = [None if value == "" else value for value in columns[name]]
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
    "parquet": as_parquet,
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


@pytest.mark.parametrize(
    "seed",
    [pytest.param(seed, marks=pytest.mark.slow if seed >= 12 else ()) for seed in range(60)],
)
def test_every_way_finds_the_same_events(tmp_path, monkeypatch, capsys, seed):
    rng = random.Random(seed)
    case = random_case(rng)
    if seed % 2:
        make_small(monkeypatch.setattr)
    forms = [form for form in FORMS if form != "inter" or case.is_bare]
    for form in forms:
        for way in (trained_on, prepared, as_histories, *((framed,) if form == "csv" else ())):
            folder = tmp_path / form / way.__name__
            folder.mkdir(parents=True)
            path = folder / "log"
            path.write_bytes(FORMS[form](case))
            if case.events is None:
                with pytest.raises(UserError):
                    way(path, case)
                continue
            events, items = expected_of(case)
            if way is as_histories:
                assert way(path, case) == [(user, own) for user, (own, _) in events.items()], form
            else:
                assert way(path, case) == (events, items), (form, way.__name__)


def test_there_are_enough_logs_of_both_kinds():
    cases = [random_case(random.Random(seed)) for seed in range(60)]
    refused = sum(case.events is None for case in cases)
    assert 10 <= refused <= 30
    assert sum(case.has_times for case in cases) >= 30
