"""The published data sets that can be named: their publishers' files, licences and checksums.

They stand in datasets.json. To add one, add an entry there and, where its files are like no
other's, a layout to `layouts.LAYOUTS`. A size or checksum stands there only with the source that
says it, under `checksum_source`.
"""

import json
from importlib import resources
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.lookup import nearest


class File(NamedTuple):
    """A file as its publisher offers it.

    Attributes:
        address: Its https address; only its name where it cannot be downloaded automatically.
        checksum: "sha256:DIGITS" or "md5:DIGITS" if one is published, else "".
        num_bytes: Its size where a source says it, else None.
        is_for_titles: True if it only describes the items, so that it can be left out.
        other_names: Further names that the file may have where a user put it by hand.
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
        """True if its publisher offers it without a form to fill in."""
        return "://" in self.address


class Dataset(NamedTuple):
    """A data set that `data.name` may name.

    Attributes:
        title: The full name of the data set.
        layout: Key of `layouts.LAYOUTS`: how its files are read.
        files: The log first, then the description of the items where that is a file of its own.
        licence: The publisher's demands, in a sentence of ours.
        licence_address: The address of the publisher's licence.
        checksum_source: The source of the sizes and checksums.
    """

    title: str
    layout: str
    files: tuple[File, ...]
    licence: str
    licence_address: str
    checksum_source: str = ""


_TABLE: dict[str, Any] = json.loads(
    resources.files(__package__).joinpath("datasets.json").read_text(encoding="utf-8")
)
NAMES = list(_TABLE["sets"])
"""Names of the data sets that belong to no family."""
FAMILIES: dict[str, dict[str, Any]] = _TABLE["families"]
"""Beginning of the name -> entry with its `categories`; a longer beginning before a shorter one."""


def _dataset(entry: dict[str, Any], category: str = "") -> Dataset:
    """Returns the data set of an entry; of a family, the one of a category."""
    values = json.loads(json.dumps(entry).replace("{category}", category))
    checksum = values.pop("checksums", {}).get(category, "")
    values.pop("categories", None)
    files = [
        File(**{**file, "other_names": tuple(file.get("other_names", ()))})
        for file in values.pop("files")
    ]
    if checksum:
        files[0] = files[0]._replace(checksum=checksum)
    return Dataset(files=tuple(files), **values)


def known_names() -> list[str]:
    """Returns every name, those of the families written out."""
    in_families = (
        f"{prefix}{category}"
        for prefix, family in FAMILIES.items()
        for category in family["categories"]
    )
    return [*NAMES, *in_families]


def find_dataset(name: str, *, others: tuple[str, ...] = ()) -> tuple[str, Dataset]:
    """Returns a data set and its name as it is spelled here; capitals do not matter.

    Args:
        name: The name asked for.
        others: Further values of `data.name`, for the message.

    Raises:
        UserError: If there is none of that name; it lists the known names and the nearest.
    """
    lower = name.lower()
    if lower in NAMES:
        return lower, _dataset(_TABLE["sets"][lower])
    for prefix, family in FAMILIES.items():
        if lower.startswith(prefix):
            spelled = {category.lower(): category for category in family["categories"]}
            category = spelled.get(lower.removeprefix(prefix))
            if category is not None:
                return f"{prefix}{category}", _dataset(family, category)
            raise UserError(
                f"`data.name` must be {prefix}CATEGORY with one of "
                f"{', '.join(family['categories'])}. Received: {name!r}."
                + nearest(name, known_names())
            )
    listed = (*others, *NAMES, *(f"{prefix}CATEGORY" for prefix in FAMILIES))
    raise UserError(
        f"`data.name` must be empty or one of {', '.join(listed)}. Received: {name!r}."
        + nearest(name, [*others, *known_names()])
    )
