"""The settings of a run for which nobody named any, chosen by the size of its log.

They are those that have done well on public, planted and shops' logs, with the soft labels of a
teacher with hindsight where that takes minutes at most (docs/first-steps.md). What a flag names
stays as it was named.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from ufnrec_tf.config import unmet_condition
from ufnrec_tf.data.splits import Split

MOST_ITEMS_IN_FULL = 50_000
"""So many items cross-entropy goes over in full; its cost grows with their number."""
MOST_EVENTS_WITH_TEACHER = 300_000
"""Up to so many train events a teacher comes first; it costs as much as the training itself."""
_LENGTH = 50
"""Newest events that the network reads; older transitions are in windows of their own."""
_FEW_WINDOWS, _MANY_WINDOWS = 5_000, 10_000
_STEPS_BETWEEN_LOOKS = 50
BY_SIZE = (
    *("loss.name", "negatives.count", "memory.policy", "backbone.dropout"),
    *("training.batch_size", "evaluation.every"),
)
"""The keys of the recipe that depend on the size of the log."""


class LogSize(NamedTuple):
    """What the choice depends on.

    Attributes:
        num_users: Users with a train event.
        num_items: Items of the catalogue.
        num_events: Train events.
        num_windows: Windows of an epoch.
        long: Train events that 95% of these users do not exceed.
    """

    num_users: int
    num_items: int
    num_events: int
    num_windows: int
    long: int

    @classmethod
    def of(cls, split: Split) -> "LogSize":
        """Returns the size of a log."""
        lengths = split.train_ends - split.interactions.offsets[:-1]
        lengths = lengths[lengths > 0]
        return cls(
            num_users=len(lengths),
            num_items=split.interactions.num_items,
            num_events=int(lengths.sum()),
            num_windows=max(int((-(-(lengths - 1) // _LENGTH)).sum()), 1),
            long=int(np.percentile(lengths, 95)) if lengths.size else 1,
        )


def recipe_of(size: LogSize) -> dict[str, Any]:
    """Returns the keys of the recipe for a log, each with its value."""
    batch_size = 128 if size.num_windows < _MANY_WINDOWS else 256
    if size.num_windows < _FEW_WINDOWS:
        batch_size = 64
    steps = -(-size.num_windows // batch_size)
    values: dict[str, Any] = {
        "backbone.variant": "corrected",
        "backbone.width": 64,
        "backbone.dropout": 0.6 if size.long <= _LENGTH else 0.4,
        "backbone.max_length": _LENGTH,
        "loss.name": "cross_entropy",
        "memory.policy": "ufnrec_soft",
        "teacher.always": True,
        "teacher.decay": 0.998,
        "optimizer.learning_rate": 2e-3,
        "optimizer.warm_up_steps": 100,
        "training.windows": "all",
        "training.batch_size": batch_size,
        "training.patience": 5,
        "evaluation.every": max(round(_STEPS_BETWEEN_LOOKS / steps), 1),
        "comparison.baselines": ("popularity", "markov", "itemknn"),
    }
    if size.num_items > MOST_ITEMS_IN_FULL:
        values |= {"loss.name": "sampled_softmax_logq", "negatives.count": 500}
    # On MovieLens, with 100 events a user, validation is lower with a teacher.
    is_dense = size.num_events > _LENGTH * size.num_users
    is_large = size.num_items > MOST_ITEMS_IN_FULL or size.num_events > MOST_EVENTS_WITH_TEACHER
    if is_dense or is_large:
        values["memory.policy"] = "plain"
    return values


def choose_settings(config: ConfigDict, split: Split, given: Collection[str]) -> list[str]:
    """Sets the keys that nobody has named; returns the line that says which, and why.

    A warm start has the settings of its older run: nothing is chosen. The variant is one of
    SASRec's, and who brings a network of their own knows its settings. Who names a loss may bring
    one without soft labels, and who names a key of the memory or the gate wants a memory.

    Args:
        config: The configuration, which is changed.
        split: The split of the log.
        given: The keys that were named.
    """
    if config.training.recipe == "base" or config.training.warm_start:
        return []
    size = LogSize.of(split)
    chosen = {key: value for key, value in recipe_of(size).items() if key not in given}
    if "backbone.name" in given:
        chosen.pop("backbone.variant", None)
        if ":" in config.backbone.name:  # a class of the user's own, with settings of its own
            chosen = {k: v for k, v in chosen.items() if not k.startswith("backbone.")}
    if "memory.policy" in chosen and "loss.name" in given:
        chosen["memory.policy"] = "plain"
    if any(key.startswith(("memory.", "gate.")) for key in given):
        chosen.pop("memory.policy", None)
    for key, value in chosen.items():
        section, _, name = key.partition(".")
        config[section][name] = value
    shown = [
        f"{key}={chosen[key]}"
        for key in BY_SIZE
        if key in chosen and not unmet_condition(config, key)
    ]
    if not chosen:
        return []
    others = f"{len(chosen) - len(shown)} more settings in config.json"
    return [
        f"chosen for {size.num_users:,} users (95% have up to {size.long:,} train events) and "
        f"{size.num_items:,} items: {', '.join([*shown, others])}; what you set yourself "
        "stays, and --config.training.recipe=base chooses nothing"
    ]
