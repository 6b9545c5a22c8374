"""The page of a run."""

import math
import shlex
from html import escape
from typing import Any

from ufnrec_tf.common.text import size
from ufnrec_tf.config import as_json, default_config, option_table
from ufnrec_tf.data.times import moment_text
from ufnrec_tf.evaluation.metrics import COMPARED, MAIN
from ufnrec_tf.evaluation.protocol import masked_targets_lines, newcomers_lines
from ufnrec_tf.evaluation.statistics import Interval
from ufnrec_tf.report.charts import Chart, figure
from ufnrec_tf.report.html_parts import document, number, section, table
from ufnrec_tf.report.run_facts import ArmFacts, RunFacts
from ufnrec_tf.report.run_numbers import NUM_RESAMPLES, Numbers, ScoreRow
from ufnrec_tf.report.suspects import suspects_section, user_paragraph
from ufnrec_tf.report.wording import decimals, flat_future


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


def page(facts: RunFacts, numbers: Numbers, *, training: list[Chart], data: list[Chart]) -> str:
    """Returns report.html.

    Args:
        facts: What is known of the run.
        numbers: What it scored.
        training: Charts of its training.
        data: Charts of its data.
    """
    parts = [
        _header(facts, numbers),
        _results(facts, numbers),
        _training(facts, training),
        _suspects(facts),
        _slices(facts, numbers),
        _recommendations(facts),
        data_section(facts, data),
        cost_section(facts),
        settings_section(facts),
        again_section(facts),
    ]
    return document(f"{facts.own.label} on {_source(facts)}", "\n".join(filter(None, parts)))


def _source(facts: RunFacts) -> str:
    if facts.data is not None:
        return str(facts.data.summary["source"])
    return (facts.own.result or {}).get("data", {}).get("source") or facts.record["data_path"]


def _header(facts: RunFacts, numbers: Numbers) -> str:
    result = facts.own.result
    title = _verdict(facts, numbers) if result else _unfinished(facts)
    protocol = f'<p class="note">{escape(_protocol(result))}</p>' if result else ""
    cards = "".join(
        f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>"
        for name, value in _cards(facts)
    )
    return (
        f'<header><p class="kicker">{escape(facts.path.name)}: one run on '
        f"{escape(_source(facts))}</p><h1>{escape(title)}</h1>{protocol}"
        f'<div class="facts">{cards}</div></header>'
    )


def _verdict(facts: RunFacts, numbers: Numbers) -> str:
    own = numbers.rows[-1]
    interval = own.metrics[MAIN]
    text = f"{own.label}: {MAIN.upper()} {decimals(interval.estimate)} on test"
    if math.isfinite(interval.low):
        text += f" (95% interval {decimals(interval.low)} to {decimals(interval.high)})"
    popularity = next((row for row in numbers.rows if row.label == "Popularity"), None)
    if popularity is not None and popularity.metrics[MAIN].estimate > 0:
        times = interval.estimate / popularity.metrics[MAIN].estimate
        text += f"; {times:.1f} times popularity's"
    return text


def _unfinished(facts: RunFacts) -> str:
    lines = facts.own.evaluations
    asked = facts.config.training.num_epochs
    where = f"{lines[-1]['epoch']:,} of {asked:,} epochs scored" if lines else "nothing scored yet"
    state = "A process is at work on it" if facts.is_running else "Not finished"
    again = "" if facts.is_running else " The same train command goes on."
    return f"{state}: {where}.{again}"


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
            *newcomers_lines(protocol),
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


def _results(facts: RunFacts, numbers: Numbers) -> str:
    if not numbers.rows:
        return ""
    columns = ("", *(name.upper() for name in COMPARED), f"{MAIN.upper()}: lead of this run")
    rows = [_score_cells(row) for row in numbers.rows]
    ceiling = (facts.own.result or {}).get("ceiling")
    if ceiling:
        cells = [decimals(ceiling[name]) for name in COMPARED]
        rows.append(["<i>ceiling: the true probabilities</i>", *cells, ""])
    note = "Test. "
    if numbers.num_users:
        note += (
            f"Under each mean its 95% interval over {numbers.num_users:,} users "
            f"({NUM_RESAMPLES:,} bootstrap resamples); the lead is relative and paired by user: "
            "where its interval holds 0, none is shown. One seed: how much another one would "
            "change is not in it; --mode=compare tells."
        )
    return section("Results", table(columns, rows) + _beyond_accuracy(facts), note)


