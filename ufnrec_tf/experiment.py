"""The composition root: from a configuration to the objects of a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from ufnrec_tf import backbones
from ufnrec_tf.arms import configure_arm, of_arm, parse_arms
from ufnrec_tf.backbones.base import Backbone
from ufnrec_tf.baselines import BASELINES
from ufnrec_tf.checkpoint import CheckpointStore, named_variables
from ufnrec_tf.data.pipeline import Samples, make_dataset, make_samples, steps_per_epoch
from ufnrec_tf.data.splits import Split, seen_train_items
from ufnrec_tf.distribution import STRATEGIES, make_strategy, num_replicas, on_host
from ufnrec_tf.errors import UserError
from ufnrec_tf.evaluation import RankingEvaluator
from ufnrec_tf.host_state import HostState
from ufnrec_tf.memory import FalseNegativeMemory
from ufnrec_tf.metrics import metrics_from_ranks
from ufnrec_tf.model import UFNRecModel
from ufnrec_tf.names import pick
from ufnrec_tf.objective import OBJECTIVES
from ufnrec_tf.optimizer import make_optimizer
from ufnrec_tf.policies import POLICIES, Policy
from ufnrec_tf.positions import choose_capacities
from ufnrec_tf.sampling import UniformNegativeSampler
from ufnrec_tf.teacher import EmaTeacher


@dataclass(frozen=True)
class Experiment:
    """What a training run consists of.

    Attributes:
        model: The student with everything that trains it.
        host: Its host variables.
        best: A backbone of the same shape that holds the selected weights.
        samples: The windows that are trained.
        dataset: Batches from the first step that is still to be done, by that step.
        steps_per_epoch: Steps of an epoch.
        num_steps: Steps of the whole run.
    """

    model: UFNRecModel
    host: HostState
    best: Backbone
    samples: Samples
    dataset: Any
    steps_per_epoch: int
    num_steps: int

    def variables(self) -> dict[str, dict[str, tf.Variable]]:
        """Returns everything that a checkpoint of the run holds."""
        model = self.model
        return {
            "student": named_variables(model.backbone.variables),
            "optimizer": named_variables(model.optimizer.variables),
            "teacher": named_variables(model.teacher.backbone.variables) if model.teacher else {},
            "memory": model.memory.variables if model.memory else {},
            "host": self.host.variables,
            # With the rest, so that a run that was killed goes on with those of its checkpoint.
            "best": named_variables(self.best.trainable_variables),
        }

    def stores(self, workdir: Path) -> tuple[CheckpointStore, CheckpointStore]:
        """Returns the store of the run's checkpoints and that of the selected weights."""
        folder = workdir / "checkpoints"
        return CheckpointStore(folder, self.variables()), best_store(folder, self.best)


def best_store(folder: Path, best: Backbone) -> CheckpointStore:
    """Returns the store that keeps the selected weights as `best`."""
    return CheckpointStore(folder, {"weights": named_variables(best.trainable_variables)})


def check_names(config: ConfigDict) -> None:
    """Checks the keys whose values are names in tables, before anything is read or made.

    Raises:
        UserError: Naming the known values and the nearest.
    """
    pick(backbones.BACKBONES, config.backbone.name, key="backbone.name")
    pick(OBJECTIVES, config.loss.name, key="loss.name")
    pick(STRATEGIES, config.distribution.strategy, key="distribution.strategy")
    for name in config.comparison.baselines:
        pick(BASELINES, name, key="comparison.baselines")
    for arm in parse_arms(config.comparison.arms):
        with of_arm(arm.name):
            check_names(configure_arm(config, arm))
    if config.training.monitor:
        known = metrics_from_ranks(np.ones(1, np.int64))
        pick(known, config.training.monitor, key="training.monitor")
    policy = pick(POLICIES, config.memory.policy, key="memory.policy")
    _check_settings(config, policy)


def _check_settings(config: ConfigDict, policy: Policy) -> None:
    """Checks settings that must fit each other."""
    has_teacher = policy.is_softened or config.teacher.always
    if config.evaluation.weights == "teacher" and not has_teacher:
        raise UserError(
            f"`evaluation.weights` is teacher, but policy {config.memory.policy!r} has none. "
            "Set --config.teacher.always=true, or --config.evaluation.weights=auto."
        )
    if policy.remembers and not OBJECTIVES[config.loss.name].needs_negatives:
        raise UserError(
            f"`loss.name` is {config.loss.name}, which draws no negatives: policy "
            f"{config.memory.policy!r} has nothing to remember. Set --config.memory.policy=keep, "
            "or --config.loss.name=pooled_bce."
        )
    if config.backbone.width % config.backbone.num_heads:
        raise UserError(
            "`backbone.num_heads` must divide `backbone.width`. Received: "
            f"{config.backbone.num_heads} heads, width {config.backbone.width}."
        )


def check_steps(config: ConfigDict, split: Split) -> None:
    """Checks that calls into the graph end where epochs and `training.max_steps` do.

    Raises:
        UserError: Where they do not: Keras would run on into the next epoch.
    """
    training = config.training
    samples = make_samples(split, max_length=config.backbone.max_length, windows=training.windows)
    steps = steps_per_epoch(len(samples.users), training.batch_size, draw=training.draw)
    if steps % training.steps_per_execution or training.max_steps % training.steps_per_execution:
        limit = f" and of {training.max_steps} (training.max_steps)" if training.max_steps else ""
        raise UserError(
            f"`training.steps_per_execution` must be a divisor of {steps} (steps an epoch){limit}. "
            f"Received: {training.steps_per_execution}."
        )


