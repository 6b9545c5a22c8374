"""The Python API: `import ufnrec_tf as ufn`, from a frame of events to recommendations.

Everything here is also on the command line, by the same code and with the same files:
`ufn.train(...)` leaves a work directory that `python main.py --mode=evaluate|report|serve`
takes, and `ufn.Run(workdir)` opens one that the command line has trained. What is wrong with an
input is a `UserError`, one line. `settings` are the configuration's keys, as in
`{"training.num_epochs": 20, "backbone.width": 64}`; `python main.py --help=all` lists them.
"""

import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.files import read_json
from ufnrec_tf.common.tensorflow_setup import import_tensorflow
from ufnrec_tf.config import load_config
from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.data.splits import Split
from ufnrec_tf.reading.sources import Source, load, make_split
from ufnrec_tf.runs.trained_settings import trained_config
from ufnrec_tf.runs.workdir import RANKS_FILES, Workdir, read_record

if TYPE_CHECKING:
    from ufnrec_tf.recommend.recommender import Histories, Recommender

Settings = Mapping[str, Any]
Data = str | Path | pd.DataFrame | Interactions


def read(
    data: Data, *, items: pd.DataFrame | None = None, settings: Settings | None = None
) -> Interactions:
    """Reads a log; the columns' names are guessed, or named by `data.*_column`.

    Args:
        data: A file or prepared folder, a frame of events, or interactions, which are given back.
        items: A table of items: id, title, category, price; `data.titles` names a file instead.
        settings: Keys of the `data` section, such as `{"data.user_column": "reader"}`.

    Raises:
        UserError: If the log or a setting is at fault.
    """
    return _source(load_config("", _overrides(settings)), data, items).interactions


def split(data: Data, *, settings: Settings | None = None) -> Split:
    """Reads a log and returns what of it trains and what is held out.

    Args:
        data: As for `read`.
        settings: Keys of the `data` and `split` sections.

    Raises:
        UserError: If the log cannot be split so.
    """
    config = load_config("", _overrides(settings))
    return make_split(config, _source(config, data).interactions)


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
    """Trains, selects on validation, scores the test set once, and exports.

    A finished work directory is opened as it is; one that was stopped goes on.

    Args:
        data: As for `read`; of a frame the hash is of its events, which are not kept.
        workdir: Where the run keeps everything.
        items: As for `read`.
        config: A configuration file, such as "configs/beauty.py".
        settings: Keys of the configuration, over those of the file.
        seed: Of everything random.
        shows: Whether to print what the command line prints.

    Raises:
        UserError: Whatever of data, settings or work directory is to be mended.
    """
    chosen = load_config(config, _overrides(settings))
    source = _source(chosen, data, items)
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
        data_path=_path(data),
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
        record: config.json: configuration, seed, versions, identity.

    Raises:
        UserError: If it is none.
    """

    def __init__(self, workdir: str | Path) -> None:
        self.path = Path(workdir)
        self.record = read_record(self.path / "config.json")

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def result(self) -> dict[str, Any]:
        """result.json: metrics with their protocol, data, timing, memory, false negatives."""
        return read_json(self.path / "result.json")

    @property
    def metrics(self) -> dict[str, float]:
        """Test metrics, full ranking; `result["protocol"]` says of what."""
        return self.result["test"]

    @property
    def curve(self) -> pd.DataFrame:
        """A row an evaluation: step, epoch, split, weights, metrics."""
        text = (self.path / "metrics.jsonl").read_text(encoding="utf-8")
        return pd.DataFrame([json.loads(line) for line in text.splitlines()])

    @property
    def ranks(self) -> pd.DataFrame:
        """The test rank of each target: user, item (raw ids), rank (from 1)."""
        return _table(self.path / RANKS_FILES["test"])

    @property
    def false_negatives(self) -> pd.DataFrame:
        """What the memory holds: user, item (raw ids), position, count, margin, flagged.

        Raises:
            UserError: If the run remembered nothing (`memory.policy=plain`).
        """
        return _table(self.path / "false_negatives.parquet")

    @cached_property
    def recommender(self) -> "Recommender":
        """The newest exported version, loaded once."""
        return load_export(self.path / "export")

    def recommend(
        self,
        histories: "Histories",
        *,
        top_k: int = 10,
        exclude: Iterable[Any] = (),
        allow: Iterable[Any] = (),
    ) -> pd.DataFrame:
        """Returns recommendations by the exported model; see `Recommender.recommend`."""
        return self.recommender.recommend(histories, top_k=top_k, exclude=exclude, allow=allow)

    def evaluate(
        self,
        data: Data | None = None,
        *,
        part: str = "test",
        settings: Settings | None = None,
        shows: bool = False,
    ) -> dict[str, float]:
        """Scores the trained weights on a part of the split, under another protocol perhaps.

        Args:
            data: What it was trained with; None: the file that it was read from.
            part: "test" or "validation".
            settings: Keys of the `evaluation` section.
            shows: Whether to print what the command line prints.

        Returns:
            Metric -> value; also a line of metrics.jsonl.

        Raises:
            UserError: If the data are others, or a setting may not be changed.
        """
        with Workdir(str(self.path), must_exist=True):
            config, record = trained_config(str(self.path), _overrides(settings))
            source = _source(config, record["data_path"] if data is None else data)
            import_tensorflow()
            from ufnrec_tf.training.evaluate import evaluate_workdir

            return evaluate_workdir(
                config, record, source, str(self.path), part, Display(is_shown=shows)
            )


def load_export(path: str | Path) -> "Recommender":
    """Loads an exported model: an export folder's newest version, or one version.

    Raises:
        UserError: If there is none, or it is damaged.
    """
    import_tensorflow()
    from ufnrec_tf.recommend.recommender import Recommender

    return Recommender(path)


def _source(config: Any, data: Data, items: pd.DataFrame | None = None) -> Source:
    if isinstance(data, Interactions):
        return Source(data, None)
    return load(config, str(data) if isinstance(data, Path) else data, items=items)


def _path(data: Data) -> str:
    return str(data) if isinstance(data, str | Path) else ""


def _overrides(settings: Settings | None) -> list[tuple[str, str]]:
    """Returns settings as the command line would give them, to be checked alike."""

    def text(value: Any) -> str:
        is_many = isinstance(value, tuple | list)
        return ",".join(map(str, value)) if is_many else str(value)

    return [(key, text(value)) for key, value in (settings or {}).items()]


def _table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise UserError(
            f"{path}: not found. Expected a finished run that writes it: train to the end, and for "
            "false negatives with a memory.policy other than plain."
        )
    return pd.read_parquet(path)
