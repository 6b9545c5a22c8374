"""The hindsight teacher: reads all of a window but the item that a position predicts.

One SASRec reads x_1 .. x_t, a second one the later items backwards, (start, x_n, .., x_{t+2}); both
have one item table. The vector of position t is their sum plus a two-layer network of both, so that
one pass predicts x_{t+1} at every position, and no vector depends on the item that it predicts. It
gives soft labels to a student and is never one itself: nobody knows the future of a user who asks.
"""

from typing import Any

import keras
import tensorflow as tf

from ufnrec_tf.backbones.attention import attention_rate, check_heads, xavier_normal
from ufnrec_tf.backbones.base import BlockBackbone
from ufnrec_tf.backbones.dropout import Dropout
from ufnrec_tf.backbones.packing import (
    Neighbourhood,
    PackedHistories,
    block_size,
    fill_up,
    neighbourhood,
    pack,
)
from ufnrec_tf.backbones.sasrec import VARIANTS, SASRecBlock, layer_norm
from ufnrec_tf.backbones.times import (
    NUM_GAPS,
    BucketTable,
    first_positions,
    gap_buckets,
    num_times,
    time_buckets,
)
from ufnrec_tf.common.tensors import PAD, widen


class Hindsight(BlockBackbone):
    """SASRec forwards and backwards over one item table; see the module.

    The blocks are those of SASRec's corrected variant.

    Args:
        num_heads: Heads; divides `width`.
        attention_dropout: Rate on attention weights; negative for `dropout`.
        time: `gaps` adds a learnt vector to each item's, by the time since the event before it, in
            both directions. The time of the target is thus known where a later event follows.
        **settings: See `BlockBackbone`.
    """

    def __init__(
        self,
        *,
        num_heads: int = 1,
        attention_dropout: float = -1.0,
        time: str = "none",
        **settings: Any,
    ) -> None:
        super().__init__(
            num_heads=num_heads, attention_dropout=attention_dropout, time=time, **settings
        )
        self.num_times = num_times(time, True, self.max_length, allowed=("none", "gaps"))
        width, policy = self.width, self.dtype_policy
        check_heads(num_heads, width)
        self.item_table = self.add_weight(
            shape=(self.num_items + 1, width),
            initializer=xavier_normal(self.num_items + 1, width),
            name="item_table",
        )
        self.start = self.add_weight(
            shape=(1, width), initializer=xavier_normal(1, width), name="start"
        )
        self.forwards, self.backwards = (
            Direction(
                width=width,
                num_heads=num_heads,
                num_blocks=self.num_blocks,
                dropout=self.dropout_rate,
                attention_dropout=attention_rate(attention_dropout, self.dropout_rate),
                max_length=self.max_length,
                has_gaps=bool(self.num_times),
                dtype=policy,
            )
            for _ in range(2)
        )
        self.hidden = keras.layers.Dense(2 * width, activation="relu", dtype=policy)
        self.hidden_dropout = Dropout(self.dropout_rate, dtype=policy)
        self.mixed = keras.layers.Dense(width, dtype=policy)
        self.build_now()

    def build_now(self) -> None:
        """Makes all variables; call it inside the strategy's scope."""
        self(tf.ones([1, self.max_length], tf.int32), **self.no_times())

    def call(
        self, histories: tf.Tensor, training: bool = False, times: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns float32 [B, L, D] for int32 [B, L] histories, with an empty future.

        The vectors of padded columns are 0.
        """
        packed = pack(histories, times)
        cells = tf.stack([packed.rows, packed.columns], axis=1)
        shape = tf.concat([tf.shape(histories), [self.width]], axis=0)
        return tf.scatter_nd(cells, self.call_packed(packed, training=training), shape)

    def encode(
        self, histories: tf.Tensor, training: bool = False, times: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns float32 [B, D], the vector of the newest position, with an empty future."""
        empty = tf.zeros([1, self.width], self.score_dtype)
        return self.encode_packed(histories, empty, training=training, times=times)

    def call_packed(self, packed: PackedHistories, training: bool = False) -> tf.Tensor:
        """Returns float32 [P, D]; the future of a position is that of `next_items`, if any."""
        num_positions = tf.shape(packed.items)[0]
        packed = fill_up(packed, block_size(self.max_length))
        near = neighbourhood(packed, self.max_length)
        gaps = None
        if self.num_times:
            gaps = gap_buckets(packed.times, first_positions(packed.rows))
        past = self.forwards(self.embed(packed.items), packed, near, gaps, training=training)
        if packed.next_items is None:
            future = self._without_future(packed, training)
        else:
            future = self._with_future(packed, near, training)
        hidden = self.hidden(tf.concat([past, future], axis=1))
        mixed = self.mixed(self.hidden_dropout(hidden, training=training))
        return widen(past + future + mixed)[:num_positions]

    def _with_future(
        self, packed: PackedHistories, near: Neighbourhood, training: bool
    ) -> tf.Tensor:
        """Returns [P, D], what the later items say of each position.

        Position t of n has the place n + 1 - t in the backward history of the same row: place 1
        holds the start, place j > 1 the item x_{n - j + 3}. So the places that are visible from
        position t's end at x_{t + 2}, and one neighbourhood serves both directions.
        """
        mirror = _mirrored(packed)
        # From here on by place: the next item of the position before, which is the place's own.
        later = tf.concat([[PAD], tf.gather(packed.next_items, mirror)[:-1]], axis=0)
        is_first = packed.columns == self.max_length - tf.gather(packed.lengths, packed.rows)
        embedded = tf.where(is_first[:, None], self._start(), self.embed(later))
        gaps = None
        if packed.times is not None and packed.next_times is not None:
            gaps = 1 + time_buckets(packed.next_times - packed.times)
            gaps = tf.concat([[0], tf.gather(gaps, mirror)[:-1]], axis=0)
            gaps = tf.where(is_first, 0, gaps)
        vectors = self.backwards(embedded, packed, near, gaps, training=training)
        return tf.gather(vectors, mirror)

    def _without_future(self, packed: PackedHistories, training: bool) -> tf.Tensor:
        """Returns [P, D], what an empty future says: each position is the newest of its history."""
        first = self.max_length - tf.gather(packed.lengths, packed.rows)
        alone = packed._replace(
            rows=tf.range(tf.shape(packed.items)[0]),
            # Of a backward history of one place, of which t - 1 columns of t are padding.
            columns=tf.where(packed.items != PAD, self.max_length - 1 - packed.columns + first, 0),
            lengths=tf.ones_like(packed.items),
        )
        embedded = tf.repeat(self._start(), tf.shape(packed.items)[0], axis=0)
        near = neighbourhood(alone, self.max_length)
        gaps = tf.zeros_like(packed.items) if self.num_times else None
        return self.backwards(embedded, alone, near, gaps, training=training)

    def _start(self) -> tf.Tensor:
        """Returns [1, D], the embedding with which every backward history begins."""
        return tf.cast(tf.convert_to_tensor(self.start), self.compute_dtype)


def _mirrored(packed: PackedHistories) -> tf.Tensor:
    """Returns int32 [P], each position's mirror image within its row; a filler's is itself."""
    ends = tf.cumsum(packed.lengths)
    both = tf.gather(2 * ends - packed.lengths - 1, packed.rows)
    place = tf.range(tf.shape(packed.items)[0])
    return tf.where(packed.items != PAD, both - place, place)


class Direction(keras.layers.Layer):
    """SASRec without its item table: from embedded packed histories to vectors."""

    def __init__(
        self,
        *,
        width: int,
        num_heads: int,
        num_blocks: int,
        dropout: float,
        attention_dropout: float,
        max_length: int,
        has_gaps: bool,
        dtype: Any,
    ) -> None:
        super().__init__(dtype=dtype)
        self.width = width
        self.position_table = self.add_weight(
            shape=(max_length, width),
            initializer=xavier_normal(max_length, width),
            name="position_table",
        )
        if has_gaps:
            self.gap_table = BucketTable(NUM_GAPS, width, dtype)
        self.input_dropout = Dropout(dropout, dtype=dtype)
        self.blocks = [
            SASRecBlock(
                width=width,
                num_heads=num_heads,
                dropout=dropout,
                attention_dropout=attention_dropout,
                form=VARIANTS["corrected"],
                max_length=max_length,
                dtype=dtype,
            )
            for _ in range(num_blocks)
        ]
        self.final_norm = layer_norm(dtype)
        self.built = True

    def call(
        self,
        embedded: tf.Tensor,
        packed: PackedHistories,
        near: Neighbourhood,
        gaps: tf.Tensor | None,
        training: bool = False,
    ) -> tf.Tensor:
        """Returns [P, D].

        Args:
            embedded: [P, D], rows of the item table.
            packed: Where the P positions are; its items only say which are fillers.
            near: Which positions see which.
            gaps: int32 [P], of the time before each; see `gap_buckets`. None where no times are
                read.
            training: True if dropout acts.
        """
        keep = tf.cast(packed.items != PAD, embedded.dtype)[:, None]
        positions = tf.cast(tf.convert_to_tensor(self.position_table), embedded.dtype)
        hidden = embedded * self.width**0.5 + tf.gather(positions, packed.columns)
        if gaps is not None:
            hidden += self.gap_table(gaps)
        hidden = self.input_dropout(hidden, training=training) * keep
        for block in self.blocks:
            hidden = block(hidden, where=near, training=training) * keep
        return self.final_norm(hidden)
