"""A published data set in our own form: interactions.parquet and items.parquet."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ufnrec_tf.common.display import Display, ProgressBar
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.files import written_whole
from ufnrec_tf.data.archives import Stream
from ufnrec_tf.data.downloads import megabytes
from ufnrec_tf.data.raw_rows import BATCH_ROWS, Events, Item

_ITEMS = pa.schema(
    [
        ("item_id", pa.string()),
        ("title", pa.string()),
        ("category", pa.string()),
        ("price", pa.float64()),
    ]
)

_TICK = 1 << 12
_BAR_AFTER = 2.0  # seconds


class Counts(NamedTuple):
    """What was written.

    Attributes:
        num_events: Rows of the table.
        num_users: Distinct users.
        items: Distinct raw item ids.
        num_skipped: Lines of the raw log that were left out.
    """

    num_events: int
    num_users: int
    items: set[str]
    num_skipped: int


def write_events(path: Path, batches: Iterator[Events], *, tick: Callable[[], None]) -> Counts:
    """Writes events as they come: user, item, timestamp (seconds since 1970), rating if any.

    Args:
        path: The Parquet file, there whole at the end or not at all.
        batches: Events in the order of the log.
        tick: Called after each batch.

    Raises:
        UserError: If there are none, or the disk does not take them.
    """
    users: set[str] = set()
    items: set[str] = set()
    num_events = num_skipped = 0
    writer: pq.ParquetWriter | None = None
    with written_whole(path) as new:
        try:
            for events in batches:
                num_skipped += events.num_skipped
                if len(events.users):
                    table = _event_table(events)
                    writer = writer or pq.ParquetWriter(new, table.schema, compression="zstd")
                    writer.write_table(table)
                    num_events += table.num_rows
                    users.update(events.users.unique().to_pylist())
                    items.update(events.items.unique().to_pylist())
                tick()
            if writer is None:
                raise UserError(
                    f"{path.parent}: no events in the file that came ({num_skipped:,} lines "
                    "without a user, an item or a time). Remove it, and the same command gets it "
                    "again."
                )
        finally:
            if writer is not None:
                writer.close()
    return Counts(num_events, len(users), items, num_skipped)


def _event_table(events: Events) -> pa.Table:
    columns = {"user": events.users, "item": events.items, "timestamp": pa.array(events.times)}
    if events.ratings is not None:
        columns["rating"] = pa.array(events.ratings)
    return pa.table(columns)


def write_items(
    path: Path, items: Iterator[Item], *, known: set[str], tick: Callable[[], None]
) -> int:
    """Writes the first that is told of each item of the log; no file where nothing is told.

    Args:
        path: The Parquet file: item_id, title, category, price.
        items: In any order.
        known: Raw ids of the log's items; others are left out.
        tick: Called every few thousand items.

    Returns:
        How many items are in it.

    Raises:
        UserError: If the disk does not take it.
    """
    path.unlink(missing_ok=True)
    told: set[str] = set()
    rows: list[Item] = []
    for place, row in enumerate(items):
        if place % _TICK == 0:
            tick()
        if len(told) == len(known):
            break
        if row.id in known and row.id not in told:
            told.add(row.id)
            rows.append(row)
    if not rows:
        return 0
    with written_whole(path) as new, pq.ParquetWriter(new, _ITEMS, compression="zstd") as writer:
        for start in range(0, len(rows), BATCH_ROWS):
            columns = zip(*rows[start : start + BATCH_ROWS], strict=True)
            arrays = [
                pa.array(column, field.type) for column, field in zip(columns, _ITEMS, strict=True)
            ]
            writer.write_table(pa.table(arrays, schema=_ITEMS))
    return len(rows)


class ConversionBar:
    """A bar of the file that is being converted, once it has taken a while.

    Args:
        display: Where to print.
    """

    def __init__(self, display: Display) -> None:
        self._display = display
        self._stream: Stream | None = None
        self._bar: ProgressBar | None = None
        self._begin = time.monotonic()

    def __enter__(self) -> "ConversionBar":
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None and self._stream is not None:
            self._bar.close(self._stream.num_bytes)

    def watch(self, stream: Stream) -> None:
        """Begins with another file."""
        self.__exit__()
        self._stream, self._bar, self._begin = stream, None, time.monotonic()

    def tick(self) -> None:
        """Shows how far it is."""
        if self._stream is None:
            return
        if self._bar is None and time.monotonic() - self._begin > _BAR_AFTER:
            total = self._stream.num_bytes
            self._bar = ProgressBar(self._display, label="converting", total=total, done=0)
        if self._bar is not None:
            self._bar.update(self._stream.done, f"{megabytes(self._stream.done)} read")
