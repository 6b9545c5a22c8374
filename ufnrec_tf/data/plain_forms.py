"""Logs without a header whose fields white space separates: pairs and sequences."""

import numpy as np
import pandas as pd

from ufnrec_tf.data.columns import REQUIRED, Columns, RawLog, find_role
from ufnrec_tf.data.files import TextFile

_AS = "--config.data.format="


def read_pairs(file: TextFile, columns: Columns) -> RawLog:
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
    return RawLog(pd.DataFrame({"user": fields[0::2], "item": fields[1::2]}, dtype=object), {})


def read_sequences(file: TextFile, columns: Columns) -> RawLog:
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
    items = file.fields()[is_item]
    repeated = np.repeat(users.to_numpy(), counts - 1)
    return RawLog(pd.DataFrame({"user": repeated, "item": items}, dtype=object), {})


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


def line_users(file: TextFile) -> pd.Series:
    """Returns the first field of each line that is not blank, object(str)."""
    counts = file.field_counts[file.field_counts > 0]
    return pd.Series(file.fields()[np.cumsum(counts) - counts], dtype=object)
