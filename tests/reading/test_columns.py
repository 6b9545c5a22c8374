"""Columns of a log by their names and values, in all forms; what is not read is said."""

import datetime
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.processes.prepare_run import make_small
from tests.reading.test_readers import assert_parts, message, raw
from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.config import load_config
from ufnrec_tf.data.log_description import LogDescription, of_json, reading_lines
from ufnrec_tf.reading.columns import Columns
from ufnrec_tf.reading.filters import Filters
from ufnrec_tf.reading.histories import HistoryFile
from ufnrec_tf.reading.prepare.prepare import prepare
from ufnrec_tf.reading.prepare.prepared_folder import read_prepared
from ufnrec_tf.reading.readers import LogSettings, read_interactions
from ufnrec_tf.reading.sources import large_log, load, settings_of

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
        ({"created_at": lambda t: iso(t)[:16], "epoch": lambda t: t}, "epoch", "finer than"),
        ({"date": lambda t: iso(t)[:10], "hour": lambda t: t % 24}, "date", "'hour' looks like"),
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


def test_days_of_a_sorted_log_in_which_items_are_neighbours(write):
    rows = "".join(f"u{n},i{n // 9},2024-01-0{n // 9 + 1}\n" for n in range(27))
    assert reading_of(read_interactions(write("user,item,x\n" + rows))).columns["time"] == "x"
    # The first rows of a large log are of one day.
    one_day = "".join(f"u{n},i{n % 9},2018-09-20\n" for n in range(1200))
    data = read_interactions(write(f"user,item,t_dat\n{one_day}u0,i1,2018-09-19\n"))
    assert reading_of(data).columns["time"] == "t_dat" and raw(data)["u0"] == ["i1", "i0"]


def test_a_date_that_an_item_always_has_is_the_items_own(write):
    items = {"a": "2001-01-01", "b": "1999-05-05"}
    rows = "".join(f"u{n % 3},{item},{items[item]}\n" for n, item in enumerate("abababab"))
    data = read_interactions(write("user,item,premiere\n" + rows))
    assert data.timestamps is None
    assert "column 'premiere' looks like a time and is not read" in notes_of(data)["unread_time"]


def test_days_of_arrow(tmp_path):
    days = pd.Series([datetime.date(2024, 1, day) for day in (4, 1, 2, 3)])
    made = frame(seen=days.astype(pd.ArrowDtype(pa.date32())))
    made.to_parquet(tmp_path / "log.parquet")
    for source in (made, tmp_path / "log.parquet"):
        assert raw(read_interactions(source)) == ORDER


def test_the_time_of_day_of_a_parquet_file(tmp_path):
    made = frame(date=[datetime.date(2024, 1, 1)] * 4, time=[datetime.time(9)] * 4)
    made.to_parquet(tmp_path / "log.parquet")
    for source in (made, tmp_path / "log.parquet"):
        assert_parts(message(source), "'date'", "'time'", "expected both in one")


@pytest.mark.parametrize("names", [("date", "time"), ("order_date", "clock"), ("Date", "Time")])
def test_day_and_time_of_day_in_two_columns(write, names):
    day, clock = names
    made = frame(**{day: lambda t: iso(t)[:10], clock: lambda t: iso(t)[11:]})
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


# ---- event types


SHOP = "user,item,time,{}\n" + "".join(
    f"u{n % 3},i{n},{T + n},{('view', 'view', 'cart', 'buy')[n % 4]}\n" for n in range(24)
)


@pytest.mark.parametrize("name", ["event_type", "action", "Behavior", "kind"])
def test_events_of_some_types(write, tmp_path, name):
    path = write(SHOP.format(name))
    flags = [("data.event_column", name)] if name == "kind" else []
    config = load_config("", [("data.events", "buy,cart"), *flags])
    made = pd.read_csv(path)
    made.to_parquet(tmp_path / "log.parquet")
    for source in (str(path), str(tmp_path / "log.parquet"), made):
        data = load(config, source).interactions
        (step,) = reading_of(data).steps
        assert step.words == "events buy, cart"
        assert (step.before["events"], step.after["events"]) == (24, 12)
        assert reading_of(data).columns["event"] == name
    prepare(*large_log(config, str(path)), workdir=str(tmp_path / "made"), display=Display())
    assert raw(read_prepared(tmp_path / "made")) == raw(data)
    (tmp_path / "empty").mkdir()
    assert dict(HistoryFile(path, settings_of(config)).read(tmp_path / "empty")) == raw(data)


