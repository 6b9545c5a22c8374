"""Backbones: networks that turn a history into one vector a position; the table of known ones."""

from typing import Any

from ufnrec_tf.backbones.base import Backbone
from ufnrec_tf.backbones.bsarec import BSARec
from ufnrec_tf.backbones.fmlp import FMLPRec
from ufnrec_tf.backbones.gru4rec import GRU4Rec
from ufnrec_tf.backbones.hstu import HSTU
from ufnrec_tf.backbones.sasrec import SASRec
from ufnrec_tf.names import pick

BACKBONES: dict[str, type[Backbone]] = {
    "sasrec": SASRec,
    "gru4rec": GRU4Rec,
    "fmlp": FMLPRec,
    "bsarec": BSARec,
    "hstu": HSTU,
}


def create(name: str, **settings: Any) -> Backbone:
    """Makes the backbone called `name`.

    Args:
        name: A key of `BACKBONES`.
        **settings: The constructor's keyword arguments (num_items, width, max_length, ...).

    Returns:
        A built backbone.

    Raises:
        UserError: If `name` is unknown; the message lists the known names and the nearest.
    """
    return pick(BACKBONES, name, key="backbone.name")(**settings)
