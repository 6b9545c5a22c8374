"""JSON lines, .dat files, DataFrames, and times in every unit; values by hand."""

import datetime
import hashlib

import numpy as np
import pandas as pd
import pytest

from tests.reading.test_readers import assert_parts, message, raw
from ufnrec_tf.data.times import detect_unit
from ufnrec_tf.reading.columns import Columns
from ufnrec_tf.reading.filters import Filters
from ufnrec_tf.reading.formats import detect_format
from ufnrec_tf.reading.readers import read_interactions

DAY_2019 = 1_546_300_800  # 2019-01-01T00:00:00Z, `date -u -d 2019-01-01 +%s`

ROWS = ["r0", "r1", "r2"]
DAYS = pd.DatetimeIndex(["2019-01-01 00:00", "2019-01-01 00:00:01.5", "2019-01-02 00:00"])


def times_of(data) -> list[float]:
    assert data.timestamps is not None
    return data.timestamps.tolist()


# ---- JSON lines


def test_json_lines(write):
    path = write(
        '\n{"reviewerID": "u,1", "asin": 12, "unixReviewTime": 30, "helpful": [1, 2], "x": null}\n'
        '  {"asin": "b\\n\\"c\\"", "reviewerID": "u,1", "unixReviewTime": 20}\r\n'
        '{"asin": 12.0, "reviewerID": true, "unixReviewTime": 1e1, "late": 1}\n'
    )
    assert detect_format(path) == "jsonl"
    data = read_interactions(path)
    # Numbers keep the file's text: 12 and 12.0 are two ids.
    assert raw(data) == {"u,1": ['b\n"c"', "12"], "true": ["12.0"]}
    assert times_of(data) == [20, 30, 10]
    assert data.reading is not None and data.reading.format == "jsonl"
    assert data.reading.columns == {"user": "reviewerID", "item": "asin", "time": "unixReviewTime"}
    assert data.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_column_missing_in_the_first_object_is_found(write):
    path = write('{"user": 1, "item": 2}\n{"user": 1, "item": 3, "time": 5}\n')
    assert_parts(message(path), "log.txt, line 1", "time '' is not a number", "time_column=none")
    assert raw(read_interactions(path, columns=Columns(time="none"))) == {"1": ["2", "3"]}


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("{'user': 1}", ["no JSON object", "character 2", "mend or delete the line"]),
        ("[1, 2]", ["no JSON object (it holds an array)"]),
        ("null", ["no JSON object (it holds null)"]),
        ("12", ["no JSON object (it holds a text or a number)"]),
        ('{"user": 1, "item": null}', ["an empty item id"]),
        ('{"user": 1, "item": ["a"]}', ["'item' holds a list"]),
        ('{"user": 1}', ["an empty item id"]),
        ('{"user": "\\ud800", "item": 1}', ["half of a surrogate pair"]),
        ('{"user": "\\u0000", "item": 1}', ["a text with a NUL"]),
        ("[" * 100_000, ["no JSON object (nested too deep)"]),
    ],
)
def test_bad_line_of_json(write, line, parts):
    path = write('{"user": 1, "item": 2}\n\n' + line + '\n{"user": 1, "item": 4}\n')
    text = message(path)
    assert_parts(text, "log.txt, line 3", *parts)


def test_json_of_other_columns(write):
    path = write('{"who": 1, "what": 2}\n{"who": 1, "what": 3}\n')
    assert_parts(message(path), "log.txt, line 1", "no user column among 'who', 'what'")
    data = read_interactions(path, columns=Columns(user="who", item="what"))
    assert raw(data) == {"1": ["2", "3"]}


# ---- .dat


def test_dat(write):
    path = write("1::a b::5::978300760\n1::c::3::978300700\n".replace(" ", "_"))
    assert detect_format(path) == "dat"
    data = read_interactions(path)
    assert raw(data) == {"1": ["c", "a_b"]}
    assert data.reading is not None and "rating" not in data.reading.columns
    rated = read_interactions(path, filters=Filters(min_rating=4))
    assert raw(rated) == {"1": ["a_b"]}
    assert rated.reading is not None and rated.reading.columns["rating"] == "rating"
    text = message(write("1::a::5::1\n1::b::5\n"))
    assert_parts(text, "log.txt, line 2", "3 field(s) where the first line has 4")
    assert raw(read_interactions(write("u::a\nu::b\n"))) == {"u": ["a", "b"]}


# ---- DataFrames


