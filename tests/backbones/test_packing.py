"""Histories without padding: the packed path of a backbone against its padded one."""

import math
from dataclasses import replace
from types import MethodType

import numpy as np
import pytest
import tensorflow as tf

from tests.backbones.test_conformance import every_backbone, make, shake
from tests.helpers.tiny import NUM_ITEMS, RunSettings, make_run, split_of, tiny_histories, train
from ufnrec_tf.backbones.base import Backbone
from ufnrec_tf.backbones.dropout import Dropout, PooledDropout
from ufnrec_tf.backbones.packing import block_size, fill_up, neighbourhood, pack, unpack
from ufnrec_tf.common.graphs import graph_function
from ufnrec_tf.common.tensors import bits_like
from ufnrec_tf.method.positions import choose_capacities, choose_rows, pack_batch

LENGTHS = {1: [1, 0, 1], 2: [2, 1, 0], 7: [7, 4, 0, 1, 7], 33: [33, 1, 20, 33, 2], 50: [50, 3, 26]}


def random_histories(max_length: int, num_items: int = 12) -> np.ndarray:
    rng = np.random.default_rng(max_length)
    histories = np.zeros((len(LENGTHS[max_length]), max_length), np.int32)
    for row, length in zip(histories, LENGTHS[max_length], strict=True):
        row[max_length - length :] = rng.integers(1, num_items + 1, length)
    return histories


@pytest.mark.parametrize("max_length", list(LENGTHS))
def test_unpacking_gives_the_histories_back(max_length):
    histories = random_histories(max_length)
    packed = pack(tf.constant(histories))
    assert packed.items.shape[0] == sum(LENGTHS[max_length])
    np.testing.assert_array_equal(packed.items, histories[histories > 0])
    np.testing.assert_array_equal(packed.lengths, LENGTHS[max_length])
    for filled in (packed, fill_up(packed, 64)):
        np.testing.assert_array_equal(unpack(filled, max_length), histories)


@pytest.mark.parametrize("max_length", list(LENGTHS))
def test_a_position_sees_its_own_history_up_to_itself(max_length):
    histories = random_histories(max_length)
    packed = fill_up(pack(tf.constant(histories)), block_size(max_length))
    near = neighbourhood(packed, max_length)
    number = tf.range(1, 1 + packed.items.shape[0])
    queries, keys = near.blocks(number).numpy(), near.windows(number).numpy()
    rows, is_real = packed.rows.numpy(), packed.items.numpy() > 0
    for block, query in np.ndindex(queries.shape):
        mine = queries[block, query] - 1
        if is_real[mine]:
            seen = keys[block][near.is_visible.numpy()[block, query]] - 1
            expected = np.flatnonzero(is_real & (rows == rows[mine]))
            np.testing.assert_array_equal(seen, expected[expected <= mine])
    padding = max_length - np.array(LENGTHS[max_length])
    np.testing.assert_array_equal(near.num_padding.numpy()[is_real], padding[rows[is_real]])


@pytest.mark.slow
@every_backbone
@pytest.mark.parametrize("max_length", [length for length in LENGTHS if length != 2])
def test_packed_vectors_are_those_of_the_padded_histories(name, options, max_length):
    backbone = make(name, options, max_length=max_length)
    shake(backbone)
    histories = tf.constant(random_histories(max_length))
    padded = backbone(histories).numpy()
    # With fillers in a graph, where operations are fused, as in training.
    graph = graph_function(backbone.call_packed, backbone)
    for size, call in ((1, backbone.call_packed), (40, graph)):
        packed = fill_up(pack(histories), size)
        vectors = call(packed).numpy()
        assert np.isfinite(vectors).all()
        is_real = packed.items.numpy() > 0
        expected = padded[packed.rows.numpy(), packed.columns.numpy()]
        np.testing.assert_allclose(vectors[is_real], expected[is_real], rtol=0, atol=1e-5)
    np.testing.assert_allclose(backbone.encode(histories), padded[:, -1], rtol=0, atol=1e-5)


@every_backbone
def test_newest_vectors_are_those_of_all_positions(name, options):
    backbone = make(name, options, precision="float64")
    shake(backbone)
    histories = random_histories(7)
    for packed in (pack(tf.constant(histories)), fill_up(pack(tf.constant(histories)), 64)):
        newest = backbone.call_newest(packed).numpy()
        expected = backbone.call_packed(packed).numpy()[np.cumsum(LENGTHS[7]) - 1]
        assert np.isfinite(newest).all()
        has_item = np.array(LENGTHS[7]) > 0
        np.testing.assert_allclose(newest[has_item], expected[has_item], rtol=1e-11, atol=1e-14)
    nothing = backbone.encode(tf.constant(np.zeros_like(histories))).numpy()
    np.testing.assert_allclose(nothing, backbone(np.zeros_like(histories))[:, -1], atol=1e-14)


