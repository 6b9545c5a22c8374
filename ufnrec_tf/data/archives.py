"""Archives read as streams: nothing is unpacked, so that no member can leave the cache folder.

All the same, an archive with a member that would leave it, a link or a device among them, is
refused as a whole: it is not what the publisher packed. What a stream may expand to is bounded.
"""

import gzip
import io
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from ufnrec_tf.common.errors import UserError, own_words

MAX_RATIO = 200
"""Bytes out of one byte in, at most: logs come to 20 at most, deflate could do 1,000."""
MIN_LIMIT = 1 << 26
"""What any archive may expand to, however small it is: 64 MB."""
MAX_MEMBERS = 10_000
"""Members of an archive, which are held in memory; a publisher packs a dozen."""
MAX_HEADER = 1 << 20
"""Bytes of a tar's extended header, which is too: a long name, or a few words on a file."""
_EXTENDED = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
_DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError),
    *(EOFError, OSError, NotImplementedError, RuntimeError, ValueError),
)
ByteSource = IO[bytes] | gzip.GzipFile
_DRIVE = re.compile(r"[A-Za-z]:")


class Stream(io.RawIOBase):
    """A member's bytes, counted and bounded; what is damaged is the user's error.

    Args:
        inner: Where the bytes come from.
        path: The archive, for messages.
        limit: Bytes that may come.
        position: The archive itself, to tell how far it has been read.

    Attributes:
        num_bytes: Of the archive.
        done: How many of these have been read.
    """

    def __init__(self, inner: ByteSource, *, path: Path, limit: int, position: IO[bytes]) -> None:
        super().__init__()
        self.num_bytes = path.stat().st_size
        self._inner = inner
        self._path = path
        self._limit = limit
        self._position = position
        self._count = 0
        self.done = 0

    def readable(self) -> bool:
        """Returns True."""
        return True

    # The stubs ask for collections.abc.Buffer, which Python 3.11 has not.
    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Reads into a buffer and returns how many bytes.

        Raises:
            UserError: If the archive is damaged, or expands to more than it may.
        """
        with told_as_damage(self._path):
            chunk = self._inner.read(len(buffer))
        self._count += len(chunk)
        self.done = self._position.tell()
        if self._count > self._limit:
            raise too_large(self._path, self._limit)
        buffer[: len(chunk)] = chunk
        return len(chunk)


class _Header(tarfile.TarInfo):
    """A header of a tar; an extended one is refused before it is read where it is too long."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        # tarfile's own place to come in, though its name is not a public one nor in the stubs.
        if self.type in _EXTENDED and self.size > MAX_HEADER:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes, made to fill memory")
        return super()._proc_member(tar)  # type: ignore[misc]


@contextmanager
def told_as_damage(path: Path) -> Iterator[None]:
    """Tells what a library finds wrong with an archive as the user's error.

    Raises:
        UserError: Naming the archive.
    """
    try:
        yield
    except _DAMAGE as error:
        raise UserError(
            f"{path}: is damaged, or not what it should be ({own_words(error)[:200]}). Remove it, "
            "and the same command gets it again."
        ) from error


def too_large(path: Path, limit: int) -> UserError:
    """Returns, for the caller to raise, what to tell of an archive that expands without end."""
    return UserError(
        f"{path}: expands to more than {limit:,} bytes, {MAX_RATIO} times its size: it was made "
        "to fill disks. Remove it."
    )


@contextmanager
def open_member(path: Path, name: str = "") -> Iterator[tuple[io.BufferedReader, Stream]]:
    """Opens a member of an archive as a stream.

    Args:
        path: A .zip, .gz, .tar, .tar.gz or .tgz; a zip may hold the tar.
        name: The member's name without folders; "" for a .gz that holds one file.

    Yields:
        The bytes, to be read on and on; and the stream below, which knows how far it is.

    Raises:
        UserError: If the archive is damaged or unsafe, or has no such member.
    """
    limit = max(MIN_LIMIT, MAX_RATIO * path.stat().st_size)
    with ExitStack() as stack:
        with told_as_damage(path):
            raw = stack.enter_context(path.open("rb"))
            inner = _opened(stack, path, raw, name=name, limit=limit)
        stream = Stream(inner, path=path, limit=limit, position=raw)
        yield stack.enter_context(io.BufferedReader(stream, 1 << 20)), stream


