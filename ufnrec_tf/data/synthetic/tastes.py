"""Taste models of planted data: who likes what, and which item follows which.

Every value is an elementwise function of stored factors and of a counter-based hash. So a single
(user, item) pair costs the same at ten items or a million, and gives the same bits by itself or in
a block, which lets `PlantedTruth` compare with a stored threshold exactly.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_NUM_ATTRIBUTES = 32


def make_salt(seed: int, purpose: str) -> np.uint64:
    """Returns a uint64 that separates the hash streams of seeds and purposes."""
    digest = hashlib.sha256(f"{seed}:{purpose}".encode()).digest()
    return np.uint64(int.from_bytes(digest[:8], "little"))


def _mix(state: np.ndarray) -> np.ndarray:
    """Finalises splitmix64 counters.

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    state = state ^ (state >> np.uint64(30))
    state *= np.uint64(0xBF58476D1CE4E5B9)
    state ^= state >> np.uint64(27)
    state *= np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    return state


def hash_pairs(salt: np.uint64, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Returns a uint64 hash of each (row, column) pair; rows and columns broadcast."""
    with np.errstate(over="ignore"):
        starts = _mix(np.atleast_1d(np.asarray(rows)).astype(np.uint64) * _GOLDEN + salt)
        steps = (np.atleast_1d(np.asarray(columns)).astype(np.uint64) + np.uint64(1)) * _GOLDEN
        return _mix(starts + steps)


def hash_uniform(salt: np.uint64, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Returns float64 in [0, 1) for each (row, column) pair; rows and columns broadcast."""
    # 32 bits, so that a product with a float64 total stays below that total.
    return (hash_pairs(salt, rows, columns) >> np.uint64(32)).astype(np.float64) * 2.0**-32


def hash_normal(salt: np.uint64, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Returns a nearly Gaussian float32 of mean 0 and variance 1 for each (row, column) pair.

    It is the sum of three 21-bit uniforms, within ±3: whole numbers below 2^24, so float32 holds
    them exactly on every machine.
    """
    bits = hash_pairs(salt, rows, columns)
    low = np.uint64((1 << 21) - 1)
    total = (bits & low) + ((bits >> np.uint64(21)) & low) + (bits >> np.uint64(43))
    return (total.astype(np.float32) - np.float32(1.5 * 2**21)) * np.float32(2.0**-20)


def _scaled_noise(
    noise: float, salt: np.uint64, users: np.ndarray, items: np.ndarray
) -> np.ndarray:
    """Returns `noise` times `hash_normal`, without drawing where that is zero."""
    if not noise:
        shape = np.broadcast_shapes(np.shape(users), np.shape(items))
        return np.zeros(shape or (1,), np.float32)
    return np.float32(noise) * hash_normal(salt, users, items)


def normal_above(values: np.ndarray) -> np.ndarray:
    """Returns the probability, float64, that a draw of `hash_normal` is above each value."""
    # Three uniforms add up to 1.5 + z / 2; above x is, by symmetry, below 3 - x.
    x = np.clip(1.5 - np.asarray(values, np.float64) / 2, 0.0, 3.0)
    middle = (-2 * x**3 + 9 * x**2 - 9 * x + 3) / 6
    return np.where(x < 1, x**3 / 6, np.where(x < 2, middle, 1 - (3 - x) ** 3 / 6))


class TasteModel(Protocol):
    """A model of tastes. Its values for item 0, padding, mean nothing."""

    @property
    def groups(self) -> np.ndarray:
        """The cluster of an item, int32 [num_items+1]."""

    @property
    def group_name(self) -> str:
        """The word for a cluster in titles."""

    def affinity(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Returns float32 affinities; internal user and item ids broadcast."""

    def features(self, items: np.ndarray) -> np.ndarray:
        """Returns the features of items [B, K] for `successor`; the last two axes are B and K."""

    def successor(self, last: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Returns float32 [B, K], about unit variance: how well candidates follow items `last` [B].

        A `last` of 0 (nothing came before) gives zeros.
        """


@dataclass(frozen=True, eq=False)
class FactorModel:
    """Dot products of clustered Gaussian factors; the next item's factor is a turn of the last's.

    Attributes:
        user_factors: float32 [D, U], columns of unit length, so that affinities have variance 1.
        item_factors: float32 [D, num_items+1], a cluster's centre plus an item's own part.
        groups: int32 [num_items+1].
        noise: standard deviation of the per-pair part that no factor explains.
        salt: of that part.
    """

    user_factors: np.ndarray
    item_factors: np.ndarray
    groups: np.ndarray
    noise: float
    salt: np.uint64
    group_name: str = "Cluster"

    @classmethod
    def create(cls, *, num_users: int, num_items: int, noise: float, seed: int) -> "FactorModel":
        """Draws factors of 8 dimensions; items in 20 clusters that hold 3/4 of the variance."""
        num_factors, num_groups = 8, min(20, num_items)
        rng = np.random.default_rng([seed, 1])
        centres = rng.standard_normal((num_factors, num_groups), dtype=np.float32)
        groups = rng.integers(num_groups, size=num_items + 1, dtype=np.int32)
        own = rng.standard_normal((num_factors, num_items + 1), dtype=np.float32)
        item_factors = np.float32(0.75**0.5) * centres[:, groups] + np.float32(0.5) * own
        users = np.random.default_rng([seed, 2]).standard_normal(
            (num_factors, num_users), dtype=np.float32
        )
        users /= np.sqrt((users * users).sum(axis=0))
        return cls(users, item_factors, groups, noise, make_salt(seed, "factor noise"))

    def affinity(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Returns float32 affinities; internal user and item ids broadcast."""
        total = _scaled_noise(self.noise, self.salt, users, items)
        for user_row, item_row in zip(self.user_factors, self.item_factors, strict=True):
            total += user_row[users] * item_row[items]
        return total

    def features(self, items: np.ndarray) -> np.ndarray:
        """Returns the factors float32 [D, B, K] of items [B, K]."""
        return self.item_factors[:, items]

    def successor(self, last: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Returns float32 [B, K], the product of candidates' factors with the turned last's."""
        turned = self._turn(self.item_factors[:, last]) * (last > 0)
        total = np.zeros(features.shape[1:], np.float32)
        for turned_row, feature_row in zip(turned, features, strict=True):
            total += turned_row[:, None] * feature_row
        return total

    @staticmethod
    def _turn(factors: np.ndarray) -> np.ndarray:
        """Returns an orthogonal turn of factors [D, B], scaled so that products have variance 1."""
        # A signed cycle of the axes is exact in floating point, and to isotropic factors it is
        # as good as any rotation.
        turned = np.roll(factors, 1, axis=0)
        turned[::2] *= -1
        return turned * np.float32(len(factors) ** -0.5)


@dataclass(frozen=True, eq=False)
class AttributeModel:
    """Rules on sets of attributes, which no product of a user and an item vector can express.

    Affinity = s(liked attributes present) - 1.5 if a disliked one is present + 0.5 if exactly one
    of the user's pair is, with s(m) = m (7 - m) / 6, which falls again beyond four. What follows
    what is a chain of categories.

    Attributes:
        item_bits: uint32 [num_items+1], the attributes of an item.
        liked_bits: uint32 [U], the signatures of the user's two favourite categories.
        disliked_bits: uint32 [U], at most two attributes, none of them liked.
        pair_bits: uint32 [U], two attributes of which the user wants one without the other.
        chain: float32 [C, C], chain[a, b] is the logit of category b after a.
        groups: int32 [num_items+1], categories.
        noise: standard deviation of the per-pair part that no rule explains.
        salt: of that part.
    """

    item_bits: np.ndarray
    liked_bits: np.ndarray
    disliked_bits: np.ndarray
    pair_bits: np.ndarray
    chain: np.ndarray
    groups: np.ndarray
    noise: float
    salt: np.uint64
    group_name: str = "Category"

    @classmethod
    def create(cls, *, num_users: int, num_items: int, noise: float, seed: int) -> "AttributeModel":
        """Draws 20 categories: an item has each of its 4 signature attributes with probability .8.

        The 28 other attributes it has with probability .15 each.
        """
        num_groups = min(20, num_items)
        rng = np.random.default_rng([seed, 3])
        # 4 of 32 for every category: an argsort of noise is a permutation a row.
        ranks = rng.random((num_groups, _NUM_ATTRIBUTES)).argsort(axis=1).argsort(axis=1)
        is_signature = ranks < 4
        groups = rng.integers(num_groups, size=num_items + 1, dtype=np.int32)
        item_bits = np.zeros(num_items + 1, np.uint32)
        for attribute in range(_NUM_ATTRIBUTES):
            chance = np.where(is_signature[groups, attribute], 0.8, 0.15)
            item_bits |= _bit(attribute) * (rng.random(num_items + 1) < chance).astype(np.uint32)
        signatures = (is_signature * _bit(np.arange(_NUM_ATTRIBUTES))).sum(axis=1, dtype=np.uint32)
        chain = rng.standard_normal((num_groups, num_groups), dtype=np.float32)
        liked, disliked, pair = _draw_tastes(signatures, num_users=num_users, seed=seed)
        salt = make_salt(seed, "attribute noise")
        return cls(item_bits, liked, disliked, pair, chain, groups, noise, salt)

    def affinity(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Returns float32 affinities; internal user and item ids broadcast."""
        bits = self.item_bits[items]
        matches = np.bitwise_count(self.liked_bits[users] & bits)
        counts = np.arange(_NUM_ATTRIBUTES + 1, dtype=np.float32)
        total = _scaled_noise(self.noise, self.salt, users, items)
        total += (counts * (7 - counts) / np.float32(6))[matches]
        total -= np.float32(1.5) * ((self.disliked_bits[users] & bits) != 0)
        total += np.float32(0.5) * (np.bitwise_count(self.pair_bits[users] & bits) == 1)
        return total

    def features(self, items: np.ndarray) -> np.ndarray:
        """Returns the categories int32 [B, K] of items [B, K]."""
        return self.groups[items]

    def successor(self, last: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Returns float32 [B, K], the chain's logits from the last item's category."""
        logits = self.chain[self.groups[last]] * (last > 0)[:, None]
        return np.take_along_axis(logits, features, axis=1)


def _bit(positions: int | np.ndarray) -> np.ndarray:
    """Returns uint32 with the bit at each position set."""
    return np.left_shift(np.uint32(1), np.asarray(positions, np.uint32), dtype=np.uint32)


def _draw_tastes(
    signatures: np.ndarray, *, num_users: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns uint32 [U] each: liked, disliked and paired attributes."""
    rng = np.random.default_rng([seed, 4])
    favourites = rng.integers(len(signatures), size=(2, num_users))
    liked = signatures[favourites[0]] | signatures[favourites[1]]
    disliked = np.bitwise_or.reduce(_bit(rng.integers(_NUM_ATTRIBUTES, size=(2, num_users))))
    first = rng.integers(_NUM_ATTRIBUTES, size=num_users)
    second = (first + rng.integers(1, _NUM_ATTRIBUTES, size=num_users)) % _NUM_ATTRIBUTES
    return liked, disliked & ~liked, _bit(first) | _bit(second)


GENERATORS: dict[str, Callable[..., TasteModel]] = {
    "factors": FactorModel.create,
    "attributes": AttributeModel.create,
}
"""Generators of planted data: add one here, with a class that keeps to `TasteModel`."""
