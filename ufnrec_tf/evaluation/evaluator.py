"""The evaluator of a backbone: its held-out targets ranked in the full catalogue."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ufnrec_tf.common.tensors import EMPTY_SCORE, PAD
from ufnrec_tf.data.item_sets import contains, distinct_items, draw_outside
from ufnrec_tf.data.splits import EVALUATION_PARTS, Split
from ufnrec_tf.evaluation.metrics import ChosenMetrics, metrics_from_ranks
from ufnrec_tf.evaluation.protocol import check_mask, masked_ends, masked_text
from ufnrec_tf.evaluation.ranking import CatalogueRanker

_MAX_CHUNK_SCORES = 1 << 27
"""Scores held at once (512 MB): chunks shrink where batch_size x items would pass it."""


class NotFiniteError(FloatingPointError):
    """A backbone gave NaN scores, or an infinite score of a target, so that ranks are undefined."""


class EvaluationResult(NamedTuple):
    """The metrics and ranks of one evaluation of one backbone.

    Attributes:
        metrics: Name to mean over targets, the same number for each evaluated user; names of the
            sampled metrics end in `_uni<N>`.
        ranks: int64 [M], full-catalogue rank of each target.
        num_users: Different users evaluated.
        cpu_seconds: CPU time of all threads of this process, and of the other workers'; a
            backbone's first evaluation includes tracing.
    """

    metrics: dict[str, float]
    ranks: np.ndarray
    num_users: int
    cpu_seconds: float


def _unchanged(values: np.ndarray) -> np.ndarray:
    return values


class Share(NamedTuple):
    """The users that one worker evaluates; by default all.

    Attributes:
        is_own: bool [U], True for its users, each user one worker's; None for all.
        add_up: Sums an array over workers; all of them call it together.
    """

    is_own: np.ndarray | None = None
    add_up: Callable[[np.ndarray], np.ndarray] = _unchanged

    def places(self, users: np.ndarray) -> np.ndarray:
        """Returns the places of the worker's own users in int32 [M] `users`, int64, ascending.

        A user with several targets has a place for each; all of them are one worker's.

        Raises:
            ValueError: If a user is no worker's, or more than one worker's.
        """
        if self.is_own is None:
            return np.arange(len(users))
        own = np.flatnonzero(self.is_own[users])
        if (self.add_up(np.bincount(own, minlength=len(users))) != 1).any():
            raise ValueError("`is_own` must give each user to exactly one worker.")
        return own

    def whole(self, values: np.ndarray, own: np.ndarray, num_rows: int) -> np.ndarray:
        """Returns the values of all rows, [M, ...], from this worker's, [len(own), ...].

        Args:
            values: Numbers or bools, of rows `own` in this order.
            own: int64, see `places`.
            num_rows: M.
        """
        if self.is_own is None:
            return values
        whole = np.zeros((num_rows, *values.shape[1:]), values.dtype)
        whole[own] = values
        return self.add_up(whole)


class RankingEvaluator:
    """Ranks each target, a row with its user's history before it, among all items.

    rank = 1 + number of other candidates that score at least as high as the target: ties count
    against it. Candidates are items 1..num_items, also those that occur only in held-out events;
    padding is never one.

    The arrays are prepared once, in the constructor. Scoring is traced once for each backbone,
    which is kept, and reads its current weights at each call. Windows have `max_length` columns
    however short the history, because a backbone may read its padding.

    With a `share` each worker ranks its own users, and all workers get the results of all users:
    they call it together.

    Attributes:
        users: int32 [M], internal id of each target's user, ascending; the order of all rows.
        targets: int32 [M].
        negatives: int32 [M, sampled_negatives]; where no item is left, the target throughout,
            which gives the worst sampled rank.
        num_masked_targets: Targets that the mask hides; their rank is the worst, num_items.
        num_heldout_only_targets: Targets whose item is in no train event.
    """

    def __init__(
        self,
        split: Split,
        part: str = "validation",
        *,
        max_length: int,
        mask: str = "seen",
        batch_size: int = 256,
        sampled_negatives: int = 0,
        seed: int = 0,
        share: Share | None = None,
        metrics: ChosenMetrics | None = None,
        knows_request_time: bool = False,
    ) -> None:
        """Prepares the arrays.

        Args:
            split: The split whose targets are ranked.
            part: "validation" or "test".
            max_length: L, the newest items of the history that the backbone reads.
            mask: Items that are no candidates, one of `MASKS`.
            batch_size: Rows scored at once; fewer where their scores would pass 512 MB.
            sampled_negatives: Uniform negatives a target for the sampled metric, 100 in the
                authors' code; 0 leaves the metric out. Each is held in 4 bytes.
            seed: Seed of the sampled negatives.
            share: The users that are ranked here; None for all.
            metrics: The metrics of `evaluate`; None for the default ones.
            knows_request_time: True if the backbone reads the targets' times; only the protocol
                depends on it.

        Raises:
            ValueError: For an unknown part or mask, a number out of range, or a split without
                evaluated users.
        """
        if part not in EVALUATION_PARTS:
            raise ValueError(f"`part` must be one of {EVALUATION_PARTS}. Received: {part!r}.")
        check_mask(mask)
        for name, value, least in (
            ("max_length", max_length, 1),
            ("batch_size", batch_size, 1),
            ("sampled_negatives", sampled_negatives, 0),
        ):
            _check_at_least(name, value, least)
        if not len(split.users(part)):
            raise ValueError("`split` must have evaluated users. Received: none.")
        self.part, self.mask, self.max_length = part, mask, max_length
        self.sampled_negatives, self._metrics = sampled_negatives, metrics
        self.users, self.targets = split.users(part), split.targets(part)
        self._split, self._num_items = split, split.interactions.num_items
        self._share = share or Share()
        self._own = self._share.places(self.users)
        self._knows_request_time = knows_request_time
        largest = max(1, _MAX_CHUNK_SCORES // self._num_items)
        self._batch_size = min(batch_size, len(self.users), largest)
        self._prepare(seed)

    def ranks(self, backbone: Any) -> np.ndarray:
        """Returns int64 [M], the full-catalogue rank of each target, 1 is best.

        Args:
            backbone: A `Backbone`: `encode(histories, training)` and `item_embeddings()`.

        Raises:
            NotFiniteError: If a score is NaN, or a target's is infinite.
        """
        return self.ranks_and_sampled(backbone)[0]

    def sampled_ranks(self, backbone: Any) -> np.ndarray:
        """Returns int64 [M], the rank of each target among its `sampled_negatives`.

        The negatives are uniform, with replacement, over the items outside the user's history
        and other than the target. They are drawn once, from the seed. Ties count against the
        target.

        Differs from the authors' code: theirs may draw the target itself and, at test, the
        validation item, which the input holds.

        Args:
            backbone: See `ranks`.

        Raises:
            ValueError: If the evaluator was made without `sampled_negatives`.
            NotFiniteError: See `ranks`.
        """
        _check_at_least("sampled_negatives", self.sampled_negatives, 1)
        return self.ranks_and_sampled(backbone)[1]

    def ranks_and_sampled(self, backbone: Any) -> tuple[np.ndarray, np.ndarray]:
        """Returns `ranks` and `sampled_ranks` of one pass; the second is 1 without negatives.

        Args:
            backbone: See `ranks`.

        Raises:
            NotFiniteError: See `ranks`.
        """
        better, sampled_better, is_bad = self._of_all(self._ranker.count(backbone))
        self._check_finite(is_bad.astype(bool))
        ranks = np.where(self._is_masked_target, self._num_items, 1 + better.astype(np.int64))
        return ranks, 1 + sampled_better.astype(np.int64)

    def top_k(self, backbone: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the `k` best candidates of each row, best first.

        Args:
            backbone: See `ranks`.
            k: Length of a list. Where fewer candidates are left, the rest is item 0 with
                score -1e30.

        Returns:
            items int32 [M, k] and scores float32 [M, k]; of equal scores the lower id first.

        Raises:
            ValueError: If `k` is not positive.
            NotFiniteError: See `ranks`.
        """
        _check_at_least("k", k, 1)
        found = self._ranker.top_k(backbone, min(k, self._num_items))
        items, scores, is_bad = self._of_all(found)
        self._check_finite(is_bad.astype(bool))
        missing = ((0, 0), (0, k - items.shape[1]))
        empty = np.float32(EMPTY_SCORE)
        return (
            np.pad(items.astype(np.int32), missing, constant_values=PAD),
            np.pad(scores.astype(np.float32), missing, constant_values=empty),
        )

    def evaluate(self, backbone: Any) -> EvaluationResult:
        """Returns the metrics of `backbone` with its current weights.

        Args:
            backbone: See `ranks`.

        Raises:
            NotFiniteError: See `ranks`.
        """
        started = time.process_time()
        ranks, sampled = self.ranks_and_sampled(backbone)
        metrics = metrics_from_ranks(ranks, chosen=self._metrics)
        if self.sampled_negatives:
            suffix = f"_uni{self.sampled_negatives}"
            metrics |= metrics_from_ranks(sampled, suffix=suffix, chosen=self._metrics)
        seconds = self._share.add_up(np.array(time.process_time() - started))
        num_users = len(self._split.evaluated_users(self.part))
        return EvaluationResult(metrics, ranks, num_users, float(seconds))

    def protocol(self) -> dict[str, Any]:
        """Returns the settings on which the numbers depend: plain values, fit for JSON."""
        return {
            "split": self._split.name,
            "part": self.part,
            "targets": self._split.num_targets,
            "candidates": self._num_items,
            "masked": masked_text(self._split, self.part, self.mask),
            "ties": "against the target",
            "heldout_only_items": len(self._split.heldout_only_items),
            "masked_targets": self.num_masked_targets,
            "heldout_only_targets": self.num_heldout_only_targets,
            **self._split.newcomers(self.part),
            **({"request_time": "known"} if self._knows_request_time else {}),
        }

    def _of_all(self, values: tuple[np.ndarray, ...]) -> list[np.ndarray]:
        """Returns arrays [M, ...] of all rows, from those of the users that are ranked here."""
        return [self._share.whole(value, self._own, len(self.users)) for value in values]

    def _prepare(self, seed: int) -> None:
        """Makes the arrays and tensors that all evaluations share."""
        data, num_items = self._split.interactions, self._num_items
        starts = data.offsets[:-1][self.users]
        ends = self._split.history_ends(self.part)
        mask_ends = masked_ends(self._split, self.part, self.mask)
        self._is_masked_target = contains(data.items, starts, mask_ends, self.targets)
        self.num_masked_targets = int(self._is_masked_target.sum())
        is_heldout_only = np.isin(self.targets, self._split.heldout_only_items)
        self.num_heldout_only_targets = int(is_heldout_only.sum())
        self.negatives = self._draw_negatives(starts, ends, seed)

        own = self._own
        self._ranker = CatalogueRanker(
            data.items,
            starts[own],
            ends[own],
            targets=self.targets[own],
            mask_ends=mask_ends[own],
            is_first=data.is_first_with_item,
            sampled=self.negatives[own],
            num_items=num_items,
            max_length=self.max_length,
            batch_size=self._batch_size,
            times=data.whole_seconds,
        )

    def _draw_negatives(self, starts: np.ndarray, ends: np.ndarray, seed: int) -> np.ndarray:
        """Returns int32 [M, sampled_negatives]; see `sampled_ranks`."""
        num_items = self._num_items
        if not self.sampled_negatives:
            return np.zeros((len(starts), 0), np.int32)
        excluded = distinct_items(
            self._split.interactions.items, starts, ends, num_items=num_items, extra=self.targets
        )
        # The part is in the seed, so that validation and test do not share their draws.
        generator = np.random.default_rng([seed, EVALUATION_PARTS.index(self.part)])
        return draw_outside(
            excluded,
            self.sampled_negatives,
            generator,
            num_items=num_items,
            fallback=self.targets,
        )

    def _check_finite(self, is_bad: np.ndarray) -> None:
        """Raises NotFiniteError if a row, True in bool [M], has scores that are not finite."""
        if is_bad.any():
            raise NotFiniteError(
                f"The scores of {is_bad.sum()} of {len(is_bad)} histories are NaN or infinite, so "
                f"that their {self.part} targets have no rank: the weights have diverged. Lower "
                "optimizer.learning_rate, or clip the gradients."
            )


def _check_at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"`{name}` must be at least {least}. Received: {value}.")
