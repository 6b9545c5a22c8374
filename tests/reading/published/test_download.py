"""Downloads against a server on 127.0.0.1 that behaves, and against one that does not."""

import errno
import hashlib
import io
import re
import shutil
import ssl
from collections import namedtuple

import pytest
import requests
import urllib3
from rich.console import Console

from tests.helpers.file_server import FileServer
from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.version import __version__
from ufnrec_tf.reading.published import download
from ufnrec_tf.reading.published.download import Expected, RetrySettings, check_address, fetch

BODY = bytes(range(256)) * 1200  # 307,200 bytes: two chunks
SHA256 = hashlib.sha256(BODY).hexdigest()
HASTE = RetrySettings(retries=2, timeout=5.0)


@pytest.fixture
def server():
    with FileServer() as running:
        yield running


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """The seconds that pooch would have waited between attempts."""
    waited: list[float] = []
    monkeypatch.setattr("pooch.core.time.sleep", waited.append)
    return waited


@pytest.fixture
def shown():
    """A display, and the text that it has shown."""
    display = Display()
    display.console = Console(file=io.StringIO(), soft_wrap=True)
    return display


def text(display):
    return display.console.file.getvalue()


def get(address, target, shown, *, expected=None, settings=HASTE):
    expected = expected or Expected(f"sha256:{SHA256}", len(BODY))
    return fetch(address, target, expected=expected, display=shown, settings=settings)


def refuse(address, target, shown, match, **arguments):
    """A download that ends in one line, and leaves nothing."""
    before = names(target.parent)
    with pytest.raises(UserError, match=match) as raised:
        get(address, target, shown, **arguments)
    assert "\n" not in str(raised.value)
    assert names(target.parent) == before
    return str(raised.value)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_comes_whole_and_leaves_nothing_beside(server, shown, tmp_path, capfd):
    address = server.add("/a.zip", BODY)
    assert get(address, tmp_path / "a.zip", shown) == SHA256
    assert (tmp_path / "a.zip").read_bytes() == BODY
    assert names(tmp_path) == ["a.zip"]
    assert server.requests == [("/a.zip", f"ufnrec-tf/{__version__}")]
    assert capfd.readouterr() == ("", "")


def test_an_md5_and_an_unknown_size_do_too(server, shown, tmp_path):
    address = server.add("/a", BODY, has_length=False)
    expected = Expected(f"md5:{hashlib.md5(BODY).hexdigest()}")
    assert get(address, tmp_path / "a", shown, expected=expected) == SHA256


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_a_wrong_checksum_is_told_once_and_nothing_kept(server, shown, tmp_path, kind):
    address = server.add("/a", BODY[:-1] + b"x")
    digits = hashlib.new(kind, BODY).hexdigest()
    expected = Expected(f"{kind}:{digits}", None, "give X")
    refuse(address, tmp_path / "a", shown, f"expected {digits}.*give X", expected=expected)
    assert len(server.requests) == 1


def test_another_size_than_known_is_refused_before_it_comes(server, shown, tmp_path):
    address = server.add("/a", BODY)
    expected = Expected(num_bytes=12)
    refuse(address, tmp_path / "a", shown, "is 307,200 bytes, expected 12", expected=expected)
    assert not text(shown)


@pytest.mark.parametrize("num_bytes", [1000, len(BODY) + 1])
def test_another_size_of_an_unknown_length_is_refused(server, shown, tmp_path, num_bytes):
    address = server.add("/a", BODY, has_length=False)
    match = "more than the 1,000 bytes expected|has 307,200 bytes, expected 307,201"
    refuse(address, tmp_path / "a", shown, match, expected=Expected(num_bytes=num_bytes))


def test_a_missing_file_is_one_line_and_asked_for_once(server, shown, tmp_path):
    match = rf"no such file \(any more\).*404.*put it at {tmp_path}/a"
    refuse(f"{server.address}/none", tmp_path / "a", shown, match)
    assert len(server.requests) == 1


def test_an_error_of_the_server_is_tried_again(server, shown, tmp_path, waits):
    address = server.add("/a", BODY, statuses=[500, 503])
    assert get(address, tmp_path / "a", shown) == SHA256
    assert len(server.requests) == 3
    assert waits == [1, 2]
    assert "500" in text(shown)


def test_and_given_up_in_one_line(server, shown, tmp_path):
    address = server.add("/a", BODY, statuses=[500] * 9)
    refuse(address, tmp_path / "a", shown, r"answered 500.*, 3 times")
    assert len(server.requests) == 3


def test_what_a_server_says_cannot_act_on_the_screen(server, shown, tmp_path, monkeypatch):
    address = server.add("/a", BODY)

    def loud(handler, served):
        handler.send_response(500, "\x1b[2J gone")
        handler.end_headers()

    monkeypatch.setattr(server, "_send", loud)
    message = refuse(address, tmp_path / "a", shown, "gone")
    assert "\x1b" not in message + text(shown)
    assert "\\x1b[2J gone" in message


def test_a_truncated_body_is_tried_again(server, shown, tmp_path):
    address = server.add("/a", BODY, cut_at=[100_000, 0])
    assert get(address, tmp_path / "a", shown, expected=Expected()) == SHA256
    assert len(server.requests) == 3
    assert (tmp_path / "a").read_bytes() == BODY
    server.files["/a"].cut_at = [100_000] * 9
    refuse(address, tmp_path / "b", shown, "connection failed .*3 times", expected=Expected())


def test_a_stalled_server_ends_in_one_line(server, shown, tmp_path):
    address = server.add("/a", BODY, pause=30.0)
    settings = RetrySettings(retries=1, timeout=0.1)
    refuse(address, tmp_path / "a", shown, "not answer in time, 2 times", settings=settings)


