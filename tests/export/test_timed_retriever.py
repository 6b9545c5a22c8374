"""Times at the doors of a model that reads them: the graph, Python, the server's inputs."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.serving import ITEM_IDS, LENGTH, NUM_ITEMS, WIDTH, pad
from ufnrec_tf import backbones
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.export.timed_retriever import TimedRetriever
from ufnrec_tf.recommend.given_times import seconds_of_histories
from ufnrec_tf.recommend.scoring import times_input
from ufnrec_tf.serving.limits import Limits, Refusal
from ufnrec_tf.serving.page_search import UserHistories, Users
from ufnrec_tf.serving.rest import TensorInfo, read_inputs, read_predict
from ufnrec_tf.serving.user_ids import with_histories

pytestmark = pytest.mark.usefixtures("eagerly")

IDS_ROWS = [["i9", "unknown", "i7", "i8", "i9", "i10", "i11"], ["i20"], ["", "i5"]]
START = 1_600_000_000
TIME_ROWS = [[START, START + 5, START + 60, *(START + 10**n for n in (4, 5, 6, 7))], [9], [0, 77]]


def retriever_of(*, request_time):
    keras.utils.set_random_seed(3)
    backbone = backbones.create(
        "hstu",
        num_items=NUM_ITEMS,
        width=WIDTH,
        max_length=LENGTH,
        num_blocks=1,
        time="both",
        request_time=request_time,
    )
    return backbone, TimedRetriever(backbone, ITEM_IDS, max_length=LENGTH)


@pytest.mark.parametrize("request_time", [False, True])
def test_the_graph_encodes_the_newest_known_ids_at_their_times(request_time):
    backbone, retriever = retriever_of(request_time=request_time)
    internal = {raw: number for number, raw in enumerate(ITEM_IDS)}
    windows = np.zeros([3, LENGTH], np.int32)
    times = np.zeros([3, LENGTH + 1], np.int64)
    rows = [[*row, row[-1] + 500] if request_time else row for row in TIME_ROWS]
    for place, (ids, own) in enumerate(zip(IDS_ROWS, rows, strict=True)):
        known = [(internal[raw], t) for raw, t in zip(ids, own, strict=False) if raw in internal]
        for back, (item, moment) in enumerate(reversed([pair for pair in known if pair[0]])):
            if back < LENGTH:
                windows[place, -1 - back], times[place, LENGTH - 1 - back] = item, moment
        times[place, LENGTH] = own[-1]
    expected = backbone.encode(
        tf.constant(windows), times=tf.constant(times[:, : backbone.num_times])
    )
    given = times_input(rows)["times"]
    found = retriever.encode(tf.constant(pad(IDS_ROWS)), given)["vectors"]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    answer = retriever.recommend(tf.constant(pad(IDS_ROWS)), given, tf.constant(4))
    scores = expected.numpy() @ backbone.item_embeddings().numpy().T
    for row, ids in enumerate(answer["item_ids"].numpy()):
        places = [internal[raw.decode()] for raw in ids]
        np.testing.assert_allclose(answer["scores"][row], scores[row, places], atol=1e-5)
    none = tf.fill([3, 1], "")
    filtered = retriever.recommend_filtered(
        tf.constant(pad(IDS_ROWS)), given, tf.constant(4), none, none
    )
    np.testing.assert_array_equal(filtered["item_ids"], answer["item_ids"])
    empty = retriever.serve(tf.fill([0, 2], ""), tf.zeros([0, 2], tf.int64))
    assert empty["item_ids"].shape == (0, 10)


@pytest.mark.parametrize("times", [[[START, 0]], [[START]], [[START] * 4]])
def test_an_id_without_a_time_is_an_error(times):
    _, retriever = retriever_of(request_time=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match="must have a time for each id"):
        retriever.serve(tf.constant([["i9", "i7"]]), tf.constant(times, tf.int64))


def test_python_takes_dates_and_seconds():
    rows = [["a", "b"], ["c"]]
    dates = {"u": ["2024-01-01", "2024-01-02T01:00"], "v": np.array(["2024-01-01"], "M8[s]")}
    expected = [[1_704_067_200, 1_704_157_200], [1_704_067_200]]
    assert seconds_of_histories(dates, ["u", "v"], rows, {"times": "events"}) == expected
    assert seconds_of_histories(expected, [0, 1], rows, {"times": "events"}) == expected
    asked = seconds_of_histories(expected, [0, 1], rows, {"times": "with the request"})
    assert [row[:-1] for row in asked] == expected and asked[0][-1] > 1_704_157_200
    given = [[*expected[0], 1_704_157_300], expected[1]]
    asked = seconds_of_histories(given, [0, 1], rows, {"times": "with the request"})
    assert asked[0] == given[0]


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ({"u": [5]}, "the history of 'v' is without times, which this model reads"),
        ([[5]], "a row for each history. Received: 1 rows for 2"),
        ([[5], [6]], "'u' must be as many as its history's ids. Received: 1 times for 2 ids"),
        ([[5, 6], ["soon"]], "'v': expected dates, or numbers of seconds since 1970. .*soon"),
        ([[5, 1_704_067_200_000], [6]], "'u': .*between 1970 and 2100"),
        ([[6, 5], [6]], "'u' must be oldest first"),
    ],
)
def test_python_refuses_other_times_in_a_line(times, words):
    with pytest.raises(UserError, match=words):
        seconds_of_histories(times, ["u", "v"], [["a", "b"], ["c"]], {"times": "events"})


INFOS = (
    TensorInfo("item_ids", "string", (-1, -1)),
    TensorInfo("times", "int64", (-1, -1)),
)


def test_the_server_takes_times_and_knows_those_of_its_users():
    histories = UserHistories(
        *(np.array(["7"], object), np.array([0, 3]), np.array([1, 2, 3])),
        *(np.array(["", "a", "b", "c"], object), np.array([11, 12, 13])),
    )
    users = Users(histories, None, source="a log")

    def asked(body, **limits):
        body = with_histories(read_predict(json.dumps(body).encode()), users, Limits(**limits))
        return read_inputs(body, INFOS, Limits()).rows["times"]

    given = {"instances": [{"item_ids": ["x", "y"], "times": [5, 6.0]}, {"user_id": 7}]}
    assert asked(given) == [[b"5", b"6"], [b"11", b"12", b"13"]]
    assert asked({"inputs": {"user_id": ["7"]}}, max_history=2) == [[b"12", b"13"]]
    for row, words in (
        ({"item_ids": ["x"]}, "lacks `times`"),
        ({"item_ids": ["x", "y"], "times": [5]}, r"times\[0\]` must have a time for each id"),
        ({"item_ids": ["x"], "times": ["soon"]}, "whole numbers, seconds since 1970"),
    ):
        with pytest.raises(Refusal, match=words):
            asked({"instances": [row]})
