"""The trials of a search and what has become of them, kept by Optuna in one file.

Nothing of the search's own state is in this process: a trial's settings follow from the seed, its
number and the trials before it, so that a search that was killed goes on as if it had not been.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ufnrec_tf.common.errors import UserError, import_extra, own_words
from ufnrec_tf.sweep.plan import Axis, grid

STUDY = "sweep"
FILE = "sweep.db"
RUNNING, COMPLETE, PRUNED, FAILED = "running", "complete", "pruned", "failed"
_STATES = {"RUNNING": RUNNING, "COMPLETE": COMPLETE, "PRUNED": PRUNED, "FAIL": FAILED}


class Outcome(NamedTuple):
    """One trial.

    Attributes:
        number: From 0; also the name of its folder.
        state: running, complete, pruned or failed.
        settings: "section.key" to value.
        value: Best validation metric, None where there is none.
        epoch: Epoch at which it was seen.
        epochs: Epochs that were evaluated, the last one's number.
        seconds: Wall time of its processes.
        error: What it failed with, or empty.
    """

    number: int
    state: str
    settings: dict[str, Any]
    value: float | None
    epoch: int
    epochs: int
    seconds: float
    error: str


def import_optuna() -> Any:
    """Returns the module, its own messages switched off.

    Raises:
        UserError: If it is not installed.
    """
    optuna = import_extra("optuna", extra="sweep", needed_by="--mode=sweep")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


class Study:
    """The trials of one search.

    Args:
        folder: Where their file is, or is made.
        axes: What is searched.
        sampler: tpe, random or grid.
        seed: Of the sampler.
        startup_trials: Trials before the sampler looks at the others, and before any is pruned.
        prune_after: Epochs of a trial before it may be pruned; below 0: it never is.

    Raises:
        UserError: If the file cannot be read or made, or a grid has no end.
    """

    def __init__(
        self,
        folder: Path,
        axes: tuple[Axis, ...],
        *,
        sampler: str,
        seed: int,
        startup_trials: int,
        prune_after: int,
    ) -> None:
        self._optuna = optuna = import_optuna()
        from sqlalchemy.engine import URL

        self.path = folder / FILE
        self._axes, self._sampler_name, self._seed = axes, sampler, seed
        self._startup_trials = startup_trials
        self._grid = grid(axes) if sampler == "grid" else []
        pruner: Any = optuna.pruners.NopPruner()
        if prune_after >= 0:
            pruner = optuna.pruners.MedianPruner(
                n_startup_trials=startup_trials, n_warmup_steps=prune_after
            )
        with self._on_disk():
            self._study = optuna.create_study(
                storage=URL.create("sqlite", database=str(self.path.resolve())).render_as_string(),
                study_name=STUDY,
                direction="maximize",
                load_if_exists=True,
                pruner=pruner,
            )

    @contextmanager
    def _on_disk(self) -> Iterator[None]:
        """Makes one line of what the file's library says.

        Raises:
            UserError: If the file cannot be read or written.
        """
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (SQLAlchemyError, self._optuna.exceptions.StorageInternalError) as error:
            cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
            raise UserError(
                f"{self.path}: cannot be read or written ({own_words(cause)[:120]}). Free some "
                "space, mend its permissions, or give another --workdir."
            ) from error

    def limit(self, asked: int) -> int:
        """Returns how many trials there will be: those asked for, or the points of a grid."""
        return min(asked, len(self._grid)) if self._grid else asked

    def outcomes(self) -> list[Outcome]:
        """Returns all trials, by number."""
        with self._on_disk():
            return [_outcome(trial) for trial in self._study.get_trials(deepcopy=False)]

    def next(self) -> "Trial":
        """Returns the trial that was cut short, or else a new one."""
        with self._on_disk():
            for frozen in self._study.get_trials(deepcopy=False):
                if not frozen.state.is_finished():
                    self._study.sampler = self._sampler(frozen.number)
                    return Trial(
                        self, self._optuna.trial.Trial(self._study, frozen._trial_id), self._axes
                    )
            self._study.sampler = self._sampler(len(self._study.get_trials(deepcopy=False)))
            return Trial(self, self._study.ask(), self._axes)

    def _sampler(self, number: int) -> Any:
        """Returns the sampler of a trial, which remembers nothing but the trials."""
        samplers = self._optuna.samplers
        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        if self._sampler_name == "grid":
            return samplers.PartialFixedSampler(self._grid[number], samplers.RandomSampler(seed))
        if self._sampler_name == "random":
            return samplers.RandomSampler(seed)
        return samplers.TPESampler(n_startup_trials=self._startup_trials, seed=seed)

    def tell(self, trial: Any, state: str, value: float | None = None) -> None:
        """Ends a trial."""
        states = {word: name for name, word in _STATES.items()}
        with self._on_disk():
            self._study.tell(
                trial,
                value if state == COMPLETE else None,
                state=self._optuna.trial.TrialState[states[state]],
            )

    def importance(self) -> dict[str, float]:
        """Returns the share of each key in what sets the better trials apart, largest first.

        By PED-ANOVA, which looks at the distribution of the settings of the better trials; empty
        below ten complete trials or where it finds nothing.

        Source: Watanabe, Bansal, Hutter, "PED-ANOVA: Efficiently Quantifying Hyperparameter
        Importance in Arbitrary Subspaces", IJCAI 2023.
        """
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        done = [found for found in self.outcomes() if found.state == COMPLETE]
        if len(done) < 10 or len({found.value for found in done}) < 2 or len(self._axes) < 2:
            return {}
        with self._on_disk():
            found = get_param_importances(self._study, evaluator=PedAnovaImportanceEvaluator())
        return {key: float(value) for key, value in found.items() if np.isfinite(value)}


class Trial:
    """One trial that is under way.

    Args:
        study: Its search.
        trial: Optuna's.
        axes: What is searched.

    Attributes:
        number: Its number.
        settings: "section.key" to value.
    """

    def __init__(self, study: Study, trial: Any, axes: tuple[Axis, ...]) -> None:
        self._study, self._trial = study, trial
        self.number: int = trial.number
        self.settings = {axis.key: _suggest(trial, axis) for axis in axes}
        self._seen: set[int] = set(trial.study.trials[self.number].intermediate_values)

    def report(self, values: dict[int, float]) -> bool:
        """Takes the metric of further epochs; returns whether the trial is to be pruned."""
        with self._study._on_disk():
            for epoch in sorted(set(values) - self._seen):
                self._trial.report(values[epoch], epoch)
                self._seen.add(epoch)
                if self._trial.should_prune():
                    return True
            return bool(self._seen) and bool(self._trial.should_prune())

    def add_seconds(self, seconds: float) -> None:
        """Counts the wall time of a process of the trial."""
        with self._study._on_disk():
            before = self._trial.user_attrs.get("seconds", 0.0)
            self._trial.set_user_attr("seconds", before + seconds)

    def end(self, state: str, *, value: float | None = None, error: str = "") -> None:
        """Ends the trial."""
        with self._study._on_disk():
            if error:
                self._trial.set_user_attr("error", error)
        self._study.tell(self._trial, state, value)


def _suggest(trial: Any, axis: Axis) -> Any:
    if axis.choices:
        return trial.suggest_categorical(axis.key, list(axis.choices))
    if axis.is_whole:
        step = axis.step or 1
        return trial.suggest_int(axis.key, axis.low, axis.high, step=step, log=axis.is_log)
    step = axis.step or None
    return trial.suggest_float(axis.key, axis.low, axis.high, step=step, log=axis.is_log)


def _outcome(trial: Any) -> Outcome:
    values = trial.intermediate_values
    best = max(values.values(), default=None)
    return Outcome(
        number=trial.number,
        state=_STATES.get(trial.state.name, RUNNING),
        settings=dict(trial.params),
        value=best,
        epoch=min((epoch for epoch, value in values.items() if value == best), default=0),
        epochs=max(values, default=0),
        seconds=float(trial.user_attrs.get("seconds", 0.0)),
        error=str(trial.user_attrs.get("error", "")),
    )
