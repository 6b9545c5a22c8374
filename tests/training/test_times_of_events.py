"""Runs that read the times of events, from the log to the answer."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.runs import PLANTED, metric_lines, read, run, train
from ufnrec_tf.backbones.hindsight import Hindsight
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.config import default_config, option_table
from ufnrec_tf.data.batches import make_dataset
from ufnrec_tf.data.splits import leave_one_out
from ufnrec_tf.data.windows import make_samples
from ufnrec_tf.evaluation.evaluator import RankingEvaluator
from ufnrec_tf.evaluation.suspects import newest_vectors
from ufnrec_tf.method.positions import choose_rows, pack_batch
from ufnrec_tf.reading.sources import load
from ufnrec_tf.recommend.recommender import Recommender
from ufnrec_tf.serving.batching import Batcher
from ufnrec_tf.serving.counters import ServerMetrics
from ufnrec_tf.serving.limits import Limits
from ufnrec_tf.serving.models import load_model
from ufnrec_tf.serving.page_api import RecommendationsBody, WhyBody, _recommendations, _why
from ufnrec_tf.serving.service import Service
from ufnrec_tf.teachers.vectors import TransitionVectors
from ufnrec_tf.training.build import make_backbone

pytestmark = pytest.mark.usefixtures("eagerly")

LENGTH = 4


@pytest.fixture(scope="module")
def log_path(tmp_path_factory):
    rng = np.random.default_rng(0)
    lines = ["user,item,timestamp"]
    for user in range(24):
        times = 1_600_000_000 + np.cumsum(rng.integers(1, 10**6, rng.integers(4, 9)))
        lines += [f"u{user},i{rng.integers(15)},{time}" for time in times]
    path = tmp_path_factory.mktemp("times") / "log.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def split(log_path):
    return leave_one_out(load(default_config(option_table()), str(log_path)).interactions)


def backbone_of(split, **settings):
    config = default_config(option_table())
    config.backbone.update({"width": 8, "max_length": LENGTH, "dropout": 0.0, **settings})
    return make_backbone(config, split.interactions.num_items)


@pytest.mark.parametrize("windows", ["last", "prefixes"])
def test_a_batch_has_the_times_of_its_columns_and_of_the_event_after_them(split, windows):
    samples = make_samples(split, max_length=LENGTH, windows=windows)
    dataset = make_dataset(
        split, samples, max_length=LENGTH, batch_size=5, seed=0, num_times=LENGTH + 1
    )
    (batch,) = dataset.take(1)
    log = split.interactions
    for row, user in enumerate(batch["user"].numpy()):
        first = log.offsets[user] + batch["first_position"][row].numpy()
        length = int(batch["length"][row])
        expected = log.timestamps[first : first + length + 1]
        np.testing.assert_array_equal(batch["times"][row, LENGTH - length :], expected)
    positions = pack_batch(batch)
    packed = positions.inputs.packed
    assert packed.times is not None and packed.next_times is not None
    is_next = np.diff(packed.rows, append=-1) == 0
    np.testing.assert_array_equal(packed.next_times[is_next], np.roll(packed.times, -1)[is_next])
    some, place, _ = choose_rows(packed, tf.constant([3, 7], tf.int64))
    np.testing.assert_array_equal(tf.gather(some.times, place), tf.gather(packed.times, [3, 7]))
    np.testing.assert_array_equal(
        tf.gather(some.next_times, place), tf.gather(packed.next_times, [3, 7])
    )


@pytest.mark.parametrize("request_time", [False, True])
def test_training_evaluation_and_labels_encode_the_same_times(split, request_time):
    log = split.interactions
    backbone = backbone_of(split, name="hstu", time="both", request_time=request_time)
    ends = split.history_ends("test")
    windows = np.zeros([len(ends), LENGTH], np.int32)
    times = np.zeros([len(ends), LENGTH + 1], np.int64)
    for row, (user, end) in enumerate(zip(split.users("test"), ends, strict=True)):
        begin = max(end - LENGTH, log.offsets[user])
        windows[row, LENGTH - (end - begin) :] = log.items[begin:end]
        times[row, LENGTH - (end - begin) :] = log.timestamps[begin : end + 1]
    vectors = backbone.encode(
        tf.constant(windows), times=tf.constant(times[:, : backbone.num_times])
    ).numpy()
    scores = vectors @ backbone.item_embeddings().numpy()[1:].T
    targets = split.targets("test")
    own = scores[np.arange(len(ends)), targets - 1][:, None]
    ranks = RankingEvaluator(split, "test", max_length=LENGTH, mask="none").ranks(backbone)
    assert np.abs(ranks - (scores >= own - 1e-6).sum(axis=1)).max() <= 1
    if not request_time:
        newest = newest_vectors(
            backbone, log.items, log.offsets[split.users("test")], ends, log.whole_seconds()
        )
        np.testing.assert_allclose(newest, vectors, atol=1e-6)
    samples = make_samples(split, max_length=LENGTH)
    events = samples.events_of_rows()
    found = TransitionVectors(backbone, split, samples)(events).numpy()
    dataset = make_dataset(
        split,
        samples,
        max_length=LENGTH,
        batch_size=len(samples.users),
        seed=0,
        num_times=backbone.num_times,
    )
    (batch,) = dataset.take(1)
    positions = pack_batch(batch)
    in_batch = backbone.call_packed(positions.inputs.packed).numpy()
    order = np.argsort(positions.rows.numpy())
    np.testing.assert_allclose(found, in_batch[order], atol=1e-6)


def weights_of(workdir):
    """The student's weights of the newest checkpoint."""
    newest = max((workdir / "checkpoints").glob("step-*"))
    reader = tf.train.load_checkpoint(str(newest / "variables"))
    names = [name for name in reader.get_variable_to_shape_map() if name.startswith("student/")]
    return {name: reader.get_tensor(name) for name in names}


