"""Tiny data sets and training runs for tests, and what a run did, step by step."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ufnrec_tf import backbones
from ufnrec_tf.common.distribution import Workers, distribute, num_local_replicas
from ufnrec_tf.data.batches import make_dataset
from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.data.splits import Split, leave_one_out, seen_train_items
from ufnrec_tf.data.windows import Placement, make_samples, place
from ufnrec_tf.method.memory import FalseNegativeMemory
from ufnrec_tf.method.model import UFNRecModel
from ufnrec_tf.method.negatives import SharedNegatives, UniformNegativeSampler
from ufnrec_tf.method.optimizer import make_optimizer
from ufnrec_tf.method.policies import POLICIES
from ufnrec_tf.method.soft_labels import FACTS_FILE, ITEMS_FILE, SHARES_FILE
from ufnrec_tf.method.step_state import StepState
from ufnrec_tf.method.teacher import EmaTeacher
from ufnrec_tf.objectives import OBJECTIVES
from ufnrec_tf.objectives.base import LossSettings

NUM_ITEMS = 15
MAX_LENGTH = 6


def interactions_of(histories: list[list[int]], num_items: int) -> Interactions:
    """Interactions with the given internal ids."""
    item_ids = np.array([""] + [f"i{item}" for item in range(1, num_items + 1)], object)
    lengths = [len(history) for history in histories]
    repeats = sum(len(history) - len(set(history)) for history in histories)
    return Interactions(
        items=np.array([item for history in histories for item in history], np.int32),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        timestamps=None,
        user_ids=np.array([f"u{user}" for user in range(len(histories))], object),
        item_ids=item_ids,
        sha256="",
        source="tiny",
        num_repeats=repeats,
        item_titles=None,
    )


def split_of(histories: list[list[int]], num_items: int) -> Split:
    return leave_one_out(interactions_of(histories, num_items))


def tiny_histories(seed: int = 0, *, num_users: int = 12) -> list[list[int]]:
    """Users whose train events are 1 to 8 of 15 items, in the order of a noisy circle."""
    rng = np.random.default_rng(seed)
    lengths = [2, 1, 10, 9, 3, 4, *rng.integers(5, 10, size=num_users - 6).tolist()]
    histories = []
    for length in lengths:
        start = int(rng.integers(NUM_ITEMS))
        circle = [1 + (start + step) % NUM_ITEMS for step in range(NUM_ITEMS)]
        chosen = sorted(rng.choice(12, size=length, replace=False).tolist())
        histories.append([circle[place] for place in chosen])
    return histories


@dataclass
class RunSettings:
    """How a tiny run trains; the defaults are the package's defaults where there are such."""

    policy: str = "ufnrec"
    open_at: int | None = 0  # steps done when the gate opens, None for never
    num_steps: int = 36
    batch_size: int = 4  # ten windows: 4, 4 and 2 an epoch
    loss: str = "pooled_bce"
    label_mass: float = 0.0
    num_negatives: int = 6
    num_probes: int = 0  # for losses that take one negative, or none
    shares: bool = False  # one set of negatives a step
    patience: int = 1
    num_slots: int = 16
    capacity: int = 0
    duplicates: bool = False
    is_cumulative: bool = True
    is_sticky: bool = False
    max_flips: int = 1
    agreement: str = "outranks"  # what the teacher must say before a flip
    backbone: str = "sasrec"
    options: dict[str, Any] = field(default_factory=dict)  # of another backbone
    variant: str = "authors"
    num_heads: int = 2
    dropout: float = 0.0
    alpha: float = 0.3
    consistency_mean: str = "all"
    soft_label_only: bool = False
    l2: float = 0.0
    draw: str = "permutation"
    windows: str = "last"
    has_teacher_always: bool = False
    compiles: bool = False
    smaller_capacities: tuple[int, ...] = (8, 16)  # of compiled runs, each a program of its own
    precision: str = "float32"
    # Far above the paper's: a gradient that is zero but for rounding must not move a weight.
    epsilon: float = 1e-3
    learning_rate: float = 1e-2
    lazy_rows: bool = False
    seed: int = 3


@dataclass
class StepTrace:
    """The state around a step."""

    weights: list[np.ndarray]  # the student's before the step
    weights_after: list[np.ndarray]
    teacher_after: list[np.ndarray]
    tables: dict[str, np.ndarray]  # the memory's after the step
    sums: dict[str, float]  # of this step


@dataclass
class Run:
    """A model, what it is made of, and what it did."""

    settings: RunSettings
    split: Split
    samples: Any
    model: UFNRecModel
    host: StepState
    memory: FalseNegativeMemory | None
    placement: Placement
    strategy: Any
    losses: list[float] = field(default_factory=list)
    steps: list[StepTrace] = field(default_factory=list)

    def dataset(self) -> Any:
        return distribute(
            self.strategy,
            lambda: make_dataset(
                self.split,
                self.samples,
                max_length=MAX_LENGTH,
                batch_size=self.settings.batch_size,
                seed=self.settings.seed,
                draw=self.settings.draw,
                placement=self.placement,
                num_replicas=num_local_replicas(self.strategy),
            ),
        )


