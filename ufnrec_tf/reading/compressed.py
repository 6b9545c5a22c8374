"""Compressed files as streams of their content, recognised by their first bytes.

Memory is that of what is asked for at a time and of the format's own window, whatever the content
expands to.
"""

import bz2
import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, Protocol

import pyarrow as pa

from ufnrec_tf.common.errors import UserError, own_words

MAX_RATIO = 200
"""Bytes out of one byte in, at most: logs reach 20, deflate could reach 1,000."""
MIN_LIMIT = 1 << 28
"""Bytes to which any file may expand, however small it is."""

_MAGIC = {
    "gzip": re.compile(rb"\x1f\x8b"),
    # Letters alone would also fit an id: the first block, or the end of an empty stream, follows.
    "bz2": re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"),
    "xz": re.compile(rb"\xfd7zXZ\x00"),
    "zstd": re.compile(rb"\(\xb5/\xfd"),
    "zip": re.compile(rb"PK(\x03\x04|\x05\x06)"),
}
_TO_SCREEN = {
    "gzip": "gunzip -c",
    "bz2": "bunzip2 -c",
    "xz": "unxz -c",
    "zstd": "unzstd -c",
    "zip": "unzip -p",
}
UNPACK = {"gzip": "gunzip", "bz2": "bunzip2", "xz": "unxz", "zstd": "unzstd", "zip": "unzip"}
"""Kind of compression -> the command that unpacks such a file."""
ENDINGS = (".gz", ".gzip", ".bz2", ".xz", ".zst", ".zstd", ".zip")
"""Endings of the names of compressed files, which only tell which file lies beside which."""

_Decompressor = bz2.BZ2Decompressor | lzma.LZMADecompressor
_INPUT_BYTES = 1 << 18
_MOST_WINDOW = 1 << 28  # of xz, whose headers may ask for 4 GB
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, pa.ArrowException, EOFError, OSError),
    *(NotImplementedError, RuntimeError, ValueError),
)


def compression_of(start: bytes) -> str:
    """Returns the kind of compression, a key of `UNPACK`, of a file that begins so, or ""."""
    return next((kind for kind, magic in _MAGIC.items() if magic.match(start)), "")


def unpacked_name(path: str | os.PathLike[str]) -> str:
    """Returns a path without the ending that says how it is compressed, if it has one."""
    name = os.fspath(path)
    return next((name[: -len(end)] for end in ENDINGS if name.lower().endswith(end)), name)


def as_argument(path: str, kind: str) -> str:
    """Returns how a command of the shell is given the content of a file."""
    return f"<({_TO_SCREEN[kind]} {path})" if kind else path


class Readable(Protocol):
    """What can be read forwards."""

    def read(self, size: int, /) -> bytes:
        """Returns up to `size` next bytes; none at the end."""
        ...


class Content:
    """The content of a compressed file, read forwards, counted and bounded.

    Args:
        name: The file, for messages.
        kind: A key of `UNPACK`.
        file: The compressed file, at its beginning.
        size: Its bytes.

    Raises:
        UserError: If it is a zip archive of other than one file.
    """

    def __init__(self, name: str, kind: str, file: IO[bytes], size: int) -> None:
        self._name, self._kind, self._file = name, kind, file
        self._limit = max(MIN_LIMIT, MAX_RATIO * size)
        self._count = 0
        with self._damage_reported():
            self._inner: Readable
            if kind == "zip":
                self._inner = _only_member(name, file)
            elif kind == "bz2":
                self._inner = _Members(file, bz2.BZ2Decompressor)
            elif kind == "xz":
                self._inner = _Members(file, lambda: lzma.LZMADecompressor(memlimit=_MOST_WINDOW))
            else:
                self._inner = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), kind)

    def read(self, size: int, /) -> bytes:
        """Returns up to `size` next bytes; none at the end.

        Raises:
            UserError: If the file is damaged, cut short, or expands to more than it may.
        """
        with self._damage_reported():
            chunk = self._inner.read(size)
        self._count += len(chunk)
        if self._count > self._limit:
            raise UserError(
                f"{self._name}: expands to more than {self._limit:,} bytes, {MAX_RATIO} times its "
                f"size, as files do that are made to fill memory. If it is a log, unpack it "
                f"({UNPACK[self._kind]} {self._name}) and give what comes out."
            )
        return chunk

    @contextmanager
    def _damage_reported(self) -> Iterator[None]:
        try:
            yield
        except _DAMAGE as error:
            is_locked = isinstance(error, RuntimeError) and "password" in str(error)
            reason = "it has a password" if is_locked else own_words(error)[:120]
            raise UserError(
                f"{self._name}: cannot be decompressed as {self._kind} ({reason}): expected a "
                "whole file; it is damaged, cut short, or of a kind that is not read. Copy it "
                f"again, or unpack it ({UNPACK[self._kind]} {self._name}) and give what comes out."
            ) from None


