"""A whole training run once more, by the oracle, and its comparison with what the model did.

From a step's weights as they were before it everything else is computed anew: positions from
the histories, the student's logits by NumPy, overlays, labels and counts by the oracle's memory,
the loss and its gradient by the oracle, the next weights by the oracle's Adam, the teacher by the
oracle's average. Of the package only the sampler is called, and the backbone where the gradient
by the logits is carried on to the weights.
"""

import functools
import json
from collections import Counter

import numpy as np
import tensorflow as tf

from tests.helpers.tiny import MAX_LENGTH, Run, StepTrace
from tests.reference.numpy_sasrec import encode
from tests.reference.oracle import (
    Key,
    Lookup,
    OracleAdam,
    OracleLoss,
    OracleMemory,
    OracleTeacher,
    hard_flags,
    oracle_loss,
)
from tests.reference.oracle_judge import judged, limited
from ufnrec_tf.backbones.sasrec import SASRec

NEAR_TIE = 2e-6


def batch_keys(run: Run, batch: dict[str, np.ndarray]) -> tuple[list[Key], list[tuple[int, int]]]:
    """(user, index) and (batch row, column) of each real position, from the histories."""
    keys, cells = [], []
    data, split = run.split.interactions, run.split
    for row, user in enumerate(batch["user"].tolist()):
        if user < 0:
            continue
        begin, end = int(data.offsets[user]), int(split.train_ends[user])
        train = data.items[begin:end].tolist()
        num_rows = len(train) - 1
        if run.settings.windows != "last":
            first, length = int(batch["first_position"][row]), int(batch["length"][row])
        else:
            length = min(num_rows, MAX_LENGTH)
            first = num_rows - length
        oldest = length - 1 if run.settings.windows == "prefixes" else 0
        for step in range(oldest, length):
            column = MAX_LENGTH - length + step
            assert batch["history"][row, column] == train[first + step]
            assert batch["positives"][row, column - MAX_LENGTH] == train[first + step + 1]
            keys.append((user, first + step))
            cells.append((row, column))
    return keys, cells


def memory_row(run: Run, key: Key) -> int:
    """The row of a transition: windows in order of user, then of time."""
    samples, (user, index) = run.samples, key
    if run.settings.windows == "prefixes":
        return int((samples.users < user).sum()) + index
    for window in np.flatnonzero(samples.users == user):
        step = index - samples.first_positions[window]
        if 0 <= step < samples.lengths[window]:
            return int(samples.lengths[:window].sum() + step)
    raise AssertionError(f"no window holds {key}")


class Probe:
    """A backbone that takes the weights of any step and carries a gradient on to them."""

    def __init__(self, backbone: SASRec) -> None:
        self._backbone = backbone
        # Runs of the same backbone share its graph: tracing takes longer than their steps.
        self._graph = tf.function(self._differentiate, autograph=False, reduce_retracing=True)

    def gradients(
        self,
        weights: list[np.ndarray],
        histories: np.ndarray,
        cells: list[tuple[int, int]],
        candidates: np.ndarray,
        gradient: np.ndarray,
    ) -> list[np.ndarray]:
        """Returns the loss's gradient by each weight, given that by the logits of `cells`."""
        for variable, value in zip(self._backbone.trainable_variables, weights, strict=True):
            variable.assign(value)
        found = self._graph(
            tf.constant(histories),
            tf.constant(cells),
            tf.constant(candidates, tf.int32),
            tf.constant(gradient, tf.float32),
        )
        return [each.numpy() for each in found]

    def _differentiate(
        self, histories: tf.Tensor, cells: tf.Tensor, candidates: tf.Tensor, gradient: tf.Tensor
    ) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            vectors = tf.gather_nd(self._backbone(histories), cells)
            logits = self._backbone.score(vectors, candidates)
        found = tape.gradient(logits, self._backbone.trainable_variables, gradient)
        return [tf.convert_to_tensor(each) for each in found]


@functools.cache
def _probe(settings: str) -> Probe:
    """The probe of all runs whose SASRec has these settings, a JSON object."""
    return Probe(SASRec(**json.loads(settings)))


