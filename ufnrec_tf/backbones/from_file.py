"""A user's own backbone: its class loaded from a file, and an instance checked by the contract."""

import functools
import importlib.util
import inspect
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import tensorflow as tf

from ufnrec_tf.backbones.base import Backbone, setting_names
from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.common.lookup import nearest

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
    spec = importlib.util.spec_from_file_location(f"ufnrec_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path}: expected a Python file (.py).")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for their module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a user's file raises is the user's to mend
        raise _does_not_run(path, error) from error
    return module


def _does_not_run(path: Path, error: Exception) -> UserError:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename) == path.resolve()]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    where = f"{path}, line {line}" if line else str(path)
    kind = type(error).__name__
    return UserError(f"{where}: does not run ({kind}: {own_words(error)}). Mend the file.")


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
    except Exception as error:  # as in `_run`
        raise _does_not_run(path, error) from error
    broken = _broken_promise(backbone, setting_names(kind), vectors)
    if broken:
        raise UserError(
            f"{path}: {kind.__name__} {broken} BUILD.md, 'Your own backbone', has the contract."
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
