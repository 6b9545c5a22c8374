"""Recommends for random files: `python -m tests.soak.recommend --minutes=10 --seed=0`.

A case is a command `--mode=recommend` against one tiny exported model: a file of histories in some
form or a list of users, lists of items to exclude and to allow, an output, some of them damaged or
wrong. It must end with an answer that plain Python over the same histories gives too, or with one
line and exit 1, and then nothing may be written. Part of `make soak`.
A case depends on the seed and its number alone: `--only=NUMBER` runs it again.
"""

import argparse
import bz2
import csv
import functools
import gzip
import io
import json
import math
import random
import re
import shutil
import sys
import tempfile
import zipfile
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tests.helpers.runs import LIGHT, train
from tests.soak.common import Memory, at_most, call, check_refused, damaged, until
from ufnrec_tf.cli import recommend as command
from ufnrec_tf.common.display import Display
from ufnrec_tf.config import load_config

MOST_SECONDS = 30
LONGEST_LINE = 3000
"""Characters of an error: names are cut, so that a file cannot fill the screen."""
PLAIN = [f"i{number}" for number in range(1, 16)]
ODD = [
    *("a b", "7", "007", "1.0", "é", "日本", "😀", "=1+1", "-1", "nan", "None", "true", "<b>"),
    *("a,b", 'say "a"', "two\nlines", "a\tb", "\u00a0z", "x" * 300),
]
"""Items of the model whose ids some forms must quote and others cannot hold."""
UNKNOWN = ["i99", "nope", "I7", "8", "ä", "\u202e", "7 7", "y" * 500]
USERS = [*(f"u{number}" for number in range(20)), "Müller, J.", "007", "7", "日本"]
STRANGERS = ["u99", "nobody", "<b>", "0", "\u202e"]
COUNTS = re.compile(
    r": ([\d,]+) recommendations for ([\d,]+) histories \(([\d,]+) item ids read, ([\d,]+) unknown "
    r"and dropped; ([\d,]+) histories without a known item\)$"
)


class Histories(NamedTuple):
    """What a file of histories must be read as.

    Attributes:
        column: "user" or "row".
        items: Name -> raw item ids, oldest first, users by first appearance.
    """

    column: str
    items: dict[str, list[str]]


class Model:
    """The exported model, asked for one history at a time and ranked in plain Python.

    Args:
        workdir: The work directory.
        loaded: The loaded SavedModel, of which only the vector of a history is asked.
        log: User -> the items of the run's log, oldest first.
    """

    def __init__(self, workdir: Path, loaded: Any, log: dict[str, list[str]]) -> None:
        self.workdir, self.log = workdir, log
        table = pd.read_parquet(workdir / "export" / "1" / "items.parquet")
        self.ids: list[str] = table["item_id"].tolist()
        self.titles = dict(zip(self.ids, table["title"], strict=True))
        self.places = {raw: place for place, raw in enumerate(self.ids)}
        self._vectors = np.load(
            workdir / "export" / "1" / "item_vectors.npy", allow_pickle=False
        ).astype(np.float64)
        shares = table["events"].to_numpy() + 1.0
        self._popular = np.log(shares / shares.sum())
        self._encode = loaded.signatures["encode"]
        self._known: dict[tuple[str, ...], np.ndarray] = {}

    def _scores(self, known: tuple[str, ...]) -> np.ndarray:
        import tensorflow as tf

        if not known:
            return self._popular
        if known not in self._known:
            vector = self._encode(item_ids=tf.constant([list(known)]))["vectors"].numpy()[0]
            self._known[known] = self._vectors[-len(self.ids) :] @ vector.astype(np.float64)
        return self._known[known]

    def check(self, rows, history, *, k, exclude, allow):
        """Asserts that rows of (rank, item, score, title, known) answer a history."""
        known = [raw for raw in history if raw in self.places]
        scores = self._scores(tuple(known))
        allowed = [raw for raw in allow if raw in self.places] or self.ids
        left = set(allowed) - {*known, *exclude}
        best = sorted(left, key=lambda raw: (-scores[self.places[raw]], self.places[raw]))
        assert [row[0] for row in rows] == list(range(1, min(k, len(best)) + 1))
        for place, (_, item, score, title, count) in enumerate(rows):
            expected = scores[self.places[best[place]]]
            assert math.isclose(score, expected, rel_tol=1e-5, abs_tol=1e-5), (score, expected)
            assert item in left
            assert abs(scores[self.places[item]] - expected) < 2e-5, (item, best[place])
            assert (title, count) == (self.titles[item], len(known))
        assert len({row[1] for row in rows}) == len(rows)
        return len(known)


