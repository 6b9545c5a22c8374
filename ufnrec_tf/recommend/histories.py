"""Histories to recommend for, whatever they are read from."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

History = tuple[str, list[str]]
"""A name (the user, or the line's number from 1) and raw item ids, the newest last."""

SIMILAR = "similar"
SIMILAR_TO = "similar_to"
"""The column of the item that others are similar to."""


TimedHistory = tuple[str, list[str], list[int]]
"""The same with the times of the ids, in whole seconds since 1970."""


class Histories(NamedTuple):
    """The histories to recommend for: of a file, or of a run's own data.

    Attributes:
        name: The source of the histories, for messages.
        kind: "histories" (one a line), "rows" (events), "lists" (one a row of a table), "users" of
            a run, "train", the data of a run, or `SIMILAR`: items, each to find similar ones of.
        column: "user", "row" where a history's name is the number of its line, or `SIMILAR_TO`.
        total: The number of histories, for progress; it may be one less.
        sha256: The hash of the data.
        read: Yields the histories; an empty folder takes what memory should not hold.
        path: The file, or None.
        odd_line: The first line that is no row where those before it were; 0 for none.
        read_timed: Yields them with their times; None where these are not known.
    """

    name: str
    kind: str
    column: str
    total: int
    sha256: str
    read: Callable[[Path], Iterator[History]]
    path: Path | None = None
    odd_line: int = 0
    read_timed: Callable[[Path], Iterator[TimedHistory]] | None = None
