"""--mode=sweep: trains the trials, one at a time, and scores the best one on test."""

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.files import is_in_use, write_json, write_text
from ufnrec_tf.common.progress import busy
from ufnrec_tf.runs.child_process import run_child
from ufnrec_tf.runs.run_files import read_result
from ufnrec_tf.runs.state import Interrupted
from ufnrec_tf.runs.workdir import JsonLines
from ufnrec_tf.sweep.plan import SweepPlan, grid, write_best
from ufnrec_tf.sweep.summary import (
    counts_text,
    importance_text,
    markdown,
    ranked,
    setting_text,
    summary,
    table_rows,
    write_tensorboard,
)
from ufnrec_tf.sweep.trials import COMPLETE, FAILED, PRUNED, RUNNING, Outcome, Trials
from ufnrec_tf.training.build import scored_weights

if TYPE_CHECKING:
    from optuna.trial import Trial

WAIT_SECONDS = 2.0
"""Time between two looks at a trial that another process still trains."""
FIRST_FAILURES = 3
"""If as many trials fail and none before them succeeded, the sweep stops: all would fail."""


class Sweep:
    """Trains the missing trials of a sweep, then scores the best one on test.

    Args:
        plan: The plan of the sweep.
        record: The content of the sweep's config.json.
        display: The screen.

    Raises:
        UserError: If the file of trials cannot be read, or a grid has no end.
    """

    def __init__(self, plan: SweepPlan, record: dict[str, Any], *, display: Display) -> None:
        self.plan, self._record, self._display = plan, record, display
        settings = plan.config.sweep
        points = grid(plan.space) if settings.sampler == "grid" else []
        self._limit = min(settings.trials, len(points) or settings.trials)
        self.trials = Trials(
            plan.path,
            plan.space,
            grid=points,
            sampler=settings.sampler,
            seed=plan.seed,
            startup_trials=settings.startup_trials,
            prune_after=settings.prune_after,
        )

    def run(self) -> None:
        """Runs the missing trials, then scores, writes and shows.

        Raises:
            UserError: If no trial completes.
            Interrupted: After a signal, once the running trial has written its checkpoint.
        """
        notes, known = self._display.notes, self.trials.outcomes()
        if known:
            notes.line(f"  resuming; {counts_text(known)}, of {self._limit}")
        try:
            while not self._is_over():
                self._train(self.trials.ask())
                self._write_results()
            self._score_best()
        except Interrupted:
            self._write_results()
            notes.line(
                "  stopped; the running trial has a checkpoint. The same command resumes it."
            )
            raise
        self._show_results(self._write_results())

    def _is_over(self) -> bool:
        """Returns True if no further trial is to begin."""
        found = self.trials.outcomes()
        ended = [trial for trial in found if trial.state != RUNNING]
        if len(ended) < len(found):
            return False
        if len(ended) >= FIRST_FAILURES and all(trial.state == FAILED for trial in ended):
            raise UserError(
                f"all {len(ended)} trials failed, the first: {ended[0].error}. "
                f"{self.plan.trial_path(0)}/log.txt has the rest. Mend the settings and give "
                "another --workdir."
            )
        minutes = self.plan.config.sweep.minutes
        is_late = 0 < minutes <= sum(trial.seconds for trial in ended) / 60
        return len(ended) >= self._limit or is_late

    def _train(self, trial: "Trial") -> None:
        """Trains one trial to its end, or until it is pruned."""
        if self._is_pruned(trial):
            self._end(trial, PRUNED)
            return
        started = time.monotonic()
        try:
            code, words = self._run_process(
                trial.number,
                trial.params,
                label=f"trial {trial.number:04} of {self._limit}",
                finishes=False,
                is_enough=partial(self._is_pruned, trial),
            )
        finally:
            self.trials.add_seconds(trial, time.monotonic() - started)
        # Asked again although the process has ended: else it would depend on how often this
        # process looks whether a trial is pruned.
        values = self._values(trial, is_over=True)
        if self.trials.report(trial, values):
            self._end(trial, PRUNED)
        elif code == 0 and values:
            self._end(trial, COMPLETE)
        else:
            self._end(trial, FAILED, error=words or f"exit code {code}")

    def _run_process(
        self,
        number: int,
        settings: dict[str, Any],
        *,
        label: str,
        finishes: bool,
        is_enough: Any = None,
    ) -> tuple[int, str]:
        """Runs the process of a trial; returns its exit code and last words."""
        path = self.plan.trial_path(number)
        path.mkdir(parents=True, exist_ok=True)
        self._wait_for(path)
        with busy(self._display, label) as show:
            ended = run_child(
                self.plan.arguments(number, settings, finishes=finishes),
                path / "log.txt",
                show=show,
                is_enough=is_enough,
            )
        return ended.exit_code, ended.last_words.removeprefix("error: ")

    def _wait_for(self, path: Path) -> None:
        """Waits for a process that has outlived the sweep that started it."""
        is_shown = False
        while is_in_use(path):
            if not is_shown:
                self._display.notes.line(f"  waiting for {path}, which another process trains")
            is_shown = True
            time.sleep(WAIT_SECONDS)

    def _is_pruned(self, trial: "Trial") -> bool:
        return self.trials.report(trial, self._values(trial, is_over=False))

    def _values(self, trial: "Trial", *, is_over: bool) -> dict[int, float]:
        """Returns epoch to metric of a trial so far, the better of student and teacher."""
        lines = JsonLines(self.plan.trial_path(trial.number) / "metrics.jsonl").read()
        values: dict[int, float] = {}
        for line in lines:
            if line["split"] == "validation" and "mode" not in line:
                value = float(line[self.plan.metric])
                values[line["epoch"]] = max(value, values.get(line["epoch"], value))
        if is_over or not values:
            return values
        if scored_weights(self.plan.trial_config(trial.params)) == "better":
            values.pop(max(values))  # the teacher's line may still be missing
        return values

    def _end(self, trial: "Trial", state: str, *, error: str = "") -> None:
        """Ends a trial and shows its line."""
        ended = self.trials.tell(trial, state, error=error)
        outcomes = self.trials.outcomes()
        texts = [f"{key} {setting_text(value)}" for key, value in ended.settings.items()]
        done = [found for found in outcomes if found.state != RUNNING]
        left = sum(found.seconds for found in done) / len(done) * (self._limit - len(done))
        leaders = ranked(outcomes)
        leader = f", best {leaders[0].value:.4f} of {leaders[0].number:04}" if leaders else ""
        metric = "" if ended.value is None else f", {self.plan.metric} {ended.value:.4f}"
        self._display.notes.line(
            f"  trial {trial.number:04}: {error or state + metric} ({', '.join(texts)}){leader}; "
            f"{len(done)} of {self._limit}, about {left / 60:.1f} min left"
        )

    def _score_best(self) -> None:
        """Scores the best trial on the test set and exports it, unless that is done already.

        Raises:
            UserError: If no trial completed, or the best one cannot be scored.
        """
        leaders = ranked(self.trials.outcomes())
        if not leaders:
            raise UserError(
                f"no trial completed ({counts_text(self.trials.outcomes())}). Allow more with "
                "--config.sweep.trials or --config.sweep.minutes."
            )
        best = leaders[0]
        path = self.plan.trial_path(best.number)
        if (path / "result.json").exists():
            return
        label = f"test of trial {best.number:04}"
        _, words = self._run_process(best.number, best.settings, label=label, finishes=True)
        if not (path / "result.json").exists():
            raise UserError(
                f"trial {best.number:04}, the best, could not be scored on test: {words}. "
                f"{path}/log.txt has the rest; the same command tries again."
            )

    def _tests(self, outcomes: list[Outcome]) -> dict[int, dict[str, Any]]:
        """Returns number to test metrics of the trials that were scored on the test set."""
        paths = {
            found.number: self.plan.trial_path(found.number) / "result.json" for found in outcomes
        }
        return {n: read_result(path.parent)["test"] for n, path in paths.items() if path.exists()}

    def _write_results(self) -> dict[str, Any]:
        """Writes sweep.json, sweep.md, best.py and tensorboard/; returns the first of them."""
        plan, outcomes = self.plan, self.trials.outcomes()
        found = summary(
            plan,
            self._record,
            outcomes,
            importance=self.trials.importance(),
            tests=self._tests(outcomes),
        )
        write_json(plan.path / "sweep.json", found)
        write_text(plan.path / "sweep.md", markdown(plan, found, outcomes))
        for best in ranked(outcomes)[:1]:
            write_best(plan, best.number, best.settings, best.value or 0.0)
        write_tensorboard(plan, outcomes)
        return found

    def _show_results(self, found: dict[str, Any]) -> None:
        display, plan, outcomes = self._display, self.plan, self.trials.outcomes()
        display.heading(counts_text(outcomes))
        display.table(*table_rows(plan, outcomes))
        for trial in [trial for trial in outcomes if trial.error][:3]:
            display.line(f"  trial {trial.number:04} failed: {trial.error}")
        if found["importance"]:
            display.line(f"  {importance_text(found['importance'])}")
        best = f"{found['best']:04}"
        values = found["tests"][str(found["best"])]
        shown = ", ".join(f"{name.upper()} {values[name]:.4f}" for name in ("hr@10", "ndcg@10"))
        display.heading(f"Trial {best} on test: {shown}")
        display.block(found["notes"])
        display.notes.heading("Where things are")
        display.notes.block(
            [
                f"{plan.path}/best.py   --config=... trains it again",
                f"{plan.path}/trials/{best}   its work directory, exported",
                f"{plan.path}/sweep.md, sweep.json, tensorboard/",
            ],
            wraps=False,
        )
