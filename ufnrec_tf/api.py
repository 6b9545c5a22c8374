"""The Python API: `import ufnrec_tf as ufn`, from a DataFrame of events to recommendations.

The command line does the same with the same code and files: `ufn.train(...)` makes a work directory
that `python main.py --mode=evaluate|report|serve` takes, and `ufn.Run(workdir)` opens one that the
command line has trained. Bad input raises a `UserError` of one line. `settings` are keys of the
configuration, such as `{"training.num_epochs": 20, "backbone.width": 64}`; `python main.py
--help=all` lists them.
"""

import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.tensorflow_setup import import_tensorflow
from ufnrec_tf.config import load_config
from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.data.splits import Split
from ufnrec_tf.reading.sources import Source, load, make_split
from ufnrec_tf.runs.run_files import check_run_file, read_result
from ufnrec_tf.runs.trained_settings import trained_config
from ufnrec_tf.runs.workdir import RANKS_FILES, Workdir, read_record

if TYPE_CHECKING:
    from ufnrec_tf.recommend.recommender import Histories, Recommender

Settings = Mapping[str, Any]
Data = str | Path | pd.DataFrame | Interactions


def read(
    data: Data, *, items: pd.DataFrame | None = None, settings: Settings | None = None
) -> Interactions:
    """Reads a log of events.

    The names of the columns are guessed, unless `data.*_column` gives them.

    Args:
        data: A file, a prepared folder or a DataFrame of events. Interactions are returned as
            they are.
        items: A table of items with id, title, category and price. `data.titles` may name a file
            instead.
        settings: Keys of the `data` section, such as `{"data.user_column": "reader"}`.

    Returns:
        The events of each user in order, with internal ids and the raw ids to go back.

    Raises:
        UserError: If the log cannot be read or a setting is wrong.
    """
    return _read_source(load_config("", _overrides(settings)), data, items).interactions


def split(data: Data, *, settings: Settings | None = None) -> Split:
    """Reads a log and splits its events into train, validation and test.

    Args:
        data: The log, in any form that `read` takes.
        settings: Keys of the `data` and `split` sections.

    Raises:
        UserError: If the log cannot be read or split in this way.
    """
    config = load_config("", _overrides(settings))
    return make_split(config, _read_source(config, data).interactions)


def train(
    data: Data,
    *,
    workdir: str | Path,
    items: pd.DataFrame | None = None,
    config: str = "",
    settings: Settings | None = None,
    seed: int = 0,
    shows: bool = True,
) -> "Run":
    """Trains a model, selects it on validation, scores the test set once, and exports it.

    If the work directory holds a finished run, that run is opened; a run that was stopped is
    continued.

    Args:
        data: The log, in any form that `read` takes. The events of a DataFrame are not kept in
            the work directory, only their hash.
        workdir: The directory in which the run keeps its files.
        items: A table of items with id, title, category and price.
        config: A configuration file, such as "configs/beauty.py".
        settings: Keys of the configuration; they change those of the file.
        seed: Seed of everything random.
        shows: True to print what the command line prints.

    Raises:
        UserError: If the data, a setting or the work directory is wrong.
    """
    chosen = load_config(config, _overrides(settings))
    source = _read_source(chosen, data, items)
    parts = make_split(chosen, source.interactions)
    import_tensorflow()
    from ufnrec_tf.training.checks import check_names
    from ufnrec_tf.training.train import train as train_run

    check_names(chosen)
    train_run(
        chosen,
        source,
        parts,
        workdir=str(workdir),
        seed=seed,
        data_path=_data_path(data),
        command=["ufnrec_tf.train"],
        display=Display(is_shown=shows),
    )
    return Run(workdir)


