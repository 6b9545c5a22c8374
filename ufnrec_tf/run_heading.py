"""What a run shows before its first step: its size, its memory, its devices."""

import numpy as np
from ml_collections import ConfigDict

from ufnrec_tf.display import Display
from ufnrec_tf.experiment import Experiment
from ufnrec_tf.memory_usage import over_workers
from ufnrec_tf.results import label_of


def show_run(config: ConfigDict, experiment: Experiment, display: Display) -> None:
    """Shows what is about to be trained; all workers call it together."""
    model = experiment.model
    weights = sum(int(np.prod(w.shape)) for w in model.backbone.trainable_variables)
    display = display.notes
    display.heading(f"Training {label_of(config)}")
    memory = "no memory"
    if model.memory is not None:
        usage = over_workers(model.memory.usage(), experiment.workers.sum)
        memory = (
            f"memory of {usage.num_rows:,} rows x {usage.num_slots} slots, "
            f"{usage.table_bytes / 2**20:,.1f} MiB"
        )
    display.block(
        [
            f"{weights:,} weights, {memory}; {experiment.steps_per_epoch:,} steps an epoch of "
            f"{config.training.batch_size} users{_devices(experiment)}; gate: {config.gate.kind}",
        ]
    )


def _devices(experiment: Experiment) -> str:
    """Returns on how many devices and machines a run trains; empty for one."""
    count, replicas = experiment.workers.count, experiment.num_replicas
    shared = f" on {replicas} devices" if replicas > 1 else ""
    return f"{shared} of {count} workers" if count > 1 else shared
