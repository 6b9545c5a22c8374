"""The data sets that can be had by name, from their publishers.

To add one, add an entry to `DATASETS` and, where its files are like no other's, a function to
`raw_layouts.LAYOUTS`. A size or checksum stands here only with the source that says it.
"""

from collections.abc import Callable
from typing import NamedTuple

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.lookup import nearest
from ufnrec_tf.data.amazon_sets import (
    CATEGORIES_2014,
    CATEGORIES_2018,
    SHA256_2023,
    amazon_2014,
    amazon_2018,
    amazon_2023,
    amazon_2023_all,
)
from ufnrec_tf.data.dataset_entry import Dataset, File

_GROUPLENS = "https://files.grouplens.org/datasets"
_MOVIELENS = f"{_GROUPLENS}/movielens"
_MOVIELENS_TERMS = (
    "for research; name MovieLens (Harper and Konstan, 2015) in publications; no commercial use "
    "without GroupLens' permission; claim no endorsement"
)
_NO_PASSING_ON = "; do not pass it on without permission"


def _movielens(
    name: str,
    *,
    title: str,
    layout: str,
    checksum: str,
    num_bytes: int,
    readme: str,
    more: str = "",
) -> Dataset:
    return Dataset(
        title=f"MovieLens {title}",
        layout=layout,
        files=(File(f"{_MOVIELENS}/{name}.zip", checksum, num_bytes),),
        licence=_MOVIELENS_TERMS + more,
        licence_address=f"{_MOVIELENS}/{name}-README.{readme}",
    )


def _lastfm_1k(item: str) -> Dataset:
    # MD5: as public loaders quote it from the record, which was itself not read.
    address = "https://zenodo.org/records/6090214/files/lastfm-dataset-1K.tar.gz"
    return Dataset(
        title=f"Last.fm 1K users, {item}s as items, 2005-2009",
        layout=f"lastfm_1k_{item}s",
        files=(File(address, "md5:a79a6808f54f73354789a9fb02cb1e41"),),
        licence="for non-commercial use, by permission of Last.fm; cite Celma (2010)",
        licence_address="https://zenodo.org/records/6090214",
    )


