"""Trains on two virtual devices and prints what happened as JSON; a process of its own.

python -m tests.processes.mirrored_run
"""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from tests.helpers.tiny import (
    NUM_ITEMS,
    Run,
    RunSettings,
    make_run,
    split_of,
    tiny_histories,
    train,
)
from ufnrec_tf.backbones.dropout import Dropout
from ufnrec_tf.common.distribution import make_strategy
from ufnrec_tf.method.optimizer import make_optimizer

# Nine windows in batches of four: in the last batch of an epoch the second replica has no row.
SETTINGS = RunSettings(
    num_steps=24, consistency_mean="flipped", max_flips=0, agreement="none", l2=0.01
)
NUM_USERS = 11
# Another backbone, on prefixes: four windows a step, the newest position of each.
PREFIXES = RunSettings(
    backbone="bsarec",
    options={"filter": "circular", "low_frequencies": 3},
    windows="prefixes",
    max_flips=0,
    agreement="none",
    num_steps=12,
)


def split() -> Any:
    return split_of(tiny_histories(num_users=NUM_USERS), NUM_ITEMS)


def report(run: Run) -> dict[str, Any]:
    """What of a run is compared."""
    tables = run.steps[-1].tables
    return {
        "losses": run.losses,
        "sums": [step.sums for step in run.steps],
        "weights": [weight.tolist() for weight in run.steps[-1].weights_after],
        "teacher": [weight.tolist() for weight in run.steps[-1].teacher_after],
        "tables": {name: table.tolist() for name, table in tables.items()},
        "iterations": int(run.model.optimizer.iterations.numpy()),
    }


def largest_difference(strategy: tf.distribute.Strategy, variables: list[Any]) -> float:
    """Largest difference between the replicas' copies of any variable."""
    largest = 0.0
    for variable in variables:
        copies = strategy.experimental_local_results(variable.value)
        assert len(copies) == 2
        first, second = (np.asarray(copy.numpy(), np.float64) for copy in copies)
        assert np.isfinite(first).all()
        largest = max(largest, float(np.abs(first - second).max(initial=0.0)))
    return largest


def replica_differences(strategy: tf.distribute.Strategy, run: Run) -> dict[str, float]:
    model = run.model
    assert model.teacher is not None
    groups = {
        "student": model.backbone.trainable_variables,
        "teacher": [v for v in model.teacher.backbone.variables if "float" in str(v.dtype)],
        "optimizer": [v for v in model.optimizer.variables if "float" in str(v.dtype)],
    }
    return {name: largest_difference(strategy, group) for name, group in groups.items()}


def clipped_step(strategy: tf.distribute.Strategy, shares: list[list[float]]) -> list[float]:
    """A variable after one step whose gradient is the sum of the replicas' shares."""
    with strategy.scope():
        variable = tf.Variable([0.0, 0.0])
        # So large an epsilon that the step is proportional to the gradient.
        optimizer = make_optimizer(
            learning_rate=1e3, beta_1=0.9, beta_2=0.98, epsilon=1e3, clip_norm=1.0
        )
        optimizer.build([variable])
    all_shares = tf.constant(shares)

    @tf.function
    def step() -> None:
        def one() -> None:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            own = all_shares[replica] if len(shares) > 1 else all_shares[0]
            optimizer.apply_gradients([(own, variable)])

        strategy.run(one)

    step()
    return np.asarray(variable).tolist()


def masks(strategy: tf.distribute.Strategy) -> list[list[float]]:
    """What dropout makes of ones on each replica."""
    with strategy.scope():
        layer = Dropout(0.5)

    @tf.function
    def call() -> Any:
        return strategy.run(lambda: layer(tf.ones([64]), training=True))

    return [mask.numpy().tolist() for mask in strategy.experimental_local_results(call())]


def main() -> None:
    strategy = make_strategy("mirrored", num_virtual_devices=2)
    assert strategy.num_replicas_in_sync == 2
    result: dict[str, Any] = {"replicas": {}}
    with_dropout = RunSettings(
        dropout=0.5, duplicates=True, max_flips=0, agreement="none", num_steps=12
    )
    dropped = train(make_run(with_dropout, split(), strategy))
    result["dropout"] = report(dropped)
    prefixes = train(make_run(PREFIXES, split(), strategy))
    result["prefixes"] = report(prefixes)
    result["replicas"]["prefixes"] = replica_differences(strategy, prefixes)
    # A program fewer to compile.
    settings = replace(SETTINGS, compiles=True, smaller_capacities=(8,))
    compiled = train(make_run(settings, split(), strategy))
    result["compiled"] = report(compiled)
    result["replicas"]["compiled"] = replica_differences(strategy, compiled)
    result["replicas"]["dropout"] = replica_differences(strategy, dropped)
    result["masks"] = masks(strategy)
    result["clipped"] = clipped_step(strategy, [[3.0, 0.0], [0.0, 4.0]])
    print(json.dumps(result))


if __name__ == "__main__":
    main()
