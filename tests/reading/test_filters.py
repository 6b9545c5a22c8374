"""Filters: examples by hand, an obviously right core, and that runs hold on to them."""

import numpy as np
import pytest

from tests.helpers.runs import run
from tests.reading.test_prepare import by_user
from tests.reading.test_readers import assert_parts, message, raw
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.files import write_json
from ufnrec_tf.config import load_config
from ufnrec_tf.data.events import batch_of
from ufnrec_tf.data.summary import summary, summary_lines
from ufnrec_tf.reading.filters import Filters, apply_filters, core
from ufnrec_tf.reading.prepare.prepared_folder import read_prepared
from ufnrec_tf.reading.readers import read_interactions
from ufnrec_tf.reading.sources import load, make_split
from ufnrec_tf.runs.workdir import Workdir

# user, item, rating, day of 2019's January. u has a twice; w has one item that others have.
LOG = """user,item,rating,date
u,a,5,2019-01-01
u,b,4,2019-01-02
u,a,3,2019-01-03
v,a,2,2019-01-04
v,b,5,2019-01-05
v,c,5,2019-01-06
w,c,4,2019-01-07
"""


def steps(path, *, repeats="keep", **filters):
    data = read_interactions(path, repeats=repeats, filters=Filters(**filters))
    assert data.reading is not None
    shown = [
        (step.name, *step.before.values(), *step.after.values()) for step in data.reading.steps
    ]
    return raw(data), shown


@pytest.mark.parametrize(
    ("filters", "left", "shown"),
    [
        (
            {"min_rating": 4},
            {"u": ["a", "b"], "v": ["b", "c"], "w": ["c"]},
            [("min_rating", 7, 3, 3, 5, 3, 3)],
        ),
        (
            {"start": "2019-01-02", "end": "2019-01-05"},
            {"u": ["b", "a"], "v": ["a"]},
            [("window", 7, 3, 3, 3, 2, 2)],
        ),
        # Round 1 takes w (one event), which leaves c one event: round 2 takes it.
        (
            {"k_core": 2},
            {"u": ["a", "b", "a"], "v": ["a", "b"]},
            [("k_core", 7, 3, 3, 5, 2, 2)],
        ),
        (
            {"min_item_events": 3},
            {"u": ["a", "a"], "v": ["a"]},
            [("k_core", 7, 3, 3, 3, 2, 1)],
        ),
        (
            {"min_length": 3},
            {"u": ["a", "b", "a"], "v": ["a", "b", "c"]},
            [("min_length", 7, 3, 3, 6, 2, 3)],
        ),
    ],
)
def test_filters_by_hand(write, filters, left, shown):
    assert steps(write(LOG), **filters) == (left, shown)


def test_order_of_filters(write):
    rows = "u,a,5 u,b,5 u,c,5 u,a,5 v,a,5 v,b,5 w,c,5 w,d,1 x,c,5 x,a,5"
    path = write("user,item,rating\n" + rows.replace(" ", "\n") + "\n")
    filters = {"min_rating": 2, "k_core": 2, "min_length": 3}
    left, shown = steps(path, repeats="drop", **filters)
    # The rating takes d, and so leaves w one event, which the core takes; v and x have two each.
    assert left == {"u": ["a", "b", "c"]}
    assert shown == [
        ("min_rating", 10, 4, 4, 9, 4, 3),
        ("repeats", 9, 4, 3, 8, 4, 3),
        ("k_core", 8, 4, 3, 7, 3, 3),
        ("min_length", 7, 3, 3, 3, 1, 3),
    ]


def slow_core(events, least_user, least_item):
    """Takes out one user or item at a time until none has too few."""
    events = list(events)
    while True:
        for place, least in ((0, least_user), (1, least_item)):
            ids = [event[place] for event in events]
            poor = next((id for id in sorted(set(ids)) if ids.count(id) < least), None)
            if poor is not None:
                events = [event for event in events if event[place] != poor]
                break
        else:
            return events


