"""The configuration that a work directory was trained with, and the keys that may be overridden."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.config import RECORD, check_config, load_config, option_table
from ufnrec_tf.runs.workdir import read_record

CHANGEABLE = ("evaluation.", "export.")


def trained_config(
    workdir: str, overrides: Sequence[tuple[str, str]]
) -> tuple[ConfigDict, dict[str, Any]]:
    """Returns the configuration of a trained work directory with overrides applied, and its record.

    Args:
        workdir: The work directory.
        overrides: Pairs ("section.key", text), of the sections `CHANGEABLE`.

    Raises:
        UserError: If there is no such run, or a key or value may not be set.
    """
    record = read_record(Path(workdir) / RECORD)
    config = load_config("", [], inherited=record["config"])
    for key, _ in overrides:
        if not key.startswith(CHANGEABLE):
            raise UserError(
                f"--config.{key} cannot change a trained model. Only evaluation.* and export.* "
                "can be set here. Leave it out, or train with it into another --workdir."
            )
    changed = load_config("", overrides)
    for key, _ in overrides:
        section, _, name = key.partition(".")
        config[section][name] = changed[section][name]
    check_config(config, option_table())
    return config, record
