"""The contract of every backbone of the table, and SASRec against NumPy.

The others against NumPy, and the effect of padding on each: test_backbones.py.
"""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.tiny import MAX_LENGTH, RunSettings, make_run, split_of, tiny_histories
from tests.helpers.tiny import NUM_ITEMS as TINY_ITEMS
from tests.reference.numpy_sasrec import encode
from ufnrec_tf import backbones
from ufnrec_tf.backbones.base import setting_names
from ufnrec_tf.backbones.filtering import FILTERS
from ufnrec_tf.backbones.packing import pack
from ufnrec_tf.backbones.sasrec import VARIANTS
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.evaluation.evaluator import RankingEvaluator
from ufnrec_tf.runs.checkpoints import CheckpointStore, named_variables

NUM_ITEMS, WIDTH, LENGTH = 12, 8, 7
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "sasrec": [
        {"variant": "authors", "num_heads": 2},
        {"variant": "corrected", "num_heads": 2},
        {"variant": "input_residual", "num_heads": 2, "num_blocks": 1},
    ],
    "gru4rec": [{"num_blocks": 1}, {"num_blocks": 2, "hidden_width": 5}],
    "fmlp": [{"filter": name, "num_blocks": 1} for name in FILTERS],
    "bsarec": [
        {"filter": name, "num_blocks": 1, "num_heads": 2, "low_frequencies": 3} for name in FILTERS
    ],
    "hstu": [{"num_blocks": 1, "num_heads": 2}],
}
"""Settings to try beside the common ones; a backbone that is not here is tried with none."""
CASES = [
    pytest.param(name, options, id="-".join([name, *map(str, options.values())]))
    for name in backbones.BACKBONES
    for options in OPTIONS.get(name, [{}])
]
SEE_LATER_ITEMS = {("fmlp", "circular"), ("bsarec", "circular")}
"""Name and filter of those that are not causal."""
every_backbone = pytest.mark.parametrize(("name", "options"), CASES)
HISTORIES = np.array(
    [
        [1, 2, 3, 4, 5, 6, 7],
        [0, 0, 0, 12, 3, 3, 9],
        [0, 0, 0, 0, 0, 0, 11],
    ],
    np.int32,
)


def make(name: str, options: dict[str, Any], *, seed: int = 0, **settings: Any):
    keras.utils.set_random_seed(seed)
    common = {"num_items": NUM_ITEMS, "width": WIDTH, "max_length": LENGTH, "dropout": 0.0}
    return backbones.create(name, **{**common, **options, **settings})


def values(backbone) -> list[np.ndarray]:
    return [variable.numpy() for variable in backbone.trainable_variables]


def shake(backbone, seed: int = 1) -> None:
    """Moves every weight, so that none is at a special start such as zero."""
    rng = np.random.default_rng(seed)
    for variable in backbone.trainable_variables:
        variable.assign_add(rng.normal(0, 0.2, variable.shape))


