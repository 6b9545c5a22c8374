"""The log of --mode=prepare: read once from its beginning, filtered on the way."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.data.events import EventBatch
from ufnrec_tf.data.items import ItemTable
from ufnrec_tf.data.log_description import LogDescription
from ufnrec_tf.reading.data_files import DataFile
from ufnrec_tf.reading.event_batches import TextLog
from ufnrec_tf.reading.folder_log import FolderLog
from ufnrec_tf.reading.parquet import ParquetLog
from ufnrec_tf.reading.prepare.prepared_folder import MANIFEST
from ufnrec_tf.reading.readers import (
    AS_IT_IS,
    EventStream,
    LogSettings,
    item_table_of,
    open_log,
)


class LargeLog:
    """A log of any size, which is read once.

    Args:
        path: A table of text, a Parquet file, or a folder of such files.
        settings: The settings by which the log is read.

    Attributes:
        path: The path of the log.
        settings: The settings by which the log is read.
        num_bytes: Bytes on the disk.
        size: Number of bytes of the log as text, estimated for Parquet.

    Raises:
        UserError: If it cannot be opened, or a filter needs all of it at once.
    """

    def __init__(self, path: str, settings: LogSettings) -> None:
        self.path = path
        self.settings = settings
        if settings.filters.needs_all:
            raise UserError(
                f"{path}: --mode=prepare reads a log once, from its beginning, and takes only "
                "--config.data.exclude_users, null_ids, null_times, events, min_rating, start, "
                "end and duplicates: k_core, "
                "min_user_events, min_item_events and min_length need all of it. Leave them out, "
                "or train on the log itself."
            )
        if (Path(path) / MANIFEST).exists():
            raise UserError(
                f"{path}: is prepared already: expected a log; --data takes it as it is."
            )
        self._file = DataFile(path)
        self._log = open_log(self._file, settings, is_streamed=True)
        self._events = EventStream(self._log, settings, source=Path(path).name)
        self.size = self._log.size
        self.num_bytes = self._file.size
        if isinstance(self._log, ParquetLog | FolderLog):
            self.num_bytes = self._log.num_bytes

    def __iter__(self) -> Iterator[EventBatch]:
        """Yields the batches; see `EventStream`."""
        return iter(self._events)

    @property
    def done(self) -> int:
        """The part of `size` that has been read."""
        return self._log.done

    @property
    def asked(self) -> dict[str, Any]:
        """The settings that the user gave for the log, fit for JSON."""
        values = self.settings._asdict() | vars(self.settings.columns)
        del values["columns"], values["filters"]
        # Only where they differ from the default: older folders have no such keys.
        defaults = vars(AS_IT_IS.columns) | AS_IT_IS._asdict()
        for key in ("time_unit", "title_column", "event", "time_format", "strip"):
            if values[key] == defaults[key]:
                del values[key]
        asked, nothing = self.settings.filters.described(), AS_IT_IS.filters.described()
        return values | {key: value for key, value in asked.items() if value != nothing[key]}

    @property
    def reading(self) -> LogDescription:
        """How the log was read, once all of it was."""
        return self._events.reading

    def sha256(self) -> str:
        """Returns the hash of the log; of a text log, the hash of the bytes that were read."""
        is_read = self._log.done or not isinstance(self._log, TextLog)
        return self._log.sha256 if is_read else self._file.sha256

    def item_table(self, item_ids: list[str]) -> ItemTable | None:
        """Returns the table of the items, or None if there is none."""
        return item_table_of(self.path, self.settings, self._events.reading, set(item_ids))
