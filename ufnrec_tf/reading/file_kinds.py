"""Files that are no text: what they are by their first bytes, and what makes a log of them."""

import re

_TO_CSV = "pandas.read_{}({!r}).to_csv('log.csv', index=False)"
_TO_PARQUET = "pandas.read_{}({!r}).to_parquet('log.parquet')"

_KINDS: tuple[tuple[bytes, str], ...] = (
    (
        rb"PAR1",
        "a parquet file: give --config.data.format=auto or parquet, where it is the log; if that "
        "was given, it is cut short: copy it again",
    ),
    (rb"PARE", "an encrypted Parquet file: write it again without encryption"),
    (rb"ARROW1\0\0|FEA1\0", f"an Arrow or Feather file: {_TO_PARQUET.format('feather', 'FILE')}"),
    (
        rb"\xff\xff\xff\xff..\0\0\x10\0\0\0",
        "a stream of Arrow: "
        "pyarrow.ipc.open_stream('FILE').read_pandas().to_parquet('log.parquet')",
    ),
    (rb"ORC", f"an ORC file: {_TO_PARQUET.format('orc', 'FILE')}"),
    (rb"Obj\x01", "an Avro file: write it as Parquet or as JSON lines"),
    (rb"\x89HDF\r\n", f"an HDF5 file: {_TO_CSV.format('hdf', 'FILE')}"),
    (rb"\x93NUMPY", "an array of NumPy: pandas.DataFrame(numpy.load('FILE')).to_csv('log.csv')"),
    (rb"\x80[\x02-\x05]", f"a pickle: {_TO_CSV.format('pickle', 'FILE')}, if you trust it"),
    (
        rb"SQLite format 3\0",
        "an SQLite database: sqlite3 -header -csv FILE 'SELECT * FROM TABLE' > log.csv",
    ),
    (
        rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        f"a workbook or document of old Office (xls): save its sheet as CSV UTF-8, or "
        f"{_TO_CSV.format('excel', 'FILE')}",
    ),
    (rb"\x89PNG\r\n|\xff\xd8\xff|GIF8[79]a|RIFF....WEBP", "a picture: expected a log"),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it (7z x FILE) and give one file of it"),
    (rb"Rar!\x1a\x07", "a rar archive: unpack it (unrar x FILE) and give one file of it"),
    (rb".{257}ustar", "a tar archive: unpack it (tar xf FILE) and give one file of it"),
    (rb"\x04\x22M\x18", "lz4-compressed, which is not read: decompress it (lz4 -d FILE)"),
    (
        rb"\x1f\x9d|\x1f\xa0",
        "compressed by compress, which is not read: decompress it (gunzip FILE)",
    ),
    (rb"LZIP|\x5d\0\0", "compressed by lzip or lzma, which is not read: decompress it"),
    (rb"\xff\x06\0\0sNaPpY", "snappy-compressed, which is not read: write it as text or Parquet"),
    (rb"RD[AX][23]\n", "data of R: write.csv(data, 'log.csv', row.names = FALSE) in R"),
    (rb"<stata_dta>", f"a Stata file: {_TO_CSV.format('stata', 'FILE')}"),
    (rb"\$FL[23]@", f"an SPSS file: {_TO_CSV.format('spss', 'FILE')}"),
    (rb"\x7fELF|MZ\x90\0|\xcf\xfa\xed\xfe", "a program: expected a log"),
    (
        rb"\xff\xfe|\xfe\xff",
        "encoded in UTF-16: convert it to UTF-8 first (iconv -f UTF-16 -t UTF-8 FILE > log.csv)",
    ),
    (
        rb"([\t\r\n -~]\0){2}",
        "encoded in UTF-16: convert it to UTF-8 first (iconv -f UTF-16LE -t UTF-8 FILE > log.csv)",
    ),
    (
        rb"(\0[\t\r\n -~]){2}",
        "encoded in UTF-16: convert it to UTF-8 first (iconv -f UTF-16BE -t UTF-8 FILE > log.csv)",
    ),
)
_BINARY = tuple((re.compile(start, re.DOTALL), what) for start, what in _KINDS)

_TEXTS = tuple(
    (re.compile(start, re.IGNORECASE), what)
    for start, what in (
        (
            rb"\s*<(!doctype\s+html|html|head)\b",
            "a web page, perhaps of a failed download: download the file itself",
        ),
        (rb"%PDF-1", "a PDF document: ask for the table as CSV"),
        (rb"\s*<\?xml\b", "XML: write it as CSV or as JSON lines, one event a line"),
        (
            rb"version https://git-lfs\.github\.com/",
            "a pointer of Git LFS, not the file: download it (git lfs pull)",
        ),
        (
            rb"(PRAGMA foreign_keys|BEGIN TRANSACTION;|-- MySQL dump|-- PostgreSQL database dump)",
            "a dump of a database in SQL: export the table as CSV",
        ),
    )
)

_OTHER = "a binary file of a kind that is not read: write it as CSV, JSON lines or Parquet"


def kind_of(data: bytes) -> str:
    """Returns what a file is that is no log, and how to make one of it; "" where it may be one.

    Text never has a NUL, so that letters with which a binary file begins are an id without one.

    Args:
        data: The first bytes of the file, some 1,000 at least.
    """
    start = data[:1024]
    for magic, what in _TEXTS:
        if magic.match(start):
            return what
    if b"\0" in data or not _is_text(start):
        for magic, what in _BINARY:
            if magic.match(start):
                return what
        # Few NULs in what is else text are damage, of which the place is said.
        return (
            _OTHER if start.count(b"\0") > max(2, len(start) // 20) or _has_controls(start) else ""
        )
    return ""


def _is_text(start: bytes) -> bool:
    """Returns True if bytes may begin a text of UTF-8, cut anywhere."""
    try:
        start.decode()
    except UnicodeDecodeError as error:
        return error.end == len(start) and error.reason == "unexpected end of data"
    return True


def _has_controls(start: bytes) -> bool:
    """Returns True if a tenth of the bytes are control characters that no text has."""
    return sum(byte < 9 or 13 < byte < 32 for byte in start) > max(2, len(start) // 10)