def _opened(stack: ExitStack, path: Path, raw: IO[bytes], *, name: str, limit: int) -> ByteSource:
    start = raw.read(4)
    raw.seek(0)
    if start == b"PK\x03\x04":
        return _zip_member(stack, path, raw, name=name, limit=limit)
    if start[:2] == b"\x1f\x8b":
        unzipped = stack.enter_context(gzip.GzipFile(fileobj=raw))
        if not name:
            return unzipped
        # Counted here too, for what comes before the member.
        counted = Stream(unzipped, path=path, limit=limit, position=raw)
        return _tar_member(stack, path, io.BufferedReader(counted), name=name, limit=limit)
    if name:
        return _tar_member(stack, path, raw, name=name, limit=limit)
    raise UserError(f"{path}: neither gzip nor zip. Remove it, and the same command gets it again.")


def _zip_member(
    stack: ExitStack, path: Path, raw: IO[bytes], *, name: str, limit: int
) -> ByteSource:
    archive = stack.enter_context(zipfile.ZipFile(raw))
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise _too_many(path)
    for info in infos:
        # orig_filename: zipfile has already cut and turned what it gives as filename.
        check_member_name(path, info.orig_filename)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _unsafe(path, info.orig_filename, "is a link or a device")
    for wanted, is_tar in ((name, False), (".tar", True)):
        for info in infos:
            own = PurePosixPath(info.filename)
            if own.name.startswith("._") or info.is_dir():
                continue  # what macOS packs beside a file
            if (own.suffix if is_tar else own.name) == wanted:
                if info.file_size > limit:
                    raise too_large(path, limit)
                member = stack.enter_context(archive.open(info))
                if not is_tar:
                    return member
                return _tar_member(stack, path, member, name=name, limit=limit)
    raise _missing(path, name, [info.filename for info in infos])


def _tar_member(
    stack: ExitStack, path: Path, raw: IO[bytes], *, name: str, limit: int
) -> ByteSource:
    archive = stack.enter_context(
        tarfile.open(fileobj=raw, mode="r|", tarinfo=_Header)  # noqa: SIM115
    )
    names: list[str] = []
    for info in archive:
        if len(names) == MAX_MEMBERS:
            raise _too_many(path)
        check_member_name(path, info.name)
        if not (info.isreg() or info.isdir()):
            raise _unsafe(path, info.name, "is a link or a device")
        names.append(info.name)
        if info.isreg() and PurePosixPath(info.name).name == name:
            if info.size > limit:
                raise too_large(path, limit)
            member = archive.extractfile(info)
            if member is not None:
                return stack.enter_context(member)
    raise _missing(path, name, names)


def check_member_name(path: Path, name: str) -> None:
    """Refuses a member that would lie outside the folder that the archive is unpacked to.

    Args:
        path: The archive, for the message.
        name: The member's name as packed.

    Raises:
        UserError: If the name is absolute, has a drive or `..`, backslashes or a NUL.
    """
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or _DRIVE.match(name):
        raise _unsafe(path, name, "would lie outside the archive's folder")
    if "\\" in name or "\0" in name:
        raise _unsafe(path, name, "has a name that systems read differently")


def _unsafe(path: Path, name: str, why: str) -> UserError:
    return UserError(f"{path}: its member {name[:80]!r} {why}: not read. Remove the file.")


def _too_many(path: Path) -> UserError:
    return UserError(f"{path}: has more than {MAX_MEMBERS:,} members: not read. Remove the file.")


def _missing(path: Path, name: str, names: list[str]) -> UserError:
    known = ", ".join(name[:40] for name in names[:8]) + (", ..." if len(names) > 8 else "")
    return UserError(
        f"{path}: has no {name}, but {known or 'nothing'}. Remove it, and the same command gets "
        "it again; or put the publisher's file in its place."
    )
