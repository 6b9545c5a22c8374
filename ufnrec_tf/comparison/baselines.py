"""Simple baselines in a comparison: fitted once for its data and split, and what arms gain."""

from collections.abc import Mapping, Sequence
from typing import Any

from ufnrec_tf.comparison.numbers import Runs
from ufnrec_tf.data.splits import EVALUATION_PARTS, Split
from ufnrec_tf.evaluation.metrics import MAIN, ChosenMetrics, metrics_from_ranks
from ufnrec_tf.evaluation.run_verdict import Ranks, against_baseline


def baseline_rows(baselines: Mapping[str, Ranks], chosen: ChosenMetrics) -> list[dict[str, Any]]:
    """Returns the name of each baseline with its metrics on test, as `mean`, and validation."""
    return [
        {
            "name": name,
            "mean": metrics_from_ranks(ranks["test"], chosen=chosen),
            "validation": metrics_from_ranks(ranks["validation"], chosen=chosen),
        }
        for name, ranks in baselines.items()
    ]


def arms_against_baseline(
    runs: Runs, arms: Sequence[str], baselines: Mapping[str, Ranks], split: Split
) -> dict[str, dict[str, Any] | None]:
    """Returns arm -> its difference to the strongest baseline; None of an arm without runs.

    The baseline has no seeds: each seed of an arm is paired with it, user by user.

    Args:
        runs: Finished runs.
        arms: Names of arms.
        baselines: Label -> ranks.
        split: The split whose targets were ranked.
    """
    users = {part: split.users(part) for part in EVALUATION_PARTS}
    found: dict[str, dict[str, Any] | None] = {}
    for arm in arms:
        own = [run.ranks for (name, _), run in sorted(runs.items()) if name == arm]
        found[arm] = against_baseline(own, baselines, users) if own else None
    return found


def baseline_verdict(arms: Sequence[dict[str, Any]]) -> str:
    """Returns in a sentence how the arms compare with the strongest baseline; empty without one.

    Where it is better on validation than some arms, the sentence is of these.

    Args:
        arms: The arms of comparison.json.
    """
    known = [row for row in arms if row["against_baseline"]]
    if not known:
        return ""
    first = known[0]["against_baseline"]
    behind = [row for row in known if _is_behind(row["against_baseline"])]
    name, part = first["label"], "validation" if behind else "test"
    value = f"{MAIN.upper()} {first[part]['baseline']:.4f}"
    shown = [f"{row['name']} {_change(row['against_baseline'][part])}" for row in behind or known]
    text = f"{', '.join(shown)}; 95% intervals"
    if behind:
        which = "every arm" if len(behind) == len(known) else "some arms"
        return f"{name}, a baseline, has {value} on validation, more than {which}: {text}."
    return f"Against {name}, the strongest baseline, with {value} on test: {text}."


def _is_behind(found: Mapping[str, Any]) -> bool:
    return found["validation"]["run"] < found["validation"]["baseline"]


def _change(part: Mapping[str, Any]) -> str:
    if part["estimate"] is None:
        return f"at {part['run']:.4f}"
    ends = "" if part["low"] is None else f" ({part['low']:+.1%} to {part['high']:+.1%})"
    return f"{part['estimate']:+.1%}{ends}"
