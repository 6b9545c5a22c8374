"""The Python API: `import ufnrec_tf as ufn`, from a DataFrame of events to recommendations.

The command line does the same with the same code and files: `ufn.train(...)` makes a work directory
that `python main.py --mode=evaluate|report|serve` takes, and `ufn.Run(workdir)` opens one that the
command line has trained. Bad input raises a `UserError` of one line. `settings` are keys of the
configuration, such as `{"training.num_epochs": 20, "backbone.width": 64}`; `python main.py
--help=all` lists them.
"""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ufnrec_tf.common.arguments import path_text, shown, true_or_false, whole_number
from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.common.files import check_workdir
from ufnrec_tf.common.python_terms import speaks_python, warn
from ufnrec_tf.common.representation import Shown
from ufnrec_tf.common.tensorflow_setup import import_tensorflow
from ufnrec_tf.comparison.arms_and_seeds import arms_and_seeds
from ufnrec_tf.config import COMPARE_CONFIG, load_config
from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.data.splits import EVALUATION_PARTS, Split
from ufnrec_tf.data.summary import summary, summary_lines
from ufnrec_tf.reading.sources import Source, load, make_split
from ufnrec_tf.reading.tables import as_frame, python_values
from ufnrec_tf.runs.inherited_settings import prefer_given_data, run_settings
from ufnrec_tf.runs.result import RunResult, run_lines
from ufnrec_tf.runs.run_files import check_run_file, read_result
from ufnrec_tf.runs.trained_settings import trained_config
from ufnrec_tf.runs.workdir import RANKS_FILES, Workdir, read_record
from ufnrec_tf.training.before_reading import check_before_reading
from ufnrec_tf.training.recipe import choose_settings
from ufnrec_tf.training.settings_checks import check_evaluation
from ufnrec_tf.training.unused_settings import unused_line, unused_settings

if TYPE_CHECKING:
    import keras
    from ml_collections import ConfigDict

    from ufnrec_tf.comparison.result import ComparisonResult
    from ufnrec_tf.reading.inspection.inspect_log import Inspection
    from ufnrec_tf.recommend.given_ids import Ids
    from ufnrec_tf.recommend.recommender import Histories, Recommender
    from ufnrec_tf.report.shown_page import Page
    from ufnrec_tf.runs.histories import RunHistories

Settings = Mapping[str, Any]
Table = Any
"""A DataFrame, or another table that `reading.tables.as_frame` reads."""
Data = str | os.PathLike[str] | Interactions | Table


@speaks_python
def read(
    data: Data,
    *,
    items: str | os.PathLike[str] | Table | None = None,
    settings: Settings | None = None,
) -> Interactions:
    """Reads a log of events.

    The names of the columns are guessed, unless `data.*_column` gives them.

    Args:
        data: A file, a prepared folder or a table of events: a DataFrame, a polars or Arrow
            table, a dict of column -> values, a list of dicts. Interactions are returned as they
            are.
        items: A table of items with id, title, category and price, or its file, which
            `data.titles` may also name.
        settings: Keys of the `data` section, such as `{"data.user_column": "reader"}`.

    Returns:
        The events of each user in order, with internal ids and the raw ids to go back.

    Raises:
        UserError: If the log cannot be read or a setting is wrong.
    """
    config = load_config("", _overrides(settings))
    return _read_source(config, data, items, settings=settings).interactions


@speaks_python
def split(data: Data, *, settings: Settings | None = None) -> Split:
    """Reads a log and splits its events into train, validation and test.

    Args:
        data: The log, in any form that `read` takes.
        settings: Keys of the `data` and `split` sections.

    Raises:
        UserError: If the log cannot be read or split in this way.
    """
    config = load_config("", _overrides(settings))
    return make_split(config, _read_source(config, data, settings=settings).interactions)


