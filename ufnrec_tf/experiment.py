"""The composition root: from a configuration to the objects of a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from ufnrec_tf.arms import configure_arm, of_arm, parse_arms
from ufnrec_tf.backbone_setup import check_backbone, check_windows, make_backbone
from ufnrec_tf.backbones.base import Backbone
from ufnrec_tf.baselines import BASELINES
from ufnrec_tf.checkpoint import CheckpointStore, named_variables
from ufnrec_tf.data.pipeline import Samples, make_dataset, make_samples, steps_per_epoch
from ufnrec_tf.data.splits import Split
from ufnrec_tf.distribution import STRATEGIES, make_strategy, num_replicas, on_host
from ufnrec_tf.errors import UserError
from ufnrec_tf.evaluation import RankingEvaluator
from ufnrec_tf.host_state import HostState
from ufnrec_tf.memory import FalseNegativeMemory
from ufnrec_tf.metrics import metrics_from_ranks
from ufnrec_tf.model import UFNRecModel
from ufnrec_tf.names import pick
from ufnrec_tf.objectives import OBJECTIVES
from ufnrec_tf.optimizer import make_optimizer
from ufnrec_tf.parts import (
    draws_of,
    make_memory,
    make_objective,
    make_safe_flips,
    make_split_sampler,
)
from ufnrec_tf.policies import POLICIES, Policy
from ufnrec_tf.positions import choose_capacities
from ufnrec_tf.safe_flips import SafeFlips
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
            "memory": (model.safe_flips or model.memory).variables if model.memory else {},
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
    check_backbone(config)
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
    has_teacher = policy.has_teacher or config.teacher.always
    if config.evaluation.weights == "teacher" and not has_teacher:
        raise UserError(
            f"`evaluation.weights` is teacher, but policy {config.memory.policy!r} has none. "
            "Set --config.teacher.always=true, or --config.evaluation.weights=auto."
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


def scored_weights(config: ConfigDict) -> str:
    """Returns what `evaluation.weights` means to the policy."""
    is_safe = POLICIES[config.memory.policy].is_safe
    if config.evaluation.weights == "auto" and is_safe:
        return "better"
    return config.evaluation.weights


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


def _make_model(
    config: ConfigDict,
    split: Split,
    memory: FalseNegativeMemory | None,
    safe_flips: SafeFlips | None,
    host: HostState,
    capacities: tuple[int, ...],
    *,
    seed: int,
    num_steps: int,
) -> UFNRecModel:
    """Returns the compiled model; call it inside the strategy's scope."""
    policy = POLICIES[config.memory.policy]
    backbone = make_backbone(config, split.interactions.num_items)
    check_windows(backbone, config)
    settings = config.teacher
    teacher = None
    if policy.has_teacher or settings.always:
        teacher = EmaTeacher(backbone, decay=settings.decay, uses_dropout=settings.dropout)
    model = UFNRecModel(
        backbone=backbone,
        sampler=make_split_sampler(split, seed, num_negatives=sum(draws_of(config))),
        objective=make_objective(config, split),
        policy=policy,
        host=host,
        memory=memory,
        teacher=teacher,
        has_teacher_always=settings.always or policy.is_safe,
        agreement=settings.agreement,
        capacities=capacities,
        compiles=config.training.jit_compile,
        num_probes=draws_of(config).num_probes,
        safe_flips=safe_flips,
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
        safe_flips = make_safe_flips(config, split, memory, seed)
        host = HostState()
    with strategy.scope():
        capacities = _capacities(config, samples, steps * training.num_epochs)
        model = _make_model(
            config, split, memory, safe_flips, host, capacities, seed=seed, num_steps=num_steps
        )

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
