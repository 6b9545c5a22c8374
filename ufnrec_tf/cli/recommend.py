"""--mode=recommend: a work directory's newest exported model, histories, the screen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ufnrec_tf.common.display import Display
from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.export.versions import newest_version
from ufnrec_tf.recommend.batch import recommend
from ufnrec_tf.recommend.histories import Histories
from ufnrec_tf.recommend.history_groups import History


def recommend_workdir(flags: Any, log: Interactions | None, display: Display) -> None:
    """Writes --output, and shows what was read and written.

    Args:
        flags: workdir, histories, output, top_k.
        log: The data whose users are recommended for, or None for the file --histories.
        display: The screen.

    Raises:
        UserError: Where a file or a flag is at fault.
    """
    export_dir = newest_version(Path(flags.workdir) / "export")
    summary = recommend(
        export_dir,
        flags.histories if log is None else log_histories(log),
        flags.output,
        top_k=flags.top_k,
        display=display,
    )
    display.line(
        f"{flags.output}: {summary.num_recommendations:,} recommendations for "
        f"{summary.num_histories:,} histories ({summary.num_ids:,} item ids read, "
        f"{summary.num_unknown_ids:,} unknown and dropped; {summary.num_empty:,} histories "
        "without a known item)"
    )


def log_histories(log: Interactions) -> Histories:
    """Returns the whole histories of a log's users: what a split holds out is part of them."""

    def read(_: Path) -> Iterator[History]:
        for user, raw in enumerate(log.user_ids):
            items = log.items[log.offsets[user] : log.offsets[user + 1]]
            yield str(raw), log.item_ids[items].tolist()

    return Histories(
        name=log.source,
        kind="train",
        column="user",
        total=log.num_users,
        sha256=log.sha256,
        odd_line=0,
        read=read,
    )
