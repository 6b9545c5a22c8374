"""--mode=recommend: recommendations by the newest export of a work directory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ml_collections import ConfigDict

from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.export.items import read_items
from ufnrec_tf.export.versions import load_newest, newest_version
from ufnrec_tf.reading.columns import GUESSES
from ufnrec_tf.reading.histories import HistoryFile
from ufnrec_tf.reading.history_forms import OwnReading, RunVocabulary
from ufnrec_tf.reading.id_lists import ids_of_flag, read_id_list
from ufnrec_tf.reading.readers import AS_IT_IS, LogSettings
from ufnrec_tf.reading.sources import settings_of
from ufnrec_tf.recommend.histories import SIMILAR, SIMILAR_TO, Histories, History, TimedHistory
from ufnrec_tf.runs.histories import RunHistories, run_histories, users_among
from ufnrec_tf.runs.run_files import RESULT, read_result
from ufnrec_tf.runs.trained_settings import trained_config

if TYPE_CHECKING:
    from ufnrec_tf.recommend.batch import RecommendSummary


class OpenedRun(NamedTuple):
    """A work directory to recommend from.

    Attributes:
        path: The directory.
        export_dir: The newest version of its export.
        config: The configuration that it was trained with, or None beside an export that was
            copied without its run.
        record: The content of config.json; empty then.
    """

    path: Path
    export_dir: Path
    config: ConfigDict | None
    record: dict[str, Any]

    @property
    def reading(self) -> OwnReading:
        """How the run read its log: the columns that it was told, else those that it found."""
        if self.config is None:
            return OwnReading()
        given = settings_of(self.config).columns
        is_finished = (self.path / RESULT).is_file()
        found = read_result(self.path)["data"].get("reading", {}) if is_finished else {}
        names = found.get("columns", {})
        roles = {role: getattr(given, role) or names.get(role, "") for role in GUESSES}
        columns = replace(given, **roles)
        data = self.config.data
        events = ",".join(data.events)
        return OwnReading(columns, data.min_rating, events, data.duplicates, data.repeats)

    @property
    def known(self) -> RunVocabulary | None:
        """The ids that the run knows; None for an older export without a table of items."""
        items = read_items(self.export_dir, ["item_id"])
        if items is None:
            return None
        return RunVocabulary(lambda: items["item_id"], lambda ids: users_among(self.path, ids))


def opened_run(workdir: str) -> OpenedRun:
    """Returns a work directory to recommend from.

    Raises:
        UserError: If it has no export, or its record is damaged.
    """
    path = Path(workdir)
    export_dir = newest_version(path / "export")
    if not (path / "config.json").is_file():
        return OpenedRun(path, export_dir, None, {})
    return OpenedRun(path, export_dir, *trained_config(workdir, []))


def read_histories(flags: Any, run: OpenedRun, config: ConfigDict, display: Display) -> Histories:
    """Returns what --histories, --users or --similar names, and shows how it was read.

    Args:
        flags: histories, users, similar, data.
        run: The work directory.
        config: The `data` section says how a file of histories is read.
        display: The screen.

    Raises:
        UserError: If a file cannot be read or is not as expected, or the run knows no user of it.
    """
    if flags.similar:
        return _items_of_file(Path(flags.similar), run, display)
    if flags.users or flags.histories == "train":
        if run.config is None:
            flag = "--users" if flags.users else "--histories=train"
            raise UserError(
                f"{run.path}: has no config.json, so it is not known what its model was trained "
                f"on, which {flag} needs. Give histories as --histories=FILE."
            )
        kept = run_histories(run.path, run.config, run.record, data=flags.data)
        if flags.users:
            users = read_id_list(
                Path(flags.users), role="user", column=run.reading.columns.user, flag="--users"
            )
            return user_histories(kept, users, Path(flags.users), display)
        return all_histories(kept, run)
    file = HistoryFile(Path(flags.histories), settings_of(config), own=run.reading, known=run.known)
    display.notes.line(f"{flags.histories}: {file.words[0].strip()}")
    display.notes.block(file.words[1:])
    return _of_file(file)


def read_lists(flags: Any, run: OpenedRun) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the raw item ids of --exclude and --allow.

    Raises:
        UserError: If a flag names a file that cannot be read, or no item.
    """
    exclude, allow = (
        tuple(ids_of_flag(text, flag=flag, known=run.known)) if text else ()
        for flag, text in (("--exclude", flags.exclude), ("--allow", flags.allow))
    )
    return exclude, allow


def recommend_workdir(
    flags: Any,
    run: OpenedRun,
    histories: Histories,
    lists: tuple[tuple[str, ...], tuple[str, ...]],
    display: Display,
) -> None:
    """Writes --output, and shows the counts of what was read and written.

    Args:
        flags: output, top_k, diversity.
        run: The work directory.
        histories: The histories.
        lists: The result of `read_lists`.
        display: The screen.

    Raises:
        UserError: If a file or a flag is at fault.
    """
    from ufnrec_tf.recommend.batch import recommend
    from ufnrec_tf.recommend.scoring import ItemLists

    summary = load_newest(
        run.path / "export",
        lambda version: recommend(
            version,
            histories,
            flags.output,
            top_k=flags.top_k,
            lists=ItemLists(*lists),
            diversity=flags.diversity,
            display=display,
        ),
    )
    for line in _warnings(summary):
        display.line(f"warning: {line}")
    if summary.form == SIMILAR:
        display.line(
            f"{flags.output}: {summary.num_recommendations:,} similar items; items asked for: "
            f"{summary.num_histories:,}"
        )
        return
    display.line(
        f"{flags.output}: {summary.num_recommendations:,} recommendations for "
        f"{summary.num_histories:,} histories ({summary.num_ids:,} item ids read, "
        f"{summary.num_unknown_ids:,} unknown and dropped; {summary.num_empty:,} histories "
        "without a known item)"
    )


