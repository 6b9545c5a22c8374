"""The layouts of the publishers' files. To add a layout, add a row to `LAYOUTS`."""

import csv
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from ufnrec_tf.reading.item_tables import GENRES_100K
from ufnrec_tf.reading.published.raw_files import (
    ItemLines,
    LineLog,
    Lines,
    NoItems,
    TableLog,
    TitlesInLog,
)
from ufnrec_tf.reading.rows import python_literal


class Layout(NamedTuple):
    """The readers of a data set.

    Attributes:
        log: The reader of the events.
        items: The description of its items.
    """

    log: LineLog | TableLog
    items: ItemLines | TitlesInLog | NoItems


def _fields(separator: str, *names: str) -> Callable[[str], dict[str, str]]:
    """Returns a parser of lines of fields, nothing quoted; fields after the named are dropped."""

    def parse(text: str) -> dict[str, str]:
        values = text.split(separator)
        return dict(zip(names, values[: len(names)], strict=True))

    return parse


def _movie_1m(text: str) -> dict[str, str]:
    """Parses ID::TITLE::GENRES, where the title may have colons."""
    id, rest = text.split("::", 1)
    title, genres = rest.rsplit("::", 1)
    return {"id": id, "title": title, "genres": genres}


def _movie_100k(text: str) -> dict[str, Any]:
    id, title, _, _, _, *flags = text.split("|")
    flags = flags[: len(GENRES_100K)]
    genres = [genre for genre, flag in zip(GENRES_100K, flags, strict=True) if flag == "1"]
    return {"id": id, "title": title, "genres": genres}


def _movie_csv(text: str) -> dict[str, str]:
    try:
        row = next(csv.reader([text]))
    except csv.Error as error:
        raise ValueError(str(error)) from None
    return dict(zip(("id", "title", "genres"), row, strict=True))


def _day(value: Any) -> float:
    """Returns the seconds since 1970 of a date, perhaps with a time, without a zone: as UTC."""
    return datetime.fromisoformat(value).replace(tzinfo=UTC).timestamp()


def _milliseconds(value: Any) -> float:
    return float(value) / 1000


_RATING = ("user", "item", "rating", "time")
_LASTFM = TableLog(
    "userid-timestamp-artid-artname-traid-traname.tsv",
    user="user",
    item=("track_id", ("artist", "track")),
    time="time",
    names=("user", "time", "artist_id", "artist", "track_id", "track"),
)
_LASTFM_ARTISTS = _LASTFM._replace(item=("artist_id", "artist"))
# The log is strict JSON, the items are Python literals.
_AMAZON = LineLog(Lines(), "reviewerID", "asin", "unixReviewTime", "overall")

LAYOUTS = {
    "movielens_100k": Layout(
        LineLog(
            Lines("u.data", _fields("\t", *_RATING)), *_RATING[:2], "time", "rating", is_strict=True
        ),
        ItemLines(0, Lines("u.item", _movie_100k, encoding="latin-1"), "id", ("title",), "genres"),
    ),
    "movielens_1m": Layout(
        LineLog(
            Lines("ratings.dat", _fields("::", *_RATING)),
            *_RATING[:2],
            "time",
            "rating",
            is_strict=True,
        ),
        ItemLines(
            0, Lines("movies.dat", _movie_1m, encoding="latin-1"), "id", ("title",), "genres"
        ),
    ),
    "movielens_csv": Layout(
        TableLog("ratings.csv", "userId", ("movieId",), "timestamp", 1, "rating"),
        ItemLines(0, Lines("movies.csv", _movie_csv, has_header=True), "id", ("title",), "genres"),
    ),
    "amazon_2014": Layout(
        _AMAZON,
        ItemLines(1, Lines(parse=python_literal), "asin", ("title",), "categories", "price"),
    ),
    "amazon_2018": Layout(_AMAZON, ItemLines(1, Lines(), "asin", ("title",), "category", "price")),
    # The README of the benchmark: columns user_id,parent_asin,rating,timestamp; milliseconds.
    "amazon_2023": Layout(
        TableLog("", "user_id", ("parent_asin",), "timestamp", 0.001, "rating"),
        ItemLines(1, Lines(), "parent_asin", ("title",), "categories", "price"),
    ),
    "steam": Layout(
        LineLog(Lines(parse=python_literal), "username", "product_id", "date", seconds=_day),
        ItemLines(1, Lines(parse=python_literal), "id", ("app_name", "title"), "genres", "price"),
    ),
    "yelp": Layout(
        LineLog(
            Lines("yelp_academic_dataset_review.json"),
            *("user_id", "business_id", "date", "stars"),
            seconds=_day,
        ),
        ItemLines(
            0,
            Lines("yelp_academic_dataset_business.json"),
            *("business_id", ("name",), "categories"),
            separator=", ",
        ),
    ),
    # snap.stanford.edu/data/loc-gowalla.html: [user] [check-in time] [latitude] [longitude] [place]
    "gowalla": Layout(
        TableLog(
            "",
            user="user",
            item=("place",),
            time="time",
            names=("user", "time", "latitude", "longitude", "place"),
        ),
        NoItems(),
    ),
    # An event a user, artist and moment, however many tags were given then.
    "hetrec_lastfm": Layout(
        LineLog(
            Lines(
                "user_taggedartists-timestamps.dat",
                _fields("\t", "user", "artist", "tag", "time"),
                has_header=True,
            ),
            *("user", "artist", "time"),
            seconds=_milliseconds,
            is_strict=True,
            is_distinct=True,
        ),
        ItemLines(
            0, Lines("artists.dat", _fields("\t", "id", "name"), has_header=True), "id", ("name",)
        ),
    ),
    "lastfm_1k_tracks": Layout(_LASTFM, TitlesInLog(_LASTFM, ("artist", "track"))),
    "lastfm_1k_artists": Layout(_LASTFM_ARTISTS, TitlesInLog(_LASTFM_ARTISTS, ("artist",))),
}
"""Name -> how a data set of that layout is read."""
