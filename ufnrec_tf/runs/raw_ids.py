"""The raw user and item ids behind a run's internal ids, kept in its work directory.

With them a work directory explains its own memory: row r is a transition of this user, at this
place of the history; item i is that raw id. So another run can take the memory over without
the log.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.common.files import write_parquet
from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.data.item_sets import chunks_of
from ufnrec_tf.runs.run_files import check_run_file

FOLDER = "ids"
_ITEMS, _ROWS, _EVENTS = "items.parquet", "rows.parquet", "events.parquet"
ID_FILES = tuple(f"{FOLDER}/{name}" for name in (_ITEMS, _ROWS, _EVENTS))
"""Their paths below the work directory."""


class RunIds(NamedTuple):
    """The raw ids behind a run's internal ids. M users have rows in its memory.

    Attributes:
        items: object(str) [V + 1], raw ids by internal id; items[0] is "".
        users: object(str) [M], raw ids, in the order of the rows.
        first_positions: int32 [M], index in the user's history of the first row's transition.
        num_rows: int64 [M], rows of each user; they stand together, one a transition.
        events: int32 [rows + M], internal item ids: of each user the events that the rows lie
            between, oldest first, one more than there are rows.
    """

    items: np.ndarray
    users: np.ndarray
    first_positions: np.ndarray
    num_rows: np.ndarray
    events: np.ndarray

    @property
    def first_rows(self) -> np.ndarray:
        """Returns the first row of each user, int64 [M]."""
        return np.cumsum(self.num_rows) - self.num_rows

    @property
    def first_events(self) -> np.ndarray:
        """Returns where in `events` each user's begin, int64 [M]."""
        return self.first_rows + np.arange(len(self.users))

    @property
    def users_of_rows(self) -> np.ndarray:
        """Returns each row's user as a place in `users`, int64 [rows]."""
        return np.repeat(np.arange(len(self.users)), self.num_rows)


def ids_of_run(
    interactions: Interactions,
    *,
    users: np.ndarray,
    first_positions: np.ndarray,
    users_of_rows: np.ndarray,
) -> RunIds:
    """Returns the raw ids of a run, given its windows (`data.windows.Samples`).

    Args:
        interactions: The log.
        users: int32 [W], internal user of each window, ascending.
        first_positions: int32 [W], index in the history of each window's first transition.
        users_of_rows: int32 [rows], internal user of each memory row, ascending.
    """
    known, first_windows = np.unique(users, return_index=True)
    wanted = known.astype(users_of_rows.dtype)
    ends, begins = (np.searchsorted(users_of_rows, wanted, side) for side in ("right", "left"))
    num_rows = ends - begins
    first_positions = first_positions[first_windows].astype(np.int32)
    lengths = num_rows + 1
    starts = interactions.offsets[known] + first_positions
    firsts = np.cumsum(lengths) - lengths
    events = np.empty(lengths.sum(), np.int32)
    # In parts, since the places of events take 8 bytes each, several times over.
    for chunk in chunks_of(lengths):
        own, first = lengths[chunk], firsts[chunk.start]
        places = np.arange(own.sum()) + np.repeat(starts[chunk] - (firsts[chunk] - first), own)
        events[first : first + len(places)] = interactions.items[places]
    return RunIds(
        items=interactions.item_ids,
        users=interactions.user_ids[known],
        first_positions=first_positions,
        num_rows=num_rows.astype(np.int64),
        events=events,
    )


def has_ids(workdir: Path) -> bool:
    """True if a work directory has the folder ids/."""
    return all((workdir / FOLDER / name).is_file() for name in (_ITEMS, _EVENTS, _ROWS))


def write_ids(workdir: Path, ids: RunIds) -> None:
    """Writes the folder ids/ of a work directory, each file whole or not at all."""
    folder = workdir / FOLDER
    folder.mkdir(exist_ok=True)
    write_parquet(folder / _ITEMS, pd.DataFrame({"item": ids.items[1:]}))
    write_parquet(folder / _EVENTS, pd.DataFrame({"item": ids.events}))
    rows = pd.DataFrame(
        {"user": ids.users, "first_position": ids.first_positions, "num_rows": ids.num_rows}
    )
    write_parquet(folder / _ROWS, rows)


