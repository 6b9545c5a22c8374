"""Parts of the server by themselves: joined calls, bounds, the search, the users, the log."""

import asyncio
import gc
import json
import shutil
import threading
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.serving.batching import Batcher
from ufnrec_tf.serving.counters import ServerMetrics
from ufnrec_tf.serving.guard import Guard, route_of
from ufnrec_tf.serving.limits import Limits
from ufnrec_tf.serving.models import ModelKeeper
from ufnrec_tf.serving.page_search import TextIndex, UserHistories, Users, read_catalogue
from ufnrec_tf.serving.rest import RequestInputs
from ufnrec_tf.serving.server import allowed_hosts


class FakeModel:
    """Answers with each row's length and first id; notes its calls; waits where told to."""

    def __init__(self, *, max_rows=100, quick_rows=0):
        self.max_rows, self.quick_rows, self.name = max_rows, quick_rows, "fake"
        self.calls, self.threads, self.may_go = [], set(), threading.Event()
        self.may_go.set()

    def call(self, inputs):
        rows = inputs["item_ids"]
        self.calls.append((len(rows), inputs["k"]))
        self.threads.add(threading.current_thread())
        assert self.may_go.wait(30)
        if b"bug" in rows:
            raise ZeroDivisionError("a bug")
        lengths = np.array([sum(raw != b"" for raw in row) for row in rows], np.float32)
        return {"length": lengths, "first": rows[:, 0]}


def inputs(*rows, k=3):
    return RequestInputs({"item_ids": [[raw.encode() for raw in row] for row in rows]}, (("k", k),))


def joined(model, *asked, limits=None):
    """Sends requests while the model is held at a first one; returns their answers."""
    batcher = Batcher(limits or Limits(), ServerMetrics())

    async def send():
        model.may_go.clear()
        first = asyncio.ensure_future(batcher.call(model, model, inputs(["first"])))
        while not model.calls:
            await asyncio.sleep(0.001)
        rest = [asyncio.ensure_future(batcher.call(model, model, one)) for one in asked]
        await asyncio.sleep(0)
        model.may_go.set()
        return await asyncio.gather(first, *rest, return_exceptions=True)

    try:
        return asyncio.run(send())[1:]
    finally:
        batcher.close()


def test_what_waits_goes_into_one_call():
    model = FakeModel()
    answers = joined(model, inputs(["a", "b"], []), inputs(["c"]), inputs(["d"] * 5, k=4))
    # The last asks for another k.
    assert model.calls == [(1, 3), (3, 3), (1, 4)]
    assert answers[0]["length"].tolist() == [2, 0]
    assert answers[0]["first"].tolist() == [b"a", b""]
    assert answers[1]["first"].tolist() == [b"c"]
    assert answers[2]["length"].tolist() == [5]


@pytest.mark.parametrize(("max_batch", "max_rows"), [(4, 100), (100, 4)])
def test_a_call_has_no_more_histories_than_are_allowed(max_batch, max_rows):
    model = FakeModel(max_rows=max_rows)
    many = [[str(n)] for n in range(9)]
    answers = joined(
        model,
        inputs(["a"], ["b"]),
        inputs(["c"], ["d"]),
        inputs(["e"]),
        inputs(*many),
        limits=Limits(max_batch=max_batch),
    )
    assert [count for count, _ in model.calls] == [1, 4, 1, 4, 4, 1]
    assert answers[3]["first"].tolist() == [row[0].encode() for row in many]


def test_a_bug_is_told_to_those_it_hit_and_the_next_are_answered():
    model = FakeModel()
    answers = joined(model, inputs(["bug"]), inputs(["a"], k=5))
    assert isinstance(answers[0], ZeroDivisionError)
    assert answers[1]["first"].tolist() == [b"a"]