def frame(**columns) -> pd.DataFrame:
    base = {"user_id": ["u", "v", "u"], "item_id": ["a", "b", "c"], "timestamp": [3, 2, 1]}
    return pd.DataFrame(base | columns, index=ROWS)


def test_data_frame():
    before = frame()
    data = read_interactions(before)
    assert raw(data) == {"u": ["c", "a"], "v": ["b"]}
    assert (data.source, times_of(data)) == ("DataFrame", [1, 3, 2])
    pd.testing.assert_frame_equal(before, frame())


def test_hash_of_a_data_frame_is_of_the_values():
    # By the words of `FrameLog`: roles; ids as lengths and bytes; times.
    expected = hashlib.sha256(
        b"user;"
        + np.array([1, 1, 1], "<i8").tobytes()
        + b"uvu"
        + b"item;"
        + np.array([1, 2, 1], "<i8").tobytes()
        + "aéc".encode()
        + b"time;"
        + np.array([3, 2, 1], "<f8").tobytes()
    ).hexdigest()
    plain = frame(item_id=["a", "é", "c"])
    assert read_interactions(plain).sha256 == expected
    other = plain.astype({"user_id": "category", "timestamp": "float32"}).reset_index(drop=True)
    assert read_interactions(other[["timestamp", "item_id", "user_id"]]).sha256 == expected
    assert read_interactions(frame(item_id=["a", "e", "c"])).sha256 != expected


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        ([1, 2, 3], ["1", "2", "3"]),
        ([1.0, 2.5, 3.0], ["1.0", "2.5", "3.0"]),
        ([1, "1", 1.0], ["1", "1", "1.0"]),
        (pd.array([1, 2, 3], "Int64"), ["1", "2", "3"]),
        (pd.array(["x", "y", "x"], "string"), ["x", "y", "x"]),
        (pd.Categorical([7, 8, 7]), ["7", "8", "7"]),
        ([True, False, True], ["True", "False", "True"]),
    ],
)
def test_ids_of_any_type_become_text(values, ids):
    data = read_interactions(frame(item_id=values), columns=Columns(time="none"))
    assert raw(data) == {"u": [ids[0], ids[2]], "v": [ids[1]]}


@pytest.mark.parametrize(
    ("columns", "parts"),
    [
        ({"item_id": ["a", None, "b"]}, ["row 'r1'", "no item id"]),
        ({"item_id": [1, np.nan, 2]}, ["row 'r1'", "no item id"]),
        ({"user_id": ["a", "b", " "]}, ["row 'r2'", "an empty user id"]),
        ({"user_id": pd.Series(["a", "b", "\ud800"], ROWS, object)}, ["row 'r2'", "no UTF-8 text"]),
        ({"user_id": ["a", b"b", "c"]}, ["row 'r1'", "bytes or a collection"]),
        ({"timestamp": [1, np.inf, 2]}, ["row 'r1'", "not a finite number"]),
        (
            {"timestamp": ["x", "y", "z"]},
            ["row 'r0'", "timestamp 'x' is not", 'settings={"data.time_column": "none"}'],
        ),
        (
            {"timestamp": pd.DatetimeIndex(["2019-01-01", pd.NaT, "2019-01-01"])},
            ["row 'r1'", "not a date"],
        ),
    ],
)
def test_bad_row_of_a_data_frame_is_named_by_its_index(columns, parts):
    text = message(frame(**columns))
    assert_parts(text, "the DataFrame, ", *parts)
    assert "--config" not in text


def test_data_frame_without_columns_or_rows():
    text = message(frame().rename(columns={"user_id": "whoever"}))
    parts = ("'whoever'", "expected columns", '{"data.user_column": "NAME"')
    assert_parts(text, "the DataFrame: no user column", *parts)
    assert "--config" not in text
    assert_parts(message(frame().iloc[:0]), "no events")


@pytest.mark.parametrize(
    "values",
    [
        DAYS,
        DAYS.tz_localize("UTC").tz_convert("Asia/Tokyo"),
        ["2019-01-01", "2019-01-01T00:00:01.5", "2019-01-02 01:00:00+01:00"],
        [
            datetime.datetime(2019, 1, 1),
            datetime.datetime(2019, 1, 1, 0, 0, 1, 500_000),
            datetime.datetime(2019, 1, 2),
        ],
        [DAY_2019, DAY_2019 + 1.5, DAY_2019 + 86_400],
    ],
)
def test_times_of_a_data_frame(values):
    data = read_interactions(frame(timestamp=values, user_id=["u"] * 3))
    assert times_of(data) == [DAY_2019, DAY_2019 + 1.5, DAY_2019 + 86_400]
    assert data.is_epoch


