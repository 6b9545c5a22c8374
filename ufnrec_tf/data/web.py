"""Requests over https: which addresses may be asked, and what comes back."""

import http.client
import re
import ssl
import urllib.error
import urllib.request
from typing import IO, NamedTuple
from urllib.parse import urlsplit

from ufnrec_tf import __version__
from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.common.text import plain

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
_NUMBER = re.compile(r"[0-9]{1,18}")  # isdigit() also takes what int() does not
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)")
_PASSING_STATUS = (408, 425, 429, 500, 502, 503, 504)
_MAX_RETRY_AFTER = 60.0


class PassingError(Exception):
    """What may be over at the next try.

    Args:
        message: What happened.
        wait_seconds: How long the server asked to be left alone, 0 where it did not.
    """

    def __init__(self, message: str, *, wait_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


class ChangedError(PassingError):
    """The file is no longer the one whose beginning is here."""


class Reply(NamedTuple):
    """The head of an answer, and its body yet to be read.

    Attributes:
        body: What `read_some` reads.
        start: Offset of the body in the file.
        length: Bytes of the whole file, or None where the server does not say.
        etag: The file's tag, "" where there is none or a weak one.
        last_modified: As the server sent it, or "".
    """

    body: http.client.HTTPResponse
    start: int
    length: int | None
    etag: str
    last_modified: str


def is_local(address: str) -> bool:
    """Whether an address is of this machine."""
    return urlsplit(address).hostname in LOCAL_HOSTS


def check_address(address: str, *, asked: str = "") -> None:
    """Refuses all but https, and http on this machine.

    Args:
        address: The address.
        asked: The address that led here by a redirection: from elsewhere none may lead to this
            machine.

    Raises:
        UserError: If it may not be asked.
    """
    if is_local(address):
        is_allowed = urlsplit(address).scheme in ("http", "https") and (
            not asked or is_local(asked)
        )
    else:
        is_allowed = urlsplit(address).scheme == "https" and bool(urlsplit(address).hostname)
    if not is_allowed:
        raise UserError(
            f"{asked + ': leads on to ' if asked else ''}{address}: only https:// is asked for "
            "data (http:// on 127.0.0.1 and localhost alone)."
        )


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections to addresses that may be asked."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        check_address(plain(newurl), asked=req.full_url)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def ask(address: str, *, start: int, validator: str, timeout: float) -> Reply:
    """Asks for a file, or for the rest of it.

    Args:
        address: Where it is.
        start: Bytes that are here already.
        validator: Tag or date of those bytes: a file that has changed comes whole.
        timeout: Seconds that connecting, and each read, may take.

    Returns:
        The answer; its `start` is 0 where the server sends the whole file after all.

    Raises:
        PassingError: If it is worth another try.
        UserError: If it is not.
    """
    check_address(address)
    headers = {"User-Agent": f"ufnrec-tf/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": validator}
    # A proxy cannot know this machine.
    proxies = [urllib.request.ProxyHandler({})] if is_local(address) else []
    opener = urllib.request.build_opener(_CheckedRedirects(), *proxies)
    try:
        body = opener.open(urllib.request.Request(address, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:
            raise _of_status(address, error) from None
    except (OSError, http.client.HTTPException) as error:
        raise _of_network(address, error) from None
    except ValueError as error:  # urllib's, of an address or a header that is none
        raise UserError(f"{address}: no answer that can be read ({_words(error)}).") from None
    return _reply(address, body, asked_from=start)


def _reply(address: str, body: http.client.HTTPResponse, *, asked_from: int) -> Reply:
    head = body.headers
    encoding = head.get("Content-Encoding", "identity").lower()
    # Some servers say so of a file that is compressed by itself, which is then what it is.
    if encoding != "identity" and not urlsplit(address).path.endswith((".gz", ".tgz")):
        raise UserError(f"{address}: comes {encoding}-encoded, which was not asked for.")
    start, length = 0, head.get("Content-Length", "")
    total = int(length) if _NUMBER.fullmatch(length) else None
    if body.status == http.client.PARTIAL_CONTENT:
        match = _CONTENT_RANGE.fullmatch(head.get("Content-Range", "").strip())
        if match is None or int(match[1]) != asked_from:
            raise ChangedError("the server sent another part than was asked for")
        start, total = asked_from, int(match[2]) if match[2] != "*" else None
    etag, modified = head.get("ETag", ""), head.get("Last-Modified", "")
    # A weak tag does not promise the same bytes, and If-Range may not have it (RFC 9110, 13.1.5).
    return Reply(body, start, total, etag if etag.startswith('"') else "", modified)


def read_some(reply: Reply, num_bytes: int) -> bytes:
    """Returns what has arrived, at most so many bytes; empty at the end.

    Raises:
        PassingError: If the connection broke or nothing came for too long.
    """
    try:
        return reply.body.read1(num_bytes)
    except TimeoutError:
        raise PassingError("the server stopped sending") from None
    except (OSError, http.client.HTTPException) as error:
        raise PassingError(f"the connection broke ({_words(error)})") from None


def _of_status(address: str, error: urllib.error.HTTPError) -> Exception:
    reason = plain(str(error.reason))[:200]
    if error.code in _PASSING_STATUS:
        after = error.headers.get("Retry-After", "")
        wait = min(float(after), _MAX_RETRY_AFTER) if _NUMBER.fullmatch(after) else 0.0
        return PassingError(f"the server answered {error.code} {reason}", wait_seconds=wait)
    if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
        return ChangedError("the server has no such rest of the file (416)")
    if error.code in (http.client.NOT_FOUND, http.client.GONE):
        return UserError(f"{address}: the publisher has no such file (any more) ({error.code}).")
    return UserError(f"{address}: the server answered {error.code} {reason}.")


def _of_network(address: str, error: Exception) -> Exception:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    host = urlsplit(address).hostname
    if isinstance(reason, ssl.SSLCertVerificationError):
        return UserError(
            f"{address}: the certificate of {host} is not valid ({reason.verify_message}). Check "
            "the clock of this machine."
        )
    if isinstance(reason, TimeoutError):
        return PassingError(f"{host} did not answer in time")
    words = _words(reason) if isinstance(reason, Exception) else str(reason)
    return PassingError(f"{host} cannot be reached ({words})")


def _words(error: Exception) -> str:
    return plain(own_words(error))[:200]
