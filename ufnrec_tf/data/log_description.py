"""The description of a log: its form, its columns, the unit of its times, what filters left."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ufnrec_tf.common.text import plain
from ufnrec_tf.data.times import TimeUnit


class FilterStep(NamedTuple):
    """The counts before and after one filter.

    Attributes:
        name: The setting: exclude_users, min_rating, window, repeats, k_core, min_length.
        words: The events that it keeps, as text.
        before: Counts of events, users and items before it; of a streamed log only of events.
        after: The same counts after it.
    """

    name: str
    words: str
    before: dict[str, int]
    after: dict[str, int]


class TitlesRead(NamedTuple):
    """The titles that an item table has for a log.

    Attributes:
        column: The name of the column of titles; "" where none is read.
        known: Items of the log with a title.
        items: Items of the log.
        notes: What was not plain in the table, a line each.
    """

    column: str
    known: int
    items: int
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Returns the lines for the screen."""
        found = f"column {plain(self.column)!r}, {self.known:,} of {self.items:,} items"
        titles = f"titles: {found}" if self.column else "titles: none read"
        return [titles, *map(plain, self.notes)]


class Note(NamedTuple):
    """Something about a log that a reader should know, and what changes it.

    Attributes:
        name: Name of its kind, for programs.
        words: What it is.
        remedy: The flag to copy, or "".
        share: Share of the rows or ids concerned, 0..1.
    """

    name: str
    words: str
    remedy: str = ""
    share: float = 1.0


FEW_VALUES = "few_values"
"""Name of a note that only --mode=inspect shows: a column that could be one of event types."""

BY_FLAG, BY_NAME, BY_VALUES = "flag", "name", "values"
"""What a column was recognised by."""


class LogDescription(NamedTuple):
    """How a log was read.

    Attributes:
        format: pairs, sequences, dat, inter, csv, jsonl, parquet or dataframe.
        columns: Role (user, item, time, rating, event) -> name of the column; empty if there are
            none.
        time_unit: The unit of the time column as text; empty if there is none.
        is_epoch: True if the times of the `Interactions` are seconds since 1970.
        steps: The filters, in order.
        titles: The titles of the items; None without an item table.
        separator: Between the fields of a table of text; empty for other forms.
        found_by: Role -> `BY_FLAG`, `BY_NAME` or `BY_VALUES`.
        notes: What is not used, and what looks odd.
    """

    format: str
    columns: dict[str, str]
    time_unit: str = ""
    is_epoch: bool = False
    steps: tuple[FilterStep, ...] = ()
    titles: TitlesRead | None = None
    separator: str = ""
    found_by: Mapping[str, str] = MappingProxyType({})
    notes: tuple[Note, ...] = ()

    @classmethod
    def of_times(
        cls,
        format: str,
        columns: dict[str, str],
        unit: TimeUnit | None,
        steps: tuple[FilterStep, ...] = (),
        **facts: Any,
    ) -> "LogDescription":
        """Returns the description of a log whose times have a unit, None for a log without."""
        words, is_epoch = ("", False) if unit is None else (unit.words, unit.is_epoch)
        return cls(format, columns, words, is_epoch, steps, **facts)

    def as_json(self) -> dict[str, Any]:
        """Returns the description as JSON holds it; `of_json` reads it."""
        values: dict[str, Any] = {
            "format": self.format,
            "columns": self.columns,
            "time_unit": self.time_unit,
            "is_epoch": self.is_epoch,
            "filters": [step._asdict() for step in self.steps],
            "separator": self.separator,
            "found_by": dict(self.found_by),
            "notes": [note._asdict() for note in self.notes],
        }
        if self.titles is not None:
            values["titles"] = {**self.titles._asdict(), "notes": list(self.titles.notes)}
        return values


def of_json(values: dict[str, Any]) -> LogDescription:
    """Returns the description that `as_json` wrote; keys that are missing have defaults."""
    titles = values.get("titles")
    if titles is not None:
        titles = TitlesRead(**{**titles, "notes": tuple(titles["notes"])})
    return LogDescription(
        format=values.get("format", ""),
        columns=dict(values.get("columns", {})),
        time_unit=values.get("time_unit", ""),
        is_epoch=values.get("is_epoch", False),
        steps=tuple(FilterStep(**step) for step in values.get("filters", [])),
        titles=titles,
        separator=values.get("separator", ""),
        found_by=dict(values.get("found_by", {})),
        notes=tuple(Note(**note) for note in values.get("notes", [])),
    )


def checked_settings(values: dict[str, Any]) -> dict[str, Any]:
    """Returns the settings of a prepared folder, as they are.

    Raises:
        ValueError, KeyError, TypeError or AttributeError: If they are damaged.
    """
    reading = of_json(values)
    columns = reading.columns
    texts = (reading.format, reading.time_unit, values["repeats"], *columns, *columns.values())
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a setting is no text")
    reading_lines(reading.as_json())  # what cannot be shown is none
    values.get("asked", {}).items()
    return values


def reading_lines(reading: dict[str, Any]) -> list[str]:
    """Returns the lines of an `as_json` for the screen: columns, filters, what to know."""
    columns, unit = reading["columns"], reading["time_unit"]
    parts = [
        f"{role}={plain(name)}" + (f" ({unit})" if role == "time" and unit else "")
        for role, name in columns.items()
        if role != "rating" or any(step["name"] == "min_rating" for step in reading["filters"])
    ]
    shown = f"columns: {', '.join(parts)}" if parts else "no columns: events in the file's order"
    if parts and "time" not in columns:
        shown += "; no times: events in the file's order"
    separator = reading.get("separator", "")
    form = reading["format"] + (f" (separator {_separator_text(separator)})" if separator else "")
    titles = of_json(reading).titles
    return [
        f"         read as {form}; {shown}",
        *(f"         {line}" for line in (titles.lines() if titles else ())),
        *(
            f"filter   {step['words']}: {change_text(step['before'], step['after'])}"
            for step in reading["filters"]
        ),
        *(
            f"note     {note_line(Note(**note))}"
            for note in reading.get("notes", [])
            if note["name"] != FEW_VALUES
        ),
    ]


def _separator_text(separator: str) -> str:
    return {"\t": "tab", " ": "space"}.get(separator, repr(separator))


def note_line(note: Note) -> str:
    """Returns a note and its flag as one line."""
    return f"{note.words}: {note.remedy}" if note.remedy else note.words


def change_text(before: dict[str, int], after: dict[str, int]) -> str:
    """Returns `100 -> 90 events, 10 -> 9 users, ...`."""
    return ", ".join(f"{before[noun]:,} -> {after[noun]:,} {noun}" for noun in before)
