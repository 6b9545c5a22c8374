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
    if config.backbone.width % config.backbone.num_heads:
        raise UserError(
            "`backbone.num_heads` must divide `backbone.width`. Received: "
            f"{config.backbone.num_heads} heads, width {config.backbone.width}. Set "
            "--config.backbone.num_heads=1, or a width that it divides."
        )


def check_seeds(seeds: Sequence[int]) -> None:
    """Raises UserError unless there are seeds, all of them different."""
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(
            "`comparison.seeds` must be different whole numbers from 0, as in 0,1,2. Received: "
            f"{','.join(map(str, seeds)) or 'none'}."
        )
