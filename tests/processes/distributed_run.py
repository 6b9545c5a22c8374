"""Trains the same runs on devices or workers of a process of its own; keeps what came out.

python -m tests.processes.distributed_run OUTPUT.npz devices|workers

`devices` is one process with four virtual devices, of which a run takes one, two or all; for
`workers` TF_CONFIG says which worker this is.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

from tests.helpers.tiny import random_labels, write_labels
from ufnrec_tf.common.distribution import Workers, make_strategy
from ufnrec_tf.config import load_config
from ufnrec_tf.data.windows import RowOwners, make_samples
from ufnrec_tf.method.policies import POLICIES
from ufnrec_tf.method.soft_labels import worker_folder
from ufnrec_tf.reading.sources import load, make_split
from ufnrec_tf.training.build import Experiment, build, make_evaluator, prepare_tensorflow
from ufnrec_tf.training.checks import check_names

ROOT = Path(__file__).resolve().parents[2]
NUM_STEPS = 60
STEPS_PER_EPOCH = 5
"""37 users by 8, so that the last batch of an epoch holds five."""

COMMON = {
    "data.name": "planted",
    "data.planted_users": "37",
    "data.planted_items": "40",
    "backbone.precision": "float64",
    "backbone.width": "8",
    "backbone.num_blocks": "1",
    "backbone.max_length": "10",
    "backbone.dropout": "0",
    "negatives.count": "8",
    "memory.patience": "1",
    "optimizer.learning_rate": "0.01",
    # Far above the paper's: a gradient that is zero but for rounding must not move a weight.
    "optimizer.epsilon": "0.001",
    "optimizer.l2": "0.01",
    "training.batch_size": "8",
    "training.jit_compile": "false",
    "evaluation.sampled_negatives": "5",
}
# Tracing is slow: a block in one case.
CASES: dict[str, dict[str, str]] = {
    "ufnrec": {"optimizer.l2": "0", "optimizer.lazy_rows": "true"},
    "faithful": {
        "backbone.num_blocks": "0",
        "memory.duplicates": "true",
        "memory.max_flips": "0",
        "memory.slots": "64",
        "teacher.agreement": "none",
        "teacher.consistency_mean": "flipped",
    },
    "safe": {
        "backbone.num_blocks": "0",
        "memory.policy": "ufnrec_safe",
        "memory.safe_period": "2",
        "memory.safe_patience": "0",
        "memory.safe_budget": "0.5",
        "loss.name": "cross_entropy",
        "optimizer.l2": "0",
    },
    "soft": {
        "backbone.num_blocks": "0",
        "memory.policy": "ufnrec_soft",
        "loss.name": "sampled_softmax_logq",
        "optimizer.l2": "0",
        "optimizer.lazy_rows": "true",
    },
}

CASES_OF = {
    "one": list(CASES),
    # Tracing is slow: not all of all, and on four replicas, some of them without a user, no block.
    "2 replicas": ["ufnrec", "safe", "soft"],
    "4 replicas": ["faithful"],
    "2 workers": ["ufnrec", "safe"],
}


def make_config(case: str, strategy_name: str, num_virtual_devices: int = 0) -> Any:
    """The settings of a case."""
    overrides = {
        **COMMON,
        **CASES[case],
        "distribution.strategy": strategy_name,
        "distribution.num_virtual_devices": str(num_virtual_devices),
    }
    config = load_config("", list(overrides.items()))
    check_names(config)
    return config


def strategies(where: str) -> dict[str, tf.distribute.Strategy]:
    """The strategies to run under, by their keys in `CASES_OF`."""
    if where == "workers":
        return {"2 workers": prepare_tensorflow(make_config("ufnrec", "multi_worker"), 0)}
    all_four = prepare_tensorflow(make_config("ufnrec", "mirrored", 4), 0)
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    # Two strategies of a process would take the same keys for their sums, and wait for ever.
    with mock.patch.object(tf.distribute.MirroredStrategy, "_collective_key_base", 1000):
        pair = tf.distribute.MirroredStrategy(devices[:2])
    return {"one": make_strategy("one"), "2 replicas": pair, "4 replicas": all_four}


def main(output: str, where: str) -> None:
    found: dict[str, Any] = {}
    for kind, strategy in strategies(where).items():
        for case in CASES_OF[kind]:
            config = make_config(case, "multi_worker" if where == "workers" else "one")
            split = make_split(config, load(config, "").interactions)
            keras.utils.set_random_seed(0)
            labels = stored_labels(config, split, Path(output), Workers(strategy))
            experiment = build(config, split, 0, strategy=strategy, labels=labels)
            kept = run(config, split, experiment, is_watched=kind == "one")
            found |= {f"{kind}/{case}/{name}": value for name, value in kept.items()}
    np.savez(output, **found)


def stored_labels(config: Any, split: Any, output: Path, workers: Workers) -> Path | None:
    """Writes this worker's rows of random soft labels, if the policy has any."""
    if not POLICIES[config.memory.policy].has_soft_labels:
        return None
    length = config.backbone.max_length
    samples = make_samples(split, max_length=length, windows=config.training.windows)
    owners = RowOwners(split.interactions.user_ids, samples.users_of_rows())
    rows = owners.rows_of(workers.index, workers.count)
    folder = output.with_name(f"{output.stem}_labels_{workers.count}")
    own = worker_folder(folder, workers.index, workers.count)
    if not own.exists():
        parts = random_labels(samples.num_rows, split.interactions.num_items)
        write_labels(own, *(part[rows] for part in parts))
    return own