@every_backbone
def test_shapes_and_types(name, options):
    backbone = make(name, options)
    vectors = backbone(tf.constant(HISTORIES))
    assert vectors.shape == (3, LENGTH, WIDTH) and vectors.dtype == tf.float32
    assert np.isfinite(vectors).all()
    newest = backbone.encode(tf.constant(HISTORIES))
    np.testing.assert_allclose(newest, vectors[:, -1], rtol=0, atol=1e-5)
    table = backbone.item_embeddings()
    assert table.shape == (NUM_ITEMS + 1, WIDTH) and table.dtype == tf.float32
    candidates = tf.constant([[1, 2], [3, 4], [12, 12]])
    scores = backbone.score(newest, candidates)
    assert scores.shape == (3, 2) and scores.dtype == tf.float32
    expected = np.einsum("pcd,pd->pc", table.numpy()[candidates.numpy()], newest.numpy())
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@every_backbone
def test_a_column_does_not_see_later_ones_where_the_backbone_says_so(name, options):
    backbone = make(name, options)
    shake(backbone)
    before = backbone(tf.constant(HISTORIES)).numpy()
    is_seen = False
    columns = range(1, LENGTH)
    changed = np.repeat(HISTORIES[None], len(columns), axis=0)
    for own, column in zip(changed, columns, strict=True):
        own[:, column:] = own[:, column:] % NUM_ITEMS + 1
    vectors = backbone(tf.constant(changed.reshape(-1, LENGTH))).numpy()
    for after, column in zip(np.split(vectors, len(columns)), columns, strict=True):
        is_real = HISTORIES[:, :column] > 0
        earlier = np.abs(after[:, :column][is_real] - before[:, :column][is_real])
        is_seen |= bool((earlier > 1e-6).any())
        assert not np.allclose(after[:, column:], before[:, column:], atol=1e-3)
    expected = (name, options.get("filter")) in SEE_LATER_ITEMS
    assert is_seen == expected == (not backbone.is_causal)


@every_backbone
def test_histories_of_a_batch_do_not_touch_each_other(name, options):
    backbone = make(name, options)
    shake(backbone)
    together = backbone(tf.constant(HISTORIES)).numpy()
    for row in range(3):
        alone = backbone(tf.constant(HISTORIES[row : row + 1])).numpy()[0]
        np.testing.assert_allclose(alone, together[row], rtol=0, atol=1e-5)


@every_backbone
def test_every_history_item_matters(name, options):
    backbone = make(name, options)
    shake(backbone)
    before = backbone.encode(tf.constant(HISTORIES[:1])).numpy()
    changed = np.repeat(HISTORIES[:1], LENGTH, axis=0)
    np.fill_diagonal(changed, 12)
    for after in backbone.encode(tf.constant(changed)).numpy():
        assert not np.allclose(after, before, atol=1e-4)


def longer_pair(options: dict[str, Any]):
    """A backbone, and one of twice the length with the same weights for the newest columns."""
    short, long = make("sasrec", options), make("sasrec", options, max_length=2 * LENGTH)
    shake(short)
    for theirs, mine in zip(long.trainable_variables, short.trainable_variables, strict=True):
        if mine.shape == theirs.shape:
            theirs.assign(mine)
    table = np.random.default_rng(2).normal(0, 1, (2 * LENGTH, WIDTH))
    table[LENGTH:] = short.position_table.numpy()
    long.position_table.assign(table)
    more = np.pad(HISTORIES, [[0, 0], [LENGTH, 0]])
    return short(tf.constant(HISTORIES)).numpy(), long(tf.constant(more)).numpy()[:, LENGTH:]


def test_padding_changes_nothing_in_the_corrected_variant():
    short, long = longer_pair({"variant": "corrected", "num_heads": 2})
    is_real = HISTORIES > 0
    np.testing.assert_allclose(long[is_real], short[is_real], rtol=0, atol=1e-5)


@pytest.mark.parametrize("variant", ["authors", "input_residual"])
def test_padding_is_attended_to_as_released(variant):
    """No key-padding mask, so that the zero vectors of the padding take a share."""
    short, long = longer_pair({"variant": variant, "num_heads": 2})
    assert not np.allclose(long[HISTORIES > 0], short[HISTORIES > 0], atol=1e-3)


