"""--mode=inspect: the description of a log, its problems, and the flags that mend them."""

import shlex
import textwrap
from pathlib import Path
from typing import Any

import pandas as pd
from ml_collections import ConfigDict

from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.files import write_json
from ufnrec_tf.common.python_terms import in_python
from ufnrec_tf.common.representation import Shown
from ufnrec_tf.common.text import program_name
from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.data.log_description import FEW_VALUES, reading_lines
from ufnrec_tf.data.summary import shown_source, summary
from ufnrec_tf.data.times import as_text
from ufnrec_tf.reading.column_names import GUESSES, REQUIRED, candidates
from ufnrec_tf.reading.data_files import DataFile
from ufnrec_tf.reading.inspection.log_profile import (
    QUANTILES,
    WhatIf,
    profile,
    transitions,
    what_ifs,
)
from ufnrec_tf.reading.inspection.problems import (
    NO_PROBLEMS,
    Problem,
    problems_of,
    problems_of_log,
    unused_of,
)
from ufnrec_tf.reading.readers import Log, interactions_of
from ufnrec_tf.reading.sources import filters_of, is_raw, load, make_split, read_source_log

_FIRST_ROWS = 5
_SLOT_BYTES = 8
_WEIGHT_BYTES = 16
_WIDTH = 78  # of a problem, which is indented by two
"""Of one weight of the item table: itself, its average, and two moments of Adam."""


class Inspection(Shown):
    """What a run would read of a log, and its problems.

    Attributes:
        result: All of it as --output writes it: problems, columns, first rows, numbers, filters,
            memory.
    """

    def __init__(
        self,
        result: dict[str, Any],
        problems: list[Problem],
        filters: list[WhatIf],
        data: Interactions,
    ) -> None:
        self.result = result
        self._problems = problems
        self._filters = filters
        self._data = data

    @property
    def problems(self) -> pd.DataFrame:
        """The problems: name, words, share of the rows or ids concerned, remedies in Python."""
        rows = [
            (name, in_python(words), share, [in_python(remedy) for remedy in remedies])
            for name, words, share, remedies in self._problems
        ]
        return pd.DataFrame(rows, columns=list(Problem._fields))

    def _show(self, display: Display) -> None:
        _show_findings(self.result, self._problems, self._filters, self._data, display)


def inspect(
    config: ConfigDict, path: str, *, output: str, arguments: list[str], display: Display
) -> None:
    """Shows how a run with these settings would read its log.

    Args:
        config: The configuration.
        path: What --data names: a file, a prepared folder, or empty.
        output: File to write all of it to as JSON; empty: none.
        arguments: The command line's arguments, for the command to train with.
        display: The screen.

    Raises:
        UserError: As reading it for a run.
    """
    found = inspection(config, path, next_step=_command(config, path, arguments))
    found._show(display)
    if output:
        write_json(Path(output), found.result)
        display.line(f"  {output}: all of this as JSON")


def inspection(
    config: ConfigDict, given: str | pd.DataFrame | Interactions, *, next_step: str
) -> Inspection:
    """Returns how a run with these settings would read its log.

    Args:
        config: The configuration.
        given: A file, a prepared folder, or empty; in Python also a frame, or what was read.
        next_step: How to train on it.

    Raises:
        UserError: As reading it for a run.
    """
    log = None
    if isinstance(given, Interactions):
        data = given
    elif is_raw(config, given):
        settings, log = config.data, _raw(config, given)
        data = interactions_of(
            log, filters_of(config), repeats=settings.repeats, strip=settings.strip
        )
    else:
        data = load(config, given).interactions
    problems = [
        *_split_problems(config, data),
        *(() if log is None else problems_of_log(log)),
        *problems_of(data),
        *(() if log is None or config.data.min_rating else unused_of(log)),
    ]
    filters = what_ifs(data, log=None if log is None else log.events)
    found = {
        "source": data.source,
        "sha256": data.sha256,
        "problems": [problem._asdict() for problem in problems],
        "reading": None if data.reading is None else data.reading.as_json(),
        "other_columns": {} if log is None else _others(log),
        "first_rows": [] if log is None else _first_rows(log),
        "profile": profile(data),
        "filters_would_leave": [what_if._asdict() for what_if in filters],
        "memory": _memory(config, data),
        "next": next_step,
    }
    return Inspection(found, problems, filters, data)


