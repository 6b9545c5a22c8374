"""--mode=serve: a local server of a work directory's export, with the run's users on its page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import Terminated, UserError, own_words
from ufnrec_tf.common.tensorflow_setup import import_tensorflow
from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.export.versions import newest_version
from ufnrec_tf.reading.sources import PLANTED, load
from ufnrec_tf.runs.raw_ids import has_ids, read_ids
from ufnrec_tf.runs.workdir import read_record
from ufnrec_tf.serving.limits import Limits
from ufnrec_tf.serving.page_search import Catalogue, People, UserHistories

_NEEDED = ("fastapi", "uvicorn", "prometheus_client")
_MEMORY_FILE = "false_negatives.parquet"
_MEMORY_COLUMNS = ["user", "item", "position", "count", "margin", "flagged"]
_BACKLOG = 1024
_MAX_LOG_BYTES = 1 << 29


class ServeOptions(NamedTuple):
    """What is served, and where.

    Attributes:
        workdir: A work directory, or "".
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
    """What the page is told of the run beside its model.

    Attributes:
        people: Its users, or None.
        catalogue: Its items, or None.
        note: Why there are fewer users than one may expect; or "".
    """

    people: People | None
    catalogue: Catalogue | None
    note: str


def serve(
    place: ServeOptions, config: ConfigDict, source_config: ConfigDict, display: Display
) -> None:
    """Serves until told to stop.

    Args:
        place: What, and where.
        config: The `serving` section is read.
        source_config: The configuration that the run was trained with, by which its log is read.
        display: Takes lines.

    Raises:
        UserError: If there is nothing to serve, or no address to serve at.
    """
    _check_packages()
    folder = Path(place.export) if place.export else Path(place.workdir) / "export"
    newest_version(folder)  # before seconds go by
    import_tensorflow()
    from ufnrec_tf.serving.server import Address, Server, listen

    settings = config.serving.to_dict()
    poll_seconds = settings.pop("poll_seconds")
    bound = listen(Address(place.host, place.port))
    with bound:
        known = what_is_known(place, source_config)
        server = Server(
            folder,
            limits=Limits(**settings),
            people=known.people,
            catalogue=known.catalogue,
            tell=lambda text: display.line(text, wraps=False),
        )
        if known.note:
            display.notes.line(known.note)
        bound.listen(_BACKLOG)  # who reads the lines below can connect
        port = bound.getsockname()[1]
        shown_host = f"[{place.host}]" if ":" in place.host else place.host
        version = server.service.keeper.current.version
        display.line(f"{folder}: version {version} serves at http://{shown_host}:{port}/")
        display.line(
            f"  POST http://{shown_host}:{port}/v1/models/ufnrec:predict; /healthz /readyz "
            "/metrics; Ctrl-C ends it",
            wraps=False,
        )
        try:
            server.run(bound, host=place.host, poll_seconds=poll_seconds)
        except (KeyboardInterrupt, Terminated) as end:
            raise type(end)("stopped") from None


def _check_packages() -> None:
    """Raises UserError where the packages of the extra `serve` are missing."""
    from importlib.util import find_spec

    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise UserError(
            f"--mode=serve needs {', '.join(missing)}. Run: pip install 'ufnrec-tf[serve]'"
        )


def what_is_known(place: ServeOptions, source_config: ConfigDict) -> RunContents:
    """Returns users and items of the run, from its log, or else from what it keeps of it.

    Raises:
        UserError: If --data was given and is not the run's log, or the run's record is damaged.
    """
    if not place.workdir:
        return RunContents(None, None, "")
    workdir = Path(place.workdir)
    record = read_record(workdir / "config.json")
    memory = _read_memory(workdir)
    note = ""
    try:
        log = _read_log(place, record["data_path"], source_config)
        if log is not None:
            _check_same(log, record["identity"].get("data of sha256"), place)
            return _of_log(log, memory)
    except UserError as error:
        if place.data:
            raise
        note = f"note: the page shows training events alone, as the log cannot be read: {error}"
    if not has_ids(workdir):
        return RunContents(None, None, note)
    ids = read_ids(workdir)
    lengths = ids.num_rows + 1
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    histories = UserHistories(ids.users, offsets, ids.events, ids.items)
    people = People(histories, memory, source="training events kept in the work directory")
    return RunContents(people, Catalogue(ids.items[1:]), note)


def _read_log(place: ServeOptions, data_path: str, config: ConfigDict) -> Interactions | None:
    """Returns the run's log; None where it is too large to hold beside a server, or not a file."""
    path = place.data or data_path
    if not path:
        return load(config, "").interactions if config.data.name == PLANTED else None
    if not place.data and Path(path).is_file() and Path(path).stat().st_size > _MAX_LOG_BYTES:
        return None
    return load(config, path).interactions


def _check_same(log: Interactions, sha256: str | None, place: ServeOptions) -> None:
    if log.sha256 != sha256:
        raise UserError(
            f"{place.data or log.source}: is not the log that {place.workdir} was trained on (its "
            "sha256 differs). Give that one as --data, or leave --data out."
        )


def _of_log(log: Interactions, memory: pd.DataFrame | None) -> RunContents:
    catalogue = Catalogue(
        log.item_ids[1:],
        titles=_without_padding(log.item_titles),
        categories=_without_padding(log.item_categories),
        events=np.bincount(log.items, minlength=log.num_items + 1)[1:],
    )
    histories = UserHistories(log.user_ids, log.offsets, log.items, log.item_ids)
    return RunContents(
        People(histories, memory, source=f"all events of {log.source}"), catalogue, ""
    )


def _without_padding(column: np.ndarray | None) -> np.ndarray | None:
    return None if column is None else column[1:]


def _read_memory(workdir: Path) -> pd.DataFrame | None:
    """Returns false_negatives.parquet; None for a run without a memory."""
    path = workdir / _MEMORY_FILE
    if not path.is_file():
        return None
    try:
        return pd.read_parquet(path, columns=_MEMORY_COLUMNS)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{path}: is damaged ({own_words(error)[:200]}). Remove it, or run this work "
            "directory's --mode=train command once more."
        ) from error


def check_overrides(overrides: Sequence[tuple[str, str]]) -> None:
    """Raises UserError for a key that serving does not read."""
    for key, _ in overrides:
        if not key.startswith("serving."):
            raise UserError(
                f"--config.{key} has no effect with --mode=serve, which reads serving.* alone. "
                "Leave it out."
            )
