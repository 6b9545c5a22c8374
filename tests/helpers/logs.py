"""Logs of a few events, written by hand."""

import numpy as np
import pandas as pd

from ufnrec_tf.data.events import batch_of
from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.data.interactions import build_interactions as build


def build_interactions(frame: pd.DataFrame, **settings) -> Interactions:
    """Numbers the events of a frame: `user`, `item` and maybe `time`, in file order."""
    users, items = (frame[role].to_numpy(object) for role in ("user", "item"))
    times = frame["time"].to_numpy(np.float64) if "time" in frame else None
    return build(batch_of(users, items, times), **settings)