@pytest.mark.slow
@every_backbone
def test_gradients_are_those_of_the_padded_path(name, options):
    backbone = make(name, options, max_length=33, precision="float64")
    shake(backbone)
    packed = fill_up(pack(tf.constant(random_histories(33))), 32)
    weights = tf.random.stateless_normal([packed.items.shape[0], 8], [1, 2], dtype="float64")
    weights *= tf.cast(packed.items > 0, tf.float64)[:, None]

    def gradients(call) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(call(packed) * weights)
        found = tape.gradient(loss, backbone.trainable_variables)
        return [loss, *(tf.convert_to_tensor(gradient) for gradient in found)]

    # Compiled, as in training.
    mine = graph_function(lambda: gradients(backbone.call_packed), backbone, jit_compile=True)()
    theirs = gradients(lambda packed: Backbone.call_packed(backbone, packed))
    for found, expected in zip(mine, theirs, strict=True):  # the loss, then the gradients
        scale = np.abs(expected).max()
        assert scale > 1e-3
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_pooled_dropout_is_the_sum_of_dropped_weights(rate):
    """Standardised chi-square of 40,000 draws each against the binomial distribution."""
    layer = PooledDropout(rate, max_count=49)
    counts = tf.repeat(tf.constant([0, 1, 2, 7, 49]), 40_000)
    sums = tf.fill(tf.shape(counts), 3.0)
    np.testing.assert_array_equal(layer(sums, counts), sums)
    dropped = layer(sums, counts, training=True).numpy().reshape(5, -1)
    assert not dropped[0].any()  # no padding, no share
    for count, factors in zip([1, 2, 7, 49], dropped[1:] / 3.0, strict=True):
        kept = factors * count * (1 - rate)
        np.testing.assert_allclose(kept, np.round(kept), atol=1e-4)
        seen = np.bincount(np.round(kept).astype(int), minlength=count + 1)
        chances = [
            math.comb(count, number) * (1 - rate) ** number * rate ** (count - number)
            for number in range(count + 1)
        ]
        expected = np.array(chances) * len(kept)
        is_common = expected > 5
        chi = ((seen - expected)[is_common] ** 2 / expected[is_common]).sum()
        freedom = is_common.sum() - 1
        assert (chi - freedom) / np.sqrt(2 * freedom) < 5, (rate, count)
        assert seen[~is_common].sum() < 10 + 3 * expected[~is_common].sum()


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_dropout_keeps_each_element_by_itself(rate):
    layer = Dropout(rate)
    ones = tf.ones([300, 50])
    np.testing.assert_array_equal(layer(ones), ones)
    calls = np.stack([layer(ones, training=True).numpy() for _ in range(40)])  # [T, P, D]
    np.testing.assert_allclose(calls[calls > 0], 1 / (1 - rate), rtol=1e-6)
    kept = (calls > 0) - (1 - rate)
    spread = (rate * (1 - rate)) ** 0.5
    for axes in ((0, 1, 2), (0, 1), (1, 2), (0, 2)):  # overall, a column, a call, a row
        count = np.prod([kept.shape[axis] for axis in axes])
        assert np.abs(kept.mean(axis=axes)).max() < 5 * spread / count**0.5
    # Neighbours of any kind, and the same place of later calls, know nothing of each other.
    for first, second in (
        (kept[:, :, 1:], kept[:, :, :-1]),
        (kept[:, 1:], kept[:, :-1]),
        (kept[1:], kept[:-1]),
        (kept[8:], kept[:-8]),
    ):
        assert abs((first * second).mean()) < 5 * spread**2 / first.size**0.5


def test_fillers_change_no_bit():
    short, long = tf.zeros([10, 5]), tf.zeros([333, 5])
    for key in (0, -1, 2**40 + 7):
        found = [bits_like(tensor, tf.constant(key, tf.int64)).numpy() for tensor in (short, long)]
        np.testing.assert_array_equal(found[0], found[1][:10])
        assert len(np.unique(found[1])) > 1660  # of 1,665 draws from 2**32


