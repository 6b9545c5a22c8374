"""Readers: a log file in one of several forms -> `Interactions`.

How `format="auto"` decides, by the first line that is not blank:

0. a Parquet file, told by its first and last bytes: `parquet`.
1. fields `name:type` (types token, token_seq, float, float_seq), tab separated: `inter`.
2. a flag names a column or the separator, or the line has a comma or a tab and one of its fields is
   a usual name of a user or item column (`columns.GUESSES`): `csv`, tab separated where the line
   has a tab.
3. a comma, no tab, and no such name: an error, a comma file needs a header.
4. all lines have two whitespace-separated fields: `pairs`. Also if at least half of the lines have
   and some user begins two lines: no sequences file has that, so it is a pairs file with a
   broken line, and is reported.
5. else `sequences`.

Blank lines are skipped, a byte order mark and Windows line ends too. Ids stay the file's text.
To add a reader, write a function of (TextFile, Columns) and add its line to `READERS`.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from ufnrec_tf.data.columns import (
    EXPECTED_HEADER,
    REQUIRED,
    Columns,
    csv_table,
    find_role,
    inter_table,
    read_table,
)
from ufnrec_tf.data.files import TextFile, load_text
from ufnrec_tf.data.interactions import REPEATS, Interactions, build_interactions
from ufnrec_tf.data.parquet_logs import ParquetLog, is_parquet, read_frame
from ufnrec_tf.data.table_rows import Table
from ufnrec_tf.data.titles import read_titles
from ufnrec_tf.errors import UserError
from ufnrec_tf.names import pick

PARQUET = "parquet"
_AS = "--config.data.format="


def read_pairs(file: TextFile, columns: Columns) -> pd.DataFrame:
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
    return pd.DataFrame({"user": fields[0::2], "item": fields[1::2]}, dtype=object)


def read_sequences(file: TextFile, columns: Columns) -> pd.DataFrame:
    """Reads `user item item ...` lines, oldest first.

    Raises:
        UserError: If a line has a user only, a user begins two lines, or the first is a header.
    """
    _refuse_columns(file, columns, "sequences")
    _refuse_header(file)
    counts = file.field_counts
    alone = np.flatnonzero(counts == 1)
    if len(alone):
        raise file.error(
            "1 field where a sequences file has a user and at least one item (`user item item "
            f"...`): add the items or delete the line; for another form of file give {_AS}pairs "
            "or csv (and --config.data.separator=CHARACTER).",
            line=int(alone[0]) + 1,
        )
    users = _line_users(file)
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
    items = file.fields()[is_item]
    repeated = np.repeat(users.to_numpy(), counts - 1)
    return pd.DataFrame({"user": repeated, "item": items}, dtype=object)


def read_inter(file: TextFile, columns: Columns) -> pd.DataFrame:
    """Reads a RecBole atomic file: a typed header, tabs, no quoting.

    Raises:
        UserError: If the header is not typed, or as `columns.read_table`.
    """
    return read_table(file, typed_table(file, columns), columns)


def typed_table(file: TextFile, columns: Columns) -> Table:
    """Returns the layout that a typed header gives.

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


def read_csv(file: TextFile, columns: Columns) -> pd.DataFrame:
    """Reads a CSV or TSV with a header; quoted fields may hold separators and line ends.

    Raises:
        UserError: As `columns.read_table`.
    """
    return read_table(file, csv_table(file, columns), columns)


Reader = Callable[[TextFile, Columns], pd.DataFrame]
READERS: dict[str, Reader] = {
    "pairs": read_pairs,
    "sequences": read_sequences,
    "inter": read_inter,
    "csv": read_csv,
}
"""Format -> reader; each returns `user`, `item` and where there is one `time`, in file order."""


