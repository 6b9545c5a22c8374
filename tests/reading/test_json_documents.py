"""JSON in other shapes than one flat object a line: read where it is plain, else refused."""

import gzip
import json
import random

import pandas as pd
import pytest

from tests.reading.test_readers import assert_parts, message, raw
from ufnrec_tf.reading import json_documents, text_files
from ufnrec_tf.reading.columns import Columns
from ufnrec_tf.reading.item_tables import read_item_table
from ufnrec_tf.reading.prepare.event_stream import LargeLog
from ufnrec_tf.reading.readers import LogSettings, read_interactions

ROWS = [
    {"user_id": "u1", "item_id": 7, "timestamp": 30, "note": 'a "b"\n{]'},
    {"user_id": "u2", "item_id": "é", "timestamp": 10, "tags": ["x", {"y": "z"}]},
    {"user_id": "u1", "item_id": 1.50, "timestamp": 20, "note": None},
]
EVENTS = {"u1": ["1.5", "7"], "u2": ["é"]}
COLUMNS = {name: [row[name] for row in ROWS] for name in ("user_id", "item_id", "timestamp")}
FRAME = pd.DataFrame(COLUMNS).astype(str)
DOCUMENTS = {
    "array": json.dumps(ROWS),
    "pretty array": json.dumps(ROWS, indent=2, ensure_ascii=False),
    "array of lines": "[\n" + ",\n".join(map(json.dumps, ROWS)) + "\n]\n",
    "arrays": json.dumps(ROWS[:1]) + "\n" + json.dumps(ROWS[1:], indent=1),
    "pretty objects": "\r\n".join(json.dumps(row, indent=4) for row in ROWS),
    "list in an object": json.dumps({"count": 3, "next": None, "events": ROWS}),
    "list in a pretty object": json.dumps({"events": ROWS, "meta": {"pages": [1]}}, indent=2),
    "objects in a line": " ".join(map(json.dumps, ROWS)),
    "columns": json.dumps(COLUMNS),
    "pretty columns": json.dumps(COLUMNS, indent=1),
    **{
        f"{orient} of pandas": FRAME.to_json(orient=orient)
        for orient in ("columns", "index", "split", "records", "table")
    },
}


@pytest.mark.parametrize("block", [8 << 20, 12])
@pytest.mark.parametrize("shape", DOCUMENTS)
def test_documents_are_read_as_lines_of_their_objects(write, monkeypatch, shape, block):
    monkeypatch.setattr(text_files, "BLOCK_BYTES", block)
    if block < 100 and DOCUMENTS[shape].lstrip()[:3] not in ("[{", "[\n{", "[\n "):
        monkeypatch.setattr(text_files, "BLOCK_BYTES", 700)
    for mark in ("", "\ufeff", " \n"):
        assert raw(read_interactions(write(mark + DOCUMENTS[shape]))) == EVENTS
    log = LargeLog(str(write(DOCUMENTS[shape])), LogSettings())
    assert sum(batch.num_events for batch in log) == 3


def test_random_arrays_in_random_pieces(write, monkeypatch):
    rng = random.Random(0)
    words = ["a", "é", "日本", '"', "\\", "{", "]", ",", "\n", "😀", " "]
    for _ in range(60):
        ids = ["".join(rng.choices(words, k=rng.randint(0, 5))) + "x" for _ in range(30)]
        rows = [{"user": rng.choice(ids), "item": rng.choice(ids)} for _ in range(40)]
        text = json.dumps(rows, indent=rng.choice([None, 1]), ensure_ascii=rng.random() < 0.5)
        monkeypatch.setattr(text_files, "BLOCK_BYTES", rng.randint(20, 400))
        expected: dict[str, list[str]] = {}
        for row in rows:
            expected.setdefault(row["user"].strip(), []).append(row["item"].strip())
        assert raw(read_interactions(write(text))) == expected


def test_of_a_compressed_document_jq_is_given_the_content(write):
    text = message(write(gzip.compress(b'{"a": {"b": [{"user": 1}]}}'), "log.gz"))
    assert "jq -c '.a.b[]' <(gunzip -c " in text
    rows = lines(*[{"user": {"id": "u"}, "item": "i"}] * 2)
    assert "' <(gunzip -c " in message(write(gzip.compress(rows.encode()), "log.gz"))


def test_a_title_table_may_be_an_array(write):
    table = read_item_table(write(json.dumps([{"item_id": 1, "title": "One"}], indent=1)))
    assert table is not None and table.titles == {"1": "One"}


def test_one_object_is_one_event_where_nothing_in_it_is_a_list_of_events(write):
    path = write('{\n "user": "u",\n "item": "i",\n "tags": ["a", "b"]\n}')
    assert raw(read_interactions(path)) == {"u": ["i"]}


BROKEN = {
    "[]": "a JSON array without an object",
    '[{"user": "u", "item": "i"}': "ends after object 1 within its array: expected a closing ]",
    '[{"user": "u", "item": "i"}, {"user": "v", "it': "object 2: no whole JSON object",
    '[{"user": "u", "item": "i"}, 5]': "object 2: no whole JSON object (it is 5)",
    '[{"user": "u", "item": "i"}]]': "after object 1: a ] too many",
    '[{"user": "u", "item": "i"},\n[{"user": "v"}]]': "after object 1: a [ too many",
    '[{"user": "u", "item": }]': "object 1: no whole JSON object (Expecting value, line 1)",
    '{\n "user": "u",\n "item": }\n': "object 1: no whole JSON object (Expecting value, line 3)",
    '[{"user": "u", "item": ""}]': "object 1: an empty item id",
    '{"views": [{"user": "u"}], "carts": [{"user": "u"}]}': "jq -c '.views[]' ",
    '{"u1": ["a", "b"], "u2": ["c"]}': "lists of different lengths (keys 'u1', 'u2'; 'u1' has 2)",
    '{"hits": {"total": 1, "hits": [{"_source": {"user": 1}}]}}': "jq -c '.hits.hits[]' ",
    '{"a b": {"1": [{"user": 1}]}}': 'jq -c \'."a b"."1"[]\' ',
    '[["u", "i", 1], ["v", "j", 2]]': "jq -c '.[] | {user_id: .[0], item_id: .[1], timestamp: ",
    '[\n ["u", "i", 1],\n ["v", "j", 2]\n]': "a JSON array that holds no objects",
    '["u", "i"]\n["v", "j"]\n': "a JSON array that holds no objects",
    "[" + '{"a":' * 100_000: "object 1: no whole JSON object (nested too deep)",
}


