"""The source of a run's interactions, a log or the planted one, and their split."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd
from ml_collections import ConfigDict

from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.progress import working_on
from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.data.splits import SPLITS, Split, SplitSettings, check_split
from ufnrec_tf.data.synthetic.planted import PlantedData, planted
from ufnrec_tf.reading.columns import Columns
from ufnrec_tf.reading.data_files import DataFile
from ufnrec_tf.reading.filters import Filters
from ufnrec_tf.reading.prepare.prepared_folder import (
    is_prepared,
    read_manifest,
    read_prepared,
)
from ufnrec_tf.reading.published.cache import DownloadOptions, obtain
from ufnrec_tf.reading.published.datasets import find_dataset
from ufnrec_tf.reading.readers import (
    Log,
    LogSettings,
    check_title_column,
    interactions_of,
    read_log,
)

PLANTED = "planted"
MOST_TIMES = 5_000_000
"""Events of a prepared folder up to which times are read whatever the split (40 MB)."""


class Source(NamedTuple):
    """Interactions and, for the planted log, the truth behind them (never read in training)."""

    interactions: Interactions
    truth: PlantedData | None


@working_on("splitting the data")
def make_split(config: ConfigDict, interactions: Interactions) -> Split:
    """Returns the split that the configuration's `split` section names.

    Raises:
        UserError: If the interactions cannot be split so.
    """
    values = config.split.to_dict()
    name, settings = values.pop("name"), SplitSettings(**values)
    check_split(name, settings)
    return SPLITS[name](interactions, settings)


@working_on("reading the data")
def load(
    config: ConfigDict, path: str | pd.DataFrame, *, items: pd.DataFrame | None = None
) -> Source:
    """Returns the interactions that the configuration and `--data` name.

    Args:
        config: The `data` section is read.
        path: A file, a prepared folder, or empty; in Python also a frame of events.
        items: The item table; None: `data.titles` names its file.

    Raises:
        UserError: If there is no data, too much of it, or the file is at fault.
    """
    is_given = _is_given(config, path)
    data = config.data
    if data.name == PLANTED:
        if items is not None:
            raise UserError("`items` has no effect on the planted log. Leave it out.")
        given = {**filters_of(config)._asdict(), "titles": data.titles}
        nothing = {**Filters()._asdict(), "titles": "", "title_column": ""}
        for key, value in {**given, "title_column": data.title_column}.items():
            if value != nothing[key]:
                raise UserError(
                    f"--config.data.{key}={value} has no effect on the planted log. Leave it out."
                )
        prefix = f"{PLANTED}_"
        settings = {
            key.removeprefix(prefix).replace("users", "num_users").replace("items", "num_items"): v
            for key, v in data.items()
            if key.startswith(prefix)
        }
        try:
            made = planted(**settings)
        except ValueError as error:
            raise UserError(f"--config.data.{prefix}*: {error}") from error
        return Source(made.interactions, made)
    if not is_given and not data.name:
        raise UserError(
            "no data. Give --data=FILE, --data=FOLDER that --mode=prepare made, or "
            "--config.data.name=planted for the embedded data set, =ml-1m for a published one."
        )
    if isinstance(path, str) and path and is_prepared(Path(path)):
        return Source(_read_folder(config, path, items), None)
    log = read_source_log(config, path, items=items)
    filters = filters_of(config)
    left = interactions_of(log, filters, repeats=data.repeats, strip=data.strip)
    return Source(left, None)


def is_raw(config: ConfigDict, path: str | pd.DataFrame) -> bool:
    """Returns True if the data are a log: not a planted one, and no prepared folder.

    Raises:
        UserError: If both name data, or a published log is of no known name.
    """
    if _is_given(config, path):
        return isinstance(path, pd.DataFrame) or not is_prepared(Path(path))
    return config.data.name not in ("", PLANTED)


def _is_given(config: ConfigDict, path: str | pd.DataFrame) -> bool:
    """Returns True if the data are a path or a frame rather than a name."""
    name = config.data.name
    if name and name != PLANTED:
        find_dataset(name, others=(PLANTED,))
    is_given = isinstance(path, pd.DataFrame) or bool(path)
    if is_given and name:
        raise UserError(
            f"--data={'' if isinstance(path, pd.DataFrame) else path} and "
            f"--config.data.name={name} both name the data. Leave one out."
        )
    return is_given


def read_source_log(
    config: ConfigDict,
    path: str | DataFile | pd.DataFrame,
    *,
    with_ratings: bool = False,
    items: pd.DataFrame | None = None,
) -> Log:
    """Returns a log before it is filtered, read as the `data` section says.

    A published one that `data.name` names is downloaded the first time.

    Args:
        config: The `data` section is read.
        path: The file, or a frame; empty where `data.name` names a published log.
        with_ratings: True if ratings are needed though no filter reads them.
        items: The item table; None: `data.titles` names its file.

    Raises:
        UserError: If the file is at fault, or cannot be downloaded.
    """
    data = config.data
    name, titles = "", data.titles if items is None else items
    if isinstance(path, str) and not path:
        name, path, own_titles = _obtained(config)
        titles = data.titles or own_titles
    settings = settings_of(config)._replace(titles_path=titles)
    log = read_log(path, settings, with_ratings=with_ratings or data.min_rating != 0)
    return log._replace(source=name) if name else log


def settings_of(config: ConfigDict) -> LogSettings:
    """Returns how the configuration's `data` section reads a log.

    Raises:
        UserError: If the separator is no character.
    """
    data = config.data
    names = (data.user_column, data.item_column, data.time_column, data.rating_column)
    columns = Columns(
        *names,
        data.separator,
        event=data.event_column,
        time_format=data.time_format,
        strip=data.strip,
    )
    return LogSettings(
        data.format,
        columns,
        data.repeats,
        data.titles,
        data.time_unit,
        filters_of(config),
        data.title_column,
    )


def _obtained(config: ConfigDict) -> tuple[str, str, str]:
    """Returns name, log and item table ("" without one) of the published log that is named."""
    data = config.data
    options = DownloadOptions(data.cache, data.mirror, data.sha256, data.download_titles)
    named = obtain(data.name, options, display=Display())
    return named.name, str(named.interactions), str(named.items or "")


def filters_of(config: ConfigDict) -> Filters:
    """Returns the filters that the configuration's `data` section names."""
    values = {key: config.data[key] for key in Filters._fields}
    return Filters(**values | {"events": ",".join(values["events"])})


