"""--mode=compare: from arms and seeds to one report; gone on with, stopped, refused."""

import fcntl
import json
import re
import shutil
import signal
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.helpers.runs import (
    LIGHT,
    PLANTED,
    TINY,
    command,
    contents,
    environment,
    metric_lines,
    read,
    rename_back,
    run,
)
from tests.processes.forks import forks
from ufnrec_tf.comparison import compare as comparison
from ufnrec_tf.runs.child_process import Ended
from ufnrec_tf.runs.run_files import renew_hashes
from ufnrec_tf.training import finish

pytestmark = pytest.mark.usefixtures("eagerly")

ARMS = ("base", "late:memory.policy=ufnrec,memory.patience=0,teacher.agreement=none")
SETTINGS = (
    *PLANTED,
    *TINY,
    *LIGHT,
    "--config.training.num_epochs=3",
    "--config.evaluation.every=1",
    "--config.comparison.seeds=0,1",
    f"--config.comparison.arms={','.join(ARMS)}",
    "--config.comparison.resamples=300",
    "--config.comparison.baselines=popularity,markov",
)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def compare(*arguments, workdir="w"):
    return run("--mode=compare", f"--workdir={workdir}", *SETTINGS, *arguments)


class InThisProcess:
    """Stands for `run_child`: the same command line, without a start of TensorFlow each time."""

    def __init__(self):
        self.started = []

    def __call__(self, arguments, log_path, *, show=None):
        self.started.append(arguments[-1].removeprefix("--config.comparison.run="))
        code = run(*arguments)
        log_path.write_text("", encoding="utf-8")
        return Ended(code, "", 1.0)


@pytest.fixture
def children(monkeypatch):
    stand_in = InThisProcess()
    monkeypatch.setattr(comparison, "run_child", stand_in)
    monkeypatch.setattr(finish, "export", lambda *_: None)  # longer than the steps, and not read
    return stand_in


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A finished comparison, what it trained in which order; copy the folder to change it."""
    workdir = tmp_path_factory.mktemp("compared") / "w"
    with pytest.MonkeyPatch.context() as patch:
        stand_in = InThisProcess()
        patch.setattr(comparison, "run_child", stand_in)
        asked, export = [], finish.export

        def export_first(*arguments):  # the others would take as long as their steps
            asked.append(arguments)
            return export(*arguments) if len(asked) == 1 else None

        patch.setattr(finish, "export", export_first)
        assert compare(workdir=workdir) == 0
    assert len(asked) == 4
    assert stand_in.started == ["base/0", "late/0", "base/1", "late/1"]  # seed by seed
    return workdir


@pytest.fixture
def workdir(compared):
    shutil.copytree(compared, "w")
    return Path("w")


# A finished comparison.


@pytest.mark.slow
def test_each_run_is_an_ordinary_work_directory(compared):
    for arm in ("base", "late"):
        for seed in (0, 1):
            path = compared / "runs" / arm / f"seed_{seed}"
            record, result = read(path / "config.json"), read(path / "result.json")
            assert (record["seed"], result["seed"]) == (seed, seed)
            assert record["config"]["memory"]["policy"] == ("plain" if arm == "base" else "ufnrec")
            assert record["config"]["memory"]["patience"] == (1 if arm == "base" else 0)
            for name in ("metrics.jsonl", "ranks.parquet", "ranks_validation.parquet"):
                assert (path / name).is_file()
            assert (path / "export" / "1").is_dir() == (path == compared / "runs/base/seed_0")
            assert set(result["beyond_accuracy"]) == {
                "coverage",
                "gini",
                "novelty",
                "list_length",
            }
            for part, name in (("validation", "ranks_validation"), ("test", "ranks")):
                ranks = pd.read_parquet(path / f"{name}.parquet")["rank"]
                assert (1 / ranks).mean() == pytest.approx(result[part]["mrr"])


@pytest.mark.slow
def test_evaluations_say_what_was_flipped_so_far(compared):
    path = compared / "runs" / "late" / "seed_0"
    lines, result = metric_lines(path), read(path / "result.json")
    flips = [line["flips"] for line in lines]
    assert flips == sorted(flips)
    assert flips[-1] == result["totals"]["flips"] > 0
    assert lines[-1]["positions"] == result["totals"]["positions"] > 0


@pytest.mark.slow
def test_numbers_are_those_of_the_runs(compared):
    summary = read(compared / "comparison.json")
    assert summary["reference"] == "base"
    assert summary["seeds"] == [0, 1]
    assert summary["missing"] == []
    base, late = summary["arms"]
    assert late["overrides"] == {
        "memory.policy": "ufnrec",
        "memory.patience": 0,
        "teacher.agreement": "none",
    }
    gains = {}
    for row in (base, late):
        own = [compared / "runs" / row["name"] / f"seed_{seed}" for seed in (0, 1)]
        tests = [read(path / "result.json")["test"]["ndcg@10"] for path in own]
        assert row["mean"]["ndcg@10"] == pytest.approx(np.mean(tests))
        assert row["sd"]["ndcg@10"] == pytest.approx(abs(tests[0] - tests[1]) / np.sqrt(2))
        ranks = np.stack([pd.read_parquet(path / "ranks.parquet")["rank"] for path in own])
        gains[row["name"]] = np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0.0)
    assert base["difference"] is None
    found = late["difference"]["ndcg@10"]
    moved = (gains["late"] - gains["base"]).mean(axis=0)
    assert found["absolute"]["estimate"] == pytest.approx(moved.mean())
    assert found["relative"]["estimate"] == pytest.approx(moved.mean() / gains["base"].mean())
    assert found["absolute"]["low"] <= moved.mean() <= found["absolute"]["high"]
    assert moved.any()
    assert found["effect_size"] == pytest.approx(moved.mean() / moved.std(ddof=1))
    assert found["p"] == found["p_holm"]  # one arm alone
    assert (found["users"], found["seeds"]) == (60, [0, 1])
    assert summary["data"]["sha256"] == read(own[0] / "result.json")["data"]["sha256"]
    assert summary["protocol"]["candidates"] == 40
    baselines = {row["name"]: row["mean"] for row in summary["baselines"]}
    assert list(baselines) == ["Popularity", "Last-item Markov"]
    against = late["against_baseline"]
    assert against["test"]["baseline"] == pytest.approx(baselines[against["label"]]["ndcg@10"])
    assert against["test"]["run"] == pytest.approx(late["mean"]["ndcg@10"])
    for part in summary["slices"]:
        assert set(part["arms"]) == {"base", "late"}
    for family in {part["family"] for part in summary["slices"]}:
        users = [part["users"] for part in summary["slices"] if part["family"] == family]
        assert sum(users) == 60


class Cells(HTMLParser):
    """The texts of a page's table cells, whether tags are closed, and what it would fetch."""

    def __init__(self):
        super().__init__()
        self.open, self.cells, self.fetched = [], [], []

    def handle_starttag(self, tag, attrs):
        self.fetched += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "br"):
            self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "td" in self.open:
            self.cells[-1] += data


