"""Coverage, concentration and novelty by hand."""

import numpy as np
import pytest

from ufnrec_tf.evaluation.list_quality import beyond_accuracy, gini


def test_by_hand():
    # Five items; train events 4, 2, 1, 1, 0, so shares 1/2, 1/4, 1/8, 1/8 and, as of one, 1/8.
    counts = np.array([99, 4, 2, 1, 1, 0])
    items = np.array([[1, 2], [1, 5], [1, 0]])  # recommended 3, 1, 0, 0, 1 times
    found = beyond_accuracy(items, counts)
    assert found["coverage"] == 3 / 5
    assert found["novelty"] == pytest.approx((3 * 1 + 2 + 3) / 5)
    # Mean absolute difference of 0, 0, 1, 1, 3 over all 25 pairs is 28/25, the mean is 1.
    assert found["gini"] == pytest.approx(28 / 25 / 2)
    assert found["list_length"] == 2.0


def test_gini_is_half_the_mean_difference_over_the_mean():
    values = np.random.default_rng(0).integers(0, 50, size=40)
    expected = np.abs(values[:, None] - values).mean() / 2 / values.mean()
    assert gini(values) == pytest.approx(expected)
    assert gini(np.full(7, 3)) == pytest.approx(0.0)
    assert gini(np.array([0, 0, 0, 5])) == pytest.approx(3 / 4)
    assert gini(np.zeros(3)) == 0.0


def test_no_recommendation_at_all():
    found = beyond_accuracy(np.zeros((2, 3), int), np.array([0, 1, 1]))
    assert (found["coverage"], found["gini"], found["novelty"]) == (0.0, 0.0, 0.0)
