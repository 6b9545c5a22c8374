"""The teacher: an exponential moving average of the student's weights."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ufnrec_tf.backbones.base import Backbone
from ufnrec_tf.backbones.packing import PackedHistories


def warm_up_decay(decay: float, num_updates: tf.Tensor) -> tf.Tensor:
    """Returns min(decay, (1 + n) / (10 + n)), float32 [], for update number n from 1.

    Source: arXiv 2208.04116, released code; 2/11 at n = 1, 0.999 at n = 8,990.
    """
    count = tf.cast(num_updates, tf.float32)
    return tf.minimum(tf.constant(decay, tf.float32), (1.0 + count) / (10.0 + count))


class EmaTeacher:
    """A copy of the student whose weights are a moving average of the student's.

    Before the average starts, each step copies the student's weights, so that the average starts
    from the weights before its first update.

    Make it inside the strategy's scope.

    Args:
        student: The backbone that is trained.
        decay: d in [0, 1), the share of the old average kept by an update. Paper: 0.999.
        uses_dropout: True scores with dropout, as the authors' code does.
    """

    def __init__(self, student: Backbone, *, decay: float, uses_dropout: bool) -> None:
        self.backbone = student.clone()
        self.backbone.trainable = False
        self.decay = decay
        self.uses_dropout = uses_dropout
        self._student_weights = _float_weights(student.trainable_variables)
        self._weights = _float_weights(self.backbone.variables)[: len(self._student_weights)]

    def encode_all(self, packed: PackedHistories) -> tf.Tensor:
        """Returns float32 [P, D] vectors of packed histories, without gradient."""
        return tf.stop_gradient(self.backbone.call_packed(packed, training=self.uses_dropout))

    def score(self, vectors: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """Returns logits float32 [P, C] for float32 [P, D], int32 [P, C], without gradient."""
        return tf.stop_gradient(self.backbone.score(vectors, candidates))

    def update(
        self, num_updates: tf.Tensor, own: Callable[[Any], tf.Variable] = lambda variable: variable
    ) -> None:
        """Moves one replica's copy of the average towards its copy of the student.

        Args:
            num_updates: int64 [], this update's number from 1; 0 copies the student.
            own: Returns this replica's copy of a variable.
        """
        decay = warm_up_decay(self.decay, num_updates)
        rate = tf.where(num_updates > 0, 1.0 - decay, 1.0)
        for average, student in zip(self._weights, self._student_weights, strict=True):
            _move(own(average), own(student), rate)


def _move(average: tf.Variable, student: tf.Variable, rate: tf.Tensor) -> None:
    # average - (1 - decay) * (average - student), the authors' form, does not give exactly the
    # student's weights for rate 1.
    rate = tf.cast(rate, average.dtype)
    average.assign(tf.where(rate < 1.0, average - rate * (average - student), student))


def _float_weights(variables: list[Any]) -> list[tf.Variable]:
    """Returns TensorFlow's variables behind Keras's, those of floats."""
    return [variable.value for variable in variables if "float" in str(variable.dtype)]
