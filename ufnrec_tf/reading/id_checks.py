"""Checks of raw ids: spaces around them, null words, ids that went through a float, lists."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from ufnrec_tf.common.text import NULL_WORDS, is_null_word, percent, plain
from ufnrec_tf.data.events import EventBatch
from ufnrec_tf.data.log_description import Note
from ufnrec_tf.reading.column_kinds import is_list_cell

SPACES = " \t\n\r\x0b\x0c"
"""What is removed around an id; any other Unicode space is part of it."""

_ANY_SPACES = tuple(c for c in map(chr, range(0x3001)) if c.isspace() and c != "\n")
_ASCII_SPACES = tuple(filter(str.isascii, _ANY_SPACES))

_MAY_BE_ODD = re.compile(r"[eE]\+\d\d|\d[.,]\d+[eE]\d|\d{16}\.0|^\s*[\[{(]", re.MULTILINE)
_ODD_MARKS = ("+", ".", ",", "[", "{", "(")
"""One of them is in whatever `_MAY_BE_ODD` finds."""
# 4.00638E+12 of spreadsheets and Python, 4,00638E+12 with a decimal comma, 4.00638E12 of Java.
_EXPONENT = re.compile(r"\s*-?(?:\d+(?:[.,]\d+)?[eE]\+\d{2,}|\d[.,]\d+[eE]\d{1,3})\s*")
_WHOLE_FLOAT = re.compile(r"\s*-?\d+\.0+\s*")
_EXACT = 2**53
_MOST_SHOWN = 4
_WHOLE_NUMBERS = 'write them as whole numbers (pandas: astype("Int64"))'


def holds_spaces(joined: str) -> bool:
    """Returns True if ids, one a line, hold anything that `str.strip` may remove."""
    return any(space in joined for space in (_ASCII_SPACES if joined.isascii() else _ANY_SPACES))


def spoilt_id(ids: Sequence[str], role: str) -> tuple[str, str] | None:
    """Returns the first id that cannot be right, and why and what to do; None if there is none.

    Args:
        ids: Distinct ids.
        role: "user" or "item".
    """
    joined = "\n".join(ids)
    # The first is many times as fast, and says no of most logs.
    if not (any(mark in joined for mark in _ODD_MARKS) and _MAY_BE_ODD.search(joined)):
        return None
    for id in ids:
        is_big = _WHOLE_FLOAT.fullmatch(id) and abs(float(id)) > _EXACT
        if is_big or _EXPONENT.fullmatch(id):
            return id, (
                f"the {role} id {id[:40]!r} went through a float, which keeps no more than 16 "
                "digits, so that different ids became one: expected all digits; write the column "
                "as text or as whole numbers"
            )
        if is_list_cell(id) and not is_null_word(id):
            return id, (
                f"the {role} id {id[:40]!r} is a list of several: expected one event a row; make "
                f"a row of each (pandas: frame.explode({role!r}), once the column holds lists)"
            )
    return None


class _Kind(NamedTuple):
    """A kind of odd ids.

    Attributes:
        name: Its name.
        may_hold: False if ids in lower case, between line ends, have none, unless for spaces.
        search: Finds any in all ids, a line each.
        test: The test of one id.
    """

    name: str
    may_hold: Callable[[str], bool]
    search: re.Pattern[str]
    test: Callable[[str], bool]


_STAND_INS = {
    "user": frozenset(
        (
            *("guest", "anonymous", "anon", "unknown", "nobody", "deleted", "[deleted]", "missing"),
            *("total", "grand total", "-1", "00000000-0000-0000-0000-000000000000"),
        )
    ),
    "item": frozenset(("-1", "00000000-0000-0000-0000-000000000000")),
}
"""Ids, in lower case, that stand for many or for none."""


def _is_quoted(text: str) -> bool:
    text = text.strip(SPACES)
    return len(text) > 2 and text[0] == text[-1] and text[0] in "\"'"


def _kinds(role: str) -> tuple[_Kind, ...]:
    """Returns the kinds of odd ids; each search is a few times as slow as the one before it."""
    null = "|".join(map(re.escape, sorted(NULL_WORDS - {""})))
    spaces = r"[ \t\r\x0b\x0c](?:\n|$)|(?:^|\n)[ \t\r\x0b\x0c]|\n\n|^\n|\n$"
    return (
        _Kind(
            "spaces", lambda ids: "\n\n" in ids, re.compile(spaces), lambda t: t != t.strip(SPACES)
        ),
        _Kind(
            "null",
            lambda ids: "\n--" in ids or not NULL_WORDS.isdisjoint(ids[1:-1].split("\n")),
            re.compile(rf"^\s*(?:{null}|--+)?\s*$", re.M | re.I),
            is_null_word,
        ),
        _Kind(
            "stand_in",
            lambda ids: not _STAND_INS[role].isdisjoint(ids.split("\n")),
            re.compile(""),
            lambda text: text.strip(SPACES).lower() in _STAND_INS[role],
        ),
        _Kind(
            "float",
            lambda ids: ".0" in ids,
            re.compile(r"\.0"),
            lambda text: bool(_WHOLE_FLOAT.fullmatch(text)),
        ),
        _Kind(
            "quoted",
            lambda ids: '"\n' in ids or "'\n" in ids,
            re.compile(r"""["']\s*$""", re.M),
            _is_quoted,
        ),
    )


