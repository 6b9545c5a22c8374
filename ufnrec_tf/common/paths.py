"""Paths as users write them: `~` stands for a home folder."""

import os

from ufnrec_tf.common.errors import UserError


def expanded(path: str | os.PathLike[str]) -> str:
    """Returns a path whose `~` or `~user` at the start is replaced by that home folder.

    A shell leaves `--workdir=~/runs` as it is. A `~` elsewhere in a path stays, and so does a file
    that is itself called `~user`.

    Raises:
        UserError: If there is no such user.
    """
    text = os.fspath(path)
    whole = os.path.expanduser(text)
    first = whole.partition("/")[0]
    if first.startswith("~") and not os.path.lexists(first):
        raise UserError(
            f"{text}: no home folder of {first[1:] or 'this user'!r} is known. Write the whole "
            f"path, or ./{text} for a name that begins with ~."
        )
    return whole
