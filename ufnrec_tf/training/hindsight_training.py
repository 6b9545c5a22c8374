"""Trains the teacher with hindsight in a folder of its own, with checkpoints as a run's.

With `teacher.folds` above 1 it is several teachers, each in a folder `fold_1_of_F` of its own: each
leaves the transitions of its fold out of its loss, and gives their labels.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from ufnrec_tf import objectives
from ufnrec_tf.backbones.base import setting_names
from ufnrec_tf.backbones.hindsight import Hindsight
from ufnrec_tf.common.display import Display
from ufnrec_tf.common.distribution import Workers
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.hashes import read_hashed_json, write_hashed_json
from ufnrec_tf.common.tensorflow_setup import give_back
from ufnrec_tf.config import as_json, default_config, option_table
from ufnrec_tf.data.splits import Split
from ufnrec_tf.method.gate import NeverGate
from ufnrec_tf.reading.sources import Source
from ufnrec_tf.runs.record import identity
from ufnrec_tf.runs.tensorboard_files import Board
from ufnrec_tf.runs.workdir import ABSENT, JsonLines
from ufnrec_tf.teachers.left_out import LeftOutEvaluator, left_out_events
from ufnrec_tf.training.build import Experiment, best_store, build, loop_settings
from ufnrec_tf.training.finish import select
from ufnrec_tf.training.fit import fit, restored
from ufnrec_tf.training.loop import TrainingLoop, step_bar

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
    "teacher": ("decay", "num_epochs", "left_out", "folds"),
    "training": (
        *("batch_size", "draw", "patience", "jit_compile", "deterministic"),
        *("checkpoint_minutes", "checkpoint_steps", "checkpoints_kept"),
    ),
    "evaluation": ("every",),
}
"""Section to the keys that the teacher has of its student, None for all of them. What is not here
is at its default, so that students who differ in it share a teacher."""

_SELECTS_ON = "left_out"
"""The name of the transitions that select, in metrics.jsonl and TensorBoard."""

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
    own.evaluation.weights = "teacher"
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


def teacher_identity(own: ConfigDict, source: Source, seed: int) -> dict[str, Any]:
    """Returns the label and value of all that a teacher of a configuration depends on."""
    found = identity(own, source, seed)
    if found["teacher.folds"] == 1:  # as it was when there were no folds
        del found["teacher.folds"]
    return found


class _Fold(NamedTuple):
    """One of the folds of a teacher.

    Attributes:
        number: From 0.
        total: Number of folds.
    """

    number: int
    total: int

    def below(self, folder: Path) -> Path:
        """Returns the fold's own folder: the folder itself where it is the only one."""
        return folder if self.total == 1 else folder / f"fold_{self.number + 1}_of_{self.total}"

    def words(self) -> str:
        """Returns its name in a sentence, empty where it is the only one."""
        return "" if self.total == 1 else f", fold {self.number + 1} of {self.total}"


def _folds_of(own: ConfigDict) -> list[_Fold]:
    count = own.teacher.folds
    return [_Fold(number, count) for number in range(count)]


def trained_hindsight(own: ConfigDict, split: Split, folder: Path) -> list[Hindsight]:
    """Returns the trained teacher of each fold, with the weights that were selected.

    Raises:
        UserError: If they are missing or damaged.
    """
    found = []
    for fold in _folds_of(own):
        backbone = make_hindsight(own, split.interactions.num_items)
        best_store(fold.below(folder) / "checkpoints", backbone).restore("best")
        found.append(backbone)
    return found


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

    A teacher that was stopped goes on, with the fold in which it was. All workers train it
    together, and call this together.

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
        "identity": teacher_identity(own, source, seed),
        "config": as_json(own),
        "seed": seed,
    }
    known = _known(folder, document["identity"])
    if known is not None and "result" in known:
        return known
    train = partial(
        _train_fold, own, split, temperature=temperature, display=display, strategy=strategy
    )
    folds, results = _folds_of(own), []
    if len(folds) == 1:
        return train(document, fold=folds[0], folder=folder, board_folder=board_folder)
    _write(folder, document, strategy)
    for fold in folds:
        part = {**document, "identity": {**document["identity"], "fold": fold.number + 1}}
        done = train(
            part, fold=fold, folder=fold.below(folder), board_folder=fold.below(board_folder)
        )
        results.append(done["result"])
    document["result"] = _over_folds(results)
    _write(folder, document, strategy)
    return document


