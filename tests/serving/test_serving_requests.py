"""Bodies of requests to the server, good and bad, by hand; answers in both forms."""

import json

import numpy as np
import pytest

from ufnrec_tf.serving.limits import Limits, Refusal
from ufnrec_tf.serving.models import LoadedModel
from ufnrec_tf.serving.page_search import Catalogue, UserHistories, Users
from ufnrec_tf.serving.rest import TensorInfo, answer_json, read_inputs, read_predict
from ufnrec_tf.serving.user_ids import with_histories

ITEMS = TensorInfo("item_ids", "string", (-1, -1))
K = TensorInfo("k", "int32", ())
EXCLUDE = TensorInfo("exclude_ids", "string", (-1, -1))
LIMITS = Limits(max_instances=3, max_history=4, max_k=50)


def read(body, *specs, limits=LIMITS):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    return read_inputs(read_predict(body), specs or (ITEMS,), limits)


def refused(body, *specs):
    with pytest.raises(Refusal) as caught:
        read(body, *specs)
    assert caught.value.status == 400
    assert "\n" not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        ({"instances": [["a", "b"], ["c"]]}, [[b"a", b"b"], [b"c"]]),
        ({"instances": [{"item_ids": ["a"]}, {"item_ids": []}]}, [[b"a"], []]),
        ({"inputs": [["a", "b"]]}, [[b"a", b"b"]]),
        ({"inputs": {"item_ids": [["a"], ["b", "c"]]}}, [[b"a"], [b"b", b"c"]]),
        ({"instances": [[{"b64": "w6k="}]]}, [["é".encode()]]),
        (
            {"instances": [["", "\n\u2028\"<b>'", "\x00"]]},
            [[b"", "\n\u2028\"<b>'".encode(), b"\0"]],
        ),
        ({"signature_name": "", "instances": [["a"]]}, [[b"a"]]),
        ({"instances": [[125, 125.0, "125", -3]]}, [[b"125", b"125", b"125", b"-3"]]),
        ({"instances": [[2**60]]}, [[b"1152921504606846976"]]),
    ],
)
def test_rows_and_columns_say_the_same(body, rows):
    assert read(body) == ({"item_ids": rows}, ())


def test_columns_take_a_number_for_the_whole_request():
    body = {
        "signature_name": "recommend_filtered",
        "inputs": {"item_ids": [["a"], []], "exclude_ids": [[], ["b"]], "k": 7},
    }
    inputs = read(body, EXCLUDE, ITEMS, K)
    assert inputs.rows == {"item_ids": [[b"a"], []], "exclude_ids": [[], [b"b"]]}
    assert inputs.numbers == (("k", 7),)
    assert inputs.num_rows == 2