def make_run(
    settings: RunSettings, split: Split, strategy: Any = None, *, label_source: Any = None
) -> Run:
    """Builds everything anew, weights drawn from the seed."""
    strategy = tf.distribute.get_strategy() if strategy is None else strategy
    keras.utils.set_random_seed(settings.seed)
    samples = make_samples(split, max_length=MAX_LENGTH, windows=settings.windows)
    num_items = split.interactions.num_items
    offsets, items = seen_train_items(split)
    policy = POLICIES[settings.policy]
    workers = Workers(strategy)
    placement = place(
        samples.users,
        samples.first_rows,
        samples.users_of_rows(),
        split.interactions.user_ids,
        worker=workers.index,
        num_workers=workers.count,
    )
    memory = None
    if policy.remembers:
        memory = FalseNegativeMemory(
            num_rows=placement.num_rows,
            num_items=num_items,
            num_slots=settings.num_slots,
            num_negatives=settings.num_probes or settings.num_negatives,
            patience=settings.patience,
            capacity=settings.capacity,
            finds_suspects=policy.finds_suspects,
            allows_duplicates=settings.duplicates,
            is_cumulative=settings.is_cumulative,
            is_sticky=settings.is_sticky or policy.is_lasting,
            is_lasting=policy.is_lasting,
            max_suspects=settings.max_flips,
        )
    host = StepState(num_replicas=num_local_replicas(strategy), workers=workers)
    sampler = (SharedNegatives if settings.shares else UniformNegativeSampler)(
        num_items=num_items,
        seen_offsets=offsets,
        seen_items=items,
        num_negatives=settings.num_probes + settings.num_negatives,
        seed=settings.seed,
    )
    with strategy.scope():
        options = {"variant": settings.variant, "num_heads": settings.num_heads}
        backbone = backbones.create(
            settings.backbone,
            num_items=num_items,
            width=8,
            max_length=MAX_LENGTH,
            num_blocks=1,
            dropout=settings.dropout,
            precision=settings.precision,
            **(options if settings.backbone == "sasrec" else settings.options),
        )
        teacher = None
        if policy.is_softened or settings.has_teacher_always:
            teacher = EmaTeacher(
                backbone,
                decay=0.999,
                uses_dropout=settings.duplicates,
                lazy_rows=settings.lazy_rows,
            )
        model = UFNRecModel(
            backbone=backbone,
            sampler=sampler,
            objective=OBJECTIVES[settings.loss](
                LossSettings(
                    num_items=num_items,
                    num_negatives=max(settings.num_negatives, 1),
                    label_mass=settings.label_mass,
                ),
                consistency_weight=settings.alpha,
                averages_over_flipped=settings.consistency_mean == "flipped",
                uses_soft_label_only=settings.soft_label_only,
                l2=settings.l2,
            ),
            policy=policy,
            host=host,
            memory=memory,
            teacher=teacher,
            has_teacher_always=settings.has_teacher_always,
            agreement=settings.agreement,
            capacities=(
                (*settings.smaller_capacities, settings.batch_size * MAX_LENGTH)
                if settings.compiles
                else ()
            ),
            compiles=settings.compiles,
            num_probes=settings.num_probes,
            label_source=label_source,
            shares_negatives=settings.shares,
        )
        optimizer = make_optimizer(
            learning_rate=settings.learning_rate,
            beta_1=0.9,
            beta_2=0.98,
            epsilon=settings.epsilon,
            lazy_rows=settings.lazy_rows,
        )
        # Made here, in the scope: in the first step it would be too late for replicas.
        optimizer.build(backbone.trainable_variables)
        model.compile(optimizer=optimizer, jit_compile=False)
    return Run(settings, split, samples, model, host, memory, placement, strategy)


def write_labels(folder: Path, items: np.ndarray, shares: np.ndarray) -> Path:
    """Writes soft labels [rows, K] as a teacher's, and returns the folder."""
    folder.mkdir(parents=True)
    items.astype("<i4").tofile(folder / ITEMS_FILE)
    shares.astype("<f4").tofile(folder / SHARES_FILE)
    facts = {"rows": items.shape[0], "num_labels": items.shape[1]}
    (folder / FACTS_FILE).write_text(json.dumps(facts), encoding="utf-8")
    return folder


def random_labels(num_rows: int, num_items: int, *, num_labels: int = 4) -> list[np.ndarray]:
    """Items and shares of random labels; every fourth row has none, every third one less."""
    rng = np.random.default_rng(7)
    items = 1 + np.argsort(rng.random((num_rows, num_items)), axis=1)[:, :num_labels]
    shares = rng.random(items.shape) + 0.1
    shares[::3, -1] = 0.0
    shares[::4] = 0.0
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-9)
    return [np.where(shares > 0, items, 0), shares]


class _Tracer(keras.callbacks.Callback):
    """Opens the gate as a gate would, between two steps, and keeps what each step did."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run
        self.num_done = 0

    def on_train_batch_begin(self, batch, logs=None):
        run = self.run
        if run.settings.open_at == self.num_done:
            run.host.open_gate(self.num_done)
        self.before = weights_of(run.model.backbone)

    def on_train_batch_end(self, batch, logs=None):
        run = self.run
        self.num_done += 1
        run.losses.append(float(np.ravel(logs["loss"])[0]))
        tables = {} if run.memory is None else run.memory.variables
        run.steps.append(
            StepTrace(
                weights=self.before,
                weights_after=weights_of(run.model.backbone),
                teacher_after=weights_of(run.model.teacher.settle()) if run.model.teacher else [],
                tables={name: table.numpy() for name, table in tables.items()},
                sums=run.host.read_all_sums(clear=True),
            )
        )


def weights_of(backbone: Any) -> list[np.ndarray]:
    """Float weights in the order of creation, trainable or not."""
    return [variable.numpy() for variable in backbone.variables if "float" in str(variable.dtype)]


def train(run: Run) -> Run:
    """Trains by `keras.Model.fit`, and returns the run with its trace."""
    steps = min(3, run.settings.num_steps)
    run.model.fit(
        run.dataset(),
        epochs=run.settings.num_steps // steps,
        steps_per_epoch=steps,
        shuffle=False,
        verbose=0,
        callbacks=[_Tracer(run)],
    )
    assert len(run.steps) == run.settings.num_steps
    return run