def read_items(workdir: Path) -> np.ndarray:
    """Returns the raw ids of a run's items by internal id, object(str) [V + 1]; "" at 0.

    Raises:
        UserError: If the file is missing or damaged.
    """
    path = workdir / FOLDER / _ITEMS
    frame = _read_frame(workdir, f"{FOLDER}/{_ITEMS}")
    if "item" not in frame:
        raise _damaged(path, ValueError("has no column item"))
    return np.concatenate([np.array([""], object), frame["item"].to_numpy(object)])


def read_ids(workdir: Path) -> RunIds:
    """Reads the folder ids/ of a work directory.

    Raises:
        UserError: If a file is missing or damaged, or they do not fit each other.
    """
    items, rows, events = (
        _read_frame(workdir, f"{FOLDER}/{name}") for name in (_ITEMS, _ROWS, _EVENTS)
    )
    try:
        ids = RunIds(
            items=np.concatenate([np.array([""], object), items["item"].to_numpy(object)]),
            users=rows["user"].to_numpy(object),
            first_positions=rows["first_position"].to_numpy(np.int32),
            num_rows=rows["num_rows"].to_numpy(np.int64),
            events=events["item"].to_numpy(np.int32),
        )
        if len(ids.events) != ids.num_rows.sum() + len(ids.users):
            raise ValueError("events and rows differ in length")
        if ids.events.min(initial=0) < 0 or ids.events.max(initial=0) >= len(ids.items):
            raise ValueError("an event's item is not in the list of items")
    except (KeyError, ValueError, TypeError) as error:
        raise _damaged(workdir / FOLDER, error) from error
    return ids


def _read_frame(workdir: Path, name: str) -> pd.DataFrame:
    path = workdir / name
    if not path.is_file():
        raise UserError(
            f"{path}: not found: runs of older versions did not write it. Run this work "
            "directory's --mode=train command once more, which adds it and trains nothing anew."
        )
    check_run_file(workdir, name)
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(
        f"{path}: is damaged ({own_words(error)[:200]}). Remove the folder ids and run this work "
        "directory's --mode=train command once more, which writes it again."
    )


def match_items(old: RunIds, new: RunIds) -> np.ndarray:
    """Returns the new internal id of each old item, int32 [V_old + 1], 0 if it is gone."""
    found = np.zeros(len(old.items), np.int32)
    found[1:] = pd.Index(new.items[1:]).get_indexer(old.items[1:]) + 1
    return found


def match_rows(old: RunIds, new: RunIds, new_items: np.ndarray) -> np.ndarray:
    """Returns the new memory row of each old row, int64 [old rows], -1 for none.

    Rows are the same where the user, the position in the history and the transition are: the
    items before and after it. Events further back are not compared.

    Args:
        old: The ids of the run that has the rows.
        new: The ids of the run that gets them.
        new_items: The result of `match_items`.
    """
    found = np.full(old.num_rows.sum(), -1, np.int64)
    number = pd.Index(new.users).get_indexer(old.users)
    mine = np.flatnonzero(number >= 0)
    theirs = number[mine]
    begins = np.maximum(old.first_positions[mine], new.first_positions[theirs]).astype(np.int64)
    old_ends = old.first_positions[mine] + old.num_rows[mine]
    ends = np.minimum(old_ends, new.first_positions[theirs] + new.num_rows[theirs])
    counts = np.maximum(ends - begins, 0)
    pair = np.repeat(np.arange(len(mine)), counts)
    position = begins[pair] + np.arange(len(pair)) - (np.cumsum(counts) - counts)[pair]
    old_user, new_user = mine[pair], theirs[pair]
    old_step = position - old.first_positions[old_user]
    new_step = position - new.first_positions[new_user]
    is_same = np.ones(len(pair), bool)
    for later in (0, 1):
        before = new_items[old.events[old.first_events[old_user] + old_step + later]]
        now = new.events[new.first_events[new_user] + new_step + later]
        is_same &= (before > 0) & (before == now)
    old_row, new_row = old.first_rows[old_user] + old_step, new.first_rows[new_user] + new_step
    found[old_row[is_same]] = new_row[is_same]
    return found
