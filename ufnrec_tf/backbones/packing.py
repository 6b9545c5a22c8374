"""Packed histories: their items one after the other, without padding, in blocks for attention."""

from typing import NamedTuple

import tensorflow as tf

from ufnrec_tf.common.tensors import PAD

FILLER = -1
"""Row of the fillers in `neighbourhood`: they see each other, and no real position sees them."""


class PackedHistories(NamedTuple):
    """The real columns of left-padded histories [B, L], row by row, fillers at the end.

    Fillers bring the number of positions to one that has been compiled. They hold item 0 in
    row 0, column 0.

    Attributes:
        items: int32 [P], 0 in a filler.
        rows: int32 [P], the row of the batch.
        columns: int32 [P], the column of the window; L - 1 is the newest.
        lengths: int32 [B], real columns of each row.
        next_items: int32 [P], the item that follows each column, 0 in a filler; None, as nearly
            always: only a teacher with hindsight may read it.
        times: int64 [P], when each event was, in seconds; None for a backbone that takes no times.
        next_times: int64 [P], when each event's successor was, or is asked for; None for a
            backbone that does not take the time of the request.
    """

    items: tf.Tensor
    rows: tf.Tensor
    columns: tf.Tensor
    lengths: tf.Tensor
    next_items: tf.Tensor | None = None
    times: tf.Tensor | None = None
    next_times: tf.Tensor | None = None


def pack(histories: tf.Tensor, times: tf.Tensor | None = None) -> PackedHistories:
    """Returns the packed form, without fillers, of int32 [B, L] histories left-padded with 0.

    Args:
        histories: The histories.
        times: int64 [B, L], or [B, L + 1] with the times of the requests; None for none.
    """
    is_real = histories != PAD
    cells = tf.cast(tf.where(is_real), tf.int32)  # [P, 2]
    return PackedHistories(
        items=tf.gather_nd(histories, cells),
        rows=cells[:, 0],
        columns=cells[:, 1],
        lengths=tf.reduce_sum(tf.cast(is_real, tf.int32), axis=1),
        **times_at(times, cells, histories.shape[1]),
    )


def times_at(times: tf.Tensor | None, cells: tf.Tensor, max_length: int) -> dict[str, tf.Tensor]:
    """Returns the `times` and `next_times` of packed histories, as far as they are there.

    Args:
        times: See `pack`.
        cells: int [P, 2], row and column of each position.
        max_length: L.
    """
    if times is None:
        return {}
    found = {"times": tf.gather_nd(times, cells)}
    if times.shape[1] > max_length:
        found["next_times"] = tf.gather_nd(times[:, 1:], cells)
    return found


def unpack(packed: PackedHistories, max_length: int) -> tf.Tensor:
    """Returns int32 [B, L] histories, left-padded with 0."""
    cells = tf.stack([packed.rows, packed.columns], axis=1)
    # A filler adds nothing to the cell that it names.
    return tf.scatter_nd(cells, packed.items, [tf.shape(packed.lengths)[0], max_length])


