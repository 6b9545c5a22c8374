"""Batch recommendations: histories and an exported model to a CSV or Parquet file."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ufnrec_tf.common.display import Display, ProgressBar
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.export.items import read_items
from ufnrec_tf.export.saved_model import checked_metadata
from ufnrec_tf.export.versions import damaged_error
from ufnrec_tf.recommend.diversity import make_diversifier
from ufnrec_tf.recommend.finished_parts import FinishedParts, HistoryCounts, hash_of_folder
from ufnrec_tf.recommend.given_times import WITH_REQUEST, needed_error, with_request
from ufnrec_tf.recommend.histories import SIMILAR, Histories
from ufnrec_tf.recommend.output import (
    checked_output,
    format_of,
    join_parts,
    output_schema,
    part_writer,
)
from ufnrec_tf.recommend.scoring import (
    NO_LISTS,
    BestItems,
    ExactScorer,
    ItemLists,
    SimilarScorer,
    batches_of,
    load_model,
    read_titles,
    to_tensor,
)

# Recommendations that a killed run loses at most.
_PART_ROWS = 1 << 18
# Batches that the model answers at once, while others are read and written.
_CALLS_AT_ONCE = 2
_QUIET_SECONDS = 5.0


class RecommendSummary(NamedTuple):
    """The counts of what `recommend` read and wrote.

    Attributes:
        form: The kind of the histories; see `Histories.kind`.
        num_histories: Histories read, empty ones included.
        num_ids: Item ids read.
        num_unknown_ids: Item ids that the model does not know; they were dropped.
        num_empty: Histories without a known id; `export.fallback` sets their answer.
        num_recommendations: Rows written.
        unlike: An id of a history without a known one, and an id that the model knows; "" where
            there is none.
        unknown_exclude: The ids to exclude that the model does not know.
        unknown_allow: The ids to allow that the model does not know.
    """

    form: str
    num_histories: int
    num_ids: int
    num_unknown_ids: int
    num_empty: int
    num_recommendations: int
    unlike: tuple[str, str] = ("", "")
    unknown_exclude: tuple[str, ...] = ()
    unknown_allow: tuple[str, ...] = ()


def recommend(
    export_dir: str | os.PathLike[str],
    histories: Histories,
    output_path: str | os.PathLike[str],
    *,
    top_k: int,
    batch_size: int = 256,
    lists: ItemLists = NO_LISTS,
    scorer: ExactScorer | None = None,
    diversity: float = 0.0,
    display: Display | None = None,
) -> RecommendSummary:
    """Writes the `top_k` best items of each history, by the exported model.

    Ids that the model does not know are dropped and counted; memory is bounded by the batch,
    whatever the number of histories.

    Output: columns `user,rank,item,score`, `title` where the export has titles, and `known_items`,
    the number of ids of the history that the model knows: 0 marks an answer by popularity. `row`,
    the number of the line from 1, stands instead of `user` where the input has one history a line,
    and `similar_to` where similar items are looked for: there scores are cosines.
    The ending of the name sets the format: CSV, gzipped CSV or Parquet. Users come in order of
    first appearance. A history has fewer than `top_k` rows where fewer items are left. The file
    appears whole or not at all. A killed run resumes after its last part, and writes the same file
    as an unbroken one.

    Args:
        export_dir: Version folder of the export, such as `export/1`.
        histories: The histories; see `reading/histories.py` for those of a file.
        output_path: Output file, replaced where it exists; its folder must exist.
        top_k: Recommendations a history, 1 or more.
        batch_size: Histories scored at once, at most.
        lists: The items to exclude from all answers, and the only ones to allow.
        scorer: Finds the items; None: the exported model.
        diversity: From 0, the best items, to 1; see `diverse_order`. Scores stay the model's.
        display: Shows progress after 5 s, and a note if the run resumes a killed one; None:
            nothing is shown.

    Returns:
        The counts of what was read and written.

    Raises:
        UserError: If a file, the export or a number is at fault, or the model knows no item of any
            history, or none of the items to allow.
    """
    for flag, value in (("--top_k", top_k), ("batch_size", batch_size)):
        if value < 1:
            raise UserError(f"{flag} must be a positive integer. Received: {value}.")
    export_dir = Path(export_dir)
    metadata = checked_metadata(export_dir)
    num_items = int(metadata["num_items"])
    # An item to find similar ones of has no time.
    reads_times = "times" in metadata and histories.kind != SIMILAR
    if reads_times and histories.read_timed is None:
        raise needed_error(f"{histories.name}: histories")
    output = checked_output(output_path, histories.path)
    if scorer is None:
        model = load_model(export_dir)
        if histories.kind == SIMILAR:
            scorer = SimilarScorer(model, lists)
        else:
            scorer = ExactScorer(model, lists, make_diversifier(export_dir, model, diversity))
    unknown = ItemLists(*(tuple(scorer.unknown(ids)) for ids in lists))
    if lists.allow and len(unknown.allow) == len(set(lists.allow)):
        raise UserError(
            f"--allow: the model knows none of its {len(unknown.allow):,} items, such as "
            f"{unknown.allow[0][:40]!r}, so nothing could be recommended. Correct the ids."
        )
    titles = read_titles(export_dir)
    run = _OutputRun(
        scorer,
        output,
        export_dir=export_dir,
        column=histories.column,
        titles=titles,
        k=min(top_k, num_items),
        batch_size=batch_size,
        num_items=num_items,
        num_listed=sum(map(len, lists)),
        metadata=metadata,
        reads_times=reads_times,
    )
    identity = {
        "model": _hash_of_model(export_dir),
        "input": [histories.kind, histories.sha256],
        "--top_k": run.k,
        "--index": "exact",  # earlier versions also offered an approximate index
        "--diversity": diversity,
        "columns": run.columns,
        "--exclude": sorted(set(lists.exclude)),
        "--allow": sorted(set(lists.allow)),
    }
    if reads_times and metadata["times"] == WITH_REQUEST:
        identity["asked at"] = run.now
    try:
        done = run.write(histories, identity, display)
    except OSError as error:
        raise UserError(
            f"{output_path}: cannot be written: {error.strerror or error}. "
            "Free space there or choose another --output."
        ) from error
    return RecommendSummary(
        histories.kind,
        done.histories,
        done.ids,
        done.ids - done.known,
        done.empty,
        done.recommendations,
        run.unlike if done.empty else ("", ""),
        *unknown,
    )


class _OutputRun:
    """Writes one output, part by part."""

    def __init__(
        self,
        scorer: ExactScorer,
        output: Path,
        *,
        export_dir: Path,
        column: str,
        titles: dict[bytes, str] | None,
        k: int,
        batch_size: int,
        num_items: int,
        num_listed: int,
        metadata: dict[str, Any],
        reads_times: bool,
    ) -> None:
        self.k = k
        self.now = int(time.time())
        self._metadata = metadata
        self._reads_times = reads_times
        self._export_dir = export_dir
        self._num_listed = num_listed
        self._unknown_id = ""
        self._scorer = scorer
        self._output = output
        self._column = column
        self._titles = titles
        self._batch_size = batch_size
        self._num_items = num_items
        self._format = format_of(output)
        self._schema = output_schema(column, has_titles=titles is not None)

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return self._schema.names

    @property
    def unlike(self) -> tuple[str, str]:
        """See `RecommendSummary.unlike`."""
        table = read_items(self._export_dir, ["item_id"])
        return self._unknown_id, "" if table is None else str(table["item_id"].iloc[0])

    def write(
        self, histories: Histories, identity: dict[str, Any], display: Display | None
    ) -> HistoryCounts:
        """Writes the missing parts, then the output; returns the counts of all parts."""
        new = self._output.with_name(f".{self._output.name}.new")
        with FinishedParts(self._output, identity) as parts:
            if display is not None and parts.note:
                display.notes.line(f"{self._output}: {parts.note}")
            progress = _Progress(display, histories.total, parts.done.histories)
            read: Any = histories.read_timed if self._reads_times else histories.read
            left = islice(read(parts.scratch()), parts.done.histories, None)
            try:
                while chunk := list(islice(left, 1)):
                    rest = islice(left, max(0, _PART_ROWS // self.k - 1))
                    self._write_part(chain(chunk, rest), parts, progress)
            finally:
                progress.close()
            self._check_known_items(histories, parts.done)
            try:
                join_parts(parts.paths, new, self._schema, self._format)
                os.replace(new, self._output)
            finally:
                new.unlink(missing_ok=True)
            return parts.done

    def _write_part(
        self,
        histories: Iterable[Any],
        parts: FinishedParts,
        progress: _Progress,
    ) -> None:
        """Scores the batches of a part one by one, and writes their rows."""
        counts = HistoryCounts()
        with part_writer(parts.next_path, self._schema, self._format) as writer:
            batches = batches_of(
                histories,
                batch_size=self._batch_size,
                num_items=self._num_items,
                num_listed=self._num_listed,
            )
            for batch, best in self._answered(batches):
                if not self._unknown_id:
                    empty = (batch[row][1] for row in np.flatnonzero(best.num_known == 0))
                    self._unknown_id = next((ids[0] for ids in empty if ids), "")
                rows = self._rows([history[0] for history in batch], best)
                writer.write(rows)
                counts = counts.plus(
                    HistoryCounts(
                        histories=len(batch),
                        ids=sum(len(history[1]) for history in batch),
                        known=int(best.num_known.sum()),
                        empty=int(np.count_nonzero(best.num_known == 0)),
                        recommendations=rows.num_rows,
                    )
                )
                progress.update(parts.done.histories + counts.histories)
        parts.finish(counts)

    def _answered(self, batches: Iterable[list[Any]]) -> Iterator[tuple[list[Any], BestItems]]:
        """Yields each batch with its answer, in order; threads ask for those of the next ones."""
        asked: deque[tuple[list[Any], Future[BestItems]]] = deque()
        with ThreadPoolExecutor(_CALLS_AT_ONCE) as pool:
            for batch in batches:
                asked.append((batch, pool.submit(self._best, batch)))
                if len(asked) > _CALLS_AT_ONCE:
                    batch, answer = asked.popleft()
                    yield batch, answer.result()
            for batch, answer in asked:
                yield batch, answer.result()

    def _best(self, batch: list[Any]) -> BestItems:
        """Returns the best items of a batch."""
        ids_of_batch = to_tensor([history[1] for history in batch])
        return self._scorer.best(ids_of_batch, self.k, **self._times(batch))

    def _times(self, batch: list[Any]) -> dict[str, list[list[int]]]:
        """Returns the `times` of a batch of histories; none for a model that reads none."""
        if not self._reads_times:
            return {}
        asked = self._metadata, self.now
        return {"times": [with_request(times, len(ids), *asked) for _, ids, times in batch]}

    def _rows(self, names: list[str], best: BestItems) -> pa.Table:
        """Returns the rows of a batch."""
        is_item = best.item_ids != b""  # [B, k]
        rows, columns = np.nonzero(is_item)
        items = best.item_ids[is_item].tolist()
        own: Any = np.array(names, np.int64 if self._column == "row" else object)
        values = [
            pa.array(own[rows], self._schema.field(0).type),
            pa.array((columns + 1).astype(np.int32)),
            pa.array(items, pa.binary()).cast(pa.string()),
            pa.array(best.scores[is_item]),
        ]
        if self._titles is not None:
            values.append(pa.array([self._titles.get(item, "") for item in items], pa.string()))
        values.append(pa.array(best.num_known[rows].astype(np.int32)))
        return pa.table(values, schema=self._schema)

    def _check_known_items(self, histories: Histories, done: HistoryCounts) -> None:
        """Raises UserError if the model knows no item of the input at all."""
        if done.known:
            return
        if histories.odd_line:
            raise UserError(
                f"{histories.name}, line {histories.odd_line}: expected `user,item` as in the "
                "lines before (and as histories, one a line, the file has no item that the model "
                "knows). Correct the line."
            )
        raise UserError(
            f"{histories.name}: the model knows no item of any of its {done.histories:,} histories"
            f"{unlike_text(self.unlike)}, so nothing was written. Correct the ids, or say how to "
            "read the file by --config.data.format, user_column and item_column."
        )


class _Progress:
    """A progress bar with histories a second, shown once a run has taken some seconds."""

    def __init__(self, display: Display | None, total: int, done: int) -> None:
        self._display = display
        self._total = total
        self._done = self._first = done
        self._begin = time.monotonic()
        self._bar: ProgressBar | None = None

    def update(self, done: int) -> None:
        """Shows the number of histories that are done."""
        self._done = done
        seconds = time.monotonic() - self._begin
        if self._bar is None and self._display is not None and seconds > _QUIET_SECONDS:
            self._bar = ProgressBar(
                self._display, label="recommend", total=self._total, done=self._first
            )
        if self._bar is not None:
            speed = (done - self._first) / seconds
            self._bar.update(done, f"{done:,} of {self._total:,} histories, {speed:,.0f}/s")

    def close(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.close(self._done, is_over=True)


def _hash_of_model(export_dir: Path) -> str:
    try:
        return hash_of_folder(export_dir)
    except OSError as error:
        raise damaged_error(export_dir, error) from error


def unlike_text(unlike: tuple[str, str]) -> str:
    """Returns ` (such as 'X'; it has such as 'Y')`, of the model; see `RecommendSummary.unlike`."""
    unknown, known = unlike
    if not unknown:
        return ""
    return f" (such as {unknown[:40]!r}{f'; it has such as {known[:40]!r}' if known else ''})"
