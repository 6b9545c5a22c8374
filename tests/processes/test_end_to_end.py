"""From the command line to a work directory and back: train, evaluate, export, recommend, stop."""

import itertools
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from ml_collections import ConfigDict
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.helpers.runs import (
    LIGHT,
    PLANTED,
    STEPS,
    TINY,
    command,
    contents,
    described,
    environment,
    metric_lines,
    read,
    run,
    train,
)
from tests.processes.forks import forks, run_module
from ufnrec_tf.config import load_config
from ufnrec_tf.data.splits import leave_one_out
from ufnrec_tf.method.policies import POLICIES
from ufnrec_tf.reading.sources import load
from ufnrec_tf.runs.worker_state import read_part
from ufnrec_tf.training.build import best_store, make_backbone, make_evaluator

METRICS = [f"{name}@{cutoff}" for name in ("hr", "ndcg") for cutoff in (1, 5, 10, 20)] + ["mrr"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def workdir(trained):
    """A copy of the trained work directory, `w`."""
    shutil.copytree(trained, "w")
    return Path("w")


def configuration(workdir):
    return ConfigDict(read(workdir / "config.json")["config"])


def selected(workdir):
    """Returns the source, split and selected weights of a work directory."""
    config = configuration(workdir)
    source = load(config, read(workdir / "config.json")["data_path"])
    backbone = make_backbone(config, source.interactions.num_items)
    best_store(workdir / "checkpoints", backbone).restore("best")
    return source, leave_one_out(source.interactions), backbone


# What is in the work directory.


def test_config_says_all_that_was_resolved(trained):
    record = read(trained / "config.json")
    defaults = load_config("", [])
    assert set(record["config"]) == set(defaults)
    for section, values in record["config"].items():
        assert set(values) == set(defaults[section])
    assert record["config"]["backbone"]["width"] == 8
    assert record["seed"] == 0
    assert record["versions"]["tensorflow"] == tf.__version__
    assert {"keras", "python", "ufnrec_tf"} <= set(record["versions"])
    assert "git_commit" in record
    assert record["command_line"][0] == "main.py"
    assert "--config.backbone.width=8" in record["command_line"]


def test_metrics_have_a_line_an_evaluation(trained):
    lines = metric_lines(trained)
    assert [line["step"] for line in lines] == [4, 8, 12]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert {line["split"] for line in lines} == {"validation"}  # the test set only at the end
    # The gate opens after epoch 1; the teacher is made in the step after the next.
    assert [line["weights"] for line in lines] == ["student", "teacher", "teacher"]
    for line in lines:
        assert set(METRICS) <= set(line)
        assert line["protocol"]["part"] == "validation"


def test_result_has_every_field_of_the_contract(trained):
    result = read(trained / "result.json")
    for part in ("test", "validation"):
        assert set(result[part]) == set(METRICS)
        assert all(0.0 <= value <= 1.0 for value in result[part].values())
    protocol = result["protocol"]
    assert protocol["split"] == "leave_one_out"
    assert protocol["candidates"] == 40
    assert protocol["masked"] == "train and validation items"
    assert protocol["ties"] == "against the target"
    assert protocol["weights"] in ("student", "teacher")
    data = result["data"]
    assert (data["users"], data["items"]) == (60, 40)
    assert len(data["sha256"]) == 64
    assert data["interactions"] > 600
    assert result["seed"] == 0
    timing = result["timing"]
    assert timing["train_users"] == 60 - 16 * 2  # the last two of twelve steps, 28 users
    for name in ("train_seconds", "train_cpu_seconds", "train_positions"):
        assert timing[name] > 0
    assert timing["evaluation_users"] == 5 * 60  # three on validation, both at the end
    assert timing["evaluation_cpu_seconds"] > 0
    memory = result["memory"]
    assert memory["slots"] == 16
    assert memory["table_bytes"] == memory["rows"] * 16 * memory["bytes_per_slot"]
    assert memory["bytes_per_slot"] == 4  # few items and epochs
    assert 0 < memory["fill"] <= 1
    assert memory["evictions"] == 0
    assert memory["peak_rss_bytes"] > 1e8
    found = result["false_negatives"]
    assert found["gate_epoch"] == 1
    assert found["flips_per_step"] == pytest.approx(found["flips"] / 12)


def test_selection_is_the_best_line_of_the_validation(trained):
    result, lines = read(trained / "result.json"), metric_lines(trained)
    best = max(lines, key=lambda line: line["ndcg@10"])
    assert result["protocol"]["selected_epoch"] == best["epoch"]
    assert result["protocol"]["weights"] == best["weights"]
    for name in METRICS:
        assert result["validation"][name] == pytest.approx(best[name], abs=1e-9)


def test_files_of_the_work_directory(trained):
    for name in ("curves", "test"):
        assert list((trained / "tensorboard" / name).glob("events.out.tfevents.*"))
    assert sorted(path.name for path in (trained / "checkpoints").iterdir()) == [
        "best",
        "gate",
        "step-00000012",
    ]
    export = read(trained / "export" / "1" / "ufnrec.json")
    assert export["format_version"] == 1
    assert (
        export["metadata"]["epoch"] == read(trained / "result.json")["protocol"]["selected_epoch"]
    )
    hidden = [path.name for path in trained.rglob(".*") if path.name != ".lock"]
    assert hidden == []  # no half-written files


def test_pairs_are_matched_by_the_weights_at_which_the_gate_opened(trained):
    result = read(trained / "result.json")
    opened = result["false_negatives"]["gate_epoch"]
    state = read(trained / "checkpoints" / "gate" / "state.json")
    assert state["epoch"] == opened == 1
    words = result["false_negatives"]["future"]["scored_by"]
    assert words == "weights of epoch 1, when the gate opened"


def board_tags(folder):
    board = EventAccumulator(str(folder))
    board.Reload()
    return {kind: set(board.Tags()[kind]) for kind in ("tensors", "scalars")}


def test_tensorboard_has_what_the_run_did(trained):
    tags = {
        part: board_tags(trained / "tensorboard" / part)["tensors"]
        for part in os.listdir(trained / "tensorboard")
    }
    assert {
        "loss/total",
        "loss/ranking",
        "loss/consistency",
        "ufnrec/flips_per_step",
        "ufnrec/flips_per_epoch",
        "ufnrec/share_of_labels_flipped",
        "ufnrec_memory/share_of_slots_used",
        "ufnrec_memory/counts",
        "ufnrec_memory/evictions",
        "teacher/decay",
        "training/learning_rate",
        "training/users_per_second",
    } <= tags["curves"]
    assert {f"ranking/{name}" for name in METRICS} <= tags["curves"]
    assert any("ndcg@10" in tag for tag in tags["test"])


def test_ranks_give_the_reported_metrics(trained):
    ranks = pd.read_parquet(trained / "ranks.parquet")
    test = read(trained / "result.json")["test"]
    assert list(ranks.columns) == ["user", "item", "rank", "position"]
    assert len(ranks) == 60
    assert (ranks["rank"] <= 10).mean() == pytest.approx(test["hr@10"])
    gains = np.where(ranks["rank"] <= 10, 1 / np.log2(1 + ranks["rank"]), 0.0)
    assert gains.mean() == pytest.approx(test["ndcg@10"])
    assert (1 / ranks["rank"]).mean() == pytest.approx(test["mrr"])
    source, split, backbone = selected(trained)
    log = source.interactions
    last = [log.item_ids[log.items[end - 1]] for end in log.offsets[1:]]
    assert ranks["user"].tolist() == log.user_ids.tolist()
    assert ranks["item"].tolist() == last
    evaluator = make_evaluator(configuration(trained), split, "test", 0)
    assert evaluator.ranks(backbone).tolist() == ranks["rank"].tolist()


def test_the_export_answers_as_the_evaluation_does(trained):
    source, split, backbone = selected(trained)
    log = source.interactions
    ends = split.history_ends("test")
    histories = [
        log.item_ids[log.items[log.offsets[user] : end]]
        for user, end in zip(split.users("test"), ends, strict=True)
    ]
    padded = np.full((len(histories), max(map(len, histories))), "", object)
    for row, history in enumerate(histories):
        padded[row, len(padded[row]) - len(history) :] = history
    model = tf.saved_model.load(str(trained / "export" / "1"))
    answer = model.signatures["serving_default"](item_ids=tf.constant(padded, tf.string))
    got = np.array([[raw.decode() for raw in row] for row in answer["item_ids"].numpy()])
    evaluator = make_evaluator(configuration(trained), split, "test", 0)
    items, scores = evaluator.top_k(backbone, 11)
    np.testing.assert_allclose(answer["scores"].numpy(), scores[:, :10], atol=1e-5)
    gaps = np.abs(np.diff(scores, axis=1))  # [M, 10], below each place
    clear = (gaps > 1e-5) & (np.pad(gaps, ((0, 0), (1, 0)), constant_values=1)[:, :10] > 1e-5)
    assert clear.mean() > 0.9
    expected = log.item_ids[items[:, :10]]
    assert (got[clear] == expected[clear]).all()


# The same command again, and the other modes.


def test_again_it_says_that_it_is_done(workdir, capfd):
    before = contents(workdir)
    assert train("w", "--config.training.num_epochs=3") == 0
    screen = capfd.readouterr()
    assert screen.err == ""
    for words in ("This run is done", "SASRec+UFNRec", "Popularity", "HR@10", "Recommendations"):
        assert words in screen.out
    assert f"{read('w/result.json')['test']['hr@10']:.4f}" in screen.out
    assert "Training" not in screen.out
    assert contents(workdir) == before


@pytest.mark.usefixtures("without_graphs")
def test_more_epochs_go_on(workdir, capfd):
    first = metric_lines(workdir)
    assert train("w", "--config.training.num_epochs=5") == 0
    assert "resuming from step-00000012" in capfd.readouterr().out
    lines = metric_lines(workdir)
    assert [line["step"] for line in lines] == [4, 8, 12, 16, 20]
    assert lines[:3] == first
    result = read("w/result.json")
    assert (result["steps"], result["epochs"]) == (20, 5)
    assert result["false_negatives"]["gate_epoch"] == 1
    assert result["memory"]["fill"] > 0
    # Fewer are no reason to train.
    assert train("w", "--config.training.num_epochs=4") == 0
    assert "This run is done" in capfd.readouterr().out
    assert read("w/result.json") == result


@pytest.mark.usefixtures("without_graphs")
def test_evaluate_by_other_protocols(workdir, capfd):
    shutil.rmtree(workdir / "export")  # not needed
    assert run("--mode=evaluate", "--workdir=w") == 0
    assert run("--mode=evaluate", "--workdir=w", "--split=validation") == 0
    for setting in ("mask=none", "mask=train", "weights=student", "weights=teacher"):
        assert run("--mode=evaluate", "--workdir=w", f"--config.evaluation.{setting}") == 0
    screen = capfd.readouterr()
    assert screen.err == ""
    assert "masked: nothing" in screen.out
    result, lines = read("w/result.json"), metric_lines(workdir)[3:]
    assert {line["mode"] for line in lines} == {"evaluate"}
    assert [line["split"] for line in lines] == ["test", "validation", *["test"] * 4]
    for name in METRICS:
        assert lines[0][name] == pytest.approx(result["test"][name], abs=1e-9)
        assert lines[1][name] == pytest.approx(result["validation"][name], abs=1e-9)
        # A candidate more can only push a target down.
        assert lines[2][name] <= lines[3][name] <= lines[0][name]
    assert [line["weights"] for line in lines[4:]] == ["student", "teacher"]
    assert [line["step"] for line in lines[4:]] == [12, 12]
    assert {line["epoch"] for line in lines[4:]} == {3}


def test_export_again_and_recommend(workdir, capfd):
    before = described("w/export/1")
    shutil.rmtree(workdir / "export")
    assert run("--mode=export", "--workdir=w") == 0
    assert described("w/export/1") == before
    Path("histories").write_text("i01 i02 i03\nnowhere\n\n", encoding="utf-8")
    arguments = ["--mode=recommend", "--workdir=w", "--histories=histories", "--output=out.csv"]
    assert run(*arguments, "--top_k=4") == 0
    screen = capfd.readouterr()
    assert screen.err == ""
    assert "export/1: written" in screen.out
    assert "out.csv: 12 recommendations for 3 histories (4 item ids read, 1 unknown" in screen.out
    rows = pd.read_csv("out.csv")
    assert list(rows.columns) == ["row", "rank", "item", "score", "title", "known_items"]
    assert rows["row"].tolist() == [1] * 4 + [2] * 4 + [3] * 4
    assert not {"i01", "i02", "i03"} & set(rows[rows["row"] == 1]["item"])


def test_versions(workdir, capfd):
    """The same again is no version; recommend takes the newest; another folder counts anew."""
    before = contents("w/export")
    assert run("--mode=export", "--workdir=w") == 0
    assert "export/1: is the same model already; nothing written" in capfd.readouterr().out
    assert contents("w/export") == before
    changed = ("--config.export.top_k=3", "--config.export.versions_kept=1")
    assert run("--mode=export", "--workdir=w", *changed) == 0
    screen = capfd.readouterr().out
    assert "export/2: written" in screen and "older versions removed: 1" in screen
    assert os.listdir("w/export") == ["2"]
    assert read("w/export/2/ufnrec.json")["top_k"] == 3
    Path("histories").write_text("i01\n", encoding="utf-8")
    arguments = ["--mode=recommend", "--workdir=w", "--histories=histories", "--output=out.csv"]
    assert run(*arguments, "--top_k=4") == 0
    assert len(pd.read_csv("out.csv")) == 4
    assert run("--mode=export", "--workdir=w", "--config.export.path=models/own") == 0
    assert "models/own/1: written" in capfd.readouterr().out
    assert os.listdir("w/export") == ["2"]
    assert described("models/own/1")["top_k"] == 10  # as trained
    items = pd.read_parquet("models/own/1/items.parquet")
    log = load(configuration(workdir), "").interactions
    counts = dict.fromkeys(log.item_ids[1:], 0)
    for start, end in itertools.pairwise(log.offsets):
        for item in log.items[start : end - 2 if end - start > 2 else end]:
            counts[log.item_ids[item]] += 1
    assert dict(zip(items["item_id"], items["events"], strict=True)) == counts
    assert log.item_titles is not None
    assert items["title"].tolist() == log.item_titles[1:].tolist()


# Other data and settings.


def write_inter(path, seed=0):
    """A .inter with its .item; some events repeat, in the order of their times alone."""
    rng = np.random.default_rng(seed)
    rows = ["user_id:token\titem_id:token\ttimestamp:float"]
    for user in range(40):
        items = rng.integers(0, 15, size=8)
        items[-1] = items[2]  # the test target has been seen before
        rows += [f"u{user}\tm{item}\t{time}" for time, item in enumerate(items)][::-1]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    titles = ["item_id:token\tmovie_title:token_seq"]
    titles += [f"m{item}\tFilm [bold] :star: {item}" for item in range(15)]
    path.with_suffix(".item").write_text("\n".join(titles) + "\n", encoding="utf-8")
    return [f"--data={path}"]


@pytest.mark.usefixtures("without_graphs")
def test_a_file_with_titles_and_repeat_consumption(tmp_path, capfd):
    data = write_inter(tmp_path / "log.inter")
    settings = (
        "--config.evaluation.mask=none",
        "--config.export.mask_seen=false",
        "--config.evaluation.test_every=2",
        "--config.evaluation.sampled_negatives=5",
        "--config.training.windows=all",
        "--config.training.num_epochs=2",
        "--config.backbone.max_length=3",
    )
    assert train("w", *settings, data=data) == 0
    screen = capfd.readouterr()
    assert re.search(r"took: m(\d+) \(Film \[bold\] :star: \1\)\n", screen.out)  # as it is
    assert "repeats, kept" in screen.out
    lines = metric_lines("w")
    assert [(line["step"], line["split"]) for line in lines] == [
        (5, "validation"),
        (10, "validation"),
        (10, "test"),
    ]
    assert "hr@10_uni5" in lines[0]
    result = read("w/result.json")
    assert result["protocol"]["masked"] == "nothing"
    assert result["protocol"]["masked_targets"] == 0
    ranks = pd.read_parquet("w/ranks.parquet")
    assert (ranks["rank"] <= 10).mean() == pytest.approx(result["test"]["hr@10"])
    assert ranks["rank"].max() <= 15
    Path("histories").write_text("m0 m1\n", encoding="utf-8")
    arguments = ["--mode=recommend", "--workdir=w", "--histories=histories", "--output=out.csv"]
    assert run(*arguments, "--top_k=15") == 0
    assert {"m0", "m1"} < set(pd.read_csv("out.csv")["item"])  # seen, and recommended
    # With what was seen masked, a repeated target has the worst rank, and that is counted.
    assert run("--mode=evaluate", "--workdir=w", "--config.evaluation.mask=seen") == 0
    line = metric_lines("w")[-1]
    assert line["protocol"]["masked_targets"] == 40
    assert line["hr@10"] == 0.0
    # An export gives other titles to the trained run, and they stay.
    rows = "".join(f"m{item};Other {item}\n" for item in range(15))
    Path("other.csv").write_text("code;product_name\n" + rows, encoding="utf-8")
    capfd.readouterr()
    assert run("--mode=export", "--workdir=w", "--config.data.titles=other.csv") == 0
    assert "titles: column 'product_name', 15 of 15 items" in capfd.readouterr().out
    exported = pd.read_parquet("w/export/2/items.parquet")
    assert set(exported["title"]) == {f"Other {item}" for item in range(15)}
    assert read("w/config.json")["config"]["data"]["titles"] == str(Path("other.csv").resolve())
    assert run("--mode=evaluate", "--workdir=w", "--config.data.titles=other.csv") == 1


@pytest.mark.parametrize("policy", [policy for policy in POLICIES if policy != "ufnrec"])
@pytest.mark.usefixtures("without_export", "without_graphs")
def test_policies_run(policy, capfd):
    settings = [
        f"--config.memory.policy={policy}",
        "--config.training.num_epochs=3",
        "--config.gate.epochs=0",  # remembered, counted once, ripe
        "--config.memory.safe_patience=0",
        "--config.memory.safe_period=1",
        "--config.teacher.labels=uniform",  # of ufnrec_soft, without a teacher to train first
    ]
    assert train("w", *LIGHT, *settings) == 0
    found = read("w/result.json")["false_negatives"]
    assert (found["flips"] > 0) == (policy in ("flip", "random", "ufnrec_safe"))
    assert (found["removals"] > 0) == (policy in ("remove", "neutral"))
    assert (found["shown"] > 0) == POLICIES[policy].remembers
    assert bool(read("w/result.json")["memory"]["slots"]) == POLICIES[policy].remembers
    assert Path("w/false_negatives.parquet").exists() == POLICIES[policy].remembers


@pytest.mark.usefixtures("without_export", "without_graphs")
def test_the_better_of_student_and_average_is_selected():
    settings = ["--config.memory.policy=plain", "--config.teacher.always=true"]
    settings += ["--config.evaluation.weights=better", "--config.training.num_epochs=4"]
    assert train("w", *LIGHT, *settings) == 0
    lines = [json.loads(line) for line in Path("w/metrics.jsonl").read_text().splitlines()]
    scored = {
        (line["epoch"], line["weights"]): line["ndcg@10"]
        for line in lines
        if line["split"] == "validation"
    }
    assert {weights for _, weights in scored} == {"student", "teacher"}
    result = read("w/result.json")
    chosen = result["protocol"]["selected_epoch"], result["protocol"]["weights"]
    assert scored[chosen] == max(scored.values()) == result["validation"]["ndcg@10"]


@pytest.mark.parametrize("loss", ["bce", "sampled_softmax_logq"])
@pytest.mark.usefixtures("without_export", "without_graphs")
def test_losses_run_with_a_memory(loss, capfd):
    """One that takes probes, one that does not; the formulae are tested by themselves."""
    settings = [
        f"--config.loss.name={loss}",
        "--config.training.num_epochs=3",
        "--config.gate.epochs=0",
        "--config.teacher.agreement=none",
    ]
    assert train("w", *LIGHT, *settings) == 0
    totals = read("w/result.json")["totals"]
    assert totals["flips"] > 0 and totals["teacher_users"] > 0
    per_position = totals["negatives"] / totals["positions"]
    assert per_position < 2 if loss == "bce" else per_position > 2  # flipped probes are in the loss


@pytest.mark.usefixtures("without_export")
def test_cross_entropy_learns_and_its_probes_are_flipped(capfd):
    settings = [
        "--config.loss.name=cross_entropy",
        "--config.training.num_epochs=8",
        "--config.training.jit_compile=true",
        "--config.gate.epochs=4",
    ]
    assert train("w", *LIGHT, *settings) == 0
    assert read("w/result.json")["totals"]["flips"] > 0
    result = read("w/result.json")
    # Above the worst by far: it learns that repeats come, and what is popular.
    assert result["test"]["ndcg@10"] > 0.1
    assert result["timing"]["train_users"] > 0


@pytest.mark.usefixtures("without_export", "without_graphs")
def test_arms_train_beside_the_run_and_go_on_with_it(capfd):
    arms = [*LIGHT, "--config.memory.policy=replay", "--config.comparison.arms=plain"]
    assert train("w", *arms, "--config.training.num_epochs=1") == 0
    assert capfd.readouterr().out.count("Test, full ranking") == 1
    own, arm = read("w/result.json"), read("w/baselines/plain/result.json")
    assert [row["label"] for row in own["table"]] == ["SASRec", "SASRec+replay"]
    assert own["table"][0]["hr@10"] == arm["test"]["hr@10"]
    assert train("w", *arms, "--config.training.num_epochs=2") == 0
    assert read("w/result.json")["epochs"] == 2
    assert read("w/baselines/plain/result.json")["epochs"] == 2


@pytest.mark.usefixtures("without_export", "without_graphs")
def test_early_stopping_and_more_patience(capfd):
    settings = [
        "--config.optimizer.learning_rate=0",  # nothing gets better
        "--config.memory.policy=plain",
        "--config.gate.kind=never",
        "--config.gate.popularity_lift=0",
        "--config.training.num_epochs=20",
        *LIGHT,
    ]
    assert train("w", *settings, "--config.training.patience=2") == 0
    assert read("w/result.json")["epochs"] == 3
    assert train("w", *settings, "--config.training.patience=2") == 0
    assert "This run is done" in capfd.readouterr().out
    assert train("w", *settings, "--config.training.patience=4") == 0
    assert read("w/result.json")["epochs"] == 5
    assert [line["epoch"] for line in metric_lines("w")] == [1, 2, 3, 4, 5]


@pytest.mark.usefixtures("without_export")
def test_several_steps_a_call_train_the_same(capfd):
    arguments = [*LIGHT, "--config.memory.policy=plain", "--config.training.num_epochs=2"]
    for name, steps in (("one", 1), ("two", 2)):
        assert train(name, *arguments, f"--config.training.steps_per_execution={steps}") == 0
    one, two = metric_lines("one"), metric_lines("two")
    assert [line["step"] for line in two] == [4, 8]
    assert one[-1]["mrr"] == pytest.approx(two[-1]["mrr"], abs=1e-3)
    one, two = read("one/result.json"), read("two/result.json")
    assert one["steps"] == two["steps"] == 8


def test_no_epochs_at_all(capfd):
    assert train("w", *LIGHT, "--config.training.num_epochs=0") == 0
    result = read("w/result.json")
    assert result["steps"] == 0
    assert result["timing"]["train_seconds"] == 0.0
    assert not Path("w/metrics.jsonl").exists()


# In processes of their own.


def test_two_replicas(tmp_path):
    arguments = command(
        *PLANTED,
        *TINY,
        "--workdir=w",
        "--config.distribution.strategy=mirrored",
        "--config.distribution.num_virtual_devices=2",
        *LIGHT,  # test_replicas.py has a block
        "--config.training.num_epochs=3",
    )
    with forks([arguments], [environment()], cwd=tmp_path) as (process,):
        _, err = process.communicate(timeout=300)
        assert (process.returncode, err) == (0, "")
    result = read("w/result.json")
    assert result["steps"] == 12
    assert result["false_negatives"]["shown"] > 0
    assert [line["step"] for line in metric_lines("w")] == [4, 8, 12]
    assert run("--mode=evaluate", "--workdir=w") == 0
    for name in METRICS:
        assert metric_lines("w")[-1][name] == pytest.approx(result["test"][name], abs=1e-9)


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """Work directories of `tests.processes.resume_run`."""
    folder = tmp_path_factory.mktemp("resumed")
    run_module("tests.processes.resume_run", folder)
    return folder


def assert_same_run(got, expected):
    """All that does not tell of time is equal, to the bit."""
    for part in ("test", "validation", "protocol", "false_negatives", "steps", "epochs"):
        assert read(got / "result.json")[part] == read(expected / "result.json")[part]
    assert metric_lines(got) == metric_lines(expected)
    ranks, whole = (pd.read_parquet(path / "ranks.parquet") for path in (got, expected))
    pd.testing.assert_frame_equal(ranks, whole)
    memories = [read(path / "result.json")["memory"] for path in (got, expected)]
    for key in ("counted", "remembered", "evictions", "refusals"):
        assert memories[0][key] == memories[1][key]
    (name,) = [path.name for path in (got / "checkpoints").glob("step-*")][-1:]
    folders = [path / "checkpoints" / name for path in (got, expected)]
    groups = {"student", "optimizer", "teacher", "host", "best"}
    assert_same_variables(folders, "variables", groups)
    parts = [read_part(folder, 0, 1) for folder in folders]
    for group in range(2):  # tables and sums
        assert parts[0][group].keys() == parts[1][group].keys() != set()
        for key, value in parts[0][group].items():
            np.testing.assert_array_equal(value, parts[1][group][key])


def assert_same_variables(folders, file, groups):
    """Two checkpoints' files of variables are equal to the bit, and hold these groups."""
    readers = [tf.train.load_checkpoint(str(folder / file)) for folder in folders]
    shapes = readers[0].get_variable_to_shape_map()
    assert shapes == readers[1].get_variable_to_shape_map()
    assert groups <= {key.split("/")[0] for key in shapes}
    for key in shapes:
        if key != "_CHECKPOINTABLE_OBJECT_GRAPH":
            np.testing.assert_array_equal(*(reader.get_tensor(key) for reader in readers))


def test_a_run_that_was_stopped_ends_as_one_that_was_not(resumed):
    assert read(resumed / "codes.json") == [0, 0, 130, 0]
    assert_same_run(resumed / "stopped", resumed / "whole")
    assert read(resumed / "whole" / "result.json")["false_negatives"]["gate_epoch"] is not None


def stopped_by(number, cwd, num_lines):
    """Starts the run, sends a signal once there are so many evaluations; returns the process."""
    run_on = command("--workdir=w", *PLANTED, *TINY, *LIGHT, "--config.training.num_epochs=400")
    path, end = Path(cwd) / "w" / "metrics.jsonl", time.monotonic() + 200
    with forks([run_on], [environment()], cwd=Path(cwd)) as (process,):
        while process.poll() is None and time.monotonic() < end:
            if path.exists() and len(path.read_text().splitlines()) >= num_lines:
                process.send_signal(number)
                break
            time.sleep(0.01)
        out, err = process.communicate(timeout=100)
    return process.returncode, out, err


def test_signals_stop_with_a_checkpoint_and_the_command_goes_on(tmp_path, capfd):
    step = 0
    for number, code, more in ((signal.SIGINT, 130, 2), (signal.SIGTERM, 143, 3)):
        num_lines = len(metric_lines("w")) + more if step else more
        got, out, err = stopped_by(number, tmp_path, num_lines)
        assert (got, err) == (code, "")
        assert "checkpoint written. The same command resumes it." in out
        assert (f"resuming from step-{step:08d}" in out) == (step > 0)
        newest = sorted((tmp_path / "w" / "checkpoints").glob("step-*"))[-1]
        before, step = step, int(newest.name.removeprefix("step-"))
        assert step > before
        assert f"stopped at step {step:,}" in out
        steps = [line["step"] for line in metric_lines("w")]
        assert steps == list(range(STEPS, step + 1, STEPS))
    assert not Path("w/result.json").exists()