def _train_fold(
    own: ConfigDict,
    split: Split,
    document: dict[str, Any],
    *,
    fold: _Fold,
    folder: Path,
    board_folder: Path,
    temperature: float,
    display: Display,
    strategy: tf.distribute.Strategy,
) -> dict[str, Any]:
    """Trains the teacher of one fold, unless that is done, and returns the content of its file.

    With folds it leaves out its whole fold. Of that, `teacher.left_out` of all transitions select
    the epoch; then all are judged.
    """
    known = _known(folder, document["identity"])
    if known is not None and "result" in known:
        return known
    seed, share = document["seed"], own.teacher.left_out
    keras.utils.set_random_seed(seed)
    is_selecting = left_out_events(split, share, fold=fold.number, num_folds=fold.total)
    is_left_out = is_selecting
    if fold.total > 1:
        is_left_out = left_out_events(split, 1.0, fold=fold.number, num_folds=fold.total)
    experiment = build(
        own,
        split,
        seed,
        strategy=strategy,
        make_network=make_hindsight,
        is_left_out=is_left_out,
    )
    workers = experiment.workers
    rows = experiment.row_owners.rows_of(workers.index, workers.count)

    def evaluator_of(is_ranked: np.ndarray) -> LeftOutEvaluator:
        return LeftOutEvaluator(
            split,
            experiment.samples,
            is_ranked,
            own_rows=rows,
            temperature=temperature,
            workers=workers,
        )

    judge = evaluator_of(is_left_out)
    selecting = judge if fold.total == 1 else evaluator_of(is_selecting)
    loop = _make_loop(own, experiment, selecting, folder, board_folder, display)
    _write(folder, document, strategy)
    _show_heading(own, experiment, loop, judge, fold, display)
    fit(own, experiment, loop, display)
    left_out = judge.evaluate(select(own, loop))
    loop.board.close()
    give_back()
    timing = loop.progress.timing
    cpu_seconds = [timing.get(f"{part}_cpu_seconds", 0.0) for part in ("train", "evaluation")]
    document["result"] = {
        "epochs": loop.progress.epoch,
        "selected_epoch": loop.progress.best_epoch,
        "steps": loop.progress.step,
        "seconds": timing.get("train_seconds", 0.0),
        "cpu_seconds": sum(cpu_seconds),
        "left_out": {
            "transitions": judge.num_positions,
            "temperature": temperature,
            **left_out.metrics,
        },
    }
    _write(folder, document, strategy)
    return document


def _over_folds(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns the result of all folds: sums, means over left-out transitions, and each of them."""
    judged = [result["left_out"] for result in results]
    count = sum(each["transitions"] for each in judged)
    means = {
        name: sum(each[name] * each["transitions"] for each in judged) / max(count, 1)
        for name in judged[0]
    }
    summed = ("epochs", "steps", "seconds", "cpu_seconds")
    return {
        **{name: sum(result[name] for result in results) for name in summed},
        "left_out": {**means, "transitions": count, "temperature": judged[0]["temperature"]},
        "folds": list(results),
    }


def _write(folder: Path, document: dict[str, Any], strategy: tf.distribute.Strategy) -> None:
    """Lets the chief write the teacher's file; nobody reads it before."""
    workers = Workers(strategy)
    if workers.is_chief:
        folder.mkdir(parents=True, exist_ok=True)
        write_hashed_json(folder / TEACHER_FILE, document)
    workers.any(False)


def _known(folder: Path, asked: dict[str, Any]) -> dict[str, Any] | None:
    """Returns what a folder's file says of its teacher, None if there is no teacher yet.

    Raises:
        UserError: If it is another one, or the file is damaged.
    """
    path = folder / TEACHER_FILE
    if not path.is_file():
        return None
    found: dict[str, Any] = read_hashed_json(path, mend=_MEND)
    before, asked = ({"teacher.folds": 1, **each} for each in (found["identity"], asked))
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
    workers = experiment.workers
    evaluators: dict[str, Any] = {_SELECTS_ON: evaluator}
    store, best = experiment.stores(folder, num_kept=own.training.checkpoints_kept)
    progress, _ = restored(store, own, display)
    log = JsonLines(folder / "metrics.jsonl", is_written=workers.is_chief)
    log.cut_after(progress.step)
    board = Board(board_folder, is_written=workers.is_chief)
    board.cut_after(progress.step)
    settings = loop_settings(own, experiment.steps_per_epoch, floor=0.0, selects_on=_SELECTS_ON)
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
        bar=step_bar(display, "teacher", settings, progress, num_steps=experiment.num_steps),
        settings=settings,
        progress=progress,
        workers=workers,
    )


def _show_heading(
    own: ConfigDict,
    experiment: Experiment,
    loop: TrainingLoop,
    evaluator: LeftOutEvaluator,
    fold: _Fold,
    display: Display,
) -> None:
    notes = display.notes
    if loop.progress.step:
        notes.line(f"  the teacher{fold.words()} goes on from step {loop.progress.step:,}")
        return
    notes.heading(f"Training the teacher with hindsight{fold.words()}")
    notes.line(
        f"  {own.training.num_epochs} epochs of {experiment.steps_per_epoch:,} steps on train "
        f"events only; {evaluator.num_positions:,} of {experiment.samples.num_rows:,} transitions "
        "are left out, to see what it knows"
    )
