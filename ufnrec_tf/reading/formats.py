"""The forms of text logs: their detection, and their table, `READERS`."""

import csv
import io
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.data.events import EventBatch, batch_of
from ufnrec_tf.data.times import as_numbers
from ufnrec_tf.reading.column_kinds import FIRST_ROWS, time_kind
from ufnrec_tf.reading.column_names import (
    REQUIRED,
    SPELLINGS,
    as_name,
    find_role,
    may_be_names,
)
from ufnrec_tf.reading.columns import EXPECTED_HEADER, Columns
from ufnrec_tf.reading.rows import Table, keys_of, looks_like_array, looks_like_json
from ufnrec_tf.reading.text_files import TextFile, load_text

_TYPED = re.compile(r"\s*([^:]+):(?:token|token_seq|float|float_seq)\s*")
_MAX_HEADER = 1 << 16
_MOST_RATING = 100
_MOST_PREAMBLE = 20  # lines that are looked at for a header

DAT_NAMES = ("user", "item", "rating", "timestamp")
"""What the fields of a .dat file are, as many as it has."""


def inter_table(file: TextFile, columns: Columns) -> Table | None:
    """Returns the layout that a typed header gives, or None where the file has none."""
    separator = columns.separator or "\t"
    fields = file.first_line()[1].split(separator)
    typed = [_TYPED.fullmatch(field) for field in fields]
    names = [match.group(1) for match in typed if match]
    is_typed = len(names) == len(fields) > 1
    return Table(names, separator, is_quoted=False) if is_typed else None


def typed_table(file: TextFile, columns: Columns) -> Table:
    """Returns the layout of a RecBole atomic file: a typed header, tabs, no quoting.

    Raises:
        UserError: If the header is not typed.
    """
    table = inter_table(file, columns)
    if table is None:
        raise file.error(
            "no typed header: expected tab-separated name:type fields (types token, token_seq, "
            "float, float_seq) such as user_id:token<TAB>item_id:token<TAB>timestamp:float; for "
            f"an untyped header give {_AS}csv.",
            line=file.first_line()[0],
        )
    return table


def csv_table(file: TextFile, columns: Columns) -> Table:
    """Returns the layout of a CSV or TSV with a header, whose names are in the first line.

    Quoted fields may hold separators and line ends.
    """
    separator = columns.separator or _separator_of(file, columns)
    names = _header_names(file.first_line()[1], separator)
    skips_space = columns.strip and separator != " " and f'{separator} "'.encode() in file.data
    return Table(names, separator, is_quoted=True, skips_space=skips_space)


def _header_names(header: str, separator: str) -> list[str]:
    # Cut, because csv refuses a field of 128 KiB, and a long first line may be no header at all.
    # Through StringIO, because a header may end in a lone carriage return.
    start = io.StringIO(header[:_MAX_HEADER], newline="")
    fields = csv.reader(start, delimiter=separator, skipinitialspace=separator != " ")
    return [field.strip() for field in next(fields)]


def _separator_of(file: TextFile, columns: Columns) -> str:
    """Returns the character between the names of a header: that which makes most of them known.

    A tab is always a separator. A space is one only where it is in all of the first lines.
    """
    header = file.first_line()[1]
    if "\t" in header:
        return "\t"
    known = {
        separator: sum(
            find_role(_header_names(header, separator), role, getattr(columns, role)) is not None
            for role in REQUIRED
        )
        for separator in (",", ";", "|", "\x01", "^", "~", " ")
        if separator in header
    }
    if known.get(" ", 0) < len(REQUIRED) or not _are_spaced(file):
        known.pop(" ", None)
    return max(known, key=lambda separator: known[separator], default=",")


def _are_spaced(file: TextFile) -> bool:
    """Returns True if the first lines have as many fields as the header, one space between."""
    lines = (line for line in file.data.split(b"\n", FIRST_ROWS)[:FIRST_ROWS] if line.strip())
    counts = {len(line.rstrip(b"\r").split(b" ")) for line in lines}
    return len(counts) == 1 and counts != {1}


