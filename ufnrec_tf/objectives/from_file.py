"""A user's own loss: its class loaded from a file, and checked by the contract."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.user_code import load_named, user_code_error
from ufnrec_tf.objectives.base import LossCounts, LossSettings, Objective, Scored, Targets

FORM = "path/to/file.py:ClassName"
_NUM_ITEMS, _NUM_NEGATIVES, _WIDTH = 9, 4, 3
_TERMS = ("ranking_term", "consistency_term")
_SOFT_TERM = "soft_ranking_term"


def load_class(name: str) -> type[Objective]:
    """Returns the class that `path/to/file.py:ClassName` names, checked; runs the file.

    Raises:
        UserError: If the file is not there, does not run, has no such loss, or the loss breaks a
            promise, which is named.
    """
    path, found = load_named(
        name,
        setting="loss.name",
        form=FORM,
        kind="Objective",
        is_one=lambda value: isinstance(value, type) and issubclass(value, Objective),
        promise="A loss is a class that inherits ufnrec_tf.objectives.base.Objective.",
    )
    _check(path, found)
    return found


@functools.cache
def _check(path: Path, kind: type[Objective]) -> None:
    """Raises UserError unless the terms of a loss are as the contract says."""
    try:
        broken = _broken_promise(kind)
    except UserError:
        raise
    except Exception as error:  # the user has to mend whatever the class raises
        raise user_code_error(path, error) from error
    if broken:
        raise UserError(
            f"{path}: {kind.__name__} {broken} CONTRIBUTING.md, 'A loss', has the contract."
        )


def _broken_promise(kind: type[Objective]) -> str:
    """Returns the broken promise of a loss, in words, or an empty text."""
    most = kind.most_negatives
    if most is not None and (type(most) is not int or most < 0):
        return f"must set `most_negatives` to None or a whole number from 0. It is {most!r}."
    num_negatives = _NUM_NEGATIVES if most is None else min(most, _NUM_NEGATIVES)
    objective = kind(
        LossSettings(_NUM_ITEMS, num_negatives),
        consistency_weight=0.3,
        averages_over_flipped=True,
        uses_soft_label_only=False,
        l2=0.0,
    )
    terms = [*_TERMS, _SOFT_TERM] if kind.has_soft_ranking_term() else _TERMS
    # A step is a graph, in which Python cannot read values.
    for wrap in (lambda function: function, tf.function(autograph=False)):
        for term in terms:
            broken = _broken_term(objective, term, num_negatives, wrap)
            if broken:
                return broken
    return ""


def _broken_term(
    objective: Objective, term: str, num_negatives: int, wrap: Callable[[Any], Any]
) -> str:
    """Returns the broken promise of one term, called as it is or as a graph."""
    values = []
    for num_fillers in (1, 3):

        @wrap
        def called(vectors: tf.Tensor, num_fillers: int = num_fillers) -> Any:
            scored = _scored(vectors, num_fillers, num_negatives)
            more = [_targets(scored)] if term == _SOFT_TERM else []
            return getattr(objective, term)(scored, *more)

        with tf.GradientTape() as tape:
            vectors = tf.constant(_numbers(2, num_fillers))
            tape.watch(vectors)
            value = called(vectors)
        if not tf.is_tensor(value) or value.dtype != tf.float32 or value.shape != ():
            shown = f"{value.dtype.name} {value.shape}" if tf.is_tensor(value) else repr(value)
            return f"must return a float32 scalar from `{term}`. It returned {shown}."
        if not np.isfinite(value.numpy()):
            return f"must return a finite number from `{term}`. It returned {value.numpy()}."
        if term != "consistency_term" and tape.gradient(value, vectors) is None:
            return f"must have a gradient: `{term}` does not depend on the scores."
        values.append(float(value))
    if np.isclose(values[0], values[1], rtol=1e-4, atol=1e-6):
        return ""
    return (
        "must leave out positions that only fill the batch, whose `is_counted` is False: with 1 "
        f"and 3 of them `{term}` is {values[0]:.6g} and {values[1]:.6g}. Mask them with "
        "`scored.is_counted`, and divide by `scored.counts.positions` in place of taking a mean."
    )


def _numbers(num_real: int, num_fillers: int) -> np.ndarray:
    """Returns vectors, float32 [num_real + num_fillers, width]; the fillers' are large."""
    rng = np.random.default_rng(0)
    real = rng.normal(size=(num_real, _WIDTH))
    fillers = 30 * rng.normal(size=(num_fillers, _WIDTH))
    return np.concatenate([real, fillers]).astype(np.float32)


def _scored(vectors: tf.Tensor, num_fillers: int, num_negatives: int) -> Scored:
    """Returns the inputs of a loss for two real positions and fillers, by these vectors."""
    num_columns, num_rows = 1 + num_negatives, 2 + num_fillers
    table = tf.constant(np.random.default_rng(1).normal(size=(_NUM_ITEMS + 1, _WIDTH)), tf.float32)
    rows = np.arange(num_rows)[:, None] + np.arange(num_columns)[None, :]
    candidates = tf.constant(1 + rows % _NUM_ITEMS, tf.int32)
    is_counted = tf.repeat(tf.constant([[True], [False]]), [2, num_fillers], axis=0)
    is_counted = tf.repeat(is_counted, num_columns, axis=1)
    is_flipped = np.zeros((num_rows, num_columns), bool)
    is_flipped[0, 1:2] = True
    logits = tf.einsum("pd,pkd->pk", vectors, tf.gather(table, candidates))
    suspects = float(is_flipped.sum())
    return Scored(
        logits=logits,
        candidates=candidates,
        is_counted=is_counted,
        is_flipped=tf.constant(is_flipped),
        is_removed=tf.zeros_like(is_counted),
        is_softened=tf.constant(is_flipped),
        is_hard_flip=tf.constant(is_flipped),
        teacher_logits=0.5 * logits,
        vectors=vectors,
        item_table=table,
        counts=LossCounts(
            *(
                tf.constant(max(count, 1.0))
                for count in (2.0 * num_columns, 2.0 * num_columns, suspects, 2.0, suspects)
            )
        ),
    )


def _targets(scored: Scored) -> Targets:
    """Returns targets of the observed item and one label, the item after it."""
    observed, logits = scored.candidates[:, :1], scored.logits[:, :1]
    return Targets(
        items=tf.concat([observed, 1 + observed % _NUM_ITEMS], axis=1),
        weights=tf.constant([[0.7, 0.3]]) * tf.ones_like(logits),
        logits=tf.concat([logits, 0.5 * logits], axis=1),
    )
