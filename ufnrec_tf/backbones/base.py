"""The contract of a backbone: histories in, one vector a position out, no knowledge of a loss."""

import inspect
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from ufnrec_tf.backbones.packing import PackedHistories, pack, unpack
from ufnrec_tf.common.small_table import SmallTable

_CATALOGUE_SHARE = 16
"""Items a candidate below which scoring the whole catalogue is cheaper than gathering rows, and
takes less memory (measured: 1,682 items, 101 candidates: equal in time)."""


class Backbone(keras.layers.Layer):
    """A network from histories to one vector a position, with a tied item table.

    A subclass implements `call` and owns `item_table`. The score of an item at a position is
    the dot product of the position's vector and the item's row, so that training, evaluation
    and serving agree whatever the backbone.

    Attributes:
        num_items: Number of items; internal ids are 1..num_items, 0 pads.
        width: D, the size of a vector.
        max_length: L, the longest history read; shorter ones are left-padded with 0.
        settings: The constructor's arguments, from which `clone` makes an equal backbone.

    Args:
        num_items: Number of items.
        width: D, the size of a vector.
        max_length: L, the longest history read, in items.
        precision: Keras's dtype policy: `float32`; `mixed_bfloat16`, in which weights and the
            vectors that `call` returns stay float32; or `float64`, in which everything is float64.
            A subclass passes `self.dtype_policy` to its layers.
        **settings: The subclass's own arguments.
    """

    is_causal = True
    """True if the vector of a position depends only on that position and earlier ones. A backbone
    for which it depends on the settings sets it in its constructor."""

    num_times = 0
    """Columns of the `times` that `call` and `encode` take: 0 if they take none, L for the times
    of the events, L + 1 with that of the request, the moment at which the next item is asked for.
    A backbone for which it depends on the settings sets it in its constructor."""

    times_read: tuple[str, ...] = ("none",)
    """Values of `backbone.time` that a backbone of the library takes."""

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

        Column j's vector predicts the item that follows column j. The vectors of padded
        columns are undefined. A backbone with `num_times` also takes `times`, int64
        [B, num_times] in seconds, those of padded columns undefined; `encode` likewise.
        """
        raise NotImplementedError(f"{type(self).__name__} has no `call`.")

    def call_packed(self, packed: PackedHistories, training: bool = False) -> tf.Tensor:
        """Returns float32 [P, D], the vectors of `call` at the real columns of the histories.

        The vectors of fillers are undefined but finite. This pads the histories and runs `call`;
        a backbone that can leave the padding out overrides it.
        """
        vectors = self(unpack(packed, self.max_length), training=training)
        return tf.gather_nd(vectors, tf.stack([packed.rows, packed.columns], axis=1))

    def call_newest(self, packed: PackedHistories, training: bool = False) -> tf.Tensor:
        """Returns float32 [B, D], the vectors of `call_packed` at each history's newest position.

        The vector of a history without items is undefined but finite. This computes the vectors of
        all positions; a backbone whose last block needs only the newest queries overrides it.
        """
        vectors = tf.pad(self.call_packed(packed, training=training), [[1, 0], [0, 0]])
        return tf.gather(vectors, tf.cumsum(packed.lengths))

    def encode(self, histories: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns float32 [B, D], the vector of the newest position of each history."""
        return self(histories, training=training)[:, -1, :]

    def encode_packed(
        self,
        histories: tf.Tensor,
        empty: tf.Tensor,
        training: bool = False,
        times: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Returns the vectors of `encode`, float32 [B, D], computed by `call_newest`.

        For a backbone that overrides `call_packed`, whose `encode` calls this.

        Args:
            histories: int32 [B, L].
            empty: float32 [1, D], the vector of a history without items.
            training: True if dropout acts.
            times: int64 [B, num_times], or None for a backbone that takes none.
        """
        packed = pack(histories, times)
        vectors = self.call_newest(packed, training=training)
        return tf.where((packed.lengths > 0)[:, None], vectors, empty)

    @property
    def score_dtype(self) -> str:
        """The dtype of vectors and scores: `float64` under that precision, else `float32`."""
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
        """Returns float [..., D] in the compute dtype, the `rows` int32 [...] of a weight [R, D].

        Keras casts weights only inside `__call__`; `call_packed` and `encode` run outside it.
        """
        return tf.cast(tf.gather(tf.convert_to_tensor(table), rows), self.compute_dtype)

    def score(self, vectors: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        """Returns logits float32 [P, C] of int32 [P, C] candidates for float32 [P, D] vectors."""
        if self.num_items < _CATALOGUE_SHARE * candidates.shape[1]:
            logits = tf.matmul(vectors, self.item_embeddings(), transpose_b=True)  # [P, V + 1]
            return tf.gather(logits, candidates, batch_dims=1)
        rows = tf.gather(self.item_embeddings(), candidates)  # [P, C, D]
        return tf.squeeze(tf.matmul(rows, vectors[:, :, None]), axis=2)  # [P, C]

    def score_shared(self, vectors: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        """Returns logits float32 [P, C] of int32 [C] items, the same for all vectors [P, D]."""
        return tf.matmul(vectors, tf.gather(self.item_embeddings(), items), transpose_b=True)

    def build_now(self) -> None:
        """Makes all variables; call it inside the strategy's scope."""
        # The call below builds the layers. Else Keras would trace it before, once a level.
        self.built = type(self).build is keras.layers.Layer.build
        self(tf.zeros([1, self.max_length], tf.int32), **self.no_times())

    def no_times(self) -> dict[str, tf.Tensor]:
        """Returns the input `times` of one empty history; none for a backbone that takes none."""
        return {"times": tf.zeros([1, self.num_times], tf.int64)} if self.num_times else {}

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


class BlockBackbone(Backbone):
    """A backbone made of equal blocks with dropout, as all of this library are.

    Here stand the settings that they share. A subclass names only its own and passes the rest on:
    `super().__init__(own=own, **settings)`.

    Attributes:
        num_blocks: See below.
        dropout_rate: `dropout`.

    Args:
        num_items: See `Backbone`.
        width: D, the embedding size. Paper: d.
        max_length: L, window length in items.
        num_blocks: Blocks, one after the other.
        dropout: Rate in [0, 1).
        precision: See `Backbone`.
        **settings: The subclass's own arguments.

    Raises:
        TypeError: Naming the settings that no constructor of the class takes.
    """

    def __init__(
        self,
        *,
        num_items: int,
        width: int = 50,
        max_length: int = 50,
        num_blocks: int = 2,
        dropout: float = 0.5,
        precision: str = "float32",
        **settings: Any,
    ) -> None:
        known = [name for constructor in _constructors(type(self)) for name in _named(constructor)]
        unknown = [name for name in settings if name not in known]
        if unknown:
            raise TypeError(f"{type(self).__name__} has no setting {', '.join(unknown)}.")
        super().__init__(
            num_items=num_items,
            width=width,
            max_length=max_length,
            num_blocks=num_blocks,
            dropout=dropout,
            precision=precision,
            **settings,
        )
        self.num_blocks = num_blocks
        self.dropout_rate = dropout


def setting_names(kind: type[Backbone]) -> list[str]:
    """Returns the settings that a backbone's constructor takes.

    They are the arguments that it names and, where it takes `**settings` besides, those of the
    class that it passes them to.
    """
    names: list[str] = []
    for constructor in _constructors(kind):
        names += _named(constructor)
        if inspect.getfullargspec(constructor).varkw is None:
            break
    return names


def _constructors(kind: type[Backbone]) -> list[Callable[..., None]]:
    """Returns the constructors of a backbone's class and of the backbones above it."""
    backbones = [base for base in kind.__mro__ if issubclass(base, Backbone)]
    return [vars(base)["__init__"] for base in backbones if "__init__" in vars(base)]


def _named(constructor: Callable[..., None]) -> list[str]:
    """Returns the arguments that a constructor names."""
    found = inspect.getfullargspec(constructor)
    return [*found.args[1:], *found.kwonlyargs]
