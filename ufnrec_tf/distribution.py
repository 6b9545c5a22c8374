"""Everything that knows of replicas: strategies, sums over replicas, equal updates."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from ufnrec_tf.errors import UserError
from ufnrec_tf.names import pick


def _one() -> tf.distribute.Strategy:
    return tf.distribute.get_strategy()


def _mirrored() -> tf.distribute.Strategy:
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    devices = [device.name for device in tf.config.list_logical_devices(kind)]
    return tf.distribute.MirroredStrategy(devices)


def _auto() -> tf.distribute.Strategy:
    gpus = tf.config.list_logical_devices("GPU")
    return _mirrored() if len(gpus) > 1 else _one()


STRATEGIES: dict[str, Callable[[], tf.distribute.Strategy]] = {
    "auto": _auto,
    "one": _one,
    "mirrored": _mirrored,
}


def make_strategy(name: str, *, num_virtual_devices: int = 0) -> tf.distribute.Strategy:
    """Returns the strategy called `name`.

    Args:
        name: `one`, one device; `mirrored`, all local GPUs, or all CPU devices where there is
            no GPU; `auto`, mirrored where there are several GPUs, else one.
        num_virtual_devices: Splits the CPU into so many devices, to try replicas without GPUs;
            0 leaves it whole. Only before TensorFlow has made its devices.

    Raises:
        UserError: If `name` is unknown, or the devices exist already.
    """
    make = pick(STRATEGIES, name, key="distribution.strategy")
    if num_virtual_devices:
        cpu = tf.config.list_physical_devices("CPU")[0]
        parts = [tf.config.LogicalDeviceConfiguration()] * num_virtual_devices
        try:
            tf.config.set_logical_device_configuration(cpu, parts)
        except (RuntimeError, ValueError) as error:
            raise UserError(
                "`distribution.num_virtual_devices` must be set before TensorFlow uses its "
                f"devices: {error}"
            ) from error
    return make()


def num_replicas() -> int:
    """Returns the number of replicas; right inside and outside of a replica."""
    context = tf.distribute.get_replica_context()
    if context is not None:
        return context.num_replicas_in_sync
    return tf.distribute.get_strategy().num_replicas_in_sync


def on_host() -> Any:
    """Returns a context in which variables and operations are placed on the worker's CPU."""
    return tf.device("/device:CPU:0")


def replica_number() -> tf.Tensor:
    """Returns the number of the replica that runs this, int32 []; 0 outside of one."""
    context = tf.distribute.get_replica_context()
    if context is None or num_replicas() == 1:
        return tf.constant(0)
    return tf.convert_to_tensor(context.replica_id_in_sync_group)


def sum_over_replicas(value: tf.Tensor) -> tf.Tensor:
    """Returns the sum of a replica's tensor over all replicas, the same on each."""
    if num_replicas() == 1:
        return value
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)


def update_equally(
    variables: Sequence[tf.Variable],
    values: Sequence[tf.Variable],
    update: Callable[[tf.Variable, Any, Any], Any],
    argument: tf.Tensor,
) -> None:
    """Calls `update(variable, value, argument)` on every replica's copy of each variable.

    For updates that are the same on all replicas, so that nothing has to be summed. A mirrored
    variable cannot be assigned from within a replica, hence the way over the strategy.

    Args:
        variables: Variables to change, made in the strategy's scope.
        values: As many variables to read.
        update: Assigns to the component it is given.
        argument: A scalar that is equal on all replicas.
    """
    if num_replicas() == 1:
        for variable, value in zip(variables, values, strict=True):
            update(variable, value, argument)
        return

    def on_all(strategy: tf.distribute.Strategy, *arguments: Any) -> None:
        shared = strategy.experimental_local_results(arguments[0])[0]
        for variable, value in zip(variables, values, strict=True):
            strategy.extended.update(variable, update, args=(value, shared), group=False)

    tf.distribute.get_replica_context().merge_call(on_all, args=(argument,))