def _read_folder(config: ConfigDict, path: str, items: pd.DataFrame | None) -> Interactions:
    """Returns the interactions of a prepared folder, read as it was prepared."""
    data, folder = config.data, Path(path)
    manifest = read_manifest(folder)
    settings = manifest.settings
    columns = ("user_column", "item_column", "time_column", "rating_column", "event_column")
    for key in ("format", *columns, "separator", "time_format"):
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
    asked, before = filters_of(config).described(), settings.get("asked", {})
    defaults = Filters()._asdict() | {"time_unit": "auto", "strip": True}
    for key, default in defaults.items():
        value = asked[key] if key in asked else data[key]
        if value not in (default, before.get(key, default)):
            raise UserError(
                f"{path}: was prepared with --config.data.{key}={before.get(key, default)!r}, now "
                f"{value!r}. Leave it out, or prepare the log with it into another folder."
            )
    # Times of 50 million events are 400 MB, which few need; of a small log they say what leaks.
    is_small = manifest.counts["events"] <= MOST_TIMES
    with_times = is_small or config.split.name == "temporal" or reads_times(config)
    titles = data.titles if items is None else items
    if items is None and not titles:
        check_title_column(data.title_column)
    return read_prepared(
        folder,
        with_times=with_times,
        titles_path=titles,
        title_column=data.title_column,
    )


def reads_times(config: ConfigDict) -> bool:
    """True if the network of a configuration, its teacher or an arm may read times of events."""
    is_read = any(section.time != "none" for section in (config.backbone, config.teacher))
    return is_read or any(".time=" in arm for arm in config.comparison.arms)


def large_log(config: ConfigDict, path: str) -> tuple[str, LogSettings]:
    """Returns the log that `--data` or `data.name` names, and how the `data` section reads it.

    A published one is downloaded the first time.

    Raises:
        UserError: If both name data, none can be downloaded, or the separator is no character.
    """
    settings = settings_of(config)
    if _is_given(config, path):
        return path, settings
    if config.data.name == PLANTED:
        raise UserError(
            f"--config.data.name={PLANTED}: each run draws it anew. Give a log to prepare."
        )
    _, path, own_titles = _obtained(config)
    return path, settings._replace(titles_path=settings.titles_path or own_titles)
