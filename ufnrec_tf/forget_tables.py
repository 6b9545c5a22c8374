"""Users removed from a run's memory: the tables in its checkpoints, and the ids of its rows."""

import secrets
from collections.abc import Set
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.data.user_hash import owners_of
from ufnrec_tf.data.windows import RowOwners
from ufnrec_tf.rewriting import rewrite
from ufnrec_tf.runs.checkpoints import CheckpointStore
from ufnrec_tf.runs.raw_ids import RunIds, write_rows
from ufnrec_tf.runs.worker_state import WorkerPart, read_part, write_part

STAND_IN = "forgotten-"
"""What the name begins with that a forgotten user's rows bear; the rest is random."""


class Cleared(NamedTuple):
    """What was found and is gone.

    Attributes:
        rows: Memory rows of the users.
        items: Items that these rows held in the newest checkpoint that held some.
        events: Events of the users in the ids.
    """

    rows: int = 0
    items: int = 0
    events: int = 0


def clear_tables(checkpoints: Path, ids: RunIds, users: Set[str]) -> int:
    """Zeroes the users' rows in the tables of all checkpoints; returns the items they held.

    Rows stay where they are, so that those of others keep their places.

    Raises:
        UserError: If a checkpoint is damaged or does not fit the ids.
    """
    owners = RowOwners(ids.users, ids.users_of_rows)
    is_gone_row = _is_one_of(ids.users, users)[ids.users_of_rows]
    num_items = 0
    store = CheckpointStore(checkpoints)
    for name in store.steps():
        num_workers, state = _num_workers(store, name), 0
        for worker in range(num_workers):
            rows = owners.rows_of(worker, num_workers)
            part = _read(checkpoints / name, worker, num_workers, len(rows))
            held = _zero(part, is_gone_row[rows])
            if held is None:
                continue
            state += held
            _replace(checkpoints / name, worker, num_workers, part)
        num_items = state or num_items
    return num_items


def _num_workers(store: CheckpointStore, name: str) -> int:
    state: dict[str, Any] = store.state(name)
    return int(state["num_workers"])


def _read(folder: Path, worker: int, num_workers: int, num_rows: int) -> WorkerPart:
    try:
        part = read_part(folder, worker, num_workers)
    # Which it raises depends on the byte that is damaged.
    except Exception as error:
        raise _unreadable(folder, own_words(error)[:200]) from error
    for table in part.tables.values():
        if len(table) != max(num_rows, 1):
            raise _unreadable(folder, f"{len(table)} rows, ids/ has {num_rows}")
    return part


def _unreadable(folder: Path, reason: str) -> UserError:
    return UserError(
        f"{folder}: the memory cannot be read, so that no user can be removed from it ({reason}). "
        "Remove this folder and run the same command again."
    )


def _zero(part: WorkerPart, is_gone: np.ndarray) -> int | None:
    """Zeroes rows bool [n] of all tables; returns the items they held, None if all were 0."""
    rows = np.flatnonzero(is_gone)
    has_some = any(table[rows].any() for table in part.tables.values())
    if not has_some:
        return None
    num_items = int(np.count_nonzero(part.tables["items"][rows]))
    for table in part.tables.values():
        table[rows] = 0
    return num_items


def _replace(folder: Path, worker: int, num_workers: int, part: WorkerPart) -> None:
    own = f"worker-{worker:05d}-of-{num_workers:05d}.*"
    try:
        rewrite(folder, lambda new: write_part(new, worker, num_workers, part), without=own)
    except tf.errors.OpError as error:
        raise UserError(
            f"{folder}: could not be written again ({own_words(error)}). Free some space, then run "
            "the same command again: it goes on."
        ) from error


def clear_ids(workdir: Path, ids: RunIds, users: Set[str]) -> Cleared:
    """Takes the users' names and events from a run's ids; returns how much there was.

    A name gives way to a random one that the same worker would have, for each number of workers
    that wrote a checkpoint: the rows of others then stay where they are.
    """
    is_gone = _is_one_of(ids.users, users)
    if not is_gone.any():
        return Cleared()
    store = CheckpointStore(workdir / "checkpoints")
    counts = {_num_workers(store, name) for name in store.steps()}
    names, events = ids.users.copy(), ids.events.copy()
    for place in np.flatnonzero(is_gone):
        names[place] = _stand_in(names[place], counts)
    is_gone_event = np.repeat(is_gone, ids.num_rows + 1)
    events[is_gone_event] = 0
    write_rows(workdir, ids._replace(users=names, events=events))
    return Cleared(rows=int(ids.num_rows[is_gone].sum()), events=int(is_gone_event.sum()))


def _stand_in(user: str, counts: Set[int]) -> str:
    """Returns a random name with the owner of `user` among each of these numbers of workers."""
    while True:
        name = STAND_IN + secrets.token_hex(8)
        pair = np.array([user, name], object)
        if all(len(set(owners_of(pair, count).tolist())) == 1 for count in counts):
            return name


def _is_one_of(names: np.ndarray, users: Set[str]) -> np.ndarray:
    return np.fromiter((name in users for name in names), bool, len(names))
