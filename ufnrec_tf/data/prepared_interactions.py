"""A prepared folder as `Interactions`, read one shard after the other into flat arrays."""

from pathlib import Path

import numpy as np

from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.data.item_table import ItemTable, read_item_table
from ufnrec_tf.data.prepared import AGAIN, read_items, read_manifest, read_shard
from ufnrec_tf.data.prepared_items import items_of, with_padding
from ufnrec_tf.data.reading import of_json
from ufnrec_tf.errors import UserError


def read_prepared(folder: Path, *, with_times: bool = True, titles_path: str = "") -> Interactions:
    """Returns what a prepared folder holds.

    Internal item ids are those that reading the log itself gives. Users come shard by shard, in a
    shard by their first event in the log; by themselves their events are those of the log. Memory
    is that of the arrays and of one shard.

    Args:
        folder: What --mode=prepare made.
        with_times: Whether to read times, 8 bytes an event, which splits by date need.
        titles_path: Another item table than what was there then; see `read_item_table`.

    Raises:
        UserError: If the folder is not whole, or a file of it not as it was written.
    """
    manifest = read_manifest(folder)
    catalogue = read_items(folder, manifest.items)
    if titles_path:
        table = read_item_table(titles_path, item_ids=set(catalogue.ids)) or ItemTable()
        catalogue = items_of(catalogue.ids, catalogue.counts, table)
    counts = manifest.counts
    has_times = with_times and manifest.has_times
    items = np.empty(counts["events"], np.int32)
    times = np.empty(counts["events"], np.float64) if has_times else None
    offsets = np.zeros(counts["users"] + 1, np.int64)
    user_ids = np.empty(counts["users"], object)
    event = user = 0
    for entry in manifest.shards:
        shard = read_shard(folder, entry)
        if (len(shard.user_ids), len(shard.items)) != (entry.users, entry.events):
            raise UserError(f"{folder / entry.file}: not what the manifest names. {AGAIN}")
        items[event : event + entry.events] = shard.items
        if times is not None:
            times[event : event + entry.events] = shard.times
        offsets[user + 1 : user + entry.users + 1] = event + shard.offsets[1:]
        user_ids[user : user + entry.users] = shard.user_ids
        event, user = event + entry.events, user + entry.users
    return Interactions(
        items=items,
        offsets=offsets,
        timestamps=times,
        user_ids=user_ids,
        item_ids=with_padding(catalogue.ids),
        sha256=manifest.content_sha256,
        source=folder.resolve().name,
        num_repeats=counts["repeats"],
        item_titles=_padded(catalogue.titles),
        item_categories=_padded(catalogue.categories),
        item_prices=_padded(catalogue.prices, np.nan),
        reading=of_json(manifest.settings),
    )


def _padded(values: np.ndarray | None, padding: str | float = "") -> np.ndarray | None:
    return None if values is None else np.array([padding, *values], dtype=values.dtype)
