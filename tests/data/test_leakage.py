"""What leaks in a split: by hand, and against a comparison of every target with every event."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.helpers.logs import build_interactions
from ufnrec_tf.data import summary as leakage_module
from ufnrec_tf.data.splits import SplitSettings, leave_one_out, temporal
from ufnrec_tf.data.summary import leakage, leaks
from ufnrec_tf.reading.readers import read_interactions

DATA = Path(__file__).parents[3] / "shared" / "data"


def log(events, *, has_times=True):
    """A log of histories such as "a1 b2": item a at time 1, b at 2."""
    rows = [
        (user, word[0], float(word[1:])) for user, words in events.items() for word in words.split()
    ]
    frame = pd.DataFrame(rows, columns=["user", "item", "time"])
    frame = frame if has_times else frame[["user", "item"]]
    return build_interactions(frame, sha256="", source="log")


THREE = {
    "u": "a1 b2 c3 d4",  # trains at 1, 2; tested at 4
    "v": "b3 c5 a6 d9 c10",  # trains at 3, 5, 6; tested at 10
    "w": "c4 d5",  # trains alone, at 4, 5
}


def test_shares_by_hand():
    found = leakage(leave_one_out(log(THREE)))
    # Train events at 1 2 3 4 5 5 6, targets at 4 and 10: 3 of 7 are later than the first, one of
    # the same time is not.
    assert found == {
        "targets_before_train": 0.5,
        "train_after_target": pytest.approx(3 / 7 / 2),
        "train_after_median_target": pytest.approx(3 / 7),
    }


def test_lines_of_last_events():
    (line,) = leaks(leave_one_out(log(THREE)))
    assert line.startswith("leave_one_out leaks: 50.0% of the test targets are older than some")
    assert "on average 21.4% of the train events are later" in line
    assert "--config.split.name=temporal" in line
    (line,) = leaks(leave_one_out(log(THREE, has_times=False)))
    assert "not known, no times were read" in line and "--config.split.name=temporal" in line
    assert leakage(leave_one_out(log(THREE, has_times=False))) == {}
    (line,) = leaks(leave_one_out(log({"u": "a1 b2 c8", "v": "b1 a2 c9"})))
    assert "nothing leaks in time, no train event is later" in line


def test_periods_leak_the_catalogue_alone():
    split = temporal(log({"u": "a1 b2 c5 d8", "v": "b1 a3 c6 b9"}), SplitSettings(5, 8))
    assert set(leakage(split).values()) == {0.0}
    time, catalogue = leaks(split)
    assert "temporal: nothing leaks in time" in time
    assert "that 2 of 4 candidates exist" in catalogue  # c and d


def test_shares_against_all_pairs(monkeypatch):
    monkeypatch.setattr(leakage_module, "_CHUNK_EVENTS", 7)  # many chunks, the last not full
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "user": generator.integers(0, 20, 200).astype(str),
            "item": generator.integers(0, 30, 200).astype(str),
            "time": generator.integers(0, 60, 200).astype(float),
        }
    )
    split = leave_one_out(build_interactions(frame, sha256="", source="log"))
    times = np.asarray(split.interactions.timestamps)
    train, targets = times[split.is_train], times[split.target_index("test")]
    later = train[None, :] > targets[:, None]
    assert leakage(split) == {
        "targets_before_train": pytest.approx(later.any(axis=1).mean()),
        "train_after_target": pytest.approx(later.mean()),
        "train_after_median_target": pytest.approx(
            (train > np.quantile(targets, 0.5, method="inverted_cdf")).mean()
        ),
    }


@pytest.mark.skipif(not (DATA / "ml-100k.inter").exists(), reason="needs the shared data")
def test_movies_leak_under_last_events():
    """MovieLens users come and go within months of a common period."""
    found = leakage(leave_one_out(read_interactions(DATA / "ml-100k.inter")))
    assert 0.5 < found["targets_before_train"] <= 1
