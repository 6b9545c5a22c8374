"""Labels by hand: softmax, mask, the best K, renormalised; the controls; the files."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.tiny import interactions_of, split_of
from ufnrec_tf import backbones
from ufnrec_tf.backbones.hindsight import Hindsight
from ufnrec_tf.common.files import read_json
from ufnrec_tf.data.batches import make_dataset
from ufnrec_tf.data.splits import SplitSettings, temporal
from ufnrec_tf.data.windows import make_samples
from ufnrec_tf.method.positions import pack_batch
from ufnrec_tf.method.soft_labels import FACTS_FILE, ITEMS_FILE, SHARES_FILE
from ufnrec_tf.teachers.label_files import read_facts, write_labels
from ufnrec_tf.teachers.labels import (
    AlikeLabels,
    Labels,
    LabelsByFold,
    LaterLabels,
    TeacherLabels,
)
from ufnrec_tf.teachers.left_out import LeftOutEvaluator, folds_of_events, left_out_events
from ufnrec_tf.teachers.vectors import TransitionVectors
from ufnrec_tf.training.build import make_split_sampler

NUM_ITEMS = 9
HISTORIES = [[1, 2, 3, 4, 5, 6], [7, 8], [9, 1, 9, 2, 1, 3, 4], [3, 5, 7, 9]]
"""Train events: 1 2 3 4; 7 8; 9 1 9 2 1; 3 5."""


@pytest.fixture(scope="module", autouse=True)
def _eagerly(eagerly):
    pass


@pytest.fixture(scope="module")
def split():
    return split_of(HISTORIES, NUM_ITEMS)


def network(kind=Hindsight, **settings):
    tf.keras.utils.set_random_seed(2)
    made = kind(num_items=NUM_ITEMS, width=4, num_blocks=1, **{"max_length": 5, **settings})
    for weight in made.trainable_variables:
        weight.assign_add(0.5 * tf.random.normal(weight.shape))
    return made


def train_items(split, user):
    log = split.interactions
    return log.items[log.offsets[user] : split.train_ends[user]].tolist()


def expected_labels(split, probabilities, events, k, outranking_only=False):
    """The recipe in plain words, for float64 [N, V + 1] probabilities."""
    found = []
    for event, row in zip(events, probabilities, strict=True):
        user = int(np.searchsorted(split.interactions.offsets, event, side="right")) - 1
        target = split.interactions.items[event + 1]
        kept = {
            item: row[item]
            for item in range(1, NUM_ITEMS + 1)
            if row[item] > 0 and (item == target or item not in train_items(split, user))
        }
        best = sorted(kept, key=kept.__getitem__, reverse=True)[:k]
        if outranking_only:
            above = [item for item in best if kept[item] > kept[target]]
            best = [*above[: k - 1], target]
        total = sum(kept[item] for item in best)
        found.append({item: kept[item] / total for item in best})
    return found


def as_dicts(labels):
    return [
        {int(item): share for item, share in zip(items, shares, strict=True) if item}
        for items, shares in zip(labels.items, labels.shares, strict=True)
    ]


def probabilities_of(backbone, split, samples, events, temperature):
    vectors = TransitionVectors(backbone, split, samples)(events).numpy().astype(np.float64)
    scores = vectors @ backbone.item_embeddings().numpy().T.astype(np.float64) / temperature
    is_item = split.is_training_item
    scores[:, 0] = -np.inf
    if is_item is not None:
        scores[:, 1:][:, ~is_item] = -np.inf
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("windows", ["last", "all", "prefixes"])
def test_labels_of_each_row_by_hand(split, windows):
    """Rows are those of the student's windows; the teacher reads whole windows at once."""
    backbone = network(max_length=3)
    student = make_samples(split, max_length=3, windows=windows)
    samples = make_samples(split, max_length=3, windows="all" if windows == "prefixes" else windows)
    events = student.events_of_rows()
    assert len(events) == student.num_rows == (8 if windows == "last" else 9)
    log = split.interactions
    if windows == "prefixes":
        np.testing.assert_array_equal(events, samples.events_of_rows())
    assert (events + 1 < split.train_ends[student.users_of_rows()]).all()
    vectors = TransitionVectors(backbone, split, samples)
    for k, temperature, only in ((4, 1.0, False), (20, 2.0, False), (3, 1.0, True)):
        expected = expected_labels(
            split, probabilities_of(backbone, split, samples, events, temperature), events, k, only
        )
        source = TeacherLabels(
            [vectors], split, num_labels=k, temperature=temperature, outranking_only=only
        )
        parts = [source(events[:3]), source(events[3:])]  # a window may be cut
        for got, wanted in zip(
            [d for part in parts for d in as_dicts(part)], expected, strict=True
        ):
            assert got == pytest.approx(wanted, rel=1e-4)
    assert {int(item) for item in log.items[events + 1]} <= {1, 2, 3, 4, 5, 8, 9}


