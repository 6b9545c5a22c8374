"""Text logs in one of several forms, and how a file's form is told.

How `format="auto"` decides, by the first line that is not blank:

0. a Parquet file, told by its first and last bytes: `parquet` (which `readers` looks for).
1. fields `name:type` (types token, token_seq, float, float_seq), tab separated: `inter`.
2. a JSON object: `jsonl`.
3. one field without white space of two to four parts between `::`, as user::item::rating::time:
   `dat`.
4. a flag names a column or the separator, or the line has a comma or a tab and one of its fields is
   a usual name of a user or item column (`columns.GUESSES`): `csv`, tab separated where the line
   has a tab.
5. a comma, no tab, and no such name: an error, a comma file needs a header.
6. all lines have two whitespace-separated fields: `pairs`. Also if at least half of the lines have
   and some user begins two lines: no sequences file has that, so it is a pairs file with a
   broken line, and is reported.
7. else `sequences`.

Blank lines are skipped, a byte order mark and Windows line ends too. Ids stay the file's text.
To add a reader, write a function of (TextFile, Columns) and add its line to `READERS`.
"""

import os
from collections.abc import Callable

from ufnrec_tf.data.columns import EXPECTED_HEADER, REQUIRED, Columns, RawLog, find_role, read_table
from ufnrec_tf.data.files import TextFile, load_text
from ufnrec_tf.data.json_lines import looks_like_json
from ufnrec_tf.data.layouts import csv_table, dat_table, inter_table, json_table
from ufnrec_tf.data.plain_forms import line_users, read_pairs, read_sequences
from ufnrec_tf.data.table_rows import Table

_AS = "--config.data.format="


def read_inter(file: TextFile, columns: Columns) -> RawLog:
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


def read_csv(file: TextFile, columns: Columns) -> RawLog:
    """Reads a CSV or TSV with a header; quoted fields may hold separators and line ends.

    Raises:
        UserError: As `columns.read_table`.
    """
    return read_table(file, csv_table(file, columns), columns)


def read_jsonl(file: TextFile, columns: Columns) -> RawLog:
    """Reads one JSON object a line; nested values are not read.

    Raises:
        UserError: If a line is no object, or as `columns.read_table`.
    """
    return read_table(file, json_table(file, columns), columns)


def read_dat(file: TextFile, columns: Columns) -> RawLog:
    """Reads `user::item[::rating[::timestamp]]` lines, as MovieLens has them; no header.

    Raises:
        UserError: As `columns.read_table`.
    """
    return read_table(file, dat_table(file, columns), columns)


Reader = Callable[[TextFile, Columns], RawLog]
READERS: dict[str, Reader] = {
    "pairs": read_pairs,
    "sequences": read_sequences,
    "inter": read_inter,
    "csv": read_csv,
    "jsonl": read_jsonl,
    "dat": read_dat,
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
    line, header = file.first_line()
    if inter_table(file, columns) is not None:
        return "inter"
    if looks_like_json(header):
        return "jsonl"
    if 2 <= len(header.split("::")) <= 4 and len(header.split()) == 1:
        return "dat"
    if columns.is_named:
        return "csv"
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
    if is_two.mean() >= 0.5 and line_users(file).duplicated().any():
        return "pairs"
    return "sequences"