def page_of(workdir):
    parser = Cells()
    text = (workdir / "report.html").read_text(encoding="utf-8")
    parser.feed(text)
    assert parser.open == []
    assert parser.fetched == []
    assert "@import" not in text and "url(" not in text
    return text, parser.cells


@pytest.mark.slow
def test_the_report_is_one_page_with_everything_in_it(compared):
    summary = read(compared / "comparison.json")
    text, cells = page_of(compared)
    assert summary["verdict"] in text
    assert summary["data"]["sha256"][:12] in text
    means = [f"{row['mean']['ndcg@10']:.4f}".removeprefix("0") for row in summary["arms"]]
    for mean in means:
        assert any(cell.startswith(mean) for cell in cells)
    for words in ("on validation", "history length", "coverage", "Every run", "planted"):
        assert words in text
    assert text.count('class="mark"') == 3  # one arm, three metrics
    markdown = (compared / "comparison.md").read_text(encoding="utf-8")
    for words in (summary["verdict"], summary["baseline_verdict"]):
        assert words in markdown and words in text
    assert "| Popularity " in markdown and "Popularity" in cells
    frame = pd.read_csv(compared / "comparison.csv")
    assert len(frame) == 3 * (2 + 2)  # metrics x baselines and arms
    assert (compared / "comparison.tex").read_text(encoding="utf-8").count(r"\midrule") == 2
    for mean in means:
        assert f" {mean} ± " in markdown


@pytest.mark.slow
def test_the_page_is_made_again_from_what_was_found(compared, tmp_path, capfd):
    shutil.copytree(compared, tmp_path / "w")
    text, _ = page_of(compared)
    (tmp_path / "w" / "report.html").unlink()
    assert run("--mode=report", f"--workdir={tmp_path / 'w'}") == 0
    assert page_of(tmp_path / "w")[0] == text
    assert "default-src 'none'" in text
    (tmp_path / "w" / "comparison.json").unlink()
    assert run("--mode=report", f"--workdir={tmp_path / 'w'}") == 1
    assert "of which no seed has finished" in capfd.readouterr().err


# The same command again.


