"""The trials of a sweep, which Optuna chooses, prunes and keeps in one file.

This process keeps no state of the sweep: the settings of a trial follow from the seed, the number
of the trial and the trials before it. So a killed sweep chooses the same trials as an unbroken one.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ufnrec_tf.common.errors import UserError, import_extra, own_words

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, Trial

    Space = Mapping[str, BaseDistribution]

STUDY = "sweep"
FILE = "sweep.db"
RUNNING, COMPLETE, PRUNED, FAILED = "running", "complete", "pruned", "failed"
_OPTUNA_NAMES = {RUNNING: "RUNNING", COMPLETE: "COMPLETE", PRUNED: "PRUNED", FAILED: "FAIL"}


class Outcome(NamedTuple):
    """One trial as it is in sweep.json.

    Attributes:
        number: Its number from 0, which also names its folder.
        state: running, complete, pruned or failed.
        settings: "section.key" to value.
        value: Best validation metric, or None before the first evaluation.
        epoch: Epoch of the best metric.
        epochs: Last evaluated epoch.
        seconds: Wall time of its processes.
        error: Error with which it failed, or empty.
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


class Trials:
    """The trials of one sweep.

    Args:
        folder: Folder of their file, which is made if there is none.
        space: Key to the distribution of its values.
        grid: All combinations, to try each of them in turn; empty for another sampler.
        sampler: tpe, random or grid.
        seed: Seed of the sampler.
        startup_trials: Trials that tpe draws at random, and before which none is pruned.
        prune_after: Epochs of a trial before it may be pruned; below 0: no trial is pruned.

    Raises:
        UserError: If the file cannot be read or made.
    """

    def __init__(
        self,
        folder: Path,
        space: "Space",
        *,
        grid: list[dict[str, Any]],
        sampler: str,
        seed: int,
        startup_trials: int,
        prune_after: int,
    ) -> None:
        self._optuna = optuna = import_optuna()
        from sqlalchemy.engine import URL

        self.path = folder / FILE
        self._space, self._grid, self._sampler_name = space, grid, sampler
        self._seed, self._startup_trials = seed, startup_trials
        pruner: Any = optuna.pruners.NopPruner()
        if prune_after >= 0:
            pruner = optuna.pruners.MedianPruner(
                n_startup_trials=startup_trials, n_warmup_steps=prune_after
            )
        with self._file_errors():
            self._study = optuna.create_study(
                storage=URL.create("sqlite", database=str(self.path.resolve())).render_as_string(),
                study_name=STUDY,
                direction="maximize",
                load_if_exists=True,
                pruner=pruner,
            )

    @contextmanager
    def _file_errors(self) -> Iterator[None]:
        """Raises a UserError if the file cannot be read or written."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (SQLAlchemyError, self._optuna.exceptions.StorageInternalError) as error:
            cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
            raise UserError(
                f"{self.path}: cannot be read or written ({own_words(cause)[:120]}). Free some "
                "space, mend its permissions, or give another --workdir."
            ) from error

    def outcomes(self) -> list[Outcome]:
        """Returns all trials, by number."""
        with self._file_errors():
            return [_outcome(trial) for trial in self._study.get_trials(deepcopy=False)]

    def ask(self) -> "Trial":
        """Returns the trial that was cut short, or else a new one, with all its settings."""
        study = self._study
        with self._file_errors():
            known = study.get_trials(deepcopy=False)
            cut_short = next((trial for trial in known if not trial.state.is_finished()), None)
            study.sampler = self._sampler(cut_short.number if cut_short else len(known))
            if cut_short:
                trial = self._optuna.trial.Trial(study, cut_short._trial_id)
            else:
                trial = study.ask()
            for key, values in self._space.items():
                _suggest(trial, key, values)
            return trial

    def _sampler(self, number: int) -> Any:
        """Returns the sampler of a trial, which depends on nothing but the trials before it."""
        samplers = self._optuna.samplers
        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        if self._sampler_name == "grid":
            return samplers.PartialFixedSampler(self._grid[number], samplers.RandomSampler(seed))
        if self._sampler_name == "random":
            return samplers.RandomSampler(seed)
        return samplers.TPESampler(n_startup_trials=self._startup_trials, seed=seed)

    def report(self, trial: "Trial", values: Mapping[int, float]) -> bool:
        """Reports the metric of epochs; returns True if the trial is to be pruned.

        An epoch that follows the one at which the trial was to be pruned is not reported: whether
        it was still evaluated depends on how fast the process ends.
        """
        with self._file_errors():
            known = self._study.get_trials(deepcopy=False)[trial.number].intermediate_values
            if known and trial.should_prune():
                return True
            for epoch in sorted(set(values) - set(known)):
                trial.report(values[epoch], epoch)
                if trial.should_prune():
                    return True
            return False

    def add_seconds(self, trial: "Trial", seconds: float) -> None:
        """Adds to the wall time of a trial's processes."""
        with self._file_errors():
            trial.set_user_attr("seconds", trial.user_attrs.get("seconds", 0.0) + seconds)

    def tell(self, trial: "Trial", state: str, *, error: str = "") -> Outcome:
        """Ends a trial and returns its outcome."""
        with self._file_errors():
            if error:
                trial.set_user_attr("error", error)
            value = self.outcomes()[trial.number].value if state == COMPLETE else None
            self._study.tell(
                trial, value, state=self._optuna.trial.TrialState[_OPTUNA_NAMES[state]]
            )
        return self.outcomes()[trial.number]

    def importance(self) -> dict[str, float]:
        """Returns the importance of each key for the better trials, the largest first.

        By PED-ANOVA, which compares how the settings of the better trials are distributed. Empty
        below ten complete trials, or where it finds nothing.

        Source: Watanabe, Bansal, Hutter, "PED-ANOVA: Efficiently Quantifying Hyperparameter
        Importance in Arbitrary Subspaces", IJCAI 2023.
        """
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        done = [found for found in self.outcomes() if found.state == COMPLETE]
        if len(done) < 10 or len({found.value for found in done}) < 2 or len(self._space) < 2:
            return {}
        with self._file_errors():
            found = get_param_importances(self._study, evaluator=PedAnovaImportanceEvaluator())
        return {key: float(value) for key, value in found.items() if np.isfinite(value)}


def _suggest(trial: "Trial", key: str, values: Any) -> None:
    if hasattr(values, "choices"):
        trial.suggest_categorical(key, values.choices)
        return
    suggest: Any = trial.suggest_int if isinstance(values.low, int) else trial.suggest_float
    suggest(key, values.low, values.high, step=values.step, log=values.log)


def _outcome(trial: "FrozenTrial") -> Outcome:
    values = trial.intermediate_values
    best = max(values.values(), default=None)
    words = {name: word for word, name in _OPTUNA_NAMES.items()}
    return Outcome(
        number=trial.number,
        state=words.get(trial.state.name, RUNNING),
        settings=dict(trial.params),
        value=best,
        epoch=min((epoch for epoch, value in values.items() if value == best), default=0),
        epochs=max(values, default=0),
        seconds=float(trial.user_attrs.get("seconds", 0.0)),
        error=str(trial.user_attrs.get("error", "")),
    )
