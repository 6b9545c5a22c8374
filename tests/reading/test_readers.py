"""Readers: each form by hand, the detection rule, every bad input by name, and the real files."""

import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.reading.columns import Columns
from ufnrec_tf.reading.filters import Filters
from ufnrec_tf.reading.formats import READERS, detect_format
from ufnrec_tf.reading.readers import read_interactions

DATA = Path(__file__).parents[3] / "shared" / "data"
INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"


def raw(data: Interactions) -> dict[str, list[str]]:
    return {
        user: list(data.item_ids[data.items[data.offsets[u] : data.offsets[u + 1]]])
        for u, user in enumerate(data.user_ids)
    }


def message(path, **settings) -> str:
    with pytest.raises(UserError) as caught:
        read_interactions(path, **settings)
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.exit_code == 1
    return text


def assert_parts(text: str, *parts: str) -> None:
    for part in parts:
        assert part in text, f"{part!r} is not in {text!r}"


def real(name: str) -> Path:
    if not (DATA / name).is_file():
        pytest.skip(f"{name} is not in ../shared/data")
    return DATA / name


# ---- each form, by hand


def test_pairs(write):
    path = write("u1 a\nu2 b\nu1 c\n\tu1\t a \nu2 007\n")
    data = read_interactions(path)
    assert raw(data) == {"u1": ["a", "c", "a"], "u2": ["b", "007"]}
    assert data.timestamps is None and data.item_titles is None
    assert (data.source, data.num_repeats) == ("log.txt", 1)
    assert data.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_sequences(write):
    data = read_interactions(write("u1 a b c\nu2 b\nu3 c c a b\n"))
    assert raw(data) == {"u1": ["a", "b", "c"], "u2": ["b"], "u3": ["c", "c", "a", "b"]}


def test_inter(write):
    rows = 'u1\ti1\t5\t30\nu2\ti 2\t1.5\t10\nu1\ti3\t2\t20\nu1\t"i4\t2\t20.5\n'
    data = read_interactions(write(INTER + rows, "log.inter"))
    assert raw(data) == {"u1": ["i3", '"i4', "i1"], "u2": ["i 2"]}
    assert data.timestamps is not None
    assert data.timestamps.tolist() == [20, 20.5, 30, 10]


def test_inter_columns_in_any_order_and_others_unread(write):
    text = "x:float_seq\titem_id:token\tuser_id:token\n1 2\ta\tu\n\tb\tu\n"
    assert raw(read_interactions(write(text))) == {"u": ["a", "b"]}


def test_csv_with_quotes_and_commas(write):
    text = (
        'timestamp,user_id,"Item ID",rating,review\n'
        '3,"Smith, J.","He said ""no""",5,"two\nlines, one event"\n'
        '1,"Smith, J.",007,4.5,\n'
        "2,x,a b,1,ok\n"
    )
    data = read_interactions(write(text, "log.csv"))
    assert raw(data) == {"Smith, J.": ["007", 'He said "no"'], "x": ["a b"]}


def test_tsv_is_separated_by_tabs_though_it_has_commas(write):
    data = read_interactions(write("user\titem, or product\titem\nu,1\tz\ta,b\nu,1\tz\tc\n"))
    assert raw(data) == {"u,1": ["a,b", "c"]}


def test_columns_and_separator_by_flag(write):
    path = write("who;what;when;user\nu;a;2;no\nu;b;1;no\n")
    data = read_interactions(
        path, columns=Columns(separator=";", user="who", item="WHAT", time="when")
    )
    assert raw(data) == {"u": ["b", "a"]}


def test_a_named_column_makes_a_header_of_any_first_line(write):
    path = write("who,what\nu,a\nu,b\n")
    assert raw(read_interactions(path, columns=Columns(user="who", item="what"))) == {
        "u": ["a", "b"]
    }


@pytest.mark.parametrize("separator", ["tab", "\\t", "\t"])
def test_tab_can_be_named_on_a_command_line(write, separator):
    path = write("user\titem\nu\ta\n")
    assert raw(read_interactions(path, columns=Columns(separator=separator))) == {"u": ["a"]}