def test_what_a_killed_download_left_is_removed(server, shown, tmp_path, monkeypatch):
    address = server.add("/a", BODY)

    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(download, "check_file", interrupted)
        with pytest.raises(KeyboardInterrupt):
            get(address, tmp_path / "a", shown)
    assert names(tmp_path) == []
    (tmp_path / "tmp12345").write_bytes(BODY[:9])  # killed where nothing could clean up
    assert get(address, tmp_path / "a", shown) == SHA256
    assert names(tmp_path) == ["a"]


def test_a_full_disk_is_told_before_and_on_the_way(server, shown, tmp_path, monkeypatch):
    address = server.add("/a", BODY)
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage(9, 9, 1000))
        refuse(address, tmp_path / "a", shown, r"307,200 bytes to come, 1,000 free.*data\.cache")

    def full(file, chunk):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(download._BoundedFile, "write", full)
        refuse(address, tmp_path / "a", shown, "No space left on device")
    assert get(address, tmp_path / "a", shown) == SHA256


def test_nobody_there_is_one_line(shown, tmp_path):
    with FileServer() as server:
        address = server.address
    refuse(f"{address}/a", tmp_path / "a", shown, r"\(Connection refused\), 3 times")


def test_a_certificate_that_is_not_valid_is_told_once(shown, tmp_path, monkeypatch):
    asked: list[str] = []

    def refused(address, **settings):
        asked.append(address)
        reason = ssl.SSLCertVerificationError(1, "certificate verify failed")
        reason.verify_message = "certificate has expired"
        raise requests.exceptions.SSLError(urllib3.exceptions.SSLError(reason))

    monkeypatch.setattr(requests, "get", refused)
    match = r"certificate is not valid \(certificate has expired\)\. Check the clock"
    refuse("https://example.org/a", tmp_path / "a", shown, match)
    assert asked == ["https://example.org/a"]


@pytest.mark.parametrize(
    "address",
    [
        "http://example.org/a",
        "ftp://127.0.0.1/a",
        "file:///etc/passwd",
        "http://127.0.0.1.example.org/a",
        "http://localhost@example.org/a",
        "https:///a",
        "data.zip",
    ],
)
def test_only_https_is_asked(address):
    with pytest.raises(UserError, match="only https://"):
        check_address(address)


@pytest.mark.parametrize("address", ["https://example.org/a", "http://localhost:8/a"])
def test_https_and_this_machine_are_asked(address):
    check_address(address)


@pytest.mark.parametrize("location", ["http://example.org/a", "file:///etc/passwd", "ftp://x/a"])
def test_a_redirection_elsewhere_is_refused(server, shown, tmp_path, location):
    address = server.add("/a", location=location)
    match = f"leads on to {re.escape(location)}: only https://"
    refuse(address, tmp_path / "a", shown, match)
    assert len(server.requests) == 1


def test_nobody_elsewhere_leads_to_this_machine():
    with pytest.raises(UserError, match="leads on to http://127"):
        check_address("http://127.0.0.1/a", asked="https://example.org/a")
    with pytest.raises(UserError, match="leads on to https://localhost"):
        check_address("https://localhost/a", asked="https://example.org/a")


def test_a_redirection_on_this_machine_is_followed(server, shown, tmp_path):
    server.add("/b", BODY)
    address = server.add("/a", location="b")
    assert get(address, tmp_path / "a", shown) == SHA256
    server.add("/c", location="/c")
    refuse(f"{server.address}/c", tmp_path / "c", shown, "30 redirects")


def test_the_body_of_a_redirection_is_not_waited_for(server, shown, tmp_path):
    server.add("/b", BODY)
    address = server.add("/a", BODY, status=302, headers=[("Location", "b")], pause=30.0)
    settings = RetrySettings(retries=0, timeout=0.3)
    assert get(address, tmp_path / "a", shown, settings=settings) == SHA256


def test_an_answer_that_is_no_file_is_refused(server, shown, tmp_path):
    address = server.add("/a", BODY, status=206)
    refuse(address, tmp_path / "a", shown, "the server answered 206", expected=Expected())


def test_a_proxy_is_not_asked_for_this_machine(server, shown, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert get(server.add("/a", BODY), tmp_path / "a", shown) == SHA256


def test_a_body_that_was_encoded_on_the_way_is_refused(server, shown, tmp_path):
    address = server.add("/a", BODY, headers=[("Content-Encoding", "gzip")])
    refuse(address, tmp_path / "a", shown, "gzip-encoded")
    server.add("/a.gz", BODY, headers=[("Content-Encoding", "gzip")])
    assert get(f"{server.address}/a.gz", tmp_path / "a.gz", shown) == SHA256


def test_a_long_download_shows_how_far_it_is(server, shown, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "BAR_AFTER", 0.0)
    monkeypatch.setattr("ufnrec_tf.common.display.LINE_SECONDS", 0.0)
    address = server.add("/a", BODY)
    get(address, tmp_path / "a", shown)
    assert re.search(r"a: 100% 0\.3 MB of 0\.3 MB, [\d,.]+ MB/s, 0 s left", text(shown))


@pytest.mark.parametrize(
    "header",
    [
        ("Content-Length", "\u00b2"),  # a digit to Python, and no number
        ("Content-Length", "9" * 5000),  # more digits than Python reads
        ("Location", "https://["),
        ("Location", "https://a:9999999999/"),
        ("Location", "\u00b2"),
    ],
)
def test_headers_that_no_server_sends_are_no_bug(server, shown, tmp_path, header):
    status = 302 if header[0] == "Location" else 200
    server.add("/a", BODY, headers=[header], has_length=False, status=status)
    refuse(f"{server.address}/a", tmp_path / "a", shown, ".")
