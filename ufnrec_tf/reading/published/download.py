"""A file downloaded from its publisher: over https only, whole, checked. pooch does the work."""

import hashlib
import shutil
import ssl
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import requests

from ufnrec_tf.common.display import Display, ProgressBar
from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.common.files import to_disk, write_error
from ufnrec_tf.common.version import __version__

if TYPE_CHECKING:
    import pooch  # else only where it is used: its progress bars warn in a notebook

MAX_BYTES = 100 * 10**9
"""A download of unknown size that is larger than this is no published data set."""
BAR_AFTER = 2.0
"""Seconds after which work gets a progress bar."""
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
_CHUNK = 1 << 18
_SPARE_BYTES = 50 * 10**6  # of the disk, left free
_RETRIED_STATUS = (408, 425, 429, 500, 502, 503, 504)
_BROKEN_CONNECTION = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
)


class RetrySettings(NamedTuple):
    """Retries and time-outs of a download.

    Attributes:
        retries: Further attempts after the first; pooch waits 1, 2, 3, ... seconds before them.
        timeout: Seconds that connecting, or waiting for the next bytes, may take.
    """

    retries: int = 4
    timeout: float = 30.0


class Expected(NamedTuple):
    """The checksum and size of a file, as far as known before it is downloaded.

    Attributes:
        checksum: "sha256:DIGITS" or "md5:DIGITS", or "".
        num_bytes: Its size, or None where unknown.
        way_out: How to accept another file all the same; {sha256} stands for that file's own.
    """

    checksum: str = ""
    num_bytes: int | None = None
    way_out: str = ""


def check_file(path: Path, expected: Expected) -> tuple[str, str]:
    """Compares a file with its expected checksum and size.

    Returns:
        Its SHA-256, and what is wrong with it or "".

    Raises:
        UserError: If it cannot be read.
    """
    kind, _, digits = expected.checksum.partition(":")
    found = {}
    try:
        for name in {"sha256", kind or "sha256"}:
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, name).hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({own_words(error)}).") from error
    num_bytes, wrong = path.stat().st_size, ""
    if digits and found[kind] != digits.lower():
        wrong = f"has {kind} {found[kind]}, expected {digits.lower()}"
    elif expected.num_bytes not in (None, num_bytes):
        wrong = f"has {num_bytes:,} bytes, expected {expected.num_bytes:,}"
    return found["sha256"], wrong


def is_local(address: str) -> bool:
    """Returns True if an address is of this machine."""
    return urlsplit(address).hostname in LOCAL_HOSTS


def check_address(address: str, *, asked: str = "") -> None:
    """Refuses all addresses but https, and http on this machine.

    Args:
        address: The address.
        asked: The address that redirected to it; one elsewhere may not redirect to this machine.

    Raises:
        UserError: If nothing may be downloaded from it.
    """
    parts = urlsplit(address)
    if is_local(address):
        is_allowed = parts.scheme in ("http", "https") and (not asked or is_local(asked))
    else:
        is_allowed = parts.scheme == "https" and bool(parts.hostname)
    if not is_allowed:
        raise UserError(
            f"{asked + ': leads on to ' if asked else ''}{address}: only https:// addresses are "
            "downloaded from (http:// only on 127.0.0.1 and localhost)."
        )


