"""The objective against the oracle's loss and the authors' own numbers, gradients included."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.reference.oracle import oracle_loss
from ufnrec_tf.method.candidates import count_entries
from ufnrec_tf.objectives.base import Entries, LossSettings
from ufnrec_tf.objectives.binary import PooledBCE
from ufnrec_tf.objectives.functions import bce, bernoulli_kl

GOLDEN = Path(__file__).parents[1] / "reference" / "golden"
NUM_CASES = 240
TABLE = np.arange(6, dtype=np.float32).reshape(3, 2)


def make_objective(alpha=0.3, mean="flipped", soft_label_only=False, l2=0.0) -> PooledBCE:
    return PooledBCE(
        LossSettings(num_items=2, num_negatives=2),
        consistency_weight=alpha,
        averages_over_flipped=mean == "flipped",
        uses_soft_label_only=soft_label_only,
        l2=l2,
    )


def run_objective(objective, logits, labels, weights, softened, teacher_logits):
    """Returns the terms and the gradient by the logits."""
    logits = tf.constant(logits, tf.float32)
    is_softened = tf.constant(softened)
    is_flipped = np.asarray(labels) > 0
    is_flipped[:, :1] = False
    entries = Entries(
        candidates=tf.zeros(logits.shape, tf.int32),
        is_flipped=tf.constant(is_flipped),
        is_removed=tf.zeros(logits.shape, tf.bool),
        is_counted=tf.constant(np.asarray(weights) > 0),
    )
    with tf.GradientTape() as tape:
        tape.watch(logits)
        terms = objective(
            logits=logits,
            entries=entries,
            is_softened=is_softened,
            divisors=count_entries(entries, is_softened, objective.uses_soft_label_only),
            teacher_logits=tf.constant(teacher_logits, tf.float32),
            vectors=tf.zeros([logits.shape[0], TABLE.shape[1]]),
            item_table=tf.constant(TABLE),
        )
    return terms, tape.gradient(terms.total, logits).numpy()


def random_loss_case(seed: int) -> dict:
    rng = np.random.default_rng([5, seed])
    shape = (int(rng.integers(1, 7)), 1 + int(rng.integers(1, 7)))
    flipped = rng.random(shape) < rng.choice([0.0, 0.1, 0.5])
    weights = rng.random(shape) < rng.choice([0.5, 0.9, 1.0])
    weights[:, 0], flipped[:, 0] = True, False
    flipped &= weights
    labels = flipped.astype(np.float64)
    labels[:, 0] = 1
    scale = rng.choice([0.1, 2.0, 20.0])
    return {
        "logits": rng.normal(0, scale, shape).astype(np.float32),
        "labels": labels,
        "weights": weights.astype(np.float64),
        "flipped": flipped,
        "teacher_logits": rng.normal(0, scale, shape).astype(np.float32) if seed % 3 else None,
        "alpha": float(rng.choice([0.0, 0.3, 2.0])),
        "consistency_mean": ("flipped", "all")[seed % 2],
        "soft_label_only": bool(seed // 2 % 2),
    }


def test_objective_equals_the_oracle_on_random_cases():
    contents = {"softened": 0, "excluded": 0, "without_teacher": 0, "nothing_labelled": 0}
    for seed in range(NUM_CASES):
        case = random_loss_case(seed)
        teacher = case["teacher_logits"]
        # Without a teacher nothing is softened, and every flipped entry keeps its hard label.
        softened = case["flipped"] if teacher is not None else np.zeros_like(case["flipped"])
        expected = oracle_loss(**{**case, "flipped": softened})
        objective = make_objective(case["alpha"], case["consistency_mean"], case["soft_label_only"])
        teacher_logits = np.full(softened.shape, np.nan) if teacher is None else teacher
        # What is not read must not matter.
        teacher_logits = np.where(softened, teacher_logits, 0.0)
        terms, gradient = run_objective(
            objective, case["logits"], case["labels"], case["weights"], softened, teacher_logits
        )
        for name, value in (("ranking", expected.bce), ("total", expected.loss_kl)):
            found = float(getattr(terms, name))
            np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-5, err_msg=str(seed))
        if case["alpha"]:
            np.testing.assert_allclose(
                float(terms.consistency), expected.consistency_kl, rtol=1e-5, atol=1e-5
            )
        np.testing.assert_allclose(gradient, expected.gradient, rtol=0, atol=1e-5)
        contents["softened"] += bool(softened.any())
        contents["excluded"] += bool((case["weights"] == 0).any())
        contents["without_teacher"] += bool(teacher is None and case["flipped"].any())
    assert contents["softened"] > 60 and contents["excluded"] > 60
    assert contents["without_teacher"] > 30


@pytest.mark.parametrize("number", range(3))
def test_objective_matches_golden(number):
    """The authors' BCE against the soft label is the KL plus the teacher's entropy."""
    case = json.loads((GOLDEN / "loss.json").read_text())[number]
    candidates = np.array(case["all_samples"])
    flipped = np.zeros(candidates.shape, bool)
    for row, position, negative in case["reversed"]:
        flipped[row, position, 1 + negative] = True
    is_real = candidates[..., 0] != 0  # only real positions reach the objective
    logits, labels, teacher_logits, expected_gradient = (
        np.array(case[name])[is_real]
        for name in ("logits", "labels", "teacher_logits", "grad_logits")
    )
    flipped = flipped[is_real]
    terms, gradient = run_objective(
        make_objective(case["lbd"]),
        logits,
        labels,
        np.ones_like(labels),
        flipped,
        teacher_logits,
    )
    share = 1 / (1 + np.exp(-teacher_logits[flipped]))
    entropies = -share * np.log(share) - (1 - share) * np.log(1 - share)
    entropy = entropies.mean() if flipped.any() else 0.0
    assert float(terms.ranking) == pytest.approx(case["bce_times_2"], rel=1e-6)
    assert float(terms.consistency) + entropy == pytest.approx(
        case["consistency_unweighted"], rel=1e-6
    )
    assert float(terms.total) + case["lbd"] * entropy == pytest.approx(case["loss"], rel=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=0, atol=1e-7)


def test_l2_is_the_norm_of_the_item_table_and_reaches_its_gradient():
    table = tf.Variable(TABLE)
    objective = make_objective(l2=0.5)
    nothing = tf.zeros([1, 2], tf.bool)
    entries = Entries(tf.constant([[1, 2]]), nothing, nothing, ~nothing)
    with tf.GradientTape() as tape:
        terms = objective(
            logits=tf.constant([[1.0, -1.0]]),
            entries=entries,
            is_softened=nothing,
            teacher_logits=tf.zeros([1, 2]),
            vectors=tf.zeros([1, TABLE.shape[1]]),
            item_table=tf.convert_to_tensor(table),
            divisors=count_entries(entries, nothing, objective.uses_soft_label_only),
        )
    norm = np.sqrt(55.0)  # 0 + 1 + 4 + 9 + 16 + 25
    assert float(terms.l2) == pytest.approx(0.5 * norm, rel=1e-6)
    assert float(terms.total) == pytest.approx(float(terms.ranking) + 0.5 * norm, rel=1e-6)
    np.testing.assert_allclose(
        tape.gradient(terms.total, table), 0.5 * TABLE / norm, rtol=0, atol=1e-6
    )


def test_by_hand():
    """Two entries of logit 0 cost log 2 each, whatever the label; the mean is doubled."""
    nothing = np.zeros((1, 2), bool)
    terms, gradient = run_objective(
        make_objective(), [[0.0, 0.0]], [[1.0, 0.0]], [[1, 1]], nothing, [[0.0, 0.0]]
    )
    assert float(terms.total) == pytest.approx(2 * np.log(2), rel=1e-6)
    np.testing.assert_allclose(gradient, [[-0.5, 0.5]], atol=1e-7)


def test_no_positions_cost_nothing():
    """A replica may get no position."""
    nothing = np.zeros((0, 3))
    terms, gradient = run_objective(
        make_objective(), nothing, nothing, nothing, nothing > 0, nothing
    )
    assert float(terms.total) == 0.0 and gradient.shape == (0, 3)


def test_divergence_is_zero_at_agreement_and_finite_far_out():
    logits = tf.constant([-80.0, -3.0, 0.0, 2.5, 80.0])
    np.testing.assert_allclose(bernoulli_kl(logits, logits), np.zeros(5), atol=1e-6)
    far = bernoulli_kl(tf.constant([80.0, -80.0]), tf.constant([-80.0, 80.0]))
    np.testing.assert_allclose(far, [80.0, 80.0], rtol=1e-5)
    assert (bernoulli_kl(logits, tf.reverse(logits, [0])).numpy() >= -1e-6).all()
    np.testing.assert_allclose(bce(tf.constant([0.0]), tf.constant([0.3])), [np.log(2)], rtol=1e-6)
