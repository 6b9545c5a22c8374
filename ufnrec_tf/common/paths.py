"""Paths as users write them: `~` stands for a home folder."""

import os
from pathlib import Path

from ufnrec_tf.common.errors import UserError

_LONGEST_NAME = 255
"""Bytes of a file's name, at most, on all common systems of files."""


def expanded(path: str | os.PathLike[str]) -> str:
    """Returns a path whose `~` or `~user` at the start is replaced by that home folder.

    A shell leaves `--workdir=~/runs` as it is. A `~` elsewhere in a path stays, and so does a file
    that is itself called `~user`.

    Raises:
        UserError: If there is no such user, or a name is longer than any file's.
    """
    text = os.fspath(path)
    if any(len(name.encode(errors="replace")) > _LONGEST_NAME for name in text.split("/")):
        raise UserError(f"{text[:60]}...: has a name of more than {_LONGEST_NAME} bytes.")
    whole = os.path.expanduser(text)
    first = whole.partition("/")[0]
    if first.startswith("~") and not os.path.lexists(first):
        raise UserError(
            f"{text}: no home folder of {first[1:] or 'this user'!r} is known. Write the whole "
            f"path, or ./{text} for a name that begins with ~."
        )
    return whole


def cache_folder(path: str = "") -> Path:
    """Returns the folder of downloaded data sets and compiled programs.

    Args:
        path: The folder; "" for $UFNREC_CACHE, else the user's cache folder.
    """
    given = path or os.environ.get("UFNREC_CACHE", "")
    if given:
        return Path(expanded(given))
    user = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG rules: a relative one is ignored.
    return (Path(user) if os.path.isabs(user) else Path.home() / ".cache") / "ufnrec_tf"
