"""The roles of a log's columns, and the checked values of rows of text."""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.lookup import nearest
from ufnrec_tf.data.events import EventBatch, batch_of
from ufnrec_tf.data.times import TimeTexts, as_numbers
from ufnrec_tf.reading.rows import Header, Row, Table
from ufnrec_tf.reading.text_files import TextFile

# The usual names; the first one that a header has is taken. Compared in lower case, letters and
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


@dataclass(frozen=True)
class Columns:
    """The user's own names of the columns; "" is guessed, "none" leaves time or rating unread.

    Attributes:
        user: Column of the raw user ids.
        item: Column of the raw item ids.
        time: Column of the times, numbers or ISO dates.
        rating: Column of the ratings, numbers; checked, and used only by a filter.
        separator: One character, or "tab"; "" detects (tab where the header has one, else comma).

    Raises:
        UserError: If the separator is no character.
    """

    user: str = ""
    item: str = ""
    time: str = ""
    rating: str = ""
    separator: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "separator", _separator_of(self.separator))

    @property
    def is_named(self) -> bool:
        """True if the user named a column to read, or the separator."""
        names = {self.user, self.item, self.time, self.rating, self.separator}
        return bool(names - {"", IGNORED})


def _separator_of(text: str) -> str:
    """Returns the character that `data.separator` names.

    Raises:
        UserError: If it names none.
    """
    character = {"tab": "\t", "\\t": "\t"}.get(text, text)
    if len(character) > 1 or character in ('"', "\n", "\r"):
        raise UserError(
            "`data.separator` must be one character other than a quote, or tab. "
            f"Received: {text!r}."
        )
    return character


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


def events_of_rows(
    file: TextFile,
    rows: list[Row],
    table: Table,
    chosen: dict[str, int],
    *,
    times: TimeTexts,
) -> EventBatch:
    """Returns the events of some rows of text, checked.

    Dates are seconds since 1970; times that are numbers stay as they are.

    Args:
        file: Named in errors.
        rows: The rows.
        table: The layout of the rows.
        chosen: Role -> index of the column; see `choose_columns`.
        times: Reads the time column; the first rows decide what it holds.

    Raises:
        UserError: If a row is not as expected, with its line.
    """
    _check_widths(file, rows, table)
    users, items = (_ids(file, rows, chosen[role], role=role) for role in REQUIRED)
    time, rating = (
        _numbers(file, rows, chosen[role], name=table.names[chosen[role]], times=own)
        if role in chosen
        else None
        for role, own in (("time", times), ("rating", None))
    )
    return batch_of(users, items, time, rating)


def _check_widths(file: TextFile, rows: list[Row], table: Table) -> None:
    width, first = len(table.names), "header" if table.has_header else "first line"
    for line, row in rows:
        if len(row) != width:
            remedy = "put a field that holds a separator in double quotes" * table.is_quoted
            raise file.error(
                f"{len(row)} field(s) where the {first} has {width}: expected as many; "
                f"{remedy or 'mend or delete the line'}.",
                line=line,
            )


def _ids(file: TextFile, rows: list[Row], index: int, *, role: str) -> np.ndarray:
    ids = [row[index] for _, row in rows]
    if not all(map(str.strip, set(ids))):
        line = next(line for line, row in rows if not row[index].strip())
        raise file.error(
            f"an empty {role} id: expected any text; fill it in or delete the line.", line=line
        )
    return np.array(ids, dtype=object)


def _numbers(
    file: TextFile, rows: list[Row], index: int, *, name: str, times: TimeTexts | None = None
) -> np.ndarray:
    """Returns the numbers of a column, of a time column where `times` is given."""
    texts = pd.Series([row[index] for _, row in rows], dtype=object)
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
        line=rows[at][0],
    )
