"""The oracle's loss, teacher, gate and optimizer: see oracle.

Float64 and plain loops, written from the description of the method.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)), without overflow."""
    if x >= 0:
        return 1.0 / (1.0 + math.exp(-x))
    return math.exp(x) / (1.0 + math.exp(x))


def bce(logit: float, label: float) -> float:
    """-label * log(p) - (1 - label) * log(1 - p) with p = sigmoid(logit)."""
    return max(logit, 0.0) - logit * label + math.log1p(math.exp(-abs(logit)))


class OracleLoss(NamedTuple):
    """The terms of a step's loss, and its gradient."""

    bce: float  # 2 * weighted mean over all entries
    consistency_kl: float  # mean of KL(teacher || student), before alpha
    consistency_bce: float  # the same of BCE against the soft label: KL plus teacher's entropy
    loss_kl: float  # bce + alpha * consistency_kl
    loss_bce: float  # bce + alpha * consistency_bce: what the authors report
    gradient: np.ndarray  # float64 [P, 1+N], of either loss by the student's logits


def oracle_loss(
    logits: np.ndarray,
    labels: np.ndarray,
    *,
    weights: np.ndarray,
    flipped: np.ndarray,
    teacher_logits: np.ndarray | None,
    alpha: float = 0.3,
    consistency_mean: str = "flipped",
    soft_label_only: bool = False,
) -> OracleLoss:
    """Pooled BCE plus consistency; all arrays are [P, 1+N].

    A term without entries is 0. With `soft_label_only` flipped entries leave the BCE sum and its
    denominator, and they alone: the "all" mean of the consistency divides by sum(weights) still.

    Args:
        logits: student's logits.
        labels: 1 for positives and flipped entries, else 0.
        weights: 0 for entries that are no part of the loss.
        flipped: True for flipped entries (of weight above 0).
        teacher_logits: None where there is no teacher.
        alpha: weight of the consistency.
        consistency_mean: "flipped" (over flipped entries) or "all" (over sum(weights)).
        soft_label_only: whether a flipped entry's hard label is left out.
    """
    if consistency_mean not in ("flipped", "all"):
        raise ValueError(f"consistency_mean: {consistency_mean}")
    logits = np.asarray(logits, np.float64)
    entries = list(np.ndindex(*logits.shape))
    hard = [entry for entry in entries if not (soft_label_only and flipped[entry])]
    bce_mean, gradient = _pooled_bce(logits, labels, weights, hard)
    cross = kl = 0.0
    soft = [entry for entry in entries if flipped[entry]]
    if soft and teacher_logits is not None:
        count = len(soft) if consistency_mean == "flipped" else float(np.sum(weights))
        cross, entropy, soft_gradient = _consistency(logits, teacher_logits, soft, count)
        kl = cross - entropy
        gradient = gradient + alpha * soft_gradient
    return OracleLoss(
        bce_mean, kl, cross, bce_mean + alpha * kl, bce_mean + alpha * cross, gradient
    )


Entries = list[tuple[int, ...]]


def _pooled_bce(
    logits: np.ndarray, labels: np.ndarray, weights: np.ndarray, entries: Entries
) -> tuple[float, np.ndarray]:
    """2 * weighted mean of BCE over some entries, and its gradient; 0 where nothing has weight."""
    total, gradient = 0.0, np.zeros(logits.shape)
    weight_sum = sum(float(weights[entry]) for entry in entries)
    for entry in entries:
        logit, label, weight = (float(array[entry]) for array in (logits, labels, weights))
        if weight:
            total += 2 * weight * bce(logit, label) / weight_sum
            gradient[entry] = 2 * weight * (sigmoid(logit) - label) / weight_sum
    return total, gradient


def _consistency(
    logits: np.ndarray, teacher_logits: np.ndarray, entries: Entries, count: float
) -> tuple[float, float, np.ndarray]:
    """BCE against the teacher, the teacher's entropy (sums / count), and either's gradient."""
    cross, entropy, gradient = 0.0, 0.0, np.zeros(logits.shape)
    for entry in entries:
        logit, teacher_logit = float(logits[entry]), float(teacher_logits[entry])
        soft_label = sigmoid(teacher_logit)
        cross += bce(logit, soft_label) / count
        entropy += bce(teacher_logit, soft_label) / count
        gradient[entry] = (sigmoid(logit) - soft_label) / count
    return cross, entropy, gradient


class OracleTeacher:
    """An exponential moving average of arrays; with warm-up its decay starts at 2/11."""

    def __init__(
        self, weights: Sequence[np.ndarray], *, decay: float = 0.999, warm_up: bool = True
    ) -> None:
        self.decay = decay
        self.warm_up = warm_up
        self.num_updates = 0
        self.weights = [np.array(weight, np.float64) for weight in weights]

    def update(self, weights: Sequence[np.ndarray]) -> float:
        """Moves towards `weights` and returns the decay used."""
        self.num_updates += 1
        n = self.num_updates
        decay = min(self.decay, (1 + n) / (10 + n)) if self.warm_up else self.decay
        for position, weight in enumerate(weights):
            old = self.weights[position]
            self.weights[position] = decay * old + (1 - decay) * np.asarray(weight, np.float64)
        return decay


def plateau_epoch(losses: Sequence[float]) -> int | None:
    """First active epoch, from 1, given the loss sums of the epochs so far; None for not yet.

    The answer may be len(losses) + 1: the epoch about to start.
    """
    loss_of = dict(enumerate(losses, start=1))
    for epoch in range(9, len(losses) + 2):
        if loss_of[epoch - 2] - loss_of[epoch - 1] < (loss_of[1] - loss_of[6]) / 200:
            return epoch
    return None


class OracleAdam:
    """Adam of one array, epsilon added after the bias correction, as torch does."""

    def __init__(
        self,
        *,
        learning_rate: float = 1e-3,
        beta_1: float = 0.9,
        beta_2: float = 0.98,
        epsilon: float = 1e-8,
    ) -> None:
        self.learning_rate = learning_rate
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.num_steps = 0
        self.first: np.ndarray | float = 0.0
        self.second: np.ndarray | float = 0.0

    def step(self, weight: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Returns the new weight, float64."""
        gradient = np.asarray(gradient, np.float64)
        self.num_steps += 1
        self.first = self.beta_1 * self.first + (1 - self.beta_1) * gradient
        self.second = self.beta_2 * self.second + (1 - self.beta_2) * gradient**2
        first = self.first / (1 - self.beta_1**self.num_steps)
        second = self.second / (1 - self.beta_2**self.num_steps)
        update = first / (np.sqrt(second) + self.epsilon)
        return np.asarray(weight, np.float64) - self.learning_rate * update
