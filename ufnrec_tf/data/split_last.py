"""Splits by last events: each user's newest are the targets."""

import numpy as np

from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.data.split_base import PARTS, HeldOut, Split, SplitSettings, check_size
from ufnrec_tf.errors import UserError


def leave_one_out(interactions: Interactions, settings: SplitSettings | None = None) -> Split:
    """Holds out each user's last event for test and the one before for validation.

    Users with fewer than 3 events train only. No setting is read.

    What leaks: time. One user's train events may be later than another's targets.

    Raises:
        UserError: If there is only one user or one item, or nobody has 3 events.
    """
    return _last_events(interactions, 1, name="leave_one_out")


def leave_last_n(interactions: Interactions, settings: SplitSettings | None = None) -> Split:
    """Holds out each user's last `num_targets` events for test and as many before for validation.

    Each is a target of its own, ranked by all that the user did before it: rolling, so that the
    history of a later target holds the earlier ones, while the weights stay as they are. Users
    with fewer than 2 * num_targets + 1 events train only.

    What leaks: time, as in `leave_one_out`.

    Raises:
        UserError: If there is only one user or one item, or nobody has so many events.
    """
    num_targets = (settings or SplitSettings()).num_targets
    return _last_events(interactions, num_targets, name="leave_last_n")


def _last_events(interactions: Interactions, num_targets: int, *, name: str) -> Split:
    check_size(interactions)
    if num_targets < 1:
        raise ValueError(f"`num_targets` must be a positive integer. Received: {num_targets}.")
    # With fewer, none would be left to train on beside the targets of both parts.
    lengths, least = interactions.lengths, 2 * num_targets + 1
    is_evaluated = lengths >= least
    if not is_evaluated.any():
        each = "one" if num_targets == 1 else str(num_targets)
        fewer = "" if num_targets == 1 else "set a smaller --config.split.num_targets, "
        raise UserError(
            f"{interactions.source}: no user has {least} events (the longest history has "
            f"{lengths.max()}): expected some, one to train on, {each} for validation, {each} for "
            f"test; {fewer}give a larger log, or check how it is read "
            "(--config.data.format=pairs|sequences|inter|csv, --config.data.user_column=NAME)."
        )
    train_ends = interactions.offsets[1:] - 2 * num_targets * is_evaluated
    users = np.flatnonzero(is_evaluated).astype(np.int32)
    rows = np.repeat(users, num_targets)
    held_out = {}
    for place, part in enumerate(PARTS):
        later = np.arange(num_targets) + place * num_targets
        held_out[part] = HeldOut(rows, (train_ends[users][:, None] + later).ravel())
    return Split(interactions, name, train_ends, held_out, num_targets=num_targets)