DATASETS = {
    # Sizes and SHA-256 of the four older ones: TensorFlow Datasets, github.com/tensorflow/datasets,
    # tensorflow_datasets/url_checksums/movielens.txt.
    "ml-100k": _movielens(
        "ml-100k",
        title="100K: 100,000 ratings, 1997-1998",
        layout="movielens_100k",
        checksum="sha256:50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
        num_bytes=4_924_029,
        readme="txt",
        more=_NO_PASSING_ON,
    ),
    "ml-1m": _movielens(
        "ml-1m",
        title="1M: a million ratings, 2000-2003",
        layout="movielens_1m",
        checksum="sha256:a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
        num_bytes=5_917_549,
        readme="txt",
        more=_NO_PASSING_ON,
    ),
    "ml-20m": _movielens(
        "ml-20m",
        title="20M: 20 million ratings, 1995-2015",
        layout="movielens_csv",
        checksum="sha256:96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3",
        num_bytes=198_702_078,
        readme="html",
    ),
    "ml-25m": _movielens(
        "ml-25m",
        title="25M: 25 million ratings, 1995-2019",
        layout="movielens_csv",
        checksum="sha256:8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa",
        num_bytes=261_978_986,
        readme="html",
    ),
    # MD5: as public loaders quote it from GroupLens' ml-32m.zip.md5, which was itself not read; two
    # of them have the size too.
    "ml-32m": _movielens(
        "ml-32m",
        title="32M: 32 million ratings, 1995-2023",
        layout="movielens_csv",
        checksum="md5:d472be332d4daa821edc399621853b57",
        num_bytes=238_950_008,
        readme="html",
    ),
    # No checksum of either file is published.
    "steam": Dataset(
        title="Steam: reviews of games, 2010-2018, by day",
        layout="steam",
        files=(
            File("https://cseweb.ucsd.edu/~wckang/steam_reviews.json.gz"),
            File("https://cseweb.ucsd.edu/~wckang/steam_games.json.gz", is_for_titles=True),
        ),
        licence=(
            "no licence is given; the publisher asks to cite Kang and McAuley (ICDM 2018), Wan and "
            "McAuley (RecSys 2018), Pathak et al. (SIGIR 2017)"
        ),
        licence_address="https://cseweb.ucsd.edu/~jmcauley/datasets.html#steam_data",
    ),
    "yelp": Dataset(
        title="Yelp Open Dataset: reviews of businesses",
        layout="yelp",
        files=(
            File(
                "yelp_dataset.tar",
                other_names=("yelp_dataset.tgz", "yelp_dataset.tar.gz", "Yelp-JSON.zip"),
            ),
        ),
        licence="academic, non-commercial use by the terms that the publisher has you agree to",
        licence_address="https://business.yelp.com/data/resources/open-dataset/",
    ),
    # SHA-256: OmniRec, github.com/ISG-Siegen/OmniRec, src/omnirec/data_loaders/gowalla.py, commit
    # d631a337; four other public files have it, perhaps from there, one of them the size too.
    "gowalla": Dataset(
        title="Gowalla: check-ins at places, 2009-2010",
        layout="gowalla",
        files=(
            File(
                "https://snap.stanford.edu/data/loc-gowalla_totalCheckins.txt.gz",
                "sha256:c1c3e19effba649b6c89aeab3c1f9459fad88cfdc2b460fc70fd54e295d83ea0",
                105_470_044,
            ),
        ),
        licence="no licence is given; SNAP asks to cite Cho, Myers and Leskovec (KDD 2011)",
        licence_address="https://snap.stanford.edu/data/loc-gowalla.html",
    ),
    # SHA-256: OmniRec, as above, hetrec_lastfm.py; four other public files have it.
    "lastfm-2k": Dataset(
        title="Last.fm 2K users (HetRec 2011): artists as tagged, 2005-2011",
        layout="hetrec_lastfm",
        files=(
            File(
                f"{_GROUPLENS}/hetrec2011/hetrec2011-lastfm-2k.zip",
                "sha256:6738f48195667ff03caaab4d32ca9a3133d8cc026b7c3cdaf6ce1010e913c59c",
            ),
        ),
        licence="for non-commercial use; cite Cantador, Brusilovsky and Kuflik (RecSys 2011)",
        licence_address="https://grouplens.org/datasets/hetrec-2011/",
    ),
    "lastfm-1k": _lastfm_1k("track"),
    "lastfm-1k-artists": _lastfm_1k("artist"),
}
"""Name -> data set."""


class Family(NamedTuple):
    """Data sets that differ in their category alone."""

    categories: list[str]
    make: Callable[[str], Dataset]


FAMILIES = {
    "amazon-2014-": Family(CATEGORIES_2014, amazon_2014),
    "amazon-2018-": Family(CATEGORIES_2018, amazon_2018),
    "amazon-2023-0core-": Family(list(SHA256_2023), amazon_2023_all),
    "amazon-2023-": Family(list(SHA256_2023), amazon_2023),
}
"""Beginning of the name -> family; a longer beginning stands before a shorter."""


def known_names() -> list[str]:
    """Returns every name, those of the families written out."""
    families = (
        f"{prefix}{category}"
        for prefix, family in FAMILIES.items()
        for category in family.categories
    )
    return [*DATASETS, *families]


def find_dataset(name: str, *, others: tuple[str, ...] = ()) -> tuple[str, Dataset]:
    """Returns a data set and its name as it is written here; capitals do not matter.

    Args:
        name: The name asked for.
        others: What `data.name` may be besides, for the message.

    Raises:
        UserError: If there is none of that name; the known and the nearest are named.
    """
    lower = name.lower()
    if lower in DATASETS:
        return lower, DATASETS[lower]
    for prefix, family in FAMILIES.items():
        if lower.startswith(prefix):
            spelled = {category.lower(): category for category in family.categories}
            category = spelled.get(lower.removeprefix(prefix))
            if category is not None:
                return f"{prefix}{category}", family.make(category)
            raise UserError(
                f"`data.name` must be {prefix}CATEGORY with one of {', '.join(family.categories)}. "
                f"Received: {name!r}." + nearest(name, known_names())
            )
    listed = (*others, *DATASETS, *(f"{prefix}CATEGORY" for prefix in FAMILIES))
    raise UserError(
        f"`data.name` must be empty or one of {', '.join(listed)}. Received: {name!r}."
        + nearest(name, [*others, *known_names()])
    )
