"""The composition root: from a configuration to the objects of a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from ml_collections import ConfigDict

from ufnrec_tf.backbone_setup import check_windows, make_backbone
from ufnrec_tf.backbones.base import Backbone
from ufnrec_tf.checkpoint import CheckpointStore, named_variables
from ufnrec_tf.data.pipeline import Samples, make_dataset, make_samples, steps_per_epoch
from ufnrec_tf.data.placement import Placement, RowOwners, place
from ufnrec_tf.data.splits import Split
from ufnrec_tf.data.user_hash import owners_of
from ufnrec_tf.distribution import (
    ALONE,
    Workers,
    distribute,
    make_strategy,
    num_local_replicas,
    num_replicas,
    on_host,
)
from ufnrec_tf.evaluation import RankingEvaluator
from ufnrec_tf.evaluation_share import Share
from ufnrec_tf.host_state import HostState
from ufnrec_tf.memory import FalseNegativeMemory
from ufnrec_tf.model import UFNRecModel
from ufnrec_tf.optimizer import make_optimizer
from ufnrec_tf.own_state import OwnState
from ufnrec_tf.parts import (
    draws_of,
    make_memory,
    make_objective,
    make_safe_flips,
    make_split_sampler,
)
from ufnrec_tf.phases import phase
from ufnrec_tf.policies import POLICIES
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
        workers: The processes that train it together.
        row_owners: Who of them has which rows of the memory.
        num_replicas: Devices that train, of all workers.
    """

    model: UFNRecModel
    host: HostState
    best: Backbone
    samples: Samples
    dataset: Any
    steps_per_epoch: int
    num_steps: int
    workers: Workers
    row_owners: RowOwners
    num_replicas: int

    def variables(self) -> dict[str, dict[str, tf.Variable]]:
        """Returns what a checkpoint of the run holds and all workers have alike."""
        model = self.model
        return {
            "student": named_variables(model.backbone.variables),
            "optimizer": named_variables(model.optimizer.variables),
            "teacher": named_variables(model.teacher.backbone.variables) if model.teacher else {},
            "host": self.host.variables,
            # With the rest, so that a run that was killed goes on with those of its checkpoint.
            "best": named_variables(self.best.trainable_variables),
        }

    def own_state(self) -> OwnState:
        """Returns what of a checkpoint this worker alone has."""
        model, sums = self.model, {"host": self.host.sums}
        remembering = model.safe_flips or model.memory
        if model.memory is not None:
            sums["counters"] = model.memory.counters
        return OwnState(
            tables=remembering.tables if remembering else {},
            sums=sums,
            rows_of=self.row_owners.rows_of,
            workers=self.workers,
        )

    def stores(
        self, workdir: Path, *, num_kept: int = 2
    ) -> tuple[CheckpointStore, CheckpointStore]:
        """Returns the store of the run's checkpoints and that of the selected weights."""
        folder = workdir / "checkpoints"
        store = CheckpointStore(
            folder,
            self.variables(),
            own=self.own_state(),
            workers=self.workers,
            num_kept=num_kept,
        )
        return store, best_store(folder, self.best)


def best_store(folder: Path, best: Backbone) -> CheckpointStore:
    """Returns the store that keeps the selected weights as `best`."""
    return CheckpointStore(folder, {"weights": named_variables(best.trainable_variables)})


@phase("preparing the evaluation")
def make_evaluator(
    config: ConfigDict, split: Split, part: str, seed: int, workers: Workers = ALONE
) -> RankingEvaluator:
    """Returns the evaluator of a part of the split; several workers evaluate their own users."""
    share = None
    if workers.count > 1:
        owners = owners_of(split.interactions.user_ids, workers.count)
        share = Share(is_own=owners == workers.index, add_up=workers.sum)
    return RankingEvaluator(
        split,
        part,
        max_length=config.backbone.max_length,
        mask=config.evaluation.mask,
        batch_size=config.evaluation.batch_size,
        sampled_negatives=config.evaluation.sampled_negatives,
        seed=seed,
        share=share,
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


def _capacities(
    config: ConfigDict, samples: Samples, placement: Placement, num_steps: int
) -> tuple[int, ...]:
    """Returns what batches are filled up to, the same however often a run is cut short."""
    if not config.training.jit_compile:
        return ()
    batch_size = config.training.batch_size
    return choose_capacities(
        samples.lengths,
        -(-batch_size // num_replicas()),
        config.backbone.max_length,
        num_steps=num_steps,
        num_rows=placement.rows_a_replica(batch_size, num_local_replicas()),
    )


def prepare_tensorflow(config: ConfigDict, seed: int) -> tf.distribute.Strategy:
    """Seeds everything, makes the devices, and returns the strategy."""
    strategy = make_strategy(
        config.distribution.strategy,
        num_virtual_devices=config.distribution.num_virtual_devices,
        start_minutes=config.distribution.start_minutes,
    )
    if config.training.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)
    return strategy


@phase("building the model")
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
    workers, local_replicas = Workers(strategy), num_local_replicas(strategy)
    users_of_rows, user_ids = samples.users_of_rows(), split.interactions.user_ids
    placement = place(
        samples.users,
        samples.first_rows,
        users_of_rows,
        user_ids,
        worker=workers.index,
        num_workers=workers.count,
    )
    with on_host():
        memory = make_memory(config, policy, placement.num_rows, split.interactions.num_items)
        safe_flips = make_safe_flips(config, split, memory, seed)
        host = HostState(num_replicas=local_replicas, workers=workers)
    with strategy.scope():
        capacities = _capacities(config, samples, placement, steps * training.num_epochs)
        model = _make_model(
            config, split, memory, safe_flips, host, capacities, seed=seed, num_steps=num_steps
        )

    def dataset(first_step: int) -> Any:
        return distribute(
            strategy,
            lambda: make_dataset(
                split,
                samples,
                max_length=config.backbone.max_length,
                batch_size=training.batch_size,
                seed=seed,
                draw=training.draw,
                first_step=first_step,
                placement=placement,
                num_replicas=local_replicas,
            ),
        )

    return Experiment(
        model=model,
        host=host,
        best=model.backbone.clone(),
        samples=samples,
        dataset=dataset,
        steps_per_epoch=steps,
        num_steps=num_steps,
        workers=workers,
        row_owners=RowOwners(user_ids, users_of_rows),
        num_replicas=strategy.num_replicas_in_sync,
    )


def give_whole_memory(config: ConfigDict, experiment: Experiment, store: CheckpointStore) -> None:
    """Gives the chief all rows of the memory, from the newest checkpoint; for after training."""
    model, samples = experiment.model, experiment.samples
    if not experiment.workers.is_chief or model.memory is None:
        return
    policy, num_items = POLICIES[config.memory.policy], model.memory.num_items
    with on_host():
        whole = make_memory(config, policy, samples.num_rows, num_items)
        if whole is None:
            return
        state = OwnState(
            tables=whole.tables,
            sums={"counters": whole.counters},
            rows_of=experiment.row_owners.rows_of,
        )
        state.read(store.folder / store.newest(), num_workers=experiment.workers.count)
    model.memory = whole