@pytest.mark.slow
def test_pooled_dropout_equals_many_dropped_columns():
    """The packed and the padded path have the same mean and deviation with dropout on."""
    backbone = make("sasrec", {"variant": "authors"}, dropout=0.5, num_blocks=1)
    shake(backbone)
    histories = tf.constant(np.tile([[0, 0, 0, 0, 0, 3, 5]], (512, 1)), tf.int32)
    packed = pack(histories)
    newest = packed.columns.numpy() == 6
    mine, theirs = (
        np.concatenate([call() for _ in range(20)])
        for call in (
            lambda: backbone.call_packed(packed, training=True).numpy()[newest],
            lambda: backbone(histories, training=True).numpy()[:, -1],
        )
    )
    error = theirs.std(axis=0) / len(theirs) ** 0.5
    assert (np.abs(mine.mean(axis=0) - theirs.mean(axis=0)) < 6 * error).all()
    np.testing.assert_allclose(mine.std(axis=0), theirs.std(axis=0), rtol=0.05)


class PaddedRun:
    """Fifty steps of a tiny run, with dropout 0, through the packed or the padded path."""

    def __init__(self, settings: RunSettings, *, is_padded: bool) -> None:
        run = make_run(settings, split_of(tiny_histories(), NUM_ITEMS))
        if is_padded:
            assert run.model.teacher is not None
            name = "call_packed"
            for backbone in (run.model.backbone, run.model.teacher.backbone):
                setattr(backbone, name, MethodType(Backbone.call_packed, backbone))
        train(run)
        self.losses = run.losses
        self.weights = run.steps[-1].weights_after
        self.tables = run.steps[-1].tables


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["authors", "corrected"])
def test_fifty_steps_agree_with_the_plain_padded_path(variant):
    # Choosing among several compiled programs is the same for both.
    settings = RunSettings(
        variant=variant,
        num_steps=51,
        has_teacher_always=True,
        smaller_capacities=(),
    )
    plain = PaddedRun(settings, is_padded=True)
    for compiles in (False, True) if variant == "authors" else (False,):
        packed = PaddedRun(replace(settings, compiles=compiles), is_padded=False)
        np.testing.assert_allclose(packed.losses, plain.losses, rtol=0, atol=1e-5)
        for mine, theirs in zip(packed.weights, plain.weights, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-4)
        for name, table in plain.tables.items():
            np.testing.assert_array_equal(packed.tables[name], table)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["authors", "corrected"])
def test_bfloat16_is_near_float32_and_keeps_float32_weights(variant):
    settings = {"variant": variant, "num_heads": 2, "max_length": 33}
    exact, rough = (
        make("sasrec", settings, precision=name) for name in ("float32", "mixed_bfloat16")
    )
    shake(exact)
    rough.set_weights_from(exact)
    histories = tf.constant(random_histories(33))
    is_real = histories.numpy() > 0
    for call in ("padded", "packed", "encode"):
        found = []
        for backbone in (exact, rough.clone()):
            assert {str(weight.dtype) for weight in backbone.trainable_variables} == {"float32"}
            if call == "padded":
                found.append(backbone(histories).numpy()[is_real])
            elif call == "packed":
                found.append(backbone.call_packed(pack(histories)).numpy())
            else:
                found.append(backbone.encode(histories).numpy()[[0, 1, 2, 3, 4]])
        assert found[1].dtype == np.float32
        error = np.abs(found[1] - found[0]).mean() / np.abs(found[0]).mean()
        assert 1e-4 < error < 0.03, call


@pytest.mark.slow
def test_a_run_in_bfloat16_learns_as_one_in_float32_does():
    settings = RunSettings(policy="plain", num_steps=36)
    compiled = replace(settings, precision="mixed_bfloat16", compiles=True, smaller_capacities=())
    split = split_of(tiny_histories(), NUM_ITEMS)
    exact, rough = (np.array(train(make_run(own, split)).losses) for own in (settings, compiled))
    assert exact[-3:].mean() < 0.8 * exact[:3].mean()
    np.testing.assert_allclose(rough, exact, rtol=0.05)
    assert np.abs(rough - exact).max() > 1e-4  # more than compiling changes


def batch_of(lengths: list[int], max_length: int) -> dict[str, tf.Tensor]:
    histories = np.zeros((len(lengths), max_length), np.int32)
    for row, length in zip(histories, lengths, strict=True):
        row[max_length - length :] = np.arange(1, length + 1)
    positives = np.where(histories > 0, histories + 100, 0).astype(np.int32)
    return {
        "history": tf.constant(histories),
        "positives": tf.constant(positives),
        "length": tf.constant(lengths, tf.int32),
        "first_position": tf.constant([3, 0, 10], tf.int32),
        "first_row": tf.constant([40, 0, 70], tf.int64),
    }


