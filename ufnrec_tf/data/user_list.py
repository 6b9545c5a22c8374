"""Reads files that name users."""

from pathlib import Path

from ufnrec_tf.errors import UserError, own_words


def read_users(path: str) -> set[str]:
    """Returns the raw user ids of a file, one a line, as the log has them.

    Raises:
        UserError: If it cannot be read or names nobody.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"--users={path}: cannot be read ({own_words(error)}). Give a UTF-8 file, one raw "
            "user id a line."
        ) from error
    users = {line.removesuffix("\r") for line in lines} - {""}
    if not users:
        raise UserError(f"--users={path}: names nobody. Give a file with one raw user id a line.")
    return users
