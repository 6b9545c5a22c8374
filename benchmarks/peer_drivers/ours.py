"""Our own side for peers.py: `ufnrec_tf.train` for exactly N steps, then lists of ten.

It runs under our interpreter, with the clock of the other drivers. The run is broken off after its
last step; the lists are those of the evaluator on a SASRec of fresh weights, which cost the same.
"""

import contextlib
from typing import Any

from benchmarks.peer_drivers.common import SHAPES, Arguments, Journal, read_sequences, run_driver

LOSSES: dict[str, dict[str, object]] = {
    "bce": {"memory.policy": "plain"},
    "cross_entropy": {"memory.policy": "plain", "loss.name": "cross_entropy"},
}
SETTINGS: dict[str, object] = {
    "data.format": "sequences",
    "training.recipe": "base",
    "training.batch_size": SHAPES.batch_size,
    "training.num_epochs": 1000,
    "training.monitor": "",
    "evaluation.every": 100_000,
    "gate.popularity_lift": 0,
    "comparison.baselines": (),
    "comparison.sample_users": 0,
    "backbone.max_length": SHAPES.max_length,
    "backbone.width": SHAPES.width,
    "backbone.num_blocks": SHAPES.num_blocks,
    "backbone.num_heads": SHAPES.num_heads,
    "backbone.dropout": SHAPES.dropout,
}


class Trained(BaseException):
    """Raised after the last step; no `except Exception` on the way takes it for a failure."""


def train(arguments: Arguments, journal: Journal) -> None:
    """Trains `num_steps` steps."""
    from ufnrec_tf.common.tensorflow_setup import import_tensorflow

    import_tensorflow()
    import keras

    import ufnrec_tf

    num_users = len(read_sequences(arguments.data))

    class Steps(keras.callbacks.Callback):
        """Notes each step; the last batch of an epoch is the short one."""

        def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
            first = batch * SHAPES.batch_size
            journal.step(
                float((logs or {})["loss"]), num_users=min(SHAPES.batch_size, num_users - first)
            )
            if len(journal.losses) == arguments.num_steps:
                raise Trained

    settings = {**SETTINGS, **LOSSES[arguments.loss]}
    if arguments.loss == "bce":
        settings["negatives.count"] = arguments.num_negatives
    with contextlib.suppress(Trained):
        ufnrec_tf.train(
            arguments.data, workdir="run", settings=settings, shows=False, callbacks=[Steps()]
        )
    if arguments.num_rankings:
        _rank(arguments, journal)


def _rank(arguments: Arguments, journal: Journal) -> None:
    """Makes the list of every user, as the test does, `num_rankings` times."""
    from ufnrec_tf import backbones
    from ufnrec_tf.config import load_config
    from ufnrec_tf.data.splits import leave_one_out
    from ufnrec_tf.evaluation.evaluator import RankingEvaluator
    from ufnrec_tf.reading import sources

    config = load_config("", [("data.format", "sequences")])
    split = leave_one_out(sources.load(config, str(arguments.data)).interactions)
    backbone = backbones.create(
        "sasrec",
        num_items=split.interactions.num_items,
        max_length=SHAPES.max_length,
        width=SHAPES.width,
        num_blocks=SHAPES.num_blocks,
        num_heads=SHAPES.num_heads,
    )
    evaluator = RankingEvaluator(
        split, "test", max_length=SHAPES.max_length, batch_size=config.evaluation.batch_size
    )
    for _ in range(arguments.num_rankings):
        items, _ = evaluator.top_k(backbone, 10)
        journal.ranking(len(items))


if __name__ == "__main__":
    run_driver(train)
