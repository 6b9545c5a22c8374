"""Downloads: a file from its address, whole and checked, gone on with where it was left.

What has come so far lies beside the target as FILE.part, and FILE.part.json says of what file.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ufnrec_tf.common.display import Display, ProgressBar
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.files import to_disk, write_error, write_json
from ufnrec_tf.data.checksums import Expected, check_file
from ufnrec_tf.data.web import ChangedError, PassingError, Reply, ask, check_address, read_some

MAX_BYTES = 100 * 10**9
"""A download of unknown size that is larger than this is no data set of ours."""
_CHUNK = 1 << 18
_SPARE_BYTES = 50 * 10**6  # of the disk, left free
_BAR_AFTER = 2.0  # seconds; what is shorter needs no bar
_GOOD_STEP = 1 << 20  # bytes after which a broken connection counts as the first one again


class Patience(NamedTuple):
    """How long a bad connection is borne with.

    Attributes:
        attempts: Tries without getting on before it is given up.
        first_wait: Seconds before the second try, doubled from try to try.
        timeout: Seconds that connecting, or waiting for the next bytes, may take.
        slow_seconds: A server that sends fewer than `slow_bytes` in so many seconds has stalled.
        slow_bytes: See `slow_seconds`.
    """

    attempts: int = 5
    first_wait: float = 1.0
    timeout: float = 30.0
    slow_seconds: float = 60.0
    slow_bytes: int = 1 << 16


class _Part(NamedTuple):
    """A download that is under way."""

    address: str
    target: Path
    patience: Patience
    display: Display

    @property
    def path(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def note(self) -> Path:
        return self.target.with_name(f"{self.target.name}.part.json")

    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def remembered(self) -> dict[str, str | int | None]:
        """What the server said of the bytes that are here; empty where they are of no use."""
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
            is_ours = note["address"] == self.address and note["validator"] and self.size() > 0
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return note if is_ours else {}


def fetch(
    address: str,
    target: Path,
    *,
    expected: Expected,
    display: Display,
    patience: Patience | None = None,
) -> str:
    """Downloads a file; it is at `target` once it is whole and as expected.

    Args:
        address: https, or http on this machine.
        target: Where it is put; FILE.part and FILE.part.json beside it are gone on with.
        expected: Size and checksum, where known.
        display: Progress and tries are shown here.
        patience: Tries and time limits.

    Returns:
        The SHA-256 of what came.

    Raises:
        UserError: If it cannot be had, is not as expected, or the disk does not take it.
    """
    check_address(address)
    part = _Part(address, target, patience or Patience(), display)
    was_begun = bool(part.remembered())
    _transfer_patiently(part, expected)
    sha256, wrong = check_file(part.path, expected)
    if wrong and was_begun:
        display.line(f"  {target.name}: {wrong} after going on with an older part; from the start")
        part.remove()
        _transfer_patiently(part, expected)
        sha256, wrong = check_file(part.path, expected)
    if wrong:
        part.remove()
        raise UserError(
            f"{address}: {wrong}. The publisher may have changed the file, or it was tampered "
            f"with. {expected.way_out.replace('{sha256}', sha256)}"
        )
    _keep(part)
    return sha256


def _keep(part: _Part) -> None:
    """Gives a part that is whole the name of the file."""
    try:
        to_disk(part.path)
        os.replace(part.path, part.target)
        to_disk(part.target.parent)
    except OSError as error:
        raise write_error(part.target, error) from error
    part.remove()


def _transfer_patiently(part: _Part, expected: Expected) -> None:
    """Transfers until the part is whole, with pauses that grow between tries."""
    failures = 0
    while True:
        before = part.size()
        try:
            _transfer(part, expected)
            return
        except PassingError as error:
            failures = 1 if part.size() >= before + _GOOD_STEP else failures + 1
            if failures >= part.patience.attempts:
                kept = " What has come is kept, and gone on from." if part.size() else ""
                raise UserError(
                    f"{part.address}: {error}, {failures} times. Run the same command later.{kept} "
                    f"{_by_hand(part)}"
                ) from error
            wait = max(part.patience.first_wait * 2 ** (failures - 1), error.wait_seconds)
            part.display.line(f"  {part.target.name}: {error}; again in {wait:.0f} s")
            time.sleep(wait)


def _by_hand(part: _Part) -> str:
    return f"Or get the file by other means and put it at {part.target}."


def _transfer(part: _Part, expected: Expected) -> None:
    """Asks once for what is missing, and writes it."""
    note, start = part.remembered(), part.size()
    if note and note["length"] == start:
        return
    validator = str(note.get("validator", ""))
    try:
        reply = ask(
            part.address,
            start=start if validator else 0,
            validator=validator,
            timeout=part.patience.timeout,
        )
    except ChangedError:
        part.remove()
        raise
    except UserError as error:
        raise UserError(f"{error} {_by_hand(part)}") from error
    with reply.body:
        own = reply.etag or reply.last_modified
        if reply.start and (own not in ("", validator) or reply.length != note["length"]):
            part.remove()
            raise ChangedError("the file has changed since the last try")
        _check_size(part, reply, expected)
        if not reply.start:
            part.remove()
            write_json(
                part.note, {"address": part.address, "validator": own, "length": reply.length}
            )
        _write(part, reply, limit=reply.length or expected.num_bytes or MAX_BYTES)
    if reply.length is not None and part.size() != reply.length:
        raise PassingError(f"the connection ended after {part.size():,} of {reply.length:,} bytes")


def _check_size(part: _Part, reply: Reply, expected: Expected) -> None:
    """Refuses a file of another size than expected, and one for which there is no room."""
    length = reply.length
    if expected.num_bytes is not None and length not in (None, expected.num_bytes):
        raise UserError(
            f"{part.address}: is {length:,} bytes, expected {expected.num_bytes:,}: the publisher "
            "has changed the file, or this is another. Look at it, and where it is right give its "
            "SHA-256 as --config.data.sha256."
        )
    if length is not None and length > MAX_BYTES:
        raise UserError(f"{part.address}: {length:,} bytes is more than {MAX_BYTES:,} allowed.")
    missing = (length or expected.num_bytes or 0) - reply.start
    free = shutil.disk_usage(part.target.parent).free
    if free < missing + _SPARE_BYTES:
        raise UserError(
            f"{part.target.parent}: {missing:,} bytes to come, {free:,} free: free some space, or "
            "give another folder as --config.data.cache."
        )


def _write(part: _Part, reply: Reply, *, limit: int) -> None:
    """Appends what comes to the part; what has come is kept whatever happens."""
    done = reply.start
    window_begin, window_done = time.monotonic(), done
    with _meter(part, done, reply.length) as show:
        while chunk := read_some(reply, _CHUNK):
            done += len(chunk)
            if done > limit:
                part.remove()
                raise UserError(f"{part.address}: more than the {limit:,} bytes expected came.")
            try:
                append(part.path, chunk)
            except OSError as error:
                raise write_error(part.path, error) from error
            show(done)
            now = time.monotonic()
            if now - window_begin >= part.patience.slow_seconds:
                came = done - window_done
                if came < part.patience.slow_bytes:
                    raise PassingError(f"{came:,} bytes came in {now - window_begin:.0f} s")
                window_begin, window_done = now, done


def append(path: Path, chunk: bytes) -> None:
    """Adds bytes to the end of a file."""
    with path.open("ab") as file:
        file.write(chunk)


@contextmanager
def _meter(part: _Part, done: int, length: int | None) -> Iterator[Callable[[int], None]]:
    """Gives a function that shows how far the download is, once it has taken a while."""
    begin, bar = time.monotonic(), None
    first = done

    def show(now_done: int) -> None:
        nonlocal bar, done
        done = now_done
        seconds = time.monotonic() - begin
        if bar is None and seconds > _BAR_AFTER and length:
            bar = ProgressBar(part.display, label=part.target.name, total=length, done=first)
        if bar is not None:
            rate = (done - first) / seconds
            bar.update(done, f"{megabytes(done)} of {megabytes(length or 0)}, {megabytes(rate)}/s")

    try:
        yield show
    finally:
        if bar is not None:
            bar.close(done)


def megabytes(num_bytes: float) -> str:
    """Returns a size for people to read, such as "5.9 MB"."""
    return f"{num_bytes / 1e6:,.1f} MB"
