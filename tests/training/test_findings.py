"""What a run tells of false negatives once it has ended: the file, result.json, TensorBoard."""

import json
import re
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from ml_collections import ConfigDict
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.helpers.runs import LIGHT, read, train
from tests.helpers.tiny import NUM_ITEMS, split_of, tiny_histories, write_labels
from ufnrec_tf.data.splits import leave_one_out
from ufnrec_tf.data.windows import RowOwners, make_samples
from ufnrec_tf.method.soft_labels import worker_folder
from ufnrec_tf.reading.sources import load
from ufnrec_tf.runs.worker_state import read_part
from ufnrec_tf.training.findings import _label_parts
from ufnrec_tf.training.tensorboard_content import findings_card

pytestmark = pytest.mark.usefixtures("eagerly")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that flags: five visits with the gate open, patience 1."""
    workdir = tmp_path_factory.mktemp("flagging") / "run"
    settings = ["--config.training.num_epochs=6", "--config.gate.epochs=0"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ufnrec_tf.training.finish.export", lambda *_: None)
        assert train(workdir, *LIGHT, *settings, "--config.comparison.sample_users=3") == 0
    return workdir


@pytest.fixture(scope="module")
def source(trained):
    return load(ConfigDict(read(trained / "config.json")["config"]), "")


def memory_of(workdir):
    """The memory's tables of the newest checkpoint."""
    (step,) = (workdir / "checkpoints").glob("step-*")
    tables = read_part(step, 0, 1).tables
    return tables["items"], tables["states"] // 2


@pytest.mark.slow
def test_file_holds_what_the_memory_counted(trained, source):
    frame = pd.read_parquet(trained / "false_negatives.parquet")
    assert list(frame.columns) == ["user", "item", "position", "count", "margin", "flagged"]
    items, counts = memory_of(trained)
    log, split = source.interactions, leave_one_out(source.interactions)
    expected: Counter[tuple[str, str, int, int]] = Counter()
    row = 0
    for user in range(log.num_users):
        last = split.train_ends[user] - log.offsets[user] - 1
        for position in range(max(last - 10, 0), last):  # max_length is 10
            for item, count in zip(items[row], counts[row], strict=True):
                if item and count:
                    key = (log.user_ids[user], log.item_ids[item], position, int(count))
                    expected[key] += 1
            row += 1
    assert row == len(items)
    rows = frame[["user", "item", "position", "count"]].itertuples(index=False, name=None)
    assert Counter(rows) == expected and len(frame) > 100
    assert frame["flagged"].tolist() == (frame["count"] > 1).tolist()  # patience 1
    assert (np.diff(frame["count"]) <= 0).all()
    assert np.isfinite(frame["margin"]).all() and frame["margin"].std() > 0
    about = frame.attrs
    weights = read(trained / "result.json")["protocol"]["weights"]
    assert f"{weights} weights of epoch" in about["margin"]
    assert about["rows_in_memory"] == len(frame) and about["is_cut"] is False
    assert about["flagged_in_memory"] == frame["flagged"].sum()


def test_what_each_user_adds_to_the_lifts_is_written(trained):
    found = read(trained / "result.json")["false_negatives"]["future"]
    frame = pd.read_parquet(trained / "future_lift.parquet")
    assert frame["user"].str.startswith("u").all()
    for match, rows in frame.groupby("match"):
        assert rows["user"].is_unique
        for key in ("pairs", "hits", "control_hits"):
            assert rows[key].sum() == found[match][key]
        assert rows["expected"].sum() / rows["pairs"].sum() == pytest.approx(found[match]["rate"])
    assert found["scored_by"] == "the reported weights"  # the gate was open from the start
    assert set(frame["match"]) == {name for name in found if name.startswith("matched_")}


@pytest.mark.slow
def test_result_says_who_was_flagged_and_what_became_of_it(trained, source):
    result = read(trained / "result.json")
    found, log = result["false_negatives"], source.interactions
    frame = pd.read_parquet(trained / "false_negatives.parquet")
    flagged = set(frame.loc[frame["flagged"], ["user", "item"]].itertuples(index=False, name=None))
    assert found["ripe_pairs"] == found["future"]["num_flagged"] == len(flagged)
    split = leave_one_out(log)
    later = {
        (log.user_ids[user], log.item_ids[item])
        for part in ("validation", "test")
        for user, item in zip(split.users(part), split.targets(part), strict=True)
    }
    assert found["future"]["hits"] == len(flagged & later) > 0
    assert found["future"]["rate"] == pytest.approx(len(flagged & later) / len(flagged))
    row = found["future"]["matched_on_popularity"]
    assert row["low"] <= row["lift"] <= row["high"]
    assert found["future"]["matched_on_popularity_and_score"]["pairs"] > 0
    per_item = Counter(item for _, item in flagged)
    train_events = Counter(log.item_ids[log.items[split.is_train]])
    most = found["most_flagged"]
    assert len(most) == 20
    assert [row["users"] for row in most] == sorted(per_item.values(), reverse=True)[:20]
    for row in most:
        assert row["users"] == per_item[row["item"]]
        assert row["train_events"] == train_events[row["item"]]
        assert row["name"].startswith(f"{row['item']} (Cluster")
    assert len(found["examples"]) == 3
    for example in found["examples"]:
        user = example["user"]
        names = {name.split(" ")[0] for name in example["later"]}
        assert names == {item for who, item in later if who == user}
        assert example["num_flagged"] == sum(who == user for who, _ in flagged)
        for row in example["flagged"]:
            item = row["item"].split(" ")[0]
            assert (user, item) in flagged
            assert row["taken_later"] == (item in names)
    assert 0 < found["auc"]["count"] < 1 and 0 < found["auc"]["margin"] < 1
    json.dumps(result, allow_nan=False)


