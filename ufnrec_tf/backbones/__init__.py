"""Backbones: networks from a history to one vector a position, and the table of their names."""

from typing import Any

from ufnrec_tf.backbones.base import Backbone
from ufnrec_tf.backbones.bsarec import BSARec
from ufnrec_tf.backbones.fmlp import FMLPRec
from ufnrec_tf.backbones.from_file import load_class, make_checked
from ufnrec_tf.backbones.gru4rec import GRU4Rec
from ufnrec_tf.backbones.hstu import HSTU
from ufnrec_tf.backbones.sasrec import SASRec
from ufnrec_tf.common.lookup import pick
from ufnrec_tf.common.user_code import is_path

BACKBONES: dict[str, type[Backbone]] = {
    "sasrec": SASRec,
    "gru4rec": GRU4Rec,
    "fmlp": FMLPRec,
    "bsarec": BSARec,
    "hstu": HSTU,
}


def find(name: str) -> type[Backbone]:
    """Returns the class of the backbone called `name`.

    Args:
        name: A key of `BACKBONES`, or a user's class as path/to/file.py:ClassName.

    Raises:
        UserError: If `name` is unknown; the message lists the known names and the nearest.
    """
    return load_class(name) if is_path(name) else pick(BACKBONES, name, key="backbone.name")


def create(name: str, **settings: Any) -> Backbone:
    """Makes the backbone called `name`.

    Args:
        name: See `find`.
        **settings: The constructor's keyword arguments (num_items, width, max_length, ...).

    Returns:
        A built backbone; a user's has been checked by the contract.

    Raises:
        UserError: If `name` is unknown, or a user's class breaks the contract.
        TypeError: If a setting is unknown.
    """
    kind = find(name)
    return make_checked(kind, settings) if is_path(name) else kind(**settings)
