"""Item tables in every form; what prices are; texts that must not act on a screen."""

import io
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from tests.reading.test_readers import INTER, assert_parts, message
from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.text import plain
from ufnrec_tf.data.items import ItemTable
from ufnrec_tf.reading.columns import Columns
from ufnrec_tf.reading.item_tables import price_of, read_item_table
from ufnrec_tf.reading.prepare.prepared_folder import read_prepared
from ufnrec_tf.reading.readers import read_interactions

ROWS: list[dict[str, Any]] = [
    {"item_id": "a", "title": "The A", "category": "Toys|Games", "price": 1299.0},
    {"item_id": "b", "title": "B", "category": "", "price": None},
    {"item_id": "z", "title": "not in the log", "category": "x", "price": 1.0},
]
CSV = 'item_id,title,category,price\na,The A,Toys|Games,"$1,299.00"\nb,B,,\nz,Z,x,1\na,again,y,2\n'
NESTED = (
    '{"asin": "a", "title": "The A", "categories": [["Toys", "Games"], ["Toys"]], '
    '"price": "$1,299"}\n{"asin": "b", "title": "B", "categories": null}\n'
)


def table(write, tmp_path, form):
    if form == "frame":
        return pd.DataFrame(ROWS)
    if form == "parquet":
        path = tmp_path / "items.parquet"
        pd.DataFrame(ROWS).to_parquet(path)
        return path
    if form == "nested parquet":
        path = tmp_path / "items.parquet"
        rows = [{**row, "category": row["category"].split("|")} for row in ROWS]
        pd.DataFrame(rows).to_parquet(path)
        return path
    if form == "json":
        return write(NESTED, "items.jsonl")
    if form == "item":
        head = "item_id:token\ttitle:token_seq\tclass:token_seq\tprice:float\n"
        return write(head + "b\tB\t\t\na\tThe A\tToys|Games\t1299.0\n", "items.item")
    text = CSV if form == "csv" else CSV.replace(",", "\t").replace("1\t299", "1,299")
    return write(text, "items.txt")


@pytest.mark.parametrize(
    "form", ["csv", "tsv", "item", "json", "parquet", "nested parquet", "frame"]
)
def test_forms(write, tmp_path, form):
    data = read_interactions(write("u b\nu a\nu c\n"), titles_path=table(write, tmp_path, form))
    for found, expected in (
        (data.item_titles, ["", "B", "The A", ""]),
        (data.item_categories, ["", "", "Toys|Games", ""]),
    ):
        assert found is not None and found.tolist() == expected
    assert data.item_prices is not None and data.item_prices.dtype == np.float64
    np.testing.assert_array_equal(data.item_prices, [np.nan, np.nan, 1299, np.nan])


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("item,movie_title", (True, False, False)),
        ("id,name,Genres", (True, True, False)),
        ("asin,main_category,list_price", (False, True, True)),
    ],
)
def test_columns_are_guessed(write, header, found):
    data = read_item_table(write(f"{header}\n" + ",".join("a" * len(header.split(","))) + "\n"))
    assert data is not None
    assert tuple(column is not None for column in data[:3]) == found


def test_titles_that_are_none_or_not_the_only_ones(write):
    text = "item,title\n1,nan\n2,nan\n"
    assert described(write, text)[0] == ["", ""]
    assert described(write, text.replace("2,nan", "2,Null"))[0] == ["nan", "Null"]
    titles, lines = described(write, "item,title\n1,A\n2,B\n1,C\n2,B\n")
    assert titles == ["A", "B"]
    assert any("1 ids are there again with another title, such as '1'" in line for line in lines)
    _, lines = described(write, "item,label,category\n1,A,x\n2,B,x\n")
    assert any("titles might be in: 'label'" in line for line in lines)


def test_table_that_does_not_fit(write, tmp_path):
    log = write("u a\nu b\n")
    text = message(log, titles_path=write('{"asin": "z", "title": "Z"}\n', "items.jsonl"))
    assert_parts(text, "items.jsonl: titles for none of the log's items", "'asin'")
    path = tmp_path / "items.parquet"
    path.write_bytes(b"PAR1\0\0\0\0PAR1")
    assert_parts(message(log, titles_path=path), "items.parquet: cannot be read as Parquet")
    text = message(log, titles_path=pd.DataFrame({"item": ["a"], "colour": ["red"]}))
    assert_parts(text, "the DataFrame of items: no item and title columns")


