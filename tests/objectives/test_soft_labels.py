"""Every loss with soft labels: against loops in NumPy, by hand, and as an expectation."""

import numpy as np
import pytest
import tensorflow as tf

from tests.objectives.test_from_file import written
from tests.objectives.test_functions import BINARY, NUM_ITEMS, SHIFTS, softplus
from ufnrec_tf import objectives
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.objectives import OBJECTIVES
from ufnrec_tf.objectives.base import Entries, LossSettings

NUM_POSITIONS, NUM_LABELS, WIDTH, MASS = 6, 4, 3, 0.3
UNLABELLED, FILLER = 2, 5
LOSSES = sorted(OBJECTIVES)
DIVISORS = tf.constant([40, 40, 0, NUM_POSITIONS - 1, 0], tf.int64)


class Case:
    """Random positions: one without labels, one filler; draws that are labels, labels observed."""

    def __init__(self, loss: str, mass: float = MASS, dtype: tf.DType = tf.float64) -> None:
        rng = np.random.default_rng(list(map(ord, loss)))
        most = OBJECTIVES[loss].most_negatives
        self.num_negatives = 6 if most is None else most
        self.loss, self.mass, self.dtype, self.smoothing = loss, mass, dtype, 0.0
        self.vectors = rng.normal(size=(NUM_POSITIONS, WIDTH))
        self.table = rng.normal(size=(NUM_ITEMS + 1, WIDTH))
        shape = (NUM_POSITIONS, 1 + self.num_negatives)
        self.candidates = rng.integers(1, 9, shape)  # repeated, and often labels
        self.candidates[:, 0] = NUM_ITEMS - np.arange(NUM_POSITIONS)  # never drawn
        labels = [1 + rng.permutation(8)[:NUM_LABELS] for _ in range(NUM_POSITIONS)]
        self.labels, self.shares = np.array(labels), rng.random((NUM_POSITIONS, NUM_LABELS))
        self.labels[0, 1] = self.candidates[0, 0]
        for row in (UNLABELLED, FILLER):
            self.labels[row], self.shares[row] = 0, 0.0
        self.labels[1, -1], self.shares[1, -1] = 0, 0.0
        self.shares /= np.maximum(self.shares.sum(axis=1, keepdims=True), 1e-9)
        self.counted = rng.random(shape) < 0.8
        self.counted[:, 0] = True
        self.counted[FILLER] = False

    def targets(self, row):
        """Item to weight."""
        weights = {int(self.candidates[row, 0]): 1.0 - self.mass * self.shares[row].sum()}
        for item, share in zip(self.labels[row], self.shares[row], strict=True):
            if share:
                weights[int(item)] = weights.get(int(item), 0.0) + self.mass * share
        return weights

    def found(self, *, with_labels=True, candidates=None, counted=None):
        """The ranking term and its gradients by vectors and table."""
        vectors, table = (tf.constant(part, self.dtype) for part in (self.vectors, self.table))
        candidates = tf.constant(self.candidates if candidates is None else candidates, tf.int32)
        counted = tf.constant(self.counted if counted is None else counted)
        nothing = tf.zeros_like(counted)
        with tf.GradientTape() as tape:
            tape.watch([vectors, table])

            def score(items):
                return tf.einsum("pd,pkd->pk", vectors, tf.gather(table, items))

            items = tf.constant(self.labels, tf.int32)
            labels = (items, tf.constant(self.shares, tf.float32), score(items))
            ranking = OBJECTIVES[self.loss](
                LossSettings(
                    NUM_ITEMS,
                    max(self.num_negatives, 1),
                    label_mass=self.mass,
                    label_smoothing=self.smoothing,
                ),
                consistency_weight=0.0,
                averages_over_flipped=False,
                uses_soft_label_only=False,
                l2=0.0,
            )(
                logits=score(candidates),
                entries=Entries(candidates, nothing, nothing, counted),
                is_softened=nothing,
                teacher_logits=tf.zeros(nothing.shape, self.dtype),
                vectors=vectors,
                item_table=table,
                divisors=DIVISORS,
                labels=labels if with_labels else None,
            ).ranking
        gradients = tape.gradient(ranking, [vectors, table])
        return float(ranking), *(tf.convert_to_tensor(each).numpy() for each in gradients)

    def expected(self):
        """The expectation over the target of the loss with each item as the positive."""
        total = 0.0
        for row in range(NUM_POSITIONS - 1):
            scores = self.table @ self.vectors[row]
            drawn = self.candidates[row, 1:][self.counted[row, 1:]]
            for item, weight in self.targets(row).items():
                negatives = scores[drawn[drawn != item]]
                total += weight * self._one_hot_loss(scores, scores[item], negatives)
        return total / (20 if self.loss == "pooled_bce" else NUM_POSITIONS - 1)

    def _one_hot_loss(self, scores, positive, negatives):
        shift, weight, rest = SHIFTS.get(self.loss, 0.0), 1.0, 1.0
        if self.loss == "gbce":
            rate, rest = 6 / (NUM_ITEMS - 1), 1 / 7
            weight = rest * rate * (0.75 * (1 - 1 / rate) + 1 / rate)
        if self.loss in BINARY:
            wrong = softplus(negatives + shift).sum()
            return weight * softplus(-positive - shift) + rest * wrong
        if self.loss == "cross_entropy":
            positive += self.smoothing * (scores[1:].mean() - positive)
            return np.log(np.exp(scores[1:]).sum()) - positive
        return np.log(np.exp(positive) + np.exp(negatives + shift).sum()) - positive


