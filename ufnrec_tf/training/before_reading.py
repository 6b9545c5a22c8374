"""Checks of everything that needs no data, before a log is opened, which may take minutes."""

from collections.abc import Callable

from ml_collections import ConfigDict

from ufnrec_tf.common.tensorflow_setup import import_tensorflow
from ufnrec_tf.common.user_code import is_path
from ufnrec_tf.config import option_table
from ufnrec_tf.training.arms import configure_arm, of_arm, parse_arms
from ufnrec_tf.training.settings_checks import check_metrics, check_reading, check_settings

OF_ALL_BACKBONES = ("name", "width", "num_blocks", "dropout", "max_length", "precision")
"""Settings that every backbone of the library reads."""


def check_before_reading(
    config: ConfigDict, *, prepare: Callable[[], None] | None = None, is_compared: bool = False
) -> None:
    """Checks the settings of a run, and of its arms, by all that needs no data.

    TensorFlow is imported only for what needs a class: code of the user's own, and a setting of
    the backbone that not every backbone reads.

    Args:
        config: The settings.
        prepare: Called before TensorFlow is imported.
        is_compared: True if only the arms are trained, not the configuration itself.

    Raises:
        UserError: Naming the setting.
    """
    check_reading(config)
    check_metrics(config)
    configs = [] if is_compared else [config]
    for arm in parse_arms(config.comparison.arms):
        with of_arm(arm.name):
            configs.append(configure_arm(config, arm))
            check_settings(configs[-1])
    if not is_compared:
        check_settings(config)
    if not any(map(needs_classes, configs)):
        return
    if prepare is not None:
        prepare()
    import_tensorflow()
    from ufnrec_tf.training.checks import check_names

    if not is_compared:
        check_names(config)
        return
    for arm, own in zip(parse_arms(config.comparison.arms), configs, strict=True):
        with of_arm(arm.name):
            check_names(own)


def needs_classes(config: ConfigDict) -> bool:
    """True if settings can be judged only by the classes of backbone and loss, or by a package."""
    changed = {
        key
        for key, option in option_table()["backbone"].items()
        if config.backbone[key] != option.default
    }
    is_own = is_path(config.backbone.name) or is_path(config.loss.name)
    return is_own or config.export.onnx or bool(changed - set(OF_ALL_BACKBONES))