def test_event_types_that_are_not_there(write):
    path, filters = write(SHOP.format("event")), Filters(events="view, bye")
    text = message(path, filters=filters)
    assert_parts(text, "no event of type 'bye'", "view 12", "cart 6", "buy 6", "'buy'?")
    text = message(write("user,item\nu,a\n"), filters=filters)
    assert_parts(text, "no column of event types", "--config.data.event_column=NAME")
    with pytest.raises(UserError, match="no column 'what'"):
        read_interactions(path, columns=Columns(event="what"))


def test_event_types_that_are_not_read_are_said(write):
    found = notes_of(read_interactions(write(SHOP.format("event_type"))))
    assert_parts(found["unread_events"], "'event_type'", "view 12", "--config.data.events=buy")
    data = read_interactions(write(SHOP.format("colour")))
    assert "event_column=colour --config.data.events=buy" in notes_of(data)["few_values"]
    assert not [line for line in reading_lines(reading_of(data).as_json()) if "colour" in line]
    named = notes_of(read_interactions(write(SHOP.format("x")), columns=Columns(event="x")))
    assert "--config.data.event_column=x --config.data.events=buy" in named["unread_events"]


# ---- ids that are none


def test_null_words_are_named_and_left_out(write, tmp_path):
    words = ["nan", "NULL", "None", "NA", "n/a", "\\N", "<NA>", "-", "undefined", "NaN"]
    rows = [("u", "a", T), *(("u", word, T + 1) for word in words), ("null", "a", T + 2)]
    path = write("user,item,time\n" + "".join(f"{u},{i},{t}\n" for u, i, t in rows))
    data = read_interactions(path)
    assert data.num_events == 12
    found = notes_of(data)
    assert_parts(found["null_item_ids"], "10 events (83%)", "'nan', 'NULL'", "null_ids=drop")
    assert_parts(found["null_user_ids"], "1 event (", "'null'", "--config.data.null_ids=drop")
    # An empty id is left out, too; else it is an error that names the way out.
    path.write_text(path.read_text() + f"u,,{T}\n,b,{T}\nu,b,{T}\n")
    assert "--config.data.null_ids=drop" in message(path)
    made = pd.read_csv(path, keep_default_na=False, dtype=object)
    made.loc[13, "user"] = None
    made.to_parquet(tmp_path / "log.parquet")
    config = load_config("", [("data.null_ids", "drop")])
    for source in (str(path), made, str(tmp_path / "log.parquet")):
        data = load(config, source).interactions
        assert raw(data) == {"u": ["a", "b"]}
        assert "null_item_ids" not in notes_of(data)
        (step,) = reading_of(data).steps
        assert (step.name, step.before["events"], step.after["events"]) == ("null_ids", 15, 2)


def test_ids_that_stand_for_many_or_none(write):
    words = ["(null)", "#REF!", "(not set)", "[NULL]", "-------"]
    rows = "".join(f"u,{word}\n" for word in words) + "Guest,a\n[deleted],b\n-1,'c'\n"
    path = write("user,item\n" + rows)
    found = notes_of(read_interactions(path))
    assert_parts(found["null_item_ids"], "5 events", "'(null)', '#REF!'")
    assert_parts(
        found["stand_in_user_ids"], "3 events", "'Guest', '[deleted]', '-1'", "exclude_users"
    )
    assert_parts(found["quoted_item_ids"], "1 event", "in quotes")


def test_quotes_after_spaces(write):
    path = write('user, "item", seen\nu, "a, b", 2\nu, "c", 1\n')
    assert raw(read_interactions(path, columns=Columns(time="seen"))) == {"u": ["c", "a, b"]}


def test_objects_as_ids():
    made = pd.DataFrame({"user": ["u", "u"], "item": [object(), 1]})
    assert_parts(message(made), "row 0", "has no text of its own")


