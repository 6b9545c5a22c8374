"""Batch recommendations by file: forms of input, counts, round trips, and every clear error."""

import csv
import os
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.serving import (
    ITEM_IDS,
    NUM_ITEMS,
    FakeBackbone,
    assert_same_ranking,
    brute_force,
    write_export,
)
from ufnrec_tf.cli.recommend import file_histories
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.reading.histories import HistoryFile
from ufnrec_tf.recommend import batch as module
from ufnrec_tf.recommend import scoring
from ufnrec_tf.recommend.batch import recommend
from ufnrec_tf.recommend.scoring import ItemLists

BACKBONE = FakeBackbone()


@pytest.fixture(scope="module")
def export_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "export" / "1"
    write_export(path, BACKBONE)
    return path


@pytest.fixture
def run(export_dir, tmp_path):
    """Writes an input, recommends, and returns the summary and the output's rows."""

    def call(content, *, top_k=3, **settings):
        data = content.encode() if isinstance(content, str) else content
        (tmp_path / "in").write_bytes(data)
        histories = file_histories(tmp_path / "in")
        summary = recommend(export_dir, histories, tmp_path / "out.csv", top_k=top_k, **settings)
        assert sorted(os.listdir(tmp_path)) == ["in", "out.csv"]
        with open(tmp_path / "out.csv", encoding="utf-8", newline="") as file:
            return summary, list(csv.reader(file))

    return call


def assert_answers(rows, name, history, k=3):
    """The rows of one history are its k best by brute force."""
    mine = [row for row in rows if row[0] == name]
    assert [row[1] for row in mine] == [str(rank) for rank in range(1, len(mine) + 1)]
    ids = [row[2].encode() for row in mine]
    scores = np.array([row[3] for row in mine], np.float32)
    expected = brute_force(BACKBONE, history, k)
    assert len(mine) == len(expected)
    assert_same_ranking(expected, ids, scores)


def test_histories_one_a_line(run):
    summary, rows = run("i7 i8 nope\n\ni9 naïve  no\u00a0break\r\nnope\n")
    assert rows[0] == ["row", "rank", "item", "score", "known_items"]
    assert [row[4] for row in rows[1:]] == [known for known in "2030" for _ in range(3)]
    assert [row[0] for row in rows[1:]] == [line for line in "1234" for _ in range(3)]
    assert_answers(rows, "1", ["i7", "i8"])
    assert_answers(rows, "2", [])
    assert_answers(rows, "3", ["i9", "naïve", "no\u00a0break"])
    assert_answers(rows, "4", [])
    assert summary == ("histories", 4, 7, 2, 2, 12, ("nope", "a,b"), (), ())


def test_rows_with_a_header_keep_quoted_ids(run):
    summary, rows = run(
        '\ufeffuser,item\n"u,1","a,b"\nu2,i9\n\n"u,1","say ""hi"""\nu2,nope\n', top_k=NUM_ITEMS
    )
    assert rows[0] == ["user", "rank", "item", "score", "known_items"]
    assert list(dict.fromkeys(row[0] for row in rows[1:])) == ["u,1", "u2"]
    assert_answers(rows, "u,1", ["a,b", 'say "hi"'], NUM_ITEMS)
    assert_answers(rows, "u2", ["i9"], NUM_ITEMS)
    assert {"a,b", 'say "hi"', "naïve", "no\u00a0break"} < {r[2] for r in rows if r[0] == "u2"}
    assert summary == ("rows", 2, 4, 1, 0, 28 + 29, ("", ""), (), ())


def test_rows_without_a_header_are_detected(run):
    summary, rows = run("u1,i7\nu1,i8\nu2,i9")
    assert (summary.form, summary.num_histories) == ("rows", 2)
    assert_answers(rows, "u1", ["i7", "i8"])
    assert_answers(rows, "u2", ["i9"])


