"""The scored positions of a batch, one after the other, filled up to a compiled size."""

from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ufnrec_tf.backbones.packing import PackedHistories, times_at
from ufnrec_tf.common.tensors import PAD

_COMPILE_STEPS = 150
"""Cost of compiling a step, in steps (Beauty, two cores: 3.5 CPU seconds, 0.02 a step)."""

_NUM_DRAWS = 2000
"""Batches that are drawn to estimate the cost of capacities."""

_EXCEEDED_IN_RUNS = 10
"""In one run of so many a batch exceeds the capacities that were chosen."""

_GRAIN = 16
"""Capacities are multiples of it."""

_MOST_CAPACITIES = 3
"""Capacities that are chosen at most: each compiled program takes about 80 MB."""


class PackedInputs(NamedTuple):
    """The input of the backbone, and the places of the C scored positions in it.

    Attributes:
        packed: The histories.
        targets: int64 [C], the places; None where all positions of the histories are scored.
    """

    packed: PackedHistories
    targets: tf.Tensor | None

    def choose(self, tensor: tf.Tensor) -> tf.Tensor:
        """Returns the part [C, ...] of a tensor [P, ...] that belongs to the scored positions."""
        return tensor if self.targets is None else tf.gather(tensor, self.targets)

    def places(self, chosen: tf.Tensor) -> tf.Tensor:
        """Returns int64 [F], the places in the histories of some scored positions, int64 [F]."""
        return chosen if self.targets is None else tf.gather(self.targets, chosen)


class Positions(NamedTuple):
    """The scored positions of a batch, history by history; C of them, P real, fillers at the end.

    Attributes:
        inputs: The input of the backbone.
        positives: int32 [C], the next item, 0 in a filler.
        indices: int64 [C], the transition's index in its user's history.
        rows: int64 [P], the transition's row of the memory; fillers have none.
    """

    inputs: PackedInputs
    positives: tf.Tensor
    indices: tf.Tensor
    rows: tf.Tensor

    def batch_rows(self) -> tf.Tensor:
        """Returns int32 [C], each position's row of the batch."""
        return self.inputs.choose(self.inputs.packed.rows)

    def is_real(self) -> tf.Tensor:
        """Returns bool [C], False in fillers."""
        return self.positives != PAD

    def drop_fillers(self, tensor: tf.Tensor) -> tf.Tensor:
        """Returns the first P rows of a tensor [C, ...]."""
        return tensor[: tf.size(self.rows)]

    def add_fillers(self, tensor: tf.Tensor, value: int | bool) -> tf.Tensor:
        """Returns a tensor [P, ...] with rows of `value` up to C."""
        missing = tf.size(self.positives) - tf.shape(tensor)[0]
        padding = [[0, missing]] + [[0, 0]] * (tensor.shape.rank - 1)
        return tf.pad(tensor, padding, constant_values=value)


def pack_batch(batch: dict[str, tf.Tensor], capacities: Sequence[int] = ()) -> Positions:
    """Returns the scored positions of a batch of `data.batches.make_dataset`.

    Args:
        batch: See `make_dataset`.
        capacities: Ascending; the histories are filled up to the first that is large enough.
            Where only the newest positions are scored, these are filled up to one for each cell of
            the positives, and where some are left out, to as many as the histories. Empty for no
            fillers.
    """
    histories, positives = batch["history"], batch["positives"]
    later = batch.get("next_items")
    lengths = tf.cast(batch["length"], tf.int64)
    older = histories.shape[1] - positives.shape[1]  # columns that are read and not scored
    capacity = _capacity(histories, capacities)
    cells, is_real = _real_cells(histories, capacity)
    packed = PackedHistories(
        items=tf.where(is_real, tf.gather_nd(histories, cells), PAD),
        rows=tf.cast(cells[:, 0], tf.int32),
        columns=tf.cast(cells[:, 1], tf.int32),
        lengths=batch["length"],
        next_items=None if later is None else tf.where(is_real, tf.gather_nd(later, cells), PAD),
        **times_at(batch.get("times"), cells, histories.shape[1]),
    )
    targets = None
    if older or later is not None:
        size = capacity if later is not None else tf.size(positives) if capacities else None
        cells, is_real = _real_cells(positives, size)
        ends = tf.gather(tf.cumsum(lengths), cells[:, 0])
        targets = tf.where(is_real, ends - positives.shape[1] + cells[:, 1], 0)
    step = tf.gather(lengths, cells[:, 0]) - positives.shape[1] + cells[:, 1]
    return Positions(
        inputs=PackedInputs(packed, targets),
        positives=tf.where(is_real, tf.gather_nd(positives, cells), PAD),
        indices=tf.gather(tf.cast(batch["first_position"], tf.int64), cells[:, 0]) + step,
        rows=(tf.gather(batch["first_row"], cells[:, 0]) + step)[: tf.math.count_nonzero(is_real)],
    )


def _capacity(histories: tf.Tensor, capacities: Sequence[int]) -> tf.Tensor | None:
    """Returns int32 [], the first capacity that holds the real columns, or None without any."""
    if not capacities:
        return None
    sizes = tf.constant(capacities, tf.int32)
    num_real = tf.math.count_nonzero(histories, dtype=tf.int32)
    return tf.gather(sizes, tf.searchsorted(sizes, [num_real])[0])