@pytest.mark.parametrize("seed", range(12))
def test_core_equals_a_slow_one(seed):
    rng = np.random.default_rng(seed)
    users = rng.zipf(1.6, 120) % 25
    items = rng.zipf(1.5, 120) % 20
    least_user, least_item = (int(k) for k in rng.integers(1, 6, 2))
    is_core, rounds = core(users, items, least_user=least_user, least_item=least_item)
    events = list(zip(users.tolist(), items.tolist(), strict=True))
    kept = [event for event, stays in zip(events, is_core, strict=True) if stays]
    assert kept == slow_core(events, least_user, least_item)
    assert (rounds == 0) == bool(is_core.all())


def test_rounds_of_a_chain():
    # Users 0..3 share items in a chain; each round takes the end of it. User 4 and 5 are a core.
    users = np.array([0, 0, 1, 1, 2, 2, 4, 4, 5, 5])
    items = np.array([9, 0, 0, 1, 1, 2, 3, 4, 3, 4])
    is_core, rounds = core(users, items, least_user=2, least_item=2)
    # Round 1: items 9 and 2. Round 2: users 0 and 2. Round 3: items 0 and 1. Round 4: user 1 is
    # gone with them.
    assert is_core.tolist() == [False] * 6 + [True] * 4
    assert rounds == 3


def test_repeats_before_a_core(write):
    path = write("user,item\n" + "u,a\nu,a\nu,b\nv,a\nv,b\nw,b\nw,b\n")
    data = read_interactions(path, repeats="drop", filters=Filters(k_core=2))
    # Without repeats w has one event and goes; with them it would stay.
    assert raw(data) == {"u": ["a", "b"], "v": ["a", "b"]}
    assert data.num_repeats == 2
    assert data.reading is not None
    assert [step.name for step in data.reading.steps] == ["repeats", "k_core"]
    assert data.reading.steps[0].after == {"events": 5, "users": 3, "items": 2}
    assert "(1 round)" in data.reading.steps[1].words


@pytest.mark.parametrize(
    ("filters", "parts"),
    [
        ({"min_rating": 9}, ["no event is left", "rating of at least 9", "of 7 before"]),
        ({"start": "2020-01-01"}, ["no event is left", "from 2020-01-01T00:00:00Z"]),
        ({"k_core": 5}, ["no event is left", "at least 5 events a user and 5 an item"]),
        ({"start": "yesterday"}, ["`data.start`", "ISO 8601", "'yesterday'"]),
        ({"start": "2019"}, ["write a year as a date", "2019-01-01"]),
        ({"start": "2020-01-01", "end": "2019-01-01"}, ["`data.start` must lie before"]),
        ({"k_core": 5, "min_user_events": 3}, ["sets both", "3 and 0"]),
    ],
)
def test_bad_filters(write, filters, parts):
    assert_parts(message(write(LOG), filters=Filters(**filters)), *parts)


@pytest.mark.parametrize(
    ("filters", "parts"),
    [
        ({"min_rating": 2}, ["log.txt: no rating column", "rating_column=NAME"]),
        ({"end": "2019-01-01"}, ["log.txt: no times", "--config.data.end", "time_column=NAME"]),
    ],
)
def test_filters_of_columns_that_are_not_there(write, filters, parts):
    assert_parts(message(write("u a\nu b\n"), filters=Filters(**filters)), *parts)


def test_date_where_times_are_ranks(write):
    path = write("user,item,time\nu,a,1\nu,b,2\nu,c,3\n")
    text = message(path, filters=Filters(start="2019-01-01"))
    assert_parts(text, "order alone", "`data.start` cannot be a date", "data.time_unit=")
    assert raw(read_interactions(path, filters=Filters(start="2"))) == {"u": ["b", "c"]}
    assert raw(read_interactions(path, filters=Filters(end="3"))) == {"u": ["a", "b"]}


def test_nothing_asked_changes_nothing():
    events = batch_of(np.array(["u"], object), np.array(["a"], object))
    left = apply_filters(events, Filters(), repeats="keep", is_epoch=False, source="x")
    assert left.events is events and left.steps == ()


# ---- with prepared folders and runs

RATED = "user,item,rating,timestamp\n" + "".join(
    f"u{n % 7},i{n % 11},{n % 5},{1_546_300_800_000 + n * 60_000}\n" for n in range(200)
)


