"""--mode=sweep: a search for good settings by validation alone, a process a trial."""

import time
from functools import partial
from pathlib import Path
from typing import Any

from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.files import is_in_use, read_json, write_json, write_text
from ufnrec_tf.common.progress import busy
from ufnrec_tf.runs.child_process import run_child
from ufnrec_tf.runs.state import Interrupted
from ufnrec_tf.runs.workdir import JsonLines
from ufnrec_tf.sweep.plan import SweepPlan, write_best
from ufnrec_tf.sweep.summary import (
    counts_text,
    honesty,
    markdown,
    ranked,
    setting_text,
    summary,
    table_rows,
    write_board,
)
from ufnrec_tf.sweep.trials import COMPLETE, FAILED, PRUNED, RUNNING, Outcome, Study, Trial
from ufnrec_tf.training.build import scored_weights

WAIT_SECONDS = 2.0
"""Between two looks at a trial that an orphaned process still trains."""
FIRST_FAILURES = 3
"""Trials that fail without one before them that did not: then something else is wrong."""


class Sweep:
    """Trains what is missing of a search, one trial at a time; scores the best on test at the end.

    Args:
        plan: What is searched.
        record: Its config.json.
        display: The screen.
    """

    def __init__(self, plan: SweepPlan, record: dict[str, Any], *, display: Display) -> None:
        self.plan, self._record, self._display = plan, record, display
        settings = plan.config.sweep
        self.study = Study(
            plan.path,
            plan.axes,
            sampler=settings.sampler,
            seed=plan.seed,
            startup_trials=settings.startup_trials,
            prune_after=settings.prune_after,
        )
        self._limit = self.study.limit(settings.trials)

    def run(self) -> None:
        """Runs the missing trials, then scores, writes and shows.

        Raises:
            UserError: If no trial completes.
            Interrupted: After a signal, once the running trial has written its checkpoint.
        """
        notes, before = self._display.notes, self.study.outcomes()
        if before:
            notes.line(f"  going on; {counts_text(before)}, of {self._limit}")
        try:
            while not self._is_over():
                self._train(self.study.next())
                self._write()
            self._finish_best()
        except Interrupted:
            self._write()
            notes.line("  stopped; the running trial has a checkpoint. The same command goes on.")
            raise
        self._show(self._write())

    def _is_over(self) -> bool:
        """Whether no further trial is to begin."""
        found = self.study.outcomes()
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

    def _train(self, trial: Trial) -> None:
        """Trains one trial to its end, or until it is pruned."""
        if trial.report(self._values(trial, is_over=False)):
            self._end(trial, PRUNED)
            return
        code, words = self._run(trial.number, trial.settings, trial=trial)
        # Also where it has ended meanwhile: else how fast this process looks would decide.
        if trial.report(self._values(trial, is_over=True)):
            self._end(trial, PRUNED)
        elif code == 0 and self._values(trial, is_over=True):
            self._end(trial, COMPLETE)
        else:
            self._end(trial, FAILED, error=words or f"exit code {code}")

    def _run(
        self, number: int, settings: dict[str, Any], *, trial: Trial | None
    ) -> tuple[int, str]:
        """Runs a trial's process; returns its exit code and last words."""
        path = self.plan.trial_path(number)
        path.mkdir(parents=True, exist_ok=True)
        self._wait_for(path)
        started = time.monotonic()
        label = f"trial {number:04} of {self._limit}" if trial else f"test of trial {number:04}"
        try:
            with busy(self._display, label) as tell:
                ended = run_child(
                    self.plan.arguments(number, settings, finishes=trial is None),
                    path / "log.txt",
                    show=tell,
                    is_enough=partial(self._is_hopeless, trial) if trial else None,
                )
        finally:
            if trial is not None:
                trial.add_seconds(time.monotonic() - started)
        return ended.exit_code, ended.last_words.removeprefix("error: ")

    def _is_hopeless(self, trial: Trial) -> bool:
        return trial.report(self._values(trial, is_over=False))

    def _wait_for(self, path: Path) -> None:
        """Waits for a process that outlived the search that had started it."""
        is_told = False
        while is_in_use(path):
            if not is_told:
                self._display.notes.line(f"  waiting for {path}, which another process trains")
            is_told = True
            time.sleep(WAIT_SECONDS)

    def _values(self, trial: Trial, *, is_over: bool) -> dict[int, float]:
        """Returns epoch to metric of a trial so far, the better of student and teacher."""
        lines = JsonLines(self.plan.trial_path(trial.number) / "metrics.jsonl").read()
        found = [line for line in lines if line["split"] == "validation" and "mode" not in line]
        values: dict[int, float] = {}
        for line in found:
            value = float(line[self.plan.metric])
            values[line["epoch"]] = max(value, values.get(line["epoch"], value))
        if not is_over and values:
            weights = scored_weights(self.plan.trial_config(trial.settings))
            if weights == "better":
                values.pop(max(values))  # the teacher's line may be missing yet
        return values

    def _end(self, trial: Trial, state: str, *, error: str = "") -> None:
        values = self._values(trial, is_over=True)
        trial.end(state, value=max(values.values(), default=None), error=error)
        outcomes = self.study.outcomes()
        best = outcomes[trial.number].value
        texts = [f"{key} {setting_text(value)}" for key, value in trial.settings.items()]
        done = [found for found in outcomes if found.state != RUNNING]
        left = sum(found.seconds for found in done) / len(done) * (self._limit - len(done))
        leaders = ranked(outcomes)
        leader = f", best {leaders[0].value:.4f} of {leaders[0].number:04}" if leaders else ""
        what = error or (f"{state}, {self.plan.metric} {best:.4f}" if best is not None else state)
        self._display.notes.line(
            f"  trial {trial.number:04}: {what} ({', '.join(texts)}){leader}; {len(done)} of "
            f"{self._limit}, about {left / 60:.1f} min left"
        )

    def _finish_best(self) -> None:
        """Scores the best trial on the test set and exports it, unless that has been done.

        Raises:
            UserError: If no trial completed, or that fails.
        """
        leaders = ranked(self.study.outcomes())
        if not leaders:
            raise UserError(
                f"no trial completed ({counts_text(self.study.outcomes())}). Allow more with "
                "--config.sweep.trials or --config.sweep.minutes."
            )
        best = leaders[0]
        path = self.plan.trial_path(best.number)
        if (path / "result.json").exists():
            return
        _, words = self._run(best.number, best.settings, trial=None)
        if not (path / "result.json").exists():
            raise UserError(
                f"trial {best.number:04}, the best, could not be scored on test: {words}. "
                f"{path}/log.txt has the rest; the same command tries again."
            )

    def _tests(self, outcomes: list[Outcome]) -> dict[int, dict[str, Any]]:
        """Returns the number of each trial that was scored on the test set, and its metrics."""
        paths = {found.number: self.plan.trial_path(found.number) for found in outcomes}
        return {
            number: read_json(path / "result.json")["test"]
            for number, path in paths.items()
            if (path / "result.json").exists()
        }

    def _write(self) -> dict[str, Any]:
        """Writes sweep.json, sweep.md, best.py and TensorBoard's runs; returns the first."""
        plan, outcomes = self.plan, self.study.outcomes()
        found = summary(
            plan,
            self._record,
            outcomes,
            importance=self.study.importance(),
            tests=self._tests(outcomes),
        )
        write_json(plan.path / "sweep.json", found)
        write_text(plan.path / "sweep.md", markdown(plan, found, outcomes))
        for best in ranked(outcomes)[:1]:
            write_best(plan, best.number, best.settings, best.value or 0.0)
        write_board(plan.path / "tensorboard", plan.axes, outcomes, plan.metric)
        return found

    def _show(self, found: dict[str, Any]) -> None:
        display, plan, outcomes = self._display, self.plan, self.study.outcomes()
        display.heading(counts_text(outcomes))
        display.table(*table_rows(plan, outcomes))
        for trial in [trial for trial in outcomes if trial.error][:3]:
            display.line(f"  trial {trial.number:04} failed: {trial.error}")
        if found["importance"]:
            shares = ", ".join(f"{key} {share:.2f}" for key, share in found["importance"].items())
            display.line(f"  importance (PED-ANOVA): {shares}")
        best = f"{found['best']:04}"
        values = found["tests"][str(found["best"])]
        shown = ", ".join(f"{name.upper()} {values[name]:.4f}" for name in ("hr@10", "ndcg@10"))
        display.heading(f"Trial {best} on test: {shown}")
        display.block(honesty(plan, outcomes, sorted(map(int, found["tests"]))))
        display.notes.heading("Where things are")
        display.notes.block(
            [
                f"{plan.path}/best.py   --config=... trains it again",
                f"{plan.path}/trials/{best}   its work directory, exported",
                f"{plan.path}/sweep.md, sweep.json, tensorboard/",
            ],
            wraps=False,
        )
