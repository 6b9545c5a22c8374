"""Safe flips, the policy `ufnrec_safe`: a bounded share of positives is replaced by suspects.

Kept from UFNRec: random candidates, a memory of those that keep outscoring the positive, a flip of
those whose count is above m, an EMA teacher. Changed, because of its effect on accuracy
(docs/evaluation-and-comparison.md):

- The loss never reads a remembered item with label 0: candidates for the memory are drawn beside
  the loss's own negatives.
- The teacher, without dropout, decides, and it takes a look every `period` steps. In a look it
  scores a row's remembered items and `num_probes` fresh draws; the best `num_slots` of those above
  the positive are remembered. An item that is not among them loses its count, so that a count above
  m means more than m looks one after the other: a high and stable score.
- A flip replaces the positive, rather than standing beside it. Each look draws once from the
  teacher's softmax over the positive and the row's suspects, and the row keeps the outcome until
  its next look: a suspect, or the positive itself.
- Of the rows that hold a suspect a share of at most `budget`, drawn anew at each visit, is trained
  towards it, once the gate is open. In expectation that is cross-entropy (in the form of any loss)
  against (1 - budget) * positive + budget * the teacher's sampled softmax: the flips are at most
  that share of positives, each has the weight of a positive, and no loss, backbone or number of
  negatives needs a rule of its own.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ufnrec_tf.common.distribution import on_host
from ufnrec_tf.common.tensors import GOLDEN, PAD, mix
from ufnrec_tf.method.memory import FalseNegativeMemory
from ufnrec_tf.method.negatives import Sampler
from ufnrec_tf.method.positions import Positions, choose_rows
from ufnrec_tf.method.teacher import EmaTeacher

_COIN_STREAM, _CHOICE_STREAM = np.int64(0x5AFE), np.int64(0xC401CE)


class LookResult(NamedTuple):
    """The size of a look, zeros in a step without one.

    Attributes:
        num_users: int64 [], users that the teacher read.
        num_shown: int64 [], remembered candidates.
    """

    num_users: tf.Tensor
    num_shown: tf.Tensor


class SafeFlips:
    """Keeps for each row a suspect to train towards, and replaces a bounded share of positives.

    Make it outside the strategy's scope, on the worker's host, like the memory.

    Attributes:
        substitutes: int32 [rows], the item a row may be trained towards, 0 for none.

    Args:
        memory: Made with `is_cumulative` False and `is_sticky` True; its patience is m, its
            `capacity` the number of remembered items of a row.
        sampler: Draws the probes.
        period: The teacher takes a look every this many steps.
        budget: Largest share of positives that are replaced, in [0, 1].
        seed: The run's seed.
    """

    def __init__(
        self,
        *,
        memory: FalseNegativeMemory,
        sampler: Sampler,
        period: int,
        budget: float,
        seed: int,
    ) -> None:
        self.memory = memory
        self.sampler = sampler
        self.period = period
        self.budget = budget
        self._seed = np.int64(seed)
        rows = tf.zeros([max(memory.num_rows, 1)], tf.int32)
        self.substitutes = tf.Variable(rows, trainable=False, name="substitutes")

    @property
    def tables(self) -> dict[str, tf.Variable]:
        """Name to variable [rows, ...], with the memory's; see `FalseNegativeMemory.tables`."""
        return {**self.memory.tables, "substitutes": self.substitutes}

    def substitute(
        self, batch: dict[str, tf.Tensor], positions: Positions, is_open: tf.Tensor
    ) -> tuple[Positions, tf.Tensor]:
        """Returns the positions with some positives replaced, and bool [C], True for those.

        Args:
            batch: See `data.batches.make_dataset`.
            positions: The scored positions of the batch.
            is_open: bool [], True once the gate is open.
        """
        with on_host():
            items = tf.gather(self.substitutes, positions.rows)
        items = positions.add_fillers(items, PAD)
        coin = self._uniform(batch, positions.batch_rows(), positions.indices, _COIN_STREAM)
        is_replaced = (items != PAD) & (coin < self.budget) & is_open
        positives = tf.where(is_replaced, items, positions.positives)
        return positions._replace(positives=positives), is_replaced

    def look(
        self,
        batch: dict[str, tf.Tensor],
        positions: Positions,
        teacher: EmaTeacher,
        num_done: tf.Tensor,
    ) -> LookResult:
        """Takes a look every `period` steps, which changes the memory and the substitutes.

        Args:
            batch: See `substitute`.
            positions: The scored positions of the batch, with their own positives.
            teacher: Scores the candidates.
            num_done: int64 [], steps done before this one.
        """
        nothing = tf.constant(0, tf.int64)
        return tf.cond(
            tf.equal(num_done % self.period, self.period - 1),
            lambda: self._take_look(batch, positions, teacher),
            lambda: LookResult(nothing, nothing),
        )

    def _take_look(
        self, batch: dict[str, tf.Tensor], positions: Positions, teacher: EmaTeacher
    ) -> LookResult:
        """Scores the candidates of all positions, and records the best and one suspect a row."""
        real = tf.range(tf.size(positions.rows, tf.int64), dtype=tf.int64)
        inputs = positions.inputs
        packed, place, num_users = choose_rows(inputs.packed, inputs.places(real))
        batch_rows = positions.drop_fillers(positions.batch_rows())
        indices = positions.drop_fillers(positions.indices)
        fresh = self.sampler(
            users=batch["user"],
            visits=batch["visit"],
            batch_index=tf.cast(batch_rows, tf.int64),
            positions=indices,
        )
        with on_host():
            found = self.memory.lookup(positions.rows, fresh)
        positives = positions.drop_fillers(positions.positives)[:, None]
        vectors = tf.gather(teacher.encode_all(packed), place)
        logits = teacher.score(vectors, tf.concat([positives, found.negatives], axis=1))
        is_barred = found.is_excluded | repeats_earlier(found.negatives)
        margins = logits[:, 1:] - logits[:, :1]
        margins = tf.where(is_barred, margins.dtype.min, margins)
        # The best first: a row remembers the first columns.
        margins, order = tf.math.top_k(margins, self.memory.capacity)
        best = found._replace(
            negatives=tf.gather(found.negatives, order, batch_dims=1),
            is_shown=tf.gather(found.is_shown, order, batch_dims=1),
            is_suspect=tf.gather(found.is_suspect, order, batch_dims=1),
            is_excluded=tf.gather(found.is_excluded, order, batch_dims=1),
        )
        is_hard = margins > 0.0
        is_suspect = best.is_suspect & is_hard
        chances = tf.where(is_suspect, margins, margins.dtype.min)
        uniform = self._uniform(batch, batch_rows, indices, _CHOICE_STREAM)
        choice = draw_from_softmax(tf.pad(chances, [[0, 0], [1, 0]]), uniform)
        own = tf.pad(best.negatives, [[0, 0], [1, 0]], constant_values=PAD)
        chosen = tf.gather(own, choice, batch_dims=1)  # 0 where the positive was drawn
        with on_host():
            self.memory.record(positions.rows, best, is_hard)
            self.substitutes.scatter_nd_update(positions.rows[:, None], chosen)
        return LookResult(num_users, tf.math.count_nonzero(found.is_shown))

    def _uniform(
        self,
        batch: dict[str, tf.Tensor],
        batch_rows: tf.Tensor,
        indices: tf.Tensor,
        stream: np.int64,
    ) -> tf.Tensor:
        """Returns float32 [P] in [0, 1), a function of (seed, visit, user, position, stream)."""
        key = mix(batch["visit"] + mix(tf.constant(self._seed + stream) + GOLDEN))
        key = mix(key + tf.cast(batch["user"], tf.int64) * GOLDEN)
        bits = mix(tf.gather(key, batch_rows) + indices * GOLDEN)
        bits = tf.bitwise.bitwise_and(bits, np.int64(2**24 - 1))
        return tf.cast(bits, tf.float32) / 2.0**24


def repeats_earlier(items: tf.Tensor) -> tf.Tensor:
    """Returns bool [P, K], True where an earlier column of the same row holds the item too."""
    column = tf.range(items.shape[1])
    is_earlier = (column[None, :] < column[:, None])[None]
    return tf.reduce_any((items[:, :, None] == items[:, None, :]) & is_earlier, axis=2)


def draw_from_softmax(logits: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    """Returns int32 [P], a column of each row drawn with the softmax of its logits.

    Args:
        logits: float32 [P, K]; the least finite number in a column that must not be drawn.
        uniform: float32 [P] in [0, 1).
    """
    reached = tf.cumsum(tf.nn.softmax(logits, axis=1), axis=1)
    # Compared with the rounded sum, so that the last column reached is one that may be drawn.
    is_below = reached <= tf.cast(uniform, reached.dtype)[:, None] * reached[:, -1:]
    return tf.reduce_sum(tf.cast(is_below, tf.int32), axis=1)