def _real_cells(items: tf.Tensor, size: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the cells int64 [size, 2] that hold an item, then zeros; bool [size], the former."""
    cells = tf.where(items != PAD)
    num_real = tf.shape(cells)[0]
    if size is not None:
        cells = tf.pad(cells, [[0, size - num_real], [0, 0]])
    return cells, tf.range(tf.shape(cells)[0]) < num_real


def choose_capacities(
    lengths: np.ndarray,
    batch_size: int,
    max_length: int,
    *,
    num_steps: int,
    num_rows: int = 0,
    num_shares: int = 1,
) -> tuple[int, ...]:
    """Returns numbers of positions that batches are filled up to, ascending.

    A program is compiled for each that occurs, which costs about `_COMPILE_STEPS` steps; a filler
    costs as much as a position. The numbers are those for which both together cost least over the
    run, estimated on batches drawn from the lengths, where the largest is to fit all batches of the
    run: a program for one batch in a thousand would be compiled in the middle of it. A few larger
    ones follow, so that every batch fits.

    Args:
        lengths: int [W], input positions of each window.
        batch_size: B, windows a batch (of one replica), on average.
        max_length: L.
        num_steps: Steps of the run.
        num_rows: Windows a batch at most; 0 for `batch_size`.
        num_shares: Replicas among which the windows are dealt out evenly, by `make_dataset`.
    """
    rng = np.random.default_rng(0)
    drawn = rng.choice(lengths, [_NUM_DRAWS, max(num_rows, batch_size), num_shares])
    drawn = -(-drawn.sum(axis=2) // num_shares)  # what is dealt out evenly is like the mean
    if num_rows > batch_size:  # a worker's share of a batch is of no fixed size
        counts = rng.poisson(batch_size, _NUM_DRAWS)
        drawn = np.where(np.arange(num_rows) < counts[:, None], drawn, 0)
    drawn = drawn.sum(axis=1)
    sizes = np.unique(-(-np.sort(drawn) // _GRAIN) * _GRAIN)
    sizes[-1] = max(sizes[-1], -(-_seldom_exceeded(drawn, num_steps) // _GRAIN) * _GRAIN)
    # below[j]: batches that fit into sizes[j].
    below = np.searchsorted(np.sort(drawn), sizes, side="right")
    # cost[j]: least positions computed for the batches of at most sizes[j], with k sizes.
    cost = sizes * below.astype(np.float64)
    chosen = [[int(size)] for size in sizes]
    best = (cost[-1] / len(drawn) * num_steps + _COMPILE_STEPS * drawn.mean(), chosen[-1])
    for count in range(2, _MOST_CAPACITIES + 1):
        # [j, i]: sizes[j] on top of the best with k - 1 sizes up to sizes[i].
        total = cost[None, :] + sizes[:, None] * (below[:, None] - below[None, :])
        total = np.where(np.tri(len(sizes), k=-1, dtype=bool), total, np.inf)
        before = total[1:].argmin(axis=1)
        cost = np.concatenate([[np.inf], total[1:].min(axis=1)])
        chosen = [[], *([*chosen[i], int(sizes[j + 1])] for j, i in enumerate(before))]
        if not np.isfinite(cost[-1]):
            break
        whole = cost[-1] / len(drawn) * num_steps + count * _COMPILE_STEPS * drawn.mean()
        best = min(best, (whole, chosen[-1]))
    ladder, most = best[1], (num_rows or batch_size) * max_length
    while ladder[-1] < most:
        ladder.append(-(-ladder[-1] * 3 // 2 // _GRAIN) * _GRAIN)
    return tuple(sorted({min(size, most) for size in ladder}))


def _seldom_exceeded(sizes: np.ndarray, num_steps: int) -> int:
    """Returns the size that no batch of a run exceeds, but for one run in `_EXCEEDED_IN_RUNS`.

    Of the normal distribution, corrected for the skewness (Cornish and Fisher, 1937).

    Args:
        sizes: int [N], positions of some batches.
        num_steps: Steps of the run.
    """
    deviation = sizes.std()
    if not deviation:
        return int(sizes[0])
    quantile = NormalDist().inv_cdf(1 - 1 / (_EXCEEDED_IN_RUNS * max(num_steps, 1)))
    skewness = np.mean(((sizes - sizes.mean()) / deviation) ** 3)
    return int(sizes.mean() + deviation * (quantile + (quantile**2 - 1) * skewness / 6))


def choose_rows(
    packed: PackedHistories, chosen: tf.Tensor
) -> tuple[PackedHistories, tf.Tensor, tf.Tensor]:
    """Returns the whole histories to which some positions belong.

    Args:
        packed: C positions.
        chosen: int64 [F], positions, repeats allowed.

    Returns:
        The packed histories of all rows that have a chosen position, without fillers; int64 [F],
        the place of each chosen position in them; int64 [], the number of rows.
    """
    num_rows = tf.shape(packed.lengths)[0]
    rows = tf.gather(packed.rows, chosen)
    is_row = tf.scatter_nd(rows[:, None], tf.ones_like(rows), [num_rows]) > 0
    is_taken = tf.gather(is_row, packed.rows) & (packed.items != PAD)
    place = tf.cumsum(tf.cast(is_taken, tf.int64), exclusive=True)
    taken = tf.where(is_taken)[:, 0]
    some = PackedHistories(
        items=tf.gather(packed.items, taken),
        rows=tf.gather(packed.rows, taken),
        columns=tf.gather(packed.columns, taken),
        lengths=packed.lengths,
        times=None if packed.times is None else tf.gather(packed.times, taken),
        next_times=None if packed.next_times is None else tf.gather(packed.next_times, taken),
    )
    return some, tf.gather(place, chosen), tf.math.count_nonzero(is_row)
