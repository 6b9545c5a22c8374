"""A comparison of soft labels: one teacher for all students, and what it is seen to have found."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.helpers.runs import PLANTED, TINY, read, run
from ufnrec_tf.evaluation.teacher_words import teacher_lines
from ufnrec_tf.method.soft_labels import ITEMS_FILE
from ufnrec_tf.training.shown_results import show_finished

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("eagerly")]

SETTINGS = (
    *PLANTED,
    *TINY,
    "--config.backbone.num_blocks=0",
    "--config.memory.policy=plain",
    "--config.teacher.always=true",
    "--config.teacher.num_epochs=2",
    "--config.teacher.num_labels=8",
    "--config.training.num_epochs=1",
    "--config.evaluation.every=1",
    "--config.comparison.sample_users=3",
    "--config.comparison.resamples=100",
    "--config.comparison.seeds=0,1",
    "--config.comparison.arms=plain,hindsight:memory.policy=ufnrec_soft,"
    "alike:memory.policy=ufnrec_soft,teacher.labels=alike,"
    "longer:memory.policy=ufnrec_soft,teacher.num_epochs=1",
)
TRAINED = ("plain/0", "hindsight/0", "hindsight/1", "alike/0", "longer/0")


def compare(workdir, *arguments):
    return run("--mode=compare", f"--workdir={workdir}", *SETTINGS, *arguments)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """The directory of a comparison in which some runs have finished."""
    workdir = tmp_path_factory.mktemp("taught") / "w"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ufnrec_tf.training.finish.export", lambda *_: None)
        for name in TRAINED:
            assert compare(workdir, f"--config.comparison.run={name}") == 0
    return workdir


@pytest.fixture
def summary(compared, tmp_path, monkeypatch, capsys):
    """comparison.json of these runs, and what the screen had; no run is trained for it."""
    monkeypatch.setattr("ufnrec_tf.comparison.compare.Comparison._train_missing", lambda _: None)
    shutil.copytree(compared, tmp_path / "w")
    assert compare(tmp_path / "w") == 0
    return read(tmp_path / "w/comparison.json"), capsys.readouterr().out, tmp_path / "w"


def result_of(workdir, name):
    arm, seed = name.split("/")
    return read(workdir / "runs" / arm / f"seed_{seed}" / "result.json")


def test_a_teacher_is_made_once(compared):
    folders = {name: result_of(compared, name)["teacher"]["folder"] for name in TRAINED[1:]}
    assert {Path(folder).parent for folder in folders.values()} == {compared / "teachers"}
    assert folders["hindsight/0"] == folders["hindsight/1"] == folders["alike/0"]
    assert folders["longer/0"] != folders["hindsight/0"]
    assert len(list((compared / "teachers").iterdir())) == 2
    shared = Path(folders["hindsight/0"])
    assert read(shared / "teacher.json")["seed"] == 0
    assert len(list(shared.glob("labels-*"))) == 2  # its own, and the control's
    # Wherever it lies, a run is the same one.
    record = read(compared / "runs/hindsight/seed_1/config.json")
    assert "teacher.folder" not in record["identity"] and record["identity"]["teacher.seed"] == 0


def test_labelled_pairs_are_judged_as_suspects_are(compared):
    path = compared / "runs/hindsight/seed_0"
    result = read(path / "result.json")
    found = result["false_negatives"]
    assert found["ripe_pairs"] == found["future"]["num_flagged"] > 50
    assert found["detection"]["num_flagged"] <= found["ripe_pairs"]
    assert 0 < found["detection"]["precision"] < 1 and found["is_cut"] is False
    assert found["future"]["scored_by"] == "the reported weights"
    assert sum(row["users"] for row in found["most_flagged"]) <= found["ripe_pairs"]
    lifts = pd.read_parquet(path / "future_lift.parquet")
    assert set(lifts["match"]) == {"matched_on_popularity", "matched_on_popularity_and_score"}
    assert len(found["examples"]) == 3
    for example in found["examples"]:
        shares = [item["share"] for item in example["expected"]]
        assert shares == sorted(shares, reverse=True) and example["observed"]
        assert example["expected"][0]["item"] != example["observed"]
    # The same pairs in the other seed, which has the same labels.
    other = result_of(compared, "hindsight/1")["false_negatives"]
    assert other["ripe_pairs"] == found["ripe_pairs"]
    assert other["most_flagged"] == found["most_flagged"]
    assert "found_by" not in result_of(compared, "plain/0")["false_negatives"]
    (labels,) = {
        folder
        for folder in Path(result["teacher"]["folder"]).glob("labels-*")
        if read(folder / "labels.json")["source"] == "teacher"
    }
    assert len(np.fromfile(labels / ITEMS_FILE, "<i4")) == 8 * result["teacher"]["labels"]["rows"]


def test_the_screen_and_tensorboard_say_what_the_teacher_found(compared, capsys):
    from ufnrec_tf.common.display import Display

    path = compared / "runs/hindsight/seed_0"
    show_finished(path, Display())
    text = capsys.readouterr().out
    result = read(path / "result.json")
    assert "What the teacher found" in text and "SASRec+hindsight" in text
    for line in teacher_lines(result["teacher"]):
        assert line in text
    assert f"put {result['false_negatives']['ripe_pairs']:,} pairs (user, item) above" in text
    assert "Planted false negatives: pairs above the observed item" in text
    cards = {}
    board = EventAccumulator(str(path / "tensorboard" / "test"))
    board.Reload()
    for tag in ("run/false_negatives", "run/teacher"):
        cards[tag] = tf.make_ndarray(board.Tensors(tag)[0].tensor_proto).item().decode()
    assert "labels put above the observed item, of" in cards["run/false_negatives"]
    assert cards["run/false_negatives"].count("- expected by the teacher: ") == 3
    assert cards["run/teacher"].startswith("- hindsight, seed 0: 2 epochs")


def test_a_comparison_counts_a_teacher_once(summary):
    document, screen, workdir = summary
    screen = " ".join(screen.split())
    rows = {row["name"]: row for row in document["arms"]}
    assert rows["plain"]["teacher"] is None and rows["hindsight"]["teacher"]["students"] == 2
    assert rows["hindsight"]["lifts"]["matched_on_popularity"]["runs"] == 2
    assert "Teacher of hindsight, alike: " in screen and "made once for 3 runs" in screen
    assert "Teacher of longer: " in screen
    assert "alike: the teacher's labels put " in screen
    page = (workdir / "report.html").read_text(encoding="utf-8")
    assert page.count("<h2>What the teacher found</h2>") == 1
    assert "Are the suspects false negatives?" not in page
    assert "expected by the teacher: " in page and "most often above, longer" in page
    assert page.count("<td>hindsight, seed 0</td>") == 4  # two arms, in two tables
    text = (workdir / "comparison.md").read_text(encoding="utf-8")
    assert "## What the teachers know" in text and "- alike: random items as popular as" in text
    # Of a version that knew no teachers.
    for row in document["arms"]:
        del row["teacher"]
    from ufnrec_tf.report.comparison_page import page as write_page

    assert "What the teacher found" not in write_page(json.loads(json.dumps(document)))


def test_the_page_of_a_run_shows_its_teacher(compared, tmp_path):
    page = tmp_path / "page.html"
    assert (
        run("--mode=report", f"--workdir={compared}/runs/hindsight/seed_0", f"--output={page}") == 0
    )
    text = page.read_text(encoding="utf-8")
    assert "<h2>What the teacher found</h2>" in text and "expected by the teacher: " in text


def test_a_teacher_that_moves_is_no_other_run(compared, capfd):
    shutil.copytree(compared / "teachers", compared.parent / "elsewhere")
    moved = f"--config.teacher.folder={compared.parent}/elsewhere"
    assert compare(compared, moved, "--config.comparison.run=hindsight/0") == 0
    assert "This run is done" in capfd.readouterr().out
