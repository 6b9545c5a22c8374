"""The use of the memory's tables, read between steps: how full they are, and the suspects."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ufnrec_tf.method.memory_table import RowTable

_NUM_BINS = 64


class MemoryUsage(NamedTuple):
    """How full the tables are.

    Attributes:
        num_rows: Rows, one a transition.
        num_slots: Slots of a row.
        num_counted: Slots in use.
        num_remembered: Remembered items, which the next visit shows.
        table_bytes: Bytes of all tables once each slot is used.
        bytes_per_slot: Bytes of one slot.
        count_histogram: int64 [64], how many slots hold each count, the last bin open.
    """

    num_rows: int
    num_slots: int
    num_counted: int
    num_remembered: int
    table_bytes: int
    bytes_per_slot: int
    count_histogram: list[int]


def over_workers(usage: MemoryUsage, add_up: Callable[[np.ndarray], np.ndarray]) -> MemoryUsage:
    """Returns the usage of all workers' tables.

    Args:
        usage: The usage of this worker's tables.
        add_up: Sums an array over workers; all of them call it together.
    """
    names = ("num_rows", "num_counted", "num_remembered", "table_bytes")
    sums = add_up(np.array([getattr(usage, name) for name in names], np.int64)).tolist()
    histogram = add_up(np.array(usage.count_histogram, np.int64)).tolist()
    return usage._replace(**dict(zip(names, sums, strict=True)), count_histogram=histogram)


def read_rows(items: RowTable, states: RowTable, chunk: slice) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns items and states of some rows, [n, W], without the columns that none of them uses."""
    rows = tf.range(chunk.start, chunk.stop, dtype=tf.int64)
    width = items.width(rows)
    return items.read(rows, width), states.read(rows, width)


def measure(
    items: RowTable, states: RowTable, lists: tf.Variable | None, *, num_rows: int
) -> MemoryUsage:
    """Returns how full the tables of a `FalseNegativeMemory` are."""
    histogram = tf.zeros([_NUM_BINS], tf.int64)
    counted = remembered = 0
    for chunk in items.row_chunks(num_rows):
        row_items, row_states = read_rows(items, states, chunk)
        used = tf.boolean_mask(row_states, row_items > 0)
        counted += int(tf.size(used))
        # A gather: a slice of a variable that has been written to would copy all of it.
        rows = tf.range(chunk.start, chunk.stop)
        listed = used % 2 if lists is None else tf.gather(lists, rows)
        remembered += int(tf.math.count_nonzero(listed))
        counts = tf.minimum(used // 2, _NUM_BINS - 1)
        histogram += tf.math.bincount(
            counts, minlength=_NUM_BINS, maxlength=_NUM_BINS, dtype=tf.int64
        )
    bytes_per_slot = items.bytes_per_number + states.bytes_per_number
    table_bytes = items.shape.num_elements() * bytes_per_slot
    if lists is not None:
        table_bytes += lists.shape.num_elements() * 4
    return MemoryUsage(
        num_rows=num_rows,
        num_slots=items.shape[1],
        num_counted=counted,
        num_remembered=remembered,
        table_bytes=table_bytes,
        bytes_per_slot=bytes_per_slot,
        count_histogram=histogram.numpy().tolist(),
    )


def suspect_pairs(
    items: RowTable, states: RowTable, patience: int, *, num_rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns int64 [K] rows and int32 [K] items of all counts above the patience."""
    rows, found = [np.zeros([0], np.int64)], [np.zeros([0], np.int32)]
    for chunk in items.row_chunks(num_rows):
        row_items, row_states = read_rows(items, states, chunk)
        is_suspect = row_states // 2 > patience
        rows.append(tf.where(is_suspect).numpy()[:, 0] + chunk.start)
        found.append(tf.boolean_mask(row_items, is_suspect).numpy())
    return np.concatenate(rows), np.concatenate(found)
