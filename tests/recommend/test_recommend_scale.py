"""Recommendations for many: forms of output, grouping on the disk, killed runs that go on."""

import csv
import datetime
import gzip
import os
import re
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.helpers.runs import run as run_command
from tests.helpers.serving import ITEM_IDS, FakeBackbone, random_histories, write_export
from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.recommend import batch as module
from ufnrec_tf.recommend import finished_parts, history_groups
from ufnrec_tf.recommend.batch import recommend
from ufnrec_tf.recommend.histories import open_histories
from ufnrec_tf.recommend.history_groups import UserRuns
from ufnrec_tf.recommend.scoring import ExactScorer, load_model

ODD_IDS = ["=1+1", "007", "NA", "null", 'q"', "a,b", "line\nend", "cr\r", " blank ", "naïve", "1e5"]


@pytest.fixture(scope="module")
def export_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "export" / "1"
    ids = np.array(["", *ODD_IDS, *ITEM_IDS[len(ODD_IDS) + 1 :]], object)
    write_export(path, FakeBackbone(), ids)
    return path


@pytest.fixture(scope="module")
def model(export_dir):
    return load_model(export_dir)


class Watched(ExactScorer):
    """Counts histories, and does something before a batch."""

    def __init__(self, model, before=lambda call: None):
        super().__init__(model)
        self.num_histories = self.calls = 0
        self._before = before

    def best(self, item_ids, k):
        self.calls += 1
        self._before(self.calls)
        self.num_histories += len(item_ids)
        return super().best(item_ids, k)


class Screen(Display):
    def __init__(self):
        super().__init__(is_shown=False)
        self.lines: list[str] = []

    def line(self, text="", *, wraps=True):
        self.lines.append(text)


