"""The data and its split in numbers, and the leaks of the split."""

from typing import Any

import numpy as np

from ufnrec_tf.data.item_sets import distinct_in_ranges
from ufnrec_tf.data.log_description import reading_lines
from ufnrec_tf.data.splits import EVALUATION_PARTS, Split
from ufnrec_tf.data.times import moment_text

_CHUNK_EVENTS = 1 << 22
"""Events that are worked on at a time, so that a large log needs few numbers beside its times."""

_OTHERWISE = "--config.split.name=temporal keeps to the order of time"


def leakage(split: Split) -> dict[str, float]:
    """Returns how much of the train data is later than the test targets; empty without times.

    Returns:
        `targets_before_train`: share of the test targets that are older than some train event
        (another user's, since a history comes before its target); `train_after_target`: share of
        the train events later than a test target, mean over targets; `train_after_median_target`:
        share of them later than the median test target. All 0..1; equal times are not later.
    """
    log = split.interactions
    if log.timestamps is None:
        return {}
    targets = np.sort(log.timestamps[split.target_index("test")])
    # num_above[k]: train events with exactly k targets before them.
    num_above = np.zeros(len(targets) + 1, np.int64)
    for begin in range(0, log.num_events, _CHUNK_EVENTS):
        chunk = slice(begin, begin + _CHUNK_EVENTS)
        times = log.timestamps[chunk][split.is_train[chunk]]
        num_above += np.bincount(np.searchsorted(targets, times), minlength=len(num_above))
    num_later = num_above[::-1].cumsum()[::-1][1:]  # train events later than each target
    total = max(int(num_above.sum()), 1)
    return {
        "targets_before_train": float(np.mean(num_later > 0)),
        "train_after_target": float(np.mean(num_later / total)),
        "train_after_median_target": float(num_later[(len(targets) - 1) // 2] / total),
    }


def leaks(split: Split) -> list[str]:
    """Returns the leaks of this split as lines of text, the worst first.

    Args:
        split: Any of `SPLITS`. The leak through time is measured if the log has times.
    """
    lines = [_time_line(split)]
    if split.is_by_user:
        lines.append(f"{split.name}: the ranked users' own events train nothing")
    later, candidates = len(split.heldout_only_items), split.interactions.num_items
    if split.times is not None and later:
        lines.append(
            f"{split.name}: known beforehand is that {later:,} of {candidates:,} candidates exist, "
            "which no train event shows"
        )
    return lines


def shown_source(source: str) -> str:
    """Returns the source of a log for the screen: of planted data the settings not shown below."""
    name, _, text = source.partition("planted:")
    if name or not text:
        return source
    settings = dict(setting.split("=") for setting in text.split(","))
    return (
        f"planted ({settings['generator']}, false negatives "
        f"{float(settings['false_negative_rate']):.0%}, seed {settings['seed']})"
    )


def _time_line(split: Split) -> str:
    """Returns a line on the leak through time."""
    name, found = split.name, leakage(split)
    if split.times is not None:
        return f"{name}: nothing leaks in time, all train events are older than all targets"
    if not found:
        return (
            f"{name}: how much leaks is not known, no times were read: train events of some users "
            f"may be later than test targets of others; {_OTHERWISE}, of a log that has times"
        )
    if not found["targets_before_train"]:
        return f"{name}: nothing leaks in time, no train event is later than a test target"
    return (
        f"{name} leaks: {_percent(found['targets_before_train'])} of the test targets are older "
        "than some other user's train event, and on average "
        f"{_percent(found['train_after_target'])} of the train events are later than the target: "
        f"the model has seen the future of those; {_OTHERWISE}"
    )


def _percent(share: float) -> str:
    """Returns a share above zero in per cent, never rounded to none or to all."""
    if share < 0.001:
        return "less than 0.1%"
    return "more than 99.9%" if 0.999 < share < 1 else f"{share:.1%}"


Summary = dict[str, Any]


def summary(split: Split) -> Summary:
    """Returns the numbers of the data, fit for JSON.

    `density` is the share of the user x item cells with at least one event, 0..1. `targets` are
    those of each evaluated user in each part. Where the parts are periods or other users, how many
    are evaluated and what is new in each is there too, under `validation_...` and `test_...`.
    `leaks` are lines of text. `reading` says how the log was read and filtered.
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
    for part in EVALUATION_PARTS:
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
        f"data     {shown_source(str(s['source']))}  sha256 {str(s['sha256'])[:12]}",
        *(reading_lines(s["reading"]) if "reading" in s else ()),
        f"         {s['users']:,} users, {s['items']:,} items, {s['events']:,} events ({repeats})",
        f"         events a user: mean {s['mean_length']:.1f}, median {s['median_length']:.1f}, "
        f"longest {s['max_length']:,}; density {s['density']:.4%}",
        *(_part_lines(s) if "test_users" in s else _last_events_lines(s)),
        f"         items that occur only in held-out events: {s['heldout_only_items']:,}",
        *(f"         {line}" for line in s["leaks"]),
    ]


def _last_events_lines(s: Summary) -> list[str]:
    train_only = int(s["users"]) - int(s["evaluated_users"])
    each, least = int(s["targets"]), 2 * int(s["targets"]) + 1
    several = f" on {each} targets each in validation and in test" if each > 1 else ""
    return [
        f"split    {s['split']}: {s['train_events']:,} events train, {s['evaluated_users']:,} "
        f"users evaluated{several}, {train_only:,} with fewer than {least} events only trained on"
    ]


def _part_lines(s: Summary) -> list[str]:
    lines = [f"split    {s['split']}: {s['train_events']:,} events train"]
    is_epoch = s.get("reading", {}).get("is_epoch", False)
    for part in EVALUATION_PARTS:
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
