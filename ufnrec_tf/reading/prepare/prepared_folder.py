"""The shards, items and manifest of a prepared folder; read as Interactions."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.common.files import write_error, write_json
from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.data.items import Items, ItemTable, items_of, with_padding
from ufnrec_tf.data.log_description import checked_settings, of_json
from ufnrec_tf.reading.columns import IGNORED
from ufnrec_tf.reading.item_tables import read_item_table

FORMAT = "ufnrec-tf prepared"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"
ITEMS = "items.parquet"
HIDDEN = ".preparing"
"""The folder inside in which the files are written."""
_ANY_SHARD = "shard-*-of-*.parquet"
AGAIN = "Prepare the log again, into another --workdir."

_ROW_GROUP = 1 << 16


class Shard(NamedTuple):
    """Some users and all their events; U users, E events.

    Attributes:
        user_ids: object(str) [U], raw ids.
        offsets: int64 [U + 1]; user u's events are `items[offsets[u]:offsets[u + 1]]`.
        items: int32 [E], internal ids of the whole log, from 1.
        times: float64 [E], or None where the log has none.
        repeats: int32 [U], events that repeat an item of their user, counted before any drop.
    """

    user_ids: np.ndarray
    offsets: np.ndarray
    items: np.ndarray
    times: np.ndarray | None
    repeats: np.ndarray


class FileEntry(NamedTuple):
    """An entry of the manifest: one file.

    Attributes:
        file: The name.
        num_bytes: The size.
        sha256: The hash of its bytes.
        content_sha256: The hash of the values, whatever version of Parquet wrote them.
        users: Users in it; 0 for the items.
        events: Events in it; 0 for the items.
        repeats: The sum of `Shard.repeats`.
    """

    file: str
    num_bytes: int
    sha256: str
    content_sha256: str
    users: int = 0
    events: int = 0
    repeats: int = 0


class Manifest(NamedTuple):
    """The contents of a prepared folder.

    Attributes:
        content_sha256: The hash of the content hashes of all files; it identifies the data.
        source: The log: name, sha256, bytes.
        settings: The settings by which the log was read: columns, separator, repeats, ...
        has_times: True if events have times.
        num_items: Number of items.
        items: The file of the items.
        shards: The files of the users.
    """

    content_sha256: str
    source: dict[str, Any]
    settings: dict[str, Any]
    has_times: bool
    num_items: int
    items: FileEntry
    shards: list[FileEntry]

    @property
    def counts(self) -> dict[str, int]:
        """Users, items, events and repeats of the whole folder."""
        sums = {
            name: sum(getattr(shard, name) for shard in self.shards)
            for name in ("users", "events", "repeats")
        }
        return {**sums, "items": self.num_items}


def make_manifest(
    *,
    source: dict[str, Any],
    settings: dict[str, Any],
    has_times: bool,
    num_items: int,
    items: FileEntry,
    shards: list[FileEntry],
) -> Manifest:
    """Returns the manifest of files that were written; see `Manifest` for the arguments."""
    hashes = [entry.content_sha256 for entry in (items, *shards)]
    digest = hashlib.sha256("\n".join([str(has_times), *hashes]).encode()).hexdigest()
    return Manifest(digest, source, settings, has_times, num_items, items, shards)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes manifest.json whole or not; the last thing to write."""
    values = manifest._asdict()
    values["items"] = manifest.items._asdict()
    values["shards"] = [shard._asdict() for shard in manifest.shards]
    write_json(
        folder / MANIFEST,
        {"format": FORMAT, "format_version": FORMAT_VERSION, "counts": manifest.counts, **values},
    )


def is_prepared(folder: Path) -> bool:
    """Returns True for a folder that --mode=prepare made, or began or that lost its manifest."""
    return folder.is_dir() and (
        any((folder / name).exists() for name in (MANIFEST, HIDDEN)) or any(folder.glob(_ANY_SHARD))
    )