def _score_cells(row: ScoreRow) -> list[str]:
    name = f"<b>{escape(row.label)}</b>"
    cells = [_interval(row.metrics[metric]) for metric in COMPARED]
    if row.is_run or row.lead is None or not math.isfinite(row.lead.estimate):
        return [name, *cells, "this run" if row.is_run else ""]
    kind = "better" if row.lead.low > 0 else "worse" if row.lead.high < 0 else ""
    lead = (
        f'{row.lead.estimate:+.1%}<br><small class="{kind}">{row.lead.low:+.1%} to '
        f"{row.lead.high:+.1%}</small>"
    )
    return [name, *cells, lead]


def _interval(found: Interval) -> str:
    """Returns a mean, under it its interval where there is one."""
    if not math.isfinite(found.low):
        return decimals(found.estimate)
    ends = f"{decimals(found.low)} to {decimals(found.high)}"
    return f"{decimals(found.estimate)}<br><small>{ends}</small>"


def _beyond_accuracy(facts: RunFacts) -> str:
    rows = [
        [
            f"<b>{escape(arm.label)}</b>",
            f"{found['coverage']:.1%}",
            f"{found['gini']:.3f}",
            f"{found['novelty']:.2f}",
        ]
        for arm in facts.arms
        if arm.result and (found := arm.result.get("beyond_accuracy"))
    ]
    if not rows:
        return ""
    note = (
        '<p class="note">Of the ten items recommended to every test user. Coverage: share of the '
        "catalogue that is recommended to somebody. Gini: 0 where every item is recommended as "
        "often, 1 where one takes all. Novelty: mean bits, -log2 of an item's share of the train "
        "events.</p>"
    )
    return note + table(("", "coverage", "Gini", "novelty, bits"), rows)


def _training(facts: RunFacts, charts: list[Chart]) -> str:
    block = charts_block(charts)
    if not block:
        return section("While training", "<p>No evaluation has been written yet.</p>")
    gate = (facts.own.result or {}).get("false_negatives", {}).get("gate_epoch")
    words = "" if gate is None else f" The gate opened after epoch {gate}."
    note = f"The charts as pictures: plots/ beside this page.{words}"
    return section("While training", block, note)


def _suspects(facts: RunFacts) -> str:
    """Returns what the run and its arms found of false negatives; see `suspects_section`."""
    arms = [_suspects_of(arm) for arm in facts.arms if arm.result]
    return suspects_section({"arms": arms}, averaged="")


def _suspects_of(arm: ArmFacts) -> dict[str, Any]:
    found = (arm.result or {})["false_negatives"]
    shown = {key: found.get(key, []) for key in ("most_flagged", "examples")}
    return {
        "name": arm.label,
        "detection": found.get("detection"),
        "future": flat_future(found),
        "suspects": shown if shown["most_flagged"] else None,
    }


def _slices(facts: RunFacts, numbers: Numbers) -> str:
    tables = []
    for family in dict.fromkeys(row.family for row in numbers.slices):
        parts = [row for row in numbers.slices if row.family == family]
        columns = [escape(family)]
        columns += [f"{escape(x.label)}<br><small>{x.num_users:,} users</small>" for x in parts]
        rows = [
            [f"<b>{escape(label)}</b>", *(_interval(part.means[label]) for part in parts)]
            for label in parts[0].means
        ]
        tables.append(table(columns, rows))
    note = f"Mean {MAIN.upper()} on test of the users of each third, with its 95% interval."
    return section("For whom", "".join(tables), note) if tables else ""


def _recommendations(facts: RunFacts) -> str:
    samples = (facts.own.result or {}).get("samples", [])
    body = "".join(
        user_paragraph(
            sample["user"],
            sample["history"],
            {
                "recommended": ", ".join(map(escape, sample["recommended"])),
                "took": escape(sample["taken_next"]),
            },
        )
        for sample in samples
    )
    return section("Recommendations", body, "A few users of the test.") if body else ""
