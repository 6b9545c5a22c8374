"""Sections of a run's page that are tables of facts: data, cost, settings, how to run it again."""

import shlex
from html import escape
from typing import Any

from ufnrec_tf.chart_values import Chart
from ufnrec_tf.charts import figure
from ufnrec_tf.config import as_json, default_config, option_table
from ufnrec_tf.data.times import moment_text
from ufnrec_tf.report_parts import number, section, table
from ufnrec_tf.run_facts import RunFacts


def charts_block(charts: list[Chart]) -> str:
    """Returns the charts that have something to show, side by side; empty where none has."""
    figures = "".join(figure(chart) for chart in charts)
    return f'<div class="charts">{figures}</div>' if figures else ""


def data_section(facts: RunFacts, charts: list[Chart]) -> str:
    """Returns what the run was trained on."""
    told = (facts.own.result or {}).get("data", {})
    rows = [[escape(name), escape(text)] for name, text in _data_rows(facts)]
    body = table((), rows, wraps=True)
    body += charts_block(charts)
    for title, key in (("Filters", "filters"), ("What leaks", "leaks")):
        found = told.get("reading", {}).get(key)
        found = found or (facts.own.result or {}).get("protocol", {}).get(key)
        if not found and facts.data is not None:
            found = facts.data.summary.get(key)
        if found:
            body += f"<h3>{title}</h3>{_any_value(found)}"
    note = escape(facts.why_no_data)
    return section("Data", body, note)


def _data_rows(facts: RunFacts) -> list[tuple[str, str]]:
    sha256 = facts.record["identity"]["data of sha256"]
    told = (facts.own.result or {}).get("data", {})
    rows = [("sha256", sha256)]
    if reading := told.get("reading"):
        rows.append(("read as", f"{reading['format']}; {_text(reading['columns'])}"))
    if facts.data is None:
        rows += [
            (key, f"{told[key]:,}") for key in ("users", "items", "interactions") if key in told
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


def _any_value(value: Any) -> str:
    """Returns lines, or tables of numbers, that a run has written down."""
    if isinstance(value, list) and value and all(isinstance(x, dict) for x in value):
        columns = list(dict.fromkeys(key for row in value for key in row))
        rows = [[escape(_text(row.get(key, ""))) for key in columns] for row in value]
        return table([escape(key) for key in columns], rows)
    if isinstance(value, dict):
        return table((), [[escape(key), escape(_text(x))] for key, x in value.items()], wraps=True)
    lines = value if isinstance(value, list) else [value]
    return f"<ul>{''.join(f'<li>{escape(_text(line))}</li>' for line in lines)}</ul>"


def _text(value: Any) -> str:
    """Returns a setting or a number as one would write it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(each)}" for key, each in value.items())
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def cost_section(facts: RunFacts) -> str:
    """Returns what the run and its arms took, a column each; empty before any has finished."""
    columns = {arm.label: _costs(arm.result) for arm in facts.arms if arm.result}
    if not columns:
        return ""
    names = next(iter(columns.values()))
    rows = [[name, *(column[name] for column in columns.values())] for name in names]
    note = (
        "Training without the first ten steps, in which programs are compiled; CPU seconds of all "
        "threads. The peak is that of the process, which trained all arms up to then."
    )
    return section("Cost", table(("", *map(escape, columns)), rows), note)


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


def size(num_bytes: float) -> str:
    """Returns a number of bytes in the unit that suits it."""
    for unit in ("B", "kB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} GB"


def settings_section(facts: RunFacts) -> str:
    """Returns the settings: those that are not the defaults, then all."""
    options = option_table()
    default = as_json(default_config(options))
    changed, rows = [], []
    for part, values in facts.record["config"].items():
        for key, value in values.items():
            name, option = f"{part}.{key}", options.get(part, {}).get(key)
            usual = default.get(part, {}).get(key)
            code = f"<code>{escape(name)}</code>"
            rows.append([code, f"<code>{escape(_setting(value))}</code>"])
            if option is None or value != usual:
                changed.append([*rows[-1], f"<code>{escape(_setting(usual))}</code>"])
    body = "<p>All are the defaults.</p>"
    if changed:
        body = table(("key", "value", "default"), changed, wraps=True)
    whole = table(("key", "value"), rows, wraps=True)
    body += f"<details><summary>All settings</summary>{whole}</details>"
    note = "What differs from configs/base.py, whose help says what each key does."
    return section("Settings", body, note)


def _setting(value: Any) -> str:
    """Returns a value as `--config.KEY=` takes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value)


def again_section(facts: RunFacts) -> str:
    """Returns how to run it again, and with what it ran."""
    record = facts.record
    versions = ", ".join(f"{name} {text}" for name, text in record.get("versions", {}).items())
    commit = record.get("git_commit", "")
    line = record.get("command_line", [])
    if line and line[0].endswith(".py"):
        line = ["python", *line]
    data = record["data_path"] or "embedded: made by the command itself"
    rows = [
        ("command", f"<code>{escape(shlex.join(line))}</code>"),
        ("seed", str(record["seed"])),
        ("data", f"<code>{escape(data)}</code>"),
        ("data, sha256", f"<code>{escape(record['identity']['data of sha256'])}</code>"),
        ("commit", f"<code>{escape(commit or 'not known')}</code>"),
        ("versions", escape(versions)),
    ]
    lines = "".join(f"<li>{name}: {text}</li>" for name, text in rows)
    note = (
        "With another --workdir it trains anew. Sums in another order may change the last digits, "
        "unless --config.training.deterministic=true is set."
    )
    return section("Run it again", f"<ul>{lines}</ul>", note)