def read_manifest(folder: Path) -> Manifest:
    """Returns the manifest of a folder.

    Raises:
        UserError: If it is missing, damaged or of a newer format.
    """
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise UserError(
                f"{path}: was not written by --mode=prepare: expected a folder that it has "
                "prepared. Give another folder; this one holds other files."
            )
        version = int(found["format_version"])
        if version > FORMAT_VERSION:
            raise UserError(
                f"{path}: format {version} is newer than this program's {FORMAT_VERSION}. Use the "
                "version of ufnrec-tf that wrote it."
            )
        plain = [name for name in Manifest._fields if name not in ("items", "settings", "shards")]
        return Manifest(
            **{name: found[name] for name in plain},
            settings=checked_settings(found["settings"]),
            items=_checked(found["items"]),
            shards=[_checked(shard) for shard in found["shards"]],
        )
    except FileNotFoundError:
        raise UserError(
            f"{folder}: is a directory without {MANIFEST}: expected a file, or a folder that "
            "--mode=prepare has finished; name a file inside it, or prepare it again."
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: damaged ({own_words(error)[:200]}). {AGAIN}") from error


def _checked(values: dict[str, Any]) -> FileEntry:
    """Returns an entry of a manifest; its file lies in the folder, or it may name any file."""
    entry = FileEntry(**values)
    are_counts = all(type(n) is int and n >= 0 for n in (entry.num_bytes, *entry[-3:]))
    if not are_counts or Path(entry.file).name != entry.file:
        raise ValueError(f"no entry of a file: {values}")
    return entry


def shard_name(number: int, num_shards: int) -> str:
    """Returns the name of a shard's file."""
    return f"shard-{number:05d}-of-{num_shards:05d}.parquet"


def write_shard(path: Path, shard: Shard) -> FileEntry:
    """Writes a shard; not beside and renamed: a folder counts only with its manifest."""
    columns = {
        "user": pa.array(shard.user_ids, pa.string()),
        "items": _lists(shard.offsets, shard.items),
        "repeats": pa.array(shard.repeats, pa.int32()),
    }
    if shard.times is not None:
        columns["times"] = _lists(shard.offsets, shard.times)
    _write_columns(path, columns)
    times = np.zeros(0) if shard.times is None else shard.times
    return _entry(
        path,
        _content_hash(shard.user_ids, shard.offsets, shard.items, times, shard.repeats),
        users=len(shard.user_ids),
        events=len(shard.items),
        repeats=int(shard.repeats.sum()),
    )


def read_shard(folder: Path, entry: FileEntry) -> Shard:
    """Returns a shard.

    Raises:
        UserError: If the file is missing, or not as it was written.
    """
    columns = _read_columns(folder, entry)
    lengths = pc.list_value_length(columns["items"]).to_numpy()
    has_times = "times" in columns.column_names
    return Shard(
        user_ids=columns["user"].to_numpy(),
        offsets=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
        items=_flat(columns["items"]).astype(np.int32),
        times=_flat(columns["times"]) if has_times else None,
        repeats=columns["repeats"].to_numpy(),
    )


def write_items(path: Path, items: Items) -> FileEntry:
    """Writes the catalogue; see `write_shard`."""
    columns = {"item": pa.array(items.ids, pa.string()), "events": pa.array(items.counts)}
    for name, values, kind in (
        ("title", items.titles, pa.string()),
        ("category", items.categories, pa.string()),
        ("price", items.prices, pa.float64()),
    ):
        if values is not None:
            columns[name] = pa.array(values, kind)
    _write_columns(path, columns)
    return _entry(path, _content_hash(items.ids))


def read_items(folder: Path, entry: FileEntry) -> Items:
    """Returns the catalogue; see `read_shard` for errors."""
    columns = _read_columns(folder, entry)
    known = {name: columns[name].to_numpy() for name in columns.column_names}
    optional = (known.get(name) for name in ("title", "category", "price"))
    return Items(known["item"], known["events"], *optional)


def _lists(offsets: np.ndarray, values: np.ndarray) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values))


