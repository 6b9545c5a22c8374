"""What a model must beat: popularity, last-item Markov and item-based neighbours; NumPy only.

Each is `fit(split)` on train events, then `scores(histories)`; `BASELINES` lists them.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from ufnrec_tf.common.progress import working_on
from ufnrec_tf.data.item_sets import chunks_of
from ufnrec_tf.data.splits import Split, seen_train_items, train_counts

MASKS = ("seen", "train", "none")
# Far below a co-occurrence of one in any log that fits a machine; only orders what ties.
_TIE_BREAK = 1e-6
_MAX_EXPANSIONS = 1 << 20  # co-occurrences counted at a time
_MAX_SCORES = 1 << 22  # scores held at a time


class Baseline(Protocol):
    """Scores every item after a history."""

    def fit(self, split: Split) -> "Baseline":
        """Learns from the train events; returns itself."""

    def scores(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Returns float32 [B, num_items+1] for B histories (int arrays, oldest first, no zeros).

        Histories may be empty. Column 0 is padding and means nothing.
        """


class _SparseRows(NamedTuple):
    """Rows of (column, value): row r is columns[offsets[r]:offsets[r+1]]."""

    offsets: np.ndarray
    columns: np.ndarray
    values: np.ndarray


class Popularity:
    """Scores an item by its number of train events."""

    def fit(self, split: Split) -> "Popularity":
        """Counts train events; returns itself."""
        self._counts = train_counts(split).astype(np.float32)
        return self

    def scores(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Returns float32 [B, num_items+1], the same counts for every history."""
        return np.tile(self._counts, (len(histories), 1))


class LastItemMarkov:
    """Scores an item by how often it came right after the history's last item.

    Ties, and what never came after it, are in order of popularity.
    """

    def fit(self, split: Split) -> "LastItemMarkov":
        """Counts transitions between consecutive train events; returns itself."""
        keys, counts = _transitions(split)
        stride = split.interactions.num_items + 1
        self._transitions = _sparse_rows(keys, counts, stride)
        popularity = train_counts(split)
        # A share below one never outweighs a transition.
        self._popularity = (popularity / (popularity.max() + 1)).astype(np.float32)
        return self

    def scores(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Returns float32 [B, num_items+1]: transitions from the last item, plus under one."""
        return _sum_rows(self._transitions, [history[-1:] for history in histories]) + (
            self._popularity
        )


class ItemKNN:
    """Scores an item by its summed cosine with the history's last different items.

    cosine(i, j) = users of both / sqrt(users of i * users of j), over train, i != j. Each item
    keeps its `num_neighbors` nearest. Ties are in order of popularity, to float32.
    Source: Sarwar, Karypis, Konstan, Riedl, "Item-based collaborative filtering recommendation
    algorithms", WWW 2001.

    Args:
        num_last: events at the end of a history that count.
        num_neighbors: neighbours kept an item; memory is 12 bytes each.
    """

    def __init__(self, *, num_last: int = 10, num_neighbors: int = 200) -> None:
        for name, value in [("num_last", num_last), ("num_neighbors", num_neighbors)]:
            if value < 1:
                raise ValueError(f"`{name}` must be a positive integer. Received: {value}.")
        self.num_last, self.num_neighbors = num_last, num_neighbors

    def fit(self, split: Split) -> "ItemKNN":
        """Finds each item's nearest items in train; returns itself."""
        log = split.interactions
        stride = log.num_items + 1
        by_user, items = seen_train_items(split)
        users = np.repeat(np.arange(log.num_users), np.diff(by_user))
        order = np.argsort(items, kind="stable")
        users, degrees = users[order], np.bincount(items, minlength=stride)
        by_item = np.concatenate([[0], np.cumsum(degrees)])
        # An (item, user) pair meets all items of that user.
        expansions = np.concatenate([[0], np.cumsum(np.diff(by_user)[users])])[by_item]
        blocks, start = [], 0
        with working_on("finding item neighbours", int(expansions[-1]), "pairs") as found:
            while start < stride:
                stop = int(
                    np.searchsorted(expansions, expansions[start] + _MAX_EXPANSIONS, "right")
                )
                stop = min(max(stop - 1, start + 1), stride)
                keys, counts = _cooccurrences(items, by_user, users, by_item, slice(start, stop))
                rows, columns = keys // stride, keys % stride
                cosines = counts / np.sqrt(degrees[rows].astype(np.float64) * degrees[columns])
                is_kept = _is_nearest(rows, cosines, self.num_neighbors)
                blocks.append((keys[is_kept], cosines[is_kept].astype(np.float32)))
                found.advance(int(expansions[stop] - expansions[start]))
                start = stop
        keys, cosines = (np.concatenate(arrays) for arrays in zip(*blocks, strict=True))
        self._neighbors = _sparse_rows(keys, cosines, stride)
        popularity = train_counts(split)
        self._popularity = (_TIE_BREAK * popularity / (popularity.max() + 1)).astype(np.float32)
        return self

    def scores(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Returns float32 [B, num_items+1], summed cosines."""
        recent = [np.unique(history[-self.num_last :]) for history in histories]
        return _sum_rows(self._neighbors, recent) + self._popularity


BASELINES: dict[str, Callable[[], Baseline]] = {
    "popularity": Popularity,
    "markov": LastItemMarkov,
    "itemknn": ItemKNN,
}
"""Baselines by name: add one here."""
BASELINE_LABELS = {"popularity": "Popularity", "markov": "Last-item Markov", "itemknn": "ItemKNN"}


def baseline_ranks(
    model: Baseline, split: Split, part: str, *, mask: str = "seen", chunk: int = 512
) -> np.ndarray:
    """Ranks each evaluated user's target in the full catalogue.

    Args:
        model: fitted on the same split.
        split: whose users of the part are ranked.
        part: "validation" or "test".
        mask: items that are no candidates: "seen" the history (train; at test also the validation
            item), "train" the train items, "none" nothing.
        chunk: users at a time, at most; fewer where the catalogue is large.

    Returns:
        int64 [M], 1 + the number of other candidates that score at least as high as the target;
        padding is no candidate; a target that the mask hides gets the worst rank, num_items.

    Raises:
        ValueError: for an unknown mask, a chunk that is not positive, or NaN scores.
    """
    if mask not in MASKS:
        raise ValueError(f"`mask` must be one of {', '.join(MASKS)}. Received: {mask}.")
    if chunk < 1:
        raise ValueError(f"`chunk` must be a positive integer. Received: {chunk}.")
    log, ends, targets = split.interactions, split.history_ends(part), split.targets(part)
    users = split.users(part)
    starts = log.offsets[users]
    hidden_ends = {"seen": ends, "train": split.train_ends[users], "none": starts}[mask]
    chunk = min(chunk, max(1, _MAX_SCORES // (log.num_items + 1)))
    ranks = np.zeros(len(targets), np.int64)
    with working_on("ranking by a baseline", len(targets), "users") as ranked:
        for first in range(0, len(targets), chunk):
            rows = slice(first, first + chunk)
            histories = _slices(log.items, starts[rows], ends[rows])
            hidden = _slices(log.items, starts[rows], hidden_ends[rows])
            ranks[rows] = _count_ranks(model.scores(histories), targets[rows], hidden)
            ranked.advance(chunk)
    return ranks


def _count_ranks(
    scores: np.ndarray, targets: np.ndarray, hidden: Sequence[np.ndarray]
) -> np.ndarray:
    """Returns int64 [B] ranks of targets [B] among the items of scores [B, V] not hidden."""
    if np.isnan(scores).any():
        raise ValueError("`scores` must be numbers. Received: NaN.")
    is_candidate = np.ones(scores.shape, bool)
    is_candidate[:, 0] = False
    is_candidate[np.repeat(np.arange(len(hidden)), [len(h) for h in hidden]), _join(hidden)] = False
    rows = np.arange(len(targets))
    better = (is_candidate & (scores >= scores[rows, targets][:, None])).sum(axis=1)
    # A target that is a candidate counts itself: that is the 1 of the rank.
    return np.where(is_candidate[rows, targets], better, scores.shape[1] - 1)


def _slices(items: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> list[np.ndarray]:
    return [items[start:end] for start, end in zip(starts, ends, strict=True)]


def _join(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the arrays end to end as int64; none give an empty one."""
    return np.concatenate([np.zeros(0, np.int64), *arrays]).astype(np.int64)


def _transitions(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Counts which item follows which in train.

    Returns:
        ascending keys int64 first * (num_items + 1) + second, and float32 counts.
    """
    log = split.interactions
    starts, stride = log.offsets[:-1], np.int64(log.num_items + 1)
    lengths = np.maximum(split.train_ends - starts - 1, 0)
    num_after = np.zeros(stride, np.int64)
    for chunk in chunks_of(lengths):
        firsts = log.items[_expand(starts[chunk], lengths[chunk])]
        num_after += np.bincount(firsts, minlength=stride)
    keys, counts = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    # All transitions from some items, then from the next: no more than their keys are held.
    for block in chunks_of(num_after):
        of_block = []
        for chunk in chunks_of(lengths):
            places = _expand(starts[chunk], lengths[chunk])
            firsts = log.items[places]
            is_own = (firsts >= block.start) & (firsts < block.stop)
            of_block.append(firsts[is_own] * stride + log.items[places[is_own] + 1])
        found, found_counts = np.unique(np.concatenate(of_block), return_counts=True)
        keys.append(found)
        counts.append(found_counts.astype(np.float32))
    return np.concatenate(keys), np.concatenate(counts)


def _expand(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Returns int64 indices, starts[0], starts[0]+1, ... for counts[0], then the next run's."""
    shifts = np.repeat(starts - (np.cumsum(counts) - counts), counts)
    return np.arange(len(shifts)) + shifts


def _sparse_rows(keys: np.ndarray, values: np.ndarray, stride: int) -> _SparseRows:
    """Returns rows of ascending keys row * stride + column, as many rows as columns."""
    offsets = np.searchsorted(keys, np.arange(stride + 1) * np.int64(stride))
    return _SparseRows(offsets, (keys % stride).astype(np.int32), values)


def _sum_rows(table: _SparseRows, histories: Sequence[np.ndarray]) -> np.ndarray:
    """Returns float32 [B, V], for each history the sum of its items' rows."""
    width = len(table.offsets) - 1
    items = _join(histories)
    counts = table.offsets[items + 1] - table.offsets[items]
    cells = _expand(table.offsets[items], counts)
    rows = np.repeat(np.repeat(np.arange(len(histories)), [len(h) for h in histories]), counts)
    total = np.bincount(
        rows * width + table.columns[cells],
        weights=table.values[cells],
        minlength=len(histories) * width,
    )
    return total.reshape(len(histories), width).astype(np.float32)


def _cooccurrences(
    items: np.ndarray, by_user: np.ndarray, users: np.ndarray, by_item: np.ndarray, block: slice
) -> tuple[np.ndarray, np.ndarray]:
    """Counts the users that two items share, for items in the block.

    Args:
        items: int32 [K], users' different items, user by user; by_user are its offsets.
        by_user: int64 [U+1].
        users: int64 [K], items' different users, item by item; by_item are its offsets.
        by_item: int64 [V+1].
        block: first items of the pairs.

    Returns:
        ascending keys int64 first * V + second of different items, and int64 counts.
    """
    stride = len(by_item) - 1
    first = np.repeat(np.arange(block.start, block.stop), np.diff(by_item)[block])
    met = users[by_item[block.start] : by_item[block.stop]]
    counts = by_user[met + 1] - by_user[met]
    second = items[_expand(by_user[met], counts)]
    first = np.repeat(first, counts)
    keys = first[first != second] * np.int64(stride) + second[first != second]
    return np.unique(keys, return_counts=True)


def _is_nearest(rows: np.ndarray, cosines: np.ndarray, num_neighbors: int) -> np.ndarray:
    """Returns bool, True for a row's largest cosines; rows ascend."""
    order = np.lexsort((-cosines, rows))  # stable: equal ones in order of id
    starts = np.searchsorted(rows, rows)
    is_nearest = np.zeros(len(rows), bool)
    is_nearest[order] = np.arange(len(rows)) - starts < num_neighbors
    return is_nearest
