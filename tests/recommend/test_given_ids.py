"""Raw ids as callers give them; values by hand."""

import datetime
import io
import uuid
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.recommend.given_ids import (
    KnownIds,
    id_list,
    id_text,
    item_filters,
    known_histories,
    listed,
)

KNOWN = KnownIds(lambda ids: [id in {"36", "125", "7.0", " x ", "é"} for id in ids])


class Tensor:
    """An array as TensorFlow gives it: numbers only by `numpy`."""

    def __init__(self, values):
        self._values = np.array(values)
        self.shape = self._values.shape

    def numpy(self):
        return self._values

    def __iter__(self):
        return map(Tensor, self._values)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("125", "125"),
        (" 36 ", " 36 "),
        ("é".encode(), "é"),
        (bytearray(b"36"), "36"),
        (36, "36"),
        (np.int8(36), "36"),
        (36.0, "36.0"),
        (np.float32(36), "36.0"),
        (2.5, "2.5"),
        (np.array(36), "36"),
        (np.array(b"36"), "36"),
        (Tensor(b"36"), "36"),
        (np.str_("a"), "a"),
        (np.bytes_(b"a"), "a"),
        (Decimal("36"), "36"),
        (True, "True"),
        (datetime.date(2024, 1, 2), "2024-01-02"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_an_id_is_a_text(value, text):
    assert id_text(value, name="x") == text


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (None, "missing"),
        (float("nan"), "missing"),
        (np.float32("nan"), "missing"),
        (pd.NA, "missing"),
        (pd.NaT, "missing"),
        (float("inf"), "float"),
        (2.0**53, "float"),
        (np.float32(2**24), "float"),
        (b"\xff", "UTF-8"),
        ("\ud800", "UTF-8"),
        ([36], "Nested"),
        ((1, 2), "Nested"),
        (np.array([36]), "Nested"),
        ({"a": 1}, "Nested"),
        (object(), "object"),
        (len, "builtin"),
        (int, "type"),
        (pa.table({"a": [1]}), "Table"),
    ],
)
def test_what_is_no_id(value, part):
    with pytest.raises(UserError, match=rf"^the history of 'u'.*{part}"):
        id_text(value, name="the history of 'u'")


@pytest.mark.parametrize(
    "values",
    [
        "125",
        125,
        b"125",
        np.int64(125),
        np.array(125),
        Tensor("125"),
        ["125"],
        (125,),
        {125},
        {125: 1}.keys(),
        np.array([125]),
        pd.Series([125]),
        pd.Index(["125"]),
        pd.array([125], "Int64"),
        pa.array([125]),
        pa.chunked_array([[125]]),
        Tensor(["125"]),
        (id for id in [125]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_one_id_or_several(values):
    assert id_list(values, name="`exclude`") == ["125"]


@pytest.mark.parametrize(
    "values",
    [
        {1: [125]},
        [[125]],
        np.array([[125]]),
        pd.DataFrame({"item": [125]}),
        pd.DataFrame({"item": [125]}).groupby("item"),
        pd.DataFrame({"user": [1], "item": [125]}).groupby("user")["item"],
        pa.table({"item": [125]}),
        io.StringIO("125\n"),
        [None],
        [""],
        " ",
        object(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_list_of_ids(values):
    with pytest.raises(UserError, match=r"^`exclude`"):
        id_list(values, name="`exclude`")


def test_nothing_is_no_id():
    assert id_list(None, name="x") == id_list([], name="x") == []
    assert listed("ab") is listed({"a": 1}) is listed({1}) is listed(3) is None


def test_the_spelling_of_a_model():
    texts = ["36", "36.0", " 36", "36.00 ", "125.0", "7", "7.0", " x ", "x", "é ", "8", "1e2", ""]
    assert KNOWN.spellings(texts) == {
        **dict.fromkeys(["36", "36.0", " 36", "36.00 "], "36"),
        "125.0": "125",
        **dict.fromkeys(["7", "7.0"], "7.0"),
        " x ": " x ",
        "é ": "é",
    }
    assert KNOWN.spellings([]) == {}


def test_an_id_that_is_known_as_it_is_stays():
    both = KnownIds(lambda ids: [id in {"36", "36.0", " 36"} for id in ids])
    texts = ["36", "36.0", " 36"]
    assert both.spellings(texts) == dict(zip(texts, texts, strict=True))


def test_filters():
    found = item_filters("125", None, known=KNOWN)
    assert (found.exclude, found.allow, found.notes) == (["125"], [], [])
    found = item_filters([125.0, 36, "36"], b"7.0", known=KNOWN)
    assert (found.exclude, found.allow, found.notes) == (["125", "36"], ["7.0"], [])
    found = item_filters(["zz", 125, "yy"], ["é", "q"], known=KNOWN, example="36")
    assert (found.exclude, found.allow) == (["125"], ["é"])
    assert found.notes == [
        "`exclude`: 2 of 3 item ids are unknown to the model, such as 'zz'; it knows ids such as "
        "'36'.",
        "`allow`: 1 of 2 item ids are unknown to the model, such as 'q'; it knows ids such as "
        "'36'.",
    ]
    with pytest.raises(UserError, match=r"`allow`: 1 of 1 item ids are unknown.*'q'"):
        item_filters(None, ["q"], known=KNOWN)


def test_histories():
    found = known_histories(["a", "b", "c"], [["36.0", "x", "36"], ["x"], []], known=KNOWN)
    assert found.rows == [["36", "x", "36"], ["x"], []]
    assert found.num_known == [2, 0, 0]
    assert len(found.notes) == 2
    assert "1 of 3 item ids are unknown" in found.notes[0] and "'x'" in found.notes[0]
    assert "1 of 3 histories" in found.notes[1] and "'b'" in found.notes[1]
    assert known_histories(["a"], [["36"]], known=KNOWN).notes == []
    assert known_histories(["a"], [[]], known=KNOWN).num_known == [0]
    with pytest.raises(UserError, match=r"1 of 1 item ids are unknown.*'x'.*such as '36'"):
        known_histories(["a", "b"], [["x"], []], known=KNOWN, example="36")
