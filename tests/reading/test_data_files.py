"""Bytes of all sorts: compressed files, pipes, and files that are no text."""

import bz2
import errno
import gzip
import hashlib
import io
import lzma
import os
import sqlite3
import tarfile
import threading
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import feather, orc

from tests.reading.test_readers import assert_parts, message, raw
from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.reading import compressed, data_files, text_files
from ufnrec_tf.reading.data_files import DataFile, refuse_pipe
from ufnrec_tf.reading.filters import Filters, read_users
from ufnrec_tf.reading.histories import HistoryFile
from ufnrec_tf.reading.item_tables import read_item_table
from ufnrec_tf.reading.prepare.prepare import prepare
from ufnrec_tf.reading.prepare.prepared_folder import read_prepared
from ufnrec_tf.reading.readers import LogSettings, read_interactions

CSV = b"user_id,item_id,timestamp\nu1,i1,30\nu2,i2,10\nu1,i3,20\n"
EVENTS = {"u1": ["i3", "i1"], "u2": ["i2"]}
LOGS = {
    "csv": CSV,
    "inter": b"user_id:token\titem_id:token\ttimestamp:float\nu1\ti1\t30\nu2\ti2\t10\nu1\ti3\t20\n",
    "jsonl": b'{"user": "u1", "item": "i3"}\n{"user": "u2", "item": "i2"}\n'
    b'{"user": "u1", "item": "i1"}\n',
    "pairs": b"u1 i3\nu2 i2\nu1 i1\n",
    "sequences": b"u1 i3 i1\nu2 i2\n",
}


def zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


def zipped(*contents: bytes, names: tuple[str, ...] = ("log.csv", "b.csv", "c.csv")) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in zip(names, contents, strict=False):
            archive.writestr(name, content)
    return file.getvalue()


def tarred(content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo("log.csv")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd,
    "zip": zipped,
}


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize("form", LOGS)
def test_compressed_logs_are_read_as_plain_ones_whatever_their_name(write, kind, form):
    path = write(PACK[kind](LOGS[form]))
    data = read_interactions(path)
    assert raw(data) == EVENTS
    assert data.reading is not None and data.reading.format == form
    assert data.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", ["gzip", "bz2", "xz", "zstd"])
def test_files_joined_after_compression_are_read_whole(write, kind):
    lines = CSV.splitlines(keepends=True)
    data = b"".join(PACK[kind](line) for line in [*lines[:2], b"", *lines[2:], b""])
    assert raw(read_interactions(write(data))) == EVENTS
    for rest in (CSV, b"x"):
        assert_parts(message(write(data + rest)), "cannot be decompressed", "Copy it again")