def test_rows_without_a_time(write, tmp_path):
    path = write(f"user,item,time\nu,a,\nu,b,{T + 9}\nu,c,NULL\nu,d,{T}\nu,e,nan\n")
    assert_parts(message(path), "line 2", "3 of 5 here", "--config.data.null_times=drop")
    made = pd.DataFrame({"user": "u", "item": list("abcde"), "time": [None, T + 9, None, T, None]})
    dates = made.assign(time=pd.to_datetime(made["time"], unit="s"))
    for number, frame_ in enumerate((made, dates)):
        frame_.to_parquet(tmp_path / f"{number}.parquet")
        with pytest.raises(UserError, match="null_times"):
            read_interactions(tmp_path / f"{number}.parquet")
        with pytest.raises(UserError, match="null_times"):
            read_interactions(frame_)
    sources = [path, made, dates, tmp_path / "0.parquet", tmp_path / "1.parquet"]
    for source in sources:
        data = read_interactions(source, filters=Filters(null_times="drop"))
        assert raw(data) == {"u": ["d", "b"]} and data.is_epoch
        assert reading_of(data).steps[0].before["events"] == 5
    text = message(path.with_name("log.txt"), filters=Filters(null_times="drop", min_rating=1))
    assert "no rating column" in text


def test_spaces_around_ids(write, tmp_path):
    path = write("user_id, item_id, timestamp\nu1 , i3, 3\n u1, i2 , 2\nu2,i3,1\n")
    data = read_interactions(path)
    assert raw(data) == {"u1": ["i2", "i3"], "u2": ["i3"]}
    assert_parts(notes_of(data)["spaces_around_item_ids"], "2 events", "' i3'", "data.strip=false")
    kept = read_interactions(path, columns=Columns(strip=False))
    assert raw(kept) == {"u1 ": [" i3"], " u1": ["i2 "], "u2": ["i3"]} or raw(kept)[" u1"]
    gone = write("u1  \n", "gone.txt")
    data = read_interactions(path, filters=Filters(exclude_users=str(gone)))
    assert list(data.user_ids) == ["u2"]
    titles = write("item,title\n i3 ,Three\n", "titles.csv")
    data = read_interactions(path, titles_path=titles)
    assert data.item_titles is not None and "Three" in data.item_titles


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("u,4.00638E+12\n", ["line 2", "item id '4.00638E+12'", "a float", "all digits"]),
        ("7.6561198e+16,a\n", ["line 2", "user id '7.6561198e+16'", "whole numbers"]),
        ("u,a\nu,76561198012345680.0\n", ["line 3", "'76561198012345680.0'"]),
        ('u,a\nu,"[28, 24]"\n', ["line 3", "item id '[28, 24]' is a list", "one event a row"]),
        ("u,\"['a', 'b']\"\n", ["line 2", "explode('item')"]),
        ("u,[28 24]\n", ["line 2", "is a list"]),
        ('u,"{28,24}"\n', ["line 2", "is a list"]),
        ("u,\"{'a', 'b'}\"\n", ["line 2", "is a list"]),
        ("u,4.00638E12\n", ["line 2", "item id '4.00638E12'", "a float"]),
        ('u,"4,00638E+12"\n', ["line 2", "a float", "all digits"]),
        ('u,"(28, 24)"\n', ["line 2", "is a list"]),
        ('u,"{""a"": 1}"\n', ["line 2", "is a list"]),
    ],
)
def test_ids_that_cannot_be_right(write, text, parts):
    assert_parts(message(write("user,item\n" + text)), "log.txt", *parts)


def test_ids_of_a_frame_that_went_through_a_float(tmp_path):
    users = [76561198012345678, 76561198012345679, 76561198012345680]
    made = pd.DataFrame({"user": users, "item": ["a", "b", "c"]})
    assert read_interactions(made).num_users == 3
    text = message(made.astype({"user": "float64"}))
    assert_parts(text, "row 0", "went through a float", "whole numbers")
    small = made.assign(user=[1.0, 2.0, 1.0])
    assert_parts(notes_of(read_interactions(small))["float_user_ids"], "'1.0', '2.0'", "floats")


@pytest.mark.parametrize("cell", [[28, 24], (28, 24), np.array([28, 24]), {28}])
def test_lists_in_cells_of_frames_and_parquet(tmp_path, cell):
    made = pd.DataFrame({"user": ["u", "v"], "item": [cell, cell]})
    assert_parts(message(made), "row 0", "one event a row", "explode")
    if isinstance(cell, list):
        made.to_parquet(tmp_path / "log.parquet")
        text = message(tmp_path / "log.parquet")
        assert_parts(text, "holds list<", "make a row of each event", "explode('item')")


