"""Damages logs and all else that is read: `python -m tests.soak.readers --minutes=10 --seed=0`.

A case is a file of random events in one of the forms, mostly damaged, read with random settings.
It must be read, or refused in one line: no other exception, no hang, no growth. Where the plain
reading and --mode=prepare both take a log, they must find the same events. Part of `make soak`.
A case depends on the seed and its number alone: `--only=NUMBER` runs it again.
"""

import argparse
import csv
import datetime
import io
import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.processes.prepare_run import make_small
from tests.reading.test_prepare import assert_same_data
from tests.soak.common import JUNK, Memory, at_most, damaged, until
from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.config import load_config
from ufnrec_tf.reading.filters import read_users
from ufnrec_tf.reading.histories import HistoryFile
from ufnrec_tf.reading.inspection.inspect_log import inspect
from ufnrec_tf.reading.prepare.prepare import prepare
from ufnrec_tf.reading.prepare.prepared_folder import read_prepared
from ufnrec_tf.reading.readers import LogSettings, read_log
from ufnrec_tf.reading.sources import large_log, load

MOST_SECONDS = 20
LONGEST_LINE = 3000
"""Characters of an error: names are cut, so that a file cannot fill the screen."""

IDS = [
    *(
        "a",
        "b",
        "c",
        "7",
        "007",
        "1.0",
        "é",
        "日本",
        "😀",
        "=1+1",
        "@x",
        "-1",
        "nan",
        "None",
        "true",
    ),
    *("<b>", "x" * 300, "\u00a0z", "\u202e", "\ufeff", "\x1b[2J", "#", "user", "item_id", "a b"),
    *(" ", "a,b", "a\tb", 'a"b', "a\nb", "a\rb", "a::b", "{}", "\\", "'", "\x0b", "\x85", "\x00"),
]
PLAIN_IDS = 21
"""The first of `IDS` fit any form but for blanks."""
TIMES = {
    "counts": lambda rng: rng.randrange(-5, 100),
    "seconds": lambda rng: 1_600_000_000 + rng.randrange(10**7),
    "fractions": lambda rng: 1.6e9 + rng.random(),
    "milliseconds": lambda rng: 1_600_000_000_000 + rng.randrange(10**10),
    "nanoseconds": lambda rng: 1_600_000_000 * 10**9 + rng.randrange(10**16),
    "days": lambda rng: (
        f"2{rng.randrange(1000):03}-0{rng.randrange(1, 10)}-{rng.randrange(10, 32)}"
    ),
    "moments": lambda rng: f"2019-01-{rng.randrange(1, 30):02}T0{rng.randrange(10)}:30:00+02:00",
    "any": lambda rng: rng.choice(["", "x", "1e400", "NaN", 10**30, -0.0, "12:00", "2019", True]),
}
HEADERS = [
    *(("user", "item", "time", "rating"), ("user_id", "item_id", "timestamp", "stars")),
    *(("reviewerID", "asin", "unixReviewTime", "overall"), ("u", "i", "t", "r")),
    *(("user", "user", "item", "time"), ("UserID", " item id ", "Date", "rating")),
]
FORMS = ["csv", "tsv", "inter", "pairs", "sequences", "jsonl", "dat", "parquet"]


def events_of(rng):
    """Returns rows (user, item, time, rating); one kind of time, mostly."""
    most = len(IDS) if rng.random() < 0.3 else PLAIN_IDS
    users, items = (rng.sample(IDS[:most], rng.choice([2, 5, 12])) for _ in range(2))
    kind = rng.choices(list(TIMES), weights=[4] * (len(TIMES) - 1) + [1])[0]
    many = rng.choice([1, 3, 12, 60, 400])
    return [
        (
            rng.choice(users),
            rng.choice(items),
            TIMES["any" if rng.random() < 0.001 else kind](rng),
            rng.choice([1, 2.5, 5]),
        )
        for _ in range(rng.randint(1, many))
    ]


def separated(rows, header, rng, *, separator=","):
    """CSV, quoted or not, with the ends of one system or another."""
    buffer = io.StringIO(newline="")
    ends = rng.choice(["\n", "\n", "\r\n", "\r"])
    quoting = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
    writer = csv.writer(buffer, delimiter=separator, lineterminator=ends, quoting=quoting)
    writer.writerows([header, *rows])
    return buffer.getvalue().encode()


