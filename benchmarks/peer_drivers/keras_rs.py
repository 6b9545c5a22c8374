"""keras-rs's SASRec example (github keras-team/keras-rs), examples/sas_rec.py, for exactly N steps.

It is one script with its constants inside and MovieLens-1M as its data. It runs as it is, on
TensorFlow; from outside are set
 - its download: `keras.utils.get_file` gives our log, written as its ratings.dat and movies.dat.
   The script itself holds back the last event of a sequence, so the test event is not given;
 - its constants MAX_CONTEXT_LENGTH, DROPOUT, BATCH_SIZE, NUM_LAYERS, NUM_HEADS and HIDDEN_DIM,
   once they are defined (it downloads right after);
 - the size of its item table, a NumPy integer, which Keras 3.15 refuses: the layer gets an int;
 - its one `fit`: the same data set, repeated, N steps, no validation; the script ends after it.
Its step is compiled as Keras decides. One negative a position, drawn once for all epochs; it
reads the oldest events of a long history. Needs keras-hub, whose layers it uses.
"""

import os
import runpy
import sys
from pathlib import Path
from typing import Any

from benchmarks.peer_drivers.common import (
    SHAPES,
    Arguments,
    Journal,
    UserError,
    import_root,
    read_sequences,
    run_driver,
)

FOLDER = Path("ml-1m_extracted/ml-1m")
# The script drops ratings below 2.
RATING = 5


class Trained(Exception):
    """Raised once the script's `fit` is done: only prediction would follow."""


def train(arguments: Arguments, journal: Journal) -> None:
    """Trains `num_steps` steps."""
    script = import_root(arguments.path, "examples/sas_rec.py") / "examples/sas_rec.py"
    os.environ["KERAS_BACKEND"] = "tensorflow"
    try:
        import keras
        import keras_hub
    except ImportError as error:
        raise UserError(f"{sys.executable} lacks a package: {error}.") from error
    shortened = (items[:-1] for items in read_sequences(arguments.data))
    sequences = [items for items in shortened if items]
    _write_movielens(sequences)
    model: Any = keras.Model
    fit, table = model.fit, keras_hub.layers.ReversibleEmbedding

    def fit_steps(self: Any, *, x: Any, **_: Any) -> None:
        _fit(self, fit, x=x, num_users=len(sequences), num_steps=arguments.num_steps, to=journal)
        raise Trained

    def item_table(*, input_dim: Any, **options: Any) -> Any:
        return table(input_dim=int(input_dim), **options)

    keras.utils.get_file, model.fit = _get_file, fit_steps
    keras_hub.layers.ReversibleEmbedding = item_table
    try:
        runpy.run_path(str(script), run_name="__main__")
    except Trained:
        return
    raise UserError(f"{script} never called `fit`: another version than this driver knows.")


def _get_file(**_: Any) -> str:
    """Stands for the script's download: returns where our log is, and sets its constants."""
    # The caller is the script, past its constants and before their use.
    sys._getframe(1).f_globals.update(
        MAX_CONTEXT_LENGTH=SHAPES.max_length,
        DROPOUT=SHAPES.dropout,
        BATCH_SIZE=SHAPES.batch_size,
        NUM_LAYERS=SHAPES.num_blocks,
        NUM_HEADS=SHAPES.num_heads,
        HIDDEN_DIM=SHAPES.width,
    )
    return str(Path.cwd() / "ml-1m.zip")


def _fit(model: Any, fit: Any, *, x: Any, num_users: int, num_steps: int, to: Journal) -> None:
    """Fits for `num_steps` steps of the script's data and notes them."""
    import keras

    sums = [0.0]

    class Steps(keras.callbacks.Callback):
        """Notes each step; Keras shows the mean loss since the start, by users a batch."""

        def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
            total = float((logs or {})["loss"]) * (batch + 1)
            # The data set is not shuffled: the last batch of each pass is the short one.
            first = batch % -(-num_users // SHAPES.batch_size) * SHAPES.batch_size
            to.step(total - sums[0], num_users=min(SHAPES.batch_size, num_users - first))
            sums[0] = total

    fit(model, x=x.repeat(), steps_per_epoch=num_steps, epochs=1, callbacks=[Steps()], verbose=0)


def _write_movielens(sequences: list[list[int]]) -> None:
    """Writes the log as MovieLens-1M's files, an event's place in its sequence as its time."""
    FOLDER.mkdir(parents=True)
    with (FOLDER / "ratings.dat").open("w", encoding="utf-8") as lines:
        for user, items in enumerate(sequences, start=1):
            lines.writelines(
                f"{user}::{item}::{RATING}::{time}\n" for time, item in enumerate(items)
            )
    num_items = max(max(items, default=0) for items in sequences)
    with (FOLDER / "movies.dat").open("w", encoding="utf-8") as lines:
        lines.writelines(f"{item}::item {item}::none\n" for item in range(1, num_items + 1))


if __name__ == "__main__":
    run_driver(train)
