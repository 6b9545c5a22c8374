"""The backbone that a configuration names, with those settings that are its own."""

from ml_collections import ConfigDict

from ufnrec_tf import backbones
from ufnrec_tf.backbones.base import Backbone, setting_names
from ufnrec_tf.config import option_table
from ufnrec_tf.errors import UserError


def check_backbone(config: ConfigDict) -> None:
    """Checks the backbone's name, and that it has every setting that was changed.

    Raises:
        UserError: Naming the known values, or the setting that the backbone would not read.
    """
    known = setting_names(backbones.find(config.backbone.name))
    for key, option in option_table()["backbone"].items():
        value = config.backbone[key]
        if key != "name" and key not in known and value != option.default:
            raise UserError(
                f"`backbone.{key}` is {value!r}, which backbone {config.backbone.name!r} does not "
                f"read. Leave it at --config.backbone.{key}={option.default}."
            )


def make_backbone(config: ConfigDict, num_items: int) -> Backbone:
    """Returns a new backbone of the configuration."""
    settings = config.backbone.to_dict()
    name = settings.pop("name")
    known = setting_names(backbones.find(name))
    own = {key: value for key, value in settings.items() if key in known}
    return backbones.create(name, num_items=num_items, **own)


def check_windows(backbone: Backbone, config: ConfigDict) -> None:
    """Checks that no position is trained whose vector has seen the item to predict.

    Raises:
        UserError: If the backbone sees later columns and not only the newest is trained.
    """
    if backbone.is_causal or config.training.windows == "prefixes":
        return
    has_filter = "filter" in backbone.settings
    raise UserError(
        f"backbone {config.backbone.name!r} sees later items of the history, so that a loss at "
        f"every position (training.windows={config.training.windows}) would show it the answers. "
        "Set --config.training.windows=prefixes"
        + (", or --config.backbone.filter=causal, which costs a fraction." if has_filter else ".")
    )
