"""Raw ids as callers give them, of any type, as texts in the spelling that a model knows."""

import io
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date
from itertools import chain
from numbers import Number
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np

from ufnrec_tf.common.arguments import shown
from ufnrec_tf.common.errors import UserError

Id = Any
"""A text, a number, bytes in UTF-8, or an array or tensor without axes that holds one of these."""
Ids = Any
"""One `Id`, a list, tuple, set, array, Series or tensor of them, or None for none."""

_SCALARS = (Number, date, UUID, np.generic)
_LISTERS = ("tolist", "to_list", "to_pylist")
"""Methods that return the members of a column: of NumPy and pandas, of polars, of Arrow."""

_WHOLE = re.compile(r"([+-]?\d+)(\.0+)?")


def id_text(value: Id, *, name: str) -> str:
    """Returns a raw id as the text that it has in a log.

    Args:
        value: The id.
        name: The argument or the history that holds it, for messages.

    Raises:
        UserError: If it is missing, a collection, bytes that are no UTF-8, a float that cannot tell
            it from its neighbours, or an object of another type.
    """
    if isinstance(value, str):
        return _checked(value, name)
    if isinstance(value, bytes | bytearray | memoryview):
        try:
            return bytes(value).decode("utf-8")
        except UnicodeDecodeError:
            raise UserError(
                f"{name}: {bytes(value)!r:.60} is no UTF-8. Give ids as text."
            ) from None
    if getattr(value, "shape", None) == () and not isinstance(value, np.generic):
        return id_text(_member_of(value), name=name)
    if isinstance(value, float | np.floating):
        return _float_text(value, name)
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        raise UserError(f"{name} has a missing id ({value!r}). Leave it out.")
    if not isinstance(value, _SCALARS):
        nested = " Nested lists are not read." if isinstance(value, Iterable) else ""
        raise UserError(
            f"{name}: expected an id, a text or a number. Received: {shown(value)}.{nested}"
        )
    return _checked(str(value), name)


def _checked(text: str, name: str) -> str:
    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        raise UserError(f"{name}: {text!r:.60} is no UTF-8 text. Give ids as they are in the log.")
    return text


def _float_text(value: float | np.floating, name: str) -> str:
    if value != value:
        raise UserError(f"{name} has a missing id (nan). Leave it out.")
    bits = int(np.finfo(type(value)).nmant) + 1
    if abs(float(value)) >= 1 << bits:
        raise UserError(
            f"{name}: the id {value!r} went through a float, which cannot hold all whole numbers "
            "of this size. Give ids as text or whole numbers."
        )
    return str(float(value))


def _member_of(value: Any) -> Any:
    """Returns the value of an array or a tensor without axes."""
    inner = value.numpy() if hasattr(value, "numpy") else value.item()
    return inner.item() if isinstance(inner, np.ndarray) else inner


def listed(values: Any) -> list[Any] | None:
    """Returns the members of a list, tuple, array, Series, tensor or iterator, in their order.

    Returns:
        The members; None for one value, and for what has no one order or is a table: a text, a
        dict, a set, a frame, a file.
    """
    if isinstance(values, list):
        return values
    if isinstance(values, str | bytes | bytearray | memoryview | Mapping | set | frozenset):
        return None
    if isinstance(values, io.IOBase) or hasattr(values, "columns") or hasattr(values, "ngroups"):
        return None
    if getattr(values, "shape", None) == ():
        return None
    for lister in _LISTERS:
        if callable(getattr(values, lister, None)):
            return list(getattr(values, lister)())
    if hasattr(values, "numpy"):
        return values.numpy().tolist()
    return list(values) if isinstance(values, Iterable) else None


def id_list(values: Ids, *, name: str) -> list[str]:
    """Returns the ids of an argument as texts: of one id, or of several.

    Args:
        values: The argument.
        name: The name of the argument, for messages.

    Raises:
        UserError: If it is a dict, a frame, nested or a file, or an id is empty; see `id_text`.
    """
    if values is None:
        return []
    is_one = isinstance(values, str | bytes | bytearray) or getattr(values, "shape", None) == ()
    members: list[Any] | None
    if is_one or not isinstance(values, Iterable):
        members = [values]
    elif isinstance(values, set | frozenset):
        members = list(values)
    else:
        members = listed(values)
    if members is None:
        raise UserError(
            f"{name} must be one id, or a list or a Series of ids. Received: {shown(values)}."
        )
    texts = [id_text(member, name=name) for member in members]
    if not all(map(str.strip, texts)):
        raise UserError(f"{name} has an empty id. Leave it out.")
    return texts


