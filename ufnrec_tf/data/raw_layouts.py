"""How each publisher lays out its files: raw files -> events and items.

To add a layout, write a function of the log's path that yields `Events`, one of the paths that
yields `Item`s, and add their line to `LAYOUTS`.
"""

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from ufnrec_tf.data.archives import open_member
from ufnrec_tf.data.raw_readers import (
    EventReader,
    ItemReader,
    Watch,
    record_events,
    record_items,
    split_events,
    table_events,
)
from ufnrec_tf.data.raw_rows import (
    Event,
    Events,
    Item,
    Keys,
    Record,
    batched,
    checked_event,
    clean,
    item_of,
    parse_literal,
    read_fields,
    wrong_line,
)
from ufnrec_tf.data.raw_tables import TableSpec, read_tables


class Layout(NamedTuple):
    """How a data set is read.

    Attributes:
        events: Reads the log.
        items: Reads what is told of the items.
    """

    events: EventReader
    items: ItemReader


def _no_items(paths: list[Path], watch: Watch) -> Iterator[Item]:
    yield from ()


# The fields of u.item after the fifth, one a genre; source: the README of ml-100k.
_GENRES_100K = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance"),
    *("Sci-Fi", "Thriller", "War", "Western"),
)


def _items_100k(paths: list[Path], watch: Watch) -> Iterator[Item]:
    with open_member(paths[0], "u.item") as (stream, below):
        watch(below)
        num_fields = 5 + len(_GENRES_100K)
        lines = read_fields(
            stream, paths[0], separator="|", num_fields=num_fields, encoding="latin-1"
        )
        for _, fields in lines:
            flags = zip(_GENRES_100K, fields[5:], strict=False)
            yield Item(fields[0], clean(fields[1]), "|".join(n for n, flag in flags if flag == "1"))


def _items_1m(paths: list[Path], watch: Watch) -> Iterator[Item]:
    with open_member(paths[0], "movies.dat") as (stream, below):
        watch(below)
        lines = read_fields(stream, paths[0], separator="::", num_fields=3, encoding="latin-1")
        for _, fields in lines:
            yield Item(fields[0], clean("::".join(fields[1:-1])), clean(fields[-1]))


def _items_csv(paths: list[Path], watch: Watch) -> Iterator[Item]:
    with open_member(paths[0], "movies.csv") as (stream, below):
        watch(below)
        rows = csv.reader(io.TextIOWrapper(stream, encoding="utf-8", newline=""))
        try:
            for row in rows:
                if len(row) != 3:
                    raise wrong_line(paths[0], rows.line_num, "has no id, title and genres")
                if row[0] != "movieId":
                    yield Item(row[0], clean(row[1]), clean(row[2]))
        except (csv.Error, UnicodeDecodeError):
            raise wrong_line(paths[0], rows.line_num, "is no CSV") from None


def _items_hetrec(paths: list[Path], watch: Watch) -> Iterator[Item]:
    with open_member(paths[0], "artists.dat") as (stream, below):
        watch(below)
        for number, fields in read_fields(stream, paths[0], separator="\t", num_fields=2):
            if number > 1:
                yield Item(fields[0], clean(fields[1]))


def _hetrec_events(path: Path, watch: Watch) -> Iterator[Events]:
    """Yields an event a user, artist and moment, however many tags were given then."""
    seen: set[tuple[str, str, str]] = set()  # 190,000 lines

    def rows() -> Iterator[Event]:
        with open_member(path, "user_taggedartists-timestamps.dat") as (stream, below):
            watch(below)
            for number, fields in read_fields(stream, path, separator="\t", num_fields=4):
                key = (fields[0], fields[1], fields[3])
                if number == 1 or key in seen:
                    continue
                seen.add(key)
                event = checked_event(path, number, ids=(fields[0], fields[1]), time=fields[3])
                yield event._replace(time=event.time / 1000)

    return batched(rows())


def _items_lastfm(spec: TableSpec, title: tuple[str, ...]) -> ItemReader:
    """Returns a reader of items that are told of in the log itself, once each."""

    def items(paths: list[Path], watch: Watch) -> Iterator[Item]:
        seen: set[str] = set()
        with open_member(paths[0], _LASTFM_LOG) as (stream, below):
            watch(below)
            for events, rows in read_tables(stream, paths[0], spec):
                texts = [rows.column(name).to_pylist() for name in title]
                for id, *parts in zip(events.items.to_pylist(), *texts, strict=True):
                    if id not in seen:
                        seen.add(id)
                        yield Item(id, clean(" - ".join(part for part in parts if part)))

    return items