def _raw(config: ConfigDict, given: str | pd.DataFrame) -> Log:
    """Returns the log of a file or frame, with ratings where they can be read."""
    # Read twice perhaps, which a pipe allows only so.
    source = DataFile(given) if isinstance(given, str) and given else given
    try:
        return read_source_log(config, source, with_ratings=True)
    except UserError as error:
        # A rating column of Parquet that a run would not read may be anything.
        if "rating" not in str(error):
            raise
        return read_source_log(config, source)


def _split_problems(config: ConfigDict, data: Interactions) -> list[Problem]:
    """Returns why a run would end before it began, if it would, or what its split leaks."""
    try:
        split = make_split(config, data)
    except UserError as error:
        return [Problem("refused", f"a run would be refused: {error}", 1.0, ())]
    lines = summary(split).get("leaks", [])
    return [Problem("leakage", line, 1.0, ()) for line in lines if " leaks: " in line]


def _others(log: Log) -> dict[str, list[str]]:
    """Returns role -> the other columns whose names fit it."""
    chosen = set(log.reading.columns.values())
    roles = {*REQUIRED, "time", *log.reading.columns}
    others = {role: candidates(log.names, role) for role in GUESSES if role in roles}
    left = {role: [n for n in names if n not in chosen] for role, names in others.items()}
    return {role: names for role, names in left.items() if names}


def _first_rows(log: Log) -> list[dict[str, Any]]:
    events = log.events
    columns = {
        "user": events.user_ids[events.users[:_FIRST_ROWS]],
        "item": events.item_ids[events.items[:_FIRST_ROWS]],
        "time": events.times,
        "rating": events.ratings,
    }
    shown = {k: v[:_FIRST_ROWS].tolist() for k, v in columns.items() if v is not None}
    if "time" in shown and log.reading.is_epoch:
        shown["time"] = [as_text(time) for time in shown["time"]]
    return [dict(zip(shown, row, strict=True)) for row in zip(*shown.values(), strict=True)]


def _memory(config: ConfigDict, data: Interactions) -> dict[str, int]:
    """Returns the bytes that a run would hold in memory beside TensorFlow itself, about."""
    settings = config.memory
    rows = transitions(
        data,
        max_length=config.backbone.max_length,
        takes_last=config.training.windows == "last",
    )
    has_memory = settings.policy not in ("plain", "ufnrec_soft")
    slots = settings.safe_slots if settings.policy == "ufnrec_safe" else settings.slots
    slots = min(slots, data.num_items) * has_memory
    event_bytes = data.items.itemsize + (0 if data.timestamps is None else 8)
    return {
        "memory_rows": rows * has_memory,
        "memory_slots": slots,
        "memory_bytes": rows * slots * _SLOT_BYTES,
        "item_weights_bytes": (data.num_items + 1) * config.backbone.width * _WEIGHT_BYTES,
        "log_bytes": data.num_events * event_bytes,
    }


def _command(config: ConfigDict, path: str, arguments: list[str]) -> str:
    """Returns the command that trains on what was inspected."""
    kept, rest = [], list(arguments[1:])
    while rest:
        argument = rest.pop(0)
        flag, equals, _ = argument.partition("=")
        if flag.lstrip("-") not in ("mode", "output", "workdir"):
            kept.append(argument)
        elif not equals and rest:
            rest.pop(0)  # its value
    name = Path(path).stem if path else config.data.name
    program = program_name(arguments[0]) if arguments else "python main.py"
    return f"{program} {shlex.join([*kept, f'--workdir=runs/{name}'])}"


