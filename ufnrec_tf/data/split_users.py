"""The split by users: some train, others are ranked whom training has never met."""

import numpy as np

from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.data.split_base import PARTS, HeldOut, Split, SplitSettings, check_size
from ufnrec_tf.data.user_hash import user_shares
from ufnrec_tf.errors import UserError


def user_holdout(interactions: Interactions, settings: SplitSettings | None = None) -> Split:
    """Holds out users: each is ranked on the last event, given all events before it.

    Every user belongs to train, validation or test by a hash of the raw id and the seed alone,
    whatever the order of the log and the other users; the shares are met on average. Held-out
    users train nothing; those with one event have no history and are not ranked.

    What leaks: time. Train events of others may be later than a target; of the ranked users
    themselves nothing does.

    Raises:
        UserError: If there is only one user or one item, the shares leave nobody to train on, a
            part has nobody to rank, or no user that trains has 2 events.
    """
    check_size(interactions)
    settings = settings or SplitSettings()
    test, validation = settings.test_share, settings.validation_share
    ways_out = (
        "change --config.split.validation_share, test_share or seed, give a larger log, or set "
        "--config.split.name=leave_one_out."
    )
    if test + validation >= 1:
        raise UserError(
            f"{interactions.source}: split.validation_share ({validation:g}) and test_share "
            f"({test:g}) leave no user to train on: expected a sum below 1; {ways_out}"
        )
    places = user_shares(interactions.user_ids, settings.seed)
    # Test comes first, so that another validation share leaves its users as they are.
    is_drawn = {"test": places < test}
    is_drawn["validation"] = ~is_drawn["test"] & (places < test + validation)
    is_trained = ~(is_drawn["test"] | is_drawn["validation"])
    held_out = {}
    for part in PARTS:
        users = np.flatnonzero(is_drawn[part] & (interactions.lengths >= 2))
        num_drawn = int(is_drawn[part].sum())
        if not len(users):
            raise UserError(
                f"{interactions.source}: {part} got {num_drawn} of {interactions.num_users} users, "
                f"and none of them has 2 events: expected some to rank; {ways_out}"
            )
        last = interactions.offsets[1:][users] - 1
        held_out[part] = HeldOut(users.astype(np.int32), last, num_drawn - len(users))
    if interactions.lengths[is_trained].max(initial=0) < 2:
        raise UserError(
            f"{interactions.source}: none of the {int(is_trained.sum())} users that train has 2 "
            f"events: expected some to learn from; {ways_out}"
        )
    train_ends = interactions.offsets[:-1] + interactions.lengths * is_trained
    return Split(interactions, "user_holdout", train_ends, held_out, is_by_user=True)
