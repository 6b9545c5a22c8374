"""The judgement of a difference: verdict and words, of a comparison now or of an older file."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ufnrec_tf.config import current_value
from ufnrec_tf.evaluation.metrics import COMPARED, MAIN
from ufnrec_tf.evaluation.statistics import (
    BETTER,
    LEAST_SEEDS,
    LEVEL,
    NO_DIFFERENCE,
    NOT_A_FINDING,
    UNDECIDED,
    WORSE,
    CrossedMean,
    Difference,
    Interval,
    half_widths,
    holm,
    p_values,
    verdict,
)
from ufnrec_tf.method.policies import POLICIES
from ufnrec_tf.report.wording import p_value

FORMAT_VERSION = 2
"""Of comparison.json. Version 1 had intervals and p-values of two different analyses."""

MARGIN = 0.01
"""The margin of files that have none."""

METHOD = {
    "users": "paired by user: the arm's value of each test user, a mean where the user has several "
    "targets, minus the reference's",
    "seeds": "paired by seed: initial weights, batches and drawn negatives come from it",
    "interval": "95%, users and seeds crossed: the variance is A + B - C of users, seeds and "
    "user x seed, at least A, with Student's t; with one seed of users only",
    "test": "two-sided, from the variance and the degrees of freedom of the interval",
    "correction": "Holm over the arms, for each metric by itself",
    "effect_size": "Cohen's d_z of the users' differences averaged over seeds",
    "verdict": f"better or worse where Holm's p is below {LEVEL}, no difference where the interval "
    f"lies within the margin, else undecided; none below {LEAST_SEEDS} seeds",
}

EXPLANATION = (
    "The interval is of one arm by itself and Holm's p of all arms together, so an interval above "
    "0 beside a p above .05 would count for this arm alone, but may be luck among so many arms."
)

OLDER_NOTE = (
    "These numbers are of an older version and were judged again from the file: the variance is "
    "A + B, since the file lacks the part C that both hold, so an interval may be too wide and "
    "never is too narrow. The same --mode=compare command judges by the runs themselves."
)

_FEW = {1: "one seed", 2: "two seeds"}


def judged(
    difference: Difference,
    p_holm: float,
    *,
    of_seeds: np.ndarray,
    effect_size: float | None,
    seeds: Sequence[int],
    num_users: int,
    margin: float,
) -> dict[str, Any]:
    """Returns the difference of an arm in one metric as comparison.json has it.

    Args:
        difference: The difference with its intervals and p-value.
        p_holm: The p-value corrected for the number of arms.
        of_seeds: float [S], the mean difference of each seed.
        effect_size: Cohen's d_z.
        seeds: Their seeds.
        num_users: U.
        margin: See `statistics.verdict`.
    """
    estimate = difference.absolute.estimate
    found = {
        "absolute": difference.absolute._asdict(),
        "relative": difference.relative._asdict(),
        "p": difference.p,
        "p_holm": p_holm,
        "effect_size": effect_size,
        "verdict": verdict(difference, p_holm, num_seeds=len(seeds), margin=margin),
        "seeds": list(seeds),
        "users": num_users,
        "interval_over": "users only" if len(seeds) == 1 else "users and seeds",
        "seed_differences": [float(value) for value in of_seeds],
        "seed_sd": float(np.std(of_seeds, ddof=1)) if len(seeds) > 1 else None,
        "same_sign": int((np.sign(of_seeds) == np.sign(estimate)).sum()) if estimate else 0,
        "margin": margin,
    }
    return {**found, "words": words(found)}


def words(found: dict[str, Any]) -> str:
    """Returns the verdict on a difference in words, with its relative size and interval."""
    kind, relative = found["verdict"], found["relative"]
    size, interval = _size(relative), _ends(relative)
    num_seeds, same = len(found["seeds"]), found["same_sign"]
    signs = f", same sign in {same} of {num_seeds} seeds"
    if kind == NOT_A_FINDING:
        text = f"{_FEW[num_seeds]}: not a finding; {size} ({interval}"
        return text + (", users only)" if num_seeds == 1 else f"){signs}")
    if kind in (BETTER, WORSE):
        return f"{kind} by {size.lstrip('+-')} ({interval})"
    if kind == NO_DIFFERENCE:
        return f"no difference above {found['margin']:.1%} ({interval})"
    text = f"{UNDECIDED}: {size} ({interval}){signs}"
    low, high = relative["low"], relative["high"]
    if _is_known(low) and _is_known(high) and (low > 0 or high < 0):
        corrected = p_value(found["p_holm"])
        text += f"; that interval is of this arm by itself, among all arms p is {corrected} (Holm)"
    return text


def _size(relative: dict[str, float | None]) -> str:
    value = relative["estimate"]
    return "unknown, the reference is 0" if not _is_known(value) else f"{value:+.1%}"


def _ends(relative: dict[str, float | None]) -> str:
    low, high = relative["low"], relative["high"]
    if not (_is_known(low) and _is_known(high)):
        return "no interval"
    return f"{low:+.1%} to {high:+.1%}"


def _is_known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def headline(rows: Sequence[dict[str, Any]], reference: str) -> str:
    """Returns the findings on `MAIN` in words."""
    others = [row for row in rows if row["name"] != reference]
    parts = [f"{r['name']}: {r['difference'][MAIN]['words']}" for r in others if r["difference"]]
    missing = [row["name"] for row in others if not row["difference"]]
    if missing:
        parts.append(f"Not compared yet: {', '.join(missing)}")
    return f"{MAIN.upper()} against {reference}. {'. '.join(parts)}."


def headlines(summary: dict[str, Any]) -> list[str]:
    """Returns the findings of a comparison: against the strongest baseline, if any, and of arms."""
    return [*filter(None, [summary.get("baseline_verdict")]), summary["verdict"]]


def course_lines(summary: dict[str, Any]) -> list[str]:
    """Returns sentences on arms whose validation was still rising, or whose method never acted."""
    lines = []
    for row in summary["arms"]:
        rising, idle = (
            [run["seed"] for run in row["runs"] if run.get(key)]
            for key in ("is_rising", "is_inactive")
        )
        of = len(row["runs"])
        if rising:
            lines.append(
                f"{row['name']}: validation was still rising at the end of {len(rising)} of {of} "
                "runs: train longer."
            )
        if idle:
            backbone, _, method = row["label"].rpartition("+")
            lines.append(
                f"{row['name']}: {method} never became active in {len(idle)} of {of} runs, which "
                f"are plain {backbone}."
            )
    return lines


# Flips that the reported weights have seen.


def flips_before(gate_epoch: int | None, selected_epoch: int, flips: float) -> float:
    """Returns the flips before an epoch as far as the gate tells: none, or up to all."""
    return float(flips) if gate_epoch is not None and selected_epoch > gate_epoch else 0.0


def has_flips(overrides: dict[str, Any], config: dict[str, Any]) -> bool:
    """True if the policy of an arm changes labels."""
    policy = POLICIES.get(_policy(overrides, config))
    return policy is not None and (policy.flips or policy.is_safe)


def flips_words(seen: dict[str, Any]) -> str:
    """Returns in words how many seeds report weights that saw a flip, and the effect of those."""
    count, of = len(seen["seeds"]), len(seen["of"])
    text = f"reported weights saw flips: {count} of {of} seeds"
    if not seen["difference"]:
        return text
    return f"{text}; among those {seen['difference'][MAIN]['words']}"


# Older files.


def current(summary: dict[str, Any]) -> dict[str, Any]:
    """Returns a comparison.json of any version as one of this version.

    A file of version 1 is judged again. It has the mean of each seed, from which follows B, and
    the effect size over users, from which follows A; see `statistics.crossed_mean`. C is in no
    such file and counts as 0, which makes an interval wider, never narrower.

    Args:
        summary: The contents of a comparison.json; stays as it is.
    """
    if summary.get("format_version", 1) >= FORMAT_VERSION:
        return summary
    summary = copy.deepcopy(summary)
    reference = summary["reference"]
    base = next(row for row in summary["arms"] if row["name"] == reference)
    compared = [row for row in summary["arms"] if row["difference"]]
    for row in summary["arms"]:
        for run in row["runs"]:
            run["flips_seen"] = flips_before(run["gate_epoch"], run["selected_epoch"], run["flips"])
    for metric in COMPARED:
        again = [_older_difference(row, base, metric) for row in compared]
        corrected = holm(np.array([difference.p for difference, _ in again]))
        for row, (difference, of_seeds), p_holm in zip(compared, again, corrected, strict=True):
            before = row["difference"][metric]
            row["difference"][metric] = judged(
                difference,
                float(p_holm),
                of_seeds=of_seeds,
                effect_size=before["effect_size"],
                seeds=before["seeds"],
                num_users=before["users"],
                margin=MARGIN,
            )
    for row in summary["arms"]:
        row["saw_flips"] = _older_flips(row, base, summary["config"])
        row["lifts"] = None
        row.setdefault("suspects", None)
    for group in summary["slices"]:
        for arm in group["arms"].values():
            # Each hit counts at most 1, so that there are at least so many.
            arm["hits"] = None if arm["mean"] is None else int(arm["mean"] * group["users"])
    return summary | {
        "verdict": headline(summary["arms"], reference),
        "statistics": {**METHOD, "margin": MARGIN, "note": OLDER_NOTE},
        "explanation": EXPLANATION,
        "weights_notes": _older_weights_notes(summary),
    }


def _older_weights_notes(summary: dict[str, Any]) -> list[str]:
    """Returns a line where older versions scored more sets of weights in an arm than in another."""
    if summary["selection"]["weights"] != "auto":
        return []
    is_safe = {
        row["name"]: POLICIES[policy].is_safe
        for row in summary["arms"]
        if (policy := _policy(row["overrides"], summary["config"])) in POLICIES
    }
    more = [name for name, safe in is_safe.items() if safe]
    reference = summary["reference"]
    if not more or is_safe.get(reference):
        return []
    return [
        f"{reference}, the reference, was scored by one set of weights, {', '.join(more)} by the "
        "better of student and average on validation: a part of the difference is that choice."
    ]


def _policy(overrides: dict[str, Any], config: dict[str, Any]) -> str:
    """Returns the policy of an arm under its present name."""
    name = overrides.get("memory.policy", config["memory"]["policy"])
    return str(current_value("memory.policy", name))


def _older_difference(
    row: dict[str, Any],
    base: dict[str, Any],
    metric: str,
    seeds: Sequence[int] | None = None,
) -> tuple[Difference, np.ndarray]:
    """Returns the difference, and the mean of each seed float64 [S], from an older file."""
    before = row["difference"][metric]
    seeds = before["seeds"] if seeds is None else seeds
    means = [
        np.array(
            [run["test"][metric] for seed in seeds for run in arm["runs"] if run["seed"] == seed]
        )
        for arm in (row, base)
    ]
    moved = means[0] - means[1]
    size, whole = before["effect_size"], before["absolute"]["estimate"]
    # Where the other seeds are the same run in both arms, the users' means are these times a share.
    share = len(before["seeds"]) / len(seeds)
    of_users = (share * whole / size) ** 2 / before["users"] if size else 0.0
    of_seeds = moved.var(ddof=1) / len(seeds) if len(seeds) > 1 else 0.0
    variance = of_users + of_seeds
    df = max(len(seeds) - 1, 1) * (variance / of_seeds) ** 2 if of_seeds else before["users"] - 1.0
    mean = CrossedMean(*map(np.asarray, (moved.mean(), variance, max(df, 1.0))))
    half, estimate, scale = float(half_widths(mean)), float(mean.estimate), float(means[1].mean())
    absolute = Interval(estimate, estimate - half, estimate + half)
    relative = Interval(*(value / scale if scale > 0 else math.nan for value in absolute))
    return Difference(absolute, relative, float(p_values(mean))), moved


def _older_flips(
    row: dict[str, Any], base: dict[str, Any], config: dict[str, Any]
) -> dict[str, Any] | None:
    """Returns `saw_flips` of an arm of an older file."""
    if not row["difference"] or not has_flips(row["overrides"], config):
        return None
    of = row["difference"][MAIN]["seeds"]
    runs = {run["seed"]: run for run in row["runs"]}
    seeds = [seed for seed in of if runs[seed]["flips_seen"]]
    found = None
    if 0 < len(seeds) < len(of):
        before = row["difference"][MAIN]
        difference, of_seeds = _older_difference(row, base, MAIN, seeds)
        found = {
            MAIN: judged(
                difference,
                difference.p,
                of_seeds=of_seeds,
                effect_size=None,
                seeds=seeds,
                num_users=before["users"],
                margin=MARGIN,
            )
        }
    return {"seeds": seeds, "of": of, "difference": found}