def _warnings(summary: RecommendSummary) -> Iterator[str]:
    from ufnrec_tf.recommend.batch import unlike_text

    for flag, ids in (
        ("--exclude", summary.unknown_exclude),
        ("--allow", summary.unknown_allow),
    ):
        if ids:
            yield f"{flag}: the model does not know {len(ids):,} items, such as {ids[0][:40]!r}"
    if summary.num_empty:
        yield (
            f"{summary.num_empty:,} of {summary.num_histories:,} histories have no item that the "
            f"model knows{unlike_text(summary.unlike)}: all of them get the same items, marked by "
            "known_items=0"
        )


def file_histories(path: Path, settings: LogSettings = AS_IT_IS) -> Histories:
    """Returns the histories of a file, read without a run that knows its ids.

    Raises:
        UserError: If it cannot be read, or is not as expected.
    """
    return _of_file(HistoryFile(path, settings))


def _items_of_file(path: Path, run: OpenedRun, display: Display) -> Histories:
    """Returns the items of --similar; those that the model does not know are shown and left out.

    Raises:
        UserError: If the file cannot be read, or the model knows none of its items.
    """
    column, known = run.reading.columns.item, run.known
    ids = read_id_list(path, role="item", column=column, flag="--similar")
    if known is not None:
        ids = list(dict.fromkeys(map(known.item, ids)))
        found = [raw for raw in ids if raw in known.items]
        missing = [raw for raw in ids if raw not in known.items]
        if missing:
            text = (
                f"{path}: the model does not know {len(missing):,} of {len(ids):,} items, such as "
                f"{missing[0][:40]!r}; it knows ids such as {min(known.items)[:40]!r}."
            )
            if not found:
                raise UserError(f"{text} Give raw item ids of the log that the run read.")
            display.line(f"warning: {text} They get no similar items.")
        ids = found

    def read(_: Path) -> Iterator[History]:
        return ((raw, [raw]) for raw in ids)

    sha256 = hashlib.sha256("\n".join(ids).encode()).hexdigest()
    return Histories(str(path), SIMILAR, SIMILAR_TO, len(ids), sha256, read, path)


def _of_file(file: HistoryFile) -> Histories:
    return Histories(
        name=str(file.path),
        kind=file.kind,
        column=file.column,
        total=file.total,
        sha256=file.sha256,
        read=file.read,
        path=file.path,
        odd_line=file.odd_line,
        read_timed=file.read_timed if file.has_times else None,
    )


def all_histories(kept: RunHistories, run: OpenedRun) -> Histories:
    """Returns the histories of all users of a run, with the events that a split holds out."""

    def read(_: Path) -> Iterator[History]:
        for row, user in enumerate(kept.user_ids):
            yield str(user), kept.history(row)

    sha256 = run.record["identity"].get("data of sha256", "")
    timed = _timed(kept, range(len(kept.user_ids)))
    return Histories(
        *(str(run.path), "train", "user", len(kept.user_ids), sha256, read), read_timed=timed
    )


def _timed(
    kept: RunHistories, rows: Sequence[int]
) -> Callable[[Path], Iterator[TimedHistory]] | None:
    """Returns what reads some of a run's histories with their times; None if it keeps none."""
    if kept.times is None:
        return None

    def read(_: Path) -> Iterator[TimedHistory]:
        for row in rows:
            yield str(kept.user_ids[row]), kept.history(row), kept.times_of(row)

    return read


def user_histories(
    kept: RunHistories, users: Sequence[str], path: Path, display: Display
) -> Histories:
    """Returns the histories of some users of a run; those that it does not know are shown.

    Args:
        kept: The histories of all users.
        users: Raw ids.
        path: The file that named them.
        display: The screen.

    Raises:
        UserError: If the run knows none of them.
    """
    rows = kept.rows_of(users)
    found = list(dict.fromkeys(rows[rows >= 0].tolist()))  # ` u5` may stand beside `u5`
    missing = [user for user, row in zip(users, rows.tolist(), strict=True) if row < 0]
    if missing:
        text = f"{path}: {kept.unknown_text(missing, len(users))}"
        if not found:
            raise UserError(f"{text} Give raw user ids of the log that the run read, one a line.")
        display.line(f"warning: {text} They get no recommendations.")

    def read(_: Path) -> Iterator[History]:
        for row in found:
            yield str(kept.user_ids[row]), kept.history(row)

    names = "\n".join(str(kept.user_ids[row]) for row in found)
    sha256 = hashlib.sha256(names.encode()).hexdigest()
    timed = _timed(kept, found)
    return Histories(
        *(str(path), "users", "user", len(found), sha256, read, path), read_timed=timed
    )
