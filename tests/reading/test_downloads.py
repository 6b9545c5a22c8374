"""Downloads against a server on 127.0.0.1 that behaves, and against one that does not."""

import errno
import hashlib
import io
import json
import re
import shutil
from collections import namedtuple

import pytest
from rich.console import Console

from tests.helpers.file_server import FileServer
from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.data import downloads
from ufnrec_tf.data.checksums import Expected
from ufnrec_tf.data.downloads import Patience, fetch
from ufnrec_tf.data.web import check_address

BODY = bytes(range(256)) * 1200  # 307,200 bytes: two chunks
SHA256 = hashlib.sha256(BODY).hexdigest()
HASTE = Patience(attempts=3, first_wait=0.0, timeout=5.0)


@pytest.fixture
def server():
    with FileServer() as running:
        yield running


@pytest.fixture
def shown():
    """A display, and the text that it has shown."""
    display = Display()
    display.console = Console(file=io.StringIO(), soft_wrap=True)
    return display


def text(display):
    return display.console.file.getvalue()


def get(address, target, shown, *, expected=None, patience=HASTE):
    expected = expected or Expected(f"sha256:{SHA256}", len(BODY))
    return fetch(address, target, expected=expected, display=shown, patience=patience)


def leave_part(target, address, *, body, etag='"1"', length=None):
    """What a download that was interrupted leaves behind."""
    target.with_name(f"{target.name}.part").write_bytes(body)
    note = {"address": address, "validator": etag, "length": length or len(BODY)}
    target.with_name(f"{target.name}.part.json").write_text(json.dumps(note))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_comes_whole_and_leaves_nothing_beside(server, shown, tmp_path):
    address = server.add("/a.zip", BODY)
    assert get(address, tmp_path / "a.zip", shown) == SHA256
    assert (tmp_path / "a.zip").read_bytes() == BODY
    assert names(tmp_path) == ["a.zip"]
    assert server.requests == [("/a.zip", "")]


def test_an_md5_and_an_unknown_size_do_too(server, shown, tmp_path):
    address = server.add("/a", BODY, has_length=False, etag="")
    expected = Expected(f"md5:{hashlib.md5(BODY).hexdigest()}")
    assert get(address, tmp_path / "a", shown, expected=expected) == SHA256


def test_a_wrong_checksum_is_told_and_nothing_kept(server, shown, tmp_path):
    address = server.add("/a", BODY[:-1] + b"x")
    with pytest.raises(UserError, match=f"expected {SHA256}.*give X"):
        get(address, tmp_path / "a", shown, expected=Expected(f"sha256:{SHA256}", None, "give X"))
    assert names(tmp_path) == []


def test_another_size_than_known_is_refused_before_it_comes(server, shown, tmp_path):
    address = server.add("/a", BODY)
    with pytest.raises(UserError, match="is 307,200 bytes, expected 12"):
        get(address, tmp_path / "a", shown, expected=Expected(num_bytes=12))
    assert names(tmp_path) == []


def test_more_than_expected_is_cut_off(server, shown, tmp_path):
    address = server.add("/a", BODY, has_length=False)
    with pytest.raises(UserError, match="more than the 1,000 bytes expected"):
        get(address, tmp_path / "a", shown, expected=Expected(num_bytes=1000))
    assert names(tmp_path) == []


def test_a_missing_file_is_one_line_and_asked_for_once(server, shown, tmp_path):
    with pytest.raises(
        UserError, match=rf"no such file \(any more\) \(404\).*put it at {tmp_path}/a"
    ):
        get(f"{server.address}/none", tmp_path / "a", shown)
    assert len(server.requests) == 1


def test_an_error_of_the_server_is_tried_again(server, shown, tmp_path):
    address = server.add("/a", BODY, statuses=[500, 503])
    assert get(address, tmp_path / "a", shown) == SHA256
    assert len(server.requests) == 3
    assert "500" in text(shown)


def test_and_given_up_in_one_line(server, shown, tmp_path):
    address = server.add("/a", BODY, statuses=[500] * 9)
    with pytest.raises(UserError, match=r"answered 500.*, 3 times") as raised:
        get(address, tmp_path / "a", shown)
    assert len(server.requests) == 3
    assert "\n" not in str(raised.value)


def test_what_a_server_says_cannot_act_on_the_screen(server, shown, tmp_path, monkeypatch):
    address = server.add("/a", BODY)

    def loud(handler, served, wanted):
        handler.send_response(500, "\x1b[2J gone")
        handler.end_headers()

    monkeypatch.setattr(server, "_send", loud)
    with pytest.raises(UserError) as raised:
        get(address, tmp_path / "a", shown)
    assert "\x1b" not in str(raised.value) + text(shown)
    assert "\\x1b[2J gone" in str(raised.value)


