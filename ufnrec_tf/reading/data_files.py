"""Files that the user gave, as bytes to be read as often as needed."""

import os
import shutil
import stat
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO

from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.common.files import sha256_of
from ufnrec_tf.reading.compressed import Content, Readable, compression_of

_START_BYTES = 1 << 10
_SAMPLE_BYTES = 1 << 23
_COPIED_BYTES = 1 << 20


class DataFile(os.PathLike[str]):
    """A file that the user gave: a plain one, a compressed one, or a pipe.

    A pipe, which can be read only once, is copied to a temporary file first (TMPDIR says where),
    which goes when this object does.

    Args:
        path: The path as the user gave it.
        flag: The flag by which the user gave it, for messages.

    Attributes:
        name: The path as the user gave it.
        flag: The flag by which the user gave it.
        local: The path to open: that of the copy, of a pipe.
        size: Bytes on the disk; 0 of a folder.
        is_folder: True if it is a folder.
        compression: A key of `compressed.UNPACK`, or "".

    Raises:
        UserError: If there is no such file, or it is a device.
    """

    def __init__(self, path: str | os.PathLike[str], *, flag: str = "--data") -> None:
        self.name, self.flag = os.fspath(path), flag
        copy = ""
        try:
            mode = os.stat(self.name).st_mode
            if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or _is_terminal(self.name, mode):
                copy = _copied(self.name)
                weakref.finalize(self, _remove, copy)
            elif not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise UserError(
                    f"{self.name}: is not a regular file. Give {flag} a file or a pipe."
                )
            self.local = Path(copy or self.name)
            self.is_folder = stat.S_ISDIR(mode)
            self.size = 0 if self.is_folder else self.local.stat().st_size
            self.compression = "" if self.is_folder else compression_of(self._start())
        except (OSError, ValueError) as error:
            raise read_error(self.name, error, flag=flag) from None

    def __fspath__(self) -> str:
        """Returns the path as the user gave it."""
        return self.name

    def _start(self) -> bytes:
        with open(self.local, "rb") as file:
            return file.read(_START_BYTES)

    @property
    def sha256(self) -> str:
        """The hash of the bytes on the disk, of a compressed file the compressed ones."""
        try:
            return sha256_of(self.local)
        except OSError as error:
            raise read_error(self.name, error, flag=self.flag) from None

    @property
    def is_empty(self) -> bool:
        """True if the content has no byte.

        Raises:
            UserError: If the file is damaged.
        """
        with self.opened() as content:
            return not content.read(1)

    @cached_property
    def text_size(self) -> int:
        """The bytes of the content, estimated from its beginning where it is compressed.

        Raises:
            UserError: If the file is damaged.
        """
        if not self.compression:
            return self.size
        count = 0
        with self._raw() as raw:
            content = Content(self.name, self.compression, raw, self.size)
            while count < _SAMPLE_BYTES and (chunk := content.read(_COPIED_BYTES)):
                count += len(chunk)
            is_all = count < _SAMPLE_BYTES
            return count if is_all else count * self.size // max(raw.tell(), 1)

    @contextmanager
    def opened(self) -> Iterator[Readable]:
        """Opens the content, decompressed, to be read forwards.

        Raises:
            UserError: If the file cannot be opened; reading it raises it for a damaged one.
        """
        with self._raw() as raw:
            if self.compression:
                yield Content(self.name, self.compression, raw, self.size)
            else:
                yield raw

    def _raw(self) -> IO[bytes]:
        try:
            return open(self.local, "rb")
        except (OSError, ValueError) as error:
            raise read_error(self.name, error, flag=self.flag) from None


def _is_terminal(name: str, mode: int) -> bool:
    if not stat.S_ISCHR(mode):
        return False
    with open(name, "rb") as file:
        return file.isatty()


def _copied(name: str) -> str:
    """Returns the path of the temporary file that a pipe was copied to."""
    path = ""
    with open(name, "rb") as pipe:
        try:
            number, path = tempfile.mkstemp(prefix="ufnrec-")
            with open(number, "wb") as copy:
                shutil.copyfileobj(pipe, copy, _COPIED_BYTES)
        except BaseException as error:
            if path:
                _remove(path)
            if not isinstance(error, OSError):
                raise
            raise UserError(
                f"{name}: could not be copied to a temporary file ({own_words(error)}), where a "
                "pipe is kept to be read. Free space there, or name another folder with TMPDIR."
            ) from None
    return path


def _remove(path: str) -> None:
    Path(path).unlink(missing_ok=True)


def refuse_pipe(path: str | os.PathLike[str], *, flag: str, why: str) -> None:
    """Refuses what can be read only once, where it must be read by several processes.

    Args:
        path: The file.
        flag: The flag by which the user gave it.
        why: Why once is not enough.

    Raises:
        UserError: If the path is there, and neither a file nor a folder.
    """
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise UserError(
            f"{flag}={os.fspath(path)}: is a pipe or a device, which can be read only once, and "
            f"{why}. Write it to a file first and give that."
        )


def read_error(name: str, error: Exception, *, flag: str = "--data") -> UserError:
    """Returns the error for a file that cannot be opened or read."""
    if isinstance(error, FileNotFoundError):
        way = f"check the path given as {flag}"
        if "://" in name:
            way = "an address is not read; download the file and give its path"
        elif name == "-":
            way = f"give standard input as {flag}=/dev/stdin"
        elif "*" in name:
            way = "a pattern is not read; give the folder, whose files are one log"
        return UserError(f"{name}: no such file: {way}.")
    reason = getattr(error, "strerror", None) or error
    return UserError(f"{name}: cannot be read ({reason}): check path and permissions.")