@pytest.mark.slow
def test_rows_keep_the_order_of_a_users_events(run):
    _, scattered = run("u1,i7\nu2,i9\nu1,i8\n")
    _, grouped = run("u1,i7\nu1,i8\nu2,i9\n")
    _, reverse = run("u1,i8\nu1,i7\nu2,i9\n")
    assert scattered == grouped != reverse


def test_ids_with_commas_in_histories(run):
    summary, rows = run("a,b i7\nsay i8 a,b\ni9\n")
    assert (summary.form, summary.num_unknown_ids) == ("histories", 1)
    assert_answers(rows, "1", ["a,b", "i7"])
    assert_answers(rows, "2", ["i8", "a,b"])


@pytest.mark.slow
def test_batches_do_not_change_the_answer(run, monkeypatch):
    rng = np.random.default_rng(0)
    lines = [" ".join(rng.choice(ITEM_IDS[5:], rng.integers(0, 12))) for _ in range(23)]
    text = "\n".join(lines) + "\n"
    summary, whole = run(text)
    by_size = [run(text, batch_size=size)[1] for size in (1, 7)]
    monkeypatch.setattr(scoring, "_MAX_IDS", 20)
    by_size.append(run(text)[1])
    for rows in by_size:
        assert [row[:3] for row in rows] == [row[:3] for row in whole]
    assert summary.num_histories == 23


def test_batches_bound_rows_and_padded_ids(monkeypatch):
    monkeypatch.setattr(scoring, "_MAX_IDS", 12)
    histories = [(str(n), ["i"] * length) for n, length in enumerate([1, 2, 3, 4, 5, 40, 1, 1, 1])]
    batches = list(scoring.batches_of(histories, batch_size=3, num_items=1))
    assert [len(batch) for batch in batches] == [3, 2, 1, 3]
    assert [history for batch in batches for history in batch] == histories


def test_fewer_items_left_than_asked_for(run):
    seen = list(ITEM_IDS[5:])
    summary, rows = run(" ".join(seen) + "\n", top_k=10**9)
    assert {row[2] for row in rows[1:]} == {"a,b", 'say "hi"', "naïve", "no\u00a0break"}
    assert summary.num_recommendations == 4


def test_scores_read_back_as_the_same_floats(run, export_dir):
    _, rows = run("i7 i8\n")
    model = tf.saved_model.load(str(export_dir))
    scores = model.recommend(tf.constant([["i7", "i8"]]), 3)["scores"][0].numpy()
    np.testing.assert_array_equal(np.array([row[3] for row in rows[1:]], np.float32), scores)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("x y\nz\n", "2 histories (such as 'x'; it has such as 'a,b')"),
        ("user,item\nu1,I7\nu2,7\nu3,I8\n", "3 histories (such as 'I7'; it has such as"),
        ("\n\nx\n", "3 histories (such as 'x'; it has"),
    ],
)
def test_nothing_is_written_where_no_item_is_known(run, tmp_path, content, words):
    message = f"in: the model knows no item of any of its {words}"
    with pytest.raises(UserError, match=re.escape(message)):
        run(content)
    assert os.listdir(tmp_path) == ["in"]


@pytest.mark.slow
def test_lists_bound_all_answers(run):
    whole = tuple(row[2] for row in run("i7 i8\n", top_k=NUM_ITEMS)[1][1:])
    summary, rows = run("i7 i8\n\n", lists=ItemLists(exclude=(whole[0], "nope", "nope")))
    assert [row[2] for row in rows[1:4]] == list(whole[1:4])
    assert (summary.unknown_exclude, summary.unknown_allow) == (("nope",), ())
    summary, rows = run("i7 i8\n", lists=ItemLists(whole[:1], (*whole[:3], "i7", "gone")))
    assert [row[2] for row in rows[1:]] == list(whole[1:3])
    assert summary.unknown_allow == ("gone",)
    with pytest.raises(UserError, match="the model knows none of its 2 items, such as 'x'"):
        run("i7\n", lists=ItemLists(allow=("x", "y", "x")))


