"""--mode=serve: a local server of an export, with the users and items of its run on the page."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import Terminated, UserError, import_extra, own_words
from ufnrec_tf.common.tensorflow_setup import import_tensorflow
from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.export.versions import newest_version
from ufnrec_tf.reading.sources import PLANTED, load
from ufnrec_tf.runs.histories import has_histories, read_histories
from ufnrec_tf.runs.raw_ids import has_ids, read_ids
from ufnrec_tf.runs.run_files import check_run_file
from ufnrec_tf.runs.workdir import RANKS_FILES, read_record
from ufnrec_tf.serving.limits import Limits
from ufnrec_tf.serving.page_search import Catalogue, UserHistories, Users

_NEEDED = ("fastapi", "pydantic", "uvicorn", "prometheus_client")
_MEMORY_FILE = "false_negatives.parquet"
_MEMORY_COLUMNS = ["user", "item", "position", "count", "margin", "flagged"]
_RANK_COLUMNS = ["user", "item", "rank", "position"]
_MAX_LOG_BYTES = 1 << 29


class ServeOptions(NamedTuple):
    """The flags of --mode=serve.

    Attributes:
        workdir: A work directory, or "" for only an export.
        export: Folder of version folders, or "" for the work directory's.
        data: The log, or "" for the one that the run was trained on.
        host: Address to listen on.
        port: Port to listen on, 0 for any free one.
    """

    workdir: str
    export: str
    data: str
    host: str
    port: int


class RunContents(NamedTuple):
    """The users and items of a run, for the page.

    Attributes:
        users: The users, or None.
        catalogue: The items, or None.
        note: The reason why the page shows less than the whole log, or "".
    """

    users: Users | None
    catalogue: Catalogue | None
    note: str


def serve(
    options: ServeOptions, config: ConfigDict, source_config: ConfigDict, display: Display
) -> None:
    """Serves until a signal ends it.

    Args:
        options: The export, the run and the address.
        config: The configuration, of which only `serving` is read.
        source_config: The configuration of the run's training, by which its log is read.
        display: The screen.

    Raises:
        UserError: If there is no export, or the address cannot be listened on.
    """
    for package in _NEEDED:
        import_extra(package, extra="serve", needed_by="--mode=serve")
    folder = Path(options.export) if options.export else Path(options.workdir) / "export"
    newest_version(folder)  # a missing export is an error before TensorFlow is imported
    import_tensorflow()
    from ufnrec_tf.serving.connections import BACKLOG
    from ufnrec_tf.serving.server import Address, Server, listen

    def log_line(text: str) -> None:
        with suppress(OSError, UserError):  # a full disk of the log stops no answer
            display.line(text, wraps=False)

    settings = config.serving.to_dict()
    poll_seconds = settings.pop("poll_seconds")
    bound = listen(Address(options.host, options.port))
    with bound:
        contents = run_contents(options, source_config)
        server = Server(
            folder,
            limits=Limits(**settings),
            users=contents.users,
            catalogue=contents.catalogue,
            log_line=log_line,
        )
        if contents.note:
            display.notes.line(contents.note)
        bound.listen(BACKLOG)  # a client that reads the lines below can connect
        port = bound.getsockname()[1]
        shown_host = f"[{options.host}]" if ":" in options.host else options.host
        version = server.service.keeper.current.version
        display.line(f"{folder}: version {version} serves at http://{shown_host}:{port}/")
        display.line(
            f"  POST http://{shown_host}:{port}/v1/models/ufnrec:predict; /healthz /readyz "
            "/metrics; Ctrl-C ends it",
            wraps=False,
        )
        try:
            server.run(bound, host=options.host, poll_seconds=poll_seconds)
        except (KeyboardInterrupt, Terminated) as end:
            raise type(end)("stopped") from None


def run_contents(options: ServeOptions, source_config: ConfigDict) -> RunContents:
    """Returns users and items of a run: from its log, else from what the work directory keeps.

    Raises:
        UserError: If --data was given and is not the run's log, or the run's record is damaged.
    """
    if not options.workdir:
        return RunContents(None, None, "")
    workdir = Path(options.workdir)
    record = read_record(workdir / "config.json")
    memory = _read_table(workdir, _MEMORY_FILE, _MEMORY_COLUMNS)
    ranks = _read_table(workdir, RANKS_FILES["test"], _RANK_COLUMNS)
    note = ""
    try:
        log = _read_log(options, record["data_path"], source_config)
        if log is not None:
            _check_same_log(log, record["identity"].get("data of sha256"), options)
            has_times = source_config.backbone.time != "none"
            return _contents_of_log(log, memory, ranks, has_times=has_times)
    except UserError as error:
        if options.data:
            raise
        note = f"note: the page shows only training events, as the log cannot be read: {error}"
    if has_histories(workdir):
        kept = read_histories(workdir, record["identity"].get("data of sha256", ""))
        histories = UserHistories(*kept)
        source = "all events kept in the work directory"
        users = Users(histories, memory, source=source, ranks=ranks)
        return RunContents(users, Catalogue(kept.item_ids[1:]), "")
    if not has_ids(workdir):
        return RunContents(None, None, note)
    ids = read_ids(workdir)
    lengths = ids.num_rows + 1
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    histories = UserHistories(ids.users, offsets, ids.events, ids.items)
    users = Users(histories, memory, source="training events kept in the work directory")
    return RunContents(users, Catalogue(ids.items[1:]), note)


def _read_log(options: ServeOptions, data_path: str, config: ConfigDict) -> Interactions | None:
    """Returns the run's log, or None if it was no file or is too large to hold in a server."""
    path = options.data or data_path
    if not path:
        return load(config, "").interactions if config.data.name == PLANTED else None
    if not options.data and Path(path).is_file() and Path(path).stat().st_size > _MAX_LOG_BYTES:
        return None
    return load(config, path).interactions


def _check_same_log(log: Interactions, sha256: str | None, options: ServeOptions) -> None:
    if log.sha256 != sha256:
        raise UserError(
            f"{options.data or log.source}: is not the log that {options.workdir} was trained on "
            "(its sha256 differs). Give that one as --data, or leave --data out."
        )


def _contents_of_log(
    log: Interactions,
    memory: pd.DataFrame | None,
    ranks: pd.DataFrame | None,
    *,
    has_times: bool,
) -> RunContents:
    catalogue = Catalogue(
        log.item_ids[1:],
        titles=_without_padding(log.item_titles),
        categories=_without_padding(log.item_categories),
        events=np.bincount(log.items, minlength=log.num_items + 1)[1:],
    )
    times = log.whole_seconds() if has_times else None
    histories = UserHistories(log.user_ids, log.offsets, log.items, log.item_ids, times)
    users = Users(histories, memory, source=f"all events of {log.source}", ranks=ranks)
    return RunContents(users, catalogue, "")


def _without_padding(column: np.ndarray | None) -> np.ndarray | None:
    return None if column is None else column[1:]


def _read_table(workdir: Path, name: str, columns: list[str]) -> pd.DataFrame | None:
    """Returns columns of a file of a run, or None where there is no such file."""
    path = workdir / name
    if not path.is_file():
        return None
    check_run_file(workdir, name)
    try:
        return pd.read_parquet(path, columns=columns)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{path}: is damaged ({own_words(error)[:200]}). Remove it, or run this work "
            "directory's --mode=train command once more."
        ) from error
