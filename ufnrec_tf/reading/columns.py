"""Tables (.inter, CSV, TSV, .dat, JSON lines): which column is what, their values, checked."""

import itertools
import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from ufnrec_tf.common.lookup import nearest
from ufnrec_tf.data.times import TimeTexts, as_numbers
from ufnrec_tf.reading.rows import Header, Row, Table, header_line, rows
from ufnrec_tf.reading.text_files import TextFile

# The usual names, the first that a header has is taken. Compared in lower case, letters and
# digits only, so that user_id, UserID and "User Id" are one name.
GUESSES: dict[str, tuple[str, ...]] = {
    "user": (
        *("user", "userid", "uid", "username", "reviewer", "reviewerid", "customer", "customerid"),
        *("visitor", "visitorid", "member", "memberid", "client", "clientid", "account"),
        *("accountid", "buyer", "buyerid", "shopper", "shopperid", "reader", "readerid", "player"),
        *("playerid", "listener", "listenerid", "viewer", "viewerid", "subscriber", "subscriberid"),
        *("person", "personid", "session", "sessionid"),
    ),
    "item": (
        *("item", "itemid", "iid", "product", "productid", "movie", "movieid", "track", "trackid"),
        *("song", "songid", "artist", "artistid", "book", "bookid", "isbn", "article"),
        *("articleid", "video", "videoid", "game", "gameid", "recipe", "recipeid", "business"),
        *("businessid", "asin", "parentasin", "sku"),
    ),
    "time": (
        *("timestamp", "time", "ts", "unixreviewtime", "unixtime", "date", "datetime"),
        *("eventtime", "createdat", "orderdate", "purchasedate"),
    ),
    "rating": ("rating", "ratings", "stars", "overall"),
}
REQUIRED = ("user", "item")
IGNORED = "none"
EXPECTED_HEADER = (
    "expected a header line such as user_id,item_id,timestamp (commas or tabs); name other columns "
    "with --config.data.user_column=NAME --config.data.item_column=NAME, or say what the file is "
    "with --config.data.format=pairs|sequences|inter|csv|jsonl"
)
_CHUNK = 1 << 18  # rows held as Python objects at a time


@dataclass(frozen=True)
class Columns:
    """The user's own names of the columns; "" guesses, "none" leaves time or rating unread.

    Attributes:
        user: Column of the raw user ids.
        item: Column of the raw item ids.
        time: Column of the times, numbers or ISO dates.
        rating: Column of the ratings, numbers; checked, and used by a filter alone.
        separator: One character; "" detects (tab where the header has one, else comma).
    """

    user: str = ""
    item: str = ""
    time: str = ""
    rating: str = ""
    separator: str = ""

    @property
    def is_named(self) -> bool:
        """Whether the user named a column to read, or the separator."""
        names = {self.user, self.item, self.time, self.rating, self.separator}
        return bool(names - {"", IGNORED})


class RawLog(NamedTuple):
    """A log as its file holds it.

    Attributes:
        frame: Events in file order: `user` and `item`, object(str); where they exist `time` and
            `rating`, float64.
        columns: Role -> name of the column it was read from; empty for files without names.
        are_dates: Whether the times were dates, and are seconds since 1970 now.
        names: Of all its columns, the unread ones too.
    """

    frame: pd.DataFrame
    columns: dict[str, str]
    are_dates: bool = False
    names: tuple[str, ...] = ()


def find_role(names: list[str], role: str, flag: str = "") -> int | None:
    """Returns the index of the column that plays a role, or None.

    Args:
        names: The header's names.
        role: A key of `GUESSES`.
        flag: The user's name of the column; where given, only that one is looked for.
    """
    if flag:
        lower = [name.lower() for name in names]
        if flag in names:
            return names.index(flag)
        return lower.index(flag.lower()) if flag.lower() in lower else None
    plain = [re.sub(r"[\W_]", "", name.lower()) for name in names]
    return next((plain.index(guess) for guess in GUESSES[role] if guess in plain), None)


def candidates(names: tuple[str, ...], role: str) -> list[str]:
    """Returns all columns whose names are usual for a role, in the order of the file."""
    return [name for name in names if find_role([name], role) is not None]


def read_table(file: TextFile, table: Table, columns: Columns) -> RawLog:
    """Reads the chosen columns in file order.

    Raises:
        UserError: If a column is missing or a row is not as expected, with its line.
    """
    lines = rows(file, table)
    line = header_line(file, lines) if table.has_header else file.first_line()[0]
    chosen = choose_columns(file, (line, table.names), columns)
    pieces: dict[str, list[np.ndarray]] = {role: [] for role in chosen}
    known: dict[str, str] = {}  # one object an id, however often it occurs
    times = TimeTexts()
    while chunk := list(itertools.islice(lines, _CHUNK)):
        values = chunk_values(file, chunk, table, chosen, known=known, times=times)
        for role, own in values.items():
            pieces[role].append(own)
    if not pieces["user"]:
        raise file.error("a header and no events: expected one event a line below it.")
    # The dtypes are told, or pandas would turn the ids into its own strings, at a cost.
    whole = {role: np.concatenate(parts) for role, parts in pieces.items()}
    return RawLog(
        frame_of(whole),
        {role: table.names[index] for role, index in chosen.items()},
        bool(times.are_dates),
        tuple(table.names),
    )


