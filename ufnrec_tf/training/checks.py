"""Checks settings against the tables of names and each other, before anything is built."""

from ml_collections import ConfigDict

from ufnrec_tf import objectives
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.config import unmet_condition
from ufnrec_tf.data.batches import steps_per_epoch
from ufnrec_tf.data.splits import Split
from ufnrec_tf.data.windows import make_samples
from ufnrec_tf.evaluation.metrics import check_cutoffs
from ufnrec_tf.export.onnx_model import check_onnx
from ufnrec_tf.method.policies import POLICIES
from ufnrec_tf.training.arms import configure_arm, of_arm, parse_arms
from ufnrec_tf.training.build import check_backbone
from ufnrec_tf.training.settings_checks import check_metrics, check_settings


def check_names(config: ConfigDict) -> None:
    """Checks the settings that only the classes of backbone and loss can judge, and all others.

    Raises:
        UserError: Naming the known values and the nearest.
    """
    check_backbone(config)
    loss = objectives.find(config.loss.name)
    for arm in parse_arms(config.comparison.arms):
        with of_arm(arm.name):
            check_names(configure_arm(config, arm))
    check_metrics(config)
    if config.export.onnx:
        check_onnx(config.backbone.name, config.backbone.time)
    check_settings(config)
    if POLICIES[config.memory.policy].has_soft_labels and not loss.has_soft_ranking_term():
        raise UserError(
            f"`loss.name` is {config.loss.name!r}, which has no `soft_ranking_term`: policy "
            f"{config.memory.policy!r} needs it. CONTRIBUTING.md, 'A loss', has the contract. Give "
            "the class one, or choose another --config.loss.name or --config.memory.policy."
        )


def check_with_data(config: ConfigDict, split: Split) -> None:
    """Checks the settings that only the data can show to be wrong.

    Raises:
        UserError: If a cutoff is above the number of items, if times are to be read and the log has
            no dates, or if calls into the graph do not end
            where epochs and `training.max_steps` do: Keras would run on into the next epoch.
    """
    check_cutoffs(config.evaluation.cutoffs, split.interactions.num_items)
    is_taught_times = config.teacher.time != "none" and not unmet_condition(config, "teacher.time")
    if config.backbone.time != "none" or is_taught_times:
        split.interactions.whole_seconds()
    training = config.training
    samples = make_samples(split, max_length=config.backbone.max_length, windows=training.windows)
    steps = steps_per_epoch(len(samples.users), training.batch_size, draw=training.draw)
    if steps % training.steps_per_execution or training.max_steps % training.steps_per_execution:
        limit = f" and of {training.max_steps} (training.max_steps)" if training.max_steps else ""
        raise UserError(
            f"`training.steps_per_execution` must be a divisor of {steps} (steps an epoch){limit}. "
            f"Received: {training.steps_per_execution}."
        )