class Run:
    """A trained work directory.

    Args:
        workdir: The directory.

    Attributes:
        path: The directory.
        record: The content of config.json: configuration, seed, versions, identity.

    Raises:
        UserError: If the directory holds no run.
    """

    def __init__(self, workdir: str | Path) -> None:
        self.path = Path(workdir)
        self.record = read_record(self.path / "config.json")

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def result(self) -> dict[str, Any]:
        """The content of result.json: metrics, protocol, data, timing, memory, false negatives."""
        return read_result(self.path)

    @property
    def metrics(self) -> dict[str, float]:
        """Test metrics with full ranking, whose protocol is `result["protocol"]`."""
        return self.result["test"]

    @property
    def curve(self) -> pd.DataFrame:
        """The evaluations, one in a row: step, epoch, split, weights, metrics."""
        check_run_file(self.path, "metrics.jsonl")
        text = (self.path / "metrics.jsonl").read_text(encoding="utf-8")
        return pd.DataFrame([json.loads(line) for line in text.splitlines()])

    @property
    def ranks(self) -> pd.DataFrame:
        """The test rank of each target: user, item (raw ids), rank (from 1)."""
        return _read_table(self.path / RANKS_FILES["test"])

    @property
    def false_negatives(self) -> pd.DataFrame:
        """The remembered items: user, item (raw ids), position, count, margin, flagged.

        Raises:
            UserError: If the run has no memory (`memory.policy=plain`).
        """
        return _read_table(self.path / "false_negatives.parquet")

    @cached_property
    def recommender(self) -> "Recommender":
        """The newest exported version, which is loaded only once."""
        return load_export(self.path / "export")

    def recommend(
        self,
        histories: "Histories",
        *,
        top_k: int = 10,
        exclude: Iterable[Any] = (),
        allow: Iterable[Any] = (),
    ) -> pd.DataFrame:
        """Returns the recommendations of the exported model for some histories.

        Args:
            histories: Raw item ids of each history, in any form that `Recommender.recommend` takes.
            top_k: Items recommended for each history.
            exclude: Raw ids of items that are never recommended.
            allow: Raw ids of the only items that may be recommended; empty for all.
        """
        return self.recommender.recommend(histories, top_k=top_k, exclude=exclude, allow=allow)

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
            data: The data that the run was trained with. None: the file that they were read from.
            part: "test" or "validation".
            settings: Keys of the `evaluation` section, which may change the protocol.
            shows: True to print what the command line prints.

        Returns:
            Metric to value, which is also written as a line of metrics.jsonl.

        Raises:
            UserError: If the data differ from the run's, or a setting may not be changed.
        """
        with Workdir(str(self.path), must_exist=True).held_if_writable():
            config, record = trained_config(str(self.path), _overrides(settings))
            source = _read_source(config, record["data_path"] if data is None else data)
            import_tensorflow()
            from ufnrec_tf.training.evaluate import evaluate_workdir

            return evaluate_workdir(
                config, record, source, str(self.path), part, Display(is_shown=shows)
            )


def load_export(path: str | Path) -> "Recommender":
    """Loads an exported model.

    Args:
        path: A folder of versions, whose newest one is loaded, or the folder of one version.

    Raises:
        UserError: If there is no model, or it is damaged.
    """
    import_tensorflow()
    from ufnrec_tf.recommend.recommender import Recommender

    return Recommender(path)


def _read_source(config: Any, data: Data, items: pd.DataFrame | None = None) -> Source:
    if isinstance(data, Interactions):
        return Source(data, None)
    return load(config, str(data) if isinstance(data, Path) else data, items=items)


def _data_path(data: Data) -> str:
    return str(data) if isinstance(data, str | Path) else ""


def _overrides(settings: Settings | None) -> list[tuple[str, str]]:
    """Returns settings as texts of the command line, so that they are checked in the same way."""

    def text(value: Any) -> str:
        is_many = isinstance(value, tuple | list)
        return ",".join(map(str, value)) if is_many else str(value)

    return [(key, text(value)) for key, value in (settings or {}).items()]


def _read_table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise UserError(
            f"{path}: not found. Only a finished run has it, and false negatives only a run with "
            "a memory. Train to the end, with a memory.policy other than plain."
        )
    check_run_file(path.parent, path.name)
    return pd.read_parquet(path)
