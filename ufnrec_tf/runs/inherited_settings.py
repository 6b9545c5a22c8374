"""The settings of a new run; a warm start inherits those of the older run that are not given."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.config import RECORD, as_json, load_config
from ufnrec_tf.runs.workdir import read_record

INHERITED_SECTIONS = (
    *("data", "split", "backbone", "loss", "negatives", "memory", "teacher", "gate", "optimizer"),
    *("training", "evaluation", "detection", "export"),
)
"""Sections that a warm start inherits; the others say where and beside what a run is trained."""
OWN_KEYS = ("training.warm_start", "training.finish", "export.path", "teacher.folder")
"""Keys of these sections that each run sets for itself."""
_SOURCE_KEYS = ("data.name", "data.sha256")
"""Keys that name a log, in place of --data."""
_FORM_KEYS = ("data.format", "data.*_column", "data.separator", "data.time_format", "data.strip")
"""Keys, some by a pattern, by which a log is read; a prepared folder has that behind it."""
_FREE_KEYS = ("dropout", "precision")
"""Settings of the backbone that may change: no weight depends on them."""


class RunSettings(NamedTuple):
    """The settings of a new run.

    Attributes:
        config: The configuration.
        data_path: The log or prepared folder; "" if the configuration names the data.
        lines: What the run's heading says of them.
    """

    config: ConfigDict
    data_path: str
    lines: list[str]


def run_settings(
    config: ConfigDict,
    path: str,
    overrides: Sequence[tuple[str, str]],
    *,
    data_path: str = "",
    is_given: bool | None = None,
    workdir: str = "",
) -> RunSettings:
    """Returns the settings of a new run: base.py < the older run < the file < the overrides.

    The older run is that of `training.warm_start`, if any. Data that are given take the place of
    those that a file or the older run names.

    Args:
        config: The configuration of the file and the overrides, which may be changed.
        path: The configuration file, or "".
        overrides: Pairs ("section.key", text).
        data_path: The log that was given, or "".
        is_given: True if data were given; None if `data_path` says it.
        workdir: The work directory of the new run, if it is known yet.

    Raises:
        UserError: If a setting is wrong, or the older run is missing, damaged, or of another
            backbone.
    """
    is_given = bool(data_path) if is_given is None else is_given
    older, record = config.training.warm_start, None
    if older:
        record = _older_record(Path(older), workdir)
        left_out = list(OWN_KEYS)
        if is_given:
            left_out += _SOURCE_KEYS
        if _is_prepared(data_path):
            left_out += _FORM_KEYS
        config = load_config(path, overrides, inherited=_inherited(record["config"], left_out))
        check_same_backbone(config, record, older)
    lines = prefer_given_data(config, path, overrides) if is_given else []
    if record is not None:
        if not is_given and not config.data.name:
            data_path = record["data_path"]
        lines.insert(0, _differences_line(config, record, older))
    return RunSettings(config, data_path, lines)


def prefer_given_data(
    config: ConfigDict, path: str, overrides: Sequence[tuple[str, str]]
) -> list[str]:
    """Lets data that were given take the place of those that a configuration file names.

    Args:
        config: The configuration, whose `data.name` is emptied.
        path: The configuration file.
        overrides: Pairs ("section.key", text); data that these name stay.

    Returns:
        The line that says so, if there is anything to say.
    """
    name = config.data.name
    if not name or "data.name" in dict(overrides):
        return []
    config.data.name = config.data.sha256 = ""
    return [f"data.name {name} of {path} is not used: other data are given"]


def check_same_backbone(config: ConfigDict, record: Mapping[str, Any], older: str) -> None:
    """Checks that a backbone can take the weights of an older run's.

    Raises:
        UserError: Naming every setting that differs.
    """
    before = _inherited(record["config"]).get("backbone", {})
    differ = {
        key: (before[key], value)
        for key, value in as_json(config)["backbone"].items()
        if before.get(key, value) != value and key not in _FREE_KEYS
    }
    if differ:
        words = [f"backbone.{key} {then!r}, now {now!r}" for key, (then, now) in differ.items()]
        flags = [f"--config.backbone.{key}={then}" for key, (then, _) in differ.items()]
        raise UserError(
            f"--config.training.warm_start={older}: was trained with {'; '.join(words)}. Set "
            f"{' '.join(flags)}, or train without it."
        )


def check_older_run(path: Path) -> None:
    """Raises UserError unless a work directory has a record and selected weights."""
    for name, lacking in ((RECORD, "record"), ("checkpoints/best", "selected weights")):
        if not (path / name).exists():
            raise UserError(
                f"--config.training.warm_start={path}: has no {lacking} ({name}). Give the "
                "--workdir of a run that has been trained to its first evaluation."
            )


def check_other_workdir(older: Path, workdir: Path) -> None:
    """Raises UserError if the older run lies in the new run's own work directory."""
    if older.resolve() == workdir.resolve():
        raise UserError(
            f"--config.training.warm_start={older} is this run's own work directory. Give "
            "that of an older run, or another --workdir."
        )


def _older_record(older: Path, workdir: str) -> dict[str, Any]:
    """Returns the record of the older run; of a run that has begun, its own may stand in for it."""
    if workdir:
        check_other_workdir(older, Path(workdir))
        own = Path(workdir) / RECORD
        if not (older / RECORD).exists() and own.exists():
            record = read_record(own)
            training = _inherited(record["config"]).get("training", {})
            if training.get("warm_start") == str(older):
                return record  # it resumes: the older run is not needed again
    check_older_run(older)
    return read_record(older / RECORD)


def _inherited(
    values: Mapping[str, Any], left_out: Sequence[str] = ()
) -> dict[str, dict[str, Any]]:
    found = {section: values.get(section) for section in INHERITED_SECTIONS}
    return {
        section: {
            key: value
            for key, value in keys.items()
            if not any(fnmatchcase(f"{section}.{key}", pattern) for pattern in left_out)
        }
        for section, keys in found.items()
        if isinstance(keys, dict)  # what is none is damaged, or of another version
    }


def _is_prepared(path: str) -> bool:
    """True if a path is a folder of --mode=prepare."""
    from ufnrec_tf.reading.prepare.prepared_folder import MANIFEST

    return bool(path) and (Path(path) / MANIFEST).is_file()


def _differences_line(config: ConfigDict, record: Mapping[str, Any], older: str) -> str:
    """Returns the line that lists the settings that a warm start does not take from its run."""
    now = as_json(config)
    changes = [
        f"{section}.{key} {_shown(value)} -> {_shown(now[section][key])}"
        for section, values in as_json(
            load_config("", [], inherited=_inherited(record["config"]))
        ).items()
        if section in INHERITED_SECTIONS
        for key, value in values.items()
        if value != now[section][key] and f"{section}.{key}" not in OWN_KEYS
    ]
    if not changes:
        return f"All settings are those of {older}"
    return f"Settings that differ from {older}: {', '.join(changes)}"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value)) or "none"
    return str(value).lower() if isinstance(value, bool) else str(value) or "''"