@pytest.mark.filterwarnings("error")  # the thread outlives the loop of those who waited
def test_who_waits_too_long_is_told_to_come_again_and_not_worked_on():
    model = FakeModel()
    batcher: Any = Batcher(Limits(timeout_seconds=0.05), ServerMetrics())
    model.may_go.clear()

    async def send():
        both = [batcher.call(model, model, inputs([name], k=k)) for name, k in (("a", 3), ("b", 4))]
        return await asyncio.gather(*both, return_exceptions=True)

    try:
        refusals = asyncio.run(send())
    finally:
        model.may_go.set()
        batcher.close()
    assert [refusal.status for refusal in refusals] == [503, 503]
    assert refusals[0].retry_after == 1
    assert model.calls == [(1, 3)]


def asked_at_once(model, *asked, cancelled=()):
    """Sends requests in one turn of the event loop, some of them broken off; returns answers."""
    batcher = Batcher(Limits(), ServerMetrics())

    async def send():
        tasks = [asyncio.ensure_future(batcher.call(model, model, one)) for one in asked]
        await asyncio.sleep(0)
        for place in cancelled:
            tasks[place].cancel()
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)

    try:
        return asyncio.run(send())
    finally:
        batcher.close()


def test_quick_calls_are_made_where_they_are_asked_for_and_hold_what_came_together():
    model = FakeModel(quick_rows=3)
    asked = inputs(["a"], ["b"]), inputs(["c"]), inputs(["d"]), inputs(["e"], k=4), inputs(["bug"])
    answers = asked_at_once(model, *asked)
    assert model.calls == [(3, 3), (2, 3), (1, 4)]  # "d" shares the call of "bug"
    assert model.threads == {threading.current_thread()}
    assert answers[0]["first"].tolist() == [b"a", b"b"]
    assert answers[3]["first"].tolist() == [b"e"]
    assert [type(answers[place]) for place in (2, 4)] == [ZeroDivisionError] * 2


@pytest.mark.parametrize("slow", [inputs(*[["a"]] * 4), inputs(["a"] * 300), inputs(["a"], k=101)])
def test_only_quick_calls_are_made_by_the_event_loop(slow):
    model = FakeModel(quick_rows=3)
    asked_at_once(model, slow)
    assert len(model.threads) == 1 and threading.current_thread() not in model.threads


def test_a_client_that_breaks_off_takes_no_answer_from_those_who_came_with_it():
    model = FakeModel(quick_rows=3)
    asked = [inputs(["a"]), inputs(["b"]), inputs(["c"], k=4)]
    answers = asked_at_once(model, *asked, cancelled=[0, 2])
    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1]["first"].tolist() == [b"b"]
    assert model.calls == [(1, 3)]  # nothing is computed for those who are gone


def test_others_have_their_turn_between_quick_calls():
    model = FakeModel(quick_rows=3)
    batcher: Any = Batcher(Limits(), ServerMetrics())

    async def send():
        asked = [batcher.call(model, model, inputs(["a"], k=k)) for k in range(1, 7)]
        tasks, seen = [asyncio.ensure_future(one) for one in asked], []
        while not all(task.done() for task in tasks):
            seen.append(len(model.calls))
            await asyncio.sleep(0)
        return seen

    try:
        assert set(asyncio.run(send())) >= set(range(6))
    finally:
        batcher.close()


async def answer_of(guard, path="/v1/models/ufnrec:predict"):
    sent = []
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "scheme": "http",
        "headers": [(b"host", b"h")],
    }

    async def send(message):
        sent.append(message)

    await guard(scope, None, send)
    body = sent[1]["body"]
    return sent[0]["status"], dict(sent[0]["headers"]), json.loads(body) if body else None


def guarded(app, lines=None, **limits):
    log_line = (lines if lines is not None else []).append
    return Guard(
        app, limits=Limits(**limits), metrics=ServerMetrics(), hosts=frozenset(), log_line=log_line
    )


