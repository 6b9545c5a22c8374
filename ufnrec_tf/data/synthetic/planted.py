"""Planted data: a log drawn from known tastes; the best possible ranks; precision of flags.

Observed = exposed and liked, in an order that popularity and the last item decide. What a user
likes but was never observed to take is a false negative. `PlantedTruth` answers from stored
factors; nothing in training may ask it.
"""

import hashlib

import numpy as np

from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.data.splits import Split
from ufnrec_tf.data.synthetic.exposure import (
    MAX_EXACT_ITEMS,
    Candidates,
    PlantedSettings,
    World,
    chunk_users,
    make_world,
    num_liked,
    pool_sizes,
)
from ufnrec_tf.data.synthetic.tastes import hash_uniform, make_salt
from ufnrec_tf.data.synthetic.truth import PlantedData, PlantedTruth


def planted(
    *,
    generator: str = "factors",
    num_users: int = 2000,
    num_items: int = 1000,
    mean_length: float = 20,
    false_negative_rate: float = 0.1,
    popularity_bias: float = 1.0,
    noise: float = 0.5,
    drift: float = 2.0,
    seed: int = 0,
    chunk_size: int | None = None,
) -> PlantedData:
    """Draws a log whose false negatives are known.

    A user's next item is drawn among the exposed, liked, not yet taken items with probability
    proportional to exp(log popularity + drift * successor(last item, item)).

    Args:
        generator: a key of `GENERATORS`.
        num_users: users.
        num_items: items; up to 4096 the truth is exact, beyond it users have exposure pools.
        mean_length: mean events a user (before the cap at ten means), at least 5, heavy-tailed.
        false_negative_rate: share of the items a user did not take that the user likes.
        popularity_bias: standard deviation of an item's log popularity.
        noise: standard deviation of what no factor explains in an affinity, whose rest has about 1.
        drift: standard deviation, about, of the next item's logit given the last.
        seed: all of the data follows from it and the settings.
        chunk_size: users worked on at a time; None bounds memory. Does not change the data.

    Returns:
        The log and its truth. Raw ids are "u17" and "i0042".

    Raises:
        ValueError: for a setting out of its range.
    """
    settings = PlantedSettings(
        generator=generator,
        num_users=num_users,
        num_items=num_items,
        mean_length=mean_length,
        false_negative_rate=false_negative_rate,
        popularity_bias=popularity_bias,
        noise=noise,
        drift=drift,
        seed=seed,
    )
    world = make_world(settings, chunk_size=chunk_size)
    offsets = np.concatenate([[0], np.cumsum(world.lengths)])
    items = _draw_events(world, offsets, chunk_size)
    keys = np.repeat(np.arange(num_users) * (num_items + 1), world.lengths) + items
    keys.sort()
    return PlantedData(_as_interactions(world, items, offsets), PlantedTruth(world, keys))


