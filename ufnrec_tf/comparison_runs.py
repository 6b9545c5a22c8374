"""Finished runs as a comparison reads them: results, ranks, curves."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ufnrec_tf.data.splits import Split
from ufnrec_tf.errors import UserError, own_words
from ufnrec_tf.workdir import RANKS_FILES, JsonLines, read_json


class Run(NamedTuple):
    """One arm trained with one seed.

    Attributes:
        path: Its work directory.
        result: What its result.json holds.
        ranks: Part to int64 [M], the rank of each target.
        evaluations: The lines of metrics.jsonl that training wrote on validation.
        users: Part to int32 [M], ascending, the user of each target.
    """

    path: Path
    result: dict[str, Any]
    ranks: dict[str, np.ndarray]
    evaluations: list[dict[str, Any]]
    users: dict[str, np.ndarray]


Runs = dict[tuple[str, int], Run]
"""(arm, seed) -> its run, for those that are finished."""


def read_run(path: Path, split: Split) -> Run:
    """Returns a finished run.

    Args:
        path: Its work directory.
        split: Of the comparison; the run's users must be its evaluated users.

    Raises:
        UserError: If a file is missing, damaged or about other users.
    """
    result = read_json(path / "result.json")
    ranks = {part: _read_ranks(path / name, split, part) for part, name in RANKS_FILES.items()}
    lines = JsonLines(path / "metrics.jsonl").read()
    found = [x for x in lines if x.get("split") == "validation" and "mode" not in x]
    # Student and teacher may both have been scored: the better stood for the run.
    better: dict[int, dict[str, Any]] = {}
    for line in found:
        before = better.get(line["step"])
        if before is None or line["ndcg@10"] > before["ndcg@10"]:
            better[line["step"]] = line
    users = {part: split.users(part) for part in RANKS_FILES}
    return Run(path, result, ranks, list(better.values()), users)


def _read_ranks(path: Path, split: Split, part: str) -> np.ndarray:
    again = f"Remove {path.parent} to have this run trained again."
    try:
        frame = pd.read_parquet(path)
        users, ranks = frame["user"].to_numpy(), frame["rank"].to_numpy(np.int64)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: cannot be read ({own_words(error)}). {again}") from error
    expected = split.interactions.user_ids[split.users(part)].astype(str)
    if len(users) != len(expected) or (users.astype(str) != expected).any():
        raise UserError(f"{path}: is about other users than the data given now. {again}")
    return ranks
