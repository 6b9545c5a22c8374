"""The split by time: before a first date trains, then validation, then test."""

import numpy as np

from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.data.split_base import PARTS, TIME_KEYS, HeldOut, Split, SplitSettings, check_size
from ufnrec_tf.data.times import moment_among
from ufnrec_tf.errors import UserError


def temporal(interactions: Interactions, settings: SplitSettings | None = None) -> Split:
    """Holds out periods: train before a first date, validation up to a second, test from there on.

    A user's first event of a period is the target; the history is all that the user did before it,
    so at test the events of train and validation. One target a user and part, whoever has events
    on both sides of its date. A share is of all events; events of one time stay together.

    What leaks: nothing in time. Which items will exist is known: all are candidates.

    Raises:
        UserError: If there are no times, a period is empty, or nobody can be evaluated in it.
    """
    check_size(interactions)
    settings = settings or SplitSettings()
    if interactions.timestamps is None:
        raise UserError(
            f"{interactions.source}: no times, which --config.split.name=temporal needs: give a "
            "file with a time column (.inter, CSV or TSV), name it with "
            "--config.data.time_column=NAME, or set --config.split.name=leave_one_out."
        )
    times = interactions.timestamps
    dates = _dates(interactions, np.sort(times), settings)
    # Events are in order of time within a user, so that periods follow one another.
    bounds = np.stack(
        [_ends_before(interactions.offsets, times, date) for date in dates]
        + [interactions.offsets[1:]]
    )
    held_out = {}
    for part, date, begins, ends in zip(PARTS, dates, bounds[:-1], bounds[1:], strict=True):
        has_events, is_known = ends > begins, begins > interactions.offsets[:-1]
        users = np.flatnonzero(has_events & is_known)
        if not len(users):
            raise UserError(
                f"{interactions.source}: {part} begins at {interactions.moment_text(date)}, and no "
                "user has events in it and before it: expected some; choose other dates "
                "(--config.split.validation_time, test_time) or shares (validation_share, "
                "test_share), or set --config.split.name=leave_one_out."
            )
        num_new = int(np.count_nonzero(has_events & ~is_known))
        held_out[part] = HeldOut(users.astype(np.int32), begins[users], num_new)
    if (bounds[0] - interactions.offsets[:-1]).max() < 2:
        raise UserError(
            f"{interactions.source}: no user has 2 events before "
            f"{interactions.moment_text(dates[0])}, when validation begins: expected some to "
            "train on; choose a later --config.split.validation_time, or smaller shares."
        )
    return Split(interactions, "temporal", bounds[0], held_out, dates)


def _ends_before(offsets: np.ndarray, times: np.ndarray, date: float) -> np.ndarray:
    """Returns where each user's events before a date end, int64 [U]."""
    counts = np.concatenate([[0], np.cumsum(times < date)])
    return offsets[:-1] + counts[offsets[1:]] - counts[offsets[:-1]]


def _dates(log: Interactions, times: np.ndarray, settings: SplitSettings) -> tuple[float, float]:
    """Returns the first moments of validation and test.

    Args:
        log: All events.
        times: Theirs, float64 [E], ascending.
        settings: Dates or shares.

    Raises:
        UserError: If a date is none, or a period is empty.
    """

    def newest(share: float, end: int) -> float:
        """The time at which the newest events of `times[:end]` begin that make up a share."""
        return float(times[max(end - max(round(share * len(times)), 1), 0)])

    given_validation, given_test = (
        _given(getattr(settings, key), log, key=f"split.{key}") for key in TIME_KEYS
    )
    test = given_test or newest(settings.test_share, len(times))
    num_before = int(np.searchsorted(times, test))
    validation = given_validation or newest(settings.validation_share, num_before)
    if not times[0] < validation < test <= times[-1] or validation > times[num_before - 1]:
        begin, middle, first, last = map(log.moment_text, (validation, test, times[0], times[-1]))
        raise UserError(
            f"{log.source}: validation would begin at {begin} and test at {middle}, but the events "
            f"run from {first} to {last}: expected events before, between and after the two; "
            "choose other dates (--config.split.validation_time, test_time: "
            + ("ISO dates or seconds since 1970" if log.is_epoch else "numbers of the file's own")
            + ") or shares (validation_share, test_share)."
        )
    return validation, test


def _given(value: float | str, log: Interactions, *, key: str) -> float:
    """Returns a moment that is set, among the log's times; 0 where the share decides."""
    if not value:
        return 0.0
    text = value if isinstance(value, str) else f"{value:.15g}"
    return moment_among(text, key=key, is_epoch=log.is_epoch, source=log.source)
