"""One run as one self-contained page; nothing is fetched, light and dark alike."""

import math
from html import escape
from typing import Any

from ufnrec_tf.chart_values import Chart
from ufnrec_tf.comparison_numbers import COMPARED, MAIN
from ufnrec_tf.comparison_summary import flat_future
from ufnrec_tf.comparison_text import decimals
from ufnrec_tf.report_parts import document, section, table
from ufnrec_tf.report_suspects import suspects_section, user_paragraph
from ufnrec_tf.run_facts import ArmFacts, RunFacts
from ufnrec_tf.run_numbers import NUM_RESAMPLES, Numbers, ScoreRow
from ufnrec_tf.run_sections import (
    again_section,
    charts_block,
    cost_section,
    data_section,
    settings_section,
    size,
)
from ufnrec_tf.showing import masked_targets_lines, newcomers_lines
from ufnrec_tf.statistics import Interval


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
