"""The model: UFNRec's training step, and the only file that knows the order of its parts."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from ufnrec_tf.backbones.base import Backbone
from ufnrec_tf.common.distribution import (
    concat_over_replicas,
    copy_on,
    num_replicas,
    on_each_replica,
    on_host,
    sum_over_replicas,
)
from ufnrec_tf.common.graphs import graph_function
from ufnrec_tf.common.tensors import PAD
from ufnrec_tf.method.candidates import Proposal, ask_teacher, count_entries, decide, propose
from ufnrec_tf.method.memory import FalseNegativeMemory, Lookup
from ufnrec_tf.method.negatives import Sampler
from ufnrec_tf.method.optimizer import RowGradient
from ufnrec_tf.method.policies import Policy
from ufnrec_tf.method.positions import PackedInputs, Positions, pack_batch
from ufnrec_tf.method.safe_flips import LookResult, SafeFlips
from ufnrec_tf.method.soft_labels import LabelSource, SoftLabels
from ufnrec_tf.method.step_state import StepState
from ufnrec_tf.method.teacher import EmaTeacher
from ufnrec_tf.objectives.base import Entries, LossTerms, Objective


class Student(NamedTuple):
    """The student's results on a step's candidates.

    Attributes:
        terms: The loss, this replica's share.
        gradients: One for each trainable variable, of its shape; of the item table only the rows
            that were read, where the optimizer moves only these. With several replicas the loss
            and all that has a variable's shape as one vector, then the rows.
        is_hard: bool [C, N], True where the negative's logit is strictly above the positive's.
        counts: int64 [4], negatives in the loss, flipped, removed, and hard ones of label 0.
    """

    terms: LossTerms
    gradients: list[tf.Tensor | RowGradient]
    is_hard: tf.Tensor
    counts: tf.Tensor


class UFNRecModel(keras.Model):
    """A backbone trained with UFNRec by `keras.Model.fit`.

    Make it inside the strategy's scope, but memory and host state outside of it. Batches are those
    of `data.batches.make_dataset`.

    Args:
        backbone: The student.
        sampler: Draws the negatives.
        objective: Computes the loss terms from logits.
        policy: The treatment of suspects.
        host: The gate's opening and the sums of the steps, on the worker's host.
        memory: The false-negative memory; None for a policy that does not remember.
        teacher: The EMA teacher, or None.
        has_teacher_always: True starts the teacher in the first step, False in the step after the
            first with an open gate.
        agreement: The teacher's condition for a flip: `outranks`, the suspect scores above the
            positive; `half`, its probability is above 0.5; `none`, no condition (the authors').
            With a condition no flip is made before the teacher scores. Without effect where the
            policy has no teacher.
        capacities: Numbers of positions that batches are filled up to; see `pack_batch`.
        compiles: True lets XLA compile the parts between lookup and record, once for each of the
            capacities. The tables of memory and host stay outside: on a GPU a compiled program
            cannot reach them.
        num_probes: The sampler's first draws that are only for the memory.
        safe_flips: Replaces memory and flips where the policy is `ufnrec_safe`.
        label_source: Gives the soft labels where the policy is `ufnrec_soft`; None for none.
        shares_negatives: True if each column of the sampler holds one item, or padding, in all
            positions: the columns that the memory does not fill are scored in one product.
    """

    train_function: Any  # set by Keras

    def __init__(
        self,
        *,
        backbone: Backbone,
        sampler: Sampler,
        objective: Objective,
        policy: Policy,
        host: StepState,
        memory: FalseNegativeMemory | None = None,
        teacher: EmaTeacher | None = None,
        has_teacher_always: bool = False,
        agreement: str = "none",
        capacities: Sequence[int] = (),
        compiles: bool = False,
        num_probes: int = 0,
        safe_flips: SafeFlips | None = None,
        label_source: LabelSource | None = None,
        shares_negatives: bool = False,
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
        self.capacities = tuple(capacities)
        self.num_probes = num_probes
        self.safe_flips = safe_flips
        self.label_source = label_source
        self._shares_negatives = shares_negatives
        self._draw = graph_function(sampler.__call__, jit_compile=compiles)
        self._learn = graph_function(self._differentiate, backbone, objective, jit_compile=compiles)
        self._follow = graph_function(self._descend_and_follow, jit_compile=compiles)
        self.built = True

    def call(self, histories: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns the student's vectors float32 [B, L, D] of int32 [B, L] histories."""
        return self.backbone(histories, training=training)

    def train_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Trains on one replica's share of a batch.

        In this order: exchange positives (only `ufnrec_safe`), label (only `ufnrec_soft`), sample,
        look up, propose, teach, judge, score, descend, follow, record. With a the step before which
        the gate opened: from a on hard negatives are recorded; the teacher starts in a + 1, with a
        copy of the weights before that step, and scores from a + 2 on.

        Returns:
            {"loss": float32 []}, the global loss.
        """
        positions = pack_batch(batch, self.capacities)
        positions, num_replaced, look = self._exchange(batch, positions)
        labels = self._label(batch, positions)
        fresh = self._draw(
            users=batch["user"],
            visits=batch["visit"],
            batch_index=positions.batch_rows(),
            positions=positions.indices,
        )
        lookup = self._lookup(positions, fresh)
        proposal = propose(self.policy, positions, lookup)
        teacher_logits, is_taught, num_taught = self._teach(positions, proposal)
        entries = self._judge(proposal, is_taught)
        is_softened = is_taught & entries.is_flipped
        counts = count_entries(entries, is_softened, self.objective.uses_soft_label_only)
        divisors = sum_over_replicas(counts)
        student = self._learn(
            positions.inputs, entries, is_softened, teacher_logits, divisors, labels
        )
        loss, gradients = _summed(student)
        num_updates = self._num_teacher_updates()
        if num_replicas() == 1:
            self._follow(0, gradients, num_updates)
        else:
            on_each_replica(self._follow, gradients, num_updates)
        self._rescale()
        self._record(positions, lookup, student.is_hard, entries)
        num_shown = tf.math.count_nonzero(lookup.is_shown) + look.num_shown
        num_taught += look.num_users
        self._add_to_sums(batch["user"], positions, student, num_shown, num_replaced, num_taught)
        self.host.note_bad_step(loss, self._num_done() - 1)
        return {"loss": loss}

    def make_train_function(self, force: bool = False) -> Any:
        """Makes the function by which Keras does its next steps, given an iterator.

        With several replicas Keras's own would average the loss, which is the global one already:
        two more messages between workers in each step.
        """
        strategy, num_steps = self.distribute_strategy, self.steps_per_execution
        if strategy.num_replicas_in_sync == 1:
            return super().make_train_function(force)

        def one_step(iterator: Any) -> tf.Tensor:
            losses = strategy.run(self.train_step, args=(next(iterator),))["loss"]
            return strategy.experimental_local_results(losses)[0]

        def all_steps(iterator: Any) -> dict[str, tf.Tensor]:
            if num_steps == 1:
                return {"loss": one_step(iterator)}
            _, loss = tf.while_loop(
                lambda done, _: done < num_steps,
                lambda done, _: (done + 1, one_step(iterator)),
                (tf.constant(0), tf.constant(0.0)),
            )
            return {"loss": loss}

        if self.train_function is None or force:
            self.train_function = graph_function(all_steps)
        return self.train_function

    def _exchange(
        self, batch: dict[str, tf.Tensor], positions: Positions
    ) -> tuple[Positions, tf.Tensor, LookResult]:
        """Lets `safe_flips`, where the policy has them, take a look and replace positives.

        Returns:
            The positions; int64 [], how many positives were replaced; the look.
        """
        if self.safe_flips is None or self.teacher is None:
            nothing = tf.constant(0, tf.int64)
            return positions, nothing, LookResult(nothing, nothing)
        look = self.safe_flips.look(batch, positions, self.teacher, self._num_done())
        positions, is_replaced = self.safe_flips.substitute(batch, positions, self._is_active())
        return positions, tf.math.count_nonzero(is_replaced), look

    def _label(self, batch: dict[str, tf.Tensor], positions: Positions) -> SoftLabels | None:
        """Returns the soft labels of the positions, or None for a policy without any."""
        if self.label_source is None:
            return None
        return self.label_source.labels(batch, positions, self._is_active())

    def _lookup(self, positions: Positions, fresh: tf.Tensor) -> Lookup:
        """Returns the memory's content at the real positions; `fresh` is int32 [C, N]."""
        memory = self.memory
        fresh = positions.drop_fillers(fresh)
        num_slots = 1 if memory is None else memory.num_slots

        def shut() -> Lookup:
            nothing = tf.zeros_like(fresh, tf.bool)
            empty = tf.zeros([tf.shape(fresh)[0], num_slots], tf.int32)
            is_excluded = fresh == PAD
            if self.safe_flips is not None:  # a draw may equal a replaced positive
                is_excluded |= fresh == positions.drop_fillers(positions.positives)[:, None]
            return Lookup(fresh, nothing, nothing, is_excluded, empty, empty)

        if memory is None or self.safe_flips is not None:
            return shut()
        with on_host():
            return tf.cond(self._is_active(), lambda: memory.lookup(positions.rows, fresh), shut)

    def _teach(
        self, positions: Positions, proposal: Proposal
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Lets the teacher score the proposed flips, if there are any and it has started.

        Returns:
            Teacher logits [C, K]; bool [C, K], where it agrees; int64 [], users it read.
        """
        nothing = tf.zeros_like(proposal.is_flipped)
        no_logits = tf.zeros(tf.shape(nothing), self.backbone.score_dtype)
        teacher = self.teacher
        if teacher is None or not self.policy.is_softened:
            return no_logits, nothing, tf.constant(0, tf.int64)

        # Started in an earlier step, so that this is not its first update.
        is_there = self._num_teacher_updates() > 1
        return tf.cond(
            is_there & tf.reduce_any(proposal.is_flipped),
            lambda: ask_teacher(teacher, positions, proposal, self.agreement),
            lambda: (no_logits, nothing, tf.constant(0, tf.int64)),
        )

    def _judge(self, proposal: Proposal, is_taught: tf.Tensor) -> Entries:
        """Returns the candidates' role in the loss, with the flips that the teacher agrees to."""
        if self.agreement == "none" or self.teacher is None or not self.policy.is_softened:
            return decide(proposal, self.num_probes)
        return decide(proposal, self.num_probes, is_taught)

    def _differentiate(
        self,
        inputs: PackedInputs,
        entries: Entries,
        is_softened: tf.Tensor,
        teacher_logits: tf.Tensor,
        divisors: tf.Tensor,
        labels: SoftLabels | None,
    ) -> Student:
        """Scores candidates and soft labels, and returns the loss with its gradients."""
        with tf.GradientTape() as tape:
            vectors = inputs.choose(self.backbone.call_packed(inputs.packed, training=True))
            logits, scored_labels = self._score(vectors, entries.candidates, labels)
            terms = self.objective(
                logits=logits,
                entries=entries,
                is_softened=is_softened,
                teacher_logits=teacher_logits,
                vectors=vectors,
                item_table=self.backbone.item_embeddings(),
                divisors=divisors,
                labels=scored_labels,
            )
        found = tape.gradient(terms.total, self.backbone.trainable_variables)
        gradients = [
            self._gradient_of(variable, gradient)
            for variable, gradient in zip(self.backbone.trainable_variables, found, strict=True)
        ]
        is_hard = logits[:, 1:] > logits[:, :1]
        is_negative = entries.is_counted[:, 1:] & ~entries.is_flipped[:, 1:]
        flags = entries.is_counted[:, 1:], entries.is_flipped, entries.is_removed
        return Student(
            terms=terms,
            gradients=gradients if num_replicas() == 1 else _joined(terms.total, gradients),
            is_hard=is_hard,
            counts=tf.stack([tf.math.count_nonzero(x) for x in (*flags, is_hard & is_negative)]),
        )

    def _gradient_of(self, variable: Any, gradient: Any) -> tf.Tensor | RowGradient:
        """Returns the whole gradient of a variable, or the rows where the optimizer wants these."""
        is_table = variable is self.backbone.item_table
        if self.optimizer.lazy_rows and is_table and isinstance(gradient, tf.IndexedSlices):
            return RowGradient(tf.cast(gradient.indices, tf.int32), gradient.values)
        return tf.convert_to_tensor(gradient)

    def _score(
        self, vectors: tf.Tensor, candidates: tf.Tensor, labels: SoftLabels | None
    ) -> tuple[tf.Tensor, tuple[tf.Tensor, tf.Tensor, tf.Tensor] | None]:
        """Returns the logits [C, 1 + N] of the candidates; items, shares and logits of the labels.

        In one call, as a small catalogue is scored whole for both; but for shared negatives.
        """
        own = candidates if not self._shares_negatives else candidates[:, : self._num_own()]
        items = own if labels is None else tf.concat([own, labels.items], axis=1)
        logits = self.backbone.score(vectors, items)
        own_logits, label_logits = logits[:, : own.shape[1]], logits[:, own.shape[1] :]
        if own.shape[1] < candidates.shape[1]:
            # Padding, of users who have seen the item and of fillers, is in no loss.
            shared = tf.reduce_max(candidates[:, own.shape[1] :], axis=0)
            shared_logits = self.backbone.score_shared(vectors, shared)
            own_logits = tf.concat([own_logits, shared_logits], axis=1)
        return own_logits, None if labels is None else (*labels, label_logits)

    def _num_own(self) -> int:
        """Returns the columns that may hold another item in each position, with the positive's."""
        if self.memory is None or self.safe_flips is not None:
            return 1
        return 1 + self.memory.num_shown

    def _descend_and_follow(
        self,
        replica: int,
        gradients: list[tf.Tensor | RowGradient],
        num_updates: tf.Tensor,
    ) -> None:
        """Updates a local replica's copies of the student, then of the teacher."""
        own = partial(copy_on, replica=replica)
        if num_replicas() > 1:
            gradients = self._parted(gradients)
        teacher, moved = self.teacher, {}
        if teacher is not None and teacher.lag:
            rows = self._rows_read(gradients)
            moved = {"rows": rows, "before": teacher.rows_of(rows, own)}
        self.optimizer.apply_on(gradients, self.backbone.trainable_variables, own)
        if teacher is not None:
            teacher.update(num_updates, own, **moved)

    def _parted(self, joined: list[tf.Tensor | RowGradient]) -> list[tf.Tensor | RowGradient]:
        """Returns a gradient for each trainable variable, of those that `_joined` joined."""
        vector, *rows = joined
        begin, gradients = 1, []
        for variable in self.backbone.trainable_variables:
            if rows and variable is self.backbone.item_table:
                gradients.append(rows[0])
                continue
            end = begin + math.prod(variable.shape)
            gradients.append(tf.reshape(vector[begin:end], variable.shape))
            begin = end
        return gradients

    def _rows_read(self, gradients: list[tf.Tensor | RowGradient]) -> tf.Tensor:
        """Returns int32 [M], the rows of the item table that the step moves."""
        found = [gradient.rows for gradient in gradients if isinstance(gradient, RowGradient)]
        return found[0] if found else tf.range(self.backbone.num_items + 1)

    def _rescale(self) -> None:
        """Lets the teacher keep its numbers in range; not compiled, as it is rare."""
        teacher = self.teacher
        if teacher is None or not teacher.lag:
            return
        if num_replicas() == 1:
            teacher.rescale()
        else:
            on_each_replica(lambda replica: teacher.rescale(partial(copy_on, replica=replica)))

    def _record(
        self, positions: Positions, lookup: Lookup, is_hard: tf.Tensor, entries: Entries
    ) -> None:
        """Lets the memory record which negatives were hard, once the gate is open."""
        memory = self.memory
        if memory is None or self.safe_flips is not None:
            return
        # The optimizer has counted this step already, hence ">".
        is_active = self._num_done() > self.host.active_since

        def commit() -> tf.Tensor:
            is_spent = positions.drop_fillers((entries.is_flipped | entries.is_removed)[:, 1:])
            if self.policy.is_random:  # fresh draws were flipped in their place
                is_spent |= lookup.is_suspect
            memory.record(positions.rows, lookup, positions.drop_fillers(is_hard), is_spent)
            return tf.constant(True)

        with on_host():
            tf.cond(is_active, commit, lambda: tf.constant(False))

    def _add_to_sums(
        self,
        users: tf.Tensor,
        positions: Positions,
        student: Student,
        num_shown: tf.Tensor,
        num_replaced: tf.Tensor,
        num_taught: tf.Tensor,
    ) -> None:
        """Adds the step's loss and counts to the sums on the host."""
        negatives, flips, removals, hard = tf.unstack(student.counts)
        values = {
            "steps": 1.0 / num_replicas(),
            "users": tf.math.count_nonzero(users >= 0),
            "positions": tf.size(positions.rows),
            "negatives": negatives,
            "loss": student.terms.total,
            "ranking": student.terms.ranking,
            "consistency": student.terms.consistency,
            "l2": student.terms.l2,
            "shown": num_shown,
            "flips": flips + num_replaced,
            "removals": removals,
            "hard": hard,
            "teacher_users": num_taught,
        }
        self.host.add(values)

    def _num_done(self) -> tf.Tensor:
        """Returns int64 [], the steps that the optimizer has done."""
        return tf.cast(self.optimizer.iterations, tf.int64)

    def _is_active(self) -> tf.Tensor:
        """Returns bool [], True if the gate is open before the optimizer's next step."""
        return self._num_done() >= self.host.active_since

    def _num_teacher_updates(self) -> tf.Tensor:
        """Returns int64 [], the number from 1 of the teacher's next update; 0 before it starts."""
        if self.has_teacher_always:
            return self._num_done() + 1
        return tf.maximum(self._num_done() - self.host.active_since, 0)

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Does nothing: the model is built already, and Keras would take a batch to build it."""


def _joined(
    loss: tf.Tensor, gradients: list[tf.Tensor | RowGradient]
) -> list[tf.Tensor | RowGradient]:
    """Returns the loss and the whole gradients as one vector, then the gradients by rows.

    What replicas add up crosses the network in one message, and the compiled program writes it.
    """
    rows = [part for part in gradients if isinstance(part, RowGradient)]
    whole = [loss, *(part for part in gradients if not isinstance(part, RowGradient))]
    return [tf.concat([tf.reshape(part, [-1]) for part in whole], axis=0), *rows]


def _summed(student: Student) -> tuple[tf.Tensor, list[tf.Tensor | RowGradient]]:
    """Returns the loss over all replicas, and the gradients, joined as they were."""
    if num_replicas() == 1:
        return student.terms.total, student.gradients
    vector, *rows = student.gradients
    vector = sum_over_replicas(vector)
    summed = [RowGradient(*map(concat_over_replicas, part)) for part in rows]
    return vector[0], [vector, *summed]
