"""config.json: a run's configuration, identity and versions."""

import platform
import subprocess
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.version import __version__
from ufnrec_tf.config import as_json
from ufnrec_tf.data.splits import Split
from ufnrec_tf.data.windows import Samples, make_samples
from ufnrec_tf.reading.sources import Source, filters_of
from ufnrec_tf.runs.histories import FILE as HISTORIES
from ufnrec_tf.runs.histories import has_histories, write_histories
from ufnrec_tf.runs.raw_ids import FOLDER, ID_FILES, RunIds, has_ids, ids_of_run, write_ids
from ufnrec_tf.runs.run_files import check_run_file, read_result, renew_hashes

COMMON = {
    "training": ("num_epochs", "max_steps", "patience"),
    "evaluation": ("every", "weights", "mask", "sampled_negatives"),
}
"""Section to its keys that may not change when a comparison resumes, beside those of a run."""

IDENTITY_SECTIONS = (
    "split",
    "backbone",
    "loss",
    "negatives",
    "memory",
    "teacher",
    "gate",
    "optimizer",
)
"""The sections that may not change when a run resumes in its work directory."""

_PLACES = ("teacher.folder",)
"""Keys of these sections that say where something lies, and not what a run is."""


def identity(config: ConfigDict, source: Source, seed: int) -> dict[str, Any]:
    """Returns a run's identity: the label and value of every setting that may not change on resume.

    Raises:
        UserError: If the file of `data.exclude_users` cannot be read.
    """
    identity: dict[str, Any] = {"data of sha256": source.interactions.sha256, "seed": seed}
    values = as_json(config)
    for key in ("repeats", "time_unit", "time_format", "strip"):
        identity[f"data.{key}"] = values["data"][key]
    for key, value in filters_of(config).described().items():
        identity[f"data.{key}"] = value
    for section in IDENTITY_SECTIONS:
        named = {f"{section}.{key}": value for key, value in values[section].items()}
        identity |= {label: named[label] for label in named if label not in _PLACES}
    for key in ("batch_size", "draw", "windows", "monitor"):
        identity[f"training.{key}"] = values["training"][key]
    older = config.training.warm_start
    identity["training.warm_start"] = str(Path(older).resolve()) if older else ""
    return identity


def ids_of_samples(split: Split, samples: Samples) -> RunIds:
    """Returns the raw ids of a run over these windows."""
    return ids_of_run(
        split.interactions,
        users=samples.users,
        first_positions=samples.first_positions,
        users_of_rows=samples.users_of_rows(),
    )


def keep_ids(config: ConfigDict, split: Split, path: Path) -> None:
    """Writes the raw ids and the histories of a finished run, unless they are there as written."""
    try:
        check_run_file(path, FOLDER)
        is_whole = has_ids(path) and has_histories(path)
    except UserError:
        is_whole = False
    if not is_whole:
        write_run_ids(config, split, path)


def write_run_ids(config: ConfigDict, split: Split, path: Path) -> None:
    """Writes the raw ids and the histories of a run into its work directory.

    Args:
        config: The configuration of the run.
        split: The split of the run.
        path: The work directory of the run.
    """
    write_histories(path, split.interactions, with_times=config.backbone.time != "none")
    windows = config.training.windows
    samples = make_samples(split, max_length=config.backbone.max_length, windows=windows)
    write_ids(path, ids_of_samples(split, samples))
    renew_hashes(path, *ID_FILES, HISTORIES)


def _git_commit() -> str:
    here = Path(__file__).resolve().parent
    try:
        answer = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip()


def run_record(
    config: ConfigDict, source: Source, seed: int, *, data_path: str, command: list[str]
) -> dict[str, Any]:
    """Returns the content of config.json."""
    return {
        "config": as_json(config),
        "seed": seed,
        "data_path": str(Path(data_path).resolve()) if data_path else "",
        "identity": identity(config, source, seed),
        "versions": {
            "ufnrec_tf": __version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "git_commit": _git_commit(),
        "command_line": command,
    }


def is_done(config: ConfigDict, path: Path) -> bool:
    """True if a run has finished and the settings do not ask for more epochs, steps or patience."""
    if not (path / "result.json").exists():
        return False
    result, now = read_result(path), config.training
    # Not config.json: a run that resumed and was stopped again has changed that.
    before = result.get("asked", now.to_dict())
    if result.get("stopped_early"):
        return 0 < now.patience <= before["patience"]
    is_longer = bool(before["max_steps"]) and not 0 < now.max_steps <= before["max_steps"]
    return now.num_epochs <= before["num_epochs"] and not is_longer
