"""Negatives, drawn in the graph exactly uniformly over the items that a user has not seen."""

from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from ufnrec_tf.common.tensors import GOLDEN, mix
from ufnrec_tf.data.item_sets import chunks_of


class Sampler(Protocol):
    """Draws the negatives of positions."""

    def __call__(
        self, *, users: tf.Tensor, visits: tf.Tensor, batch_index: tf.Tensor, positions: tf.Tensor
    ) -> tf.Tensor:
        """Returns int32 [P, N] items; see `UniformNegativeSampler.__call__`."""
        ...


class UniformNegativeSampler:
    """Draws items uniformly, with replacement, outside each user's train items.

    A draw is a function of (seed, visit, user, position in the user's history, column), so that
    batching, placement and resuming change nothing. No draw is rejected: r, uniform in
    [0, items - seen), is shifted past the user's sorted seen items by one binary search. r is the
    remainder of 63 random bits, which prefers no item by more than items / 2**63.

    Held-out items may be drawn: excluding them would leak them.

    Args:
        num_items: Number of items; internal ids 1..num_items.
        seen_offsets: int64 [U + 1], where each user's seen items start in `seen_items`.
        seen_items: int32 [K], each user's distinct train items, ascending.
        num_negatives: N, draws a position.
        seed: The run's seed.
    """

    def __init__(
        self,
        *,
        num_items: int,
        seen_offsets: np.ndarray,
        seen_items: np.ndarray,
        num_negatives: int,
        seed: int,
    ) -> None:
        self.num_items = num_items
        self.num_negatives = num_negatives
        self._seed = np.int64(seed)
        self._offsets = tf.constant(seen_offsets, tf.int64)
        # seen[k] - 1 - k: how many unseen items lie below the k-th seen one.
        unseen_below = np.zeros(len(seen_items) + 1, np.int32)
        counts = np.diff(seen_offsets)
        for chunk in chunks_of(counts):
            begin, end = seen_offsets[chunk.start], seen_offsets[chunk.stop]
            rank = np.arange(begin, end) - np.repeat(seen_offsets[chunk], counts[chunk])
            unseen_below[begin:end] = seen_items[begin:end] - 1 - rank
        self._unseen_below = tf.constant(unseen_below, tf.int32)
        self._num_bits = int(np.diff(seen_offsets).max(initial=0)).bit_length()

    def __call__(
        self, *, users: tf.Tensor, visits: tf.Tensor, batch_index: tf.Tensor, positions: tf.Tensor
    ) -> tf.Tensor:
        """Returns int32 [P, N] negatives, 0 throughout for a user who has seen every item.

        Args:
            users: int32 [B], internal user ids; -1 for an empty row of the batch.
            visits: int64 [B], the number of this visit to the user, different from all others.
            batch_index: int64 [P], the row of the batch that each position belongs to.
            positions: int64 [P], index of the interaction in its user's history.
        """
        random = self._random(users, visits, batch_index, positions)  # [P, N]
        known = tf.maximum(users, 0)
        begin = tf.gather(self._offsets, known)
        count = tf.where(users >= 0, tf.gather(self._offsets, known + 1) - begin, 0)  # [B]
        num_unseen = self.num_items - tf.gather(count, batch_index)[:, None]  # [P, 1]
        draw = tf.cast(random % tf.maximum(num_unseen, 1), tf.int32)
        skipped = self._seen_below(
            draw,
            tf.gather(begin, batch_index)[:, None],
            tf.cast(tf.gather(count, batch_index), tf.int32)[:, None],
        )
        return tf.where(num_unseen > 0, 1 + draw + skipped, 0)

    def _seen_below(self, draw: tf.Tensor, begin: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        """Returns int32 [P, N], how many seen items each draw is shifted past.

        Args:
            draw: int32 [P, N], how many unseen items lie below the drawn one.
            begin: int64 [P, 1], where the user's seen items start.
            count: int32 [P, 1], how many there are.
        """
        return _num_at_most(draw, self._unseen_below, begin, count, self._num_bits)

    def _random(
        self, users: tf.Tensor, visits: tf.Tensor, batch_index: tf.Tensor, positions: tf.Tensor
    ) -> tf.Tensor:
        """Returns 63 random bits for each draw, non-negative int64 [P, N]."""
        stream = tf.gather(_streams_of(users, visits, self._seed), batch_index)
        return _random_bits(mix(stream + positions * GOLDEN)[:, None], self.num_negatives)


class PopularitySampler(UniformNegativeSampler):
    """Draws an item as often as it has train events, otherwise as `UniformNegativeSampler` does.

    The events of all items stand in a row, item by item. One is drawn among those of unseen items.

    Args:
        num_events: int64 [num_items], train events of each item.
        **settings: Those of `UniformNegativeSampler`.
    """

    def __init__(self, *, num_events: np.ndarray, **settings: Any) -> None:
        super().__init__(**settings)
        offsets, seen = settings["seen_offsets"], settings["seen_items"] - 1
        ends = np.cumsum(num_events)
        passed = np.concatenate([[0], np.cumsum(num_events[seen])])
        own_passed = passed[:-1] - np.repeat(passed[offsets[:-1]], np.diff(offsets))
        below = ends[seen] - num_events[seen] - own_passed
        self._unseen_below = tf.constant(np.append(below, 0), tf.int64)
        self._passed = tf.constant(passed, tf.int64)
        self._ends = tf.constant(np.append(ends, 0), tf.int64)

    def __call__(
        self, *, users: tf.Tensor, visits: tf.Tensor, batch_index: tf.Tensor, positions: tf.Tensor
    ) -> tf.Tensor:
        """Returns int32 [P, N] items; see `UniformNegativeSampler.__call__`."""
        random = self._random(users, visits, batch_index, positions)  # [P, N]
        known = tf.maximum(users, 0)
        begin = tf.gather(tf.gather(self._offsets, known), batch_index)[:, None]
        end = tf.gather(tf.gather(self._offsets, known + 1), batch_index)[:, None]
        before = tf.gather(self._passed, begin)  # events of the seen items of earlier users
        num_unseen = self._ends[-2] - (tf.gather(self._passed, end) - before)
        draw = random % tf.maximum(num_unseen, 1)
        num_passed = self._seen_below(draw, begin, tf.cast(end - begin, tf.int32))
        event = draw + tf.gather(self._passed, begin + tf.cast(num_passed, tf.int64)) - before
        nothing = tf.zeros_like(begin)
        num_bits = self.num_items.bit_length()
        item = 1 + _num_at_most(event, self._ends, nothing, tf.constant(self.num_items), num_bits)
        return tf.where(num_unseen > 0, item, 0)


class SharedNegatives:
    """Draws N items uniformly, with replacement, once for all positions of a batch.

    A position keeps those that its user has not seen in training: its negatives are uniform over
    the unseen items too, a few less than N. A draw is a function of the seed and of the users and
    visits of the batch (each replica's own), in any order.

    Source: Hidasi et al., "Session-based Recommendations with Recurrent Neural Networks", ICLR
    2016, section 3.2.2, which shares within the batch; additional shared samples: Hidasi &
    Karatzoglou, CIKM 2018 ("additional samples").

    Args:
        num_items: See `UniformNegativeSampler`.
        seen_offsets: See there.
        seen_items: See there.
        num_negatives: N, draws a batch.
        seed: The run's seed.
    """

    def __init__(
        self,
        *,
        num_items: int,
        seen_offsets: np.ndarray,
        seen_items: np.ndarray,
        num_negatives: int,
        seed: int,
    ) -> None:
        self.num_items = num_items
        self.num_negatives = num_negatives
        self._seed = np.int64(seed)
        self._offsets = tf.constant(seen_offsets, tf.int64)
        self._seen = tf.constant(np.append(seen_items, 0), tf.int32)
        self._num_bits = int(np.diff(seen_offsets).max(initial=0)).bit_length()

    def __call__(
        self, *, users: tf.Tensor, visits: tf.Tensor, batch_index: tf.Tensor, positions: tf.Tensor
    ) -> tf.Tensor:
        """Returns int32 [P, N], in each column one item, or 0 for a user who has seen it."""
        del positions
        streams = tf.where(users >= 0, _streams_of(users, visits, self._seed), 0)
        random = _random_bits(mix(tf.reduce_sum(streams)), self.num_negatives)  # [N]
        items = 1 + tf.cast(random % self.num_items, tf.int32)
        known = tf.maximum(users, 0)
        begin = tf.gather(self._offsets, known)[:, None]
        count = tf.cast(tf.gather(self._offsets, known + 1)[:, None] - begin, tf.int32)  # [B, 1]
        wanted = tf.broadcast_to(items, [tf.shape(users)[0], self.num_negatives])
        num_below = _num_at_most(wanted, self._seen, begin, count, self._num_bits)
        nearest = tf.gather(self._seen, begin + tf.cast(tf.maximum(num_below - 1, 0), tf.int64))
        is_seen = (num_below > 0) & (nearest == items)  # [B, N]
        return tf.gather(tf.where(is_seen, 0, items), batch_index)


def _streams_of(users: tf.Tensor, visits: tf.Tensor, seed: np.int64) -> tf.Tensor:
    """Returns a random number for each visit, int64 [B]."""
    stream = mix(visits + mix(tf.constant(seed) + GOLDEN))
    return mix(stream + tf.cast(users, tf.int64) * GOLDEN)


def _random_bits(stream: tf.Tensor, num_negatives: int) -> tf.Tensor:
    """Returns 63 random bits for each column of a stream, non-negative int64 [..., N]."""
    column = tf.range(1, num_negatives + 1, dtype=tf.int64) * GOLDEN  # [N]
    return tf.bitwise.bitwise_and(mix(stream + column), np.int64(2**63 - 1))


def _num_at_most(
    draw: tf.Tensor, values: tf.Tensor, begin: tf.Tensor, count: tf.Tensor, num_bits: int
) -> tf.Tensor:
    """Returns int32 [P, N], how many values of each row's range are at most its draw.

    A bisection with as many gathers as the longest range needs: no shape depends on the data.

    Args:
        draw: int32 or int64 [P, N].
        values: [K + 1], of the dtype of `draw`, ascending in each range; the last one is in none.
        begin: int64 [P, 1], where the row's range starts.
        count: int32 [P, 1] or [], how many values it has.
        num_bits: Bits of the longest range's length.
    """
    last = np.int64(values.shape[0] - 1)
    found = tf.zeros_like(draw, tf.int32)
    for bit in reversed(range(num_bits)):
        further = found + (1 << bit)
        is_inside = further <= count
        place = begin + tf.cast(tf.where(is_inside, further - 1, 0), begin.dtype)
        is_past = is_inside & (tf.gather(values, tf.minimum(place, last)) <= draw)
        found = tf.where(is_past, further, found)
    return found


class AmongItems:
    """Draws only some items of the catalogue, where training must not know the others.

    Args:
        sampler: Draws among 1..len(items), places in `items` from 1; its seen items are places too.
        items: int32 [T], ascending, the items that may be drawn.
    """

    def __init__(self, sampler: Sampler, items: np.ndarray) -> None:
        self._sampler = sampler
        self._items = tf.constant(np.append(0, items), tf.int32)

    def __call__(
        self, *, users: tf.Tensor, visits: tf.Tensor, batch_index: tf.Tensor, positions: tf.Tensor
    ) -> tf.Tensor:
        """Returns int32 [P, N] negatives; see `UniformNegativeSampler.__call__`."""
        places = self._sampler(
            users=users, visits=visits, batch_index=batch_index, positions=positions
        )
        return tf.gather(self._items, places)


def make_sampler(
    items: np.ndarray,
    *,
    seen_offsets: np.ndarray,
    seen_items: np.ndarray,
    num_negatives: int,
    seed: int,
    num_events: np.ndarray | None = None,
    are_shared: bool = False,
) -> Sampler:
    """Returns the sampler of negatives among some items.

    Args:
        items: int32 [T], ascending, the items that may be drawn.
        seen_offsets: See `UniformNegativeSampler`.
        seen_items: See `UniformNegativeSampler`; all of them are among `items`.
        num_negatives: N.
        seed: The run's seed.
        num_events: int64 [T], how often each is drawn relative to the others; None for equally.
        are_shared: True draws one set of negatives a batch; without `num_events`.
    """
    # Ascending ids of which the last is their number are all ids up to it.
    are_all = items[-1] == len(items)
    settings: dict[str, Any] = {
        "num_items": len(items),
        "seen_offsets": seen_offsets,
        "seen_items": seen_items if are_all else 1 + np.searchsorted(items, seen_items),
        "num_negatives": num_negatives,
        "seed": seed,
    }
    sampler: Sampler
    if num_events is not None:
        sampler = PopularitySampler(num_events=num_events, **settings)
    else:
        sampler = (SharedNegatives if are_shared else UniformNegativeSampler)(**settings)
    return sampler if are_all else AmongItems(sampler, items)
