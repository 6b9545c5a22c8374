"""Files that are there whole or not at all, locked folders, hashes, JSON."""

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ufnrec_tf.common.errors import UserError, own_words

IN_USE = "another run is using it"


def write_error(path: Path, error: Exception) -> UserError:
    """Returns the UserError for a file that could not be written."""
    return UserError(
        f"{path}: could not be written ({own_words(error)}). Free some space or mend its "
        "permissions, then run the same command again."
    )


def folder_error(path: Path, error: OSError) -> UserError:
    """Returns the UserError for a work directory that cannot be made or written to."""
    return UserError(
        f"--workdir={path}: cannot be made or written to ({error.strerror}). "
        "Give another --workdir."
    )


def to_disk(path: Path) -> None:
    """Waits until a file or a folder's list of names is on the disk, safe from a crash."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextmanager
def held_folder(
    path: Path, *, file: str = ".lock", if_taken: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Makes a folder and holds it: one process at a time, the others wait.

    Args:
        path: The folder.
        file: The file in it that is locked, made if it is missing; "" for the folder itself.
        if_taken: Called before waiting for another process that holds it; may raise instead.

    Raises:
        OSError: If the folder cannot be made, written to or locked.
    """
    path.mkdir(parents=True, exist_ok=True)
    number = os.open(path / file, os.O_RDWR | os.O_CREAT if file else os.O_RDONLY, 0o666)
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if_taken()
            fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)


@contextmanager
def held_workdir(path: Path) -> Iterator[None]:
    """Makes a work directory and holds it, so that no other process writes into it.

    Raises:
        UserError: If another process holds it, or it cannot be made or written to.
    """

    def refuse() -> None:
        raise in_use_error(path)

    with ExitStack() as held:
        try:
            held.enter_context(held_folder(path, if_taken=refuse))
        except OSError as error:
            raise folder_error(path, error) from error
        yield


_STREAMS = (("/", "dev"), ("/", "proc"))
"""Where devices and open streams have their names; /dev/shm is a folder of files."""


def is_stream(path: Path) -> bool:
    """Returns True for a device, a pipe or an open stream, which a renamed file would replace."""
    parts = path.absolute().parts
    is_named = parts[:2] in _STREAMS and parts[:3] != ("/", "dev", "shm")
    return is_named or (path.exists() and not path.is_file() and not path.is_dir())


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yields a path beside `path` to write to. At the end it is renamed to `path`, or removed.

    Raises:
        UserError: If the disk is full or not writable, or the path is of a device or a pipe.
    """
    if is_stream(path):
        raise UserError(
            f"{path}: is not a regular file, and files are written whole or not at all. Give a "
            "file's name, and read it once it is there."
        )
    new = path.with_name(f".{path.name}.new")
    try:
        yield new
        to_disk(new)
        os.replace(new, path)
        to_disk(path.parent)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        new.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole or not at all."""
    with written_whole(path) as new:
        # Half of a surrogate pair, which a name in JSON can be, as JSON itself escapes it.
        new.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as an indented JSON file, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_parquet(path: Path, frame: Any) -> None:
    """Writes a pandas frame as Parquet, whole or not at all. `frame.attrs` become metadata."""
    with written_whole(path) as new:
        frame.to_parquet(new, index=False)


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file.

    Raises:
        OSError: Where it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> Any:
    """Returns the value of a JSON file of a work directory.

    Raises:
        UserError: If it is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path}: not found. Expected a work directory that --mode=train has finished with."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path}: cannot be read as JSON ({error}). Put a copy of it back, or give "
            "another --workdir."
        ) from error


def is_in_use(path: Path) -> bool:
    """True if another process holds the directory now, and does not only read it."""
    try:
        with (path / ".lock").open("r", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # nobody has ever held it, or nobody may from here
        return False
    return False


def is_writable(path: Path) -> bool:
    """True if files can be made in a folder, or the folder where it does not exist yet."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path.is_dir() and os.access(path, os.W_OK | os.X_OK)


def check_workdir(path: Path, *, is_shared: bool = False) -> None:
    """Checks that a work directory can be held and written to, and makes nothing.

    For the time before long work; it is held only after that.

    Args:
        path: The directory.
        is_shared: True if several processes may use it at once.

    Raises:
        UserError: If another process holds it, or it cannot be made or written to.
    """
    if not is_writable(path):
        raise folder_error(path, OSError(errno.EACCES, "no folder that may be written to"))
    if not is_shared and is_in_use(path):
        raise in_use_error(path)


def check_folder(path: str | os.PathLike[str], *, key: str) -> None:
    """Raises UserError if a folder cannot be made or written to; `key` names another one."""
    if not is_writable(Path(path)):
        raise UserError(
            f"{path}: cannot be made or written to. Mend its permissions, or give another folder: "
            f"--config.{key}=FOLDER."
        )


def in_use_error(path: Path) -> UserError:
    """Returns the UserError for a work directory that another process holds."""
    return UserError(f"--workdir={path}: {IN_USE}. Wait for it to end, or give another --workdir.")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Holds a shared lock of a work directory, so that no run changes it while it is read.

    Raises:
        UserError: If a run is using it.
    """
    try:
        lock = (path / ".lock").open("r", encoding="utf-8")
    except OSError:  # nobody has ever held it, or nobody may from here
        yield
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"--workdir={path}: {IN_USE}. Wait for it to end, or stop it."
            ) from None
        yield


@contextmanager
def turn_at(path: Path) -> Iterator[None]:
    """Makes a directory and waits for its lock, so that processes that share it take turns."""
    with ExitStack() as stack:
        try:
            stack.enter_context(held_folder(path))
        except OSError as error:
            raise folder_error(path, error) from error
        yield