class _Members:
    """The streams of a file one after another, as `cat a.bz2 b.bz2` joins them.

    The library's own files ignore whatever follows the first stream and is none.
    """

    def __init__(
        self, file: IO[bytes], new: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]
    ) -> None:
        self._file, self._new = file, new
        self._stream = new()

    def read(self, size: int, /) -> bytes:
        """Returns the next bytes, as many as asked for unless the file ends."""
        found: list[bytes] = []
        while size and (piece := self._piece(size)):
            found.append(piece)
            size -= len(piece)
        return b"".join(found)

    def _piece(self, size: int) -> bytes:
        while True:
            data = b""
            if self._stream.eof:
                data = self._stream.unused_data or self._file.read(_INPUT_BYTES)
                if not data:
                    return b""
                self._stream = self._new()
            elif self._stream.needs_input:
                data = self._file.read(_INPUT_BYTES)
                if not data:
                    raise EOFError("it ends in the middle")
            if piece := self._stream.decompress(data, size):
                return piece


def _only_member(name: str, file: IO[bytes]) -> IO[bytes]:
    """Returns the one file of a zip archive, open.

    Raises:
        UserError: If it holds none or several, or is a document that is packed so.
    """
    archive = zipfile.ZipFile(file)
    infos = [info for info in archive.infolist() if not _is_aside(info)]
    names = [info.filename for info in infos]
    for what, sign in _DOCUMENTS.items():
        if any(map(sign.search, names)):
            raise UserError(f"{name}: expected text, but it is {what}.")
    if len(infos) != 1:
        shown = ", ".join(member[:40] for member in names[:8]) + (", ..." if len(names) > 8 else "")
        raise UserError(
            f"{name}: a zip archive of {len(infos)} files ({shown or 'nothing'}): expected one "
            f"file in it; unpack the one to read (unzip -p {name} NAME > FILE) and give that."
        )
    return archive.open(infos[0])


def _is_aside(info: zipfile.ZipInfo) -> bool:
    """Returns True for a folder, and for what macOS packs beside a file."""
    path = PurePosixPath(info.filename)
    return info.is_dir() or "__MACOSX" in path.parts or path.name.startswith(("._", ".DS_Store"))


_DOCUMENTS = {
    "a workbook (xlsx): save its sheet as CSV UTF-8, or pandas.read_excel(FILE).to_csv(NEW, "
    "index=False)": re.compile(r"^xl/"),
    "a text document: save its table as CSV UTF-8": re.compile(r"^word/"),
    "a document of LibreOffice: save its sheet as CSV UTF-8": re.compile(r"^META-INF/manifest.xml"),
    "arrays of NumPy (npz): write them with pandas.DataFrame(...).to_csv(NEW, index=False)": (
        re.compile(r"\.npy$")
    ),
    "a model of Keras or PyTorch: expected a log": re.compile(
        r"(^|/)(data\.pkl|model\.weights\.h5)$"
    ),
}
"""What is packed as zip without being an archive -> a member's name that shows it."""
