"""Events with raw ids, as the readers of logs yield them: in batches, or all at once."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd


class EventBatch(NamedTuple):
    """Some events that follow one another in the log; n of them.

    Attributes:
        user_ids: object(str), the batch's distinct raw user ids by first appearance.
        users: int32 [n], places in `user_ids`.
        item_ids: object(str), the distinct raw item ids by first appearance.
        items: int32 [n], places in `item_ids`.
        times: float64 [n], finite, or None where the log has no times; NaN where a row has none
            and a filter leaves such rows out.
        ratings: float64 [n], finite, or None if they are not there or not asked for.
        types: int32 [n], places in `type_names`, or None if they are not asked for.
        type_names: object(str), the distinct event types, or None.
    """

    user_ids: np.ndarray
    users: np.ndarray
    item_ids: np.ndarray
    items: np.ndarray
    times: np.ndarray | None = None
    ratings: np.ndarray | None = None
    types: np.ndarray | None = None
    type_names: np.ndarray | None = None

    @property
    def num_events(self) -> int:
        """Number of events, n."""
        return len(self.items)

    @property
    def counts(self) -> dict[str, int]:
        """Number of events, users and items."""
        return {
            "events": self.num_events,
            "users": len(self.user_ids),
            "items": len(self.item_ids),
        }

    def kept(self, is_kept: np.ndarray) -> "EventBatch":
        """Returns the events where bool [n] is true, with only their ids."""
        users, user_places = pd.factorize(self.users[is_kept])
        items, item_places = pd.factorize(self.items[is_kept])
        return EventBatch(
            self.user_ids[user_places],
            users.astype(np.int32),
            self.item_ids[item_places],
            items.astype(np.int32),
            None if self.times is None else self.times[is_kept],
            None if self.ratings is None else self.ratings[is_kept],
            None if self.types is None else self.types[is_kept],
            self.type_names,
        )


def batch_of(
    users: np.ndarray,
    items: np.ndarray,
    times: np.ndarray | None = None,
    ratings: np.ndarray | None = None,
    types: np.ndarray | None = None,
) -> EventBatch:
    """Returns the batch of some events.

    Args:
        users: object(str) [n].
        items: object(str) [n].
        times: float64 [n], or None.
        ratings: float64 [n], or None.
        types: object(str) [n], or None.
    """
    user_codes, user_ids = pd.factorize(users)
    item_codes, item_ids = pd.factorize(items)
    type_codes, type_names = (None, None) if types is None else pd.factorize(types)
    return EventBatch(
        user_ids,
        user_codes.astype(np.int32),
        item_ids,
        item_codes.astype(np.int32),
        times,
        ratings,
        None if type_codes is None else type_codes.astype(np.int32),
        type_names,
    )


class RawIds:
    """Numbers raw ids from 0 by first appearance, over all batches of a log."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def numbers_of(self, ids: np.ndarray) -> np.ndarray:
        """Returns the numbers of distinct raw ids, int32 [n]; new ids get the next ones.

        Args:
            ids: object(str) [n].
        """
        numbers = self._numbers
        found = [numbers.setdefault(id, len(numbers)) for id in ids]
        return np.array(found, np.int32)

    def as_array(self) -> np.ndarray:
        """Returns the ids by their numbers, object(str)."""
        ids = np.empty(len(self._numbers), object)
        ids[:] = list(self._numbers)
        return ids


def collect(batches: Iterable[EventBatch]) -> EventBatch:
    """Returns all events of a log as one batch; there is at least one batch."""
    user_ids, item_ids, type_names = RawIds(), RawIds(), RawIds()
    users, items, times, ratings, types = [], [], [], [], []
    for batch in batches:
        users.append(user_ids.numbers_of(batch.user_ids)[batch.users])
        items.append(item_ids.numbers_of(batch.item_ids)[batch.items])
        times.append(batch.times)
        ratings.append(batch.ratings)
        if batch.types is not None and batch.type_names is not None:
            types.append(type_names.numbers_of(batch.type_names)[batch.types])
    return EventBatch(
        user_ids.as_array(),
        np.concatenate(users),
        item_ids.as_array(),
        np.concatenate(items),
        _joined(times),
        _joined(ratings),
        np.concatenate(types) if types else None,
        type_names.as_array() if types else None,
    )


def _joined(pieces: list[np.ndarray | None]) -> np.ndarray | None:
    """Returns the pieces end to end, or None if there are none."""
    found = [piece for piece in pieces if piece is not None]
    return np.concatenate(found) if found else None
