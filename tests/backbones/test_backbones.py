"""The other backbones against NumPy, and the effect of padding on each."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.backbones.test_conformance import HISTORIES, LENGTH, WIDTH, make, shake, values
from tests.reference import numpy_backbones
from ufnrec_tf.backbones.bsarec import low_pass_matrix
from ufnrec_tf.common.errors import UserError

PASSES: dict[str, tuple[Callable[..., np.ndarray], list[dict[str, Any]]]] = {
    "gru4rec": (numpy_backbones.gru4rec, [{}, {"num_blocks": 1, "hidden_width": 5}]),
    "hstu": (numpy_backbones.hstu, [{"num_heads": 1}, {"num_heads": 4}]),
    "fmlp": (numpy_backbones.fmlp, [{"filter": "circular"}, {"filter": "causal"}]),
    "bsarec": (
        numpy_backbones.bsarec,
        [
            {"filter": "circular", "num_heads": 2, "frequency_share": 0.3, "low_frequencies": 3},
            {"filter": "causal", "num_heads": 1, "frequency_share": 0.7, "low_frequencies": 2},
        ],
    ),
}
CASES = [
    pytest.param(name, {"num_blocks": 2, **options}, id="-".join([name, *map(str, options)]))
    for name, (_, every) in PASSES.items()
    for options in every
]


@pytest.mark.parametrize("length", [LENGTH, LENGTH + 1])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_vectors_equal_numpy(name, options, length):
    backbone = make(name, options, max_length=length)
    shake(backbone)
    histories = np.pad(HISTORIES, [[0, 0], [length - LENGTH, 0]])
    found = backbone(tf.constant(histories)).numpy()
    settings = {key: value for key, value in options.items() if key != "hidden_width"}
    for row, history in enumerate(histories):
        expected = PASSES[name][0](values(backbone), history, **settings)
        is_read = (history > 0) | (not backbone.is_causal)
        np.testing.assert_allclose(found[row][is_read], expected[is_read], rtol=0, atol=1e-4)
        assert expected[is_read].std() > 0.1


@pytest.mark.parametrize(("name", "options"), CASES)
def test_only_circular_filters_read_padding(name, options):
    """Moves all that a padded column could hold: the row of no item, and its position's."""
    backbone = make(name, options)
    shake(backbone)
    history = tf.constant(HISTORIES[1:2])  # three padded columns
    before = backbone(history).numpy()[0, 3:]
    move = np.zeros(backbone.item_table.shape)
    move[0] = np.linspace(1, 3, WIDTH)
    backbone.item_table.assign_add(move)
    np.testing.assert_allclose(backbone(history).numpy()[0, 3:], before, rtol=0, atol=1e-6)
    if name in ("fmlp", "bsarec"):
        move = np.zeros(backbone.position_table.shape)
        move[:3] = np.linspace(1, 3, WIDTH) ** 2
        backbone.position_table.assign_add(move)
        after = backbone(history).numpy()[0, 3:]
        assert np.allclose(after, before, atol=1e-6) == (options["filter"] == "causal")


@pytest.mark.parametrize("name", ["gru4rec", "fmlp", "bsarec"])
def test_longer_windows_change_nothing_where_padding_is_not_read(name):
    """Equal weights for the columns of both windows; HSTU divides by the length of the window."""
    # As many columns in the mean: ceil(7 / 2) = ceil(14 / 4).
    low = {"bsarec": ({"low_frequencies": 2}, {"low_frequencies": 4})}.get(name, ({}, {}))
    options: dict[str, Any] = {} if name == "gru4rec" else {"filter": "causal"}
    short = make(name, {**options, **low[0]})
    long = make(name, {**options, **low[1]}, max_length=2 * LENGTH)
    shake(short)
    shake(long)
    for theirs, mine in zip(long.trainable_variables, short.trainable_variables, strict=True):
        if mine.path.endswith("position_table"):
            theirs.assign(np.concatenate([theirs.numpy()[:LENGTH], mine.numpy()]))
        elif mine.shape == theirs.shape:
            theirs.assign(mine)
        else:  # weights by distance
            theirs.assign(np.concatenate([mine.numpy(), theirs.numpy()[:, LENGTH:]], axis=1))
    more = np.pad(HISTORIES, [[0, 0], [LENGTH, 0]])
    found = long(tf.constant(more)).numpy()[:, LENGTH:]
    is_real = HISTORIES > 0
    expected = short(tf.constant(HISTORIES)).numpy()
    np.testing.assert_allclose(found[is_real], expected[is_real], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["fmlp", "bsarec"])
