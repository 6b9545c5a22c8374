"""The server over HTTP: TensorFlow Serving's form, the page's questions, limits."""

import re
import socket
import threading
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from ml_collections import ConfigDict

from tests.helpers.http_client import GOOD, PREDICT
from tests.helpers.http_server import serving
from ufnrec_tf.cli.serve import ServeOptions, run_contents
from ufnrec_tf.export.versions import newest_version
from ufnrec_tf.reading.sources import load
from ufnrec_tf.recommend.recommender import Recommender
from ufnrec_tf.runs.workdir import read_record
from ufnrec_tf.serving.limits import Limits

LIMITS = Limits(max_body_bytes=20_000, max_instances=40, max_history=50, max_k=60)


def config_of(workdir):
    return ConfigDict(read_record(workdir / "config.json")["config"])


@pytest.fixture(scope="module")
def log(trained):
    return load(config_of(trained), "").interactions


@pytest.fixture(scope="module")
def running(trained):
    contents = run_contents(ServeOptions(str(trained), "", "", "", 0), config_of(trained))
    with serving(
        trained / "export", limits=LIMITS, users=contents.users, catalogue=contents.catalogue
    ) as found:
        yield found


@pytest.fixture
def client(running):
    return running.client()


@pytest.fixture(scope="module")
def model(trained):
    """The same model, loaded by TensorFlow alone."""
    return tf.saved_model.load(str(newest_version(trained / "export")))


def expected(model, name, histories, **more):
    width = max(1, *map(len, histories))
    rows = [[*h, *[""] * (width - len(h))] for h in histories]
    outputs = model.signatures[name](item_ids=tf.constant(rows), **more)
    return {key: value.numpy() for key, value in outputs.items()}


def assert_same(answer, outputs):
    ids = [[raw.decode() for raw in row] for row in outputs["item_ids"]]
    assert answer["item_ids"] == ids
    np.testing.assert_allclose(answer["scores"], outputs["scores"], rtol=1e-5, atol=1e-6)


# TensorFlow Serving's REST form.


@pytest.mark.slow
def test_rows_and_columns_answer_as_the_saved_model_does(client, model, log):
    histories = [list(log.item_ids[1:4]), [log.item_ids[7], "unknown"]]
    outputs = expected(model, "serving_default", histories)
    rows = client.ask(PREDICT, {"instances": histories})
    assert rows.status == 200
    assert rows.headers["content-type"].startswith("application/json")
    predictions = rows.json["predictions"]
    assert_same({key: [p[key] for p in predictions] for key in predictions[0]}, outputs)
    assert rows.json["known_items"] == [3, 1]
    version = client.ask(
        "/v1/models/ufnrec/versions/1:predict", {"inputs": {"item_ids": histories}}
    )
    assert_same(version.json["outputs"], outputs)


def test_other_signatures(client, model, log):
    histories = [list(log.item_ids[1:4]), list(log.item_ids[9:10])]
    body = {"signature_name": "recommend", "inputs": {"item_ids": histories, "k": 45}}
    outputs = expected(model, "recommend", histories, k=tf.constant(45))
    answer = client.ask(PREDICT, body).json["outputs"]
    assert answer["item_ids"][0][-1] == ""  # 40 items, three of them seen
    assert_same(answer, outputs)
    single = {"signature_name": "encode", "instances": histories}
    vectors = expected(model, "encode", histories)["vectors"]
    np.testing.assert_allclose(
        client.ask(PREDICT, single).json["predictions"], vectors, rtol=1e-5, atol=1e-6
    )


def test_status_and_metadata_have_the_form_of_tensorflow_serving(client):
    status = client.ask("/v1/models/ufnrec").json
    assert status == client.ask("/v1/models/ufnrec/versions/1").json
    assert status["model_version_status"] == [
        {
            "version": "1",
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }
    ]
    metadata = client.ask("/v1/models/ufnrec/metadata").json
    assert metadata["model_spec"] == {"name": "ufnrec", "signature_name": "", "version": "1"}
    signatures = metadata["metadata"]["signature_def"]["signature_def"]
    assert {"serving_default", "recommend", "encode"} <= set(signatures)
    recommend = signatures["recommend"]
    assert recommend["method_name"] == "tensorflow/serving/predict"
    assert recommend["inputs"]["k"]["dtype"] == "DT_INT32"
    assert recommend["inputs"]["k"]["tensor_shape"]["dim"] == []
    sizes = [dim["size"] for dim in recommend["inputs"]["item_ids"]["tensor_shape"]["dim"]]
    assert sizes == ["-1", "-1"]
    assert recommend["outputs"]["scores"]["dtype"] == "DT_FLOAT"