def make_backbone(config: ConfigDict, num_items: int) -> Backbone:
    """Returns a new backbone of the configuration."""
    settings = config.backbone.to_dict()
    return backbones.create(settings.pop("name"), num_items=num_items, **settings)


def make_evaluator(config: ConfigDict, split: Split, part: str, seed: int) -> RankingEvaluator:
    """Returns the evaluator of a part of the split."""
    return RankingEvaluator(
        split,
        part,
        max_length=config.backbone.max_length,
        mask=config.evaluation.mask,
        batch_size=config.evaluation.batch_size,
        sampled_negatives=config.evaluation.sampled_negatives,
        seed=seed,
    )


def make_memory(config: ConfigDict, policy: Policy, samples: Samples, num_items: int) -> Any:
    """Returns the memory, or None for a policy that does not remember."""
    if not policy.remembers:
        return None
    settings = config.memory
    return FalseNegativeMemory(
        num_rows=samples.num_rows,
        num_items=num_items,
        num_slots=min(settings.slots, num_items),
        num_negatives=config.negatives.count,
        patience=settings.patience,
        capacity=settings.capacity,
        ripens=policy.ripens,
        max_ripe=settings.max_flips,
        allows_duplicates=settings.duplicates,
        is_cumulative=settings.counting == "cumulative",
        is_sticky=settings.flip == "sticky",
    )


def _make_sampler(config: ConfigDict, split: Split, seed: int) -> UniformNegativeSampler:
    offsets, items = seen_train_items(split)
    needs_negatives = OBJECTIVES[config.loss.name].needs_negatives
    return UniformNegativeSampler(
        num_items=split.interactions.num_items,
        seen_offsets=offsets,
        seen_items=items,
        num_negatives=config.negatives.count if needs_negatives else 0,
        seed=seed,
    )


def _make_model(
    config: ConfigDict,
    split: Split,
    memory: Any,
    host: HostState,
    capacities: tuple[int, ...],
    *,
    seed: int,
    num_steps: int,
) -> UFNRecModel:
    """Returns the compiled model; call it inside the strategy's scope."""
    policy = POLICIES[config.memory.policy]
    backbone = make_backbone(config, split.interactions.num_items)
    settings = config.teacher
    teacher = None
    if policy.is_softened or settings.always:
        teacher = EmaTeacher(backbone, decay=settings.decay, uses_dropout=settings.dropout)
    model = UFNRecModel(
        backbone=backbone,
        sampler=_make_sampler(config, split, seed),
        objective=OBJECTIVES[config.loss.name](
            consistency_weight=settings.weight,
            averages_over_flipped=settings.consistency_mean == "flipped",
            uses_soft_label_only=settings.soft_label_only,
            l2=config.optimizer.l2,
        ),
        policy=policy,
        host=host,
        memory=memory,
        teacher=teacher,
        has_teacher_always=settings.always,
        agreement=settings.agreement,
        capacities=capacities,
        compiles=config.training.jit_compile,
    )
    names = "learning_rate beta_1 beta_2 epsilon weight_decay clip_norm warm_up_steps schedule"
    optimizer = make_optimizer(
        **{name: config.optimizer[name] for name in names.split()}, num_steps=num_steps
    )
    optimizer.build(backbone.trainable_variables)
    model.compile(
        optimizer=optimizer,
        # The step compiles its parts: lookup and record, between them, touch host variables.
        jit_compile=False,
        steps_per_execution=config.training.steps_per_execution,
    )
    return model


def _capacities(config: ConfigDict, samples: Samples, num_steps: int) -> tuple[int, ...]:
    """Returns what batches are filled up to, the same however often a run is cut short."""
    if not config.training.jit_compile:
        return ()
    return choose_capacities(
        samples.lengths,
        -(-config.training.batch_size // num_replicas()),
        config.backbone.max_length,
        num_steps=num_steps,
    )


def prepare_tensorflow(config: ConfigDict, seed: int) -> tf.distribute.Strategy:
    """Seeds everything, makes the devices, and returns the strategy."""
    strategy = make_strategy(
        config.distribution.strategy, num_virtual_devices=config.distribution.num_virtual_devices
    )
    if config.training.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)
    return strategy


def build(
    config: ConfigDict, split: Split, seed: int, *, strategy: tf.distribute.Strategy
) -> Experiment:
    """Returns the objects of a training run, weights freshly drawn from the seed."""
    training = config.training
    samples = make_samples(split, max_length=config.backbone.max_length, windows=training.windows)
    steps = steps_per_epoch(len(samples.users), training.batch_size, draw=training.draw)
    num_steps = steps * training.num_epochs
    if training.max_steps:
        num_steps = min(num_steps, training.max_steps)
    policy = POLICIES[config.memory.policy]
    with on_host():
        memory = make_memory(config, policy, samples, split.interactions.num_items)
        host = HostState()
    with strategy.scope():
        capacities = _capacities(config, samples, steps * training.num_epochs)
        model = _make_model(config, split, memory, host, capacities, seed=seed, num_steps=num_steps)

    def dataset(first_step: int) -> tf.data.Dataset:
        return make_dataset(
            split,
            samples,
            max_length=config.backbone.max_length,
            batch_size=training.batch_size,
            seed=seed,
            draw=training.draw,
            first_step=first_step,
        )

    return Experiment(
        model=model,
        host=host,
        best=model.backbone.clone(),
        samples=samples,
        dataset=dataset,
        steps_per_epoch=steps,
        num_steps=num_steps,
    )