@pytest.mark.parametrize(
    ("value", "price"),
    [
        (3, 3.0),
        (2.5, 2.5),
        ("12.99", 12.99),
        ("$1,299.00", 1299.0),
        ("€5", 5.0),
        ("5 EUR", 5.0),
        ("US$ 7.50", 7.5),
        ("12,99", np.nan),
        ("$5 - $10", np.nan),
        ("-3", np.nan),
        ("", np.nan),
        ("free", np.nan),
        (None, np.nan),
        (True, np.nan),
    ],
)
def test_prices(value, price):
    assert price_of(value) == pytest.approx(price, nan_ok=True)


def test_prepared_folder_keeps_all_of_it(write, tmp_path):
    from tests.helpers.runs import run

    rows = "".join(f"u\t{item}\t1\t1\n" for item in "bac")
    write("item_id:token\tclass:token_seq\tprice:float\nb\tx y\t2\n", "log.item")
    log, folder = write(INTER + rows, "log.inter"), tmp_path / "folder"
    assert run("--mode=prepare", f"--data={log}", f"--workdir={folder}") == 0
    data = read_prepared(folder)
    assert data.item_titles is None
    assert data.item_categories is not None
    assert data.item_categories.tolist() == ["", "x y", "", ""]
    assert data.item_prices is not None
    np.testing.assert_array_equal(data.item_prices, [np.nan, 2, np.nan, np.nan])
    assert data.reading is not None and data.reading.titles is not None
    assert data.reading.titles.lines() == ["titles: none read"]
    other = write("item,title\nc,See\n", "other.csv")
    titles = read_prepared(folder, titles_path=str(other)).item_titles
    assert titles is not None and titles.tolist() == ["", "", "", "See"]
    frame = pd.DataFrame({"item": ["a"], "name": ["A"]})
    data = read_prepared(folder, titles_path=frame)
    assert data.item_titles is not None and data.item_titles.tolist() == ["", "", "A", ""]
    data = read_prepared(folder, titles_path=str(other))
    assert data.reading is not None and data.reading.titles is not None
    assert data.reading.titles.lines() == ["titles: column 'title', 1 of 3 items"]


def test_a_table_of_nothing():
    nothing = ItemTable()
    ids = np.array(["", "a"], object)
    assert nothing.texts("titles", ids) is None and nothing.price_of(ids) is None


# ---- texts that act


NASTY = "red \x1b[31m\nnew\tline\r\x07 \u202eturned \u2028sep [bold]x[/bold] :star: é日😀"
SHOWN = "red \\x1b[31m\\nnew\\tline\\r\\x07 \\u202eturned \\u2028sep [bold]x[/bold] :star: é日😀"


def test_plain_text():
    assert plain(NASTY) == SHOWN
    assert plain("plain é 日 👩\u200d👧") == "plain é 日 👩\u200d👧"


def test_titles_cannot_act_on_the_screen():
    data = read_interactions(
        pd.DataFrame({"user": ["u"], "item": ["i\x1b"]}),
        titles_path=pd.DataFrame({"item": ["i\x1b"], "title": [NASTY]}),
    )
    # The id itself stays as it is; only what is shown is changed.
    assert data.item_ids.tolist() == ["", "i\x1b"]
    assert data.item_name(1) == f"i\\x1b ({SHOWN})"
    display, screen = Display(), io.StringIO()
    display.console = Console(file=screen, emoji=False, width=200, soft_wrap=True, no_color=True)
    display.line(NASTY)
    display.heading(NASTY)
    display.block([NASTY])
    display.table(["a"], [[NASTY]])
    text = screen.getvalue()
    assert text.count(SHOWN) == 4
    assert not set(text) & set("\x1b\t\r\x07\u202e\u2028")


def test_errors_show_harmless_text():
    assert str(UserError("x\x1b[2J\u202e y\nz")) == "x\\x1b[2J\\u202e y z"


# ---- titles under other names, and published files read by themselves

MOVIES = "1::Amélie (2001)::Comedy|Drama\n2::A: b::c (1999)::War\n3::Z::x\n"
U_ITEM = "1|Amélie (2001)|01-Jan-1995||http://x/1|0|1|0\n2|B|01-Jan-1995||http://x/2|0|1|0\n"
LOG = "user_id,item_id\nu,1\nu,2\nv,1\n"


def described(write, content, name="items.csv", *, log=LOG, **settings):
    """Returns the titles of items 1 and 2, and the lines that a run shows of them."""
    path = content if isinstance(content, pd.DataFrame) else write(content, name)
    data = read_interactions(write(log, "log.csv"), titles_path=path, **settings)
    titles = [] if data.item_titles is None else data.item_titles[1:].tolist()
    assert data.reading is not None and data.reading.titles is not None
    return titles, data.reading.titles.lines()


