"""Readers at the edges: odd files that were once misread, and random ids through a CSV file."""

import csv

import numpy as np
import pytest

from tests.reading.test_readers import message, raw
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.reading.columns import Columns
from ufnrec_tf.reading.formats import detect_format
from ufnrec_tf.reading.prepare.event_stream import LargeLog
from ufnrec_tf.reading.readers import LogSettings, read_interactions

# What CSV, pandas or a careless reader might change in an id.
ALPHABET = [
    *"ab01.-+eE#%&;:|'\"\\/,\t\n\r ",
    "\r\n",
    "é",
    "e\u0301",
    "日",
    "😀",
    "\u00a0",
    "\u2028",
]


def random_ids(rng: np.random.Generator, count: int) -> list[str]:
    words = ("".join(rng.choice(ALPHABET, size=rng.integers(1, 8))) for _ in range(count))
    return [word if word.strip() else f"x{word}" for word in words]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("separator", [",", "\t"])
def test_random_ids_survive_a_csv_file(tmp_path, seed, separator):
    rng = np.random.default_rng(seed)
    users, items = random_ids(rng, 8), random_ids(rng, 30)
    events = [(users[rng.integers(8)], items[rng.integers(30)]) for _ in range(200)]
    with open(tmp_path / "log.csv", "w", encoding="utf-8", newline="") as file:
        # All quoted: Python 3.11 leaves a lone carriage return bare otherwise.
        writer = csv.writer(file, delimiter=separator, quoting=csv.QUOTE_ALL)
        writer.writerows([("user", "item"), *events])
    expected: dict[str, list[str]] = {}
    for user, item in events:
        expected.setdefault(user, []).append(item)
    data = read_interactions(tmp_path / "log.csv", columns=Columns(strip=False))
    assert raw(data) == expected
    assert list(data.user_ids) == list(expected)


def test_line_ends_may_be_mixed_even_in_the_header(write):
    assert raw(read_interactions(write("user,item\ru,a\nu,b\r\nv,c\r"))) == {
        "u": ["a", "b"],
        "v": ["c"],
    }


def test_blank_line_of_tabs_above_a_header_is_skipped(write):
    path = write("\t\t\nuser\titem\tnote\nu\ta\tx\n\t\t\nu\tb\ty\n")
    assert raw(read_interactions(path)) == {"u": ["a", "b"]}


def test_id_that_looks_like_the_start_of_a_parquet_file(write):
    assert raw(read_interactions(write("PAR1 a\nPAR1 b\n"))) == {"PAR1": ["a", "b"]}


def test_damaged_parquet_is_told(write):
    path = write(b"PAR1\x15\x04\0\0rows\0\0PAR1")
    assert "log.txt: cannot be read as Parquet" in message(path)
    text = message(path, format="csv")
    assert "log.txt: expected text, but it is a parquet file: give --config.data.format" in text


def test_offset_counts_the_byte_order_mark(write):
    text = message(write(b"\xef\xbb\xbfu a\nu \xe9\n"))
    assert "log.txt, line 2: byte 0xe9 at byte offset 9 (byte 3 of the line)" in text


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("timestamp user_id item_id", "1 u a\n2 u b\n"),
        ("user_id rating item_id", "u 2 a\nu 1 b\n"),
        ("item_id user_id", "a u\nb u\n"),
    ],
)
def test_header_of_spaces_in_any_order_is_no_sequence(write, header, rows):
    data = read_interactions(write(f"{header}\n{rows}"))
    assert raw(data) == {"u": ["a", "b"]}
    text = message(
        write(f"{header}\n{rows}"), format="pairs" if "item_id u" in header else "sequences"
    )
    assert "log.txt, line 1" in text and "looks like a header" in text
    assert "--config.data.format=csv" in text


def test_words_in_a_ragged_sequences_file_are_no_header(write):
    path = write("u1 book member\nu2 game\nu3 a b c d\n")
    assert detect_format(path) == "sequences"
    assert raw(read_interactions(path))["u1"] == ["book", "member"]


def test_padding_has_no_title(write):
    titles = write("item,title\n,Blank\na,A\n", "titles.csv")
    data = read_interactions(write("u a\n"), titles_path=titles)
    assert data.item_titles is not None
    assert data.item_titles.tolist() == ["", "A"]


@pytest.mark.parametrize("content", [None, "", b"\xef\xbb\xbf\n"])
def test_bad_titles_file_names_its_own_flag(write, tmp_path, content):
    log = write("u a\n")
    path = tmp_path / "titles.csv" if content is None else write(content, "titles.csv")
    text = message(log, titles_path=path)
    assert "titles.csv" in text and "--config.data.titles" in text
    assert "--data" not in text and "one event" not in text


def test_a_long_name_fills_no_screen(write):
    """Of a line that is an error, beginning and end are shown: what is wrong, what mends it."""
    name = "x" * 20_000
    path = write(f"user,item,{name}\nu,a,soon\n")
    with pytest.raises(UserError) as raised:
        read_interactions(path, columns=Columns(time=name))
    text = str(raised.value)
    assert len(text) < 2500
    assert text.startswith(f"{path}, line 2: xxx") and " [...] xxx" in text
    assert text.endswith("--config.data.time_column=none.")


@pytest.mark.parametrize("form", ["csv", "jsonl", "auto"])
def test_a_file_of_unicode_spaces_alone_is_refused(write, form):
    path = write("\u0085  \n\u00a0\n")
    with pytest.raises(UserError):
        read_interactions(path, format=form)
    with pytest.raises(UserError):
        list(LargeLog(str(path), LogSettings(form)))
    log = write("user,item\nu,a\n", "log.csv")
    with pytest.raises(UserError):
        read_interactions(log, titles_path=path)
