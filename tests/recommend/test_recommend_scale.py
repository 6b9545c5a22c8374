"""Recommendations for many: forms of output, grouping on the disk, killed runs that go on."""

import csv
import gzip
import os
import shutil
from threading import Lock

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.helpers.runs import rewrite
from tests.helpers.runs import run as run_command
from tests.helpers.serving import ITEM_IDS, FakeBackbone, random_histories, write_export
from ufnrec_tf.cli.recommend import file_histories
from ufnrec_tf.common import hashes
from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.reading.columns import Columns
from ufnrec_tf.reading.readers import LogSettings
from ufnrec_tf.recommend import batch as module
from ufnrec_tf.recommend import finished_parts
from ufnrec_tf.recommend.batch import recommend
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
        self._before, self._lock = before, Lock()

    def best(self, item_ids, k, times=None):
        with self._lock:  # two threads ask
            self.calls += 1
            self._before(self.calls)
            self.num_histories += len(item_ids)
        return super().best(item_ids, k, times)


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
    as_is = LogSettings(columns=Columns(strip=False))
    for output in outputs:
        recommend(export_dir, file_histories(tmp_path / "in.csv", as_is), output, top_k=30)
    rows = read_csv(outputs[0])
    assert gzip.decompress(outputs[1].read_bytes()) == outputs[0].read_bytes()
    table = pq.read_table(outputs[2])
    types = [pa.string(), pa.int32(), pa.string(), pa.float32(), pa.int32()]
    assert table.schema.types == types
    assert rows[0] == table.column_names == ["user", "rank", "item", "score", "known_items"]
    for row, other in zip(rows[1:], table.to_pylist(), strict=True):
        assert row[:3] == [other["user"], str(other["rank"]), other["item"]]
        assert np.float32(row[3]) == np.float32(other["score"])
    for raw in ODD_IDS:
        others = {row[2] for row in rows if row[0] == f"u{raw}"}
        assert "\r" in raw or others >= set(ODD_IDS) - {raw}
        assert raw not in others


def test_lines_are_numbers_in_parquet(export_dir, tmp_path):
    (tmp_path / "in").write_text("007\n\nNA null\n")
    recommend(export_dir, file_histories(tmp_path / "in"), tmp_path / "out.parquet", top_k=2)
    table = pq.read_table(tmp_path / "out.parquet")
    assert table["row"].to_pylist() == [1, 1, 2, 2, 3, 3]
    assert table["row"].type == pa.int64()


@pytest.mark.slow
def test_titles_of_the_export_are_a_column(export_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(hashes, "_is_verified", False)
    folder = tmp_path / "2"
    shutil.copytree(export_dir, folder)
    assert "title" in pq.read_table(folder / "items.parquet").column_names  # all of them ""
    titles = {"007": 'Bond, "James"', "NA": ""}
    pd.DataFrame({"item_id": titles.keys(), "title": titles.values()}).to_parquet(
        folder / "items.parquet"
    )
    (tmp_path / "in").write_text("null\n")
    recommend(folder, file_histories(tmp_path / "in"), tmp_path / "out.csv", top_k=30)
    rows = read_csv(tmp_path / "out.csv")
    assert rows[0] == ["row", "rank", "item", "score", "title", "known_items"]
    assert {row[2]: row[4] for row in rows[1:] if row[4]} == {"007": 'Bond, "James"'}
    (folder / "items.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="the exported model is damaged"):
        recommend(folder, file_histories(tmp_path / "in"), tmp_path / "out.csv", top_k=30)


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
                file_histories(tmp_path / "in"),
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
        file_histories(tmp_path / "in"),
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
    assert lines == [f"{tmp_path}/{output}: resumes after 8 histories of a run that was ended"]
    mended = (tmp_path / output).read_bytes()
    lines, num_scored, whole = again(export_dir, model, tmp_path, output)
    assert (lines, num_scored, whole) == ([], 11, summary)
    assert (tmp_path / output).read_bytes() == mended


@pytest.mark.parametrize("change", ["input", "--top_k", "model", "state", "part"])
def test_a_run_of_another_identity_starts_anew(export_dir, model, tmp_path, killed, change):
    killed("out.csv")
    folder, top_k = tmp_path / ".out.csv.parts", 3
    reason = f"its {change} differed"
    if change == "input":
        with open(tmp_path / "in", "a") as file:
            file.write("007\n")
    elif change == "--top_k":
        top_k = 4
    elif change == "model":
        shutil.copytree(export_dir, tmp_path / "1")
        export_dir = tmp_path / "1"
        rewrite(export_dir / "ufnrec.json", top_k=11)
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
