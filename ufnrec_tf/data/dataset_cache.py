"""Data sets by name: had from the publisher once, converted once, kept in a folder.

`<cache>/<name>/` holds the files as they came, FILE.sha256 where no checksum is published,
interactions.parquet, items.parquet where titles are known, and manifest.json, written last: with
it there, nothing is asked of the network. A folder like it, served by any web server, is a mirror.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.common.files import read_json, write_json, write_text
from ufnrec_tf.data.checksums import Expected, check_file
from ufnrec_tf.data.dataset_entry import Dataset, File
from ufnrec_tf.data.dataset_tables import ConversionBar, write_events, write_items
from ufnrec_tf.data.datasets import find_dataset
from ufnrec_tf.data.downloads import Patience, fetch, megabytes
from ufnrec_tf.data.raw_layouts import LAYOUTS

CONVERSION = 1
"""Raised when what is written from the same files changes, so that it is written anew."""
INTERACTIONS, ITEMS, MANIFEST = "interactions.parquet", "items.parquet", "manifest.json"


class Wishes(NamedTuple):
    """How a data set is had.

    Attributes:
        cache: Folder of all data sets; "" for $UFNREC_CACHE, else the user's cache folder.
        mirror: Address of a folder like it to get the files from; "" for the publishers.
        sha256: Of the log's file, to hold it against instead of what is known; "" for that.
        with_titles: Whether files that only tell about the items are had too.
    """

    cache: str = ""
    mirror: str = ""
    sha256: str = ""
    with_titles: bool = True


class NamedData(NamedTuple):
    """A data set that is ready to read.

    Attributes:
        name: As `datasets` spells it.
        interactions: Parquet file of user, item, timestamp and perhaps rating.
        items: Parquet file of item_id, title, category and price, or None.
        manifest: Where it came from, when, its checksums, counts and licence.
    """

    name: str
    interactions: Path
    items: Path | None
    manifest: dict[str, Any]


class _Job(NamedTuple):
    """A data set that is not ready yet."""

    name: str
    dataset: Dataset
    folder: Path
    wishes: Wishes
    display: Display
    patience: Patience | None


def cache_folder(path: str = "") -> Path:
    """Returns the folder of all data sets."""
    given = path or os.environ.get("UFNREC_CACHE", "")
    if given:
        return Path(given).expanduser()
    user = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG rules: a relative one is ignored.
    return (Path(user) if os.path.isabs(user) else Path.home() / ".cache") / "ufnrec_tf"


def obtain(
    name: str,
    wishes: Wishes,
    *,
    display: Display,
    patience: Patience | None = None,
) -> NamedData:
    """Returns a data set, downloaded and converted where it is not there yet.

    Args:
        name: What `datasets` knows it by.
        wishes: Where it is kept, what is had of it.
        display: Licence, sources, sizes and progress are shown here.
        patience: Tries and time limits of downloads.

    Raises:
        UserError: If there is none of that name, or it cannot be had.
    """
    name, dataset = find_dataset(name)
    folder = cache_folder(wishes.cache) / name
    job = _Job(name, dataset, folder, wishes, display, patience)
    # Without the lock: a cache that is ready may be read-only.
    manifest = _finished(job)
    shown = display if manifest is None else display.notes
    shown.line(f"{name}: {dataset.title}")
    shown.block([f"licence: {dataset.licence}", f"         {dataset.licence_address}"])
    if manifest is None:
        with _alone_in(folder, display):
            manifest = _finished(job) or _make(job)
    else:
        log = manifest["files"][0]
        shown.block(
            [f"in {folder} since {manifest['date'][:10]}, from {log['address']}, {_of(log)}"]
        )
    items = folder / ITEMS if manifest["items_told"] else None
    return NamedData(name, folder / INTERACTIONS, items, manifest)


def _of(record: dict[str, Any]) -> str:
    return f"{megabytes(record['bytes'])}, sha256 {record['sha256']}"


def _finished(job: _Job) -> dict[str, Any] | None:
    """Returns the manifest of what is ready and as wished, or None."""
    path = job.folder / MANIFEST
    if not path.exists():
        return None
    try:
        manifest = read_json(path)
        is_ready = (
            manifest["conversion"] == CONVERSION
            and (manifest["with_titles"] or not job.wishes.with_titles)
            and job.wishes.sha256.lower() in ("", manifest["files"][0]["sha256"])
            and (job.folder / INTERACTIONS).stat().st_size == manifest["interactions_bytes"]
            and (not manifest["items_told"] or (job.folder / ITEMS).exists())
        )
    except (UserError, KeyError, IndexError, TypeError, OSError):
        return None
    return manifest if is_ready else None


@contextmanager
def _alone_in(folder: Path, display: Display) -> Iterator[None]:
    """Makes the folder and holds it, waiting for another process that does."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be made or written to ({own_words(error)}). Give another folder as "
            "--config.data.cache."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            display.line("  another process is getting it; waiting for that one")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(job: _Job) -> dict[str, Any]:
    """Downloads and converts; the manifest comes last."""
    files = [f for f in job.dataset.files if job.wishes.with_titles or not f.is_for_titles]
    (job.folder / MANIFEST).unlink(missing_ok=True)
    records = [_get(job, file) for file in files]
    paths = [job.folder / record["file"] for record in records]
    layout = LAYOUTS[job.dataset.layout]
    with ConversionBar(job.display) as progress:
        events = layout.events(paths[0], progress.watch)
        counts = write_events(job.folder / INTERACTIONS, events, tick=progress.tick)
        told = layout.items(paths, progress.watch)
        num_told = write_items(job.folder / ITEMS, told, known=counts.items, tick=progress.tick)
    sha256, _ = check_file(job.folder / INTERACTIONS, Expected())
    manifest = {
        "name": job.name,
        "title": job.dataset.title,
        "licence": job.dataset.licence,
        "licence_address": job.dataset.licence_address,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": records,
        "conversion": CONVERSION,
        "with_titles": job.wishes.with_titles,
        "interactions": counts.num_events,
        "users": counts.num_users,
        "items": len(counts.items),
        "items_told": num_told,
        "lines_left_out": counts.num_skipped,
        "interactions_sha256": sha256,
        "interactions_bytes": (job.folder / INTERACTIONS).stat().st_size,
    }
    write_json(job.folder / MANIFEST, manifest)
    _show(job, manifest)
    return manifest


