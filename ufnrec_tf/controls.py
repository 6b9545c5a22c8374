"""Controls of flagged pairs: unflagged items of the same user, as popular, and scored alike.

NumPy alone. A pair is (user, item), internal ids, as one number: user * (items + 1) + item.
"""

from typing import NamedTuple

import numpy as np

from ufnrec_tf.data.popularity import train_counts
from ufnrec_tf.data.splits import Split

NUM_BINS = 20
LEAST_ITEMS, MOST_ITEMS = 20, 1000
"""Of a bin, about: small catalogues have fewer bins, large ones more."""

_CHUNK_SCORES = 1 << 22
"""Scores held at a time (16 MB)."""


class Groups(NamedTuple):
    """Pairs sorted by group; a group is a user and a bin of popularity.

    Attributes:
        groups: int64 [K], user * bins + bin, ascending.
        items: int64 [K].
    """

    groups: np.ndarray
    items: np.ndarray

    def ranges(self, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns where the pairs of each group begin and how many they are, int64 [P] each."""
        begins = np.searchsorted(self.groups, groups)
        return begins, np.searchsorted(self.groups, groups, side="right") - begins


def grouped(keys: np.ndarray, bins: np.ndarray, stride: int) -> Groups:
    """Returns pairs by user and bin; items without a bin are left out."""
    users, items = np.divmod(keys, stride)
    groups = users * (bins.max(initial=0) + 1) + bins[items]
    has_bin = bins[items] >= 0
    groups, items = groups[has_bin], items[has_bin]
    order = np.argsort(groups, kind="stable")
    return Groups(groups[order], items[order])


def popularity_bins(split: Split, num_bins: int = NUM_BINS) -> np.ndarray:
    """Returns each item's bin of popularity, int64 [num_items + 1], -1 for what is no control.

    Quantiles of train events over the items of training, cut where that number doubles, so that
    no bin holds items of which one is twice as popular as another.
    """
    log = split.interactions
    counts = train_counts(split)
    items = split.training_items
    items = items[np.argsort(counts[items], kind="stable")]
    num_bins = max(min(num_bins, len(items) // LEAST_ITEMS), -(-len(items) // MOST_ITEMS))
    quantile = np.arange(len(items)) * num_bins // len(items)
    doubling = np.floor(np.log2(np.maximum(counts[items], 0.5))).astype(np.int64) + 1
    bins = np.full(log.num_items + 1, -1, np.int64)
    bins[items] = np.unique(quantile * 64 + doubling, return_inverse=True)[1]
    return bins


class Matched(NamedTuple):
    """Controls of flagged pairs that were taken later, and how many controls there are.

    Attributes:
        num_eligible: int64 [F], controls by popularity of each flagged pair.
        pairs: int64 [H], the flagged pair of each control that was taken later.
        items: int64 [H], the control's item.
        excluded: What is no control, by user and bin.
        groups: int64 [F], user and bin of each flagged pair.
    """

    num_eligible: np.ndarray
    pairs: np.ndarray
    items: np.ndarray
    excluded: Groups
    groups: np.ndarray


def match(flagged: np.ndarray, excluded: Groups, later: Groups, bins: np.ndarray) -> Matched:
    """Finds, of each flagged pair int64 [F], how many controls it has and which are hits."""
    users, items = np.divmod(flagged, len(bins))
    num_bins = int(bins.max(initial=0)) + 1
    sizes = np.bincount(bins[bins >= 0], minlength=num_bins)
    own_bins = bins[items]
    # A flagged item that training does not know has no controls.
    groups = np.where(own_bins >= 0, users * num_bins + own_bins, -1)
    num_excluded = excluded.ranges(groups)[1]
    num_eligible = np.where(own_bins >= 0, sizes[own_bins] - num_excluded, 0)
    begins, counts = later.ranges(groups)
    pairs, places = _expand(begins, counts)
    return Matched(num_eligible, pairs, later.items[places], excluded, groups)


class Scored(NamedTuple):
    """What scores of flagged pairs and of their controls come from.

    Attributes:
        items: int64 [F], of the flagged pairs.
        rows: int64 [F], the row of `vectors` of their users.
        bins: int64 [num_items + 1].
        vectors: float32 [W, D].
        item_table: float32 [num_items + 1, D].
    """

    items: np.ndarray
    rows: np.ndarray
    bins: np.ndarray
    vectors: np.ndarray
    item_table: np.ndarray

    def num_above(
        self, matched: Matched, pairs: np.ndarray, items: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns how many controls of a pair outscore an item of their bin, and its score.

        Args:
            matched: Says what is no control.
            pairs: int64 [K], flagged pairs.
            items: int64 [K].

        Returns:
            int64 [K] and float32 [K].
        """
        found, own_scores = np.zeros(len(pairs), np.int64), np.zeros(len(pairs), np.float32)
        place_in_bin = np.zeros(len(self.bins), np.int64)
        for number in np.unique(self.bins[items]):
            members = np.flatnonzero(self.bins == number)
            place_in_bin[members] = np.arange(len(members))
            entries = np.flatnonzero(self.bins[items] == number)
            size = max(1, _CHUNK_SCORES // len(members))
            for begin in range(0, len(entries), size):
                chosen = entries[begin : begin + size]
                scores = self.vectors[self.rows[pairs[chosen]]] @ self.item_table[members].T
                own = scores[np.arange(len(chosen)), place_in_bin[items[chosen]]]
                row, place = _expand(*matched.excluded.ranges(matched.groups[pairs[chosen]]))
                scores[row, place_in_bin[matched.excluded.items[place]]] = -np.inf
                found[chosen] = np.count_nonzero(scores > own[:, None], axis=1)
                own_scores[chosen] = own
        return found, own_scores


class Near(NamedTuple):
    """Which controls are like their flagged pair in score.

    Attributes:
        is_near: bool [H], hits that are among the controls next above their pair or next below.
        has_both: bool [F], pairs with enough controls on both sides.
    """

    is_near: np.ndarray
    has_both: np.ndarray


def find_near(matched: Matched, scored: Scored, half: int) -> Near:
    """Returns what is near where `half` controls above a pair and as many below are taken."""
    every = np.arange(len(matched.num_eligible))
    num_above, own = scored.num_above(matched, every, scored.items)
    num_above_hit, of_hit = scored.num_above(matched, matched.pairs, matched.items)
    above_pair = num_above[matched.pairs]
    # Controls between the pair and the hit, which is above or below.
    num_between = np.where(
        of_hit > own[matched.pairs],
        above_pair - num_above_hit - 1,
        num_above_hit - above_pair,
    )
    has_both = (num_above >= half) & (matched.num_eligible - num_above >= half)
    return Near(num_between < half, has_both)


def _expand(begins: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the row, and begins[row], begins[row] + 1, ..., for counts[row] entries a row."""
    rows = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(rows)) - (np.cumsum(counts) - counts)[rows]
    return rows, begins[rows] + within
