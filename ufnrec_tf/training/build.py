"""Builds the objects of a run from its configuration."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from ufnrec_tf import backbones, objectives
from ufnrec_tf.backbones import BACKBONES
from ufnrec_tf.backbones.base import Backbone, setting_names
from ufnrec_tf.backbones.times import num_times
from ufnrec_tf.common.distribution import (
    ALONE,
    Workers,
    distribute,
    make_strategy,
    num_local_replicas,
    num_replicas,
    on_host,
)
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.graphs import is_ours
from ufnrec_tf.common.progress import working_on
from ufnrec_tf.config import option_table
from ufnrec_tf.data.batches import make_dataset, steps_per_epoch
from ufnrec_tf.data.splits import Split, seen_train_items, train_counts
from ufnrec_tf.data.user_hash import owners_of
from ufnrec_tf.data.windows import Placement, RowOwners, Samples, make_samples, place
from ufnrec_tf.evaluation.evaluator import RankingEvaluator, Share
from ufnrec_tf.evaluation.metrics import ChosenMetrics, check_cutoffs, choose_metrics
from ufnrec_tf.method.memory import FalseNegativeMemory
from ufnrec_tf.method.model import UFNRecModel
from ufnrec_tf.method.negatives import Sampler, make_sampler
from ufnrec_tf.method.optimizer import make_optimizer
from ufnrec_tf.method.policies import POLICIES, Policy
from ufnrec_tf.method.positions import choose_capacities
from ufnrec_tf.method.safe_flips import SafeFlips
from ufnrec_tf.method.soft_labels import (
    DrawnLabels,
    EmaLabels,
    LabelSource,
    StoredLabels,
)
from ufnrec_tf.method.step_state import StepState
from ufnrec_tf.method.teacher import EmaTeacher
from ufnrec_tf.objectives.base import LossSettings, Objective
from ufnrec_tf.runs.checkpoints import CheckpointStore, named_variables
from ufnrec_tf.runs.state import LoopSettings
from ufnrec_tf.runs.worker_state import WorkerState
from ufnrec_tf.training.settings_checks import later_items_error


def check_backbone(config: ConfigDict) -> None:
    """Checks the backbone's name, and that the backbone has every setting that was changed.

    Raises:
        UserError: Naming the known values, or the setting that the backbone would not read.
    """
    kind = backbones.find(config.backbone.name)
    known = setting_names(kind)
    for key, option in option_table()["backbone"].items():
        value = config.backbone[key]
        if key != "name" and key not in known and value != option.default:
            raise UserError(
                f"`backbone.{key}` is {value!r}, which backbone {config.backbone.name!r} does not "
                f"read. Leave it at --config.backbone.{key}={option.default}."
            )
    if kind in BACKBONES.values():
        num_times(config.backbone.time, False, 1, allowed=kind.times_read)


def make_backbone(config: ConfigDict, num_items: int) -> Backbone:
    """Returns a new backbone as configured."""
    settings = config.backbone.to_dict()
    name = settings.pop("name")
    known = setting_names(backbones.find(name))
    own = {key: value for key, value in settings.items() if key in known}
    return backbones.create(name, num_items=num_items, **own)


MakeNetwork = Callable[[ConfigDict, int], Backbone]
"""Returns a new network for a number of items, as `make_backbone` does."""


def check_windows(backbone: Backbone, config: ConfigDict) -> None:
    """Raises UserError if a position would be trained whose vector has seen its target.

    Raises:
        UserError: If the backbone sees later columns and not only the newest is trained.
    """
    if backbone.is_causal or config.training.windows == "prefixes":
        return
    raise later_items_error(config, has_filter="filter" in backbone.settings)


_PROBE_SEED = 0x9B0BE5
"""Keeps the probes apart from the negatives of the same seed."""

_LABEL_SEED = 0x50F7
"""Keeps drawn soft labels apart from the negatives of the same seed."""


class Draws(NamedTuple):
    """The numbers of candidates that are drawn for each position.

    Attributes:
        num_probes: Only for the memory.
        num_negatives: For the loss, and for the memory if there are no probes.
    """

    num_probes: int
    num_negatives: int


def draws_of(config: ConfigDict) -> Draws:
    """Returns the number of candidates that the configured loss and policy need."""
    negatives, most = config.negatives.count, objectives.find(config.loss.name).most_negatives
    if most is None:
        return Draws(0, negatives)
    policy = POLICIES[config.memory.policy]
    has_probes = policy.remembers and not policy.is_safe  # those draw their own
    return Draws(config.negatives.probes if has_probes else 0, min(negatives, most))


def shares_negatives(config: ConfigDict) -> bool:
    """True if all positions of a batch have the same negatives."""
    return config.negatives.shared and objectives.find(config.loss.name).most_negatives is None


def make_memory(
    config: ConfigDict, policy: Policy, num_rows: int, num_items: int
) -> FalseNegativeMemory | None:
    """Returns the memory of `num_rows` transitions, or None if the policy does not use one."""
    if not policy.remembers:
        return None
    settings, draws, most_visits = config.memory, draws_of(config), _most_visits(config)
    if policy.is_safe:
        return FalseNegativeMemory(
            num_rows=num_rows,
            num_items=num_items,
            most_visits=most_visits,
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
        most_visits=most_visits,
        num_slots=min(settings.slots, num_items),
        num_negatives=draws.num_probes or draws.num_negatives,
        patience=settings.patience,
        capacity=settings.capacity,
        finds_suspects=policy.finds_suspects,
        max_suspects=settings.max_flips,
        allows_duplicates=settings.duplicates,
        is_cumulative=settings.counting == "cumulative",
        is_sticky=settings.flip == "sticky" or policy.is_lasting,
        is_lasting=policy.is_lasting,
    )


def _most_visits(config: ConfigDict) -> int:
    """Returns how often a run visits a row at most; 0 if that is not known."""
    training = config.training
    if training.warm_start or training.draw != "permutation":
        return 0  # counts of an older run, or rows drawn anew at each step
    return int(training.num_epochs)


def make_split_sampler(
    split: Split,
    seed: int,
    *,
    num_negatives: int,
    by_popularity: bool = False,
    are_shared: bool = False,
) -> Sampler:
    """Returns the sampler of training items outside each user's train items.

    Args:
        split: The split.
        seed: The run's seed.
        num_negatives: N, draws a position.
        by_popularity: True draws an item as often as it has train events; False draws uniformly.
        are_shared: True draws one set of items a batch.
    """
    offsets, items = seen_train_items(split)
    return make_sampler(
        split.training_items,
        seen_offsets=offsets,
        seen_items=items,
        num_negatives=num_negatives,
        seed=seed,
        num_events=train_counts(split)[split.training_items] if by_popularity else None,
        are_shared=are_shared,
    )


def make_safe_flips(
    config: ConfigDict, split: Split, memory: FalseNegativeMemory | None, seed: int
) -> SafeFlips | None:
    """Returns the state of `ufnrec_safe` beside the memory. Call it on the worker's host."""
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