def make_model(folder):
    """Trains and exports the model that all cases ask."""
    rng, log = random.Random(0), folder / "log.csv"
    items = [*PLAIN, *ODD]
    histories = {user: rng.sample(items, rng.randint(4, 9)) for user in USERS}
    for place, raw in enumerate(items):  # so that the model knows all
        own = histories[USERS[place % len(USERS)]]
        own.extend([raw] * (raw not in own))
    rows = [
        (user, raw, 1_600_000_000 + 60 * place, 5)
        for user, own in histories.items()
        for place, raw in enumerate(own)
    ]
    write_csv(log, [("user_id", "item_id", "timestamp", "rating"), *rows])
    titles = [(raw, f"Title of {raw[:9]!r}") for raw in items[::2]]
    write_csv(folder / "items.csv", [("item_id", "title"), *titles])
    given = (f"--data={log}", f"--config.data.titles={folder / 'items.csv'}")
    settings = ("--config.training.num_epochs=1", "--config.data.null_ids=keep")
    with redirect_stdout(io.StringIO()):
        assert train(folder / "run", *LIGHT, *settings, data=given) == 0
    from ufnrec_tf.recommend import batch

    batch.load_model = functools.cache(batch.load_model)  # all cases share one
    return Model(folder / "run", batch.load_model(folder / "run" / "export" / "1"), histories)


