"""The parts of the training step, each from the configuration: what is drawn, kept, minimised."""

from typing import NamedTuple

from ml_collections import ConfigDict

from ufnrec_tf.data.pipeline import Samples
from ufnrec_tf.data.splits import Split, seen_train_items
from ufnrec_tf.memory import FalseNegativeMemory
from ufnrec_tf.objectives import OBJECTIVES, LossSettings, Objective
from ufnrec_tf.policies import POLICIES, Policy
from ufnrec_tf.sampling import UniformNegativeSampler


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
    remembers = POLICIES[config.memory.policy].remembers
    return Draws(config.negatives.probes if remembers else 0, min(negatives, most))


def make_memory(
    config: ConfigDict, policy: Policy, samples: Samples, num_items: int
) -> FalseNegativeMemory | None:
    """Returns the memory, or None for a policy that does not remember."""
    if not policy.remembers:
        return None
    settings, draws = config.memory, draws_of(config)
    return FalseNegativeMemory(
        num_rows=samples.num_rows,
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


def make_sampler(config: ConfigDict, split: Split, seed: int) -> UniformNegativeSampler:
    """Returns the sampler of probes and negatives, in this order."""
    offsets, items = seen_train_items(split)
    return UniformNegativeSampler(
        num_items=split.interactions.num_items,
        seen_offsets=offsets,
        seen_items=items,
        num_negatives=sum(draws_of(config)),
        seed=seed,
    )


def make_objective(config: ConfigDict, num_items: int) -> Objective:
    """Returns the configured loss."""
    settings, loss = config.teacher, config.loss
    return OBJECTIVES[loss.name](
        LossSettings(
            num_items=num_items,
            num_negatives=draws_of(config).num_negatives,
            calibration=loss.calibration,
            scale=loss.scale,
        ),
        consistency_weight=settings.weight,
        averages_over_flipped=settings.consistency_mean == "flipped",
        uses_soft_label_only=settings.soft_label_only,
        l2=config.optimizer.l2,
    )