def test_one_request_too_many_is_told_to_come_again():
    async def scenario():
        may_go = asyncio.Event()

        async def app(scope, receive, send):
            if scope["path"] != "/healthz":
                await may_go.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        guard = guarded(app, max_concurrent=2)
        waiting = [asyncio.ensure_future(answer_of(guard)) for _ in range(2)]
        await asyncio.sleep(0)
        one_more = await asyncio.wait_for(answer_of(guard), 10)
        health = await answer_of(guard, "/healthz")
        may_go.set()
        return one_more, health, await asyncio.gather(*waiting)

    (status, headers, body), health, waited = asyncio.run(scenario())
    assert (status, headers[b"retry-after"]) == (429, b"1")
    assert "more than 2 requests" in body["error"]
    assert health[0] == 200
    assert [answer[0] for answer in waited] == [200, 200]


def test_a_bug_is_one_line_in_the_log_and_nothing_of_it_reaches_the_client():
    async def app(scope, receive, send):
        raise ZeroDivisionError("secret\nline\r\x1b[31m\u2028é")

    lines: list[str] = []
    status, _, body = asyncio.run(answer_of(guarded(app, lines)))
    assert (status, body) == (500, {"error": "internal error."})
    assert "ZeroDivisionError: secret\\nline\\r\\x1b[31m\\u2028é at " in lines[0]
    assert "test_serving_parts.py:" in lines[0]


def test_routes_are_counted_under_few_names():
    assert route_of("/v1/models/ufnrec/versions/3:predict") == "predict"
    assert route_of("/") == "page"
    assert route_of("/api/user") == "page_api"
    assert {route_of(f"/{n}{{}}\n") for n in range(99)} == {"other"}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "localhost", "::1"])
def test_a_server_for_this_machine_answers_by_its_names_alone(host):
    assert {"127.0.0.1", "localhost"} <= allowed_hosts(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org"])
def test_a_server_for_others_answers_by_any_name(host):
    assert not allowed_hosts(host)


TITLES = ["Star Wars", "The Stars", "Wars of Stars", "", "Ärger\nund Stars", "STAR"]


def test_search_puts_the_whole_name_first_then_beginnings_then_parts():
    index = TextIndex([(title, f"id{n}") for n, title in enumerate(TITLES)])
    assert index.search("star", limit=9) == [5, 0, 1, 2, 4]
    assert index.search("STARS", limit=9) == [1, 2, 4]
    assert index.search("star", limit=2) == [5, 0]
    assert index.search("ärger und", limit=9) == [4]
    assert index.search("id3", limit=9) == [3]
    assert index.search("wars\tid", limit=9) == []  # not over the end of a text
    assert index.search("", limit=3) == [0, 1, 2]
    assert TextIndex([]).search("", limit=3) == TextIndex([]).search("a", limit=3) == []


def test_catalogue_of_an_export_is_searched_by_popularity(tmp_path):
    frame = pd.DataFrame(
        {
            "item_id": ["a", "b", "<b>"],
            "title": ["One", "Two", ""],
            "category": ["x", "", ""],
            "price": [1.0, np.nan, 2.0],
            "events": [1, 5, 3],
        }
    )
    frame.to_parquet(tmp_path / "items.parquet")
    catalogue = read_catalogue(tmp_path)
    assert catalogue is not None
    assert [item["id"] for item in catalogue.search("", limit=9)] == ["b", "<b>", "a"]
    assert catalogue.describe("a") == {"id": "a", "title": "One", "category": "x"}
    assert catalogue.describe("gone") == {"id": "gone", "title": "", "category": ""}
    assert catalogue.has_titles and len(catalogue) == 3
    assert read_catalogue(tmp_path / "none") is None
    (tmp_path / "items.parquet").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"items\.parquet: the exported model is damaged"):
        read_catalogue(tmp_path)


