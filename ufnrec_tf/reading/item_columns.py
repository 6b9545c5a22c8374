"""The columns of an item table: by their names, the column of ids also by its values."""

import re
from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

from ufnrec_tf.common.lookup import nearest
from ufnrec_tf.reading.column_names import GUESSES, find_role
from ufnrec_tf.reading.columns import IGNORED
from ufnrec_tf.reading.text_files import TextFile

# Names are compared as `columns.GUESSES` are: lower case, letters and digits only.
_ITEM_WORDS = (
    *("item", "product", "prod", "movie", "film", "book", "song", "track", "game", "app"),
    *("article", "video", "recipe", "anime", "show", "news", "course", "business", "venue"),
    *("album", "artist"),
)
_TITLES = (
    "title",
    *(f"{word}title" for word in _ITEM_WORDS),
    *(f"{word}name" for word in _ITEM_WORDS),
    "name",
)
_NAME_OF_OTHERS = re.compile(
    "(type|group|category|class|brand|colou?r|department|section|index|appearance|genre|tag|"
    "collection|user|customer|author|director|publisher|maker|manufacturer|seller|store|shop|"
    "vendor|supplier|file|image|country|city|state|first|last|nick|sur|host|domain)s?name$"
)
# A column "id" holds items only in a table of items.
_IDS = (*GUESSES["item"], "id", *(f"{word}id" for word in _ITEM_WORDS))
_CATEGORIES = (
    *("category", "categories", "maincategory", "maincat", "genre", "genres", "class"),
    *("categoryname", "productcategory", "producttypename", "producttype"),
)
_PRICES = ("price", "listprice", "itemprice", "unitprice")


_MOST_COMPARED = 100_000
"""Ids of the log among which one like an id of the table is looked for."""


class ItemColumns(NamedTuple):
    """Indices of the columns; None for a column that the table lacks, or that is not read."""

    item: int | None
    title: int | None
    category: int | None
    price: int | None

    @property
    def has_facts(self) -> bool:
        """True if there is something to read beside ids."""
        return any(index is not None for index in self[1:])

    @property
    def width(self) -> int:
        """Columns that a row must have."""
        return 1 + max((index for index in self if index is not None), default=0)


def item_columns(file: TextFile, names: list[str], title_column: str = "") -> ItemColumns:
    """Returns the columns of a table by their names only.

    Args:
        file: Named in errors.
        names: The names of its columns.
        title_column: The user's name of the title column; "" chooses the first of
            `title_columns`, "none" leaves titles unread.

    Raises:
        UserError: If there is no column `title_column`.
    """
    plain = [_plain(name) for name in names]

    def first(guesses: Sequence[str]) -> int | None:
        return next((plain.index(guess) for guess in guesses if guess in plain), None)

    title = None
    if title_column not in ("", IGNORED):
        title = find_role(names, "item", title_column)
        if title is None:
            raise file.error(
                f"no column {title_column!r} (--config.data.title_column) in the item table: "
                f"expected one of {shown_names(names)}.{nearest(title_column, names)}"
            )
    elif not title_column:
        title = next(iter(title_columns(names)), None)
    return ItemColumns(first(_IDS), title, first(_CATEGORIES), first(_PRICES))


def title_columns(names: list[str]) -> list[int]:
    """Returns the columns whose names are usual for titles, the most usual first."""

    def order(name: str) -> int | None:
        plain = _plain(name)
        if plain in _TITLES:
            return _TITLES.index(plain)
        if "title" in plain:
            return len(_TITLES) + ("subtitle" in plain)
        is_name = plain.endswith("name") and not _NAME_OF_OTHERS.search(plain)
        return len(_TITLES) + 2 if is_name else None

    places = {index: order(name) for index, name in enumerate(names)}
    found = sorted((place, index) for index, place in places.items() if place is not None)
    return [index for _, index in found]


def id_columns(names: list[str], log_column: str = "") -> list[int]:
    """Returns the columns whose names are usual for item ids, the most usual first.

    Args:
        names: The names of the columns.
        log_column: The name of the log's item column, which comes before all others.
    """
    plain = [_plain(name) for name in names]
    guesses = ([_plain(log_column)] if log_column else []) + list(_IDS)
    return list(dict.fromkeys(plain.index(guess) for guess in guesses if guess in plain))


def find_id_column(
    names: list[str], rows: Sequence[Sequence[str]], item_ids: set[str], log_column: str = ""
) -> int | None:
    """Returns the column that holds ids of the log, or None.

    The first by name that has one; if none has, the first by name. If no name is usual, the column
    with the most different ids of the log, if no value is there twice or most are ids.

    Args:
        names: The names of the columns.
        rows: Texts of the first rows.
        item_ids: The log's raw ids.
        log_column: The name of the log's item column.
    """
    named = id_columns(names, log_column)
    columns = {
        index: [row[index].strip() for row in rows if len(row) > index]
        for index in named or range(len(names))
    }
    hits = {index: len(item_ids.intersection(values)) for index, values in columns.items()}
    if named:
        return next((index for index in named if hits[index]), named[0])
    # A column of small numbers, such as a count, has ids of the log in it by accident.
    found = [
        index
        for index, values in columns.items()
        if hits[index]
        and (
            len(set(values)) == len(values)
            or sum(value in item_ids for value in values) > len(values) / 2
        )
    ]
    return max(found, key=lambda index: hits[index], default=None)


def shown_names(names: list[str]) -> str:
    """Returns the names for a message."""
    return ", ".join(repr(name[:40]) for name in names[:20])


def mismatch(theirs: Sequence[str], ours: set[str]) -> tuple[str, str, str]:
    """Returns an id of a table, the id of the log that it stands for, and the difference in words.

    The words are empty where no difference explains that the ids are not the same.

    Args:
        theirs: Ids of the table that are not in the log, at least one.
        ours: Raw ids of the log, at least one.
    """
    for normal, words in (
        (_whole, "one of them went through a float; write both as whole numbers"),
        (_without_zeros, "leading zeros were lost; read and write the ids as text"),
        (str.casefold, "they differ in upper and lower case; write both alike"),
        (_number, "one of them went through a float; write both as whole numbers"),
    ):
        known = {normal(own): own for own in islice(ours, _MOST_COMPARED)}
        for key in theirs:
            own = known.get(normal(key))
            if own is not None:
                return key, own, words
    return theirs[0], min(ours), ""


def _whole(text: str) -> str:
    return re.sub(r"\.0+$", "", text)


def _without_zeros(text: str) -> str:
    return text.lstrip("0") if text.isdigit() else text


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())
