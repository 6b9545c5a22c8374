"""The teachers of runs and comparisons: what they cost and know, and what their labels found."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from ufnrec_tf.evaluation.teacher_words import teacher_name
from ufnrec_tf.report.suspects import SuspectFacts, suspect_facts


class TeacherFacts(NamedTuple):
    """The contents of the section on teachers; see templates/teachers.html.

    Attributes:
        arms: Arms with stored labels: `name` and `teacher`, as result.json or comparison.json
            holds it.
        costs: What each teacher of a comparison cost, a sentence each.
        found: The pairs that the labels put above the observed item, as those of a memory.
    """

    arms: list[dict[str, Any]]
    costs: list[str]
    found: SuspectFacts | None


def teacher_facts(arms: Sequence[dict[str, Any]]) -> TeacherFacts | None:
    """Returns the contents of the section on teachers, None where no arm has stored labels.

    Args:
        arms: As `suspect_facts` takes them, with their `teacher`.
    """
    taught = [arm for arm in arms if arm.get("teacher")]
    return TeacherFacts(taught, teacher_costs(arms), suspect_facts(taught)) if taught else None


def without_teacher(arms: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the arms whose pairs a memory has found."""
    return [arm for arm in arms if not arm.get("teacher")]


def teacher_of_arm(results: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Returns what comparison.json has of an arm's teacher; None where no run has one.

    Args:
        results: The contents of result.json of the arm's runs, which share a teacher.
    """
    found = [result["teacher"] for result in results if result.get("teacher")]
    return {"name": teacher_name(found[0]), **found[0], "students": len(found)} if found else None


def teacher_costs(arms: Sequence[dict[str, Any]]) -> list[str]:
    """Returns what each trained teacher of a comparison cost, a sentence each.

    Args:
        arms: Their `name` and `teacher`; see `teacher_of_arm`.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for arm in arms:
        if (arm.get("teacher") or {}).get("students"):
            groups.setdefault(repr(arm["teacher"]["identity"]), []).append(arm)
    lines = []
    for group in groups.values():
        teacher, names = group[0]["teacher"], ", ".join(arm["name"] for arm in group)
        labels = sum(arm["teacher"]["labels"]["cpu_seconds"] for arm in group)
        students = sum(arm["teacher"]["students"] for arm in group)
        trained = f"{teacher['cpu_seconds']:,.0f} CPU s, " if "epochs" in teacher else ""
        lines.append(
            f"Teacher of {names}: {trained}labels {labels:,.0f} CPU s, made once for {students} "
            f"run{'s' if students > 1 else ''} and not in their cost."
        )
    return lines