def _flat(lists: pa.ChunkedArray) -> np.ndarray:
    """Returns the values of all lists, end to end."""
    return pa.chunked_array(
        [chunk.flatten() for chunk in lists.chunks], type=lists.type.value_type
    ).to_numpy()


def _write_columns(path: Path, columns: dict[str, pa.Array]) -> None:
    try:
        pq.write_table(
            pa.table(columns),
            path,
            row_group_size=_ROW_GROUP,
            compression="zstd",
            use_dictionary=False,
            write_statistics=False,
        )
    except OSError as error:
        raise write_error(path, error) from error


def _read_columns(folder: Path, entry: FileEntry) -> pa.Table:
    path = folder / entry.file
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({own_words(error)}). {AGAIN}") from None
    # Parquet itself does not notice a changed value.
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise UserError(
            f"{path}: damaged: {len(data):,} bytes whose hash is not the one in {MANIFEST}, which "
            f"names {entry.num_bytes:,} bytes. {AGAIN}"
        )
    try:
        return pq.read_table(pa.BufferReader(data), use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: cannot be read ({own_words(error)}). {AGAIN}") from error


def _entry(
    path: Path, content_sha256: str, *, users: int = 0, events: int = 0, repeats: int = 0
) -> FileEntry:
    data = path.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    return FileEntry(path.name, len(data), sha256, content_sha256, users, events, repeats)


def _content_hash(ids: np.ndarray, *arrays: np.ndarray) -> str:
    """Returns a hash of ids and numbers that depends only on their values."""
    encoded = [id.encode() for id in ids]
    digest = hashlib.sha256()
    # With the lengths, since an id may hold any character.
    for values in (np.array([len(id) for id in encoded], np.int64), *arrays):
        little_endian = values.astype(values.dtype.newbyteorder("<"))
        digest.update(f"{little_endian.dtype.str}{len(values)};".encode())
        digest.update(little_endian.tobytes())
    digest.update(b"".join(encoded))
    return digest.hexdigest()


def read_prepared(
    folder: Path,
    *,
    with_times: bool = True,
    titles_path: str | pd.DataFrame = "",
    title_column: str = "",
) -> Interactions:
    """Returns the interactions of a prepared folder.

    Internal item ids are those that reading the log itself gives. Users come shard by shard, in a
    shard by their first event in the log; by themselves their events are those of the log. Memory
    is that of the arrays and of one shard.

    Args:
        folder: The folder that --mode=prepare made.
        with_times: True to read times, 8 bytes an event, which splits by date need.
        titles_path: Another item table than what was there then, a file or a DataFrame; see
            `read_item_table`.
        title_column: The title column of that table; "none" leaves out the titles of the folder.

    Raises:
        UserError: If the folder is not whole, or a file of it not as it was written.
    """
    manifest = read_manifest(folder)
    catalogue, reading = read_items(folder, manifest.items), of_json(manifest.settings)
    if isinstance(titles_path, pd.DataFrame) or titles_path:
        table = (
            read_item_table(
                titles_path,
                item_ids=set(catalogue.ids),
                item_column=reading.columns.get("item", ""),
                title_column=title_column,
            )
            or ItemTable()
        )
        catalogue = items_of(catalogue.ids, catalogue.counts, table)
        reading = reading._replace(titles=table.titles_read(catalogue.titles))
    elif title_column == IGNORED:
        catalogue = catalogue._replace(titles=None)
        reading = reading._replace(titles=None)
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
    pa.default_memory_pool().release_unused()  # what a shard took, which it keeps
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
        reading=reading,
    )


def _padded(values: np.ndarray | None, padding: str | float = "") -> np.ndarray | None:
    return None if values is None else np.array([padding, *values], dtype=values.dtype)