@pytest.mark.parametrize("kind", PACK)
def test_a_damaged_or_cut_file_is_one_line(write, kind):
    """Random bytes, since a short text may decompress whole before its end is missed."""
    whole = PACK[kind](
        b"user,item\n" + b"".join(b"u%d,i%d\n" % (n % 89, n % 83) for n in range(5000))
    )
    for cut in (len(whole) // 2, len(whole) - 1, 12):
        text = message(write(whole[:cut]))
        assert_parts(text, f"log.txt: cannot be decompressed as {kind} (", "cut short")


@pytest.mark.parametrize("kind", PACK)
def test_nothing_in_a_compressed_file(write, kind):
    assert_parts(message(write(PACK[kind](b""))), "log.txt: the file is empty")
    assert_parts(message(write(PACK[kind](CSV[:26]))), "a header and no events")


@pytest.mark.parametrize("kind", PACK)
def test_what_is_packed_twice_is_refused(write, kind):
    for inner in (gzip.compress(CSV), zipped(CSV), parquet(), tarred(CSV)):
        path = write(PACK[kind](inner))
        text = message(path)
        assert_parts(text, "log.txt: ")
        assert "unpack it" in text


def test_a_zip_archive_of_several_files_names_them(write):
    assert_parts(
        message(write(zipped(CSV, CSV))), "a zip archive of 2 files (log.csv, b.csv)", "unzip -p "
    )
    assert_parts(message(write(zipped())), "a zip archive of 0 files (nothing)")
    beside = zipped(CSV, b"x", b"", names=("in/log.csv", "__MACOSX/in/._log.csv", "in/"))
    assert raw(read_interactions(write(beside))) == EVENTS


def test_what_expands_too_far_is_refused(write, monkeypatch):
    monkeypatch.setattr(compressed, "MIN_LIMIT", 1 << 20)
    bomb = gzip.compress(b"user,item\n" + b"u,i\n" * (1 << 20))
    text = message(write(bomb))
    assert_parts(text, "expands to more than 1,048,576 bytes, 200 times its size", "gunzip")


def test_a_compressed_log_goes_in_blocks(write, monkeypatch):
    monkeypatch.setattr(text_files, "BLOCK_BYTES", 64)
    rows = [f"u{n % 7},i{n},{n}" for n in range(500)]
    plain = ("user,item,time\n" + "\n".join(rows)).encode()
    expected = raw(read_interactions(write(plain)))
    for pack in PACK.values():
        assert raw(read_interactions(write(pack(plain)))) == expected


@pytest.mark.slow
def test_size_of_the_text_is_estimated(write, monkeypatch):
    monkeypatch.setattr(data_files, "_SAMPLE_BYTES", 1 << 20)
    monkeypatch.setattr(compressed, "_INPUT_BYTES", 1 << 12)
    text = os.urandom(1 << 20).hex().encode()
    for pack in PACK.values():
        # Bzip2 packs blocks of 900 kB, of which the sample holds one and a bit.
        assert 0.5 < DataFile(write(pack(text))).text_size / len(text) < 1.1
        assert DataFile(write(pack(CSV))).text_size == len(CSV)


@pytest.mark.parametrize("kind", PACK)
def test_other_inputs_may_be_compressed_too(write, tmp_path, kind):
    pack = PACK[kind]
    for name, beside in (("a.inter", "a.item.gz"), ("b.inter.zst", "b.item"), ("c.inter.gz",) * 2):
        log = write(pack(LOGS["inter"]), name)
        beside = beside.replace("inter", "item")
        write(pack(b"item_id:token\ttitle:token_seq\ni1\tOne\ni3\tThree\n"), beside)
        titles = read_interactions(log).item_titles
        assert titles is not None and set(titles) == {"", "One", "Three"}
    table = read_item_table(write(pack(b"item,title\ni2,Two\n"), "titles"))
    assert table is not None and table.titles == {"i2": "Two"}
    assert read_users(str(write(pack(b"u1\nu2\n"), "users"))) == {"u1", "u2"}
    (tmp_path / "scratch").mkdir()
    histories = HistoryFile(write(pack(CSV), "histories"))
    assert list(histories.read(tmp_path / "scratch")) == [("u1", ["i3", "i1"]), ("u2", ["i2"])]
    lines = HistoryFile(write(pack(b"i1 i2\ni3\n"), "lines"))
    assert list(lines.read(tmp_path / "scratch")) == [("1", ["i1", "i2"]), ("2", ["i3"])]
    prepare(str(log), LogSettings(), workdir=str(tmp_path / "w"), display=Display())
    assert raw(read_prepared(tmp_path / "w")) == EVENTS
    prepare(str(log), LogSettings(), workdir=str(tmp_path / "w"), display=Display())


# ---- pipes


@pytest.fixture
def pipe(tmp_path):
    """Returns a pipe that gives its content once; the end of the test waits for its writer."""
    writers: list[threading.Thread] = []

    def fill(path: Path, content: bytes) -> None:
        with suppress(BrokenPipeError):  # where its reader fails
            path.write_bytes(content)

    def make(content: bytes) -> Path:
        path = tmp_path / f"pipe{len(writers)}"
        os.mkfifo(path)
        writers.append(threading.Thread(target=fill, args=(path, content), daemon=True))
        writers[-1].start()
        return path

    yield make
    for writer in writers:
        writer.join(timeout=10)
        assert not writer.is_alive()


def parquet() -> bytes:
    file = io.BytesIO()
    frame = pd.DataFrame({"user": ["u1", "u2", "u1"], "item": ["i3", "i2", "i1"]})
    frame.to_parquet(file)
    return file.getvalue()


@pytest.mark.parametrize(
    "content", [*LOGS.values(), gzip.compress(CSV), zipped(CSV), parquet()], ids=len
)
def test_a_pipe_is_read_whole(pipe, content):
    data = read_interactions(pipe(content))
    assert raw(data) == EVENTS
    assert data.sha256 == hashlib.sha256(content).hexdigest()


def test_a_long_pipe_loses_nothing_wherever_it_goes(pipe, write, tmp_path):
    text = "user,item,time\n" + "".join(f"u{n % 97},i{n % 89},{n}\n" for n in range(2400))
    expected = raw(read_interactions(write(text)))
    assert raw(read_interactions(pipe(text.encode()))) == expected
    prepare(str(pipe(text.encode())), LogSettings(), workdir=str(tmp_path / "w"), display=Display())
    assert raw(read_prepared(tmp_path / "w")) == expected
    (tmp_path / "scratch").mkdir()
    histories = HistoryFile(pipe(text.encode()))
    assert dict(histories.read(tmp_path / "scratch")) == expected
    titles = "item,title\n" + "".join(f"i{n},T{n}\n" for n in range(2400))
    table = read_item_table(pipe(titles.encode()))
    assert table is not None and table.titles is not None and len(table.titles) == 2400


def test_an_empty_pipe_and_a_device(pipe):
    assert_parts(message(pipe(b"")), "pipe0: the file is empty")
    assert_parts(message("/dev/null"), "/dev/null: is not a regular file", "a pipe")
    assert_parts(message("/dev/zero"), "/dev/zero: is not a regular file")


def test_where_a_pipe_is_read_again_it_is_refused(tmp_path, write):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with pytest.raises(UserError, match="is a pipe or a device, which can be read only once"):
        refuse_pipe(path, flag="--data", why="each run reads it again")
    text = message(write(CSV), filters=Filters(exclude_users=str(path)))
    assert_parts(text, "--config.data.exclude_users=", "is a pipe", "Write it to a file")


def test_a_pipe_that_cannot_be_copied(pipe, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(data_files.tempfile, "tempdir", None)
    monkeypatch.setattr(data_files.shutil, "copyfileobj", full)
    assert_parts(message(pipe(CSV)), "pipe0: could not be copied", "No space left", "TMPDIR")
    assert [path.name for path in tmp_path.iterdir()] == ["pipe0"]
    monkeypatch.setattr(data_files.tempfile, "mkstemp", full)
    assert_parts(message(pipe(CSV)), "pipe1: could not be copied", "No space left", "TMPDIR")


def test_the_copy_of_a_pipe_goes_with_its_file(pipe):
    file = DataFile(pipe(CSV))
    local = file.local
    assert local.read_bytes() == CSV and str(local) != file.name
    del file
    assert not local.exists()


# ---- what is no text


def test_a_file_that_is_cut_within_a_character_says_so(write):
    text = message(write("user,item\nu,é".encode()[:-1]))
    assert_parts(text, "log.txt, line 2: byte 0xc3", "cut short; copy it again")
    assert_parts(message(write(b"user,item\nu,\xe9\nv,a\n")), "line 2", "WINDOWS-1252")
    assert_parts(message(write(b"user,item\nu,\0\nv,a\n")), "line 2: a NUL byte", "tr -d")


def database(tmp_path: Path) -> bytes:
    connection = sqlite3.connect(tmp_path / "made.db")
    connection.execute("create table events (user, item)")
    connection.commit()
    connection.close()
    return (tmp_path / "made.db").read_bytes()


def written(write_to) -> bytes:
    file = io.BytesIO()
    write_to(file)
    return file.getvalue()


TABLE = pa.table({"user": ["u1"], "item": ["i1"]})
BINARY = {
    "workbook (xlsx)": lambda _: zipped(
        b"<x/>", b"<y/>", names=("[Content_Types].xml", "xl/w.xml")
    ),
    "document of LibreOffice": lambda _: zipped(
        b"x", b"<y/>", names=("mimetype", "META-INF/manifest.xml")
    ),
    "arrays of NumPy (npz)": lambda _: zipped(b"\x93NUMPY", names=("arr_0.npy",)),
    "workbook or document of old Office (xls)": lambda _: (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600
    ),
    "an SQLite database": database,
    "an ORC file": lambda _: written(lambda file: orc.write_table(TABLE, file)),
    "an Arrow or Feather file": lambda _: written(lambda file: feather.write_feather(TABLE, file)),
    "a pickle": lambda _: b"\x80\x05\x95\x10\0\0\0\0\0\0\0]\x94(K\x01K\x02e.",
    "an array of NumPy": lambda _: b"\x93NUMPY\x01\0v\0{'descr': '<f8'}",
    "an HDF5 file": lambda _: b"\x89HDF\r\n\x1a\n\0\0",
    "a PDF document": lambda _: b"%PDF-1.7\n%\xe2\xe3\n1 0 obj",
    "a picture": lambda _: b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "a 7z archive": lambda _: b"7z\xbc\xaf\x27\x1c\0\x04",
    "a tar archive": lambda _: tarred(CSV),
    "a web page": lambda _: b"<!DOCTYPE html>\n<html><body>404</body></html>",
    "a pointer of Git LFS": lambda _: (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\n"
    ),
    "a binary file of": lambda _: bytes(1 << 20),
    "a binary file": lambda _: bytes(range(256)) * 9,
}


@pytest.mark.parametrize("what", BINARY)
@pytest.mark.parametrize("form", ["auto", "csv"])
def test_a_file_that_is_no_text_is_named(write, tmp_path, what, form):
    text = message(write(BINARY[what](tmp_path)), format=form)
    assert_parts(text, "log.txt: expected text, but it is ", what)
    for wrong in ("LATIN1", "unzip"):
        assert wrong not in text


@pytest.mark.parametrize("word", ["ORC", "PARE", "Obj", "BZh9", "7z", "LZIP", "MZ", "%PDF", "FEA1"])
def test_an_id_may_begin_like_a_binary_file(write, word):
    assert raw(read_interactions(write(f"{word} a\n{word} b\n"))) == {word: ["a", "b"]}
