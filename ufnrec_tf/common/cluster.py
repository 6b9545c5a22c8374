"""The worker processes of a run, found in TF_CONFIG or in Slurm's environment."""

import json
import os
from typing import Any

import tensorflow as tf

from ufnrec_tf.common.errors import UserError

_EXAMPLE = (
    '{"cluster": {"worker": ["host-a:2222", "host-b:2222"]}, '
    '"task": {"type": "worker", "index": 0}}'
)
_JOBS = ("chief", "worker")
_FIRST_PORT, _PORT_STRIDE, _NUM_STRIDES = 12_000, 64, 600


def find_cluster() -> tf.distribute.cluster_resolver.ClusterResolver:
    """Returns the cluster that TF_CONFIG or, without it, Slurm describes.

    Raises:
        UserError: If neither does, or TF_CONFIG is at fault.
    """
    if os.environ.get("TF_CONFIG"):
        _check_tf_config(os.environ["TF_CONFIG"])
        return tf.distribute.cluster_resolver.TFConfigClusterResolver()
    if "SLURM_PROCID" in os.environ:
        return _slurm()
    raise UserError(
        "`distribution.strategy` multi_worker needs a cluster: set TF_CONFIG in each process, "
        f"such as TF_CONFIG='{_EXAMPLE}', or start it with Slurm's srun. On one machine take "
        "mirrored."
    )


def _check_tf_config(text: str) -> None:
    """Raises UserError if TF_CONFIG does not list the workers and this process's place."""

    def refuse(what: str) -> UserError:
        return UserError(f"TF_CONFIG: {what}. Expected something like {_EXAMPLE}.")

    try:
        settings: Any = json.loads(text)
        cluster, task = settings["cluster"], settings["task"]
        kind, index = task["type"], task["index"]
        sizes = {job: len(addresses) for job, addresses in cluster.items()}
    except ValueError as error:
        raise refuse(f"is no JSON ({error})") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise refuse("needs a cluster and a task with type and index") from error
    unknown = sorted(set(sizes) - set(_JOBS))
    if unknown:
        raise refuse(f"job {unknown[0]!r} has no part in training, chief and worker have")
    if sizes.get("chief", 0) > 1:
        raise refuse("there can be one chief only")
    if kind not in sizes or not isinstance(index, int) or not 0 <= index < sizes[kind]:
        raise refuse(f"task {kind!r} {index!r} is none of its cluster")
    addresses = [address for job in cluster.values() for address in job]
    if len(set(addresses)) < len(addresses):
        raise refuse("two tasks have the same address")


def _slurm() -> tf.distribute.cluster_resolver.ClusterResolver:
    """Returns TensorFlow's resolver for a Slurm step. Slurm decides which GPUs a task sees."""
    job, step = (int(os.environ.get(f"SLURM_{name}_ID", 0)) for name in ("JOB", "STEP"))
    place = (job * 7 + step) % _NUM_STRIDES  # so that jobs on one node keep apart
    try:
        return tf.distribute.cluster_resolver.SlurmClusterResolver(
            port_base=_FIRST_PORT + place * _PORT_STRIDE,
            # It counts GPUs by a program that nodes without any do not have. One a task, of as
            # many as there are tasks, says nothing but how many tasks there are.
            gpus_per_node=int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)),
            gpus_per_task=1,
            auto_set_gpu=False,
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"Slurm's environment does not describe a cluster ({error}). Start with srun, or set "
            "TF_CONFIG."
        ) from error
