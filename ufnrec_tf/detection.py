"""How well flagged pairs foretell what users took later, beside pairs that are like them.

NumPy alone. A pair is (user, item), internal ids, as one number: user * (items + 1) + item.
"""

from typing import Any

import numpy as np

from ufnrec_tf.controls import NUM_BINS, Scored, find_near, grouped, match, popularity_bins
from ufnrec_tf.data.distinct import distinct_in_ranges
from ufnrec_tf.data.splits import Split

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
    scored = Scored(flagged % stride, rows, bins, vectors, item_table)
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