def fetch(
    address: str,
    target: Path,
    *,
    expected: Expected,
    display: Display,
    settings: RetrySettings | None = None,
) -> str:
    """Downloads a file; it is at `target` once it is whole and as expected.

    Args:
        address: https, or http on this machine.
        target: Path of the file, which does not exist yet, in a folder that this process holds.
        expected: Size and checksum, where known.
        display: Shows progress and retries.
        settings: Retries and time-outs.

    Returns:
        The SHA-256 of the file.

    Raises:
        UserError: If it cannot be downloaded, is not as expected, or the disk does not take it.
    """
    import pooch

    check_address(address)
    settings = settings or RetrySettings()
    download = _Downloader(target, expected, display, settings.timeout)
    pooch.get_logger().setLevel("ERROR")  # the display says it
    manager = pooch.Pooch(
        path=target.parent,
        base_url="",
        registry={target.name: None},  # the checksum is checked by the downloader, once
        urls={target.name: address},
        retry_if_failed=settings.retries,
    )
    try:
        for left in target.parent.glob("tmp*"):  # pooch's, of a process that was killed
            left.unlink()
        manager.fetch(target.name, downloader=download)
        to_disk(target.parent)
    except requests.RequestException as error:
        raise UserError(
            f"{address}: {_reason(error)}, {settings.retries + 1} times. Run the same command "
            f"later. {_by_hand(target)}"
        ) from error
    except OSError as error:
        raise write_error(target, error) from error
    return download.sha256


class _Downloader:
    """One attempt of a download, in the form that pooch calls.

    Raises requests' exceptions where another attempt may help, which pooch then makes, and
    UserError where none would.

    Attributes:
        sha256: Of the file that was downloaded last.
    """

    def __init__(self, target: Path, expected: Expected, display: Display, timeout: float) -> None:
        self.sha256 = ""
        self._target, self._expected, self._display = target, expected, display
        self._timeout = timeout

    def __call__(self, address: str, path: str, manager: "pooch.Pooch") -> None:
        import pooch

        http = pooch.HTTPDownloader(
            chunk_size=_CHUNK,
            timeout=self._timeout,
            headers={"User-Agent": f"ufnrec-tf/{__version__}", "Accept-Encoding": "identity"},
            hooks={"response": self._check_response},
            # A proxy does not know this machine.
            proxies={"no_proxy": ",".join(LOCAL_HOSTS)} if is_local(address) else None,
        )
        try:
            with open(path, "wb") as file, LateBar(self._display, self._target.name) as bar:
                self._file = _BoundedFile(file, address, bar)
                http(address, self._file, manager)
        except requests.HTTPError as error:
            code = error.response.status_code if error.response is not None else 0
            if code not in _RETRIED_STATUS:
                gone = "the publisher has no such file (any more), " if code in (404, 410) else ""
                raise UserError(
                    f"{address}: {gone}{_reason(error)}. {_by_hand(self._target)}"
                ) from error
            self._show_failure(error)
            raise
        except _BROKEN_CONNECTION as error:
            reason = _innermost(error)
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise UserError(
                    f"{address}: its certificate is not valid ({reason.verify_message}). Check the "
                    "clock of this machine."
                ) from error
            self._show_failure(error)
            raise
        except (requests.RequestException, ValueError) as error:  # of an address or a header
            raise UserError(f"{address}: no answer that can be read ({_reason(error)}).") from error
        self.sha256, wrong = check_file(Path(path), self._expected)
        if wrong:
            raise UserError(
                f"{address}: {wrong}. The publisher may have changed the file, or it was tampered "
                f"with. {self._expected.way_out.replace('{sha256}', self.sha256)}"
            )
        to_disk(Path(path))

    def _show_failure(self, error: requests.RequestException) -> None:
        self._display.line(f"  {self._target.name}: {_reason(error)}")

    def _check_response(self, response: requests.Response, **settings: Any) -> None:
        """Refuses an answer that must not be downloaded, before any of its body is read.

        Raises:
            UserError: For a redirect to an address that may not be asked, an encoded body, another
                size than expected, and a file for which the disk has no room.
        """
        address, head = response.url, response.headers
        if response.is_redirect:
            check_address(urljoin(address, head["Location"]), asked=address)
            response.close()  # requests would read its body, whatever its size
        if not response.ok or response.is_redirect:
            return
        if response.status_code != requests.codes.ok:
            raise UserError(f"{address}: the server answered {response.status_code}, not a file.")
        encoding = head.get("Content-Encoding", "identity").lower()
        if encoding != "identity":
            # Some servers name the encoding of a file that is itself compressed: it stays as it is.
            if not urlsplit(address).path.endswith((".gz", ".tgz")):
                raise UserError(f"{address}: comes {encoding}-encoded, which was not asked for.")
            del response.raw.headers["Content-Encoding"]
        length = int(head["Content-Length"]) if "Content-Length" in head else None
        known = self._expected.num_bytes
        if known is not None and length not in (None, known):
            raise UserError(
                f"{address}: is {length:,} bytes, expected {known:,}: the publisher has changed "
                "the file, or this is another. Look at it, and if it is right give its SHA-256 "
                "as --config.data.sha256."
            )
        needed, folder = length or known or 0, self._target.parent
        self._file.total = needed
        if needed > MAX_BYTES:
            raise UserError(f"{address}: {needed:,} bytes is more than {MAX_BYTES:,} allowed.")
        free = shutil.disk_usage(folder).free
        if free < needed + _SPARE_BYTES:
            raise UserError(
                f"{folder}: {needed:,} bytes to come, {free:,} free: free some space, or give "
                "another folder as --config.data.cache."
            )