def check_reasons(model, history, times):
    """Checks that an item is left out with its time, in Python and on the server's page."""

    def drops_at(times):
        pairs = list(zip(history, times, strict=True))
        rows = [pairs, *([pair for pair in pairs if pair[0] != raw] for raw in history)]
        ids, own = ([[pair[side] for pair in row] for row in rows] for side in (0, 1))
        scores = model.encode(ids, times=own) @ model.item_vectors[place]
        return dict(zip(history, scores[0] - scores[1:], strict=True))

    place = model.items["item_id"].tolist().index("i9")
    found = model.explain(history, "i9", times=times)
    drops = drops_at(times)
    np.testing.assert_allclose(found["drop"], [drops[raw] for raw in found["item"]], atol=1e-5)
    with pytest.raises(UserError, match="without times, which this model reads"):
        model.explain(history, "i9")
    loaded, limits = load_model(model.path), Limits()
    batcher = Batcher(limits, ServerMetrics())
    keeper: Any = SimpleNamespace(current=loaded)
    nothing: Any = None
    service = Service(keeper, batcher, nothing, limits, None, print)
    now = drops_at([int(time.time())] * len(history))
    shown = asyncio.run(_why(service, WhyBody(history=history, item="i9")))["items"]
    np.testing.assert_allclose(
        [row["drop"] for row in shown], [now[row["id"]] for row in shown], atol=1e-5
    )
    asked = RecommendationsBody(history=history, k=3, diversity=0.5)
    assert len(asyncio.run(_recommendations(service, asked))["items"]) == 3
    batcher.close()


