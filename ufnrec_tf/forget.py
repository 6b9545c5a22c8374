"""--mode=forget: users removed from work directories and prepared data.

What names a user's rows is changed last, so that a command that was killed is simply run again:
it finds the users where they still are, and everything before is done once more or found done.
What the weights have learnt stays; the log and backups are not looked at.
"""

from collections.abc import Set
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.files import read_json, write_json
from ufnrec_tf.forget_prepared import forget_prepared
from ufnrec_tf.forget_shown import SUSPECTS_FILE, drop_from_parquet, drop_from_texts, users_shown
from ufnrec_tf.forget_tables import Cleared, clear_ids, clear_tables
from ufnrec_tf.rewriting import tidy
from ufnrec_tf.runs.raw_ids import FOLDER, read_ids
from ufnrec_tf.runs.workdir import FORGOTTEN, RANKS_FILES, Workdir

_SHOWN_UNKNOWN = 5


class Removed(NamedTuple):
    """What was removed from one run.

    Attributes:
        users: Raw ids of those that were found.
        cleared: Of its memory and ids.
        ranks: Rows of its ranks files.
        pairs: Rows of false_negatives.parquet.
        texts: Files and cards that showed some of them.
        damaged: Damaged checkpoints, which were removed whole.
    """

    users: set[str]
    cleared: Cleared
    ranks: int
    pairs: int
    texts: int
    damaged: int


def forget(users: Set[str], *, workdir: str, data: str, display: Display) -> None:
    """Removes users from a work directory, the runs inside it, and a folder of prepared data.

    Args:
        users: Raw ids.
        workdir: Of a run or a comparison; empty for none.
        data: A folder that --mode=prepare has made; empty for none.
        display: The screen.

    Raises:
        UserError: If nobody of them is known, or a file cannot be read or written.
    """
    known: set[str] = set()
    was_here = False
    if workdir:
        found, was_here = _forget_workdir(Path(workdir), users, display)
        known |= found
    if data:
        known |= forget_prepared(Path(data), users, display)
    where = " and ".join(x for x in (workdir, data) if x)
    if not known and not was_here:
        raise UserError(
            f"{where}: knows none of the {len(users):,} users of --users. Give raw ids as the log "
            "has them, one a line."
        )
    display.heading(f"{len(known):,} of {len(users):,} users were known and are removed")
    unknown = sorted(users - known)
    if unknown:
        shown = ", ".join(unknown[:_SHOWN_UNKNOWN]) + (", ..." if len(unknown) > 5 else "")
        display.block([f"not found, or removed before: {len(unknown):,} ({shown})"])
    if workdir:
        _show_limits(workdir, display)


def _forget_workdir(root: Path, users: Set[str], display: Display) -> tuple[set[str], bool]:
    """Returns who was found, and whether users had been removed from here before."""
    known: set[str] = set()
    was_here = False
    with ExitStack() as held:
        held.enter_context(Workdir(root, must_exist=True))
        inner = sorted(path.parent for path in root.rglob("config.json") if path.parent != root)
        for path in inner:
            held.enter_context(Workdir(path, must_exist=True))
        for path in (root, *inner):
            record = read_json(path / "config.json")
            was_here |= isinstance(record, dict) and FORGOTTEN in record
            removed = forget_run(path, users)
            known |= removed.users
            _show_run(path, removed, display)
    return known, was_here


def forget_run(path: Path, users: Set[str]) -> Removed:
    """Removes users from one run's directory, which the caller holds.

    Args:
        path: The directory; also that of a comparison, which has no memory of its own.
        users: Raw ids.

    Raises:
        UserError: If a file cannot be read or written; run again, it goes on.
    """
    for folder in (path, path / FOLDER):
        for leftover in folder.glob(".*.new"):  # of a file that was being written
            leftover.unlink()
    checkpoints = path / "checkpoints"
    is_run = checkpoints.is_dir() or (path / FOLDER).is_dir()
    ids = read_ids(path) if is_run else None
    found = users_shown(path, users)
    if ids is not None:
        found |= set(ids.users.tolist()) & users
    if found and is_run:
        # First, so that no run goes on from what is half removed.
        write_json(path / "config.json", {**read_json(path / "config.json"), FORGOTTEN: True})
    cleared, damaged = Cleared(), 0
    if found and ids is not None:
        damaged = tidy(checkpoints)
        cleared = cleared._replace(items=clear_tables(checkpoints, ids, users))
    texts = drop_from_texts(path, users)
    dropped = drop_from_parquet(path, users)
    if found and ids is not None:
        cleared = clear_ids(path, ids, users)._replace(items=cleared.items)
    return Removed(
        users=found,
        cleared=cleared,
        ranks=sum(dropped.get(name, 0) for name in RANKS_FILES.values()),
        pairs=dropped.get(SUSPECTS_FILE, 0),
        texts=texts,
        damaged=damaged,
    )


def _show_run(path: Path, removed: Removed, display: Display) -> None:
    if not removed.users and not removed.texts:
        return
    cleared = removed.cleared
    display.heading(f"{path}: {len(removed.users):,} users")
    lines = [
        f"memory: {cleared.rows:,} rows with {cleared.items:,} items, in all kept checkpoints",
        f"ids: {cleared.events:,} events, and the users' names",
        f"files: {removed.ranks:,} ranks, {removed.pairs:,} suspects, {removed.texts:,} texts that "
        "showed some of them",
    ]
    if removed.damaged:
        lines.append(f"{removed.damaged:,} damaged checkpoints removed whole")
    display.block(lines)


def _show_limits(workdir: str, display: Display) -> None:
    display.heading("What stays")
    display.block(
        [
            "what the weights have learnt from them, in checkpoints and export; sums over all "
            "users, such as metrics and the export's counts of items; how many rows an unnamed "
            "user had; the log; backups",
            "No training goes on in this work directory. A new one does, on the log without them:",
        ]
    )
    command = f"--mode=train --data=LOG --workdir=NEW --config.training.warm_start={workdir}"
    display.block([command], wraps=False)
