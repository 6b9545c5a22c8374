"""Buckets of events by their users' hash: files, each of which fits into memory."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from ufnrec_tf.data.events import EventBatch
from ufnrec_tf.data.interactions import is_first_of_pair, order_events
from ufnrec_tf.data.user_hash import owners_of
from ufnrec_tf.reading.filters import is_duplicate
from ufnrec_tf.reading.prepare.prepared_folder import Shard

_TEXTS = ("user", "type")


class UserBuckets:
    """Temporary files of events, one a shard, by the hash of the user.

    Args:
        folder: The folder of the files.
        num_shards: The number of files; all are open at once.
        is_whole: True to keep ratings and event types, where they were read.
    """

    def __init__(self, folder: Path, num_shards: int, *, is_whole: bool = False) -> None:
        self._is_whole = is_whole
        self._folder = folder
        self._num_shards = num_shards
        self._writers: dict[int, pa.RecordBatchStreamWriter] = {}

    def path(self, number: int) -> Path:
        """Returns the file of a bucket."""
        return self._folder / f"bucket-{number:05d}.arrow"

    def add(
        self, batch: EventBatch, items: np.ndarray, *, places: np.ndarray | None = None
    ) -> None:
        """Appends each event to the bucket of its user.

        Args:
            batch: The events.
            items: int32 [n], their internal items.
            places: int64 [n], their places in the log, where these are needed.
        """
        owners = owners_of(batch.user_ids, self._num_shards)[batch.users]
        order = np.argsort(owners, kind="stable")
        bounds = np.searchsorted(owners[order], np.arange(self._num_shards + 1))
        ids = pa.array(batch.user_ids, pa.string())
        for number in np.flatnonzero(np.diff(bounds)).tolist():
            chosen = order[bounds[number] : bounds[number + 1]]
            columns = {"user": ids.take(pa.array(batch.users[chosen])), "item": items[chosen]}
            if batch.times is not None:
                columns["time"] = batch.times[chosen]
            if places is not None:
                columns["place"] = places[chosen]
            if self._is_whole and batch.ratings is not None:
                columns["rating"] = batch.ratings[chosen]
            if self._is_whole and batch.types is not None and batch.type_names is not None:
                columns["type"] = batch.type_names[batch.types[chosen]]
            self._append(number, pa.record_batch({k: pa.array(v) for k, v in columns.items()}))

    def close(self) -> None:
        """Ends the files."""
        for writer in self._writers.values():
            writer.close()

    def _append(self, number: int, piece: pa.RecordBatch) -> None:
        if number not in self._writers:
            options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
            self._writers[number] = pa.ipc.new_stream(
                str(self.path(number)), piece.schema, options=options
            )
        self._writers[number].write_batch(piece)

    def take(self, number: int) -> pa.Table | None:
        """Returns the events of a bucket in the order of the log, and removes its file."""
        path = self.path(number)
        if not path.exists():
            return None
        with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as stream:
            events = stream.read_all()
        path.unlink()
        return events


def without_duplicates(events: pa.Table | None) -> pa.Table | None:
    """Returns a bucket's events without those that say again what an earlier one says."""
    if events is None:
        return None
    _, users = encoded(events["user"])
    types = encoded(events["type"])[1] if "type" in events.column_names else None
    others = (name for name in events.column_names if name not in (*_TEXTS, "place"))
    numbers = [events[name].to_numpy() for name in others]
    return events.filter(pa.array(~is_duplicate(users, types, *numbers)))


def shard_of(events: pa.Table | None, *, has_times: bool, repeats: str) -> Shard:
    """Returns a bucket's users by their first event, their events by time, stably.

    Args:
        events: The events that `UserBuckets.take` returned.
        has_times: True if the log has times.
        repeats: keep, or drop all but a user's oldest event with an item.
    """
    if events is None:
        times = np.zeros(0) if has_times else None
        none = np.zeros(0, np.int32)
        return Shard(np.zeros(0, object), np.zeros(1, np.int64), none, times, none)
    user_ids, users = encoded(events["user"])
    items = events["item"].to_numpy()
    times = events["time"].to_numpy() if has_times else None
    order = order_events(users, times)
    is_first = is_first_of_pair(users[order], items[order])
    counts = np.bincount(users[order[~is_first]], minlength=len(user_ids))
    if repeats == "drop":
        order = order[is_first]
    lengths = np.bincount(users[order], minlength=len(user_ids))
    return Shard(
        user_ids=user_ids,
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        items=items[order],
        times=None if times is None else times[order],
        repeats=counts.astype(np.int32),
    )


def encoded(users: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct ids by first appearance, object(str), and int32 places in them."""
    codes = users.dictionary_encode().unify_dictionaries()
    places = np.concatenate([chunk.indices.to_numpy() for chunk in codes.chunks])
    return codes.chunk(0).dictionary.to_numpy(zero_copy_only=False), places.astype(np.int32)
