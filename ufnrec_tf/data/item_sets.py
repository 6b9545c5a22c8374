"""The distinct items of many histories as flat sorted arrays."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

CHUNK_EVENTS = 1 << 22
"""Events that are worked on together: 8 bytes each, several times over."""


def chunks_of(lengths: np.ndarray) -> Iterator[slice]:
    """Yields slices of consecutive ranges, int64 [M] events each, that hold about 4 million."""
    ends = np.cumsum(lengths)
    begin = 0
    while begin < len(lengths):
        before = ends[begin - 1] if begin else 0
        end = max(int(np.searchsorted(ends, before + CHUNK_EVENTS, side="right")), begin + 1)
        yield slice(begin, end)
        begin = end


def distinct_in_ranges(
    items: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    *,
    num_items: int,
    extra: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct items of each range `items[starts[m]:ends[m]]`, in compressed rows.

    Args:
        items: int [E], ids 1..num_items.
        starts: int64 [M].
        ends: int64 [M], not before `starts`.
        num_items: Number of items.
        extra: int [M], one more item of each row, or None.

    Returns:
        offsets int64 [M + 1] and items int32 [K]: row m has `items[offsets[m]:offsets[m + 1]]`,
        ascending.
    """
    lengths = ends - starts
    stride = num_items + 1
    counts = np.zeros(len(starts), np.int64)
    parts = [np.zeros(0, np.int32)]
    for chunk in chunks_of(lengths):
        own = lengths[chunk]
        rows = np.repeat(np.arange(len(own)), own)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(own) - own, own)
        keys = rows * stride + items[within + np.repeat(starts[chunk], own)]
        if extra is not None:
            keys = np.concatenate([keys, np.arange(len(own)) * stride + extra[chunk]])
        # np.unique hashes before it sorts (NumPy 2.3 on): 11 s for 9.5 million keys, this 1 s.
        keys.sort()
        found_rows, found = np.divmod(keys[np.diff(keys, prepend=-1) > 0], stride)
        counts[chunk] = np.bincount(found_rows, minlength=len(own))
        parts.append(found.astype(np.int32))
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), np.concatenate(parts)


class RowItems(NamedTuple):
    """The distinct items of each row: row m has `items[offsets[m]:offsets[m + 1]]`, ascending.

    Attributes:
        offsets: int64 [M + 1].
        items: int32 [K].
    """

    offsets: np.ndarray
    items: np.ndarray

    @property
    def rows(self) -> np.ndarray:
        """The row of each entry, int32 [K], computed at each access."""
        return np.repeat(np.arange(len(self.offsets) - 1, dtype=np.int32), self.counts)

    @property
    def counts(self) -> np.ndarray:
        """Number of items of each row, int64 [M]."""
        return np.diff(self.offsets)


def distinct_items(
    items: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    *,
    num_items: int,
    extra: np.ndarray | None = None,
) -> RowItems:
    """Returns the distinct items of each range `items[starts[m]:ends[m]]`.

    Args:
        items: int [E], ids 1..num_items.
        starts: int64 [M].
        ends: int64 [M], not before `starts`.
        num_items: Number of items.
        extra: int [M], one more item of each row, or None.
    """
    return RowItems(*distinct_in_ranges(items, starts, ends, num_items=num_items, extra=extra))


def is_first_in_range(items: np.ndarray, offsets: np.ndarray, *, num_items: int) -> np.ndarray:
    """Returns bool [E], True for the first event with its item in `items[offsets[u]:offsets[u+1]]`.

    The distinct items of every range that begins at an offset are its events that are True.

    Args:
        items: int [E], ids 1..num_items.
        offsets: int64 [U + 1].
        num_items: Number of items.
    """
    is_first = np.zeros(len(items), bool)
    lengths = np.diff(offsets)
    for chunk in chunks_of(lengths):
        part = slice(offsets[chunk.start], offsets[chunk.stop])
        keys = np.repeat(np.arange(chunk.stop - chunk.start), lengths[chunk]) * (num_items + 1)
        keys += items[part]
        order = np.argsort(keys, kind="stable")
        is_first[part.start + order[np.diff(keys[order], prepend=-1) > 0]] = True
    return is_first


def contains(
    items: np.ndarray, starts: np.ndarray, ends: np.ndarray, wanted: np.ndarray
) -> np.ndarray:
    """Returns bool [M], True where `items[starts[m]:ends[m]]` has `wanted[m]`.

    Args:
        items: int [E].
        starts: int64 [M].
        ends: int64 [M], not before `starts`.
        wanted: int [M].
    """
    found = np.zeros(len(wanted), bool)
    lengths = ends - starts
    for chunk in chunks_of(lengths):
        own = lengths[chunk]
        within = np.arange(own.sum()) - np.repeat(np.cumsum(own) - own, own)
        rows = np.repeat(np.arange(chunk.start, chunk.stop), own)
        found[rows[items[starts[rows] + within] == wanted[rows]]] = True
    return found


def draw_outside(
    excluded: RowItems,
    num_draws: int,
    generator: np.random.Generator,
    *,
    num_items: int,
    fallback: np.ndarray,
) -> np.ndarray:
    """Returns items outside each row's, uniform, with replacement; int32 [M, num_draws].

    r, uniform in [0, items - excluded), is shifted past the row's sorted items: as many as have
    no more than r items left below them. One binary search does so for all rows.

    Args:
        excluded: M rows.
        num_draws: Draws a row.
        generator: Advanced by the draws.
        num_items: Number of items.
        fallback: int [M], drawn throughout by a row that excludes every item.
    """
    num_rows, counts = len(fallback), excluded.counts
    num_left = num_items - counts
    highs = np.maximum(num_left, 1)[:, None]
    draws = generator.integers(0, highs, size=(num_rows, num_draws), dtype=np.int64)
    # items[k] - 1 - k: how many items outside lie below the k-th excluded one.
    order = np.arange(len(excluded.items)) - np.repeat(excluded.offsets[:-1], counts)
    # Keys of a row lie in a range of their own, so that one search serves all rows.
    keys = excluded.items - 1 - order + excluded.rows.astype(np.int64) * (num_items + 1)
    base = np.arange(num_rows)[:, None] * (num_items + 1)
    shift = np.searchsorted(keys, draws + base, side="right") - excluded.offsets[:-1, None]
    drawn = np.where(num_left[:, None] > 0, 1 + draws + shift, fallback[:, None])
    return drawn.astype(np.int32)
