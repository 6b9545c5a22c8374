"""The page of a run."""

import shlex
from typing import Any

from ufnrec_tf.common.text import size
from ufnrec_tf.config import as_json, default_config, option_table
from ufnrec_tf.data.times import moment_text
from ufnrec_tf.evaluation.baselines import BASELINE_LABELS
from ufnrec_tf.evaluation.metrics import MAIN
from ufnrec_tf.evaluation.protocol import (
    heldout_targets_lines,
    masked_targets_lines,
    newcomers_lines,
    request_time_lines,
)
from ufnrec_tf.evaluation.run_verdict import (
    course_lines,
    interval_for_json,
    is_rising,
    leading_line,
    validation_curve,
    verdict_lines,
)
from ufnrec_tf.evaluation.teacher_words import teacher_name
from ufnrec_tf.report.charts import Chart, is_empty
from ufnrec_tf.report.render import render
from ufnrec_tf.report.run_facts import RunFacts
from ufnrec_tf.report.run_numbers import NUM_RESAMPLES, UNKNOWN, Numbers, SliceRow
from ufnrec_tf.report.suspects import flat_future, named_suspects, suspect_facts
from ufnrec_tf.report.teachers import teacher_facts, without_teacher
from ufnrec_tf.report.wording import number, value_text


def page(facts: RunFacts, numbers: Numbers, *, training: list[Chart], data: list[Chart]) -> str:
    """Returns report.html.

    Args:
        facts: The files of the run and its data.
        numbers: The scores of the run.
        training: Charts of its training.
        data: Charts of its data.
    """
    result, pairs = facts.own.result, _found_pairs(facts)
    verdict = _verdict(facts, numbers) if result else [_unfinished(facts)]
    return render(
        "run.html",
        facts=facts,
        numbers=numbers,
        result=result or {},
        main=MAIN.upper(),
        compared=[name.upper() for name in numbers.metrics],
        num_resamples=NUM_RESAMPLES,
        source=_source(facts),
        headline=verdict[0],
        verdict=verdict[1:],
        protocol=_protocol(result) if result else "",
        cards=_cards(facts),
        beyond_accuracy=[
            (arm.label, found)
            for arm in facts.arms
            if arm.result and (found := arm.result.get("beyond_accuracy"))
        ],
        training=[chart for chart in training if not is_empty(chart)],
        gate_epoch=_gate_epoch(result),
        suspects=suspect_facts(without_teacher(pairs)),
        teachers=teacher_facts(pairs),
        averaged="",
        families=_families(numbers),
        data_rows=_data_rows(facts),
        data=data,
        filters=_of_data(facts, "filters"),
        leaks=_of_data(facts, "leaks"),
        costs={arm.label: _costs(arm.result) for arm in facts.arms if arm.result},
        changed=_changed_settings(facts),
        command=_command(facts),
    )


def _source(facts: RunFacts) -> str:
    if facts.data is not None:
        return str(facts.data.summary["source"])
    return (facts.own.result or {}).get("data", {}).get("source") or facts.record["data_path"]


def _verdict(facts: RunFacts, numbers: Numbers) -> list[str]:
    """Returns the verdict on a finished run, and on one of an older version from its numbers."""
    result = dict(facts.own.result or {})
    if "is_rising" not in result:
        metric = facts.config.training.monitor or MAIN
        curve = validation_curve(facts.own.evaluations, metric)
        result["is_rising"] = not result.get("stopped_early") and is_rising(curve)
    lead = [] if result.get("against_baseline") else _older_lead(numbers)
    return [*lead, *course_lines(result)] if lead else verdict_lines(result)


def _older_lead(numbers: Numbers) -> list[str]:
    """Returns the sentence on the baseline that is strongest on test, where no other is known."""
    rows = [row for row in numbers.rows if row.label in BASELINE_LABELS.values() and row.lead]
    if not rows:
        return []
    own, best = numbers.rows[-1], max(rows, key=lambda row: row.metrics[MAIN].estimate)
    lead = {"run": own.metrics[MAIN].estimate, **interval_for_json(best.lead or UNKNOWN)}
    return [leading_line(own.label, best.label, lead)]


def _unfinished(facts: RunFacts) -> str:
    lines = facts.own.evaluations
    asked = facts.config.training.num_epochs
    where = f"{lines[-1]['epoch']:,} of {asked:,} epochs scored" if lines else "nothing scored yet"
    state = "A process is at work on it" if facts.is_running else "Not finished"
    again = "" if facts.is_running else " The same train command goes on."
    return f"{state}: {where}.{again}"


def _gate_epoch(result: dict[str, Any] | None) -> int | None:
    """Returns the epoch after which the gate opened; None where it opened nothing."""
    if result is None or not result["memory"]["slots"]:
        return None
    epoch: int | None = result["false_negatives"].get("gate_epoch")
    return epoch


def _protocol(result: dict[str, Any]) -> str:
    protocol = result["protocol"]
    return " ".join(
        [
            f"Test, {protocol['split']}, full ranking of {protocol['candidates']:,} candidates; "
            f"masked: {protocol['masked']}; ties {protocol['ties']}; {protocol['weights']} "
            f"weights of epoch {protocol['selected_epoch']}, selected by "
            f"{protocol['selected_by']}; seed {result['seed']}; data sha256 "
            f"{result['data']['sha256'][:12]}.",
            *masked_targets_lines(protocol),
            *heldout_targets_lines(protocol),
            *newcomers_lines(protocol),
            *request_time_lines(protocol),
        ]
    )


