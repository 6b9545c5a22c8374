"""The whole history of each user of a run, kept in its work directory to recommend for users."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ml_collections import ConfigDict

from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.common.files import written_whole
from ufnrec_tf.common.lookup import nearest
from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.reading.sources import load
from ufnrec_tf.runs.raw_ids import FOLDER, read_items
from ufnrec_tf.runs.run_files import check_run_file

FILE = f"{FOLDER}/histories.parquet"
_LOG = b"log_sha256"
_USERS_AT_ONCE = 1 << 16
_MOST_COMPARED = 20_000  # users among which the nearest to an unknown one is looked for
_REMEDY = (
    "Run this work directory's --mode=train command once more, which writes it and trains nothing "
    "anew."
)


class RunHistories(NamedTuple):
    """The events of each user that a run read, those of validation and test too.

    User u's items are `items[offsets[u]:offsets[u + 1]]`.

    Attributes:
        user_ids: object(str) [U], raw ids.
        offsets: int64 [U + 1].
        items: int32 [E], internal item ids, oldest first.
        item_ids: object(str) [V + 1], the raw id of each internal id; "" at 0.
        times: int64 [E], when each event was, in whole seconds since 1970; None for a run whose
            backbone reads no times.
    """

    user_ids: np.ndarray
    offsets: np.ndarray
    items: np.ndarray
    item_ids: np.ndarray
    times: np.ndarray | None = None

    def rows_of(self, users: Sequence[str]) -> np.ndarray:
        """Returns the number of each user by its raw id, int64 [n], -1 for one not known.

        Where an id as it stands is not known, it is tried without outer spaces and, of a whole
        number that a spreadsheet or a frame wrote as 101.0, without the point.
        """
        index = pd.Index(self.user_ids)
        rows = np.asarray(index.get_indexer(list(users)), np.int64)
        missing = np.flatnonzero(rows < 0)
        if len(missing):
            plain = [users[place].strip().removesuffix(".0") for place in missing.tolist()]
            rows[missing] = index.get_indexer(plain)
        return rows

    def of_users(self, users: Sequence[str]) -> dict[str, list[str]]:
        """Returns raw user id -> raw item ids, oldest first, users in the order given.

        Raises:
            UserError: If a user is not known, with the number of them and an example.
        """
        rows = self.rows_of(users).tolist()
        missing = [user for user, row in zip(users, rows, strict=True) if row < 0]
        if missing:
            raise UserError(self.unknown_text(missing, len(users)))
        return {str(self.user_ids[row]): self.history(row) for row in rows}

    def times_of_users(self, users: Sequence[str]) -> dict[str, list[int]] | None:
        """Returns the times of the items of `of_users`, None where they are not kept."""
        if self.times is None:
            return None
        rows = self.rows_of(users).tolist()
        return {str(self.user_ids[row]): self.times_of(row) for row in rows}

    def unknown_text(self, missing: Sequence[str], count: int) -> str:
        """Returns sentences on the users that are not known, of `count` that were given."""
        some = self.user_ids[:1] if len(self.user_ids) > _MOST_COMPARED else self.user_ids
        hint = nearest(missing[0], map(str, some)) or f" It has such as {str(some[0])[:40]!r}."
        return (
            f"{len(missing):,} of {count:,} users are not users of the run, such as "
            f"{missing[0][:40]!r}.{hint}"
        )

    def history(self, row: int) -> list[str]:
        """Returns the raw item ids of a user, oldest first."""
        return self.item_ids[self.items[self.offsets[row] : self.offsets[row + 1]]].tolist()

    def times_of(self, row: int) -> list[int]:
        """Returns the times of a user's items; only where `times` are kept."""
        assert self.times is not None
        return self.times[self.offsets[row] : self.offsets[row + 1]].tolist()


def histories_of_log(log: Interactions) -> RunHistories:
    """Returns the histories of a log's users."""
    times = log.whole_seconds() if log.timestamps is not None and log.is_epoch else None
    return RunHistories(log.user_ids, log.offsets, log.items, log.item_ids, times)


def has_histories(workdir: Path) -> bool:
    """True if a work directory keeps the histories of its users."""
    return (workdir / FILE).is_file()


