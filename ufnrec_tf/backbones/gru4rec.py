"""GRU4Rec: a recurrent network over the history."""

from itertools import pairwise
from typing import Any

import keras
import tensorflow as tf

from ufnrec_tf.backbones.attention import xavier_normal
from ufnrec_tf.backbones.base import BlockBackbone
from ufnrec_tf.backbones.dropout import Dropout
from ufnrec_tf.common.tensors import PAD, widen


class GRU4Rec(BlockBackbone):
    """Gated recurrent units with a tied item table, in the form used for next items today.

    Item embedding, dropout, `num_blocks` layers of GRU, and a dense layer back to the width where
    the state has another size. Padding leaves the state zero, so that it has no effect. The
    network is recurrent in the columns: histories are padded, and a step costs as much as if all
    of them were of full length.

    Differs from the paper: items are embedded instead of one-hot, and every position of a
    history is trained instead of sessions in parallel; the loss is the objective's.

    Source: Hidasi et al., "Session-based Recommendations with Recurrent Neural Networks", ICLR
    2016, section 3.1; the unit is Cho et al.'s in the form of cuDNN, whose reset gate acts after
    the recurrent product.

    Args:
        num_blocks: Layers of GRU.
        hidden_width: Size of the recurrent state; 0 for the width.
        **settings: See `BlockBackbone`; dropout is on the embedded items.
    """

    def __init__(self, *, num_blocks: int = 1, hidden_width: int = 0, **settings: Any) -> None:
        super().__init__(num_blocks=num_blocks, hidden_width=hidden_width, **settings)
        width, policy = self.width, self.dtype_policy
        self.item_table = self.add_weight(
            shape=(self.num_items + 1, width),
            initializer=xavier_normal(self.num_items + 1, width),
            name="item_table",
        )
        self.input_dropout = Dropout(self.dropout_rate, dtype=policy)
        sizes = [width] + [hidden_width or width] * num_blocks
        self.units = [
            RecurrentUnits(width=size, hidden_width=hidden, dtype=policy)
            for size, hidden in pairwise(sizes)
        ]
        self.has_output_layer = sizes[-1] != width
        if self.has_output_layer:
            self.output_kernel = self.add_weight(
                shape=(sizes[-1], width),
                initializer=xavier_normal(sizes[-1], width),
                name="output_kernel",
            )
            self.output_bias = self.add_weight(
                shape=(width,), initializer="zeros", name="output_bias"
            )
        self.build_now()

    def call(self, histories: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns float32 [B, L, D] for int32 [B, L] histories; see `Backbone.call`."""
        hidden = self.embed(histories)
        hidden = self.input_dropout(hidden, training=training)
        for unit in self.units:
            hidden = unit(hidden, is_real=histories != PAD)
        if self.has_output_layer:
            hidden = tf.matmul(hidden, self.output_kernel) + self.output_bias
        return widen(hidden)


class RecurrentUnits(keras.layers.Layer):
    """A layer of gated recurrent units, from the oldest column to the newest.

    r, z = sigmoid(x W + b + h U + c); n = tanh(x W' + b' + r (h U' + c')); h <- (1 - z) n + z h.
    A plain loop rather than Keras's layer, which would call cuDNN where XLA compiles the step.

    Args:
        width: Size of an input.
        hidden_width: H, size of the state.
        dtype: Keras's dtype policy.
    """

    def __init__(self, *, width: int, hidden_width: int, dtype: Any = None) -> None:
        super().__init__(dtype=dtype)
        self.hidden_width = hidden_width
        for name, size in (("input", width), ("recurrent", hidden_width)):
            kernel = self.add_weight(
                shape=(size, 3 * hidden_width),
                initializer=xavier_normal(size, hidden_width),
                name=f"{name}_kernel",
            )
            bias = self.add_weight(
                shape=(3 * hidden_width,), initializer="zeros", name=f"{name}_bias"
            )
            setattr(self, f"{name}_kernel", kernel)
            setattr(self, f"{name}_bias", bias)
        self.built = True

    def call(self, inputs: tf.Tensor, is_real: tf.Tensor) -> tf.Tensor:
        """Returns the states float [B, L, H], zero up to the first real column.

        Args:
            inputs: float [B, L, D].
            is_real: bool [B, L], True where the column is not padding.
        """
        projected = tf.matmul(inputs, self.input_kernel) + self.input_bias  # [B, L, 3 H]
        kernel = tf.cast(self.recurrent_kernel, self.compute_dtype)
        bias = tf.cast(self.recurrent_bias, self.compute_dtype)

        def step(state: tf.Tensor, column: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            own, is_there = column
            reset, update, new = tf.split(own, 3, axis=-1)
            recurrent = tf.nn.bias_add(tf.matmul(state, kernel), bias)
            its_reset, its_update, its_new = tf.split(recurrent, 3, axis=-1)
            keep = tf.sigmoid(update + its_update)
            new = tf.tanh(new + tf.sigmoid(reset + its_reset) * its_new)
            return tf.where(is_there[:, None], new + keep * (state - new), state)

        start = tf.zeros([tf.shape(inputs)[0], self.hidden_width], projected.dtype)
        columns = tf.transpose(projected, [1, 0, 2]), tf.transpose(is_real)
        return tf.transpose(tf.scan(step, columns, initializer=start), [1, 0, 2])
