"""Detection of planted false negatives: the AUC of counts and margins over unobserved pairs."""

import numpy as np

from ufnrec_tf.backbones.base import Backbone
from ufnrec_tf.data.splits import Split
from ufnrec_tf.data.synthetic.planted import PlantedData
from ufnrec_tf.evaluation.suspects import newest_vectors, score_differences

NUM_PAIRS = 200_000
"""Pairs drawn at most."""


def margin_auc(
    data: PlantedData, split: Split, backbone: Backbone, *, seed: int
) -> dict[str, float]:
    """Returns the AUC of the model's margins over unobserved pairs.

    The AUC that a detector without a memory reaches. The margin of a pair is its logit less that
    of the positive at the user's newest train transition.

    Args:
        data: Planted data.
        split: The split of `data.interactions`.
        backbone: Scores the pairs, dropout off.
        seed: Seed of the pairs, which are drawn uniformly among users with train events.

    Returns:
        `margin`, NaN if there are no false negatives, and `num_pairs`.
    """
    users, items = _unobserved_pairs(data, split, seed)
    found = auc(_newest_margins(split, backbone, users, items), data.truth.is_liked(users, items))
    return {"margin": found, "num_pairs": float(len(users))}


def suspect_aucs(
    data: PlantedData,
    split: Split,
    *,
    users: np.ndarray,
    items: np.ndarray,
    counts: np.ndarray,
    margins: np.ndarray,
    seed: int,
) -> dict[str, float]:
    """Returns the AUC of the memory's counts and margins of pairs.

    A pair has the highest count of its rows, 0 where the memory does not hold it.

    Args:
        data: Planted data.
        split: The split of `data.interactions`.
        users: int [K], of suspects.
        items: int [K].
        counts: int [K].
        margins: float32 [K], at the suspects' own rows.
        seed: Seed of the pairs.

    Returns:
        `count`: over the same pairs as `margin_auc`. `count_among_suspects` and
        `margin_among_suspects`: over the pairs that the memory holds, so that the chance of being
        drawn does not matter. `num_suspects`: how many these are.
    """
    stride = data.interactions.num_items + 1
    keys, which = np.unique(np.asarray(users, np.int64) * stride + items, return_inverse=True)
    highest_count = np.zeros(len(keys), np.int64)
    np.maximum.at(highest_count, which, counts)
    highest_margin = np.full(len(keys), -np.inf, np.float32)
    np.maximum.at(highest_margin, which, margins)
    drawn_users, drawn_items = _unobserved_pairs(data, split, seed)
    drawn = drawn_users * stride + drawn_items
    place = np.minimum(np.searchsorted(keys, drawn), max(len(keys) - 1, 0))
    held = np.zeros(len(drawn), np.int64)
    if len(keys):
        held = np.where(keys[place] == drawn, highest_count[place], 0)
    is_new = ~data.truth.is_observed(keys // stride, keys % stride)
    keys, highest_count, highest_margin = (
        keys[is_new],
        highest_count[is_new],
        highest_margin[is_new],
    )
    is_liked = data.truth.is_liked(keys // stride, keys % stride)
    return {
        "count": auc(held, data.truth.is_liked(drawn_users, drawn_items)),
        "count_among_suspects": auc(highest_count, is_liked),
        "margin_among_suspects": auc(highest_margin, is_liked),
        "num_suspects": float(len(keys)),
    }


def _unobserved_pairs(data: PlantedData, split: Split, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns users and items, int64 [K] each, of unobserved pairs drawn uniformly.

    Only of users with train events: the model knows nothing of the others.
    """
    log, rng = data.interactions, np.random.default_rng([seed, 11])
    users = rng.integers(0, log.num_users, NUM_PAIRS)
    items = rng.integers(1, log.num_items + 1, NUM_PAIRS)
    is_new = ~data.truth.is_observed(users, items) & split.has_train_events[users]
    return users[is_new], items[is_new]


def _newest_margins(
    split: Split, backbone: Backbone, users: np.ndarray, items: np.ndarray
) -> np.ndarray:
    """Returns float32 [K], logits less the positive's at the users' newest train transition."""
    log = split.interactions
    known, rows = np.unique(users, return_inverse=True)
    last = np.maximum(split.train_ends[known] - 1, log.offsets[known])
    vectors = newest_vectors(backbone, log.items, log.offsets[known], last)
    table = backbone.item_embeddings().numpy()
    return score_differences(vectors, rows, table, items, log.items[last[rows]])


def auc(scores: np.ndarray, is_positive: np.ndarray) -> float:
    """Returns the chance that a positive scores above a negative, a tie counting one half.

    NaN where positives or negatives are missing.
    """
    values, which = np.unique(scores, return_inverse=True)
    positives = np.bincount(which[is_positive], minlength=len(values))
    negatives = np.bincount(which[~is_positive], minlength=len(values))
    num_pairs = float(positives.sum()) * float(negatives.sum())
    below = np.cumsum(negatives) - negatives
    return float((positives * (below + negatives / 2)).sum() / num_pairs) if num_pairs else np.nan
