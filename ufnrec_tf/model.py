"""UFNRec's training step: the only file that knows the order in which things happen."""

from typing import Any

import keras
import tensorflow as tf

from ufnrec_tf.backbones.base import Backbone
from ufnrec_tf.distribution import num_replicas, sum_over_replicas
from ufnrec_tf.host_state import NEVER, SUM_NAMES, HostState
from ufnrec_tf.memory import FalseNegativeMemory
from ufnrec_tf.objective import Objective
from ufnrec_tf.policies import Policy
from ufnrec_tf.sampling import UniformNegativeSampler
from ufnrec_tf.teacher import EmaTeacher
from ufnrec_tf.types import PAD, Entries, Lookup, LossTerms, Positions


class UFNRecModel(keras.Model):
    """A backbone trained with UFNRec by `keras.Model.fit`.

    Make it inside the strategy's scope, memory and host state outside of it. Batches are those
    of `data.pipeline.make_dataset`.

    Args:
        backbone: The student.
        sampler: Draws the negatives.
        objective: Logits to loss terms.
        policy: What is done with suspects.
        host: The worker's plain variables.
        memory: The false-negative memory; None for a policy that does not remember.
        teacher: The EMA teacher, or None.
        has_teacher_always: Whether the teacher is made at the first step rather than in the
            step after the one that follows the gate's opening.
        agreement: What the teacher must say for a label to be flipped, which is then never
            before it scores: `outranks`, that the suspect is above the positive; `half`, that its
            probability is above 0.5; `none`, nothing (the authors'). Without effect where the
            policy has no teacher.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        sampler: UniformNegativeSampler,
        objective: Objective,
        policy: Policy,
        host: HostState,
        memory: FalseNegativeMemory | None = None,
        teacher: EmaTeacher | None = None,
        has_teacher_always: bool = False,
        agreement: str = "none",
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.sampler = sampler
        self.objective = objective
        self.policy = policy
        self.host = host
        self.memory = memory
        self.teacher = teacher
        self.has_teacher_always = has_teacher_always
        self.agreement = agreement
        self.built = True

    def call(self, histories: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns the student's vectors float32 [B, L, D] of int32 [B, L] histories."""
        return self.backbone(histories, training=training)

    def train_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One step of UFNRec on one replica's share of a batch.

        Sample, look up, teach, score, descend, follow, record. With a the step before which the
        gate opened: from a on hard negatives are recorded; the teacher is made in a + 1, a copy
        of the weights before that step, and scores from a + 2 on.

        Returns:
            {"loss": float32 []}, the global loss.
        """
        positions = self._positions(batch)
        fresh = self.sampler(
            users=batch["user"],
            visits=batch["visit"],
            batch_index=positions.cells[:, 0],
            positions=positions.indices,
        )
        lookup = self._lookup(positions.rows, fresh)
        entries = self._entries(positions.positives, lookup)
        teacher_logits, is_taught, num_taught = self._teach(batch["history"], positions, entries)
        entries = self._judge(entries, is_taught)
        with tf.GradientTape() as tape:
            vectors = tf.gather_nd(self.backbone(batch["history"], training=True), positions.cells)
            logits = self.backbone.score(vectors, entries.candidates)
            labels = tf.one_hot(0, entries.candidates.shape[1])[None, :]
            terms = self.objective(
                logits=logits,
                labels=tf.where(entries.is_flipped, 1.0, labels),
                is_counted=entries.is_counted,
                is_softened=is_taught & entries.is_flipped,
                teacher_logits=teacher_logits,
                item_table=self.backbone.item_embeddings(),
            )
        self._descend(tape, terms.total)
        self._follow()
        is_hard = logits[:, 1:] > logits[:, :1]
        self._record(positions.rows, lookup, is_hard, entries)
        self._add_to_sums(batch["user"], lookup, entries, is_hard, terms, num_taught)
        loss = sum_over_replicas(terms.total)
        self._note_bad_step(loss)
        return {"loss": loss}

    def _positions(self, batch: dict[str, tf.Tensor]) -> Positions:
        cells = tf.where(batch["positives"] != PAD)  # [P, 2]
        sample = cells[:, 0]
        max_length = batch["positives"].shape[1]
        begin = max_length - tf.gather(tf.cast(batch["length"], tf.int64), sample)
        step = cells[:, 1] - begin
        return Positions(
            cells=cells,
            positives=tf.gather_nd(batch["positives"], cells),
            indices=tf.gather(tf.cast(batch["first_position"], tf.int64), sample) + step,
            rows=tf.gather(batch["first_row"], sample) + step,
        )

    def _is_active(self) -> tf.Tensor:
        return tf.cast(self.optimizer.iterations, tf.int64) >= self.host.active_since

    def _num_teacher_updates(self) -> tf.Tensor:
        """The number, from 1, of the teacher's update in this step; 0 where there is no teacher."""
        done = tf.cast(self.optimizer.iterations, tf.int64)
        if self.has_teacher_always:
            return done + 1
        return tf.maximum(done - self.host.active_since, 0)

    def _lookup(self, rows: tf.Tensor, fresh: tf.Tensor) -> Lookup:
        memory = self.memory
        if memory is None:
            nothing = tf.zeros_like(fresh, tf.bool)
            empty = tf.zeros([tf.shape(fresh)[0], 1], tf.int32)
            return Lookup(fresh, nothing, nothing, fresh == PAD, empty, empty)

        def shut() -> Lookup:
            nothing = tf.zeros_like(fresh, tf.bool)
            empty = tf.zeros([tf.shape(fresh)[0], memory.num_slots], tf.int32)
            return Lookup(fresh, nothing, nothing, fresh == PAD, empty, empty)

        return tf.cond(self._is_active(), lambda: memory.lookup(rows, fresh), shut)

    def _entries(self, positives: tf.Tensor, lookup: Lookup) -> Entries:
        nothing = tf.zeros_like(lookup.is_ripe)
        is_flipped = lookup.is_ripe if self.policy.flips else nothing
        is_removed = lookup.is_ripe if self.policy.removes else nothing
        is_counted = ~(lookup.is_excluded | is_removed)
        return Entries(
            candidates=tf.concat([positives[:, None], lookup.negatives], axis=1),
            is_flipped=tf.pad(is_flipped, [[0, 0], [1, 0]]),
            is_removed=tf.pad(is_removed, [[0, 0], [1, 0]]),
            is_counted=tf.pad(is_counted, [[0, 0], [1, 0]], constant_values=True),
        )

    def _judge(self, entries: Entries, is_taught: tf.Tensor) -> Entries:
        """Lets only those flips stand to which the teacher, where it has a say, agrees."""
        if self.agreement == "none" or self.teacher is None or not self.policy.is_softened:
            return entries
        return entries._replace(is_flipped=entries.is_flipped & is_taught)

    def _teach(
        self, histories: tf.Tensor, positions: Positions, entries: Entries
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns teacher logits [P, 1 + N], where it agrees, and the users it ran for.

        The teacher reads only the users that have a flipped entry, and is not run in a step
        without one.
        """
        nothing = tf.zeros_like(entries.is_flipped)
        no_logits = tf.zeros(tf.shape(nothing), tf.float32)
        teacher = self.teacher
        if teacher is None or not self.policy.is_softened:
            return no_logits, nothing, tf.constant(0, tf.int64)

        def score() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            at = tf.where(entries.is_flipped)  # [F, 2]
            cells = tf.gather(positions.cells, at[:, 0])
            taught, row = tf.unique(cells[:, 0])
            vectors = teacher.encode_all(tf.gather(histories, taught))
            vectors = tf.gather_nd(vectors, tf.stack([tf.cast(row, tf.int64), cells[:, 1]], 1))
            items = tf.gather_nd(entries.candidates, at)
            positives = tf.gather(entries.candidates[:, 0], at[:, 0])
            pairs = teacher.score(vectors, tf.stack([positives, items], axis=1))  # [F, 2]
            shape = tf.shape(nothing, tf.int64)
            agrees = tf.scatter_nd(at, tf.cast(self._agrees(pairs), tf.int32), shape) > 0
            return tf.scatter_nd(at, pairs[:, 1], shape), agrees, tf.size(taught, tf.int64)

        # Made in an earlier step, so that this is not its first update.
        is_there = self._num_teacher_updates() > 1
        return tf.cond(
            is_there & tf.reduce_any(entries.is_flipped),
            score,
            lambda: (no_logits, nothing, tf.constant(0, tf.int64)),
        )

    def _agrees(self, pairs: tf.Tensor) -> tf.Tensor:
        """Returns bool [F] for the teacher's logits [F, 2] of positives and suspects."""
        if self.agreement == "half":
            return pairs[:, 1] > 0.0
        if self.agreement == "outranks":
            return pairs[:, 1] > pairs[:, 0]
        return tf.ones(tf.shape(pairs)[:1], tf.bool)

    def _descend(self, tape: tf.GradientTape, loss: tf.Tensor) -> None:
        variables = self.backbone.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    def _follow(self) -> None:
        """Updates the teacher; `_num_teacher_updates` counts from the optimizer's step."""
        if self.teacher is not None:
            # The optimizer has counted this step already.
            self.teacher.update(tf.maximum(self._num_teacher_updates() - 1, 0))

    def _record(
        self, rows: tf.Tensor, lookup: Lookup, is_hard: tf.Tensor, entries: Entries
    ) -> None:
        memory = self.memory
        if memory is None:
            return
        # The optimizer has counted this step already, hence "above".
        is_active = tf.cast(self.optimizer.iterations, tf.int64) > self.host.active_since

        def commit() -> tf.Tensor:
            is_spent = (entries.is_flipped | entries.is_removed)[:, 1:]
            memory.record(rows, lookup, is_hard, is_spent)
            return tf.constant(True)

        tf.cond(is_active, commit, lambda: tf.constant(False))

    def _add_to_sums(
        self,
        users: tf.Tensor,
        lookup: Lookup,
        entries: Entries,
        is_hard: tf.Tensor,
        terms: LossTerms,
        num_taught: tf.Tensor,
    ) -> None:
        is_negative = entries.is_counted[:, 1:] & ~entries.is_flipped[:, 1:]
        values: dict[str, Any] = {
            "steps": 1.0 / num_replicas(),
            "users": tf.math.count_nonzero(users >= 0),
            "positions": tf.shape(is_hard)[0],
            "negatives": tf.math.count_nonzero(entries.is_counted[:, 1:]),
            "loss": terms.total,
            "bce": terms.bce,
            "consistency": terms.consistency,
            "l2": terms.l2,
            "shown": tf.math.count_nonzero(lookup.is_shown),
            "flips": tf.math.count_nonzero(entries.is_flipped),
            "removals": tf.math.count_nonzero(entries.is_removed),
            "hard": tf.math.count_nonzero(is_hard & is_negative),
            "teacher_users": num_taught,
        }
        self.host.sums.assign_add(
            tf.stack([tf.cast(values[name], tf.float64) for name in SUM_NAMES])
        )

    def _note_bad_step(self, loss: tf.Tensor) -> None:
        done = tf.cast(self.optimizer.iterations, tf.int64) - 1
        bad = tf.where(tf.math.is_finite(loss), tf.constant(NEVER, tf.int64), done)
        self.host.first_bad_step.assign(tf.minimum(self.host.first_bad_step, bad))

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Does nothing: the model is built, and Keras's way takes a batch from the data."""
