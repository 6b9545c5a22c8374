"""Layouts of tables, told by the start of a file: typed header, header, `::`, JSON objects."""

import csv
import io
import re

from ufnrec_tf.data.columns import Columns
from ufnrec_tf.data.files import TextFile
from ufnrec_tf.data.json_lines import names_of
from ufnrec_tf.data.table_rows import Table

_TYPED = re.compile(r"\s*([^:]+):(?:token|token_seq|float|float_seq)\s*")
_MAX_HEADER = 1 << 16

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


def csv_table(file: TextFile, columns: Columns) -> Table:
    """Returns the layout that the first line gives if it is the header of a CSV or TSV."""
    header = file.first_line()[1]
    separator = columns.separator or ("\t" if "\t" in header else ",")
    # Cut, because csv refuses a field of 128 KiB, and a long first line may be no header at all.
    # Through StringIO, because a header may end in a lone carriage return.
    start = io.StringIO(header[:_MAX_HEADER], newline="")
    fields = next(csv.reader(start, delimiter=separator))
    return Table([field.strip() for field in fields], separator, is_quoted=True)


def dat_table(file: TextFile, columns: Columns) -> Table:
    """Returns the layout of `user::item[::rating[::timestamp]]` without a header."""
    fields = file.first_line()[1].split("::")
    return Table(list(DAT_NAMES[: max(len(fields), 2)]), "::", is_quoted=False, has_header=False)


def json_table(file: TextFile, columns: Columns) -> Table:
    """Returns the layout of JSON lines.

    Raises:
        UserError: If one of the first lines is no object.
    """
    return Table(names_of(file), "", is_quoted=False, has_header=False, is_json=True)
