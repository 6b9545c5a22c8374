"""DataFrames and tables of other libraries as logs; values by hand."""

import collections
import dataclasses
import datetime
import io
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.reading.test_forms import times_of
from tests.reading.test_readers import assert_parts, message, raw
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.reading.columns import Columns
from ufnrec_tf.reading.readers import read_interactions
from ufnrec_tf.reading.tables import as_frame

USERS, ITEMS = ["u", "v", "u"], ["a", "b", "c"]
DAYS = [datetime.date(2024, 1, 3), datetime.date(2024, 1, 2), datetime.date(2024, 1, 1)]
SECONDS = [day * 86_400.0 + 1_704_067_200 for day in (0, 2, 1)]  # by user: u oldest first, then v


def frame(**columns) -> pd.DataFrame:
    return pd.DataFrame({"user": USERS, "item": ITEMS} | columns)


def arrow(values, kind) -> pd.Series:
    """A Series whose values lie in Arrow, as `dtype_backend="pyarrow"` gives them."""
    is_nested = pa.types.is_nested(kind)
    made = pa.array(values, kind) if is_nested else pa.array(values).cast(kind)
    return pd.Series(made, dtype=pd.ArrowDtype(kind))


# ---- Types of columns


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (arrow(DAYS, pa.date32()), SECONDS),
        (arrow(DAYS, pa.date64()), SECONDS),
        (arrow(DAYS, pa.timestamp("ms", "Asia/Tokyo")), SECONDS),
        (arrow(DAYS, pa.timestamp("ns")), SECONDS),
        (arrow([Decimal(3), Decimal(2), Decimal(1)], pa.decimal128(9, 2)), [1, 3, 2]),
        (arrow([3, 2, 1], pa.uint8()), [1, 3, 2]),
        (arrow(list(map(str, DAYS)), pa.large_string()), SECONDS),
        (arrow(list(map(str, DAYS)), pa.string_view()), SECONDS),
        (pd.Series(DAYS), SECONDS),
        (pd.Series(DAYS, dtype="category"), SECONDS),
        (pd.PeriodIndex(DAYS, freq="D"), SECONDS),
        (pd.Series(list(pd.PeriodIndex(DAYS, freq="D")), dtype=object), SECONDS),
        (pd.array([3, 2, 1], "Int64"), [1, 3, 2]),
        (pd.array([3, 2, 1], "Float32"), [1, 3, 2]),
        (pd.Series([3, 2, 1], dtype="category"), [1, 3, 2]),
        (pd.arrays.SparseArray([3, 2, 0]), [0, 3, 2]),
        ([Decimal("3.5"), Decimal(2), Decimal(1)], [1, 3.5, 2]),
    ],
)
def test_times_of_any_type(values, expected):
    data = read_interactions(frame(time=values))
    assert raw(data) == {"u": ["c", "a"], "v": ["b"]}
    assert times_of(data) == expected


@pytest.mark.parametrize(
    "values",
    [
        arrow([[1], [2], [3]], pa.list_(pa.int64())),
        arrow([b"1", b"2", b"3"], pa.binary()),
        arrow([{"a": 1}] * 3, pa.struct([("a", pa.int64())])),
        pd.to_timedelta([3, 2, 1], unit="D"),
        [True, False, True],
        [1j, 2j, 3j],
        pd.interval_range(0, 3),
        [[1], [2], [3]],
        pd.Series(["\ud800", "x", "y"], dtype=object),
        arrow([3, None, 1], pa.int64()),
        pd.array([pd.NA, 2, 1], "Int64"),
    ],
)
def test_what_is_no_time_is_refused(values):
    text = message(frame(time=values))
    assert_parts(text, "the DataFrame", "time", "unread", 'settings={"data.time_column": "none"}')


def test_times_of_day_without_dates_are_refused():
    text = message(frame(time=[datetime.time(1)] * 3))
    assert_parts(
        text, "the DataFrame: the time column 'time' holds times of day", "leave it unread"
    )


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        (arrow([1, 2, 1], pa.int32()), ["1", "2", "1"]),
        (arrow(["x", "y", "x"], pa.string_view()), ["x", "y", "x"]),
        (arrow(["x", "y", "x"], pa.dictionary(pa.int8(), pa.string())), ["x", "y", "x"]),
        (arrow([1.0, 2.5, 1.0], pa.float64()), ["1.0", "2.5", "1.0"]),
        (pd.array([10**17 + 1, 10**17 + 2, 10**17 + 1], "Int64"), None),
        (np.array([1, 2, 1], ">i8"), ["1", "2", "1"]),
        (pd.arrays.SparseArray([1, 2, 1]), ["1", "2", "1"]),
    ],
)
def test_ids_of_any_type(values, ids):
    ids = ids or [str(value) for value in values]
    assert raw(read_interactions(frame(item=values))) == {"u": [ids[0], ids[2]], "v": [ids[1]]}