@pytest.mark.parametrize(
    ("content", "form", "odd_line"),
    [
        ("a b\nc\n", "lines", 0),
        ("\n\na b\n", "lines", 0),
        ("a\tb\nc\td\n", "lines", 0),
        ("book\tpen\n", "lines", 0),  # items, though a column may be called book
        ("a,b\nc,d\n", "rows", 0),
        ("a,b\nc,d\na,e\n", "rows", 0),
        ("user,item\na,b\n", "csv", 0),
        ("user_id,timestamp,item_id\na,1,b\n", "csv", 0),
        ("user\titem\na\tb\n", "csv", 0),
        ("user_id:token\titem_id:token\na\tb\n", "inter", 0),
        ('{"user": "a", "item": "b"}\n', "jsonl", 0),
        ("a::b::5::1\n", "dat", 0),
        ("a,b\nc,d,e\n", "lines", 2),
        ("a,b\nc,\n", "lines", 2),
        ('a,b\n"c\nd\n', "lines", 2),
        ('"c d\ne\n', "lines", 0),
        ("a,b,c d\n", "lines", 0),
    ],
)
def test_form_is_detected(tmp_path, content, form, odd_line):
    (tmp_path / "in").write_text(content)
    file = HistoryFile(tmp_path / "in")
    assert (file.format, file.odd_line) == (form, odd_line)


def test_quoted_line_ends_stay_in_an_id(tmp_path):
    (tmp_path / "in").write_bytes(b'user,item\nu,"a\nb"\nu,c\n')
    assert list(HistoryFile(tmp_path / "in").read(tmp_path)) == [("u", ["a\nb", "c"])]


def test_lines_of_old_spreadsheets_are_histories(tmp_path):
    (tmp_path / "in").write_bytes(b"i7\ri8 i9\r")
    file = HistoryFile(tmp_path / "in")
    assert (file.total, list(file.read(tmp_path))) == (2, [("1", ["i7"]), ("2", ["i8", "i9"])])


def test_columns_and_order_of_a_log(run):
    """Like the log of a run: any names, any order, oldest first by time."""
    _, expected = run("u1,i7\nu1,i8\n")
    for text in (
        "user,item,time\nu1,i8,5\nu1,i7,3\n",
        "item,user\ni7,u1\ni8,u1\n",
        "timestamp\tproduct_id\tcustomer_id\n2024-01-02\ti8\tu1\n2024-01-01\ti7\tu1\n",
    ):
        summary, rows = run(text)
        assert (summary.form, rows) == ("rows", expected)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "in: the file is empty: expected histories, one a line"),
        (b"\n \n\n", "in: the file is empty: expected histories, one a line"),
        (b"user,item\n\n", "in: a header and no events"),
        (b"user,item\nu1,i7\nu1\n", "in, line 3: 1 field(s) where the header has 2"),
        (b"user,item\nu1,i7,5\n", "in, line 2: 3 field(s) where the header has 2"),
        (b"user,item\nu1,i7\n,i8\n", "in, line 3: an empty user id"),
        (b"user,item\nu1,\n", "in, line 2: an empty item id"),
        (b'user,item\nu1,i7\nu1,"i8\n', "in, line 3: the row that begins here is not readable"),
        (b"user,thing\nu1,i7\n", "in, line 1: no item column among 'user', 'thing'"),
        (b"user,item,time\nu1,i7,noon\n", "in, line 2: time 'noon' is not a number"),
        (b"u1,i7\nu1,i8,9\nu1,i9\n", "in, line 2: expected `user,item` as in the lines before"),
        (b"i7 i8\ncaf\xe9 i9\n", "in, line 2: byte 0xe9 at byte offset 9"),
        (b"u1,i7\nu1,\xff\n", "in, line 2: byte 0xff at byte offset 9"),
        (b"i7\ni\x008\n", "in, line 2: a NUL byte"),
        (b"i7\ri8\ni9\r\n", "in, line 1: has a carriage return inside"),
        (b"\x1f\x8b\x08\x00abc", "in: cannot be decompressed as gzip (Truncated"),
        (b"PK\x03\x04abc", "in: cannot be decompressed as zip (File is not"),
    ],
)
def test_malformed_input_is_one_line_with_its_place(run, tmp_path, content, message):
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        run(content)
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["in"]


