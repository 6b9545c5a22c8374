"""Several targets a user, and users that training has not met: ranked, compared, run."""

import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tests.evaluation.test_evaluator import LENGTH, random_backbone, random_split
from tests.helpers.runs import LIGHT, metric_lines, read, run, train
from ufnrec_tf.comparison.numbers import (
    FinishedRun,
    differences,
    make_pairs,
    read_run,
    slice_numbers,
    user_values,
)
from ufnrec_tf.config import load_config
from ufnrec_tf.data.splits import SplitSettings, leave_last_n, user_holdout
from ufnrec_tf.evaluation.baselines import ItemKNN, LastItemMarkov, Popularity, baseline_ranks
from ufnrec_tf.evaluation.evaluator import RankingEvaluator, Share
from ufnrec_tf.evaluation.metrics import metrics_from_ranks
from ufnrec_tf.evaluation.user_groups import Slice, make_slices
from ufnrec_tf.reading.sources import load, make_split

METRICS = ("hr@10", "ndcg@10", "mrr")


def last_n(num_targets, seed=1):
    return leave_last_n(random_split(seed).interactions, SplitSettings(num_targets=num_targets))


def expected_rows(split, part, num_targets):
    """(user, events before the target, target, train events), from the definition."""
    data, rows = split.interactions, []
    for user in range(data.num_users):
        events = data.items[data.offsets[user] : data.offsets[user + 1]].tolist()
        if len(events) < 2 * num_targets + 1:
            continue
        first = len(events) - num_targets * (2 if part == "validation" else 1)
        train_events = events[: len(events) - 2 * num_targets]
        for place in range(first, first + num_targets):
            rows.append((user, events[:place], events[place], train_events))
    return rows


def naive_rank(scores, target, hidden):
    """1 + other candidates at least as high; the worst where the target is hidden."""
    if target in hidden:
        return len(scores) - 1
    return 1 + sum(
        item not in hidden and item != target and scores[item] >= scores[target]
        for item in range(1, len(scores))
    )


def scores_of(backbone, history):
    window = [0] * LENGTH + history
    vectors = backbone.vectors.numpy().astype(np.float64)
    vector = sum((j + 1) * vectors[item] for j, item in enumerate(window[-LENGTH:]))
    return backbone.embeddings.numpy().astype(np.float64) @ vector


def hidden_items(mask, history, train_events):
    return {"seen": set(history), "train": set(train_events), "none": set()}[mask]


@pytest.mark.parametrize("part", ["validation", "test"])
@pytest.mark.parametrize("mask", ["seen", "train", "none"])
def test_each_target_is_ranked_by_the_items_before_it(part, mask):
    split = last_n(3)
    backbone = random_backbone(2, split.interactions.num_items, integers=True)
    rows = expected_rows(split, part, 3)
    evaluator = RankingEvaluator(split, part, max_length=LENGTH, mask=mask, batch_size=8)
    assert evaluator.users.tolist() == [user for user, *_ in rows] and len(rows) % 8
    expected = [
        naive_rank(scores_of(backbone, history), target, hidden_items(mask, history, train_events))
        for _, history, target, train_events in rows
    ]
    assert evaluator.ranks(backbone).tolist() == expected
    result = evaluator.evaluate(backbone)
    assert result.num_users == len(rows) / 3 == len({user for user, *_ in rows})
    assert result.metrics["mrr"] == pytest.approx(np.mean(1 / np.array(expected)))
    protocol = evaluator.protocol()
    assert (protocol["targets"], protocol["split"]) == (3, "leave_last_n")
    assert (
        protocol["masked"]
        == {
            "seen": "all items before the target",
            "train": "train items",
            "none": "nothing",
        }[mask]
    )


@pytest.mark.parametrize("mask", ["seen", "none"])
@pytest.mark.parametrize("kind", [Popularity, LastItemMarkov, ItemKNN])
def test_baselines_rank_each_target_too(kind, mask):
    split = last_n(2)
    model = kind().fit(split)
    rows = expected_rows(split, "test", 2)
    scores = model.scores([np.array(history) for _, history, *_ in rows])
    expected = [
        naive_rank(row, target, hidden_items(mask, history, train_events))
        for row, (_, history, target, train_events) in zip(scores, rows, strict=True)
    ]
    assert baseline_ranks(model, split, "test", mask=mask, chunk=7).tolist() == expected


def test_sampled_negatives_are_outside_each_targets_history():
    split = last_n(2)
    evaluator = RankingEvaluator(split, "test", max_length=LENGTH, sampled_negatives=50)
    everything = set(range(1, split.interactions.num_items + 1))
    for row, (_, history, target, _) in enumerate(expected_rows(split, "test", 2)):
        drawn = set(evaluator.negatives[row].tolist())
        assert drawn <= everything - set(history) - {target}


