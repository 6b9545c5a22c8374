"""The one exception that is the user's to mend: printed as a single line, exit code 1."""


class UserError(Exception):
    """Bad input, told in one line: what is wrong, where, what was expected, how to mend it.

    Raised for files, settings and work directories; `main.py` prints the message without a
    traceback and exits with `exit_code`. A bug is never a `UserError`.
    """

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(" ".join(message.split()))
        self.exit_code = exit_code