@speaks_python
def train(
    data: Data,
    *,
    workdir: str | os.PathLike[str],
    items: str | os.PathLike[str] | Table | None = None,
    config: str | os.PathLike[str] = "",
    settings: Settings | None = None,
    seed: int = 0,
    shows: bool = True,
    callbacks: "Sequence[keras.callbacks.Callback]" = (),
) -> "Run":
    """Trains a model, selects it on validation, scores the test set once, and exports it.

    If the work directory holds a finished run, that run is opened; a run that was stopped is
    continued.

    Args:
        data: The log, in any form that `read` takes. The work directory keeps its raw ids and the
            history of each user (docs/your-data.md).
        workdir: The directory in which the run keeps its files.
        items: A table of items with id, title, category and price, or its file.
        config: A configuration file, such as "configs/beauty.py", or the work directory of a run,
            whose settings are taken.
        settings: Keys of the configuration; they change those of the file.
        seed: Seed of everything random.
        shows: True to print what the command line prints.
        callbacks: Keras callbacks, such as those of MLflow and W&B. They are called during the
            training of this run, not of its baselines, and `on_epoch_end` gets `loss` and, after
            an evaluation, the validation metrics as `val_ndcg_10` and so on.

    Raises:
        UserError: If the data, a setting or the work directory is wrong.
    """
    workdir = path_text(workdir, "workdir")
    seed = whole_number(seed, "seed", minimum=0, maximum=2**32 - 1)
    display = Display(is_shown=true_or_false(shows, "shows"), in_python=True)
    chosen, source, parts, data_path = _prepared(
        data, _config_path(config), settings, workdir=workdir, items=items, display=display
    )
    from ufnrec_tf.training.checks import check_names
    from ufnrec_tf.training.train import train as train_run

    check_names(chosen)
    train_run(
        chosen,
        source,
        parts,
        workdir=workdir,
        seed=seed,
        data_path=data_path,
        command=["ufnrec_tf.train"],
        display=display,
        callbacks=_checked_callbacks(callbacks),
    )
    return Run(workdir)


@speaks_python
def inspect(
    data: Data,
    *,
    config: str | os.PathLike[str] = "",
    settings: Settings | None = None,
) -> "Inspection":
    """Returns what a run would read of a log, problems first, without TensorFlow.

    Args:
        data: The log, in any form that `read` takes.
        config: A configuration file.
        settings: Keys of the configuration, as `train` would take them.

    Returns:
        An object that shows itself, with `problems`, a frame, and `result`, all of it as a dict.

    Raises:
        UserError: If the log cannot be read or a setting is wrong.
    """
    path, overrides = _config_path(config), _overrides(settings)
    chosen = load_config(path, overrides)
    given = _given(data)
    if not isinstance(given, str) or given:
        prefer_given_data(chosen, path, overrides)
    keys = [key for key in settings or {} if key.startswith(("data.", "split."))]
    for line in unused_line(unused_settings(chosen, keys)):
        warn(line)
    from ufnrec_tf.reading.inspection.inspect_log import inspection

    words = [repr(given) if isinstance(given, str) else "data"]
    name = Path(given).stem if isinstance(given, str) and given else chosen.data.name or "mine"
    words += [f'workdir="runs/{name}"', *([f"config={path!r}"] if path else [])]
    words += [f"settings={dict(settings)!r}"] if settings else []
    return inspection(chosen, given, next_step=f"run = ufn.train({', '.join(words)})")


