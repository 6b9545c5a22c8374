"""Archives as publishers pack them, and as somebody else might."""

import gzip
import io
import os
import stat
import struct
import tarfile
import zipfile

import pytest

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.reading.published import archives
from ufnrec_tf.reading.published.archives import check_member_name, open_member

LOG = b"1::2::3\n" * 100


def packed_zip(members, **settings):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, **settings) as archive:
        for name, body in members:
            archive.writestr(name, body)
    return buffer.getvalue()


def packed_tar(members, mode="w"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for member, body in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return buffer.getvalue()


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def read(path, name="ratings.dat"):
    watched: list[tuple[int, int]] = []
    with open_member(path, name, lambda *sizes: watched.append(sizes)) as stream:
        body = stream.read()
    assert sorted(watched) == watched
    assert all(done <= size == path.stat().st_size for done, size in watched)
    return body


def refuse(path, match, name="ratings.dat"):
    before = sorted(path.parent.parent.rglob("*"))
    with pytest.raises(UserError, match=match) as raised:
        read(path, name)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)
    assert sorted(path.parent.parent.rglob("*")) == before  # nothing was written anywhere


INNER = packed_tar([("./other.json", b"{}"), ("./ratings.dat", LOG)])
WHOLE = {
    "plain.zip": packed_zip([("ml/", b""), ("ml/README", b"x"), ("ml/ratings.dat", LOG)]),
    "apple.zip": packed_zip([("__MACOSX/ml/._ratings.dat", b"no"), ("ml/ratings.dat", LOG)]),
    "of_tar.zip": packed_zip([("Yelp JSON/terms.pdf", b"x"), ("Yelp JSON/yelp.tar", INNER)]),
    "plain.tar": INNER,
    "plain.tar.gz": packed_tar([("a/other", b"x" * 70_000), ("a/ratings.dat", LOG)], "w:gz"),
    "plain.tgz": gzip.compress(INNER),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_member_is_read_as_a_stream(write, name):
    path = write(WHOLE[name], name)
    before = os.listdir(path.parent)
    assert read(path) == LOG
    assert os.listdir(path.parent) == before


def test_a_file_that_is_only_compressed_too(write):
    assert read(write(gzip.compress(LOG) + gzip.compress(LOG), "a.gz"), "") == LOG + LOG


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_a_missing_member_is_told_with_what_there_is(write, name):
    refuse(write(WHOLE[name], name), "has no movies.dat, but .*ratings.dat|yelp", "movies.dat")


UNSAFE_NAMES = [
    "../ratings.dat",
    "ml/../../ratings.dat",
    "/etc/ratings.dat",
    "C:/ratings.dat",
    "c:ratings.dat",
    "..\\ratings.dat",
    "\\\\host\\ratings.dat",
    "ml\\ratings.dat",
]


@pytest.mark.slow
@pytest.mark.parametrize("name", UNSAFE_NAMES)
@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "zip of tar"])
def test_a_member_outside_the_folder_refuses_the_archive(write, name, kind):
    members = [(name, b"x"), ("ml/ratings.dat", LOG)]
    body = {
        "zip": lambda: packed_zip(members),
        "tar": lambda: packed_tar(members),
        "tar.gz": lambda: packed_tar(members, "w:gz"),
        "zip of tar": lambda: packed_zip([("a.tar", packed_tar(members))]),
    }[kind]()
    refuse(write(body, "a.bin"), "outside the archive's folder|systems read differently")


def test_harmless_names_pass(tmp_path):
    for name in ("ratings.dat", "./a/b", "a/..b/c..", "a b/ü"):
        check_member_name(tmp_path, name)


@pytest.mark.parametrize(
    "info",
    [
        special("ratings.dat", tarfile.SYMTYPE, "/etc/passwd"),
        special("link", tarfile.LNKTYPE, "../../x"),
        special("device", tarfile.CHRTYPE),
        special("disk", tarfile.BLKTYPE),
        special("pipe", tarfile.FIFOTYPE),
    ],
)
def test_links_and_devices_refuse_the_archive(write, info):
    body = packed_tar([(info, b""), ("ml/ratings.dat", LOG)], "w:gz")
    refuse(write(body, "a.tar.gz"), "link or a device")


