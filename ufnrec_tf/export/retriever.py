"""Maps histories of raw item ids to the best k items: the graphs of the SavedModel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from ufnrec_tf.common.graphs import graph_function, is_ours
from ufnrec_tf.common.small_table import SmallTable
from ufnrec_tf.common.tensors import EMPTY_SCORE, PAD
from ufnrec_tf.export.items import checked_vocabulary, popularity_scores
from ufnrec_tf.export.top_items import (
    ItemFilters,
    TopColumns,
    best_items,
    best_items_unblocked,
)

BlockScores = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""(start, stop), int32 [] each -> finite scores float32 [B, stop - start] of these columns."""

_ITEM_IDS_SPEC = tf.TensorSpec([None, None], tf.string, name="item_ids")
_K_SPEC = tf.TensorSpec([], tf.int32, name="k")
_EXCLUDE_IDS_SPEC = tf.TensorSpec([None, None], tf.string, name="exclude_ids")
_HISTORIES_SPEC = tf.TensorSpec([None, None], tf.int32, name="histories")
_ALLOW_IDS_SPEC = tf.TensorSpec([None, None], tf.string, name="allow_ids")
_ITEM_SPEC = tf.TensorSpec([None], tf.string, name="item_ids")


class Retriever(tf.Module):
    """Maps raw histories to the best items by a backbone, vocabulary included.

    A history is a row of raw item ids, the newest last. "" is padding at any position, and ids
    that the vocabulary lacks are dropped as if they were padding. The backbone sees the newest
    `max_length` known ids, left-padded. With `mask_seen` no known item of the whole history is
    returned, not even one older than that window.

    A history without a known id gets the most popular items, ties by lower internal id, with
    `popularity_scores` as scores, which are not comparable with those of other histories. Without
    `events` it gets the answer of the backbone to a window of only padding: the same for all such
    histories, and without meaning beyond the bias of the model. `encode` ignores popularity.

    The backbone's variables are shared, not copied: a retriever follows further training.
    One call holds the scores of a block of items; see `best_items`.
    """

    encoded: ClassVar[list[tf.TensorSpec]] = [_HISTORIES_SPEC]
    """The inputs of the backbone's part of the graph."""

    def __init__(
        self,
        backbone: Any,
        item_ids: np.ndarray,
        *,
        max_length: int,
        default_k: int = 10,
        mask_seen: bool = True,
        events: np.ndarray | None = None,
    ) -> None:
        """Builds the table of the vocabulary, and tracks the backbone's variables.

        Args:
            backbone: A `Backbone`: `encode(histories, training)` and `item_embeddings()`.
            item_ids: object (str) [num_items + 1], the raw id of each internal id; "" at 0.
            max_length: Positions of the window that the backbone sees, 1 or more.
            default_k: Items that `serve` returns, 1 or more.
            mask_seen: True keeps the items of a history out of its answer; False allows
                repeat consumption.
            events: int64 [num_items + 1], how often each item occurs, for histories without a
                known id; None: the backbone answers those.

        Raises:
            ValueError: If the vocabulary is malformed or does not fit the backbone, or a number
                is not positive.
        """
        super().__init__(name="retriever")
        for name, value in (("max_length", max_length), ("default_k", default_k)):
            if value < 1:
                raise ValueError(f"`{name}` must be a positive integer. Received: {value}.")
        # Builds a backbone that was never called; its variables do not exist before that.
        times = backbone.no_times() if getattr(backbone, "num_times", 0) else {}
        backbone(np.zeros((1, max_length), np.int32), training=False, **times)
        num_rows, width = backbone.item_embeddings().shape
        raw_ids = checked_vocabulary(item_ids, int(num_rows))
        self.width = int(width)
        self.max_length = max_length
        self.default_k = default_k
        self.mask_seen = mask_seen
        # Tracking the variables, and only the methods of the layer, keeps Keras objects out of
        # the SavedModel: it holds plain tf.Variables and graphs, which TensorFlow loads unaided.
        table = getattr(backbone, "item_table", None)
        self._small_table = table if isinstance(table, SmallTable) else None
        replaced = self._small_table.replaced if self._small_table else None
        self._variables = [v.value for v in backbone.variables if v.path != replaced]
        self._encode_windows = backbone.encode
        # Separate graphs that the signatures call: traced and saved once, not once in each.
        self._encode = graph_function(
            self._encode_histories, backbone, input_signature=self.encoded
        )
        vectors = backbone.item_embeddings
        self._item_embeddings = vectors if is_ours(backbone) else tf.function(vectors)
        self._num_columns = len(raw_ids)
        self._raw_ids = tf.constant(raw_ids, tf.string)
        self._popularity = None
        if events is not None:
            if len(events) != len(raw_ids):
                raise ValueError(f"`events` must have {len(raw_ids)} rows. Has: {len(events)}.")
            self._popularity = tf.Variable(popularity_scores(events), trainable=False)
        self._table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(raw_ids[1:], tf.string),
                tf.range(1, len(raw_ids), dtype=tf.int32),
            ),
            default_value=PAD,
        )

    @tf.function(input_signature=[_ITEM_IDS_SPEC], autograph=False)
    def serve(self, item_ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the best `default_k` items; see `recommend`.

        Args:
            item_ids: string [B, T].

        Returns:
            `item_ids` string [B, default_k] and `scores` float32 [B, default_k].
        """
        return self._top_k(self._table.lookup(item_ids), tf.constant(self.default_k))

    @tf.function(input_signature=[_ITEM_IDS_SPEC, _K_SPEC], autograph=False)
    def recommend(self, item_ids: tf.Tensor, k: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the best k items of each history, best first, ties by lower internal id.

        Args:
            item_ids: string [B, T], raw ids, newest last, "" is padding; B and T may be 0.
            k: int32 [], 1 or more.

        Returns:
            `item_ids` string [B, k] and `scores` float32 [B, k]; "" with score -1e30 where fewer
            than k items are left.

        Raises:
            tf.errors.InvalidArgumentError: If k < 1, or the model gives NaN or infinity.
        """
        return self._top_k(self._table.lookup(item_ids), k)

    @tf.function(
        input_signature=[_ITEM_IDS_SPEC, _K_SPEC, _EXCLUDE_IDS_SPEC, _ALLOW_IDS_SPEC],
        autograph=False,
    )
    def recommend_filtered(
        self, item_ids: tf.Tensor, k: tf.Tensor, exclude_ids: tf.Tensor, allow_ids: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Returns the best k of the items that two lists a history allow; see `recommend`.

        In both lists "" is padding and ids that the vocabulary lacks are dropped. The items of a
        history and the excluded items are never returned, allowed or not.

        Args:
            item_ids: string [B, T].
            k: int32 [], 1 or more.
            exclude_ids: string [B, X], items that must not be returned.
            allow_ids: string [B, A], the only items that may be returned. A row of only ""
                allows all items, a row of only unknown ids allows none.

        Returns:
            The same as `recommend`.

        Raises:
            tf.errors.InvalidArgumentError: In the cases of `recommend`, and if a list has not as
                many rows as there are histories.
        """
        item_ids = with_lists_of_its_rows(item_ids, exclude_ids, allow_ids)
        allowed = self._table.lookup(allow_ids)  # [B, A]
        return self._top_k(
            self._table.lookup(item_ids),
            k,
            excluded=self._table.lookup(exclude_ids),
            allowed=allowed,
            allows_all=tf.reduce_all(allow_ids == "", axis=1),
        )

    @tf.function(input_signature=[_ITEM_SPEC, _K_SPEC], autograph=False)
    def similar(self, item_ids: tf.Tensor, k: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the k items most like each item, best first, ties by lower internal id.

        Likeness is the cosine of the two vectors of `item_vectors`, 0 for a vector of zeros. The
        item itself is left out.

        Args:
            item_ids: string [B], raw ids; B may be 0.
            k: int32 [], 1 or more.

        Returns:
            `item_ids` string [B, k], `scores` float32 [B, k], the cosines, and `is_known` bool [B],
            False for an id that the vocabulary lacks. "" with score -1e30 where fewer than k items
            are left, and in the whole row of an unknown id.

        Raises:
            tf.errors.InvalidArgumentError: If k < 1, or the model has NaN or infinity.
        """
        none = tf.fill([tf.shape(item_ids)[0], 0], "")
        return self.similar_filtered(item_ids, k, none, none)

    @tf.function(
        input_signature=[_ITEM_SPEC, _K_SPEC, _EXCLUDE_IDS_SPEC, _ALLOW_IDS_SPEC], autograph=False
    )
    def similar_filtered(
        self, item_ids: tf.Tensor, k: tf.Tensor, exclude_ids: tf.Tensor, allow_ids: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Returns the answer of `similar` among the items that two lists an item allow.

        Args:
            item_ids: string [B].
            k: int32 [], 1 or more.
            exclude_ids: string [B, X]; see `recommend_filtered`.
            allow_ids: string [B, A]; see `recommend_filtered`.
        """
        item_ids = with_lists_of_its_rows(item_ids, exclude_ids, allow_ids)
        items = self._table.lookup(item_ids)
        is_known = items != PAD
        filters = ItemFilters(
            tf.concat([items[:, None], self._table.lookup(exclude_ids)], axis=1),
            self._table.lookup(allow_ids),
            tf.reduce_all(allow_ids == "", axis=1),
        )
        best = self._best(self._cosines_with(items), k, filters)
        values = tf.where(is_known[:, None], best.values, -np.inf)
        return {**self._answer(TopColumns(values, best.indices), k), "is_known": is_known}

    @tf.function(input_signature=[_ITEM_IDS_SPEC], autograph=False)
    def encode(self, item_ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the vector of each history; a score is its dot product with an item's.

        Args:
            item_ids: string [B, T].

        Returns:
            `vectors` float32 [B, D].
        """
        return {"vectors": self._encode(self._table.lookup(item_ids))}

    @tf.function(input_signature=[_ITEM_IDS_SPEC], autograph=False)
    def lookup(self, item_ids: tf.Tensor) -> tf.Tensor:
        """Returns the internal ids, int32 [B, T]: 0 for padding and for unknown ids."""
        return self._table.lookup(item_ids)

    @tf.function(input_signature=[], autograph=False)
    def item_vectors(self) -> dict[str, tf.Tensor]:
        """Returns the vector of each item, `vectors` float32 [V + 1, D]; see `encode`."""
        return {"vectors": tf.cast(self._item_embeddings(), tf.float32)}

    def vector_blocks(self, rows: int) -> Iterator[np.ndarray]:
        """Yields `item_vectors` of items 1 to V in order, float32 [at most `rows`, D] each.

        A small table is widened a block at a time, never whole.
        """
        small = self._small_table
        table = self._item_embeddings() if small is None else None
        for start in range(1, self._num_columns, rows):
            places = tf.range(start, min(start + rows, self._num_columns))
            block = tf.gather(table, places) if small is None else small.rows(places)
            yield tf.cast(block, tf.float32).numpy()

    def rank(self, histories: tf.Tensor, k: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the answer of `recommend` over internal ids; no signature, for other runtimes.

        Args:
            histories: int32 [B, T], newest last, 0 is padding at any position.
            k: int32 [], 1 or more.

        Returns:
            `items` int32 and `scores` float32, [B, min(k, V + 1)]; 0 and -1e30 where fewer are
            left.
        """
        best = best_items_unblocked(
            self._scorer(histories),
            ItemFilters(histories if self.mask_seen else histories[:, :0]),
            num_columns=self._num_columns,
            k=tf.minimum(k, self._num_columns),
        )
        is_item = best.values > -np.inf
        return {
            "items": tf.where(is_item, best.indices, PAD),
            # Not tf.where, whose form in ONNX multiplies the infinities away into NaN.
            "scores": tf.maximum(best.values, EMPTY_SCORE),
        }

    def _top_k(
        self,
        histories: tf.Tensor,
        k: tf.Tensor,
        *,
        excluded: tf.Tensor | None = None,
        allowed: tf.Tensor | None = None,
        allows_all: Any = None,
        times: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """Returns the answer of `recommend` for internal ids.

        Args:
            histories: int32 [B, T], 0 is padding at any position.
            k: int32 [].
            excluded: int32 [B, X], the same padding, or None.
            allowed: int32 [B, A], the same padding, or None for all items.
            allows_all: bool [B], rows whose `allowed` is ignored; given exactly if `allowed` is.
            times: See `TimedRetriever`; None for a backbone that reads none.
        """
        hidden = histories if self.mask_seen else histories[:, :0]
        if excluded is not None:
            hidden = tf.concat([hidden, excluded], axis=1)
        filters = ItemFilters(hidden, allowed, allows_all)
        return self._answer(self._best(self._scorer(histories, times), k, filters), k)

    def _best(self, scores_of: BlockScores, k: tf.Tensor, filters: ItemFilters) -> TopColumns:
        """Returns the best min(k, V + 1) columns of the catalogue, k checked."""
        tf.debugging.assert_positive(k, message="`k` must be a positive integer.")
        return best_items(
            scores_of,
            filters,
            num_columns=self._num_columns,
            # A k that the check above rejects must not fail first with another message.
            k=tf.clip_by_value(k, 1, self._num_columns),
        )

    def _answer(self, best: TopColumns, k: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns `item_ids` string and `scores` float32, [B, k], of the best columns."""
        # A checked score is never -inf, which therefore marks what must not be returned.
        is_item = tf.math.is_finite(best.values)
        chosen = tf.where(is_item, tf.gather(self._raw_ids, best.indices), "")
        scores = tf.where(is_item, best.values, EMPTY_SCORE)
        missing = [[0, 0], [0, tf.maximum(k - self._num_columns, 0)]]
        shape = [None, tf.get_static_value(k)]
        padded_ids = tf.pad(chosen, missing, constant_values="")
        padded_scores = tf.pad(scores, missing, constant_values=EMPTY_SCORE)
        return {
            "item_ids": tf.ensure_shape(padded_ids, shape),
            "scores": tf.ensure_shape(padded_scores, shape),
        }

    def _scorer(self, histories: tf.Tensor, times: tf.Tensor | None = None) -> BlockScores:
        """Returns the function (start, stop) -> finite scores float32 [B, stop - start].

        The score of column 0, padding, is meaningless.
        """
        vectors = self._encode(histories) if times is None else self._encode(histories, times)
        has_item = tf.reduce_any(histories != PAD, axis=1)  # [B]
        empty = tf.where(~has_item)  # [E, 1], rows

        def scores_of(start: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
            if self._small_table is not None:
                scores = self._small_table.scores(vectors, start, stop)
            else:
                items = tf.cast(self._item_embeddings()[start:stop], tf.float32)
                scores = tf.linalg.matmul(vectors, items, transpose_b=True)
            if self._popularity is not None:
                # Not tf.where, which would copy the scores of all rows, though few are empty.
                popular = tf.tile(self._popularity[None, start:stop], [tf.shape(empty)[0], 1])
                scores = tf.tensor_scatter_nd_update(scores, empty, popular)
            return with_finite_values(scores, "The model gave scores that are not finite")

        return scores_of

    def _cosines_with(self, items: tf.Tensor) -> BlockScores:
        """Returns the function (start, stop) -> cosines with int32 [B] items; see `_scorer`."""
        small = self._small_table

        def unit_vectors(start: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
            if small is None:
                vectors = tf.cast(self._item_embeddings()[start:stop], tf.float32)
            else:
                vectors = small.rows(tf.range(start, stop))
            return tf.math.l2_normalize(vectors, axis=1)

        own = tf.gather(self._item_embeddings(), items) if small is None else small.rows(items)
        units = tf.math.l2_normalize(tf.cast(own, tf.float32), axis=1)  # [B, D]

        def cosines_of(start: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
            cosines = tf.linalg.matmul(units, unit_vectors(start, stop), transpose_b=True)
            return with_finite_values(cosines, "The model has vectors that are not finite")

        return cosines_of

    def _encode_histories(self, histories: tf.Tensor) -> tf.Tensor:
        """Returns the vectors, float32 [B, D], of internal ids int32 [B, T], padding anywhere."""
        return self._encoded(self._windows(histories, histories))

    def _encoded(self, windows: tf.Tensor, times: tf.Tensor | None = None) -> tf.Tensor:
        """Returns the vectors, float32 [B, D], of windows int32 [B, L] and perhaps their times."""
        num_histories = tf.shape(windows)[0]
        # A backbone that reshapes by -1 fails on an empty batch: it gets one row of padding.
        missing = [[0, tf.cast(num_histories == 0, tf.int32)], [0, 0]]
        windows = tf.ensure_shape(tf.pad(windows, missing), [None, self.max_length])
        read = {} if times is None else {"times": tf.pad(times, missing)}
        vectors = self._encode_windows(windows, training=False, **read)
        return tf.cast(vectors[:num_histories], tf.float32)

    def _windows(self, histories: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        """Returns the values of the newest `max_length` known items, left-padded by 0: [B, L].

        Args:
            histories: int32 [B, T], 0 is padding at any position.
            values: [B, T], of the items.
        """
        is_item = tf.not_equal(histories, PAD)
        # 1 at the newest known item, 2 at the one before, and so on.
        age = tf.cumsum(tf.cast(is_item, tf.int32), axis=1, reverse=True)
        source = tf.where(is_item & (age <= self.max_length))  # [P, 2]
        column = self.max_length - tf.gather_nd(age, source)
        target = tf.stack([tf.cast(source[:, 0], tf.int32), column], axis=1)
        shape = [tf.shape(histories)[0], self.max_length]
        return tf.scatter_nd(target, tf.gather_nd(values, source), shape)


def with_finite_values(values: tf.Tensor, message: str) -> tf.Tensor:
    """Returns float32 [B, n], once all values are known to be finite.

    The sum of a row is not finite if one of them is not. They are made smaller first, so that the
    sum of finite ones cannot overflow. To check each of them takes longer than to compute it.

    Args:
        values: float32 [B, n], n below 2 ** 24.
        message: The error's.
    """
    sums = tf.linalg.matvec(values, tf.fill([tf.shape(values)[1]], 2.0**-24))
    with tf.control_dependencies([tf.debugging.check_numerics(sums, message)]):
        return tf.identity(values)


def with_lists_of_its_rows(
    item_ids: tf.Tensor, exclude_ids: tf.Tensor, allow_ids: tf.Tensor
) -> tf.Tensor:
    """Returns `item_ids`, once both lists are known to have as many rows."""
    checks = [
        tf.debugging.assert_equal(
            tf.shape(ids)[0],
            tf.shape(item_ids)[0],
            message=f"`{name}` must have a row for each row of `item_ids`.",
        )
        for name, ids in (("exclude_ids", exclude_ids), ("allow_ids", allow_ids))
    ]
    # Without the dependency another operation could fail first, with a worse message.
    with tf.control_dependencies(checks):
        return tf.identity(item_ids)
