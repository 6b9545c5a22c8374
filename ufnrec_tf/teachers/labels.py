"""Soft labels of train transitions: from teachers, and two controls.

A teacher's labels of a transition: softmax(scores / temperature) over all training items, every
train item of the user but the target set to 0, the best K kept, and what is kept divided by its
sum. The sum over the catalogue cancels there, so that one teacher's is never computed.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ufnrec_tf.common.graphs import graph_function
from ufnrec_tf.common.tensors import PAD
from ufnrec_tf.data.splits import Split, train_counts
from ufnrec_tf.teachers.scores import COLUMNS, PAIRS, OwnItems, log_scores, matrices
from ufnrec_tf.teachers.vectors import TransitionVectors

_MOST_LATER = 24
"""Later items that are labels at most: the next one would have a share below 2 ** -24."""
_DRAWS = 8
"""Draws of an item that is as popular, of which the first that may be a label is taken."""
_GROUP = 20
"""Items that are drawn for each other at least, next to each other in popularity."""


class Labels(NamedTuple):
    """The labels of N transitions; 0 in places without one.

    Attributes:
        items: int32 [N, K].
        shares: float32 [N, K], which sum to 1 in a row with labels.
        num_above: int32 [N], items that score above the target, at most K.
    """

    items: np.ndarray
    shares: np.ndarray
    num_above: np.ndarray


LabelSource = Callable[[np.ndarray], Labels]
"""Returns the labels of transitions, given the events that begin them: int64 [N], ascending."""


class TeacherLabels:
    """The labels that teachers give; see the module. Of several it is their mean probability.

    Args:
        teachers: The teachers.
        split: The split of the data.
        num_labels: K.
        temperature: By which the scores are divided.
        outranking_only: Keep only the target and the items that score above it.
    """

    def __init__(
        self,
        teachers: Sequence[TransitionVectors],
        split: Split,
        *,
        num_labels: int,
        temperature: float = 1.0,
        outranking_only: bool = False,
    ) -> None:
        self._teachers, self._own = teachers, OwnItems(split)
        is_candidate, count = split.is_training_item, len(teachers)
        k = min(num_labels, split.interactions.num_items)

        def best(*inputs: tf.Tensor) -> tuple[tf.Tensor, ...]:
            vectors, tables, (masked, columns) = (
                inputs[:count],
                inputs[count : 2 * count],
                inputs[2 * count :],
            )
            scores = log_scores(vectors, tables, masked, is_candidate, temperature)
            observed = tf.gather(scores, columns, batch_dims=1)[:, None]
            kept, items = tf.math.top_k(scores, k)
            is_above = kept > observed
            if outranking_only:
                is_target = items == columns[:, None]
                # Where none of the best is the target, it takes the place of the last.
                is_last = (tf.range(k) == k - 1) & ~tf.reduce_any(is_target, axis=1, keepdims=True)
                items = tf.where(is_last, columns[:, None], items)
                kept = tf.where(is_last, observed, kept)
                kept = tf.where(is_above & ~is_last | is_target | is_last, kept, -np.inf)
            shares = tf.nn.softmax(kept)
            num_above = tf.reduce_sum(tf.cast(is_above, tf.int32), axis=1)
            return tf.where(shares > 0, items + 1, PAD), shares, num_above

        signature = [*matrices(2 * count), PAIRS, COLUMNS]
        self._best = graph_function(best, input_signature=signature)

    def __call__(self, events: np.ndarray) -> Labels:
        """Returns the labels of the transitions that begin with some events."""
        vectors = [teacher(events) for teacher in self._teachers]
        tables = [teacher.table() for teacher in self._teachers]
        columns = self._own.targets(events) - 1
        found = self._best(*vectors, *tables, self._own.others(events), columns)
        return Labels(*(tensor.numpy() for tensor in found))


class LabelsByFold:
    """The labels of teachers of which each gives those of the fold that it has not learned.

    Args:
        sources: Of each fold, what makes its labels.
        folds: uint8 [E], the fold of each event as a target; see `left_out.folds_of_events`.
    """

    def __init__(self, sources: Sequence[LabelSource], folds: np.ndarray) -> None:
        self._sources, self._folds = sources, folds

    def __call__(self, events: np.ndarray) -> Labels:
        """Returns the labels of the transitions that begin with some events."""
        folds = self._folds[events + 1]
        parts = [
            source(events[folds == fold])
            for fold, source in enumerate(self._sources)
            if (folds == fold).any()
        ]
        back = np.argsort(np.argsort(folds, kind="stable"), kind="stable")
        return Labels(*(np.concatenate(fields)[back] for fields in zip(*parts, strict=True)))


class LaterLabels:
    """Control: the user's own later train items, each with half the share of the one before.

    The item after the target comes first. No teacher is asked.

    Args:
        split: The split of the data.
        num_labels: K.
    """

    def __init__(self, split: Split, *, num_labels: int) -> None:
        self._log, self._ends = split.interactions, split.train_ends
        self._num_labels = num_labels

    def __call__(self, events: np.ndarray) -> Labels:
        """Returns the labels of the transitions that begin with some events."""
        users = np.searchsorted(self._log.offsets, events, side="right") - 1
        steps = np.arange(min(self._num_labels, _MOST_LATER))
        place = events[:, None] + 2 + steps
        is_there = place < self._ends[users][:, None]
        items = self._log.items[np.where(is_there, place, 0)] * is_there
        shares = is_there * 0.5**steps
        for later in steps[1:]:  # an item that occurs again has one place
            is_same = (items[:, :later] == items[:, later : later + 1]) & is_there[
                :, later : later + 1
            ]
            first = is_same.argmax(axis=1)
            again = np.flatnonzero(is_same.any(axis=1))
            shares[again, first[again]] += shares[again, later]
            items[again, later] = shares[again, later] = 0
        shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-30)
        missing = ((0, 0), (0, self._num_labels - len(steps)))
        return Labels(
            np.pad(items.astype(np.int32), missing),
            np.pad(shares.astype(np.float32), missing),
            np.zeros(len(events), np.int32),
        )


class AlikeLabels:
    """Control: labels with each item but the target replaced by a random one as popular.

    Items stand in the order of their train events, those of equal number in random order, and are
    cut into groups of at least 20 neighbours; a replacement is drawn from the item's group. It is
    no train item of the user and no label of the row, before or after. Where none was found in
    eight draws the label stays.

    Args:
        source: Makes the labels.
        split: The split of the data.
        seed: Of the draws.
    """

    def __init__(self, source: LabelSource, split: Split, *, seed: int) -> None:
        self._source, self._own, self._seed = source, OwnItems(split), seed
        items, counts = split.training_items, train_counts(split)
        shuffled = np.random.default_rng(seed).permutation(items)
        self._order = shuffled[np.argsort(counts[shuffled], kind="stable")]
        self._place = np.zeros(len(counts), np.int64)
        self._place[self._order] = np.arange(len(items))
        self._stride = len(counts)
        users = np.repeat(np.arange(len(self._own.offsets) - 1), np.diff(self._own.offsets))
        self._own_keys = users * self._stride + self._own.items

    def __call__(self, events: np.ndarray) -> Labels:
        """Returns the labels of the transitions that begin with some events."""
        labels = self._source(events)
        generator = np.random.default_rng([self._seed, int(events[0])])
        is_replaced = (labels.items != PAD) & (labels.items != self._own.targets(events)[:, None])
        rows, _ = np.nonzero(is_replaced)
        before = labels.items[is_replaced]
        num_groups = max(len(self._order) // _GROUP, 1)
        group = np.minimum(self._place[before] // _GROUP, num_groups - 1)
        first = group * _GROUP
        size = np.where(group == num_groups - 1, len(self._order) - first, _GROUP)
        users = self._own.users(events)[rows]
        found, open_places = before.copy(), np.arange(len(before))
        labelled = (np.arange(len(events))[:, None] * self._stride + labels.items).ravel()
        for _ in range(_DRAWS):
            drawn = self._order[first + generator.integers(0, size)][open_places]
            keys = users[open_places] * self._stride + drawn
            place = np.minimum(np.searchsorted(self._own_keys, keys), len(self._own_keys) - 1)
            keys_of_row = rows[open_places] * self._stride + drawn
            is_taken = (self._own_keys[place] != keys) & ~np.isin(keys_of_row, labelled)
            is_first = np.zeros(len(drawn), bool)
            is_first[np.unique(keys_of_row, return_index=True)[1]] = True
            is_taken &= is_first  # of equal draws of a row
            found[open_places[is_taken]] = drawn[is_taken]
            labelled = np.append(labelled, keys_of_row[is_taken])
            open_places = open_places[~is_taken]
        items = labels.items.copy()
        items[is_replaced] = found
        return labels._replace(items=items)
