"""Tables, sweep.json, sweep.md."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorboard.plugins.hparams import api

from ufnrec_tf.common.files import write_error
from ufnrec_tf.sweep.plan import Axis, SweepPlan
from ufnrec_tf.sweep.trials import COMPLETE, RUNNING, Outcome

SHOWN_TRIALS = 10


def ranked(outcomes: list[Outcome]) -> list[Outcome]:
    """Returns the trials that completed, best first; of equal ones the earlier first."""
    done = [found for found in outcomes if found.state == COMPLETE and found.value is not None]
    return sorted(done, key=lambda found: (-(found.value or 0.0), found.number))


def counts_text(outcomes: list[Outcome]) -> str:
    """Returns how many trials there are of each state."""
    states = [found.state for found in outcomes]
    return f"{len(states)} trials: " + ", ".join(
        f"{states.count(state)} {state}" for state in dict.fromkeys(["complete", *states])
    )


def table_rows(plan: SweepPlan, outcomes: list[Outcome]) -> tuple[list[str], list[list[str]]]:
    """Returns the columns and rows of the best trials, then of the others, at most ten."""
    names = [axis.key.rpartition(".")[2] for axis in plan.axes]
    own = [a.key if names.count(n) > 1 else n for a, n in zip(plan.axes, names, strict=True)]
    columns = ["trial", "state", *own, plan.metric, "epoch", "s"]
    best = ranked(outcomes)
    others = [found for found in outcomes if found not in best]
    others.sort(key=lambda found: (-(found.value or 0.0), found.number))
    rows = []
    for found in [*best, *others][:SHOWN_TRIALS]:
        rows.append(
            [
                f"{found.number:04}",
                found.state,
                *(setting_text(found.settings.get(axis.key)) for axis in plan.axes),
                "" if found.value is None else f"{found.value:.4f}",
                str(found.epoch or ""),
                f"{found.seconds:.0f}",
            ]
        )
    return columns, rows


def setting_text(value: Any) -> str:
    """Returns a setting in few digits."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def honesty(plan: SweepPlan, outcomes: list[Outcome], scored: list[int]) -> list[str]:
    """Returns what a reader has to know of the figures."""
    lines = [
        f"The best validation {plan.metric} is the largest of {len(outcomes)} trials, and so "
        "promises more than new data will give.",
        "No trial was scored on the test set: it was scored once, for the best trial, when the "
        "search was done.",
    ]
    if len(scored) > 1:
        names = ", ".join(f"{number:04}" for number in scored)
        lines[1] = (
            f"The test set was scored for trials {names}, each the best when the search was done "
            "then; choose among them by validation alone."
        )
    return lines


def summary(
    plan: SweepPlan,
    record: dict[str, Any],
    outcomes: list[Outcome],
    *,
    importance: dict[str, float],
    tests: dict[int, dict[str, Any]],
) -> dict[str, Any]:
    """Returns what sweep.json holds.

    Args:
        plan: The search.
        record: Its config.json.
        outcomes: All trials.
        importance: Key to share.
        tests: Number of a trial that was scored on the test set to its test metrics.
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
        "notes": honesty(plan, outcomes, sorted(tests)),
        "seed": plan.seed,
        "data": record["identity"]["data of sha256"],
        **{key: record[key] for key in ("versions", "git_commit", "command_line", "config")},
    }


def markdown(plan: SweepPlan, found: dict[str, Any], outcomes: list[Outcome]) -> str:
    """Returns sweep.md; see `summary`."""
    columns, rows = table_rows(plan, outcomes)
    lines = ["# Sweep", "", counts_text(outcomes) + ".", "", _line(columns)]
    lines += [_line(["---"] * len(columns)), *(_line(row) for row in rows), ""]
    for number, metrics in found["tests"].items():
        values = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        lines += [f"Test, trial {int(number):04}: {values}.", ""]
    if found["importance"]:
        shares = ", ".join(f"{key} {share:.2f}" for key, share in found["importance"].items())
        lines += [f"Importance (PED-ANOVA): {shares}.", ""]
    failed = [trial for trial in outcomes if trial.error]
    lines += [f"- trial {trial.number:04} failed: {trial.error}" for trial in failed]
    lines += [f"- {note}" for note in found["notes"]]
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


METRIC = "sweep/validation"


def write_board(folder: Path, axes: tuple[Axis, ...], outcomes: list[Outcome], metric: str) -> None:
    """Writes a run for each trial that has ended, anew.

    Args:
        folder: `tensorboard` in the search's directory.
        axes: What is searched.
        outcomes: All trials.
        metric: Name of the validation metric.

    Raises:
        UserError: If the disk does not take it.
    """
    try:
        shutil.rmtree(folder, ignore_errors=True)
        with _writing(folder):
            api.hparams_config(
                hparams=[api.HParam(axis.key, _domain(axis)) for axis in axes],
                metrics=[api.Metric(METRIC, display_name=f"validation {metric}")],
            )
        for found in outcomes:
            if found.state == RUNNING:
                continue
            with _writing(folder / f"{found.number:04}"):
                api.hparams(dict(found.settings), trial_id=f"{found.number:04}")
                if found.value is not None:
                    tf.summary.scalar(METRIC, found.value, step=found.epoch)
    except (OSError, tf.errors.OpError) as error:
        raise write_error(folder, error) from error


def _writing(folder: Path) -> Any:
    return tf.summary.create_file_writer(str(folder)).as_default(step=0)


def _domain(axis: Axis) -> Any:
    if axis.choices:
        return api.Discrete(list(axis.choices))
    if axis.is_whole:
        return api.IntInterval(axis.low, axis.high)
    return api.RealInterval(axis.low, axis.high)