def write_histories(workdir: Path, log: Interactions, *, with_times: bool = False) -> None:
    """Writes the histories of a run's users, some at a time, whole or not at all.

    Each page of the file has a checksum, and the file has the hash of the log.

    Args:
        workdir: The work directory.
        log: The data of the run.
        with_times: True also writes when each event was.
    """
    path = workdir / FILE
    path.parent.mkdir(exist_ok=True)
    times = log.whole_seconds() if with_times else None
    fields = [("user", pa.string()), ("items", pa.list_(pa.int32()))]
    if times is not None:
        fields.append(("times", pa.list_(pa.int64())))
    schema = pa.schema(fields, metadata={_LOG: log.sha256.encode()})
    with (
        written_whole(path) as new,
        pq.ParquetWriter(
            new, schema, use_dictionary=False, compression="zstd", write_page_checksum=True
        ) as file,
    ):
        for start in range(0, log.num_users, _USERS_AT_ONCE):
            offsets = log.offsets[start : start + _USERS_AT_ONCE + 1]
            bounds, events = pa.array(offsets - offsets[0], pa.int32()), slice(*offsets[[0, -1]])
            columns = [
                pa.array(log.user_ids[start : start + _USERS_AT_ONCE], pa.string()),
                pa.ListArray.from_arrays(bounds, pa.array(log.items[events], pa.int32())),
            ]
            if times is not None:
                columns.append(pa.ListArray.from_arrays(bounds, pa.array(times[events])))
            file.write_table(pa.table(columns, schema=schema))


def read_histories(workdir: Path, log_sha256: str) -> RunHistories:
    """Reads the histories of a run's users.

    Args:
        workdir: The work directory.
        log_sha256: The hash of the log by the run's record.

    Raises:
        UserError: If the file is missing or damaged, or is of another log.
    """
    path, item_ids = workdir / FILE, read_items(workdir)
    check_run_file(workdir, FILE)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            metadata = file.schema_arrow.metadata or {}
            table = file.read(use_threads=False)
        users, lists = table["user"].to_numpy().astype(object), table["items"].combine_chunks()
        items = lists.flatten().to_numpy(zero_copy_only=False).astype(np.int32)
        lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
        times = None
        if "times" in table.column_names:
            times = table["times"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
            if len(times) != len(items):
                raise ValueError("not as many times as events")
        if items.min(initial=1) < 1 or items.max(initial=0) >= len(item_ids):
            raise ValueError("an event's item is not in the list of items")
    except FileNotFoundError:
        raise UserError(
            f"{path}: not found: runs of older versions did not write it. {_REMEDY}"
        ) from None
    except (OSError, KeyError, ValueError, TypeError, pa.ArrowException) as error:
        raise UserError(
            f"{path}: is damaged ({own_words(error)[:200]}). Remove it. {_REMEDY}"
        ) from error
    if metadata.get(_LOG) != log_sha256.encode():
        raise UserError(f"{path}: is of another log than the run's. Remove it. {_REMEDY}")
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return RunHistories(users, offsets, items, item_ids, times)


def users_among(workdir: Path, ids: set[str]) -> set[str]:
    """Returns those of some raw ids that are users of a run, by what it keeps of them.

    Empty where an older run keeps nothing.

    Raises:
        UserError: If the file is damaged.
    """
    if not has_histories(workdir):
        return set()
    asked, found = pa.array(sorted(ids), pa.string()), set[str]()
    try:
        with pq.ParquetFile(workdir / FILE) as file:
            for batch in file.iter_batches(_USERS_AT_ONCE, columns=["user"]):
                users = batch.column("user")
                found.update(users.filter(pc.is_in(users, asked)).to_pylist())
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise UserError(
            f"{workdir / FILE}: is damaged ({own_words(error)[:200]}). Remove it. {_REMEDY}"
        ) from error
    return found


def run_histories(
    workdir: Path, config: ConfigDict, record: dict[str, Any], *, data: str = ""
) -> RunHistories:
    """Returns the histories of a run's users: those that it keeps, else those of its log.

    Args:
        workdir: The work directory.
        config: The configuration that the run was trained with.
        record: The record of the run.
        data: The log, if it is to be read again; "" for what the run keeps.

    Raises:
        UserError: If neither the one nor the other is there and unchanged.
    """
    sha256 = record["identity"].get("data of sha256", "")
    if has_histories(workdir) and not data:
        return read_histories(workdir, sha256)
    path = data or record["data_path"]
    try:
        log = load(config, path).interactions
        if log.sha256 != sha256:
            raise UserError(f"{path or log.source}: has changed since the run read it")
    except UserError as error:
        if data:
            raise
        raise UserError(
            f"{workdir / FILE}: not found: runs of older versions did not write it, and their log "
            f"cannot be read in its place ({error}). Give the log as --data."
        ) from error
    return histories_of_log(log)