def test_several_teachers_give_the_mean_of_their_probabilities(split):
    """Of other networks and other window lengths, one of which sees later items."""
    circular = {"filter": "circular", "dropout": 0.4}
    kinds = [
        (network(backbones.find("sasrec"), max_length=4, dropout=0.5), "all"),
        (network(backbones.find("fmlp"), max_length=3, **circular), "prefixes"),
    ]
    events = make_samples(split, max_length=5, windows="all").events_of_rows()
    teachers, probabilities = [], []
    for backbone, windows in kinds:
        samples = make_samples(split, max_length=backbone.max_length, windows=windows)
        teachers.append(TransitionVectors(backbone, split, samples))
        probabilities.append(probabilities_of(backbone, split, samples, events, 1.5))
    expected = expected_labels(split, np.mean(probabilities, axis=0), events, 5)
    got = as_dicts(TeacherLabels(teachers, split, num_labels=5, temperature=1.5)(events))
    for labels, wanted in zip(got, expected, strict=True):
        assert labels == pytest.approx(wanted, rel=1e-4)
    # The network that sees later items is shown each history by itself, as it was trained.
    log = split.interactions
    for place, event in enumerate(events):
        user = np.searchsorted(log.offsets, event, side="right") - 1
        history = log.items[max(log.offsets[user], event - 2) : event + 1]
        padded = np.pad(history, (3 - len(history), 0))[None]
        np.testing.assert_allclose(
            kinds[1][0].encode(tf.constant(padded))[0], teachers[1](events)[place], atol=1e-5
        )


def test_hindsight_ends_where_training_ends():
    """Under the temporal split at its date: later events change no label and are none."""
    found = []
    for later in ([6, 8], [8, 6]):
        log = interactions_of([[1, 2, 3, *later], [4, 5, 2, 7, 3], [5, 1, 4, *later]], NUM_ITEMS)
        times = np.tile([1.0, 2.0, 3.0, 8.0, 9.0], 3)
        log = dataclasses.replace(log, timestamps=times)
        split = temporal(log, SplitSettings(validation_time=8.0, test_time=9.0))
        assert split.train_ends.tolist() == [3, 8, 13]
        samples = make_samples(split, max_length=5, windows="all")
        vectors = TransitionVectors(network(), split, samples)
        found.append(TeacherLabels([vectors], split, num_labels=9)(samples.events_of_rows()))
        assert not set(found[-1].items.ravel()) - {0, 1, 2, 3, 4, 5}
    for name in ("items", "shares"):
        np.testing.assert_array_equal(getattr(found[0], name), getattr(found[1], name))


def test_later_items_have_half_the_share_of_the_one_before(split):
    labels = LaterLabels(split, num_labels=4)(make_samples(split, max_length=9).events_of_rows())
    assert labels.items.shape == labels.shares.shape == (9, 4)
    third = 1 / 3
    assert as_dicts(labels) == [
        pytest.approx(wanted)
        for wanted in (
            {3: 2 * third, 4: third},  # 1 -> 2, then 3 4
            {4: 1.0},
            {},
            {},
            {9: 4 / 7, 2: 2 / 7, 1: 1 / 7},  # 9 -> 1, then 9 2 1
            {2: 2 * third, 1: third},
            {1: 1.0},
            {},
            {},
        )
    ]


def test_alike_items_are_as_popular_and_not_the_users_own():
    rng = np.random.default_rng(0)
    histories = [rng.integers(1, 200, 12).tolist() for _ in range(40)]
    split = split_of(histories, 200)
    events = make_samples(split, max_length=12).events_of_rows()
    targets = split.interactions.items[events + 1]
    items = rng.integers(1, 201, [len(events), 3]).astype(np.int32)
    items[:, 1] = 1 + (items[:, 2] + rng.integers(1, 190, len(items))) % 200
    items[:, 0], items[0, 2] = targets, 0
    shares = np.full(items.shape, 1 / 3, np.float32)
    source = AlikeLabels(lambda _: Labels(items, shares, targets), split, seed=3)
    got = source(events)
    np.testing.assert_array_equal(got.items, source(events).items)
    np.testing.assert_array_equal(got.items[:, 0], targets)
    assert got.items[0, 2] == 0 and got.shares is shares
    is_new = got.items != items
    assert is_new[:, 1:].mean() > 0.95
    counts = np.bincount(split.interactions.items[split.is_train], minlength=201)
    assert np.abs(counts[got.items] - counts[items])[is_new].mean() < 0.6
    users = np.searchsorted(split.interactions.offsets, events, side="right") - 1
    for row, column in np.argwhere(is_new):
        assert got.items[row, column] not in train_items(split, users[row])