def _show_findings(
    found: dict[str, Any],
    problems: list[Problem],
    filters: list[WhatIf],
    data: Interactions,
    display: Display,
) -> None:
    display.heading(f"Problems: {len(problems)}" if problems else "Problems: none found")
    for number, problem in enumerate(problems, start=1):
        display.block(_wrapped(f"{number}. ", problem.words), wraps=False)
        display.block([f"   {remedy}" for remedy in problem.remedies], wraps=False)
    display.heading("What would be read")
    display.block([f"data     {shown_source(data.source)}  sha256 {data.sha256[:12]}"])
    if found["reading"] is not None:
        # The others stand among the problems already.
        notes = [note for note in found["reading"]["notes"] if note["name"] in NO_PROBLEMS]
        display.block(reading_lines(found["reading"] | {"notes": notes}))
        display.block(
            [
                f"         {note['words']}  ({note['remedy']})"
                for note in notes
                if note["name"] == FEW_VALUES
            ]
        )
    for role, names in found["other_columns"].items():
        shown = ", ".join(names)
        display.block(
            [f"         {role} might also be: {shown}  (--config.data.{role}_column=NAME)"]
        )
    if found["first_rows"]:
        display.heading("First rows, as read")
        columns = list(found["first_rows"][0])
        display.table(
            columns, [[_cell(row[name]) for name in columns] for row in found["first_rows"]]
        )
    _show_profile(found["profile"], data, display)
    _show_filters(filters, data, display)
    _show_memory(found["memory"], display)
    display.heading("Next")
    display.block([found["next"]], wraps=False)


def _wrapped(label: str, text: str) -> list[str]:
    """Returns a labelled text as lines that are broken between words, those after it indented."""
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=label,
        subsequent_indent=" " * len(label),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _cell(value: Any) -> str:
    text = f"{value:.15g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _show_profile(numbers: dict[str, Any], data: Interactions, display: Display) -> None:
    display.heading("In numbers")
    lines = [
        f"{numbers['users']:,} users, {numbers['items']:,} items, {numbers['events']:,} events; "
        f"density {numbers['density']:.4%}; Gini of items {numbers['gini']:.2f}",
    ]
    if data.timestamps is not None:
        low, high = numbers["first_time"], numbers["last_time"]
        if data.is_epoch:
            lines.append(
                f"from {as_text(low)} to {as_text(high)}, {(high - low) / 86400:,.0f} days"
            )
        else:
            lines.append(f"times from {low:.15g} to {high:.15g}")
    display.block(lines)
    names = ("smallest", *(f"{q:.0%}" for q in QUANTILES[1:-1]), "largest")
    rows = [
        [label, *(f"{value:,.0f}" for value in numbers[key])]
        for label, key in (("events a user", "lengths"), ("events an item", "item_events"))
    ]
    display.table(["  ", *names], [[f"  {row[0]}", *row[1:]] for row in rows])


def _show_filters(filters: list[WhatIf], data: Interactions, display: Display) -> None:
    display.heading("What each filter would leave, by itself")
    nouns = ("events", "users", "items")
    rows = [["  as it is", f"{data.num_events:,}", f"{data.num_users:,}", f"{data.num_items:,}"]]
    for flag, counts, rounds in filters:
        label = f"  {flag}" + (f", {rounds} round{'s' * (rounds > 1)}" if rounds else "")
        rows.append([label, *(f"{counts[n]:,}" if n in counts else "" for n in nouns)])
    display.table(["  ", *nouns], rows)


def _show_memory(numbers: dict[str, int], display: Display) -> None:
    display.heading("Memory of a training run, about, beside TensorFlow's 0.6 GB")
    mebi = {key: f"{value / 2**20:,.1f} MiB" for key, value in numbers.items()}
    display.block(
        [
            f"false-negative memory {mebi['memory_bytes']}: {numbers['memory_rows']:,} rows x "
            f"{numbers['memory_slots']} slots; items' weights {mebi['item_weights_bytes']}; "
            f"the log {mebi['log_bytes']}",
        ]
    )
