"""SASRec: causal self-attention over the history, in three forms of the blocks."""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from ufnrec_tf.backbones.attention import (
    CausalAttention,
    FeedForward,
    attention_rate,
    check_heads,
    xavier_normal,
)
from ufnrec_tf.backbones.base import BlockBackbone
from ufnrec_tf.backbones.dropout import Dropout
from ufnrec_tf.backbones.packing import (
    Neighbourhood,
    NewestPositions,
    PackedHistories,
    block_size,
    fill_up,
    neighbourhood,
    newest_positions,
)
from ufnrec_tf.backbones.times import (
    TimeGaps,
    first_columns,
    first_positions,
    num_times,
    padded_times,
)
from ufnrec_tf.common.lookup import pick
from ufnrec_tf.common.tensors import PAD, widen

LAYER_NORM_EPSILON = 1e-8


class Variant(NamedTuple):
    """Where one form of the blocks differs from another.

    Attributes:
        is_pre_norm: True if keys and values are normalised as the queries are, and the
            feed-forward network's residual is taken from what is not normalised.
        masks_padding: True if padded keys are not attended to.
        has_input_residual: True if the residual of attention is taken from the block's input,
            False if from the normalised queries.
        starts_uniform: True if projections and feed-forward matrices start uniformly distributed,
            as torch draws them, False if normally distributed.
    """

    is_pre_norm: bool
    masks_padding: bool
    has_input_residual: bool
    starts_uniform: bool


VARIANTS = {
    "authors": Variant(
        is_pre_norm=False, masks_padding=False, has_input_residual=False, starts_uniform=False
    ),
    "corrected": Variant(
        is_pre_norm=True, masks_padding=True, has_input_residual=True, starts_uniform=False
    ),
    "input_residual": Variant(
        is_pre_norm=False, masks_padding=False, has_input_residual=True, starts_uniform=True
    ),
}


def layer_norm(dtype: Any) -> keras.layers.Layer:
    """Returns the authors' layer normalisation."""
    return keras.layers.LayerNormalization(epsilon=LAYER_NORM_EPSILON, dtype=dtype)


