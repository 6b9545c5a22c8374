"""Archives read as streams: nothing is unpacked, so that no member can leave the cache folder.

An archive with a member that would leave that folder, or with a link or a device, is still refused
as a whole: it is not what the publisher packed. What a stream may expand to is bounded.
"""

import gzip
import io
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, cast

from ufnrec_tf.common.errors import UserError, own_words

MAX_RATIO = 200
"""Bytes out of one byte in, at most: logs reach 20, deflate could reach 1,000."""
MIN_LIMIT = 1 << 26
"""Bytes that any archive may expand to, however small it is: 64 MB."""
MAX_MEMBERS = 10_000
"""Members of an archive, whose names are held in memory; a publisher packs a dozen."""
MAX_HEADER = 1 << 20
"""Bytes of a tar's extended header, which is held in memory too."""
_EXTENDED = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
_DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError),
    *(EOFError, OSError, NotImplementedError, RuntimeError, ValueError),
)
Watch = Callable[[int, int], None]
"""Called while an archive is read, with the bytes that have been read and its size."""
_OUTSIDE = re.compile(r"[/\\]|[A-Za-z]:|(.*[/\\])?\.\.([/\\]|$)", re.DOTALL)


class MemberStream(io.RawIOBase):
    """The bytes of a member, counted and bounded; reports damage as a UserError.

    Args:
        inner: The stream that is read.
        path: The archive.
        raw: The archive's own bytes.
        watch: Called after each read.
    """

    def __init__(self, inner: IO[bytes], *, path: Path, raw: IO[bytes], watch: Watch) -> None:
        super().__init__()
        self._inner, self._path, self._raw, self._watch = inner, path, raw, watch
        self._num_bytes, self._count = path.stat().st_size, 0

    def readable(self) -> bool:
        """Returns True."""
        return True

    # The stubs ask for collections.abc.Buffer, which Python 3.11 has not.
    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Reads into a buffer and returns the number of bytes.

        Raises:
            UserError: If the archive is damaged, or expands to more than it may.
        """
        with _damage_reported(self._path):
            chunk = self._inner.read(len(buffer))
        self._count += len(chunk)
        self._watch(self._raw.tell(), self._num_bytes)
        _check_expansion(self._path, self._count)
        buffer[: len(chunk)] = chunk
        return len(chunk)


class _Header(tarfile.TarInfo):
    """A header of a tar; one that is extended and too long is refused before it is read."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        # tarfile documents this hook for subclasses, though its name is private and not in the
        # stubs.
        if self.type in _EXTENDED and self.size > MAX_HEADER:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes, made to fill memory")
        return super()._proc_member(tar)  # type: ignore[misc]


@contextmanager
def _damage_reported(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise UserError(
            f"{path}: is damaged, or not what it should be ({own_words(error)[:200]}). Remove it, "
            "and the same command downloads it again."
        ) from error


def _check_expansion(path: Path, num_bytes: int) -> None:
    limit = max(MIN_LIMIT, MAX_RATIO * path.stat().st_size)
    if num_bytes > limit:
        raise UserError(
            f"{path}: expands to more than {limit:,} bytes, {MAX_RATIO} times its size: it was "
            "made to fill disks. Remove it."
        )


@contextmanager
def open_member(path: Path, name: str, watch: Watch) -> Iterator[io.BufferedReader]:
    """Opens a member of an archive as a stream.

    Args:
        path: A .zip, .gz, .tar, .tar.gz or .tgz; a zip may hold the tar.
        name: The member's name without folders; "" for a .gz that holds one file.
        watch: Called after each read.

    Yields:
        The bytes, which can be read forwards only.

    Raises:
        UserError: If the archive is damaged or unsafe, or has no such member.
    """
    with ExitStack() as stack:
        with _damage_reported(path):
            raw = stack.enter_context(path.open("rb"))

            def bounded(inner: IO[bytes]) -> io.BufferedReader:
                return io.BufferedReader(
                    MemberStream(inner, path=path, raw=raw, watch=watch), 1 << 20
                )

            inner: IO[bytes] = raw
            is_tar, start = bool(name), raw.read(4)
            raw.seek(0)
            if start == b"PK\x03\x04":
                inner, is_tar = _zip_member(stack, path, raw, name)
            elif start[:2] == b"\x1f\x8b":
                inner = cast(IO[bytes], stack.enter_context(gzip.GzipFile(fileobj=raw)))
            elif not is_tar:
                raise UserError(
                    f"{path}: neither gzip nor zip. Remove it, and the same command downloads it "
                    "again."
                )
            if is_tar:
                inner = _tar_member(stack, path, bounded(inner), name)
        yield stack.enter_context(bounded(inner))


def _zip_member(stack: ExitStack, path: Path, raw: IO[bytes], name: str) -> tuple[IO[bytes], bool]:
    """Returns the member of that name, or a tar that may hold it; the bool is True for a tar."""
    archive = stack.enter_context(zipfile.ZipFile(raw))
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise _refusal(path, f"has more than {MAX_MEMBERS:,} members")
    for info in infos:
        # zipfile has already cut and turned what it gives as `filename`.
        check_member_name(path, info.orig_filename)
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refusal(path, f"its member {info.filename[:80]!r} is a link or a device")
    files = [(PurePosixPath(info.filename).name, info) for info in infos if not info.is_dir()]
    exact = [info for own, info in files if own == name]
    # macOS packs a file ._NAME beside NAME.
    tars = [info for own, info in files if own.endswith(".tar") and not own.startswith("._")]
    if not exact and not tars:
        raise _missing(path, name, [info.filename for info in infos])
    info = (exact or tars)[0]
    _check_expansion(path, info.file_size)
    return stack.enter_context(archive.open(info)), not exact


def _tar_member(stack: ExitStack, path: Path, raw: IO[bytes], name: str) -> IO[bytes]:
    archive = stack.enter_context(
        tarfile.open(fileobj=raw, mode="r|", tarinfo=_Header)  # noqa: SIM115
    )
    names: list[str] = []
    for info in archive:
        if len(names) == MAX_MEMBERS:
            raise _refusal(path, f"has more than {MAX_MEMBERS:,} members")
        check_member_name(path, info.name)
        if not (info.isreg() or info.isdir()):
            raise _refusal(path, f"its member {info.name[:80]!r} is a link or a device")
        names.append(info.name)
        if info.isreg() and PurePosixPath(info.name).name == name:
            _check_expansion(path, info.size)
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
    if _OUTSIDE.match(name):
        raise _refusal(path, f"its member {name[:80]!r} would lie outside the archive's folder")
    if "\\" in name or "\0" in name:
        raise _refusal(path, f"its member {name[:80]!r} has a name that systems read differently")


def _refusal(path: Path, why: str) -> UserError:
    return UserError(f"{path}: {why}: not read. Remove the file.")


def _missing(path: Path, name: str, names: list[str]) -> UserError:
    known = ", ".join(name[:40] for name in names[:8]) + (", ..." if len(names) > 8 else "")
    return UserError(
        f"{path}: has no {name}, but {known or 'nothing'}. Remove it, and the same command "
        "downloads it again; or put the publisher's file in its place."
    )