def _cards(facts: RunFacts) -> list[tuple[str, str]]:
    cards, result = [], facts.own.result
    if facts.data is not None:
        summary = facts.data.summary
        cards += [(name, f"{summary[name]:,}") for name in ("users", "items", "events")]
    elif result:
        names = ("users", "items", "interactions")
        cards += [(name, f"{result['data'][name]:,}") for name in names]
    if result:
        timing = result["timing"]
        cards += [
            ("epochs", f"{result['epochs']:,}"),
            ("s of training", f"{timing['train_seconds']:,.0f}"),
            ("labels flipped", f"{result['false_negatives']['flips']:,.0f}"),
            ("peak of the process", size(result["memory"]["peak_rss_bytes"])),
        ]
    return cards


def _found_pairs(facts: RunFacts) -> list[dict[str, Any]]:
    """Returns the pairs that each finished arm found, and its teacher."""
    arms = []
    for arm in facts.arms:
        if arm.result is None:
            continue
        found, teacher = arm.result["false_negatives"], arm.result.get("teacher")
        arms.append(
            {
                "name": arm.label,
                "detection": found.get("detection"),
                "future": flat_future(found),
                "suspects": named_suspects(found),
                "teacher": teacher and {"name": teacher_name(teacher), **teacher},
            }
        )
    return arms


def _families(numbers: Numbers) -> dict[str, list[SliceRow]]:
    """Returns the groups of users by what they were grouped by."""
    families: dict[str, list[SliceRow]] = {}
    for row in numbers.slices:
        families.setdefault(row.family, []).append(row)
    return families


def _data_rows(facts: RunFacts) -> list[tuple[str, str]]:
    sha256 = facts.record["identity"]["data of sha256"]
    recorded = (facts.own.result or {}).get("data", {})
    rows = [("sha256", sha256)]
    if reading := recorded.get("reading"):
        rows.append(("read as", f"{reading['format']}; {value_text(reading['columns'])}"))
    if facts.data is None:
        rows += [
            (key, f"{recorded[key]:,}")
            for key in ("users", "items", "interactions")
            if key in recorded
        ]
        return rows
    s = facts.data.summary
    rows += [
        ("users", f"{s['users']:,}"),
        ("items", f"{s['items']:,}, {s['heldout_only_items']:,} of them in held-out events alone"),
        ("events", f"{s['events']:,}; {s['repeats']:,} repeat an earlier pair of user and item"),
        (
            "events a user",
            f"mean {s['mean_length']:.1f}, median {s['median_length']:.1f}, longest "
            f"{s['max_length']:,}",
        ),
        ("density", f"{s['density']:.4%}"),
        (
            "split",
            f"{s['split']}: {s['train_events']:,} events train, {s['evaluated_users']:,} "
            "users are evaluated",
        ),
    ]
    if facts.data.times is not None:
        first, last = (float(facts.data.times[1][place]) for place in (0, -1))
        span = [moment_text(time, is_epoch=facts.data.is_epoch) for time in (first, last)]
        rows.append(("time", f"{span[0]} to {span[1]}"))
    return rows


def _of_data(facts: RunFacts, key: str) -> Any:
    """Returns the filters or leaks that the run has recorded, else those of the data now."""
    result = facts.own.result or {}
    found = result.get("data", {}).get("reading", {}).get(key)
    found = found or result.get("protocol", {}).get(key)
    return found or (facts.data.summary.get(key) if facts.data is not None else None)


def _costs(result: dict[str, Any]) -> dict[str, str]:
    timing, memory = result["timing"], result["memory"]
    users, seconds = timing["train_users"], timing["train_seconds"]
    costs = {
        "steps": f"{result['steps']:,}",
        "training, seconds": number(seconds, 1),
        "training, CPU seconds": number(timing["train_cpu_seconds"], 1),
        "CPU seconds for 1,000 users": number(
            1000 * timing["train_cpu_seconds"] / users if users else None, 3
        ),
        "users a second": number(users / seconds if seconds else None, 0),
        "evaluation, CPU seconds": number(timing["evaluation_cpu_seconds"], 1),
        "peak of the process": size(memory["peak_rss_bytes"]),
        **dict.fromkeys(("memory of false negatives", "slots in use", "evictions"), "none"),
    }
    if memory["slots"]:
        costs["memory of false negatives"] = (
            f"{size(memory['table_bytes'])}: {memory['rows']:,} rows of {memory['slots']} slots"
        )
        costs["slots in use"] = f"{memory['fill']:.1%}"
        costs["evictions"] = f"{memory['evictions']:,}"
    return costs


def _changed_settings(facts: RunFacts) -> list[tuple[str, Any, Any]]:
    """Returns key, value and default of the settings that are not the defaults."""
    options = option_table()
    default = as_json(default_config(options))
    changed = []
    for section, values in facts.record["config"].items():
        for key, value in values.items():
            usual = default.get(section, {}).get(key)
            if key not in options.get(section, {}) or value != usual:
                changed.append((f"{section}.{key}", value, usual))
    return changed


def _command(facts: RunFacts) -> str:
    """Returns the command line that trained the run."""
    line = facts.record.get("command_line", [])
    return shlex.join(["python", *line] if line and line[0].endswith(".py") else line)