@pytest.mark.parametrize(
    ("header", "column"),
    [
        ("product_name,item_id,category_name,brand_name", "product_name"),
        ("brand_name,article_id,prod_name,product_type_name", "prod_name"),
        ("id,user_name,name", "name"),
        ("movieId,original_title,Movie Title", "Movie Title"),
        ("ISBN,subtitle,Book-Title", "Book-Title"),
        ("track_id,artist_name,track_name", "track_name"),
        ("artist_id,artist_name", "artist_name"),
        ("sku,local_title", "local_title"),
        ("asin,Koşucu_name", "Koşucu_name"),
    ],
)
@pytest.mark.parametrize("separator", [",", ";", "|", "\t", "::"])
def test_titles_under_other_names(write, header, column, separator):
    names = header.split(",")
    item = next(
        i
        for i, name in enumerate(names)
        if name in ("id", "item_id", "ISBN", "asin")
        or name in ("article_id", "movieId", "track_id", "artist_id", "sku")
    )
    rows = [[f"{name} {n}" for name in names] for n in (1, 2)]
    for number, row in enumerate(rows, start=1):
        row[item] = str(number)
    text = "".join(separator.join(row) + "\n" for row in [names, *rows])
    titles, lines = described(write, text)
    assert titles == [f"{column} 1", f"{column} 2"]
    assert lines[0] == f"titles: column {column!r}, 2 of 2 items"


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize(("text", "name"), [(MOVIES, "movies.dat"), (U_ITEM, "u.item")])
def test_movielens_files_without_a_header(write, text, name, encoding):
    titles, lines = described(write, text.encode(encoding), name)
    assert titles == ["Amélie (2001)", "A: b::c (1999)" if name == "movies.dat" else "B"]
    assert lines[0] == "titles: column '2', 2 of 2 items"
    assert lines[1] == f"{name}: no header; ids from column 1"
    said = [line for line in lines if "not UTF-8, read as latin-1, as in 'Amélie (2001)'" in line]
    assert len(said) == (encoding == "latin-1")
    if name == "movies.dat":
        data = read_interactions(write(LOG), titles_path=write(text, name))
        assert data.item_categories is not None
        assert data.item_categories.tolist() == ["", "Comedy|Drama", "War"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("1,One\n2,Two\n", ["One", "Two"]),
        ('1\t"One, ""x"""\ty\n2\tTwo\tz\n', ['One, "x"', "Two"]),
        ("9,Nine\n2,Two\n", ["", "Two"]),  # the first item is not in the log
        ('[{"asin": 1, "title": "One"},\n {"title": "Two", "asin": 2}]', ["One", "Two"]),
        ('{"asin": "1", "productName": "One"}\n{"asin": "2"}\n', ["One", ""]),
        ("item_id:token\tname:token_seq\n1\tOne b\n2\tTwo\n", ["One b", "Two"]),
        ("item_id,product_name\n 1 ,One\n2,Two\n", ["One", "Two"]),
        ("item_id;name\n1;“q”\n2;€\n".encode("cp1252"), ["“q”", "€"]),
        ("parent_asin,asin,title\n1,B1,One\n2,B2,Two\n", ["One", "Two"]),  # ids by their values
        ("code,count,title\n1,7,One\n2,8,Two\n", ["One", "Two"]),
        ("count,code,title\n2,1,One\n2,2,Two\n2,8,\n2,9,\n2,7,\n", ["One", "Two"]),
        ("{'asin': '1', 'title': \"One's\"}\n{'title': 'Two', 'asin': '2'}\n", ["One's", "Two"]),
    ],
)
def test_further_tables(write, content, expected):
    assert described(write, content)[0] == expected


def test_genres_of_ml_100k(write):
    flags = "|".join("1" if place in (1, 5) else "0" for place in range(19))
    table = f"1|One|01-Jan-1995||http://x|{flags}\n2|Two|||y|{'|'.join('0' * 19)}\n"
    data = read_interactions(write(LOG), titles_path=write(table, "u.item"))
    assert data.item_titles is not None and data.item_titles.tolist() == ["", "One", "Two"]
    assert data.item_categories is not None
    assert data.item_categories.tolist() == ["", "Action|Comedy", ""]