class KnownIds:
    """The raw ids that a model knows.

    Args:
        lookup: Distinct raw ids -> for each, whether the model knows it.
    """

    def __init__(self, lookup: Callable[[list[str]], Iterable[bool]]) -> None:
        self._lookup = lookup

    def spellings(self, texts: Iterable[str]) -> dict[str, str]:
        """Returns the model's spelling of each text that names a known id; others are left out.

        It is the text itself or, only if that is unknown, the text without spaces around it, or
        the other form of a whole number: 36.0 for 36, 36 for 36.0.
        """
        found: dict[str, str] = {}
        tried = {text: text for text in texts}
        for variant in (str, str.strip, _other_number):
            left = {text: variant(text) for text in tried if text not in found}
            left = {text: other for text, other in left.items() if other}
            asked = list(dict.fromkeys(left.values()))
            known = (
                {
                    text
                    for text, is_known in zip(asked, self._lookup(asked), strict=True)
                    if is_known
                }
                if asked
                else set()
            )
            found |= {text: other for text, other in left.items() if other in known}
        return found


def _other_number(text: str) -> str:
    """Returns 36 for 36.0 and 36.0 for 36, or "" for what is no whole number."""
    number = _WHOLE.fullmatch(text.strip())
    return "" if number is None else number[1] if number[2] else f"{number[1]}.0"


class GivenFilters(NamedTuple):
    """The items that may not, or may only, be recommended.

    Attributes:
        exclude: Known raw ids that are never recommended.
        allow: The only known raw ids that are recommended; empty for all.
        notes: What was given and is not known, in sentences.
    """

    exclude: list[str]
    allow: list[str]
    notes: list[str]


def item_filters(exclude: Ids, allow: Ids, *, known: KnownIds, example: str = "") -> GivenFilters:
    """Returns the filters that two arguments name.

    Args:
        exclude: Items that are never recommended.
        allow: The only items that may be recommended; None or empty for all.
        known: The model's ids.
        example: A known id, for messages.

    Raises:
        UserError: If an argument is not of ids, or `allow` has no known one.
    """
    kept, notes = [], []
    for name, values in (("exclude", exclude), ("allow", allow)):
        texts = list(dict.fromkeys(id_list(values, name=f"`{name}`")))
        spellings = known.spellings(texts)
        unknown = [text for text in texts if text not in spellings]
        if unknown:
            notes.append(unknown_text(f"`{name}`", unknown, len(texts), example=example))
        if name == "allow" and texts and not spellings:
            raise UserError(f"{notes[-1]} Nothing could be recommended.")
        kept.append(list(dict.fromkeys(spellings[text] for text in texts if text in spellings)))
    return GivenFilters(kept[0], kept[1], notes)


def unknown_text(name: str, unknown: Collection[str], total: int, *, example: str) -> str:
    """Returns a sentence about ids that a model does not know."""
    first = next(iter(unknown))
    knows = f"; it knows ids such as {example[:40]!r}" if example else ""
    return (
        f"{name}: {len(unknown):,} of {total:,} item ids are unknown to the model, such as "
        f"{first[:40]!r}{knows}."
    )


class KnownHistories(NamedTuple):
    """Histories in a model's spelling.

    Attributes:
        rows: The ids of each history, the oldest first; unknown ones stay as they were given.
        num_known: The number of ids of each history that the model knows.
        notes: What was given and is not known, in sentences.
    """

    rows: list[list[str]]
    num_known: list[int]
    notes: list[str]


def known_histories(
    names: list[Any], rows: list[list[str]], *, known: KnownIds, example: str = ""
) -> KnownHistories:
    """Returns histories in a model's spelling.

    Args:
        names: The name of each history.
        rows: The raw ids of each history.
        known: The model's ids.
        example: A known id, for messages.

    Raises:
        UserError: If ids were given and the model knows none of them.
    """
    distinct = dict.fromkeys(chain.from_iterable(rows))
    spellings = known.spellings(distinct)
    spelled = [[spellings.get(id, id) for id in row] for row in rows]
    num_known = [sum(id in spellings for id in row) for row in rows]
    unknown = [id for id in distinct if id not in spellings]
    notes = []
    if unknown:
        notes.append(unknown_text("`histories`", unknown, len(distinct), example=example))
        if not spellings:
            raise UserError(f"{notes[0]} Give item ids as they were in the log.")
        without = [
            name for name, row, num in zip(names, rows, num_known, strict=True) if row and not num
        ]
        if without:
            notes.append(
                f"{len(without):,} of {len(rows):,} histories have no known item, such as that of "
                f"{without[0]!r}: they get what everybody gets (`known_items` is 0)."
            )
    return KnownHistories(spelled, num_known, notes)