def dat_table(file: TextFile, columns: Columns) -> Table:
    """Returns the layout of `user::item[::rating[::timestamp]]`, as MovieLens has it; no header.

    A third field that is plainly a time is one.
    """
    names = list(DAT_NAMES[: max(len(file.first_line()[1].split("::")), 2)])
    if len(names) > 2:
        lines = file.data.decode().split("\n", FIRST_ROWS)[:FIRST_ROWS]
        thirds = [line.split("::")[2] for line in lines if line.count("::") >= 2]
        if time_kind(pd.Series(thirds, dtype=object)) is not None:
            names[2:] = ["timestamp", "rating"][: len(names) - 2]
    return Table(names, "::", is_quoted=False, has_header=False)


def json_table(file: TextFile, columns: Columns) -> Table:
    """Returns the layout of JSON lines, one object each.

    Raises:
        UserError: If one of the first lines is no object.
    """
    names, nested = keys_of(file)
    return Table(names, "", is_quoted=False, has_header=False, is_json=True, nested=nested)


_AS = "--config.data.format="


def read_pairs(file: TextFile, columns: Columns) -> EventBatch:
    """Reads `user item` lines, in order; spaces or tabs between.

    Raises:
        UserError: If a line has not two fields, or the first one is a header.
    """
    _refuse_columns(file, columns, "pairs")
    _refuse_header(file)
    counts = file.field_counts
    wrong = np.flatnonzero((counts != 2) & (counts != 0))
    if len(wrong):
        raise file.error(
            f"{counts[wrong[0]]} field(s) where a pairs file has two (`user item`), as "
            f"{np.count_nonzero(counts == 2):,} of its {np.count_nonzero(counts):,} lines have: "
            f"mend or delete the line; if each line is a user with all items, {_AS}sequences "
            "reads it so; for ids with spaces or for more columns write a CSV with a header.",
            line=int(wrong[0]) + 1,
        )
    fields = file.fields()
    _refuse_later_header(file, fields[0::2], fields[1::2])
    return batch_of(fields[0::2], fields[1::2])


def read_sequences(file: TextFile, columns: Columns) -> EventBatch:
    """Reads `user item item ...` lines, oldest first.

    Raises:
        UserError: If a line has a user only, a user begins two lines, or the first is a header.
    """
    _refuse_columns(file, columns, "sequences")
    _refuse_header(file)
    counts = file.field_counts
    lone = np.flatnonzero(counts == 1)
    if len(lone):
        raise file.error(
            "1 field where a sequences file has a user and at least one item (`user item item "
            f"...`): add the items or delete the line; for another form of file give {_AS}pairs "
            "or csv (and --config.data.separator=CHARACTER).",
            line=int(lone[0]) + 1,
        )
    users = line_users(file)
    again = np.flatnonzero(users.duplicated())
    if len(again):
        user = users[again[0]]
        lines = np.flatnonzero(counts)[users == user] + 1
        raise file.error(
            f"user {user[:40]!r} again, after line {lines[0]}: expected one line a user "
            "with all items, oldest first; join the lines; or, if each line is one event, delete "
            f"what follows the item ({_AS}pairs), or put a header line such as "
            f"user_id<TAB>item_id<TAB>timestamp on top ({_AS}csv).",
            line=int(lines[1]),
        )
    counts = counts[counts > 0]
    is_item = np.ones(counts.sum(), dtype=bool)
    is_item[np.cumsum(counts) - counts] = False
    _refuse_later_header(file, users.to_numpy(), file.fields()[np.flatnonzero(~is_item) + 1])
    items = file.fields()[is_item]
    repeated = np.repeat(users.to_numpy(), counts - 1)
    return batch_of(repeated, items)