@pytest.mark.parametrize("mark", ["|", " ", ",", ";", "/", " > "])
def test_several_items_in_a_cell(write, mark):
    cells = [f"{n % 7 + 1}{mark}{(n * 3) % 7 + 1}" for n in range(30)]
    path = write("user,item\n" + "".join(f'u{n % 5},"{cell}"\n' for n, cell in enumerate(cells)))
    text = message(path)
    split = f".str.split('{mark.strip() or mark}')).explode('item')"
    assert_parts(text, "several items in a cell", split)
    data = read_interactions(path, columns=Columns(item="item"))
    assert "each cell is taken for one item" in notes_of(data)["several_items"]


@pytest.mark.parametrize(
    "items",
    [
        ["shoes|red", "shoes|blue", "hat|red"],
        ["Toy Story", "Story of Toy", "A Toy"],
        ["iPhone 12", "iPhone 13", "Galaxy 12"],
        ["a,b", "c", "d"],
        ["[untitled]", "(Live) [Part One]", "{{1}}"],
        ["[]", "[a b]", "(2)"],
    ],
)
def test_ids_that_hold_a_separator_are_ids(write, items):
    path = write("user,item\n" + "".join(f'u{n % 2},"{items[n % 3]}"\n' for n in range(12)))
    assert set(read_interactions(path).item_ids) == {"", *items}


@pytest.mark.parametrize("has_times", [False, True])
def test_a_header_in_the_middle(write, has_times):
    names, end = ("user,item,time", ",5") if has_times else ("user,item", "")
    part = f"{names}\nu,a{end}\nu,b{end}\n"
    data = read_interactions(write(part * 3))
    assert raw(data) == {"u": ["a", "b"] * 3}
    assert_parts(notes_of(data)["header_again"], "2 lines", "left out: line 4")
    other = part.replace(names, ",".join([*names.split(",")[1::-1], *names.split(",")[2:]]))
    assert_parts(message(write(part + other)), "line 4", "a header again", "another order")
    typed = "user:token\titem:token\nu\ta\nu\tb\n"
    assert raw(read_interactions(write(typed * 2))) == {"u": ["a", "b"] * 2}
    # Ids that are called as a column is, in other places, are ids.
    assert "item" in read_interactions(write(f"{names}\nitem,a{end}\nu,user{end}\n")).user_ids


@pytest.mark.parametrize("names", ["\ufeffuser,item", "USER,Item", '"user","item"', "User ID,SKU"])
def test_a_header_in_the_middle_in_another_spelling(write, names):
    part = "u,a\nu,b\n"
    data = read_interactions(write(f"user,item\n{part}{names}\n{part}"))
    assert raw(data) == {"u": ["a", "b"] * 2}
    assert_parts(notes_of(data)["header_again"], "1 line", "left out: line 4")


@pytest.mark.parametrize(
    ("row", "remedy"),
    [("u,a,", "at the end of the lines"), ("(2 rows)", "mend or delete"), ("u,a,b", "in double")],
)
def test_rows_of_another_width(write, row, remedy):
    assert_parts(message(write(f"user,item\n{row}\n")), "line 2", "field(s)", remedy)


@pytest.mark.parametrize("end", ["", " c"])
def test_a_header_in_the_middle_of_a_bare_log(write, end):
    text = f"u a{end}\nv b{end}\nuser_id item_id{end}\nw a{end}\n"
    assert_parts(message(write(text)), "line 3", "'user_id item_id' looks like a header")


# ---- dates


