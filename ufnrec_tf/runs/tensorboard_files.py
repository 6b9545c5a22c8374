"""TensorBoard's files of a run: scalars, a histogram of counts, text, HParams, projector."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorboard.plugins.histogram import metadata as histogram_metadata
from tensorboard.plugins.hparams import api as hparams_api
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams import summary as hparams_summary
from tensorboard.plugins.projector.metadata import PROJECTOR_FILENAME
from tensorboard.plugins.projector.projector_config_pb2 import EmbeddingInfo, ProjectorConfig

from ufnrec_tf.common.files import write_error, write_text, written_whole
from ufnrec_tf.common.text import one_line
from ufnrec_tf.runs.event_files import EVENTS, whole_records

_END = ".end.v2"
"""The ending of the event files that a run writes at its end."""
_NEW = ".cut.new"
CURVES = "curves"
"""The folder of what is written during training: losses, validation, the memory."""
END_PART = "test"
"""The folder of test metrics and of what is written once, at the end."""
_VECTORS, _METADATA = "item_vectors.tsv", "items.tsv"
_PROJECTOR = (_VECTORS, _METADATA, PROJECTOR_FILENAME)


class Board:
    """The event files of a run, in the folders curves and test.

    Each folder is what TensorBoard calls a run, and it shows at most 40 of those at first. What is
    written once, at the end, lies in `test`: beside the test metrics, which HParams so shows as the
    results of the settings.

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
        """Removes events after `step`, which a resumed run writes again, and half-written ones."""
        if not self._is_written:
            return
        with self._on_disk():
            for path in sorted(self._folder.glob("*/*")):
                is_half = path.name == _NEW or path.name.startswith(".")
                if is_half or path.name.endswith(_END) or path.name in _PROJECTOR:
                    path.unlink()
                elif path.name.startswith(EVENTS):
                    _cut_events(path, step)

    def begin_end(self) -> None:
        """Writes from now on into separate files, which a resumed run replaces."""
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
        """Directs writes inside the block to a folder's file, at a step."""
        with self._on_disk(), self._writer(part).as_default(step=step):
            yield

    @contextmanager
    def _on_disk(self) -> Iterator[None]:
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            raise write_error(self._folder, error) from error

    def scalars(self, part: str, values: dict[str, float], *, step: int) -> None:
        """Writes the finite scalars `group/name` of a folder at a step."""
        with self._writing(part, step):
            for name, value in values.items():
                if math.isfinite(value):
                    tf.summary.scalar(name, value)

    def count_histogram(self, name: str, counts: list[int], *, step: int) -> None:
        """Writes a histogram of whole numbers, given how often 0, 1, ... occur."""
        last = max((value for value, count in enumerate(counts) if count), default=0)
        buckets = [[value - 0.5, value + 0.5, float(counts[value])] for value in range(last + 1)]
        with self._writing(CURVES, step):
            tf.summary.write(
                name,
                tf.constant(buckets, tf.float64),
                metadata=histogram_metadata.create_summary_metadata(name, name),
            )

    def text(self, name: str, markdown: str) -> None:
        """Writes a text card."""
        with self._writing(END_PART, 0):
            tf.summary.text(name, markdown)

    def session(self, settings: Mapping[str, Any], *, step: int) -> None:
        """Writes the run's settings for the HParams tab, once, at the end of the run.

        The run is called by its work directory there, and the scalars of the same folder are its
        results. Neither settings nor results are declared beforehand: TensorBoard takes one run's
        declaration for all runs, and then neither puts the settings that differ first nor offers
        the values that occur.

        Args:
            settings: Name to what the run was set to, or to a result that is no scalar.
            step: The run's last step.
        """
        plain = {
            key: value if isinstance(value, bool | int | float | str) else str(value)
            for key, value in settings.items()
        }
        done = hparams_summary.session_end_pb(api_pb2.STATUS_SUCCESS)
        with self._writing(END_PART, step):
            hparams_api.hparams(plain, trial_id=str(self._folder.parent))
            tf.summary.experimental.write_raw_pb(done.SerializeToString())

    def projector(self, vectors: np.ndarray, columns: Mapping[str, Sequence[str]]) -> None:
        """Writes vectors and their labels as the files that the projector reads.

        Args:
            vectors: float32 [N, D].
            columns: Name to N texts, one for each vector; the first column is the label.
        """
        if not self._is_written:
            return
        folder = self._folder / END_PART
        with self._on_disk():
            folder.mkdir(parents=True, exist_ok=True)
        lines = ["\t".join(columns)]
        lines += ["\t".join(map(one_line, row)) for row in zip(*columns.values(), strict=True)]
        config = ProjectorConfig(
            embeddings=[
                EmbeddingInfo(
                    tensor_name="item vectors",
                    tensor_path=_VECTORS,
                    metadata_path=_METADATA,
                    tensor_shape=vectors.shape,
                )
            ]
        )
        with written_whole(folder / _VECTORS) as new:
            np.savetxt(new, vectors, fmt="%.6g", delimiter="\t")
        write_text(folder / _METADATA, "".join(f"{line}\n" for line in lines))
        # Last, since it is what the projector looks for.
        write_text(folder / PROJECTOR_FILENAME, text_format.MessageToString(config))

    def flush(self) -> None:
        """Flushes the files to the disk."""
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
    """Cuts an event file to the whole records up to `step`."""
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
