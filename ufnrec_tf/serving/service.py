"""The objects that the addresses of the server share; request bodies and JSON responses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ufnrec_tf.serving.batching import Batcher
from ufnrec_tf.serving.counters import ServerMetrics
from ufnrec_tf.serving.limits import Limits, Refusal
from ufnrec_tf.serving.models import ModelKeeper
from ufnrec_tf.serving.page_search import Users
from ufnrec_tf.serving.rest import to_json

JSON = "application/json; charset=utf-8"


@dataclass
class Service:
    """The objects that the addresses share.

    Attributes:
        keeper: Holds the model in force.
        batcher: Calls the model.
        metrics: Counts requests.
        limits: Bounds of requests.
        users: The users of the run, or None if they are not known.
        log_line: Writes a line to the log.
        is_stopping: Returns True once the server is shutting down.
    """

    keeper: ModelKeeper
    batcher: Batcher
    metrics: ServerMetrics
    limits: Limits
    users: Users | None
    log_line: Callable[[str], None]
    is_stopping: Callable[[], bool] = field(default=lambda: False)


def json_response(value: Any, status: int = 200) -> Response:
    """Returns a value as a JSON response."""
    return Response(to_json(value), status, media_type=JSON)


async def read_body(request: Request, limits: Limits) -> bytes:
    """Returns a request's body.

    Raises:
        Refusal: If it is too long, or does not arrive in time.
    """
    too_long = Refusal(
        413,
        f"the body is longer than {limits.max_body_bytes:,} bytes. Send several requests.",
    )
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > limits.max_body_bytes:
        raise too_long
    parts, size = [], 0
    try:
        async with asyncio.timeout(limits.timeout_seconds):
            async for part in request.stream():
                size += len(part)
                if size > limits.max_body_bytes:
                    raise too_long
                parts.append(part)
    except TimeoutError:
        raise Refusal(408, f"the body did not come within {limits.timeout_seconds:g} s.") from None
    return b"".join(parts)
