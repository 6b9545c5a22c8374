"""What a split lets training know of its targets' future: measured, and said for people."""

import numpy as np

from ufnrec_tf.data.splits import Split

_CHUNK_EVENTS = 1 << 22
"""Events looked at at a time, so that a large log needs few numbers beside its times."""

_OTHERWISE = "--config.split.name=temporal keeps to the order of time"


def leakage(split: Split) -> dict[str, float]:
    """Returns how much of what trains is later than the test targets; empty without times.

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
    """Returns what leaks in this split of this data, plain lines for people, the worst first.

    Args:
        split: Any of `SPLITS`; where the log has times, what they tell is measured.
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


def _time_line(split: Split) -> str:
    """Returns what leaks through time."""
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
