"""The scores of a run, its arms and simple baselines: means with intervals over users."""

from typing import NamedTuple

import numpy as np

from ufnrec_tf.evaluation.metrics import COMPARED, MAIN, choose_metrics
from ufnrec_tf.evaluation.statistics import (
    Interval,
    mean_intervals,
    paired_difference,
    resampled_user_means,
)
from ufnrec_tf.evaluation.user_values import first_targets, target_values, user_means
from ufnrec_tf.report.run_facts import RunFacts

NUM_RESAMPLES = 2000
_SEED = 0
_OF_MAIN = COMPARED.index(MAIN)


class ScoreRow(NamedTuple):
    """One row of the final table.

    Attributes:
        label: Name of the run, arm or baseline.
        metrics: Each of the compared metrics to its mean on test with its interval over users;
            the ends are NaN where the users' ranks are not known.
        lead: How much more of `MAIN` the run has than this row, relative, paired over users;
            None for the run itself and if it is not known.
        is_run: True for the run itself.
    """

    label: str
    metrics: dict[str, Interval]
    lead: Interval | None
    is_run: bool


class SliceRow(NamedTuple):
    """One group of users.

    Attributes:
        family: The quantity that the users were grouped by.
        label: Range of that quantity in this group.
        num_users: Number of different users in it.
        means: Label of the row to its mean of `MAIN` with its interval.
    """

    family: str
    label: str
    num_users: int
    means: dict[str, Interval]


class Numbers(NamedTuple):
    """The scores of a run on test.

    Attributes:
        rows: Baselines, arms, the run itself last; empty before the run has finished.
        slices: Groups of users, for the rows whose users' ranks are known.
        num_users: Number of users that the intervals are over; 0 without intervals.
        metrics: The names of the compared metrics; those of `COMPARED` are the first.
    """

    rows: list[ScoreRow]
    slices: list[SliceRow]
    num_users: int
    metrics: tuple[str, ...] = COMPARED


def score(facts: RunFacts) -> Numbers:
    """Returns the scores on test of a run and of those beside it.

    Raises:
        UserError: If a metric of the user's own cannot be loaded.
    """
    if facts.own.result is None:
        return Numbers([], [], 0)
    ranks = _ranks_by_label(facts)
    users = _users(facts) if ranks else np.zeros(0, object)
    names = tuple(facts.own.result.get("compared", COMPARED))
    settings = facts.config.evaluation
    chosen = choose_metrics(settings.metrics, settings.cutoffs) if names != COMPARED else None
    per_target = {label: target_values(row, names, chosen) for label, row in ranks.items()}
    values = {label: user_means(row, users) for label, row in per_target.items()}
    num_users = len(first_targets(users))
    reported = {row["label"]: row for row in facts.own.result["table"]}
    labels = list(dict.fromkeys([*(x for x in reported if x != facts.own.label), *ranks]))
    labels = [*(label for label in labels if label != facts.own.label), facts.own.label]
    intervals, leads = _intervals(values, names, facts.own.label)
    rows = []
    for label in labels:
        found = intervals.get(label, {})
        if label in reported:  # the run's own means stay; the ends are new
            found = {
                name: found.get(name, UNKNOWN)._replace(estimate=reported[label].get(name, np.nan))
                for name in names
            }
        rows.append(ScoreRow(label, found, leads.get(label), label == facts.own.label))
    return Numbers(rows, _slices(facts, per_target), num_users, names)


UNKNOWN = Interval(np.nan, np.nan, np.nan)


def _users(facts: RunFacts) -> np.ndarray:
    """Returns the user of each target that the run has ranked, object(str) [M]."""
    ranks = facts.own.ranks
    return np.asarray([] if ranks is None else ranks.index.get_level_values(0), object)


def _ranks_by_label(facts: RunFacts) -> dict[str, np.ndarray]:
    """Returns label -> int64 [M], the ranks of the same targets, where they are known."""
    if facts.own.ranks is None or not len(facts.own.ranks):
        return {}
    targets = facts.own.ranks.index
    ranks: dict[str, np.ndarray] = {}
    if facts.data is not None:
        places = facts.data.targets.get_indexer(targets)
        if (places >= 0).all():
            ranks |= {label: row[places] for label, row in facts.data.baselines.items()}
    for arm in facts.arms:
        if arm.ranks is not None and arm.ranks.index.equals(targets):
            ranks[arm.label] = arm.ranks.to_numpy()
    return ranks


def _intervals(
    values: dict[str, np.ndarray], names: tuple[str, ...], own: str
) -> tuple[dict[str, dict[str, Interval]], dict[str, Interval]]:
    """Returns each row's metrics and the lead of the run over it, all over the same users."""
    if not values:
        return {}, {}
    labels, width = list(values), len(names)
    joined = np.concatenate([values[label] for label in labels], axis=1)
    means = resampled_user_means(joined, num_resamples=NUM_RESAMPLES, seed=_SEED)
    flat = mean_intervals(joined, means)
    found = {
        label: dict(zip(names, flat[place * width : (place + 1) * width], strict=True))
        for place, label in enumerate(labels)
    }
    column = {label: place * width + _OF_MAIN for place, label in enumerate(labels)}
    leads = {
        label: paired_difference(joined[:, [column[own]]], joined[:, [column[label]]]).relative
        for label in labels
        if label != own
    }
    return found, leads


def _slices(facts: RunFacts, values: dict[str, np.ndarray]) -> list[SliceRow]:
    if facts.data is None or facts.own.ranks is None or not values:
        return []
    places, users = facts.data.targets.get_indexer(facts.own.ranks.index), _users(facts)
    if (places < 0).any():
        return []
    rows = []
    for part in facts.data.slices:
        is_member = part.is_member[places]
        if not is_member.any():
            continue
        of_targets = [column[is_member, _OF_MAIN] for column in values.values()]
        own = user_means(np.stack(of_targets, axis=1), users[is_member])
        means = resampled_user_means(own, num_resamples=NUM_RESAMPLES, seed=_SEED)
        intervals = dict(zip(values, mean_intervals(own, means), strict=True))
        rows.append(SliceRow(part.family, part.label, len(own), intervals))
    return rows
