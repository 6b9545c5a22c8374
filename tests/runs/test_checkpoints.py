"""Tests of checkpoints: whole or not there, damage told by name, the newest two kept."""

import errno
import json
import os
import resource
from contextlib import contextmanager
from pathlib import Path

import pytest
import tensorflow as tf

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.runs.checkpoints import CheckpointStore


def variables(value=0.0, shape=(200, 20)):
    return {
        "student": {"000": tf.Variable(tf.fill(shape, value)), "001": tf.Variable(7)},
        "teacher": {},
    }


def store_of(folder, value=0.0, **keywords):
    held = variables(value, **keywords)
    return CheckpointStore(folder, held), held["student"]["000"]


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


@contextmanager
def small_disk(size):
    """Files cannot grow beyond `size` bytes: a full disk, without being root."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_values_come_back(tmp_path):
    store, weight = store_of(tmp_path, 3.0)
    store.save_step(120, {"progress": {"epoch": 2, "best": None}})
    weight.assign(tf.zeros_like(weight))
    assert store.newest() == "step-00000120"
    state = store.restore(store.newest())
    assert state["step"] == 120
    assert state["progress"] == {"epoch": 2, "best": None}
    assert float(tf.reduce_min(weight)) == 3.0


def test_the_newest_two_are_kept_and_best_beside_them(tmp_path):
    store, _ = store_of(tmp_path)
    assert store.newest() == ""
    store.save("best", {"step": 1})
    for step in (5, 90, 100, 1000):
        store.save_step(step, {})
    assert names(tmp_path) == ["best", "step-00000100", "step-00001000"]
    assert store.newest() == "step-00001000"


def test_writing_one_again_replaces_it(tmp_path):
    store, weight = store_of(tmp_path, 1.0)
    store.save("best", {"step": 1})
    weight.assign(tf.fill(weight.shape, 2.0))
    store.save("best", {"step": 2})
    weight.assign(tf.zeros_like(weight))
    assert store.restore("best")["step"] == 2
    assert float(weight[0, 0]) == 2.0
    assert names(tmp_path) == ["best"]


@pytest.mark.parametrize("name", ["step-00000010", "step-00000020"])
def test_a_full_disk_leaves_the_earlier_ones(tmp_path, name):
    store, weight = store_of(tmp_path, 1.0)
    store.save_step(10, {})
    weight.assign(tf.fill(weight.shape, 2.0))
    with small_disk(4096), pytest.raises(UserError) as caught:
        store.save(name, {})
    assert name in str(caught.value)
    assert "File too large" in str(caught.value)
    assert "earlier ones are kept" in str(caught.value)
    assert "{{" not in str(caught.value)
    assert names(tmp_path) == ["step-00000010"]
    store.restore("step-00000010")
    assert float(weight[0, 0]) == 1.0


def test_no_space_for_the_state_leaves_the_earlier_ones(tmp_path, monkeypatch):
    store, _ = store_of(tmp_path)
    store.save("best", {"step": 1})

    def full(*arguments, **keywords):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UserError, match="No space left on device"):
        store.save("best", {"step": 2})
    monkeypatch.undo()
    assert store.restore("best")["step"] == 1
    assert names(tmp_path) == ["best"]


def test_what_a_killed_save_left_is_no_checkpoint(tmp_path):
    store, _ = store_of(tmp_path)
    store.save_step(10, {})
    (tmp_path / ".step-00000020.new").mkdir()
    assert store.newest() == "step-00000010"
    store.save_step(20, {})
    assert names(tmp_path) == ["step-00000010", "step-00000020"]


def test_a_save_killed_between_its_renames_loses_nothing(tmp_path):
    store, weight = store_of(tmp_path, 1.0)
    store.save("best", {"step": 1})
    (tmp_path / "best").rename(tmp_path / ".best.old")
    weight.assign(tf.zeros_like(weight))
    assert store.restore("best")["step"] == 1
    assert float(weight[0, 0]) == 1.0
    (tmp_path / "best").rename(tmp_path / ".best.old")
    with small_disk(4096), pytest.raises(UserError):
        store.save("best", {"step": 2})
    assert store.state("best")["step"] == 1


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def flip_bits(path):
    data = bytearray(path.read_bytes())
    data[: len(data) // 2] = (byte ^ 0xFF for byte in data[: len(data) // 2])
    path.write_bytes(data)


@pytest.mark.parametrize("pattern", ["variables.data-*", "variables.index", "state.json"])
@pytest.mark.parametrize("damage", [truncate, flip_bits, empty, Path.unlink])
def test_a_damaged_file_is_told_with_the_ways_out(tmp_path, pattern, damage):
    store, _ = store_of(tmp_path)
    store.save_step(10, {})
    damage(next((tmp_path / "step-00000010").glob(pattern)))
    with pytest.raises(UserError) as caught:
        store.restore("step-00000010")
    for words in ("step-00000010", "damaged", "Remove this folder", "another --workdir"):
        assert words in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("state", ["[]", "3", '{"step": 3}', '{"format_version": "new"}', "null"])
def test_a_state_that_is_no_state_is_damaged(tmp_path, state):
    store, _ = store_of(tmp_path)
    store.save_step(10, {})
    (tmp_path / "step-00000010" / "state.json").write_text(state, encoding="utf-8")
    with pytest.raises(UserError, match="damaged"):
        store.restore("step-00000010")


def test_a_newer_format_asks_for_a_newer_program(tmp_path):
    store, weight = store_of(tmp_path, 1.0)
    store.save_step(10, {})
    path = tmp_path / "step-00000010" / "state.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(state | {"format_version": 4}), encoding="utf-8")
    weight.assign(tf.zeros_like(weight))
    with pytest.raises(UserError, match=r"state\.json: format 4 is newer.*version of ufnrec-tf"):
        store.restore("step-00000010")
    assert float(weight[0, 0]) == 0.0  # untouched


def test_another_models_checkpoint_is_refused(tmp_path):
    store_of(tmp_path)[0].save_step(10, {})
    with pytest.raises(UserError, match="of another model"):
        store_of(tmp_path, shape=(200, 21))[0].restore("step-00000010")
    more = variables() | {"memory": {"items": tf.Variable([1, 2])}}
    with pytest.raises(UserError, match="of another model"):
        CheckpointStore(tmp_path, more).restore("step-00000010")


def test_a_folder_that_is_missing_has_none(tmp_path):
    assert store_of(tmp_path / "none")[0].newest() == ""


def test_a_run_goes_on_from_the_newest_that_is_whole(tmp_path):
    store, weight = store_of(tmp_path)
    told: list[str] = []
    for step in (10, 20, 30):
        weight.assign(tf.fill(weight.shape, float(step)))
        store.save_step(step, {})
    assert names(tmp_path) == ["step-00000020", "step-00000030"]
    truncate(next((tmp_path / "step-00000030").glob("variables.data-*")))
    assert store.restore_newest(warn=told.append)["name"] == "step-00000020"
    assert float(weight[0, 0]) == 20.0
    assert len(told) == 1
    assert "step-00000030: the checkpoint is damaged" in told[0]
    assert "Remove" not in told[0]
    assert names(tmp_path) == ["damaged-step-00000030", "step-00000020"]


def test_where_all_are_damaged_nothing_is_moved_and_one_line_names_them(tmp_path):
    store, _ = store_of(tmp_path)
    for step in (10, 20):
        store.save_step(step, {})
        empty(tmp_path / f"step-{step:08d}" / "state.json")
    with pytest.raises(UserError, match=r"step-00000010: .*So are the newer ones, step-00000020"):
        store.restore_newest(warn=lambda text: None)
    assert names(tmp_path) == ["step-00000010", "step-00000020"]


def test_a_changed_digit_is_damage(tmp_path):
    store, _ = store_of(tmp_path)
    store.save_step(10, {"progress": {"best": 0.125}})
    path = tmp_path / "step-00000010" / "state.json"
    path.write_text(path.read_text(encoding="utf-8").replace("0.125", "0.625"), encoding="utf-8")
    with pytest.raises(UserError, match="not what was written"):
        store.restore("step-00000010")


def test_what_killed_saves_left_goes_before_a_run_goes_on(tmp_path):
    store, weight = store_of(tmp_path, 1.0)
    store.save_step(10, {})
    (tmp_path / "step-00000010").rename(tmp_path / ".step-00000010.old")
    (tmp_path / ".step-00000010.new").mkdir()
    (tmp_path / ".step-00000013.new").mkdir()
    weight.assign(tf.zeros_like(weight))
    assert store.restore_newest(warn=lambda text: None)["name"] == "step-00000010"
    assert float(weight[0, 0]) == 1.0
    assert names(tmp_path) == ["step-00000010"]
