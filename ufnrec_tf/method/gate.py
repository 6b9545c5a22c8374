"""The gate, which decides when memory and teacher start."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

FIRST_PLATEAU_EPOCH = 9
"""The plateau gate's earliest epoch, numbered from 1."""


class Gate(ABC):
    """Decides, after each epoch, whether the gate opens before the next step.

    Attributes:
        state: The values that a checkpoint stores; plain JSON.
    """

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def opens_at_start(self) -> bool:
        """Returns True if the gate is open at the first step."""
        return False

    @abstractmethod
    def opens_after(self, *, epoch: int, loss_sum: float, metric: float | None) -> bool:
        """Returns True if the gate opens now; called once an epoch until it has opened.

        Args:
            epoch: Epochs completed.
            loss_sum: Sum of the loss over the epoch's steps.
            metric: The validation metric after the epoch, None where it was not evaluated.
        """


class NeverGate(Gate):
    """A gate that never opens."""

    def opens_after(self, *, epoch: int, loss_sum: float, metric: float | None) -> bool:
        """Returns False."""
        return False


class EpochsGate(Gate):
    """Opens after a fixed number of epochs; 0 opens it at the first step."""

    def __init__(self, num_epochs: int) -> None:
        super().__init__()
        self.num_epochs = num_epochs

    def opens_at_start(self) -> bool:
        """Returns True if no epoch has to pass."""
        return self.num_epochs == 0

    def opens_after(self, *, epoch: int, loss_sum: float, metric: float | None) -> bool:
        """Returns True if enough epochs have passed."""
        return epoch >= self.num_epochs


class PlateauGate(Gate):
    """The authors' gate: opens once an epoch's loss falls by less than a 200th of the first fall.

    With epoch loss sums L1, L2, ...: open from the first step of epoch e >= 9 once
    L[e-2] - L[e-1] < (L[1] - L[6]) / 200. Any rise of the loss opens it too.

    Source: released code of arXiv 2208.04116.
    """

    def __init__(self) -> None:
        super().__init__()
        self.state = {"loss_sums": []}

    def opens_after(self, *, epoch: int, loss_sum: float, metric: float | None) -> bool:
        """Returns True if the loss has reached its plateau."""
        sums = self.state["loss_sums"]
        sums.append(loss_sum)
        if len(sums) + 1 < FIRST_PLATEAU_EPOCH:
            return False
        return bool(sums[-2] - sums[-1] < (sums[0] - sums[5]) / 200)


class ValidationGate(Gate):
    """Opens when the best validation metric has hardly risen over some evaluations.

    Args:
        patience: Evaluations over which the best metric must rise to keep the gate shut.
        floor: Evaluations below this metric do not count. A model first learns which items are
            popular and pauses there; a gate that opens then does harm.
        least_rise: Relative rise of the best metric that keeps the gate shut; 0 for any rise.
    """

    def __init__(self, patience: int, floor: float = 0.0, least_rise: float = 0.0) -> None:
        super().__init__()
        self.patience = patience
        self.floor = floor
        self.least_rise = least_rise
        self.state = {"bests": []}

    def opens_after(self, *, epoch: int, loss_sum: float, metric: float | None) -> bool:
        """Returns True if the metric has hardly risen."""
        if metric is None:
            return False
        bests = self.state["bests"]
        best = max([metric, *bests[-1:]])
        if best >= self.floor:
            bests.append(best)
        if len(bests) <= self.patience:
            return False
        return bests[-1] <= bests[-1 - self.patience] * (1.0 + self.least_rise)


GATES: dict[str, Callable[[Any, float], Gate]] = {
    "never": lambda settings, floor: NeverGate(),
    "epochs": lambda settings, floor: EpochsGate(settings.epochs),
    "plateau": lambda settings, floor: PlateauGate(),
    "validation": lambda settings, floor: ValidationGate(
        settings.patience, floor, settings.least_rise
    ),
}
"""Value of `gate.kind` to a function that makes the gate, from the `gate` section and the metric's
floor."""
