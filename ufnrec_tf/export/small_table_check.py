"""What a small item table costs in answers, space and time, measured when it is exported."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ufnrec_tf.export.retriever import Retriever
from ufnrec_tf.export.saved_model import ServedModel

K = 10
_CALLS = 50
_BATCH = 64


def with_table_check(
    model: ServedModel, backbone: Any, item_ids: np.ndarray, histories: Sequence[Sequence[str]]
) -> ServedModel:
    """Returns the model with `table_check` in its document; a float32 one as it is.

    `table_check` holds `recall@10` (the share of the float32 model's ten best items that are among
    the ten best of this one), `histories`, `table_bytes` and `p50_ms` (of one history) by kind of
    table.

    Args:
        model: What will be written.
        backbone: The backbone that it was made of.
        item_ids: object (str) [num_items + 1], "" at 0.
        histories: Raw ids, one history or more.
    """
    document = model.document
    kind = document["table"]
    if kind == "float32":
        return model
    exact = Retriever(
        backbone,
        item_ids,
        max_length=document["max_length"],
        default_k=K,
        mask_seen=document["mask_seen"],
    )
    num_rows, width = backbone.item_embeddings().shape
    value_bytes, row_bytes = {"bfloat16": (2, 0), "int8": (1, 4)}[kind]
    check = {
        f"recall@{K}": recall(_best(model.retriever, histories), _best(exact, histories)),
        "histories": len(histories),
        "table_bytes": {
            "float32": 4 * num_rows * width,
            kind: value_bytes * num_rows * width + row_bytes * num_rows,
        },
        "p50_ms": {
            "float32": _milliseconds(exact, histories[0]),
            kind: _milliseconds(model.retriever, histories[0]),
        },
    }
    return dataclasses.replace(model, document={**document, "table_check": check})


def table_check_line(document: dict[str, Any]) -> str:
    """Returns one line on the `table_check` of an `ufnrec.json`, or "" where there is none."""
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
        exact: object [B, k]; rows without an id do not count.
    """
    shares = [
        len(set(mine) & set(theirs) - {b""}) / len(set(theirs) - {b""})
        for mine, theirs in zip(found, exact, strict=True)
        if set(theirs) - {b""}
    ]
    return float(np.mean(shares)) if shares else 1.0


def _best(retriever: Retriever, histories: Sequence[Sequence[str]]) -> np.ndarray:
    """Returns the ids of the best items, object (bytes) [B, K]."""
    parts = [
        retriever.recommend(_tensor(histories[start : start + _BATCH]), tf.constant(K))["item_ids"]
        for start in range(0, len(histories), _BATCH)
    ]
    return np.concatenate([part.numpy() for part in parts])


def _milliseconds(retriever: Retriever, history: Sequence[str]) -> float:
    """Returns the median time of an answer to one history."""
    ids, k, times = _tensor([history]), tf.constant(K), []
    for _ in range(_CALLS):
        begin = time.perf_counter()
        retriever.recommend(ids, k)["scores"].numpy()
        times.append(1000 * (time.perf_counter() - begin))
    return round(float(np.median(times)), 3)


def _tensor(histories: Sequence[Sequence[str]]) -> tf.Tensor:
    """Returns string [B, T], right-padded by ""."""
    return tf.ragged.constant([list(ids) for ids in histories], dtype=tf.string).to_tensor("")
