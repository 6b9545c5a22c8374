"""The configuration that a work directory was trained with, and the keys that may be overridden."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.hashes import write_hashed_json
from ufnrec_tf.config import RECORD, check_config, load_config, option_table
from ufnrec_tf.runs.workdir import read_record

CHANGEABLE = ("evaluation.", "export.")


def trained_config(
    workdir: str, overrides: Sequence[tuple[str, str]], *, further_keys: Sequence[str] = ()
) -> tuple[ConfigDict, dict[str, Any]]:
    """Returns the configuration of a trained work directory with overrides applied, and its record.

    Args:
        workdir: The work directory.
        overrides: Pairs ("section.key", text), of the sections `CHANGEABLE`.
        further_keys: Further keys that may be overridden.

    Raises:
        UserError: If there is no such run, or a key or value may not be set.
    """
    record = read_record(Path(workdir) / RECORD)
    config = load_config("", [], inherited=record["config"])
    check_changeable(overrides, further_keys)
    changed = load_config("", overrides)
    for key, _ in overrides:
        section, _, name = key.partition(".")
        config[section][name] = changed[section][name]
    check_config(config, option_table())
    return config, record


def check_changeable(
    overrides: Sequence[tuple[str, str]], further_keys: Sequence[str] = ()
) -> None:
    """Raises UserError for a key that cannot change a trained model; see `trained_config`."""
    for key, _ in overrides:
        if not key.startswith(CHANGEABLE) and key not in further_keys:
            allowed = " and ".join(["evaluation.* and export.*", *further_keys])
            raise UserError(
                f"--config.{key} cannot change a trained model. Only {allowed} can be set here. "
                "Leave it out, or train with it into another --workdir."
            )


def keep_titles(workdir: str, config: ConfigDict) -> None:
    """Writes the item table of a configuration into the config.json of a trained work directory.

    Args:
        workdir: The work directory.
        config: `data.titles` and `data.title_column` are read.

    Raises:
        UserError: If the file cannot be written.
    """
    path = Path(workdir) / "config.json"
    record = read_record(path)
    titles = config.data.titles
    record["config"]["data"]["titles"] = str(Path(titles).resolve()) if titles else ""
    record["config"]["data"]["title_column"] = config.data.title_column
    write_hashed_json(path, record)
