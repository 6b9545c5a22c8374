"""The graph of the exported model of a backbone that reads the times of events."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from ufnrec_tf.export.retriever import Retriever, with_lists_of_its_rows

_IDS_SPEC = tf.TensorSpec([None, None], tf.string, name="item_ids")
_TIMES_SPEC = tf.TensorSpec([None, None], tf.int64, name="times")
_K_SPEC = tf.TensorSpec([], tf.int32, name="k")
_EXCLUDE_IDS_SPEC = tf.TensorSpec([None, None], tf.string, name="exclude_ids")
_ALLOW_IDS_SPEC = tf.TensorSpec([None, None], tf.string, name="allow_ids")


_DAY = 86_400


def make_retriever(backbone: Any, item_ids: np.ndarray, **settings: Any) -> Retriever:
    """Returns a `Retriever`, or a `TimedRetriever` for a backbone that reads times.

    Args:
        backbone: A `Backbone`.
        item_ids: See `Retriever`.
        **settings: See `Retriever`.
    """
    kind = TimedRetriever if getattr(backbone, "num_times", 0) else Retriever
    return kind(backbone, item_ids, **settings)


def made_up_times(is_item: np.ndarray) -> np.ndarray:
    """Returns times for histories of nobody, int64 [B, T]: a day from one item to the next.

    Args:
        is_item: bool [B, T], False where the history is padded.
    """
    return np.where(is_item, _DAY * (1 + np.arange(is_item.shape[1])), 0).astype(np.int64)


class TimedRetriever(Retriever):
    """A `Retriever` whose signatures also take the times of the events.

    `times` int64 [B, T] is when each id of `item_ids` was taken, in whole seconds since 1970, and 0
    where the id is padding. Of a backbone that reads the time of the request, a row has one time
    more, after its last: the moment for which items are wanted. Without it that is the time of the
    newest event.
    """

    encoded: ClassVar[list[tf.TensorSpec]] = [
        tf.TensorSpec([None, None], tf.int32, name="histories"),
        _TIMES_SPEC,
    ]

    def __init__(self, backbone: Any, item_ids: np.ndarray, **settings: Any) -> None:
        """Builds the table of the vocabulary, and tracks the backbone's variables.

        Args:
            backbone: A `Backbone` with `num_times`.
            item_ids: See `Retriever`.
            **settings: See `Retriever`.
        """
        self.has_request = backbone.num_times > settings["max_length"]
        super().__init__(backbone, item_ids, **settings)

    @tf.function(input_signature=[_IDS_SPEC, _TIMES_SPEC], autograph=False)
    def serve(self, item_ids: tf.Tensor, times: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the best `default_k` items; see `Retriever.recommend`."""
        known, times = self._checked(item_ids, times)
        return self._top_k(known, tf.constant(self.default_k), times=times)

    @tf.function(input_signature=[_IDS_SPEC, _TIMES_SPEC, _K_SPEC], autograph=False)
    def recommend(
        self, item_ids: tf.Tensor, times: tf.Tensor, k: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Returns the best k items of each history; see `Retriever.recommend`.

        Raises:
            tf.errors.InvalidArgumentError: In the cases there, and if an id has no time.
        """
        known, times = self._checked(item_ids, times)
        return self._top_k(known, k, times=times)

    @tf.function(
        input_signature=[_IDS_SPEC, _TIMES_SPEC, _K_SPEC, _EXCLUDE_IDS_SPEC, _ALLOW_IDS_SPEC],
        autograph=False,
    )
    def recommend_filtered(
        self,
        item_ids: tf.Tensor,
        times: tf.Tensor,
        k: tf.Tensor,
        exclude_ids: tf.Tensor,
        allow_ids: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """Returns the best k allowed items; see `Retriever.recommend_filtered`."""
        item_ids = with_lists_of_its_rows(item_ids, exclude_ids, allow_ids)
        known, times = self._checked(item_ids, times)
        return self._top_k(
            known,
            k,
            excluded=self.lookup(exclude_ids),
            allowed=self.lookup(allow_ids),
            allows_all=tf.reduce_all(allow_ids == "", axis=1),
            times=times,
        )

    @tf.function(input_signature=[_IDS_SPEC, _TIMES_SPEC], autograph=False)
    def encode(self, item_ids: tf.Tensor, times: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the vector of each history; see `Retriever.encode`."""
        return {"vectors": self._encode(*self._checked(item_ids, times))}

    def _checked(self, item_ids: tf.Tensor, times: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the internal ids int32 [B, T] and the times, [B, T + 1] where one is a request's.

        Both depend on checks that each id has a time.
        """
        num_rows, length = tf.unstack(tf.shape(item_ids))
        extra = tf.shape(times)[1] - length
        fits = (extra >= 0) & (extra <= int(self.has_request)) & (tf.shape(times)[0] == num_rows)
        checks = [tf.debugging.assert_equal(fits, True, "`times` must have a time for each id.")]
        with tf.control_dependencies(checks):
            own = times[:num_rows, :length]
        is_missing = tf.reduce_any((item_ids != "") & (own == 0))
        checks.append(
            tf.debugging.assert_equal(is_missing, False, "`times` must have a time for each id.")
        )
        with tf.control_dependencies(checks):
            known = self.lookup(item_ids)
        if self.has_request:
            request = tf.reduce_max(tf.pad(times, [[0, 0], [0, 1]]), axis=1, keepdims=True)
            own = tf.concat([own, request], axis=1)
        return known, own

    def _encode_histories(self, histories: tf.Tensor, times: tf.Tensor = None) -> tf.Tensor:
        """Returns the vectors, float32 [B, D], of internal ids int32 [B, T], padding anywhere.

        Args:
            histories: The ids.
            times: int64 [B, T], with the request's [B, T + 1].
        """
        own = self._windows(histories, times[:, : tf.shape(histories)[1]])
        if self.has_request:
            own = tf.concat([own, times[:, -1:]], axis=1)
        own = tf.ensure_shape(own, [None, self.max_length + int(self.has_request)])
        return self._encoded(self._windows(histories, histories), own)
