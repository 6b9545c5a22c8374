"""Where a run's interactions come from, a log or the planted one, and how they are split."""

from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from ufnrec_tf.data.columns import Columns
from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.data.large_logs import LogSettings
from ufnrec_tf.data.prepared import read_manifest
from ufnrec_tf.data.prepared_interactions import read_prepared
from ufnrec_tf.data.readers import read_interactions, separator_of
from ufnrec_tf.data.splits import SPLITS, Split, SplitSettings
from ufnrec_tf.data.synthetic import PlantedData, planted
from ufnrec_tf.errors import UserError
from ufnrec_tf.names import nearest
from ufnrec_tf.phases import phase

PLANTED = "planted"


class Source(NamedTuple):
    """Interactions and, for the planted log, the truth behind them (never read in training)."""

    interactions: Interactions
    truth: PlantedData | None


@phase("splitting the data")
def make_split(config: ConfigDict, interactions: Interactions) -> Split:
    """Returns the split that the configuration's `split` section names.

    Raises:
        UserError: If the interactions cannot be split so.
    """
    settings = config.split.to_dict()
    return SPLITS[settings.pop("name")](interactions, SplitSettings(**settings))


@phase("reading the data")
def load(config: ConfigDict, path: str) -> Source:
    """Returns the interactions that the configuration and `--data` name.

    Args:
        config: The `data` section is read.
        path: A file, a prepared folder, or empty.

    Raises:
        UserError: If there is no data, too much of it, or the file is at fault.
    """
    data = config.data
    if data.name and data.name != PLANTED:
        raise UserError(
            f"`data.name` must be empty or {PLANTED}. Received: {data.name!r}."
            + nearest(data.name, [PLANTED])
        )
    if path and data.name:
        raise UserError(
            f"--data={path} and --config.data.name={data.name} both name the data. Leave one out."
        )
    if data.name == PLANTED:
        prefix = f"{PLANTED}_"
        settings = {
            key.removeprefix(prefix).replace("users", "num_users").replace("items", "num_items"): v
            for key, v in data.items()
            if key.startswith(prefix)
        }
        try:
            log = planted(**settings)
        except ValueError as error:
            raise UserError(f"--config.data.{prefix}*: {error}") from error
        return Source(log.interactions, log)
    if not path:
        raise UserError(
            "no data. Give --data=FILE, --data=FOLDER that --mode=prepare made, or "
            "--config.data.name=planted for the embedded data set."
        )
    if Path(path).is_dir():
        return Source(_read_folder(config, path), None)
    interactions = read_interactions(
        path,
        format=data.format,
        user_column=data.user_column,
        item_column=data.item_column,
        time_column=data.time_column,
        rating_column=data.rating_column,
        separator=data.separator,
        repeats=data.repeats,
        titles_path=data.titles,
    )
    return Source(interactions, None)


def _read_folder(config: ConfigDict, path: str) -> Interactions:
    """Returns the interactions of a prepared folder, read as it was prepared."""
    data, folder = config.data, Path(path)
    settings = read_manifest(folder).settings
    for key in ("format", "user_column", "item_column", "time_column", "rating_column"):
        if data[key] not in ("", "auto"):
            raise UserError(
                f"{path}: --config.data.{key}={data[key]} has no effect on a prepared folder. "
                "Leave it out, or prepare the log with it into another one."
            )
    if data.repeats == "drop" != settings["repeats"]:
        raise UserError(
            f"{path}: was prepared with --config.data.repeats={settings['repeats']}, now drop. "
            "Prepare the log with it into another folder."
        )
    # Times of 50 million events are 400 MB, which only dates need.
    with_times = config.split.name == "temporal"
    return read_prepared(folder, with_times=with_times, titles_path=data.titles)


def log_settings(config: ConfigDict) -> LogSettings:
    """Returns how the configuration's `data` section says a large log is read.

    Raises:
        UserError: If the separator is no character.
    """
    data = config.data
    names = (data.user_column, data.item_column, data.time_column, data.rating_column)
    columns = Columns(*names, separator_of(data.separator))
    return LogSettings(data.format, columns, data.repeats, data.titles)
