"""An approximate index over an exported model's items, for batch recommendation of huge catalogues.

Needs the package of `pip install ufnrec-tf[faiss]`, which is imported here alone.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.common.tensors import EMPTY_SCORE, PAD
from ufnrec_tf.export.items import read_items
from ufnrec_tf.export.saved_model import read_metadata
from ufnrec_tf.export.small_table_check import recall
from ufnrec_tf.export.versions import damaged_error
from ufnrec_tf.recommend.scoring import BestItems, ExactScorer

_CHECKED = 512
# Cells of the index a square root of items, the share of them that is searched, and the items
# from which the cells are learnt.
_CELLS = 4.0
_SEARCHED = 1 / 16
_LEAST_SEARCHED = 16
_LEARNT_FROM = 1 << 18


class FaissScorer:
    """Finds most of the best items by an inverted file over their vectors, exact within cells.

    Items of a history are kept out by fetching as many more as there are. A history without a
    known item, and one for which fewer than k are found, gets the exact answer. On the first
    histories the exact answers are computed as well, for `recall_line`.

    Source: faiss's IndexIVFFlat with inner products (Douze et al., arXiv 2401.08281).

    Args:
        export_dir: Version folder.
        model: What `load_model` returned for it.

    Raises:
        UserError: Where the package is missing, or the export is damaged or of an older program.
    """

    name = "faiss"

    def __init__(self, export_dir: Path, model: Any) -> None:
        faiss = _package()
        self._model = model
        self._exact = ExactScorer(model)
        self._masks_seen = bool(read_metadata(export_dir)["mask_seen"])
        try:
            items = read_items(export_dir, ["item_id"])
            if items is None:
                raise FileNotFoundError("without its table of items")
            vectors = np.ascontiguousarray(model.item_vectors()["vectors"].numpy()[1:])
        except (OSError, KeyError, AttributeError, ValueError) as error:
            raise damaged_error(export_dir, error) from error
        self._raw_ids = np.array([b"", *(id.encode() for id in items["item_id"])], object)
        self._index = _index_of(faiss, vectors)
        self._num_items = len(vectors)
        self._num_checked = 0
        self._recall = 0.0

    @property
    def recall_line(self) -> str:
        """How much of the exact answers was found, in one line."""
        if not self._num_checked:
            return "index faiss: nothing was scored"
        return (
            f"index faiss: recall against exact {self._recall / self._num_checked:.4f} on the "
            f"first {self._num_checked:,} histories; {self._index.nprobe:,} of "
            f"{self._index.nlist:,} cells searched"
        )

    def best(self, item_ids: tf.Tensor, k: int) -> BestItems:
        """See `Scorer`."""
        seen = self._model.lookup(item_ids).numpy()  # [B, T]
        num_known = np.count_nonzero(seen, axis=1)
        vectors = self._model.signatures["encode"](item_ids=item_ids)["vectors"].numpy()
        wanted = min(k + (int(num_known.max()) if self._masks_seen else 0), self._num_items)
        scores, places = self._index.search(np.ascontiguousarray(vectors), wanted)
        # -1 is faiss's word for none; an item's place in the index is its internal id less 1.
        items = places.astype(np.int64) + 1
        if self._masks_seen:
            items[_are_in(items, seen)] = PAD
        items, scores = _first(items, scores, k)
        answers = BestItems(self._raw_ids[items], scores, num_known)
        left = self._num_items - (_num_distinct(seen) if self._masks_seen else 0)
        is_short = np.count_nonzero(items, axis=1) < np.minimum(k, left)
        self._answer_exactly(answers, item_ids, (num_known == 0) | is_short, k)
        self._check(answers, item_ids, k)
        return answers

    def _answer_exactly(
        self, answers: BestItems, item_ids: tf.Tensor, chosen: np.ndarray, k: int
    ) -> None:
        """Replaces the answers of the chosen rows, bool [B]."""
        if chosen.any():
            exact = self._exact.best(tf.boolean_mask(item_ids, chosen), k)
            answers.item_ids[chosen] = exact.item_ids
            answers.scores[chosen] = exact.scores

    def _check(self, answers: BestItems, item_ids: tf.Tensor, k: int) -> None:
        """Compares the first histories' answers with the exact ones."""
        count = min(_CHECKED - self._num_checked, len(answers.scores))
        if count > 0:
            exact = self._exact.best(item_ids[:count], k)
            self._recall += count * recall(answers.item_ids[:count], exact.item_ids)
            self._num_checked += count


def _index_of(faiss: Any, vectors: np.ndarray) -> Any:
    """Returns the index of float32 [V, D]."""
    num_items, width = vectors.shape
    num_cells = int(max(1, min(_CELLS * num_items**0.5, num_items / 39)))
    cells = faiss.IndexFlatIP(width)
    index = faiss.IndexIVFFlat(cells, width, num_cells, faiss.METRIC_INNER_PRODUCT)
    rng = np.random.default_rng(0)
    count = min(num_items, _LEARNT_FROM)
    index.train(vectors[np.sort(rng.choice(num_items, count, replace=False))])
    index.add(vectors)
    index.nprobe = min(num_cells, max(_LEAST_SEARCHED, round(num_cells * _SEARCHED)))
    return index


def _are_in(items: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Returns bool [B, n], whether each of int [B, n] is in its row of int [B, T]."""
    # A row's numbers are moved to a range of their own.
    step = int(max(items.max(initial=0), seen.max(initial=0))) + 1
    offsets = np.arange(len(items))[:, None] * step
    return np.isin(items + offsets, seen + offsets)


def _num_distinct(seen: np.ndarray) -> np.ndarray:
    """Returns int [B], how many different items the rows of int [B, T] have, 0 left out."""
    ordered = np.sort(seen, axis=1)
    is_new = np.diff(ordered, axis=1, prepend=PAD) > 0
    return np.count_nonzero(is_new, axis=1)


def _first(items: np.ndarray, scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the k best by score, then lower id, that are no 0: int64 and float32 [B, k]."""
    scores = np.where(items > PAD, scores, -np.inf)
    order = np.lexsort((items, -scores), axis=1)[:, :k]
    items, scores = (np.take_along_axis(values, order, axis=1) for values in (items, scores))
    is_item = np.isfinite(scores)
    missing = [(0, 0), (0, k - items.shape[1])]
    return (
        np.pad(np.where(is_item, items, PAD), missing),
        np.pad(np.where(is_item, scores, EMPTY_SCORE), missing, constant_values=EMPTY_SCORE).astype(
            np.float32
        ),
    )


def _package() -> Any:
    """Returns the imported package.

    Raises:
        UserError: Where it is missing.
    """
    try:
        return importlib.import_module("faiss")
    except ImportError as error:
        raise UserError(
            f"--index=faiss needs the package faiss ({own_words(error)}). "
            "Install it: pip install 'ufnrec-tf[faiss]', or leave --index out."
        ) from error
