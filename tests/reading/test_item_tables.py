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
    assert tuple(column is not None for column in data) == found


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
    other = write("item,title\nc,See\n", "other.csv")
    titles = read_prepared(folder, titles_path=str(other)).item_titles
    assert titles is not None and titles.tolist() == ["", "", "", "See"]


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