def test_tensorboard_has_a_page_to_read(trained):
    board = EventAccumulator(str(trained / "tensorboard" / "test"))
    board.Reload()
    (event,) = board.Tensors("run/false_negatives")
    text = tf.make_ndarray(event.tensor_proto).item().decode()
    found = read(trained / "result.json")["false_negatives"]
    assert text == findings_card(found)
    assert f"| precision | {found['detection']['precision']:.4f} |" in text
    assert f"| auc_count | {found['auc']['count']:.4f} |" in text
    assert f"{found['future']['num_flagged']:,} pairs flagged" in text
    assert f"| {found['most_flagged'][0]['users']} |" in text


def test_the_chief_reads_the_labels_of_all_workers(tmp_path):
    split = split_of(tiny_histories(num_users=30), NUM_ITEMS)
    samples = make_samples(split, max_length=6)
    owners = RowOwners(split.interactions.user_ids, samples.users_of_rows())
    for worker in (0, 1):
        rows = owners.rows_of(worker, 2)
        written = write_labels(worker_folder(tmp_path, worker, 2), rows[:, None], rows[:, None] > 0)
    chief: Any = SimpleNamespace(
        samples=samples, row_owners=owners, workers=SimpleNamespace(count=2)
    )
    parts = _label_parts(written.with_name("worker_0_of_2"), chief)
    events = samples.events_of_rows()
    for part in parts:
        assert events[part.items[:, 0]].tolist() == part.events.tolist()
    assert sorted(np.concatenate([part.events for part in parts])) == events.tolist()
    assert min(len(part.events) for part in parts) > 5


def test_markdown_shows_titles_as_they_are():
    page = findings_card(
        {
            "future": {
                "num_flagged": 1, "users": 1, "hits": 1,
                "matched_on_popularity": {
                    "rate": 0.1, "lift": 2.0, "low": 0.5, "high": 9.0, "hits": 1,
                },
                "matched_on_popularity_and_score": {"lift": None},
            },
            "most_flagged": [{"name": "a|b *c*", "users": 1200, "train_events": 7}],
            "examples": [
                {
                    "user": "u_1", "history": ["x", "y"], "num_flagged": 1, "later": ["z"],
                    "flagged": [{"item": "z", "count": 6, "taken_later": True}],
                }
            ],
        }
    )  # fmt: skip
    lines = page.splitlines()
    assert "| matched on popularity | 0.10000 | 2.00 | 0.50 to 9.00 | 1 of 1 |" in lines
    assert not any("and score" in line for line in lines)
    assert r"| a\|b \*c\* | 1,200 | 7 |" in lines
    assert r"**u\_1** had x, y" in lines
    assert "- flagged 1, by count: z (6, **taken later**)" in lines


@pytest.mark.slow
@pytest.mark.usefixtures("without_export")
def test_cut_files_say_so_and_plain_training_has_none(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    settings = ["--config.memory.policy=replay", "--config.detection.most_rows=5"]
    epochs = ["--config.training.num_epochs=4", "--config.gate.epochs=0"]
    assert train("w", *LIGHT, *settings, *epochs) == 0
    frame = pd.read_parquet("w/false_negatives.parquet")
    assert len(frame) == 5 and frame["flagged"].all()
    assert frame.attrs["is_cut"] is True
    counts = read("w/result.json")["false_negatives"]["suspects"]
    assert counts["kept"] == 5 < counts["flagged"] < counts["counted"]
    untrained = [*LIGHT, "--config.training.num_epochs=0"]
    assert train("k", *untrained, "--config.memory.policy=plain") == 0
    assert not (tmp_path / "k" / "false_negatives.parquet").exists()
    found = read("k/result.json")["false_negatives"]
    assert set(found["auc"]) == {"margin", "num_pairs"} and "future" not in found
    # No steps, no suspects: a file without rows.
    assert train("s", *untrained) == 0
    assert len(pd.read_parquet("s/false_negatives.parquet")) == 0
    found = read("s/result.json")["false_negatives"]
    assert found["future"]["num_flagged"] == 0 and found["most_flagged"] == []
    assert not re.search(r"\bNaN\b", (tmp_path / "s" / "result.json").read_text())