def make_label_source(
    config: ConfigDict,
    split: Split,
    seed: int,
    *,
    num_rows: int,
    teacher: EmaTeacher | None,
    folder: Path | None,
) -> LabelSource | None:
    """Returns the source of soft labels, or None for a policy or a mass without any.

    Args:
        config: The configuration.
        split: The split that is trained.
        seed: The run's seed.
        num_rows: This worker's rows of stored labels.
        teacher: The EMA teacher, which gives the labels of `teacher.kind` ema.
        folder: This worker's stored labels; None leaves them out, for a model that is not trained.
    """
    settings = config.teacher
    if not POLICIES[config.memory.policy].has_soft_labels or not settings.mass:
        return None
    num_labels = min(settings.num_labels, len(split.training_items))
    if settings.labels in ("uniform", "popularity"):
        sampler = make_split_sampler(
            split,
            seed + _LABEL_SEED,
            num_negatives=num_labels,
            by_popularity=settings.labels == "popularity",
        )
        return DrawnLabels(sampler, compiles=config.training.jit_compile)
    if settings.labels == "teacher" and settings.kind == "ema" and teacher is not None:
        offsets, items = seen_train_items(split)
        return EmaLabels(
            teacher,
            seen_offsets=offsets,
            seen_items=items,
            is_candidate=split.is_training_item,
            num_labels=num_labels,
            temperature=settings.temperature,
            outranking_only=settings.outranking_only,
        )
    return StoredLabels(folder, num_rows=num_rows) if folder is not None else None


def make_objective(config: ConfigDict, split: Split) -> Objective:
    """Returns the configured loss."""
    settings, loss = config.teacher, config.loss
    return objectives.find(loss.name)(
        LossSettings(
            num_items=len(split.training_items),
            num_negatives=draws_of(config).num_negatives,
            calibration=loss.calibration,
            scale=loss.scale,
            label_smoothing=loss.label_smoothing,
            is_candidate=split.is_training_item,
            label_mass=settings.mass,
        ),
        # No entry is softened under other policies: the term is 0, and not free.
        consistency_weight=settings.weight if POLICIES[config.memory.policy].is_softened else 0.0,
        averages_over_flipped=settings.consistency_mean == "flipped",
        uses_soft_label_only=settings.soft_label_only,
        l2=config.optimizer.l2,
    )


def has_average(config: ConfigDict) -> bool:
    """True if a run has averaged weights, the teacher's, beside its own."""
    return POLICIES[config.memory.policy].has_teacher or config.teacher.always


