"""Times of events as callers give them, as whole seconds since 1970."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ufnrec_tf.common.arguments import shown
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.recommend.given_ids import listed

WITH_REQUEST = "with the request"
"""What `times` of ufnrec.json is where the model also reads the time of the request."""

_LATEST = 4_102_444_800  # 2100; a number above it is in a smaller unit than seconds
_EXPECTED = "expected dates, or numbers of seconds since 1970"


def needed_error(kind: str) -> UserError:
    """Returns the UserError for histories without times.

    Args:
        kind: What was given, in words.
    """
    return UserError(
        f"{kind} without times, which this model reads (it was trained with backbone.time). Give "
        "when each event was, as dates or seconds since 1970."
    )


def with_request(times: list[int], count: int, metadata: Mapping[str, Any], now: int) -> list[int]:
    """Returns the times of `count` events, and where a model reads it that of the request: now."""
    asks = metadata.get("times") == WITH_REQUEST and len(times) == count
    return [*times, now] if asks else times


def seconds_of_histories(
    times: Any, names: list[Any], histories: list[list[Any]], metadata: Mapping[str, Any]
) -> list[list[int]]:
    """Returns the times of each history in seconds, of the request too where the model reads it.

    Args:
        times: In the form of the histories: user -> times, or a list of lists of times. A row may
            have one more, the time of the request, which else is the present, if the model reads
            it.
        names: The names of the histories.
        histories: The ids of each, as they were given.
        metadata: The content of the model's ufnrec.json.

    Raises:
        UserError: If a history has no times, or not as many, or one is no time.
    """
    if isinstance(times, Mapping | pd.Series):
        missing = [name for name in names if name not in times]
        if missing:
            raise needed_error(f"the history of {missing[0]!r} is")
        rows = [times[name] for name in names]
    else:
        rows = listed(times) or []
        if len(rows) != len(names):
            raise UserError(
                f"`times` must have a row for each history. Received: {len(rows)} rows for "
                f"{len(names)} histories."
            )
    now, most = int(time.time()), int(metadata.get("times") == WITH_REQUEST)
    found = []
    for name, row, ids in zip(names, rows, histories, strict=True):
        seconds = _seconds(row, name)
        if not 0 <= len(seconds) - len(ids) <= most:
            raise UserError(
                f"`times` of {name!r} must be as many as its history's ids. Received: "
                f"{len(seconds)} times for {len(ids)} ids."
            )
        found.append(with_request(seconds, len(ids), metadata, now))
    return found


def _seconds(row: Any, name: Any) -> list[int]:
    """Returns the times of one history in whole seconds since 1970, oldest first.

    Raises:
        UserError: If one is no time, or they are not oldest first.
    """
    values = pd.Series(listed(row) or [], dtype=None if listed(row) else np.int64)
    try:
        if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
            seconds = np.floor(values.to_numpy(np.float64))
        else:
            dates = pd.to_datetime(values, utc=True, format="ISO8601")
            seconds = np.floor((dates - pd.Timestamp(0, tz="UTC")).dt.total_seconds().to_numpy())
    except (ValueError, TypeError, OverflowError):
        raise UserError(f"`times` of {name!r}: {_EXPECTED}. Received: {shown(row)}.") from None
    if not ((seconds > 0) & (seconds < _LATEST)).all():
        raise UserError(
            f"`times` of {name!r}: {_EXPECTED}, between 1970 and 2100. Received: {shown(row)}."
        )
    if (np.diff(seconds) < 0).any():
        raise UserError(f"`times` of {name!r} must be oldest first, as its history.")
    return seconds.astype(np.int64).tolist()