def test_the_column_of_ids_that_the_log_names(write):
    log = "user_id,code\nu,1\nu,2\n"
    columns = Columns(item="code")
    titles, lines = described(write, "code,title\n1,One\n3,x\n4,y\n", log=log, columns=columns)
    assert titles == ["One", ""]
    assert lines[1:] == ["items.csv: ids from column 'code'"]


def test_parquet_and_frames_by_other_names(write, tmp_path):
    frame = pd.DataFrame({"code": ["1", "2"], "n": [5, 6], "Product Name": ["One", "Two"]})
    frame.to_parquet(tmp_path / "items.parquet")
    line = "titles: column 'Product Name', 2 of 2 items"
    for table in (frame, (tmp_path / "items.parquet").read_bytes()):
        titles, lines = described(write, table, "items.parquet")
        assert titles == ["One", "Two"] and lines[0] == line
    assert described(write, frame.set_index("code"))[0] == ["One", "Two"]


def test_title_column(write):
    table = "item_id,title,label,price\n1,One,L1,3\n2,Two,L2,4\n"
    titles, lines = described(write, table, title_column="label")
    assert titles == ["L1", "L2"]
    assert lines == ["titles: column 'label', 2 of 2 items"]
    _, lines = described(write, "item_id,name,title\n1,N,One\n")
    assert lines[1] == "titles might also be: 'name' (--config.data.title_column=NAME)"
    titles, lines = described(write, table, title_column="none")
    assert titles == [] and lines == ["titles: none read"]
    assert described(write, "1,One,x\n2,Two,y\n", title_column="3")[0] == ["x", "y"]
    log = write(LOG, "log.csv")
    text = message(log, titles_path=write(table, "t.csv"), title_column="lable")
    assert_parts(text, "no column 'lable' (--config.data.title_column)", "Did you mean 'label'?")
    assert_parts(message(log, title_column="label"), "has no effect without an item table")


@pytest.mark.parametrize(
    ("log_id", "table", "parts"),
    [
        ("0108775015", "article_id,name\n108775015,A\n", ("'0108775015'", "leading zeros")),
        ("101", "item_id,name\n101.0,A\n", ("'101'", "'101.0'", "a float")),
        ("101.0", "item_id,name\n101,A\n", ("'101.0'", "and not '101'", "a float")),
        ("4006380000001", "item_id,name\n4.006380000001E+12,A\n", ("a float",)),
        ("Ab", "item_id,name\nAB,A\n", ("'Ab'", "upper and lower case")),
        ("i1", "item_id,name\nq7,A\n", ("'i1'", "'q7'", "--config.data.titles")),
        ("i1", "code,name\nq7,A\n", ("no column of item ids among 'code', 'name'", "'q7'", "'i1'")),
        ("1", "1\t242\t3\t881250949\n", ("no header", "holds numbers such as '242'")),
        ("1", "1::F::1::10::48067\n", ("no item and title columns",)),
        ("1", "item_id,title\n1,Hello, World\n", ("line 2: 3 field(s) where the header has 2",)),
        ("1", "title,code\nA,1\nB\n", ("line 3: 1 field(s) where the header has 2",)),
        ("1", "title,asin,item_id\nA,B1,1\nB,B2\n", ("line 3: 2 field(s)",)),
        ("1", "[1, 2]", ("no JSON array of objects",)),
        ("1", "{'asin': '1', 'title': 'x'}\n{'asin': 1\n", ("line 2: no object such as",)),
        ("1", "item_id,title\n1,A\n".encode("utf-16"), ("encoded in UTF-16",)),
    ],
)
def test_tables_that_are_refused(write, log_id, table, parts):
    log = write(f"user_id,item_id\nu,{log_id}\nv,{log_id}\n", "log.csv")
    text = message(log, titles_path=write(table, "items.csv"))
    assert_parts(text, "items.csv", *parts)
    assert "\n" not in text


def test_ids_that_mostly_differ_are_said(write):
    log = "user_id,item_id\nu,01\nu,02\nv,03\nv,x\n"
    titles, lines = described(write, "item_id,name\n1,A\n2,B\n3,C\nx,X\n", log=log)
    assert titles == ["", "", "", "X"]
    assert lines[0] == "titles: column 'name', 1 of 4 items"
    assert_parts(lines[1], "items.csv has '1', the log '01': leading zeros were lost")


def test_odd_text_in_a_literal_is_no_warning_of_python(write, recwarn):
    path = write("{'asin': '1', 'title': 'x'}\n{'asin': 1or 2}\n", "items.json")
    with pytest.raises(UserError, match="line 2: no object such as"):
        read_item_table(path, item_ids={"1"})
    assert not recwarn.list
