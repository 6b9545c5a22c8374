"""Text of other people's files, shown so that it cannot disturb a screen, a log or a table."""

import unicodedata
from pathlib import Path

_HARMFUL = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_KEPT = frozenset("\u200c\u200d\u00ad")
"""Format characters that scripts and emoji are written with."""


def program_name(called: str) -> str:
    """Returns how to call this program in an example, by what it was called itself."""
    return "ufnrec" if Path(called).name == "ufnrec" else "python main.py"


def plain(text: str) -> str:
    r"""Returns a text for people to read, on one line, without characters that act.

    Control characters (escape sequences among them), line and paragraph separators, halves of
    surrogate pairs, and marks that turn the direction of writing are shown as `\n`, `\x1b`,
    `\u202e`. Everything else stays. Not for data: ids are written to files as they are.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(c) if _acts(c) else c for c in text)


def _acts(character: str) -> bool:
    return unicodedata.category(character) in _HARMFUL and character not in _KEPT


def _shown(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
