"""--mode=prepare: a log of any size becomes a folder of files sharded by user.

Pass 1 reads the log a batch at a time, numbers the items, and appends each event to the bucket of
its user's hash, a temporary file. Pass 2 takes the buckets one by one, sorts each by user and time,
and writes it as a shard. Memory is that of a batch, of a bucket, and of the raw ids of all items,
never of all users or events. Everything is written into a hidden folder inside and moved at the
end, manifest.json last: without it nothing is whole.
"""

import os
import shutil
from pathlib import Path

import numpy as np

from ufnrec_tf.common.display import Display, ProgressBar
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.files import held_workdir, write_error
from ufnrec_tf.data.events import RawIds
from ufnrec_tf.data.items import items_of
from ufnrec_tf.data.log_description import FilterStep, of_json, reading_lines
from ufnrec_tf.reading.filters import DUPLICATES_WORDS, no_times_error
from ufnrec_tf.reading.prepare.event_stream import LargeLog
from ufnrec_tf.reading.prepare.prepared_folder import (
    AGAIN,
    HIDDEN,
    ITEMS,
    MANIFEST,
    Manifest,
    make_manifest,
    read_manifest,
    shard_name,
    write_items,
    write_manifest,
    write_shard,
)
from ufnrec_tf.reading.prepare.user_buckets import UserBuckets, shard_of, without_duplicates
from ufnrec_tf.reading.readers import LogSettings

SHARD_BYTES = 64 << 20
"""Bytes of the log, about, that go into one shard; sorting takes four times as much memory."""

MOST_SHARDS = 512
"""Files that pass 1 holds open; a log above 32 GB has larger shards."""

_OWN = (".lock", HIDDEN, ITEMS, f".{MANIFEST}.new")


def prepare(path: str, settings: LogSettings, *, workdir: str, display: Display) -> None:
    """Turns a log into a prepared folder; shows a folder that is finished already.

    Args:
        path: A CSV, TSV, .inter, .dat, JSON lines or Parquet file, or a folder of such files.
        settings: The settings by which the log is read.
        workdir: The folder to make.
        display: The screen.

    Raises:
        UserError: For anything wrong with the log, or a folder that holds something else.
    """
    folder, log = Path(workdir), LargeLog(path, settings)
    _refuse_others(folder)
    with held_workdir(folder):
        if (folder / MANIFEST).exists():
            _check_same(log, folder)
            display.notes.heading("This folder is prepared already:")
            _show_folder(folder, display)
            return
        if _clear(folder):
            display.notes.line(f"  {folder}: an earlier preparation was stopped; starting again")
        hidden = folder / HIDDEN
        try:
            hidden.mkdir()
            _finish(folder, _write_folder(log, hidden, display))
        except BaseException as error:
            _clear(folder)
            if isinstance(error, OSError):
                raise write_error(folder, error) from error
            raise
        shutil.rmtree(hidden, ignore_errors=True)
        display.heading("Prepared")
        _show_folder(folder, display)


def _refuse_others(folder: Path) -> None:
    """Refuses a folder that holds other files than those of a preparation."""
    if folder.is_dir() and not (folder / MANIFEST).exists():
        names = sorted(path.name for path in folder.iterdir())
        is_begun = HIDDEN in names
        for name in names:
            if name != ".lock" and not (is_begun and (name in _OWN or name.startswith("shard-"))):
                raise UserError(
                    f"--workdir={folder}: holds other files ({name}): expected a new or an empty "
                    "folder; give another --workdir."
                )


def _check_same(log: LargeLog, folder: Path) -> None:
    """Refuses a finished folder of another log, or of one read in another way."""
    manifest = read_manifest(folder)
    asked, asked_before = log.asked, manifest.settings.get("asked", {})
    for label in {**asked, **asked_before}:
        before, value = asked_before.get(label), asked.get(label)
        if before != value:
            raise UserError(
                f"--workdir={folder}: was prepared with {label} {before!r}, now {value!r}. Give "
                "another --workdir."
            )
    before, is_same = manifest.source, manifest.source.get("bytes") == log.num_bytes
    if not is_same or before.get("sha256") != log.sha256():
        raise UserError(
            f"--workdir={folder}: was prepared from {before.get('name')!r} of "
            f"{before.get('bytes'):,} bytes, sha256 {str(before.get('sha256'))[:12]}, and "
            f"{log.path} is another log. Give another --workdir."
        )
    for entry in (manifest.items, *manifest.shards):
        path = folder / entry.file
        if not path.is_file() or path.stat().st_size != entry.num_bytes:
            raise UserError(f"{path}: missing or cut short. {AGAIN}")