def test_alike_items_of_a_row_are_distinct():
    """In a catalogue of two groups, where draws often meet."""
    rng = np.random.default_rng(1)
    split = split_of([(rng.permutation(40)[:5] + 1).tolist() for _ in range(60)], 40)
    events = make_samples(split, max_length=5).events_of_rows()
    items = 1 + np.argsort(rng.random([len(events), 40]), axis=1)[:, :12].astype(np.int32)
    labels = Labels(items, np.full(items.shape, 1 / 12, np.float32), items[:, 0])
    got = AlikeLabels(lambda _: labels, split, seed=0)(events).items
    assert all(len(set(row)) == 12 for row in got.tolist())
    assert 0.5 < (got != items).mean() < 1


def test_drawn_items_have_the_shares_of_their_kind():
    """Against the definition: equal or by train events, without the user's own, renormalised."""
    histories = [[1, 2, 3, 3, 8, 9], [5, 5, 5, 4, 6, 9, 8], [7, 4, 4, 1, 2, 8], [6, 1, 7]]
    split = split_of(histories, NUM_ITEMS)
    counts = np.bincount(split.interactions.items[split.is_train], minlength=NUM_ITEMS + 1)
    for by_popularity in (False, True):
        sampler = make_split_sampler(split, 0, num_negatives=20_000, by_popularity=by_popularity)
        drawn = sampler(
            users=tf.range(4),
            visits=tf.zeros([4], tf.int64),
            batch_index=tf.range(4, dtype=tf.int64),
            positions=tf.zeros([4], tf.int64),
        ).numpy()
        for user in range(4):
            wanted = counts.astype(float) if by_popularity else np.ones(NUM_ITEMS + 1)
            wanted[[0, *train_items(split, user)]] = 0.0
            found = np.bincount(drawn[user], minlength=NUM_ITEMS + 1) / 20_000
            np.testing.assert_allclose(found, wanted / wanted.sum(), atol=0.02)
            assert not found[wanted == 0].any()


def constant(labels):
    return lambda _: labels


def test_no_control_reads_what_is_held_out():
    found = []
    for held_out in ([6, 8], [8, 6]):
        split = split_of([[1, 2, 3, 4, *held_out], [5, 7, 9, 1, *held_out]], NUM_ITEMS)
        events = make_samples(split, max_length=5).events_of_rows()
        items = np.tile(np.array([5, 3], np.int32), (len(events), 1))
        alike = AlikeLabels(constant(Labels(items, np.ones(1), np.ones(1))), split, seed=0)
        labels = [source(events).items for source in (LaterLabels(split, num_labels=3), alike)]
        for by_popularity in (False, True):
            sampler = make_split_sampler(split, 0, num_negatives=30, by_popularity=by_popularity)
            numbers = tf.zeros([2], tf.int64)
            rows = tf.range(2, dtype=tf.int64)
            asked = {"visits": numbers, "batch_index": rows, "positions": numbers}
            labels.append(sampler(users=tf.range(2), **asked).numpy())
        found.append(labels)
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_files_are_whole_or_made_again(split, tmp_path):
    samples = make_samples(split, max_length=9)
    events = samples.events_of_rows()
    source = LaterLabels(split, num_labels=4)
    facts = {"num_labels": 4, "temperature": 1.0, "teacher": {"seed": (1, 2)}}
    assert read_facts(tmp_path, facts) is None
    written = write_labels(tmp_path, source, events, num_items=NUM_ITEMS, facts=facts)
    assert written["rows"] == 9 and written["bytes"] == 9 * 4 * 8
    assert read_facts(tmp_path, facts) == read_json(tmp_path / FACTS_FILE)
    labels = source(events)
    for name, dtype, values in (
        (ITEMS_FILE, "<i4", labels.items),
        (SHARES_FILE, "<f4", labels.shares),
    ):
        stored = np.fromfile(tmp_path / name, dtype).reshape(9, 4)
        np.testing.assert_array_equal(stored, values)
    assert read_facts(tmp_path, {**facts, "temperature": 2.0}) is None
    (tmp_path / SHARES_FILE).write_bytes(b"\0" * 9 * 4 * 4)
    assert read_facts(tmp_path, facts) is None

    def broken(events):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_labels(tmp_path, broken, events, num_items=NUM_ITEMS, facts=facts)
    assert sorted(path.name for path in tmp_path.iterdir()) == [ITEMS_FILE, SHARES_FILE]


