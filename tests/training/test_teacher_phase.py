"""The teacher's phase of a run, end to end: what it leaves, shares, refuses and goes on with."""

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.runs import LIGHT, contents, metric_lines, read, train
from tests.helpers.tiny import split_of, tiny_histories
from ufnrec_tf.common.distribution import ALONE
from ufnrec_tf.config import load_config
from ufnrec_tf.data.windows import make_samples, place
from ufnrec_tf.method.soft_labels import ITEMS_FILE, SHARES_FILE
from ufnrec_tf.training import teacher_phase
from ufnrec_tf.training.loop import TrainingLoop
from ufnrec_tf.training.teacher_phase import has_stored_labels

SOFT = (
    *LIGHT,
    "--config.memory.policy=ufnrec_soft",
    "--config.training.num_epochs=1",
    "--config.teacher.num_epochs=2",
    "--config.teacher.left_out=0.2",
)
pytestmark = pytest.mark.usefixtures("eagerly", "without_export")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """The work directory of a run with a teacher of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ufnrec_tf.training.finish.export", lambda *_: None)
        workdir = tmp_path_factory.mktemp("taught") / "run"
        assert train(workdir, *SOFT) == 0
    return workdir


def labels_of(folder):
    (labels,) = Path(folder).glob("labels-*")
    return [(labels / name).read_bytes() for name in (ITEMS_FILE, SHARES_FILE)]


@pytest.mark.slow
def test_what_a_run_leaves_of_its_teacher(taught):
    found = read(taught / "result.json")["teacher"]
    assert found["kind"] == "hindsight" and found["epochs"] == 2 and found["steps"] == 8
    assert found["identity"]["teacher.num_epochs"] == 2
    assert found["identity"]["loss.name"] == "sampled_softmax_logq"
    assert set(found["left_out"]) == {
        *("transitions", "temperature", "ndcg@10", "hr@10", "nll", "entropy"),
    }
    lines = metric_lines(taught / "teacher")
    assert [line["epoch"] for line in lines] == [1, 2]
    assert {line["weights"] for line in lines} == {"teacher"}
    assert {line["split"] for line in lines} == {"left_out"}
    assert lines[found["selected_epoch"] - 1]["ndcg@10"] == found["left_out"]["ndcg@10"]
    labels = found["labels"]
    assert labels["num_labels"] == 40  # all items
    assert labels["rows"] * 40 * 4 == len(labels_of(taught / "teacher")[0])
    shares = np.frombuffer(labels_of(taught / "teacher")[1], "<f4").reshape(-1, 40)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
    assert 0 < labels["share_outranked"] <= 1 and labels["median_outranking"] > 0
    assert list((taught / "tensorboard/teacher/curves").glob("events*"))
    assert not (taught / "teacher/config.json").exists()


@pytest.mark.slow
def test_runs_share_a_teacher(taught, capfd):
    """The second run, of another network and another seed, trains none; a third one may not."""
    shared = "--config.teacher.folder=shared"
    shutil.copytree(taught / "teacher", "shared")
    before = contents("shared")
    common = (*SOFT, shared, "--config.teacher.seed=0", "--seed=7")
    assert train("second", *common, "--config.backbone.name=gru4rec") == 0
    assert contents("shared") == before
    found = [read(path / "result.json")["teacher"] for path in (taught, Path("second"))]
    assert found[0].pop("folder") != found[1].pop("folder")
    assert found[0] == found[1]
    assert not Path("second/teacher").exists()
    assert train("third", *common, "--config.training.windows=all") == 1
    err = capfd.readouterr().err
    assert "shared: has a teacher that was trained with training.windows 'last', now 'all'" in err
    assert train("third", *common, "--config.teacher.folds=2") == 1
    err = capfd.readouterr().err
    assert "shared: has a teacher that was trained with teacher.folds 1, now 2. Give ano" in err
    assert train("third", *SOFT, shared, "--seed=7") == 1
    err = capfd.readouterr().err
    assert "with seed 0, now 7. Set --config.teacher.seed=0 to share it, or give another" in err
    assert err.count("\n") == 1
    assert contents("shared") == before
    # Other labels of the same teacher stand beside them.
    assert train("fourth", *common, "--config.teacher.num_labels=3") == 0
    assert len(list(Path("shared").glob("labels-*"))) == 2
    assert contents("shared").items() > before.items()


@pytest.mark.slow
def test_finished_runs_are_teachers(taught, trained, capfd):
    by_runs = (*SOFT, "--config.teacher.kind=runs", "--config.teacher.labels=alike")
    assert train("run", *by_runs, f"--config.teacher.runs={taught},{trained}") == 0
    found = read("run/result.json")["teacher"]
    assert found["kind"] == "runs" and len(found["identity"]["runs"]) == 2
    assert found["labels"]["source"] == "alike" and found["labels"]["labelled"] > 0
    assert train("other", *by_runs, f"--config.teacher.runs={trained}/teacher") == 1
    assert "is not the work directory of a finished run" in capfd.readouterr().err
    other = ("--config.split.name=user_holdout", f"--config.teacher.runs={trained}")
    assert train("other", *by_runs, *other) == 1
    err = capfd.readouterr().err
    assert "was trained with split.name 'leave_one_out', this run with 'user_holdout'" in err
    assert err.count("\n") == 1


@pytest.mark.slow
def test_a_teacher_that_was_stopped_goes_on(taught, monkeypatch):
    original = TrainingLoop.on_train_batch_end

    def on_train_batch_end(loop, batch, logs=None):
        if loop.progress.step == 5:
            monkeypatch.setattr(TrainingLoop, "on_train_batch_end", original)
            os.kill(os.getpid(), signal.SIGTERM)
        original(loop, batch, logs)

    monkeypatch.setattr(TrainingLoop, "on_train_batch_end", on_train_batch_end)
    settings = (*SOFT, "--config.training.finish=false")
    assert train("w", *settings) == 143
    assert [path.name for path in Path("w/teacher/checkpoints").glob("step-*")] == ["step-00000006"]
    assert not Path("w/config.json").exists()  # its student has not begun
    assert train("w", *settings) == 0
    assert metric_lines("w/teacher") == metric_lines(taught / "teacher")
    assert labels_of("w/teacher") == labels_of(taught / "teacher")
    assert metric_lines("w") == metric_lines(taught)


@pytest.mark.slow
def test_labels_in_folds_are_of_teachers_that_have_not_learned_them(taught, monkeypatch):
    """Stopped in the second fold, it goes on there; the first is not trained again."""
    original = TrainingLoop.on_train_batch_end

    def on_train_batch_end(loop, batch, logs=None):
        if loop.store.folder.parent.name == "fold_2_of_2" and loop.progress.step == 1:
            monkeypatch.setattr(TrainingLoop, "on_train_batch_end", original)
            os.kill(os.getpid(), signal.SIGTERM)
        original(loop, batch, logs)

    monkeypatch.setattr(TrainingLoop, "on_train_batch_end", on_train_batch_end)
    short = ("--config.teacher.num_epochs=1", "--config.training.max_steps=1")
    settings = (*SOFT, *short, "--config.teacher.folds=2", "--config.training.finish=false")
    assert train("w", *settings) == 143
    first = contents("w/teacher/fold_1_of_2")
    assert train("w", *settings) == 0
    assert contents("w/teacher/fold_1_of_2") == first
    found = read("w/teacher/teacher.json")
    folds = found["result"]["folds"]
    assert [fold["steps"] for fold in folds] == [4, 4] and found["result"]["steps"] == 8
    # All transitions are judged, each by the teacher that has not learned it.
    counts = [fold["left_out"]["transitions"] for fold in folds]
    assert found["result"]["left_out"]["transitions"] == sum(counts)
    rows = read(taught / "result.json")["teacher"]["labels"]["rows"]
    assert sum(counts) == rows > counts[0] > rows / 3
    mean = np.average([fold["left_out"]["nll"] for fold in folds], weights=counts)
    assert found["result"]["left_out"]["nll"] == pytest.approx(mean)
    assert labels_of("w/teacher") != labels_of(taught / "teacher")


class OneOfTwo:
    """A worker of two that hears nothing of the other."""

    count = 2

    def __init__(self, index):
        self.index = index

    def sum(self, values):
        return values

    def any(self, is_so):
        return is_so


@pytest.mark.parametrize("windows", ["last", "prefixes"])
def test_each_worker_makes_the_labels_of_its_own_rows(windows):
    config = load_config(
        "",
        [
            ("memory.policy", "ufnrec_soft"),
            ("teacher.labels", "later"),
            ("teacher.num_labels", "4"),
            ("backbone.max_length", "3"),
            ("training.windows", windows),
        ],
    )
    assert has_stored_labels(config)
    split = split_of(tiny_histories(num_users=30), 15)
    teacher = teacher_phase._Teacher({"who": "nobody"}, {}, list)
    found: list[dict[int, list[int]]] = []
    several: list[Any] = [ALONE, OneOfTwo(0), OneOfTwo(1)]
    for workers in several:
        folder, facts = teacher_phase._make_labels(config, split, teacher, Path(), 0, workers)
        items = np.fromfile(folder / ITEMS_FILE, "<i4").reshape(-1, 4)
        assert len(items) == facts["rows"]
        samples = make_samples(split, max_length=3, windows=windows)
        placement = place(
            samples.users,
            samples.first_rows,
            samples.users_of_rows(),
            split.interactions.user_ids,
            worker=workers.index,
            num_workers=workers.count,
        )
        assert placement.num_rows == len(items) > 5
        # By window, as a batch of the worker names the rows.
        own = np.arange(len(samples.users))
        if placement.is_own is not None:
            own = own[placement.is_own]
        newest = [placement.first_rows[w] + samples.lengths[w] - 1 for w in own]
        found.append({int(w): items[row].tolist() for w, row in zip(own, newest, strict=True)})
    assert not set(found[1]) & set(found[2])
    assert found[1] | found[2] == found[0]