def frame_of(columns: dict[str, np.ndarray]) -> pd.DataFrame:
    """Returns a frame of some arrays, each with the dtype it has."""
    return pd.DataFrame(
        {role: pd.Series(array, dtype=array.dtype) for role, array in columns.items()}
    )


def chunk_values(
    file: TextFile,
    chunk: list[Row],
    table: Table,
    chosen: dict[str, int],
    *,
    known: dict[str, str],
    times: TimeTexts,
) -> dict[str, np.ndarray]:
    """Returns role -> values of some rows, checked: object(str) ids, float64 numbers.

    Dates are seconds since 1970; times that are numbers stay as they are.

    Args:
        file: Named in errors.
        chunk: The rows.
        table: Their layout.
        chosen: Role -> index of the column; see `choose_columns`.
        known: Id -> the one object that stands for it; new ids are added.
        times: What the time column holds; told by the first rows.

    Raises:
        UserError: If a row is not as expected, with its line.
    """
    _check_widths(file, chunk, table)
    values = {}
    for role, index in chosen.items():
        if role in REQUIRED:
            values[role] = _ids(file, chunk, index, role=role, known=known)
        else:
            own = times if role == "time" else None
            values[role] = _numbers(file, chunk, index, name=table.names[index], times=own)
    return values


def choose_columns(file: TextFile, header: Header, columns: Columns) -> dict[str, int]:
    """Returns role -> index of the columns to read; user and item are always there.

    Raises:
        UserError: If a needed or a named column is missing or ambiguous.
    """
    line, names = header
    shown = ", ".join(repr(name[:40]) for name in names[:20])
    chosen: dict[str, int] = {}
    for role in GUESSES:
        flag = getattr(columns, role)
        if flag == IGNORED and role not in REQUIRED:
            continue
        index = find_role(names, role, flag)
        if index is not None:
            chosen[role] = index
        elif flag:
            raise file.error(
                f"no column {flag!r} (--config.data.{role}_column) in the header: expected one of "
                f"{shown}." + nearest(flag, names),
                line=line,
            )
        elif role in REQUIRED:
            raise file.error(f"no {role} column among {shown}: {EXPECTED_HEADER}.", line=line)
    for role, index in chosen.items():
        if names.count(names[index]) > 1 or list(chosen.values()).count(index) > 1:
            raise file.error(
                f"the {role} column {names[index]!r} is there twice, or chosen twice: expected one "
                f"column each; rename it, or name another with --config.data.{role}_column=NAME.",
                line=line,
            )
    return chosen


def _check_widths(file: TextFile, chunk: list[Row], table: Table) -> None:
    width, first = len(table.names), "header" if table.has_header else "first line"
    for line, row in chunk:
        if len(row) != width:
            remedy = "put a field that holds a separator in double quotes" * table.is_quoted
            raise file.error(
                f"{len(row)} field(s) where the {first} has {width}: expected as many; "
                f"{remedy or 'mend or delete the line'}.",
                line=line,
            )


def _ids(
    file: TextFile, chunk: list[Row], index: int, *, role: str, known: dict[str, str]
) -> np.ndarray:
    ids = [known.setdefault(row[index], row[index]) for _, row in chunk]
    if not all(map(str.strip, set(ids))):
        line = next(line for line, row in chunk if not row[index].strip())
        raise file.error(
            f"an empty {role} id: expected any text; fill it in or delete the line.", line=line
        )
    return np.array(ids, dtype=object)


def _numbers(
    file: TextFile, chunk: list[Row], index: int, *, name: str, times: TimeTexts | None = None
) -> np.ndarray:
    """Returns the numbers of a column, of a time column where `times` is given."""
    texts = pd.Series([row[index] for _, row in chunk], dtype=object)
    numbers = times.read(texts) if times else as_numbers(texts)
    is_finite = np.isfinite(numbers)
    if is_finite.all():
        return numbers
    at = int(np.argmin(is_finite))
    text = texts[at]
    is_number = text.strip().lower().lstrip("+-") in ("nan", "inf", "infinity")
    what = "not finite" if is_number else "not a number"
    expected = "a finite number, such as 4.5"
    if times and times.are_dates:
        what, expected = "not a date", "an ISO 8601 date as in the lines above"
    elif times:
        expected = (
            "a finite number, seconds since 1970, such as 1546300800, or in all lines an ISO 8601 "
            "date such as 2019-01-31"
        )
    raise file.error(
        f"{name} {text[:40]!r} is {what}: expected {expected}; mend the line, convert the column, "
        f"or leave it unread with --config.data.{'time' if times else 'rating'}_column={IGNORED}.",
        line=chunk[at][0],
    )
