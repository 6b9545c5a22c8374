"""Parquet whose values are not what their types promise: refused in a line, wherever it is read."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.reading.histories import HistoryFile
from ufnrec_tf.reading.prepare.event_stream import LargeLog
from ufnrec_tf.reading.readers import LogSettings, read_interactions, read_log

GOOD = pa.array(["u", "v"])
NO_UTF8 = pa.array([b"u", b"v\xff"]).view(pa.string())
"""A writer that checks nothing, or a byte that a disk has turned, leaves such texts."""


def log_with(folder, **columns):
    path = folder / "log.parquet"
    pq.write_table(pa.table({"user": GOOD, "item": GOOD} | columns), path)
    return path


def of_histories(path):
    return list(HistoryFile(path).read(path.parent))


def streamed(path):
    return list(LargeLog(str(path), LogSettings()))


READERS = {"log": read_interactions, "streamed": streamed, "histories": of_histories}
TEXTS = {
    "string": NO_UTF8,
    "large": pa.array([b"u", b"v\xff"], pa.large_binary()).view(pa.large_string()),
    "dictionary": pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int32()), NO_UTF8),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("role", ["user", "item", "timestamp"])
@pytest.mark.parametrize("kind", TEXTS)
def test_texts_that_are_no_utf8_are_refused(tmp_path, reader, role, kind):
    path = log_with(tmp_path, **{role: TEXTS[kind]})
    with pytest.raises(UserError, match=r"log\.parquet"):
        READERS[reader](path)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("role", ["user", "item"])
def test_ids_that_no_text_file_can_hold_are_refused(tmp_path, reader, role):
    path = log_with(tmp_path, **{role: pa.array(["a", "b\0c"])})
    with pytest.raises(UserError, match=r"row 2: .*NUL"):
        READERS[reader](path)


@pytest.mark.parametrize(
    "titles",
    [
        *TEXTS.values(),
        pa.array([2**62, 1], pa.timestamp("us")),  # the year 148,107
        pa.array([1, 2], pa.timestamp("us", tz="No/Where")),
        pa.array([2**30, 1], pa.date32()),
        pa.array([2**62, 1], pa.duration("s")),
    ],
)
def test_titles_that_python_cannot_hold_are_refused(tmp_path, titles):
    items = tmp_path / "items.parquet"
    pq.write_table(pa.table({"item_id": GOOD, "title": titles}), items)
    with pytest.raises(UserError, match=r"items\.parquet: cannot be read as Parquet"):
        read_log(log_with(tmp_path), LogSettings(titles_path=items))


def test_a_name_of_a_column_that_is_no_text(tmp_path):
    path = tmp_path / "log"
    pq.write_table(pa.table({"user": ["u"], "thing": ["i"], "item": ["i"]}), path)
    path.write_bytes(path.read_bytes().replace(b"thing", b"th\xffng"))
    for read in (lambda: read_log(path), lambda: HistoryFile(path)):
        with pytest.raises(UserError, match="cannot be read as Parquet"):
            read()
