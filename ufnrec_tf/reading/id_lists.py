"""Lists of raw ids that a flag names: a file with one id a line, a table with a column, or ids."""

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.reading.column_names import find_role
from ufnrec_tf.reading.columns import Columns
from ufnrec_tf.reading.data_files import DataFile
from ufnrec_tf.reading.formats import csv_table, inter_table, json_table
from ufnrec_tf.reading.history_forms import RunVocabulary
from ufnrec_tf.reading.parquet_files import is_parquet
from ufnrec_tf.reading.rows import (
    Table,
    as_field,
    header_line,
    looks_like_json,
    objects,
    rows_of,
    split_lines,
)
from ufnrec_tf.reading.text_files import TextFile, load_text

_FILE_ENDS = (".txt", ".csv", ".tsv", ".jsonl", ".json", ".parquet", ".gz")


def read_id_list(path: Path, *, role: str, column: str, flag: str) -> list[str]:
    """Returns the raw ids that a file names, each once, in order.

    The file has one id a line, or is a table (CSV, TSV, .inter, JSON lines, Parquet) with a column
    of ids.

    Args:
        path: The file.
        role: "user" or "item", which the usual names of the column are of.
        column: The user's own name of the column, or "".
        flag: The flag that named the file, for messages.

    Raises:
        UserError: If the file cannot be read, or names nothing.
    """
    if path.is_dir():
        raise UserError(f"{path}: is a folder: give {flag} a file with one {role} id a line.")
    file = DataFile(path, flag=flag)
    if is_parquet(file):
        ids = _of_parquet(file.local, role=role, column=column)
    else:
        ids = list(_of_text(load_text(file, flag=flag), role=role, column=column))
    found = list(dict.fromkeys(raw for raw in ids if raw.strip()))
    if not found:
        raise UserError(f"{path}: names no {role}: give {flag} a file with one {role} id a line.")
    return found


def _of_text(file: TextFile, *, role: str, column: str) -> Iterator[str]:
    columns = Columns(user=column) if role == "user" else Columns(item=column)
    is_json = looks_like_json(file.first_line()[1])
    table = json_table(file, columns) if is_json else inter_table(file, columns)
    table = table or csv_table(file, columns)
    place = find_role(table.names, role, column)
    if place is None and column:
        place = find_role(table.names, role)
    if place is None:
        yield from (line.removesuffix("\r") for line in file.data.decode().split("\n"))
        return
    yield from _of_column(file, table, place)


def _of_column(file: TextFile, table: Table, place: int) -> Iterator[str]:
    if table.is_json:
        for _, values in objects(file, file.data.decode().split("\n")):
            yield as_field(values.get(table.names[place]))
        return
    rows = rows_of(file, split_lines(file.data, table), table)
    if table.has_header:
        header_line(file, rows)
    for line, row in rows:
        if len(row) <= place:
            raise file.error(
                f"{len(row)} field(s) where the header has {len(table.names)}: expected as many; "
                "correct the line.",
                line=line,
            )
        yield row[place]


def _of_parquet(path: Path, *, role: str, column: str) -> list[str]:
    try:
        names = pq.read_schema(path).names
        place = find_role(names, role, column)
        place = find_role(names, role) if place is None else place
        if place is None:
            raise UserError(
                f"{path}: no {role} column among {', '.join(map(repr, names[:20]))}: rename the "
                f"one with the {role} ids to {role}_id."
            )
        ids = pq.read_table(path, columns=[names[place]]).column(0).cast(pa.string())
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(
            f"{path}: its {role} ids cannot be read ({own_words(error)[:200]}): expected a whole "
            "Parquet file with a column of texts or whole numbers; write it again."
        ) from error
    return [raw for raw in ids.to_pylist() if raw is not None]


def ids_of_flag(text: str, *, flag: str, known: RunVocabulary | None) -> list[str]:
    """Returns the raw item ids that a flag gives: of a file if there is one of that name, else ids.

    Args:
        text: The value of the flag: a file's path, or ids separated by commas.
        flag: The flag, for messages.
        known: The ids of the run: an id may hold commas itself.

    Raises:
        UserError: If the file cannot be read, or there is no id.
    """
    if os.path.isfile(text):  # other than Path.is_file, False for a text too long for a name
        ids = read_id_list(Path(text), role="item", column="", flag=flag)
    elif known is not None and text in known.items:
        ids = [text]
    else:
        ids = [stripped for raw in text.split(",") if (stripped := raw.strip())]
        is_known = known is not None and any(known.item(raw) in known.items for raw in ids)
        if not is_known and (os.sep in text or Path(text).suffix in _FILE_ENDS):
            raise UserError(f"{text}: no such file: check the path given as {flag}.")
    if not ids:
        raise UserError(f"{flag}={text}: names no item: give ids separated by commas, or a file.")
    return list(dict.fromkeys(ids if known is None else map(known.item, ids)))
