"""A user's own metric: loaded from a file, and checked by its contract."""

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.user_code import load_named, user_code_error

FORM = "path/to/file.py:name"
_SOME_RANKS = np.array([1, 2, 3, 5, 7, 10, 11, 20, 21, 50, 100, 1000])
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True)
class OwnMetric:
    """A metric of a file.

    Attributes:
        name: The name under which it is reported.
        function: The user's: of ranks, or of ranks and a cutoff.
        has_cutoff: True if it takes a cutoff.
        path: The file.
    """

    name: str
    function: Callable[..., Any]
    has_cutoff: bool
    path: Path

    def __call__(self, ranks: np.ndarray, cutoff: int | None = None) -> np.ndarray:
        """Returns the metric of each rank, float64 [M].

        Raises:
            UserError: If the function raises an error, or returns anything else.
        """
        ranks = np.array(ranks)  # a copy, which the function may change
        try:
            with np.errstate(all="ignore"):  # what is not finite is refused below
                found = self.function(ranks, cutoff) if self.has_cutoff else self.function(ranks)
                values = np.asarray(found)
        except Exception as error:  # the user has to mend whatever the function raises
            raise user_code_error(self.path, error) from error
        if values.shape != ranks.shape or values.dtype.kind not in "biuf":
            raise self.error(
                f"must return a number for each of {len(ranks)} ranks. It returned "
                f"{values.dtype} {values.shape}."
            )
        if not np.isfinite(values).all():
            raise self.error(f"must be finite. It is {values[~np.isfinite(values)][0]}.")
        return values.astype(np.float64)

    def error(self, what: str) -> UserError:
        """Returns the error for a broken promise."""
        return UserError(
            f"{self.path}: {self.name} {what} CONTRIBUTING.md, 'A metric', has the contract."
        )


def load_metric(text: str, *, cutoffs: Sequence[int]) -> OwnMetric:
    """Returns the metric that `path/to/file.py:name` names, checked; runs the file.

    Args:
        text: The file and the name of a function or a class in it. A class is made without
            arguments and called.
        cutoffs: Those with which it will be called.

    Raises:
        UserError: If the file is not there, does not run, has no such metric, or the metric breaks
            a promise, which is named.
    """
    path, found = load_named(
        text,
        setting="evaluation.metrics",
        form=FORM,
        kind="metric",
        is_one=lambda value: inspect.isfunction(value) or isinstance(value, type),
        promise="A metric is a function of ranks, or of ranks and a cutoff.",
    )
    try:
        function = found() if isinstance(found, type) else found
        parameters = list(inspect.signature(function).parameters.values())
    except Exception as error:  # the user has to mend whatever the class raises
        raise user_code_error(path, error) from error
    name = getattr(function, "name", found.__name__)
    count = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
    needed = [p for p in parameters if p.default is p.empty]
    metric = OwnMetric(str(name), function, count > 1, path)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise metric.error("must have a name of letters, digits and _.")
    if not 1 <= count <= 2 or len(needed) > count:
        raise metric.error("must take ranks, or ranks and a cutoff, and nothing else.")
    for cutoff in cutoffs if metric.has_cutoff else (None,):
        values = metric(_SOME_RANKS, cutoff)
        one_by_one = np.concatenate(
            [metric(_SOME_RANKS[i : i + 1], cutoff) for i in range(len(_SOME_RANKS))]
        )
        if not np.array_equal(values, one_by_one):
            raise metric.error(
                "must give each rank a value that depends on no other rank: the mean over users "
                "is taken of these values."
            )
    return metric
