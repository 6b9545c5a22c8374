"""Text from users' files made harmless for screens, logs and tables; sizes and shares in words."""

import re
import unicodedata
from pathlib import Path

_UNSHOWABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Controls, ends of lines and paragraphs, marks of writing direction, half characters."""

_HARMFUL = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_KEPT = frozenset("\u200c\u200d\u00ad")
"""Format characters that scripts and emoji are written with."""


def program_name(called: str) -> str:
    """Returns the program's name for examples, as the user called it."""
    return "ufnrec" if Path(called).name == "ufnrec" else "python main.py"


def plain(text: str) -> str:
    r"""Returns a text on one line with its control characters escaped.

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


def one_line(text: str) -> str:
    """Returns a text with control characters, line ends and direction marks replaced by spaces."""
    return _UNSHOWABLE.sub(" ", text)


def percent(share: float) -> str:
    """Returns a share as a percentage: 12%, 0.03%, below 0.01%."""
    if 0 < share < 1e-4:
        return "below 0.01%"
    return f"{share:.0%}" if share >= 0.1 or not share else f"{share:.2%}"


def size(num_bytes: float) -> str:
    """Returns a number of bytes in B, kB, MB or GB."""
    for unit in ("B", "kB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} GB"


NULL_WORDS = frozenset(
    (
        *("", "nan", "null", "none", "na", "n/a", "n.a.", "<na>", "nat", "nil", "undefined"),
        *("-", "\u2013", "\u2014", "?", "(null)", "<null>", "[null]", "(none)", "(not set)"),
        *("\\n", "\\\\n", "''", '""', "[]", "{}"),  # of databases
        *("0000-00-00", "0000-00-00 00:00:00"),  # of MySQL
        *("#n/a", "#null!", "#ref!", "#value!", "#name?", "#num!", "#div/0!"),  # of spreadsheets
    )
)
"""Texts that programs write for a value that is not there, in lower case."""


def is_null_word(text: str) -> bool:
    """Returns True if a text is blank or stands for a value that is not there."""
    stripped = text.strip()
    # A row of hyphens is the rule that database clients draw under a header.
    return stripped.lower() in NULL_WORDS or (stripped[:2] == "--" and not stripped.strip("-"))
