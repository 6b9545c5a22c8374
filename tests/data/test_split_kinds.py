"""Splits by several last events, by users and by dates: who trains, who is ranked on what."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from tests.helpers.logs import build_interactions
from tests.helpers.runs import run
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.config import check_config, default_config, load_config, option_table
from ufnrec_tf.data.log_description import LogDescription
from ufnrec_tf.data.splits import (
    SplitSettings,
    leave_last_n,
    leave_one_out,
    seen_train_items,
    temporal,
    train_counts,
    user_holdout,
)
from ufnrec_tf.data.summary import leakage, leaks, summary, summary_lines
from ufnrec_tf.data.synthetic.planted import ceiling_ranks, detection, planted
from ufnrec_tf.data.times import moment_among, moment_text
from ufnrec_tf.data.windows import make_samples
from ufnrec_tf.evaluation.future_lift import future_lift
from ufnrec_tf.reading.sources import load, make_split


def log(histories, *, times=None, is_epoch=False):
    """A log of histories such as "abc", each letter an item, in this order of users."""
    rows = [(user, item) for user, items in histories.items() for item in items]
    frame = pd.DataFrame(rows, columns=["user", "item"])
    if times is not None:
        frame["time"] = times
    reading = LogDescription("csv", {}, is_epoch=is_epoch)
    return build_interactions(frame, sha256="ab" * 32, source="log.txt", reading=reading)


def ranked(split, part):
    """(user, history, target) of each target, raw ids."""
    data = split.interactions
    return [
        (
            data.user_ids[user],
            "".join(data.item_ids[data.items[data.offsets[user] : end]]),
            data.item_ids[target],
        )
        for user, end, target in zip(
            split.users(part), split.history_ends(part), split.targets(part), strict=True
        )
    ]


def trained(split):
    """User to train events."""
    data = split.interactions
    return {
        user: "".join(data.item_ids[data.items[begin:end]])
        for user, begin, end in zip(data.user_ids, data.offsets[:-1], split.train_ends, strict=True)
    }


SEVERAL = {"u": "abcdefg", "v": "gfedc", "w": "abca"}


def test_last_events_are_ranked_one_after_the_other():
    split = leave_last_n(log(SEVERAL), SplitSettings(num_targets=2))
    assert trained(split) == {"u": "abc", "v": "g", "w": "abca"}
    assert ranked(split, "validation") == [
        ("u", "abc", "d"),
        ("u", "abcd", "e"),
        ("v", "g", "f"),
        ("v", "gf", "e"),
    ]
    assert ranked(split, "test") == [
        ("u", "abcde", "f"),
        ("u", "abcdef", "g"),
        ("v", "gfe", "d"),
        ("v", "gfed", "c"),
    ]
    assert split.users("test").dtype == np.int32 and split.target_index("test").dtype == np.int64
    assert split.evaluated_users("test").tolist() == [0, 1]
    assert (split.name, split.num_targets, split.is_by_user) == ("leave_last_n", 2, False)
    lines = "\n".join(summary_lines(summary(split)))
    assert (
        "leave_last_n: 8 events train, 2 users evaluated on 2 targets each in validation and in "
        "test, 1 with fewer than 5 events only trained on" in lines
    )


def test_one_last_event_is_leave_one_out():
    one, plain = leave_last_n(log(SEVERAL)), leave_one_out(log(SEVERAL))
    np.testing.assert_array_equal(one.train_ends, plain.train_ends)
    for part in ("validation", "test"):
        np.testing.assert_array_equal(one.users(part), plain.users(part))
        np.testing.assert_array_equal(one.target_index(part), plain.target_index(part))


def test_too_few_events_are_the_users_to_mend():
    with pytest.raises(UserError) as caught:
        leave_last_n(log(SEVERAL), SplitSettings(num_targets=4))
    for part in ("log.txt: no user has 9 events (the longest history has 7)", "num_targets"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_leakage_of_several_targets_by_hand():
    # u at 1..7 trains at 1 2 3 and is tested at 6 7; v at 4..8 trains at 4, is tested at 7 8;
    # w trains at 5 6 7 8.
    times = [1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7, 8, 5, 6, 7, 8]
    found = leakage(leave_last_n(log(SEVERAL, times=times), SplitSettings(num_targets=2)))
    assert found == {
        "targets_before_train": 3 / 4,
        "train_after_target": pytest.approx((2 + 1 + 1 + 0) / 8 / 4),
        "train_after_median_target": 1 / 8,
    }


MASK = (1 << 64) - 1


def rotated(x, bits):
    return ((x << bits) | (x >> (64 - bits))) & MASK


def sip_round(v):
    for a, b, bits in ((0, 1, 13), (2, 3, 16), (0, 3, 21), (2, 1, 17)):
        v[a] = (v[a] + v[b]) & MASK
        v[b] = rotated(v[b], bits) ^ v[a]
        if b == 1:
            v[a] = rotated(v[a], 32)


def siphash(data, key):
    """SipHash-2-4 of bytes, as its paper describes it: Aumasson and Bernstein 2012."""
    keys = [int.from_bytes(key[i : i + 8], "little") for i in (0, 8)]
    words = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
    v = [word ^ keys[i % 2] for i, word in enumerate(words)]
    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) % 256])
    for begin in range(0, len(padded), 8):
        word = int.from_bytes(padded[begin : begin + 8], "little")
        v[3] ^= word
        sip_round(v)
        sip_round(v)
        v[0] ^= word
    v[2] ^= 0xFF
    for _ in range(4):
        sip_round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def place_of(name, key):
    """Where a user stands in [0, 1): SipHash, then the last steps of SplitMix64."""
    x = siphash(name.encode(), key)
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    return (x ^ (x >> 31)) / 2**64


def test_the_hash_beside_is_the_papers():
    assert siphash(bytes(range(15)), bytes(range(16))) == 0xA129CA6149BE45E5


def users_log(users):
    return log({user: "abcdef"[number % 3 :] for number, user in enumerate(users)})


def parts_of(split):
    names = split.interactions.user_ids
    return {part: set(names[split.users(part)]) for part in ("validation", "test")}


def test_users_are_drawn_by_their_ids_alone():
    names = [f"Jürgen {number}" for number in range(120)]
    settings = SplitSettings(validation_share=0.2, test_share=0.3, seed=7)
    found = parts_of(user_holdout(users_log(names), settings))
    places = {name: place_of(name, b"split 0000000007") for name in names}
    assert found["test"] == {name for name in names if places[name] < 0.3}
    assert found["validation"] == {name for name in names if 0.3 <= places[name] < 0.5}
    # Neither the order of the file nor other users matter; the seed does.
    some = names[::-1][:60]
    fewer = parts_of(user_holdout(users_log(some), settings))
    assert fewer == {part: users & set(some) for part, users in found.items()}
    other = parts_of(user_holdout(users_log(names), settings._replace(seed=8)))
    assert other["test"] != found["test"]
    wider = parts_of(user_holdout(users_log(names), settings._replace(validation_share=0.4)))
    assert wider["test"] == found["test"] and wider["validation"] > found["validation"]


@pytest.fixture(scope="module")
def by_user():
    """Ten users whose parts are known, the second of test with one event."""
    settings = SplitSettings(validation_share=0.3, test_share=0.3)
    names = [f"u{number}" for number in range(40)]
    found = parts_of(user_holdout(users_log(names), settings))
    validation, test = sorted(found["validation"])[:2], sorted(found["test"])[:3]
    rest = sorted(set(names) - found["validation"] - found["test"])[:3]
    histories = {
        validation[0]: "abc",
        rest[0]: "abca",
        test[0]: "xyzb",
        test[1]: "a",
        rest[1]: "cb",
        validation[1]: "cb",
        test[2]: "bc",
        rest[2]: "a",
    }
    return user_holdout(log(histories), settings), validation, test, rest


def test_held_out_users_train_nothing_and_are_ranked_on_their_last_event(by_user):
    split, validation, test, rest = by_user
    assert trained(split) == {
        **dict.fromkeys((*validation, *test), ""),
        rest[0]: "abca",
        rest[1]: "cb",
        rest[2]: "a",
    }
    assert ranked(split, "validation") == [(validation[0], "ab", "c"), (validation[1], "c", "b")]
    assert ranked(split, "test") == [(test[0], "xyz", "b"), (test[2], "b", "c")]
    assert split.num_train_events == int(split.is_train.sum()) == 7
    assert make_samples(split, max_length=5).users.tolist() == [1, 4]
    offsets, items = seen_train_items(split)
    assert np.diff(offsets).tolist() == [0, 3, 0, 0, 2, 0, 0, 1] and len(items) == 6
    names = split.interactions.item_ids
    assert dict(zip(names[1:], train_counts(split)[1:], strict=True)) == {
        "a": 3,
        "b": 2,
        "c": 2,
        "x": 0,
        "y": 0,
        "z": 0,
    }
    assert split.newcomers("test") == {"new_users": 1, "new_item_targets": 0}
    lines = "\n".join(summary_lines(summary(split)))
    assert "user_holdout: 7 events train" in lines
    assert "test: 2 users evaluated, 1 with one event not; 0 targets (0.0%) are new" in lines
    assert leaks(split)[1] == "user_holdout: the ranked users' own events train nothing"


@pytest.mark.parametrize(
    ("histories", "shares", "part"),
    [
        (SEVERAL, (0.5, 0.5), "leave no user to train on: expected a sum below 1"),
        (SEVERAL, (1e-9, 0.3), "validation got 0 of 3 users, and none of them has 2 events"),
        ({f"u{n}": "ab" if n < 4 else "a" for n in range(40)}, (0.1, 0.1), "has 2 events"),
        ({f"u{n}": "ab" for n in range(4)}, (0.4, 0.5), "2 events"),
    ],
)
def test_users_that_do_not_suffice_are_the_users_to_mend(histories, shares, part):
    with pytest.raises(UserError) as caught:
        settings = SplitSettings(validation_share=shares[0], test_share=shares[1])
        user_holdout(log(histories), settings)
    text = str(caught.value)
    assert text.startswith("log.txt: ") and part in text and "--config.split." in text
    assert "\n" not in text


def test_nobody_that_trains_has_a_transition(by_user):
    _, validation, test, rest = by_user
    settings = SplitSettings(validation_share=0.3, test_share=0.3)
    with pytest.raises(UserError, match=r"none of the 2 users that train has 2 events"):
        user_holdout(
            log({validation[0]: "ab", test[0]: "ab", rest[0]: "a", rest[1]: "b"}), settings
        )


MARCH = datetime(2024, 3, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "is_epoch", "expected"),
    [
        ("5", False, 5.0),
        ("2024", False, 2024.0),
        ("1709251200", True, MARCH),
        ("2024-03-01", True, MARCH),
        ("2024-03-01T00:00:00Z", True, MARCH),
        ("2024-03-01 12:30", True, MARCH + 45_000),
        ("2024-03-01T01:00:00+01:00", True, MARCH),
    ],
)
def test_moments(text, is_epoch, expected):
    key = "split.test_time"
    assert moment_among(text, key=key, is_epoch=is_epoch, source="log.csv") == expected


@pytest.mark.parametrize("text", ["1.3.2024", "tomorrow", "2024-13-01"])
def test_what_is_no_moment_is_told(text):
    with pytest.raises(UserError, match=r"split.test_time. must be.*2019-01-31.*Received: '"):
        moment_among(text, key="split.test_time", is_epoch=True, source="log.csv")


def test_moments_are_shown_as_dates_only_where_they_are():
    assert moment_text(MARCH, is_epoch=True) == "2024-03-01T00:00:00Z"
    assert moment_text(MARCH, is_epoch=False) == "1709251200"
    assert moment_text(1e300, is_epoch=True) == "1e+300"


def test_a_year_is_no_moment_of_a_log_with_dates_nor_a_date_one_of_a_log_without():
    days = [MARCH + 86_400 * day for day in (0, 1, 5, 8, 0, 3, 6, 9)]
    dated = log({"u": "abcd", "v": "badc"}, times=days, is_epoch=True)
    with pytest.raises(UserError, match=r"split.test_time.=2024 would.*test_time=2024-01-01"):
        temporal(dated, SplitSettings(test_time=2024.0))
    years = [2020, 2021, 2022, 2023] * 2
    numbered = log({"u": "abcd", "v": "badc"}, times=years)
    split = temporal(numbered, SplitSettings(validation_time=2022, test_time="2023"))
    assert split.times == (2022, 2023)
    with pytest.raises(UserError, match=r"times are numbers of no known unit.*data.time_unit"):
        temporal(numbered, SplitSettings(test_time="2024-03-06"))


def test_dates_part_a_log_as_their_numbers_do():
    days = [MARCH + 86_400 * day for day in (0, 1, 5, 8, 0, 3, 6, 9)]
    data = log({"u": "abcd", "v": "badc"}, times=days, is_epoch=True)
    dated = temporal(
        data, SplitSettings(validation_time="2024-03-06", test_time="2024-03-09T00:00")
    )
    assert dated.times == (days[2], days[3])
    assert ranked(dated, "validation") == [("u", "ab", "c"), ("v", "ba", "d")]
    assert ranked(dated, "test") == [("u", "abc", "d"), ("v", "bad", "c")]
    with pytest.raises(UserError, match=r"begin at 2025-03-06T.*run from 2024-03-01T"):
        temporal(data, SplitSettings(validation_time="2025-03-06", test_time="2025-03-09"))


def test_the_configuration_takes_numbers_and_dates(tmp_path):
    name = "split.validation_time"
    assert load_config("", [(name, "60")]).split.validation_time == 60.0
    assert load_config("", [(name, "2024-03-01")]).split.validation_time == "2024-03-01"
    assert load_config("", []).split.to_dict()["validation_time"] == 0.0
    path = tmp_path / "mine.py"
    for text, value in (("'2024-03-01'", "2024-03-01"), ("60", 60), ("0.5", 0.5)):
        path.write_text(f"def configure(config):\n    config.split.validation_time = {text}\n")
        config = load_config(str(path), [])
        assert config.split.validation_time == value
        assert config.to_dict()["split"]["validation_time"] == value
    table = option_table()
    config = default_config(table)
    config.split.test_time = True
    with pytest.raises(UserError, match=r"split.test_time. must be a number or a text.*True"):
        check_config(config, table)


def test_targets_of_another_split_are_refused():
    names = [("data.name", "planted"), ("data.planted_users", "20"), ("data.planted_items", "15")]
    config = load_config("", [*names, ("split.num_targets", "2")])
    with pytest.raises(UserError, match=r"num_targets=2 has no effect with .*leave_one_out"):
        make_split(config, load(config, "").interactions)


def test_a_wrong_date_ends_with_one_line(tmp_path, capsys):
    path = tmp_path / "log.csv"
    path.write_text("user,item,time\nu,a,1\nu,b,2\nv,a,3\n")
    arguments = ("--config.split.name=temporal", "--config.split.test_time=1.3.2024")
    assert run(f"--data={path}", f"--workdir={tmp_path / 'w'}", *arguments) == 1
    error = capsys.readouterr().err
    assert "`split.test_time` must be an ISO 8601 date" in error and error.count("\n") == 1


def test_a_prepared_folder_leaks_what_its_log_does(tmp_path):
    rows = ["user,item,time"]
    rows += [f"u{n % 23},i{n * n % 11},{n * 37 % 50}" for n in range(160)]
    path, folder = tmp_path / "log.csv", tmp_path / "folder"
    path.write_text("\n".join(rows) + "\n")
    assert run("--mode=prepare", f"--data={path}", f"--workdir={folder}") == 0
    for name in ("leave_last_n", "user_holdout", "temporal"):
        settings = [("split.name", name), ("split.test_share", "0.3")]
        settings += [("split.num_targets", "2")] if name == "leave_last_n" else []
        config = load_config("", settings)
        of_log, of_folder = (
            make_split(config, load(config, str(place)).interactions) for place in (path, folder)
        )
        assert leakage(of_folder).keys() == leakage(of_log).keys() != set()
        for key, value in leakage(of_log).items():
            assert leakage(of_folder)[key] == pytest.approx(value)
        assert sorted(ranked(of_folder, "test")) == sorted(ranked(of_log, "test"))


@pytest.mark.parametrize("num_items", [60, 6000])  # a whole catalogue, and pools
def test_the_ceiling_of_several_targets_is_that_of_each(num_items):
    data = planted(num_users=40, num_items=num_items, mean_length=10)
    two = leave_last_n(data.interactions, SplitSettings(num_targets=2))
    one = leave_one_out(data.interactions)
    ranks = ceiling_ranks(data, two, "test").reshape(-1, 2)
    rows = np.isin(one.users("test"), two.evaluated_users("test"))
    assert rows.sum() > 20
    np.testing.assert_array_equal(ranks[:, 0], ceiling_ranks(data, one, "validation")[rows])
    np.testing.assert_array_equal(ranks[:, 1], ceiling_ranks(data, one, "test")[rows])


def test_nothing_is_told_of_the_future_where_users_are_held_out():
    data = planted(num_users=60, num_items=40, mean_length=10)
    split = user_holdout(data.interactions)
    users = np.flatnonzero(split.has_train_events)[:5]
    log_, offsets = split.interactions, split.interactions.offsets
    items = np.array(
        [np.setdiff1d(np.arange(1, 41), log_.items[offsets[u] : offsets[u + 1]])[0] for u in users]
    )
    rng = np.random.default_rng(0)
    found = future_lift(
        split,
        users,
        items,
        vectors=rng.normal(size=(5, 3)).astype(np.float32),
        item_table=rng.normal(size=(41, 3)).astype(np.float32),
        num_resamples=20,
    ).values
    assert (found["num_flagged"], found["hits"], found["rate"]) == (5, 0, None)
    near = found["matched_on_popularity"]
    assert (near["pairs"], near["lift"], near["low"]) == (0, None, None)


def test_detection_counts_the_users_that_train():
    data = planted(num_users=60, num_items=40, mean_length=10)
    split, truth = user_holdout(data.interactions), data.truth
    pairs = [
        (user, item)
        for user in np.flatnonzero(split.has_train_events)
        for item in range(1, 41)
        if not truth.is_observed(np.array([user]), np.array([item]))[0]
    ]
    users, items = np.array(pairs).T
    is_liked = truth.is_liked(users, items)
    found = detection(
        data, users[is_liked][:7], items[is_liked][:7], is_trained=split.has_train_events
    )
    assert found["base_rate"] == pytest.approx(is_liked.mean())
    assert found["recall"] == pytest.approx(7 / is_liked.sum())
