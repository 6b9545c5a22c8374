"""The truth behind planted data, for diagnostics only, never for training."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.data.synthetic.exposure import PlantedSettings, World


@dataclass(frozen=True, eq=False)
class PlantedTruth:
    """Answers which items users like and which comes next, in internal ids.

    Attributes:
        world: the drawn tastes and exposures.
        observed_keys: int64 [E], user * (num_items + 1) + item of every event, ascending.
    """

    world: World
    observed_keys: np.ndarray

    def is_observed(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Returns bool, True where the user took the item in any part; ids broadcast."""
        users, items = self._check(users, items)
        keys = users * (self.world.settings.num_items + 1) + items
        places = np.searchsorted(self.observed_keys, keys)
        return self.observed_keys[np.minimum(places, len(self.observed_keys) - 1)] == keys

    def is_liked(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Returns bool, True where the user likes the item, observed or not; at least one axis.

        Args:
            users: int, internal ids, broadcast with items.
            items: int, internal ids; padding is liked by nobody.

        Raises:
            ValueError: for ids outside the data.
        """
        users, items = self._check(users, items)
        affinities = self.world.model.affinity(users, items)
        is_liked = (affinities >= self.world.thresholds[users]) & (items > 0)
        if self.world.pool_table is None:  # then all that was observed is above the threshold
            return is_liked
        return is_liked | self.is_observed(users, items)

    def next_item_scores(self, users: np.ndarray, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Returns the true log-probabilities of each user's next item.

        Args:
            users: int [B].
            histories: B arrays of the items taken so far, oldest first; may be empty.

        Returns:
            float32 [B, num_items+1], -inf for what cannot come (taken, not liked, not exposed,
            padding), a row of -inf where nothing is left.
        """
        items, logits = self.next_item_logits(np.asarray(users), histories)
        highest = logits.max(axis=1, keepdims=True)
        highest = np.where(np.isfinite(highest), highest, 0)
        with np.errstate(divide="ignore"):
            totals = np.log(np.exp(logits - highest).sum(axis=1, keepdims=True))
        is_open = np.isfinite(logits)
        scores = np.full((len(items), self.world.settings.num_items + 1), -np.inf, np.float32)
        rows = np.nonzero(is_open)[0]
        normalised = logits - highest - np.where(np.isfinite(totals), totals, 0)
        scores[rows, items[is_open]] = normalised[is_open]
        return scores

    def next_item_logits(
        self, users: np.ndarray, histories: Sequence[np.ndarray], *, knows_noise: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns candidates int32 [B, K] and logits float64 [B, K], -inf where impossible.

        Without the noise every item is a candidate, weighted by the probability that the noise
        lifts its affinity above the user's threshold.

        Raises:
            ValueError: If the noise is unknown and the catalogue has pools.
        """
        world = self.world
        items, logits = world.candidates(users) if knows_noise else world.likely_candidates(users)
        counts = np.array([len(history) for history in histories])
        last = np.array([history[-1] if len(history) else 0 for history in histories], np.int64)
        stride = self.world.settings.num_items + 1
        taken = np.concatenate([*histories, np.zeros(0, np.int32)]).astype(np.int64)
        taken += np.repeat(np.arange(len(users)) * stride, counts)
        is_taken = np.isin(items + np.arange(len(users))[:, None] * stride, taken)
        model = self.world.model
        logits += self.world.settings.drift * model.successor(last, model.features(items))
        return items, np.where(is_taken, -np.inf, logits)

    def _check(self, users: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns int64 arrays of one shape, at least one axis; Raises ValueError if outside."""
        settings = self.world.settings
        for name, ids, end in [
            ("users", users, settings.num_users),
            ("items", items, settings.num_items + 1),
        ]:
            ids = np.asarray(ids)
            if ids.size and not (ids.min() >= 0 and ids.max() < end):
                raise ValueError(
                    f"`{name}` must be internal ids below {end}. "
                    f"Received: {ids.min()} to {ids.max()}."
                )
        pair = np.broadcast_arrays(np.asarray(users, np.int64), np.asarray(items, np.int64))
        return np.atleast_1d(pair[0]), np.atleast_1d(pair[1])


@dataclass(frozen=True, eq=False)
class PlantedData:
    """A log and the truth behind it.

    Attributes:
        interactions: what training may see. Items that nobody took are in the catalogue too.
        truth: what only diagnostics may see.
    """

    interactions: Interactions
    truth: PlantedTruth

    @property
    def settings(self) -> PlantedSettings:
        """The settings from which the data was drawn."""
        return self.truth.world.settings
