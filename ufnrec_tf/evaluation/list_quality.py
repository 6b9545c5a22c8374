"""Qualities of recommended lists besides accuracy: coverage, concentration, novelty."""

import numpy as np

from ufnrec_tf.common.tensors import PAD


def beyond_accuracy(items: np.ndarray, train_counts: np.ndarray) -> dict[str, float]:
    """Returns coverage, concentration and novelty over the lists of all users together.

    Args:
        items: int [M, K], the K items recommended to each of M users; 0 where a list is shorter.
        train_counts: int [V + 1], train events of each item; entry 0, padding's, is not read.

    Returns:
        `coverage`: share of the catalogue that is in at least one list; `gini`: Gini coefficient of
        how often each item is recommended, 0 where all are equal, near 1 where few take all;
        `novelty`: mean bits of surprise of a recommended item, -log2 of its share of the train
        events, where an item without any counts as one event's worth; `list_length`: K.

    Source: Zhou et al. 2010, PNAS 107(10), for the self-information of an item.
    """
    recommended = items[items != PAD]
    num_items = len(train_counts) - 1
    counts = np.bincount(recommended, minlength=num_items + 1)[1:]
    shares = np.maximum(train_counts[1:], 1) / max(train_counts[1:].sum(), 1)
    total = max(int(counts.sum()), 1)
    return {
        "coverage": float(np.count_nonzero(counts) / num_items),
        "gini": gini(counts),
        "novelty": float(counts @ -np.log2(shares) / total),
        "list_length": float(items.shape[1]),
    }


def gini(values: np.ndarray) -> float:
    """Returns the Gini coefficient of non-negative values, 0..1; 0 where their sum is 0.

    Half the mean absolute difference of two values drawn with replacement, over the mean.

    Args:
        values: int or float [V].
    """
    ordered = np.sort(values).astype(np.float64)
    size, total = len(ordered), ordered.sum()
    if not total:
        return 0.0
    ranks = np.arange(1, size + 1)
    return float((2 * ranks - size - 1) @ ordered / (size * total))
