"""Histories of logs: users brought together in memory and on disk, Parquet by time, odd values."""

import datetime
import os
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.config import load_config
from ufnrec_tf.data.events import batch_of
from ufnrec_tf.reading import history_groups
from ufnrec_tf.reading.columns import Columns
from ufnrec_tf.reading.filters import Filters
from ufnrec_tf.reading.histories import HistoryFile
from ufnrec_tf.reading.history_groups import UserRuns, group_neighbours, group_scattered
from ufnrec_tf.reading.readers import LogSettings
from ufnrec_tf.reading.sources import settings_of

ODD_IDS = ["=1+1", "007", "NA", "null", 'q"', "a,b", "line\nend", "cr\r", " blank ", "naïve", "1e5"]


def batches_of(rows, size):
    """Returns rows of user, item and time as batches of a few events."""
    found = []
    for start in range(0, len(rows), size):
        users, items, times = zip(*rows[start : start + size], strict=True)
        numbers = None if times[0] is None else np.array(times, np.float64)
        found.append(batch_of(np.array(users, object), np.array(items, object), numbers))
    return found


def expected_groups(rows):
    """Users by first appearance, items by time, stably, said in the plainest way."""
    return [
        (
            user,
            [
                item
                for _, item in sorted(
                    ((t or 0, i) for u, i, t in rows if u == user), key=lambda e: e[0]
                )
            ],
        )
        for user in dict.fromkeys(user for user, _, _ in rows)
    ]


@pytest.fixture(params=["none", "whole", "real"])
def rows(request):
    rng = np.random.default_rng(1)
    make = {
        "none": lambda: None,
        "whole": lambda: 2**40 + int(rng.integers(-2, 2)),
        "real": lambda: float(rng.integers(-3, 3)) / 3,
    }[request.param]
    users = ["u,1", 'u"', "u\n2", *map(str, range(20))]
    return [(str(rng.choice(users)), str(rng.choice(ODD_IDS)), make()) for _ in range(300)]


@pytest.mark.parametrize("size", [1, 37, 300])
def test_grouping_in_memory_and_on_the_disk(tmp_path, monkeypatch, rows, size):
    batches = batches_of(rows, size)
    assert list(group_scattered(batches, num_events=300, folder=tmp_path)) == expected_groups(rows)
    assert os.listdir(tmp_path) == []
    monkeypatch.setattr(history_groups, "_EVENTS_IN_MEMORY", 50)
    monkeypatch.setattr(history_groups, "_EVENTS_OF_BUCKET", 40)
    monkeypatch.setattr(history_groups, "_USERS_AT_ONCE", 2)
    assert list(group_scattered(batches, num_events=300, folder=tmp_path)) == expected_groups(rows)
    assert 1 < len(os.listdir(tmp_path)) <= 8


@pytest.mark.parametrize("size", [1, 2, 37, 300])
def test_grouping_of_neighbours(rows, size):
    rows = sorted(rows, key=lambda row: row[0])
    assert list(group_neighbours(batches_of(rows, size))) == expected_groups(rows)


def test_grouping_keeps_the_time_of_each_item_and_leaves_out_what_is_said_twice(
    tmp_path, monkeypatch
):
    rows = [("a", "x", 50), ("b", "x", 10), ("a", "x", 50), ("a", "y", 20), ("b", "z", 10)]
    expected = [("a", ["y", "x"], [20, 50]), ("b", ["x", "z"], [10, 10])]
    how = {"drops_doubles": True, "with_times": True}
    batches = batches_of(rows, 2)
    assert list(group_scattered(batches, num_events=5, folder=tmp_path, **how)) == expected
    together = batches_of(sorted(rows, key=lambda row: row[0]), 2)
    assert list(group_neighbours(together, **how)) == expected
    path = tmp_path / "log.csv"
    path.write_text(
        "user,item,timestamp\n" + "".join(f"{u},{i},{1_600_000_000 + t}\n" for u, i, t in rows),
        encoding="utf-8",
    )
    monkeypatch.setattr(history_groups, "_EVENTS_IN_MEMORY", 1)
    file = HistoryFile(path, LogSettings(filters=Filters(duplicates="drop")))
    (tmp_path / "scratch").mkdir()
    found = list(file.read_timed(tmp_path / "scratch"))
    assert found == [(u, ids, [1_600_000_000 + t for t in own]) for u, ids, own in expected]