def test_prepared_folder_by_rating_and_date(write, tmp_path, capsys):
    log, folder = write(RATED), tmp_path / "folder"
    flags = ("--config.data.min_rating=2", "--config.data.start=2019-01-01T01:00:00Z")
    assert run("--mode=prepare", f"--data={log}", f"--workdir={folder}", *flags) == 0
    assert "milliseconds since 1970" in capsys.readouterr().out
    expected = read_interactions(log, filters=Filters(min_rating=2, start="2019-01-01T01:00:00Z"))
    data = read_prepared(folder)
    assert by_user(data) == by_user(expected)
    assert data.item_ids.tolist() == expected.item_ids.tolist()
    # n from 60 on, three of five ratings: 140 * 3 / 5.
    assert data.num_events == 84 and data.is_epoch
    assert data.reading is not None
    assert [(s.name, s.before, s.after) for s in data.reading.steps] == [
        ("min_rating", {"events": 200}, {"events": 120}),
        ("window", {"events": 120}, {"events": 84}),
    ]
    # The same settings again, or none, are those of the folder; others are refused.
    assert run("--mode=prepare", f"--data={log}", f"--workdir={folder}", *flags) == 0
    assert run("--mode=inspect", f"--data={folder}", flags[0]) == 0
    assert run("--mode=inspect", f"--data={folder}", "--config.data.min_rating=3") == 1
    assert "was prepared with --config.data.min_rating=2.0, now 3.0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "part"),
    [
        ("k_core=5", "need all of it"),
        ("min_length=2", "need all of it"),
        ("min_rating=9", "no event is left after the filter 'rating of at least 9'"),
        ("start=noon", "`data.start` must be"),
    ],
)
def test_what_prepare_refuses(write, tmp_path, capsys, flag, part):
    folder = tmp_path / "folder"
    log = write(RATED)
    assert (
        run("--mode=prepare", f"--data={log}", f"--workdir={folder}", f"--config.data.{flag}") == 1
    )
    text = capsys.readouterr().err
    assert part in text and text.count("\n") == 1
    assert not (folder / "manifest.json").exists()


def test_unit_that_changes_in_a_streamed_log(write, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ufnrec_tf.reading.text_files.BLOCK_BYTES", 2000)
    log = write(RATED + "u0,i0,3,5\n")
    assert run("--mode=prepare", f"--data={log}", f"--workdir={tmp_path / 'f'}") == 1
    text = capsys.readouterr().err
    assert "seemed to be milliseconds since 1970" in text and "time_unit=s|ms|us|ns" in text


def test_what_a_run_shows_and_holds_on_to(write, tmp_path):
    from ufnrec_tf.runs.record import identity

    log, flags = write(RATED), [("data.min_rating", "1")]
    config = load_config("", flags)
    source = load(config, str(log))
    lines = "\n".join(summary_lines(summary(make_split(config, source.interactions))))
    assert "user=user, item=item, time=timestamp (milliseconds since 1970), rating=rating" in lines
    assert "rating of at least 1: 200 -> 160 events, 7 -> 7 users, 11 -> 11 items" in lines
    record = {"config": {}, "seed": 0, "data_path": "", "identity": identity(config, source, 0)}
    write_json(tmp_path / "config.json", record)
    workdir = Workdir(tmp_path)
    workdir.check_same(identity(load_config("", flags), source, 0))
    for other, words in (
        ([], "data.min_rating 1.0, now 0.0"),
        ([*flags, ("data.k_core", "2")], "data.k_core 0, now 2"),
        ([*flags, ("data.start", "2019-01-01")], "data.start '', now '2019-01-01'"),
        ([*flags, ("data.repeats", "drop")], "data.repeats 'keep', now 'drop'"),
    ):
        with pytest.raises(UserError, match=f"was trained with {words}"):
            workdir.check_same(identity(load_config("", other), source, 0))


def test_planted_data_take_no_filter():
    config = load_config("", [("data.name", "planted"), ("data.k_core", "5")])
    with pytest.raises(UserError, match=r"data.k_core=5 has no effect on the planted log"):
        load(config, "")
