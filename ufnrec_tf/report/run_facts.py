"""The facts of one run, finished or not: its files, and the data it was trained on."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.common.text import plain
from ufnrec_tf.config import current_value
from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.data.splits import Split, train_counts
from ufnrec_tf.data.summary import Summary, summary
from ufnrec_tf.evaluation.baselines import BASELINE_LABELS, BASELINES, baseline_ranks
from ufnrec_tf.evaluation.user_groups import Slice, make_slices
from ufnrec_tf.method.policies import POLICIES
from ufnrec_tf.reading.sources import load, make_split
from ufnrec_tf.runs.event_files import read_scalars
from ufnrec_tf.runs.run_files import OLDER_SCALARS, SCALARS, check_run_file, read_result
from ufnrec_tf.runs.workdir import RANKS_FILES, JsonLines

MOST_SCORES = 10**9
"""Users times items up to which simple baselines are ranked again: tens of seconds."""
MOST_PAIRS = 10**8
"""Pairs of items of one user, over users, up to which item neighbours are counted."""


_ITEM_KEYS = ("name", "history", "recommended", "taken_next", "item", "later", "observed")
"""Keys of result.json, below samples and false negatives, whose values name items."""


class ArmFacts(NamedTuple):
    """The files of one arm of a run; the last arm is the run itself.

    Attributes:
        label: Such as `SASRec+UFNRec`.
        result: The contents of its result.json, None before it has finished.
        evaluations: The lines of metrics.jsonl that training wrote on validation.
        scalars: Tag -> step -> value of training, as written for TensorBoard.
        ranks: int64, the rank of each test target by `target_keys`, None if there are none.
    """

    label: str
    result: dict[str, Any] | None
    evaluations: list[dict[str, Any]]
    scalars: dict[str, dict[int, float]]
    ranks: pd.Series | None


class DataFacts(NamedTuple):
    """The data of a run, read again.

    Attributes:
        summary: Counts; see `data.summary`.
        lengths: int64 [U], events of each user.
        counts: int64 [V], train events of each item, padding left out.
        times: First and last timestamp and the number of events between evenly spaced moments,
            or None where the log has no times.
        targets: The test targets, as `target_keys`.
        slices: Groups of these targets.
        baselines: Label -> int64 ranks of these targets, of simple baselines.
        item_names: Raw id -> id and title, of the items with a title.
    """

    summary: Summary
    lengths: np.ndarray
    counts: np.ndarray
    times: tuple[np.ndarray, np.ndarray] | None
    targets: pd.MultiIndex
    slices: list[Slice]
    baselines: dict[str, np.ndarray]
    item_names: dict[str, str]

    @property
    def is_epoch(self) -> bool:
        """True if times are seconds since 1970; else they are the file's own numbers."""
        return bool(self.summary.get("reading", {}).get("is_epoch", False))


class RunFacts(NamedTuple):
    """The source of all that the page of a run shows.

    Attributes:
        path: The work directory.
        config: The settings of the run.
        record: The contents of config.json.
        arms: The arms trained beside the run, then the run itself.
        data: The data, or None where it could not be read.
        why_no_data: The reason, or empty.
        is_running: True if a process is at work in the directory.
    """

    path: Path
    config: ConfigDict
    record: dict[str, Any]
    arms: tuple[ArmFacts, ...]
    data: DataFacts | None
    why_no_data: str
    is_running: bool

    @property
    def own(self) -> ArmFacts:
        """The run itself."""
        return self.arms[-1]

    @property
    def steps_an_epoch(self) -> float:
        """Steps of an epoch, 0 if there is no evaluation to count them by."""
        lines = [line for arm in self.arms for line in arm.evaluations if line["epoch"]]
        # An epoch that the limit of steps cut short has more than its number says.
        return min((line["step"] / line["epoch"] for line in lines), default=0.0)


def read_arms(path: Path) -> tuple[ArmFacts, ...]:
    """Returns the arms beside a run and, last, the run itself, finished or not.

    Raises:
        UserError: If a file is damaged.
    """
    inner = sorted(found.parent for found in (path / "baselines").glob("*/config.json"))
    own = _read_arm(path, "")
    arms: list[ArmFacts] = []
    for folder in inner:
        arm = _read_arm(folder, folder.name)
        is_taken = arm.label in {other.label for other in (own, *arms)}
        arms.append(arm._replace(label=f"{arm.label}, {folder.name}") if is_taken else arm)
    return (*arms, own)


