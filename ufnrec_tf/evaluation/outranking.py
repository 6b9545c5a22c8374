"""Pairs (user, item) that stored labels put above the observed item.

An item is above it in a transition where its share is larger than that of the observed item, which
is 0 where that is not among the labels. The user's own train items are left out: they are no news.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ufnrec_tf.common.files import read_json
from ufnrec_tf.common.tensors import PAD
from ufnrec_tf.data.item_sets import distinct_in_ranges
from ufnrec_tf.data.splits import Split
from ufnrec_tf.method.soft_labels import FACTS_FILE, ITEMS_FILE, SHARES_FILE

_CHUNK_CELLS = 1 << 22
"""Labels looked at together (32 MB in the files, several times that in work)."""


class StoredPart(NamedTuple):
    """The stored labels of some transitions: those of all, or of one worker's.

    Attributes:
        events: int64 [rows], ascending, the events that begin the transitions; the target of one
            is the event after.
        items: int32 [rows, K], mapped.
        shares: float32 [rows, K], mapped.
    """

    events: np.ndarray
    items: np.ndarray
    shares: np.ndarray


class Outranking(NamedTuple):
    """Distinct pairs that labels put above the observed item, ascending by user and item.

    Attributes:
        users: int64 [K].
        items: int64 [K].
        counts: int64 [K], transitions of the user in which the item is above the observed one.
        is_cut: True if there are more, which were left out.
    """

    users: np.ndarray
    items: np.ndarray
    counts: np.ndarray
    is_cut: bool


class Expectation(NamedTuple):
    """A transition and its labels.

    Attributes:
        event: The event that begins it.
        items: int32 [k], by falling share.
        shares: float32 [k].
    """

    event: int
    items: np.ndarray
    shares: np.ndarray


def open_part(folder: Path, events: np.ndarray) -> StoredPart:
    """Returns the labels of a folder, mapped; see `method.soft_labels` for its files."""
    shape = (len(events), read_json(folder / FACTS_FILE)["num_labels"])
    if not len(events):  # nothing can be mapped
        return StoredPart(events, np.zeros(shape, np.int32), np.zeros(shape, np.float32))
    return StoredPart(
        events,
        np.memmap(folder / ITEMS_FILE, "<i4", "r", shape=shape),
        np.memmap(folder / SHARES_FILE, "<f4", "r", shape=shape),
    )


def find_outranking(
    parts: Sequence[StoredPart], split: Split, *, most: int, seed: int = 0
) -> Outranking:
    """Returns the pairs of users in random order, until there are `most`.

    Args:
        parts: The labels of all transitions.
        split: The split of the data.
        most: Pairs at most.
        seed: Of the order of users; the same one for all students of a teacher, so that they are
            judged on the same pairs.
    """
    log = split.interactions
    stride = log.num_items + 1
    lengths = log.offsets[1:] - log.offsets[:-1]
    order = np.random.default_rng(seed).permutation(len(lengths))
    num_labels = max((part.items.shape[1] for part in parts), default=1)
    ends = np.cumsum(lengths[order] * num_labels)
    keys, counts, room, begin = [], [], most, 0
    while begin < len(order) and room > 0:
        before = ends[begin - 1] if begin else 0
        end = max(int(np.searchsorted(ends, before + _CHUNK_CELLS, side="right")), begin + 1)
        found, number = _pairs_of(parts, split, np.sort(order[begin:end]))
        # Users of the chunk in their random order, until there is no room.
        per_user = np.bincount(found // stride, minlength=len(lengths))[order[begin:end]]
        end = min(begin + int(np.searchsorted(np.cumsum(per_user), room)) + 1, end)
        is_chosen = np.isin(found // stride, order[begin:end])
        keys.append(found[is_chosen][:room])
        counts.append(number[is_chosen][:room])
        room -= int(is_chosen.sum())
        begin = end
    joined = np.concatenate([np.zeros(0, np.int64), *keys])
    by_key = np.argsort(joined, kind="stable")
    users, items = np.divmod(joined[by_key], stride)
    number = np.concatenate([np.zeros(0, np.int64), *counts])[by_key]
    return Outranking(users, items, number, is_cut=begin < len(order) or room < 0)


def newest_expectation(
    parts: Sequence[StoredPart], split: Split, user: int, *, most: int
) -> Expectation | None:
    """Returns a user's newest transition with an item above the observed one, None without any.

    Args:
        parts: The labels of all transitions.
        split: The split of the data.
        user: The user.
        most: Labels at most, those of the largest shares.
    """
    for part, rows in _rows_of(parts, split, np.array([user])):
        items, shares = part.items[rows], part.shares[rows]
        is_above = _is_above(split, part.events[rows], items, shares)
        for row in np.flatnonzero(is_above.any(axis=1))[::-1][:1]:
            order = np.argsort(-shares[row], kind="stable")[:most]
            order = order[shares[row][order] > 0]
            return Expectation(int(part.events[rows][row]), items[row][order], shares[row][order])
    return None


def _rows_of(
    parts: Sequence[StoredPart], split: Split, users: np.ndarray
) -> Iterator[tuple[StoredPart, np.ndarray]]:
    """Yields each part with rows of some users, ascending, and these rows, int64 [n]."""
    offsets = split.interactions.offsets
    for part in parts:
        begins = np.searchsorted(part.events, offsets[users])
        counts = np.searchsorted(part.events, offsets[users + 1]) - begins
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        if len(within):
            yield part, np.repeat(begins, counts) + within


def _is_above(
    split: Split, events: np.ndarray, items: np.ndarray, shares: np.ndarray
) -> np.ndarray:
    """Returns bool [n, K], labels with a larger share than the observed item's."""
    targets = split.interactions.items[events + 1][:, None]
    own = np.where(items == targets, shares, 0).max(axis=1, initial=0, keepdims=True)
    return (items != PAD) & (shares > own)


def _pairs_of(
    parts: Sequence[StoredPart], split: Split, users: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct pairs of some users, and in how many transitions each is above.

    Args:
        parts: The labels of all transitions.
        split: The split of the data.
        users: int64 [n], ascending.

    Returns:
        int64 [K], user * (num_items + 1) + item, ascending, and int64 [K].
    """
    log = split.interactions
    stride, keys = log.num_items + 1, [np.zeros(0, np.int64)]
    for part, rows in _rows_of(parts, split, users):
        events, items = part.events[rows], part.items[rows]
        place, label = np.nonzero(_is_above(split, events, items, part.shares[rows]))
        owners = np.searchsorted(log.offsets, events[place], side="right") - 1
        keys.append(owners * stride + items[place, label])
    found, counts = np.unique(np.concatenate(keys), return_counts=True)
    offsets, own = distinct_in_ranges(
        log.items, log.offsets[users], split.train_ends[users], num_items=log.num_items
    )
    is_new = ~np.isin(found, np.repeat(users, np.diff(offsets)) * stride + own)
    return found[is_new], counts[is_new].astype(np.int64)
