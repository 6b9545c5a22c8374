"""Are flagged pairs taken later more often than pairs like them?."""

from typing import Any, NamedTuple

import numpy as np

from ufnrec_tf.data.item_sets import distinct_in_ranges
from ufnrec_tf.data.splits import Split, train_counts

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


class ScoredPairs(NamedTuple):
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


class CloseControls(NamedTuple):
    """Which controls are like their flagged pair in score.

    Attributes:
        is_near: bool [H], hits that are among the controls next above their pair or next below.
        has_both: bool [F], pairs with enough controls on both sides.
    """

    is_near: np.ndarray
    has_both: np.ndarray


def find_near(matched: Matched, scored: ScoredPairs, half: int) -> CloseControls:
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
    return CloseControls(num_between < half, has_both)


def _expand(begins: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the row, and begins[row], begins[row] + 1, ..., for counts[row] entries a row."""
    rows = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(rows)) - (np.cumsum(counts) - counts)[rows]
    return rows, begins[rows] + within


NUM_CONTROLS = 4
"""More would be less like the flagged pair in score, and the interval hardly narrower."""

NUM_RESAMPLES = 2000
_CHUNK_WEIGHTS = 1 << 22
"""Weights of resampled users held at a time (32 MB)."""


def future_lift(
    split: Split,
    users: np.ndarray,
    items: np.ndarray,
    *,
    vectors: np.ndarray,
    item_table: np.ndarray,
    num_bins: int = NUM_BINS,
    num_controls: int = NUM_CONTROLS,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Returns how much likelier flagged pairs are to be taken later than pairs that match them.

    Later: in a held-out event; where the users of flagged pairs have none at all, as when other
    users are held out, nothing can be told and no pair is compared. The controls of a flagged pair
    are items of the same user and of the same bin of popularity, outside the user's train items and
    not flagged: all of these (the expectation of random draws, without their noise), or half of
    `num_controls` just above it and half just below by the model's score. A flagged item that has
    not as many on both sides is not matched on score: nothing there is like it, and lower ones
    alone would make it look better. lift = rate of the flagged / rate of their controls, over the
    pairs that are matched.

    The 95% interval is a Bayesian bootstrap over users (weights drawn from Exp(1)) with half a hit
    more on either side, drawn from Gamma(1/2): where each hit has a user of its own these are
    Jeffreys' posteriors of two Poisson rates, so that a few hits, or none, give a wide interval. No
    hit of the flagged puts its lower end at 0; none of the controls takes the half hits into the
    lift itself; no hit at all leaves the lift null.

    Args:
        split: What trained and what is held out.
        users: int [F], flagged pairs; repeats count once, and pairs of train are no news.
        items: int [F].
        vectors: float32 [W, D], the model's vector of each distinct user among `users`, ascending.
        item_table: float32 [num_items + 1, D].
        num_bins: Quantiles of popularity.
        num_controls: Controls by score, an even number.
        num_resamples: Resamples of users.
        seed: Of the resamples.

    Returns:
        Plain values, fit for JSON: null for what cannot be told, as where nothing was flagged.
    """
    stride = split.interactions.num_items + 1
    bins = popularity_bins(split, num_bins)
    known = np.unique(np.asarray(users, np.int64))
    trained = _trained_keys(split, known)
    flagged = np.unique(np.asarray(users, np.int64) * stride + items)
    flagged = flagged[~_contains(trained, flagged)]
    later = _held_out_keys(split, known)
    is_hit = _contains(later, flagged)
    base = {
        "num_flagged": len(flagged),
        "users": len(np.unique(flagged // stride)),
        "hits": int(is_hit.sum()),
        "rate": float(is_hit.mean()) if len(flagged) and len(later) else None,
    }
    excluded = np.union1d(trained, flagged)
    matched = match(
        flagged,
        grouped(excluded, bins, stride),
        grouped(later[~_contains(excluded, later)], bins, stride),
        bins,
    )
    rows = np.searchsorted(known, flagged // stride)
    scored = ScoredPairs(flagged % stride, rows, bins, vectors, item_table)
    near = find_near(matched, scored, num_controls // 2)
    num_near = np.where(near.has_both, num_controls // 2 * 2, 0)
    results = {}
    for name, is_control, totals in (
        ("matched_on_popularity", np.ones(len(matched.pairs)), matched.num_eligible),
        ("matched_on_popularity_and_score", near.is_near, num_near),
    ):
        control_hits = np.bincount(matched.pairs, is_control, minlength=len(flagged))
        is_used = (totals > 0) & (len(later) > 0)
        results[name] = _compare(
            flagged[is_used] // stride,
            is_hit[is_used],
            control_hits[is_used],
            totals[is_used],
            num_resamples=num_resamples,
            seed=seed,
        )
    return {**base, "num_controls": num_controls, **results}


def _trained_keys(split: Split, users: np.ndarray) -> np.ndarray:
    """Returns the train items of some users, ascending, as sorted distinct pairs."""
    return _keys(split, users, split.interactions.offsets[:-1], split.train_ends)


def _held_out_keys(split: Split, users: np.ndarray) -> np.ndarray:
    """Returns what some users, ascending, took in held-out events as sorted distinct pairs."""
    return _keys(split, users, split.train_ends, split.interactions.offsets[1:])


def _keys(split: Split, users: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    log = split.interactions
    offsets, items = distinct_in_ranges(
        log.items, starts[users], ends[users], num_items=log.num_items
    )
    return np.repeat(users, np.diff(offsets)) * (log.num_items + 1) + items


def _contains(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Returns bool, True where `wanted` is among the sorted `keys`."""
    if not len(keys):
        return np.zeros(len(wanted), bool)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return keys[place] == wanted


def _compare(
    users: np.ndarray,
    is_hit: np.ndarray,
    control_hits: np.ndarray,
    num_controls: np.ndarray,
    *,
    num_resamples: int,
    seed: int,
) -> dict[str, float | int | None]:
    """Returns rate, lift and interval; see `future_lift`. All arrays are [F]; users ascend."""
    if not len(users):
        counts = dict.fromkeys(("pairs", "hits", "control_hits"), 0)
        return counts | dict.fromkeys(("rate", "lift", "low", "high"), None)
    expected = control_hits / num_controls
    # By user; users without any hit add nothing to either sum, whatever their weight.
    _, owner = np.unique(users, return_inverse=True)
    sums = np.stack([np.bincount(owner, is_hit), np.bincount(owner, expected)], axis=1)  # [U, 2]
    sums = sums[sums.any(axis=1)]
    # What one hit adds to each sum.
    unit = np.array([1.0, float(np.mean(1 / num_controls))])
    hits, expected_hits = sums.sum(axis=0)
    lift: float | None = None
    if hits or expected_hits:
        lift = float(hits / expected_hits if expected_hits else (hits + 0.5) / (0.5 * unit[1]))
    rng = np.random.default_rng(seed)
    lifts = []
    size = max(1, _CHUNK_WEIGHTS // max(len(sums), 1))
    for begin in range(0, num_resamples, size):
        count = min(size, num_resamples - begin)
        totals = rng.standard_exponential([count, len(sums)]) @ sums
        totals += unit * rng.standard_gamma(0.5, [count, 2])
        lifts.append(totals[:, 0] / totals[:, 1])
    low, high = np.quantile(np.concatenate(lifts), [0.025, 0.975])
    return {
        "pairs": len(users),
        "hits": int(hits),
        "control_hits": int(control_hits.sum()),
        "rate": float(expected_hits / len(users)),
        "lift": lift,
        "low": float(low) if hits else 0.0,
        "high": float(high),
    }