@pytest.mark.parametrize(
    "texts",
    [
        ["2024/01/02", "2024/01/31", "2024/1/3"],
        ["2024/01/02 10:00", "2024/01/02 9:30", "2024/01/02 10:00:01"],
        ["01/31/2024", "01/02/2024", "12/30/2023"],
        ["31/01/2024 10:00:00", "01/02/2024 10:00:00", "30/12/2023 10:00:00"],
        ["31.01.2024", "1.2.2024 08:00", "30.12.2023"],
        ["1/31/2024 3:05:00 PM", "1/31/2024 11:05:00 AM", "1/31/2024 12:05 AM"],
        ["Tue Apr 03 18:00:09 +0000 2012", "Tue Apr 03 18:00:08 +0000 2012"],
        ["Tue, 03 Apr 2012 18:00:09 GMT", "Tue, 03 Apr 2012 20:00:00 +0200"],
        ["10/Oct/2000:13:55:36 -0700", "10/Oct/2000:13:55:35 -0700"],
        ["2024-01-02 10:00:00,123", "2024-01-02 10:00:00,023"],
        ["Jan 2, 2024", "Feb 1, 2024"],
        ["2-Jan-2024", "1-Feb-2024"],
        ["05 1, 2014", "04 30, 2014"],
    ],
)
def test_forms_of_dates(write, texts):
    expected = pd.to_datetime(
        pd.Series([text.replace(",0", ".0").replace(",1", ".1") for text in texts])
        if "," in texts[0][-4:-3]
        else pd.Series([re.sub(r"(\d\d\d\d):", r"\1 ", text) for text in texts]),
        utc=True,
        format="mixed",
        dayfirst=texts[0].startswith("31"),
    )
    rows = pd.DataFrame({"user": "u", "item": [f"i{n}" for n in range(len(texts))], "seen": texts})
    for source in (rows, write(text_of(rows))):
        data = read_interactions(source)
        order = np.argsort(expected.to_numpy(), kind="stable")
        assert raw(data) == {"u": [f"i{n}" for n in order]}
        assert data.timestamps is not None and reading_of(data).is_epoch
        assert data.timestamps == pytest.approx(expected.iloc[order].map(pd.Timestamp.timestamp))
        assert f"dates such as {texts[0]!r}" in reading_of(data).time_unit


@pytest.mark.parametrize(
    "texts",
    [
        ["[31/Jan/2024:18:30:01 +0100]", "[31/Jan/2024:17:30:00 +0000]"],  # of web servers
        ["20240131T173001Z", "20240131173000Z"],  # ISO 8601's basic form, LDAP's
        ["/Date(1706722201000)/", "/Date(1706722200000+0100)/"],  # of .NET
        ["2024年1月31日 17:30:01", "2024年01月31日 17:30"],
        ["2024-01-31T18:30:01+01:00[Europe/Paris]", "2024-01-31T17:30:00Z[UTC]"],  # of Java
        ["Wed Jan 31 2024 18:30:01 GMT+0100 (Central European Time)", "Jan 31 2024 17:30:00"],
        ["2024-01-31 17:30:01 +0000 UTC", "2024-01-31 19:30:00 +0200 CEST"],  # of Go
    ],
)
def test_forms_of_dates_that_programs_write(write, texts):
    path = write("user;item;seen\n" + "".join(f"u;i{n};{t}\n" for n, t in enumerate(texts)))
    data = read_interactions(path)
    assert raw(data) == {"u": ["i1", "i0"]}
    assert data.timestamps is not None
    assert data.timestamps.tolist() == [1706722200, 1706722201]


def test_times_that_lost_their_digits(write):
    path = write("user,item,time\nu,a,1.70026E+12\nu,b,1.70026E+12\n")
    assert_parts(message(path), "line 2", "was shortened", "all digits", "time_column=none")
    exact = write("user,item,time\nu,a,1.700259142e+09\nu,b,1.7e+09\n")
    assert raw(read_interactions(exact)) == {"u": ["b", "a"]}


@pytest.mark.parametrize(
    ("top", "line"),
    [("sep=;", 2), ("# exported in 2024", 2), ("Sales\n", 3), ("a;b\nc", 3)],
)
def test_lines_above_the_header(write, top, line):
    text = message(write(f"{top}\nuser;item;time\nu;a;5\n"))
    assert_parts(text, f"the header stands in line {line}", f"tail -n +{line}")


@pytest.mark.parametrize(
    ("name", "values"),
    [("position", [2, 1]), ("orderNumber", [9, 3]), ("logged", ["31-Jan-24 06.30.01 PM"] * 2)],
)
def test_columns_that_may_be_the_order_of_events_are_named(write, name, values):
    text = f"user,item,{name}\n" + "".join(
        f"u,{i},{v}\n" for i, v in zip("ab", values, strict=True)
    )
    found = notes_of(read_interactions(write(text)))["unread_time"]
    assert_parts(found, repr(name), "the order of the file")
    users = text.replace("u,b", "v,b")  # no user's events are in another order
    assert ("unread_time" in notes_of(read_interactions(write(users)))) == (name == "logged")


