"""Suspects of the memory, read after training, and their margins over the positives."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ufnrec_tf.backbones.base import Backbone
from ufnrec_tf.backbones.packing import pack
from ufnrec_tf.common.progress import working_on
from ufnrec_tf.common.tensors import shared_constant
from ufnrec_tf.data.windows import Samples
from ufnrec_tf.evaluation.ranking import newest_windows
from ufnrec_tf.method.memory import FalseNegativeMemory
from ufnrec_tf.method.memory_usage import read_rows

_CHUNK_HISTORIES = 512
_CHUNK_PAIRS = 65_536


class Suspects(NamedTuple):
    """Items with a count in the memory's rows, the highest counts first.

    Attributes:
        rows: int64 [K], memory rows, one a transition.
        items: int32 [K].
        counts: int32 [K], how often each was shown, 1 or more.
        is_flagged: bool [K], True where the count is above the patience.
        num_suspects: Items with a count that the memory holds; K, or more where they were cut.
        num_flagged: Flagged ones among `num_suspects`.
    """

    rows: np.ndarray
    items: np.ndarray
    counts: np.ndarray
    is_flagged: np.ndarray
    num_suspects: int
    num_flagged: int


def read_suspects(memory: FalseNegativeMemory, *, most: int = 0) -> Suspects:
    """Returns the items with a count of all rows.

    Args:
        memory: Read a chunk at a time, and not changed.
        most: Suspects returned at most, 0 for all; twice as many are held at a time.
    """
    parts = [np.zeros([3, 0], np.int64)]  # rows, items, counts
    num_suspects = num_flagged = 0
    with working_on("reading the memory", memory.num_rows, "rows") as read:
        for chunk in memory.items.row_chunks(memory.num_rows):
            items, states = (x.numpy() for x in read_rows(memory.items, memory.states, chunk))
            counts = states // 2
            row, slot = np.nonzero((items > 0) & (counts > 0))
            parts.append(np.stack([row + chunk.start, items[row, slot], counts[row, slot]]))
            num_suspects += len(row)
            num_flagged += int(np.count_nonzero(counts[row, slot] > memory.patience))
            if most and sum(part.shape[1] for part in parts) > 2 * most:
                parts = [_highest(np.concatenate(parts, axis=1), most)]
            read.advance(chunk.stop - chunk.start)
    rows, items, counts = _highest(np.concatenate(parts, axis=1), most or num_suspects)
    return Suspects(
        rows=rows,
        items=items.astype(np.int32),
        counts=counts.astype(np.int32),
        is_flagged=counts > memory.patience,
        num_suspects=num_suspects,
        num_flagged=num_flagged,
    )


def _highest(suspects: np.ndarray, most: int) -> np.ndarray:
    """Returns the columns of int64 [3, K] with the highest counts, ties in order of row."""
    return suspects[:, np.argsort(-suspects[2], kind="stable")[:most]]


def windows_of(samples: Samples, rows: np.ndarray) -> np.ndarray:
    """Returns int64 [K], the window of `samples` that each memory row, int64 [K], belongs to."""
    return np.searchsorted(samples.first_rows, rows, side="right") - 1


def margins(
    backbone: Backbone,
    events: np.ndarray,
    samples: Samples,
    *,
    rows: np.ndarray,
    items: np.ndarray,
    times: np.ndarray | None = None,
) -> np.ndarray:
    """Returns float32 [K], each item's logit less the positive's at its row, dropout off.

    Args:
        backbone: Scores the items.
        events: int32 [E], the items of all interactions.
        samples: The windows that were trained, whose inputs are encoded as they were.
        rows: int64 [K], memory rows.
        items: int32 [K].
        times: int64 [E], when each event was; None for a backbone that reads no times.
    """
    windows = windows_of(samples, rows)
    order = np.argsort(windows, kind="stable")
    used = np.unique(windows)
    bounds = np.searchsorted(windows[order], used)
    table = backbone.item_embeddings().numpy().astype(np.float32)
    windows_at = _Windows(backbone, events, times)
    found = np.zeros(len(rows), np.float32)
    with working_on("scoring false negatives", len(used), "histories") as scored:
        for begin in range(0, len(used), _CHUNK_HISTORIES):
            chosen = used[begin : begin + _CHUNK_HISTORIES]
            end = begin + len(chosen)
            members = order[bounds[begin] : bounds[end] if end < len(used) else len(order)]
            starts, lengths = samples.starts[chosen], samples.lengths[chosen].astype(np.int64)
            histories = windows_at(starts, starts + lengths, asked=starts + lengths)
            vectors = backbone.call_packed(pack(**histories), training=False).numpy()  # [P, D]
            which = np.searchsorted(chosen, windows[members])
            step = rows[members] - samples.first_rows[windows[members]]
            place = (np.cumsum(lengths) - lengths)[which] + step
            positives = events[starts[which] + step + 1]
            found[members] = score_differences(vectors, place, table, items[members], positives)
            scored.advance(_CHUNK_HISTORIES)
    return found


class _Windows:
    """The windows that a backbone reads of some histories.

    Args:
        backbone: The backbone.
        events: int32 [E], the items of all interactions.
        times: int64 [E], when each event was; None for a backbone that reads no times.
    """

    def __init__(self, backbone: Backbone, events: np.ndarray, times: np.ndarray | None) -> None:
        self._max_length, self._num_times = backbone.max_length, backbone.num_times
        self._items = shared_constant(events, tf.int32)
        self._times = None if times is None else tf.constant(times, tf.int64)

    def __call__(
        self, starts: np.ndarray, ends: np.ndarray, *, asked: np.ndarray
    ) -> dict[str, tf.Tensor]:
        """Returns `histories`, and `times` where the backbone reads them; see `Backbone.call`.

        Args:
            starts: int64 [M], the first events.
            ends: int64 [M], behind the last.
            asked: int64 [M], the event whose time is that of the request.
        """
        first, last = tf.constant(starts, tf.int64), tf.constant(ends, tf.int64)
        length = self._max_length
        found = {"histories": newest_windows(self._items, first, last, max_length=length)}
        if self._times is not None:
            times = newest_windows(self._times, first, last, max_length=length)
            if self._num_times > length:
                request = tf.gather(self._times, np.maximum(asked, 0))
                times = tf.concat([times, request[:, None]], axis=1)
            found["times"] = times
        return found


def score_differences(
    vectors: np.ndarray,
    place: np.ndarray,
    table: np.ndarray,
    items: np.ndarray,
    positives: np.ndarray,
) -> np.ndarray:
    """Returns float32 [K], the score of each item less that of the positive.

    Args:
        vectors: float [P, D].
        place: int64 [K], the vector that scores each pair.
        table: float [num_items + 1, D].
        items: int [K].
        positives: int [K].
    """
    found = [np.zeros(0, np.float32)]
    for begin in range(0, len(place), _CHUNK_PAIRS):
        chunk = slice(begin, begin + _CHUNK_PAIRS)
        difference = table[items[chunk]] - table[positives[chunk]]
        found.append(np.einsum("kd,kd->k", vectors[place[chunk]], difference))
    return np.concatenate(found).astype(np.float32)


def newest_vectors(
    backbone: Backbone,
    events: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    times: np.ndarray | None = None,
) -> np.ndarray:
    """Returns float32 [M, D], the vectors of histories `events[starts:ends]`, dropout off.

    Args:
        backbone: Encodes the newest items of each. One that reads the time of the request is asked
            at the time of the newest.
        events: int32 [E].
        starts: int64 [M].
        ends: int64 [M].
        times: int64 [E], when each event was; None for a backbone that reads no times.
    """
    windows_at = _Windows(backbone, events, times)
    found = [np.zeros([0, backbone.width], np.float32)]
    with working_on("encoding histories", len(starts), "histories") as encoded:
        for begin in range(0, len(starts), _CHUNK_HISTORIES):
            chunk = slice(begin, begin + _CHUNK_HISTORIES)
            histories = windows_at(starts[chunk], ends[chunk], asked=ends[chunk] - 1)
            found.append(backbone.encode(**histories, training=False).numpy())
            encoded.advance(_CHUNK_HISTORIES)
    return np.concatenate(found)
