"""The evaluation protocol: which items are masked, and the protocol in words."""

from typing import Any

import numpy as np

from ufnrec_tf.data.splits import Split
from ufnrec_tf.data.times import moment_text

MASKS = ("seen", "train", "none")
"""Items that are no candidates: the whole history (train; at test also the validation item), only
its train items, or none."""


def check_mask(mask: str) -> None:
    """Checks the name of a mask.

    Raises:
        ValueError: If it is not one of `MASKS`.
    """
    if mask not in MASKS:
        raise ValueError(f"`mask` must be one of {', '.join(MASKS)}. Received: {mask}.")


def masked_ends(split: Split, part: str, mask: str) -> np.ndarray:
    """Returns int64 [M], the event before which each target's user's items are masked.

    Args:
        split: The split that holds the targets.
        part: "validation" or "test".
        mask: One of `MASKS`.
    """
    users = split.users(part)
    if mask == "seen":
        return split.history_ends(part)
    return split.train_ends[users] if mask == "train" else split.interactions.offsets[users]


def masked_text(split: Split, part: str, mask: str) -> str:
    """Returns the masked items, in words."""
    train = "train items"
    seen = "train and validation items" if part == "test" else train
    if split.num_targets > 1 or split.is_by_user:
        seen = "all items before the target"
    if split.is_by_user:
        train = "nothing, these users have no train items"
    return {"none": "nothing", "train": train, "seen": seen}[mask]


def target_rule_text(result: dict[str, Any]) -> str:
    """Returns the rule by which a run's test targets were chosen, in words.

    Args:
        result: The run's result.json.
    """
    protocol = result["protocol"]
    if protocol["split"] == "temporal":
        is_epoch = result["data"].get("reading", {}).get("is_epoch", False)
        date = moment_text(protocol["test_time"], is_epoch=is_epoch)
        return f"each user's first item from {date} on"
    if protocol["split"] == "user_holdout":
        return "the last item of users that training has not met"
    count = protocol.get("targets", 1)
    if count > 1:
        return f"each user's last {count} items, each by itself"
    return "each user's last item"


def targets_text(protocol: dict[str, Any]) -> str:
    """Returns how many targets each evaluated user has, where that is not one."""
    count = protocol.get("targets", 1)
    return f" with {count} targets each" if count > 1 else ""


def masked_targets_lines(protocol: dict[str, Any]) -> list[str]:
    """Returns a line on the targets that the mask hides, if there are any."""
    count = protocol["masked_targets"]
    if not count:
        return []
    return [
        f"{count:,} targets are items the user has had before: masked, they count as misses. "
        "--config.evaluation.mask=none scores them."
    ]


def heldout_targets_lines(protocol: dict[str, Any]) -> list[str]:
    """Returns a line on the targets that no train event shows, if there are any.

    Where the split names its newcomers, `newcomers_lines` has them.
    """
    count = protocol.get("heldout_only_targets", 0)
    if not count or "new_users" in protocol:
        return []
    return [
        f"Targets that no train event shows: {count:,}. They are ranked like all others; some "
        "libraries leave them out."
    ]


def request_time_lines(protocol: dict[str, Any]) -> list[str]:
    """Returns a line on the time of the request, if the model reads it."""
    if "request_time" not in protocol:
        return []
    return [
        "The model reads when each target was taken (backbone.request_time), which others do not "
        "know."
    ]


def newcomers_lines(protocol: dict[str, Any]) -> list[str]:
    """Returns a line on the users and items that are new in a part, if the split has such."""
    if "new_users" not in protocol:
        return []
    who = "are new in the period" if "test_time" in protocol else "have only one event"
    return [
        f"{protocol['new_users']:,} users {who} and are not ranked; "
        f"{protocol['new_item_targets']:,} targets are items that no training has seen."
    ]
