"""What a run writes for TensorBoard: grouped scalars, a histogram of counts, HParams."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorboard.plugins.histogram import metadata as histogram_metadata
from tensorboard.plugins.hparams import api as hparams_api

from ufnrec_tf.event_files import EVENTS, whole_records
from ufnrec_tf.workdir import not_written

_END = ".end.v2"
"""How the name of a file ends that has what a run tells at its end alone."""
_NEW = ".cut.new"


class Board:
    """Event files of a run, one folder for each of train, validation and test.

    Args:
        folder: The `tensorboard` folder of the work directory.
        is_written: False for a worker that leaves it to the chief: nothing happens.
    """

    def __init__(self, folder: Path, *, is_written: bool = True) -> None:
        self._folder = folder
        self._is_written = is_written
        self._writers: dict[str, Any] = {}
        self._suffix = ".v2"

    def cut_after(self, step: int) -> None:
        """Removes what a run that goes on from `step` will tell again, and half-written events."""
        if not self._is_written:
            return
        with self._on_disk():
            for path in sorted(self._folder.glob("*/*")):
                if path.name == _NEW or path.name.endswith(_END):
                    path.unlink()
                elif path.name.startswith(EVENTS):
                    _cut_events(path, step)

    def begin_end(self) -> None:
        """From now on writes into files of their own, which a run that goes on writes again."""
        self.close()
        self._suffix = _END

    def _writer(self, part: str) -> Any:
        if not self._is_written:
            return tf.summary.create_noop_writer()
        if part not in self._writers:
            self._writers[part] = tf.summary.create_file_writer(
                str(self._folder / part), filename_suffix=self._suffix
            )
        return self._writers[part]

    @contextmanager
    def _writing(self, part: str, step: int) -> Iterator[None]:
        """What is written inside goes to a part's file, at a step."""
        with self._on_disk(), self._writer(part).as_default(step=step):
            yield

    @contextmanager
    def _on_disk(self) -> Iterator[None]:
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            raise not_written(self._folder, error) from error

    def scalars(self, part: str, values: dict[str, float], *, step: int) -> None:
        """Writes scalars `group/name` of a part at a step; what is not finite is left out."""
        with self._writing(part, step):
            for name, value in values.items():
                if math.isfinite(value):
                    tf.summary.scalar(name, value)

    def count_histogram(self, name: str, counts: list[int], *, step: int) -> None:
        """Writes a histogram of whole numbers, given how often each of 0, 1, ... occurs."""
        last = max((value for value, count in enumerate(counts) if count), default=0)
        buckets = [[value - 0.5, value + 0.5, float(counts[value])] for value in range(last + 1)]
        with self._writing("train", step):
            tf.summary.write(
                name,
                tf.constant(buckets, tf.float64),
                metadata=histogram_metadata.create_summary_metadata(name, name),
            )

    def text(self, name: str, markdown: str) -> None:
        """Writes a text card."""
        with self._writing("train", 0):
            tf.summary.text(name, markdown)

    def hparams(self, settings: dict[str, Any], metrics: dict[str, float], *, step: int) -> None:
        """Writes the run's settings and its best validation metrics, once, at the end."""
        plain = {
            key: value if isinstance(value, bool | int | float | str) else str(value)
            for key, value in settings.items()
        }
        with self._writing("validation", step):
            hparams_api.hparams(plain)
            for name, value in metrics.items():
                tf.summary.scalar(name, value)

    def flush(self) -> None:
        """Puts what was written on the disk."""
        with self._on_disk():
            for writer in self._writers.values():
                writer.flush()

    def close(self) -> None:
        """Closes the files."""
        with self._on_disk():
            for writer in self._writers.values():
                writer.close()
        self._writers = {}


def _cut_events(path: Path, step: int) -> None:
    """Leaves in an event file what is whole and not after `step`."""
    data = path.read_bytes()
    kept = [
        data[record.begin : record.end]
        for record in whole_records(data)
        if tf.compat.v1.Event.FromString(record.event).step <= step
    ]
    if sum(map(len, kept)) == len(data):
        return
    new = path.with_name(_NEW)
    new.write_bytes(b"".join(kept))
    os.replace(new, path)
