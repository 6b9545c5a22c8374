"""A text log of any size as blocks of whole lines, checked and hashed as they are read."""

import hashlib
import os
from collections.abc import Iterator
from typing import NamedTuple

from ufnrec_tf.data.files import BOM, check_is_text, check_utf8, not_readable
from ufnrec_tf.errors import UserError

BLOCK_BYTES = 8 << 20
"""Read at a time. Rows with quotes become Python objects, 10 times as large."""

_HEAD_BYTES = 1 << 20
_MOST_LINE_BYTES = 64 << 20


class Block(NamedTuple):
    """Some lines of a log.

    Attributes:
        data: UTF-8 text without NUL; ends with a line end, unless the file does not.
        first_line: Number of its first line in the file, from 1.
    """

    data: bytes
    first_line: int


class LogBlocks:
    """Goes through a text log once.

    Memory is that of a block, and of the longest line.

    Args:
        path: The log.
        block_bytes: Bytes of a block, about; the first is smaller, since a reader tells by it
            what the log is.

    Attributes:
        name: The path.
        num_bytes: Bytes read so far.
    """

    def __init__(self, path: str | os.PathLike[str], *, block_bytes: int = BLOCK_BYTES) -> None:
        self.name = os.fspath(path)
        self._block_bytes = block_bytes
        self.num_bytes = 0
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of the bytes read so far: of the file, once all blocks were taken."""
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[Block]:
        """Yields the blocks in order.

        Raises:
            UserError: If the file cannot be read or is no text, naming line and byte.
        """
        line, offset = 1, 0
        for data in self._whole_lines():
            if not offset:
                check_is_text(self.name, data)
            check_utf8(self.name, data, first_line=line, first_offset=offset)
            yield Block(data if offset else data.removeprefix(BOM), line)
            line += data.count(b"\n")
            offset += len(data)

    def _whole_lines(self) -> Iterator[bytes]:
        """Yields pieces of the file that end where a line does."""
        rest, size = b"", min(_HEAD_BYTES, self._block_bytes)
        try:
            with open(self.name, "rb") as file:
                while chunk := file.read(size):
                    size = self._block_bytes
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
            raise not_readable(self.name, error) from None
        if len(rest) == self.num_bytes:
            rest = rest.replace(b"\r", b"\n")  # the lone line ends of old spreadsheets
            yield rest  # even where the file is empty, for it to be told
        elif rest:
            yield rest

    def _check_length(self, rest: bytes) -> None:
        if len(rest) > _MOST_LINE_BYTES:
            raise UserError(
                f"{self.name}: a line of more than {_MOST_LINE_BYTES >> 20} MiB: expected one "
                "event a line, ended by a newline; if the lines end in carriage returns, convert "
                "the file first (tr '\\r' '\\n')."
            )
