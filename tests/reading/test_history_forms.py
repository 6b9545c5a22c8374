"""Files of histories told apart by what a run knows, and lists of ids: values only, no model."""

import re

import pandas as pd
import pytest

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.reading.columns import Columns
from ufnrec_tf.reading.filters import Filters
from ufnrec_tf.reading.histories import HistoryFile
from ufnrec_tf.reading.history_forms import OwnReading, RunVocabulary
from ufnrec_tf.reading.id_lists import ids_of_flag, read_id_list
from ufnrec_tf.reading.readers import LogSettings

ITEMS = [*(str(number) for number in range(101, 110)), "a,b"]
USERS = {"1", "2", "3"}


def vocabulary(items=tuple(ITEMS), users=frozenset(USERS)):
    return RunVocabulary(lambda: items, lambda ids: ids & users)


def histories(path, content, *, own=None, known=None, settings=None):
    (path / "in").write_bytes(content if isinstance(content, bytes) else content.encode())
    file = HistoryFile(
        path / "in",
        settings or LogSettings(),
        own=OwnReading(own or Columns()),
        known=known or vocabulary(),
    )
    return file, list(file.read(path))


TWO_USERS = [("1", ["101", "102"]), ("2", ["103"])]


@pytest.mark.parametrize(
    "content",
    [
        "user_id,item_id,timestamp\n1,102,1700007200\n1,101,1700003600\n2,103,1700003600\n",
        "user_id,item_id\n1,101\n1,102\n2,103\n",
        "item_id,user_id\n101,1\n102,1\n103,2\n",
        "user,item\n1,101.0\n1,102.0\n2,103\n",
        "user_id:token\titem_id:token\n1\t101\n1\t102\n2\t103\n",
        "user\titem\n1\t101\n1\t102\n2\t103\n",
        '{"user": 1, "item": 101}\n{"user": 1, "item": 102}\n{"user": 2, "item": 103}\n',
        "1::101\n1::102\n2::103\n",
        "1,101\n1,102\n2,103\n",
        "1;101\n1;102\n2;103\n",
        "1 101\n1 102\n2 103\n",
        "1\t101\n1\t102\n2\t103\n",
        "1 101 102\n2 103\n",
    ],
)
def test_the_forms_of_a_log(tmp_path, content):
    file, found = histories(tmp_path, content)
    assert (file.column, found) == ("user", TWO_USERS)
    assert file.words[0].strip().startswith("read as ")


def test_parquet_with_the_columns_of_the_run(tmp_path):
    frame = pd.DataFrame({"who": [1, 1, 2], "when": [2, 1, 1], "what": [102, 101, 103]})
    frame.to_parquet(tmp_path / "in")
    own = Columns(user="who", item="what", time="when", rating="stars")
    file = HistoryFile(tmp_path / "in", own=OwnReading(own), known=vocabulary())
    assert list(file.read(tmp_path)) == TWO_USERS


@pytest.mark.parametrize(
    "content",
    [
        'user,item\n1,"[101, 102]"\n2,[103]\n',
        "user_id\titems\n1\t['101' '102.0']\n2\t[103]\n",
        'history,who\n"[""101"", ""102""]",1\n[103],2\n',
        '{"user_id": "1", "items": ["101", "102"]}\n{"user_id": 2, "items": [103]}\n',
        pd.DataFrame({"user": [1, 2], "item_ids": [[101, 102], [103]]}),
        pd.DataFrame({"customer": ["1", "2"], "sequence": [["101", "102"], ["103"]], "x": 0}),
    ],
)
def test_one_history_a_row_of_a_table(tmp_path, content):
    if isinstance(content, pd.DataFrame):
        content.to_parquet(tmp_path / "table")
        content = (tmp_path / "table").read_bytes()
    own = Columns(user="who", item="what")
    file, found = histories(tmp_path, content, own=own)
    assert (file.kind, file.column, file.total, found) == ("lists", "user", 2, TWO_USERS)
    assert file.words[0].startswith("read as one history a row, oldest first; columns: user=")
    settings = LogSettings(filters=Filters(min_rating=1.0))
    with pytest.raises(UserError, match=r"data\.min_rating=1\.0 has no effect on lists"):
        histories(tmp_path, content, own=own, settings=settings)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('user,item\n1,"[101, 102]"\n2,103\n', "line 3: the column 'item' holds no list of ids"),
        ('user,item\n1,"[101, 102]"\n1,[103]\n', "line 3: user '1' again"),
        ('user,item\n1,"[101, 102]"\n,[103]\n', "line 3: no user id"),
        ('user,item\n1,"[101, 102]"\n2\n', "line 3: no user id"),
        ('{"user": "1", "item": ["101"]}\n{"user": "2", "item": [["1"]]}\n', "line 2: the column"),
        ('{"user": "1", "item": ["101"]}\n{"user": ["2"], "item": ["1"]}\n', "line 2: no user id"),
    ],
)
def test_rows_of_lists_that_cannot_be_right(tmp_path, content, message):
    with pytest.raises(UserError, match=re.escape(message)):
        histories(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("101 102\n103\n", "one history a line, oldest first"),
        ("101,102\n103\n", "one history a line, oldest first, items separated by ','"),
        ("101|102\n103\n", "one history a line, oldest first, items separated by '|'"),
        ("101 , 102.0\n103,\n", "one history a line, oldest first, items separated by ','"),
        ('[101, "102"]\n["103"]\n', "one history a line, oldest first, each a JSON list"),
    ],
)
def test_one_history_a_line(tmp_path, content, words):
    file, found = histories(tmp_path, content)
    assert (file.column, file.words) == ("row", [f"read as {words}"])
    assert found == [("1", ["101", "102"]), ("2", ["103"])]