def _day(value: Any) -> float:
    """Seconds since 1970 of a date, or of a date and time, without a zone: taken as UTC."""
    return datetime.fromisoformat(value).replace(tzinfo=UTC).timestamp()


_LASTFM_LOG = "userid-timestamp-artid-artname-traid-traname.tsv"
_LASTFM = TableSpec(
    user="user",
    item=("track_id", ("artist", "track")),
    time="time",
    time_scale=0,
    names=("user", "time", "artist_id", "artist", "track_id", "track"),
    separator="\t",
    is_quoted=False,
)
_LASTFM_ARTISTS = _LASTFM._replace(item=("artist_id", "artist"))
_MOVIELENS_CSV = TableSpec("userId", ("movieId",), "timestamp", 1, "rating")
# The README of the benchmark: columns user_id,parent_asin,rating,timestamp; milliseconds.
_AMAZON_2023 = TableSpec("user_id", ("parent_asin",), "timestamp", 0.001, "rating")
# snap.stanford.edu/data/loc-gowalla.html: [user] [check-in time] [latitude] [longitude] [place].
_GOWALLA = TableSpec(
    user="user",
    item=("place",),
    time="time",
    time_scale=0,
    names=("user", "time", "latitude", "longitude", "place"),
    separator="\t",
    is_quoted=False,
)
_AMAZON = Keys("reviewerID", "asin", "unixReviewTime", "overall")


def _amazon_item(record: Record) -> Item | None:
    return item_of(record, id="asin", titles=("title",), category="categories", price="price")


def _amazon_item_2018(record: Record) -> Item | None:
    return item_of(record, id="asin", titles=("title",), category="category", price="price")


def _amazon_item_2023(record: Record) -> Item | None:
    return item_of(
        record, id="parent_asin", titles=("title",), category="categories", price="price"
    )


def _steam_item(record: Record) -> Item | None:
    names = ("app_name", "title")
    return item_of(record, id="id", titles=names, category="genres", price="price")


def _yelp_item(record: Record) -> Item | None:
    item = item_of(record, id="business_id", titles=("name",), category="categories")
    return item and item._replace(category=item.category.replace(", ", "|"))


LAYOUTS = {
    "movielens_100k": Layout(split_events("u.data", "\t", columns=(0, 1, 3, 2)), _items_100k),
    "movielens_1m": Layout(split_events("ratings.dat", "::", columns=(0, 1, 3, 2)), _items_1m),
    "movielens_csv": Layout(table_events(_MOVIELENS_CSV, "ratings.csv"), _items_csv),
    # The log is strict JSON, what tells about the items are Python literals.
    "amazon_2014": Layout(
        record_events(_AMAZON, seconds=float),
        record_items(1, _amazon_item, parse=parse_literal),
    ),
    "amazon_2018": Layout(
        record_events(_AMAZON, seconds=float), record_items(1, _amazon_item_2018)
    ),
    "amazon_2023": Layout(table_events(_AMAZON_2023), record_items(1, _amazon_item_2023)),
    "steam": Layout(
        record_events(Keys("username", "product_id", "date"), seconds=_day, parse=parse_literal),
        record_items(1, _steam_item, parse=parse_literal),
    ),
    "yelp": Layout(
        record_events(
            Keys("user_id", "business_id", "date", "stars"),
            seconds=_day,
            member="yelp_academic_dataset_review.json",
        ),
        record_items(0, _yelp_item, member="yelp_academic_dataset_business.json"),
    ),
    "gowalla": Layout(table_events(_GOWALLA), _no_items),
    "hetrec_lastfm": Layout(_hetrec_events, _items_hetrec),
    "lastfm_1k_tracks": Layout(
        table_events(_LASTFM, _LASTFM_LOG), _items_lastfm(_LASTFM, ("artist", "track"))
    ),
    "lastfm_1k_artists": Layout(
        table_events(_LASTFM_ARTISTS, _LASTFM_LOG), _items_lastfm(_LASTFM_ARTISTS, ("artist",))
    ),
}
"""Name -> how a data set of that layout is read."""
