"""A published data set in our own form: interactions.parquet and items.parquet."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.files import written_whole
from ufnrec_tf.reading.published.download import LateBar
from ufnrec_tf.reading.published.layouts import Layout
from ufnrec_tf.reading.published.raw_files import BATCH_ROWS, Events, Item

_ITEMS = pa.schema(
    [
        ("item_id", pa.string()),
        ("title", pa.string()),
        ("category", pa.string()),
        ("price", pa.float64()),
    ]
)


class ConvertedCounts(NamedTuple):
    """Counts of a converted data set.

    Attributes:
        num_events: Rows of the table of events.
        num_users: Distinct users.
        num_items: Distinct items.
        num_described: Rows of the table of items; where 0 there is no such file.
        num_skipped: Lines of the raw log that were left out.
    """

    num_events: int
    num_users: int
    num_items: int
    num_described: int
    num_skipped: int


def convert(
    layout: Layout, paths: list[Path], *, interactions: Path, items: Path, display: Display
) -> ConvertedCounts:
    """Converts raw files to Parquet; each file is there whole at the end or not at all.

    Args:
        layout: The layout by which the raw files are read.
        paths: The raw files, the log first.
        interactions: Written: user, item, timestamp (seconds since 1970), rating if any.
        items: Written: item_id, title, category, price; not where no item is described.
        display: Shows progress.

    Raises:
        UserError: If the raw files are damaged or have no events, or the disk does not take it.
    """
    with LateBar(display, "converting") as bar:
        counts, ids = _write_events(interactions, layout.log.events(paths[0], bar.update))
        described = _write_items(items, layout.items.items(paths, bar.update), ids)
    return counts._replace(num_described=described)


def _write_events(path: Path, batches: Iterator[Events]) -> tuple[ConvertedCounts, set[str]]:
    """Writes events as they come, and returns their counts and the raw ids of their items."""
    users: set[str] = set()
    items: set[str] = set()
    num_events = num_skipped = 0
    writer: pq.ParquetWriter | None = None
    with written_whole(path) as new:
        try:
            for events in batches:
                num_skipped += events.num_skipped
                if len(events.users):
                    columns = {"user": events.users, "item": events.items}
                    columns["timestamp"] = pa.array(events.times)
                    if events.ratings is not None:
                        columns["rating"] = pa.array(events.ratings)
                    table = pa.table(columns)
                    writer = writer or pq.ParquetWriter(new, table.schema, compression="zstd")
                    writer.write_table(table)
                    num_events += table.num_rows
                    users.update(events.users.unique().to_pylist())
                    items.update(events.items.unique().to_pylist())
            if writer is None:
                raise UserError(
                    f"{path.parent}: no events in the file that came ({num_skipped:,} lines "
                    "without a user, an item or a time). Remove it, and the same command "
                    "downloads it again."
                )
        finally:
            if writer is not None:
                writer.close()
    return ConvertedCounts(num_events, len(users), len(items), 0, num_skipped), items


def _write_items(path: Path, items: Iterator[Item], known: set[str]) -> int:
    """Writes the first description of each known item, and returns how many there are."""
    path.unlink(missing_ok=True)
    rows: dict[str, Item] = {}
    for row in items:
        if len(rows) == len(known):
            break
        if row.id in known:
            rows.setdefault(row.id, row)
    if not rows:
        return 0
    listed = list(rows.values())
    with written_whole(path) as new, pq.ParquetWriter(new, _ITEMS, compression="zstd") as writer:
        for start in range(0, len(listed), BATCH_ROWS):
            columns = zip(*listed[start : start + BATCH_ROWS], strict=True)
            arrays = [
                pa.array(column, field.type) for column, field in zip(columns, _ITEMS, strict=True)
            ]
            writer.write_table(pa.table(arrays, schema=_ITEMS))
    return len(rows)