@pytest.mark.slow
@every_backbone
def test_checkpoint_brings_the_weights_back(name, options, tmp_path):
    one, other = make(name, options), make(name, options, seed=1)
    shake(one)
    assert not np.allclose(one(tf.constant(HISTORIES)), other(tf.constant(HISTORIES)), atol=1e-3)
    for backbone, act in ((one, "save"), (other, "restore")):
        named = named_variables(backbone.variables)
        assert len(named) == len(backbone.variables)
        store = CheckpointStore(tmp_path, {"student": named})
        if act == "save":
            store.save("best", {})
        else:
            store.restore("best")
    for mine, theirs in zip(values(one), values(other), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(one(tf.constant(HISTORIES)), other(tf.constant(HISTORIES)))


@pytest.mark.slow
@every_backbone
def test_clone_is_equal_and_independent(name, options):
    backbone = make(name, options)
    shake(backbone)
    clone = backbone.clone()
    assert type(clone) is type(backbone) and clone.settings == backbone.settings
    before = backbone(tf.constant(HISTORIES)).numpy()
    np.testing.assert_array_equal(clone(tf.constant(HISTORIES)), before)
    shake(backbone, seed=2)
    np.testing.assert_array_equal(clone(tf.constant(HISTORIES)), before)
    assert not np.allclose(backbone(tf.constant(HISTORIES)), before, atol=1e-3)


@every_backbone
def test_gradient_reaches_every_weight(name, options):
    backbone = make(name, options)
    shake(backbone)
    direction = np.random.default_rng(3).normal(size=(3, LENGTH, WIDTH)).astype(np.float32)
    is_real = (HISTORIES > 0)[:, :, None]
    with tf.GradientTape() as tape:
        vectors = backbone(tf.constant(HISTORIES), training=True)
        loss = tf.reduce_sum(vectors * direction * is_real)
    gradients = tape.gradient(loss, backbone.trainable_variables)
    for variable, gradient in zip(backbone.trainable_variables, gradients, strict=True):
        assert gradient is not None, variable.path
        dense = tf.convert_to_tensor(gradient).numpy()
        assert np.isfinite(dense).all() and np.abs(dense).max() > 1e-4, variable.path
    assert backbone.trainable_variables == backbone.trainable_weights
    assert any(variable is backbone.item_table for variable in backbone.trainable_variables)


@pytest.mark.slow
@every_backbone
def test_dropout_acts_only_in_training(name, options):
    backbone = make(name, options, dropout=0.5)
    calm = make(name, options)
    calm.set_weights_from(backbone)
    histories = tf.constant(HISTORIES)
    np.testing.assert_array_equal(backbone(histories), backbone(histories, training=False))
    np.testing.assert_array_equal(backbone(histories), calm(histories, training=True))
    first = backbone(histories, training=True).numpy()
    second = backbone(histories, training=True).numpy()
    assert not np.allclose(first, second, atol=1e-3)
    np.testing.assert_array_equal(backbone(histories), calm(histories))


@pytest.mark.slow
@every_backbone
def test_weights_are_a_function_of_the_seed(name, options):
    for mine, theirs in zip(values(make(name, options)), values(make(name, options)), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert not np.array_equal(
        make(name, options).item_table.numpy(), make(name, options, seed=1).item_table.numpy()
    )


@pytest.mark.slow
@every_backbone
def test_settings_rebuild_it(name, options):
    backbone = make(name, options)
    again = backbones.create(name, **backbone.settings)
    shapes = [variable.shape for variable in backbone.variables]
    assert [variable.shape for variable in again.variables] == shapes


@pytest.mark.parametrize("name", list(backbones.BACKBONES))
def test_unknown_settings_are_named(name):
    with pytest.raises(TypeError, match="has no setting depth, breadth"):
        backbones.create(name, num_items=2, depth=3, breadth=4)


@pytest.mark.parametrize("name", list(backbones.BACKBONES))
def test_settings_are_those_of_the_class_and_of_the_classes_above(name):
    names = setting_names(backbones.BACKBONES[name])
    shared = {"num_items", "width", "max_length", "num_blocks", "dropout", "precision"}
    assert shared < set(names) and "settings" not in names
    assert ("filter" in names) == (name in ("fmlp", "bsarec"))
    assert ("num_heads" in names) == (name not in ("fmlp", "gru4rec"))
    assert set(backbones.create(name, num_items=2, width=4).settings) == set(names)


def test_a_class_of_ones_own_may_fix_settings_of_a_known_backbone():
    class Narrow(backbones.SASRec):
        def __init__(self, *, num_items: int, max_length: int = 5) -> None:
            super().__init__(num_items=num_items, max_length=max_length, width=4, num_blocks=1)

    assert setting_names(Narrow) == ["num_items", "max_length"]
    clone = Narrow(num_items=9).clone()
    assert clone.settings == {"num_items": 9, "max_length": 5} and clone.width == 4


def test_unknown_backbone_names_the_known():
    with pytest.raises(UserError, match="sasrec"):
        backbones.create("sasrecc", num_items=2)


@pytest.mark.parametrize("variant", list(VARIANTS))
@pytest.mark.parametrize(("num_heads", "num_blocks"), [(1, 2), (4, 1), (2, 0)])
def test_sasrec_equals_numpy(variant, num_heads, num_blocks):
    options = {"variant": variant, "num_heads": num_heads, "num_blocks": num_blocks}
    backbone = make("sasrec", options)
    shake(backbone)
    found = backbone(tf.constant(HISTORIES)).numpy()
    for row, history in enumerate(HISTORIES):
        expected = encode(values(backbone), history, variant=variant, num_heads=num_heads)
        is_real = history > 0
        np.testing.assert_allclose(found[row][is_real], expected[is_real], rtol=0, atol=1e-5)


def test_sasrec_as_released_on_fresh_weights_equals_numpy():
    """A layer norm's epsilon matters most at the start: width 50, as in the paper."""
    backbone = make("sasrec", {"width": 50, "num_heads": 1, "num_blocks": 2})
    found = backbone(tf.constant(HISTORIES)).numpy()
    for row, history in enumerate(HISTORIES):
        expected = encode(values(backbone), history, variant="authors", num_heads=1)
        is_real = history > 0
        np.testing.assert_allclose(found[row][is_real], expected[is_real], rtol=0, atol=2e-5)


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_sasrec_starts_as_released(variant):
    width, length, num_items = 64, 60, 500
    backbone = make(
        "sasrec",
        {"variant": variant, "num_heads": 2, "num_blocks": 2},
        width=width,
        max_length=length,
        num_items=num_items,
    )
    block = backbone.blocks[1]
    attention, feed = block.attention, block.feed_forward
    deviations = [
        (backbone.item_table, np.sqrt(2 / (num_items + 1 + width))),
        (backbone.position_table, np.sqrt(2 / (length + width))),
        # Query, key and value are one 3*width x width matrix.
        (attention.query_kernel, np.sqrt(2 / (3 * width + width))),
        (attention.key_value_kernel, np.sqrt(2 / (3 * width + width))),
        (attention.output_kernel, np.sqrt(2 / (width + width))),
    ]
    feeding = (feed.inner_kernel, feed.outer_kernel)
    spread, uniform = np.sqrt(2 / (width + width)), set()
    if variant == "input_residual":
        # Uniform over +-1 / sqrt(width), as torch draws a convolution of one column.
        spread = np.sqrt(1 / (3 * width))
        drawn = (attention.query_kernel, attention.key_value_kernel, *feeding)
        uniform = {kernel.path for kernel in drawn}
    deviations += [(kernel, spread) for kernel in feeding]
    for variable, deviation in deviations:
        weights = variable.numpy()
        # The deviation of an estimate from n normal draws is about 1 / sqrt(2 n) of it.
        bound = 4 / np.sqrt(2 * weights.size)
        assert abs(weights.std() / deviation - 1) < bound, variable.path
        assert abs(weights.mean()) < 4 * deviation / np.sqrt(weights.size)
        farthest = np.abs(weights).max() / deviation
        if variable.path in uniform:
            assert 1.7 < farthest < 3**0.5 + 1e-6
        else:
            assert farthest > 3  # normal, not truncated at two deviations
    assert np.abs(backbone.item_table.numpy()[0]).min() > 0  # row 0 included
    for norm in (block.attention_norm, block.feed_forward_norm, backbone.final_norm):
        np.testing.assert_array_equal(norm.gamma, np.ones(width))
        np.testing.assert_array_equal(norm.beta, np.zeros(width))
        assert norm.epsilon == 1e-8
    kernels = [
        variable.numpy()
        for one in backbone.blocks
        for variable in (
            one.attention.output_kernel,
            one.feed_forward.inner_kernel,
            one.feed_forward.outer_kernel,
        )
    ]
    for place, kernel in enumerate(kernels):  # no draw is repeated
        for other in kernels[place + 1 :]:
            assert abs(np.corrcoef(kernel.ravel(), other.ravel())[0, 1]) < 0.1


def test_heads_must_divide_the_width():
    with pytest.raises(UserError, match="num_heads"):
        make("sasrec", {"num_heads": 3})


PRECISIONS = {"float32": 1e-5, "mixed_bfloat16": 0.1, "float64": 1e-12}
"""Precision to how far apart two ways to the same vector may be."""


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@every_backbone
def test_every_precision_goes_all_ways(name, options, precision):
    """Packed, padded and newest vectors; embeddings and blocks are in the compute dtype."""
    backbone = make(name, options, precision=precision)
    shake(backbone)
    histories = tf.constant(np.concatenate([HISTORIES, np.zeros([1, LENGTH], np.int32)]))
    embedded = backbone.embed(tf.constant([1, 2]))
    assert embedded.dtype == backbone.compute_dtype
    padded = backbone(histories)
    packed = backbone.call_packed(pack(histories), training=True)
    newest = backbone.encode(histories)
    assert padded.dtype == packed.dtype == newest.dtype == backbone.score_dtype
    near = PRECISIONS[precision]
    np.testing.assert_allclose(packed, padded.numpy()[histories.numpy() > 0], rtol=0, atol=near)
    np.testing.assert_allclose(newest[:3], padded[:3, -1], rtol=0, atol=near)
    assert np.isfinite(newest).all()


FIRST = {name: next(case for case in CASES if case.values[0] == name) for name in OPTIONS}
STEPS = [
    *((case, "mixed_bfloat16") for case in CASES),
    # SASRec's in float32 are everywhere else.
    *((case, "float32") for name, case in FIRST.items() if name != "sasrec"),
    # Loss, optimizer and evaluator are the same for all; FMLP-Rec's transforms are in float32.
    *((FIRST[name], "float64") for name in ("sasrec", "fmlp")),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "precision"),
    [pytest.param(*case.values, kind, id=f"{case.id}-{kind}") for case, kind in STEPS],
)
def test_a_step_and_an_evaluation_in_every_precision(name, options, precision):
    run = make_run(
        RunSettings(
            backbone=name,
            variant=options.get("variant", "authors"),
            options={key: value for key, value in options.items() if key != "num_blocks"},
            precision=precision,
            windows="prefixes" if (name, options.get("filter")) in SEE_LATER_ITEMS else "last",
            policy="replay",
            batch_size=2,
        ),
        split_of(tiny_histories(), TINY_ITEMS),
    )
    before = values(run.model.backbone)
    batch = next(iter(run.dataset()))
    run.host.open_gate(0)
    tf.config.run_functions_eagerly(True)  # tracing costs more than one step does
    try:
        loss = run.model.train_step(batch)["loss"]
    finally:
        tf.config.run_functions_eagerly(False)
    assert np.isfinite(loss) and loss.dtype == run.model.backbone.score_dtype
    assert any((a != b).any() for a, b in zip(before, values(run.model.backbone), strict=True))
    ranks = RankingEvaluator(run.split, max_length=MAX_LENGTH).ranks(run.model.backbone)
    assert ((ranks >= 1) & (ranks <= TINY_ITEMS)).all()
