"""The results of a sweep: the table on the screen, sweep.json, sweep.md and tensorboard/."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorboard.plugins.hparams import api

from ufnrec_tf.common.files import write_error
from ufnrec_tf.sweep.plan import SweepPlan
from ufnrec_tf.sweep.trials import COMPLETE, RUNNING, Outcome

SHOWN_TRIALS = 10
METRIC = "sweep/validation"
"""Name of the metric in TensorBoard."""


def ranked(outcomes: list[Outcome]) -> list[Outcome]:
    """Returns the complete trials, the best first; of equal ones the earlier first."""
    done = [found for found in outcomes if found.state == COMPLETE and found.value is not None]
    return sorted(done, key=lambda found: (-(found.value or 0.0), found.number))


def counts_text(outcomes: list[Outcome]) -> str:
    """Returns a phrase with the number of trials in each state."""
    states = [found.state for found in outcomes]
    return f"{len(states)} trials: " + ", ".join(
        f"{states.count(state)} {state}" for state in dict.fromkeys(["complete", *states])
    )


def setting_text(value: Any) -> str:
    """Returns a setting in few digits."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def importance_text(importance: dict[str, float]) -> str:
    """Returns a phrase with the importance of each key."""
    shares = ", ".join(f"{key} {share:.2f}" for key, share in importance.items())
    return f"importance (PED-ANOVA): {shares}"


def table_rows(plan: SweepPlan, outcomes: list[Outcome]) -> tuple[list[str], list[list[str]]]:
    """Returns the columns and rows of the best trials, then of the others, at most ten."""
    names = [key.rpartition(".")[2] for key in plan.space]
    short = [
        key if names.count(name) > 1 else name for key, name in zip(plan.space, names, strict=True)
    ]
    best = ranked(outcomes)
    others = [found for found in outcomes if found not in best]
    others.sort(key=lambda found: (-(found.value or 0.0), found.number))
    rows = [
        [
            f"{found.number:04}",
            found.state,
            *(setting_text(found.settings.get(key)) for key in plan.space),
            "" if found.value is None else f"{found.value:.4f}",
            str(found.epoch or ""),
            f"{found.seconds:.0f}",
        ]
        for found in [*best, *others][:SHOWN_TRIALS]
    ]
    return ["trial", "state", *short, plan.metric, "epoch", "s"], rows


def _selection_notes(plan: SweepPlan, outcomes: list[Outcome], scored: list[int]) -> list[str]:
    """Returns sentences on what the selection of the best trial means for its figures."""
    notes = [
        f"The best validation {plan.metric} is the largest of {len(outcomes)} trials, and so "
        "promises more than new data will give.",
        "No trial was scored on the test set: it was scored once, for the best trial, when the "
        "search was done.",
    ]
    if len(scored) > 1:
        names = ", ".join(f"{number:04}" for number in scored)
        notes[1] = (
            f"The test set was scored for trials {names}, each the best when the search was done "
            "then; choose among them by validation only."
        )
    return notes


def summary(
    plan: SweepPlan,
    record: dict[str, Any],
    outcomes: list[Outcome],
    *,
    importance: dict[str, float],
    tests: dict[int, dict[str, Any]],
) -> dict[str, Any]:
    """Returns the content of sweep.json.

    Args:
        plan: The sweep.
        record: The content of the sweep's config.json.
        outcomes: All trials.
        importance: Key to its importance for the better trials.
        tests: Number to test metrics of the trials that were scored on the test set.
    """
    best = ranked(outcomes)
    return {
        "format_version": 1,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "metric": f"validation {plan.metric}",
        "best": best[0].number if best else None,
        "trials": [found._asdict() for found in outcomes],
        "importance": importance,
        "tests": {str(number): metrics for number, metrics in tests.items()},
        "notes": _selection_notes(plan, outcomes, sorted(tests)),
        "seed": plan.seed,
        "data": record["identity"]["data of sha256"],
        **{key: record[key] for key in ("versions", "git_commit", "command_line", "config")},
    }


def markdown(plan: SweepPlan, found: dict[str, Any], outcomes: list[Outcome]) -> str:
    """Returns the content of sweep.md; `found` is the content of sweep.json."""
    columns, rows = table_rows(plan, outcomes)
    table = [f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *rows)]
    lines = ["# Sweep", "", counts_text(outcomes) + ".", "", *table, ""]
    for number, metrics in found["tests"].items():
        values = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        lines += [f"Test, trial {int(number):04}: {values}.", ""]
    if found["importance"]:
        lines += [f"- {importance_text(found['importance'])}"]
    failed = [trial for trial in outcomes if trial.error]
    lines += [f"- trial {trial.number:04} failed: {trial.error}" for trial in failed]
    lines += [f"- {note}" for note in found["notes"]]
    return "\n".join(lines) + "\n"


def write_tensorboard(plan: SweepPlan, outcomes: list[Outcome]) -> None:
    """Writes tensorboard/ in the directory of a sweep again, with a run for each ended trial.

    Raises:
        UserError: If a file cannot be written.
    """
    folder = plan.path / "tensorboard"
    try:
        shutil.rmtree(folder, ignore_errors=True)
        with _event_writer(folder):
            api.hparams_config(
                hparams=[api.HParam(key, _domain(values)) for key, values in plan.space.items()],
                metrics=[api.Metric(METRIC, display_name=f"validation {plan.metric}")],
            )
        for found in outcomes:
            if found.state == RUNNING:
                continue
            with _event_writer(folder / f"{found.number:04}"):
                api.hparams(dict(found.settings), trial_id=f"{found.number:04}")
                if found.value is not None:
                    tf.summary.scalar(METRIC, found.value, step=found.epoch)
    except (OSError, tf.errors.OpError) as error:
        raise write_error(folder, error) from error


def _event_writer(folder: Path) -> Any:
    return tf.summary.create_file_writer(str(folder)).as_default(step=0)


def _domain(values: Any) -> Any:
    """Returns TensorBoard's form of Optuna's distribution."""
    if hasattr(values, "choices"):
        return api.Discrete(list(values.choices))
    interval = api.IntInterval if isinstance(values.low, int) else api.RealInterval
    return interval(values.low, values.high)
