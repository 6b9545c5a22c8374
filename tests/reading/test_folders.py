"""A folder of files as one log: parts of Spark, sub-folders of Hive, and what is no log."""

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest

from tests.reading.test_readers import assert_parts, message, raw
from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.config import load_config
from ufnrec_tf.reading.columns import Columns
from ufnrec_tf.reading.data_files import DataFile
from ufnrec_tf.reading.folders import files_of, sha256_of_parts
from ufnrec_tf.reading.inspection.inspect_log import inspect
from ufnrec_tf.reading.prepare.prepare import prepare
from ufnrec_tf.reading.prepare.prepared_folder import read_prepared
from ufnrec_tf.reading.readers import LogSettings, read_interactions
from ufnrec_tf.reading.sources import is_raw, load

ROWS = [("u1", "i1", 50), ("u2", "i2", 10), ("u1", "i3", 20), ("u2", "i1", 40), ("u1", "i2", 30)]
EVENTS = {"u1": ["i3", "i2", "i1"], "u2": ["i2", "i1"]}
HEADER = "user_id,item_id,timestamp\n"


def as_csv(rows) -> bytes:
    return (HEADER + "".join(f"{user},{item},{time}\n" for user, item, time in rows)).encode()


def as_json(rows) -> bytes:
    names = HEADER.strip().split(",")
    return "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows).encode()


def as_array(rows) -> bytes:
    names = HEADER.strip().split(",")
    return json.dumps([dict(zip(names, row, strict=True)) for row in rows], indent=1).encode()


def as_inter(rows) -> bytes:
    header = "user_id:token\titem_id:token\ttimestamp:float\n"
    return (header + "".join(f"{user}\t{item}\t{time}\n" for user, item, time in rows)).encode()


def as_parquet(rows) -> bytes:
    return pd.DataFrame(rows, columns=HEADER.strip().split(",")).to_parquet()


WRITERS = {
    "csv": as_csv,
    "csv.gz": lambda rows: gzip.compress(as_csv(rows)),
    "json": as_json,
    "array.json": as_array,
    "inter": as_inter,
    "parquet": as_parquet,
}


@pytest.fixture
def folder(tmp_path):
    """Writes files into a folder and returns its path."""

    def make(files: dict[str, bytes], name: str = "folder") -> Path:
        for file, content in files.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return tmp_path / name

    return make


def parts(write, ending: str) -> dict[str, bytes]:
    return {
        "_SUCCESS": b"",
        ".part-00000.crc": b"crc\0\1",
        f"part-00000.{ending}": write(ROWS[:2]),
        f"part-00001.{ending}": write(ROWS[2:]),
    }


@pytest.mark.parametrize("ending", WRITERS)
def test_parts_are_one_log_in_every_mode(folder, tmp_path, ending, capsys):
    path = folder(parts(WRITERS[ending], ending))
    data = read_interactions(path)
    assert raw(data) == EVENTS and data.source == "folder"
    listed, _, _ = files_of(DataFile(path), is_parquet_asked=False)
    assert [part.name for part in listed] == [f"part-0000{n}.{ending}" for n in (0, 1)]
    assert data.sha256 == sha256_of_parts(listed)
    config = load_config("", [])
    assert is_raw(config, str(path))
    assert raw(load(config, str(path)).interactions) == EVENTS
    inspect(config, str(path), output="", arguments=["x", f"--data={path}"], display=Display())
    assert "2 users, 3 items, 5 events" in capsys.readouterr().out
    workdir = tmp_path / "prepared"
    for _ in range(2):
        prepare(str(path), LogSettings(), workdir=str(workdir), display=Display())
    assert raw(read_prepared(workdir)) == EVENTS
    assert not is_raw(config, str(workdir))
    assert raw(load(config, str(workdir)).interactions) == EVENTS


def test_parts_without_an_event_are_left_out(folder):
    more = {"part-00002.csv": b"", "part-00003.csv": HEADER.encode(), "part-0.csv": HEADER.encode()}
    assert raw(read_interactions(folder({**parts(as_csv, "csv"), **more}))) == EVENTS
    packed = {"a.csv.gz": gzip.compress(b""), "b.csv.gz": gzip.compress(as_csv(ROWS))}
    assert raw(read_interactions(folder(packed, "packed"))) == EVENTS
    only = folder({"a.csv": HEADER.encode(), "b.csv": b""}, "only")
    assert_parts(message(only), "a.csv: no events")


@pytest.mark.parametrize("ending", ["csv", "json", "parquet"])
def test_names_of_folders_are_columns(folder, ending):
    def without_time(rows):
        names = ("user_id", "item_id")
        if ending == "csv":
            return ("user_id,item_id\n" + "".join(f"{u},{i}\n" for u, i, _ in rows)).encode()
        if ending == "json":
            return as_json(rows).replace(b', "timestamp"', b', "rank"')
        return pd.DataFrame([row[:2] for row in rows], columns=names).to_parquet()

    path = folder(
        {
            f"date=2024-01-0{day}/shop=a%2Fb/part.{ending}": without_time(rows)
            for day, rows in ((3, ROWS[:2]), (1, ROWS[2:3]), (2, ROWS[3:]))
        }
    )
    data = read_interactions(path)
    assert raw(data) == {"u1": ["i3", "i2", "i1"], "u2": ["i1", "i2"]}
    assert data.reading is not None
    assert data.reading.columns == {"user": "user_id", "item": "item_id", "time": "date"}
    by_shop = read_interactions(path, columns=Columns(user="shop", time="none"))
    assert list(by_shop.user_ids) == ["a/b"]