def _show(job: _Job, manifest: dict[str, Any]) -> None:
    left_out = manifest["lines_left_out"]
    lines = [
        f"{manifest['interactions']:,} events, {manifest['users']:,} users, "
        f"{manifest['items']:,} items, {manifest['items_told']:,} of them with a title",
        f"kept as {job.folder / INTERACTIONS}, sha256 {manifest['interactions_sha256']}",
    ]
    if left_out:
        lines.insert(1, f"{left_out:,} lines left out: without a user, an item or a time")
    job.display.block(lines)


def _expected(job: _Job, file: File, note: Path) -> Expected:
    """Returns what a file is held against: the user's word, the publisher's, or the first time."""
    way_out = "To take it as it is give --config.data.sha256={sha256}."
    if job.wishes.sha256 and not file.is_for_titles:
        return Expected(f"sha256:{job.wishes.sha256}", None, way_out)
    if not file.checksum and note.exists():
        first = note.read_text(encoding="utf-8").split()[:1]
        return Expected(
            "".join(f"sha256:{digits}" for digits in first),
            None,
            f"To take what differs from the first time remove {note}.",
        )
    return Expected(file.checksum, file.num_bytes, way_out)


def _to_be_put(job: _Job, file: File) -> UserError:
    """Returns, for the caller to raise, where a file is had that is not downloaded."""
    names = " or ".join((file.name, *file.other_names))
    return UserError(
        f"{job.name}: its publisher gives it to those who agree to its terms at "
        f"{job.dataset.licence_address}. Get it there, put {names} into {job.folder} and run the "
        "same command."
    )


def _get(job: _Job, file: File) -> dict[str, Any]:
    """Returns the record of a file that is in the folder, downloaded where it was not."""
    there = [n for n in (file.name, *file.other_names) if (job.folder / n).is_file()]
    path = job.folder / (there[0] if there else file.name)
    note = path.with_name(f"{path.name}.sha256")
    expected = _expected(job, file, note)
    address = "put there by hand"
    if there:
        sha256, wrong = check_file(path, expected)
        if wrong:
            way_out = expected.way_out.replace("{sha256}", sha256)
            raise UserError(f"{path}: {wrong}. Remove it to have it downloaded. {way_out}")
    elif file.is_downloaded:
        address = file.address
        if job.wishes.mirror:
            address = f"{job.wishes.mirror.rstrip('/')}/{job.name}/{file.name}"
        size = f", {megabytes(file.num_bytes)}" if file.num_bytes else ""
        job.display.block([f"from {address}{size}, to {path}"])
        sha256 = fetch(address, path, expected=expected, display=job.display, patience=job.patience)
    else:
        raise _to_be_put(job, file)
    record = {
        "file": path.name,
        "address": address,
        "bytes": path.stat().st_size,
        "sha256": sha256,
        "checked": expected.checksum,
    }
    if not file.checksum:
        write_text(note, f"{sha256}  {path.name}\n")
    checked = (
        f"as expected by {expected.checksum.partition(':')[0]}"
        if expected.checksum
        else (f"no published checksum; kept in {note.name} for later runs")
    )
    job.display.block([f"{path.name}: {_of(record)}, {checked}"])
    return record
