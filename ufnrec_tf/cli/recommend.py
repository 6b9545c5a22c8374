"""--mode=recommend: a work directory's newest exported model, histories, the screen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.lookup import nearest
from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.export.versions import newest_version
from ufnrec_tf.faiss_scorer import FaissScorer
from ufnrec_tf.reading.histories import HistoryFile
from ufnrec_tf.reading.readers import AS_IT_IS, LogSettings
from ufnrec_tf.recommend.batch import recommend
from ufnrec_tf.recommend.histories import Histories, History
from ufnrec_tf.recommend.scoring import load_model

INDEXES = ("exact", "faiss")


def recommend_workdir(
    flags: Any, log: Interactions | None, settings: LogSettings, display: Display
) -> None:
    """Writes --output, and shows what was read and written.

    Args:
        flags: workdir, histories, output, top_k, index.
        log: The data whose users are recommended for, or None for the file --histories.
        settings: How that file is read.
        display: The screen.

    Raises:
        UserError: Where a file or a flag is at fault.
    """
    export_dir = newest_version(Path(flags.workdir) / "export")
    scorer = _scorer(flags.index, export_dir)
    summary = recommend(
        export_dir,
        file_histories(Path(flags.histories), settings) if log is None else log_histories(log),
        flags.output,
        top_k=flags.top_k,
        scorer=scorer,
        display=display,
    )
    display.line(
        f"{flags.output}: {summary.num_recommendations:,} recommendations for "
        f"{summary.num_histories:,} histories ({summary.num_ids:,} item ids read, "
        f"{summary.num_unknown_ids:,} unknown and dropped; {summary.num_empty:,} histories "
        "without a known item)"
    )
    if isinstance(scorer, FaissScorer):
        display.line(f"  {scorer.recall_line}")


def _scorer(index: str, export_dir: Path) -> FaissScorer | None:
    """Returns what finds the items, None for the model itself."""
    if index not in INDEXES:
        raise UserError(
            f"--index must be one of {', '.join(INDEXES)}. Received: {index!r}."
            f"{nearest(index, INDEXES)}"
        )
    return FaissScorer(export_dir, load_model(export_dir)) if index == "faiss" else None


def file_histories(path: Path, settings: LogSettings = AS_IT_IS) -> Histories:
    """Returns the histories of a file.

    Raises:
        UserError: If it cannot be read, or is not as expected.
    """
    file = HistoryFile(path, settings)
    return Histories(
        name=str(path),
        kind=file.kind,
        column=file.column,
        total=file.total,
        sha256=file.sha256,
        read=file.read,
        path=path,
        odd_line=file.odd_line,
    )


def log_histories(log: Interactions) -> Histories:
    """Returns the whole histories of a log's users: what a split holds out is part of them."""

    def read(_: Path) -> Iterator[History]:
        for user, raw in enumerate(log.user_ids):
            items = log.items[log.offsets[user] : log.offsets[user + 1]]
            yield str(raw), log.item_ids[items].tolist()

    return Histories(log.source, "train", "user", log.num_users, log.sha256, read)
