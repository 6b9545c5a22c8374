"""The optimizer against the oracle's Adam; schedules, clipping and weight decay by hand."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.reference.oracle import OracleAdam
from ufnrec_tf.method.optimizer import RowGradient, WarmUp, make_optimizer

PAPER: dict[str, Any] = {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.98, "epsilon": 1e-8}


def gradients_of(num_steps: int) -> list[np.ndarray]:
    """Of three rows; the scales differ by far, and the last row is untouched in odd steps."""
    rng = np.random.default_rng(4)
    found = []
    for step in range(num_steps):
        gradient = rng.normal(0, 1, (3, 2)) * np.array([[1.0], [1e-4], [1e-9]])
        gradient[2] *= 1 - step % 2
        found.append(gradient.astype(np.float32))
    return found


def test_steps_equal_the_oracles():
    start = np.array([[1.0, -2.0], [0.5, 3.0], [0.0, 1.0]], np.float32)
    variable, optimizer, oracle = tf.Variable(start), make_optimizer(**PAPER), OracleAdam()
    apply = tf.function(lambda gradient: optimizer.apply_gradients([(gradient, variable)]))
    optimizer.build([variable])
    expected = start.astype(np.float64)
    for gradient in gradients_of(12):
        apply(tf.constant(gradient))
        expected = oracle.step(expected, gradient)
        np.testing.assert_allclose(variable.numpy(), expected, rtol=0, atol=1e-6)
    # It moved, and further than its epsilon placed as Keras does would let the third row.
    assert abs(expected[2] - start[2]).max() > 3e-4


def test_first_step_shows_where_epsilon_is_added():
    """After the correction m = g and sqrt(v) = |g|, so the step is lr * g / (|g| + epsilon)."""
    variable = tf.Variable([0.0])
    make_optimizer(**PAPER).apply_gradients([(tf.constant([1e-8]), variable)])
    assert float(variable[0]) == pytest.approx(-1e-3 * 0.5, rel=1e-4)
    theirs = tf.Variable([0.0])
    keras.optimizers.Adam(
        learning_rate=1e-3, beta_1=0.9, beta_2=0.98, epsilon=1e-8
    ).apply_gradients([(tf.constant([1e-8]), theirs)])
    assert float(theirs[0]) == pytest.approx(-1e-3 * 0.1239, rel=1e-2)


def test_sparse_gradients_equal_dense_ones():
    """An index that stands twice adds up, and rows without a gradient still move."""
    start = np.arange(10, dtype=np.float32).reshape(5, 2)
    dense, sparse = tf.Variable(start), tf.Variable(start)
    for_dense, for_sparse = make_optimizer(**PAPER), make_optimizer(**PAPER)
    oracle, expected = OracleAdam(), start.astype(np.float64)
    rng = np.random.default_rng(6)
    for indices in ([0, 3, 3], [1, 0, 1], [3, 3, 3], [4, 2, 0]):
        values = rng.normal(0, 1, (3, 2)).astype(np.float32)
        whole = np.zeros((5, 2), np.float32)
        np.add.at(whole, indices, values)
        for_dense.apply_gradients([(tf.constant(whole), dense)])
        slices = tf.IndexedSlices(tf.constant(values), tf.constant(indices), tf.constant([5, 2]))
        for_sparse.apply_gradients([(slices, sparse)])
        expected = oracle.step(expected, whole)
        np.testing.assert_allclose(sparse.numpy(), dense.numpy(), rtol=0, atol=1e-7)
        np.testing.assert_allclose(dense.numpy(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("settings", [{}, {"clip_norm": 0.7}, {"weight_decay": 0.5}])
def test_lazy_rows_are_those_of_adam_and_the_others_stay(settings):
    """Rows 0 to 2 are read in each step, with repeats in any order; row 3 never."""
    start = np.arange(8, dtype=np.float32).reshape(4, 2)
    bias = np.array([4.0], np.float32)
    pairs = [[keras.Variable(value) for value in (start, bias)] for _ in range(2)]
    dense, lazy = (make_optimizer(**PAPER, **settings, lazy_rows=on) for on in (False, True))
    rng = np.random.default_rng(6)
    for optimizer, variables in zip((dense, lazy), pairs, strict=True):
        optimizer.build(variables)
    for rows in ([0, 2, 2, 1], [1, 0, 2, 1], [2, 0, 1, 0]):
        values = rng.normal(0, 1, (4, 2)).astype(np.float32)
        whole = np.zeros((4, 2), np.float32)
        np.add.at(whole, rows, values)
        parts = RowGradient(tf.constant(rows), tf.constant(values))
        for optimizer, variables, gradient in (
            (dense, pairs[0], tf.constant(whole)),
            (lazy, pairs[1], parts),
        ):
            optimizer.apply_on([gradient, tf.constant([0.3])], variables, lambda v: v.value)
    for expected, found in zip(dense.variables, lazy.variables, strict=True):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-6, atol=1e-7)
    (theirs, their_bias), (mine, my_bias) = ([v.numpy() for v in pair] for pair in pairs)
    np.testing.assert_allclose(mine[:3], theirs[:3], rtol=1e-6)
    np.testing.assert_allclose(my_bias, their_bias, rtol=1e-6)
    np.testing.assert_array_equal(mine[3], start[3])


def rates(num_taken: int, **settings) -> list[float]:
    """The learning rates that the steps used."""
    optimizer, variable = make_optimizer(**{**PAPER, **settings}), tf.Variable([0.0])
    found = []
    for _ in range(num_taken):
        before = float(variable[0])
        optimizer.apply_gradients([(tf.constant([1.0]), variable)])
        found.append(before - float(variable[0]))
    return found


def test_constant_rate():
    np.testing.assert_allclose(rates(4), [1e-3] * 4, rtol=1e-4)


def test_warm_up_is_linear():
    expected = [0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3, 1e-3]
    np.testing.assert_allclose(rates(6, warm_up_steps=4), expected, rtol=1e-3)


def test_cosine_falls_to_zero_at_the_last_step():
    expected = [1e-3 * (1 + np.cos(np.pi * step / 4)) / 2 for step in range(6)]
    expected[4:] = [0.0, 0.0]
    found = rates(6, schedule="cosine", num_steps=4)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-9)


def test_cosine_after_warm_up():
    found = rates(8, schedule="cosine", num_steps=6, warm_up_steps=2)
    cosine = [1e-3 * (1 + np.cos(np.pi * step / 4)) / 2 for step in range(5)]
    np.testing.assert_allclose(found[2:7], cosine, rtol=1e-3, atol=1e-9)
    assert found[0] < found[1] < found[2]


def test_warm_up_survives_its_config():
    copy = WarmUp.from_config(WarmUp(0.5, 10).get_config())
    assert float(copy(4)) == 0.25 and float(copy(100)) == 0.5


def test_clipping_is_by_the_norm_of_all_gradients_together():
    """So large an epsilon that the step is the gradient: of norm 5, clipped to 1."""
    optimizer = make_optimizer(
        learning_rate=1e4, beta_1=0.9, beta_2=0.98, epsilon=1e4, clip_norm=1.0
    )
    first, second = tf.Variable([0.0]), tf.Variable([[0.0], [0.0]])
    slices = tf.IndexedSlices(tf.constant([[4.0]]), tf.constant([1]), tf.constant([2, 1]))
    optimizer.apply_gradients([(tf.constant([3.0]), first), (slices, second)])
    np.testing.assert_allclose(first, [-0.6], rtol=1e-3)
    np.testing.assert_allclose(second, [[0.0], [-0.8]], rtol=1e-3)
    optimizer.apply_gradients([(tf.constant([0.0]), first), (tf.constant([[0.0], [0.3]]), second)])
    # m = 0.9 * 0.1 * 0.8 + 0.1 * 0.3, over 1 - 0.9^2.
    step = (0.9 * 0.1 * 0.8 + 0.1 * 0.3) / (1 - 0.9**2)
    np.testing.assert_allclose(second[1], [-0.8 - step], rtol=1e-3)


def test_clipping_of_an_index_that_stands_twice():
    """Its parts are one entry of the gradient: 3 + 1 = 4, so the norm is 5 with the other 3."""
    optimizer = make_optimizer(
        learning_rate=1e4, beta_1=0.9, beta_2=0.98, epsilon=1e4, clip_norm=1.0
    )
    variable = tf.Variable([[0.0], [0.0]])
    slices = tf.IndexedSlices(
        tf.constant([[3.0], [3.0], [1.0]]), tf.constant([0, 1, 1]), tf.constant([2, 1])
    )
    optimizer.apply_gradients([(slices, variable)])
    np.testing.assert_allclose(variable, [[-0.6], [-0.8]], rtol=1e-3)


@pytest.mark.parametrize("is_own", [False, True])
def test_coupled_weight_decay_goes_through_the_moments(is_own):
    """Added to the gradient that has been clipped; the last values are those of torch's Adam."""
    start, decay, norm = np.array([[1.0, -2.0], [0.5, 3.0], [0.0, 1.0]], np.float32), 0.05, 0.7
    variable = keras.Variable(start, dtype="float32")
    optimizer = make_optimizer(
        **PAPER, weight_decay=decay, weight_decay_kind="coupled", clip_norm=norm
    )
    optimizer.build([variable])
    oracle, expected = OracleAdam(), start.astype(np.float64)
    for gradient in gradients_of(4):
        if is_own:
            optimizer.apply_on([tf.constant(gradient)], [variable], lambda it: it.value)
        else:
            optimizer.apply_gradients([(tf.constant(gradient), variable)])
        clipped = gradient * min(1, norm / np.linalg.norm(gradient))
        expected = oracle.step(expected, clipped + decay * expected)
        np.testing.assert_allclose(variable.numpy(), expected, rtol=0, atol=1e-6)
    theirs = [[1.0029322, -1.9984169], [0.4960013, 2.9960003], [0.0003843, 0.9960002]]
    np.testing.assert_allclose(variable.numpy(), theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_steps_on_a_replicas_own_copies_are_those_of_keras(schedule):
    """With weight decay and clipping, on a schedule that reads the number of the step."""
    starts = [np.array([[1.0, -2.0], [0.5, 3.0], [0.0, 1.0]]), np.array([4.0])]
    settings = {**PAPER, "learning_rate": 0.1, "weight_decay": 0.5, "clip_norm": 0.7}
    results = []
    for is_own in (False, True):
        variables = [keras.Variable(start, dtype="float32") for start in starts]
        optimizer = make_optimizer(**settings, schedule=schedule, num_steps=4)
        optimizer.build(variables)
        for gradient in gradients_of(3):
            gradients = [tf.constant(gradient), tf.constant([0.3])]
            if is_own:
                optimizer.apply_on(gradients, variables, lambda variable: variable.value)
            else:
                optimizer.apply_gradients(zip(gradients, variables, strict=True))
        assert int(optimizer.iterations) == 3
        results.append([variable.numpy() for variable in variables])
    for start, keras_way, own_way in zip(starts, *results, strict=True):
        np.testing.assert_allclose(own_way, keras_way, rtol=1e-6)
        assert np.abs(own_way - start).max() > 0.1


def test_weight_decay_is_decoupled():
    start = np.array([2.0, -4.0], np.float32)
    plain, decayed = tf.Variable(start), tf.Variable(start)
    for_plain = make_optimizer(**{**PAPER, "learning_rate": 0.1})
    for_decayed = make_optimizer(**{**PAPER, "learning_rate": 0.1}, weight_decay=0.5)
    gradient = tf.constant([1.0, 1.0])
    for_plain.apply_gradients([(gradient, plain)])
    for_decayed.apply_gradients([(gradient, decayed)])
    # The step is that of the plain gradient; the weight itself shrinks by rate * decay.
    np.testing.assert_allclose(decayed - plain, -0.1 * 0.5 * start, rtol=1e-5)