def joined(rows, separator, *, header=""):
    lines = [separator.join(map(str, row)) for row in rows]
    return ("\n".join([*([header] if header else []), *lines]) + "\n").encode()


def typed(rows, header, rng):
    kinds = rng.choice([("token",) * 4, ("token", "token", "float", "float")])
    names = "\t".join(f"{name}:{kind}" for name, kind in zip(header, kinds, strict=False))
    return joined(rows, "\t", header=names)


def sequences(rows):
    items: dict[str, list[str]] = {}
    for user, item, *_ in rows:
        items.setdefault(user, []).append(item)
    return joined([(user, *own) for user, own in items.items()], " ")


def json_lines(rows, header, rng):
    lines = []
    for row in rows:
        found = dict(zip(header, row, strict=False))
        if rng.random() < 0.02:
            found[rng.choice(header)] = rng.choice([None, [], {"a": []}, True, 10**400, [[1]]])
        if rng.random() < 0.02:
            found.pop(rng.choice(list(found)))
        lines.append(json.dumps(found, ensure_ascii=rng.random() < 0.5))
    return ("\n".join(lines) + "\n").encode()


def any_column(values, rng):
    """Returns an Arrow array of values as they are, or of another type that may hold them."""
    texts = [str(value) for value in values]
    numbers = [float(len(text)) for text in texts]
    kinds = [
        lambda: pa.array(texts),
        lambda: pa.array(texts, pa.large_string()),
        lambda: pa.array(texts, pa.string_view()),
        lambda: pa.array(texts).dictionary_encode(),
        lambda: pa.array([text.encode() for text in texts], pa.binary()),
        lambda: pa.array([[text] for text in texts]),
        lambda: pa.array([None, *texts[1:]]),
        lambda: pa.nulls(len(texts)),
        lambda: pa.array([bool(number % 2) for number in numbers]),
        lambda: pa.array(numbers, pa.float32()),
        lambda: pa.array([rng.choice([float("nan"), float("inf"), 1e308]), *numbers[1:]]),
        lambda: pa.array([int(number) for number in numbers], pa.uint64()),
        lambda: pa.array([2**63 + int(number) for number in numbers], pa.uint64()),
        lambda: pa.array([int(number) for number in numbers], pa.int8()).dictionary_encode(),
        lambda: pa.array(numbers).cast(pa.decimal128(30, 3)),
        lambda: pa.array([2**62 + int(n) for n in numbers], pa.timestamp(rng.choice(["us", "ns"]))),
        lambda: pa.array([int(n) for n in numbers], pa.timestamp("ms", tz="Europe/Berlin")),
        lambda: pa.array([datetime.date(2019, 1, 1 + int(n) % 28) for n in numbers]),
        lambda: pa.array([int(number) for number in numbers], pa.duration("s")),
        lambda: pa.array([int(number) for number in numbers], pa.time32("s")),
        lambda: pa.array([{"a": text} for text in texts]),
        lambda: pa.array([rng.choice(JUNK)[:9] for _ in texts], pa.binary()).view(pa.string()),
        lambda: pa.array([f"{text}\0" for text in texts]),
    ]
    try:
        if rng.random() < 0.8:
            return pa.array(values)
        return rng.choice(kinds)()
    except (pa.ArrowException, OverflowError, UnicodeError):
        return pa.array(texts)


def parquet(rows, header, rng):
    columns = [list(column) for column in zip(*rows, strict=True)]
    arrays = [any_column(column, rng) for column in columns]
    if rng.random() < 0.02:
        arrays = [array[:0] for array in arrays]
    table = pa.table(arrays, names=[str(name) for name in header[: len(arrays)]])
    buffer = io.BytesIO()
    compression = rng.choice(["snappy", "none", "zstd", "gzip"])
    pq.write_table(table, buffer, row_group_size=rng.choice([1, 7, 1000]), compression=compression)
    return buffer.getvalue()


