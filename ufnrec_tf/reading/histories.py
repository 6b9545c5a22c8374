"""Files of histories to recommend for: logs in any form, or one history a line."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.data.events import EventBatch
from ufnrec_tf.data.log_description import reading_lines
from ufnrec_tf.reading.column_names import REQUIRED
from ufnrec_tf.reading.columns import Columns
from ufnrec_tf.reading.data_files import DataFile
from ufnrec_tf.reading.event_batches import TextLog
from ufnrec_tf.reading.filters import DUPLICATES_WORDS, no_times_error
from ufnrec_tf.reading.formats import Form
from ufnrec_tf.reading.history_forms import (
    FLAG,
    LINES,
    NO_RUN,
    ROWS,
    SPACES,
    OwnReading,
    RunVocabulary,
    fields_of,
    history_form,
)
from ufnrec_tf.reading.history_groups import History, UserRuns, group_neighbours, group_scattered
from ufnrec_tf.reading.readers import AS_IT_IS, EventStream, LogSettings, RawLog, open_log
from ufnrec_tf.reading.rows import Table
from ufnrec_tf.reading.text_files import LineError, TextBlocks


class HistoryFile:
    """A file of histories, read through once; to be read again by `read`.

    A file whose first lines are a log's (see `history_form`) is read as --data would be: by the
    same forms, columns, times and filters, but for `data.repeats`. Users come by first appearance,
    their items oldest first.

    Args:
        path: The file.
        settings: How a log is read; repeats, titles, and filters by numbers of events are not.
        own: How the run read its log, for the columns that the file has.
        known: The ids of the run, by which files without a header are told apart; None: the first
            line shows the form.

    Attributes:
        path: The file.
        format: A form of log, `ROWS`, or `LINES`.
        kind: "rows" for events, "lists" for one history a row of a table, "histories" for one a
            line.
        column: "user", or "row" where a history's name is the number of its line.
        total: Number of histories, for progress; where hashes of users meet, one less.
        sha256: The hash of the file's bytes, and of the settings if there are any.
        words: How it was read, lines for the screen.
        odd_line: The first line that is no row where those before it were; 0 for none.
        has_times: True if the time of each event is known, and not only an order.

    Raises:
        UserError: If the file cannot be read, or is not as expected, naming file and line.
    """

    def __init__(
        self,
        path: Path,
        settings: LogSettings = AS_IT_IS,
        *,
        own: OwnReading = NO_RUN,
        known: RunVocabulary | None = None,
    ) -> None:
        if path.is_dir():
            raise UserError(f"{path}: is not a regular file. Give {FLAG} a file.")
        self.path = path
        self._asks_for_times = settings.filters.duplicates == "drop"
        self._drops_doubles = False
        self._file = DataFile(path, flag=FLAG)
        self.odd_line, self.has_times = 0, False
        self._known = known
        self._form = history_form(self._file, settings, own=own, known=known)
        self._settings = settings = self._form.settings
        self._runs = UserRuns()
        self._log_words: list[str] = []
        self.kind, self.column = "rows", "user"
        sha256 = self._look()
        self.sha256 = sha256 if settings == AS_IT_IS else _hash_of(sha256, str(settings))

    def _look(self) -> str:
        """Reads the file once; sets `total` and what its form decides, and returns its hash."""
        if (lists := self._form.lists) is not None:
            self.kind, self.total = "lists", sum(1 for _ in lists.rows())
            return lists.sha256
        if self.format != LINES:
            try:
                return self._look_at_events()
            except LineError as error:
                if self.format != ROWS or not self._form.is_guess:
                    raise
                lines = self._form._replace(format=LINES, separator=SPACES)
                self._form, self.odd_line = lines, error.line
        blocks = TextBlocks(self._file, flag=FLAG)
        self.kind, self.column = "histories", "row"
        self.total = sum(1 for _ in self._lines(blocks))
        return blocks.sha256

    def _look_at_events(self) -> str:
        """Counts the users of a log; returns the hash of the file."""
        log = self._log()
        events = EventStream(log, self._settings, source=self.path.name)
        for batch in events:
            self._runs.add(batch)
        self._log_words = reading_lines(events.reading.as_json())
        self.has_times = events.reading.is_epoch
        if self._settings.filters.duplicates == "drop":
            self._drops_doubles = "time" in log.chosen
            if self._asks_for_times and not self._drops_doubles:
                raise no_times_error(self.path.name)
            self._log_words.append(
                f"events said twice are left out, {DUPLICATES_WORDS}"
                if self._drops_doubles
                else "data.duplicates=drop of the run is not applied: no time column"
            )
        self.total = self._runs.num_users
        return log.sha256

    @property
    def format(self) -> str:
        """A form of log, `ROWS`, or `LINES`."""
        return self._form.format

    @property
    def words(self) -> list[str]:
        """How the file was read, lines for the screen."""
        if self._form.words:
            return [self._form.words]
        return self._log_words + [self._form.note] * bool(self._form.note)

    def _events(self) -> Iterator[EventBatch]:
        """Yields the events, whole numbers among the item ids as the run has them."""
        for batch in EventStream(self._log(), self._settings, source=self.path.name):
            if self._known is not None and any(raw.endswith(".0") for raw in batch.item_ids):
                item_ids = np.array([self._known.item(raw) for raw in batch.item_ids], object)
                batch = batch._replace(item_ids=item_ids)
            yield batch

    def _log(self) -> RawLog:
        """Returns the file's events, to be gone through once."""
        if self.format == ROWS:
            blocks = TextBlocks(self._file, flag=FLAG)
            table = Table(list(REQUIRED), self._form.separator, True, has_header=False)
            forms = {ROWS: Form(layout=lambda file, columns: table)}
            return TextLog(blocks, format=ROWS, columns=Columns(), forms=forms)
        settings = self._settings._replace(format=self.format)
        return open_log(self._file, settings, flag=FLAG)

    def read(self, folder: Path) -> Iterator[History]:
        """Yields the histories, users by first appearance.

        Args:
            folder: An empty folder for what memory should not hold.

        Raises:
            UserError: If the file cannot be read any more, or the disk does not take the files.
        """
        if self._form.lists is not None:
            for user, items in self._form.lists.rows():
                yield user, self._as_known(items)
        elif self.format == LINES:
            lines = self._lines(TextBlocks(self._file, flag=FLAG))
            yield from ((str(number), items) for number, items in enumerate(lines, 1))
        else:
            yield from self._grouped(folder)

    def read_timed(self, folder: Path) -> Iterator[tuple[str, list[str], list[int]]]:
        """Yields the histories with the times of their ids in seconds; see `has_times`, `read`."""
        yield from self._grouped(folder, with_times=True)

    def _grouped(self, folder: Path, *, with_times: bool = False) -> Iterator[Any]:
        """Returns the histories of a log, grouped by user; see `history_groups.histories_of`."""
        drops_doubles = self._drops_doubles
        if self._runs.is_grouped:
            return group_neighbours(
                self._events(), drops_doubles=drops_doubles, with_times=with_times
            )
        return group_scattered(
            self._events(),
            num_events=self._runs.num_events,
            folder=folder,
            drops_doubles=drops_doubles,
            with_times=with_times,
        )

    def _lines(self, blocks: TextBlocks) -> Iterator[list[str]]:
        """Yields the items of all lines, of the blank ones too."""
        for number, line in _lines(blocks):
            try:
                items = fields_of(line, self._form.separator)
            except (ValueError, RecursionError):
                raise UserError(
                    f"{blocks.name}, line {number}: expected a JSON list of item ids, as in the "
                    "lines before. Correct the line."
                ) from None
            yield self._as_known(items) if ".0" in line else items

    def _as_known(self, items: list[str]) -> list[str]:
        """Returns item ids with whole numbers as the run has them."""
        return items if self._known is None else [self._known.item(item) for item in items]


def _lines(blocks: TextBlocks) -> Iterator[tuple[int, str]]:
    """Yields the numbers and texts of all lines of a file, of the blank ones too."""
    for block in blocks:
        # What follows the last line end is no line.
        lines = block.data.decode().removesuffix("\n").split("\n")
        for number, line in enumerate(lines, block.first_line):
            if "\r" in line.removesuffix("\r"):
                raise UserError(
                    f"{blocks.name}, line {number}: has a carriage return inside. End each line "
                    "with a line feed."
                )
            yield number, line


def _hash_of(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()
