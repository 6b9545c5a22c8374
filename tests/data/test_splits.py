"""Splits: targets, histories, what trains, and the summary; values by hand and on real files."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.helpers.logs import build_interactions
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.data.splits import SPLITS, Split, leave_one_out, seen_train_items
from ufnrec_tf.data.summary import leaks, summary, summary_lines
from ufnrec_tf.data.synthetic.planted import planted
from ufnrec_tf.reading.readers import read_interactions

DATA = Path(__file__).parents[3] / "shared" / "data"


def log(histories: dict[str, str], **settings) -> Interactions:
    events = [(user, item) for user, items in histories.items() for item in items.split()]
    frame = pd.DataFrame(events, columns=["user", "item"])
    return build_interactions(frame, sha256="ab" * 32, source="log.txt", **settings)


@pytest.fixture
def split() -> Split:
    # Internal ids: p 1, q 2, r 3, s 4, t 5. Users 0 and 2 are evaluated.
    return leave_one_out(log({"u": "p q r s", "v": "q q", "w": "r p t", "x": "s"}))


def test_targets_and_histories(split):
    data = split.interactions
    assert split.name == "leave_one_out"
    assert split.users("test").tolist() == [0, 2] and split.users("test").dtype == np.int32
    assert split.train_ends.tolist() == [2, 6, 7, 10] and split.train_ends.dtype == np.int64
    assert split.target_index("validation").tolist() == [2, 7]
    assert split.target_index("test").tolist() == [3, 8]
    assert split.targets("validation").tolist() == [3, 1]
    assert split.targets("test").tolist() == [4, 5]
    assert split.targets("test").dtype == np.int32
    starts = data.offsets[split.users("test")]
    histories = {
        part: [
            data.items[a:b].tolist() for a, b in zip(starts, split.history_ends(part), strict=True)
        ]
        for part in ("validation", "test")
    }
    assert histories == {"validation": [[1, 2], [3]], "test": [[1, 2, 3], [3, 1]]}


def test_what_trains(split):
    # u: p q; v: q q (2 events only); w: r; x: s.
    assert split.is_train.tolist() == [1, 1, 0, 0, 1, 1, 1, 0, 0, 1]
    assert split.num_train_events == 6
    assert split.heldout_only_items.tolist() == [5]
    assert split.heldout_only_items.dtype == np.int32


def test_seen_train_items(split):
    offsets, items = seen_train_items(split)
    assert offsets.tolist() == [0, 2, 3, 4, 5] and offsets.dtype == np.int64
    assert items.tolist() == [1, 2, 2, 3, 4] and items.dtype == np.int32


def test_seen_train_items_are_sorted_and_distinct():
    offsets, items = seen_train_items(leave_one_out(log({"u": "a b c", "v": "c a c b a a b"})))
    assert offsets.tolist() == [0, 1, 4]
    assert items.tolist() == [1, 1, 2, 3]


def test_unknown_part_lists_the_known(split):
    with pytest.raises(ValueError, match=r"validation.*test.*Received: 'tets'"):
        split.targets("tets")


@pytest.mark.parametrize(
    ("histories", "parts"),
    [
        ({"u": "a b c d"}, ["log.txt", "only 1 user", "at least 2 users", "--config.data.format="]),
        (
            {"u": "a a a", "v": "a a a"},
            ["log.txt", "only 1 item", "2 items", "--config.data.format="],
        ),
        (
            {"u": "a b", "v": "b", "w": "c a"},
            ["log.txt", "no user has 3 events", "longest history has 2", "give a larger log"],
        ),
    ],
)
def test_too_little_data_is_the_users_to_mend(histories, parts):
    with pytest.raises(UserError) as caught:
        leave_one_out(log(histories))
    for part in parts:
        assert part in str(caught.value)


def test_summary_by_hand(split):
    assert summary(split) == {
        "source": "log.txt",
        "sha256": "ab" * 32,
        "split": "leave_one_out",
        "users": 4,
        "items": 5,
        "events": 10,
        "mean_length": 2.5,
        "median_length": 2.5,
        "max_length": 4,
        "density": 9 / 20,
        "repeats": 1,
        "repeats_kept": 1,
        "train_events": 6,
        "evaluated_users": 2,
        "heldout_only_items": 1,
        "targets": 1,
        "leaks": leaks(split),
    }


def test_summary_text_names_what_a_reader_looks_for(split):
    text = "\n".join(summary_lines(summary(split)))
    for part in (
        "log.txt",
        "sha256 abababababab",
        "4 users, 5 items, 10 events (1 repeats, kept)",
        "mean 2.5, median 2.5, longest 4; density 45.0000%",
        "leave_one_out: 6 events train, 2 users evaluated, 2 with fewer than 3 events "
        "only trained on",
        "items that occur only in held-out events: 1",
        "leave_one_out: how much leaks is not known",
    ):
        assert part in text


def test_planted_data_are_named_in_a_few_words(split):
    source = planted(num_users=20, num_items=30).interactions.source
    (first, *_) = summary_lines({**summary(split), "source": source})
    assert first.startswith("data     planted (factors, false negatives 10%, seed 0)  sha256 ab")


def test_summary_tells_dropped_repeats():
    dropped = leave_one_out(log({"u": "a b a c", "v": "a"}, repeats="drop"))
    assert summary(dropped)["events"] == 4
    assert "(1 repeats, dropped)" in "\n".join(summary_lines(summary(dropped)))


def test_table_of_splits():
    assert SPLITS["leave_one_out"] is leave_one_out


@pytest.mark.parametrize(
    ("name", "evaluated", "train_events", "heldout_only"),
    [
        ("beauty.txt", 22_363, 198_502 - 2 * 22_363, 33),
        ("video.txt", 31_013 - 112, 287_107 - 2 * 30_901, 1_278),
        ("ml-100k.inter", 943, 100_000 - 2 * 943, None),
    ],
)
def test_real_files(name, evaluated, train_events, heldout_only):
    if not (DATA / name).is_file():
        pytest.skip(f"{name} is not in ../shared/data")
    split = leave_one_out(read_interactions(DATA / name))
    assert len(split.users("test")) == evaluated
    assert split.num_train_events == train_events
    if heldout_only is not None:
        assert len(split.heldout_only_items) == heldout_only
    seen, items = seen_train_items(split)
    first = items[seen[0] : seen[1]]
    train = split.interactions.items[: split.train_ends[0]]
    assert first.tolist() == sorted(set(train.tolist()))
    # Every item is trained on, or told.
    assert len(np.unique(items)) + len(split.heldout_only_items) == split.interactions.num_items
