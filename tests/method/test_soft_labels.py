"""The sources of soft labels, and the step that learns from them."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.tiny import (
    MAX_LENGTH,
    NUM_ITEMS,
    RunSettings,
    make_run,
    random_labels,
    split_of,
    tiny_histories,
    weights_of,
    write_labels,
)
from ufnrec_tf import backbones
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.config import load_config
from ufnrec_tf.data.splits import seen_train_items
from ufnrec_tf.data.windows import make_samples
from ufnrec_tf.method import soft_labels
from ufnrec_tf.method.negatives import make_sampler
from ufnrec_tf.method.positions import pack_batch
from ufnrec_tf.method.soft_labels import DrawnLabels, EmaLabels, StoredLabels
from ufnrec_tf.training.build import build
from ufnrec_tf.training.checks import check_names

pytestmark = pytest.mark.usefixtures("eagerly")
SETTINGS = RunSettings(
    policy="ufnrec_soft",
    loss="cross_entropy",
    num_negatives=0,
    label_mass=0.3,
    has_teacher_always=True,
)
OPTIONS: dict[str, dict[str, Any]] = {
    "fmlp": {"filter": "causal"},
    "bsarec": {"filter": "causal", "low_frequencies": 3, "num_heads": 2},
    "hstu": {"num_heads": 2},
}
OPEN, SHUT = tf.constant(True), tf.constant(False)


def tiny():
    return split_of(tiny_histories(), NUM_ITEMS)


def first_batch(run, capacities=()):
    batch = next(iter(run.dataset()))
    return batch, pack_batch(batch, capacities)


def sampler_of(split, num_labels, num_events=None):
    offsets, items = seen_train_items(split)
    return make_sampler(
        split.training_items,
        seen_offsets=offsets,
        seen_items=items,
        num_negatives=num_labels,
        seed=1,
        num_events=num_events,
    )


def seen_by(split):
    offsets, items = seen_train_items(split)
    return [set(items[begin:end].tolist()) for begin, end in pairwise(offsets)]


def test_stored_labels_are_those_of_the_rows_and_their_files_are_mapped(tmp_path):
    run = make_run(SETTINGS, tiny())
    items, shares = random_labels(run.samples.num_rows, NUM_ITEMS)
    folder = write_labels(tmp_path / "labels", items, shares)
    source = StoredLabels(folder, num_rows=run.samples.num_rows)
    batch, positions = first_batch(run, capacities=(32,))
    rows = positions.rows.numpy()
    graph = tf.function(lambda: source.labels(batch, positions, SHUT))
    for found in (source.labels(batch, positions, SHUT), graph()):
        assert found.items.shape == (32, 4)
        np.testing.assert_array_equal(found.items[: len(rows)], items[rows])
        np.testing.assert_allclose(found.shares[: len(rows)], shares[rows], rtol=1e-6)
        assert not found.items[len(rows) :].numpy().any()
        assert not found.shares[len(rows) :].numpy().any()
    assert "items.i32" in Path("/proc/self/maps").read_text(encoding="utf-8")
    empty = write_labels(tmp_path / "empty", items[:0], shares[:0])
    StoredLabels(empty, num_rows=0)


def test_labels_of_other_rows_and_damaged_files_are_refused(tmp_path):
    folder = write_labels(tmp_path / "labels", *random_labels(9, NUM_ITEMS))
    with pytest.raises(UserError, match=r"labels of 9 transitions, expected 10: .*Remove"):
        StoredLabels(folder, num_rows=10)
    (folder / "shares.f32").write_bytes(b"1234")
    with pytest.raises(UserError, match=r"shares.f32: has 4 bytes, expected 144"):
        StoredLabels(folder, num_rows=9)
    with pytest.raises(UserError, match=r"has no soft labels. Expected labels.json"):
        StoredLabels(tmp_path, num_rows=9)


@pytest.mark.parametrize("by_popularity", [False, True])
def test_drawn_labels_are_unseen_items_of_equal_share(by_popularity):
    split = tiny()
    run, counts = make_run(SETTINGS, split), np.arange(NUM_ITEMS)
    source = DrawnLabels(sampler_of(split, 64, counts if by_popularity else None))
    batch, positions = first_batch(run, capacities=(32,))
    found, num_real = source.labels(batch, positions, SHUT), len(positions.rows)
    users = tf.gather(batch["user"], positions.batch_rows()).numpy()
    for row, user in enumerate(users[:num_real]):
        drawn = set(found.items[row].numpy().tolist())
        unseen = set(range(1 + by_popularity, NUM_ITEMS + 1)) - seen_by(split)[user]
        assert drawn <= unseen and len(drawn) > len(unseen) / 2
    np.testing.assert_array_equal(found.shares[:num_real], np.full((num_real, 64), 1 / 64))
    assert not found.items[num_real:].numpy().any() and not found.shares[num_real:].numpy().any()


@pytest.mark.parametrize("outranking_only", [False, True])
def test_labels_of_the_average_against_numpy(outranking_only, monkeypatch):
    monkeypatch.setattr(soft_labels, "_CHUNK_ITEMS", 4)
    split = tiny()
    run = make_run(SETTINGS, split)
    offsets, seen = seen_train_items(split)
    known = np.arange(1, NUM_ITEMS + 1) != 13
    teacher = run.model.teacher
    assert teacher is not None
    source = EmaLabels(
        teacher,
        seen_offsets=offsets,
        seen_items=seen,
        is_candidate=known,
        num_labels=4,
        temperature=0.01,
        outranking_only=outranking_only,
    )
    batch, positions = first_batch(run, capacities=(32,))
    assert not source.labels(batch, positions, SHUT).shares.numpy().any()
    found = source.labels(batch, positions, OPEN)
    backbone, num_real = teacher.backbone, len(positions.rows)
    vectors = positions.inputs.choose(backbone.call_packed(positions.inputs.packed)).numpy()
    scores = vectors @ backbone.item_embeddings().numpy().T
    users = tf.gather(batch["user"], positions.batch_rows()).numpy()
    num_alone = 0
    for row, user in enumerate(users[:num_real]):
        own = int(positions.positives[row])
        barred = (seen_by(split)[user] | {0, 13}) - {own}
        ranked = [item for item in np.argsort(-scores[row]).tolist() if item not in barred][:4]
        if outranking_only:
            ranked = ranked[: ranked.index(own) + 1] if own in ranked else ranked
        shares = np.exp((scores[row][ranked] - scores[row][ranked].max()) / 0.01)
        expected = dict(zip(ranked, shares / shares.sum(), strict=True))
        pairs = zip(found.items[row].numpy(), found.shares[row].numpy(), strict=True)
        assert {int(item): share for item, share in pairs if item} == pytest.approx(
            expected, rel=1e-3, abs=1e-6
        )
        num_alone += len(expected) == 1
    assert (num_alone > 0) == outranking_only
    assert not found.shares[num_real:].numpy().any()


@pytest.mark.parametrize("name", sorted(backbones.BACKBONES))
def test_a_student_of_each_backbone_learns_from_labels(name, tmp_path):
    split = tiny()
    settings = replace(
        SETTINGS, backbone=name, options=OPTIONS.get(name, {}), has_teacher_always=False
    )
    num_rows = make_samples(split, max_length=MAX_LENGTH).num_rows
    folder = write_labels(tmp_path / "labels", *random_labels(num_rows, NUM_ITEMS))
    source = StoredLabels(folder, num_rows=num_rows)
    run = make_run(settings, split, label_source=source)
    batch, positions = first_batch(run)
    labels, backbone = source.labels(batch, positions, SHUT), run.model.backbone
    vectors = positions.inputs.choose(backbone.call_packed(positions.inputs.packed))
    scores = (vectors @ tf.transpose(backbone.item_embeddings())).numpy()
    rows = np.arange(len(scores))[:, None]
    target = np.zeros_like(scores)
    np.add.at(target, (rows, labels.items.numpy()), 0.3 * labels.shares.numpy())
    target[rows[:, 0], positions.positives.numpy()] += 1.0 - target.sum(axis=1)
    denominators = np.log(np.exp(scores[:, 1:]).sum(axis=1))
    before = weights_of(backbone)
    loss = float(run.model.train_step(batch)["loss"])
    assert loss == pytest.approx((denominators - (target * scores).sum(axis=1)).mean(), rel=1e-5)
    assert any((a != b).any() for a, b in zip(before, weights_of(backbone), strict=True))


def config_of(*settings, policy="ufnrec_soft"):
    base = {
        "data.name": "planted",
        "backbone.width": "8",
        "backbone.num_blocks": "0",
        "training.jit_compile": "false",
        "memory.policy": policy,
        "teacher.labels": "uniform",
        "teacher.always": "true",
    }
    return load_config("", [*base.items(), *settings])


def test_labels_are_no_part_of_a_checkpoint_or_an_export_and_no_mass_is_plain():
    split, strategy = tiny(), tf.distribute.get_strategy()
    built = [
        build(config, split, 0, strategy=strategy)
        for config in (
            config_of(policy="plain"),
            config_of(),
            config_of(("teacher.mass", "0")),
            config_of(("teacher.labels", "later")),  # scored only: needs no files
        )
    ]
    names = [{part: set(own) for part, own in each.variables().items()} for each in built]
    assert names[0] == names[1] == names[2]
    assert [each.model.label_source is None for each in built] == [True, False, True, True]
    assert built[1].model.label_source is not None
    assert len({len(each.best.weights) for each in built}) == 1
    popular = config_of(("teacher.labels", "popularity"), ("loss.name", "nce"))
    model = build(popular, split, 0, strategy=strategy).model
    batch = next(iter(built[0].dataset(0)))
    assert np.isfinite(float(model.train_step(batch)["loss"]))


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        (["teacher.kind=runs"], "`teacher.runs` must name at least one"),
        (["teacher.kind=ema", "teacher.labels=alike"], "`teacher.labels` must not be alike"),
        (["loss.name={path}:Mine"], "which has no `soft_ranking_term`"),
    ],
)
def test_settings_that_do_not_fit(settings, error, write):
    text = (
        "from ufnrec_tf.objectives.softmax import SampledSoftmax\n\n\nclass Mine(SampledSoftmax):"
    )
    path = write(f"{text}\n    pass\n", "mine.py")
    pairs = [tuple(each.format(path=path).split("=")) for each in settings]
    with pytest.raises(UserError, match=error):
        check_names(config_of(("teacher.labels", "teacher"), *pairs))