def _refuse_columns(file: TextFile, columns: Columns, format: str) -> None:
    if columns.is_named:
        raise file.error(
            f"read as {format}, which has no columns: expected no --config.data.*_column and no "
            f"--config.data.separator; leave them out, or give {_AS}csv."
        )


def _refuse_header(file: TextFile) -> None:
    """Refuses a header, which would become an event: `user_id item_id` looks like a pair."""
    line, text = file.first_line()
    fields = text.split()
    counts = file.field_counts[file.field_counts > 0]
    # Of a ragged file the start only: further on, words such as `book` may well be items.
    fields = fields if (counts == counts[0]).all() else fields[:2]
    if all(find_role(fields, role) is not None for role in REQUIRED):
        raise _header_error(file, fields, line)


def _refuse_later_header(file: TextFile, users: np.ndarray, items: np.ndarray) -> None:
    """Refuses a header further on, as joined files have it.

    Args:
        file: The file.
        users: The first field of each line that is not blank.
        items: The second field.
    """
    if not may_be_names(users, SPELLINGS["user"]):
        return
    pairs = enumerate(zip(map(as_name, users), map(as_name, items), strict=True))
    for place, (user, item) in pairs:
        if user in SPELLINGS["user"] and item in SPELLINGS["item"]:
            line = int(np.flatnonzero(file.field_counts)[place]) + 1
            raise _header_error(file, [users[place], items[place]], line)


def _header_error(file: TextFile, fields: Sequence[str], line: int) -> UserError:
    return file.error(
        f"{' '.join(fields)[:60]!r} looks like a header: expected events only; delete the "
        f"line, or separate the fields of all lines by commas or tabs and give {_AS}csv.",
        line=line,
    )


def line_users(file: TextFile) -> pd.Series:
    """Returns the first field of each line that is not blank, object(str)."""
    counts = file.field_counts[file.field_counts > 0]
    return pd.Series(file.fields()[np.cumsum(counts) - counts], dtype=object)


class Form(NamedTuple):
    """The reader of one form of text: one of the two functions is given.

    Attributes:
        layout: Returns the layout of a table, a row an event, by the start of the file. Such a
            form can be read a block at a time.
        read: Returns the events of a whole file.
    """

    layout: Callable[[TextFile, Columns], Table] | None = None
    read: Callable[[TextFile, Columns], EventBatch] | None = None


READERS: dict[str, Form] = {
    "pairs": Form(read=read_pairs),
    "sequences": Form(read=read_sequences),
    "inter": Form(layout=typed_table),
    "csv": Form(layout=csv_table),
    "jsonl": Form(layout=json_table),
    "dat": Form(layout=dat_table),
}
"""Name of a form -> how it is read."""


def detect_format(file: TextFile | str | os.PathLike[str], columns: Columns | None = None) -> str:
    """Returns the key of `READERS` that a file looks like.

    Args:
        file: The file, or its path.
        columns: The columns and separator that the user named.

    Raises:
        UserError: If the file is no text, or has commas and no header.
    """
    file = file if isinstance(file, TextFile) else load_text(file)
    return table_format(file, columns or Columns()) or _bare_format(file, columns or Columns())


def table_format(file: TextFile, columns: Columns) -> str:
    """Returns the form of a table by its first line, or "" where that is of no table."""
    header = file.first_line()[1]
    if inter_table(file, columns) is not None:
        return "inter"
    if looks_like_json(header):
        return "jsonl"
    if 2 <= len(header.split("::")) <= 4 and len(header.split()) == 1:
        return "dat"
    if columns.is_named:
        return "csv"
    table = csv_table(file, columns)
    roles = [find_role(table.names, role) is not None for role in REQUIRED]
    # Words between spaces may be items; a user and an item column by name are a header.
    is_header = all(roles) if table.separator == " " else any(roles)
    return "csv" if is_header and table.separator in header else ""


