"""Files that are written whole: never in the place of a device or a pipe."""

import os
from pathlib import Path

import pytest

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.files import is_stream, write_json


def test_a_pipe_is_not_replaced(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(UserError, match="is not a regular file"):
        write_json(path, {})
    assert path.is_fifo() and [*tmp_path.iterdir()] == [path]


def test_devices_are_told_by_their_folder():
    names = ("/dev/null", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
    assert all(is_stream(Path(name)) for name in names)
    assert not is_stream(Path("/dev/shm/run/result.json"))