def read_csv(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.mark.slow
def test_odd_ids_survive_in_and_out_in_every_form(export_dir, tmp_path):
    with open(tmp_path / "in.csv", "w", encoding="utf-8", newline="") as file:
        rows = [(f"u{raw}", raw) for raw in ODD_IDS if "\r" not in raw]
        csv.writer(file, lineterminator="\n").writerows([("user", "item"), *rows])
    outputs = [tmp_path / f"out.{end}" for end in ("csv", "csv.gz", "parquet")]
    for output in outputs:
        recommend(export_dir, tmp_path / "in.csv", output, top_k=30)
    rows = read_csv(outputs[0])
    assert gzip.decompress(outputs[1].read_bytes()) == outputs[0].read_bytes()
    table = pq.read_table(outputs[2])
    assert table.schema.types == [pa.string(), pa.int32(), pa.string(), pa.float32()]
    assert rows[0] == table.column_names == ["user", "rank", "item", "score"]
    for row, other in zip(rows[1:], table.to_pylist(), strict=True):
        assert row[:3] == [other["user"], str(other["rank"]), other["item"]]
        assert np.float32(row[3]) == np.float32(other["score"])
    for raw in ODD_IDS:
        others = {row[2] for row in rows if row[0] == f"u{raw}"}
        assert "\r" in raw or others >= set(ODD_IDS) - {raw}
        assert raw not in others


def test_lines_are_numbers_in_parquet(export_dir, tmp_path):
    (tmp_path / "in").write_text("007\n\nNA null\n")
    recommend(export_dir, tmp_path / "in", tmp_path / "out.parquet", top_k=2)
    table = pq.read_table(tmp_path / "out.parquet")
    assert table["row"].to_pylist() == [1, 1, 2, 2, 3, 3]
    assert table["row"].type == pa.int64()


@pytest.mark.slow
def test_titles_of_the_export_are_a_column(export_dir, tmp_path):
    folder = tmp_path / "2"
    shutil.copytree(export_dir, folder)
    assert "title" in pq.read_table(folder / "items.parquet").column_names  # all of them ""
    titles = {"007": 'Bond, "James"', "NA": ""}
    pd.DataFrame({"item_id": titles.keys(), "title": titles.values()}).to_parquet(
        folder / "items.parquet"
    )
    (tmp_path / "in").write_text("null\n")
    recommend(folder, tmp_path / "in", tmp_path / "out.csv", top_k=30)
    rows = read_csv(tmp_path / "out.csv")
    assert rows[0] == ["row", "rank", "item", "score", "title"]
    assert {row[2]: row[4] for row in rows[1:] if row[4]} == {"007": 'Bond, "James"'}
    (folder / "items.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="the exported model is damaged"):
        recommend(folder, tmp_path / "in", tmp_path / "out.csv", top_k=30)


def expected_groups(rows):
    """Users by first appearance, items by time, stably, told in the plainest way."""
    users = list(dict.fromkeys(user for user, _, _ in rows))
    return [
        (
            user,
            [
                item
                for _, item in sorted(((t, i) for u, i, t in rows if u == user), key=lambda e: e[0])
            ],
        )
        for user in users
    ]


@pytest.mark.parametrize("times", ["none", "whole", "real"])
def test_grouping_on_the_disk(tmp_path, monkeypatch, times):
    monkeypatch.setattr(history_groups, "_ROWS_IN_MEMORY", 50)
    monkeypatch.setattr(history_groups, "_ROWS_OF_BUCKET", 40)
    rng = np.random.default_rng(1)
    make = {
        "none": lambda: 0,
        "whole": lambda: 2**62 + int(rng.integers(-2, 2)),
        "real": lambda: float(rng.integers(-3, 3)) / 3,
    }
    rows = [
        (
            rng.choice(["u,1", 'u"', "u\n2", *map(str, range(20))]),
            rng.choice(ODD_IDS),
            make[times](),
        )
        for _ in range(300)
    ]
    found = list(history_groups.group_scattered(rows, num_rows=300, folder=tmp_path))
    assert found == expected_groups(rows)
    assert len(os.listdir(tmp_path)) == 8
    assert list(history_groups.group_scattered(rows, num_rows=300)) == found


def test_users_are_counted_and_seen_apart(monkeypatch):
    monkeypatch.setattr(history_groups, "_BUFFERED_RUNS", 4)
    runs = UserRuns()
    for user in "aabbcdefghij":
        runs.add(user)
    assert (runs.num_rows, runs.num_users, runs.is_grouped) == (12, 10, True)
    runs.add("a")
    assert (runs.num_users, runs.is_grouped) == (10, False)


@pytest.mark.parametrize("scattered", [False, True])
def test_parquet_histories_by_time(tmp_path, scattered):
    order = [0, 2, 1, 3] if scattered else [0, 1, 2, 3]
    day = datetime.datetime(2024, 1, 1)
    frame = pd.DataFrame(
        {
            "rating": 5,
            "item": [7, 8, 9, 10],
            "user": ["a", "a", "b", "b"],
            "timestamp": [day + datetime.timedelta(n) for n in (2, 1, 1, 1)],
        }
    ).iloc[order]
    for times in (
        frame["timestamp"],
        frame["timestamp"].astype("int64"),
        frame["timestamp"].dt.date,
    ):
        frame.assign(timestamp=times).to_parquet(tmp_path / "in")
        histories = open_histories(tmp_path / "in")
        assert (histories.kind, histories.column, histories.total) == ("rows", "user", 2)
        assert list(histories.read(tmp_path)) == [("a", ["8", "7"]), ("b", ["9", "10"])]
    frame.drop(columns="timestamp").to_parquet(tmp_path / "in")
    assert next(open_histories(tmp_path / "in").read(tmp_path)) == ("a", ["7", "8"])


@pytest.mark.parametrize(
    "columns, message",
    [
        ({"user": ["a"], "thing": ["b"]}, "has no column `item`; found: 'user', 'thing'"),
        ({"user": ["a", None], "item": ["b", "c"]}, "row 2: no `user`"),
        ({"user": ["a", "b"], "item": ["b", ""]}, "row 2: no `item`"),
        ({"user": ["a"], "item": [1.5]}, "the column `item` holds double"),
        ({"user": ["a"], "item": ["b"], "timestamp": ["x"]}, "`timestamp` holds"),
        ({"user": ["a"], "item": ["b"], "timestamp": [np.nan]}, "row 1: no"),
        ({"user": [], "item": []}, "has no rows"),
    ],
)
def test_malformed_parquet(tmp_path, columns, message):
    pq.write_table(pa.table(columns), tmp_path / "in")
    with pytest.raises(UserError, match=re.escape(message)):
        open_histories(tmp_path / "in")


def test_damaged_parquet(tmp_path):
    (tmp_path / "in").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        open_histories(tmp_path / "in")


@pytest.fixture
def killed(export_dir, model, tmp_path, monkeypatch):
    """A run in parts of 4 histories that was killed in the third: its folder as it was then."""
    monkeypatch.setattr(module, "_PART_ROWS", 12)
    text = "".join(" ".join(filter(None, ids)) + "\n" for ids in random_histories(11, 6))
    (tmp_path / "in").write_text(text)

    names: list[str] = []

    def kill(call):
        if call == 6:
            shutil.copytree(tmp_path / f".{names[-1]}.parts", tmp_path / "copy")
            raise KeyboardInterrupt

    def start(output):
        names.append(output)
        with pytest.raises(KeyboardInterrupt):
            recommend(
                export_dir,
                tmp_path / "in",
                tmp_path / output,
                top_k=3,
                batch_size=2,
                scorer=Watched(model, kill),
            )
        # What leaving the program in order tidied is put back: a kill does not tidy.
        shutil.rmtree(tmp_path / f".{output}.parts")
        shutil.move(tmp_path / "copy", tmp_path / f".{output}.parts")

    return start


def again(export_dir, model, tmp_path, output, top_k=3):
    """Runs to the end; returns the screen, how many histories were scored, and the summary."""
    screen, scorer = Screen(), Watched(model)
    summary = recommend(
        export_dir,
        tmp_path / "in",
        tmp_path / output,
        top_k=top_k,
        batch_size=2,
        scorer=scorer,
        display=screen,
    )
    assert not (tmp_path / f".{output}.parts").exists()
    return screen.lines, scorer.num_histories, summary


@pytest.mark.parametrize("end", ["csv", "csv.gz", "parquet"])
def test_a_killed_run_goes_on_to_the_same_file(export_dir, model, tmp_path, killed, end):
    output = f"out.{end}"
    killed(output)
    assert not (tmp_path / output).exists()
    lines, num_scored, summary = again(export_dir, model, tmp_path, output)
    assert (num_scored, summary.num_histories) == (3, 11)
    assert lines == [f"{tmp_path}/{output}: goes on after 8 histories of a run that was ended"]
    mended = (tmp_path / output).read_bytes()
    lines, num_scored, whole = again(export_dir, model, tmp_path, output)
    assert (lines, num_scored, whole) == ([], 11, summary)
    assert (tmp_path / output).read_bytes() == mended


@pytest.mark.parametrize("change", ["input", "--top_k", "model", "state", "part"])
def test_a_run_of_another_identity_starts_anew(export_dir, model, tmp_path, killed, change):
    killed("out.csv")
    folder, top_k = tmp_path / ".out.csv.parts", 3
    reason = f"it had another {change}"
    if change == "input":
        with open(tmp_path / "in", "a") as file:
            file.write("007\n")
    elif change == "--top_k":
        top_k = 4
    elif change == "model":
        shutil.copytree(export_dir, tmp_path / "1")
        export_dir = tmp_path / "1"
        (export_dir / "ufnrec.json").write_text(
            (export_dir / "ufnrec.json").read_text().replace('"top_k": 10', '"top_k": 11')
        )
    elif change == "state":
        (folder / "state.json").write_text("{")
        reason = "its state cannot be read"
    else:
        (folder / "part-000001").unlink()
        reason = "a part of it is gone"
    lines, num_scored, summary = again(export_dir, model, tmp_path, "out.csv", top_k)
    assert lines == [
        f"{tmp_path}/out.csv: starts anew; the run that was ended is dropped, as {reason}"
    ]
    assert num_scored == summary.num_histories == 11 + (change == "input")


def test_two_runs_of_one_output(export_dir, model, tmp_path, killed):
    killed("out.csv")
    with finished_parts.FinishedParts(tmp_path / "out.csv", {}):
        with pytest.raises(UserError, match="another run is writing it"):
            again(export_dir, model, tmp_path, "out.csv")
        assert (tmp_path / ".out.csv.parts").exists()


def test_a_full_disk_keeps_the_finished_parts(export_dir, model, tmp_path, killed, monkeypatch):
    killed("out.csv")
    with monkeypatch.context() as patch:

        def full(*_):
            raise OSError(28, "No space left on device")

        patch.setattr(module, "join_parts", full)
        with pytest.raises(UserError, match="cannot be written: No space left"):
            again(export_dir, model, tmp_path, "out.csv")
    assert sorted(os.listdir(tmp_path)) == [".out.csv.parts", "in"]
    assert again(export_dir, model, tmp_path, "out.csv")[1] == 0


def test_all_users_of_the_training_data(trained, tmp_path, capsys):
    output = tmp_path / "out.parquet"
    arguments = (f"--workdir={trained}", f"--output={output}", "--top_k=4")
    assert run_command("--mode=recommend", "--histories=train", *arguments) == 0
    assert "240 recommendations for 60 histories" in capsys.readouterr().out
    table = pq.read_table(output).to_pandas()
    assert (table.groupby("user")["rank"].agg(list).map(tuple) == (1, 2, 3, 4)).all()
    # What was held out of training is part of a history: it is not recommended again.
    ranks = pq.read_table(trained / "ranks.parquet").to_pandas()
    held_out = set(zip(ranks["user"], ranks["item"], strict=True))
    assert held_out and not held_out & set(zip(table["user"], table["item"], strict=True))
