"""The check of a small item table at export: its effect on answers, size and latency."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ufnrec_tf.export.retriever import Retriever
from ufnrec_tf.export.saved_model import ServedModel
from ufnrec_tf.export.timed_retriever import TimedRetriever, made_up_times, make_retriever

K = 10
_CALLS = 50
_BATCH = 64


def with_table_check(
    model: ServedModel, backbone: Any, item_ids: np.ndarray, histories: Sequence[Sequence[str]]
) -> ServedModel:
    """Returns the model with `table_check` in its document; a float32 model unchanged.

    `table_check` holds `recall@10` (the share of the float32 model's ten best items that are among
    the ten best of this one), the number of `histories`, and by kind of table `table_bytes` and
    `p50_ms`, the median time of one history.

    Args:
        model: The model that will be written.
        backbone: The backbone of the model.
        item_ids: object (str) [num_items + 1], "" at 0.
        histories: Raw ids, one history or more.
    """
    document = model.document
    kind = document["table"]
    if kind == "float32":
        return model
    exact = make_retriever(
        backbone,
        item_ids,
        max_length=document["max_length"],
        default_k=K,
        mask_seen=document["mask_seen"],
    )
    num_rows, width = backbone.item_embeddings().shape
    value_bytes, row_bytes = {"bfloat16": (2, 0), "int8": (1, 4)}[kind]
    check = {
        f"recall@{K}": recall(_best_ids(model.retriever, histories), _best_ids(exact, histories)),
        "histories": len(histories),
        "table_bytes": {
            "float32": 4 * num_rows * width,
            kind: value_bytes * num_rows * width + row_bytes * num_rows,
        },
        "p50_ms": {
            "float32": _median_milliseconds(exact, histories[0]),
            kind: _median_milliseconds(model.retriever, histories[0]),
        },
    }
    return dataclasses.replace(model, document={**document, "table_check": check})


def table_check_line(document: dict[str, Any]) -> str:
    """Returns a line on the `table_check` of an `ufnrec.json`, or "" if there is none."""
    check = document.get("table_check")
    if not check:
        return ""
    kind = document["table"]
    sizes, times = check["table_bytes"], check["p50_ms"]
    return (
        f"item table in {kind}: recall@{K} against float32 {check[f'recall@{K}']:.4f} on "
        f"{check['histories']:,} histories; {sizes[kind] / 1e6:.2f} MB instead of "
        f"{sizes['float32'] / 1e6:.2f} MB; p50 of one history {times[kind]:.2f} ms instead of "
        f"{times['float32']:.2f} ms"
    )


def recall(found: np.ndarray, exact: np.ndarray) -> float:
    """Returns the mean share of a row's exact ids that were found.

    Args:
        found: object [B, k]; b"" is no id.
        exact: object [B, k]; rows without an id are left out of the mean.
    """
    shares = [
        len(set(mine) & set(theirs) - {b""}) / len(set(theirs) - {b""})
        for mine, theirs in zip(found, exact, strict=True)
        if set(theirs) - {b""}
    ]
    return float(np.mean(shares)) if shares else 1.0


def _best_ids(retriever: Retriever, histories: Sequence[Sequence[str]]) -> np.ndarray:
    """Returns the ids of the best items, object (bytes) [B, K]."""
    batches = [
        _answer(retriever, _padded_tensor(histories[start : start + _BATCH]))
        for start in range(0, len(histories), _BATCH)
    ]
    return np.concatenate([batch["item_ids"].numpy() for batch in batches])


def _median_milliseconds(retriever: Retriever, history: Sequence[str]) -> float:
    """Returns the median time, in milliseconds, of the answer to one history."""
    ids, times = _padded_tensor([history]), []
    for _ in range(_CALLS):
        begin = time.perf_counter()
        _answer(retriever, ids)["scores"].numpy()
        times.append(1000 * (time.perf_counter() - begin))
    return round(float(np.median(times)), 3)


def _answer(retriever: Retriever, ids: tf.Tensor) -> dict[str, tf.Tensor]:
    """Returns the K best items of histories, string [B, T]."""
    if isinstance(retriever, TimedRetriever):
        times = made_up_times(ids.numpy() != b"")
        return retriever.recommend(ids, tf.constant(times), tf.constant(K))
    return retriever.recommend(ids, tf.constant(K))


def _padded_tensor(histories: Sequence[Sequence[str]]) -> tf.Tensor:
    """Returns string [B, T], right-padded by ""."""
    rows = [list(ids) for ids in histories]
    return tf.ragged.constant(rows, dtype=tf.string).to_tensor("")
