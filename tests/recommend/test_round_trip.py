"""Ids survive the way in and out, whatever is in them, in every form that can hold them."""

import csv
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ufnrec_tf.common.files import write_parquet
from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.reading.columns import Columns
from ufnrec_tf.reading.prepare.event_stream import LargeLog
from ufnrec_tf.reading.readers import LogSettings, read_interactions

# Any text that UTF-8 holds, NUL left out; and what CSV, spreadsheets or a screen act on.
ANY = st.characters(codec="utf-8", exclude_characters="\0")
ACTING = st.sampled_from([*"=+-@\"'`,;\t\r\n\\|:#{}[]<>&% ", "\u202e", "\x1b[31m", "\ufeff"])
IDS = st.lists(st.one_of(ANY, ACTING), min_size=1, max_size=8).map("".join).filter(str.strip)
EVENTS = st.lists(st.tuples(IDS, IDS), min_size=1, max_size=12)
AS_IT_IS = Columns(strip=False)
"""Spaces around ids are part of them."""
BOUNDED = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def events_of(data: Interactions) -> set[tuple[str, str, float]]:
    """Raw user, raw item, time."""
    assert data.timestamps is not None
    users, items = data.user_ids[data.users], data.item_ids[data.items]
    return set(zip(users, items, data.timestamps.tolist(), strict=True))


def write_csv(path: Path, rows, separator=","):
    with path.open("w", encoding="utf-8", newline="") as file:
        # All quoted: Python 3.11 leaves a lone carriage return bare otherwise.
        writer = csv.writer(file, delimiter=separator, quoting=csv.QUOTE_ALL)
        writer.writerows([("user", "item", "time"), *rows])


def write_json(path: Path, rows, *, ascii_only=False):
    lines = (
        json.dumps({"user": user, "item": item, "time": time}, ensure_ascii=ascii_only)
        for user, item, time in rows
    )
    path.write_bytes(("\n".join(lines) + "\n").encode())


def write_arrow(path: Path, rows):
    users, items, times = (list(column) for column in zip(*rows, strict=True))
    strings = (pa.array(column, pa.string()) for column in (users, items))
    pq.write_table(pa.table(dict(zip(("user", "item"), strings, strict=True), time=times)), path)


def as_frame(path: Path, rows):
    return pd.DataFrame(rows, columns=["user", "item", "time"])


FORMS = {
    "csv": write_csv,
    "tsv": lambda path, rows: write_csv(path, rows, "\t"),
    "json": write_json,
    "escaped json": lambda path, rows: write_json(path, rows, ascii_only=True),
    "parquet": write_arrow,
    "frame": as_frame,
}


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@BOUNDED
@given(pairs=EVENTS)
def test_ids_survive_the_way_in_and_out(tmp_path, form, pairs):
    path, out = tmp_path / "log", tmp_path / "out.parquet"
    rows = [(user, item, time) for time, (user, item) in enumerate(pairs)]
    made = FORMS[form](path, rows)
    data = read_interactions(path if made is None else made, columns=AS_IT_IS)
    assert events_of(data) == set(rows)
    # Out, as a run writes its Parquet files, and in again.
    names = ["user", "item", "time"]
    write_parquet(out, pd.DataFrame(sorted(events_of(data)), columns=names))
    assert events_of(read_interactions(out, columns=AS_IT_IS)) == set(rows)


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
@BOUNDED
@given(pairs=EVENTS)
def test_ids_survive_a_streamed_log(tmp_path, form, pairs):
    path = tmp_path / "log"
    rows = [(user, item, float(time)) for time, (user, item) in enumerate(pairs)]
    FORMS[form](path, rows)
    found = []
    for batch in LargeLog(str(path), LogSettings(columns=AS_IT_IS)):
        assert batch.times is not None
        users, items = batch.user_ids[batch.users], batch.item_ids[batch.items]
        found += list(zip(users, items, batch.times.tolist(), strict=True))
    assert found == rows


# White space separates fields there, and `::` those of a .dat file.
BARE = st.text(
    st.characters(codec="utf-8", exclude_characters='\0 \t\r\n\x0b\x0c:,{"\ufeff'),
    min_size=1,
    max_size=8,
).filter(lambda text: text.strip() and not text.startswith("#"))


@pytest.mark.parametrize("form", ["pairs", "sequences", "inter", "dat"])
@BOUNDED
@given(pairs=st.lists(st.tuples(BARE, BARE), min_size=1, max_size=12))
def test_ids_survive_forms_without_quotes(tmp_path, form, pairs):
    path = tmp_path / "log"
    if form == "sequences":
        items: dict[str, list[str]] = {}
        for user, item in pairs:
            items.setdefault(user, []).append(item)
        lines = [" ".join([user, *own]) for user, own in items.items()]
    else:
        separator = {"pairs": " ", "inter": "\t", "dat": "::"}[form]
        lines = [separator.join(pair) for pair in pairs]
        lines = ["user_id:token\titem_id:token", *lines] if form == "inter" else lines
    path.write_bytes(("\n".join(lines) + "\n").encode())
    data = read_interactions(path, format=form, columns=AS_IT_IS)
    found = zip(data.user_ids[data.users], data.item_ids[data.items], strict=True)
    assert sorted(found) == sorted(pairs)
