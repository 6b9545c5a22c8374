"""A user's own backbone: its class loaded from a file, and an instance checked by the contract."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ufnrec_tf.backbones.base import Backbone, setting_names
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.user_code import load_named, user_code_error

FORM = "path/to/file.py:ClassName"


def load_class(name: str) -> type[Backbone]:
    """Returns the class that `path/to/file.py:ClassName` names; runs the file.

    Raises:
        UserError: If the file is not there, does not run, or has no such backbone.
    """
    _, found = load_named(
        name,
        setting="backbone.name",
        form=FORM,
        kind="Backbone",
        is_one=lambda value: isinstance(value, type) and issubclass(value, Backbone),
        promise="A backbone is a class that inherits ufnrec_tf.backbones.base.Backbone.",
    )
    return found


def make_checked(kind: type[Backbone], settings: dict[str, Any]) -> Backbone:
    """Returns a user's backbone with these settings, after checking it by the contract.

    Raises:
        UserError: If it cannot be made or called, or breaks a promise, which is named.
    """
    path = Path(inspect.getfile(kind))
    try:
        backbone = kind(**settings)
        # Two histories that differ only in the newest item.
        histories = np.ones([2, backbone.max_length], np.int32)
        histories[1, -1] = backbone.num_items
        vectors = backbone(tf.constant(histories), training=False)
    except UserError:
        raise
    except Exception as error:  # the user has to mend whatever the class raises
        raise user_code_error(path, error) from error
    broken = _broken_promise(backbone, setting_names(kind), vectors)
    if broken:
        raise UserError(
            f"{path}: {kind.__name__} {broken} CONTRIBUTING.md, 'A backbone', has the contract."
        )
    return backbone


def _broken_promise(backbone: Backbone, names: list[str], vectors: tf.Tensor) -> str:
    """Returns the broken promise of a backbone, in words, or an empty text.

    Args:
        backbone: Made of the user's class.
        names: The settings that its constructor takes.
        vectors: Its vectors of two histories that differ only in the newest item.
    """
    missing = [name for name in names if name not in backbone.settings]
    if missing:
        return f"must pass `{missing[0]}` to super().__init__, so that copies can be made."
    shape = (2, backbone.max_length, backbone.width)
    if tuple(vectors.shape) != shape or vectors.dtype != tf.float32:
        return f"must return float32 {shape}. It returned {vectors.dtype.name} {vectors.shape}."
    table_shape = (backbone.num_items + 1, backbone.width)
    table = getattr(backbone, "item_table", None)
    if table is None or tuple(table.shape) != table_shape:
        return f"must own a weight `item_table` of shape {table_shape}."
    weights = [v for v in backbone.non_trainable_variables if "float" in str(v.dtype)]
    if weights:
        return (
            f"must not have float weights that are not trained, such as {weights[0].path!r}. "
            "LayerNormalization has none, where BatchNormalization has."
        )
    first, second = vectors[:, :-1].numpy()
    if backbone.is_causal and not np.allclose(first, second, rtol=1e-2, atol=1e-4):
        return (
            "says `is_causal = True`, but earlier columns change with the newest item. Mend it, "
            "or set `is_causal = False` and train on --config.training.windows=prefixes."
        )
    return ""
