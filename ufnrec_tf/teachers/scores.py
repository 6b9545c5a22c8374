"""The scores of all items at train transitions, without the user's own items."""

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from ufnrec_tf.data.splits import Split, seen_train_items

_CHUNK_SCORES = 1 << 24
"""Scores held at once (64 MB, a few times over)."""

_LEAST_CHUNK = 16
MINUS_INFINITY = float("-inf")


def chunks(events: np.ndarray, num_items: int) -> Iterator[np.ndarray]:
    """Yields the events in parts whose scores fit into memory."""
    size = max(_CHUNK_SCORES // num_items, _LEAST_CHUNK)
    for begin in range(0, len(events), size):
        yield events[begin : begin + size]


class OwnItems:
    """The train items of each user, which are no labels of the user's transitions.

    Args:
        split: The split whose train events are the users' own items.
    """

    def __init__(self, split: Split) -> None:
        self.offsets, self.items = seen_train_items(split)
        self._log = split.interactions

    def users(self, events: np.ndarray) -> np.ndarray:
        """Returns the user of each event, int64 [N]."""
        return np.searchsorted(self._log.offsets, events, side="right") - 1

    def targets(self, events: np.ndarray) -> np.ndarray:
        """Returns the target of each transition, int32 [N]."""
        return self._log.items[events + 1]

    def others(self, events: np.ndarray) -> np.ndarray:
        """Returns int32 [M, 2], pairs of a row and an own item, less 1, that is not its target."""
        users = self.users(events)
        counts = (self.offsets[1:] - self.offsets[:-1])[users]
        rows = np.repeat(np.arange(len(events)), counts)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        items = self.items[np.repeat(self.offsets[:-1][users], counts) + within]
        pairs = np.stack([rows, items - 1], axis=1).astype(np.int32)
        return pairs[items != self.targets(events)[rows]]


def log_scores(
    vectors: Sequence[tf.Tensor],
    tables: Sequence[tf.Tensor],
    masked: tf.Tensor,
    is_candidate: np.ndarray | None,
    temperature: float,
) -> tf.Tensor:
    """Returns float32 [N, V], the teachers' log-probabilities up to a number of each row.

    Of several teachers it is the logarithm of the mean of their probabilities among all
    candidates. Masked items and those that are no candidates have minus infinity.

    Args:
        vectors: float32 [N, D] of each teacher.
        tables: float32 [V, D] of each teacher.
        masked: int32 [M, 2], rows and items, less 1.
        is_candidate: bool [V], or None for all.
        temperature: By which the scores are divided.
    """
    each = []
    for vector, table in zip(vectors, tables, strict=True):
        scores = tf.matmul(vector / temperature, table, transpose_b=True)
        if is_candidate is not None:
            scores = tf.where(is_candidate[None, :], scores, MINUS_INFINITY)
        each.append(scores if len(tables) == 1 else tf.nn.log_softmax(scores))
    whole = each[0] if len(each) == 1 else tf.reduce_logsumexp(tf.stack(each), axis=0)
    hidden = tf.fill([tf.shape(masked)[0]], MINUS_INFINITY)
    return tf.tensor_scatter_nd_update(whole, masked, hidden)


_MATRIX = tf.TensorSpec([None, None], tf.float32)
PAIRS = tf.TensorSpec([None, 2], tf.int32)
COLUMNS = tf.TensorSpec([None], tf.int32)


def matrices(count: int) -> list[tf.TensorSpec]:
    """Returns the signature of the vectors, or of the tables, of some teachers."""
    return [_MATRIX] * count
