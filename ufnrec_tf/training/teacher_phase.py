"""The phase of a run before its student: a teacher is trained or read, and gives its labels.

    hindsight    trained in WORKDIR/teacher, or in `teacher.folder`, where several runs share it:
                 the first that comes makes it while the others wait
    runs         finished runs, read from their checkpoints

The labels lie in a folder `labels-HASH` beside it, by the hash of what they are. A phase that was
killed goes on where it was: a teacher from its newest checkpoint, labels from the beginning.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from ufnrec_tf.common.display import Display
from ufnrec_tf.common.distribution import Workers
from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.common.files import check_folder, held_folder
from ufnrec_tf.common.hashes import hash_of_json
from ufnrec_tf.common.tensorflow_setup import give_back
from ufnrec_tf.data.splits import Split
from ufnrec_tf.data.windows import RowOwners, Samples, make_samples
from ufnrec_tf.evaluation.teacher_words import teacher_lines
from ufnrec_tf.method.policies import POLICIES
from ufnrec_tf.method.soft_labels import worker_folder
from ufnrec_tf.reading.sources import Source
from ufnrec_tf.teachers.label_files import read_facts, write_labels
from ufnrec_tf.teachers.labels import (
    AlikeLabels,
    LabelsByFold,
    LabelSource,
    LaterLabels,
    TeacherLabels,
)
from ufnrec_tf.teachers.left_out import folds_of_events
from ufnrec_tf.teachers.vectors import TransitionVectors
from ufnrec_tf.training.given_teachers import check_runs, given_teachers
from ufnrec_tf.training.hindsight_training import (
    teacher_config,
    teacher_identity,
    train_hindsight,
    trained_hindsight,
    windows_of,
)


class Taught(NamedTuple):
    """What the phase leaves to the student.

    Attributes:
        labels: The folder of this worker's labels; see `method.soft_labels`.
        facts: What the teacher is, what it cost and what its labels say, as `teacher` of
            result.json holds it.
    """

    labels: Path
    facts: dict[str, Any]


class _Teacher(NamedTuple):
    """A teacher that is ready.

    Attributes:
        identity: What it is; labels of an equal one are equal.
        result: What its training came to; empty where it was not trained here.
        make: Makes the vectors by which it scores, once they are needed: of each fold, or of
            each run.
    """

    identity: dict[str, Any]
    result: dict[str, Any]
    make: Callable[[], list[TransitionVectors]]


def has_stored_labels(config: ConfigDict) -> bool:
    """True if a run's soft labels are made before its student is trained."""
    settings = config.teacher
    if not POLICIES[config.memory.policy].has_soft_labels or not settings.mass:
        return False
    is_ready_before = settings.kind in ("hindsight", "runs")
    return settings.labels == "later" or (
        settings.labels in ("teacher", "alike") and is_ready_before
    )


def teach(
    config: ConfigDict,
    source: Source,
    split: Split,
    *,
    path: Path,
    seed: int,
    display: Display,
    strategy: tf.distribute.Strategy,
) -> Taught | None:
    """Makes the teacher of a run and its labels, as far as they are not there.

    All workers call it together: they train the teacher together, and each makes the labels of its
    own rows.

    Args:
        config: The configuration of the student.
        source: The data.
        split: The split of the data; only train events are read.
        path: The work directory of the student.
        seed: The student's seed.
        display: The screen.
        strategy: The devices that train.

    Returns:
        What it leaves to the student; None if the run has no labels that are stored.

    Raises:
        UserError: If a folder or a run is of another teacher or other data, or cannot be used.
        Interrupted: After a signal in the teacher's training, once the checkpoint is written.
    """
    if not has_stored_labels(config):
        return None
    settings, workers = config.teacher, Workers(strategy)
    folder = Path(settings.folder or path / "teacher")
    seed = seed if settings.seed < 0 else settings.seed
    with _held(folder, workers, display):
        teacher = _make_teacher(
            config,
            source,
            split,
            folder=folder,
            board_folder=Path(settings.folder or path) / "tensorboard",
            seed=seed,
            display=display,
            strategy=strategy,
        )
        labels, facts = _make_labels(config, split, teacher, folder, seed, workers)
        give_back()
    result = {
        "kind": settings.kind if settings.labels != "later" else "none",
        "folder": str(folder.resolve()),
        "identity": teacher.identity,
        **teacher.result,
        "labels": facts,
    }
    _show(result, display)
    return Taught(labels, result)


@contextmanager
def _held(folder: Path, workers: Workers, display: Display) -> Iterator[None]:
    """Makes a folder of teachers and lets the chief hold it; waits while another run does."""
    with ExitStack() as held:
        if workers.is_chief:
            check_folder(folder, key="teacher.folder")
            waiting = f"  waiting for another run, which makes the teacher in {folder}"
            try:
                held.enter_context(
                    held_folder(folder, if_taken=lambda: display.notes.line(waiting))
                )
            except OSError as error:
                raise UserError(
                    f"{folder}: cannot be made or written to ({own_words(error)}). Give another "
                    "folder: --config.teacher.folder=FOLDER."
                ) from error
        workers.any(False)  # nobody looks before
        yield
        workers.any(False)  # nobody lets it go before all have looked