def run(config: Any, split: Any, experiment: Experiment, is_watched: bool) -> dict[str, Any]:
    """Trains, evaluates, and returns what is compared."""
    model, workers = experiment.model, experiment.workers
    assert model.teacher is not None
    gap = tf.Variable(np.inf, dtype=tf.float64, trainable=False)
    if is_watched:
        watch(model.backbone, gap)
        watch(model.teacher.backbone, gap)
    experiment.host.open_gate(0)
    assert experiment.steps_per_epoch == STEPS_PER_EPOCH
    model.fit(
        experiment.dataset(0),
        epochs=NUM_STEPS // STEPS_PER_EPOCH,
        steps_per_epoch=STEPS_PER_EPOCH,
        shuffle=False,
        verbose=0,
    )
    evaluator = make_evaluator(config, split, "test", 0, workers)
    ranks, sampled = evaluator.ranks_and_sampled(model.backbone)
    tables = experiment.worker_state().tables
    return {
        "gap": gap.numpy(),
        "sums": np.array(list(experiment.host.read_all_sums().values())),
        "weights": flat(model.backbone.trainable_variables),
        "teacher": flat(floats(model.teacher.settle().variables)),
        "optimizer": flat(floats(model.optimizer.variables)),
        "counters": workers.sum(model.memory.counters.numpy()) if model.memory else np.zeros(1),
        "rows": experiment.row_owners.rows_of(workers.index, workers.count),
        **{f"table_{name}": table.numpy() for name, table in tables.items()},
        "ranks": ranks,
        "sampled": sampled,
        "top": evaluator.top_k(model.backbone, 5)[0],
        "num_own": np.array(len(evaluator._own)),
        "num_replicas": np.array(experiment.num_replicas),
        "num_messages": np.array(num_messages(model) if workers.count > 1 else 0),
    }


def num_messages(model: Any) -> int:
    """How often a step of `fit` sums over workers."""
    (step,) = model.train_function._list_all_concrete_functions()
    graph = step.graph.as_graph_def()
    nodes = [*graph.node, *(node for part in graph.library.function for node in part.node_def)]
    return sum(node.op.startswith("Collective") and "Reduce" in node.op for node in nodes)


def flat(variables: Any) -> np.ndarray:
    return np.concatenate([np.ravel(variable.numpy()) for variable in variables])


def floats(variables: Any) -> list[Any]:
    return [variable for variable in variables if "float" in str(variable.dtype)]


def watch(backbone: Any, gap: tf.Variable) -> None:
    """Keeps how close any candidate's score has come to its positive's."""
    score = backbone.score

    def watched(vectors: tf.Tensor, candidates: tf.Tensor) -> tf.Tensor:
        logits = score(vectors, candidates)
        others, own = candidates[:, 1:], candidates[:, :1]
        is_compared = (others != 0) & (own != 0) & (others != own)
        distance = tf.where(is_compared, tf.abs(logits[:, 1:] - logits[:, :1]), np.inf)
        gap.assign(tf.minimum(gap, tf.reduce_min(distance)))
        return logits

    object.__setattr__(backbone, "score", watched)


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens at now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def worker_environments(count: int) -> list[dict[str, str]]:
    """What each of `count` workers on this machine finds in its environment."""
    workers = [f"127.0.0.1:{port}" for port in free_ports(count)]
    return [
        {
            **os.environ,
            "CUDA_VISIBLE_DEVICES": "-1",
            "TF_CONFIG": json.dumps(
                {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
            ),
        }
        for index in range(count)
    ]


@contextmanager
def processes(
    commands: list[list[str]], environments: list[dict[str, str]], **options: Any
) -> Iterator[list[subprocess.Popen]]:
    """Starts processes, and ends all of them whatever happens."""
    started: list[subprocess.Popen] = []
    try:
        for command, environment in zip(commands, environments, strict=True):
            started.append(
                subprocess.Popen(
                    command,
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    **options,
                )
            )
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


if __name__ == "__main__":
    main(*sys.argv[1:])