def write_csv(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


# ---- histories


def some_histories(rng, items):
    """Returns user -> items, oldest first; some are unknown to the model."""
    pool = [*items, *rng.sample(UNKNOWN[:5], 2)]
    if rng.random() < 0.05:
        pool = UNKNOWN[:5]
    users = rng.sample(USERS + STRANGERS[:3], rng.choice([1, 3, 12]))
    return {user: rng.choices(pool, k=rng.choice([1, 2, 5, 20])) for user in users}


def as_table(rng, form):
    """Events in a table with a header."""
    is_bare = form == "inter"
    found = some_histories(rng, PLAIN + (ODD[:13] if is_bare else ODD))
    names: tuple[str, ...] = rng.choice(
        [("user_id", "item_id", "timestamp"), ("user", "item", "time")]
    )
    events: list[tuple[Any, ...]] = [
        (user, item, 1_600_000_000 + place)
        for user, own in found.items()
        for place, item in enumerate(own)
    ]
    if rng.random() < 0.5:  # times say the order, not the file
        rng.shuffle(events)
    else:
        names, events = names[:2], [event[:2] for event in events]
    order = list(dict.fromkeys(event[0] for event in events))
    columns = rng.sample(range(len(names)), len(names)) if rng.random() < 0.3 else None
    if columns is not None:
        names = tuple(names[place] for place in columns)
        events = [tuple(event[place] for place in columns) for event in events]
    expected = Histories("user", {user: found[user] for user in order})
    return written(form, names, events, rng), expected


def written(form, names, rows, rng):
    """Returns the bytes of a table in a form."""
    if form == "jsonl":
        lines = [json.dumps(dict(zip(names, row, strict=True))) for row in rows]
        return ("\n".join(lines) + "\n").encode()
    if form == "parquet":
        columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
        file = io.BytesIO()
        pq.write_table(pa.table(columns), file, row_group_size=rng.choice([2, 1000]))
        return file.getvalue()
    if form == "inter":
        header = "\t".join(f"{n}:{'float' if n[0] == 't' else 'token'}" for n in names)
        return "\n".join([header, *("\t".join(map(str, row)) for row in rows), ""]).encode()
    buffer = io.StringIO(newline="")
    separator = {"csv": ",", "tsv": "\t"}.get(form) or rng.choice(";|")
    csv.writer(buffer, delimiter=separator).writerows([names, *rows])
    return buffer.getvalue().encode()


def as_lists(rng, form):
    """One history a row of a table."""
    found = some_histories(rng, PLAIN)
    names = ("user_id", rng.choice(["item_id", "items", "history"]))
    rows: list[tuple[str, Any]] = list(found.items())
    if form == "csv":
        rows = [(user, rng.choice([json.dumps, str])(own)) for user, own in rows]
    return written(form, names, rows, rng), Histories("user", found)


def as_lines(rng, form):
    """One history a line, of which some are blank."""
    own = [*some_histories(rng, PLAIN).values(), *([[]] if rng.random() < 0.3 else [])]
    rng.shuffle(own)
    join = json.dumps if form == "json" else (" " if form == "spaces" else ",").join
    lines = [join(items) if items else "" for items in own]
    expected = {str(number): items for number, items in enumerate(own, 1)}
    # A file that begins with a blank line, or with two ids and a comma, may be read as rows.
    is_clear = form != "commas" and bool(own[0]) and len(own) > 1
    is_clear = is_clear and any(len(items) != 2 for items in own)
    is_known = sum(raw in PLAIN for items in own for raw in items[:1]) > len(own) / 2
    body = ("\n".join(lines) + "\n").encode()
    return body, Histories("row", expected) if is_clear and is_known else None


def as_rows(rng, form):
    """`user,item` without a header."""
    found = {user: own for user, own in some_histories(rng, PLAIN).items() if "," not in user}
    lines = [f"{user},{item}" for user, own in found.items() for item in own]
    rng.shuffle(lines)
    return ("\n".join(lines) + "\n").encode(), None


FORMS = {
    **dict.fromkeys(("csv", "tsv", "semicolons", "jsonl", "parquet", "inter"), as_table),
    **dict.fromkeys(("spaces", "json", "commas"), as_lines),
    "rows": as_rows,
}
LISTS = ("csv", "jsonl", "parquet")


def packed(body, rng):
    """Returns an ending and the bytes, compressed now and then."""
    kind = rng.choice([*[""] * 6, ".gz", ".bz2", ".zst", ".zip"])
    if kind == ".zip":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as file:
            file.writestr("log", body)
        return kind, buffer.getvalue()
    pack = {".gz": gzip.compress, ".bz2": bz2.compress, ".zst": pa.Codec("zstd").compress}
    return kind, bytes(pack[kind](body)) if kind and body else body


# ---- a command


class Asked(NamedTuple):
    """A command, and what it must answer.

    Attributes:
        flags: The flags.
        histories: What it must be answered for; None: as the program reads it.
        exclude: The ids of --exclude; None where the program is to say.
        allow: Those of --allow.
        top_k: The number of items.
    """

    flags: dict[str, str]
    histories: Histories | None
    exclude: list[str] | None
    allow: list[str] | None
    top_k: int


def history_flags(folder, rng, model, counts):
    """Returns the flags that say for whom, and for whom it is, or None."""
    kind = rng.random()
    if kind < 0.05:
        counts["train"] += 1
        return {"histories": "train"}, Histories("user", model.log)
    if kind < 0.2:
        counts["users"] += 1
        users = rng.sample(USERS + STRANGERS, rng.choice([1, 3, 9]))
        expected = {user: model.log[user] for user in users if user in model.log}
        is_table = rng.random() < 0.4
        write_csv(folder / "users", [("user_id",), *((user,) for user in users)])
        if not is_table:
            (folder / "users").write_text("\n".join(users), encoding="utf-8")
        # A list of one column is a table if its first line is a name of one.
        histories = Histories("user", expected)
        return {"users": str(folder / "users")}, maybe_damaged(folder / "users", rng, histories)
    form = rng.choice([*FORMS])
    make = as_lists if form in LISTS and rng.random() < 0.3 else FORMS[form]
    body, expected = make(rng, form)
    ending, body = packed(body, rng) if form != "parquet" else ("", body)
    counts[form] += 1
    path = folder / f"histories{ending or rng.choice(['', '.txt', '.csv'])}"
    path.write_bytes(body)
    return {"histories": str(path)}, maybe_damaged(path, rng, expected)


def maybe_damaged(path, rng, expected):
    """Damages a file now and then; returns what it must be read as, or None."""
    if rng.random() < 0.6:
        return expected
    path.write_bytes(damaged(path.read_bytes(), rng))
    return None


def ids_flag(folder, rng, name):
    """Returns the value of --exclude or --allow, or "", and the ids that it names, or None."""
    if rng.random() < 0.6:
        return "", []
    ids = rng.sample([*PLAIN, *ODD, *UNKNOWN], rng.choice([1, 3, 15]))
    if rng.random() < 0.1:
        ids = UNKNOWN[:3]
    if rng.random() < 0.5:
        ids = [raw for raw in ids if not set(raw) & {",", "\n"}] or ["i1"]
        return ",".join(ids), ids if all(raw == raw.strip() for raw in ids) else None
    path = folder / name
    if rng.random() < 0.3:
        write_csv(path, [("item_id",), *((raw,) for raw in ids)])
    else:
        ids = [raw for raw in ids if "\n" not in raw] or ["i1"]
        path.write_text("\n".join(ids) + "\n", encoding="utf-8")
    found = maybe_damaged(path, rng, Histories("", {"": ids}))
    return str(path), found and found.items[""]


OUTPUTS = ["out.csv", "out.csv.gz", "out.parquet", "out.txt", "OUT.Parquet"]
NO_OUTPUTS = ["out.json", "out.xlsx", "missing/out.csv", ".", "out/", "/dev/null", ""]
"""Of which "" stands for the input itself."""
SETTINGS = [
    *("data.format=csv", "data.format=histories", "data.format=parquet", "data.separator=;"),
    *("data.user_column=no such", "data.item_column=user_id", "data.time_column=none"),
    *("data.min_rating=3", "data.start=2020-09-13", "data.strip=false", "data.time_unit=ms"),
    *("data.null_ids=drop", "data.exclude_users=u1", "data.events=view", "data.null_times=drop"),
]


def any_command(folder, rng, model, counts):
    """Returns a command, most of it right."""
    named, histories = history_flags(folder, rng, model, counts)
    exclude, excluded = ids_flag(folder, rng, "exclude")
    allow, allowed = ids_flag(folder, rng, "allow")
    top_k = rng.choice([1, 3, 10, 50, 10**9])
    output = rng.choice(OUTPUTS if rng.random() < 0.9 else NO_OUTPUTS)
    place = output if output.startswith("/") else f"{folder}/{output}"
    if not output:
        place = next((path for path in named.values() if path != "train"), f"{folder}/out.json")
    flags = {**named, "exclude": exclude, "allow": allow, "top_k": str(top_k), "output": place}
    if "histories" in named and rng.random() < 0.1:
        key, value = rng.choice(SETTINGS).split("=")
        flags[f"config.{key}"], histories = value, None
    return Asked(flags, histories, excluded, allowed, top_k)


def as_read(asked, model):
    """Returns a command with what the program itself reads where the files do not say it."""
    given = {name: asked.flags.get(name, "") for name in ("histories", "users", "exclude", "allow")}
    flags, run = (
        SimpleNamespace(**given, data="", similar="", diversity=0.0),
        command.opened_run(str(model.workdir)),
    )
    exclude, allow = command.read_lists(flags, run)
    asked = asked._replace(
        exclude=list(exclude) if asked.exclude is None else asked.exclude,
        allow=list(allow) if asked.allow is None else asked.allow,
    )
    if asked.histories is not None:
        return asked
    overrides = [
        (name.removeprefix("config."), value)
        for name, value in asked.flags.items()
        if name.startswith("config.")
    ]
    found = command.read_histories(flags, run, load_config("", overrides), Display(is_shown=False))
    with tempfile.TemporaryDirectory() as scratch:
        names, items = zip(*found.read(Path(scratch)), strict=True)
    assert len(set(names)) == len(names)
    return asked._replace(histories=Histories(found.column, dict(zip(names, items, strict=True))))


def rows_of(path):
    """Returns the name of the first column and the rows of an output: name, then as `check`."""
    if path.name.lower().endswith(".parquet"):
        table = pq.read_table(path)
        names, rows = table.column_names, [list(row.values()) for row in table.to_pylist()]
    else:
        opened: Any = gzip.open if path.name.endswith(".gz") else open
        with opened(path, "rt", encoding="utf-8", newline="") as file:
            names, *rows = csv.reader(file)
    assert names[1:] == ["rank", "item", "score", "title", "known_items"], names
    return names[0], [
        (str(row[0]), (int(row[1]), row[2], float(row[3]), row[4], int(row[5]))) for row in rows
    ]


def check_answer(asked, model, path, words):
    """Asserts that an output and the line about it are right."""
    assert asked.histories is not None
    column, rows = rows_of(path)
    assert column == asked.histories.column
    by_name: dict[str, list[Any]] = {}
    for name, row in rows:
        by_name.setdefault(name, []).append(row)
    assert [name for name in asked.histories.items if name in by_name] == list(by_name)
    lists = {"exclude": asked.exclude, "allow": asked.allow}
    known = [
        model.check(by_name.get(name, []), own, k=asked.top_k, **lists)
        for name, own in asked.histories.items.items()
    ]
    num_ids = sum(map(len, asked.histories.items.values()))
    counts = (len(rows), len(known), num_ids, num_ids - sum(known), known.count(0))
    found = COUNTS.search(words[-1])
    assert found, words
    assert tuple(int(text.replace(",", "")) for text in found.groups()) == counts, (found, counts)


def must_answer(asked, model, folder):
    """True if a command is whole, so that it may not be refused; None if that is not known."""
    if asked.histories is None or asked.exclude is None or asked.allow is None:
        return None
    output = Path(asked.flags["output"])
    if output.name not in OUTPUTS or not output.parent.is_dir():
        return False
    if asked.allow and not set(asked.allow) & set(model.ids):
        return False
    return any(raw in model.places for own in asked.histories.items.values() for raw in own)


def case(folder, rng, model, counts):
    """Runs one command and checks how it ended."""
    asked = any_command(folder, rng, model, counts)
    output = Path(asked.flags["output"])
    if rng.random() < 0.2 and output.parent.is_dir() and not output.exists():
        output.write_bytes(b"before")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    flags = (f"--{name}={value}" for name, value in asked.flags.items() if value)
    ended = call("--mode=recommend", f"--workdir={model.workdir}", *flags)
    after = {path: path.read_bytes() for path in folder.iterdir()}
    if ended.code:
        check_refused(ended, asked.flags)
        assert len(ended.errors[0]) < LONGEST_LINE, ended
        assert after == before, sorted(after)
        assert not must_answer(asked, model, folder), (asked, ended)
        counts["refused in a line"] += 1
        return
    assert must_answer(asked, model, folder) is not False, (asked, ended)
    assert not ended.errors, ended
    assert {**before, output: after[output]} == after, sorted(after)
    check_answer(as_read(asked, model), model, output, ended.lines)
    counts["answered"] += 1


def run_case(folder, number, seed, model, counts):
    """Runs a case by its number; says which it was where it fails."""
    place = folder / str(number)
    place.mkdir()
    try:
        with at_most(MOST_SECONDS):
            case(place, random.Random(f"{seed}:{number}"), model, counts)
    except BaseException:
        print(f"failed: --seed={seed} --only={number}", file=sys.stderr)
        raise
    shutil.rmtree(place)


def main():
    """Recommends until the time is over and prints how the commands ended."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, default=-1)
    options = parser.parse_args()
    counts = Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        model = make_model(folder)
        if options.only >= 0:
            run_case(folder, options.only, options.seed, model, counts)
            return
        memory = Memory()
        for number in until(options.minutes, memory):
            run_case(folder, number, options.seed, model, counts)
    print(f"  {dict(sorted(counts.items()))}")
    print(f"{number + 1:,} commands; grown by {memory.growth:,} bytes")


if __name__ == "__main__":
    main()
