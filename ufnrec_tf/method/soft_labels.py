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

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from ufnrec_tf.common.distribution import on_host
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.files import read_json
from ufnrec_tf.common.graphs import graph_function
from ufnrec_tf.common.tensors import PAD
from ufnrec_tf.method.negatives import Sampler
from ufnrec_tf.method.positions import Positions
from ufnrec_tf.method.teacher import EmaTeacher
from ufnrec_tf.objectives.functions import MINUS_INFINITY

_CHUNK_ITEMS = 16384
"""Items of a catalogue that the teacher scores at once."""

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


class LabelSource(Protocol):
    """What gives the soft labels of a step's transitions."""

    def labels(
        self, batch: dict[str, tf.Tensor], positions: Positions, is_open: tf.Tensor
    ) -> SoftLabels:
        """Returns the labels of the scored positions.

        Args:
            batch: See `data.batches.make_dataset`.
            positions: The scored positions of the batch.
            is_open: bool [], True once the gate is open.
        """


class StoredLabels:
    """Labels read from files, by the transition's row of the memory.

    The files are mapped: a step reads only the pages of its rows, without Python.

    Args:
        folder: Has the files; this worker's own.
        num_rows: Rows that training will ask for.

    Raises:
        UserError: If the files are missing, or not of that many rows.
    """

    def __init__(self, folder: Path, *, num_rows: int) -> None:
        if not (folder / FACTS_FILE).is_file():
            raise UserError(
                f"{folder}: has no soft labels. Expected {FACTS_FILE}, {ITEMS_FILE} and "
                f"{SHARES_FILE}. Remove the folder to make them again, or give another "
                "--config.teacher.folder."
            )
        facts = read_json(folder / FACTS_FILE)
        if facts["rows"] != num_rows:
            raise UserError(
                f"{folder}: has soft labels of {facts['rows']:,} transitions, expected "
                f"{num_rows:,}: those of this log and these windows. Remove the folder to make "
                "them again, or give another --config.teacher.folder."
            )
        shape = (num_rows, facts["num_labels"])
        with on_host():
            self._items = _mapped(folder / ITEMS_FILE, "<i4", shape)
            self._shares = _mapped(folder / SHARES_FILE, "<f4", shape)

    def labels(
        self, batch: dict[str, tf.Tensor], positions: Positions, is_open: tf.Tensor
    ) -> SoftLabels:
        """Returns the stored labels; see `LabelSource.labels`."""
        with on_host():
            items = tf.gather(self._items, positions.rows)
            shares = tf.gather(self._shares, positions.rows)
        return SoftLabels(positions.add_fillers(items, PAD), positions.add_fillers(shares, 0))


def _mapped(path: Path, dtype: str, shape: tuple[int, int]) -> tf.Tensor:
    """Returns a file as a tensor on the host whose pages are read when they are used.

    An eager tensor, which functions take as an input. As the operation `ImmutableConst` TensorFlow
    would fold a copy of the whole file into the graph.
    """
    expected = shape[0] * shape[1] * np.dtype(dtype).itemsize
    found = path.stat().st_size if path.exists() else 0
    if found != expected:
        raise UserError(
            f"{path}: has {found:,} bytes, expected {expected:,}. Remove {path.parent} to make "
            "the soft labels again."
        )
    if not expected:  # nothing can be mapped
        return tf.zeros(shape, np.dtype(dtype))
    # Copy on write, as DLPack takes no array that is marked as read-only. Nothing writes.
    pages = np.memmap(path, dtype, "c", shape=shape)
    return tf.experimental.dlpack.from_dlpack(pages.__dlpack__())


class DrawnLabels:
    """Controls: items drawn anew at each visit, outside the user's train items, of equal share.

    Args:
        sampler: Draws K items for each position; 0 where there are none.
        compiles: True lets XLA compile the draw.
    """

    def __init__(self, sampler: Sampler, *, compiles: bool = False) -> None:
        self._draw = graph_function(sampler.__call__, jit_compile=compiles)

    def labels(
        self, batch: dict[str, tf.Tensor], positions: Positions, is_open: tf.Tensor
    ) -> SoftLabels:
        """Returns the drawn labels; see `LabelSource.labels`."""
        drawn = self._draw(
            users=batch["user"],
            visits=batch["visit"],
            batch_index=positions.batch_rows(),
            positions=positions.indices,
        )
        items = tf.where(positions.is_real()[:, None], drawn, PAD)
        return SoftLabels(items, tf.where(items == PAD, 0.0, 1.0 / items.shape[1]))


