"""A search in TensorBoard's HParams: a run a trial, with the keys it varies and their ranges."""

import shutil
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorboard.plugins.hparams import api

from ufnrec_tf.sweep_space import Axis
from ufnrec_tf.sweep_study import RUNNING, Outcome
from ufnrec_tf.workdir import not_written

METRIC = "sweep/validation"


def write_board(folder: Path, axes: tuple[Axis, ...], outcomes: list[Outcome], metric: str) -> None:
    """Writes a run for each trial that has ended, anew.

    Args:
        folder: `tensorboard` in the search's directory.
        axes: What is searched.
        outcomes: All trials.
        metric: Name of the validation metric.

    Raises:
        UserError: If the disk does not take it.
    """
    try:
        shutil.rmtree(folder, ignore_errors=True)
        with _writing(folder):
            api.hparams_config(
                hparams=[api.HParam(axis.key, _domain(axis)) for axis in axes],
                metrics=[api.Metric(METRIC, display_name=f"validation {metric}")],
            )
        for found in outcomes:
            if found.state == RUNNING:
                continue
            with _writing(folder / f"{found.number:04}"):
                api.hparams(dict(found.settings), trial_id=f"{found.number:04}")
                if found.value is not None:
                    tf.summary.scalar(METRIC, found.value, step=found.epoch)
    except (OSError, tf.errors.OpError) as error:
        raise not_written(folder, error) from error


def _writing(folder: Path) -> Any:
    return tf.summary.create_file_writer(str(folder)).as_default(step=0)


def _domain(axis: Axis) -> Any:
    if axis.choices:
        return api.Discrete(list(axis.choices))
    if axis.is_whole:
        return api.IntInterval(axis.low, axis.high)
    return api.RealInterval(axis.low, axis.high)
