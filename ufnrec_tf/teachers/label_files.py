"""Stored labels: files for a student's step, in the form of `method.soft_labels`."""

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.files import read_json, sha256_of, write_json, written_whole
from ufnrec_tf.common.progress import working_on
from ufnrec_tf.method.soft_labels import FACTS_FILE, ITEMS_FILE, SHARES_FILE
from ufnrec_tf.teachers.labels import Labels, LabelSource
from ufnrec_tf.teachers.scores import chunks


def write_labels(
    folder: Path,
    source: LabelSource,
    events: np.ndarray,
    *,
    num_items: int,
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Writes the labels of transitions, part by part, and returns the content of `FACTS_FILE`.

    That file is written last: without it, labels that were cut short do not count.

    Args:
        folder: The folder of the labels; made if it is missing.
        source: Makes the labels.
        events: int64 [rows], the events that begin the transitions, ascending.
        num_items: Number of items.
        facts: What the labels are: the settings and the identity of the teacher.

    Raises:
        UserError: If the disk is full or not writable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FACTS_FILE).unlink(missing_ok=True)
    began, used = time.perf_counter(), time.process_time()
    sums = _Sums(facts["num_labels"])
    hashes = {name: hashlib.sha256() for name in (ITEMS_FILE, SHARES_FILE)}
    with (
        written_whole(folder / ITEMS_FILE) as items,
        written_whole(folder / SHARES_FILE) as shares,
        items.open("wb") as items_file,
        shares.open("wb") as shares_file,
        working_on("making the labels", len(events), "transitions") as made,
    ):
        for part in chunks(events, num_items):
            labels = source(part)
            sums.add(labels)
            for name, file, values in (
                (ITEMS_FILE, items_file, labels.items.astype("<i4")),
                (SHARES_FILE, shares_file, labels.shares.astype("<f4")),
            ):
                data = values.tobytes()
                hashes[name].update(data)
                file.write(data)
            made.advance(len(part))
    whole = {
        **facts,
        "rows": len(events),
        "bytes": 8 * len(events) * facts["num_labels"],
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - used,
        **sums.as_json(),
        "sha256": {name: found.hexdigest() for name, found in hashes.items()},
    }
    write_json(folder / FACTS_FILE, whole)
    return whole


def read_facts(folder: Path, facts: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the content of `FACTS_FILE`, or None where the labels have to be made.

    They are whole, undamaged and the ones that are asked for, or they do not count.

    Args:
        folder: The folder of the labels.
        facts: Those that must be equal.
    """
    if not (folder / FACTS_FILE).is_file():
        return None
    try:
        found = read_json(folder / FACTS_FILE)
        is_same = json.loads(json.dumps(facts)) == {key: found[key] for key in facts}
        hashes = {name: sha256_of(folder / name) for name in (ITEMS_FILE, SHARES_FILE)}
    except (UserError, OSError, KeyError, TypeError):
        return None
    return found if is_same and found.get("sha256") == hashes else None


class _Sums:
    """What labels say, summed over transitions.

    Args:
        num_labels: K.
    """

    def __init__(self, num_labels: int) -> None:
        self._above = np.zeros(num_labels + 1, np.int64)
        self._entropy = 0.0
        self._num_labelled = 0

    def add(self, labels: Labels) -> None:
        """Adds some transitions."""
        self._above += np.bincount(labels.num_above, minlength=len(self._above))
        logs = np.log(np.maximum(labels.shares, 1e-30))
        self._entropy -= float((labels.shares * logs).sum(dtype=np.float64))
        self._num_labelled += int((labels.shares[:, 0] > 0).sum())

    def as_json(self) -> dict[str, Any]:
        """Returns the means, and how many transitions have so many items above their target."""
        return {
            "labelled": self._num_labelled,
            "entropy": self._entropy / max(self._num_labelled, 1),
            "above": self._above.tolist(),
        }
