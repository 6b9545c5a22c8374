"""Files of histories to recommend for: logs in any form, or one history a line."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.reading.column_names import REQUIRED, find_role
from ufnrec_tf.reading.columns import Columns
from ufnrec_tf.reading.event_batches import TextLog
from ufnrec_tf.reading.formats import Form, csv_table, table_format
from ufnrec_tf.reading.history_groups import History, UserRuns, group_neighbours, group_scattered
from ufnrec_tf.reading.parquet import is_parquet
from ufnrec_tf.reading.readers import (
    AS_IT_IS,
    PARQUET,
    EventStream,
    LogSettings,
    RawLog,
    open_log,
)
from ufnrec_tf.reading.rows import Table, rows_of, split_lines
from ufnrec_tf.reading.text_files import LineError, TextBlocks, TextFile

FLAG = "--histories"
LINES, ROWS = "lines", "rows"
"""Forms that no log has: one history a line, and `user,item` rows without a header."""

_ROWS = Form(layout=lambda file, columns: Table(list(REQUIRED), ",", True, has_header=False))
# As in the readers of logs, other Unicode spaces (no-break, ideographic) are part of an id, which
# str.split would cut there.
_FIELDS = re.compile(r"[^ \t\n\r\x0b\x0c]+")


class HistoryFile:
    """A file of histories, read through once; to be read again by `read`.

    A file whose first line is a log's (see `history_format`) is read as --data would be: by the
    same forms, columns, times and filters. Users come by first appearance, their items oldest
    first.

    Args:
        path: The file.
        settings: How a log is read; repeats, titles, and filters by numbers of events are not.

    Attributes:
        path: The file.
        format: A form of log, `ROWS`, or `LINES`.
        kind: "rows" for events, "histories" for one history a line.
        column: "user", or "row" where a history's name is the number of its line.
        total: Number of histories, for progress; where hashes of users meet, one less.
        sha256: The hash of the file's bytes, and of the settings if there are any.
        odd_line: The first line that is no row where those before it were; 0 for none.

    Raises:
        UserError: If the file cannot be read, or is not as expected, naming file and line.
    """

    def __init__(self, path: Path, settings: LogSettings = AS_IT_IS) -> None:
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: is not a regular file. Give {FLAG} a file.")
        self.path = path
        self.odd_line = 0
        self._settings = settings
        self._runs = UserRuns()
        self.format = history_format(path, settings)
        if self.format != LINES:
            try:
                sha256 = self._look_at_events()
            except LineError as error:
                if self.format != ROWS:
                    raise
                self.format, self.odd_line = LINES, error.line
        self.kind, self.column, self.total = "rows", "user", self._runs.num_users
        if self.format == LINES:
            blocks = TextBlocks(path, flag=FLAG)
            self.kind, self.column, self.total = "histories", "row", sum(1 for _ in _lines(blocks))
            sha256 = blocks.sha256
        is_plain = settings == AS_IT_IS
        self.sha256 = sha256 if is_plain else _hash_of(sha256, str(settings))

    def _look_at_events(self) -> str:
        """Counts the users; returns the hash of the file."""
        log = self._log()
        for batch in self._events(log):
            self._runs.add(batch)
        return log.sha256

    def _events(self, log: RawLog) -> EventStream:
        return EventStream(log, self._settings, source=self.path.name)

    def _log(self) -> RawLog:
        """Returns the file's events, to be gone through once."""
        if self.format == ROWS:
            blocks = TextBlocks(self.path, flag=FLAG)
            return TextLog(blocks, format=ROWS, columns=Columns(), forms={ROWS: _ROWS})
        settings = self._settings._replace(format=self.format)
        return open_log(self.path, settings, flag=FLAG)

    def read(self, folder: Path) -> Iterator[History]:
        """Yields the histories, users by first appearance.

        Args:
            folder: An empty folder for what memory should not hold.

        Raises:
            UserError: If the file cannot be read any more, or the disk does not take the files.
        """
        if self.format == LINES:
            lines = _lines(TextBlocks(self.path, flag=FLAG))
            yield from (
                (str(number), _FIELDS.findall(line)) for number, line in enumerate(lines, 1)
            )
        elif self._runs.is_grouped:
            yield from group_neighbours(self._events(self._log()))
        else:
            yield from group_scattered(
                self._events(self._log()), num_events=self._runs.num_events, folder=folder
            )


def history_format(path: Path, settings: LogSettings = AS_IT_IS) -> str:
    """Returns the form of a log, `ROWS` or `LINES`, by the first line of a file.

    Raises:
        UserError: If the file cannot be read, is empty, or is no text.
    """
    if settings.format != "auto":
        return settings.format
    if is_parquet(path):
        return PARQUET
    head = TextFile(str(path), next(iter(TextBlocks(path, flag=FLAG))).data, "")
    format = table_format(head, settings.columns)
    if format == "csv" and not settings.columns.is_named:
        table = csv_table(head, settings.columns)
        if table.separator == "\t" and not all(
            find_role(table.names, role) is not None for role in REQUIRED
        ):
            return LINES  # of items, one of which is called as a column may be
    return format or (ROWS if _begins_with_row(head) else LINES)


def _begins_with_row(head: TextFile) -> bool:
    """Returns True if the first line that is not blank is `user,item`."""
    table = Table(list(REQUIRED), ",", is_quoted=True, has_header=False)
    try:
        _, row = next(rows_of(head, split_lines(head.data, table), table), (1, [""]))
    except UserError:
        return False
    return len(row) == 2 and all(map(str.strip, row))


def _lines(blocks: TextBlocks) -> Iterator[str]:
    """Yields all lines of a file, the blank ones too."""
    for block in blocks:
        # What follows the last line end is no line.
        lines = block.data.decode().removesuffix("\n").split("\n")
        for number, line in enumerate(lines, block.first_line):
            if "\r" in line.removesuffix("\r"):
                raise UserError(
                    f"{blocks.name}, line {number}: has a carriage return inside. End each line "
                    "with a line feed."
                )
            yield line


def _hash_of(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()
