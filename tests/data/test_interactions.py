"""Interactions: dense ids, stable order, repeats, titles; values by hand."""

import numpy as np
import pandas as pd
import pytest

from tests.helpers.logs import build_interactions
from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.data.items import ItemTable


def build(events, **settings) -> Interactions:
    columns = ["user", "item", "time"][: len(events[0])]
    frame = pd.DataFrame(events, columns=columns)
    return build_interactions(frame, sha256="00", source="test", **settings)


def raw(data: Interactions) -> dict[str, list[str]]:
    return {
        user: list(data.item_ids[data.items[data.offsets[u] : data.offsets[u + 1]]])
        for u, user in enumerate(data.user_ids)
    }


def test_ids_follow_first_appearance_in_the_file():
    data = build([("z", "pear", 9.0), ("a", "fig", 1.0), ("z", "apple", 2.0), ("a", "pear", 0.0)])
    assert list(data.user_ids) == ["z", "a"]
    assert list(data.item_ids) == ["", "pear", "fig", "apple"]
    assert data.items.tolist() == [3, 1, 1, 2]
    assert data.offsets.tolist() == [0, 2, 4]
    assert data.timestamps is not None
    assert data.timestamps.tolist() == [2.0, 9.0, 0.0, 1.0]
    assert data.users.tolist() == [0, 0, 1, 1]
    assert data.lengths.tolist() == [2, 2]
    assert (data.num_users, data.num_items, data.num_events) == (2, 3, 4)


def test_dtypes_are_those_of_the_contract():
    data = build([("a", "x", 1.0), ("b", "y", 2.0)])
    assert data.timestamps is not None
    assert data.timestamps.dtype == np.float64
    assert data.items.dtype == np.int32 and data.users.dtype == np.int32
    assert data.offsets.dtype == np.int64 and data.lengths.dtype == np.int64
    assert data.user_ids.dtype == object and data.item_ids.dtype == object
    assert all(type(raw_id) is str for raw_id in [*data.user_ids, *data.item_ids])


def test_equal_times_keep_the_order_of_the_file():
    events = [("a", f"i{k}", 5.0) for k in (7, 3, 9, 1, 8, 2)]
    events.insert(3, ("a", "early", 4.0))
    events.insert(0, ("b", "x", 5.0))
    assert raw(build(events)) == {
        "b": ["x"],
        "a": ["early", "i7", "i3", "i9", "i1", "i8", "i2"],
    }


def test_without_times_the_order_is_the_file():
    data = build([("a", "3"), ("b", "2"), ("a", "1"), ("b", "9"), ("a", "2")])
    assert raw(data) == {"a": ["3", "1", "2"], "b": ["2", "9"]}
    assert data.timestamps is None


@pytest.mark.parametrize("repeats", ["keep", "drop"])
def test_repeats_are_counted_either_way(repeats):
    # In time order a takes x, y, x, x; b takes x once.
    events = [("a", "x", 4.0), ("a", "x", 1.0), ("a", "y", 2.0), ("b", "x", 1.0), ("a", "x", 3.0)]
    data = build(events, repeats=repeats)
    assert data.num_repeats == 2
    assert data.timestamps is not None
    if repeats == "keep":
        assert raw(data) == {"a": ["x", "y", "x", "x"], "b": ["x"]}
    else:
        assert raw(data) == {"a": ["x", "y"], "b": ["x"]}
        assert data.timestamps.tolist() == [1.0, 2.0, 1.0]
        assert data.offsets.tolist() == [0, 2, 3]


def test_titles_are_laid_along_the_items():
    titles = {"x": "The X", "unused": "Nothing"}
    data = build([("a", "y"), ("a", "x")], items=ItemTable(titles=titles))
    assert data.item_titles is not None
    assert data.item_titles.tolist() == ["", "", "The X"]
    assert build([("a", "y")]).item_titles is None


def test_random_log_equals_a_sort_in_python():
    rng = np.random.default_rng(0)
    events = [
        (f"u{rng.integers(20)}", f"i{rng.integers(30)}", float(rng.integers(10)))
        for _ in range(2000)
    ]
    expected: dict[str, list[str]] = {}
    for user, item, _ in sorted(events, key=lambda event: event[2]):  # sorted() is stable
        expected.setdefault(user, []).append(item)
    data = build(events)
    assert raw(data) == expected
    assert data.num_repeats == 2000 - len({event[:2] for event in events})


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"`repeats` must be one of .*Received: 'some'"):
        build([("a", "x")], repeats="some")
    with pytest.raises(ValueError, match="`time` must be finite"):
        build([("a", "x", float("nan"))])
    with pytest.raises(ValueError, match="`item` must have no missing id"):
        build([("a", None)])
