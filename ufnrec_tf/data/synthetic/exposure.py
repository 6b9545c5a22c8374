"""The items that planted users meet and like: lengths, popularity, exposure, thresholds.

Up to `MAX_EXACT_ITEMS` items everybody is exposed to the whole catalogue and thresholds are exact
quantiles. Beyond, a user is exposed to a pool drawn by popularity, and thresholds are estimated on
a uniform sample of items. So no array of users x items is ever held.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import numpy as np

from ufnrec_tf.data.synthetic.tastes import (
    GENERATORS,
    TasteModel,
    hash_pairs,
    make_salt,
    normal_above,
)

MAX_EXACT_ITEMS = 4096
_SAMPLE_SIZE = 2048
_MIN_POOL, _MAX_POOL = 512, 16384
_CHUNK_PAIRS = 1 << 19  # (user, item) pairs worked on at a time: a few MB, near the caches


@dataclass(frozen=True)
class PlantedSettings:
    """The arguments of `planted`."""

    generator: str
    num_users: int
    num_items: int
    mean_length: float
    false_negative_rate: float
    popularity_bias: float
    noise: float
    drift: float
    seed: int

    def __post_init__(self) -> None:
        """Raises ValueError for settings that allow no draw."""
        if self.generator not in GENERATORS:
            raise ValueError(
                f"`generator` must be one of {', '.join(GENERATORS)}. Received: {self.generator}."
            )
        for name, low, high in [
            ("num_users", 1, 2**31 - 1),
            ("num_items", 10, 2**31 - 2),
            ("mean_length", 5, 10_000),
            ("false_negative_rate", 0, 0.9),
            ("popularity_bias", 0, 3),
            ("noise", 0, 100),
            ("drift", 0, 20),
            ("seed", 0, 2**63 - 1),
        ]:
            value = getattr(self, name)
            if not low <= value <= high:  # NaN fails this too
                raise ValueError(f"`{name}` must be in [{low}, {high}]. Received: {value}.")

    def __str__(self) -> str:
        return "planted:" + ",".join(f"{name}={value}" for name, value in asdict(self).items())


class Candidates(NamedTuple):
    """The items that users can still take, one row a user.

    Attributes:
        items: int32 [B, K], ascending, then zeros.
        logits: float64 [B, K], the part that no last item changes; -inf where items are 0.
    """

    items: np.ndarray
    logits: np.ndarray


@dataclass(frozen=True, eq=False)
class World:
    """The tastes, popularity and history lengths of planted users, in internal ids.

    Attributes:
        settings: The settings from which it was drawn.
        model: The taste model.
        lengths: int64 [U], events of each user.
        thresholds: float32 [U], an affinity of at least this is liked.
        log_popularity: float64 [num_items+1], already scaled by the popularity bias.
        pool_table: int32 [T] or None for exact catalogues; a uniform draw from it is an exposure.
    """

    settings: PlantedSettings
    model: TasteModel
    lengths: np.ndarray
    thresholds: np.ndarray
    log_popularity: np.ndarray
    pool_table: np.ndarray | None

    def candidates(self, users: np.ndarray) -> Candidates:
        """Returns the exposed and liked items of users int [B], observed ones included.

        Where a pool holds fewer liked items than the user has events, the best of the pool fill up.
        """
        if self.pool_table is None:
            items = np.arange(1, self.settings.num_items + 1, dtype=np.int32)[None]
            affinities = self.model.affinity(users[:, None], items)
            is_open = affinities >= self.thresholds[users, None]
        else:
            items = draw_pools(self.pool_table, pool_sizes(self.settings, self.lengths[users]),
                               users, seed=self.settings.seed)  # fmt: skip
            affinities = self.model.affinity(users[:, None], items)
            affinities[items == 0] = -np.inf
            fill = largest(affinities, self.lengths[users])
            is_open = affinities >= np.minimum(fill, self.thresholds[users])[:, None]
        kept = pack_rows(np.broadcast_to(items, is_open.shape), is_open)
        # A pool was drawn by popularity: it must not count twice.
        logits = self.log_popularity[kept] if self.pool_table is None else np.zeros(kept.shape)
        return Candidates(kept, np.where(kept > 0, logits, -np.inf))

    def likely_candidates(self, users: np.ndarray) -> Candidates:
        """Returns all items of users int [B], by the probability that they are liked.

        It is the probability over the noise of affinities, of which nothing is known but its
        distribution.

        Raises:
            ValueError: For catalogues with pools.
        """
        if self.pool_table is not None:
            raise ValueError(f"A catalogue of more than {MAX_EXACT_ITEMS} items has pools.")
        items = np.arange(1, self.settings.num_items + 1, dtype=np.int32)[None]
        # Ignored: the models are dataclasses, which their protocol cannot say.
        known = replace(self.model, noise=0.0)  # type: ignore[type-var]
        missing = self.thresholds[users, None] - known.affinity(users[:, None], items)
        if self.settings.noise:
            is_liked = normal_above(missing / np.float64(self.settings.noise))
        else:
            is_liked = (missing <= 0).astype(np.float64)
        with np.errstate(divide="ignore"):
            logits = self.log_popularity[items] + np.log(is_liked)
        return Candidates(np.broadcast_to(items, logits.shape), logits)

    def num_false_negatives(self) -> np.ndarray:
        """Returns int64 [U], how many unobserved items users like (for large catalogues, about)."""
        return num_liked(self.settings, self.lengths) - self.lengths


def make_world(settings: PlantedSettings, *, chunk_size: int | None = None) -> World:
    """Draws a world. `chunk_size`, users at a time, changes memory and time, not the result."""
    model = GENERATORS[settings.generator](
        num_users=settings.num_users,
        num_items=settings.num_items,
        noise=settings.noise,
        seed=settings.seed,
    )
    rng = np.random.default_rng([settings.seed, 5])
    log_popularity = settings.popularity_bias * rng.standard_normal(settings.num_items + 1)
    lengths = _draw_lengths(settings)
    table = None
    if settings.num_items > MAX_EXACT_ITEMS:
        table = _make_pool_table(log_popularity)
        lengths = _cap_by_pools(settings, lengths, table, chunk_size)
    thresholds = _find_thresholds(settings, model, lengths, chunk_size)
    return World(settings, model, lengths, thresholds, log_popularity, table)


def chunk_users(
    users: np.ndarray, widths: np.ndarray, chunk_size: int | None = None
) -> Iterator[np.ndarray]:
    """Yields users in order, in runs whose number times their largest width stays bounded.

    Args:
        users: int [M].
        widths: int64 [M], pairs a user takes.
        chunk_size: a fixed number of users instead.
    """
    start = 0
    while start < len(users):
        if chunk_size is not None:
            stop = start + chunk_size
        else:
            # Twice, because the first guess may run into wider users.
            stop = start + max(1, _CHUNK_PAIRS // int(widths[start]))
            stop = start + max(1, _CHUNK_PAIRS // int(widths[start:stop].max()))
        yield users[start:stop]
        start = stop


def pool_sizes(settings: PlantedSettings, lengths: np.ndarray) -> np.ndarray:
    """Returns int64 [B], exposures a user: enough that four times its events are liked."""
    if settings.num_items <= MAX_EXACT_ITEMS:
        return np.full(lengths.shape, settings.num_items, np.int64)
    wanted = 4 * lengths / max(settings.false_negative_rate, 0.05)
    sizes = 2 ** np.ceil(np.log2(np.maximum(wanted, 1))).astype(np.int64)
    return np.clip(sizes, _MIN_POOL, _MAX_POOL)


def draw_pools(table: np.ndarray, sizes: np.ndarray, users: np.ndarray, *, seed: int) -> np.ndarray:
    """Returns int32 [B, max size], each user's different exposed items, ascending from column 0.

    Zeros fill the rest. Draws are with replacement, repeats dropped, so rows may fall short.
    """
    slots = np.arange(sizes.max())
    draws = hash_pairs(make_salt(seed, "pool"), users[:, None], slots[None])
    shift = np.uint64(64 - (len(table).bit_length() - 1))
    pools = table[(draws >> shift).astype(np.int64)]
    pools[slots[None] >= sizes[:, None]] = 0
    pools.sort(axis=1)
    is_new = pools > 0
    is_new[:, 1:] &= pools[:, 1:] != pools[:, :-1]
    return pack_rows(pools, is_new)


def largest(values: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Returns [B], from each row of values [B, K] the one of the given 1-based rank [B]."""
    columns = values.shape[1] - ranks
    ordered = np.partition(values, np.unique(columns), axis=1)
    return np.take_along_axis(ordered, columns[:, None], axis=1)[:, 0]


