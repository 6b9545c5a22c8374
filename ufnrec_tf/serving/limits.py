"""The bounds of a request, and the refusal that a client gets instead of an answer."""

import json
from dataclasses import dataclass


class Refusal(Exception):
    """A request that is not answered: one line for the client, with nothing of the inside.

    Args:
        status: HTTP status: 400, 403, 404, 408, 413, 429, 500 or 503.
        message: The fault, the expectation, the way out.
        retry_after: Seconds after which to try again, for 429 and 503; 0: left out.
    """

    def __init__(self, status: int, message: str, *, retry_after: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after = retry_after


@dataclass(frozen=True)
class Limits:
    """The bounds of one request, and the number of requests at once.

    Attributes:
        max_body_bytes: Bytes of a request's body.
        max_instances: Histories of a request.
        max_history: Ids of a history or of a list to exclude or allow.
        max_k: Items a history, at most.
        max_concurrent: Requests worked on at once; one more is answered with 429.
        max_batch: Histories joined into one call of the model.
        timeout_seconds: Seconds until a body has come in, and until it is answered.
    """

    max_body_bytes: int = 1 << 20
    max_instances: int = 256
    max_history: int = 10_000
    max_k: int = 1000
    max_concurrent: int = 256
    max_batch: int = 64
    timeout_seconds: float = 10.0

    @property
    def max_padded_ids(self) -> int:
        """Ids of a request, at most, once all its rows are padded to the longest."""
        return max(1 << 18, self.max_history)

    @property
    def max_answers(self) -> int:
        """Items of an answer, at most, over all its histories."""
        return max(1 << 16, self.max_k)


def shown_value(value: object, *, most: int = 60) -> str:
    """Returns a client's value for a message: ASCII, on one line, cut."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= most else f"{text[:most]}..."