def detect_format(file: TextFile | str | os.PathLike[str], columns: Columns | None = None) -> str:
    """Returns the key of `READERS` that a file looks like, by the rule at the top of this module.

    Args:
        file: The file, or its path.
        columns: The columns and separator that the user named.

    Raises:
        UserError: If the file is no text, or has commas and no header.
    """
    file = file if isinstance(file, TextFile) else load_text(file)
    columns = columns or Columns()
    if inter_table(file, columns) is not None:
        return "inter"
    if columns.is_named:
        return "csv"
    line, header = file.first_line()
    if "," in header or "\t" in header:
        names = csv_table(file, columns).names
        if any(find_role(names, role) is not None for role in REQUIRED):
            return "csv"
        if "\t" not in header:
            raise file.error(
                f"commas, but no header that names a user or an item column: {EXPECTED_HEADER}.",
                line=line,
            )
    counts = file.field_counts[file.field_counts > 0]
    is_two = counts == 2
    if is_two.all():
        return "pairs"
    if is_two.mean() >= 0.5 and _line_users(file).duplicated().any():
        return "pairs"
    return "sequences"


def read_interactions(
    path: str | os.PathLike[str],
    *,
    format: str = "auto",
    user_column: str = "",
    item_column: str = "",
    time_column: str = "",
    rating_column: str = "",
    separator: str = "",
    repeats: str = "keep",
    titles_path: str | os.PathLike[str] = "",
) -> Interactions:
    """Reads a log file.

    Args:
        path: The file.
        format: A key of `READERS`, "parquet", or "auto": see the top of this module.
        user_column: Name of the user column of a table; "" tries the usual names.
        item_column: Name of the item column.
        time_column: Name of the time column, numbers; "none": there may be one, do not read it.
        rating_column: Name of the rating column, numbers, checked and not used; "none" as above.
        separator: The character between a table's fields, or "tab"; "" detects.
        repeats: "keep" or "drop" all but a user's oldest event with an item.
        titles_path: A table with a header, an item column and one whose name contains "title" (or
            is "name"); "" takes the .item beside a .inter where there is one.

    Raises:
        UserError: For anything wrong with the file or the settings, naming file and line.
    """
    pick({name: name for name in ("auto", PARQUET, *READERS)}, format, key="data.format")
    pick({name: name for name in REPEATS}, repeats, key="data.repeats")
    columns = Columns(user_column, item_column, time_column, rating_column, separator_of(separator))
    if format == PARQUET or (format == "auto" and is_parquet(path)):
        log = ParquetLog(path, columns=columns)
        frame, format, sha256 = read_frame(log), PARQUET, log.sha256
    else:
        file = load_text(path)
        format = detect_format(file, columns) if format == "auto" else format
        frame, sha256 = READERS[format](file, columns), file.sha256
    beside = Path(path).with_suffix(".item")
    titles = None
    if titles_path:
        titles = read_titles(titles_path, item_ids=set(frame["item"]))
    elif format == "inter" and beside.is_file():
        titles = read_titles(beside)
    return build_interactions(
        frame, sha256=sha256, source=Path(path).name, repeats=repeats, titles=titles
    )


def separator_of(text: str) -> str:
    """Returns the character that `data.separator` names.

    Raises:
        UserError: If it is none.
    """
    character = {"tab": "\t", "\\t": "\t"}.get(text, text)
    if len(character) > 1 or character in ('"', "\n", "\r"):
        raise UserError(
            "`data.separator` must be one character other than a quote, or tab. "
            f"Received: {text!r}."
        )
    return character


def _refuse_columns(file: TextFile, columns: Columns, format: str) -> None:
    if columns.is_named:
        raise file.error(
            f"read as {format}, which has no columns: expected no --config.data.*_column and no "
            f"--config.data.separator; leave them out, or give {_AS}csv."
        )


def _refuse_header(file: TextFile) -> None:
    """An untold header would become an event: `user_id item_id` looks like a pair."""
    line, text = file.first_line()
    fields = text.split()
    counts = file.field_counts[file.field_counts > 0]
    # Of a ragged file the start only: further on, words such as `book` may well be items.
    fields = fields if (counts == counts[0]).all() else fields[:2]
    if all(find_role(fields, role) is not None for role in REQUIRED):
        raise file.error(
            f"{' '.join(fields)[:60]!r} looks like a header: expected events only; delete the "
            f"line, or separate the fields of all lines by commas or tabs and give {_AS}csv.",
            line=line,
        )


def _line_users(file: TextFile) -> pd.Series:
    """Returns the first field of each line that is not blank, object(str)."""
    counts = file.field_counts[file.field_counts > 0]
    return pd.Series(file.fields()[np.cumsum(counts) - counts], dtype=object)