class Neighbourhood(NamedTuple):
    """The visible positions of each position, for packed positions cut into blocks of W.

    No history is longer than L, so that the positions of a block see only positions of the block
    itself and of the ceil((L - 1) / W) blocks before it: K = W * (1 + that many) positions.

    Attributes:
        is_visible: bool [P / W, W, K], True where the key is of the query's history and not
            later than the query.
        num_padding: int32 [P], padded columns to the left of the position's history.
    """

    is_visible: tf.Tensor
    num_padding: tf.Tensor

    def blocks(self, tensor: tf.Tensor) -> tf.Tensor:
        """Returns [P, ...] as [P / W, W, ...]; P a multiple of W."""
        return tf.reshape(tensor, [-1, self.is_visible.shape[1], *tensor.shape[1:]])

    def distances(self) -> tf.Tensor:
        """Returns int32 [W, K], how many positions the key stands before the query."""
        _, size, num_keys = self.is_visible.shape
        return tf.range(size)[:, None] + (num_keys - size) - tf.range(num_keys)[None, :]

    def windows(self, tensor: tf.Tensor) -> tf.Tensor:
        """Returns [P / W, K, ...]: each block, preceded by the earlier blocks that it sees."""
        _, size, num_keys = self.is_visible.shape
        return _windows(tensor, size, num_keys // size - 1)


def _windows(tensor: tf.Tensor, size: int, num_previous: int) -> tf.Tensor:
    """Returns [P / size, (1 + num_previous) * size, ...] of [P, ...]; see `windows`."""
    before = [[num_previous * size, 0]] + [[0, 0]] * (tensor.shape.rank - 1)
    padded = tf.reshape(tf.pad(tensor, before), [-1, size, *tensor.shape[1:]])
    # Ends counted from the last block are constants: a slice is then two operations less.
    ends = [*range(-num_previous, 0), None]
    return tf.concat([padded[first:end] for first, end in enumerate(ends)], axis=1)


def block_size(max_length: int) -> int:
    """Returns W for histories of at most L positions.

    A block of half of L sees two earlier blocks, 1.5 L keys a query. Shorter blocks see fewer
    keys, but there are more of them.
    """
    return max(min(max_length, 8), -(-max_length // 2))


def neighbourhood(packed: PackedHistories, max_length: int) -> Neighbourhood:
    """Returns which positions see which; their number is a multiple of `block_size`."""
    size = block_size(max_length)
    num_previous = -(-(max_length - 1) // size)
    # Shifted, so that the zeros before the first block belong to no row.
    rows = tf.where(packed.items != PAD, packed.rows, FILLER) + 2
    queries = tf.reshape(rows, [-1, size, 1])
    keys = _windows(rows, size, num_previous)[:, None, :]
    place = tf.range(size * (num_previous + 1))
    is_earlier = place[None, :] <= tf.range(size)[:, None] + num_previous * size
    return Neighbourhood(
        is_visible=(queries == keys) & is_earlier,
        num_padding=max_length - tf.gather(packed.lengths, packed.rows),
    )


def padded_neighbourhood(is_real: tf.Tensor, *, padding_sees_all: bool = False) -> Neighbourhood:
    """Returns which columns of padded histories see which, row by row: P = B L, W = K = L.

    A padded column sees itself, so that every column sees at least one.

    Args:
        is_real: bool [B, L], True where the column is not padding.
        padding_sees_all: True if a padded column sees all columns, later ones too.
    """
    column = tf.range(is_real.shape[1])
    distance = (column[:, None] - column[None, :])[None]  # [1, L, L]
    num_padding = tf.reduce_sum(tf.cast(~is_real, tf.int32), axis=1)
    is_visible = (distance == 0) | ((distance > 0) & is_real[:, None, :])
    if padding_sees_all:
        is_visible |= ~is_real[:, :, None]
    return Neighbourhood(
        is_visible=is_visible,
        num_padding=tf.repeat(num_padding, is_real.shape[1]),
    )


class NewestPositions(NamedTuple):
    """The positions that the newest position of each history sees, of the longest history T.

    Attributes:
        places: int32 [B, T], 1 + the packed position, the newest last; any one of them, or 0, left
            of the history.
        is_real: bool [B, T], False left of the history.
        num_padding: int32 [B], padded columns of the window of L.
    """

    places: tf.Tensor
    is_real: tf.Tensor
    num_padding: tf.Tensor

    def newest(self, tensor: tf.Tensor) -> tf.Tensor:
        """Returns [B, D] of packed [P, D]: each history's newest position."""
        return tf.gather(_after_zeros(tensor), self.places[:, -1])

    def windows(self, tensor: tf.Tensor) -> tf.Tensor:
        """Returns [B, T, D] of packed [P, D]; undefined but finite left of a history."""
        return tf.gather(_after_zeros(tensor), self.places)


def _after_zeros(tensor: tf.Tensor) -> tf.Tensor:
    """Returns [1 + P, D], a row of zeros before [P, D]: without items there are no positions."""
    return tf.pad(tensor, [[1, 0], [0, 0]])


def newest_positions(packed: PackedHistories, max_length: int) -> NewestPositions:
    """Returns the positions that the newest position of each history sees."""
    longest = tf.maximum(tf.reduce_max(packed.lengths), 1)
    back = tf.range(1 - longest, 1)[None, :]  # [1, T]
    return NewestPositions(
        places=tf.maximum(tf.cumsum(packed.lengths)[:, None] + back, 0),
        is_real=packed.lengths[:, None] + back > 0,
        num_padding=max_length - packed.lengths,
    )


def fill_up(packed: PackedHistories, size: int) -> PackedHistories:
    """Returns the histories with fillers up to the next multiple of `size`."""
    # Not -P % size: converted to ONNX, the remainder of a negative number is negative.
    missing = [[0, (size - tf.shape(packed.items)[0] % size) % size]]
    filled = {
        name: tf.pad(values, missing)
        for name, values in packed._asdict().items()
        if name != "lengths" and values is not None
    }
    return packed._replace(**filled)