def test_padding_as_released_equals_numpy_and_is_never_trained(name):
    (options,) = (case for case in PASSES[name][1] if case["filter"] == "circular")
    options = {**options, "num_blocks": 2, "padding": "released"}
    backbone = make(name, options)
    shake(backbone)
    with tf.GradientTape() as tape:
        found = backbone(tf.constant(HISTORIES))
        loss = tf.reduce_sum(found**3)
    for row, history in enumerate(HISTORIES):
        expected = PASSES[name][0](values(backbone), history, **options)
        np.testing.assert_allclose(found[row], expected, rtol=0, atol=1e-4)
    gradient = tf.convert_to_tensor(tape.gradient(loss, backbone.item_table)).numpy()
    assert np.abs(gradient[1:8]).min(axis=1).all() and not gradient[0].any()


@pytest.mark.parametrize("name", ["sasrec", "bsarec"])
def test_attention_weights_may_have_a_dropout_of_their_own(name):
    for rate, expected in ((-1.0, 0.3), (0.0, 0.0)):
        settings = {"dropout": 0.3, "num_blocks": 1, "attention_dropout": rate}
        (block,) = make(name, settings).blocks
        assert block.attention.dropout.rate == expected
        other = block.feed_forward.outer_dropout if name == "sasrec" else block.filter_dropout
        assert other.rate == 0.3


def test_bsarec_may_start_as_xavier():
    (block,) = make("bsarec", {"initializer": "xavier"}, width=64, num_blocks=1).blocks
    for layer, deviation in ((block.attention, 1 / 8), (block.feed_forward, (2 / 320) ** 0.5)):
        kernels = [weight.numpy() for weight in layer.weights if weight.path.endswith("kernel")]
        assert len(kernels) == (3 if layer is block.attention else 2)
        for kernel in kernels:
            assert abs(kernel.std() / deviation - 1) < 4 / (2 * kernel.size) ** 0.5
            assert np.abs(kernel).max() > 3 * deviation


def test_low_pass_keeps_slow_waves_and_nothing_else():
    """c = 5 keeps the mean and one and two turns a window, of 50 columns."""
    matrix = low_pass_matrix(50, 5)
    angle = 2 * np.pi * np.arange(50) / 50
    for turns in range(26):
        for wave in (np.cos(turns * angle + 0.3), np.sin(turns * angle + 0.3)):
            expected = wave if turns <= 2 else np.zeros(50)
            np.testing.assert_allclose(matrix @ wave, expected, rtol=0, atol=1e-5)


def test_filters_are_named_in_the_error():
    with pytest.raises(UserError, match=r"backbone.filter.*causal, circular.*'circle'"):
        make("fmlp", {"filter": "circle"})


@pytest.mark.parametrize("name", ["bsarec", "hstu"])
def test_heads_must_divide_the_width(name):
    with pytest.raises(UserError, match="num_heads"):
        make(name, {"num_heads": 3})


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), CASES)
def test_bfloat16_is_near_float32_and_keeps_float32_weights(name, options):
    exact, rough = (
        make(name, options, precision=precision) for precision in ("float32", "mixed_bfloat16")
    )
    assert {variable.dtype for variable in rough.trainable_variables} == {"float32"}
    vectors = [backbone(tf.constant(HISTORIES)).numpy() for backbone in (exact, rough)]
    assert vectors[1].dtype == np.float32
    is_real = HISTORIES > 0
    difference = np.abs(vectors[0] - vectors[1])[is_real]
    assert 1e-6 < difference.max() < 0.05 * np.abs(vectors[0][is_real]).max()