def test_a_server_that_wants_to_be_left_alone_is(server, shown, tmp_path, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(downloads.time, "sleep", waits.append)
    address = server.add("/a", BODY, statuses=[429, 429], retry_after="7")
    patience = HASTE._replace(first_wait=4.0)
    assert get(address, tmp_path / "a", shown, patience=patience) == SHA256
    assert waits == [7.0, 8.0]


def test_a_truncated_body_is_gone_on_with(server, shown, tmp_path):
    address = server.add("/a", BODY, cut_at=[100_000, 200_000])
    assert get(address, tmp_path / "a", shown) == SHA256
    ranges = [wanted for _, wanted in server.requests]
    assert ranges == ["", "bytes=100000-", "bytes=200000-"]
    assert (tmp_path / "a").read_bytes() == BODY


def test_a_part_of_an_earlier_run_is_gone_on_with(server, shown, tmp_path):
    address = server.add("/a", BODY)
    leave_part(tmp_path / "a", address, body=BODY[:70_000])
    assert get(address, tmp_path / "a", shown) == SHA256
    assert server.requests == [("/a", "bytes=70000-")]
    assert names(tmp_path) == ["a"]


def test_a_part_that_was_whole_is_not_asked_for(server, shown, tmp_path):
    address = server.add("/a", BODY)
    leave_part(tmp_path / "a", address, body=BODY)
    assert get(address, tmp_path / "a", shown) == SHA256
    assert server.requests == []


@pytest.mark.parametrize("ignores_if_range", [False, True])
def test_a_file_that_has_changed_is_begun_anew(server, shown, tmp_path, ignores_if_range):
    """Whether the server says so, or sends the rest of the new one all the same."""
    address = server.add("/a", BODY, etag='"2"', ignores_if_range=ignores_if_range)
    leave_part(tmp_path / "a", address, body=b"old" * 1000, etag='"1"')
    assert get(address, tmp_path / "a", shown, expected=Expected()) == SHA256
    assert (tmp_path / "a").read_bytes() == BODY


@pytest.mark.parametrize(
    "note", ["", "{", "[]", '{"address": "http://127.0.0.1/b", "validator": "1", "length": 9}']
)
def test_a_part_of_unknown_origin_is_not_gone_on_with(server, shown, tmp_path, note):
    address = server.add("/a", BODY)
    (tmp_path / "a.part").write_bytes(b"old")
    (tmp_path / "a.part.json").write_text(note)
    assert get(address, tmp_path / "a", shown) == SHA256
    assert server.requests == [("/a", "")]


def test_a_part_that_lies_is_begun_anew_once(server, shown, tmp_path):
    """Same tag, other bytes: only the checksum tells."""
    address = server.add("/a", BODY)
    leave_part(tmp_path / "a", address, body=b"x" * 70_000)
    assert get(address, tmp_path / "a", shown) == SHA256
    assert [wanted for _, wanted in server.requests] == ["bytes=70000-", ""]


def test_a_part_longer_than_the_file_is_begun_anew(server, shown, tmp_path):
    address = server.add("/a", BODY)
    leave_part(tmp_path / "a", address, body=BODY + b"more", length=len(BODY) + 9)
    assert get(address, tmp_path / "a", shown) == SHA256
    assert [wanted for _, wanted in server.requests] == [f"bytes={len(BODY) + 4}-", ""]


def test_a_server_without_parts_sends_it_all_again(server, shown, tmp_path):
    address = server.add("/a", BODY, has_ranges=False, cut_at=[100_000])
    assert get(address, tmp_path / "a", shown) == SHA256
    assert (tmp_path / "a").read_bytes() == BODY
    assert [wanted for _, wanted in server.requests] == ["", "bytes=100000-"]


def test_without_a_tag_nothing_is_gone_on_with(server, shown, tmp_path):
    address = server.add("/a", BODY, etag="", cut_at=[100_000])
    assert get(address, tmp_path / "a", shown) == SHA256
    assert [wanted for _, wanted in server.requests] == ["", ""]


def test_a_stalled_server_ends_in_one_line_and_what_came_is_kept(server, shown, tmp_path):
    address = server.add("/a", BODY, pause=0.0)
    served = server.files["/a"]
    served.piece, served.pause = 100_000, 30.0
    patience = Patience(attempts=2, first_wait=0.0, timeout=0.1)
    with pytest.raises(UserError, match="stopped sending, 2 times"):
        get(address, tmp_path / "a", shown, patience=patience)
    assert not (tmp_path / "a").exists()


def test_a_slow_server_ends_in_one_line_and_what_came_is_kept(server, shown, tmp_path):
    address = server.add("/a", BODY, pause=0.01, piece=10)
    patience = Patience(attempts=2, first_wait=0.0, slow_seconds=0.2, slow_bytes=100_000)
    with pytest.raises(UserError, match=r"bytes came in 0 s, 2 times.*is kept"):
        get(address, tmp_path / "a", shown, patience=patience)
    part = (tmp_path / "a.part").read_bytes()
    assert part
    assert BODY.startswith(part)
    server.files["/a"].pause = 0.0
    server.files["/a"].piece = 1 << 16
    assert get(address, tmp_path / "a", shown) == SHA256
    assert server.requests[-1] == ("/a", f"bytes={len(part)}-")


def test_ctrl_c_keeps_what_came(server, shown, tmp_path, monkeypatch):
    address = server.add("/a", BODY)
    real = downloads.append

    def interrupted(path, chunk):
        real(path, chunk)
        raise KeyboardInterrupt

    monkeypatch.setattr(downloads, "append", interrupted)
    with pytest.raises(KeyboardInterrupt):
        get(address, tmp_path / "a", shown)
    come = (tmp_path / "a.part").stat().st_size
    assert 0 < come < len(BODY)
    monkeypatch.setattr(downloads, "append", real)
    assert get(address, tmp_path / "a", shown) == SHA256
    assert server.requests[-1] == ("/a", f"bytes={come}-")


def test_a_full_disk_is_told_before_and_on_the_way(server, shown, tmp_path, monkeypatch):
    address = server.add("/a", BODY)
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage(9, 9, 1000))
        with pytest.raises(UserError, match=r"307,200 bytes to come, 1,000 free.*data\.cache"):
            get(address, tmp_path / "a", shown)
    real = downloads.append

    def full(path, chunk):
        real(path, chunk[:1000])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(downloads, "append", full)
        with pytest.raises(UserError, match="No space left on device"):
            get(address, tmp_path / "a", shown)
    assert get(address, tmp_path / "a", shown) == SHA256
    assert server.requests[-1] == ("/a", "bytes=1000-")