@pytest.mark.slow
def test_a_run_resumes_to_the_last_digit_and_answers_with_times(log_path, tmp_path, capsys):
    settings = (
        *("--config.backbone.name=hstu", "--config.backbone.time=both"),
        *("--config.comparison.baselines=", "--config.export.warm_up=none"),
    )
    data = (f"--data={log_path}",)
    three, two = "--config.training.num_epochs=3", "--config.training.num_epochs=2"
    end = ("--config.training.finish=false",)
    assert train(tmp_path / "whole", *settings, three, data=data) == 0
    assert train(tmp_path / "parts", *settings, two, *end, data=data) == 0
    assert train(tmp_path / "parts", *settings, three, *end, data=data) == 0
    whole, parts = (metric_lines(tmp_path / name) for name in ("whole", "parts"))
    assert [line["ndcg@10"] for line in whole[:3]] == [line["ndcg@10"] for line in parts[:3]]
    mine, theirs = (weights_of(tmp_path / name) for name in ("whole", "parts"))
    assert mine.keys() == theirs.keys() and any(value.shape == (64,) for value in mine.values())
    for name, value in mine.items():
        np.testing.assert_array_equal(value, theirs[name])
    assert "request_time" not in read(tmp_path / "whole" / "result.json")["protocol"]
    model = Recommender(tmp_path / "whole" / "export")
    rows, times = [["i3", "i4", "i5"]], [[1_600_000_000, 1_600_000_100, 1_600_900_000]]
    answer = model.recommend(rows, times=times, top_k=3)
    assert len(answer) == 3
    later = [[1_600_000_000, 1_600_800_000, 1_600_900_000]]
    assert not np.allclose(answer["score"], model.recommend(rows, times=later, top_k=3)["score"])
    check_reasons(model, rows[0], times[0])
    assert len(model.recommend(rows, times=times, top_k=3, diversity=0.5)) == 3
    assert len(model.similar("i3", top_k=3)) == 3
    capsys.readouterr()
    output = tmp_path / "out.csv"
    common = ("--mode=recommend", f"--workdir={tmp_path / 'whole'}", f"--output={output}")
    assert run(*common, f"--histories={log_path}", "--top_k=2") == 0
    of_log = output.read_text(encoding="utf-8")
    assert run(*common, "--histories=train", "--top_k=2") == 0
    assert output.read_text(encoding="utf-8") == of_log
    (tmp_path / "items.txt").write_text("i3\ni4\n", encoding="utf-8")
    assert run(*common, f"--similar={tmp_path / 'items.txt'}", "--top_k=2") == 0
    assert len(output.read_text(encoding="utf-8").splitlines()) == 5
    capsys.readouterr()
    (tmp_path / "lines.txt").write_text("i3 i4\n", encoding="utf-8")
    assert run(*common, f"--histories={tmp_path / 'lines.txt'}") == 1
    assert "histories without times, which this model reads" in capsys.readouterr().err


def test_a_log_without_dates_is_refused_before_anything_is_written(tmp_path, capsys):
    workdir = tmp_path / "run"
    assert train(workdir, "--config.backbone.time=gaps", data=PLANTED) == 1
    error = capsys.readouterr().err
    assert "has no times: expected dates or seconds since 1970" in error
    assert len(error.strip().splitlines()) == 1 and not workdir.exists()


@pytest.mark.slow
def test_a_student_without_times_learns_from_a_teacher_that_reads_them(
    log_path, tmp_path, without_export
):
    settings = (
        *("--config.memory.policy=ufnrec_soft", "--config.teacher.time=gaps"),
        *("--config.teacher.num_epochs=1", "--config.training.num_epochs=1"),
        *("--config.comparison.baselines=", "--config.gate.epochs=0"),
    )
    assert train(tmp_path / "run", *settings, data=(f"--data={log_path}",)) == 0
    teacher = read(tmp_path / "run" / "teacher" / "teacher.json")
    assert teacher["config"]["backbone"]["time"] == "gaps"
    assert read(tmp_path / "run" / "config.json")["config"]["backbone"]["time"] == "none"
    assert Hindsight(num_items=3, width=4, max_length=LENGTH, time="gaps").num_times == LENGTH + 1
