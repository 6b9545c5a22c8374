"""Published data sets by name: downloaded once, converted once, kept in a folder.

`<cache>/<name>/` holds the files as they came, FILE.sha256 where no checksum is published,
interactions.parquet, items.parquet where titles are known, and manifest.json, written last: with
it there, nothing is downloaded. A folder like it, served by any web server, is a mirror.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.common.files import held_folder, read_json, sha256_of, write_json, write_text
from ufnrec_tf.common.paths import cache_folder
from ufnrec_tf.reading.published.convert import convert
from ufnrec_tf.reading.published.datasets import Dataset, File, find_dataset
from ufnrec_tf.reading.published.download import (
    Expected,
    RetrySettings,
    check_file,
    fetch,
    megabytes,
)
from ufnrec_tf.reading.published.layouts import LAYOUTS

CONVERSION = 1
"""Number of the conversion: when it is raised, files of an older one are written anew."""
INTERACTIONS, ITEMS, MANIFEST = "interactions.parquet", "items.parquet", "manifest.json"


class DownloadOptions(NamedTuple):
    """The options by which a data set is obtained.

    Attributes:
        cache: Folder of all data sets; "" for $UFNREC_CACHE, else the user's cache folder.
        mirror: Address of a folder like it to download from; "" for the publishers.
        sha256: Of the log's file, checked in place of what is known; "" for that.
        with_titles: True if files that only describe the items are downloaded too.
    """

    cache: str = ""
    mirror: str = ""
    sha256: str = ""
    with_titles: bool = True


class PublishedData(NamedTuple):
    """A data set that is ready to read.

    Attributes:
        name: The name as `datasets` spells it.
        interactions: Parquet file of user, item, timestamp and perhaps rating.
        items: Parquet file of item_id, title, category and price, or None.
        manifest: The addresses, date, checksums, counts and licence.
    """

    name: str
    interactions: Path
    items: Path | None
    manifest: dict[str, Any]


def obtain(
    name: str,
    options: DownloadOptions,
    *,
    display: Display,
    settings: RetrySettings | None = None,
) -> PublishedData:
    """Returns a data set, downloaded and converted if it is not there yet.

    Args:
        name: The name of the data set in `datasets`.
        options: The folder, and which files are downloaded.
        display: Shows licence, sources, sizes and progress.
        settings: Retries and time-outs of downloads.

    Raises:
        UserError: If there is none of that name, or it cannot be obtained.
    """
    name, dataset = find_dataset(name)
    folder = cache_folder(options.cache) / name
    job = _Job(name, dataset, folder, options, display, settings)
    # Without the lock: a cache that is ready may be read-only.
    manifest = job.finished()
    shown = display if manifest is None else display.notes
    shown.line(f"{name}: {dataset.title}")
    shown.block([f"licence: {dataset.licence}", f"         {dataset.licence_address}"])
    if manifest is None:
        with _held(folder, display):
            manifest = job.finished() or job.make()
    else:
        log = manifest["files"][0]
        shown.block(
            [f"in {folder} since {manifest['date'][:10]}, from {log['address']}, {_facts(log)}"]
        )
    items = folder / ITEMS if manifest["items_told"] else None
    return PublishedData(name, folder / INTERACTIONS, items, manifest)


def _facts(record: dict[str, Any]) -> str:
    return f"{megabytes(record['bytes'])}, sha256 {record['sha256']}"


@contextmanager
def _held(folder: Path, display: Display) -> Iterator[None]:
    """Makes the folder and holds it, waiting for another process that does."""

    def say_so() -> None:
        display.line("  another process is getting it; waiting for that one")

    with ExitStack() as stack:
        try:
            stack.enter_context(held_folder(folder, if_taken=say_so))
        except OSError as error:
            raise UserError(
                f"{folder}: cannot be made or written to ({own_words(error)}). Give another "
                "folder as --config.data.cache."
            ) from error
        yield


class _Job(NamedTuple):
    """A data set that is asked for."""

    name: str
    dataset: Dataset
    folder: Path
    options: DownloadOptions
    display: Display
    settings: RetrySettings | None

    def finished(self) -> dict[str, Any] | None:
        """Returns the manifest of a data set that is ready as asked for, or None."""
        path = self.folder / MANIFEST
        if not path.exists():
            return None
        try:
            manifest = read_json(path)
            is_ready = (
                manifest["conversion"] == CONVERSION
                and (manifest["with_titles"] or not self.options.with_titles)
                and self.options.sha256.lower() in ("", manifest["files"][0]["sha256"])
                and (self.folder / INTERACTIONS).stat().st_size == manifest["interactions_bytes"]
                and (not manifest["items_told"] or (self.folder / ITEMS).exists())
            )
        except (UserError, KeyError, IndexError, TypeError, OSError):
            return None
        return manifest if is_ready else None

    def make(self) -> dict[str, Any]:
        """Downloads and converts; the manifest is written last."""
        with_titles, interactions = self.options.with_titles, self.folder / INTERACTIONS
        (self.folder / MANIFEST).unlink(missing_ok=True)
        records = [
            self._get(file) for file in self.dataset.files if with_titles or not file.is_for_titles
        ]
        counts = convert(
            LAYOUTS[self.dataset.layout],
            [self.folder / record["file"] for record in records],
            interactions=interactions,
            items=self.folder / ITEMS,
            display=self.display,
        )
        manifest = {
            "name": self.name,
            "title": self.dataset.title,
            "licence": self.dataset.licence,
            "licence_address": self.dataset.licence_address,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "files": records,
            "conversion": CONVERSION,
            "with_titles": with_titles,
            "interactions": counts.num_events,
            "users": counts.num_users,
            "items": counts.num_items,
            "items_told": counts.num_described,
            "lines_left_out": counts.num_skipped,
            "interactions_sha256": sha256_of(interactions),
            "interactions_bytes": interactions.stat().st_size,
        }
        write_json(self.folder / MANIFEST, manifest)
        lines = [
            f"{counts.num_events:,} events, {counts.num_users:,} users, {counts.num_items:,} "
            f"items, {counts.num_described:,} of them with a title",
            f"kept as {interactions}, sha256 {manifest['interactions_sha256']}",
        ]
        if counts.num_skipped:
            left_out = f"{counts.num_skipped:,} lines left out: without a user, an item or a time"
            lines.insert(1, left_out)
        self.display.block(lines)
        return manifest

    def _expected(self, file: File, note: Path) -> Expected:
        """Returns the expected checksum: the user's, the publisher's or the first download's."""
        way_out = "To take it as it is give --config.data.sha256={sha256}."
        if self.options.sha256 and not file.is_for_titles:
            return Expected(f"sha256:{self.options.sha256}", None, way_out)
        if not file.checksum and note.exists():
            first = note.read_text(encoding="utf-8", errors="replace").split()[:1]
            return Expected(
                "".join(f"sha256:{digits}" for digits in first),
                None,
                f"To take what differs from the first time remove {note}.",
            )
        return Expected(file.checksum, file.num_bytes, way_out)

    def _get(self, file: File) -> dict[str, Any]:
        """Returns the record of a file in the folder, downloaded if it is not there yet."""
        names = (file.name, *file.other_names)
        there = [name for name in names if (self.folder / name).is_file()]
        path = self.folder / (there[0] if there else file.name)
        note = path.with_name(f"{path.name}.sha256")
        expected = self._expected(file, note)
        address = "put there by hand"
        if there:
            sha256, wrong = check_file(path, expected)
            if wrong:
                way_out = expected.way_out.replace("{sha256}", sha256)
                raise UserError(f"{path}: {wrong}. Remove it to have it downloaded. {way_out}")
        elif file.is_downloaded:
            address = file.address
            if self.options.mirror:
                address = f"{self.options.mirror.rstrip('/')}/{self.name}/{file.name}"
            size = f", {megabytes(file.num_bytes)}" if file.num_bytes else ""
            self.display.block([f"from {address}{size}, to {path}"])
            sha256 = fetch(
                address, path, expected=expected, display=self.display, settings=self.settings
            )
        else:
            raise UserError(
                f"{self.name}: its publisher gives it to those who agree to its terms at "
                f"{self.dataset.licence_address}. Get it there, put {' or '.join(names)} into "
                f"{self.folder} and run the same command."
            )
        record = {
            "file": path.name,
            "address": address,
            "bytes": path.stat().st_size,
            "sha256": sha256,
            "checked": expected.checksum,
        }
        checked = f"as expected by {expected.checksum.partition(':')[0]}"
        if not file.checksum:
            write_text(note, f"{sha256}  {path.name}\n")
        if not expected.checksum:
            checked = f"no published checksum; kept in {note.name} for later runs"
        self.display.block([f"{path.name}: {_facts(record)}, {checked}"])
        return record