def test_memory_of_a_user_is_an_item_a_row_flagged_first():
    memory = pd.DataFrame(
        [
            ("u", "a", 0, 9, 0.5, False),
            ("u", "b", 0, 3, 1.5, True),
            ("u", "b", 4, 7, np.nan, True),
            ("u", "b", 5, 1, 9.0, False),
            ("v", "a", 1, 1, 1.0, True),
        ],
        columns=["user", "item", "position", "count", "margin", "flagged"],
    )
    ids = np.array(["", "a", "b"], dtype=object)
    histories = UserHistories(
        np.array(["u", "w"], dtype=object), np.array([0, 3, 4]), np.array([1, 2, 1, 2]), ids
    )
    users = Users(histories, memory, source="a log")
    rows, total = users.remembered("u")
    assert total == 2
    assert rows[0] == {"item": "b", "places": 3, "count": 7, "margin": None, "flagged": True}
    assert rows[1] == {"item": "a", "places": 1, "count": 9, "margin": 0.5, "flagged": False}
    assert users.remembered("w") == ([], 0)
    assert users.history("u", most=9) == ["a", "b", "a"]
    assert users.history("u", most=2) == ["b", "a"]
    assert users.history("v", most=2) is None
    assert users.search("W", limit=5) == [{"id": "w", "events": 1}]


@pytest.mark.slow
def test_a_version_is_loaded_once_its_files_have_come_to_rest(tmp_path):
    loaded: list[str] = []
    lines: list[str] = []

    def load(path):
        loaded.append(path.name)
        if (path / "bad").exists():
            raise UserError("damaged")
        return SimpleNamespace(version=int(path.name))

    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "file").write_text("a")
    keeper = ModelKeeper(tmp_path, load, metrics=ServerMetrics(), log_line=lines.append)
    keeper.check()
    assert loaded == ["1"]
    (tmp_path / "2").mkdir()
    for text in ("a", "ab", "abc"):  # it grows: somebody copies it
        (tmp_path / "2" / "bad").write_text(text)
        keeper.check()
    assert loaded == ["1"]
    for _ in range(3):
        keeper.check()
    assert loaded == ["1", "2"]  # looked into once, and not again
    assert (keeper.current.version, lines) == (1, ["version 2 not taken, 1 stays: damaged"])
    (tmp_path / "2" / "bad").rename(tmp_path / "2" / "good")
    keeper.check()
    keeper.check()
    assert keeper.current.version == 2


def test_a_version_that_is_pruned_while_it_loads_is_not_called_damaged(tmp_path):
    lines: list[str] = []

    def load(path):
        if path.name == "1":
            return SimpleNamespace(version=1)
        shutil.rmtree(path)
        raise UserError("damaged")

    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "file").write_text("a")
    loader: Any = load
    keeper = ModelKeeper(tmp_path, loader, metrics=ServerMetrics(), log_line=lines.append)
    assert keeper.current.version == 1  # at the start: that in force now is taken
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "file").write_text("a")
    for _ in range(3):
        keeper.check()
    assert (keeper.current.version, lines) == (1, [])
    assert not (tmp_path / "3").exists()
    keeper.close()


@pytest.mark.slow
def test_an_older_version_is_let_go_cycles_and_all(tmp_path):
    class Model:
        def __init__(self, path):
            self.version = int(path.name)
            self.itself = self  # as what TensorFlow loads refers to itself

    (tmp_path / "1").mkdir()
    load: Any = Model
    keeper = ModelKeeper(tmp_path, load, metrics=ServerMetrics(), log_line=lambda line: None)
    assert gc.get_freeze_count() > 0
    before = weakref.ref(keeper.current)
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "file").write_text("a")
    for _ in range(2):
        keeper.check()
    assert keeper.current.version == 2
    gc.collect()
    assert before() is not None  # frozen, where the collector does not look
    for _ in range(20):
        keeper.check()
    assert before() is None
    keeper.close()
    assert gc.get_freeze_count() == 0
