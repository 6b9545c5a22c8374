"""The numbers of a comparison: differences, intervals, tests and slices of finished runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.data.splits import Split
from ufnrec_tf.evaluation.future_lift import LiftSums, pooled_lift
from ufnrec_tf.evaluation.metrics import COMPARED, MAIN, ChosenMetrics
from ufnrec_tf.evaluation.statistics import (
    Difference,
    effect_size,
    holm,
    paired_difference,
)
from ufnrec_tf.evaluation.user_groups import Slice
from ufnrec_tf.evaluation.user_values import target_values, user_means
from ufnrec_tf.report.judgement import flips_before, judged
from ufnrec_tf.report.run_facts import validation_lines
from ufnrec_tf.runs.run_files import check_run_file, read_result
from ufnrec_tf.runs.workdir import LIFTS_FILE, RANKS_FILES


class FinishedRun(NamedTuple):
    """One arm trained with one seed.

    Attributes:
        path: The work directory of the run.
        result: The contents of its result.json.
        ranks: Part to int64 [M], the rank of each target.
        evaluations: The lines of metrics.jsonl that training wrote on validation.
        users: Part to int32 [M], ascending, the user of each target.
        lifts: Match to what each user adds to the future lift, users by raw id; empty for runs
            that flag nothing, and for those of older versions.
    """

    path: Path
    result: dict[str, Any]
    ranks: dict[str, np.ndarray]
    evaluations: list[dict[str, Any]]
    users: dict[str, np.ndarray]
    lifts: Mapping[str, LiftSums] = MappingProxyType({})


SLICE_CUTOFF = int(MAIN.partition("@")[2])
"""A target of a slice is hit if its rank is at most this."""

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
    for name in (*RANKS_FILES.values(), LIFTS_FILE):
        check_run_file(path, name)
    ranks = {part: _read_ranks(path / name, split, part) for part, name in RANKS_FILES.items()}
    # Student and teacher may both have been scored: the better stood for the run.
    better: dict[int, dict[str, Any]] = {}
    for line in validation_lines(path):
        before = better.get(line["step"])
        if before is None or line["ndcg@10"] > before["ndcg@10"]:
            better[line["step"]] = line
    users = {part: split.users(part) for part in RANKS_FILES}
    lifts = _read_lifts(path / LIFTS_FILE)
    return FinishedRun(path, result, ranks, list(better.values()), users, lifts)


def _read_lifts(path: Path) -> dict[str, LiftSums]:
    if not path.exists():
        return {}
    try:
        frame = pd.read_parquet(path)
        return {
            str(match): LiftSums(
                *(part["user" if key == "users" else key].to_numpy() for key in LiftSums._fields)
            )
            for match, part in frame.groupby("match", sort=False)
        }
    except (OSError, ValueError, KeyError) as error:
        raise _damaged(path, f"cannot be read ({own_words(error)})") from error


def _damaged(path: Path, what: str) -> UserError:
    """Returns the UserError for a file of a run that cannot be used."""
    return UserError(f"{path}: {what}. Remove {path.parent} to have this run trained again.")


def _read_ranks(path: Path, split: Split, part: str) -> np.ndarray:
    try:
        frame = pd.read_parquet(path)
        users, ranks = frame["user"].to_numpy(), frame["rank"].to_numpy(np.int64)
    except (OSError, ValueError, KeyError) as error:
        raise _damaged(path, f"cannot be read ({own_words(error)})") from error
    expected = split.interactions.user_ids[split.users(part)].astype(str)
    if len(users) != len(expected) or (users.astype(str) != expected).any():
        raise _damaged(path, "has other users than the data given now")
    return ranks


class Pairs(NamedTuple):
    """The values of users, from which intervals and tests are made.

    Attributes:
        reference: The arm that the others are compared with.
        values: (arm, seed) -> float64 [U, metrics], a row a user.
    """

    reference: str
    values: dict[tuple[str, int], np.ndarray]

    def seeds_of(self, arm: str) -> list[int]:
        """Returns the seeds that the arm and the reference both have."""
        return sorted(s for a, s in self.values if a == arm and (self.reference, s) in self.values)

    def table(self, arm: str, column: int, seeds: Sequence[int]) -> np.ndarray:
        """Returns an arm's values of one metric, float64 [U, S]."""
        return np.stack([self.values[arm, seed][:, column] for seed in seeds], axis=1)

    def difference(self, arm: str, column: int, seeds: Sequence[int] | None = None) -> Difference:
        """Returns the difference in one metric, over some of the common seeds or over all."""
        seeds = self.seeds_of(arm) if seeds is None else seeds
        return paired_difference(
            self.table(arm, column, seeds), self.table(self.reference, column, seeds)
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
    part: str = "test",
    targets: np.ndarray | None = None,
    chosen: ChosenMetrics | None = None,
) -> Pairs:
    """Returns the values of all runs.

    Args:
        runs: Finished runs.
        reference: The arm to compare with.
        metrics: Names of the metrics.
        part: The part of the split.
        targets: bool [M], the only targets to look at; users without any of them are left out.
        chosen: Where the metrics are defined; None for those of the library.
    """
    if not runs:
        return Pairs(reference, {})
    places = slice(None) if targets is None else targets
    values = {
        key: user_values(run.ranks[part][places], run.users[part][places], metrics, chosen)
        for key, run in runs.items()
    }
    return Pairs(reference, values)