# ---- times


@pytest.mark.parametrize(
    ("texts", "seconds"),
    [
        (["2019-01-01", "2019-01-02", "2018-12-31"], [0, 86_400, -86_400]),
        (
            ["2019-01-01T00:00:01Z", "2019-01-01 00:00:02.25", "2019-01-01T09:00+09:00"],
            [1, 2.25, 0],
        ),
        (["2019-01-01 00:00:05 UTC", "2018-12-31T19:00:06-0500", "2019-01-01T00:00"], [5, 6, 0]),
    ],
)
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_iso_dates(write, tmp_path, texts, seconds, form):
    rows = list(zip("abc", texts, strict=True))
    if form == "csv":
        path = write("user,item,date\n" + "".join(f"{i},{i},{t}\n" for i, t in rows))
    elif form == "jsonl":
        path = write("".join(f'{{"user":"{i}","item":"{i}","date":"{t}"}}\n' for i, t in rows))
    else:
        path = tmp_path / "log.parquet"
        pd.DataFrame(rows, columns=["user", "date"]).assign(item=list("abc")).to_parquet(path)
    data = read_interactions(path)
    assert times_of(data) == [DAY_2019 + offset for offset in seconds]
    assert data.is_epoch and data.reading is not None
    assert "UTC where they name no zone" in data.reading.time_unit


@pytest.mark.parametrize("text", ["2019-02-30", "31.01.2019", "2019", "now", "", "2019-1-1"])
def test_date_that_is_none(write, text):
    error = message(write(f"user,item,date\nu,a,2019-01-31\nu,b,{text}\n"))
    assert_parts(error, "log.txt, line 3", f"date {text!r} is not a date", "ISO 8601")


def test_first_time_that_is_neither(write):
    error = message(write("user,item,date\nu,a,31/13/2019\n"))
    assert_parts(
        error, "log.txt, line 2", "'31/13/2019' looks like a date", "ISO 8601 date such as"
    )


@pytest.mark.parametrize(
    ("numbers", "seconds", "words"),
    [
        ([DAY_2019, DAY_2019 + 9], [DAY_2019, DAY_2019 + 9], "seconds since 1970"),
        ([DAY_2019 * 1000 + 500, DAY_2019 * 1000], [DAY_2019 + 0.5, DAY_2019], "milliseconds"),
        ([DAY_2019 * 10**6, DAY_2019 * 10**6 + 1], [DAY_2019, DAY_2019 + 1e-6], "microseconds"),
        ([DAY_2019 * 10**9, DAY_2019 * 10**9], [DAY_2019, DAY_2019], "nanoseconds"),
        # Order alone: ranks, years, dates as digits, a millisecond among seconds.
        ([1, 2], [1, 2], "order alone"),
        ([2019, 2020], [2019, 2020], "order alone"),
        ([20190131, 20190201], [20190131, 20190201], "order alone"),
        ([201901311200, 201901311300], [201901311200, 201901311300], "order alone"),
        ([20190131120000, 20190131130000], [20190131120000, 20190131130000], "order alone"),
        ([DAY_2019, DAY_2019 * 1000], [DAY_2019, DAY_2019 * 1000], "order alone"),
        ([0, DAY_2019 * 1000], [0, DAY_2019 * 1000], "order alone"),
    ],
)
def test_unit_of_numbers(write, numbers, seconds, words):
    rows = "".join(f"u{place},a,{number}\n" for place, number in enumerate(numbers))
    data = read_interactions(write("user,item,timestamp\n" + rows))
    assert times_of(data) == pytest.approx(seconds, abs=2e-7, rel=1e-15)
    assert data.reading is not None and words in data.reading.time_unit
    assert data.is_epoch == (words != "order alone")


def test_unit_by_name(write):
    path = write("user,item,timestamp\nu,a,1500\nu,b,-500\n")
    assert times_of(read_interactions(path, time_unit="ms")) == [-0.5, 1.5]
    assert_parts(message(path, time_unit="minutes"), "`data.time_unit`", "auto, ms, ns, s, us")


def test_units_do_not_overlap():
    assert not detect_unit(315_532_799, 4e9).is_epoch and detect_unit(315_532_800, 4e9).is_epoch
    assert not detect_unit(1e9, 4_102_444_801).is_epoch and detect_unit(1e9, 4_102_444_800).is_epoch
