"""Objectives: the losses of a step, and the table of their names."""

from ufnrec_tf.objectives.base import Objective
from ufnrec_tf.objectives.binary import NCE, CalibratedBCE, OneNegativeBCE, PooledBCE
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