@speaks_python
def compare(
    data: Data,
    *,
    workdir: str | os.PathLike[str],
    arms: Any = None,
    seeds: Any = None,
    config: str | os.PathLike[str] = "",
    settings: Settings | None = None,
    shows: bool = True,
) -> "ComparisonResult":
    """Trains arms x seeds, each run in a process of its own, and tests the differences.

    The same call continues a comparison that was stopped, and opens one that is finished.

    Args:
        data: The log, in any form that `read` takes but Interactions. A table is kept in the
            work directory as data.parquet, which the runs read.
        workdir: The directory of the comparison.
        arms: What is compared: a list of names, such as ["ema", "ufnrec_safe"], or a dict of name
            -> settings, such as {"plain": None, "wide": {"backbone.width": 128}}. The first is the
            reference. None: `comparison.arms` of the configuration.
        seeds: The seeds, such as range(3). None: `comparison.seeds` of the configuration.
        config: A configuration file; "" for that of the command line's comparison.
        settings: Keys of the configuration; they change those of the file.
        shows: True to print a line for each run.

    Raises:
        UserError: If the data, an arm, a setting or the work directory is wrong, or, once all
            others are done, if runs failed.
    """
    given, workdir = _given(data), path_text(workdir, "workdir")
    if isinstance(given, Interactions):
        raise UserError("`data` are Interactions: each run reads the log again. Give the log.")
    display = Display(is_shown=true_or_false(shows, "shows"), in_python=True)
    check_workdir(Path(workdir), is_shared=True)
    from ufnrec_tf.comparison.from_python import arms_text, kept_table

    _overrides(settings)  # their form, before they are changed
    own = dict(settings or {})
    if arms is not None:
        own["comparison.arms"] = arms_text(arms, _setting_text)
    if seeds is not None:
        own["comparison.seeds"] = list(seeds)
    config_path = _config_path(config) or COMPARE_CONFIG
    kept = nullcontext(given) if isinstance(given, str) else kept_table(given, Path(workdir))
    with kept as log:
        chosen, source, parts, data_path = _prepared(
            log, config_path, own, workdir=workdir, display=display, is_compared=True
        )
        from ufnrec_tf.comparison.compare import Comparison
        from ufnrec_tf.comparison.plan import check_arms, comparison_record, enter, make_plan
        from ufnrec_tf.comparison.result import ComparisonResult

        plan = make_plan(chosen, source, parts, workdir)
        check_arms(plan)
        record = comparison_record(plan, data_path, ["ufnrec_tf.compare"])
        enter(plan, record)
    flags = {"mode": "compare", "data": data_path, "config": config_path, "workdir": workdir}
    arguments = [f"--{name}={value}" for name, value in flags.items() if value]
    arguments += [f"--config.{key}={text}" for key, text in _overrides(own)]
    comparison = Comparison(plan, record, arguments=arguments, display=display)
    return ComparisonResult(plan.path, comparison.run())


