"""Checks of settings against each other, which need neither data nor TensorFlow."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.lookup import pick
from ufnrec_tf.method.policies import POLICIES


def check_settings(config: ConfigDict) -> None:
    """Checks the policy's name, and that settings fit each other.

    Raises:
        UserError: Naming the settings, and a value that fits.
    """
    policy = pick(POLICIES, config.memory.policy, key="memory.policy")
    has_teacher = policy.has_teacher or config.teacher.always
    if config.evaluation.weights == "teacher" and not has_teacher:
        raise UserError(
            f"`evaluation.weights` is teacher, but policy {config.memory.policy!r} has none. "
            "Set --config.teacher.always=true, or --config.evaluation.weights=auto."
        )
    if policy.has_soft_labels:
        _check_teacher(config.teacher)
    if config.backbone.width % config.backbone.num_heads:
        raise UserError(
            "`backbone.num_heads` must divide `backbone.width`. Received: "
            f"{config.backbone.num_heads} heads, width {config.backbone.width}. Set "
            "--config.backbone.num_heads=1, or a width that it divides."
        )


def _check_teacher(settings: ConfigDict) -> None:
    """Raises UserError if the settings of the soft labels do not fit each other."""
    if settings.labels == "alike" and settings.kind == "ema":
        raise UserError(
            "`teacher.labels` must not be alike with `teacher.kind` ema, whose labels are not "
            "kept. Set --config.teacher.kind=hindsight, or --config.teacher.labels=teacher."
        )
    is_taught = settings.labels in ("teacher", "alike")
    if is_taught and settings.kind == "runs" and not settings.runs:
        raise UserError(
            "`teacher.runs` must name at least one finished run with `teacher.kind` runs. Set "
            "--config.teacher.runs=WORKDIR,WORKDIR, or --config.teacher.kind=hindsight."
        )


def check_seeds(seeds: Sequence[int]) -> None:
    """Raises UserError unless there are seeds, all of them different."""
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(
            "`comparison.seeds` must be different whole numbers from 0, as in 0,1,2. Received: "
            f"{','.join(map(str, seeds)) or 'none'}."
        )
