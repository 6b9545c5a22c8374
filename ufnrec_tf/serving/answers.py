"""What the model gave -> the JSON of a `:predict` answer, in TensorFlow Serving's two forms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np


def answer(outputs: Mapping[str, np.ndarray], *, is_columns: bool) -> bytes:
    """Returns the JSON of an answer; the name of a single output is left out, as there.

    Args:
        outputs: Output name -> its values, the first axis the histories: object (UTF-8 bytes) or
            float32, finite.
        is_columns: Whether as columns (`outputs`) or a value a history (`predictions`).
    """
    columns = {name: plain(values) for name, values in outputs.items()}
    single = next(iter(columns)) if len(columns) == 1 else ""
    if is_columns:
        return to_json({"outputs": columns[single] if single else columns})
    if single:
        return to_json({"predictions": columns[single]})
    rows = zip(*columns.values(), strict=True)
    return to_json({"predictions": [dict(zip(columns, row, strict=True)) for row in rows]})


def plain(values: np.ndarray) -> list[Any]:
    """Returns an array as lists of what JSON knows; float32 by its shortest digits."""
    if values.dtype == object:
        texts = [value.decode("utf-8", "replace") for value in values.ravel()]
        return np.array(texts, dtype=object).reshape(values.shape).tolist()
    if values.dtype == np.float32:
        return values.astype("U16").astype(np.float64).tolist()
    return values.tolist()


def to_json(value: Any) -> bytes:
    """Returns a value as JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
