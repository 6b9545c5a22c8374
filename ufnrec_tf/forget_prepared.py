"""Users removed from a folder of prepared data, which is then another data set, whole."""

from collections.abc import Set
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ufnrec_tf.common.display import Display
from ufnrec_tf.reading.prepare.prepared_folder import (
    MANIFEST,
    FileEntry,
    Manifest,
    Shard,
    make_manifest,
    read_items,
    read_manifest,
    read_shard,
    write_items,
    write_manifest,
    write_shard,
)
from ufnrec_tf.rewriting import rewrite
from ufnrec_tf.runs.workdir import Workdir


class Kept(NamedTuple):
    """A shard without some users, and what they had.

    Attributes:
        shard: The others.
        users: Raw ids of those that are gone.
        items: int32 [E], the items of their events.
    """

    shard: Shard
    users: set[str]
    items: np.ndarray


def forget_prepared(folder: Path, users: Set[str], display: Display) -> set[str]:
    """Removes users from a folder of prepared data, and shows what was removed.

    The folder is written anew beside itself and renamed: killed at any moment, the command is
    simply run again. Item ids stay, also of items that nobody has left.

    Args:
        folder: What --mode=prepare has made.
        users: Raw ids.
        display: The screen.

    Returns:
        Those that were found.

    Raises:
        UserError: If the folder is not prepared data, or cannot be written.
    """
    _put_back(folder)
    manifest = read_manifest(folder)
    with Workdir(folder):
        changed: dict[int, Kept] = {}
        for number, entry in enumerate(manifest.shards):
            kept = without_users(read_shard(folder, entry), users)
            if kept.users:
                changed[number] = kept
        found: set[str] = set().union(*(kept.users for kept in changed.values()))
        if found:
            rewrite(folder, lambda new: _write(new, manifest, changed), without=MANIFEST)
    if found:
        num_events = sum(len(kept.items) for kept in changed.values())
        display.heading(f"{folder}: {len(found):,} users")
        display.block(
            [
                f"{num_events:,} events removed, {len(changed):,} of {len(manifest.shards):,} "
                f"shards written anew; the data are now {read_manifest(folder).content_sha256[:12]}"
            ]
        )
    return found


def _put_back(folder: Path) -> None:
    """Puts the folder back where a command was killed between its two renames."""
    old = folder.with_name(f".{folder.name}.old")
    if old.exists() and not folder.exists():
        old.rename(folder)


def without_users(shard: Shard, users: Set[str]) -> Kept:
    """Returns a shard without some users, and what they had."""
    is_gone = np.fromiter((user in users for user in shard.user_ids), bool, len(shard.user_ids))
    lengths = np.diff(shard.offsets)
    is_gone_event = np.repeat(is_gone, lengths)
    return Kept(
        Shard(
            user_ids=shard.user_ids[~is_gone],
            offsets=np.concatenate([[0], np.cumsum(lengths[~is_gone])]).astype(np.int64),
            items=shard.items[~is_gone_event],
            times=None if shard.times is None else shard.times[~is_gone_event],
            repeats=shard.repeats[~is_gone],
        ),
        set(shard.user_ids[is_gone].tolist()),
        shard.items[is_gone_event],
    )


def _write(new: Path, manifest: Manifest, changed: dict[int, Kept]) -> None:
    """Writes what has changed into a folder whose files are second names of the old ones."""
    entries: list[FileEntry] = list(manifest.shards)
    items = read_items(new, manifest.items)
    counts = items.counts.astype(np.int64)
    for number, kept in changed.items():
        path = new / entries[number].file
        path.unlink()
        entries[number] = write_shard(path, kept.shard)
        counts = counts - np.bincount(kept.items - 1, minlength=len(counts))
    path = new / manifest.items.file
    path.unlink()
    num_users = sum(len(kept.users) for kept in changed.values())
    before = int(manifest.source.get("users_removed", 0))
    write_manifest(
        new,
        make_manifest(
            source={**manifest.source, "users_removed": before + num_users},
            settings=manifest.settings,
            has_times=manifest.has_times,
            num_items=manifest.num_items,
            items=write_items(path, items._replace(counts=counts)),
            shards=entries,
        ),
    )
