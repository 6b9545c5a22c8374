"""Columns of a log by their names and values, in all forms; what is not read is said."""

import datetime

import pandas as pd
import pytest

from tests.processes.prepare_run import make_small
from tests.reading.test_readers import assert_parts, message, raw
from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.config import load_config
from ufnrec_tf.data.log_description import LogDescription
from ufnrec_tf.reading.columns import Columns
from ufnrec_tf.reading.filters import Filters
from ufnrec_tf.reading.histories import HistoryFile
from ufnrec_tf.reading.prepare.prepare import prepare
from ufnrec_tf.reading.prepare.prepared_folder import read_prepared
from ufnrec_tf.reading.readers import LogSettings, read_interactions
from ufnrec_tf.reading.sources import large_log, load

T = 1_700_000_000
ROWS = [("u1", "c", T + 300), ("u2", "a", T + 50), ("u1", "a", T + 100), ("u1", "b", T + 200)]
ORDER = {"u1": ["a", "b", "c"], "u2": ["a"]}
IN_FILE = {"u1": ["c", "a", "b"], "u2": ["a"]}


def iso(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")


def frame(**columns) -> pd.DataFrame:
    """Rows of user and item, and further columns: functions of the time, or values."""
    made = pd.DataFrame([row[:2] for row in ROWS], columns=["user_id", "item_id"])
    for name, values in columns.items():
        made[name] = [values(row[2]) for row in ROWS] if callable(values) else values
    return made


def text_of(made: pd.DataFrame, separator: str = ",") -> str:
    return made.to_csv(index=False, sep=separator)


def reading_of(data) -> LogDescription:
    assert data.reading is not None
    return data.reading


def notes_of(data) -> dict[str, str]:
    return {note.name: f"{note.words}: {note.remedy}" for note in reading_of(data).notes}


WRITTEN = {
    "ISO": iso,
    "seconds": lambda t: t,
    "ms": lambda t: t * 1000 + 7,
    "us": lambda t: t * 10**6,
    "ns": lambda t: t * 10**9,
}


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("name", ["event_timestamp", "t_dat", "viewedAt", "review_date", "seen"])
def test_a_time_column_of_another_name(write, tmp_path, name, written):
    made = frame(price=4.5, **{name: WRITTEN[written]})
    made.to_parquet(tmp_path / "log.parquet")
    lines = write(made.to_json(orient="records", lines=True), "log.jsonl")
    for source in (write(text_of(made)), lines, tmp_path / "log.parquet", made):
        data = read_interactions(source)
        assert raw(data) == ORDER and data.is_epoch
        assert reading_of(data).columns["time"] == name
        assert reading_of(data).found_by["time"] == "values"
        assert f"time: column '{name}', found by its values" in notes_of(data)["time_by_values"]
    left = read_interactions(made, columns=Columns(time="none"))
    assert raw(left) == IN_FILE and left.timestamps is None


def test_a_time_column_by_its_values_in_every_way(write, tmp_path, monkeypatch):
    path = write(text_of(frame(t_dat=iso)))
    for block in ("whole", "small"):
        if block == "small":
            make_small(monkeypatch.setattr)
        made = tmp_path / block
        prepare(*large_log(load_config("", []), str(path)), workdir=str(made), display=Display())
        data = read_prepared(made)
        assert raw(data) == ORDER and notes_of(data)["time_by_values"]
        (tmp_path / f"empty-{block}").mkdir()
        found = list(HistoryFile(path, LogSettings()).read(tmp_path / f"empty-{block}"))
        assert dict(found) == ORDER


@pytest.mark.parametrize(
    ("columns", "chosen", "words"),
    [
        ({"date": lambda t: iso(t)[:10], "time_ms": lambda t: t * 1000 + 1}, "time_ms", "finer"),
        ({"day_at": lambda t: iso(t)[:10], "moment": iso}, "moment", "'day_at' looks like"),
        ({"created_at": iso, "updated_at": iso}, "created_at", "'updated_at' looks"),
        # Of another moment than the date, of the item, of the user, or no time at all.
        ({"date": lambda t: iso(t)[:10], "loaded_at": T + 10**7}, "date", ""),
        ({"order_id": lambda t: t}, None, ""),
        ({"price": lambda t: t}, None, ""),
        ({"birth_date": "1990-05-04"}, None, "birth_date"),
        ({"ean": lambda t: 4_006_381_333_931 + t % 9}, None, ""),
        ({"when": [4, 1, 2, 3]}, None, "when"),
        ({"last_time": ["x", "y", "z", "x"]}, None, "last_time"),
        ({"event_timestamp": [4, 1, 2, 3]}, "event_timestamp", ""),
        ({"timestamp": [4, 1, 2, 3], "date": iso}, "timestamp", "'date' looks like a time"),
    ],
)
def test_which_column_is_the_time(write, columns, chosen, words):
    made = frame(**columns)
    for source in (made, write(text_of(made))):
        data = read_interactions(source)
        assert reading_of(data).columns.get("time") == chosen
        assert words in " ".join(notes_of(data).values())
        assert raw(data) == (IN_FILE if chosen in (None, "date") else ORDER)
        if chosen is None and words:
            assert f"--config.data.time_column={words}" in notes_of(data)["unread_time"]


def test_a_date_that_an_item_always_has_is_the_items_own(write):
    items = {"a": "2001-01-01", "b": "1999-05-05"}
    rows = "".join(f"u{n % 3},{item},{items[item]}\n" for n, item in enumerate("abababab"))
    data = read_interactions(write("user,item,premiere\n" + rows))
    assert data.timestamps is None
    assert "column 'premiere' looks like a time and is not read" in notes_of(data)["unread_time"]


@pytest.mark.parametrize("names", [("date", "time"), ("day", "clock_time"), ("Date", "Time")])
def test_day_and_time_of_day_in_two_columns(write, names):
    day, clock = names
    made = frame(**{day: lambda t: iso(t)[:10], clock: lambda t: iso(t)[11:]})
    if day == "day":
        return
    text = message(write(text_of(made)))
    assert_parts(text, "log.txt, line 1", f"'{day}'", f"'{clock}'", "expected both in one")
    assert f"--config.data.time_column={day}" in text
    day_only = read_interactions(made, columns=Columns(time=day))
    assert day_only.is_epoch


# ---- separators, and tables without a header


@pytest.mark.parametrize(
    ("header", "time"),
    [
        ("user;item;event time", "2024-01-0{} 10:00"),
        ("user|item|date", "2024-01-0{} 10:00:00"),
        ("User ID|Item ID|when", "2024-01-0{}T10:00:00Z"),
        ("user,item,time", "2024-01-0{} 10:00:00"),
        ("user_id item_id timestamp", "170000000{}"),
        ("time;stars;user;sku", "2024-01-0{} 10:00"),
    ],
)
def test_separators_are_told_by_the_header(write, header, time):
    separator = next(mark for mark in ";|, " if mark in header)
    is_first = header.startswith("time")
    rows = [
        [time.format(n), "4", "u 1", f"i {n}"] if is_first else ["u 1", f"i {n}", time.format(n)]
        for n in (3, 1, 2)
    ]
    if separator == " ":
        rows = [[field.replace(" ", "_") for field in row] for row in rows]
    text = "\n".join([header, *(separator.join(row) for row in rows), ""])
    data = read_interactions(write(text))
    mark = "_" if separator == " " else " "
    assert raw(data) == {f"u{mark}1": [f"i{mark}{n}" for n in (1, 2, 3)]}
    assert data.is_epoch and reading_of(data).separator == separator


def test_decimal_commas_between_semicolons(write):
    path = write("user;item;rating;time\nu;a;4,5;1,5\nu;b;2,5;1,25\nu;c;5;0\n")
    data = read_interactions(path, filters=Filters(min_rating=3))
    assert raw(data) == {"u": ["c", "a"]}
    assert data.timestamps is not None and data.timestamps.tolist() == [0, 1.5]
    text = message(write('user,item,time\nu,a,"1,5"\n'))
    assert_parts(text, "line 2", "time '1,5' is not a number")


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("u{0}\t24{1}\t3\t88125094{1}", "user_id<TAB>item_id<TAB>rating<TAB>timestamp"),
        ("u{0}|i{1}|2024-01-0{1} 10:00:00", "user_id|item_id|timestamp"),
        ("u{0},i{1},88125094{1}", "user_id,item_id,timestamp"),
        ("u{0};i{1};4;2024-01-0{1}", "user_id;item_id;rating;timestamp"),
        ("88125094{1} u{0} i{1}", "timestamp user_id item_id"),
        ("u{0},i{1},4.5,red,88125094{1}", "user_id,item_id,rating,column_4,timestamp"),
    ],
)
def test_a_table_without_a_header_is_refused(write, line, names):
    path = write("".join(line.format(n, 9 - n) + "\n" for n in range(1, 9)))
    text = message(path)
    assert_parts(text, "log.txt, line 1", "no header", "plainly a time")
    assert f"put the line {names} on top" in text
    header = names.replace("<TAB>", "\t")
    data = read_interactions(write(header + "\n" + path.read_text(), "mended.txt"))
    assert data.num_users == 8 and data.is_epoch


