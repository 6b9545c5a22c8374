"""Baselines that a model must beat: popularity, last-item Markov chain, item neighbours.

Each learns by `fit(split)` from train events and scores by `scores(histories)`; `BASELINES` lists
them.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from scipy import sparse

from ufnrec_tf.common.progress import working_on
from ufnrec_tf.data.splits import EVALUATION_PARTS, Split, seen_train_items, train_counts
from ufnrec_tf.evaluation.protocol import check_mask, masked_ends

_TIE_BREAK = 1e-6
"""Far below the cosine of one co-occurrence in any log that fits a machine; only orders ties."""

_MAX_MEETINGS = 1 << 18
"""Pairs of an item and an item of one of its users that are counted at a time."""

_MAX_SCORES = 1 << 20
"""Scores held at a time: they stay in the processor's cache."""


class Baseline(Protocol):
    """Scores every item after a history."""

    def fit(self, split: Split) -> "Baseline":
        """Learns from the train events; returns itself."""

    def scores(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Returns float32 [B, num_items+1] for B histories (int arrays, oldest first, no zeros).

        Histories may be empty. Column 0 is padding, its scores are not read.
        """


class Popularity:
    """Scores an item by its number of train events."""

    def fit(self, split: Split) -> "Popularity":
        """Counts train events; returns itself."""
        self._counts = train_counts(split).astype(np.float32)
        return self

    def scores(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Returns float32 [B, num_items+1], the same counts for every history."""
        return np.broadcast_to(self._counts, (len(histories), len(self._counts)))


class LastItemMarkov:
    """Scores an item by how often it directly followed the history's last item.

    Ties, and items that never followed it, are in order of popularity.
    """

    def fit(self, split: Split) -> "LastItemMarkov":
        """Counts transitions between consecutive train events; returns itself."""
        self._transitions = _transitions(split)
        popularity = train_counts(split)
        # A share below one never outweighs a transition.
        self._popularity = (popularity / (popularity.max() + 1)).astype(np.float32)
        return self

    def scores(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Returns float32 [B, num_items+1], transitions from the last item plus less than one."""
        last = [history[-1:] for history in histories]
        return _sums_of_rows(self._transitions, last) + self._popularity


class ItemKNN:
    """Scores an item by its summed cosine with the history's last different items.

    cosine(i, j) = users of both / sqrt(users of i * users of j), over train, i != j. Each item
    keeps its `num_neighbors` nearest. Ties are in order of popularity, to float32.
    Source: Sarwar, Karypis, Konstan, Riedl, "Item-based collaborative filtering recommendation
    algorithms", WWW 2001.

    Args:
        num_last: Events at the end of a history that are read.
        num_neighbors: Neighbours stored for each item, 12 bytes each.
    """

    def __init__(self, *, num_last: int = 10, num_neighbors: int = 200) -> None:
        for name, value in [("num_last", num_last), ("num_neighbors", num_neighbors)]:
            if value < 1:
                raise ValueError(f"`{name}` must be a positive integer. Received: {value}.")
        self.num_last, self.num_neighbors = num_last, num_neighbors

    def fit(self, split: Split) -> "ItemKNN":
        """Finds each item's nearest items in train; returns itself."""
        offsets, items = seen_train_items(split)
        shape = (len(offsets) - 1, split.interactions.num_items + 1)
        of_user = sparse.csr_array((np.ones(len(items), np.int32), items, offsets), shape)
        of_item = of_user.T.tocsr()
        degrees = np.diff(of_item.indptr)
        # An item meets all items of each of its users.
        met = np.concatenate([[0], np.cumsum(of_item @ np.diff(offsets))])
        blocks, start = [], 0
        with working_on("finding item neighbours", int(met[-1]), "pairs") as found:
            while start < shape[1]:
                stop = int(np.searchsorted(met, met[start] + _MAX_MEETINGS, "right"))
                stop = min(max(stop - 1, start + 1), shape[1])
                shared = of_item[start:stop] @ of_user
                blocks.append(_nearest(shared, start, degrees, self.num_neighbors))
                found.advance(int(met[stop] - met[start]))
                start = stop
        self._neighbors = sparse.vstack(blocks, format="csr")
        popularity = train_counts(split)
        self._popularity = (_TIE_BREAK * popularity / (popularity.max() + 1)).astype(np.float32)
        return self

    def scores(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Returns float32 [B, num_items+1], summed cosines."""
        recent = [np.unique(history[-self.num_last :]) for history in histories]
        return _sums_of_rows(self._neighbors, recent) + self._popularity


BASELINES: dict[str, Callable[[], Baseline]] = {
    "popularity": Popularity,
    "markov": LastItemMarkov,
    "itemknn": ItemKNN,
}
"""Name of a baseline to its class. A new baseline is a new line here, and a label below."""

BASELINE_LABELS = {"popularity": "Popularity", "markov": "Last-item Markov", "itemknn": "ItemKNN"}


def baseline_ranks(
    model: Baseline, split: Split, part: str, *, mask: str = "seen", chunk: int = 512
) -> np.ndarray:
    """Ranks each evaluated user's target in the full catalogue.

    Args:
        model: Fitted on the same split.
        split: The split whose targets are ranked.
        part: "validation" or "test".
        mask: Items that are no candidates, one of `MASKS`.
        chunk: Users at a time, at most; fewer where the catalogue is large.

    Returns:
        int64 [M], 1 + the number of other candidates that score at least as high as the target;
        padding is no candidate; a target that the mask hides gets the worst rank, num_items.

    Raises:
        ValueError: For an unknown mask, a chunk that is not positive, or NaN scores.
    """
    check_mask(mask)
    if chunk < 1:
        raise ValueError(f"`chunk` must be a positive integer. Received: {chunk}.")
    log, ends, targets = split.interactions, split.history_ends(part), split.targets(part)
    starts = log.offsets[split.users(part)]
    hidden_ends = masked_ends(split, part, mask)
    chunk = min(chunk, max(1, _MAX_SCORES // (log.num_items + 1)))
    ranks = np.zeros(len(targets), np.int64)
    with working_on("ranking by a baseline", len(targets), "users") as ranked:
        for first in range(0, len(targets), chunk):
            rows = slice(first, first + chunk)
            histories = _histories(log.items, starts[rows], ends[rows])
            hidden = _histories(log.items, starts[rows], hidden_ends[rows])
            ranks[rows] = _count_ranks(model.scores(histories), targets[rows], hidden)
            ranked.advance(chunk)
    return ranks


def rank_baselines(
    names: Sequence[str], split: Split, *, mask: str = "seen"
) -> dict[str, dict[str, np.ndarray]]:
    """Fits baselines and ranks the targets of validation and test.

    Args:
        names: Keys of `BASELINES`.
        split: The split.
        mask: Items that are no candidates, one of `MASKS`.

    Returns:
        The label of each baseline -> part -> int64 [M], its ranks.
    """
    found = {}
    for name in names:
        model = BASELINES[name]().fit(split)
        found[BASELINE_LABELS.get(name, name)] = {
            part: baseline_ranks(model, split, part, mask=mask) for part in EVALUATION_PARTS
        }
    return found


def _count_ranks(
    scores: np.ndarray, targets: np.ndarray, hidden: Sequence[np.ndarray]
) -> np.ndarray:
    """Returns int64 [B] ranks of targets [B] among the items of scores [B, V] not hidden."""
    are_shared = scores.strides[0] == 0  # of all rows: sorted once, not compared in each row
    if np.isnan(scores[:1] if are_shared else scores).any():
        raise ValueError("`scores` must be numbers. Received: NaN.")
    own, (num_rows, num_columns) = scores[np.arange(len(targets)), targets], scores.shape
    if are_shared:
        better = num_columns - 1 - np.searchsorted(np.sort(scores[0, 1:]), own)
    else:
        better = (scores[:, 1:] >= own[:, None]).sum(axis=1)
    # A target that is a candidate is counted itself: that is the 1 of the rank.
    rows = np.repeat(np.arange(num_rows), [len(items) for items in hidden])
    rows, items = np.divmod(np.unique(rows * num_columns + _join(hidden)), num_columns)
    better -= np.bincount(rows[scores[rows, items] >= own[rows]], minlength=num_rows)
    is_hidden = np.bincount(rows[items == targets[rows]], minlength=num_rows) > 0
    return np.where(is_hidden, num_columns - 1, better)


def _histories(items: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> list[np.ndarray]:
    return [items[start:end] for start, end in zip(starts, ends, strict=True)]


def _join(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the arrays end to end as int64; none give an empty one."""
    return np.concatenate([np.zeros(0, np.int64), *arrays]).astype(np.int64)


def _transitions(split: Split) -> sparse.csr_array:
    """Returns float32 [num_items+1, num_items+1], how often a column followed a row in train."""
    log = split.interactions
    is_first = np.zeros(len(log.items) + 1, np.int8)
    # From each user's first event up to the last but one in train.
    np.add.at(is_first, log.offsets[:-1], 1)
    np.add.at(is_first, np.maximum(split.train_ends - 1, log.offsets[:-1]), -1)
    (places,) = np.nonzero(np.cumsum(is_first[:-1], dtype=np.int8))
    pairs = (log.items[places], log.items[places + 1])
    shape = (log.num_items + 1,) * 2
    return sparse.coo_array((np.ones(len(places), np.float32), pairs), shape).tocsr()


def _sums_of_rows(table: sparse.csr_array, histories: Sequence[np.ndarray]) -> np.ndarray:
    """Returns float32 [B, V], for each history the sum of its items' rows, added as float64."""
    offsets = np.cumsum([0, *map(len, histories)])
    ones = np.ones(offsets[-1])
    taken = sparse.csr_array((ones, _join(histories), offsets), (len(histories), table.shape[0]))
    return (taken @ table).toarray().astype(np.float32)


def _nearest(
    shared: sparse.csr_array, start: int, degrees: np.ndarray, num_neighbors: int
) -> sparse.csr_array:
    """Returns float32 rows of the largest cosines, equal ones in order of id.

    Args:
        shared: int32, the number of users that two items share, for the items from `start` on.
        start: Item of the first row.
        degrees: int [V], users of each item.
        num_neighbors: Cosines that a row keeps.
    """
    shared.sort_indices()
    rows = np.repeat(np.arange(shared.shape[0]), np.diff(shared.indptr))
    columns = shared.indices
    is_other = columns != rows + start
    rows, columns, counts = rows[is_other], columns[is_other], shared.data[is_other]
    cosines = counts / np.sqrt(degrees[rows + start].astype(np.float64) * degrees[columns])
    order = np.lexsort((-cosines, rows))  # stable
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
    kept = np.sort(order[rank < num_neighbors])
    values = cosines[kept].astype(np.float32)
    return sparse.csr_array((values, (rows[kept], columns[kept])), shared.shape)
