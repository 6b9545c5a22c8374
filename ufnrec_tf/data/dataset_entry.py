"""What is written down of a published data set."""

from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import urlsplit


class File(NamedTuple):
    """A file as its publisher has it.

    Attributes:
        address: Where it lies; of a file that is not downloaded, its name alone.
        checksum: "sha256:DIGITS" or "md5:DIGITS" where one is published, else "".
        num_bytes: Its size where a source says it, else None.
        is_for_titles: Whether it only tells about the items, so that one can go without.
        other_names: Names that the file may have too where it was put by hand.
    """

    address: str
    checksum: str = ""
    num_bytes: int | None = None
    is_for_titles: bool = False
    other_names: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The file's name in the cache: the end of its address."""
        return PurePosixPath(urlsplit(self.address).path).name

    @property
    def is_downloaded(self) -> bool:
        """Whether its publisher gives it away without a form to fill in."""
        return "://" in self.address


class Dataset(NamedTuple):
    """A data set that `data.name` may name.

    Attributes:
        title: What it is.
        layout: Key of `raw_layouts.LAYOUTS`: how its files are read.
        files: The log first, then what tells about the items, where that is a file of its own.
        licence: What its publisher demands, in a sentence of ours.
        licence_address: Where the publisher says so.
    """

    title: str
    layout: str
    files: tuple[File, ...]
    licence: str
    licence_address: str