def _clear(folder: Path) -> bool:
    """Removes the files of an unfinished preparation; returns True if there were any."""
    if not (folder / HIDDEN).exists():
        return False
    for path in [*folder.glob("shard-*.parquet"), *(folder / name for name in _OWN[2:])]:
        path.unlink(missing_ok=True)
    # Last, since it shows whose the other files are.
    shutil.rmtree(folder / HIDDEN)
    return True


def _finish(folder: Path, manifest: Manifest) -> None:
    """Moves the files to their places, then writes the manifest, which makes them count."""
    for entry in (manifest.items, *manifest.shards):
        os.replace(folder / HIDDEN / entry.file, folder / entry.file)
    write_manifest(folder, manifest)


def _write_folder(log: LargeLog, hidden: Path, display: Display) -> Manifest:
    """Writes shards and items into the hidden folder and returns the manifest."""
    num_shards = min(max(-(-log.size // SHARD_BYTES), 1), MOST_SHARDS)
    drops = log.settings.filters.duplicates == "drop"
    buckets = UserBuckets(hidden, num_shards, is_whole=drops)
    item_ids, has_times = _fill(log, buckets, display)
    if drops and not has_times:
        raise no_times_error(Path(log.path).name)
    num_read = num_kept = 0
    source = {"name": Path(log.path).name, "sha256": log.sha256(), "bytes": log.num_bytes}
    shards, counts = [], np.zeros(len(item_ids) + 1, np.int64)
    bar = ProgressBar(display, label="writing shards", total=num_shards, done=0)
    try:
        for number in range(num_shards):
            taken = buckets.take(number)
            num_read += 0 if taken is None else taken.num_rows
            taken = without_duplicates(taken) if drops else taken
            num_kept += 0 if taken is None else taken.num_rows
            shard = shard_of(taken, has_times=has_times, repeats=log.settings.repeats)
            counts += np.bincount(shard.items, minlength=len(counts))
            shards.append(write_shard(hidden / shard_name(number, num_shards), shard))
            bar.update(number + 1, f"{number + 1} of {num_shards}")
    finally:
        bar.close(len(shards))
    raw_ids = np.array(item_ids, dtype=object)
    table = log.item_table(item_ids)
    items = items_of(raw_ids, counts[1:], table)
    reading = log.reading
    if table is not None:
        reading = reading._replace(titles=table.titles_read(items.titles))
    if drops:
        counted = {"events": num_read}, {"events": num_kept}
        step = FilterStep("duplicates", DUPLICATES_WORDS, *counted)
        reading = reading._replace(steps=(*reading.steps, step))
    return make_manifest(
        source=source,
        settings={"asked": log.asked, "repeats": log.settings.repeats, **reading.as_json()},
        has_times=has_times,
        num_items=len(item_ids),
        items=write_items(hidden / ITEMS, items),
        shards=shards,
    )


def _fill(log: LargeLog, buckets: UserBuckets, display: Display) -> tuple[list[str], bool]:
    """Puts every event into its bucket; returns raw ids by internal id, and if there are times."""
    items = RawIds()
    has_times, num_events = False, 0
    bar = ProgressBar(display, label="reading", total=log.size, done=0)
    try:
        for batch in log:
            buckets.add(batch, items.numbers_of(batch.item_ids)[batch.items] + 1)
            has_times = batch.times is not None
            num_events += batch.num_events
            bar.update(log.done, f"{num_events:,} events, {len(items):,} items")
    finally:
        buckets.close()
        bar.close(log.done)
    return items.as_array().tolist(), has_times


def _show_folder(folder: Path, display: Display) -> None:
    manifest = read_manifest(folder)
    counts, settings = manifest.counts, manifest.settings
    num_bytes = sum(entry.num_bytes for entry in (manifest.items, *manifest.shards))
    repeats = f"{counts['repeats']:,} repeats, {settings['repeats']}"
    unit = settings.get("time_unit", "")
    columns = ", ".join(
        f"{role} {name!r}" + (f" ({unit})" if role == "time" and unit else "")
        for role, name in settings["columns"].items()
    )
    display.block(
        [
            f"{folder}: {counts['users']:,} users, {counts['items']:,} items, "
            f"{counts['events']:,} events ({repeats})",
            f"{len(manifest.shards)} shards, {num_bytes / 2**20:,.1f} MiB; content sha256 "
            f"{manifest.content_sha256[:12]}",
            f"read from {manifest.source['name']}, {settings['format']}: {columns}",
            *(line.strip() for line in reading_lines(of_json(settings).as_json())[1:]),
        ]
    )
    display.notes.line(f"  Next: --data={folder} with any mode that takes --data", wraps=False)
