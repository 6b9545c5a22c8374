"""Small examples of the oracle's loss, teacher, gate and Adam, worked out by hand."""

import math

import numpy as np
import pytest

from tests.reference.oracle import OracleAdam, OracleTeacher, oracle_loss, plateau_epoch

ROW = np.ones((1, 3))


def loss_by_hand(**settings):
    """A positive and a flipped entry at logit 0, an ordinary negative at 0, teacher at log 3."""
    return oracle_loss(
        np.zeros((1, 3)),
        np.array([[1, 1, 0]]),
        weights=ROW,
        flipped=np.array([[False, True, False]]),
        teacher_logits=np.full((1, 3), math.log(3.0)),
        alpha=0.3,
        **settings,
    )


def test_loss_by_hand():
    log2 = math.log(2.0)
    kl = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)  # teacher .75, student .5
    loss = loss_by_hand()
    assert loss.bce == pytest.approx(2 * log2)
    assert loss.consistency_kl == pytest.approx(kl)
    assert loss.consistency_bce == pytest.approx(log2)
    assert loss.gradient == pytest.approx(np.array([[-1 / 3, -1 / 3 - 0.3 * 0.25, 1 / 3]]))
    pooled = loss_by_hand(consistency_mean="all")
    assert pooled.consistency_kl == pytest.approx(kl / 3)
    soft = loss_by_hand(soft_label_only=True)
    assert soft.bce == pytest.approx(2 * log2)
    assert soft.gradient == pytest.approx(np.array([[-0.5, -0.3 * 0.25, 0.5]]))


@pytest.mark.parametrize("consistency_mean", ["flipped", "all"])
@pytest.mark.parametrize("soft_label_only", [True, False])
def test_gradient_is_that_of_both_losses(consistency_mean, soft_label_only):
    rng = np.random.default_rng(3)
    logits, teacher = rng.normal(0, 2, size=(2, 3, 4))
    flipped = np.zeros((3, 4), bool)
    flipped[0, 1] = flipped[2, 3] = True
    labels = flipped.astype(float)
    labels[:, 0] = 1
    weights = np.ones((3, 4))
    weights[1] = 0

    def run(values):
        return oracle_loss(
            values,
            labels,
            weights=weights,
            flipped=flipped,
            teacher_logits=teacher,
            consistency_mean=consistency_mean,
            soft_label_only=soft_label_only,
        )

    gradient = run(logits).gradient
    for entry in np.ndindex(3, 4):
        step = np.zeros((3, 4))
        step[entry] = 1e-5
        up, down = run(logits + step), run(logits - step)
        for name in ("loss_kl", "loss_bce"):
            slope = (getattr(up, name) - getattr(down, name)) / 2e-5
            assert gradient[entry] == pytest.approx(slope, abs=1e-8)


def test_loss_without_teacher_or_without_flips_is_the_bce():
    labels = np.array([[1, 0, 0]])
    loss = oracle_loss(
        np.zeros((1, 3)), labels, weights=ROW, flipped=labels > 1, teacher_logits=None
    )
    assert loss.loss_kl == loss.loss_bce == loss.bce == pytest.approx(2 * math.log(2.0))


def test_consistency_is_zero_where_student_and_teacher_agree():
    logits = np.array([[0.3, -2.0, 1.0]])
    loss = oracle_loss(
        logits,
        np.array([[1, 1, 0]]),
        weights=ROW,
        flipped=np.array([[False, True, False]]),
        teacher_logits=logits,
    )
    assert loss.consistency_kl == pytest.approx(0.0, abs=1e-15) and loss.consistency_bce > 0.1


def test_teacher_warms_up():
    teacher = OracleTeacher([np.array([0.0])], decay=0.999)
    assert teacher.update([np.array([11.0])]) == 2 / 11
    assert teacher.weights[0] == pytest.approx([9.0])
    teacher.num_updates = 8988
    assert teacher.update([np.array([9.0])]) < 0.999 == teacher.update([np.array([9.0])])


def test_plateau_gate():
    falling = [100.0, 90, 80, 70, 60, 50, 40, 30]  # (L1 - L6) / 200 = 0.25
    assert plateau_epoch(falling[:7]) is None
    assert plateau_epoch(falling) is None
    assert plateau_epoch([*falling, 29.75]) is None  # 0.25 is not less
    assert plateau_epoch([*falling, 29.8]) == 10
    assert plateau_epoch([*falling[:7], 39.9]) == 9
    assert plateau_epoch([*falling[:7], 41.0, 20.0]) == 9  # a rise fires, and it stays open


def test_adam_adds_epsilon_after_the_correction():
    adam = OracleAdam(learning_rate=0.1, epsilon=1.0)
    weight = adam.step(np.array([1.0]), np.array([3.0]))
    assert weight == pytest.approx([1.0 - 0.1 * 3 / 4])  # both corrected moments: 3 and 9
    first, second = (0.9 * 0.3 + 0.1) / 0.19, (0.98 * 0.18 + 0.02) / (1 - 0.98**2)
    expected = 1.0 - 0.1 * 3 / 4 - 0.1 * first / (math.sqrt(second) + 1)
    assert adam.step(weight, np.array([1.0])) == pytest.approx([expected])
