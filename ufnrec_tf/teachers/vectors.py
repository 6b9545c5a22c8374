"""A teacher's vectors of train transitions, window by window."""

from typing import Any

import numpy as np
import tensorflow as tf

from ufnrec_tf.backbones.base import Backbone
from ufnrec_tf.backbones.hindsight import Hindsight
from ufnrec_tf.backbones.packing import PackedHistories
from ufnrec_tf.common.graphs import graph_function
from ufnrec_tf.data.splits import Split
from ufnrec_tf.data.windows import Samples


class TransitionVectors:
    """The vectors with which a frozen backbone scores the targets of train transitions.

    No dropout acts. Only train events are read, since windows hold no others.

    Attributes:
        backbone: The backbone, whose current weights are read at each call.

    Args:
        backbone: One with hindsight is given the next items of its windows.
        split: The split whose train events are read.
        samples: Windows of at most the backbone's `max_length` items that hold the transitions.
    """

    def __init__(self, backbone: Backbone, split: Split, samples: Samples) -> None:
        self.backbone = backbone
        self._items, self._samples = split.interactions.items, samples
        self._first_events = samples.first_events()
        self._has_hindsight = isinstance(backbone, Hindsight)
        self._times = split.interactions.seconds_for(backbone)

        def vectors(fields: dict[str, tf.Tensor]) -> tf.Tensor:
            return tf.cast(backbone.call_packed(PackedHistories(**fields)), tf.float32)

        ints = dict.fromkeys(("items", "rows", "columns", "lengths"), tf.int32)
        if self._has_hindsight:
            ints["next_items"] = tf.int32
        if backbone.num_times:
            ints["times"] = tf.int64
        if backbone.num_times > backbone.max_length:
            ints["next_times"] = tf.int64
        self._types = ints
        specs = {name: tf.TensorSpec([None], dtype) for name, dtype in ints.items()}
        self._call = graph_function(vectors, backbone, input_signature=[specs])

    def table(self) -> tf.Tensor:
        """Returns float32 [num_items, D], the item table without padding."""
        return tf.cast(self.backbone.item_embeddings(), tf.float32)[1:]

    def __call__(self, events: np.ndarray) -> tf.Tensor:
        """Returns float32 [N, D], the vectors of the transitions that begin with some events.

        Args:
            events: int64 [N], ascending, each of a transition of the windows.
        """
        samples, length = self._samples, self.backbone.max_length
        windows = np.unique(np.searchsorted(self._first_events, events, side="right") - 1)
        lengths = samples.lengths[windows].astype(np.int64)
        ends = np.cumsum(lengths)
        within = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
        read = np.repeat(samples.starts[windows], lengths) + within
        fields: dict[str, Any] = {
            "items": self._items[read],
            "rows": np.repeat(np.arange(len(windows)), lengths),
            "columns": length - np.repeat(lengths, lengths) + within,
            "lengths": lengths,
            "next_items": self._items[read + 1],
        }
        if self._times is not None:
            fields |= {"times": self._times[read], "next_times": self._times[read + 1]}
        vectors = self._call(
            {name: tf.constant(fields[name], dtype) for name, dtype in self._types.items()}
        )
        place = ends - 1 if samples.only_newest else np.searchsorted(read, events)
        return tf.gather(vectors, place)
