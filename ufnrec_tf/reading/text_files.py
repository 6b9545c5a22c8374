"""A text file as checked bytes, by blocks or whole: the start of every reader of text."""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ufnrec_tf.common.errors import UserError

# Only these separate fields: an id may hold a no-break space or any other Unicode space.
_SPACES = b" \t\n\r\x0b\x0c"
_IS_SPACE = np.isin(np.arange(256), list(_SPACES))
_NO_SPACE = re.compile(rb"[^ \t\n\r\x0b\x0c]")

_MAGIC = {
    b"\x1f\x8b": "gzip-compressed: decompress it first (gunzip FILE)",
    b"PK\x03\x04": "a zip archive: unpack it first (unzip FILE)",
    b"PK\x05\x06": "an empty zip archive: expected a text file",
    b"\xfd7zXZ\x00": "xz-compressed: decompress it first (unxz FILE)",
    b"(\xb5/\xfd": "zstd-compressed: decompress it first (unzstd FILE)",
    b"PAR1": "a parquet file: give --config.data.format=auto or parquet, where it is the log; "
    "if that was given, it is cut short: copy it again",
}
BOM = b"\xef\xbb\xbf"
"""Byte order mark of UTF-8."""

_EXPECTED = {
    "--data": "one event or one user a line",
    "--histories": "histories, one a line, or one event a line",
    **dict.fromkeys(("--users", "--exclude", "--allow"), "one id a line"),
}

BLOCK_BYTES = 8 << 20
"""Read at a time. Rows with quotes become Python objects, 10 times as large."""

_MOST_LINE_BYTES = 64 << 20


class LineError(UserError):
    """Bad input in one line of a file.

    Attributes:
        line: The number of the line, from 1.
    """

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, eq=False)
class TextFile:
    """A file of UTF-8 text.

    Attributes:
        path: The path as the user gave it.
        data: The bytes, valid UTF-8 without NUL, byte order mark removed.
        sha256: The hash of the bytes on disk, byte order mark included.
    """

    path: str
    data: bytes
    sha256: str

    @property
    def name(self) -> str:
        """The file's name without its directories."""
        return Path(self.path).name

    def error(self, message: str, *, line: int | None = None) -> UserError:
        """Returns the error that names the file and, if there is one, the line (from 1)."""
        if line is None:
            return UserError(f"{self.path}: {message}")
        return LineError(f"{self.path}, line {line}: {message}", line)

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
        found = _NO_SPACE.search(self.data)
        place = found.start() if found else 0
        end = self.data.find(b"\n", place)
        start = self.data.rfind(b"\n", 0, place) + 1
        text = self.data[start : len(self.data) if end < 0 else end]
        return self.data.count(b"\n", 0, place) + 1, text.decode().rstrip("\r")


class Block(NamedTuple):
    """Some lines of a file.

    Attributes:
        data: UTF-8 text without NUL; ends with a line end, unless the file does not.
        first_line: Number of its first line in the file, from 1.
    """

    data: bytes
    first_line: int


class TextBlocks:
    """Goes through a text file once, `BLOCK_BYTES` at a time.

    Memory is that of a block, and of the longest line.

    Args:
        path: The file.
        flag: The flag by which the user gave the file, for messages.

    Attributes:
        name: The path.
        size: Bytes of the file; 0 where it has no size.
        num_bytes: Bytes read so far.

    Raises:
        UserError: If there is no such file.
    """

    def __init__(self, path: str | os.PathLike[str], *, flag: str = "--data") -> None:
        self.name = os.fspath(path)
        try:
            self.size = os.stat(self.name).st_size
        except (OSError, ValueError) as error:
            raise read_error(self.name, error, flag=flag) from None
        self.num_bytes = 0
        self._flag = flag
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """The hash of the bytes read so far: of the file, once all blocks were taken."""
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[Block]:
        """Yields the blocks in order, the byte order mark removed.

        Raises:
            UserError: If the file is missing, a directory, unreadable, empty, compressed, or is
                not UTF-8 text, naming line and byte.
        """
        line, offset = 1, 0
        for data in self._whole_lines():
            if not offset:
                check_is_text(self.name, data, flag=self._flag)
            check_utf8(self.name, data, first_line=line, first_offset=offset)
            yield Block(data if offset else data.removeprefix(BOM), line)
            line += data.count(b"\n")
            offset += len(data)

    def _whole_lines(self) -> Iterator[bytes]:
        """Yields pieces of the file that end where a line does."""
        if os.path.isdir(self.name):
            raise UserError(f"{self.name}: is a directory: expected a file; name one inside it.")
        rest = b""
        try:
            with open(self.name, "rb") as file:
                while chunk := file.read(BLOCK_BYTES):
                    self._digest.update(chunk)
                    self.num_bytes += len(chunk)
                    cut = chunk.rfind(b"\n") + 1
                    if cut:
                        yield rest + chunk[:cut]
                        rest = chunk[cut:]
                    else:
                        rest += chunk
                        self._check_length(rest)
        except (OSError, ValueError) as error:
            raise read_error(self.name, error, flag=self._flag) from None
        if len(rest) == self.num_bytes:
            rest = rest.replace(b"\r", b"\n")  # the lone line ends of old spreadsheets
            yield rest  # even where the file is empty, so that it is refused
        elif rest:
            yield rest

    def _check_length(self, rest: bytes) -> None:
        if len(rest) > _MOST_LINE_BYTES:
            raise UserError(
                f"{self.name}: a line of more than {_MOST_LINE_BYTES >> 20} MiB: expected one "
                "event a line, ended by a newline; if the lines end in carriage returns, convert "
                "the file first (tr '\\r' '\\n')."
            )


def load_text(path: str | os.PathLike[str], *, flag: str = "--data") -> TextFile:
    """Reads a whole file and checks that it is text.

    Args:
        path: The file.
        flag: The flag by which the user gave the file, for messages.

    Raises:
        UserError: See `TextBlocks`.
    """
    blocks = TextBlocks(path, flag=flag)
    data = b"".join(block.data for block in blocks)
    return TextFile(path=blocks.name, data=data, sha256=blocks.sha256)


def check_is_text(name: str, data: bytes, *, flag: str = "--data") -> None:
    """Refuses the start of a file, or all of it, that is compressed or empty.

    Raises:
        UserError: If it is; says what it is instead of text.
    """
    for magic, what in _MAGIC.items():
        # An id may begin with the letters of parquet; text never has a NUL, parquet always.
        if data.startswith(magic) and (magic != b"PAR1" or b"\0" in data):
            raise UserError(f"{name}: expected text, but it is {what.replace('FILE', name)}.")
    if not data.removeprefix(BOM).strip(_SPACES):
        what = _EXPECTED.get(flag, "a header and rows")
        raise UserError(f"{name}: the file is empty: expected {what}; give another as {flag}.")


def read_error(name: str, error: Exception, *, flag: str = "--data") -> UserError:
    """Returns the error for a file that cannot be opened or read."""
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