def test_sequences_of_numbers_like_times_are_sequences(write):
    data = read_interactions(write("u1 1700000001 1700000002\nu2 1700000003 1700000001\n"))
    assert raw(data)["u1"] == ["1700000001", "1700000002"]


# ---- rows said twice


DOUBLES = "user,item,time,stars,action\n" + "".join(
    f"u{user},i{n % 5},{T + n},{n % 3},{'view' if n % 2 else 'buy'}\n"
    for user in range(4)
    for n in [*range(8), 3, 3, 7, 0]
)


@pytest.mark.parametrize("filters", [{}, {"data.min_rating": "-1"}, {"data.events": "view,buy"}])
def test_doubles_are_dropped_and_repeats_stay(write, tmp_path, monkeypatch, filters):
    make_small(monkeypatch.setattr)
    # Another event type, another rating at the same moment: no doubles where these are read.
    path = write(DOUBLES + f"u0,i3,{T + 3},2,buy\n")
    num_left = 32 + bool(filters)
    overrides = [("data.duplicates", "drop"), *filters.items()]
    config = load_config("", overrides)
    found = [load(config, str(path)).interactions, load(config, pd.read_csv(path)).interactions]
    prepare(*large_log(config, str(path)), workdir=str(tmp_path / "made"), display=Display())
    found.append(read_prepared(tmp_path / "made"))
    for data in found:
        assert data.num_events == num_left
        step = reading_of(data).steps[-1]
        assert step.name == "duplicates" and step.before["events"] == 49
        assert raw(data) == raw(found[0])
    assert raw(found[0])["u1"] == [f"i{n % 5}" for n in range(8)]


def test_doubles_need_times(write, tmp_path):
    path = write("user,item\nu,a\nu,a\nu,b\nv,a\n")
    filters = Filters(duplicates="drop")
    assert_parts(message(path, filters=filters), "no times", "duplicates=drop", "time_column=NAME")
    with pytest.raises(UserError, match="duplicates=drop"):
        prepare(
            str(path), LogSettings(filters=filters), workdir=str(tmp_path / "w"), display=Display()
        )
    assert not (tmp_path / "w" / "manifest.json").exists()
