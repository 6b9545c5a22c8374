"""Objectives: the losses of a step, and the table of their names."""

from ufnrec_tf.common.lookup import pick
from ufnrec_tf.common.user_code import is_path
from ufnrec_tf.objectives.base import Objective
from ufnrec_tf.objectives.binary import NCE, CalibratedBCE, OneNegativeBCE, PooledBCE
from ufnrec_tf.objectives.from_file import load_class
from ufnrec_tf.objectives.softmax import (
    CrossEntropy,
    SampledSoftmax,
    SampledSoftmaxLogQ,
    ScaledCrossEntropy,
)

OBJECTIVES: dict[str, type[Objective]] = {
    "pooled_bce": PooledBCE,
    "bce": OneNegativeBCE,
    "nce": NCE,
    "gbce": CalibratedBCE,
    "sampled_softmax": SampledSoftmax,
    "sampled_softmax_logq": SampledSoftmaxLogQ,
    "scaled_cross_entropy": ScaledCrossEntropy,
    "cross_entropy": CrossEntropy,
}
"""Name of a loss to the objective that computes it."""


def find(name: str) -> type[Objective]:
    """Returns the class of the loss called `name`.

    Args:
        name: A key of `OBJECTIVES`, or a user's class as path/to/file.py:ClassName.

    Raises:
        UserError: If `name` is unknown, which lists the known names and the nearest, or if a
            user's class breaks the contract.
    """
    return load_class(name) if is_path(name) else pick(OBJECTIVES, name, key="loss.name")
