"""The suspects of runs and comparisons: how right they are, which items, for whom."""

from collections.abc import Sequence
from typing import Any, NamedTuple

MATCHES = {
    "matched_on_popularity": "as popular",
    "matched_on_popularity_and_score": "as popular, scored alike",
}
"""Key in a run's `future` -> what the unflagged pairs share with the flagged ones."""


class SuspectFacts(NamedTuple):
    """The contents of the section on suspects; see templates/suspects.html.

    Attributes:
        detected: Arms with a planted truth: `name` and `detection`.
        later: A row for each arm and match with a known lift: `name`, `words` of the match,
            `flagged` rate, and of the match `rate`, `pairs`, `hits`, `all_hits` of all flagged
            pairs, `lift`, `low`, `high` and the `verdict` in words.
        shown: The last arm with suspects: `name` and `suspects`; None without any.
    """

    detected: list[dict[str, Any]]
    later: list[dict[str, Any]]
    shown: dict[str, Any] | None


def suspect_facts(arms: Sequence[dict[str, Any]]) -> SuspectFacts | None:
    """Returns the contents of the section on suspects, None where no arm has any.

    Args:
        arms: Their `name`, `detection`, flat `future` (see `flat_future`), `suspects` and, of a
            comparison, `lifts` over all seeds.
    """
    facts = SuspectFacts(
        detected=[arm for arm in arms if arm["detection"]],
        later=[row for arm in arms for row in _later_rows(arm)],
        shown=next((arm for arm in reversed(arms) if arm["suspects"]), None),
    )
    return facts if any(facts) else None


def _later_rows(arm: dict[str, Any]) -> list[dict[str, Any]]:
    future, lifts, rows = arm["future"] or {}, arm.get("lifts"), []
    for match, words in MATCHES.items():
        keys = ("rate", "pairs", "hits", "lift", "low", "high")
        found: dict[str, Any] = {key: future.get(f"{match}.{key}") for key in keys}
        found["all_hits"], flagged = future.get("hits"), future.get("rate")
        if lifts:  # of the pairs of all seeds, not a mean of lifts
            found = {key: lifts[match][key] for key in (*keys, "all_hits")}
            flagged = found["all_hits"] / max(lifts[match]["flagged"], 1)
        if found["lift"] is not None:
            verdict = lift_verdict(found["low"], found["high"])
            rows.append(
                {
                    "name": arm["name"],
                    "words": words,
                    "flagged": flagged,
                    "verdict": verdict,
                    **found,
                }
            )
    return rows


def lift_verdict(low: float, high: float) -> str:
    """Returns in words whether flagged pairs are taken later more often than those like them."""
    if low > 1:
        return "taken more often"
    return "taken less often" if high < 1 else "no difference shown"


def flat_future(found: dict[str, Any]) -> dict[str, Any]:
    """Returns a run's `future` with the keys of its matches as `match.key`."""
    flat: dict[str, Any] = {}
    for name, value in (found.get("future") or {}).items():
        if isinstance(value, dict):
            flat |= {f"{name}.{key}": each for key, each in value.items()}
        else:
            flat[name] = value
    return flat


def named_suspects(found: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the most flagged items and the examples of a run, None without any.

    Args:
        found: `false_negatives` of its result.json.
    """
    if not found.get("most_flagged"):
        return None
    return {key: found.get(key, []) for key in ("most_flagged", "examples")}
