"""The numbers of a comparison: differences, intervals, tests and slices of finished runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.data.splits import Split
from ufnrec_tf.evaluation.metrics import COMPARED, MAIN, ChosenMetrics
from ufnrec_tf.evaluation.statistics import (
    Difference,
    effect_size,
    holm,
    paired_difference,
    resampled_user_means,
    sign_flip_p_values,
    verdict,
)
from ufnrec_tf.evaluation.user_groups import Slice
from ufnrec_tf.report.run_facts import validation_lines
from ufnrec_tf.report.run_numbers import target_values, user_means
from ufnrec_tf.runs.run_files import check_run_file, read_result
from ufnrec_tf.runs.workdir import RANKS_FILES


class FinishedRun(NamedTuple):
    """One arm trained with one seed.

    Attributes:
        path: The work directory of the run.
        result: The contents of its result.json.
        ranks: Part to int64 [M], the rank of each target.
        evaluations: The lines of metrics.jsonl that training wrote on validation.
        users: Part to int32 [M], ascending, the user of each target.
    """

    path: Path
    result: dict[str, Any]
    ranks: dict[str, np.ndarray]
    evaluations: list[dict[str, Any]]
    users: dict[str, np.ndarray]


Runs = dict[tuple[str, int], FinishedRun]
"""(arm, seed) -> its run, for those that are finished."""


def read_run(path: Path, split: Split) -> FinishedRun:
    """Returns a finished run.

    Args:
        path: The work directory of the run.
        split: The comparison's split; the run's users must be its evaluated users.

    Raises:
        UserError: If a file is missing, damaged or about other users.
    """
    result = read_result(path)
    for name in RANKS_FILES.values():
        check_run_file(path, name)
    ranks = {part: _read_ranks(path / name, split, part) for part, name in RANKS_FILES.items()}
    # Student and teacher may both have been scored: the better stood for the run.
    better: dict[int, dict[str, Any]] = {}
    for line in validation_lines(path):
        before = better.get(line["step"])
        if before is None or line["ndcg@10"] > before["ndcg@10"]:
            better[line["step"]] = line
    users = {part: split.users(part) for part in RANKS_FILES}
    return FinishedRun(path, result, ranks, list(better.values()), users)


def _read_ranks(path: Path, split: Split, part: str) -> np.ndarray:
    again = f"Remove {path.parent} to have this run trained again."
    try:
        frame = pd.read_parquet(path)
        users, ranks = frame["user"].to_numpy(), frame["rank"].to_numpy(np.int64)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: cannot be read ({own_words(error)}). {again}") from error
    expected = split.interactions.user_ids[split.users(part)].astype(str)
    if len(users) != len(expected) or (users.astype(str) != expected).any():
        raise UserError(f"{path}: has other users than the data given now. {again}")
    return ranks


class Pairs(NamedTuple):
    """The values of users, original and resampled, from which intervals and tests are made.

    Attributes:
        reference: The arm that the others are compared with.
        values: (arm, seed) -> float64 [U, metrics], a row a user.
        means: (arm, seed) -> float64 [R, metrics], over resampled users.
    """

    reference: str
    values: dict[tuple[str, int], np.ndarray]
    means: dict[tuple[str, int], np.ndarray]

    def seeds_of(self, arm: str) -> list[int]:
        """Returns the seeds that the arm and the reference both have."""
        return sorted(s for a, s in self.values if a == arm and (self.reference, s) in self.values)

    def user_differences(self, arm: str) -> np.ndarray:
        """Returns arm minus reference, averaged over their seeds, float64 [U, metrics]."""
        seeds = self.seeds_of(arm)
        return sum(
            self.values[arm, s] - self.values[self.reference, s] for s in seeds
        ) / np.float64(len(seeds))

    def difference(self, arm: str, column: int) -> Difference:
        """Returns the difference in one metric with its intervals."""
        seeds = self.seeds_of(arm)
        values, means = (
            {
                name: np.stack([table[name, s][..., column] for s in seeds], axis=-1)
                for name in (arm, self.reference)
            }
            for table in (self.values, self.means)
        )
        return paired_difference(
            values[arm].mean(axis=0),
            values[self.reference].mean(axis=0),
            arm_means=means[arm],
            reference_means=means[self.reference],
            seed=0,
        )


def user_values(
    ranks: np.ndarray,
    users: np.ndarray,
    metrics: Sequence[str],
    chosen: ChosenMetrics | None = None,
) -> np.ndarray:
    """Returns each user's mean of each metric over the user's targets, float64 [U, metrics].

    Args:
        ranks: int64 [M].
        users: int32 [M], ascending, the user of each.
        metrics: Their names.
        chosen: Where they are defined; None for those of the library.
    """
    return user_means(target_values(ranks, metrics, chosen), users)


def make_pairs(
    runs: Runs,
    reference: str,
    *,
    metrics: Sequence[str],
    num_resamples: int,
    part: str = "test",
    targets: np.ndarray | None = None,
    chosen: ChosenMetrics | None = None,
) -> Pairs:
    """Returns the values of all runs, and their means over the same resampled users.

    Args:
        runs: Finished runs.
        reference: The arm to compare with.
        metrics: Names of the metrics.
        num_resamples: R.
        part: The part of the split.
        targets: bool [M], the only targets to look at; users without any of them are left out.
        chosen: Where the metrics are defined; None for those of the library.
    """
    if not runs:
        return Pairs(reference, {}, {})
    places = slice(None) if targets is None else targets
    values = {
        key: user_values(run.ranks[part][places], run.users[part][places], metrics, chosen)
        for key, run in runs.items()
    }
    means = resampled_user_means(
        np.concatenate(list(values.values()), axis=1), num_resamples=num_resamples, seed=0
    )
    parts = np.split(means, len(values), axis=1)
    return Pairs(reference, values, dict(zip(values, parts, strict=True)))


def differences(
    pairs: Pairs, arms: Sequence[str], num_resamples: int, metrics: Sequence[str] = COMPARED
) -> dict[str, Any]:
    """Returns arm -> metric -> difference, intervals, p-values, effect size and verdict.

    Arms that share no finished seed with the reference are left out.
    """
    arms = [arm for arm in arms if arm != pairs.reference and pairs.seeds_of(arm)]
    if not arms:
        return {}
    by_user = np.stack([pairs.user_differences(arm) for arm in arms], axis=1)  # [U, arms, metrics]
    flat = by_user.reshape(len(by_user), -1)
    p_values = sign_flip_p_values(flat, num_resamples=num_resamples, seed=0)
    p_values = p_values.reshape(len(arms), -1)
    corrected = np.stack([holm(column) for column in p_values.T], axis=1)
    found: dict[str, Any] = {}
    for row, arm in enumerate(arms):
        found[arm] = {}
        for column, metric in enumerate(metrics):
            difference = pairs.difference(arm, column)
            found[arm][metric] = {
                "absolute": difference.absolute._asdict(),
                "relative": difference.relative._asdict(),
                "p": float(p_values[row, column]),
                "p_holm": float(corrected[row, column]),
                "effect_size": effect_size(by_user[:, row, column]),
                "verdict": verdict(difference, float(corrected[row, column])),
                "seeds": pairs.seeds_of(arm),
                "users": len(by_user),
            }
    return found


def slice_numbers(
    runs: Runs, slices: Sequence[Slice], arms: Sequence[str], reference: str, num_resamples: int
) -> list[dict[str, Any]]:
    """Returns, for each slice, each arm's mean of `MAIN` and its difference to the reference.

    The mean is over users, of each user's mean over the targets that are in the slice.
    """
    found = []
    for part in slices:
        pairs = make_pairs(
            runs, reference, metrics=(MAIN,), num_resamples=num_resamples, targets=part.is_member
        )
        rows: dict[str, Any] = {}
        for arm in arms:
            values = [value.mean() for (name, _), value in pairs.values.items() if name == arm]
            has_pair = arm != reference and pairs.seeds_of(arm)
            difference = pairs.difference(arm, 0) if has_pair else None
            rows[arm] = {
                "mean": float(np.mean(values)) if values else None,
                "absolute": difference.absolute._asdict() if difference else None,
                "relative": difference.relative._asdict() if difference else None,
            }
        found.append(
            {
                "family": part.family,
                "label": part.label,
                "users": part.num_users,
                "metric": MAIN,
                "arms": rows,
            }
        )
    return found


def is_hopeless(
    runs: Runs,
    arm: str,
    reference: str,
    *,
    metric: str,
    margin: float,
    num_resamples: int,
    chosen: ChosenMetrics | None = None,
) -> bool:
    """True if the arm's interval on validation lies below the reference by more than `margin`.

    Args:
        runs: Finished runs with the seeds to judge by.
        arm: The arm.
        reference: The arm to compare with.
        metric: Name of the metric.
        margin: Relative, 0.05 for 5%.
        num_resamples: R.
        chosen: Where the metric is defined; None for those of the library.
    """
    own = {key: run for key, run in runs.items() if key[0] in (arm, reference)}
    pairs = make_pairs(
        own,
        reference,
        metrics=(metric,),
        num_resamples=num_resamples,
        part="validation",
        chosen=chosen,
    )
    if arm == reference or not pairs.seeds_of(arm):
        return False
    return pairs.difference(arm, 0).relative.high < -margin