REFUSED: dict[str, tuple[str, Any, int, str]] = {
    "no JSON": (PREDICT, b"{", 400, "not JSON"),
    "no signature": (PREDICT, GOOD | {"signature_name": "x"}, 400, "Known: encode, recommend"),
    "k in rows": (PREDICT, GOOD | {"signature_name": "recommend"}, 400, '"inputs"'),
    "version": ("/v1/models/ufnrec/versions/2:predict", GOOD, 404, "version 1 is"),
    "no version": ("/v1/models/ufnrec/versions/%2e%2e:predict", GOOD, 404, ""),
    "a long version": (f"/v1/models/ufnrec/versions/{'9' * 5000}", None, 404, "not served"),
    "model": ("/v1/models/other:predict", GOOD, 404, "no such address"),
    "classify": ("/v1/models/ufnrec:classify", GOOD, 404, "no such address"),
    "method": (PREDICT, None, 405, "another method"),
    "too long": (PREDICT, b'{"instances": [["' + b"a" * 20_000, 413, "20,000 bytes"),
    "path": ("/../../etc/passwd", None, 404, "no such address"),
    "page's file": ("/page.html", None, 404, "no such address"),
    "documents": ("/docs", None, 404, "no such address"),
    "limit": ("/api/items?limit=1000", None, 400, "limit"),
    "query": ("/api/items?q=" + "a" * 300, None, 400, "q"),
    "user": ("/api/user?id=nobody", None, 404, "no user"),
    "no user": ("/api/user", None, 400, "id"),
    "no object": ("/api/recommendations", [1], 400, "history, exclude, k"),
    "no k": ("/api/recommendations", {"history": ["a"], "k": "5"}, 400, "`k`"),
    "other key": ("/api/recommendations", {"histories": []}, 400, "history, exclude, k"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_are_one_line_of_json(running, case):
    path, body, status, words = REFUSED[case]
    answer = running.client().ask(path, body)
    assert answer.status == status
    assert set(answer.json) == {"error"}
    assert words in answer.json["error"]
    assert "Traceback" not in answer.json["error"]
    assert not running.lines


def test_a_body_in_pieces_is_bounded_too(running):
    with socket.create_connection(("127.0.0.1", running.port)) as raw:
        raw.sendall(
            f"POST {PREDICT} HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
            "5208\r\n".encode()
            + b"a" * 0x5208
            + b"\r\n"
        )
        assert raw.recv(100).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("path", [PREDICT, "/healthz", "/none"])
@pytest.mark.parametrize("rest", [b"zz\r\n", b"5\r\nabc", b"-1\r\n\r\n"])
def test_a_client_that_breaks_off_is_no_bug(running, path, rest):
    with socket.create_connection(("127.0.0.1", running.port)) as raw:
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        raw.sendall(head.encode() + rest)
        raw.shutdown(socket.SHUT_WR)
        assert b"500" not in raw.recv(100)
    assert running.client().ask("/healthz").status == 200
    assert not running.lines


OTHER_HOSTS = [
    "",
    "evil.example",
    "127.0.0.1.evil.example",
    "127.0.0.1@evil.example",
    "127.0.0.1:80@evil.example",
    "[::1]evil.example",
    "[::1].evil.example",
    "[::1]:80.evil.example",
    "[::1",
    "::1",
    "localhost:evil",
    "localhost:evil.example",
    "localhost:",
    "localhost:99999",
    "localhost.",
    "127.0.0.1.",
    "localhost, evil.example",
    "localhost/evil.example",
    "http://localhost",
    "127.1",
]


def test_who_may_ask(running):
    client = running.client()
    for host in ("127.0.0.1", f"localhost:{running.port}", "[::1]:80", "LOCALHOST"):
        assert client.ask("/healthz", headers={"Host": host}).status == 200
    for host in OTHER_HOSTS:
        assert client.ask("/", headers={"Host": host}).status == 400, host
    own = f"http://127.0.0.1:{running.port}"
    assert client.ask(PREDICT, GOOD, headers={"Origin": own}).status == 200
    others = ("http://evil.example", "null", "", "http://127.0.0.1:1", f"{own}.", f"{own}@evil")
    for origin in (*others, f"https{own[4:]}", f"{own}/", f"{own}, {own}", f"{own} {own}"):
        answer = client.ask(PREDICT, GOOD, headers={"Origin": origin})
        assert answer.status == 403, origin
        assert "access-control-allow-origin" not in answer.headers
    preflight = client.ask(PREDICT, method="OPTIONS", headers={"Origin": "http://evil.example"})
    assert preflight.status == 405


@pytest.mark.parametrize("name", ["Host", "Origin", "hOsT", "ORIGIN"])
@pytest.mark.parametrize("is_own_last", [True, False])
def test_a_header_of_who_asks_that_is_there_twice_is_refused(running, name, is_own_last):
    own = f"127.0.0.1:{running.port}"
    values = ["evil.example", own] if is_own_last else [own, "evil.example"]
    scheme = "" if name.lower() == "host" else "http://"
    lines = [f"{name}: {scheme}{value}" for value in values]
    if scheme:
        lines.append(f"Host: {own}")
    head = "\r\n".join([f"POST {PREDICT} HTTP/1.1", *lines, "Content-Length: 2", "", "{}"])
    with socket.create_connection(("127.0.0.1", running.port)) as raw:
        raw.sendall(head.encode())
        assert raw.recv(100).startswith(b"HTTP/1.1 400 ")


# The page and its questions.


def test_the_page_is_one_file_that_may_load_nothing(client):
    page = client.ask("/")
    assert page.status == 200
    assert page.headers["x-content-type-options"] == "nosniff"
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    text = page.body.decode()
    assert not re.search(r"(?:src|href)=\"(?!data:,)|url\(|@import|//[a-z]+\.", text)
    assert "innerHTML" not in text


def test_items_and_users_are_found(client, log):
    status = client.ask("/api/status").json
    assert (status["num_items"], status["num_users"], status["version"]) == (40, 60, 1)
    assert status["has_memory"]
    raw = str(log.item_ids[12])
    found = client.ask(f"/api/items?q={raw.upper().replace(' ', '%20')}&limit=3").json["items"]
    assert found[0]["id"] == raw
    users = client.ask("/api/users?limit=100").json["users"]
    lengths = dict(zip(map(str, log.user_ids), log.lengths.tolist(), strict=True))
    assert {user["id"]: user["events"] for user in users} == lengths


def test_a_user_has_a_history_and_what_the_memory_holds(client, log, trained):
    frame = pd.read_parquet(trained / "false_negatives.parquet")
    user = frame["user"].iloc[0]
    answer = client.ask(f"/api/user?id={user}".replace(" ", "%20")).json
    row = list(log.user_ids).index(user)
    items = log.items[log.offsets[row] : log.offsets[row + 1]]
    assert [item["id"] for item in answer["history"]] == list(log.item_ids[items])
    own = frame[frame["user"] == user]
    assert answer["memory_total"] == own["item"].nunique() == len(answer["memory"])
    for shown in answer["memory"]:
        held = own[own["item"] == shown["id"]]
        assert shown["flagged"] == held["flagged"].any()
        assert shown["count"] == held["count"].max()
        assert shown["places"] == len(held)
        margins = held.loc[held["count"] == shown["count"], "margin"]
        assert shown["margin"] == pytest.approx(margins.max(), abs=1e-4)
    flags = [shown["flagged"] for shown in answer["memory"]]
    assert flags == sorted(flags, reverse=True)


def test_the_page_recommends_as_the_model_does(client, model, log):
    history = [str(raw) for raw in log.item_ids[1:4]]
    answer = client.ask("/api/recommendations", {"history": history, "k": 39}).json
    outputs = expected(model, "recommend", [history], k=tf.constant(39))
    ids = [raw.decode() for raw in outputs["item_ids"][0] if raw]
    assert [item["id"] for item in answer["items"]] == ids
    assert len(ids) == 37
    assert answer["known_items"] == 3
    user = str(log.user_ids[5])
    items = log.item_ids[log.items[log.offsets[5] : log.offsets[6]]].tolist()
    of_user = client.ask("/api/recommendations", {"user_id": user, "k": 3}).json
    of_items = client.ask("/api/recommendations", {"history": items, "k": 3}).json
    assert of_user == of_items
    rows = client.ask(PREDICT, {"instances": [{"user_id": user}]}).json
    assert rows == client.ask(PREDICT, {"instances": [items]}).json
    body = {"history": history, "k": 3, "exclude": ids[0]}
    assert client.ask("/api/recommendations", body | {"exclude": ["gone"]}).json[
        "unknown_exclude_ids"
    ] == ["gone"]
    answer = client.ask("/api/recommendations", body)
    if client.ask("/api/status").json["can_exclude"]:
        assert [item["id"] for item in answer.json["items"]] == ids[1:4]
    else:
        assert answer.status == 400


def test_diverse_lists_and_reasons_are_those_of_python(client, trained, log):
    python = Recommender(trained / "export")
    history = [str(raw) for raw in log.item_ids[1:5]]
    right = python.recommend([history], top_k=5, diversity=0.8)["item"].tolist()
    body = {"history": history, "k": 5, "diversity": 0.8}
    answer = client.ask("/api/recommendations", body).json
    assert [item["id"] for item in answer["items"]] == right
    rows = client.ask(PREDICT, {"instances": [history], "diversity": 0.8}).json
    assert rows["predictions"][0]["item_ids"][:5] == right
    for path, wrong, words in (
        (PREDICT, {"instances": [history], "diversity": 2}, "`diversity` must be a number from 0"),
        (
            PREDICT,
            {"instances": [history], "diversity": 1, "signature_name": "encode"},
            "`diversity` has no effect on encode",
        ),
        ("/api/why", {"history": ["nobody"], "item": history[0]}, "no item of the history"),
        ("/api/why", {"history": history, "item": "nobody"}, "knows not the item"),
    ):
        refusal = client.ask(path, wrong)
        assert refusal.status == 400 and words in refusal.json["error"]
    reasons = client.ask("/api/why", {"history": history, "item": right[0]}).json["items"]
    expected = python.explain(history, right[0])
    assert [reason["id"] for reason in reasons] == expected["item"].tolist()
    np.testing.assert_allclose([r["drop"] for r in reasons], expected["drop"], atol=1e-5)


def test_example_users_have_what_the_test_held_out(client, log, trained):
    ranks = pd.read_parquet(trained / "ranks.parquet")
    examples = client.ask("/api/status").json["examples"]
    assert len(examples) == len({user["id"] for user in examples}) == 6
    for user in examples:
        answer = client.ask(f"/api/user?id={user['id']}".replace(" ", "%20")).json
        test = ranks[ranks["user"] == user["id"]].sort_values("position").iloc[0]
        held, history = answer["held_out"], answer["history"]
        assert (held["rank"], len(history)) == (test["rank"], user["events"])
        assert history[-held["count"]]["id"] == test["item"]
        assert len(history) - held["count"] == test["position"]


# Many requests.


def test_items_like_others(client, model, log):
    asked = [log.item_ids[3], "nobody"]
    outputs = model.signatures["similar"](item_ids=tf.constant(asked), k=tf.constant(4))
    ids = [raw.decode() for raw in outputs["item_ids"].numpy()[0]]
    answer = client.ask("/similar", {"item_ids": asked, "k": 4}).json
    assert [item["id"] for item in answer["items"]] == asked
    assert [item["is_known"] for item in answer["items"]] == [True, False]
    assert [item["id"] for item in answer["items"][0]["similar"]] == ids
    assert answer["items"][1]["similar"] == []
    body = {"signature_name": "similar", "inputs": {"item_ids": asked, "k": 4}}
    served = client.ask(PREDICT, body).json
    assert served["outputs"]["item_ids"][0] == ids
    assert (served["outputs"]["is_known"], served["known_items"]) == ([True, False], [1, 0])
    answer = client.ask("/similar", {"item_ids": asked, "exclude": ids[0], "k": 3}).json
    assert [item["id"] for item in answer["items"][0]["similar"]] == ids[1:]
    for wrong, words in (
        ({}, "lacks `item_ids`"),
        ({"item_ids": "a"}, "`item_ids` must be a list of ids"),
        ({"item_ids": [["a"]]}, "`item_ids[0]` must be an id, a string"),
        ({"item_ids": []}, "`item_ids` has no row"),
    ):
        refusal = client.ask("/similar", wrong)
        assert refusal.status == 400 and words in refusal.json["error"]


def test_requests_at_once_get_each_their_own_answer(running, model, log):
    """Joined into common calls, of unequal length; the metrics say how they were."""
    rng = np.random.default_rng(0)
    histories = [list(rng.choice(log.item_ids[1:], size=rng.integers(1, 9))) for _ in range(96)]
    outputs = expected(model, "serving_default", histories)
    answers = [None] * len(histories)

    def send(first):
        client = running.client()
        for place in range(first, len(histories), 8):
            answers[place] = client.ask(PREDICT, {"inputs": [histories[place]]}).json["outputs"]

    threads = [threading.Thread(target=send, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for place, answer in enumerate(answers):
        assert_same(answer, {key: value[place : place + 1] for key, value in outputs.items()})
    text = running.client().ask("/metrics").body.decode()
    assert re.search(r'ufnrec_requests_total\{route="predict",status="200"\} \d+', text)
    count = {name: float(value) for name, value in re.findall(r"(?m)^(\w+) (\S+)$", text)}
    assert count["ufnrec_batch_histories_sum"] >= 96
    assert count["ufnrec_requests_in_flight"] == 1  # the one that asks
    assert "ufnrec_model_version 1.0" in text
