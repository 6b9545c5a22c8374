"""The EMA teacher against the oracle, the authors' own numbers, and by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.reference.oracle import OracleTeacher
from ufnrec_tf import backbones
from ufnrec_tf.backbones.packing import pack
from ufnrec_tf.method import teacher as teacher_module
from ufnrec_tf.method.teacher import EmaTeacher, warm_up_decay

GOLDEN = Path(__file__).parents[1] / "reference" / "golden"
HISTORIES = tf.constant([[0, 0, 3, 1], [2, 4, 5, 1]], tf.int32)


def make_student(dropout: float = 0.0):
    return backbones.create(
        "sasrec", num_items=5, width=4, max_length=4, num_blocks=1, num_heads=1, dropout=dropout
    )


def make_teacher(student, *, decay=0.999, uses_dropout=False) -> EmaTeacher:
    return EmaTeacher(student, decay=decay, uses_dropout=uses_dropout)


def newest(teacher: EmaTeacher) -> tf.Tensor:
    """The teacher's vectors float32 [B, D] of the newest column of `HISTORIES`."""
    packed = pack(HISTORIES)
    return tf.gather(teacher.encode_all(packed), tf.where(packed.columns == 3)[:, 0])


def values(backbone) -> list[np.ndarray]:
    return [v.numpy() for v in backbone.variables if "float" in str(v.dtype)]


def move(student, rng) -> None:
    for variable in student.trainable_variables:
        variable.assign_add(rng.normal(0, 0.3, variable.shape))


@pytest.mark.parametrize("decay", [0.999, 0.5])
def test_twelve_updates_equal_the_oracles(decay):
    rng = np.random.default_rng(1)
    student = make_student()
    teacher = make_teacher(student, decay=decay)
    oracle = OracleTeacher(values(student), decay=decay)
    update = tf.function(teacher.update)
    for number in range(1, 13):
        move(student, rng)
        update(tf.constant(number, tf.int64))
        oracle.update(values(student))
        for mine, theirs in zip(values(teacher.backbone), oracle.weights, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("decay", [0.999, 0.5])
def test_updates_match_golden(decay):
    rows = json.loads((GOLDEN / "torch_ema.json").read_text())[
        f"decay={decay},use_num_updates=True"
    ]
    student = make_student()
    weight = student.final_norm.gamma  # four numbers, as in the vectors
    weight.assign(rows[0]["param"])
    teacher = make_teacher(student, decay=decay)
    for row in rows[1:]:
        weight.assign(row["param"])
        teacher.update(tf.constant(row["num_updates"], tf.int64))
        used = float(warm_up_decay(decay, tf.constant(row["num_updates"], tf.int64)))
        assert used == pytest.approx(row["decay_used"], abs=1e-7)
        np.testing.assert_allclose(
            teacher.backbone.final_norm.gamma.numpy(), row["shadow"], rtol=0, atol=1e-6
        )
    assert len(rows) == 13


def test_update_zero_copies_bit_by_bit():
    rng = np.random.default_rng(2)
    student = make_student()
    teacher = make_teacher(student)
    for _ in range(3):
        move(student, rng)
        teacher.update(tf.constant(0, tf.int64))
        for mine, theirs in zip(values(teacher.backbone), values(student), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_decay_warms_up():
    def decay(number: int) -> float:
        return float(warm_up_decay(0.999, tf.constant(number, tf.int64)))

    assert decay(1) == pytest.approx(2 / 11, abs=1e-7)
    assert decay(2) == pytest.approx(3 / 12, abs=1e-7)
    assert decay(100) == pytest.approx(101 / 110, abs=1e-7)
    # (1 + n) / (10 + n) = 0.999 at n = 8,990.
    assert decay(8_980) < np.float32(0.999)
    assert decay(8_990) == decay(10**6) == np.float32(0.999)


def test_scores_have_no_gradient_and_weights_are_not_trained():
    student = make_student()
    teacher = make_teacher(student)
    assert teacher.backbone.trainable_variables == []
    with tf.GradientTape() as tape:
        for variable in teacher.backbone.variables:
            tape.watch(variable.value)
        vectors = newest(teacher)
        score = tf.reduce_sum(teacher.score(vectors, tf.constant([[1, 2], [3, 4]])))
    watched = [v.value for v in [*teacher.backbone.variables, *student.trainable_variables]]
    assert tape.gradient(score, watched) == [None] * len(watched)


def test_scores_are_dot_products_of_its_own_weights():
    student = make_student()
    teacher = make_teacher(student)
    vectors = newest(teacher).numpy()
    before = teacher.score(vectors, tf.constant([[1, 2], [3, 4]])).numpy()
    np.testing.assert_allclose(vectors, student.encode(HISTORIES), rtol=1e-6, atol=1e-6)
    table = student.item_table.numpy()
    expected = np.stack([table[[1, 2]] @ vectors[0], table[[3, 4]] @ vectors[1]])
    np.testing.assert_allclose(before, expected, rtol=1e-5, atol=1e-6)
    move(student, np.random.default_rng(3))
    vectors = newest(teacher).numpy()
    after = teacher.score(vectors, tf.constant([[1, 2], [3, 4]])).numpy()
    np.testing.assert_array_equal(after, before)


def test_dropout_of_the_teacher_is_an_option():
    student = make_student(dropout=0.5)
    quiet, noisy = (make_teacher(student, uses_dropout=on) for on in (False, True))
    np.testing.assert_array_equal(newest(quiet), newest(quiet))
    np.testing.assert_allclose(newest(quiet), student.encode(HISTORIES), rtol=1e-6, atol=1e-6)
    first, second = newest(noisy).numpy(), newest(noisy).numpy()
    assert not np.allclose(first, second)


@pytest.mark.parametrize("decay", [0.999, 0.5, 0.0])
def test_average_by_rows_is_that_of_all_rows(decay, monkeypatch):
    """Also once its numbers have been brought back into range, and before it starts."""
    monkeypatch.setattr(teacher_module, "_LEAST_SCALE", 1e-6)
    rng = np.random.default_rng(5)
    student = make_student()
    whole = make_teacher(student, decay=decay)
    lazy = EmaTeacher(student, decay=decay, uses_dropout=False, lazy_rows=True)
    num_rescaled = 0
    for number in [0, 0, *range(1, 60)]:
        rows = tf.constant(rng.choice(6, 2)[[0, 1, 0]], tf.int32)
        before = lazy.rows_of(rows)
        weights = student.item_table.numpy()
        weights[np.unique(rows)] += rng.normal(0, 0.3, (len(np.unique(rows)), 4))
        student.item_table.assign(weights)
        student.final_norm.gamma.assign_add([0.1, 0.0, 0.0, -0.1])
        whole.update(tf.constant(number, tf.int64))
        lazy.update(tf.constant(number, tf.int64), rows=rows, before=before)
        was = float(lazy.lag["scale"])
        lazy.rescale()
        num_rescaled += float(lazy.lag["scale"]) != was
    candidates = tf.constant([[1, 2], [3, 4]])
    expected, found = newest(whole), newest(lazy)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    scores = lazy.score(found, candidates)
    np.testing.assert_allclose(scores, whole.score(expected, candidates), rtol=0, atol=1e-5)
    for mine, theirs in zip(values(lazy.settle()), values(whole.backbone), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-5)
    assert num_rescaled > 0
