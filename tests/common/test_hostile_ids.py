"""Ids and titles that try to do harm go all the way through one tiny run, and come out as they are.

From a CSV to a trained work directory, its export, recommendations, tables, page, cards and the
server's answers. What each reader and writer does by itself is in test_round_trip.py.
"""

import csv
import io
import json
import re
from contextlib import redirect_stdout

import pandas as pd
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from ml_collections import ConfigDict
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.helpers.pages import Page, assert_harmless
from tests.helpers.runs import LIGHT, TINY, run
from ufnrec_tf.cli.serve import ServeOptions, run_contents
from ufnrec_tf.reading.columns import Columns
from ufnrec_tf.reading.filters import Filters
from ufnrec_tf.reading.readers import read_interactions
from ufnrec_tf.runs.workdir import read_record
from ufnrec_tf.serving.service import json_response

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("eagerly")]

ODD = [
    *("<script>alert(1)</script>", "<img src=x onerror=alert(2)>", "</td></table>", "a,b", 'q"q'),
    *("line\nend", "cr\rlf\r\n.", "tab\tx", "=1+1", "007", "NA", "nan", "None", "1e5", " blank "),
    *("\x1b[2J\x1b]0;t\x07", "\u202eturned", "\u2028sep", "\ufeffmark", "é日😀", "e\u0301", "\\n"),
    *(
        "|*_`[x](javascript:1)",
        "' OR 1=1 --",
        "{{7*7}}",
        "${x}",
        "%s%n",
        "../../etc/passwd",
        "\x85next",
    ),
]
AS_IT_IS = "--config.data.strip=false"
USERS = [f"{text}u" for text in ODD]
TITLES = {item: f"{item} <b>&amp;" for item in ODD}
ACTING = set("\x1b\x07\r\u202e\u2028\x85")


def write_csv(path, *rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)
    return path


def read_csv(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def events():
    return [
        (user, ODD[(row * 3 + place * 7) % len(ODD)], place)
        for row, user in enumerate(USERS)
        for place in range(6)
    ]


@pytest.fixture(scope="module")
def workdir(folder, events):
    log = write_csv(folder / "log.csv", ("user", "item", "time"), *events)
    items = write_csv(folder / "items.csv", ("item_id", "title"), *TITLES.items())
    made = folder / "run"
    names = (f"--data={log}", f"--config.data.titles={items}", f"--workdir={made}")
    own = ("--config.training.num_epochs=4", "--config.comparison.sample_users=3", AS_IT_IS)
    with redirect_stdout(io.StringIO()) as shown:
        assert run(*names, *TINY, *LIGHT, *own) == 0
    (folder / "shown").write_bytes(shown.getvalue().encode())
    return made


def test_tables_of_the_run_hold_the_ids_as_they_are(workdir):
    for name in ("ranks.parquet", "ranks_validation.parquet"):
        assert set(pd.read_parquet(workdir / name)["user"]) == set(USERS)
    held = pd.read_parquet(workdir / "false_negatives.parquet")
    assert len(held) and set(held["user"]) <= set(USERS) and set(held["item"]) <= set(ODD)
    exported = pd.read_parquet(next(workdir.glob("export/*/items.parquet")))
    assert dict(zip(exported["item_id"], exported["title"], strict=True)) == TITLES


def test_recommendations_in_and_out(workdir, folder, events, capfd):
    asked = folder / "asked.parquet"
    pd.DataFrame([row[:2] for row in events], columns=["user", "item"]).to_parquet(asked)
    outputs = [folder / "out.csv", folder / "out.parquet"]
    for output in outputs:
        arguments = (f"--histories={asked}", f"--output={output}", "--top_k=40", AS_IT_IS)
        assert run("--mode=recommend", f"--workdir={workdir}", *arguments) == 0
    rows, table = read_csv(outputs[0]), pq.read_table(outputs[1])
    assert rows[0] == table.column_names
    found = {name: [row[place] for row in rows[1:]] for place, name in enumerate(rows[0])}
    for name in ("user", "item", "title"):
        assert found[name] == table[name].to_pylist()
    own = {user: {item for who, item, _ in events if who == user} for user in USERS}
    for user in USERS:  # all that they have not had, each by its own id and title
        of_user = [place for place, who in enumerate(found["user"]) if who == user]
        assert {found["item"][place] for place in of_user} == set(ODD) - own[user]
        assert all(found["title"][p] == TITLES[found["item"][p]] for p in of_user)
    shown = "".join(capfd.readouterr())
    assert not ACTING & set(shown)


def test_the_page_shows_them_and_runs_nothing(workdir):
    assert run("--mode=report", f"--workdir={workdir}") == 0
    text = (workdir / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert_harmless(page)
    assert "<script" not in text and "<b>&amp;" not in text
    shown = set(re.findall(r"<script>alert\(1\)</script>|<img src=x", page.text))
    assert shown, "the page names items, and their text is there as text"
    assert not ACTING & set(text)


def test_cards_on_tensorboard_are_text(workdir):
    texts = []
    for part in {path.parent for path in workdir.glob("tensorboard/**/events*")}:
        board = EventAccumulator(str(part))
        board.Reload()
        for tag in board.Tags()["tensors"]:
            for event in board.Tensors(tag):
                value = tf.make_ndarray(event.tensor_proto)
                if value.dtype == object:
                    texts += [each.decode() for each in value.ravel()]
    assert any("alert" in text for text in texts)
    for text in texts:
        assert not re.search(r"(?<!\\)<(script|img|/td|b>)", text), text
        assert not re.search(r"(?<!\\)\]\(javascript", text), text
        assert not ACTING & set(text)


def test_lines_of_the_log_stay_lines(workdir, folder):
    shown = (folder / "shown").read_bytes().decode()
    assert "alert" in shown and not ACTING & set(shown)
    lines = (workdir / "metrics.jsonl").read_bytes().split(b"\n")
    assert all(isinstance(json.loads(line), dict) for line in lines if line)
    json.loads((workdir / "result.json").read_bytes())


def test_the_server_answers_with_them_as_json(workdir):
    config = ConfigDict(read_record(workdir / "config.json")["config"])
    known = run_contents(ServeOptions(str(workdir), "", "", "", 0), config)
    assert known.catalogue and known.users

    def sent(value):
        answer = json_response(value)
        assert (answer.media_type or "").startswith("application/json")
        return json.loads(bytes(answer.body))

    items = sent({"items": known.catalogue.search("", limit=99)})["items"]
    assert {item["id"]: item["title"] for item in items} == TITLES
    for user in USERS:
        assert set(sent(known.users.history(user, most=9))) <= set(ODD)
        assert user in {each["id"] for each in sent(known.users.search(user, limit=99))}


def test_users_are_excluded_whatever_their_ids(workdir, folder):
    gone = [user for user in USERS if "\n" not in user]  # a list has one a line
    (folder / "gone").write_bytes("\n".join(gone).encode())
    kept = read_interactions(
        folder / "log.csv",
        filters=Filters(exclude_users=str(folder / "gone")),
        columns=Columns(strip=False),
    )
    assert set(kept.user_ids) == set(USERS) - set(gone)