def body_of(form, rng):
    """Returns a whole log of a form, and the overrides that it needs to be read."""
    width = rng.choice([2, 3, 4, 4])
    rows, header = events_of(rng), rng.choices(HEADERS, weights=[4, 4, 4, 2, 1, 1])[0][:width]
    rows, overrides = [row[:width] for row in rows], []
    if header[0] == "u" and form in ("csv", "tsv", "inter", "jsonl", "parquet"):
        roles = ("user", "item", "time", "rating")[:width]
        overrides = [(f"data.{role}_column", role[0]) for role in roles]
    if form in ("csv", "tsv"):
        separator = "\t" if form == "tsv" else rng.choice([",", ",", ";", "|"])
        if separator in ";|":
            overrides.append(("data.separator", separator))
        return separated(rows, header, rng, separator=separator), overrides
    if form == "dat":
        # The rating is before the time.
        return joined([(*row[:2], *row[:1:-1]) for row in rows], "::"), overrides
    if form == "pairs":
        return joined([row[:2] for row in rows], rng.choice([" ", "\t", "  "])), overrides
    if form == "sequences":
        return sequences(rows), overrides
    make = {"inter": typed, "jsonl": json_lines, "parquet": parquet}[form]
    return make(rows, header, rng), overrides


def items_of(rng):
    """Returns the name and the bytes of an item table."""
    many = rng.sample(IDS, rng.randint(1, len(IDS)))
    rows = [
        (item, f"Title {item}", rng.choice(["A|B", "", "x"]), rng.choice(PRICES)) for item in many
    ]
    header = rng.choice([("item_id", "title", "category", "price"), ("id", "name", "genres", "x")])
    form = rng.choice(["csv", "tsv", "inter", "jsonl", "parquet"])
    if form == "parquet":
        rows = [(item, title, [category], str(price)) for item, title, category, price in rows]
        return parquet(rows, header, rng)
    if form == "jsonl":
        return json_lines(rows, header, rng)
    if form == "inter":
        return typed(rows, header, rng)
    return separated(rows, header, rng, separator="\t" if form == "tsv" else ",")


PRICES = ["$1,299.50", 3, 0.0, "", "12,99", "1e400", "9" * 400, "nan", "€ 4"]


def settings_of(form, rng):
    """Returns overrides of the configuration's section `data`, few of them, most of them apt."""
    choices = {
        "format": [form if form != "tsv" else "csv", rng.choice([*FORMS[2:], "csv"])],
        "user_column": ["user", "u", "no such", "x" * 500],
        "item_column": ["item", "i", "user"],
        "time_column": ["none", "time", "t", "item"],
        "rating_column": ["none", "rating", "r", "time"],
        "separator": ["tab", ";", ",", "|", " ", "é"],
        "repeats": ["drop"],
        "time_unit": ["s", "ms", "us", "ns", "none"],
        "min_rating": ["2", "9"],
        "start": ["2019-01-01", "5", "1e9", "9999-12-31", "2019"],
        "end": ["2020-06-01T10:00:00", "50", "-1e300"],
        "k_core": ["2"],
        "min_length": ["2", "10"],
    }
    if rng.random() < 0.7:
        return []
    names = rng.sample(list(choices), rng.choice([1, 1, 1, 2, 3]))
    return [(f"data.{name}", rng.choice(choices[name])) for name in names]


def maybe_damaged(body, rng):
    return damaged(body, rng) if rng.random() < 0.6 else body


def taken(counts, what, call):
    """Returns what a call gives, None where it is refused, and counts which; the words checked."""
    try:
        found = call()
    except UserError as error:
        words = str(error)
        assert words and "\n" not in words, words
        assert len(words) < LONGEST_LINE, words
        assert not any(word in words for word in ("Traceback", "NoneType", "object has no")), words
        counts[what, False] += 1
        return None
    counts[what, True] += 1
    return found


def log_case(folder, form, rng, counts):
    """A log: read plainly, prepared, inspected."""
    path, made = folder / rng.choice(["log", "log.csv", f"log.{form}"]), folder / "made"
    body, overrides = body_of(form, rng)
    path.write_bytes(maybe_damaged(body, rng))
    overrides = [*(overrides if rng.random() < 0.9 else ()), *settings_of(form, rng)]
    if rng.random() < 0.15:
        (folder / "items").write_bytes(maybe_damaged(items_of(rng), rng))
        overrides.append(("data.titles", str(folder / "items")))
    config = taken(counts, "settings", lambda: load_config("", overrides))
    if config is None:
        return
    plain = taken(counts, form, lambda: load(config, str(path)).interactions)

    def prepared():
        prepare(*large_log(config, str(path)), workdir=str(made), display=Display())
        return read_prepared(made)

    streamed = taken(counts, f"{form}, prepared", prepared)
    assert not list(made.glob("**/*.new")) + list(made.glob(".preparing"))
    if streamed is None:
        assert not list(made.glob("*.parquet"))
    if plain is not None and streamed is not None:
        assert_same_data(streamed, plain)
        counts["agreed", True] += 1
    elif streamed is not None:
        counts["prepared, plainly refused", True] += 1
    output = folder / "found.json"
    if rng.random() < 0.3:
        taken(counts, f"{form}, inspected", lambda: look(config, path, output=str(output)))
        if output.exists():
            json.loads(output.read_bytes())
    if streamed is not None:
        folder_case(made, config, rng, counts)


