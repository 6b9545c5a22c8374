"""Future lift: how much more often flagged pairs are taken later than pairs that match them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ufnrec_tf.data.item_sets import distinct_in_ranges
from ufnrec_tf.data.splits import Split, train_counts

NUM_BINS = 20
"""Bins of popularity."""

LEAST_ITEMS, MOST_ITEMS = 20, 1000
"""Items of a bin, about: small catalogues have fewer bins, large ones more."""

NUM_CONTROLS = 4
"""Controls by score. More would differ more in score from the flagged pair, and narrow the interval
only a little."""

NUM_RESAMPLES = 2000
"""Resamples of users."""

_CHUNK_SCORES = 1 << 22
"""Scores held at a time (16 MB)."""

_CHUNK_WEIGHTS = 1 << 22
"""Weights of resampled users held at a time (32 MB)."""


class LiftSums(NamedTuple):
    """What users add to a lift: one entry a user, of the flagged pairs that are matched.

    Attributes:
        users: int64 [W], distinct and ascending within a run.
        pairs: float64 [W], flagged pairs.
        hits: float64 [W], those of them that were taken later.
        expected: float64 [W], the rates of their controls, added up.
        control_hits: float64 [W], controls that were taken later.
        per_control: float64 [W], 1 / number of controls, added up over the pairs.
    """

    users: np.ndarray
    pairs: np.ndarray
    hits: np.ndarray
    expected: np.ndarray
    control_hits: np.ndarray
    per_control: np.ndarray


class FutureLift(NamedTuple):
    """Flagged pairs against the future.

    Attributes:
        values: What `future_lift` returns, fit for JSON.
        sums: Name of the match, as in `values`, to what each user adds to it.
    """

    values: dict[str, Any]
    sums: dict[str, LiftSums]


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
) -> FutureLift:
    """Returns the rate at which flagged pairs are taken later, over that of pairs that match them.

    Later: in a held-out event. Where the users of flagged pairs have no such event, as when other
    users are held out, no pair is compared. The controls of a flagged pair are items of the same
    user and of the same bin of popularity, outside the user's train items and not flagged: all of
    these (the expectation of random draws, without their noise), or half of `num_controls` just
    above it and half just below by the model's score. A flagged item that has fewer on either side
    is not matched on score: no item there is like it, and only lower ones would make it look
    better. lift = rate of the flagged / rate of their controls, over the pairs that are matched.

    The 95% interval is a Bayesian bootstrap over users (weights drawn from Exp(1)) with half a hit
    more on either side, drawn from Gamma(1/2): where each hit has a user of its own these are
    Jeffreys' posteriors of two Poisson rates, so that a few hits, or none, give a wide interval. No
    hit of the flagged puts its lower end at 0; none of the controls takes the half hits into the
    lift itself; no hit at all leaves the lift null.

    Args:
        split: Train and held-out events.
        users: int [F], flagged pairs; repeats count once, and pairs of train are left out.
        items: int [F].
        vectors: float32 [W, D], the model's vector of each distinct user among `users`, ascending.
        item_table: float32 [num_items + 1, D].
        num_bins: Quantiles of popularity.
        num_controls: Controls by score, an even number.
        num_resamples: Resamples of users.
        seed: Seed of the resamples.

    Returns:
        Plain values, null where undefined, as where nothing is flagged; and what each user adds.
    """
    stride = split.interactions.num_items + 1
    bins = popularity_bins(split, num_bins)
    known = np.unique(np.asarray(users, np.int64))
    trained = _trained_keys(split, known)
    flagged = np.unique(np.asarray(users, np.int64) * stride + items)
    flagged = flagged[~_is_among(trained, flagged)]
    later = _held_out_keys(split, known)
    is_hit = _is_among(later, flagged)
    base = {
        "num_flagged": len(flagged),
        "users": len(np.unique(flagged // stride)),
        "hits": int(is_hit.sum()),
        "rate": float(is_hit.mean()) if len(flagged) and len(later) else None,
    }
    excluded = np.union1d(trained, flagged)
    matched = match_controls(
        flagged,
        group_pairs(excluded, bins, stride),
        group_pairs(later[~_is_among(excluded, later)], bins, stride),
        bins,
    )
    rows = np.searchsorted(known, flagged // stride)
    scored = ScoredPairs(flagged % stride, rows, bins, vectors, item_table)
    near = find_close_controls(matched, scored, num_controls // 2)
    num_near = np.where(near.has_both, num_controls // 2 * 2, 0)
    results, sums = {}, {}
    for name, is_control, totals in (
        ("matched_on_popularity", np.ones(len(matched.pairs)), matched.num_eligible),
        ("matched_on_popularity_and_score", near.is_near, num_near),
    ):
        control_hits = np.bincount(matched.pairs, is_control, minlength=len(flagged))
        is_used = (totals > 0) & (len(later) > 0)
        sums[name] = _sums_by_user(
            flagged[is_used] // stride, is_hit[is_used], control_hits[is_used], totals[is_used]
        )
        results[name] = pooled_lift([sums[name]], num_resamples=num_resamples, seed=seed)
    return FutureLift({**base, "num_controls": num_controls, **results}, sums)


def _trained_keys(split: Split, users: np.ndarray) -> np.ndarray:
    """Returns int64 keys, sorted and distinct, of the train pairs of some users, ascending."""
    return _pair_keys(split, users, split.interactions.offsets[:-1], split.train_ends)


def _held_out_keys(split: Split, users: np.ndarray) -> np.ndarray:
    """Returns int64 keys, sorted and distinct, of the held-out pairs of some users, ascending."""
    return _pair_keys(split, users, split.train_ends, split.interactions.offsets[1:])


def _pair_keys(split: Split, users: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Returns user * (num_items + 1) + item for each item of the users' events [starts, ends)."""
    log = split.interactions
    offsets, items = distinct_in_ranges(
        log.items, starts[users], ends[users], num_items=log.num_items
    )
    return np.repeat(users, np.diff(offsets)) * (log.num_items + 1) + items