def test_positions_of_a_batch():
    positions = pack_batch(batch_of([2, 0, 3], 4), capacities=(4, 8, 12))
    assert positions.inputs.packed.items.shape == (8,)
    np.testing.assert_array_equal(positions.inputs.packed.items, [1, 2, 1, 2, 3, 0, 0, 0])
    np.testing.assert_array_equal(positions.inputs.packed.rows[:5], [0, 0, 2, 2, 2])
    np.testing.assert_array_equal(positions.inputs.packed.columns[:5], [2, 3, 1, 2, 3])
    np.testing.assert_array_equal(positions.positives, [101, 102, 101, 102, 103, 0, 0, 0])
    np.testing.assert_array_equal(positions.indices[:5], [3, 4, 10, 11, 12])
    np.testing.assert_array_equal(positions.rows, [40, 41, 70, 71, 72])
    np.testing.assert_array_equal(positions.is_real(), [True] * 5 + [False] * 3)
    exact = pack_batch(batch_of([2, 0, 3], 4))
    assert exact.inputs.packed.items.shape == (5,)
    nobody = pack_batch(batch_of([0, 0, 0], 4), capacities=(4,))
    assert nobody.rows.shape == (0,) and not nobody.is_real().numpy().any()


@pytest.mark.parametrize("capacities", [(), (4, 8, 12)])
def test_newest_positions_of_a_batch(capacities):
    """Prefixes: the inputs are whole histories, the scored positions their newest columns."""
    batch = batch_of([2, 0, 3], 4)
    batch["positives"] = batch["positives"][:, -1:]
    positions = pack_batch(batch, capacities)
    packed = positions.inputs.packed
    np.testing.assert_array_equal(packed.items[:5], [1, 2, 1, 2, 3])
    assert packed.items.shape == (8 if capacities else 5,)
    targets = positions.inputs.places(tf.range(3 if capacities else 2))
    np.testing.assert_array_equal(targets[:2], [1, 4])
    assert positions.positives.shape == targets.shape
    np.testing.assert_array_equal(positions.positives[:2], [102, 103])
    np.testing.assert_array_equal(positions.batch_rows()[:2], [0, 2])
    np.testing.assert_array_equal(positions.indices[:2], [4, 12])
    np.testing.assert_array_equal(positions.rows, [41, 72])
    np.testing.assert_array_equal(positions.is_real()[2:], [False] if capacities else [])
    some, place, count = choose_rows(packed, positions.inputs.places(tf.constant([1, 1], tf.int64)))
    np.testing.assert_array_equal(some.items, [1, 2, 3])
    np.testing.assert_array_equal(place, [2, 2])
    assert int(count) == 1


def test_whole_histories_are_chosen():
    packed = pack_batch(batch_of([2, 1, 3], 4), capacities=(12,)).inputs.packed
    some, place, count = choose_rows(packed, tf.constant([5, 1, 5], tf.int64))
    np.testing.assert_array_equal(some.items, [1, 2, 1, 2, 3])
    np.testing.assert_array_equal(some.rows, [0, 0, 2, 2, 2])
    np.testing.assert_array_equal(place, [4, 1, 4])
    assert int(count) == 2


def test_capacities_hold_every_batch_and_waste_little():
    lengths = np.minimum(np.random.default_rng(1).geometric(1 / 6, size=5000), 50)
    few, many = (
        choose_capacities(lengths, 128, 50, num_steps=num_steps) for num_steps in (100, 100_000)
    )
    for sizes in (few, many):
        assert list(sizes) == sorted(set(sizes)) and sizes[-1] == 128 * 50
    sums = np.random.default_rng(2).choice(lengths, [1000, 128]).sum(axis=1)
    waste = [
        np.array(sizes)[np.searchsorted(sizes, sums)].mean() / sums.mean() - 1
        for sizes in (few, many)
    ]
    used = [len(np.unique(np.searchsorted(sizes, sums))) for sizes in (few, many)]
    assert waste[1] < 0.08 < waste[0] < 0.4
    assert used[0] <= 2 < used[1] <= 4
    # The largest that was chosen holds the batches of a whole run, but in few of a thousand runs.
    largest = many[used[1] - 1]
    drawn = np.random.default_rng(3).choice(lengths, [20_000, 128]).sum(axis=1)
    assert drawn.max() <= largest < 1.2 * drawn.max()
    assert choose_capacities(np.full(9, 50), 128, 50, num_steps=100) == (6400,)
    assert choose_capacities(np.array([1]), 3, 4, num_steps=10)[-1] == 12
