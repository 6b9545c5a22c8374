"""Readers that layouts are put together from: of fields, of records, of tables."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from ufnrec_tf.data.archives import Stream, open_member
from ufnrec_tf.data.raw_rows import (
    Event,
    Events,
    Item,
    Keys,
    Parser,
    Record,
    Seconds,
    batched,
    checked_event,
    event_of,
    read_fields,
    read_records,
)
from ufnrec_tf.data.raw_tables import TableSpec, read_tables

Watch = Callable[[Stream], None]
"""Told of each stream that is opened, so that progress can be shown."""
EventReader = Callable[[Path, Watch], Iterator[Events]]
"""Path of the log -> its events, in the order of the file."""
ItemReader = Callable[[list[Path], Watch], Iterator[Item]]
"""Paths of all files -> items, an item perhaps more than once."""


def split_events(member: str, separator: str, *, columns: tuple[int, int, int, int]) -> EventReader:
    """Returns a reader of lines with fields; columns are those of user, item, time and rating."""
    user, item, time, rating = columns

    def rows(path: Path, watch: Watch) -> Iterator[Event]:
        with open_member(path, member) as (stream, below):
            watch(below)
            lines = read_fields(stream, path, separator=separator, num_fields=max(columns) + 1)
            for number, fields in lines:
                yield checked_event(
                    path,
                    number,
                    ids=(fields[user], fields[item]),
                    time=fields[time],
                    rating=fields[rating],
                )

    return lambda path, watch: batched(rows(path, watch))


def record_events(
    keys: Keys, *, seconds: Seconds, parse: Parser = json.loads, member: str = ""
) -> EventReader:
    """Returns a reader of lines that are records."""

    def rows(path: Path, watch: Watch) -> Iterator[Event | None]:
        with open_member(path, member) as (stream, below):
            watch(below)
            for _, record in read_records(stream, path, parse=parse):
                yield event_of(record, keys, seconds=seconds)

    return lambda path, watch: batched(rows(path, watch))


def record_items(
    place: int,
    make: Callable[[Record], Item | None],
    *,
    parse: Parser = json.loads,
    member: str = "",
) -> ItemReader:
    """Returns a reader of items from lines that are records.

    Args:
        place: Which of the data set's files tells about the items.
        make: A record -> its item.
        parse: As in `read_records`.
        member: As in `open_member`.
    """

    def items(paths: list[Path], watch: Watch) -> Iterator[Item]:
        if len(paths) <= place:
            return
        path = paths[place]
        with open_member(path, member) as (stream, below):
            watch(below)
            for _, record in read_records(stream, path, parse=parse):
                item = make(record)
                if item is not None:
                    yield item

    return items


def table_events(spec: TableSpec, member: str = "") -> EventReader:
    """Returns a reader of a table."""

    def events(path: Path, watch: Watch) -> Iterator[Events]:
        with open_member(path, member) as (stream, below):
            watch(below)
            for batch, _ in read_tables(stream, path, spec):
                yield batch

    return events
