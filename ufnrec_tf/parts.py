"""The parts of the training step, each from the configuration: what is drawn, kept, minimised."""

from typing import NamedTuple

from ml_collections import ConfigDict

from ufnrec_tf.data.splits import Split, seen_train_items
from ufnrec_tf.memory import FalseNegativeMemory
from ufnrec_tf.objectives import OBJECTIVES, LossSettings, Objective
from ufnrec_tf.policies import POLICIES, Policy
from ufnrec_tf.safe_flips import SafeFlips
from ufnrec_tf.sampling import Sampler, make_sampler

_PROBE_SEED = 0x9B0BE5
"""Keeps the probes apart from the negatives of the same seed."""


class Draws(NamedTuple):
    """Candidates that are drawn for each position.

    Attributes:
        num_probes: For the memory alone.
        num_negatives: For the loss, and for the memory where there are no probes.
    """

    num_probes: int
    num_negatives: int


def draws_of(config: ConfigDict) -> Draws:
    """Returns how many candidates the configured loss and policy need."""
    negatives, most = config.negatives.count, OBJECTIVES[config.loss.name].most_negatives
    if most is None:
        return Draws(0, negatives)
    policy = POLICIES[config.memory.policy]
    has_probes = policy.remembers and not policy.is_safe  # those draw their own
    return Draws(config.negatives.probes if has_probes else 0, min(negatives, most))


def make_memory(
    config: ConfigDict, policy: Policy, num_rows: int, num_items: int
) -> FalseNegativeMemory | None:
    """Returns the memory of `num_rows` transitions, or None for a policy that does not remember."""
    if not policy.remembers:
        return None
    settings, draws = config.memory, draws_of(config)
    if policy.is_safe:
        return FalseNegativeMemory(
            num_rows=num_rows,
            num_items=num_items,
            num_slots=min(settings.safe_slots, num_items),
            num_negatives=settings.safe_probes + settings.safe_slots,
            patience=settings.safe_patience,
            capacity=min(settings.safe_slots, num_items),
            is_cumulative=False,
            is_sticky=True,
        )
    return FalseNegativeMemory(
        num_rows=num_rows,
        num_items=num_items,
        num_slots=min(settings.slots, num_items),
        num_negatives=draws.num_probes or draws.num_negatives,
        patience=settings.patience,
        capacity=settings.capacity,
        ripens=policy.ripens,
        max_ripe=settings.max_flips,
        allows_duplicates=settings.duplicates,
        is_cumulative=settings.counting == "cumulative",
        is_sticky=settings.flip == "sticky" or policy.is_lasting,
        is_lasting=policy.is_lasting,
    )


def make_split_sampler(split: Split, seed: int, *, num_negatives: int) -> Sampler:
    """Returns a sampler outside each user's train items, of items that training may know."""
    offsets, items = seen_train_items(split)
    return make_sampler(
        split.training_items,
        seen_offsets=offsets,
        seen_items=items,
        num_negatives=num_negatives,
        seed=seed,
    )


def make_safe_flips(
    config: ConfigDict, split: Split, memory: FalseNegativeMemory | None, seed: int
) -> SafeFlips | None:
    """Returns what `ufnrec_safe` needs beside the memory; call it on the worker's host."""
    settings = config.memory
    if memory is None or not POLICIES[settings.policy].is_safe:
        return None
    num_probes = settings.safe_probes + settings.safe_slots
    return SafeFlips(
        memory=memory,
        sampler=make_split_sampler(split, seed + _PROBE_SEED, num_negatives=num_probes),
        period=settings.safe_period,
        budget=settings.safe_budget,
        seed=seed,
    )


def make_objective(config: ConfigDict, split: Split) -> Objective:
    """Returns the configured loss."""
    settings, loss = config.teacher, config.loss
    return OBJECTIVES[loss.name](
        LossSettings(
            num_items=len(split.training_items),
            num_negatives=draws_of(config).num_negatives,
            calibration=loss.calibration,
            scale=loss.scale,
            is_candidate=split.is_training_item,
        ),
        consistency_weight=settings.weight,
        averages_over_flipped=settings.consistency_mean == "flipped",
        uses_soft_label_only=settings.soft_label_only,
        l2=config.optimizer.l2,
    )


def scored_weights(config: ConfigDict) -> str:
    """Returns what `evaluation.weights` means to the policy."""
    is_safe = POLICIES[config.memory.policy].is_safe
    if config.evaluation.weights == "auto" and is_safe:
        return "better"
    return config.evaluation.weights
