"""Finished runs as teachers: `teacher.runs`."""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.files import reading, sha256_of
from ufnrec_tf.data.splits import Split
from ufnrec_tf.data.windows import make_samples
from ufnrec_tf.reading.sources import Source
from ufnrec_tf.runs.record import identity
from ufnrec_tf.runs.trained_settings import trained_config
from ufnrec_tf.teachers.vectors import TransitionVectors
from ufnrec_tf.training.build import best_store, make_backbone
from ufnrec_tf.training.settings_checks import OTHER_RUNS, check_finished


def check_runs(config: ConfigDict, source: Source, seed: int) -> list[dict[str, Any]]:
    """Returns what identifies each of the runs of `teacher.runs`, wherever it lies.

    Args:
        config: The configuration of the student.
        source: The data.
        seed: Of the student; the runs may have others.

    Raises:
        UserError: If one is missing, has not finished, or is of other data or another split.
    """
    found = []
    for name in config.teacher.runs:
        path = Path(name)
        check_finished(name)
        with reading(path):
            own, record = trained_config(name, [])
            before = record["identity"]
            for label, value in identity(config, source, seed).items():
                is_compared = label.startswith(("data ", "data.", "split."))
                if is_compared and before.get(label, value) != value:
                    raise UserError(
                        f"--config.teacher.runs={name}: was trained with {label} "
                        f"{before[label]!r}, this run with {value!r}. {OTHER_RUNS}"
                    )
            weights = sorted((path / "checkpoints/best").glob("variables.data-*"))
            hashes = [sha256_of(part) for part in weights]
        found.append({"backbone": own.backbone.name, "seed": record["seed"], "weights": hashes})
    return found


def given_teachers(config: ConfigDict, split: Split) -> list[TransitionVectors]:
    """Returns the runs of `teacher.runs` as teachers, with the weights that they selected.

    A network that sees later items is shown each history by itself, as it was trained.

    Raises:
        UserError: If the weights of one are damaged.
    """
    teachers = []
    for name in config.teacher.runs:
        with reading(Path(name)):
            own, _ = trained_config(name, [])
            backbone = make_backbone(own, split.interactions.num_items)
            best_store(Path(name) / "checkpoints", backbone).restore("best")
        windows = "all" if backbone.is_causal else "prefixes"
        samples = make_samples(split, max_length=own.backbone.max_length, windows=windows)
        teachers.append(TransitionVectors(backbone, split, samples))
    return teachers