@pytest.mark.parametrize(
    ("time", "order"),
    [("timestamp", "ba"), ("unixReviewTime", "ba"), ("TS", "ba"), ("date", "ba"), ("when", "ab")],
)
def test_guessed_time_columns(write, time, order):
    data = read_interactions(write(f"asin,reviewerID,{time}\na,u,2\nb,u,1\n"))
    assert raw(data) == {"u": list(order)}


def test_text_in_a_time_column_can_be_left_unread(write):
    path = write("user,item,date,rating\nu,b,Tuesday,good\nu,a,Monday,bad\n")
    data = read_interactions(path, columns=Columns(time="none", rating="none"))
    assert raw(data) == {"u": ["b", "a"]} and data.timestamps is None


def test_equal_times_keep_the_order_of_the_file(write):
    rows = "".join(f"u{k % 2}\ti{k}\t1\t{k // 4}\n" for k in (9, 8, 3, 1, 2, 0, 11, 10))
    assert raw(read_interactions(write(INTER + rows))) == {
        "u1": ["i3", "i1", "i9", "i11"],
        "u0": ["i2", "i0", "i8", "i10"],
    }


@pytest.mark.parametrize("repeats", ["keep", "drop"])
def test_repeats_are_passed_on(write, repeats):
    data = read_interactions(write("u a\nu a\nu b\n"), repeats=repeats)
    assert data.num_repeats == 1
    assert raw(data) == {"u": ["a", "a", "b"] if repeats == "keep" else ["a", "b"]}


def test_ids_are_the_text_of_the_file(write):
    ids = ["007", "7", "7.0", "1e3", "nan", "NA", "None", "true", "-1", "日本", "e\u0301", "é", "'"]
    expected = {"ü€😀": ids}
    pairs = "".join(f"ü€😀 {item}\n" for item in ids)
    assert raw(read_interactions(write(pairs))) == expected
    assert raw(read_interactions(write("ü€😀 " + " ".join(ids)))) == expected
    table = "".join(f"ü€😀,{item}\n" for item in ids)
    assert raw(read_interactions(write("user,item\n" + table))) == expected
    typed = "user_id:token\titem_id:token\n" + table.replace(",", "\t")
    assert raw(read_interactions(write(typed))) == expected


def test_other_unicode_spaces_and_line_ends_are_part_of_an_id(write):
    odd = ["no\u00a0break", "full\u3000width", "next\u0085line", "line\u2028sep"]
    assert raw(read_interactions(write("u " + " ".join(odd) + "\n"))) == {"u": odd}
    table = "user\titem\n" + "".join(f"u\t{item}\n" for item in odd)
    assert raw(read_interactions(write(table))) == {"u": odd}


@pytest.mark.parametrize(
    "text",
    [
        "u a\nu b\nv a\n",
        "u a b\nv a\n",
        INTER + "u\ta\t1\t1\nu\tb\t1\t2\nv\ta\t1\t1\n",
        "user,item\nu,a\nu,b\nv,a\n",
    ],
)
@pytest.mark.parametrize("form", ["bom", "crlf", "cr", "blank", "no_end"])
def test_byte_order_mark_line_ends_and_blank_lines(write, text, form):
    forms = {
        "bom": "\ufeff" + text,
        "crlf": text.replace("\n", "\r\n"),
        "cr": text.replace("\n", "\r"),
        "blank": "\n \n" + text + "\n  \n\n",
        "no_end": text.rstrip("\n"),
    }
    assert raw(read_interactions(write(forms[form]))) == {"u": ["a", "b"], "v": ["a"]}


# ---- the detection rule


