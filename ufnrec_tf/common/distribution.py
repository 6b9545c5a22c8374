"""Replicas and workers: strategies, sums over them, equal updates on all of them."""

import faulthandler
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

from ufnrec_tf.common.cluster import find_cluster
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.lookup import pick


def has_gpu() -> bool:
    """True if TensorFlow sees a GPU; it then computes there whatever no `on_host` surrounds."""
    return bool(tf.config.list_logical_devices("GPU"))


def _one_device() -> tf.distribute.Strategy:
    return tf.distribute.get_strategy()


def _mirrored() -> tf.distribute.Strategy:
    kind = "GPU" if has_gpu() else "CPU"
    devices = [device.name for device in tf.config.list_logical_devices(kind)]
    if len(devices) == 1:  # the step of one device is compiled further
        return _one_device()
    return tf.distribute.MirroredStrategy(devices)


def _auto() -> tf.distribute.Strategy:
    gpus = tf.config.list_logical_devices("GPU")
    return _mirrored() if len(gpus) > 1 else _one_device()


def _multi_worker() -> tf.distribute.Strategy:
    cluster = find_cluster()
    if sum(cluster.cluster_spec().num_tasks(job) for job in cluster.cluster_spec().jobs) == 1:
        return _auto()
    return tf.distribute.MultiWorkerMirroredStrategy(cluster)


STRATEGIES: dict[str, Callable[[], tf.distribute.Strategy]] = {
    "auto": _auto,
    "one": _one_device,
    "mirrored": _mirrored,
    "multi_worker": _multi_worker,
}


def make_strategy(
    name: str, *, num_virtual_devices: int = 0, start_minutes: float = 0.0
) -> tf.distribute.Strategy:
    """Returns the strategy called `name`.

    Args:
        name: `one`, one device; `mirrored`, all local GPUs, or all CPU devices if there is
            no GPU; `auto`, mirrored if there are several GPUs, else one; `multi_worker`, the
            GPUs, or the CPU, of every process of the cluster that the environment describes.
        num_virtual_devices: Splits the CPU into so many devices, to try replicas without GPUs;
            0 leaves it whole. Only before TensorFlow has made its devices.
        start_minutes: Where other workers are not there after so long the process ends with exit
            code 1; 0 to wait as long as TensorFlow does. Say so before.

    Raises:
        UserError: If `name` is unknown, the devices exist already, or there is no cluster.
    """
    make = pick(STRATEGIES, name, key="distribution.strategy")
    if num_virtual_devices and name == "multi_worker":
        raise UserError(
            "`distribution.num_virtual_devices` has no effect with strategy multi_worker, which "
            "takes one CPU device a worker. Start more workers, or leave it out."
        )
    if num_virtual_devices:
        cpu = tf.config.list_physical_devices("CPU")[0]
        parts = [tf.config.LogicalDeviceConfiguration()] * num_virtual_devices
        try:
            tf.config.set_logical_device_configuration(cpu, parts)
        except (RuntimeError, ValueError) as error:
            raise UserError(
                "`distribution.num_virtual_devices` must be set before TensorFlow uses its "
                f"devices, that is in a new process: {error}"
            ) from error
    with _giving_up_after(start_minutes if name == "multi_worker" else 0.0):
        return make()


@contextmanager
def _giving_up_after(minutes: float) -> Iterator[None]:
    """Ends the process with exit code 1 if the block takes longer."""
    if not minutes:
        yield
        return
    # TensorFlow holds the interpreter while it waits: no timer of Python's would run. This one is
    # a thread of its own, which can end the process and say nothing but where it stood.
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        faulthandler.dump_traceback_later(60 * minutes, exit=True, file=nowhere)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


