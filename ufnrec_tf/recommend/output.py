"""Files of recommendations, CSV, gzipped CSV or Parquet: written in parts, joined at the end."""

from __future__ import annotations

import csv
import gzip
import io
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.files import is_stream

_OTHER_FORMS = (
    *(".json", ".jsonl", ".ndjson", ".tsv", ".xls", ".xlsx", ".ods", ".feather", ".arrow", ".orc"),
    *(".gz", ".bz2", ".zst", ".xz", ".zip", ".html", ".pdf"),
)
_GROUP_ROWS = 1 << 18  # of a Parquet row group, at least, except for the last of a part


class PartWriter(Protocol):
    """A writer of the rows of a part."""

    def write(self, table: pa.Table) -> None:
        """Appends rows."""


def format_of(output: Path) -> str:
    """Returns "parquet", "csv.gz" or, for any other name, "csv"."""
    name = output.name.lower()
    return next((end for end in ("parquet", "csv.gz") if name.endswith(f".{end}")), "csv")


def output_schema(column: str, *, has_titles: bool) -> pa.Schema:
    """Returns the columns of an output.

    Args:
        column: "user", "row" where histories are named by their lines, or `SIMILAR_TO`.
        has_titles: True if the model's items have titles.
    """
    fields = [
        (column, pa.int64() if column == "row" else pa.string()),
        ("rank", pa.int32()),
        ("item", pa.string()),
        ("score", pa.float32()),
    ]
    titles = [("title", pa.string())] if has_titles else []
    # Last, so that a reader by place finds the columns of earlier versions where they were.
    return pa.schema([*fields, *titles, ("known_items", pa.int32())])


@contextmanager
def part_writer(path: Path, schema: pa.Schema, format: str) -> Iterator[PartWriter]:
    """Yields the writer of the part `path`; a CSV part has no header."""
    if format == "parquet":
        with pq.ParquetWriter(path, schema) as file:
            writer = _ParquetWriter(file)
            yield writer
            writer.flush()
        return
    with _open_csv(path, packed=format == "csv.gz") as file:
        yield _CsvWriter(file)


def join_parts(parts: Sequence[Path], output: Path, schema: pa.Schema, format: str) -> None:
    """Writes a header and the parts, one after the other, into `output`."""
    if format == "parquet":
        with pq.ParquetWriter(output, schema) as file:
            for path in parts:
                with pq.ParquetFile(path) as part:
                    for number in range(part.num_row_groups):
                        file.write_table(part.read_row_group(number))
        return
    with _open_csv(output, packed=format == "csv.gz") as file:
        csv.writer(file, lineterminator="\n").writerow(schema.names)
    # A gzip file may consist of several members: RFC 1952, section 2.2.
    with open(output, "ab") as joined:
        for path in parts:
            with open(path, "rb") as part:
                shutil.copyfileobj(part, joined, 1 << 20)


def checked_output(output_path: str | os.PathLike[str], histories: Path | None) -> Path:
    """Returns the real path of the output, so that a link is followed and not replaced.

    Raises:
        UserError: If no file can be written there, its name is that of another form, or it is the
            input.
    """
    output = Path(output_path)
    # Asked of the path as it is given: that of a pipe has no real name.
    if output.is_dir() or os.fspath(output_path).endswith(os.sep):
        raise UserError(
            f"{output}: is a folder. Give --output a file in it, such as {output / 'out.csv'}."
        )
    if format_of(output) == "csv" and output.suffix.lower() in _OTHER_FORMS:
        raise UserError(
            f"{output}: recommendations are written as CSV or Parquet, not as {output.suffix}. End "
            "the name of --output with .csv, .csv.gz or .parquet."
        )
    if is_stream(output):
        raise UserError(
            f"{output}: is not a regular file, and recommendations are written whole or not at "
            "all. Give --output a file's name, such as out.csv, and read it once it is there."
        )
    real = Path(os.path.realpath(output))
    if not real.parent.is_dir():
        raise UserError(
            f"{output}: its folder {output.parent} does not exist. Create it, or correct --output."
        )
    if histories is not None and real.exists() and real.samefile(histories):
        raise UserError(f"{output}: is also the input. Give --output another name.")
    return real


@contextmanager
def _open_csv(path: Path, *, packed: bool) -> Iterator[Any]:
    """Yields a text file for CSV; packed without name and time, for equal bytes each run."""
    with ExitStack() as stack:
        raw: Any = stack.enter_context(open(path, "wb"))
        if packed:
            raw = stack.enter_context(
                gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0)
            )
        yield stack.enter_context(io.TextIOWrapper(raw, encoding="utf-8", newline=""))


class _CsvWriter:
    """Writes the rows of a CSV part."""

    def __init__(self, file: Any) -> None:
        # Before Python 3.13 the first one leaves a field with \r unquoted, as lines end with \n.
        self._writer = csv.writer(file, lineterminator="\n")
        self._quoting = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def write(self, table: pa.Table) -> None:
        """Appends rows; a score is the shortest text that reads back as the same float32."""
        column = table.schema.get_field_index("score")
        table = table.set_column(column, "score", table["score"].cast(pa.string()))
        rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
        if not any(_has_return(column) for column in table.columns):
            self._writer.writerows(rows)
            return
        for row in rows:
            has_return = any(isinstance(value, str) and "\r" in value for value in row)
            (self._quoting if has_return else self._writer).writerow(row)


def _has_return(column: pa.ChunkedArray) -> bool:
    return pa.types.is_string(column.type) and bool(
        pc.any(pc.match_substring(column, "\r")).as_py()
    )


class _ParquetWriter:
    """Writes the rows of a Parquet part, gathered into row groups."""

    def __init__(self, file: pq.ParquetWriter) -> None:
        self._file = file
        self._tables: list[pa.Table] = []
        self._num_rows = 0

    def write(self, table: pa.Table) -> None:
        """Appends rows."""
        self._tables.append(table)
        self._num_rows += table.num_rows
        if self._num_rows >= _GROUP_ROWS:
            self.flush()

    def flush(self) -> None:
        """Writes the gathered rows."""
        if self._num_rows:
            self._file.write_table(pa.concat_tables(self._tables))
        self._tables, self._num_rows = [], 0