def test_day_and_month_that_cannot_be_told_apart(write):
    path = write("user,item,date\nu,a,01/02/2024 10:30\nu,b,03/01/2024 10:30\n")
    text = message(path)
    assert_parts(text, "line 2", "day and month", "time_format='%m/%d/%Y %H:%M' or ")
    assert "--config.data.time_format='%d/%m/%Y %H:%M'" in text
    for form, order in (("%m/%d/%Y %H:%M", "ab"), ("%d/%m/%Y %H:%M", "ba")):
        data = read_interactions(path, columns=Columns(time_format=form))
        assert raw(data) == {"u": list(order)} and data.is_epoch


def test_dates_by_their_form(write, tmp_path):
    path = write("user,item,when\nu,a,20240131\nu,b,20240102\n")
    columns = Columns(time_format="%Y%m%d")
    made = pd.read_csv(path)
    made.to_parquet(tmp_path / "log.parquet")
    for source in (path, made, tmp_path / "log.parquet"):
        data = read_interactions(source, columns=columns)
        assert raw(data) == {"u": ["b", "a"]} and data.is_epoch
        assert "%Y%m%d" in reading_of(data).time_unit
    bad = write("user,item,when\nu,a,20240131\nu,b,soon\n")
    text = message(bad, columns=Columns(time="when", time_format="%Y%m%d"))
    assert_parts(text, "line 3", "'soon' is not a date of the form '%Y%m%d'", "'20240131'")
    text = message(write("user,item,date\nu,a,31 January 24\n"))
    assert_parts(text, "line 2", "looks like a date", "--config.data.time_format=")
    text = message(write("user,item,date\nu,a,5\nu,b,2024-01-31\n"))
    assert_parts(text, "line 3", "is a date, and the lines before it hold numbers")
    for form in ("soon", "%Q"):
        with pytest.raises(UserError, match=r"data\.time_format"):
            Columns(time_format=form)


# ---- ratings


def test_ratings_are_read_only_for_a_filter(write):
    path = write("user,item,rating,time\nu,a,,1\nu,b,good,2\nu,c,4,3\n")
    data = read_interactions(path)
    assert raw(data) == {"u": ["a", "b", "c"]}
    assert "--config.data.min_rating=NUMBER" in notes_of(data)["unread_rating"]
    text = message(path, filters=Filters(min_rating=3))
    assert_parts(text, "line 2", "rating '' is not a number", "--config.data.min_rating out")


def test_the_heading_of_a_run(write):
    text = text_of(frame(event_type=["view", "buy", "view", "buy"], stars=4, t_dat=iso), ";")
    lines = reading_lines(reading_of(read_interactions(write(text))).as_json())
    assert lines[0].startswith("         read as csv (separator ';'); columns: user=user_id")
    assert [line[:40] for line in lines[1:]] == [
        "note     time: column 't_dat', found by ",
        "note     column 'event_type' looks like ",
        "note     column 'stars' looks like ratin",
    ]
    # Those that older runs and folders have written have no such facts.
    old = {"format": "csv", "columns": {"user": "u", "item": "i"}, "time_unit": "", "filters": []}
    assert reading_lines(old) and reading_lines(of_json(old).as_json())


def test_settings_without_effect_are_said(write):
    path = write("user,item,like,time\nu,a,4,1\nu,b,5,2\n")
    data = read_interactions(path, columns=Columns(rating="like"))
    assert "'like' looks like ratings and is not read" in notes_of(data)["unread_rating"]
    for columns in (Columns(time="none", time_format="%Y"), Columns(time_format="%Y")):
        dated = pd.read_csv(path).assign(time=pd.Timestamp("2024-01-01"))
        data = read_interactions(dated, columns=columns)
        assert "time_format=%Y has no effect" in notes_of(data)["unused_time_format"]


def test_a_dat_file_with_times_in_its_third_field(write):
    for end in ("", "::4"):
        rows = "".join(f"u::{item}::{t}{end}\n" for _, item, t in ROWS)
        assert raw(read_interactions(write(rows))) == {"u": ["a", "a", "b", "c"]}
