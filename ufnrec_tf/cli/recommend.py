"""--mode=recommend: recommendations by the newest export of a work directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ufnrec_tf.common.display import Display
from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.export.versions import load_newest, newest_version
from ufnrec_tf.reading.histories import HistoryFile
from ufnrec_tf.reading.readers import AS_IT_IS, LogSettings
from ufnrec_tf.recommend.batch import recommend
from ufnrec_tf.recommend.histories import Histories, History


def recommend_workdir(
    flags: Any, log: Interactions | None, settings: LogSettings, display: Display
) -> None:
    """Writes --output, and shows the counts of what was read and written.

    Args:
        flags: workdir, histories, output, top_k.
        log: The data whose users get recommendations, or None for the file --histories.
        settings: The settings by which the file is read.
        display: The screen.

    Raises:
        UserError: If a file or a flag is at fault.
    """
    folder = Path(flags.workdir) / "export"
    newest_version(folder)  # a missing export is an error before the file is read
    histories = (
        file_histories(Path(flags.histories), settings) if log is None else log_histories(log)
    )
    summary = load_newest(
        folder,
        lambda version: recommend(
            version, histories, flags.output, top_k=flags.top_k, display=display
        ),
    )
    display.line(
        f"{flags.output}: {summary.num_recommendations:,} recommendations for "
        f"{summary.num_histories:,} histories ({summary.num_ids:,} item ids read, "
        f"{summary.num_unknown_ids:,} unknown and dropped; {summary.num_empty:,} histories "
        "without a known item)"
    )


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
    """Returns the whole histories of a log's users, with the events that a split holds out."""

    def read(_: Path) -> Iterator[History]:
        for user, raw in enumerate(log.user_ids):
            items = log.items[log.offsets[user] : log.offsets[user + 1]]
            yield str(raw), log.item_ids[items].tolist()

    return Histories(log.source, "train", "user", log.num_users, log.sha256, read)