def num_weight_sets(config: ConfigDict) -> int:
    """Returns how many sets of weights are scored at each evaluation, of which the best counts.

    A policy that nobody knows counts as 1; `check_names` reports it.
    """
    if config.memory.policy not in POLICIES:
        return 1
    return 2 if scored_weights(config) == "better" and has_average(config) else 1


def scored_weights(config: ConfigDict) -> str:
    """Returns the weights to score: `evaluation.weights`, with `auto` resolved by the policy."""
    is_safe = POLICIES[config.memory.policy].is_safe
    if config.evaluation.weights == "auto" and is_safe:
        return "better"
    return config.evaluation.weights


def loop_settings(
    config: ConfigDict, steps_per_epoch: int, *, floor: float, selects_on: str = "validation"
) -> LoopSettings:
    """Returns the times at which a run evaluates, saves and stops; see `LoopSettings`."""
    training, evaluation = config.training, config.evaluation
    return LoopSettings(
        steps_per_epoch=steps_per_epoch,
        max_steps=training.max_steps,
        monitor=training.monitor,
        patience=training.patience,
        floor=floor,
        every=evaluation.every,
        test_every=evaluation.test_every,
        weights=scored_weights(config),
        checkpoint_seconds=60 * training.checkpoint_minutes,
        checkpoint_steps=training.checkpoint_steps,
        selects_on=selects_on,
    )


@dataclass(frozen=True)
class Experiment:
    """The objects of a training run.

    Attributes:
        model: The student with everything that trains it.
        host: The step state on the worker's host.
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
    host: StepState
    best: Backbone
    samples: Samples
    dataset: Any
    steps_per_epoch: int
    num_steps: int
    workers: Workers
    row_owners: RowOwners
    num_replicas: int

    def variables(self) -> dict[str, dict[str, tf.Variable]]:
        """Returns the variables of a checkpoint that are the same on all workers."""
        model = self.model
        return {
            "student": named_variables(model.backbone.variables),
            "optimizer": named_variables(model.optimizer.variables),
            "teacher": _teacher_variables(model.teacher),
            "host": self.host.variables,
            # With the rest, so that a killed run resumes with those of its checkpoint.
            "best": named_variables(self.best.trainable_variables),
        }

    def worker_state(self) -> WorkerState:
        """Returns this worker's own part of a checkpoint: its memory tables and sums."""
        model, sums = self.model, {"host": self.host.sums}
        remembering = model.safe_flips or model.memory
        if model.memory is not None:
            sums["counters"] = model.memory.counters
        return WorkerState(
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
            own=self.worker_state(),
            workers=self.workers,
            num_kept=num_kept,
        )
        return store, best_store(folder, self.best)


def _teacher_variables(teacher: EmaTeacher | None) -> dict[str, tf.Variable]:
    """Returns the variables of a teacher that a checkpoint keeps, by name."""
    return named_variables(teacher.backbone.variables) | teacher.lag if teacher else {}


def best_store(folder: Path, best: Backbone) -> CheckpointStore:
    """Returns the store that keeps the selected weights as `best`."""
    return CheckpointStore(folder, {"weights": named_variables(best.trainable_variables)})


@working_on("preparing the evaluation")
def make_evaluator(
    config: ConfigDict, split: Split, part: str, seed: int, workers: Workers = ALONE
) -> RankingEvaluator:
    """Returns the evaluator of a part of the split. Each worker evaluates its own users."""
    check_cutoffs(config.evaluation.cutoffs, split.interactions.num_items)
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
        metrics=metrics_of(config),
        knows_request_time=config.backbone.time != "none" and config.backbone.request_time,
    )


def metrics_of(config: ConfigDict) -> ChosenMetrics:
    """Returns the metrics that the configuration's `evaluation` section names.

    Raises:
        UserError: If there is no such metric, or a cutoff is none.
    """
    return choose_metrics(config.evaluation.metrics, config.evaluation.cutoffs)


