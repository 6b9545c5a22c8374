"""The split by time: who trains, who is ranked on what, what is new; by hand and on a real file."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tests.helpers.logs import build_interactions
from tests.helpers.runs import LIGHT, metric_lines, read, run, train
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.data.splits import EVALUATION_PARTS, Split, SplitSettings, leave_one_out, temporal
from ufnrec_tf.data.summary import summary, summary_lines
from ufnrec_tf.data.windows import make_samples
from ufnrec_tf.evaluation.baselines import LastItemMarkov, baseline_ranks
from ufnrec_tf.evaluation.evaluator import RankingEvaluator
from ufnrec_tf.method.negatives import make_sampler
from ufnrec_tf.reading.readers import read_interactions

pytestmark = pytest.mark.usefixtures("eagerly")

DATA = Path(__file__).parents[3] / "shared" / "data"
DATES = SplitSettings(validation_time=5, test_time=8)


def log(events: dict[str, str]) -> Interactions:
    """A log of histories such as "a1 b2": item a at time 1, b at 2."""
    rows = [
        (user, word[0], float(word[1:])) for user, words in events.items() for word in words.split()
    ]
    frame = pd.DataFrame(rows, columns=["user", "item", "time"])
    return build_interactions(frame, sha256="cd" * 32, source="log.csv")


@pytest.fixture
def split() -> Split:
    return temporal(
        log(
            {
                "u": "a1 b2 c3 d6 e9",
                "v": "b1 a4 c5 b7",
                "w": "a2 f8 g10",  # nothing in validation; f and g are new in test
                "x": "a5 b6 c9",  # new in validation, known at test
                "y": "a8 b9",  # new at test
                "z": "c2 c3",  # trains only
            }
        ),
        DATES,
    )


def names(split: Split, items: np.ndarray) -> str:
    return "".join(split.interactions.item_ids[items])


def histories(split: Split, part: str) -> dict[str, tuple[str, str]]:
    """User to history and target."""
    data = split.interactions
    return {
        data.user_ids[user]: (
            names(split, data.items[data.offsets[user] : end]),
            names(split, np.array([target])),
        )
        for user, end, target in zip(
            split.users(part), split.history_ends(part), split.targets(part), strict=True
        )
    }


def test_targets_are_the_first_events_of_the_periods(split):
    assert split.name == "temporal" and split.times == (5.0, 8.0)
    assert histories(split, "validation") == {"u": ("abc", "d"), "v": ("ba", "c")}
    assert histories(split, "test") == {"u": ("abcd", "e"), "w": ("a", "f"), "x": ("ab", "c")}
    assert split.users("test").dtype == np.int32 and split.target_index("test").dtype == np.int64
    with pytest.raises(ValueError, match=r"validation.*test.*Received: 'tets'"):
        split.users("tets")


def test_only_what_came_before_trains(split):
    data = split.interactions
    by_user = np.split(split.is_train, data.offsets[1:-1])
    assert [part.astype(int).tolist() for part in by_user] == [
        [1, 1, 1, 0, 0],
        [1, 1, 0, 0],
        [1, 0, 0],
        [0, 0, 0],
        [0, 0],
        [1, 1],
    ]
    assert (data.timestamps[split.is_train] < 5).all()
    assert (data.timestamps[~split.is_train] >= 5).all()
    samples = make_samples(split, max_length=10)
    assert samples.users.tolist() == [0, 1, 5] and samples.lengths.tolist() == [2, 1, 1]


def test_what_is_new_is_told(split):
    assert names(split, split.heldout_only_items) == "defg"
    assert names(split, split.training_items) == "abc"
    assert split.newcomers("validation") == {
        "validation_time": 5.0,
        "test_time": 8.0,
        "new_users": 1,  # x
        "new_item_targets": 1,  # d
    }
    test = split.newcomers("test")
    assert (test["new_users"], test["new_item_targets"]) == (1, 2)  # y; e and f
    found = summary(split)
    assert (found["validation_users"], found["test_users"]) == (2, 3)
    assert found["evaluated_users"] == 3
    text = "\n".join(summary_lines(found))
    for part in (
        "temporal: 8 events train",
        "validation from 5: 2 users evaluated, 1 new ones not; 1 targets (50.0%) are new items",
        "test from 8: 3 users evaluated, 1 new ones not; 2 targets (66.7%) are new items",
        "items that occur only in held-out events: 4",
    ):
        assert part in text


def test_last_events_know_no_new_items():
    plain = leave_one_out(log({"u": "a1 b2 c3", "v": "b1 a2 d3 e4"}))
    assert plain.newcomers("test") == {} and plain.is_training_item is None
    assert plain.training_items.tolist() == [1, 2, 3, 4, 5]


def test_dates_by_shares():
    ten = log({"u": "a1 b3 a5 b7 a9", "v": "b2 a4 b6 a8 c10"})
    settings = SplitSettings(validation_share=0.2, test_share=0.3)
    assert temporal(ten, settings).times == (6.0, 8.0)
    assert temporal(ten, settings._replace(test_time=9)).times == (7.0, 9.0)
    assert temporal(ten, settings._replace(validation_time=4.5)).times == (4.5, 8.0)


def test_events_of_one_time_stay_together():
    ties = log({"u": "a1 b2 c5 a6 b7", "v": "b1 a2 b6 c7", "w": "c1 a2 b7"})
    found = temporal(ties, SplitSettings(validation_share=0.01, test_share=0.1))
    assert found.times == (6.0, 7.0)
    assert histories(found, "test") == {"u": ("abca", "b"), "v": ("bab", "c"), "w": ("ca", "b")}


@pytest.mark.parametrize(
    ("events", "settings", "parts"),
    [
        ({"u": "a1 b2"}, DATES, ["only 1 user"]),
        (
            {"u": "a1 b2 c9", "v": "a1"},
            SplitSettings(validation_time=8, test_time=5),
            ["begin at 8", "test at 5", "run from 1 to 9", "--config.split.validation_time"],
        ),
        ({"u": "a1 b2 c9", "v": "a1"}, DATES, ["begin at 5", "between"]),  # nothing in 5..8
        ({"u": "a1 b6 c7", "v": "a1"}, DATES, ["test at 8", "run from 1 to 7"]),
        ({"u": "a1 b2 c9", "v": "a6"}, DATES, ["validation begins at 5", "no user"]),
        ({"u": "a1 b6 c9", "v": "a2"}, DATES, ["no user has 2 events before 5"]),
    ],
)
def test_periods_without_anybody_are_the_users_to_mend(events, settings, parts):
    with pytest.raises(UserError) as caught:
        temporal(log(events), settings)
    for part in ["log.csv", *parts]:
        assert part in str(caught.value)


def test_no_times_is_the_users_to_mend():
    frame = pd.DataFrame([("u", "a"), ("v", "b")], columns=["user", "item"])
    with pytest.raises(UserError, match=r"log: no times.*time_column=NAME.*leave_one_out"):
        temporal(build_interactions(frame, sha256="", source="log"))


class Constant:
    """A backbone whose scores are the item ids, whatever the history."""

    def encode(self, histories, training=False):
        return tf.ones([tf.shape(histories)[0], 1])

    def item_embeddings(self):
        return tf.range(8.0)[:, None]  # seven items and the padding


@pytest.mark.slow
def test_ranks_and_protocol_are_of_the_part(split):
    # Items a..g are 1..7 but for d, e: the order of the file is a b c d e f g.
    assert names(split, np.arange(1, 8)) == "abcdefg"
    validation = RankingEvaluator(split, "validation", max_length=4)
    # u: d is fourth of a..g by score, and a b c are masked: e f g are above it. v: c, below d..g.
    assert validation.ranks(Constant()).tolist() == [4, 5]
    test = RankingEvaluator(split, "test", max_length=4)
    assert test.ranks(Constant()).tolist() == [3, 2, 5]
    assert test.users.tolist() == [0, 2, 3]
    protocol = test.protocol()
    assert (protocol["new_users"], protocol["new_item_targets"]) == (1, 2)
    assert protocol["candidates"] == 7 and protocol["heldout_only_items"] == 4
    train_only = RankingEvaluator(split, "test", max_length=4, mask="train")
    # d of u, and a and b of x, are candidates again; x has no train item.
    assert train_only.ranks(Constant()).tolist() == [3, 2, 5]
    markov = LastItemMarkov().fit(split)
    # Train transitions: a>b, b>c, b>a, c>c. x ends in b: c and a once each, c's tie counts.
    assert baseline_ranks(markov, split, "test").tolist()[2] == 1


def test_negatives_are_items_that_training_knows():
    items = np.array([2, 3, 5, 8, 9], np.int32)
    sampler = make_sampler(
        items,
        seen_offsets=np.array([0, 2, 7]),
        seen_items=np.array([3, 9, 2, 3, 5, 8, 9], np.int32),
        num_negatives=600,
        seed=0,
    )
    drawn = sampler(
        users=tf.constant([0, 1, -1]),
        visits=tf.zeros([3], tf.int64),
        batch_index=tf.constant([0, 0, 1, 2], tf.int64),
        positions=tf.constant([0, 1, 0, 0], tf.int64),
    ).numpy()
    for row in drawn[:2]:
        kinds, counts = np.unique(row, return_counts=True)
        assert kinds.tolist() == [2, 5, 8]
        assert counts.min() > 140  # 200 each are expected, with deviation 11.5
    assert (drawn[2] == 0).all()  # user 1 has seen them all
    assert set(drawn[3]) == set(items.tolist())


def test_whole_catalogue_is_drawn_from_as_before():
    seen: dict = {"seen_offsets": np.array([0, 1]), "seen_items": np.array([2], np.int32)}
    sampler = make_sampler(np.arange(1, 5, dtype=np.int32), **seen, num_negatives=50, seed=1)
    assert type(sampler).__name__ == "UniformNegativeSampler"
    drawn = sampler(
        users=tf.constant([0]),
        visits=tf.zeros([1], tf.int64),
        batch_index=tf.constant([0], tf.int64),
        positions=tf.constant([0], tf.int64),
    )
    assert set(drawn.numpy()[0]) == {1, 3, 4}
    # As in every earlier version: a run can be repeated.
    assert drawn.numpy()[0, :12].tolist() == [3, 4, 4, 4, 3, 4, 3, 4, 4, 1, 3, 4]


def test_real_file():
    path = DATA / "ml-100k.inter"
    if not path.is_file():
        pytest.skip("ml-100k.inter is not in ../shared/data")
    frame = pd.read_csv(path, sep="\t", names=["user", "item", "rating", "time"], header=0)
    frame = frame.sort_values("time", kind="stable")
    data = read_interactions(path)
    split = temporal(data, SplitSettings(validation_time=890_000_000, test_time=892_000_000))
    known = frame[frame["time"] < 890_000_000]
    dates = dict(zip(EVALUATION_PARTS, (890_000_000, 892_000_000), strict=True))
    assert split.times == tuple(dates.values())
    assert split.num_train_events == len(known) == 82_281
    periods = {
        "validation": frame[frame["time"].between(890_000_000, 892_000_000, inclusive="left")],
        "test": frame[frame["time"] >= 892_000_000],
    }
    for part, events in periods.items():
        before = set(frame[frame["time"] < dates[part]]["user"])
        first = events.groupby("user").first()
        ranked = first[first.index.isin(before)]
        assert split.newcomers(part)["new_users"] == len(first) - len(ranked)
        assert (
            split.newcomers(part)["new_item_targets"]
            == (~ranked["item"].isin(set(known["item"]))).sum()
        )
        expected = {str(user): str(item) for user, item in ranked["item"].items()}
        users, targets = split.users(part), split.targets(part)
        assert dict(zip(data.user_ids[users], data.item_ids[targets], strict=True)) == expected
    # By shares: a tenth each, but for events of one time.
    by_share = temporal(data).times or ()
    for share, date in zip((0.8, 0.9), by_share, strict=True):
        assert (frame["time"] < date).mean() == pytest.approx(share, abs=1e-4)


def write_log(path: Path, num_users: int = 40) -> Path:
    """A CSV of 40 users on a circle of 15 items; ten of them begin late, three items are new."""
    rng = np.random.default_rng(0)
    rows = ["user,item,timestamp"]
    for user in range(num_users):
        begin = 60 if user >= 30 else 0
        times = np.sort(rng.choice(np.arange(begin, 100), size=12, replace=False))
        place = int(rng.integers(15))
        for time in times:
            place += 1
            late = int(time >= 80 and rng.random() < 0.2)
            rows.append(f"u{user},{f'new{place % 3}' if late else f'i{place % 15}'},{time}")
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.usefixtures("without_export")
@pytest.mark.parametrize("loss", ["pooled_bce", "cross_entropy"])
def test_a_run_from_the_command_line(tmp_path, monkeypatch, capfd, loss):
    monkeypatch.chdir(tmp_path)
    settings = [
        *LIGHT,
        "--config.split.name=temporal",
        "--config.split.validation_time=60",
        "--config.split.test_time=80",
        "--config.training.num_epochs=2",
        f"--config.loss.name={loss}",
        f"--config.memory.policy={'ufnrec' if loss == 'pooled_bce' else 'plain'}",
    ]
    data = [f"--data={write_log(tmp_path / 'log.csv')}"]
    assert train("w", *settings, data=data) == 0
    screen = capfd.readouterr()
    assert "each user's first item from 80 on" in screen.out
    split = temporal(
        read_interactions(tmp_path / "log.csv"), SplitSettings(validation_time=60, test_time=80)
    )
    assert len(split.users("validation")) != len(split.users("test"))
    protocol = read("w/result.json")["protocol"]
    assert (protocol["split"], protocol["test_time"]) == ("temporal", 80.0)
    assert protocol["new_item_targets"] == split.newcomers("test")["new_item_targets"] > 0
    assert f"{protocol['new_users']} users are new in the period" in screen.out
    ranks = pd.read_parquet("w/ranks.parquet")
    assert ranks["item"].tolist() == split.interactions.item_ids[split.targets("test")].tolist()
    assert (ranks["rank"] <= 10).mean() == pytest.approx(read("w/result.json")["test"]["hr@10"])
    assert run("--mode=evaluate", "--workdir=w", "--split=validation") == 0
    lines = metric_lines("w")
    assert lines[-1]["protocol"]["new_users"] == split.newcomers("validation")["new_users"]
    assert lines[-1]["mrr"] == pytest.approx(read("w/result.json")["validation"]["mrr"], abs=1e-9)
    # New items' rows are as they were drawn: nothing trained them.
    reader = tf.train.load_checkpoint(str(next(Path("w/checkpoints").glob("step-*")) / "variables"))
    moments = [key for key in reader.get_variable_to_shape_map() if "optimizer" in key]
    rows = [reader.get_tensor(key) for key in moments]
    num_items = split.interactions.num_items
    tables = [row for row in rows if np.ndim(row) == 2 and len(row) == num_items + 1]
    assert tables
    for table in tables:
        moved = np.flatnonzero(np.abs(table).sum(axis=1)[1:]) + 1
        assert moved.tolist() == split.training_items.tolist()
