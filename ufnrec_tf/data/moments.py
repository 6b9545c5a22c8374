"""Moments that a setting names: numbers in a log's unit, or ISO 8601 dates."""

from datetime import UTC, datetime

from ufnrec_tf.errors import UserError

_UNITS = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6))
"""Below so much, numbers are so many to the second; each bound is the year 5138 in its unit."""
_NANOSECONDS = 1e9
_EARLIEST_SHOWN = 1e8
"""1973 in seconds: smaller numbers are more likely counts than moments."""


def parse_moment(value: float | str, newest: float, *, key: str) -> float:
    """Returns a moment in a log's unit.

    Args:
        value: A number in that unit, as text or not, or an ISO 8601 date or date-time: UTC where it
            names no offset; a date alone is its first moment. An empty text is 0.
        newest: The log's last time; it tells whether times are seconds, milli-, micro- or
            nanoseconds since 1970.
        key: Of the configuration, for the error.

    Raises:
        UserError: If the text is neither.
    """
    try:
        return float(value or 0)
    except ValueError:
        pass
    try:
        date = datetime.fromisoformat(str(value).strip())
    except ValueError as error:
        raise UserError(
            f"--config.{key} must be a number in the log's unit or an ISO date such as 2024-03-01 "
            f"or 2024-03-01T12:00:00+01:00, UTC without an offset. Received: {value!r}."
        ) from error
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return date.timestamp() * _per_second(newest)


def show_moment(time: float) -> str:
    """Returns a log's time for people: the number, and the date where it is likely to be one."""
    if not time >= _EARLIEST_SHOWN:
        return f"{time:.15g}"
    try:
        date = datetime.fromtimestamp(time / _per_second(time), tz=UTC)
    except (OverflowError, ValueError, OSError):
        return f"{time:.15g}"
    return f"{time:.15g} ({date:%Y-%m-%d %H:%M:%S} UTC)"


def _per_second(newest: float) -> float:
    """Returns how many of a log's unit a second has."""
    return next((number for bound, number in _UNITS if newest < bound), _NANOSECONDS)
