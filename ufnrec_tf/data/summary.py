"""What the data and its split are, in numbers and in lines for the screen."""

from typing import Any

import numpy as np

from ufnrec_tf.data.distinct import distinct_in_ranges
from ufnrec_tf.data.leakage import leaks
from ufnrec_tf.data.reading import reading_lines
from ufnrec_tf.data.splits import PARTS, Split
from ufnrec_tf.data.times import moment_text

Summary = dict[str, Any]


def summary(split: Split) -> Summary:
    """Returns what the data is, in numbers that JSON can hold.

    `density` is the share of the user x item cells with at least one event, 0..1. `targets` are
    those of each evaluated user in each part. Where the parts are periods or other users, how many
    are evaluated and what is new in each is there too, under `validation_...` and `test_...`.
    `leaks` are lines for people; how a log was read and filtered stands under `reading`.
    """
    data = split.interactions
    pairs = distinct_in_ranges(
        data.items, data.offsets[:-1], data.offsets[1:], num_items=data.num_items
    )
    num_pairs = len(pairs[1])
    found: Summary = {
        "source": data.source,
        "sha256": data.sha256,
        "split": split.name,
        "users": data.num_users,
        "items": data.num_items,
        "events": data.num_events,
        "mean_length": float(data.lengths.mean()),
        "median_length": float(np.median(data.lengths)),
        "max_length": int(data.lengths.max()),
        "density": num_pairs / (data.num_users * data.num_items),
        "repeats": data.num_repeats,
        "repeats_kept": data.num_events - num_pairs,
        "train_events": split.num_train_events,
        "evaluated_users": len(split.evaluated_users("test")),
        "targets": split.num_targets,
        "heldout_only_items": len(split.heldout_only_items),
        "leaks": leaks(split),
    }
    if data.reading is not None:
        found["reading"] = data.reading.as_json()
    for part in PARTS:
        new = split.newcomers(part)
        if new:
            found |= {key: value for key, value in new.items() if key.startswith(part)}
            found[f"{part}_users"] = len(split.evaluated_users(part))
            found[f"{part}_new_users"] = new["new_users"]
            found[f"{part}_new_item_targets"] = new["new_item_targets"]
    return found


def summary_lines(summary: Summary) -> list[str]:
    """Returns the text of a `summary` for the screen, one line each."""
    s = summary
    kept = "kept" if s["repeats_kept"] == s["repeats"] else "dropped"
    repeats = f"{s['repeats']:,} repeats, {kept}" if s["repeats"] else "no repeats"
    return [
        f"data     {s['source']}  sha256 {str(s['sha256'])[:12]}",
        *(reading_lines(s["reading"]) if "reading" in s else ()),
        f"         {s['users']:,} users, {s['items']:,} items, {s['events']:,} events ({repeats})",
        f"         events a user: mean {s['mean_length']:.1f}, median {s['median_length']:.1f}, "
        f"longest {s['max_length']:,}; density {s['density']:.4%}",
        *(_part_lines(s) if "test_users" in s else _last_events_lines(s)),
        f"         {s['heldout_only_items']:,} items occur only in held-out events",
        *(f"         {line}" for line in s["leaks"]),
    ]


def _last_events_lines(s: Summary) -> list[str]:
    train_only = int(s["users"]) - int(s["evaluated_users"])
    each, least = int(s["targets"]), 2 * int(s["targets"]) + 1
    several = f" on {each} targets each in validation and in test" if each > 1 else ""
    return [
        f"split    {s['split']}: {s['train_events']:,} events train, {s['evaluated_users']:,} "
        f"users evaluated{several}, {train_only:,} (fewer than {least} events) train only"
    ]


def _part_lines(s: Summary) -> list[str]:
    lines = [f"split    {s['split']}: {s['train_events']:,} events train"]
    is_epoch = s.get("reading", {}).get("is_epoch", False)
    for part in PARTS:
        new_items, users = int(s[f"{part}_new_item_targets"]), int(s[f"{part}_users"])
        since, why = "", "with one event"
        if f"{part}_time" in s:
            date = moment_text(s[f"{part}_time"], is_epoch=is_epoch)
            since, why = f" from {date}", "new ones"
        lines.append(
            f"         {part}{since}: {users:,} users evaluated, {s[f'{part}_new_users']:,} {why} "
            f"not; {new_items:,} targets ({new_items / users:.1%}) are new items"
        )
    return lines
