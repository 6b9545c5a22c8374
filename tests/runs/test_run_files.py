"""Files of a run and of its export that are not what was written are refused, each by its name."""

import json
import shutil

import pytest

import ufnrec_tf as ufn
from tests.helpers.runs import train
from ufnrec_tf.common import hashes
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.hashes import hash_of_json, read_hashed_json, write_hashed_json
from ufnrec_tf.export.saved_model import checked_metadata, read_metadata
from ufnrec_tf.export.versions import load_newest, newest_version
from ufnrec_tf.report.run_facts import validation_lines
from ufnrec_tf.runs.histories import read_histories
from ufnrec_tf.runs.raw_ids import read_ids
from ufnrec_tf.runs.run_files import check_run_file, read_result, renew_hashes
from ufnrec_tf.runs.trained_settings import keep_titles, trained_config
from ufnrec_tf.runs.workdir import read_record


def log_hash(path):
    return read_record(path / "config.json")["identity"]["data of sha256"]


READERS = {
    "config.json": lambda path: read_record(path / "config.json"),
    "result.json": read_result,
    "ranks.parquet": lambda path: ufn.Run(path).ranks,
    "false_negatives.parquet": lambda path: ufn.Run(path).false_negatives,
    "ids/items.parquet": read_ids,
    "ids/rows.parquet": read_ids,
    "ids/events.parquet": read_ids,
    "ids/histories.parquet": lambda path: read_histories(path, log_hash(path)),
    "metrics.jsonl": validation_lines,
    **{
        f"export/1/{name}": lambda path: checked_metadata(path / "export" / "1")
        for name in (
            *("saved_model.pb", "items.parquet", "item_vectors.npy", "ufnrec.json"),
            *("variables/variables.index", "variables/variables.data-00000-of-00001"),
        )
    },
}


@pytest.fixture
def workdir(trained, tmp_path):
    """A copy of the trained run, without its checkpoints."""
    leave_out = shutil.ignore_patterns("checkpoints")
    return shutil.copytree(trained, tmp_path / "run", ignore=leave_out)


@pytest.fixture(autouse=True)
def verified(monkeypatch):
    """Checks are on, and nothing was said yet."""
    monkeypatch.setattr(hashes, "_is_verified", True)
    monkeypatch.setattr(hashes, "_has_noted", False)


@pytest.mark.parametrize("byte", [30, -9])
def test_a_changed_event_is_refused_and_later_ones_are_no_change(workdir, byte):
    path = max((workdir / "tensorboard" / "curves").iterdir(), key=lambda path: path.stat().st_size)
    body = bytearray(path.read_bytes())
    path.write_bytes(body + b"more")
    check_run_file(workdir, "tensorboard/curves")
    body[byte] ^= 1
    path.write_bytes(body)
    with pytest.raises(UserError, match=r"tfevents.*is not what was written"):
        check_run_file(workdir, "tensorboard/curves")
    path.unlink()  # as a resumed run does with some
    check_run_file(workdir, "tensorboard/curves")


def places(body):
    """Places of bytes that are neither blank nor within a key's quotes of one letter."""
    return [
        place for place in range(7, len(body), len(body) // 5) if body[place : place + 1].strip()
    ]


@pytest.mark.parametrize("name", READERS)
def test_a_changed_byte_is_one_line_that_names_the_file(workdir, name):
    READERS[name](workdir)
    path = workdir / name
    body = path.read_bytes()
    for place in places(body):
        path.write_bytes(body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :])
        with pytest.raises(UserError, match=name.rpartition("/")[2]) as found:
            READERS[name](workdir)
        assert "\n" not in str(found.value)
    path.write_bytes(body)
    READERS[name](workdir)


@pytest.mark.parametrize("name", READERS)
def test_a_cut_file_is_refused(workdir, name):
    path = workdir / name
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UserError, match=name.rpartition("/")[2]):
        READERS[name](workdir)


def edited(path, **values):
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(document | values), encoding="utf-8")


def test_an_edited_setting_is_an_error_that_says_so(workdir):
    edited(workdir / "config.json", seed=5)
    with pytest.raises(UserError) as found:
        read_record(workdir / "config.json")
    for words in ("was edited or is damaged", "changed by flags", "--verify=false"):
        assert words in str(found.value)


def test_what_is_said_otherwise_is_not_an_edit(workdir):
    """Order and blanks of JSON mean nothing."""
    path = workdir / "result.json"
    document = read_result(workdir)
    whole = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(dict(reversed(whole.items()))), encoding="utf-8")
    assert read_result(workdir) == document


