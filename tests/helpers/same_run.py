"""Whether two work directories hold the same run: all but times of day, durations and paths."""

import struct
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.helpers.runs import described, metric_lines, read
from ufnrec_tf.runs.worker_state import read_part

TIMED = (
    "training/users_per_second",
    "_hparams_/session_start_info",
)
"""Tags of TensorBoard whose values tell of time."""
PROJECTOR = ("projector_config.pbtxt", "item_vectors.tsv", "items.tsv")
FRAMES = ("ranks.parquet", "ranks_validation.parquet", "false_negatives.parquet")


def assert_same_run(got, expected):
    """Asserts that all that a finished run leaves is equal to the bit."""
    got, expected = Path(got), Path(expected)
    assert_same_training(got, expected)
    assert result(got) == result(expected)
    for name in FRAMES:
        assert (got / name).exists() == (expected / name).exists(), name
        if (expected / name).exists():
            frames = [pd.read_parquet(path / name) for path in (got, expected)]
            pd.testing.assert_frame_equal(frames[0], frames[1])
    assert_same_export(got / "export" / "1", expected / "export" / "1")
    assert_same_board(got / "tensorboard", expected / "tensorboard")
    arms = [names(path / "baselines") for path in (got, expected)]
    assert arms[0] == arms[1]
    for arm in arms[1]:
        assert_same_run(got / "baselines" / arm, expected / "baselines" / arm)


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def assert_same_training(got, expected):
    """Asserts that all that a run leaves before its end is equal to the bit."""
    assert_same_checkpoints(got / "checkpoints", expected / "checkpoints")
    assert metric_lines(got) == metric_lines(expected)
    assert record(got) == record(expected)
    assert (got / "teacher").exists() == (expected / "teacher").exists()
    if not (expected / "teacher").exists():
        return
    assert_same_checkpoints(got / "teacher/checkpoints", expected / "teacher/checkpoints")
    assert metric_lines(got / "teacher") == metric_lines(expected / "teacher")
    assert points(got / "tensorboard/teacher") == points(expected / "tensorboard/teacher")
    (labels,) = expected.glob("teacher/labels-*")
    for path in labels.iterdir():
        if path.name != "labels.json":  # which says how long they took
            other = got / path.relative_to(expected)
            assert other.read_bytes() == path.read_bytes()


def result(workdir):
    """result.json without what tells of time and of the process."""
    values = read(workdir / "result.json")
    teacher = values.get("teacher", {})
    teacher.pop("folder", None)
    for part in (teacher, teacher.get("labels", {})):
        for name in ("seconds", "cpu_seconds"):
            part.pop(name, None)
    del values["timing"], values["memory"]["peak_rss_bytes"], values["sha256"], values["files"]
    return values


def record(workdir):
    values = read(workdir / "config.json")
    # A commit meanwhile changes no run.
    del values["command_line"], values["git_commit"], values["sha256"]
    return values


def assert_same_checkpoints(got, expected):
    steps = [sorted(path.name for path in folder.glob("step-*")) for folder in (got, expected)]
    assert steps[0][-1] == steps[1][-1]
    for name in (steps[1][-1], "best"):
        states = [read(folder / name / "state.json") for folder in (got, expected)]
        for state in states:
            del state["sha256"]
            state.get("progress", {}).pop("timing", None)
        assert states[0] == states[1]
        files = [path.stem for path in sorted((expected / name).glob("*.index"))]
        assert "variables" in files
        for file in files:
            assert_same_variables(got / name / file, expected / name / file)
    parts = [read_part(folder / steps[1][-1], 0, 1) for folder in (got, expected)]
    for tables in zip(*parts, strict=True):  # then sums
        assert tables[0].keys() == tables[1].keys()
        for key, value in tables[1].items():
            assert value.tobytes() == tables[0][key].tobytes(), f"{got}: {key}"
    assert parts[0].sums.keys() >= {"host"}


def assert_same_variables(got, expected):
    """Asserts that two checkpoint files of TensorFlow hold equal tensors, to the bit."""
    readers = [tf.train.load_checkpoint(str(path)) for path in (got, expected)]
    shapes = readers[0].get_variable_to_shape_map()
    assert shapes == readers[1].get_variable_to_shape_map()
    assert len(shapes) > 1
    for key in shapes:
        if key != "_CHECKPOINTABLE_OBJECT_GRAPH":
            values = [np.asarray(reader.get_tensor(key)) for reader in readers]
            assert values[0].dtype == values[1].dtype
            assert values[0].tobytes() == values[1].tobytes(), f"{got}: {key}"


def assert_same_export(got, expected):
    assert names(got) == names(expected)
    assert described(got) == described(expected)
    frames = [pd.read_parquet(path / "items.parquet") for path in (got, expected)]
    pd.testing.assert_frame_equal(frames[0], frames[1])
    assert_same_variables(got / "variables/variables", expected / "variables/variables")


def assert_same_board(got, expected):
    shown = points(got)
    assert shown == points(expected)
    for name in PROJECTOR:
        assert (got / "test" / name).read_bytes() == (expected / "test" / name).read_bytes()
    doubled = {key for key, values in shown.items() if len(values) > 1}
    assert not doubled, doubled
    for part in names(got):  # what TensorBoard makes of it
        board = EventAccumulator(str(got / part), size_guidance={"tensors": 0})
        board.Reload()
        tags = [tag for tag in board.Tags()["tensors"] if not tag.startswith("_hparams_")]
        seen = {(part, tag, event.step) for tag in tags for event in board.Tensors(tag)}
        told = {key for key in shown if key[0] == part and not key[1].startswith("_hparams_")}
        assert seen == told


def points(folder):
    """(part, tag, step) -> what the event files hold there, in their order; times left out."""
    found = defaultdict(list)
    for path in sorted(folder.glob("*/events*")):
        for data in records(path):
            event = tf.compat.v1.Event.FromString(data)
            for value in event.summary.value:
                shown = b"" if value.tag in TIMED else value.tensor.SerializeToString()
                found[path.parent.name, value.tag, event.step].append(shown)
    return dict(found)


def records(path):
    """The records of a TFRecord file: length, checksum, data, checksum; whole ones alone."""
    data, place = path.read_bytes(), 0
    while place < len(data):
        (size,) = struct.unpack_from("<Q", data, place)
        end = place + 12 + size + 4
        assert end <= len(data), f"{path} ends within an event"
        yield data[place + 12 : end - 4]
        place = end


def leftovers(workdir):
    """What should not be there once a run has ended: files and folders of writes cut short."""
    return sorted(
        str(path.relative_to(workdir))
        for path in Path(workdir).rglob("*")
        if path.name.endswith(".new") or (path.name.startswith(".") and path.name != ".lock")
    )