@pytest.mark.parametrize(
    ("text", "format"),
    [
        ("1 2\n1 3\n", "pairs"),
        ("1\t2\n3\t4\n", "pairs"),
        ("a,b\tc\na,b\td\n", "pairs"),
        ("1 2\n2 3 4\n", "sequences"),
        ("1\t2\t3\n", "sequences"),
        ("1 2\n2 3\n3 4\n4 5\n5 6\n6 7\n7 8\n8 9\n9 1\n10 1 2\n", "sequences"),
        ("1 2\n1 3 4\n1 5\n", "pairs"),
        ("1 2 3\n1 3 4\n1 5\n", "sequences"),
        ("user_id:token\titem_id:token\n1\t2\n", "inter"),
        ("a:token\tb:float\n1\t2\n", "inter"),
        ("spotify:track\tspotify:album\na\tb\n", "pairs"),
        ("user,item\n1,2\n", "csv"),
        ("MovieId\twhatever\n1\t2\n", "csv"),
        ('"User ID","x y"\n1,2\n', "csv"),
    ],
)
def test_detection(write, text, format):
    assert detect_format(write(text)) == format


def test_detection_is_overridable(write):
    path = write("1 2\n3 4\n5 6\n")
    assert raw(read_interactions(path, format="sequences")) == {"1": ["2"], "3": ["4"], "5": ["6"]}
    typed = write("user:token\titem:token\nu\ta\n")
    text = message(typed, format="csv")
    assert_parts(text, "log.txt, line 1", "no user column", "'user:token'")
    path = write("a,b c\na,b d\n")
    assert raw(read_interactions(path, format="pairs")) == {"a,b": ["c", "d"]}


def test_table_of_readers():
    assert list(READERS) == ["pairs", "sequences", "inter", "csv", "jsonl", "dat"]


# ---- bad input: the file as a whole


def test_missing_file(tmp_path):
    assert_parts(message(tmp_path / "none.txt"), "none.txt", "no such file", "--data")
    assert "download the file" in message("https://example.org/log.csv")
    assert "--data=/dev/stdin" in message("-")
    assert "give the folder" in message("day=*.csv")


def test_directory(tmp_path):
    assert_parts(message(tmp_path), tmp_path.name, "is a directory", "expected a file")


