"""What every backbone promises: histories in, a vector a position out, no knowledge of a loss."""

import inspect
from typing import Any

import keras
import tensorflow as tf

from ufnrec_tf.backbones.packing import PackedHistories, pack, unpack
from ufnrec_tf.common.small_table import SmallTable

_CATALOGUE_SHARE = 16
"""Items a candidate below which scoring the whole catalogue is cheaper than gathering rows, and
takes less memory (measured: 1,682 items, 101 candidates: equal in time)."""


def setting_names(kind: type["Backbone"]) -> list[str]:
    """Returns the arguments that a backbone's constructor names."""
    parameters = inspect.signature(kind.__init__).parameters.values()
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p.name for p in parameters if p.kind in named and p.name != "self"]


class Backbone(keras.layers.Layer):
    """A network from histories to one vector a position, with a tied item table.

    A subclass implements `call` and owns `item_table`. The score of an item at a position is
    the dot product of the position's vector and the item's row, so that training, evaluation
    and serving agree whatever the backbone.

    Attributes:
        num_items: Number of items; internal ids are 1..num_items, 0 pads.
        width: D, the size of a vector.
        max_length: L, the longest history read; shorter ones are left-padded with 0.
        settings: The constructor's arguments, from which `clone` makes an equal one.

    Args:
        num_items: See above.
        width: See above.
        max_length: See above.
        precision: Keras's dtype policy, `float32` or `mixed_bfloat16`: weights, and what `call`
            returns, are float32 either way; or `float64`, then all is. A subclass hands
            `self.dtype_policy` to its layers.
        **settings: The subclass's own arguments.
    """

    is_causal = True
    """Whether the vector of a position depends on that position and earlier ones alone; a backbone
    for which it depends on the settings sets it in its constructor."""

    item_table: Any

    def __init__(
        self,
        *,
        num_items: int,
        width: int,
        max_length: int,
        precision: str = "float32",
        **settings: Any,
    ) -> None:
        super().__init__(dtype=precision)
        self.num_items = num_items
        self.width = width
        self.max_length = max_length
        settings |= {
            "num_items": num_items,
            "width": width,
            "max_length": max_length,
            "precision": precision,
        }
        named = setting_names(type(self))
        self.settings = {key: value for key, value in settings.items() if key in named}

    def call(self, histories: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns float32 [B, L, D] for int32 [B, L] histories, left-padded with 0.

        Column j's vector predicts the item that follows column j. What stands in padded
        columns is undefined.
        """
        raise NotImplementedError(f"{type(self).__name__} has no `call`.")

    def call_packed(self, packed: PackedHistories, training: bool = False) -> tf.Tensor:
        """Returns float32 [P, D], what `call` returns for the real columns of the histories.

        What stands in fillers is undefined but finite. A backbone that can leave the padding
        out overrides this; here the histories are padded and `call` is asked.
        """
        vectors = self(unpack(packed, self.max_length), training=training)
        return tf.gather_nd(vectors, tf.stack([packed.rows, packed.columns], axis=1))

    def encode(self, histories: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns float32 [B, D], the vector of the newest position of each history."""
        return self(histories, training=training)[:, -1, :]

    def encode_packed(
        self, histories: tf.Tensor, empty: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """Returns what `encode` does, by `call_packed`: for one that leaves the padding out.

        Args:
            histories: int32 [B, L].
            empty: float32 [1, D], the vector of a history without items.
            training: Whether dropout acts.
        """
        packed = pack(histories)
        vectors = tf.concat([empty, self.call_packed(packed, training=training)], axis=0)
        return tf.gather(vectors, tf.where(packed.lengths > 0, tf.cumsum(packed.lengths), 0))

    @property
    def score_dtype(self) -> str:
        """`float32`, in which vectors and scores are, or `float64` where all is."""
        return "float64" if self.compute_dtype == "float64" else "float32"

    def item_embeddings(self) -> tf.Tensor:
        """Returns float32 [num_items + 1, D]; row 0 is padding and never a candidate."""
        return tf.convert_to_tensor(self.item_table)

    def embed(self, items: tf.Tensor) -> tf.Tensor:
        """Returns float [..., D] in the compute dtype, the rows of int32 [...] items.

        In an export `item_table` may be a `SmallTable`, of which only these rows are widened.
        """
        if isinstance(self.item_table, SmallTable):
            return tf.cast(self.item_table.rows(items), self.compute_dtype)
        return self.gather_rows(self.item_table, items)

    def gather_rows(self, table: Any, rows: tf.Tensor) -> tf.Tensor:
        """Returns float [..., D] in the compute dtype, the rows int32 [...] of a weight [R, D].

        Keras casts weights only inside `__call__`; `call_packed` and `encode` run outside of it.
        """
        return tf.cast(tf.gather(tf.convert_to_tensor(table), rows), self.compute_dtype)

    def score(self, vectors: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """Returns logits float32 [P, C] of int32 [P, C] candidates for float32 [P, D] vectors."""
        if self.num_items < _CATALOGUE_SHARE * candidates.shape[1]:
            logits = tf.matmul(vectors, self.item_embeddings(), transpose_b=True)  # [P, V + 1]
            return tf.gather(logits, candidates, batch_dims=1)
        rows = tf.gather(self.item_embeddings(), candidates)  # [P, C, D]
        return tf.squeeze(tf.matmul(rows, vectors[:, :, None]), axis=2)  # [P, C]

    def build_now(self) -> None:
        """Makes all variables; call it inside the strategy's scope."""
        self(tf.zeros([1, self.max_length], tf.int32))

    def clone(self) -> "Backbone":
        """Returns a new built backbone with the same settings and the same weights."""
        copy = type(self)(**self.settings)
        copy.set_weights_from(self)
        return copy

    def set_weights_from(self, other: "Backbone") -> None:
        """Copies the weights of `other`, an equal backbone, into this one."""
        # Not the trainable ones: a teacher is frozen, which empties that list.
        for mine, theirs in zip(self.weights, other.weights, strict=True):
            mine.assign(theirs)