def test_what_is_left_out_is_ranked_without_the_users_own_items(split):
    backbone, samples = network(), make_samples(split, max_length=5)
    is_left_out = left_out_events(split, 0.6)
    assert not is_left_out[~split.is_train].any()
    assert not is_left_out[split.interactions.offsets[:-1]].any()  # no first event is a target
    rows = np.arange(samples.num_rows)
    evaluator = LeftOutEvaluator(split, samples, is_left_out, own_rows=rows, temperature=2.0)
    events = samples.events_of_rows()
    events = events[is_left_out[events + 1]]
    assert 2 < len(events) == evaluator.num_positions < samples.num_rows
    shares = probabilities_of(backbone, split, samples, events, 2.0)
    wanted: dict[str, list[float]] = {name: [] for name in ("ndcg@10", "hr@10", "nll", "entropy")}
    for event, labels in zip(
        events, expected_labels(split, shares, events, NUM_ITEMS), strict=True
    ):
        observed = labels[split.interactions.items[event + 1]]
        rank = sum(share >= observed for share in labels.values())
        wanted["ndcg@10"].append(1 / np.log2(1 + rank))
        wanted["hr@10"].append(1.0)
        wanted["nll"].append(-np.log(observed))
        wanted["entropy"].append(-sum(share * np.log(share) for share in labels.values()))
    result = evaluator.evaluate(backbone)
    assert result.metrics == pytest.approx(
        {name: np.mean(values) for name, values in wanted.items()}, rel=1e-4
    )
    nothing = LeftOutEvaluator(split, samples, np.zeros_like(is_left_out), own_rows=rows)
    assert set(nothing.evaluate(backbone).metrics.values()) == {0.0}


def test_users_ids_alone_decide_what_is_left_out():
    histories = [list(range(1, 30)) for _ in range(40)]
    split = split_of(histories, 40)
    is_left_out = left_out_events(split, 0.25)
    share = is_left_out.sum() / (27 - 1) / 40
    assert 0.2 < share < 0.3
    assert not (left_out_events(split, 0.1) & ~is_left_out).any()
    fewer = split_of(histories[:7], 40)
    np.testing.assert_array_equal(left_out_events(fewer, 0.25), is_left_out[: 7 * 29])


def test_each_target_is_in_one_fold(split):
    log = split.interactions
    targets = split.is_train.copy()
    targets[log.offsets[:-1]] = False
    whole = [left_out_events(split, 1.0, fold=fold, num_folds=3) for fold in range(3)]
    np.testing.assert_array_equal(sum(whole), targets)
    part = left_out_events(split, 0.1, fold=1, num_folds=3)
    assert not (part & ~whole[1]).any()
    np.testing.assert_array_equal(folds_of_events(split, 3)[targets], np.argmax(whole, 0)[targets])


def test_labels_of_a_fold_are_those_of_its_teacher(split):
    events = make_samples(split, max_length=9).events_of_rows()
    folds = folds_of_events(split, 3)

    def source_of(fold):
        def source(asked):
            assert len(asked) and (np.diff(asked) > 0).all()
            values = np.stack([asked, np.full_like(asked, fold)], axis=1)
            return Labels(values, values, asked)

        return source

    source = LabelsByFold([source_of(fold) for fold in range(3)], folds)
    for part in (events, events[:1], events[3:6]):
        got = source(part)
        np.testing.assert_array_equal(got.items, np.stack([part, folds[part + 1]], axis=1))
        np.testing.assert_array_equal(got.num_above, part)


@pytest.mark.parametrize("capacities", [(), (8, 20)])
def test_a_step_reads_what_is_left_out_and_does_not_score_it(split, capacities):
    samples = make_samples(split, max_length=5)
    is_left_out = left_out_events(split, 0.4)
    data = make_dataset(split, samples, max_length=5, batch_size=4, seed=1, is_left_out=is_left_out)
    positions = pack_batch(next(iter(data)), capacities)
    packed, items = positions.inputs.packed, split.interactions.items
    count = samples.num_rows
    assert packed.next_items is not None
    assert packed.items.shape[0] == packed.next_items.shape[0] == (20 if capacities else count)
    windows = {tuple(items[start : start + n + 1]) for start, n in zip(*samples[1:3], strict=True)}
    for row in range(4):
        is_here = (packed.rows.numpy() == row) & (packed.items.numpy() > 0)
        read, later = packed.items.numpy()[is_here], packed.next_items.numpy()[is_here]
        assert (*read, later[-1]) in windows
        assert read[1:].tolist() == later[:-1].tolist()
    events = samples.events_of_rows()[positions.rows]
    assert sorted(events) == [e for e in samples.events_of_rows() if not is_left_out[e + 1]]
    scored = positions.drop_fillers(positions.positives).numpy()
    np.testing.assert_array_equal(scored, items[events + 1])
    for tensor, wanted in ((packed.next_items, scored), (packed.items, items[events])):
        chosen = positions.drop_fillers(positions.inputs.choose(tensor))
        np.testing.assert_array_equal(chosen, wanted)
    assert not positions.positives[len(scored) :].numpy().any()