def _draw_events(world: World, offsets: np.ndarray, chunk_size: int | None) -> np.ndarray:
    """Returns all events int32 [E], by user, then time."""
    events = np.zeros(offsets[-1], np.int32)
    order = np.argsort(world.lengths, kind="stable")  # chunks of like lengths waste little
    sizes = pool_sizes(world.settings, world.lengths[order])
    if world.pool_table is None:
        # Only liked items stay after the first step, so more users fit.
        sizes = np.maximum(num_liked(world.settings, world.lengths[order]), sizes // 4)
    for users in chunk_users(order, sizes, chunk_size):
        drawn = _draw_sequences(world, users, world.candidates(users))
        rows, times = np.nonzero(drawn)
        events[offsets[users[rows]] + times] = drawn[rows, times]
    return events


def _draw_sequences(world: World, users: np.ndarray, candidates: Candidates) -> np.ndarray:
    """Returns int32 [B, T], the users' events from column 0, then zeros.

    Args:
        world: tastes and lengths.
        users: int [B], in ascending order of length.
        candidates: theirs; the logits are used up.
    """
    lengths, (items, logits) = world.lengths[users], candidates
    features = world.model.features(items)
    drawn = np.zeros((len(users), lengths[-1]), np.int32)
    salt = make_salt(world.settings.seed, "events")
    for time in range(lengths[-1]):
        first = int(np.searchsorted(lengths, time, side="right"))  # those before have ended
        now = logits[first:]
        if time:
            last = drawn[first:, time - 1]
            steps = world.model.successor(last, features[..., first:, :])
            now = now + world.settings.drift * steps
        edges = np.cumsum(np.exp(now - now.max(axis=1, keepdims=True)), axis=1)
        marks = hash_uniform(salt, users[first:], np.array([time])) * edges[:, -1]
        picks = (edges <= marks[:, None]).sum(axis=1)
        rows = np.arange(first, len(users))
        drawn[first:, time] = items[rows, picks]
        logits[rows, picks] = -np.inf
    return drawn


def _as_interactions(world: World, items: np.ndarray, offsets: np.ndarray) -> Interactions:
    """Returns the log; internal ids are the generator's, since the whole catalogue is known."""
    settings, model = world.settings, world.model
    digits = len(str(settings.num_items))
    ids = np.arange(1, settings.num_items + 1)
    categories = [f"{model.group_name} {model.groups[i]}" for i in ids]
    titles = [f"{category}, item {i}" for i, category in zip(ids, categories, strict=True)]
    digest = hashlib.sha256(items.tobytes() + offsets.tobytes()).hexdigest()
    return Interactions(
        items=items,
        offsets=offsets,
        timestamps=None,
        user_ids=np.array([f"u{user}" for user in range(settings.num_users)], object),
        item_ids=np.array(["", *(f"i{i:0{digits}d}" for i in ids)], object),
        sha256=digest,
        source=str(settings),
        num_repeats=0,
        item_titles=np.array(["", *titles], object),
        item_categories=np.array(["", *categories], object),
    )


def ceiling_ranks(
    data: PlantedData,
    split: Split,
    part: str,
    *,
    knows_noise: bool = True,
    chunk_size: int | None = None,
) -> np.ndarray:
    """Ranks targets by the true next-item distribution, the best possible on average.

    The truth knows which items a noise that no data reveals makes a user like, and for large
    catalogues each user's exposure pool, so this ceiling is out of reach. Without the noise the
    distribution is that of who knows all factors, thresholds, popularity and what follows what.

    Args:
        data: planted data.
        split: of `data.interactions`.
        part: "validation" or "test".
        knows_noise: False leaves the noise of affinities unknown; only of catalogues of up to
            `MAX_EXACT_ITEMS` items.
        chunk_size: users at a time; None bounds memory.

    Returns:
        int64 [M] for the part's targets, 1 is best, seen items masked. Equal probabilities,
        where any order is as good, stand in order of id.
    """
    log, truth = data.interactions, data.truth
    ends, targets = split.history_ends(part), split.targets(part)
    evaluated = split.users(part).astype(np.int64)
    ranks = np.zeros(len(evaluated), np.int64)
    widths = pool_sizes(data.settings, truth.world.lengths[evaluated])
    for rows in chunk_users(np.arange(len(ranks)), widths, chunk_size):
        users = evaluated[rows]
        histories = [
            log.items[start:end] for start, end in zip(log.offsets[users], ends[rows], strict=True)
        ]
        items, logits = truth.next_item_logits(users, histories, knows_noise=knows_noise)
        goals = targets[rows, None]
        goal_logits = np.where(items == goals, logits, -np.inf).max(axis=1, keepdims=True)
        is_before = (logits > goal_logits) | ((logits == goal_logits) & (items < goals))
        ranks[rows] = 1 + is_before.sum(axis=1)
    return ranks


def detection(
    data: PlantedData,
    users: np.ndarray,
    items: np.ndarray,
    *,
    candidates: tuple[np.ndarray, np.ndarray] | None = None,
    is_trained: np.ndarray | None = None,
) -> dict[str, float]:
    """Returns how well flagged pairs match the planted false negatives.

    Pairs that were observed in any part are left out on both sides: their truth is no news.

    Args:
        data: planted data.
        users: int [F], internal ids of flagged pairs; repeats count once.
        items: int [F].
        candidates: users and items, int [C] each, of the pairs that could have been flagged;
            None: all unobserved ones.
        is_trained: bool [U], without `candidates`: users whose unobserved pairs could have been
            flagged; None: everybody.

    Returns:
        `precision`: liked share of the flagged; `recall`: flagged share of the liked candidates;
        `base_rate`: liked share of the candidates; `lift`: precision over base rate;
        `num_flagged`. NaN where a ratio has no denominator.
    """
    flagged, is_hit = _unobserved_pairs(data, users, items)
    if candidates is None:
        world, known = data.truth.world, slice(None) if is_trained is None else is_trained
        num_pairs = int((data.settings.num_items - world.lengths[known]).sum())
        num_true, num_found = int(world.num_false_negatives()[known].sum()), int(is_hit.sum())
    else:
        pairs, is_true = _unobserved_pairs(data, *candidates)
        num_pairs, num_true = len(pairs), int(is_true.sum())
        num_found = int(np.isin(pairs[is_true], flagged).sum())
    precision = _ratio(int(is_hit.sum()), len(flagged))
    base_rate = _ratio(num_true, num_pairs)
    return {
        "precision": precision,
        "recall": _ratio(num_found, num_true),
        "base_rate": base_rate,
        "lift": precision / base_rate if base_rate else float("nan"),
        "num_flagged": float(len(flagged)),
    }


def _unobserved_pairs(
    data: PlantedData, users: np.ndarray, items: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns int64 keys of the different unobserved pairs, and bool, True where liked."""
    stride = data.settings.num_items + 1
    keys = np.unique(np.asarray(users, np.int64) * stride + np.asarray(items, np.int64))
    keys = keys[~data.truth.is_observed(keys // stride, keys % stride)]
    return keys, data.truth.is_liked(keys // stride, keys % stride)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


__all__ = [
    "MAX_EXACT_ITEMS",
    "PlantedData",
    "PlantedSettings",
    "PlantedTruth",
    "ceiling_ranks",
    "detection",
    "planted",
]
