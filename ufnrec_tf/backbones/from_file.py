"""A user's own backbone: its class loaded from a file, and an instance checked by the contract."""

import functools
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import tensorflow as tf

from ufnrec_tf.backbones.base import Backbone, setting_names
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.lookup import nearest
from ufnrec_tf.common.user_code import run_user_file, user_code_error

FORM = "path/to/file.py:ClassName"


def is_path(name: str) -> bool:
    """Returns True if a backbone's name means a file rather than a name of the table."""
    return ":" in name or name.endswith(".py")


def load_class(name: str) -> type[Backbone]:
    """Returns the class that `path/to/file.py:ClassName` names; runs the file.

    Raises:
        UserError: If the file is not there, does not run, or has no such backbone.
    """
    path_text, _, class_name = name.rpartition(":")
    path = Path(path_text)
    if path.suffix != ".py" or not class_name:
        raise UserError(f"`backbone.name` of a file must be {FORM}. Received: {name!r}.")
    if not path.is_file():
        raise UserError(f"`backbone.name`: {path}: no such file. It must be {FORM}.")
    module = _run(path.resolve(), path.stat().st_mtime_ns)
    known = [
        key
        for key, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Backbone)
        and value.__module__ == module.__name__
    ]
    if class_name not in known:
        raise UserError(
            f"{path}: has no Backbone of the name {class_name!r}; it has: "
            f"{', '.join(known) or 'none'}.{nearest(class_name, known)} A backbone is a class "
            "that inherits ufnrec_tf.backbones.base.Backbone."
        )
    return getattr(module, class_name)


@functools.cache
def _run(path: Path, changed: int) -> ModuleType:
    """Returns the module of a file, which is run once for each time at which it was changed."""
    return run_user_file(path, kind="user")


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
