"""The oracle's limits on flips and removals: how many, and whether the teacher agrees."""

from collections.abc import Sequence

import numpy as np

from tests.reference.oracle import Lookup


def judged(lookup: Lookup, is_allowed: Sequence[bool], policy: str) -> Lookup:
    """The lookup with ripe entries that are not allowed made ordinary ones: they stay in the
    loss with label 0, and are remembered if they are hard.
    """
    refused = [ripe and not ok for ripe, ok in zip(lookup.is_ripe, is_allowed, strict=True)]
    if not any(refused):
        return lookup
    fields = {name: list(values) for name, values in lookup._asdict().items()}
    for slot in np.flatnonzero(refused):
        fields["is_ripe"][slot] = False
        fields["labels"][slot] = 0
        if policy == "remove":
            fields["is_excluded"][slot] = False
            fields["weights"][slot] = 1
    return Lookup(**fields)


def limited(lookup: Lookup, max_ripe: int, policy: str) -> Lookup:
    """At most so many ripe entries, the highest counts, of equal ones the earlier; 0: all."""
    ripe = [slot for slot, is_ripe in enumerate(lookup.is_ripe) if is_ripe]
    best = sorted(ripe, key=lambda slot: (-lookup.counts[slot], slot))
    kept = best[: max_ripe or len(best)]
    return judged(lookup, [slot in kept for slot in range(len(lookup.items))], policy)