class Meeting:
    """Sums arrays over threads that stand for workers."""

    def __init__(self, count):
        self.values, self.barrier = [None] * count, threading.Barrier(count, timeout=60)

    def add_up(self, worker):
        def add(values):
            self.values[worker] = values
            self.barrier.wait()
            total = sum(np.asarray(value).astype(np.int64) for value in self.values)
            self.barrier.wait()
            return total

        return add


def test_workers_share_users_with_several_targets():
    split = last_n(3)
    backbone = random_backbone(2, split.interactions.num_items, integers=True)
    is_first = np.random.default_rng(0).random(split.interactions.num_users) < 0.5
    meeting, found = Meeting(2), [None, None]

    def work(worker):
        share = Share(is_first if worker == 0 else ~is_first, meeting.add_up(worker))
        evaluator = RankingEvaluator(split, "test", max_length=LENGTH, batch_size=8, share=share)
        found[worker] = evaluator.ranks(backbone).tolist()

    threads = [threading.Thread(target=work, args=[worker]) for worker in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = RankingEvaluator(split, "test", max_length=LENGTH).ranks(backbone).tolist()
    assert found == [alone, alone] and 0 < is_first[split.users("test")].sum() < len(alone)


def run_of(ranks, users):
    ranks, users = np.asarray(ranks, np.int64), np.asarray(users, np.int32)
    parts = ("validation", "test")
    return FinishedRun(Path(), {}, dict.fromkeys(parts, ranks), [], dict.fromkeys(parts, users))


def test_values_are_averaged_by_user():
    values = user_values(np.array([1, 20, 3, 1, 1, 11]), np.array([4, 4, 7, 9, 9, 9]), METRICS)
    np.testing.assert_allclose(
        values,
        [
            [0.5, 0.5, (1 + 1 / 20) / 2],
            [1, 0.5, 1 / 3],
            [2 / 3, 2 / 3, (2 + 1 / 11) / 3],
        ],
    )


def test_a_users_targets_are_no_independent_draws():
    """Targets that stand twice change nothing: intervals, tests and effect stay as they are."""
    generator = np.random.default_rng(0)
    base = generator.integers(1, 40, 80)
    ranks = {"base": base, "arm": np.maximum(base - generator.integers(0, 6, 80), 1)}
    found = []
    for count in (1, 2, 5):
        users = np.repeat(np.arange(80), count)
        runs = {(arm, 0): run_of(np.repeat(own, count), users) for arm, own in ranks.items()}
        pairs = make_pairs(runs, "base", metrics=METRICS)
        found.append(differences(pairs, ["base", "arm"], margin=0.01)["arm"])
    for other in found[1:]:
        for metric in METRICS:
            for key in ("absolute", "relative"):
                assert other[metric][key] == pytest.approx(found[0][metric][key])
            for key in ("p", "p_holm", "effect_size", "users"):
                assert other[metric][key] == pytest.approx(found[0][metric][key])
    assert found[0]["mrr"]["users"] == 80 and found[0]["mrr"]["absolute"]["low"] > 0


def test_slices_of_targets_by_hand():
    users = [0, 0, 1, 1]
    runs = {("base", 0): run_of([1, 20, 20, 20], users), ("arm", 0): run_of([1, 1, 20, 20], users)}
    part = Slice("f", "all but the first", np.array([False, True, True, True]), 2)
    (found,) = slice_numbers(runs, [part], ["base", "arm"], "base")
    assert found["users"] == 2
    assert found["arms"]["arm"]["mean"] == 0.5  # user 0: 1; user 1: 0 twice
    assert found["arms"]["arm"]["absolute"]["estimate"] == 0.5


def test_slices_group_targets():
    split = last_n(2)
    lengths = [part for part in make_slices(split) if part.family == "history length"]
    members = np.stack([part.is_member for part in lengths])
    rows = expected_rows(split, "test", 2)
    assert members.shape == (len(lengths), len(rows)) and (members.sum(axis=0) == 1).all()
    before = -1
    for part in lengths:
        own = [len(rows[row][1]) for row in np.flatnonzero(part.is_member)]
        assert min(own) > before
        before = max(own)
        assert part.num_users == len({rows[row][0] for row in np.flatnonzero(part.is_member)})


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """A run on planted data with three targets a user and part."""
    workdir = tmp_path_factory.mktemp("several") / "w"
    settings = (
        *LIGHT,
        "--config.split.name=leave_last_n",
        "--config.split.num_targets=3",
        "--config.training.num_epochs=2",
        "--config.comparison.sample_users=2",
        "--config.comparison.baselines=popularity",
        "--config.evaluation.sampled_negatives=5",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ufnrec_tf.training.finish.export", lambda *_: None)
        tf.config.run_functions_eagerly(True)
        try:
            assert train(workdir, *settings) == 0
        finally:
            tf.config.run_functions_eagerly(False)
    return workdir


def split_of_run(workdir):
    record = read(workdir / "config.json")["config"]
    sections = ("data", "split")
    pairs = [(f"{s}.{key}", str(value)) for s in sections for key, value in record[s].items()]
    config = load_config("", pairs)
    return make_split(config, load(config, "").interactions)


@pytest.mark.slow
def test_a_run_with_several_targets(several, capsys):
    split, result = split_of_run(several), read(several / "result.json")
    log = split.interactions
    ranks = pd.read_parquet(several / "ranks.parquet")
    num_users = int((log.lengths >= 7).sum())
    assert len(ranks) == 3 * num_users and ranks["user"].nunique() == num_users
    assert (ranks["user"].value_counts() == 3).all()
    for user, own in ranks.groupby("user"):
        number = log.user_ids.tolist().index(user)
        events = log.item_ids[log.items[log.offsets[number] : log.offsets[number + 1]]].tolist()
        assert own["item"].tolist() == events[-3:]
        assert own["position"].tolist() == list(range(len(events) - 3, len(events)))
    expected = metrics_from_ranks(ranks["rank"].to_numpy())
    assert {name: result["test"][name] for name in expected} == pytest.approx(expected)
    protocol = result["protocol"]
    assert (protocol["split"], protocol["targets"]) == ("leave_last_n", 3)
    assert protocol["leaks"] and protocol["leakage"] == {}
    assert result["timing"]["evaluation_users"] == 4 * num_users  # two, then both parts
    popularity = baseline_ranks(Popularity().fit(split), split, "test")
    assert result["table"][0]["mrr"] == pytest.approx(np.mean(1 / popularity))
    shown = [sample["user"] for sample in result["samples"]]
    assert len(set(shown)) == 2
    last = {user: own["item"].iloc[-1] for user, own in ranks.groupby("user")}
    assert all(last[each["user"]] in each["taken_next"] for each in result["samples"])
    assert run("--mode=evaluate", f"--workdir={several}") == 0
    screen = " ".join(capsys.readouterr().out.split())
    assert f"{num_users} users with 3 targets each" in screen
    assert metric_lines(several)[-1]["mrr"] == pytest.approx(result["test"]["mrr"], abs=1e-9)


@pytest.mark.slow
def test_a_comparison_reads_a_run_with_several_targets(several):
    split = split_of_run(several)
    found = read_run(several, split)
    runs = {("base", 0): found, ("arm", 0): found._replace(ranks={**found.ranks})}
    values = make_pairs(runs, "base", metrics=METRICS).values["base", 0]
    assert len(values) == len(split.evaluated_users("test"))
    mean = [read(several / "result.json")["test"][name] for name in METRICS]
    np.testing.assert_allclose(values.mean(axis=0), mean)


@pytest.mark.slow
@pytest.mark.usefixtures("without_graphs", "without_export")
def test_a_run_with_held_out_users(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    settings = (
        *LIGHT,
        "--config.split.name=user_holdout",
        "--config.split.test_share=0.2",
        "--config.split.seed=3",
        "--config.training.num_epochs=3",
        "--config.gate.epochs=0",
        "--config.comparison.baselines=markov",
        "--config.comparison.sample_users=1",
    )
    assert train("w", *settings) == 0
    screen = " ".join(capsys.readouterr().out.split())
    assert "the last item of users that training has not met" in screen
    log = split_of_run(tmp_path / "w").interactions
    split = user_holdout(log, SplitSettings(test_share=0.2, seed=3))
    result = read("w/result.json")
    ranks = pd.read_parquet("w/ranks.parquet")
    assert ranks["user"].tolist() == log.user_ids[split.users("test")].tolist()
    assert (1 / ranks["rank"]).mean() == pytest.approx(result["test"]["mrr"])
    assert result["protocol"]["masked"] == "all items before the target"
    held_out = set(log.user_ids[~split.has_train_events])
    assert len(held_out) == len(split.users("test")) + len(split.users("validation")) > 5
    suspects = pd.read_parquet("w/false_negatives.parquet")
    assert len(suspects) and not set(suspects["user"]) & held_out
    assert result["false_negatives"]["future"]["rate"] is None
    # Of 200,000 pairs of users and items, those of users that train and not in the log.
    share = np.where(split.has_train_events, 1 - log.lengths / 40, 0).mean()
    num_pairs = result["false_negatives"]["auc"]["num_pairs"]
    assert num_pairs == pytest.approx(200_000 * share, rel=0.02)
    assert run("--mode=evaluate", "--workdir=w", "--config.evaluation.mask=train") == 0
    assert "nothing, these users have no train items" in " ".join(capsys.readouterr().out.split())
