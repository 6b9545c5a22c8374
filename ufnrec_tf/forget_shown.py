"""Users removed from what a run shows: parquet files, JSON, logs, pages, TensorBoard's cards."""

import os
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any

import pandas as pd
import tensorflow as tf

from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.common.files import read_json, write_error, write_json, write_parquet
from ufnrec_tf.common.files import write_text as write_text_file
from ufnrec_tf.report.suspects import without_users as page_without_users
from ufnrec_tf.runs.workdir import RANKS_FILES
from ufnrec_tf.training.shown_results import without_users as log_without_users
from ufnrec_tf.training.tensorboard_content import SUMMARY_CARD
from ufnrec_tf.training.tensorboard_content import without_users as card_without_users

SUSPECTS_FILE = "false_negatives.parquet"
PARQUET_FILES = (*RANKS_FILES.values(), SUSPECTS_FILE)
"""A column `user` each."""
JSON_FILES = ("result.json", "comparison.json")


def users_shown(folder: Path, users: Set[str]) -> set[str]:
    """Returns which of the users a run's files still name, logs, pages and cards left out."""
    found: set[str] = set()
    for name in PARQUET_FILES:
        if (folder / name).is_file():
            found |= set(_read_parquet(folder / name)["user"]) & users
    for name in JSON_FILES:
        if (folder / name).is_file():
            _without(read_json(folder / name), users, found)
    return found


def drop_from_parquet(folder: Path, users: Set[str]) -> dict[str, int]:
    """Drops the users' rows; returns their number by file name."""
    dropped = {}
    for name in PARQUET_FILES:
        path = folder / name
        if not path.is_file():
            continue
        frame = _read_parquet(path)
        is_kept = ~frame["user"].isin(list(users))
        dropped[name] = int((~is_kept).sum())
        if dropped[name]:
            kept = frame[is_kept].reset_index(drop=True)
            kept.attrs = frame.attrs
            write_parquet(path, kept)
    return dropped


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path)
        return frame.assign(user=frame["user"].astype(str))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{path}: cannot be read ({own_words(error)[:200]}), so that no user can be removed "
            "from it. Remove it and run the same command again."
        ) from error


def drop_from_texts(folder: Path, users: Set[str]) -> int:
    """Takes the users out of JSON, logs, pages and TensorBoard; returns how many texts changed."""
    changed = 0
    for path in sorted((folder / "tensorboard").rglob("*tfevents*")):
        changed += _rewrite_events(path, users)
    changed += _rewrite_text(folder / "log.txt", log_without_users, users)
    changed += _rewrite_text(folder / "report.html", page_without_users, users)
    for name in JSON_FILES:
        if not (folder / name).is_file():
            continue
        value, found = read_json(folder / name), set[str]()
        value = _without(value, users, found)
        if found:
            write_json(folder / name, value)
            changed += 1
    return changed


def _rewrite_text(path: Path, act: Callable[[str, Set[str]], str], users: Set[str]) -> int:
    if not path.is_file():
        return 0
    before = path.read_text(encoding="utf-8", errors="surrogateescape")
    after = act(before, users)
    if after != before:
        write_text_file(path, after)
    return int(after != before)


def _without(value: Any, users: Set[str], found: set[str]) -> Any:
    """Returns JSON without the entries of lists whose `user` is one of the users; notes these."""
    if isinstance(value, dict):
        return {key: _without(member, users, found) for key, member in value.items()}
    if not isinstance(value, list):
        return value
    kept = []
    for member in value:
        user = member.get("user") if isinstance(member, dict) else None
        if isinstance(user, str) and user in users:
            found.add(user)
        else:
            kept.append(_without(member, users, found))
    return kept


def _rewrite_events(path: Path, users: Set[str]) -> int:
    """Takes the users out of the card on suspects in an event file; returns 1 if it changed."""
    events, changed = [], 0
    try:
        for data in tf.data.TFRecordDataset([str(path)]).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(data)
            for value in event.summary.value:
                if value.tag != SUMMARY_CARD or not value.tensor.string_val:
                    continue
                before = value.tensor.string_val[0].decode("utf-8")
                after = card_without_users(before, users)
                if after != before:
                    value.tensor.string_val[0] = after.encode("utf-8")
                    changed = 1
            events.append(event.SerializeToString())
    except tf.errors.DataLossError:
        pass  # the last record of a run that was killed; TensorBoard stops there as well
    if changed:
        new = path.with_name(f".{path.name}.new")
        try:
            with tf.io.TFRecordWriter(str(new)) as writer:
                for data in events:
                    writer.write(data)
            os.replace(new, path)
        except (OSError, tf.errors.OpError) as error:
            new.unlink(missing_ok=True)
            raise write_error(path, error) from error
    return changed