def _make_model(
    config: ConfigDict,
    split: Split,
    memory: FalseNegativeMemory | None,
    safe_flips: SafeFlips | None,
    host: StepState,
    capacities: tuple[int, ...],
    *,
    make_network: MakeNetwork,
    seed: int,
    num_steps: int,
    num_rows: int,
    labels: Path | None,
) -> UFNRecModel:
    """Returns the compiled model; call it inside the strategy's scope."""
    policy = POLICIES[config.memory.policy]
    backbone = make_network(config, split.interactions.num_items)
    check_windows(backbone, config)
    settings = config.teacher
    teacher = None
    if policy.has_teacher or settings.always:
        teacher = EmaTeacher(
            backbone,
            decay=settings.decay,
            uses_dropout=settings.dropout,
            # Labels read the whole average at each step; a user's backbone may read its table.
            lazy_rows=config.optimizer.lazy_rows
            and not policy.has_soft_labels
            and is_ours(backbone),
        )
    model = UFNRecModel(
        backbone=backbone,
        sampler=make_split_sampler(
            split, seed, num_negatives=sum(draws_of(config)), are_shared=shares_negatives(config)
        ),
        objective=make_objective(config, split),
        policy=policy,
        host=host,
        memory=memory,
        teacher=teacher,
        has_teacher_always=settings.always or policy.is_safe or policy.has_soft_labels,
        agreement=settings.agreement,
        capacities=capacities,
        compiles=config.training.jit_compile,
        num_probes=draws_of(config).num_probes,
        safe_flips=safe_flips,
        label_source=make_label_source(
            config, split, seed, num_rows=num_rows, teacher=teacher, folder=labels
        ),
        shares_negatives=shares_negatives(config),
    )
    optimizer = make_optimizer(
        **{name: value for name, value in config.optimizer.items() if name != "l2"},
        num_steps=num_steps,
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
    """Returns the compiled batch sizes, the same after every resume."""
    if not config.training.jit_compile:
        return ()
    batch_size = config.training.batch_size
    return choose_capacities(
        samples.lengths,
        -(-batch_size // num_replicas()),
        config.backbone.max_length,
        num_steps=num_steps,
        num_rows=placement.rows_a_replica(batch_size, num_local_replicas()),
        num_shares=placement.num_shares(num_local_replicas()),
    )


def prepare_tensorflow(config: ConfigDict, seed: int) -> tf.distribute.Strategy:
    """Sets the seeds, creates the devices and returns the strategy."""
    strategy = make_strategy(
        config.distribution.strategy,
        num_virtual_devices=config.distribution.num_virtual_devices,
        start_minutes=config.distribution.start_minutes,
    )
    if config.training.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)
    return strategy


@working_on("building the model")
def build(
    config: ConfigDict,
    split: Split,
    seed: int,
    *,
    strategy: tf.distribute.Strategy,
    make_network: MakeNetwork = make_backbone,
    is_left_out: np.ndarray | None = None,
    labels: Path | None = None,
) -> Experiment:
    """Returns the objects of a training run, with weights drawn from the seed.

    Args:
        config: The configuration of the run.
        split: The split of the data.
        seed: The run's seed.
        strategy: The devices that train.
        make_network: Makes the network that is trained.
        is_left_out: For a teacher with hindsight; see `make_dataset`.
        labels: The folder of this worker's stored soft labels; None where it has none.
    """
    training = config.training
    samples = make_samples(split, max_length=config.backbone.max_length, windows=training.windows)
    steps = steps_per_epoch(len(samples.users), training.batch_size, draw=training.draw)
    num_steps = steps * training.num_epochs
    if training.max_steps:
        num_steps = min(num_steps, training.max_steps)
    policy = POLICIES[config.memory.policy]
    workers, local_replicas = Workers(strategy), num_local_replicas(strategy)
    user_ids = split.interactions.user_ids
    placement = place(
        samples.users,
        samples.first_rows,
        samples.users_of_rows(),
        user_ids,
        worker=workers.index,
        num_workers=workers.count,
        is_bound=policy.remembers or policy.has_soft_labels,
    )
    with on_host():
        memory = make_memory(config, policy, placement.num_rows, split.interactions.num_items)
        safe_flips = make_safe_flips(config, split, memory, seed)
        host = StepState(num_replicas=local_replicas, workers=workers)
    with strategy.scope():
        capacities = _capacities(config, samples, placement, steps * training.num_epochs)
        model = _make_model(
            config,
            split,
            memory,
            safe_flips,
            host,
            capacities,
            make_network=make_network,
            seed=seed,
            num_steps=num_steps,
            num_rows=placement.num_rows,
            labels=labels,
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
                is_left_out=is_left_out,
                num_times=model.backbone.num_times,
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
        row_owners=RowOwners(user_ids, samples.users_of_rows),
        num_replicas=strategy.num_replicas_in_sync,
    )


def give_whole_memory(config: ConfigDict, experiment: Experiment, store: CheckpointStore) -> None:
    """Loads all rows of the memory into the chief from the newest checkpoint, after training."""
    model, samples = experiment.model, experiment.samples
    if not experiment.workers.is_chief or model.memory is None:
        return
    policy, num_items = POLICIES[config.memory.policy], model.memory.num_items
    with on_host():
        whole = make_memory(config, policy, samples.num_rows, num_items)
        if whole is None:
            return
        state = WorkerState(
            tables=whole.tables,
            sums={"counters": whole.counters},
            rows_of=experiment.row_owners.rows_of,
        )
        newest = store.newest()  # other workers may have written it, if these had nothing to train
        state.read(store.folder / newest, num_workers=int(store.state(newest)["num_workers"]))
    model.memory = whole