BAD = {
    "empty": (b"", ["not JSON", "line 1, column 1"]),
    "cut": (b'{"instances": [["a"]', ["not JSON"]),
    "not UTF-8": (b'{"instances": [["\xff"]]}', ["not UTF-8", "byte 17"]),
    "another encoding": ('{"instances": [["a"]]}'.encode("utf-16"), ["not UTF-8"]),
    "byte order mark": (b'\xef\xbb\xbf{"instances": [["a"]]}', ["not JSON", "BOM"]),
    "half a pair": (b'{"instances": [["\\ud800"]]}', ["item_ids[0][0]", "Unicode"]),
    "too deep": (b'{"instances": ' + b"[" * 100_000, ["too deeply"]),
    "too deep and closed": (b'{"inputs": ' + b'{"a":' * 90_000 + b"1", ["too deeply"]),
    "digits": (b'{"instances": [[' + b"9" * 5000 + b"]]}", ["too long"]),
    "a list": ([["a"]], ["must be a JSON object", '[["a"]]']),
    "null": (b"null", ["must be a JSON object", "null"]),
    "no values": ({}, ["either `instances`"]),
    "both": ({"instances": [["a"]], "inputs": [["a"]]}, ["either `instances`"]),
    "unknown key": ({"instance": [["a"]]}, ['unknown key "instance"', "'instances'?"]),
    "signature no text": ({"signature_name": 1, "instances": [["a"]]}, ["`signature_name`"]),
    "twice": (b'{"inputs": [["a"]], "inputs": [["b"]]}', ['"inputs" more than once']),
    "twice inside": (b'{"instances": [{"item_ids": [], "item_ids": []}]}', ["more than once"]),
    "NaN": (b'{"instances": [[NaN]]}', ["NaN"]),
    "Infinity": (b'{"instances": [[-Infinity]]}', ["-Infinity"]),
    "instances no list": ({"instances": "a"}, ["`instances` must be a list", '"a"']),
    "row no list": ({"instances": ["a"]}, ["`item_ids[0]` must be a list", '"a"']),
    "id a fraction": ({"instances": [["a", 5.5]]}, ["item_ids[0][1]", "5.5", "a whole number"]),
    "id of a float": ({"instances": [["a", 2.0**53]]}, ["item_ids[0][1]", "9007199254740992.0"]),
    "id true": ({"instances": [[True]]}, ["item_ids[0][0]", "true"]),
    "id null": ({"instances": [["a"], [None]]}, ["item_ids[1][0]", "null"]),
    "id a list": ({"instances": [[["a"]]]}, ["item_ids[0][0]"]),
    "b64 wrong": ({"instances": [[{"b64": "w6k"}]]}, ["item_ids[0][0]"]),
    "b64 no text": ({"instances": [[{"b64": 1}]]}, ["item_ids[0][0]"]),
    "b64 no alphabet": ({"instances": [[{"b64": "w6k=!"}]]}, ["item_ids[0][0]"]),
    "b64 and more": ({"instances": [[{"b64": "w6k=", "a": 1}]]}, ["item_ids[0][0]"]),
    "no row": ({"instances": []}, ["no row"]),
    "too many rows": ({"instances": [[]] * 4}, ["4 rows", "more than 3"]),
    "too long a row": ({"inputs": [["a"] * 5]}, ["`item_ids[0]` has 5 ids", "more than 4"]),
    "lacks the input": ({"instances": [{}]}, ["lacks `item_ids`"]),
    "unknown input": ({"instances": [{"item_ids": [], "x": 1}]}, ['unknown key "x"']),
    "instance no list": ({"instances": [{"item_ids": []}, 5]}, ["instances[1]", "5"]),
    "unknown column": ({"inputs": {"items": []}}, ["unknown key", "'item_ids'?"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_bodies_are_refused_in_a_line(case):
    body, words = BAD[case]
    message = refused(body)
    for word in words:
        assert word in message


@pytest.mark.parametrize("k", [0, -1, 51, 2**40, 1.0, "5", True, None, [5], {}])
def test_k_must_be_a_number_in_range(k):
    body = {"inputs": {"item_ids": [["a"]], "k": k}}
    assert "`k` must be an integer from 1 to 50" in refused(body, ITEMS, K)


def test_rows_cannot_hold_a_number_and_the_error_shows_the_form_that_can():
    message = refused({"signature_name": "recommend", "instances": [["a"]]}, ITEMS, K)
    example = json.loads(message[message.index("{") : message.rindex("}") + 1])
    assert example["signature_name"] == "recommend"
    assert read(example, ITEMS, K).numbers == (("k", 10),)


def test_inputs_must_have_as_many_rows():
    body = {"inputs": {"item_ids": [["a"], ["b"]], "exclude_ids": [["c"]], "k": 1}}
    message = refused(body, ITEMS, EXCLUDE, K)
    assert "item_ids 2, exclude_ids 1" in message


def test_what_is_asked_for_is_bounded_as_a_whole():
    wide = Limits(max_instances=100_000, max_history=300_000, max_k=100_000)
    body = {"inputs": {"item_ids": [[]] * 7, "k": 100_000}}
    with pytest.raises(Refusal, match="7 histories with 100000 items"):
        read(body, ITEMS, K, limits=wide)
    ragged = {"inputs": [["a"] * 200_000, *[[]] * 3]}
    with pytest.raises(Refusal, match="padded to the longest"):
        read(ragged, limits=wide)


OUTPUTS = {
    "item_ids": np.array([["é".encode(), b"b"], [b"c", b""]], dtype=object),
    "scores": np.array([[0.1, -1e30], [1 / 3, 2.0]], np.float32),
}


def test_answers_as_columns_and_as_rows():
    ids, scores = [["é", "b"], ["c", ""]], [[0.1, -1e30], [0.33333334, 2.0]]
    columns = json.loads(answer_json(OUTPUTS, is_columns=True))
    assert columns == {"outputs": {"item_ids": ids, "scores": scores}}
    rows = json.loads(answer_json(OUTPUTS, is_columns=False))
    assert rows == {
        "predictions": [
            {"item_ids": ids[0], "scores": scores[0]},
            {"item_ids": ids[1], "scores": scores[1]},
        ]
    }


def test_the_name_of_a_single_output_is_left_out():
    single = {"vectors": OUTPUTS["scores"]}
    scores = [[0.1, -1e30], [0.33333334, 2.0]]
    assert json.loads(answer_json(single, is_columns=True)) == {"outputs": scores}
    assert json.loads(answer_json(single, is_columns=False)) == {"predictions": scores}


IDS = np.array(["", "a", "b", "c"], object)
NO_VECTORS = np.zeros((0, 1), np.float32)
USERS = Users(
    UserHistories(np.array(["7", "é"], object), np.array([0, 3, 4]), np.array([1, 2, 3, 2]), IDS),
    None,
    source="a log",
)


def test_users_stand_in_place_of_their_histories():
    def asked(body, users=USERS, limits=LIMITS):
        body = read_predict(json.dumps(body).encode())
        return read_inputs(with_histories(body, users, limits), (ITEMS,), limits).rows["item_ids"]

    abc = [b"a", b"b", b"c"]
    assert asked({"instances": [{"user_id": "7"}, {"item_ids": ["x"]}]}) == [abc, [b"x"]]
    assert asked({"instances": [{"user_id": 7}, {"user_id": {"b64": "w6k="}}]}) == [abc, [b"b"]]
    assert asked({"inputs": {"user_id": ["é", 7.0]}}) == [[b"b"], abc]
    assert asked({"instances": [{"user_id": "7"}]}, limits=Limits(max_history=2)) == [abc[1:]]
    assert asked({"instances": [["x"]]}, users=None) == [[b"x"]]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"instances": [{"user_id": "8"}, {"user_id": "7"}]}, 404, '1 of 2 users .* such as "8"'),
        ({"instances": [{"user_id": None}]}, 400, "`user_id` must be an id.* Received: null"),
        ({"instances": [{"user_id": ["7"]}]}, 400, "`user_id` must be an id"),
        ({"instances": [{"user_id": "7", "item_ids": []}]}, 400, "both given"),
        ({"inputs": {"user_id": ["7"], "item_ids": []}}, 400, "both given"),
        ({"inputs": {"user_id": "7"}}, 400, "`user_id` must be a list of users"),
        ({"inputs": {"user_id": ["7"] * 4}}, 400, "4 users, more than 3"),
    ],
)
def test_users_that_cannot_be_answered(body, status, words):
    with pytest.raises(Refusal, match=words) as caught:
        with_histories(read_predict(json.dumps(body).encode()), USERS, LIMITS)
    assert caught.value.status == status


def test_a_bare_export_knows_no_users():
    body = read_predict(b'{"instances": [{"user_id": "7"}]}')
    with pytest.raises(Refusal, match="start the server with --workdir=DIR"):
        with_histories(body, None, LIMITS)


def no_places(item_ids):
    return np.zeros(item_ids.shape, np.int32)


def test_answers_say_which_ids_the_model_knows():
    model = LoadedModel(1, {}, {}, Catalogue(IDS[1:]), NO_VECTORS, no_places)
    rows = {"item_ids": [[b"a", b"x", b"", b"a"], [b"y"], []]}
    assert model.marks(rows) == {"known_items": [2, 0, 0]}
    lists = {"exclude_ids": [[b"x", b"a"], [b"y", b"x"]], "allow_ids": [[b"b"], []]}
    assert model.marks(lists) == {"unknown_exclude_ids": ["x", "y"]}
    assert LoadedModel(1, {}, {}, Catalogue(IDS[:0]), NO_VECTORS, no_places).marks(rows) == {}
    answer = json.loads(answer_json(OUTPUTS, is_columns=False, beside={"known_items": [2, 0]}))
    assert list(answer) == ["predictions", "known_items"]