class Run(Shown):
    """A trained work directory.

    Args:
        workdir: The directory.

    Attributes:
        path: The directory.
        record: The content of config.json: configuration, seed, versions, identity.

    Raises:
        UserError: If the directory holds no run.
    """

    @speaks_python
    def __init__(self, workdir: str | os.PathLike[str]) -> None:
        self.path = Path(path_text(workdir, "workdir"))
        self.record = read_record(self.path / "config.json")

    def _show(self, display: Display) -> None:
        for line in run_lines(self.path):
            display.line(line)

    @property
    @speaks_python
    def result(self) -> RunResult:
        """The content of result.json: metrics, protocol, data, timing, memory, false negatives.

        It is a dict that shows only its main numbers.
        """
        return RunResult(read_result(self.path))

    @property
    def metrics(self) -> dict[str, float]:
        """Test metrics with full ranking, whose protocol is `result["protocol"]`."""
        return self.result["test"]

    @property
    @speaks_python
    def curve(self) -> pd.DataFrame:
        """The evaluations, one in a row: step, epoch, split, weights, metrics."""
        path = self.path / "metrics.jsonl"
        check_run_file(self.path, path.name)
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            return pd.DataFrame([json.loads(line) for line in lines])
        except FileNotFoundError:
            raise UserError(f"{path}: not found. Train until the first evaluation.") from None
        except (OSError, ValueError) as error:
            raise _damaged(path, error) from error

    @property
    @speaks_python
    def ranks(self) -> pd.DataFrame:
        """The test rank of each target: user, item (raw ids), rank (from 1)."""
        return _read_table(self.path / RANKS_FILES["test"])

    @property
    @speaks_python
    def false_negatives(self) -> pd.DataFrame:
        """The remembered items: user, item (raw ids), position, count, margin, flagged.

        Raises:
            UserError: If the run has no memory (`memory.policy=plain`).
        """
        return _read_table(self.path / "false_negatives.parquet")

    @cached_property
    @speaks_python
    def recommender(self) -> "Recommender":
        """The newest exported version, which is loaded only once."""
        return load_export(self.path / "export")

    @cached_property
    def _histories(self) -> "RunHistories":
        """The histories of the run's users, which are read only once."""
        from ufnrec_tf.runs.histories import run_histories

        return run_histories(self.path, trained_config(str(self.path), [])[0], self.record)

    @speaks_python
    def recommend(
        self,
        histories: "Histories | None" = None,
        *,
        users: Any = None,
        top_k: int = 10,
        exclude: "Ids" = None,
        allow: "Ids" = None,
        times: Any = None,
        diversity: float = 0.0,
    ) -> pd.DataFrame:
        """Returns the recommendations of the exported model for some histories, or for users.

        Args:
            histories: Raw item ids of each history, in any form that `Recommender.recommend` takes.
            users: Users of the run in their place, one raw id or several. Their histories are all
                events that the run read, those of validation and test too.
            top_k: Items recommended for each history.
            exclude: One raw id, or several, of items that are never recommended.
            allow: Raw ids of the only items that may be recommended; None or empty for all.
            times: When each event of the histories was; see `Recommender.recommend`. Those of users
                are known.
            diversity: From 0, the best items, to 1; see `Recommender.recommend`.

        Raises:
            UserError: If both or neither of histories and users are given, or a user is not one
                of the run; see also `Recommender.recommend`.
        """
        histories, times = self._given_histories(histories, users, times)
        return self.recommender.recommend(
            histories,
            top_k=top_k,
            exclude=exclude,
            allow=allow,
            times=times,
            diversity=diversity,
        )

    def similar(
        self, items: "Ids", *, top_k: int = 10, exclude: "Ids" = None, allow: "Ids" = None
    ) -> pd.DataFrame:
        """Returns the items most like some items; see `Recommender.similar`."""
        return self.recommender.similar(items, top_k=top_k, exclude=exclude, allow=allow)

    @speaks_python
    def explain(
        self,
        histories: Any = None,
        items: "Ids" = None,
        *,
        users: Any = None,
        top_k: int = 10,
        times: Any = None,
        history: Any = None,
        item: Any = None,
    ) -> pd.DataFrame:
        """Returns the items of a history that carried an item; see `Recommender.explain`.

        Args:
            histories: Raw item ids of one history, or several, as in `recommend`.
            items: Raw ids of the items to explain, one or several. None: the first recommendation
                of each history.
            users: Users of the run in place of `histories`, as in `recommend`.
            top_k: Items with the largest drops, 1 or more.
            times: When each event of the histories was.
            history: Older name of `histories`.
            item: Older name of `items`.
        """
        histories = history if histories is None else histories
        histories, times = self._given_histories(histories, users, times)
        return self.recommender.explain(
            histories, item if items is None else items, top_k=top_k, times=times
        )

    def _given_histories(self, histories: Any, users: Any, times: Any) -> tuple[Any, Any]:
        """Returns histories and their times: as given, or those that the run read of its users."""
        if (histories is None) == (users is None):
            raise UserError("give either `histories` or `users`.")
        if users is None:
            return histories, times
        from ufnrec_tf.recommend.given_ids import id_list

        asked = id_list(users, name="users")
        if times is not None:
            raise UserError("`times` go with `histories`: those of `users` are known.")
        reads_times = "times" in self.recommender.metadata
        known_times = self._histories.times_of_users(asked) if reads_times else None
        return self._histories.of_users(asked), known_times

    @speaks_python
    def evaluate(
        self,
        data: Data | None = None,
        *,
        part: str = "test",
        settings: Settings | None = None,
        shows: bool = False,
    ) -> dict[str, float]:
        """Scores the trained weights on test or validation again.

        Args:
            data: The data that the run was trained with. None: the file from which they were read.
            part: "test" or "validation".
            settings: Keys of the `evaluation` section, which may change the protocol.
            shows: True to print what the command line prints.

        Returns:
            Metric to value, which is also written as a line of metrics.jsonl.

        Raises:
            UserError: If the data differ from the run's, or a setting may not be changed.
        """
        if not isinstance(part, str) or part not in EVALUATION_PARTS:
            raise UserError(
                f"`part` must be one of {', '.join(EVALUATION_PARTS)}. Received: {shown(part)}."
            )
        display = Display(is_shown=true_or_false(shows, "shows"), in_python=True)
        with Workdir(str(self.path), must_exist=True).held_if_writable():
            config, record = trained_config(str(self.path), _overrides(settings))
            check_evaluation(config)
            source = _read_source(config, self._data(data, config, record, call="evaluate(data)"))
            import_tensorflow()
            from ufnrec_tf.training.evaluate import evaluate_workdir

            return evaluate_workdir(config, record, source, str(self.path), part, display)

    def _data(
        self, data: Data | None, config: "ConfigDict", record: dict[str, Any], *, call: str
    ) -> Data:
        """Returns data as given, or else the file from which the run read them."""
        if data is not None:
            return data
        if not record["data_path"] and not config.data.name:
            raise UserError(
                f"{self.path}: was trained with a table, of which a run keeps only the hash. "
                f"Give it again: run.{call}."
            )
        return record["data_path"]

    @speaks_python
    def report(
        self,
        data: Data | None = None,
        *,
        items: str | os.PathLike[str] | Table | None = None,
        output: str | os.PathLike[str] = "",
        shows: bool = True,
    ) -> "Page":
        """Writes the page of the run, and its charts as pictures beside it.

        A run that is not finished, or that is being trained, has a page of what there is.

        Args:
            data: The data that the run was trained with. None: the file from which they were read;
                after a table the page then lacks what needs the events.
            items: The table of items that the run was trained with, or its file: their titles.
            output: The page to write. "": report.html in the work directory.
            shows: True to print what the command line prints.

        Returns:
            The path of the page, which a notebook shows inline.

        Raises:
            UserError: If the data differ from the run's, or a file is damaged.
        """
        display = Display(is_shown=true_or_false(shows, "shows"), in_python=True)
        config, record = trained_config(str(self.path), [])
        from ufnrec_tf.report.shown_page import Page
        from ufnrec_tf.report.write import PAGE
        from ufnrec_tf.report.write import report as write_report

        page = Page(path_text(output, "output")) if output else Page(self.path / PAGE)
        given = "" if data is None else _given(data)
        if items is not None:
            again = self._data(data, config, record, call="report(data, items=items)")
            given = _read_source(config, again, items).interactions
        write_report(self.path, config, record, data=given, output=str(page), display=display)
        return page