def test_nobody_there_is_one_line(shown, tmp_path):
    with FileServer() as server:
        address = server.address
    with pytest.raises(UserError, match=r"cannot be reached \(Connection refused\), 3 times"):
        get(f"{address}/a", tmp_path / "a", shown)


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
    with pytest.raises(UserError, match=f"leads on to {re.escape(location)}: only https://|302"):
        get(address, tmp_path / "a", shown)


def test_nobody_elsewhere_leads_to_this_machine():
    with pytest.raises(UserError, match="leads on to http://127"):
        check_address("http://127.0.0.1/a", asked="https://example.org/a")
    with pytest.raises(UserError, match="leads on to https://localhost"):
        check_address("https://localhost/a", asked="https://example.org/a")


def test_a_redirection_on_this_machine_is_followed(server, shown, tmp_path):
    server.add("/b", BODY)
    address = server.add("/a", location=f"{server.address}/b")
    assert get(address, tmp_path / "a", shown) == SHA256
    server.add("/c", location="/c")
    with pytest.raises(UserError):
        get(f"{server.address}/c", tmp_path / "c", shown)


def test_a_body_that_was_encoded_on_the_way_is_refused(server, shown, tmp_path, monkeypatch):
    address = server.add("/a", BODY)
    real = server._send

    def encoded(handler, served, wanted):
        handler.send_header = lambda name, value, send=handler.send_header: send(
            *(("Content-Encoding", "gzip") if name == "ETag" else (name, value))
        )
        real(handler, served, wanted)

    monkeypatch.setattr(server, "_send", encoded)
    with pytest.raises(UserError, match="gzip-encoded"):
        get(address, tmp_path / "a", shown)
    server.add("/a.gz", BODY)
    assert get(f"{server.address}/a.gz", tmp_path / "a.gz", shown) == SHA256


def test_a_long_download_shows_how_far_it_is(server, shown, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "_BAR_AFTER", 0.0)
    monkeypatch.setattr("ufnrec_tf.common.display.LINE_SECONDS", 0.0)
    address = server.add("/a", BODY)
    get(address, tmp_path / "a", shown)
    assert re.search(r"a: 100% 0\.3 MB of 0\.3 MB, [\d,.]+ MB/s, 0 s left", text(shown))


@pytest.mark.parametrize(
    "header",
    [
        ("Content-Length", "\u00b2"),  # a digit to Python, and no number
        ("Content-Length", "9" * 5000),  # more digits than Python reads
        ("Content-Range", f"bytes 0-1/{'9' * 5000}"),
        ("Retry-After", "\u00b2"),
        ("Retry-After", "9" * 5000),
        ("Location", "https://["),
        ("Location", "https://a:9999999999/"),
        ("ETag", '"\u00b2"'),
    ],
)
def test_headers_that_no_server_sends_are_no_bug(server, shown, tmp_path, monkeypatch, header):
    address = server.add("/a", BODY)
    status = {"Content-Range": 206, "Retry-After": 503, "Location": 302}.get(header[0], 200)

    def odd(handler, served, wanted):
        handler.send_response(status)
        handler.send_header(*header)
        handler.end_headers()
        if status == 200:
            handler.wfile.write(BODY)

    monkeypatch.setattr(server, "_send", odd)
    monkeypatch.setattr(downloads.time, "sleep", lambda seconds: None)
    if header[0] in ("ETag", "Content-Length"):
        assert get(address, tmp_path / "a", shown) == SHA256
        return
    with pytest.raises(UserError) as raised:
        get(address, tmp_path / "a", shown)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "a").exists()