class Workers:
    """The processes that train together, and the values they exchange between steps.

    All workers call each method that exchanges values, in the same order: each waits for all.

    Attributes:
        index: This process's number; 0 is the chief, the only one to write the shared files.
        count: The number of workers.

    Args:
        strategy: The strategy, once it has been made; None for one process.
    """

    def __init__(self, strategy: tf.distribute.Strategy | None = None) -> None:
        self.index, self.count = 0, 1
        resolver = None if strategy is None else strategy.cluster_resolver
        if strategy is None or resolver is None or not resolver.cluster_spec().jobs:
            return
        extended = strategy.extended
        self.index, self.count = extended._id_in_cluster, extended._num_workers
        self._strategy = strategy
        self._sum = tf.function(lambda values: strategy.run(_share_of_worker, args=(values,)))

    @property
    def is_chief(self) -> bool:
        """True if this process writes the files that all workers share."""
        return self.index == 0

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Returns the sum of a numeric array over workers, the same bits on all of them.

        Args:
            values: bool, int or float [...], of one shape on all workers.
        """
        if self.count == 1:
            return values
        wide = np.float64 if values.dtype.kind == "f" else np.int64
        total = self._sum(tf.constant(values.astype(wide)))
        return self._strategy.experimental_local_results(total)[0].numpy()

    def gather(self, value: float) -> np.ndarray:
        """Returns the numbers of all workers, float64 [count], by index."""
        values = np.zeros(self.count)
        values[self.index] = value
        return self.sum(values)

    def any(self, is_so: bool) -> bool:
        """Returns True if the value is true on any worker. It waits for all of them."""
        return bool(self.gather(float(is_so)).any())


ALONE = Workers()
"""A process by itself."""


_LOST = (
    tf.errors.UnavailableError,
    tf.errors.DeadlineExceededError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
)
_LOST_WORDS = ("Collective ops is aborted", "heartbeat", "Connection reset", "Socket closed")


@contextmanager
def report_lost_workers(workers: Workers) -> Iterator[None]:
    """Turns TensorFlow's errors about a lost worker into a UserError of one line.

    TensorFlow's coordination service notices within about ten seconds, and ends all waiting.
    """
    try:
        yield
    except tf.errors.OpError as error:
        is_lost = isinstance(error, _LOST) or any(word in str(error) for word in _LOST_WORDS)
        if workers.count == 1 or not is_lost:
            raise
        raise UserError(
            f"worker {workers.index} of {workers.count} stopped: another worker of this run was "
            "lost, or stopped by itself (its own output says why). Run the same command again on "
            "all of them: it resumes from the newest checkpoint."
        ) from error


def _share_of_worker(values: tf.Tensor) -> tf.Tensor:
    """Returns the sum over workers of the value that each of them gives to its replicas."""
    context = tf.distribute.get_replica_context()
    is_first = local_replica() == 0
    own = tf.where(is_first, values, tf.zeros_like(values))
    return context.all_reduce(tf.distribute.ReduceOp.SUM, own)


def num_replicas() -> int:
    """Returns the number of replicas, inside or outside of a replica's code."""
    context = tf.distribute.get_replica_context()
    if context is not None:
        return context.num_replicas_in_sync
    return tf.distribute.get_strategy().num_replicas_in_sync


def distribute(strategy: tf.distribute.Strategy, make: Callable[[], tf.data.Dataset]) -> Any:
    """Returns a dataset for `keras.Model.fit`.

    Args:
        strategy: Whose replicas read it.
        make: Makes the dataset of this worker: if there are several replicas, an element for
            each local one, in turns.
    """
    if strategy.num_replicas_in_sync == 1:
        return make()
    return strategy.distribute_datasets_from_function(lambda context: make())


def on_host() -> Any:
    """Returns a context in which variables and operations are placed on the worker's CPU."""
    return tf.device("/device:CPU:0")


def replica_number() -> tf.Tensor:
    """Returns the number of the replica that runs this code, int32 [], or 0 outside of one."""
    context = tf.distribute.get_replica_context()
    if context is None or num_replicas() == 1:
        return tf.constant(0)
    return tf.convert_to_tensor(context.replica_id_in_sync_group)


def num_local_replicas(strategy: tf.distribute.Strategy | None = None) -> int:
    """Returns the number of replicas on this worker, for the given or the current strategy."""
    strategy = strategy or tf.distribute.get_strategy()
    # TensorFlow's default strategy has no such list.
    return 1 if strategy.num_replicas_in_sync == 1 else len(strategy.extended.worker_devices)


def local_replica() -> tf.Tensor:
    """Returns the number of the running replica among those of its worker, int32 []."""
    return replica_number() % num_local_replicas()


def sum_over_replicas(value: tf.Tensor) -> tf.Tensor:
    """Returns the sum of a tensor over all replicas, the same on each."""
    if num_replicas() == 1:
        return value
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)


def concat_over_replicas(value: tf.Tensor) -> tf.Tensor:
    """Returns the tensors [M, ...] of all replicas one after the other; the M may differ."""
    if num_replicas() == 1:
        return value
    return tf.distribute.get_replica_context().all_gather(value, axis=0)


def copy_on(variable: Any, replica: int) -> tf.Variable:
    """Returns a local replica's copy of a Keras or TensorFlow variable."""
    raw = variable.value if hasattr(variable, "path") else variable
    return tf.distribute.get_strategy().experimental_local_results(raw)[replica]


def on_each_replica(act: Callable[..., None], *arguments: Any) -> None:
    """Calls `act(replica, *arguments)` for every local replica on its device, inside a replica.

    For changes of variables that need nothing of other replicas. A mirrored variable cannot be
    assigned from within a replica, but each copy can from outside, hence the way over the strategy.

    Args:
        act: Is given the number of a local replica and that replica's arguments.
        *arguments: Tensors, and lists of them.
    """

    def on_all(strategy: tf.distribute.Strategy, *values: Any) -> None:
        for replica, device in enumerate(strategy.extended.worker_devices):
            own = tf.nest.map_structure(
                lambda value, replica=replica: strategy.experimental_local_results(value)[replica],
                values,
            )
            with tf.device(device):
                act(replica, *own)

    tf.distribute.get_replica_context().merge_call(on_all, args=arguments)