def look(config, path, *, output):
    """Inspects what `path` names."""
    inspect(config, str(path), output=output, arguments=["main.py"], display=Display())


def folder_case(made, config, rng, counts):
    """A prepared folder: inspected, a file of it damaged and read again."""
    if rng.random() < 0.1:
        taken(counts, "folder, inspected", lambda: look(config, made, output=""))
    before = read_prepared(made)
    if rng.random() < 0.5:
        file = rng.choice(sorted(path for path in made.iterdir() if path.suffix))
        whole = file.read_bytes()
        file.write_bytes(damaged(whole, rng))
        read = taken(counts, f"folder, {file.suffix} damaged", lambda: read_prepared(made))
        # Of data nothing may change unseen; the manifest also holds words for people.
        if read is not None:
            assert_same_data(read, before)


def histories_case(folder, rng, counts):
    """A file of histories to recommend for."""
    rows = events_of(rng)
    header = rng.choice([("user", "item", "timestamp"), ("user", "item"), ("item", "user"), ("a",)])
    kind = rng.choice(["rows", "lines", "parquet"])
    rows = [row[: len(header)] for row in rows]
    if kind == "rows":
        body = separated(rows, header, rng)
    elif kind == "lines":
        body = joined(rows, " ")
    else:
        body = parquet(rows, header, rng)
    path = folder / "histories"
    path.write_bytes(maybe_damaged(body, rng))

    def read():
        histories = HistoryFile(path)
        found = list(histories.read(folder))
        assert len(found) == histories.total, (len(found), histories.total)
        assert all(isinstance(item, str) for _, items in found for item in items)
        return found

    taken(counts, f"histories, {kind}", read)


def others_case(folder, rng, counts):
    """A list of users, or an item table beside a log that is whole."""
    if rng.random() < 0.3:
        (folder / "users").write_bytes(maybe_damaged("\n".join(IDS).encode(), rng))
        taken(counts, "list of users", lambda: read_users(str(folder / "users")))
        return
    (folder / "log").write_bytes("user,item\nu,a\nu,b\nv,é\nv,a\n".encode())
    (folder / "items").write_bytes(maybe_damaged(items_of(rng), rng))
    taken(
        counts,
        "item table",
        lambda: read_log(folder / "log", LogSettings(titles_path=folder / "items")),
    )


def case(folder, rng, counts):
    """Runs one case in an empty folder."""
    kind = rng.random()
    if kind < 0.75:
        log_case(folder, rng.choice(FORMS), rng, counts)
    elif kind < 0.9:
        histories_case(folder, rng, counts)
    else:
        others_case(folder, rng, counts)


def run_case(folder, number, seed, counts):
    """Runs a case by its number; says which it was where it fails."""
    place = folder / str(number)
    place.mkdir()
    try:
        with at_most(MOST_SECONDS), redirect_stdout(io.StringIO()):
            case(place, random.Random(f"{seed}:{number}"), counts)
    except BaseException:
        print(f"failed: --seed={seed} --only={number}", file=sys.stderr)
        raise
    shutil.rmtree(place)


def main():
    """Reads until the time is over and prints what was read and what refused."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, default=-1)
    options = parser.parse_args()
    make_small(setattr)
    counts: Counter[tuple[str, bool]] = Counter()
    with tempfile.TemporaryDirectory() as name:
        if options.only >= 0:
            run_case(Path(name), options.only, options.seed, counts)
            return
        memory = Memory()
        for number in until(options.minutes, memory):
            run_case(Path(name), number, options.seed, counts)
    for what in sorted({what for what, _ in counts}):
        print(f"  {what}: {counts[what, True]:,} read, {counts[what, False]:,} refused in a line")
    print(f"{number + 1:,} cases; grown by {memory.growth:,} bytes")


if __name__ == "__main__":
    main()
