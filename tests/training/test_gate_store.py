"""The weights at which the gate opened, kept for the matching of flagged pairs."""

import numpy as np
import pytest

from ufnrec_tf import backbones
from ufnrec_tf.method.teacher import EmaTeacher
from ufnrec_tf.runs.checkpoints import GATE
from ufnrec_tf.training.loop import gate_store


@pytest.mark.parametrize("is_average", [False, True])
def test_the_weights_of_student_or_average_come_back(tmp_path, is_average):
    student, other = (
        backbones.create(
            "sasrec", num_items=5, width=4, max_length=4, num_blocks=1, num_heads=1, dropout=0.1
        )
        for _ in range(2)
    )
    kept = student
    if is_average:  # frozen, as a teacher is
        kept = EmaTeacher(student, decay=0.9, uses_dropout=False).backbone
    gate_store(tmp_path, kept).save(GATE, {"epoch": 3})
    assert gate_store(tmp_path, other).restore(GATE, "epoch")["epoch"] == 3
    assert len(other.weights) > 3
    for mine, theirs in zip(other.weights, kept.weights, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