@pytest.mark.parametrize("content", [b"", b"\n \r\n\t\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_empty_file(write, content):
    assert_parts(message(write(content)), "log.txt", "is empty", "expected one event")


@pytest.mark.parametrize("format", ["auto", "pairs", "sequences", "inter", "csv"])
def test_not_utf8_names_line_and_offset(write, format):
    text = message(write("a b\nc d\ncaf\xe9 x\n".encode("latin1")), format=format)
    assert_parts(text, "log.txt, line 3", "byte 0xe9 at byte offset 11", "(byte 4 of the line)")
    assert_parts(text, "not UTF-8", "iconv -f ENCODING -t UTF-8")


def test_utf16_is_not_utf8(write):
    for encoding, name in (
        ("utf-16", "UTF-16 "),
        ("utf-16-le", "UTF-16LE"),
        ("utf-16-be", "UTF-16BE"),
    ):
        text = message(write("a b\nc d\n".encode(encoding)))
        assert_parts(
            text, "log.txt: ", f"encoded in UTF-16: convert it to UTF-8 first (iconv -f {name}"
        )


def test_unknown_format_names_the_known_and_the_nearest(write):
    text = message(write("1 2\n"), format="squences")
    assert_parts(
        text,
        "`data.format`",
        "auto, csv, dat, inter, jsonl, pairs, parquet, sequences",
        "'squences'",
    )
    assert_parts(text, "Did you mean 'sequences'?")
    assert_parts(message(write("1 2\n"), format="parquet"), "log.txt: cannot be read as Parquet")


def test_unknown_repeats(write):
    text = message(write("1 2\n"), repeats="dorp")
    assert_parts(text, "`data.repeats`", "keep", "Did you mean 'drop'?")


@pytest.mark.parametrize("separator", ["::", '"', "\n"])
def test_separator_is_one_character(separator):
    with pytest.raises(UserError) as caught:
        Columns(separator=separator)
    assert_parts(str(caught.value), "`data.separator` must be one character", repr(separator))


# ---- bad input: pairs and sequences


@pytest.mark.parametrize("format", ["auto", "pairs"])
@pytest.mark.parametrize(("line", "fields"), [("u9", "1"), ("u1 i7 99", "3"), ("u1 a b c", "4")])
def test_broken_line_in_a_pairs_file(write, format, line, fields):
    path = write(f"u1 i1\nu2 i2\n\nu1 i3\n{line}\nu2 i5\n")
    text = message(path, format=format)
    assert_parts(
        text, "log.txt, line 5", f"{fields} field(s)", "a pairs file has two", "4 of its 5"
    )
    assert_parts(text, "mend or delete the line", "--config.data.format=sequences")


@pytest.mark.parametrize("format", ["auto", "sequences"])
def test_sequence_of_a_user_only(write, format):
    text = message(write("u1 a b\nu2 a\nu3\nu4 b c\n"), format=format)
    assert_parts(text, "log.txt, line 3", "1 field", "a user and at least one item")
    assert_parts(text, "add the items or delete the line")


@pytest.mark.parametrize("format", ["auto", "sequences"])
def test_user_on_two_lines_of_sequences(write, format):
    text = message(write("\nu1 a b\nu2 a c d\n\nu3 c d e\nu2 b c\n"), format=format)
    assert_parts(text, "log.txt, line 6", "user 'u2' again, after line 3", "one line a user")
    assert_parts(text, "join the lines", "header")


def test_headerless_table_of_four_columns_is_not_taken_for_sequences(write):
    text = message(write("196\t242\t3\t881250949\n186\t302\t3\t891717742\n196\t51\t2\t880606923\n"))
    assert_parts(text, "log.txt, line 1", "4 columns and no header", "'881250949'", "a time")
    assert_parts(text, "put the line user_id<TAB>item_id<TAB>rating<TAB>timestamp on top")
    text = message(write("196\t242\t3\t8\n186\t302\t3\t9\n196\t51\t2\t7\n"))
    assert_parts(text, "log.txt, line 3", "user '196' again, after line 1")
    assert_parts(text, "put a header line such as user_id<TAB>item_id<TAB>timestamp on top")


@pytest.mark.parametrize("rows", ["u a\nu b c\n", "u a\nu\n"])
@pytest.mark.parametrize("header", ["user_id item_id", "item user", "user_id item_id rating"])
def test_header_of_spaces_is_no_event(write, header, rows):
    text = message(write(header + "\n" + "u a\n" * 4 + rows))
    assert_parts(text, "log.txt, line 1", "header", "delete the line", "--config.data.format=csv")


@pytest.mark.parametrize("format", ["pairs", "sequences"])
def test_columns_named_for_a_form_that_has_none(write, format):
    text = message(write("u a\n"), format=format, columns=Columns(user="user"))
    assert_parts(text, "log.txt", format, "no columns", "leave them out")


# ---- bad input: tables


def test_commas_without_a_header(write):
    text = message(write("1,2,3\n1,3,4\n"))
    assert_parts(text, "log.txt, line 1", "commas, but no header", "user_id,item_id,timestamp")
    assert_parts(text, "--config.data.user_column=NAME --config.data.item_column=NAME")
    assert_parts(text, "--config.data.format=")


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("item_id,timestamp\n1,2\n", "user"),
        ("user_id,timestamp\n1,2\n", "item"),
        ("item_id:token\ttimestamp:float\n1\t2\n", "user"),
        ("user_id:token\ttimestamp:float\n1\t2\n", "item"),
    ],
)
def test_header_without_a_user_or_item_column(write, text, missing):
    error = message(write(text))
    assert_parts(error, "log.txt, line 1", f"no {missing} column", "'timestamp'")
    assert_parts(error, f"--config.data.{missing}_column=NAME")


def test_forced_csv_of_a_file_that_is_none(write):
    text = message(write("\n1 2\n1 3\n"), format="csv")
    assert_parts(text, "log.txt, line 2", "no user column among '1 2'", "expected a header line")


def test_forced_inter_of_a_file_that_is_none(write):
    text = message(write("user_id\titem_id\n1\t2\n"), format="inter")
    assert_parts(text, "log.txt, line 1", "no typed header", "user_id:token<TAB>item_id:token")
    assert_parts(text, "--config.data.format=csv")