def test_verify_false_reads_files_as_they_are(workdir):
    edited(workdir / "config.json", seed=5)
    edited(workdir / "export/1/ufnrec.json", top_k=3)
    shutil.copy(workdir / "ranks_validation.parquet", workdir / "ranks.parquet")
    hashes.set_verified(False)
    assert read_record(workdir / "config.json")["seed"] == 5
    assert checked_metadata(workdir / "export/1")["top_k"] == 3
    assert len(ufn.Run(workdir).ranks) == 60


def test_later_lines_of_evaluations_are_no_change(workdir):
    lines = validation_lines(workdir)
    with (workdir / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 1, "mode": "evaluate", "split": "validation"}\n')
    assert validation_lines(workdir) == lines


def test_files_of_older_versions_are_read_and_that_is_said_once(workdir, capsys):
    for name, keys in (
        ("config.json", ["sha256"]),
        ("result.json", ["sha256", "files"]),
        ("export/1/ufnrec.json", ["sha256", "files"]),
    ):
        document = json.loads((workdir / name).read_text(encoding="utf-8"))
        for key in keys:
            del document[key]
        (workdir / name).write_text(json.dumps(document), encoding="utf-8")
    for read in READERS.values():
        read(workdir)
    told = capsys.readouterr().out
    assert told.count("without a sha256") == 1
    assert "config.json: an older version" in told


def test_hashes_are_renewed_once_a_file_is_written_anew(workdir):
    ids = workdir / "ids" / "items.parquet"
    shutil.copy(workdir / "ids" / "rows.parquet", ids)
    renew_hashes(workdir, "ids/items.parquet")
    with pytest.raises(UserError, match="ids: is damaged"):  # by its content
        read_ids(workdir)


def test_the_same_command_again_mends_the_ids_of_a_finished_run(workdir):
    """The hash of a file that it does not write anew stays as it was."""
    expected = read_ids(workdir)
    shutil.copy(workdir / "ranks_validation.parquet", workdir / "ranks.parquet")
    path = workdir / "ids" / "items.parquet"
    body = bytearray(path.read_bytes())
    body[40] ^= 1
    path.write_bytes(body)
    with pytest.raises(UserError, match="not what was written"):
        read_ids(workdir)
    assert train(workdir, "--config.training.num_epochs=3") == 0
    for found, value in zip(read_ids(workdir), expected, strict=True):
        assert found.tolist() == value.tolist()
    with pytest.raises(UserError, match=r"ranks\.parquet: is not what was written"):
        check_run_file(workdir, "ranks.parquet")


def test_a_longer_run_does_not_begin_on_a_damaged_curve(workdir, trained, capsys):
    shutil.copytree(trained / "checkpoints", workdir / "checkpoints")
    path = workdir / "metrics.jsonl"
    before = path.read_text(encoding="utf-8")
    path.write_text(before.replace('"flips": 0', '"flips": 1', 1), encoding="utf-8")
    assert train(workdir, "--config.training.num_epochs=4") == 1
    assert "metrics.jsonl: is not what was written" in capsys.readouterr().err


def test_titles_that_an_export_is_given_leave_a_record_with_its_hash(workdir, capsys):
    config, _ = trained_config(str(workdir), [])
    config.data.titles = "titles.csv"
    keep_titles(str(workdir), config)
    assert read_record(workdir / "config.json")["config"]["data"]["titles"].endswith("titles.csv")
    assert "without a sha256" not in capsys.readouterr().out


def test_documents_come_back_as_they_were(tmp_path):
    document = {"b": (1, 2.5, float("nan")), "ä": {3: "\ud800", "a": None}, "sha256": "old"}
    write_hashed_json(tmp_path / "a.json", document)
    found = read_hashed_json(tmp_path / "a.json", mend="")
    assert list(found) == ["b", "ä"]
    assert found["ä"] == {"3": "\ud800", "a": None}
    assert hash_of_json(found) == hash_of_json(document)


def test_a_version_that_is_removed_while_it_loads_makes_way_for_the_newest(workdir):
    folder = workdir / "export"
    shutil.copytree(folder / "1", folder / "2")
    loaded = []

    def load(path):
        loaded.append(path.name)
        if path.name == "2":
            shutil.rmtree(path)
        return read_metadata(path)

    assert load_newest(folder, load)["top_k"] == 10
    assert loaded == ["2", "1"]
    (folder / "1" / "ufnrec.json").unlink()
    with pytest.raises(UserError, match="is damaged"):
        load_newest(folder, load)
    shutil.rmtree(newest_version(folder))
    with pytest.raises(UserError, match="there is no exported model"):
        load_newest(folder, load)