@pytest.mark.slow
def test_what_is_done_is_not_done_again(workdir, children, capfd):
    shutil.rmtree(workdir / "runs" / "late" / "seed_0")
    before = contents(workdir / "runs")
    assert compare() == 0
    assert children.started == ["late/0"]
    screen = capfd.readouterr().out
    assert "3 of 4 runs are done" in screen
    assert screen.count("late, seed 0:") == 1
    assert re.search(r"^base +\.\d{4} ", screen, re.MULTILINE)
    after = contents(workdir / "runs")
    assert {name: after[name] for name in before} == before
    assert not read(workdir / "comparison.json")["missing"]


@pytest.mark.slow
def test_arms_and_seeds_may_be_added(workdir, children):
    more = "--config.comparison.arms=base,ema," + ARMS[1]
    assert compare(more, "--config.comparison.seeds=1,0") == 0
    assert children.started == ["ema/1", "ema/0"]
    summary = read(workdir / "comparison.json")
    assert [row["name"] for row in summary["arms"]] == ["base", "ema", "late"]
    assert summary["arms"][1]["difference"]["ndcg@10"]["seeds"] == [0, 1]


@pytest.mark.slow
def test_missing_runs_are_blank_and_named(workdir, monkeypatch, capfd):
    shutil.rmtree(workdir / "runs" / "late")

    def fail(arguments, log_path, *, show=None):
        return Ended(1, "error: the disk is full", 1.0)

    monkeypatch.setattr(comparison, "run_child", fail)
    assert compare() == 1
    error = capfd.readouterr().err
    assert error.startswith("error: 2 of 4 runs failed, first late, seed 0 (the disk is full).")
    assert error.count("\n") == 1
    summary = read(workdir / "comparison.json")
    assert [(gap["arm"], gap["seed"]) for gap in summary["missing"]] == [("late", 0), ("late", 1)]
    assert summary["missing"][0]["why"] == "failed: the disk is full"
    assert summary["arms"][1]["mean"] is None
    row = next(
        line
        for line in (workdir / "comparison.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| late")
    )
    assert set(row.removeprefix("| late").replace("|", "")) == {" "}
    text, _ = page_of(workdir)
    assert "Runs missing: 2" in text
    assert "Not compared yet: late" in text


@pytest.mark.slow
def test_a_seed_less_is_paired_without_it(workdir, monkeypatch):
    shutil.rmtree(workdir / "runs" / "base" / "seed_1")
    monkeypatch.setattr(comparison, "run_child", lambda *a, **k: Ended(1, "error: no", 1.0))
    assert compare() == 1
    late = read(workdir / "comparison.json")["arms"][1]
    assert [row["seed"] for row in late["runs"]] == [0, 1]
    assert late["difference"]["ndcg@10"]["seeds"] == [0]


@pytest.mark.slow
def test_a_run_that_another_process_holds_is_come_back_to(workdir, children, monkeypatch, capfd):
    for seed in (0, 1):
        shutil.rmtree(workdir / "runs" / "late" / f"seed_{seed}")
    held = workdir / "runs" / "base" / "seed_0"
    (held / "result.json").rename("kept.json")
    lock = (held / ".lock").open("a")
    fcntl.flock(lock, fcntl.LOCK_EX)

    def let_go(seconds):
        assert children.started == ["late/0", "late/1"]  # what is free goes first
        Path("kept.json").rename(held / "result.json")
        lock.close()

    monkeypatch.setattr(comparison, "sleep", let_go)
    assert compare() == 0
    assert children.started == ["late/0", "late/1"]
    assert "waiting for base/0, in other processes" in capfd.readouterr().out
    assert not read(workdir / "comparison.json")["missing"]