def differences(
    pairs: Pairs, arms: Sequence[str], *, margin: float, metrics: Sequence[str] = COMPARED
) -> dict[str, Any]:
    """Returns arm -> metric -> difference, intervals, p-values, effect size and verdict.

    Arms that share no finished seed with the reference are left out.

    Args:
        pairs: The values of `metrics`.
        arms: Names of arms.
        margin: See `statistics.verdict`.
        metrics: Names of the metrics.
    """
    arms = [arm for arm in arms if arm != pairs.reference and pairs.seeds_of(arm)]
    found: dict[str, Any] = {arm: {} for arm in arms}
    for column, metric in enumerate(metrics):
        by_arm = {arm: pairs.difference(arm, column) for arm in arms}
        corrected = holm(np.array([difference.p for difference in by_arm.values()]))
        for (arm, difference), p_holm in zip(by_arm.items(), corrected, strict=True):
            seeds = pairs.seeds_of(arm)
            moved = pairs.table(arm, column, seeds) - pairs.table(pairs.reference, column, seeds)
            found[arm][metric] = judged(
                difference,
                float(p_holm),
                of_seeds=moved.mean(axis=0),
                effect_size=effect_size(moved.mean(axis=1)),
                seeds=seeds,
                num_users=len(moved),
                margin=margin,
            )
    return found


def flips_seen(run: FinishedRun) -> float:
    """Returns the flips of a run up to the epoch of the weights that it reports."""
    epoch = run.result["protocol"]["selected_epoch"]
    lines = [line for line in run.evaluations if line["epoch"] <= epoch and "flips" in line]
    if lines and lines[-1]["epoch"] == epoch:
        return float(lines[-1]["flips"])
    found = run.result["false_negatives"]
    return flips_before(found["gate_epoch"], epoch, found["flips"])


def pooled_lifts(runs: Sequence[FinishedRun], num_resamples: int) -> dict[str, Any] | None:
    """Returns match -> future lift over the flagged pairs of all runs; None where none has any.

    `all_hits` are the hits of all flagged pairs, of which only some have controls that match.
    """
    known = [run for run in runs if run.lifts]
    if not known:
        return None
    # User ids are texts here: numbers for them, the same in every run.
    ids = np.unique(np.concatenate([s.users for run in known for s in run.lifts.values()]))
    return {
        match: {
            **pooled_lift(
                [
                    run.lifts[match]._replace(users=np.searchsorted(ids, run.lifts[match].users))
                    for run in known
                    if match in run.lifts
                ],
                num_resamples=num_resamples,
            ),
            "runs": len(known),
            "flagged": sum(run.result["false_negatives"]["future"]["num_flagged"] for run in known),
            "all_hits": sum(run.result["false_negatives"]["future"]["hits"] for run in known),
        }
        for match in dict.fromkeys(name for run in known for name in run.lifts)
    }


def slice_numbers(
    runs: Runs, slices: Sequence[Slice], arms: Sequence[str], reference: str
) -> list[dict[str, Any]]:
    """Returns, for each slice, each arm's mean of `MAIN` and its difference to the reference.

    The mean is over users, of each user's mean over the targets that are in the slice. `hits` are
    the targets of the slice that a run ranks among the first ten, fewest of the runs compared.
    """
    found = []
    for part in slices:
        pairs = make_pairs(runs, reference, metrics=(MAIN,), targets=part.is_member)
        hits = {
            key: int((run.ranks["test"][part.is_member] <= SLICE_CUTOFF).sum())
            for key, run in runs.items()
        }
        rows: dict[str, Any] = {}
        for arm in arms:
            values = [value.mean() for (name, _), value in pairs.values.items() if name == arm]
            has_pair = arm != reference and pairs.seeds_of(arm)
            difference = pairs.difference(arm, 0) if has_pair else None
            counted = [count for (name, _), count in hits.items() if name in (arm, reference)]
            rows[arm] = {
                "mean": float(np.mean(values)) if values else None,
                "absolute": difference.absolute._asdict() if difference else None,
                "relative": difference.relative._asdict() if difference else None,
                "hits": min(counted) if values else None,
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
    chosen: ChosenMetrics | None = None,
) -> bool:
    """True if the arm's interval on validation lies below the reference by more than `margin`.

    Args:
        runs: Finished runs with the seeds to judge by.
        arm: The arm.
        reference: The arm to compare with.
        metric: Name of the metric.
        margin: Relative, 0.05 for 5%.
        chosen: Where the metric is defined; None for those of the library.
    """
    own = {key: run for key, run in runs.items() if key[0] in (arm, reference)}
    pairs = make_pairs(own, reference, metrics=(metric,), part="validation", chosen=chosen)
    if arm == reference or not pairs.seeds_of(arm):
        return False
    return pairs.difference(arm, 0).relative.high < -margin