def refuse_headerless(file: TextFile) -> None:
    """Refuses a table without a header, whose ratings and times would become items.

    It is one if all of the first lines have the same three to eight fields, and exactly one column
    holds dates or numbers since 1970.

    Raises:
        UserError: With the header line to put on top.
    """
    start = file.data.split(b"\n", FIRST_ROWS)[:FIRST_ROWS]
    if len(start) == FIRST_ROWS:
        start = start[:-1]
    lines = [line.decode().rstrip("\r") for line in start if line.strip()]
    for separator in ("\t", ",", ";", "|", " "):
        rows = [line.split(separator) for line in lines]
        width = len(rows[0])
        if not 3 <= width <= 8 or any(len(row) != width for row in rows):
            continue
        columns = [pd.Series(column, dtype=object) for column in zip(*rows, strict=True)]
        times = [place for place, values in enumerate(columns) if time_kind(values) is not None]
        if len(times) == 1:
            names = _names_for(columns, times[0])
            shown = {"\t": "<TAB>"}.get(separator, separator).join(names)
            raise file.error(
                f"{width} columns and no header, and one is plainly a time "
                f"({rows[0][times[0]][:40]!r}): expected a header; put the line {shown} on top, if "
                "that is what they hold.",
                line=file.first_line()[0],
            )


def _names_for(columns: list[pd.Series], time: int) -> list[str]:
    """Returns names for the columns of a table without a header: user, item, rating, time."""
    left = [place for place in range(len(columns)) if place != time]
    ratings = [
        place
        for place in left[2:]
        if (numbers := as_numbers(columns[place])).max(initial=0) <= _MOST_RATING
        and np.isfinite(numbers).all()
    ]
    names = {time: "timestamp", left[0]: "user_id", left[1]: "item_id"}
    names |= dict.fromkeys(ratings[:1], "rating")
    return [names.get(place, f"column_{place + 1}") for place in range(len(columns))]


def _refuse_preamble(file: TextFile, columns: Columns) -> None:
    """Refuses lines of fewer fields above the header: a title, a comment, sep=;."""
    lines = file.data.split(b"\n", _MOST_PREAMBLE)[:_MOST_PREAMBLE]
    for above, text in enumerate(lines):
        if not above or not text.strip() or len(text) > _MAX_HEADER:
            continue
        table = csv_table(replace(file, data=text), columns)
        roles = [find_role(table.names, role) is not None for role in REQUIRED]
        mark = table.separator.encode()
        has_fewer = all(line.count(mark) < text.count(mark) for line in lines[:above])
        if all(roles) and table.separator != " " and has_fewer:
            raise file.error(
                f"the header stands in line {above + 1}: expected it in the first one; delete the "
                f"lines above it (tail -n +{above + 1} {file.argument or file.path} > log.csv).",
                line=1,
            )


def _bare_format(file: TextFile, columns: Columns) -> str:
    """Returns pairs or sequences, by the numbers of fields of all lines.

    Raises:
        UserError: If there are commas and no header.
    """
    line, header = file.first_line()
    if looks_like_array(header):
        raise file.error(
            "a JSON array that holds no objects: expected objects with the names of the columns; "
            "of arrays [user, item, time] they are made by: jq -c '.[] | {user_id: .[0], item_id: "
            f".[1], timestamp: .[2]}}' {file.argument or file.path} > log.jsonl (without .[] where "
            "each line is one array).",
            line=line,
        )
    _refuse_preamble(file, columns)
    refuse_headerless(file)
    if "," in header and "\t" not in header:
        raise file.error(
            f"commas, but no header that names a user or an item column: {EXPECTED_HEADER}.",
            line=line,
        )
    counts = file.field_counts[file.field_counts > 0]
    is_two = counts == 2
    if is_two.all():
        return "pairs"
    if is_two.mean() >= 0.5 and line_users(file).duplicated().any():
        return "pairs"
    return "sequences"