class Groups(NamedTuple):
    """Pairs sorted by group; a group is a user and a bin of popularity.

    Attributes:
        groups: int64 [K], user * bins + bin, ascending.
        items: int64 [K].
    """

    groups: np.ndarray
    items: np.ndarray

    def ranges(self, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the first place and the number of pairs of each group, int64 [P] each."""
        begins = np.searchsorted(self.groups, groups)
        return begins, np.searchsorted(self.groups, groups, side="right") - begins


def group_pairs(keys: np.ndarray, bins: np.ndarray, stride: int) -> Groups:
    """Returns pairs by user and bin; items without a bin are left out.

    Args:
        keys: int64 [K], user * stride + item.
        bins: int64 [num_items + 1]; see `popularity_bins`.
        stride: num_items + 1.
    """
    users, items = np.divmod(keys, stride)
    groups = users * (bins.max(initial=0) + 1) + bins[items]
    has_bin = bins[items] >= 0
    groups, items = groups[has_bin], items[has_bin]
    order = np.argsort(groups, kind="stable")
    return Groups(groups[order], items[order])


def popularity_bins(split: Split, num_bins: int = NUM_BINS) -> np.ndarray:
    """Returns each item's bin of popularity, int64 [num_items + 1], -1 for items of no bin.

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
    """The controls of flagged pairs: how many there are, and which of them were taken later.

    Attributes:
        num_eligible: int64 [F], controls by popularity of each flagged pair.
        pairs: int64 [H], the flagged pair of each control that was taken later.
        items: int64 [H], the control's item.
        excluded: Pairs that are no controls, by user and bin.
        groups: int64 [F], user and bin of each flagged pair.
    """

    num_eligible: np.ndarray
    pairs: np.ndarray
    items: np.ndarray
    excluded: Groups
    groups: np.ndarray


def match_controls(
    flagged: np.ndarray, excluded: Groups, later: Groups, bins: np.ndarray
) -> Matched:
    """Returns how many controls each flagged pair has, and which of them were taken later.

    Args:
        flagged: int64 [F], keys of pairs, user * (num_items + 1) + item.
        excluded: Pairs that are no controls.
        later: Pairs that were taken later and may be controls.
        bins: int64 [num_items + 1]; see `popularity_bins`.
    """
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
    """The vectors and items that score flagged pairs and their controls.

    Attributes:
        items: int64 [F], the items of the flagged pairs.
        rows: int64 [F], their users' rows of `vectors`.
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
            matched: The controls.
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
    """The controls whose score is close to that of their flagged pair.

    Attributes:
        is_near: bool [H], hits that are among the controls next above their pair or next below.
        has_both: bool [F], pairs with enough controls on both sides.
    """

    is_near: np.ndarray
    has_both: np.ndarray


def find_close_controls(matched: Matched, scored: ScoredPairs, half: int) -> CloseControls:
    """Returns the close controls, `half` of them just above a pair and `half` just below."""
    every = np.arange(len(matched.num_eligible))
    num_above, own = scored.num_above(matched, every, scored.items)
    num_above_hit, of_hit = scored.num_above(matched, matched.pairs, matched.items)
    above_pair = num_above[matched.pairs]
    # Controls between the pair and the hit, which is above the pair or below it.
    num_between = np.where(
        of_hit > own[matched.pairs],
        above_pair - num_above_hit - 1,
        num_above_hit - above_pair,
    )
    has_both = (num_above >= half) & (matched.num_eligible - num_above >= half)
    return CloseControls(num_between < half, has_both)


def _sums_by_user(
    users: np.ndarray, is_hit: np.ndarray, control_hits: np.ndarray, num_controls: np.ndarray
) -> LiftSums:
    """Returns what each user adds. All arrays are [F], a flagged pair each; users ascend."""
    known, owner = np.unique(users, return_inverse=True)
    columns = (
        np.ones(len(users)),
        is_hit,
        control_hits / num_controls,
        control_hits,
        1 / num_controls,
    )
    return LiftSums(known, *(np.bincount(owner, column, len(known)) for column in columns))


def pooled_lift(
    runs: Sequence[LiftSums], *, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> dict[str, float | int | None]:
    """Returns rate, lift and interval over the pairs of all runs; see `future_lift`.

    A user of several runs is drawn once, with the pairs of all of them: they are of one taste and
    of the same held-out events.

    Args:
        runs: What each user adds, of each run; users are named alike.
        num_resamples: Resamples of users.
        seed: Seed of the resamples.
    """
    joined = [np.concatenate(columns) for columns in zip(*runs, strict=True)]
    _, owner = np.unique(joined[0], return_inverse=True)
    pairs, hits, expected, control_hits, per_control = joined[1:]
    num_pairs = int(pairs.sum())
    if not num_pairs:
        counts = dict.fromkeys(("pairs", "hits", "control_hits"), 0)
        return counts | dict.fromkeys(("rate", "lift", "low", "high"), None)
    # Sums by user; users without any hit add nothing to either, whatever their weight.
    sums = np.stack([np.bincount(owner, hits), np.bincount(owner, expected)], axis=1)  # [U, 2]
    sums = sums[sums.any(axis=1)]
    # One hit adds this to each sum.
    unit = np.array([1.0, float(per_control.sum() / num_pairs)])
    num_hits, expected_hits = sums.sum(axis=0)
    lift: float | None = None
    if num_hits or expected_hits:
        at_least = 0.5 * unit[1]
        lift = float(num_hits / expected_hits if expected_hits else (num_hits + 0.5) / at_least)
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
        "pairs": num_pairs,
        "hits": int(num_hits),
        "control_hits": int(control_hits.sum()),
        "rate": float(expected_hits / num_pairs),
        "lift": lift,
        "low": float(low) if num_hits else 0.0,
        "high": float(high),
    }


def _is_among(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Returns bool, True where `wanted` is among the sorted `keys`."""
    if not len(keys):
        return np.zeros(len(wanted), bool)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return keys[place] == wanted


def _expand(begins: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the row, and begins[row], begins[row] + 1, ..., for counts[row] entries a row."""
    rows = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(rows)) - (np.cumsum(counts) - counts)[rows]
    return rows, begins[rows] + within