class SASRec(BlockBackbone):
    """Self-attentive sequential recommendation with a tied item table.

    Variant `authors`: in a block Q = LN(x) and K = V = x, the residual is taken from Q, and
    padded keys are attended to. Variant `corrected`: pre-norm blocks (K and V normalised too,
    residual from x) and a key-padding mask, so that the padding has no effect. Variant
    `input_residual`: as `authors`, but the residual of attention is taken from x, and the matrices
    that torch draws itself (query, key and value; feed-forward) start as torch draws them. It is
    the SASRec of the published figures with cross-entropy on Amazon Beauty.

    Source: Kang & McAuley, ICDM 2018; initialisation and order of layers of `authors` after the
    code released with UFNRec (arXiv 2208.04116), of `input_residual` after SASRec/main.py of
    https://github.com/MTandHJ/CE-SCE-LLMRec (arXiv 2402.06216).

    Args:
        num_heads: Heads; divides `width`.
        variant: One of `VARIANTS`.
        attention_dropout: Rate on attention weights; negative for `dropout`.
        time: `gaps` adds a learnt vector to each item's, by the time since the event before; `none`
            reads no times.
        request_time: True adds one by the time between each event and the request that follows it.
        **settings: See `BlockBackbone`.
    """

    times_read = ("none", "gaps")

    def __init__(
        self,
        *,
        num_heads: int = 1,
        variant: str = "authors",
        attention_dropout: float = -1.0,
        time: str = "none",
        request_time: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(
            num_heads=num_heads,
            variant=variant,
            attention_dropout=attention_dropout,
            time=time,
            request_time=request_time,
            **settings,
        )
        self.num_times = num_times(time, request_time, self.max_length, allowed=self.times_read)
        width, policy = self.width, self.dtype_policy
        check_heads(num_heads, width)
        form = pick(VARIANTS, variant, key="backbone.variant")
        self.item_table = self.add_weight(
            shape=(self.num_items + 1, width),
            initializer=xavier_normal(self.num_items + 1, width),
            name="item_table",
        )
        self.position_table = self.add_weight(
            shape=(self.max_length, width),
            initializer=xavier_normal(self.max_length, width),
            name="position_table",
        )
        if self.num_times:
            self.time_gaps = TimeGaps(width, has_request=request_time, dtype=policy)
        self.input_dropout = Dropout(self.dropout_rate, dtype=policy)
        self.blocks = [
            SASRecBlock(
                width=width,
                num_heads=num_heads,
                dropout=self.dropout_rate,
                attention_dropout=attention_rate(attention_dropout, self.dropout_rate),
                form=form,
                max_length=self.max_length,
                dtype=policy,
            )
            for _ in range(self.num_blocks)
        ]
        self.final_norm = layer_norm(policy)
        self.build_now()

    def call(
        self, histories: tf.Tensor, training: bool = False, times: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns float32 [B, L, D] for int32 [B, L] histories; see `Backbone.call`."""
        is_real = histories != PAD
        keep = tf.cast(is_real, self.compute_dtype)[:, :, None]
        hidden = self.embed(histories)
        hidden = hidden * self.width**0.5 + tf.convert_to_tensor(self.position_table)
        if times is not None:
            events, following = padded_times(times, self.max_length)
            gaps = self.time_gaps(events, following, first_columns(is_real))
            hidden += tf.reshape(gaps, tf.shape(hidden))
        hidden = self.input_dropout(hidden, training=training) * keep
        for block in self.blocks:
            hidden = block(hidden, where=is_real, training=training) * keep
        return widen(self.final_norm(hidden))

    def encode(
        self, histories: tf.Tensor, training: bool = False, times: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns float32 [B, D], the vector of the newest position; see `Backbone.encode`."""
        # A window that holds only padding stays zero up to the last norm, which adds its bias.
        empty = widen(tf.cast(tf.convert_to_tensor(self.final_norm.beta), self.compute_dtype))
        return self.encode_packed(histories, empty, training=training, times=times)

    def call_packed(self, packed: PackedHistories, training: bool = False) -> tf.Tensor:
        """Returns float32 [P, D] for packed histories; see `Backbone.call_packed`."""
        hidden = self._run_packed(packed, self.blocks, training=training)
        return widen(self.final_norm(hidden))[: tf.shape(packed.items)[0]]

    def call_newest(self, packed: PackedHistories, training: bool = False) -> tf.Tensor:
        """Returns float32 [B, D] for packed histories; see `Backbone.call_newest`.

        In the last block only the newest positions have queries.
        """
        if training or not self.blocks:  # training reads all positions: no dropout for one
            return super().call_newest(packed, training=training)
        *before, last = self.blocks
        hidden = self._run_packed(packed, before, training=False)
        hidden = last(hidden, where=newest_positions(packed, self.max_length))
        return widen(self.final_norm(hidden))

    def _run_packed(
        self, packed: PackedHistories, blocks: list["SASRecBlock"], training: bool
    ) -> tf.Tensor:
        """Returns [P', D], the output of the last of `blocks`; P' is P filled up."""
        packed = fill_up(packed, block_size(self.max_length))
        near = neighbourhood(packed, self.max_length)
        keep = tf.cast(packed.items != PAD, self.compute_dtype)[:, None]
        hidden = self.embed(packed.items) * self.width**0.5
        hidden += self.gather_rows(self.position_table, packed.columns)
        if self.num_times:
            is_first = first_positions(packed.rows)
            hidden += self.time_gaps(packed.times, packed.next_times, is_first)
        hidden = self.input_dropout(hidden, training=training) * keep
        for block in blocks:
            hidden = block(hidden, where=near, training=training) * keep
        return hidden


class SASRecBlock(keras.layers.Layer):
    """One attention block; the caller sets the padded columns of its output to zero."""

    def __init__(
        self,
        *,
        width: int,
        num_heads: int,
        dropout: float,
        attention_dropout: float,
        form: Variant,
        max_length: int,
        dtype: Any,
    ) -> None:
        super().__init__(dtype=dtype)
        self.is_pre_norm = form.is_pre_norm
        self.has_input_residual = form.has_input_residual
        self.attention_norm = layer_norm(dtype)
        self.attention = CausalAttention(
            width=width,
            num_heads=num_heads,
            dropout=attention_dropout,
            masks_padding=form.masks_padding,
            max_length=max_length,
            is_uniform=form.starts_uniform,
            dtype=dtype,
        )
        self.feed_forward_norm = layer_norm(dtype)
        self.feed_forward = FeedForward(
            width=width, dropout=dropout, is_uniform=form.starts_uniform, dtype=dtype
        )
        self.built = True

    def call(
        self,
        inputs: tf.Tensor,
        where: tf.Tensor | Neighbourhood | NewestPositions,
        training: bool = False,
    ) -> tf.Tensor:
        """Returns the block's output, shaped as its input, or [B, D] of the newest positions.

        Args:
            inputs: float32 [B, L, D] histories, or [P, D] packed ones.
            where: bool [B, L], True where a column is real; or which packed positions see which;
                or the positions that the newest ones see, without dropout.
            training: True if dropout acts.
        """
        if isinstance(where, NewestPositions):
            values = self.attention_norm(inputs) if self.is_pre_norm else inputs
            inputs = where.newest(inputs)
            normed = self.attention_norm(inputs)
            attended = self.attention.call_newest(normed, where.windows(values), where)
        else:
            is_packed = isinstance(where, Neighbourhood)
            attend = self.attention.call_packed if is_packed else self.attention
            normed = self.attention_norm(inputs)
            values = normed if self.is_pre_norm else inputs
            attended = attend(normed, values, where, training=training)
        hidden = (inputs if self.has_input_residual else normed) + attended
        fed = self.feed_forward_norm(hidden)
        return (hidden if self.is_pre_norm else fed) + self.feed_forward(fed, training=training)