@pytest.mark.parametrize("size", [1, 5, 13])
def test_users_are_counted_and_seen_apart(monkeypatch, size):
    monkeypatch.setattr(history_groups, "_BUFFERED_RUNS", 4)
    runs = UserRuns()
    for batch in batches_of([(user, "i", None) for user in "aabbcdefghij"], size):
        runs.add(batch)
    assert (runs.num_events, runs.num_users, runs.is_grouped) == (12, 10, True)
    runs.add(batches_of([("a", "i", None)], 1)[0])
    assert (runs.num_users, runs.is_grouped) == (10, False)


@pytest.mark.parametrize("scattered", [False, True])
def test_parquet_histories_by_time(tmp_path, scattered):
    order = [0, 2, 1, 3] if scattered else [0, 1, 2, 3]
    day = datetime.datetime(2024, 1, 1)
    frame = pd.DataFrame(
        {
            "rating": 5,
            "item": [7, 8, 9, 10],
            "user": ["a", "a", "b", "b"],
            "timestamp": [day + datetime.timedelta(n) for n in (2, 1, 1, 1)],
        }
    ).iloc[order]
    for times in (
        frame["timestamp"],
        frame["timestamp"].astype("int64"),
        frame["timestamp"].dt.date,
    ):
        frame.assign(timestamp=times).to_parquet(tmp_path / "in")
        file = HistoryFile(tmp_path / "in")
        assert (file.kind, file.column, file.total) == ("rows", "user", 2)
        assert list(file.read(tmp_path)) == [("a", ["8", "7"]), ("b", ["9", "10"])]
    frame.drop(columns="timestamp").to_parquet(tmp_path / "in")
    assert next(HistoryFile(tmp_path / "in").read(tmp_path)) == ("a", ["7", "8"])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"user": ["a"], "thing": ["b"]}, "no item column among 'user', 'thing'"),
        ({"user": ["a", None], "item": ["b", "c"]}, "row 2: no user id"),
        ({"user": ["a", "b"], "item": ["b", ""]}, "row 2: an empty item id"),
        ({"user": ["a"], "item": [1.5]}, "the item column 'item' holds double"),
        ({"user": ["a"], "item": ["b"], "timestamp": ["x"]}, "column 'timestamp' holds 'x'"),
        ({"user": ["a"], "item": ["b"], "timestamp": [np.nan]}, "row 1: no finite time"),
        ({"user": [], "item": []}, "no events"),
    ],
)
def test_malformed_parquet(tmp_path, columns, message):
    pq.write_table(pa.table(columns), tmp_path / "in")
    with pytest.raises(UserError, match=re.escape(message)):
        HistoryFile(tmp_path / "in")


def test_settings_of_a_log_hold(tmp_path):
    path = tmp_path / "in"
    path.write_text("who;what;rating;time\nu;a;5;2\nu;b;1;1\nu;c;5;1\n")
    columns = Columns(user="who", item="what", separator=";")
    found = list(HistoryFile(path, LogSettings(columns=columns)).read(tmp_path))
    assert found == [("u", ["b", "c", "a"])]
    settings = LogSettings(columns=columns, filters=Filters(min_rating=2))
    assert list(HistoryFile(path, settings).read(tmp_path)) == [("u", ["c", "a"])]
    assert (
        HistoryFile(path, settings).sha256 != HistoryFile(path, LogSettings(columns=columns)).sha256
    )
    path.write_text("u a\nv b\nu c\n")
    found = list(HistoryFile(path, LogSettings("pairs")).read(tmp_path))
    assert found == [("u", ["a", "c"]), ("v", ["b"])]
    assert settings_of(load_config("", [])) == LogSettings()


def test_damaged_parquet(tmp_path):
    (tmp_path / "in").write_bytes(b"PAR1\0 and nothing else")
    with pytest.raises(UserError, match=r"it is a parquet file: .* it is cut short"):
        HistoryFile(tmp_path / "in")
    (tmp_path / "in").write_bytes(b"PAR1\0 and nothing else, PAR1")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        HistoryFile(tmp_path / "in")