def test_a_column_of_the_file_comes_before_a_name_of_its_folder(folder):
    path = folder({f"timestamp=9{n}/part.csv": as_csv(ROWS[n : n + 1]) for n in range(5)})
    assert raw(read_interactions(path)) == EVENTS


def test_a_row_with_quotes_has_the_name_of_its_folder(folder):
    text = b'user,item\n"u,1","say ""i"""\n'
    data = read_interactions(folder({"date=2024-01-02/a.csv": text}))
    assert raw(data) == {"u,1": ['say "i"']}
    assert data.timestamps is not None and data.timestamps.tolist() == [1704153600]


UNLIKE = {
    "no log at all": ({"x.png": b"\x89PNG\r\n\x1a\n\0\0"}, ["it is a picture"]),
    "nothing": ({"_SUCCESS": b"", ".a.crc": b"x"}, ["is a directory without a file of a log"]),
    "other endings": (
        {"log.csv": as_csv(ROWS), "README": b"Hello.\n"},
        ["a directory of differing files, such as README (no ending) and log.csv (.csv)"],
    ),
    "Parquet beside CSV": (
        {"a.csv": as_csv(ROWS), "b.parquet": as_parquet(ROWS)},
        ["a.csv (.csv) and b.parquet (Parquet)", "--config.data.format=parquet"],
    ),
    "other columns": (
        {"a.csv": as_csv(ROWS), "b.csv": b"user_id,item_id\nu1,i1\n"},
        ["b.csv: would be read by columns", "expected the same columns"],
    ),
    "an unread column more": (
        {"a.csv": as_csv(ROWS), "b.csv": as_csv(ROWS).replace(b"timestamp", b"timestamp,x")},
        ["b.csv, line 2: 3 field(s) where the header has 4"],
    ),
    "other names that are not read": (
        {"a.csv": b"user,item,x\nu,i,1\n", "b.csv": b"user,item,y\nu,i,1\n"},
        ["b.csv: other columns than in a.csv (x, y)"],
    ),
    "parts of a cut file": (
        {"a.csv": as_csv(ROWS[:2]), "b.csv": b"u1,i1,50\nu1,i3,20\n"},
        ["b.csv: its first line is not the header of a.csv", "join them again (cat)"],
    ),
    "dates beside numbers": (
        {"a.csv": as_csv(ROWS), "b.csv": as_csv([("u", "i", "2024-01-01")])},
        ["b.csv, line 2", "'2024-01-01'"],
    ),
    "sequences": ({"a.txt": b"u a b c\n", "b.txt": b"u d e f\n"}, ["join the files into one"]),
    "other folders": (
        {"data/a.csv": as_csv(ROWS), "b.csv": as_csv(ROWS)},
        ["is a directory with the sub-folder data"],
    ),
    "a Delta table": ({"_delta_log/0.json": b"{}", "a.parquet": as_parquet(ROWS)}, ["Delta table"]),
    "a job in progress": ({"_temporary/0/a": b"x", "a.csv": as_csv(ROWS)}, ["has not finished"]),
    "a run": ({"config.json": b"{}", "result.json": b"{}"}, ["is", "a work directory"]),
    "a damaged part": ({"a.csv.gz": gzip.compress(as_csv(ROWS))[:-5]}, ["a.csv.gz: cannot be dec"]),
}


@pytest.mark.parametrize("case", UNLIKE)
def test_what_is_no_folder_of_one_log_is_one_line(folder, case):
    files, words = UNLIKE[case]
    assert_parts(message(folder(files)), "folder", *words)


def test_format_parquet_takes_only_the_parquet_files(folder):
    path = folder({"a.parquet": as_parquet(ROWS), "notes.txt": b"x"})
    assert raw(read_interactions(path, format="parquet")) == EVENTS
    with pytest.raises(UserError, match=r"without a \*.parquet file"):
        read_interactions(folder(parts(as_csv, "csv"), "text"), format="parquet")


def test_the_heading_says_which_files_are_read(folder):
    files = {**parts(as_csv, "csv"), "_old.csv": as_csv(ROWS), "_metadata": b"x"}
    reading = read_interactions(folder(files)).reading
    assert reading is not None
    words = ["files: 2, from part-00000.csv to part-00001.csv", "files left out: _old.csv"]
    assert [note.words for note in reading.notes] == words
    both = {"a.parquet": as_parquet(ROWS), "b.txt": b"x"}
    reading = read_interactions(folder(both, "both"), format="parquet").reading
    assert reading is not None
    assert reading.notes[1].words == "files left out: b.txt"


def test_the_hash_is_of_names_and_contents(folder):
    first = read_interactions(folder(parts(as_csv, "csv"), "a")).sha256
    assert read_interactions(folder(parts(as_csv, "csv"), "b")).sha256 == first
    other = {name.replace("part", "p"): data for name, data in parts(as_csv, "csv").items()}
    assert read_interactions(folder(other, "c")).sha256 != first