def test_ids_with_commas_stay_whole(tmp_path):
    assert histories(tmp_path, "a,b 101\n\n102\n")[1] == [
        ("1", ["a,b", "101"]),
        ("2", []),
        ("3", ["102"]),
    ]


def test_users_that_are_called_as_items_are(tmp_path):
    """Two fields may be a user and an item, or two items: the flag says which."""
    known = vocabulary(users=frozenset(ITEMS))
    with pytest.raises(UserError, match=r"in, line 1: '101 102': the first field is both") as error:
        histories(tmp_path, "101 102\n103 104\n", known=known)
    assert "--config.data.format=pairs" in str(error.value)
    settings = LogSettings("histories")
    assert histories(tmp_path, "101 102\n103\n", known=known, settings=settings)[1] == [
        ("1", ["101", "102"]),
        ("2", ["103"]),
    ]
    settings = LogSettings("pairs")
    found = histories(tmp_path, "101 102\n103 104\n", known=known, settings=settings)[1]
    assert found == [("101", ["102"]), ("103", ["104"])]
    # By commas the form without a header is user,item; and a longer line is of items.
    assert histories(tmp_path, "101,102\n103,104\n", known=known)[1] == found
    assert histories(tmp_path, "101 102 103\n103 104\n", known=known)[0].column == "row"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("kunde,artikel\n1,101\n2,102\n", "line 1: 'kunde artikel' looks like a header"),
        ("kunde artikel\n1 101\n2 102\n", "line 1: 'kunde artikel' looks like a header"),
        ("user_id,thing\n1,101\n", "line 1: no item column among 'user_id', 'thing'"),
        ("101 1\n102 1\n", "line 1: '101 1': the first field is an item and the second a user"),
        ("1,101,1700003600\n2,102,1700003600\n", "line 1: 3 columns and no header"),
        ("1,101\n1,102\n2\n", "line 3: 1 field(s) where the first line has 2"),
        ('[101]\n["102", [103]]\n', "line 2: "),
    ],
)
def test_what_cannot_be_right_is_an_error(tmp_path, content, message):
    with pytest.raises(UserError, match=re.escape(message)):
        histories(tmp_path, content)


def test_the_run_s_own_names_come_first_where_they_are_there(tmp_path):
    own = Columns(user="who", item="what", time="none", separator=";")
    content = "who;what;time\n1;101;9\n1;102;5\n2;103;1\n"
    assert histories(tmp_path, content, own=own)[1] == TWO_USERS  # time=none: the file's order
    content = "who,item_id\n1,101\n1,102\n2,103\n"
    assert histories(tmp_path, content, own=own)[1] == TWO_USERS
    content = "who,user,what\n1,x,101\n1,x,102\n2,x,103\n"
    assert histories(tmp_path, content, own=own)[1] == TWO_USERS
    asked = LogSettings(columns=Columns(user="user"))
    assert histories(tmp_path, content, own=own, settings=asked)[1] == [
        ("x", ["101", "102", "103"])
    ]


def test_the_lowest_rating_of_the_run_holds_where_there_are_ratings(tmp_path):
    own = OwnReading(Columns(rating="score"), min_rating=4)
    known, path = vocabulary(), tmp_path / "in"
    path.write_text("user,item,score\n1,101,5\n1,102,3\n")
    assert list(HistoryFile(path, own=own, known=known).read(tmp_path)) == [("1", ["101"])]
    asked = LogSettings(filters=Filters(min_rating=2))
    found = list(HistoryFile(path, asked, own=own, known=known).read(tmp_path))
    assert found == [("1", ["101", "102"])]
    path.write_text("user,item\n1,101\n1,102\n")
    file = HistoryFile(path, own=own, known=known)
    assert list(file.read(tmp_path)) == [("1", ["101", "102"])]
    assert file.words[-1] == "data.min_rating=4 of the run is not applied: no rating column"