def pack_rows(values: np.ndarray, is_kept: np.ndarray) -> np.ndarray:
    """Returns the kept values [B, K] moved left in order, with zeros on the right."""
    counts = is_kept.sum(axis=1)
    rows, columns = np.nonzero(is_kept)
    places = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    packed = np.zeros((len(values), max(1, int(counts.max(initial=0)))), values.dtype)
    packed[rows, places] = values[rows, columns]
    return packed


def num_liked(settings: PlantedSettings, lengths: np.ndarray) -> np.ndarray:
    """Returns the number of items that users of the given lengths like, int64."""
    rest = settings.false_negative_rate * (settings.num_items - lengths)
    return lengths + np.floor(rest + 0.5).astype(np.int64)


def _draw_lengths(settings: PlantedSettings) -> np.ndarray:
    """Returns int64 [U]: 5 plus a log-normal, at most ten means and half of what can be met."""
    draws = np.random.default_rng([settings.seed, 6]).standard_normal(settings.num_users)
    extra = (settings.mean_length - 5) * np.exp(draws - 0.5)  # exp(z - 1/2) has mean 1
    highest = min(10 * settings.mean_length, settings.num_items // 2, _MAX_POOL // 4)
    return np.minimum(5 + np.round(extra), highest).astype(np.int64)


def _make_pool_table(log_popularity: np.ndarray) -> np.ndarray:
    """Returns int32 [T], T a power of two of 16 entries an item or more, items by popularity."""
    weights = np.exp(log_popularity - log_popularity.max())
    weights[0] = 0
    edges = np.cumsum(weights)
    size = 1 << max(20, (16 * len(weights) - 1).bit_length())
    middles = (np.arange(size) + 0.5) * (edges[-1] / size)
    return np.searchsorted(edges, middles, side="right").astype(np.int32)


def _cap_by_pools(
    settings: PlantedSettings, lengths: np.ndarray, table: np.ndarray, chunk_size: int | None
) -> np.ndarray:
    """Returns lengths cut to what the users' pools hold: strong popularity empties them."""
    capped = lengths.copy()
    sizes = pool_sizes(settings, lengths)
    order = np.argsort(lengths, kind="stable")
    for users in chunk_users(order, sizes[order], chunk_size):
        pools = draw_pools(table, sizes[users], users, seed=settings.seed)
        capped[users] = np.minimum(lengths[users], (pools > 0).sum(axis=1))
    return capped


def _find_thresholds(
    settings: PlantedSettings, model: TasteModel, lengths: np.ndarray, chunk_size: int | None
) -> np.ndarray:
    """Returns float32 [U], the affinity of the last item that is liked.

    A large catalogue's are a uniform sample's, the same for all: right to about 7% of the rate at
    10% for one user. At rate 0 nothing but the observed is liked there.
    """
    thresholds = np.full(settings.num_users, np.inf, np.float32)
    ranks = num_liked(settings, lengths)
    items = np.arange(1, settings.num_items + 1)
    if settings.num_items > MAX_EXACT_ITEMS:
        if settings.false_negative_rate == 0:
            return thresholds
        rng = np.random.default_rng([settings.seed, 7])
        items = 1 + rng.choice(settings.num_items, _SAMPLE_SIZE, replace=False)
        ranks = np.maximum(1, np.round(ranks * (_SAMPLE_SIZE / settings.num_items))).astype(int)
    order = np.argsort(lengths, kind="stable")
    for users in chunk_users(order, np.full(len(order), len(items)), chunk_size):
        affinities = model.affinity(users[:, None], items[None])
        thresholds[users] = largest(affinities, ranks[users])
    return thresholds
