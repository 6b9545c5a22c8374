"""Says an evaluation protocol in words: targets, masked items, newcomers."""

from typing import Any

from ufnrec_tf.data.times import moment_text


def targets_text(protocol: dict[str, Any]) -> str:
    """Returns how many targets each evaluated user has, where that is not one."""
    count = protocol.get("targets", 1)
    return f" with {count} targets each" if count > 1 else ""


def masked_targets_lines(protocol: dict[str, Any]) -> list[str]:
    """Returns what to say of targets that the mask hides, if there are any."""
    count = protocol["masked_targets"]
    if not count:
        return []
    return [
        f"{count:,} targets are items the user has had before: masked, they count as misses. "
        "--config.evaluation.mask=none scores them."
    ]


def newcomers_lines(protocol: dict[str, Any]) -> list[str]:
    """Returns what to say of users and items that are new in a part, if the split has such."""
    if "new_users" not in protocol:
        return []
    who = "are new in the period" if "test_time" in protocol else "have one event alone"
    return [
        f"{protocol['new_users']:,} users {who} and are not ranked; "
        f"{protocol['new_item_targets']:,} targets are items that no training has seen."
    ]


def _target_text(result: dict[str, Any]) -> str:
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
