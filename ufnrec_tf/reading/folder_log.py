"""A folder of text files as one log."""

from collections.abc import Iterator
from dataclasses import replace

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.data.events import EventBatch
from ufnrec_tf.data.log_description import BY_VALUES, Note
from ufnrec_tf.data.times import TimeTexts, TimeUnit
from ufnrec_tf.reading.columns import READ_ALL, Columns, ReadOptions
from ufnrec_tf.reading.event_batches import TextLog
from ufnrec_tf.reading.folders import Part, sha256_of_parts
from ufnrec_tf.reading.text_files import TextBlocks

_WHOLE = "sequences"
"""A form in which one file has all of a user."""
_BY_KEY = "jsonl"
"""A form whose names need not be the same in all rows."""


class FolderLog:
    """A log of text in several files, gone through once, in their order.

    Each file has its own header. Files without an event, which Spark writes too, are left out.

    Args:
        parts: The files.
        format: See `TextLog`.
        columns: The columns and separator that the user named.
        options: What the filters need.
        is_streamed: See `TextLog`.
        notes: What is known of the files.

    Attributes:
        format: See `TextLog`.
        size: Bytes of the text of all files, estimated by the first where they are compressed.
        num_bytes: Bytes of all files on the disk.
        done: How much of `size` has been read.
        chosen: Role -> name of the column that is read, known once the first batch was taken.
        names: The names of all columns of the first file, known then too.
        separator: Between the fields of the first file, known then too.
        found_by: Role -> what the column was recognised by, known then too.
        notes: What is not used or was left out, known once all batches were taken.
    """

    def __init__(
        self,
        parts: list[Part],
        *,
        format: str,
        columns: Columns,
        options: ReadOptions = READ_ALL,
        is_streamed: bool = False,
        notes: tuple[Note, ...] = (),
    ) -> None:
        self._parts = [part for part in parts if not part.file.is_empty]
        self.format = format
        self.num_bytes = sum(part.file.size for part in parts)
        first = self._parts[0].file if self._parts else parts[0].file
        self.size = self.num_bytes * first.text_size // max(first.size, 1)
        self.done = 0
        self.chosen: dict[str, str] = {}
        self.names: tuple[str, ...] = ()
        self.separator = ""
        self.found_by: dict[str, str] = {}
        self.notes = notes
        self._times = TimeTexts(columns.time_format)
        self._columns = columns
        self._options = options
        self._is_streamed = is_streamed
        self._all = parts

    @property
    def dates(self) -> TimeUnit | None:
        """The unit of times that are dates, known once the first batch was taken, or None."""
        return self._times.unit

    @property
    def sha256(self) -> str:
        """The hash of the names and hashes of the files. Reads them all."""
        return sha256_of_parts(self._all)

    def __iter__(self) -> Iterator[EventBatch]:
        """Yields the batches.

        Raises:
            UserError: If a file is not as expected, or is unlike the first one.
        """
        first = ""
        for part in self._parts:
            log = TextLog(
                TextBlocks(part.file),
                format=self.format,
                columns=self._columns,
                options=self._options,
                is_streamed=self._is_streamed,
                partitions=part.partitions,
                times=self._times,
                is_part=True,
            )
            before = self.done
            for batch in self._batches(log, part, first):
                if not first:
                    self._begin(log, part)
                    first = part.name
                self._check_same(log, part, first)
                self.done = before + log.done
                yield batch
            self.done = before + log.done
            self.notes = tuple(dict.fromkeys((*self.notes, *log.notes)))
        if not first:
            name = self._all[0].file.name
            raise UserError(f"{name}: no events, nor in the files beside it: expected some.")

    def _batches(self, log: TextLog, part: Part, first: str) -> Iterator[EventBatch]:
        """Yields the batches of one file; a header is missed where another file has one."""
        try:
            yield from log
        except UserError:
            if not (first and log.names and not log.chosen and self.format == "csv"):
                raise
            raise UserError(
                f"{part.file.name}: its first line is not the header of {first}: expected that "
                "header on top of each file of a folder; put it there, or, where one file was cut "
                "into these, join them again (cat)."
            ) from None

    def _begin(self, log: TextLog, part: Part) -> None:
        self.format, self.chosen, self.names = log.format, log.chosen, log.names
        self.separator, self.found_by = log.separator, log.found_by
        if self.found_by.get("time") == BY_VALUES:  # the time column of all others too
            self._columns = replace(self._columns, time=self.chosen["time"])
        if self.format == _WHOLE and len(self._parts) > 1:
            raise UserError(
                f"{part.file.name}: read as {_WHOLE}, of which one file has all users: expected "
                "one event a line in a folder of files; join the files into one."
            )

    def _check_same(self, log: TextLog, part: Part, first: str) -> None:
        """Refuses a file that is read by other columns than the first."""
        if log.chosen != self.chosen:
            raise UserError(
                f"{part.file.name}: would be read by columns {log.chosen}, and {first} by "
                f"{self.chosen}: expected the same columns in all files of a folder."
            )
        if self.format != _BY_KEY and set(log.names) != set(self.names):
            odd = sorted(set(log.names) ^ set(self.names))
            raise UserError(
                f"{part.file.name}: other columns than in {first} ({', '.join(odd[:8])}): expected "
                "the same header in all files of a folder."
            )
