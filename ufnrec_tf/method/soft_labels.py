"""Soft labels, the policy `ufnrec_soft`: items that share a target with the observed item.

A transition's target is

    (1 - mass * sum of shares) * one-hot(observed item) + mass * shares of the labels,

where the shares of a transition sum to 1, or to 0 where it has no labels: it then keeps the one-hot
target. The observed item may be one of the labels. Other train items of the user are never labels
of a teacher or of the controls that draw items.

Stored labels are two files of a folder, without a header, row by row of the memory
(`Positions.rows`), and a third that says what they are and is written last. With several workers
each has a folder of its own (`worker_folder`), by the rows that it holds.
"""

from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

ITEMS_FILE, SHARES_FILE = "items.i32", "shares.f32"
"""int32 and float32, little-endian, [rows * num_labels]: item ids and their shares; both 0 in
places without a label."""

FACTS_FILE = "labels.json"
"""An object with `rows`, `num_labels`, `temperature`, `sha256` (file name to SHA-256 of both files)
and `teacher` (the identity of what made them)."""


class SoftLabels(NamedTuple):
    """The labels of C transitions, K each.

    Attributes:
        items: int32 [C, K], item ids, 0 in a place without a label.
        shares: float32 [C, K], not negative, 0 in a place without a label; they sum to 1 in a
            transition with labels and to 0 in one without, as fillers are.
    """

    items: tf.Tensor
    shares: tf.Tensor


def worker_folder(folder: Path, worker: int, num_workers: int) -> Path:
    """Returns the folder of one worker's labels in that of a run's teacher.

    Args:
        folder: The folder of the labels.
        worker: 0..num_workers - 1.
        num_workers: Workers that train together; 1 has all labels in `folder` itself.
    """
    return folder if num_workers == 1 else folder / f"worker_{worker}_of_{num_workers}"