class _Odd(NamedTuple):
    """How many events have ids of a kind, and some of these ids."""

    num_events: int = 0
    examples: tuple[str, ...] = ()

    def plus(self, ids: np.ndarray, codes: np.ndarray, is_odd: np.ndarray) -> "_Odd":
        """Returns the sum with the events of a batch whose ids are odd, bool [ids]."""
        if not is_odd.any():
            return self
        shown = dict.fromkeys([*self.examples, *ids[is_odd][:_MOST_SHOWN].tolist()])
        return _Odd(self.num_events + int(is_odd[codes].sum()), tuple(shown)[:_MOST_SHOWN])


class IdChecks:
    """Removes spaces around the ids of one batch after another, and counts what looks odd.

    Args:
        strip: True to remove the spaces.
    """

    def __init__(self, *, strip: bool) -> None:
        self._strip = strip
        self._kinds = {role: _kinds(role) for role in ("user", "item")}
        self._num_events = 0
        self._found: dict[tuple[str, str], _Odd] = {}

    def checked(self, batch: EventBatch) -> EventBatch:
        """Returns a batch without spaces around its ids."""
        self._num_events += batch.num_events
        user_ids, users = self._ids("user", batch.user_ids, batch.users)
        item_ids, items = self._ids("item", batch.item_ids, batch.items)
        return batch._replace(user_ids=user_ids, users=users, item_ids=item_ids, items=items)

    def _ids(self, role: str, ids: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        texts: list[str] = ids.tolist()
        joined = "\n".join(texts)
        # An empty id at either end stands between two line ends, too.
        lowered = f"\n{joined}\n".lower()
        may_be_spaced = holds_spaces(joined)
        for kind, may_hold, search, test in self._kinds[role]:
            if not (may_be_spaced or may_hold(lowered)) or not search.search(joined):
                continue  # of most batches
            is_odd = [test(text) for text in texts]
            if any(is_odd):
                before = self._found.get((role, kind), _Odd())
                self._found[role, kind] = before.plus(ids, codes, np.array(is_odd))
        if not self._strip or (role, "spaces") not in self._found:
            return ids, codes
        places, distinct = pd.factorize(np.array([text.strip(SPACES) for text in texts], object))
        return distinct, places[codes].astype(np.int32)

    def notes(self, *, drops_null: bool) -> list[Note]:
        """Returns what was found, once all batches were checked.

        Args:
            drops_null: True if rows with null words are left out.
        """
        return [
            note
            for (role, kind), odd in sorted(self._found.items())
            if (note := self._note(role, kind, odd, drops_null=drops_null))
        ]

    def _note(self, role: str, kind: str, odd: _Odd, *, drops_null: bool) -> Note | None:
        share = odd.num_events / max(self._num_events, 1)
        shown = ", ".join(repr(plain(text)[:40]) for text in odd.examples)
        noun, have = ("event", "has") if odd.num_events == 1 else ("events", "have")
        events = f"{odd.num_events:,} {noun} ({percent(share)})"
        if kind == "null" and not drops_null:
            words = f"{events} {have} a null word as {role} id ({shown}), which is taken for an id"
            return Note(f"null_{role}_ids", words, "--config.data.null_ids=drop", share)
        if kind == "spaces":
            ends = ", which are removed" if self._strip else ", which are part of the id"
            words = f"{events} {have} {role} ids with spaces around them ({shown}){ends}"
            flag = f"--config.data.strip={str(not self._strip).lower()} " + (
                "keeps them" if self._strip else "removes them"
            )
            return Note(f"spaces_around_{role}_ids", words, flag, share)
        if kind == "float":
            words = (
                f"{events} {have} {role} ids that look like floats ({shown}), as pandas writes "
                f"whole numbers beside missing ones; {odd.examples[0].strip()!r} is not "
                f"{odd.examples[0].strip().partition('.')[0]!r}"
            )
            return Note(f"float_{role}_ids", words, _WHOLE_NUMBERS, share)
        if kind == "stand_in":
            words = (
                f"{events} {have} a {role} id that may stand for many or for none ({shown}), which "
                f"is taken for one {role}"
            )
            flag = "--config.data.exclude_users=FILE, with these ids, a line each"
            remedy = flag if role == "user" else "delete these rows, if so"
            return Note(f"stand_in_{role}_ids", words, remedy, share)
        if kind == "quoted":
            words = f"{events} {have} {role} ids in quotes ({shown}), which are part of the id"
            return Note(f"quoted_{role}_ids", words, "remove the quotes in the file", share)
        return None