@pytest.mark.parametrize("text", BROKEN, ids=lambda text: text[:40])
def test_broken_and_ambiguous_documents_are_one_line(write, text):
    assert_parts(message(write(text)), "log.txt", BROKEN[text])


def test_bytes_that_are_no_text_inside_an_array(write):
    text = message(write('[{"user": "u", "item": "caf\xe9"}]'.encode("latin1")))
    assert_parts(text, "log.txt, line 1: byte 0xe9 at byte offset 27", "iconv")


def test_an_object_that_does_not_end_is_not_read_on_and_on(write, monkeypatch):
    monkeypatch.setattr(json_documents, "_MOST_CHARACTERS", 1000)
    monkeypatch.setattr(text_files, "BLOCK_BYTES", 100)
    text = '[{"user": "u", "item": "' + "x" * 5000 + '"}]'
    assert_parts(message(write(text)), "object 1", "it does not end within")


def lines(*rows) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


NESTED = {
    "ids of objects": (
        lines(*[{"user": {"id": "u", "age": 3}, "item": {"id": "i"}}] * 2),
        ["the user 'user' holds an object", "'id', 'age'", "jq -c '.user |= .id | .item |= .id'"],
    ),
    "times of MongoDB": (
        lines(*[{"user": "u", "item": "i", "ts": {"$date": {"$numberLong": "17"}}}] * 2),
        ["the time 'ts' holds an object", '\'.ts |= ."$date"."$numberLong"\'', "time_column=none"],
    ),
    "times in lists": (
        lines(*[{"user": "u", "item": "i", "time": [17]}] * 2),
        ["the time 'time' holds a list", "jq -c '.time = .time[]'"],
    ),
    "dates of MongoDB under any name": (
        lines(*[{"user": "u", "item": "i", "t": {"$date": "2024-01-01"}}] * 2),
        ["the time 't' holds an object", "jq -c '.t |= .\"$date\"'"],
    ),
    "nested times under another name": (
        lines(*[{"user": "u", "item": "i", "viewed_at": [{"sec": 1700000000}]}] * 2),
        ["the time 'viewed_at' holds a list", "jq -c '.viewed_at = .viewed_at[].sec'"],
    ),
    "a late time under another name": (
        lines(*[{"user": "u", "item": "i"}] * 1000, {"user": "u", "item": "j", "viewedAt": 1}),
        ["line 1001: the key 'viewedAt' looks like a time", "time_column=none"],
    ),
    "several items": (
        lines(*[{"user": "u", "item": ["i", "j"]}] * 2),
        ["the item 'item' holds a list", "jq -c '.item = .item[]'"],
    ),
    "sessions": (
        lines(*[{"session": "s", "events": [{"aid": 1, "ts": 2}]}] * 2),
        ["'events' holds a list", "'aid', 'ts'", "jq -c '. + .events[] | del(.events)'"],
    ),
    "a body": (
        lines(*[{"when": 1, "body": {"user": 1, "item": 2}}] * 2),
        ["'body' holds an object", "jq -c '. + .body | del(.body)'"],
    ),
    "one odd line": (
        lines({"user": "u", "item": "i"}, {"user": "u", "item": {"id": "i"}}),
        ["log.txt, line 2: 'item' holds an object"],
    ),
    "a time that comes late": (
        lines(*[{"user": "u", "item": "i"}] * 1000, {"user": "u", "item": "j", "timestamp": 1}),
        ["log.txt, line 1001: the key 'timestamp' looks like a time", "time_column=none"],
    ),
    "a nested time that comes late": (
        lines(*[{"user": "u", "item": "i"}] * 1003, {"user": "u", "item": "j", "date": {"d": 1}}),
        ["log.txt, line 1004: the key 'date' looks like a time"],
    ),
}


@pytest.mark.parametrize("case", NESTED)
def test_nested_and_late_columns_are_refused_with_the_way_out(write, case):
    text, parts = NESTED[case]
    assert_parts(message(write(text)), *parts)


def test_nested_columns_that_nothing_reads_are_left(write):
    rows = [{"user": {"id": 1}, "user_id": "u", "item": "i", "time": {"d": 1}, "tags": [1]}] * 2
    rows[0]["details"] = {"created": "2024-01-01", "seen": [1700000000]}
    data = read_interactions(write(lines(*rows)), columns=Columns(time="none"))
    assert raw(data) == {"u": ["i", "i"]}
    timed = [{**row, "time": 5, "viewed_at": [1700000000]} for row in rows]
    assert raw(read_interactions(write(lines(*timed)))) == {"u": ["i", "i"]}
    late = [{"user": "u", "item": "i"}] * 1001 + [{"user": "u", "item": "i", "time": 1, "tag": 2}]
    assert read_interactions(write(lines(*late)), columns=Columns(time="none")).num_events == 1002
    named = [{"user": "u", "item": "i", "at": [5]}] * 2
    assert_parts(message(write(lines(*named)), columns=Columns(time="at")), ".at = .at[]")