class OracleRun:
    """Replays a run; `compare` raises at the first step that differs."""

    def __init__(self, run: Run) -> None:
        self.run = run
        settings = run.settings
        self.memory = OracleMemory(
            patience=settings.patience,
            num_slots=settings.num_slots,
            list_capacity=settings.capacity or None,
            duplicates=settings.duplicates,
            counting="cumulative" if settings.is_cumulative else "consecutive",
            flip="sticky" if settings.is_sticky else "once",
            policy="replay" if settings.policy == "plain" else settings.policy,
        )
        self.teacher: OracleTeacher | None = None
        self.adams: list[OracleAdam] = []
        assert settings.backbone == "sasrec"
        self.probe = _probe(json.dumps(run.model.backbone.settings))
        self.seen: Counter = Counter()

    def compare(self) -> Counter:
        """Compares all steps; returns what the run contained."""
        batches = self.run.dataset().take(len(self.run.steps)).as_numpy_iterator()
        for number, (batch, trace) in enumerate(zip(batches, self.run.steps, strict=True)):
            self._compare_step(number, batch, trace)
        self.seen["evictions"] = self.memory.statistics["evictions"]
        return self.seen

    def _compare_step(self, number: int, batch: dict[str, np.ndarray], trace: StepTrace) -> None:
        settings = self.run.settings
        opened = len(self.run.steps) if settings.open_at is None else settings.open_at
        keys, cells = batch_keys(self.run, batch)
        lookups, candidates = self._look_up(keys, cells, batch)
        logits = self._logits(trace.weights, batch["history"], cells, candidates)
        margin = np.abs(logits[:, 1:] - logits[:, :1])[candidates[:, 1:] > 0].min(initial=1.0)
        assert margin > NEAR_TIE, "a near tie: take another seed"
        suspects = np.array([[0, *found.labels] for found in lookups]) > 0
        teacher_logits = None
        if self.teacher is not None and settings.policy == "ufnrec" and suspects.any():
            own = self.teacher.weights
            teacher_logits = self._logits(own, batch["history"], cells, candidates)
        lookups = self._judge(lookups, suspects, teacher_logits)
        loss = self._loss(lookups, logits, teacher_logits)
        expected = self._sums(lookups, logits, loss, trace)
        taught = {row for (row, _), own in zip(cells, suspects, strict=True) if own.any()}
        expected["users"] = int((batch["user"] >= 0).sum())
        expected["teacher_users"] = 0 if teacher_logits is None else len(taught)
        assert set(expected) == set(trace.sums)
        for name, value in expected.items():
            np.testing.assert_allclose(
                trace.sums[name], value, rtol=1e-5, atol=1e-6, err_msg=f"{name}, step {number}"
            )
        self._compare_weights(number, batch, trace, cells, candidates, loss.gradient)
        self._compare_teacher(number, trace, opened)
        if number >= opened and settings.policy != "plain":
            for key, found, row in zip(keys, lookups, logits, strict=True):
                self.memory.record(key, found, hard_flags(row))
        self._compare_memory(number, trace)
        self.seen["taught_steps"] += teacher_logits is not None
        self.seen["vetoes"] += int(suspects.sum() - expected["flips"])
        self._note(expected, lookups)

    def _look_up(
        self, keys: list[Key], cells: list[tuple[int, int]], batch: dict[str, np.ndarray]
    ) -> tuple[list[Lookup], np.ndarray]:
        """What the memory shows, and the candidates [P, 1 + N]."""
        settings = self.run.settings
        fresh = self.run.model.sampler(
            users=tf.constant(batch["user"]),
            visits=tf.constant(batch["visit"]),
            batch_index=tf.constant([row for row, _ in cells], tf.int64),
            positions=tf.constant([index for _, index in keys], tf.int64),
        ).numpy()
        lookups = self.memory.lookup_batch(keys, fresh.tolist())
        lookups = [limited(found, settings.max_flips, settings.policy) for found in lookups]
        positives = [int(batch["positives"][row, column - MAX_LENGTH]) for row, column in cells]
        return lookups, np.array(
            [[positive, *own.items] for positive, own in zip(positives, lookups, strict=True)]
        )

    def _judge(
        self, lookups: list[Lookup], suspects: np.ndarray, teacher_logits: np.ndarray | None
    ) -> list[Lookup]:
        """Leaves those flips to which the teacher agrees."""
        settings = self.run.settings
        if settings.agreement == "none" or settings.policy != "ufnrec":
            return lookups
        says = np.full(suspects.shape, -1.0)  # without a teacher nobody agrees
        if teacher_logits is not None:
            is_half = settings.agreement == "half"
            says = teacher_logits - (0.0 if is_half else teacher_logits[:, :1])
        assert np.abs(says[suspects]).min(initial=1.0) > NEAR_TIE, "take another seed"
        return [
            judged(found, row[1:] > 0, settings.policy)
            for found, row in zip(lookups, says, strict=True)
        ]

    def _loss(
        self, lookups: list[Lookup], logits: np.ndarray, teacher_logits: np.ndarray | None
    ) -> OracleLoss:
        settings = self.run.settings
        flipped = np.array([[0, *found.labels] for found in lookups]) > 0
        return oracle_loss(
            logits,
            np.array([[1, *found.labels] for found in lookups]),
            weights=np.array([[1, *found.weights] for found in lookups]),
            # Without a teacher the hard label stays, whatever the option says.
            flipped=flipped & (teacher_logits is not None),
            teacher_logits=teacher_logits,
            alpha=settings.alpha,
            consistency_mean=settings.consistency_mean,
            soft_label_only=settings.soft_label_only,
        )

    def _sums(
        self, lookups: list[Lookup], logits: np.ndarray, loss: OracleLoss, trace: StepTrace
    ) -> dict[str, float]:
        settings = self.run.settings
        weights = np.array([found.weights for found in lookups])
        flipped = np.array([found.labels for found in lookups])
        ripe = sum(sum(found.is_ripe) for found in lookups)
        norm = settings.l2 * np.sqrt((trace.weights[0].astype(np.float64) ** 2).sum())
        is_hard = logits[:, 1:] > logits[:, :1]
        return {
            "steps": 1,
            "positions": len(lookups),
            "negatives": int(weights.sum()),
            "shown": sum(sum(found.is_shown) for found in lookups),
            "flips": int(flipped.sum()),
            "removals": ripe if settings.policy == "remove" else 0,
            "hard": int((is_hard & (weights > 0) & (flipped == 0)).sum()),
            "ranking": loss.bce,
            "consistency": loss.consistency_kl,
            "l2": norm,
            "loss": loss.loss_kl + norm,
        }

    def _note(self, sums: dict[str, float], lookups: list[Lookup]) -> None:
        self.seen.update({name: int(sums[name]) for name in ("shown", "flips", "removals")})
        for found in lookups:
            slots = zip(found.counts, found.is_ripe, strict=True)
            self.seen["over_limit"] += sum(c > self.memory.patience and not r for c, r in slots)
            pairs = zip(found.is_excluded, found.is_shown, strict=True)
            self.seen["fresh_excluded"] += sum(excluded and not shown for excluded, shown in pairs)

    def _logits(
        self,
        weights: list[np.ndarray],
        histories: np.ndarray,
        cells: list[tuple[int, int]],
        candidates: np.ndarray,
    ) -> np.ndarray:
        settings = self.run.settings
        vectors = {
            row: encode(
                weights, histories[row], variant=settings.variant, num_heads=settings.num_heads
            )
            for row in {row for row, _ in cells}
        }
        table = np.asarray(weights[0], np.float64)
        return np.array(
            [
                table[own] @ vectors[row][column]
                for own, (row, column) in zip(candidates, cells, strict=True)
            ]
        )

    def _compare_weights(
        self,
        number: int,
        batch: dict[str, np.ndarray],
        trace: StepTrace,
        cells: list[tuple[int, int]],
        candidates: np.ndarray,
        gradient: np.ndarray,
    ) -> None:
        settings = self.run.settings
        gradients = self.probe.gradients(
            trace.weights, batch["history"], cells, candidates, gradient
        )
        if not self.adams:
            self.adams = [
                OracleAdam(learning_rate=settings.learning_rate, epsilon=settings.epsilon)
                for _ in gradients
            ]
        for position, (adam, found) in enumerate(zip(self.adams, gradients, strict=True)):
            if position == 0 and settings.l2:
                table = trace.weights[0].astype(np.float64)
                found = found + settings.l2 * table / np.sqrt((table**2).sum())
            np.testing.assert_allclose(
                trace.weights_after[position],
                adam.step(trace.weights[position], found),
                rtol=0,
                atol=2e-6,
                err_msg=f"weight {position}, step {number}",
            )

    def _compare_teacher(self, number: int, trace: StepTrace, opened: int) -> None:
        settings = self.run.settings
        if not trace.teacher_after:
            return
        if number == (0 if settings.has_teacher_always else opened + 1):
            self.teacher = OracleTeacher(trace.weights)
        expected = trace.weights_after
        if self.teacher is not None:
            decay = self.teacher.update(trace.weights_after)
            assert self.teacher.num_updates > 1 or decay == 2 / 11
            expected = self.teacher.weights
        for mine, theirs in zip(trace.teacher_after, expected, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-6, err_msg=f"step {number}")

    def _compare_memory(self, number: int, trace: StepTrace) -> None:
        if not trace.tables:
            return
        items, states = trace.tables["items"], trace.tables["states"]
        expected_rows = set()
        for key, listed in self.memory.lists.items():
            row = memory_row(self.run, key)
            expected_rows.add(row)
            if self.run.settings.duplicates:
                found = [int(item) for item in trace.tables["lists"][row] if item]
                assert found == listed, (number, key)
            own = zip(items[row].tolist(), states[row].tolist(), strict=True)
            slots = {item: state for item, state in own if item}
            assert {i for i, s in slots.items() if s % 2} == set(listed), (number, key)
            counts = {item: state // 2 for item, state in slots.items() if state // 2}
            assert counts == {i: c for i, c in self.memory.counts[key].items() if c}, (number, key)
        others = [row for row in range(len(items)) if row not in expected_rows]
        assert not items[others].any() and not states[others].any()