class EmaLabels:
    """Labels of the EMA teacher, which scores the catalogue in each step once the gate is open.

    The shares are the softmax of the K highest scores, divided by the temperature, among the
    observed item and all items that are none of the user's train items.

    Args:
        teacher: The teacher.
        seen_offsets: int64 [U + 1], where each user's train items start in `seen_items`.
        seen_items: int32 [S], each user's distinct train items.
        is_candidate: bool [num_items], items that may be labels; None for all.
        num_labels: K.
        temperature: Above 0.
        outranking_only: True keeps only items that score above the observed one, and it.
    """

    def __init__(
        self,
        teacher: EmaTeacher,
        *,
        seen_offsets: np.ndarray,
        seen_items: np.ndarray,
        is_candidate: np.ndarray | None,
        num_labels: int,
        temperature: float,
        outranking_only: bool,
    ) -> None:
        self._teacher = teacher
        self._offsets = tf.constant(seen_offsets, tf.int64)
        self._seen = tf.constant(seen_items, tf.int32)
        self._is_candidate = is_candidate
        self._num_labels = num_labels
        self._temperature = temperature
        self._outranking_only = outranking_only

    def labels(
        self, batch: dict[str, tf.Tensor], positions: Positions, is_open: tf.Tensor
    ) -> SoftLabels:
        """Returns the teacher's labels, none while the gate is shut; see `LabelSource.labels`."""
        shape = [tf.size(positions.positives), self._num_labels]
        return tf.cond(
            is_open,
            lambda: self._ask(batch, positions),
            lambda: SoftLabels(tf.zeros(shape, tf.int32), tf.zeros(shape, tf.float32)),
        )

    def _ask(self, batch: dict[str, tf.Tensor], positions: Positions) -> SoftLabels:
        """Returns the teacher's labels of all positions."""
        inputs, backbone = positions.inputs, self._teacher.backbone
        vectors = inputs.choose(self._teacher.encode_all(inputs.packed))
        positives = positions.positives[:, None]
        own = self._teacher.score(vectors, positives)  # [C, 1]
        masked = self._masked(batch["user"], positions.batch_rows())
        room = self._num_labels - 1
        best = tf.pad(own, [[0, 0], [0, room]], constant_values=own.dtype.min)
        items = tf.pad(positives, [[0, 0], [0, room]])
        table = backbone.item_embeddings()
        for begin in range(1, backbone.num_items + 1, _CHUNK_ITEMS):
            end = min(begin + _CHUNK_ITEMS, backbone.num_items + 1)
            logits = tf.matmul(vectors, table[begin:end], transpose_b=True)
            logits = tf.where(masked(begin, end), logits.dtype.min, logits)
            best, items = _best_of(best, items, logits, begin)
        is_label = (best > best.dtype.min) & positions.is_real()[:, None]
        if self._outranking_only:
            is_label &= (best > own) | (items == positives)
        return SoftLabels(*shares_of(items, best / self._temperature, is_label))

    def _masked(self, users: tf.Tensor, batch_rows: tf.Tensor) -> Callable[[int, int], tf.Tensor]:
        """Returns the function of (begin, end) that gives bool [C, end - begin].

        It is True for items that must not be a label: the user's own, and those that training must
        not know.

        Args:
            users: int32 [B], -1 for an empty row of the batch.
            batch_rows: int32 [C], each position's row of the batch.
        """
        known = tf.maximum(users, 0)
        seen = tf.RaggedTensor.from_row_splits(self._seen, self._offsets, validate=False)
        of_rows = tf.gather(seen, known)
        rows, seen_items = tf.cast(of_rows.value_rowids(), tf.int32), of_rows.values

        def masked(begin: int, end: int) -> tf.Tensor:
            is_inside = (seen_items >= begin) & (seen_items < end)
            cells = tf.stack([rows, seen_items - begin], axis=1)
            cells = tf.boolean_mask(cells, is_inside)
            ones = tf.ones(tf.shape(cells)[:1], tf.int32)
            is_seen = tf.scatter_nd(cells, ones, [tf.size(users), end - begin]) > 0
            if self._is_candidate is not None:
                is_seen |= ~self._is_candidate[begin - 1 : end - 1]
            return tf.gather(is_seen, batch_rows)

        return masked


def _best_of(
    best: tf.Tensor, items: tf.Tensor, logits: tf.Tensor, begin: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the K highest of `best` [C, K] and a piece's logits [C, V], and their items.

    Args:
        best: float32 [C, K], the logits of `items`.
        items: int32 [C, K].
        logits: float32 [C, V], of items from `begin` on.
        begin: The first item of the piece.
    """
    num_labels = best.shape[1]
    highest, place = tf.math.top_k(tf.concat([best, logits], axis=1), num_labels)
    is_old = place < num_labels
    old = tf.gather(items, tf.where(is_old, place, 0), batch_dims=1)
    return highest, tf.where(is_old, old, begin + place - num_labels)


def shares_of(
    items: tf.Tensor, logits: tf.Tensor, is_label: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns items and shares as in `SoftLabels`: the softmax of the marked logits.

    Args:
        items: int32 [C, K].
        logits: float [C, K].
        is_label: bool [C, K].
    """
    shares = tf.nn.softmax(tf.where(is_label, logits, MINUS_INFINITY), axis=1)
    shares = tf.cast(tf.where(is_label, shares, 0.0), tf.float32)
    return tf.where(is_label, items, PAD), shares
