"""Trains the teacher with hindsight in a folder of its own, with checkpoints as a run's."""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from ml_collections import ConfigDict

from ufnrec_tf import objectives
from ufnrec_tf.backbones.base import setting_names
from ufnrec_tf.backbones.hindsight import Hindsight
from ufnrec_tf.common.display import Display, ProgressBar
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.hashes import read_hashed_json, write_hashed_json
from ufnrec_tf.common.tensorflow_setup import give_back
from ufnrec_tf.config import as_json, default_config, option_table
from ufnrec_tf.data.splits import Split
from ufnrec_tf.method.gate import NeverGate
from ufnrec_tf.reading.sources import Source
from ufnrec_tf.runs.record import identity
from ufnrec_tf.runs.state import LoopSettings, Progress
from ufnrec_tf.runs.tensorboard_files import Board
from ufnrec_tf.runs.workdir import ABSENT, JsonLines
from ufnrec_tf.teachers.left_out import LeftOutEvaluator, left_out_events
from ufnrec_tf.training.build import Experiment, best_store, build
from ufnrec_tf.training.finish import select
from ufnrec_tf.training.fit import fit
from ufnrec_tf.training.loop import TrainingLoop

TEACHER_FILE = "teacher.json"
"""What the teacher is, and once it is trained, what came of it. Not `config.json`: the folder is
no work directory that a student's modes could read."""

_SHARED = {
    "data": None,
    "split": None,
    "optimizer": None,
    "distribution": None,
    "backbone": (
        *("width", "num_blocks", "num_heads", "dropout", "attention_dropout", "max_length"),
        "precision",
    ),
    "teacher": ("decay", "num_epochs", "left_out"),
    "training": (
        *("batch_size", "draw", "patience", "jit_compile", "deterministic"),
        *("checkpoint_minutes", "checkpoint_steps", "checkpoints_kept"),
    ),
    "evaluation": ("every",),
}
"""Section to the keys that the teacher has of its student, None for all of them. What is not here
is at its default, so that students who differ in it share a teacher."""

_MEND = "Remove the folder, so that the teacher is made again, or put a copy of the file back."


def teacher_config(config: ConfigDict) -> ConfigDict:
    """Returns the configuration by which the teacher of a student's configuration is trained.

    Plain training with averaged weights. The loss is the cross-entropy over the catalogue, or
    where the student's draws negatives its sampled estimate, with as many.
    """
    own = default_config(option_table())
    for section, keys in _SHARED.items():
        for key in config[section] if keys is None else keys:
            own[section][key] = config[section][key]
    own.backbone.variant, own.backbone.time = "corrected", config.teacher.time
    own.memory.policy, own.teacher.always = "plain", True
    own.training.num_epochs = config.teacher.num_epochs
    own.training.windows = windows_of(config)
    own.training.monitor = "ndcg@10" if config.teacher.left_out else ""
    own.loss.name = "cross_entropy"
    if objectives.find(config.loss.name).most_negatives != 0:
        own.loss.name, own.negatives.count = "sampled_softmax_logq", config.negatives.count
    return own


def windows_of(config: ConfigDict) -> str:
    """Returns the teacher's windows: the student's, whose rows they have, but never `prefixes`."""
    return "last" if config.training.windows == "last" else "all"


def make_hindsight(config: ConfigDict, num_items: int) -> Hindsight:
    """Returns a new network of a teacher's configuration."""
    settings = config.backbone.to_dict()
    own = {key: settings[key] for key in setting_names(Hindsight) if key in settings}
    return Hindsight(num_items=num_items, **own)


def trained_hindsight(own: ConfigDict, split: Split, folder: Path) -> Hindsight:
    """Returns the trained teacher of a folder, with the weights that were selected.

    Raises:
        UserError: If they are missing or damaged.
    """
    backbone = make_hindsight(own, split.interactions.num_items)
    best_store(folder / "checkpoints", backbone).restore("best")
    return backbone


