"""How often each item occurs in train events."""

import numpy as np

from ufnrec_tf.data.distinct import chunks_of
from ufnrec_tf.data.splits import Split


def train_counts(split: Split) -> np.ndarray:
    """Returns the train events of each item, int64 [num_items + 1]; that of padding is 0."""
    data = split.interactions
    counts = np.zeros(data.num_items + 1, np.int64)
    # In parts, since `bincount` makes 8 bytes of each event.
    for chunk in chunks_of(data.lengths):
        part = slice(data.offsets[chunk.start], data.offsets[chunk.stop])
        trained = data.items[part][split.is_train[part]]
        counts += np.bincount(trained, minlength=len(counts))
    return counts
