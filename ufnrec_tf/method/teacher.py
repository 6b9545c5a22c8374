"""The teacher: an exponential moving average of the student's weights.

With an optimizer that leaves the rows alone that a step does not read, the average A of the item
table S is kept as A = S + c R: c is the product of all decays so far, R a table. In a row that does
not move, A - S shrinks by the decay, which c does for all rows at once, and R stays; where S moves
by D, R loses D / c, with the c before the step. So a step touches only rows that it has read, and A
is the average of all rows all the same.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ufnrec_tf.backbones.base import Backbone
from ufnrec_tf.backbones.packing import PackedHistories

_LEAST_SCALE = 1e-15
"""c of the module below which it becomes 1 again: about every 35,000 steps after the warm-up."""


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

    Attributes:
        backbone: The average; with `lazy_rows` its item table is that of the last `settle`.
        lag: R and c of the module, by name; empty without `lazy_rows`.

    Args:
        student: The backbone that is trained.
        decay: d in [0, 1), the share of the old average kept by an update. Paper: 0.999.
        uses_dropout: True scores with dropout, as the authors' code does.
        lazy_rows: True follows only rows of the item table that `update` names.
    """

    def __init__(
        self, student: Backbone, *, decay: float, uses_dropout: bool, lazy_rows: bool = False
    ) -> None:
        self.backbone = student.clone()
        self.backbone.trainable = False
        self.decay = decay
        self.uses_dropout = uses_dropout
        self._student = student
        followed = _float_weights(student.trainable_variables)
        averages = _float_weights(self.backbone.variables)
        self._pairs = list(zip(averages, followed, strict=False))
        self.lag: dict[str, tf.Variable] = {}
        if lazy_rows:
            table = student.item_table.value
            self._pairs = [pair for pair in self._pairs if pair[1] is not table]
            self.lag = {
                "lag": tf.Variable(tf.zeros(table.shape, table.dtype), trainable=False),
                "scale": tf.Variable(tf.ones([], table.dtype), trainable=False),
            }
            # Its own table is only as new as the last `settle`.
            self.backbone.embed = self._embed  # type: ignore[method-assign]

    def encode_all(self, packed: PackedHistories) -> tf.Tensor:
        """Returns float32 [P, D] vectors of packed histories, without gradient."""
        return tf.stop_gradient(self.backbone.call_packed(packed, training=self.uses_dropout))

    def score(self, vectors: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """Returns logits float32 [P, C] for float32 [P, D], int32 [P, C], without gradient."""
        if not self.lag:
            return tf.stop_gradient(self.backbone.score(vectors, candidates))
        logits = self._student.score(vectors, candidates)
        rows = tf.gather(self.lag["lag"], candidates)
        lag = tf.squeeze(tf.matmul(rows, vectors[:, :, None]), axis=2)
        return tf.stop_gradient(logits + self.lag["scale"] * lag)

    def _embed(self, items: tf.Tensor) -> tf.Tensor:
        """Returns the average's rows of int32 [...] items, as `Backbone.embed` does."""
        rows = tf.gather(tf.convert_to_tensor(self._student.item_table), items)
        rows += self.lag["scale"] * tf.gather(self.lag["lag"], items)
        return tf.cast(rows, self.backbone.compute_dtype)

    def settle(self) -> Backbone:
        """Returns `backbone` with the whole average in it; call it between steps."""
        if self.lag:
            table = tf.convert_to_tensor(self._student.item_table)
            self.backbone.item_table.assign(table + self.lag["scale"] * self.lag["lag"])
        return self.backbone

    def rescale(self, own: Callable[[Any], tf.Variable] = lambda variable: variable) -> None:
        """Makes c 1 in one replica's copies once it is too small, with c R as it was."""
        lag, scale = own(self.lag["lag"]), own(self.lag["scale"])

        def take() -> tf.Tensor:
            lag.assign(lag * scale)
            scale.assign(tf.ones_like(scale))
            return tf.constant(True)

        tf.cond(scale < _LEAST_SCALE, take, lambda: tf.constant(False))

    def rows_of(
        self, rows: tf.Tensor, own: Callable[[Any], tf.Variable] = lambda variable: variable
    ) -> tf.Tensor:
        """Returns float [M, D], rows int32 [M] of one replica's copy of the student's table."""
        return tf.gather(own(self._student.item_table.value), rows)

    def update(
        self,
        num_updates: tf.Tensor,
        own: Callable[[Any], tf.Variable] = lambda variable: variable,
        *,
        rows: tf.Tensor | None = None,
        before: tf.Tensor | None = None,
    ) -> None:
        """Moves one replica's copy of the average towards its copy of the student.

        Args:
            num_updates: int64 [], this update's number from 1; 0 copies the student.
            own: Returns this replica's copy of a variable.
            rows: With `lazy_rows` int32 [M], the rows of the item table that the step has moved,
                repeats allowed.
            before: With `lazy_rows` float [M, D], these rows before the step.
        """
        decay = warm_up_decay(self.decay, num_updates)
        rate = tf.where(num_updates > 0, 1.0 - decay, 1.0)
        is_average = rate < 1.0
        for average, student in self._pairs:
            _move(own(average), own(student), rate, is_average)
        if rows is not None and before is not None:
            self._follow_rows(rows, before, tf.where(num_updates > 0, decay, 1.0), own)

    def _follow_rows(
        self,
        rows: tf.Tensor,
        before: tf.Tensor,
        decay: tf.Tensor,
        own: Callable[[Any], tf.Variable],
    ) -> None:
        """Updates R and c; without a decay, before the average starts, R stays zero."""
        lag, scale = own(self.lag["lag"]), own(self.lag["scale"])
        change = (self.rows_of(rows, own) - before) / scale
        moved = tf.where(decay < 1.0, tf.gather(lag, rows) - change, 0.0)
        lag.scatter_nd_update(rows[:, None], moved)  # repeats write the same
        scale.assign(scale * tf.cast(decay, scale.dtype))


def _move(
    average: tf.Variable, student: tf.Variable, rate: tf.Tensor, is_average: tf.Tensor
) -> None:
    # average - (1 - decay) * (average - student), the authors' form, does not give exactly the
    # student's weights for rate 1.
    old, new = tf.convert_to_tensor(average), tf.convert_to_tensor(student)
    rate = tf.cast(rate, old.dtype)
    average.assign(tf.where(is_average, old - rate * (old - new), new))


def _float_weights(variables: list[Any]) -> list[tf.Variable]:
    """Returns TensorFlow's variables behind Keras's, those of floats."""
    return [variable.value for variable in variables if "float" in str(variable.dtype)]