def test_doubles_are_dropped_as_the_run_dropped_them(tmp_path):
    own, path = OwnReading(duplicates="drop", repeats="drop"), tmp_path / "in"
    path.write_text("user,item,time\n1,101,5\n2,101,5\n1,101,5\n1,101,6\n")
    file = HistoryFile(path, own=own, known=vocabulary())
    assert list(file.read(tmp_path)) == [("1", ["101", "101"]), ("2", ["101"])]
    assert file.words[-2].startswith("events said twice are left out")
    assert file.words[-1] == "data.repeats=drop of the run is not applied"
    path.write_text("user,item\n1,101\n1,101\n")
    file = HistoryFile(path, own=own, known=vocabulary())
    assert list(file.read(tmp_path)) == [("1", ["101", "101"])]
    assert "data.duplicates=drop of the run is not applied: no time column" in file.words
    with pytest.raises(UserError, match="no times"):
        HistoryFile(path, LogSettings(filters=Filters(duplicates="drop")), known=vocabulary())


@pytest.mark.parametrize(
    ("content", "ids"),
    [
        ("2\n1\n2\n\n", ["2", "1"]),
        ("a, b\nc\r\n", ["a, b", "c"]),
        ("user_id\n2\n1\n", ["2", "1"]),
        ("name,customer_id\nA,2\nB,1\n", ["2", "1"]),
        ("name\twho\nA\t2\nB\t1\n", ["2", "1"]),
        ('{"user": 2}\n{"user": "1"}\n', ["2", "1"]),
    ],
)
def test_lists_of_users(tmp_path, content, ids):
    (tmp_path / "in").write_text(content)
    assert read_id_list(tmp_path / "in", role="user", column="who", flag="--users") == ids


def test_lists_that_are_none(tmp_path):
    def read():
        return read_id_list(tmp_path / "in", role="user", column="", flag="--users")

    with pytest.raises(UserError, match="no such file: check the path given as --users"):
        read()
    (tmp_path / "in").write_text("user\n\n")
    with pytest.raises(UserError, match="in: names no user"):
        read()
    pd.DataFrame({"user": [2, 1, 2]}).to_parquet(tmp_path / "in")
    assert read() == ["2", "1"]
    pd.DataFrame({"thing": [2]}).to_parquet(tmp_path / "in")
    with pytest.raises(UserError, match="no user column among 'thing'"):
        read()


def test_items_of_a_flag(tmp_path):
    (tmp_path / "in").write_text("101\n102.0\n")
    known = vocabulary()
    assert ids_of_flag(str(tmp_path / "in"), flag="--exclude", known=known) == ["101", "102"]
    assert ids_of_flag("101, x,101", flag="--exclude", known=known) == ["101", "x"]
    assert ids_of_flag("a,b", flag="--exclude", known=known) == ["a,b"]
    assert ids_of_flag("a,b", flag="--exclude", known=None) == ["a", "b"]
    longer_than_a_name = ["x" * 300, "101"]
    assert ids_of_flag(",".join(longer_than_a_name), flag="--allow", known=known) == (
        longer_than_a_name
    )
    for path in (str(tmp_path / "gone"), "gone.txt"):
        with pytest.raises(UserError, match="no such file: check the path given as --exclude"):
            ids_of_flag(path, flag="--exclude", known=known)
    with pytest.raises(UserError, match="--allow=,: names no item"):
        ids_of_flag(",", flag="--allow", known=known)


@pytest.mark.parametrize("line", ["\x1f", "\u3000", "\xa0\n"])
def test_a_line_of_other_spaces_is_an_id(tmp_path, line):
    assert histories(tmp_path, line)[1] == [("1", [line.strip("\n")])]


@pytest.mark.parametrize("escape", ["\\ud800", "\\u0000"])
@pytest.mark.parametrize(
    ("form", "line"),
    [("%s\n", 2), ('user,items\n1,"%s"\n', 3), ('{"user": "1", "items": %s}\n', 2)],
)
def test_ids_that_only_json_can_name(tmp_path, form, line, escape):
    good, bad = '["101", "102"]', f'["101", "{escape}"]'
    good, bad = ((text.replace('"', '""') if "," in form[:9] else text) for text in (good, bad))
    second = (form % bad).replace("user,items\n", "").replace("1,", "2,").replace('"1"', '"2"')
    with pytest.raises(UserError, match=f"line {line}: .*list"):
        histories(tmp_path, form % good + second)
