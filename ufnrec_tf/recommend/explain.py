"""Why an item is recommended: the items of the history that carried it, by leave-one-out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class LeftOut(NamedTuple):
    """The histories by which each item of a history is left out once.

    Attributes:
        items: The distinct items of the window that the model reads, the newest first.
        rows: The window of the whole history, and then one for each of `items` without it.
        times: The times of each row, that of the request after them; None where none were given.
    """

    items: list[str]
    rows: list[list[str]]
    times: list[list[int]] | None = None


def left_out(
    history: Sequence[str], max_length: int, times: Sequence[int] | None = None
) -> LeftOut:
    """Returns the histories to score.

    An item that occurs more than once is left out at all its places. Where the history is longer
    than the window, an older item takes the free place, as it would in the model's own answer.

    Args:
        history: Raw ids that the model knows, oldest first.
        max_length: The newest known items that the model reads.
        times: When each was taken, and perhaps the time of the request after them; None for a
            model that reads none.
    """
    places = range(len(history))
    items = list(dict.fromkeys(reversed(history[-max_length:])))
    kept = [[place for place in places if history[place] != item] for item in (None, *items)]
    kept = [row[-max_length:] for row in kept]
    rows = [[history[place] for place in row] for row in kept]
    if times is None:
        return LeftOut(items, rows)
    request = times[len(history) :]
    return LeftOut(items, rows, [[*(times[place] for place in row), *request] for row in kept])


def score_drops(vectors: np.ndarray, item_vector: np.ndarray) -> np.ndarray:
    """Returns the leave-one-out drops: the score of an item less that without a history's item.

    Above 0 the left-out item speaks for the recommended one, below 0 against it. The drops do not
    add up to the score.

    Args:
        vectors: float32 [1 + n, D], the vectors of the rows of `left_out`.
        item_vector: float32 [D] of the recommended item.

    Returns:
        float32 [n].
    """
    scores = vectors @ item_vector
    return scores[0] - scores[1:]
