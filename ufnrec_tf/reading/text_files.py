"""A user's text file as bytes, checked: what every reader starts from."""

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ufnrec_tf.common.errors import UserError

# Only these separate fields: an id may hold a no-break space or any other Unicode space.
_SPACES = b" \t\n\r\x0b\x0c"
_IS_SPACE = np.isin(np.arange(256), list(_SPACES))

_MAGIC = {
    b"\x1f\x8b": "gzip-compressed: decompress it first (gunzip FILE)",
    b"PK\x03\x04": "a zip archive: unpack it first (unzip FILE)",
    b"PK\x05\x06": "an empty zip archive: expected a text file",
    b"\xfd7zXZ\x00": "xz-compressed: decompress it first (unxz FILE)",
    b"(\xb5/\xfd": "zstd-compressed: decompress it first (unzstd FILE)",
    b"PAR1": "a parquet file: give --config.data.format=auto or parquet, where it is the log",
}
BOM = b"\xef\xbb\xbf"
"""Byte order mark of UTF-8."""


@dataclass(frozen=True, eq=False)
class TextFile:
    """A file of UTF-8 text.

    Attributes:
        path: The path as the user gave it.
        data: The bytes, valid UTF-8 without NUL, byte order mark removed.
        sha256: Of the bytes on disk, byte order mark included.
    """

    path: str
    data: bytes
    sha256: str

    @property
    def name(self) -> str:
        """The file's name without its directories."""
        return Path(self.path).name

    def error(self, message: str, *, line: int | None = None) -> UserError:
        """Returns, for the caller to raise, an error that names the file and the line (from 1)."""
        where = self.path if line is None else f"{self.path}, line {line}"
        return UserError(f"{where}: {message}")

    @cached_property
    def field_counts(self) -> np.ndarray:
        """The number of whitespace-separated fields of each line, int64 [lines]; blank is 0."""
        codes = np.frombuffer(self.data, np.uint8)
        is_space = _IS_SPACE[codes]
        is_start = ~is_space
        is_start[1:] &= is_space[:-1]
        starts = np.flatnonzero(is_start)
        before = np.searchsorted(starts, np.flatnonzero(codes == ord("\n")))
        return np.diff(np.concatenate([[0], before, [len(starts)]]))

    def fields(self) -> np.ndarray:
        """Returns all whitespace-separated fields of the file in order, object(str) [fields]."""
        # Splitting bytes, not text: text.split() would split at Unicode spaces too.
        fields = self.data.split()
        text = b"\n".join(fields).decode().split("\n") if fields else []
        return np.array(text, dtype=object)

    def first_line(self) -> tuple[int, str]:
        """Returns the number and the text of the first line that is not blank."""
        line = int(np.argmax(self.field_counts > 0)) + 1
        text = self.data.split(b"\n", line)[line - 1]
        return line, text.decode().rstrip("\r")


def load_text(path: str | os.PathLike[str], *, flag: str = "--data") -> TextFile:
    """Reads a whole file and checks that it is text.

    Args:
        path: The file.
        flag: Where the user gave it, for the messages.

    Raises:
        UserError: If the file is missing, a directory, unreadable, empty, compressed, or is not
            UTF-8 text.
    """
    name = os.fspath(path)
    data = _read_bytes(name, flag)
    sha256 = hashlib.sha256(data).hexdigest()
    check_is_text(name, data, flag=flag)
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")  # the lone line ends of old spreadsheets
    check_utf8(name, data)  # byte order mark included, so that offsets are those on disk
    return TextFile(path=name, data=data.removeprefix(BOM), sha256=sha256)


def check_is_text(name: str, data: bytes, *, flag: str = "--data") -> None:
    """Refuses the start of a file, or all of it, that is compressed, or empty.

    Raises:
        UserError: Telling what it is instead of text.
    """
    for magic, what in _MAGIC.items():
        # An id may begin with the letters of parquet; text never has a NUL, parquet always.
        if data.startswith(magic) and (magic != b"PAR1" or b"\0" in data):
            raise UserError(f"{name}: expected text, but it is {what.replace('FILE', name)}.")
    if not data.removeprefix(BOM).strip(_SPACES):
        what = "one event or one user a line" if flag == "--data" else "a header and rows"
        raise UserError(f"{name}: the file is empty: expected {what}; give another as {flag}.")


def _read_bytes(name: str, flag: str) -> bytes:
    if os.path.isdir(name):
        raise UserError(f"{name}: is a directory: expected a file; name one inside it.")
    try:
        return Path(name).read_bytes()
    except (OSError, ValueError) as error:
        raise read_error(name, error, flag=flag) from None


def read_error(name: str, error: Exception, *, flag: str = "--data") -> UserError:
    """Returns, for the caller to raise, what to tell when a file cannot be opened or read."""
    if isinstance(error, FileNotFoundError):
        return UserError(f"{name}: no such file: check the path given as {flag}.")
    reason = getattr(error, "strerror", None) or error
    return UserError(f"{name}: cannot be read ({reason}): check path and permissions.")


def check_utf8(name: str, data: bytes, *, first_line: int = 1, first_offset: int = 0) -> None:
    """Refuses bytes that are no UTF-8 text.

    Args:
        name: The file, for the message.
        data: The file, or a part of it that begins and ends with a line.
        first_line: Number of the part's first line.
        first_offset: Where the part begins in the file.

    Raises:
        UserError: Naming line and byte.
    """
    try:
        data.decode("utf-8")
        offset = data.find(b"\0")
        what = "a NUL byte"
    except UnicodeDecodeError as error:
        offset = error.start
        what = f"byte 0x{data[offset]:02x}"
    if offset < 0:
        return
    line = data.count(b"\n", 0, offset) + first_line
    column = offset - (data.rfind(b"\n", 0, offset) + 1)
    raise UserError(
        f"{name}, line {line}: {what} at byte offset {first_offset + offset} (byte {column + 1} of "
        "the line) is not UTF-8 text: convert the file first (iconv -f ENCODING -t UTF-8, where "
        "ENCODING is perhaps LATIN1 or UTF-16)."
    )