@pytest.mark.parametrize("role", ["user", "item", "time", "rating"])
def test_named_column_that_is_not_there(write, role):
    path = write("user,item,customer,time\n1,2,3,4\n")
    named: dict[str, Any] = {role: "customers"}
    text = message(path, columns=Columns(**named))
    assert_parts(text, "log.txt, line 1", f"no column 'customers' (--config.data.{role}_column)")
    assert_parts(text, "'user', 'item', 'customer', 'time'", "Did you mean 'customer'?")


def test_ambiguous_columns(write):
    text = message(write("user,item,item\n1,2,3\n"))
    assert_parts(text, "log.txt, line 1", "item column 'item'", "twice", "rename it")
    text = message(write("user,item\n1,2\n"), columns=Columns(user="item"))
    assert_parts(text, "log.txt, line 1", "'item'", "--config.data.user_column=NAME")


@pytest.mark.parametrize("row", ["u2", "u2,b,3,4", "u,b,"])
def test_row_of_another_width(write, row):
    text = message(write(f'user,item\nu,"a\nb"\n\n{row}\nu,c\n'))
    assert_parts(text, "log.txt, line 5", f"{row.count(',') + 1} field(s)", "the header has 2")
    assert_parts(text, "double quotes")


def test_inter_row_of_another_width(write):
    text = message(write(INTER + "u\ta\t1\t1\nu\tb\t1\n"))
    assert_parts(text, "log.txt, line 3", "3 field(s)", "the header has 4", "mend or delete")


@pytest.mark.parametrize(("row", "role"), [(",b", "user"), ("u,", "item"), ("u,  ", "item")])
def test_empty_id(write, row, role):
    text = message(write(f"user,item\nu,a\n{row}\nu,c\n"))
    assert_parts(text, "log.txt, line 3", f"an empty {role} id", "delete the line")


@pytest.mark.parametrize("value", ["yesterday", "", "1_000", "0x10", "True", "12:30", "1e999"])
def test_text_in_a_time_column(write, value):
    text = message(write(f"user,item,timestamp\nu,a,1\nu,b,{value}\nu,c,3\n"))
    assert_parts(text, "log.txt, line 3", f"timestamp {value!r} is not a number")
    assert_parts(text, "seconds since 1970", "--config.data.time_column=none")
    text = message(write(INTER + f"u\ta\t1\t1\nu\tb\t1\t{value}\n"))
    assert_parts(text, "log.txt, line 3", f"timestamp {value!r} is not a number")


@pytest.mark.parametrize("value", ["nan", "NaN", "inf", "-Infinity"])
def test_time_that_is_not_finite(write, value):
    text = message(write(f"user,item,time\nu,a,1\nu,b,2\nu,c,{value}\n"))
    assert_parts(text, "log.txt, line 4", f"time {value!r} is not finite", "a finite number")
    assert_parts(text, "mend the line")


def test_text_in_a_rating_column(write):
    filters = Filters(min_rating=2)
    text = message(write("user,item,rating\nu,a,1\nu,b,good\n"), filters=filters)
    assert_parts(text, "log.txt, line 3", "rating 'good' is not a number", "such as 4.5")
    assert_parts(text, "leave the filter --config.data.min_rating out")
    text = message(write(INTER + "u\ta\tgood\t1\n"), filters=filters)
    assert_parts(text, "log.txt, line 2", "rating 'good' is not a number")


def test_line_of_an_error_far_below_quoted_line_ends(write):
    rows = ['u,"a\n\nb",1\n'] * 300_000
    rows[290_000] = "u,b,late\n"
    text = message(write("user,item,time\n" + "".join(rows)))
    assert_parts(text, f"log.txt, line {2 + 3 * 290_000}", "time 'late' is not a number")


def test_header_and_no_events(write):
    assert_parts(message(write("user,item\n")), "log.txt", "no events", "one event a line")
    assert_parts(message(write(INTER)), "log.txt", "no events", "one event a line")