def _make_teacher(
    config: ConfigDict,
    source: Source,
    split: Split,
    *,
    folder: Path,
    board_folder: Path,
    seed: int,
    display: Display,
    strategy: tf.distribute.Strategy,
) -> _Teacher:
    settings = config.teacher
    if settings.labels == "later":
        of_data = teacher_identity(teacher_config(config), source, seed)
        named = {key: of_data[key] for key in of_data if key.startswith(("data", "split."))}
        return _Teacher(named, {}, list)
    if settings.kind == "runs":
        runs = check_runs(config, source, seed)
        return _Teacher({"runs": runs}, {}, lambda: given_teachers(config, split))
    own = teacher_config(config)
    known = train_hindsight(
        own,
        source,
        split,
        folder=folder,
        board_folder=board_folder if settings.folder else board_folder / "teacher",
        seed=seed,
        temperature=settings.temperature,
        display=display,
        strategy=strategy,
    )
    give_back()

    def make() -> list[TransitionVectors]:
        samples = make_samples(
            split, max_length=own.backbone.max_length, windows=own.training.windows
        )
        networks = trained_hindsight(own, split, folder)
        return [TransitionVectors(network, split, samples) for network in networks]

    return _Teacher(known["identity"], known["result"], make)


def _make_labels(
    config: ConfigDict,
    split: Split,
    teacher: _Teacher,
    folder: Path,
    seed: int,
    workers: Workers,
) -> tuple[Path, dict[str, Any]]:
    """Returns the folder of this worker's labels, made if they are not there, and their facts.

    The facts are those of all workers together.
    """
    settings, log = config.teacher, split.interactions
    facts = {
        "source": settings.labels,
        "num_labels": min(settings.num_labels, log.num_items),
        "temperature": settings.temperature,
        "outranking_only": settings.outranking_only,
        "windows": windows_of(config),
        "max_length": config.backbone.max_length,
        **({"seed": seed} if settings.labels == "alike" else {}),
        "teacher": teacher.identity,
    }
    labels = folder / f"labels-{hash_of_json(facts)[:12]}"
    own_folder = worker_folder(labels, workers.index, workers.count)
    found = read_facts(own_folder, facts)
    if workers.any(found is None):
        samples = make_samples(
            split, max_length=config.backbone.max_length, windows=config.training.windows
        )
        found = write_labels(
            own_folder,
            _source(config, split, teacher, facts["num_labels"], seed),
            _own_events(split, samples, workers),
            num_items=log.num_items,
            facts=facts,
        )
    assert found is not None
    return own_folder, _over_workers(found, workers)


def _own_events(split: Split, samples: Samples, workers: Workers) -> np.ndarray:
    """Returns the events that begin the transitions of a worker's rows, int64 [rows]."""
    events = samples.events_of_rows()
    if workers.count == 1:
        return events
    owners = RowOwners(split.interactions.user_ids, samples.users_of_rows())
    return events[owners.rows_of(workers.index, workers.count)]


def _source(
    config: ConfigDict, split: Split, teacher: _Teacher, num_labels: int, seed: int
) -> LabelSource:
    settings = config.teacher
    if settings.labels == "later":
        return LaterLabels(split, num_labels=num_labels)

    def labels_of(teachers: list[TransitionVectors]) -> LabelSource:
        return TeacherLabels(
            teachers,
            split,
            num_labels=num_labels,
            temperature=settings.temperature,
            outranking_only=settings.outranking_only,
        )

    teachers = teacher.make()
    if settings.kind == "hindsight" and settings.folds > 1:
        folds = folds_of_events(split, settings.folds)
        source: LabelSource = LabelsByFold([labels_of([each]) for each in teachers], folds)
    else:
        source = labels_of(teachers)
    return AlikeLabels(source, split, seed=seed) if settings.labels == "alike" else source


def _over_workers(found: dict[str, Any], workers: Workers) -> dict[str, Any]:
    """Returns what the labels are and say, of all workers together."""
    names = ("rows", "bytes", "cpu_seconds", "labelled")
    sums = [float(found[name]) for name in names]
    weighted = found["entropy"] * found["labelled"]
    total = workers.sum(np.array([*sums, weighted, *found["above"]]))
    rows, num_bytes, cpu_seconds, labelled, entropy = total[: len(names) + 1].tolist()
    above = total[len(names) + 1 :]
    median = int(np.searchsorted(np.cumsum(above), above.sum() / 2))
    return {
        **{key: found[key] for key in ("source", "num_labels", "temperature", "outranking_only")},
        "rows": int(rows),
        "labelled": int(labelled),
        "bytes": int(num_bytes),
        "seconds": found["seconds"],
        "cpu_seconds": cpu_seconds,
        "entropy": entropy / max(labelled, 1.0),
        "share_outranked": float(above[1:].sum() / max(above.sum(), 1.0)),
        "median_outranking": median,
    }


def _show(result: dict[str, Any], display: Display) -> None:
    """Shows what the teacher cost and knows, and what its labels say."""
    for line in teacher_lines(result):
        display.notes.line(f"  {line}")