@pytest.mark.parametrize("loss", LOSSES)
def test_the_term_is_the_expectation_over_the_target(loss):
    """Against loops, and against the loss itself with each item in the positive's place."""
    case = Case(loss)
    value, by_vectors, by_table = case.found()
    assert value == pytest.approx(case.expected(), rel=1e-6)
    most = max(len(case.targets(row)) for row in range(NUM_POSITIONS))
    parts = []
    for number in range(most):
        candidates, counted = case.candidates.copy(), case.counted.copy()
        for row in range(NUM_POSITIONS):
            item = [*case.targets(row), *[0] * most][number]
            candidates[row, 0] = item or candidates[row, 0]
            counted[row, 1:] &= candidates[row, 1:] != item
            counted[row] &= item > 0
        # One row at a time, by the weight of its target.
        for row in range(NUM_POSITIONS - 1):
            weight = [*case.targets(row).values(), *[0.0] * most][number]
            own = counted & (np.arange(NUM_POSITIONS) == row)[:, None]
            found = case.found(with_labels=False, candidates=candidates, counted=own)
            parts.append([weight * part for part in found])
    for part, found in zip(zip(*parts, strict=True), (value, by_vectors, by_table), strict=True):
        np.testing.assert_allclose(sum(part), found, rtol=1e-6, atol=1e-6)
    assert not by_vectors[FILLER].any() and not by_table[0].any()


@pytest.mark.parametrize("loss", LOSSES)
def test_no_mass_and_no_labels_are_plain(loss):
    case = Case(loss, mass=0.0, dtype=tf.float32)
    plain = case.found(with_labels=False)
    for part, found in zip(plain, case.found(), strict=True):
        np.testing.assert_allclose(part, found, rtol=2e-6, atol=2e-7)
    case.mass = MASS
    plain, found = case.found(with_labels=False), case.found()
    np.testing.assert_allclose(plain[1][UNLABELLED], found[1][UNLABELLED], rtol=2e-6, atol=2e-7)
    assert np.abs(plain[1] - found[1]).max() > 1e-3