def test_quote_that_is_not_closed(write):
    text = message(write('user,item\nu,a\nu,"b\nu,c\nu,d\n'))
    assert_parts(text, "log.txt, line 3", "row that begins here", "mend its quotes")
    text = message(write('user,item\nu,"b"c\n'))
    assert_parts(text, "log.txt, line 2", "row that begins here", "mend its quotes")


# ---- titles


def test_titles_beside_an_inter_are_found(write):
    write('item_id:token\tmovie_title:token_seq\na\tThe A, "uncut"\nc\tNo C\n', "log.item")
    data = read_interactions(write(INTER + "u\tb\t1\t1\nu\ta\t1\t2\n", "log.inter"))
    assert data.item_titles is not None
    assert data.item_titles.tolist() == ["", "", 'The A, "uncut"']


def test_item_file_without_titles_is_no_error(write):
    write("item_id:token\tclass:token\na\tx\n", "log.item")
    data = read_interactions(write(INTER + "u\ta\t1\t1\n", "log.inter"))
    assert data.item_titles is None


def test_titles_by_path(write):
    titles = write('Title,ItemId\n"A, the first",a\nB,b\n', "titles.csv")
    data = read_interactions(write("u a\nu c\n"), titles_path=titles)
    assert data.item_titles is not None
    assert data.item_titles.tolist() == ["", "A, the first", ""]


def test_bad_titles(write):
    log = write("u a\nu c\n")
    text = message(log, titles_path=write("item,colour\na,red\n", "titles.csv"))
    assert_parts(text, "titles.csv, line 1", "no item and title columns", "--config.data.titles")
    text = message(log, titles_path=write("item,title\nz,Zoo\n", "titles.csv"))
    assert_parts(text, "titles.csv", "none of the log's items", "'a'", "--config.data.titles")
    text = message(log, titles_path=write("item,title\na,A\nc\n", "titles.csv"))
    assert_parts(text, "titles.csv, line 3", "1 field(s)", "mend or delete")
    text = message(log, titles_path=log.with_name("none.csv"))
    assert_parts(text, "none.csv", "no such file")


# ---- real files


@pytest.mark.parametrize(
    ("name", "format", "counts", "sha256"),
    [
        ("beauty.txt", "sequences", (22_363, 12_101, 198_502), ("226cce9c", "b8")),
        ("video.txt", "pairs", (31_013, 23_715, 287_107), ("b7376fe2", "51")),
        ("ml-100k.inter", "inter", (943, 1_682, 100_000), ("4edb74e2", "ff")),
    ],
)
def test_real_files(name, format, counts, sha256):
    path = real(name)
    assert detect_format(path) == format
    data = read_interactions(path)
    assert (data.num_users, data.num_items, data.num_events) == counts
    assert data.sha256.startswith(sha256[0]) and data.sha256.endswith(sha256[1])
    assert data.source == name


def test_real_lengths():
    beauty = read_interactions(real("beauty.txt"))
    assert beauty.lengths.max() == 204
    assert round(float(beauty.lengths.mean()), 1) == 8.9
    video = read_interactions(real("video.txt"))
    assert int((video.lengths < 3).sum()) == 112


def test_real_ties_keep_the_order_of_the_file():
    path = real("ml-100k.inter")
    rows = [line.split("\t") for line in path.read_text().splitlines()[1:]]
    times: dict[str, list[tuple[float, str]]] = {}
    for user, item, _, time in rows:
        times.setdefault(user, []).append((float(time), item))
    rows_at = Counter((user, time) for user, _, _, time in rows)
    shared = sum(count for count in rows_at.values() if count > 1)
    assert shared == 75_772
    data = read_interactions(path)
    assert raw(data) == {
        user: [item for _, item in sorted(events, key=lambda event: event[0])]
        for user, events in times.items()
    }
    assert data.item_titles is not None
    assert data.item_titles[list(data.item_ids).index("1")] == "Toy Story"


def test_no_tensorflow_is_needed():
    code = (
        "import sys; sys.modules['tensorflow'] = None\n"
        "import ufnrec_tf.data.interactions, ufnrec_tf.reading.readers, ufnrec_tf.data.splits"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)