class _BoundedFile:
    """A file that is being downloaded: takes no more bytes than announced, and shows how many.

    Attributes:
        total: Bytes announced, 0 where unknown.
    """

    def __init__(self, file: IO[bytes], address: str, bar: "LateBar") -> None:
        self.total = 0
        self._file, self._address, self._bar = file, address, bar
        self._count = 0

    def write(self, chunk: bytes) -> None:
        """Writes a chunk.

        Raises:
            UserError: If more comes than was announced.
        """
        limit = self.total or MAX_BYTES
        self._count += len(chunk)
        if self._count > limit:
            raise UserError(f"{self._address}: more than the {limit:,} bytes expected came.")
        self._file.write(chunk)
        self._bar.update(self._count, self.total)

    def flush(self) -> None:
        """Leaves the bytes in the buffer: the file is flushed once it is whole."""


def _reason(error: Exception) -> str:
    """Returns the reason of a failed request in a few words."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"[:200]
    innermost = _innermost(error)
    if isinstance(error, requests.Timeout) or isinstance(innermost, TimeoutError):
        return "the server did not answer in time"
    words = own_words(innermost)[:200]
    return f"the connection failed ({words})" if isinstance(error, _BROKEN_CONNECTION) else words


def _innermost(error: BaseException) -> BaseException:
    """Returns the error of the system that requests and urllib3 wrap."""
    wrapped = [each for each in error.args if isinstance(each, BaseException)]
    inner = error.__cause__ or error.__context__ or next(iter(wrapped), None)
    return error if inner is None else _innermost(inner)


def _by_hand(target: Path) -> str:
    return f"Or get the file by other means and put it at {target}."


class LateBar:
    """A progress bar in bytes, which appears once a file has taken a while.

    Args:
        display: The screen.
        label: The work.
    """

    def __init__(self, display: Display, label: str) -> None:
        self._display, self._label = display, label
        self._bar: ProgressBar | None = None
        self._begin, self._done = time.monotonic(), 0

    def __enter__(self) -> "LateBar":
        return self

    def update(self, done: int, total: int) -> None:
        """Shows that `done` of `total` bytes are done; fewer than before are of another file."""
        if done < self._done:
            self.__exit__()
            self._bar, self._begin = None, time.monotonic()
        seconds, self._done = time.monotonic() - self._begin, done
        if self._bar is None and seconds > BAR_AFTER and total:
            self._bar = ProgressBar(self._display, label=self._label, total=total, done=0)
        if self._bar is not None:
            rate = megabytes(done / max(seconds, 1e-9))
            self._bar.update(done, f"{megabytes(done)} of {megabytes(total)}, {rate}/s")

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close(self._done)


def megabytes(num_bytes: float) -> str:
    """Returns a size as text, such as "5.9 MB"."""
    return f"{num_bytes / 1e6:,.1f} MB"