def train_hindsight(
    own: ConfigDict,
    source: Source,
    split: Split,
    *,
    folder: Path,
    board_folder: Path,
    seed: int,
    temperature: float,
    display: Display,
    strategy: tf.distribute.Strategy,
) -> dict[str, Any]:
    """Trains the teacher of a folder, unless that is done, and returns the content of its file.

    A teacher that was stopped goes on. All workers train it together, and call this together.

    Args:
        own: See `teacher_config`.
        source: The data.
        split: The split of the data; only train events are read.
        folder: The folder, which the chief holds.
        board_folder: For TensorBoard.
        seed: The teacher's seed.
        temperature: At which the left-out transitions are judged.
        display: The screen.
        strategy: The devices that train.

    Raises:
        UserError: If the folder has another teacher.
        Interrupted: After a signal, once the checkpoint is written.
    """
    document: dict[str, Any] = {
        "identity": identity(own, source, seed),
        "config": as_json(own),
        "seed": seed,
    }
    known = _known(folder, document["identity"])
    if known is not None and "result" in known:
        return known
    keras.utils.set_random_seed(seed)
    is_left_out = left_out_events(split, own.teacher.left_out)
    experiment = build(
        own,
        split,
        seed,
        strategy=strategy,
        make_network=make_hindsight,
        is_left_out=is_left_out,
    )
    workers = experiment.workers
    evaluator = LeftOutEvaluator(
        split,
        experiment.samples,
        is_left_out,
        own_rows=experiment.row_owners.rows_of(workers.index, workers.count),
        temperature=temperature,
        workers=workers,
    )
    loop = _make_loop(own, experiment, evaluator, folder, board_folder, display)
    if workers.is_chief:
        write_hashed_json(folder / TEACHER_FILE, document)
    _show_heading(own, experiment, loop, evaluator, display)
    fit(own, experiment, loop, display)
    backbone = select(own, loop)
    left_out = evaluator.evaluate(backbone)
    loop.board.close()
    give_back()
    timing = loop.progress.timing
    document["result"] = {
        "epochs": loop.progress.epoch,
        "selected_epoch": loop.progress.best_epoch,
        "steps": loop.progress.step,
        "seconds": timing.get("train_seconds", 0.0),
        "cpu_seconds": sum(
            timing.get(f"{part}_cpu_seconds", 0.0) for part in ("train", "evaluation")
        ),
        "left_out": {
            "transitions": evaluator.num_positions,
            "temperature": temperature,
            **left_out.metrics,
        },
    }
    if workers.is_chief:
        write_hashed_json(folder / TEACHER_FILE, document)
    workers.any(False)  # nobody reads it before
    return document


def _known(folder: Path, asked: dict[str, Any]) -> dict[str, Any] | None:
    """Returns what a folder's file says of its teacher, None if there is no teacher yet.

    Raises:
        UserError: If it is another one, or the file is damaged.
    """
    path = folder / TEACHER_FILE
    if not path.is_file():
        return None
    found: dict[str, Any] = read_hashed_json(path, mend=_MEND)
    before = found["identity"]
    for label, value in asked.items():
        if before.get(label, ABSENT.get(label)) != value:
            own = before.get(label)
            way = f"Set --config.teacher.seed={own} to share it, or give" if label == "seed" else ""
            raise UserError(
                f"{folder}: has a teacher that was trained with {label} {own!r}, now {value!r}. "
                f"{way or 'Give'} another --config.teacher.folder."
            )
    return found


def _make_loop(
    own: ConfigDict,
    experiment: Experiment,
    evaluator: LeftOutEvaluator,
    folder: Path,
    board_folder: Path,
    display: Display,
) -> TrainingLoop:
    """Returns the loop around the teacher's steps, which go on from the newest checkpoint."""
    workers, training = experiment.workers, own.training
    evaluators: dict[str, Any] = {"validation": evaluator}  # the part that selects
    store, best = experiment.stores(folder, num_kept=training.checkpoints_kept)
    found = store.restore_newest("progress", warn=lambda text: display.line(f"  warning: {text}"))
    progress = Progress() if found is None else Progress(**found["progress"])
    progress.stopped_early = 0 < training.patience <= progress.num_without
    log = JsonLines(folder / "metrics.jsonl", is_written=workers.is_chief)
    log.cut_after(progress.step)
    board = Board(board_folder, is_written=workers.is_chief)
    board.cut_after(progress.step)
    return TrainingLoop(
        ufnrec=experiment.model,
        host=experiment.host,
        gate=NeverGate(),
        evaluators=evaluators,
        best=experiment.best,
        store=store,
        best_store=best,
        metrics_log=log,
        board=board,
        bar=ProgressBar(display, label="teacher", total=experiment.num_steps, done=progress.step),
        settings=LoopSettings(
            steps_per_epoch=experiment.steps_per_epoch,
            max_steps=0,
            monitor=training.monitor,
            patience=training.patience,
            floor=0.0,
            every=own.evaluation.every,
            test_every=0,
            weights="teacher",
            checkpoint_seconds=60 * training.checkpoint_minutes,
            checkpoint_steps=training.checkpoint_steps,
        ),
        progress=progress,
        workers=workers,
    )


def _show_heading(
    own: ConfigDict,
    experiment: Experiment,
    loop: TrainingLoop,
    evaluator: LeftOutEvaluator,
    display: Display,
) -> None:
    notes = display.notes
    if loop.progress.step:
        notes.line(f"  the teacher goes on from step {loop.progress.step:,}")
        return
    notes.heading("Training the teacher with hindsight")
    notes.line(
        f"  {own.training.num_epochs} epochs of {experiment.steps_per_epoch:,} steps on train "
        f"events only; {evaluator.num_positions:,} of {experiment.samples.num_rows:,} transitions "
        "are left out, to see what it knows"
    )