@speaks_python
def load_export(path: str | os.PathLike[str]) -> "Recommender":
    """Loads an exported model.

    Args:
        path: A folder of versions, whose newest one is loaded, or the folder of one version.

    Raises:
        UserError: If there is no model, or it is damaged.
    """
    folder = path_text(path, "path")
    import_tensorflow()
    from ufnrec_tf.recommend.recommender import Recommender

    return Recommender(folder)


def _given(data: Data) -> "str | pd.DataFrame | Interactions":
    """Returns data as a path, a frame, or Interactions; "" where a setting names them."""
    if isinstance(data, Interactions):
        return data
    is_table = data is not None and not isinstance(data, str | os.PathLike)
    return as_frame(data, name="data") if is_table else _data_path(data)


def _checked_callbacks(callbacks: Any) -> "tuple[keras.callbacks.Callback, ...]":
    """Returns the callbacks of Keras that were given.

    Raises:
        UserError: If they are anything else.
    """
    import keras

    found = tuple(callbacks) if isinstance(callbacks, list | tuple) else (callbacks,)
    for one in found:
        if not isinstance(one, keras.callbacks.Callback):
            raise UserError(
                "`callbacks` must be a list of keras.callbacks.Callback objects. Received: "
                f"{shown(one)}."
            )
    return found


def _config_path(config: Any) -> str:
    is_default = config is None or (isinstance(config, str) and not config)
    return "" if is_default else path_text(config, "config")