def _read_arm(path: Path, name: str) -> ArmFacts:
    is_done = (path / "result.json").is_file()
    result = read_result(path) if is_done else None
    label = result["label"] if result else name or "this run"
    if result and name and current_value("memory.policy", name) not in POLICIES:
        label = f"{label}, {name}"
    scalars: dict[str, dict[int, float]] = {}
    for folder in (OLDER_SCALARS, SCALARS):  # a run begun by an older version has both
        check_run_file(path, folder)
        for tag, values in read_scalars(path / folder).items():
            scalars[tag] = scalars.get(tag, {}) | values
    ranks_path = path / RANKS_FILES["test"]
    check_run_file(path, RANKS_FILES["test"])
    ranks = _read_ranks(ranks_path) if is_done and ranks_path.is_file() else None
    return ArmFacts(label, result, validation_lines(path), scalars, ranks)


def validation_lines(path: Path) -> list[dict[str, Any]]:
    """Returns the lines of a run's metrics.jsonl that training wrote on validation."""
    check_run_file(path, "metrics.jsonl")
    lines = JsonLines(path / "metrics.jsonl").read()
    return [x for x in lines if x["split"] == "validation" and "mode" not in x]


def _read_ranks(path: Path) -> pd.Series:
    try:
        frame = pd.read_parquet(path)
        users, ranks = frame["user"].astype(str).to_numpy(), frame["rank"].to_numpy(np.int64)
        return pd.Series(ranks, index=target_keys(users))
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{path}: cannot be read ({own_words(error)[:200]}). Remove it to have the page "
            "without it."
        ) from error


def target_keys(users: np.ndarray) -> pd.MultiIndex:
    """Returns (raw user id, which of the user's targets, from 0) of each target, in their order."""
    numbers = pd.Series(users).groupby(users).cumcount().to_numpy()
    return pd.MultiIndex.from_arrays([users, numbers], names=["user", "number"])


def read_data(
    config: ConfigDict, data: str | pd.DataFrame | Interactions, *, sha256: str
) -> DataFacts:
    """Returns the facts of the data of a run.

    Args:
        config: The configuration of the run.
        data: The log, or empty; in Python also a frame, or what was read.
        sha256: Of the data that the run was trained on.

    Raises:
        UserError: If it cannot be read, or is other data.
    """
    log = data if isinstance(data, Interactions) else load(config, data).interactions
    if log.sha256 != sha256:
        name = data if isinstance(data, str) and data else log.source
        raise UserError(
            f"{name}: has sha256 {log.sha256[:12]}, the run was trained on {sha256[:12]}. Give the "
            "--data it was trained on."
        )
    split = make_split(config, log)
    is_scored = len(split.users("test")) > 0
    return DataFacts(
        summary=summary(split),
        lengths=log.lengths,
        counts=train_counts(split)[1:],
        times=_times(log.timestamps),
        targets=target_keys(log.user_ids[split.users("test")].astype(str)),
        slices=make_slices(split) if is_scored else [],
        baselines=_baselines(config, split) if is_scored else {},
        item_names=_item_names(log),
    )


def _item_names(log: Interactions) -> dict[str, str]:
    if log.item_titles is None:
        return {}
    titled = np.flatnonzero(log.item_titles != "").tolist()
    return {plain(str(log.item_ids[item])): log.item_name(item) for item in titled}


def with_titles(arms: tuple[ArmFacts, ...], names: dict[str, str]) -> tuple[ArmFacts, ...]:
    """Returns arms whose items have the titles that their run was given after training.

    Args:
        arms: Results of runs that were trained without titles name items by their ids only.
        names: See `DataFacts.item_names`.
    """
    found = []
    for arm in arms:
        result = dict(arm.result or {})
        for section in {"samples", "false_negatives"} & result.keys():
            result[section] = _renamed(result[section], names)
        found.append(arm._replace(result=result or None) if names else arm)
    return tuple(found)


def _renamed(value: Any, names: dict[str, str], key: str = "") -> Any:
    """Returns a part of result.json with the names of its items replaced."""
    if isinstance(value, dict):
        return {key: _renamed(inner, names, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [_renamed(inner, names, key) for inner in value]
    return names.get(value, value) if key in _ITEM_KEYS and isinstance(value, str) else value


def _times(timestamps: np.ndarray | None) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the histogram of times: counts and edges."""
    if timestamps is None or not len(timestamps) or np.ptp(timestamps) == 0:
        return None
    counts, edges = np.histogram(timestamps, bins=40)
    return counts, edges


def _baselines(config: ConfigDict, split: Split) -> dict[str, np.ndarray]:
    """Returns the ranks of the configured baselines and of item neighbours, if cheap enough."""
    log = split.interactions
    if len(split.users("test")) * log.num_items > MOST_SCORES:
        return {}
    names = [name for name in config.comparison.baselines if name in BASELINES]
    if "popularity" not in names:
        names.insert(0, "popularity")
    if (
        "itemknn" not in names
        and float(np.square(log.lengths, dtype=np.float64).sum()) < MOST_PAIRS
    ):
        names.append("itemknn")
    mask = config.evaluation.mask
    return {
        BASELINE_LABELS.get(name, name): baseline_ranks(
            BASELINES[name]().fit(split), split, "test", mask=mask
        )
        for name in names
    }