def test_a_link_in_a_zip_refuses_it_too(write):
    info = zipfile.ZipInfo("ml/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    refuse(write(packed_zip([(info, "/etc/passwd"), ("ratings.dat", LOG)]), "a.zip"), "link")


@pytest.fixture
def small_limit(monkeypatch):
    monkeypatch.setattr(archives, "MIN_LIMIT", 100_000)


ZEROS = bytes(30_000_000)


@pytest.mark.usefixtures("small_limit")
@pytest.mark.parametrize(
    ("name", "body", "member"),
    [
        ("zip", packed_zip([("ratings.dat", ZEROS)]), "ratings.dat"),
        ("gz", gzip.compress(ZEROS), ""),
        ("tar.gz", packed_tar([("ratings.dat", ZEROS)], "w:gz"), "ratings.dat"),
        ("before", packed_tar([("x", ZEROS), ("ratings.dat", LOG)], "w:gz"), "ratings.dat"),
        (
            "zip of tar",
            packed_zip([("a.tar", packed_tar([("ratings.dat", ZEROS)]))]),
            "ratings.dat",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bomb_is_cut_off(write, name, body, member):
    """1,000 times its size, with 200 allowed."""
    refuse(write(body, "a.bin"), "made to fill disks", member)


@pytest.mark.usefixtures("small_limit")
def test_a_zip_that_lies_about_its_size_gives_no_more_than_it_says(write):
    body = bytearray(packed_zip([("ratings.dat", ZEROS)]))
    declared = struct.pack("<I", len(ZEROS))
    assert body.count(declared) == 2
    refuse(write(bytes(body.replace(declared, struct.pack("<I", 50_000))), "a.zip"), "damaged")


@pytest.mark.usefixtures("small_limit")
def test_a_zip_that_says_it_is_a_bomb_is_not_opened(write):
    body = packed_zip([("ratings.dat", LOG)])
    told = struct.pack("<I", 1 << 30)
    assert body.count(struct.pack("<I", len(LOG))) == 2
    refuse(write(body.replace(struct.pack("<I", len(LOG)), told), "a.zip"), "made to fill disks")


@pytest.mark.usefixtures("small_limit")
def test_what_compresses_well_is_no_bomb(write):
    text = b"".join(b"%d::%d::5::978300760\n" % (user, user % 7) for user in range(20_000))
    assert len(text) > archives.MIN_LIMIT
    assert read(write(gzip.compress(text), "a.gz"), "") == text


@pytest.mark.parametrize("name", [*WHOLE, "one.gz"])
def test_a_truncated_archive_is_damaged(write, name):
    body = {**WHOLE, "one.gz": gzip.compress(os.urandom(5000))}[name]
    cut = len(body) - 60 if name != "plain.tar" else 1600
    refuse(
        write(body[:cut], name), "damaged|has no ratings", "" if name == "one.gz" else "ratings.dat"
    )


def test_a_flipped_byte_is_damaged(write):
    noise = os.urandom(5000)
    zipped, zlibbed = packed_zip([("ratings.dat", noise)]), gzip.compress(noise)
    for body, name, member in ((zipped, "a.zip", "ratings.dat"), (zlibbed, "a.gz", "")):
        turned = bytearray(body)
        turned[2000] ^= 1
        refuse(write(bytes(turned), name), "damaged", member)


def test_a_page_in_place_of_a_file_is_told(write):
    page = b"<html>Please sign in</html>" * 100
    refuse(write(page, "a.gz"), "neither gzip nor zip", "")
    refuse(write(page, "a.zip"), "damaged")


def test_a_locked_zip_is_told(write):
    body = bytearray(packed_zip([("ratings.dat", LOG)]))
    body[6] |= 1
    body[body.index(b"PK\x01\x02") + 8] |= 1
    refuse(write(bytes(body), "a.zip"), "password required")


def test_headers_that_fill_memory_are_refused(write):
    """tarfile holds an extended header in memory, whatever its size."""
    body = b"30 path=" + b"x" * (4 << 20) + b"\n"
    for kind in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME):
        packed = gzip.compress(packed_tar([(special("h", kind), body), ("ratings.dat", LOG)]), 1)
        refuse(write(packed, "a.tar.gz"), r"\(a header of 4,194,\d+ bytes, made to fill memory\)")


def test_ordinary_long_names_are_read(write):
    """Both formats write names of more than 100 characters into a header of their own."""
    for format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
            info = tarfile.TarInfo(f"{'é' * 90}/{'f' * 90}/ratings.dat")
            info.size = len(LOG)
            archive.addfile(info, io.BytesIO(LOG))
        assert read(write(buffer.getvalue(), "a.tar")) == LOG


def test_archives_of_too_many_members_are_refused(write, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 50)
    members = [(f"m{number}", b"") for number in range(60)]
    for name, packed in (("a.zip", packed_zip(members)), ("a.tar", packed_tar(members))):
        refuse(write(packed, name), "more than 50 members")
    few = members[:40]
    assert read(write(packed_tar([*few, ("ratings.dat", LOG)]), "b.tar")) == LOG


def test_long_names_are_told_cut(write):
    path = write(packed_zip([("n" * 5000, b"")]), "a.zip")
    with pytest.raises(UserError) as raised:
        read(path)
    assert len(str(raised.value)) < 500
