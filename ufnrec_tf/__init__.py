"""UFNRec: sequential recommendation that is aware of false negatives, on TensorFlow and Keras 3.

import ufnrec_tf as ufn

run = ufn.train(events, workdir="runs/mine")
run.recommend({"someone": ["item 3", "item 8"]})
"""

import importlib
from typing import TYPE_CHECKING, Any

from ufnrec_tf.common.version import __version__

if TYPE_CHECKING:
    from ufnrec_tf.api import Run, compare, inspect, load_export, read, split, train
    from ufnrec_tf.common.errors import UserError

_HOMES = {
    "Run": "ufnrec_tf.api",
    "UserError": "ufnrec_tf.common.errors",
    "compare": "ufnrec_tf.api",
    "inspect": "ufnrec_tf.api",
    "load_export": "ufnrec_tf.api",
    "read": "ufnrec_tf.api",
    "split": "ufnrec_tf.api",
    "train": "ufnrec_tf.api",
}
__all__ = [
    "Run",
    "UserError",
    "__version__",
    "compare",
    "inspect",
    "load_export",
    "read",
    "split",
    "train",
]


def __getattr__(name: str) -> Any:
    """Returns a name of the API, importing pandas and TensorFlow only once they are needed."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ufnrec_tf' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