@pytest.mark.parametrize(
    ("values", "part"),
    [
        (arrow([[1], [2], [3]], pa.list_(pa.int64())), "a collection"),
        (arrow([["a"]] * 3, pa.list_(pa.string_view())), "a collection"),
        (arrow([{"a": 1}] * 3, pa.struct([("a", pa.int64())])), "a collection"),
        (arrow([b"1", b"2", b"3"], pa.binary()), "bytes"),
        ([(1, 2), (3, 4), (5, 6)], "frame.explode('item')"),
        ([np.array([1, 2])] * 3, "frame.explode('item')"),
        (pd.Series([(1, 2), (3, 4), (5, 6)], dtype="category"), "a collection"),
        ([1e17, 2.0, 3.0], "'1e+17' went through a float"),
        (np.array([2**24, 1, 2], np.float32), "went through a float"),
        (pd.Series([2.0**53, 1, 2], dtype=object), "went through a float"),
        (arrow([2.0**60, 1, 2], pa.float64()), "went through a float"),
        (pd.array([1, pd.NA, 2], "Int64"), "row 1: no item id"),
        (arrow(["a", None, "b"], pa.string()), "row 1: no item id"),
    ],
)
def test_what_is_no_id_is_refused(values, part):
    assert_parts(message(frame(item=values)), "the DataFrame, row ", part)


def test_a_row_is_named_by_its_index():
    labels = pd.Index([5, 7, 9], dtype="int64")
    text = message(frame(item=["a", None, "c"]).set_axis(labels))
    assert_parts(text, "row 7:")


# ---- The index


def test_a_named_index_is_a_column_where_no_other_is():
    with_index = frame(time=[3, 2, 1]).set_index("time")
    assert raw(read_interactions(with_index)) == {"u": ["c", "a"], "v": ["b"]}
    assert raw(read_interactions(frame(time=[3, 2, 1]).set_index(["user", "time"]))) == {
        "u": ["c", "a"],
        "v": ["b"],
    }
    both = frame(date=[1, 2, 3]).set_index(pd.Index([3, 2, 1], name="time"))
    assert times_of(read_interactions(both)) == [1, 3, 2]  # the column's
    named = read_interactions(both, columns=Columns(time="time"))
    assert times_of(named) == [1, 3, 2] and raw(named)["u"] == ["c", "a"]


def test_an_index_of_dates_is_the_time():
    dated = frame().set_index(pd.DatetimeIndex(DAYS))
    assert times_of(read_interactions(dated)) == SECONDS
    assert read_interactions(dated, columns=Columns(time="none")).timestamps is None
    other = frame(date=[1, 2, 3]).set_index(pd.DatetimeIndex(DAYS))
    assert times_of(read_interactions(other)) == [1, 3, 2]


def test_columns_that_are_there_twice_are_refused():
    doubled = pd.concat([frame(), frame()[["item"]]], axis=1)
    assert_parts(message(doubled), "the item column 'item' is there twice")


# ---- Tables of other libraries

Pair = collections.namedtuple("Pair", "user item")


@dataclasses.dataclass
class Event:
    user: str
    item: str


class Exporting:
    """A table of a library that knows Arrow's C interface, and no other way out."""

    def __arrow_c_stream__(self, requested_schema=None):
        return TABLE.__arrow_c_stream__(requested_schema)


class WithMethod:
    def to_pandas(self):
        return frame()


ROWS = list(zip(USERS, ITEMS, strict=True))
TABLE = pa.table({"user": USERS, "item": ITEMS})


@pytest.mark.parametrize(
    "table",
    [
        TABLE,
        TABLE.to_batches()[0],
        TABLE.to_reader(),
        Exporting(),
        WithMethod(),
        {"user": USERS, "item": np.array(ITEMS)},
        [{"user": user, "item": item} for user, item in ROWS],
        [Pair(*row) for row in ROWS],
        [Event(*row) for row in ROWS],
        np.array(ROWS, dtype=[("user", "U1"), ("item", "U1")]),
        np.rec.array(ROWS, dtype=[("user", "U1"), ("item", "U1")]),
    ],
    ids=lambda table: type(table).__name__,
)
def test_tables_of_other_libraries(table):
    assert raw(read_interactions(as_frame(table, name="data"))) == {"u": ["a", "c"], "v": ["b"]}


def test_whole_numbers_beside_missing_ones_stay_whole():
    table = pa.table({"user": [10**17 + 1], "item": ["a"], "price": pa.array([None], pa.int64())})
    read = as_frame(table, name="data")
    assert raw(read_interactions(read)) == {str(10**17 + 1): ["a"]}
    assert read["price"].isna().all()


@pytest.mark.parametrize(
    ("table", "part"),
    [
        (frame()["item"], ".reset_index()"),
        (frame().groupby("user"), "the frame that was grouped"),
        (frame().groupby("user")["item"], "the frame that was grouped"),
        (io.StringIO("user,item\nu,a\n"), "the path of the file"),
        ((row for row in ROWS), "Collect its rows"),
        (ROWS, 'columns=["user", "item", "time"]'),
        (np.array(ROWS), 'columns=["user", "item", "time"]'),
        ([], "must be a table"),
        (3, "(int)"),
        (None, "(NoneType)"),
        (b"log.csv", "b'log.csv'"),
        (pa.array([1, 2]), "cannot be read as a table"),
        ({"u": ["a", "b"], "v": ["c"]}, "of the same length"),
        ({"user": "u", "item": "a"}, "cannot be read as a table"),
        (frame().set_axis([["user", "item"], ["", "x"]], axis=1), "2 levels"),
    ],
)
def test_what_is_no_table_is_refused_with_a_way_to_one(table, part):
    with pytest.raises(UserError) as caught:
        as_frame(table, name="data")
    assert_parts(str(caught.value), "`data`", part)
