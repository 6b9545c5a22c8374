"""Train transitions that are left out of a teacher's loss, and what it knows of them."""

import time
from typing import Any

import numpy as np
import tensorflow as tf

from ufnrec_tf.backbones.base import Backbone
from ufnrec_tf.common.distribution import ALONE, Workers
from ufnrec_tf.common.graphs import graph_function
from ufnrec_tf.common.progress import working_on
from ufnrec_tf.data.item_sets import chunks_of
from ufnrec_tf.data.splits import Split
from ufnrec_tf.data.user_hash import hash_users
from ufnrec_tf.data.windows import Samples
from ufnrec_tf.evaluation.evaluator import EvaluationResult, NotFiniteError
from ufnrec_tf.teachers.scores import COLUMNS, PAIRS, OwnItems, chunks, log_scores, matrices
from ufnrec_tf.teachers.vectors import TransitionVectors

_CUTOFF = 10


def left_out_events(split: Split, share: float, *, fold: int = 0, num_folds: int = 1) -> np.ndarray:
    """Returns bool [E], True for train events that are no targets of a teacher's loss.

    A hash of the user's raw id and the place in the history decides, so that they are the same in
    every run, whatever the seed and the other users.

    Args:
        split: The split of the data.
        share: Share of the train transitions, on average; 1 for the whole fold.
        fold: 0..num_folds - 1, the fold of which they are.
        num_folds: Folds of equal size, on average, into which all train transitions are split.
    """
    first, end = fold / num_folds, (fold + 1) / num_folds
    log = split.interactions
    keys = hash_users(log.user_ids)
    is_left_out = np.zeros(len(log.items), bool)
    for part in chunks_of(log.lengths):
        lengths = log.lengths[part]
        events = slice(log.offsets[part.start], log.offsets[part.stop])
        index = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        numbers = _mixed(np.repeat(keys[part], lengths) ^ _mixed(index.astype(np.uint64)))
        numbers = (numbers >> np.uint64(11)) / 2.0**53
        is_drawn = (numbers >= first) & (numbers < min(first + share, end))
        is_left_out[events] = is_drawn & (index > 0) & split.is_train[events]
    return is_left_out


def folds_of_events(split: Split, num_folds: int) -> np.ndarray:
    """Returns uint8 [E], the fold of each train event that is a target, 0 for other events."""
    folds = np.zeros(len(split.interactions.items), np.uint8)
    for fold in range(1, num_folds):
        folds[left_out_events(split, 1.0, fold=fold, num_folds=num_folds)] = fold
    return folds


def _mixed(values: np.ndarray) -> np.ndarray:
    """Returns uint64 [N], well mixed. Source: SplitMix64, Steele et al., OOPSLA 2014."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


class LeftOutEvaluator:
    """Ranks the targets that are left out of a teacher's loss; has the face of RankingEvaluator.

    The candidates are all training items but the user's other train items, as for labels. Metrics:
    `ndcg@10`, `hr@10`, `nll`, the mean of -log(probability of the target), and `entropy`, that of
    the teacher's distribution, both in nats and at the temperature of the labels.

    Args:
        split: The split of the data.
        samples: The windows that the teacher is trained on.
        is_left_out: bool [E]; see `left_out_events`.
        own_rows: int64, the rows of the windows' transitions that are ranked here.
        temperature: That of the labels.
        workers: The workers that rank together.
    """

    def __init__(
        self,
        split: Split,
        samples: Samples,
        is_left_out: np.ndarray,
        *,
        own_rows: np.ndarray,
        temperature: float = 1.0,
        workers: Workers = ALONE,
    ) -> None:
        events = samples.events_of_rows()[own_rows]
        self.events = events[is_left_out[events + 1]]
        self._split, self._samples, self._workers = split, samples, workers
        self._own = OwnItems(split)
        self.num_positions = int(workers.sum(np.array(len(self.events))))
        self._vectors: dict[Backbone, TransitionVectors] = {}
        is_candidate = split.is_training_item

        def judge(
            vectors: tf.Tensor, table: tf.Tensor, masked: tf.Tensor, columns: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            scores = log_scores([vectors], [table], masked, is_candidate, temperature)
            observed = tf.gather(scores, columns, batch_dims=1)
            rank = tf.reduce_sum(tf.cast(scores >= observed[:, None], tf.int32), axis=1)
            log_probabilities = scores - tf.reduce_logsumexp(scores, axis=1, keepdims=True)
            terms = tf.math.multiply_no_nan(log_probabilities, tf.exp(log_probabilities))
            nll = -tf.gather(log_probabilities, columns, batch_dims=1)
            return rank, nll, -tf.reduce_sum(terms, axis=1)

        signature = [*matrices(2), PAIRS, COLUMNS]
        self._judge = graph_function(judge, input_signature=signature)

    def evaluate(self, backbone: Backbone) -> EvaluationResult:
        """Returns the metrics of a teacher; all of them 0 where nothing is left out.

        All workers call it together.

        Raises:
            NotFiniteError: If a score is not finite.
        """
        started = time.process_time()
        if backbone not in self._vectors:
            self._vectors[backbone] = TransitionVectors(backbone, self._split, self._samples)
        vectors_of, parts = self._vectors[backbone], [np.zeros([3, 0])]
        with working_on("ranking what is left out", len(self.events), "transitions") as ranked:
            for events in chunks(self.events, self._split.interactions.num_items):
                masked, columns = self._own.others(events), self._own.targets(events) - 1
                found = self._judge(vectors_of(events), vectors_of.table(), masked, columns)
                parts.append(np.array([tensor.numpy() for tensor in found], np.float64))
                ranked.advance(len(events))
        ranks, nll, entropy = np.concatenate(parts, axis=1)
        is_hit = ranks <= _CUTOFF
        gains = is_hit / np.log2(1 + ranks)
        seconds = time.process_time() - started
        sums = np.array([gains.sum(), is_hit.sum(), nll.sum(), entropy.sum(), seconds])
        *totals, seconds = self._workers.sum(sums).tolist()
        if not np.isfinite(totals).all():
            raise NotFiniteError("The scores of the teacher are NaN or infinite.")
        names = (f"ndcg@{_CUTOFF}", f"hr@{_CUTOFF}", "nll", "entropy")
        count = max(self.num_positions, 1)
        metrics = {name: total / count for name, total in zip(names, totals, strict=True)}
        return EvaluationResult(metrics, ranks.astype(np.int64), self.num_positions, seconds)

    def protocol(self) -> dict[str, Any]:
        """Returns the settings on which the numbers depend: plain values, fit for JSON."""
        return {
            "split": self._split.name,
            "part": "train transitions that are left out of the teacher's loss",
            "targets": self.num_positions,
            "candidates": len(self._split.training_items),
            "masked": "the user's other train items",
            "ties": "against the target",
        }
