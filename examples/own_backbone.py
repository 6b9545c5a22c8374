"""A network of one's own under UFNRec: dilated causal convolutions, wrapped into the contract.

    python -m examples.own_backbone

Trains it for a few steps on the planted data by the library's own step. The command line takes the
same class:

    python main.py --config.data.name=planted \
        --config.backbone.name=examples/own_backbone.py:DilatedConvolutions
"""

import keras
import tensorflow as tf

from ufnrec_tf.backbones.base import Backbone
from ufnrec_tf.common.tensors import PAD
from ufnrec_tf.config import load_config
from ufnrec_tf.data.splits import leave_one_out
from ufnrec_tf.reading.sources import load
from ufnrec_tf.training.build import build, prepare_tensorflow


class DilatedConvolutions(Backbone):
    """Any stack of Keras layers that maps [B, L, D] to [B, L, D], here causal convolutions.

    Args:
        num_items: Number of items.
        width: D, the embedding size.
        max_length: L, window length in items.
        num_blocks: Convolutions; the dilation doubles with each.
        dropout: Rate in [0, 1).
    """

    is_causal = True

    def __init__(
        self, *, num_items: int, width: int, max_length: int, num_blocks: int, dropout: float
    ) -> None:
        # Every argument goes here too: copies are made from them, the teacher for one.
        super().__init__(
            num_items=num_items,
            width=width,
            max_length=max_length,
            num_blocks=num_blocks,
            dropout=dropout,
        )
        self.item_table = self.add_weight(
            shape=(num_items + 1, width),
            initializer=keras.initializers.RandomNormal(stddev=0.05),
            name="item_table",
        )
        layers = []
        for block in range(num_blocks):
            layers += [
                keras.layers.Conv1D(
                    width, 3, dilation_rate=2**block, padding="causal", activation="relu"
                ),
                keras.layers.Dropout(dropout),
            ]
        self.network = keras.Sequential([*layers, keras.layers.Dense(width)])
        self.build_now()

    def call(self, histories: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns float32 [B, L, D] for int32 [B, L] histories, left-padded with 0."""
        is_item = tf.cast(histories != PAD, tf.float32)[:, :, None]
        hidden = self.embed(histories) * is_item
        return hidden + self.network(hidden, training=training)


def train(num_steps: int, *overrides: tuple[str, str]) -> list[float]:
    """Returns the losses of a few steps on the planted data.

    Args:
        num_steps: Number of steps.
        *overrides: Pairs of a key and its value, such as ("training.batch_size", "64").
    """
    name = f"{__file__}:{DilatedConvolutions.__name__}"
    config = load_config(
        "", [("data.name", "planted"), ("gate.kind", "never"), ("backbone.name", name), *overrides]
    )
    strategy = prepare_tensorflow(config, seed=0)
    split = leave_one_out(load(config, "").interactions)
    experiment = build(config, split, 0, strategy=strategy)
    losses: list[float] = []
    keep = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: losses.append(float(logs["loss"]))
    )
    experiment.model.fit(
        experiment.dataset(0), steps_per_epoch=num_steps, shuffle=False, verbose=0, callbacks=[keep]
    )
    return losses


if __name__ == "__main__":
    losses = train(40)
    print(f"loss of the first step {losses[0]:.4f}, of the last {losses[-1]:.4f}")
