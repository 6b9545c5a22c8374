"""Times of events as a network's input: buckets of the logarithm of time differences."""

from typing import Any

import keras
import tensorflow as tf

from ufnrec_tf.backbones.attention import xavier_normal
from ufnrec_tf.common.errors import UserError

NUM_BUCKETS = 64
"""Buckets of time differences; the last two begin at 68 and 102 years."""

NUM_GAPS = NUM_BUCKETS + 1
"""Values of `gap_buckets`: a bucket, or 0 where no event is before."""

_MANTISSA_BITS = 22  # of float32, all but the highest: two buckets between powers of 2
_FIRST = 127 << 1  # what 1.0 is, cut to exponent and one bit


def num_times(time: str, request_time: bool, max_length: int, *, allowed: tuple[str, ...]) -> int:
    """Returns how many columns of times a backbone reads; see `Backbone.num_times`.

    Args:
        time: What it reads of them, `backbone.time`.
        request_time: True if it also reads the time of the request.
        max_length: L.
        allowed: Values of `time` that the backbone takes.

    Raises:
        UserError: If `time` is none of them.
    """
    if time not in allowed:
        raise UserError(
            f"`backbone.time` must be one of {', '.join(allowed)} for this backbone. Received: "
            f"{time!r}. Set --config.backbone.time={allowed[-1]}, or --config.backbone.name=hstu."
        )
    return 0 if time == "none" else max_length + int(request_time)


def time_buckets(seconds: tf.Tensor) -> tf.Tensor:
    """Returns int32 [...] in 0..63, the buckets of time differences, int64 [...] in seconds.

    Bucket 2 n begins at 2**n seconds, bucket 2 n + 1 at 1.5 * 2**n, so that a bucket is about half
    a doubling wide. Less than 1.5 seconds, and a negative difference, is bucket 0. Taken from the
    bits of the number: a logarithm is rounded differently by each program that computes it.

    Source: that the logarithm is cut into buckets, Zhai et al., arXiv 2402.17152, whose code has
    buckets of 0.301 in the natural logarithm.
    """
    bits = tf.bitcast(tf.maximum(tf.cast(seconds, tf.float32), 1.0), tf.int32)
    numbers = tf.bitwise.right_shift(bits, _MANTISSA_BITS) - _FIRST
    return tf.minimum(numbers, NUM_BUCKETS - 1)


def gap_buckets(times: tf.Tensor, is_first: tf.Tensor) -> tf.Tensor:
    """Returns int32 [P], 1 + the bucket of the time since the event before, 0 for a first event.

    Args:
        times: int64 [P], of the events one after the other.
        is_first: bool [P], True for the first event of a window.
    """
    before = tf.concat([times[:1], times[:-1]], axis=0)
    return tf.where(is_first, 0, 1 + time_buckets(times - before))


def padded_times(times: tf.Tensor, max_length: int) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Returns int64 [B L], the times of the columns, and of their successors if these are there.

    Args:
        times: int64 [B, L], or [B, L + 1] with the times of the requests.
        max_length: L.
    """
    events = tf.reshape(times[:, :max_length], [-1])
    if times.shape[1] == max_length:
        return events, None
    return events, tf.reshape(times[:, 1:], [-1])


def first_columns(is_real: tf.Tensor) -> tf.Tensor:
    """Returns bool [B L], True for the first real column of each row of bool [B, L]."""
    before = tf.pad(is_real, [[0, 0], [1, 0]])[:, :-1]
    return tf.reshape(is_real & ~before, [-1])


def first_positions(rows: tf.Tensor) -> tf.Tensor:
    """Returns bool [P], True for the first position of each row, int32 [P], of a batch."""
    return rows != tf.concat([[-1], rows[:-1]], axis=0)


class BucketTable(keras.layers.Layer):
    """A learnt vector for each bucket, which is added to the vector of an item.

    Args:
        num_buckets: Rows.
        width: D.
        dtype: Keras's dtype policy.
    """

    def __init__(self, num_buckets: int, width: int, dtype: Any) -> None:
        super().__init__(dtype=dtype)
        self.table = self.add_weight(
            shape=(num_buckets, width), initializer=xavier_normal(num_buckets, width), name="table"
        )
        self.built = True

    def call(self, buckets: tf.Tensor) -> tf.Tensor:
        """Returns float [..., D] for int32 [...] buckets."""
        return tf.cast(tf.gather(tf.convert_to_tensor(self.table), buckets), self.compute_dtype)


class TimeGaps(keras.layers.Layer):
    """The vector of an event's gap, and of the gap between it and the request where that is read.

    Args:
        width: D.
        has_request: True if the time of the request is read.
        dtype: Keras's dtype policy.
    """

    def __init__(self, width: int, *, has_request: bool, dtype: Any) -> None:
        super().__init__(dtype=dtype)
        self.gaps = BucketTable(NUM_GAPS, width, dtype)
        self.request = BucketTable(NUM_BUCKETS, width, dtype) if has_request else None
        self.built = True

    def call(
        self, times: tf.Tensor, next_times: tf.Tensor | None, is_first: tf.Tensor
    ) -> tf.Tensor:
        """Returns float [P, D].

        Args:
            times: int64 [P], of the events one after the other.
            next_times: int64 [P], the time at which each event's successor is asked for; not read
                without `has_request`.
            is_first: bool [P], True for the first event of a window.
        """
        vectors = self.gaps(gap_buckets(times, is_first))
        if self.request is not None:
            vectors += self.request(time_buckets(next_times - times))
        return vectors
