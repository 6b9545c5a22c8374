"""A text file as checked bytes, by blocks or whole: the start of every reader of text."""

import hashlib
import itertools
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.reading.compressed import UNPACK, as_argument, compression_of
from ufnrec_tf.reading.data_files import DataFile, read_error
from ufnrec_tf.reading.file_kinds import kind_of
from ufnrec_tf.reading.json_documents import UNIT, document_lines, is_document
from ufnrec_tf.reading.parquet_files import MAGIC

# Only these separate fields: an id may hold a no-break space or any other Unicode space.
_SPACES = b" \t\n\r\x0b\x0c"
_IS_SPACE = np.isin(np.arange(256), list(_SPACES))
_CP1252_ONLY = re.compile(rb"[\x80-\x9f]")
_NO_SPACE = re.compile(rb"[^ \t\n\r\x0b\x0c]")

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
_OBJECTS_OF_BLOCK = 1 << 16


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
        unit: What errors count: lines, or the objects of a JSON document.
        encoding: The encoding of the bytes on disk where they are not UTF-8, else "".
        argument: What a command of the shell is given to read it; "": the path.
    """

    path: str
    data: bytes
    sha256: str
    unit: str = "line"
    encoding: str = ""
    argument: str = ""

    @property
    def name(self) -> str:
        """The file's name without its directories."""
        return Path(self.path).name

    def error(self, message: str, *, line: int | None = None) -> UserError:
        """Returns the error that names the file and, if there is one, the line (from 1)."""
        if line is None:
            return UserError(f"{self.path}: {message}")
        return LineError(f"{self.path}, {self.unit} {line}: {message}", line)

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

    What is compressed is decompressed on the way, and the objects of a JSON document, such as an
    array, become a line each. Memory is that of a block, and of the longest line.

    Args:
        path: The file.
        flag: The flag by which the user gave the file, for messages.
        is_utf8: False to leave the encoding unchecked.

    Attributes:
        name: The path.
        num_bytes: Bytes of the text read so far.
        unit: What the numbers of lines count; see `TextFile`. Known once a block was taken.

    Raises:
        UserError: If there is no such file.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, flag: str = "--data", is_utf8: bool = True
    ) -> None:
        self._file = path if isinstance(path, DataFile) else DataFile(path, flag=flag)
        self.name = self._file.name
        self.num_bytes = 0
        self.unit = "line"
        self._flag, self._is_utf8 = flag, is_utf8
        self._digest = hashlib.sha256()

    @property
    def size(self) -> int:
        """Bytes of the text, estimated where the file is compressed."""
        return self._file.text_size

    @property
    def sha256(self) -> str:
        """The hash of the bytes read so far: of the file on the disk, once all were taken."""
        return self._file.sha256 if self._file.compression else self._digest.hexdigest()

    def file(self, data: bytes) -> TextFile:
        """Returns some of the text as a file, for readers and messages."""
        return TextFile(self.name, data, "", self.unit, argument=self._argument)

    @property
    def _argument(self) -> str:
        return as_argument(self.name, self._file.compression)

    def __iter__(self) -> Iterator[Block]:
        """Yields the blocks in order, the byte order mark removed.

        Raises:
            UserError: If the file is missing, a directory, unreadable, damaged, empty, or is not
                UTF-8 text, naming line and byte.
        """
        if self._file.is_folder:
            raise UserError(f"{self.name}: is a directory: expected a file; name one inside it.")
        chunks = self._chunks()
        first, second = next(chunks, b""), b""
        if b"\0" in first:  # before its lines are looked for, which a binary file may not have
            check_is_text(self.name, first, flag=self._flag, compression=self._file.compression)
        start = first.removeprefix(BOM)
        if start.lstrip(_SPACES)[:1] in (b"{", b"["):
            second = next(chunks, b"")
            if is_document(start, is_all=not second):
                self.unit = UNIT
                yield from self._objects(itertools.chain([first, second], chunks))
                return
        line, offset = 1, 0
        for data in self._whole_lines(itertools.chain([first, second], chunks)):
            if not offset:
                check_is_text(self.name, data, flag=self._flag, compression=self._file.compression)
            if self._is_utf8:
                check_utf8(self.name, data, first_line=line, first_offset=offset)
            yield Block(data if offset else data.removeprefix(BOM), line)
            line += data.count(b"\n")
            offset += len(data)

    def _chunks(self) -> Iterator[bytes]:
        """Yields the pieces of the text, as they are read."""
        try:
            with self._file.opened() as file:
                while chunk := file.read(BLOCK_BYTES):
                    if not self._file.compression:
                        self._digest.update(chunk)
                    self.num_bytes += len(chunk)
                    yield chunk
        except (OSError, ValueError) as error:
            raise read_error(self.name, error, flag=self._flag) from None

    def _whole_lines(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yields pieces of the file that end where a line does."""
        rest, has_lines = b"", False
        for chunk in chunks:
            cut = chunk.rfind(b"\n") + 1
            if cut:
                yield rest + chunk[:cut]
                rest, has_lines = chunk[cut:], True
            else:
                rest += chunk
                self._check_length(rest)
        if not has_lines:
            rest = rest.replace(b"\r", b"\n")  # the lone line ends of old spreadsheets
            yield rest  # even where the file is empty, so that it is refused
        elif rest:
            yield rest

    def _objects(self, chunks: Iterable[bytes]) -> Iterator[Block]:
        """Yields the objects of a JSON document, a line each."""
        lines = document_lines(self.name, self._decoded(chunks), argument=self._argument)
        number = 1
        while held := list(itertools.islice(lines, _OBJECTS_OF_BLOCK)):
            yield Block("".join(held).encode(), number)
            number += len(held)

    def _decoded(self, chunks: Iterable[bytes]) -> Iterator[str]:
        """Yields the text of pieces that may be cut within a character."""
        rest, line, offset = b"", 1, 0
        for chunk in chunks:
            data = rest + chunk
            cut = _end_of_characters(data) if chunk else len(data)
            data, rest = data[:cut], data[cut:]
            check_utf8(self.name, data, first_line=line, first_offset=offset)
            if data:
                yield data.removeprefix(BOM if not offset else b"").decode()
            line += data.count(b"\n")
            offset += len(data)
        check_utf8(self.name, rest, first_line=line, first_offset=offset)

    def _check_length(self, rest: bytes) -> None:
        if len(rest) > _MOST_LINE_BYTES:
            raise UserError(
                f"{self.name}: a line of more than {_MOST_LINE_BYTES >> 20} MiB: expected one "
                "event a line, ended by a newline; if the lines end in carriage returns, convert "
                "the file first (tr '\\r' '\\n')."
            )


def load_text(
    path: str | os.PathLike[str], *, flag: str = "--data", is_utf8: bool = True
) -> TextFile:
    """Reads a whole file and checks that it is text.

    Args:
        path: The file.
        flag: The flag by which the user gave the file, for messages.
        is_utf8: False to read text that is not UTF-8 as cp1252 or latin-1; see
            `TextFile.encoding`.

    Raises:
        UserError: See `TextBlocks`.
    """
    blocks = TextBlocks(path, flag=flag, is_utf8=is_utf8)
    data = b"".join(block.data for block in blocks)
    file = TextFile(blocks.name, data, blocks.sha256, blocks.unit)
    return file if is_utf8 else _as_utf8(file)


def _as_utf8(file: TextFile) -> TextFile:
    """Returns a file with the same text as UTF-8; one byte a character is assumed.

    Raises:
        UserError: If it has NUL bytes, as text of two bytes a character has.
    """
    try:
        file.data.decode()
        is_known = True
    except UnicodeDecodeError:
        is_known = False
    if is_known or b"\0" in file.data:
        check_utf8(file.path, file.data)
        return file
    # Without bytes 0x80..0x9f both are the same; latin-1 has only control characters there.
    encoding = "cp1252" if _CP1252_ONLY.search(file.data) else "latin-1"
    try:
        text = file.data.decode(encoding)
    except UnicodeDecodeError:
        encoding, text = "latin-1", file.data.decode("latin-1")
    return replace(file, data=text.encode(), encoding=encoding)


def check_is_text(name: str, data: bytes, *, flag: str = "--data", compression: str = "") -> None:
    """Refuses the start of a file, or all of it, that is no text or empty.

    Args:
        name: The file, for messages.
        data: Its start, decompressed.
        flag: The flag by which the user gave the file.
        compression: How it was compressed, a key of `UNPACK`, or "".

    Raises:
        UserError: If it is; says what it is instead of text.
    """
    if compression and (compression_of(data) or (data.startswith(MAGIC) and b"\0" in data)):
        what = "Parquet" if data.startswith(MAGIC) else compression_of(data)
        raise UserError(
            f"{name}: {compression} around {what}, which compresses by itself: expected text in "
            f"it; unpack it ({UNPACK[compression]} {name}) and give what comes out."
        )
    if what := kind_of(data):
        argument = as_argument(name, compression)
        raise UserError(f"{name}: expected text, but it is {what.replace('FILE', argument)}.")
    if not data.removeprefix(BOM).strip(_SPACES):
        what = _EXPECTED.get(flag, "a header and rows")
        raise UserError(f"{name}: the file is empty: expected {what}; give another as {flag}.")


def _end_of_characters(data: bytes) -> int:
    """Returns where the last character of UTF-8 that is whole ends."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:
            width = 2 + (byte >= 0xE0) + (byte >= 0xF0)
            return len(data) - back * (width > back)
        if byte < 0x80:
            break
    return len(data)


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
        what, remedy = "a NUL byte", "no text has one; mend the line, or delete all (tr -d '\\000')"
    except UnicodeDecodeError as error:
        offset = error.start
        what = f"byte 0x{data[offset]:02x}"
        remedy = (
            "convert the file first (iconv -f ENCODING -t UTF-8, where ENCODING is perhaps "
            " WINDOWS-1252 or LATIN1)"
        )
        if error.reason == "unexpected end of data":  # parts end with a line, but for the last
            remedy = "the file ends within a character, since it is cut short; copy it again"
    if offset < 0:
        return
    line = data.count(b"\n", 0, offset) + first_line
    column = offset - (data.rfind(b"\n", 0, offset) + 1)
    raise UserError(
        f"{name}, line {line}: {what} at byte offset {first_offset + offset} (byte {column + 1} of "
        f"the line) is not UTF-8 text: {remedy}."
    )