@pytest.mark.slow
def test_a_hopeless_arm_gets_no_further_seeds(workdir, children, monkeypatch):
    shutil.rmtree(workdir / "runs" / "late" / "seed_1")
    asked = []

    def judge(runs, arm, reference, *, metric, margin, chosen):
        asked.append((sorted(runs), arm, reference, metric, margin))
        return True

    monkeypatch.setattr(comparison, "is_hopeless", judge)
    assert compare() == 0  # never, by default
    assert (children.started, asked) == (["late/1"], [])
    shutil.rmtree(workdir / "runs" / "late" / "seed_1")
    assert compare("--config.comparison.stop_hopeless=0.05") == 0
    assert children.started == ["late/1"]
    assert asked[0] == ([("base", 0), ("late", 0)], "late", "base", "ndcg@10", 0.05)
    (gap,) = read(workdir / "comparison.json")["missing"]
    assert gap == {"arm": "late", "seed": 1, "why": "not run: by the stopping rule, after seed 0"}
    assert "5.0%" in (workdir / "comparison.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_one_run_alone(children, capfd):
    assert compare("--config.comparison.run=late/1") == 0
    assert children.started == []
    assert Path("w/runs/late/seed_1/result.json").exists()
    assert not Path("w/comparison.json").exists()
    assert sorted(path.name for path in Path("w/runs").iterdir()) == ["late"]


@pytest.mark.slow
def test_a_comparison_of_earlier_names_is_gone_on_with(workdir, children):
    for path in (workdir, *(workdir / "runs" / "base").iterdir()):
        if '"plain"' in (path / "config.json").read_text(encoding="utf-8"):
            rename_back(path)
    assert read(workdir / "runs/base/seed_0/config.json")["config"]["memory"]["policy"] == "keep"
    shutil.rmtree(workdir / "runs" / "base" / "seed_1")
    assert compare() == 0
    assert children.started == ["base/1"]
    new = read(workdir / "runs/base/seed_1/config.json")
    assert new["config"]["memory"]["policy"] == "plain"


# What is refused, before anything is made.


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--config.comparison.arms=base"], 1, ["at least two arms", "has 1"]),
        (["--config.comparison.arms=base,bse"], 1, ["'bse'", "'base'"]),
        (["--config.comparison.arms=base,x:memory.polcy=plain"], 2, ["'x'", "memory.policy"]),
        (["--config.comparison.arms=base,x:memory.policy=plan"], 1, ["'x'", "'plan'", "'plain'"]),
        (["--config.comparison.arms=base,x:backbone.num_heads=3"], 1, ["'x'", "divide"]),
        (["--config.comparison.reference=bace"], 1, ["comparison.reference", "'base'"]),
        (["--config.comparison.seeds=0,0"], 1, ["comparison.seeds", "0,0"]),
        (["--config.comparison.seeds=0,-1"], 1, ["comparison.seeds", "-1"]),
        (["--config.comparison.seeds=one"], 1, ["comparison.seeds", "'one'"]),
        (["--config.comparison.seeds="], 1, ["comparison.seeds", "none"]),
        (["--config.comparison.run=base/7"], 1, ["comparison.run", "base/0", "'base/7'"]),
        (["--seed=3"], 1, ["--seed", "--config.comparison.seeds=3"]),
    ],
)
def test_a_bad_setting(arguments, code, words, capfd):
    assert compare(*arguments) == code
    error = capfd.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    for word in words:
        assert word in error
    assert not Path("w").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config.training.num_epochs=4"], ["training.num_epochs 3", "4"]),
        (["--config.evaluation.mask=none"], ["evaluation.mask 'seen'", "'none'"]),
        (["--config.data.planted_seed=1"], ["data of sha256"]),
        (
            ["--config.comparison.arms=base,late:memory.policy=ufnrec,memory.patience=3"],
            ["late/seed_0", "memory.patience 0", "3"],
        ),
    ],
)
def test_another_comparison_in_the_same_place(workdir, arguments, words, capfd):
    before = contents(workdir)
    assert compare(*arguments) == 1
    error = capfd.readouterr().err
    for word in (*words, "Give another --workdir"):
        assert word in error
    assert contents(workdir) == before


@pytest.mark.slow
def test_ranks_of_other_users(workdir, capfd):
    path = workdir / "runs" / "base" / "seed_0" / "ranks.parquet"
    pd.read_parquet(path).iloc[::-1].to_parquet(path, index=False)
    assert compare() == 1
    assert "seed_0/ranks.parquet: is not what was written" in capfd.readouterr().err
    renew_hashes(path.parent, "ranks.parquet")
    assert compare() == 1
    error = capfd.readouterr().err
    assert "seed_0/ranks.parquet: has other users" in error and error.count("\n") == 1


# In processes of its own.


@pytest.mark.slow
def test_ctrl_c_reaches_the_run_and_the_command_goes_on(tmp_path):
    arguments = command(
        "--mode=compare",
        "--workdir=w",
        *SETTINGS,
        "--config.training.num_epochs=2000",
        "--config.training.patience=0",
    )
    first, end = tmp_path / "w" / "runs" / "base" / "seed_0", time.monotonic() + 200
    with forks([arguments], [environment()], cwd=tmp_path) as (process,):
        while process.poll() is None and time.monotonic() < end:
            if (first / "metrics.jsonl").exists():
                process.send_signal(signal.SIGINT)
                break
            time.sleep(0.05)
        out, err = process.communicate(timeout=100)
    assert (process.returncode, err) == (130, "")
    assert "The same command trains the rest" in out
    (checkpoint,) = (first / "checkpoints").glob("step-*")
    step = int(checkpoint.name.removeprefix("step-"))
    assert f"stopped at step {step:,}" in (first / "log.txt").read_text(encoding="utf-8")
    assert not (first / "result.json").exists()
    gaps = json.loads((tmp_path / "w" / "comparison.json").read_text(encoding="utf-8"))["missing"]
    assert [gap["why"] for gap in gaps] == ["not trained yet"] * 4
    assert re.search("Runs missing: 4", page_of(tmp_path / "w")[0])