def by_hand(loss, candidates, scores, labels, shares, num_items=4, num_negatives=1):
    """The ranking term of one position with a mass of one half, vector (1), scores the table."""
    table = tf.constant([0.0, *scores], tf.float64)[:, None]
    candidates, labels = tf.constant([candidates]), tf.constant([labels])
    counted = tf.ones(candidates.shape, tf.bool)
    objective = OBJECTIVES[loss](
        LossSettings(num_items, num_negatives, label_mass=0.5),
        consistency_weight=0.0,
        averages_over_flipped=False,
        uses_soft_label_only=False,
        l2=0.0,
    )
    terms = objective(
        logits=tf.gather(table[:, 0], candidates),
        entries=Entries(candidates, ~counted, ~counted, counted),
        is_softened=~counted,
        teacher_logits=tf.zeros(candidates.shape, tf.float64),
        vectors=tf.ones([1, 1], tf.float64),
        item_table=table,
        divisors=tf.constant([2, 2, 0, 1, 0], tf.int64),
        labels=(labels, tf.constant([shares], tf.float64), tf.gather(table[:, 0], labels)),
    )
    return float(terms.total)


def test_cross_entropy_by_hand():
    """Scores log 1, 2, 3, 4: p is .1, .2, .3, .4. Target .5 of item 1, .3 of 2, .2 of 4."""
    found = by_hand("cross_entropy", [1], np.log([1, 2, 3, 4]), [2, 4], [0.6, 0.4])
    expected = -(0.5 * np.log(0.1) + 0.3 * np.log(0.2) + 0.2 * np.log(0.4))
    assert found == pytest.approx(expected, rel=1e-9)


def test_sampled_softmax_by_hand():
    """Item 1 is observed, 4 drawn, 2 and 4 labels: against itself 4 has nothing to lose to."""
    found = by_hand("sampled_softmax", [1, 4], np.log([1, 2, 3, 4]), [2, 4], [0.6, 0.4])
    expected = 0.5 * np.log(5 / 1) + 0.3 * np.log(6 / 2) + 0.2 * np.log(4 / 4)
    assert found == pytest.approx(expected, abs=2e-6)


def test_bce_by_hand():
    """As above; the drawn item 4 is a negative but for its target of .2."""
    found = by_hand("bce", [1, 4], np.log([1, 2, 3, 4]), [2, 4], [0.6, 0.4])
    expected = 0.5 * np.log(2) + 0.3 * np.log(3 / 2) + 0.2 * np.log(5 / 4) + 0.8 * np.log(5)
    assert found == pytest.approx(expected, rel=1e-9)
    pooled = by_hand("pooled_bce", [1, 4], np.log([1, 2, 3, 4]), [2, 4], [0.6, 0.4])
    assert pooled == pytest.approx(expected, rel=1e-9)  # of two entries, twice the mean


def test_far_out_scores_keep_the_gradient_finite():
    for loss in LOSSES:
        case = Case(loss, dtype=tf.float32)
        case.vectors *= 300
        for found in case.found():
            assert np.isfinite(found).all(), loss


@pytest.mark.slow
def test_a_loss_of_the_users_own_must_say_what_it_does_with_labels(tmp_path):
    path = written(tmp_path)
    for name in ("Hinge", "Mine"):  # the second inherits a term that may not be its own
        assert not objectives.find(f"{path}:{name}").has_soft_ranking_term()
    assert all(kind.has_soft_ranking_term() for kind in OBJECTIVES.values())
    text, before = path.read_text(encoding="utf-8"), "class Mine(SampledSoftmax):\n    pass\n"
    own = before.replace("pass", "soft_ranking_term = SampledSoftmax.soft_ranking_term")
    path.write_text(text.replace(before, own), encoding="utf-8")
    assert objectives.find(f"{path}:Mine").has_soft_ranking_term()
    broken = "def soft_ranking_term(self, scored, targets):\n        return targets.weights"
    path.write_text(text.replace(before, before.replace("pass", broken)), encoding="utf-8")
    with pytest.raises(UserError, match="float32 scalar from `soft_ranking_term`"):
        objectives.find(f"{path}:Mine")


def test_smoothing_takes_its_share_of_each_label():
    case = Case("cross_entropy")
    without = case.found()[0]
    case.smoothing = 0.2
    assert case.found()[0] == pytest.approx(case.expected(), rel=1e-6)
    assert abs(case.found()[0] - without) > 0.01