@pytest.mark.parametrize(
    "name, message",
    [("none", "no such file: check the path given as --histories"), (".", "not a regular file")],
)
def test_missing_input(export_dir, tmp_path, name, message):
    with pytest.raises(UserError, match=message):
        recommend(export_dir, file_histories(tmp_path / name), tmp_path / "out.csv", top_k=3)


@pytest.mark.parametrize("settings", [{"top_k": 0}, {"top_k": -4}, {"top_k": 3, "batch_size": 0}])
def test_numbers_below_one(run, settings):
    with pytest.raises(UserError, match="must be a positive integer"):
        run("i7\n", **settings)


@pytest.mark.parametrize(
    "output, message",
    [
        ("none/out.csv", "its folder .*/none does not exist"),
        ("new/", r"is a folder. Give --output a file in it, such as .*/new/out\.csv"),
        (".", r"is a folder. Give --output a file in it, such as .*/out\.csv"),
        ("in", "is also the input"),
        ("out.JSON", "are written as CSV or Parquet, not as .JSON. End the name of --output with"),
        ("out.gz", "are written as CSV or Parquet, not as .gz"),
        ("/dev/null", "is not a regular file"),
        ("/dev/stdout", "is not a regular file"),
        ("/proc/self/fd/1", "is not a regular file"),
    ],
)
def test_output_that_cannot_be(export_dir, tmp_path, output, message):
    (tmp_path / "in").write_text("i7\n")
    output = os.path.join(tmp_path, output)
    with pytest.raises(UserError, match=message):
        recommend(export_dir, file_histories(tmp_path / "in"), output, top_k=3)
    assert os.listdir(tmp_path) == ["in"]


def test_output_through_a_link_keeps_the_link(export_dir, tmp_path):
    (tmp_path / "in").write_text("i7\n")
    (tmp_path / "link.csv").symlink_to("real.csv")
    recommend(export_dir, file_histories(tmp_path / "in"), tmp_path / "link.csv", top_k=3)
    assert (tmp_path / "link.csv").is_symlink()
    assert len((tmp_path / "real.csv").read_text().splitlines()) == 4


def test_failure_keeps_the_old_output(run, tmp_path, monkeypatch):
    run("i7\n")
    before = (tmp_path / "out.csv").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "replace", full)
    with pytest.raises(UserError, match="cannot be written: No space left on device"):
        run("i8\n")
    assert sorted(os.listdir(tmp_path)) == ["in", "out.csv"]
    assert (tmp_path / "out.csv").read_bytes() == before


def test_no_export(tmp_path):
    (tmp_path / "in").write_text("i7\n")
    with pytest.raises(UserError, match="Run --mode=train or --mode=export"):
        recommend(
            tmp_path / "export" / "1",
            file_histories(tmp_path / "in"),
            tmp_path / "out.csv",
            top_k=3,
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    "file",
    ["ufnrec.json", "saved_model.pb", "variables/variables.index", "variables/variables.data"],
)
@pytest.mark.parametrize("damage", ["removed", "cut", "overwritten"])
def test_damaged_export(export_dir, tmp_path, file, damage):
    path = shutil.copytree(export_dir, tmp_path / "1")
    (broken,) = path.glob(file + "*")
    if damage == "removed":
        broken.unlink()
    elif damage == "cut":
        broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
    else:
        broken.write_bytes(b"\xfe" * broken.stat().st_size)
    (tmp_path / "in").write_text("i7\n")
    words = "the exported model is damaged|is not what was written"
    with pytest.raises(UserError, match=words) as caught:
        recommend(path, file_histories(tmp_path / "in"), tmp_path / "out.csv", top_k=3)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.csv").exists()