def _prepared(
    data: Data,
    config_path: str,
    settings: Settings | None,
    *,
    workdir: str,
    items: Any = None,
    display: Display,
    is_compared: bool = False,
) -> "tuple[ConfigDict, Source, Split, str]":
    """Returns checked settings, the data, their split and their path; imports TensorFlow.

    Without a configuration, settings that nobody has named are chosen by the size of the log.
    """
    overrides = _overrides(settings)
    found = run_settings(
        load_config(config_path, overrides),
        config_path,
        overrides,
        data_path=_data_path(data),
        is_given=not isinstance(data, str) or bool(data),
        workdir=workdir,
    )
    chosen = found.config
    if is_compared:
        arms_and_seeds(chosen)
    check_before_reading(chosen, is_compared=is_compared)
    display.notes.block(found.lines)
    if isinstance(data, str):
        data = found.data_path
    source = _read_source(chosen, data, items, settings=settings)
    parts = make_split(chosen, source.interactions)
    by_size = [] if config_path else choose_settings(chosen, parts, settings or {})
    unused = unused_settings(
        chosen, settings or {}, log=source.interactions.reading, is_compared=is_compared
    )
    display.notes.block(unused_line(unused))
    display.notes.block(summary_lines(summary(parts)))
    display.notes.block(by_size)
    import_tensorflow()
    return chosen, source, parts, found.data_path


def _read_source(
    config: Any, data: Data, items: Any = None, *, settings: Settings | None = None
) -> Source:
    """Returns the interactions of any data that `read` takes."""
    if isinstance(data, Interactions):
        if items is not None:
            raise UserError(
                "`items` has no effect on Interactions, which have their titles. Give it to read()."
            )
        keys = [key for key in settings or {} if key.startswith("data.")]
        if keys:
            warn(
                f"{', '.join(keys)} of `settings` had no effect: `data` are Interactions, which "
                "are read already."
            )
        return Source(data, None)
    if items is not None and config.data.titles:
        raise UserError("`items` and --config.data.titles both name the items. Leave one out.")
    is_table = data is not None and not isinstance(data, str | os.PathLike)
    log = as_frame(data, name="data") if is_table else _data_path(data)
    return load(config, log, items=_item_table(items))


def _data_path(data: Data) -> str:
    """Returns a path as text; "" for a table, and where a setting names the data."""
    is_given = isinstance(data, os.PathLike) or (isinstance(data, str) and data)
    return path_text(data, "data") if is_given else ""


def _item_table(items: Any) -> Any:
    """Returns a table of items as a DataFrame of Python's values, or its path; None for none."""
    if items is None:
        return None
    if isinstance(items, str | os.PathLike):
        return path_text(items, "items")
    return python_values(as_frame(items, name="items"))


def _overrides(settings: Settings | None) -> list[tuple[str, str]]:
    """Returns settings as texts of the command line, so that they are checked in the same way.

    Raises:
        UserError: If they are no mapping, or hold a value that has no text.
    """
    if settings is None:
        return []
    if not isinstance(settings, Mapping) or not all(isinstance(key, str) for key in settings):
        raise UserError(
            '`settings` must be a dict such as {"training.num_epochs": 20}. Received: '
            f"{shown(settings)}."
        )
    for key in settings:
        if key.startswith("-"):
            bare = key.lstrip("-").removeprefix("config.")
            raise UserError(f"`settings`: write the key {bare!r}, without dashes.")
    return [(key, _setting_text(key, value)) for key, value in settings.items()]


def _setting_text(key: str, value: Any) -> str:
    """Returns the text of a value as the command line would have it."""
    if isinstance(value, Mapping):
        inner = next(iter(value), "key")
        raise UserError(f'settings["{key}"] is a section. Write {{"{key}.{inner}": ...}}.')
    value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    if isinstance(value, list | tuple | range):
        texts = [_setting_text(key, part) for part in value]
        if any("," in text for text in texts):
            raise UserError(f'settings["{key}"]: a value with a comma. Received: {shown(value)}.')
        return ",".join(texts)
    if isinstance(value, str | os.PathLike):
        return os.fspath(value)
    if isinstance(value, bool | int | float | date):
        return str(value)
    raise UserError(
        f'settings["{key}"] must be a text, a number, True or False, or a list of these. Received: '
        f"{shown(value)}."
    )


def _read_table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise UserError(
            f"{path}: not found. Only a finished run has it, and false negatives only a run with "
            "a memory. Train to the end, with a memory.policy other than plain."
        )
    check_run_file(path.parent, path.name)
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(
        f"{path}: is damaged ({own_words(error)[:200]}). Put a copy of it back, or train again "
        "into another --workdir."
    )
