"""--mode=compare: trains the missing runs of a comparison, then writes its report."""

from datetime import UTC, datetime
from time import sleep
from typing import Any

import numpy as np

from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.files import IN_USE, is_in_use, turn_at, write_text
from ufnrec_tf.common.hashes import write_hashed_json
from ufnrec_tf.common.progress import busy, working_on
from ufnrec_tf.comparison.baselines import (
    arms_against_baseline,
    baseline_rows,
    baseline_verdict,
)
from ufnrec_tf.comparison.markdown import markdown, notes
from ufnrec_tf.comparison.numbers import Runs, is_hopeless, read_run, slice_numbers
from ufnrec_tf.comparison.plan import Plan
from ufnrec_tf.comparison.summary import arm_rows, json_value
from ufnrec_tf.comparison.tables import FILE_WIDTH, GAP, csv, latex, screen_table
from ufnrec_tf.evaluation.baselines import rank_baselines
from ufnrec_tf.evaluation.metrics import COMPARED, MAIN
from ufnrec_tf.evaluation.user_groups import make_slices
from ufnrec_tf.report.comparison_page import page
from ufnrec_tf.report.judgement import (
    EXPLANATION,
    FORMAT_VERSION,
    METHOD,
    headline,
    headlines,
)
from ufnrec_tf.runs.child_process import run_child
from ufnrec_tf.runs.state import Interrupted
from ufnrec_tf.training.build import metrics_of

WAIT_SECONDS = 5.0
"""Between two looks at runs that other processes hold."""


class Comparison:
    """Trains the missing runs of a plan, one at a time, and writes the report.

    Several processes may do so at once: a run that another one holds is skipped and tried later.

    Args:
        plan: The arms, seeds and data.
        record: The contents of config.json; see `comparison_record`.
        arguments: The command line without the program.
        display: The screen.
    """

    def __init__(
        self, plan: Plan, record: dict[str, Any], *, arguments: list[str], display: Display
    ) -> None:
        self.plan = plan
        self._record = record
        self._arguments = arguments
        self._display = display
        self._failed: dict[tuple[str, int], str] = {}
        self._read: Runs = {}
        self._seconds: list[float] = []
        self._judged: dict[tuple[Any, ...], bool] = {}
        self._baselines: dict[str, dict[str, np.ndarray]] = {}

    def run(self) -> dict[str, Any]:
        """Trains the missing runs, seed by seed, writes the report and returns comparison.json.

        The report is shown, too, but to a Python program, which gets an object that shows itself.

        Raises:
            UserError: At the end, if runs have failed.
            Interrupted: After a signal, once the running one has written its checkpoint.
        """
        num_before = len(self._finished())
        total = len(self.plan.run_keys())
        if num_before:
            self._display.notes.line(f"  {num_before} of {total} runs are done")
        for note in self.plan.weights_notes():
            self._display.line(f"  {note}")
        # Once for all arms and seeds, and before them: a stopped comparison writes its report soon.
        config = self.plan.config
        self._baselines = rank_baselines(
            config.comparison.baselines, self.plan.split, mask=config.evaluation.mask
        )
        try:
            self._train_missing()
        except Interrupted:
            self.write()
            self._display.notes.line(
                "  stopped; the report has the finished runs. The same command trains the rest."
            )
            raise
        summary = self.write()
        if not self._display.in_python:
            self._show_report(summary)
        if self._failed:
            (arm, seed), words = next(iter(self._failed.items()))
            raise UserError(
                f"{len(self._failed)} of {total} runs failed, first {arm}, seed {seed} ({words}). "
                f"{self.plan.run_path(arm, seed)}/log.txt has the rest; the same command tries "
                "again."
            )
        return summary

    def _train_missing(self) -> None:
        """Trains the missing runs, the earliest free one first; writes a report after each seed."""
        waiting, is_announced = self.plan.run_keys(), False
        while waiting:
            num_before = len(self._read) + len(self._failed)
            settled = next((key for key in waiting if self._settle(*key, waiting)), None)
            if settled is None:
                if not is_announced:
                    names = ", ".join(f"{arm}/{seed}" for arm, seed in waiting)
                    self._display.notes.line(f"  waiting for {names}, in other processes")
                is_announced = True
                sleep(WAIT_SECONDS)
                continue
            waiting.remove(settled)
            is_new = len(self._read) + len(self._failed) > num_before
            if is_new and waiting and all(seed != settled[1] for _, seed in waiting):
                self.write()

    def _settle(self, arm: str, seed: int, waiting: list[tuple[str, int]]) -> bool:
        """Trains a run unless it is done or ruled out; returns False if it has to wait."""
        if self.plan.is_done(arm, seed):
            return True
        if self.plan.config.comparison.stop_hopeless:
            earlier = self.plan.seeds[: self.plan.seeds.index(seed)]
            judged_by = (arm, self.plan.reference)
            if any(name in judged_by and number in earlier for name, number in waiting):
                return False  # else the order in which processes end would decide
            if self.stopped_after(arm, seed):
                return True
        return not is_in_use(self.plan.run_path(arm, seed)) and self._train(arm, seed)

    def _train(self, arm: str, seed: int) -> bool:
        """Trains one run; returns False, without training, if another process holds it."""
        path = self.plan.run_path(arm, seed)
        path.mkdir(parents=True, exist_ok=True)
        with busy(self._display, f"training {arm}/{seed}") as show_line:
            ended = run_child(
                [*self._arguments, f"--config.comparison.run={arm}/{seed}"],
                path / "log.txt",
                show=show_line,
            )
        if ended.exit_code and IN_USE in ended.last_words:
            return False
        if not self.plan.is_done(arm, seed):
            words = ended.last_words.removeprefix("error: ")
            self._failed[arm, seed] = words or f"exit code {ended.exit_code}"
            self._display.line(f"  {arm}, seed {seed}: failed: {self._failed[arm, seed]}")
            return True
        self._failed.pop((arm, seed), None)
        self._show_run(arm, seed, ended.seconds)
        return True

    def _show_run(self, arm: str, seed: int, seconds: float) -> None:
        runs = self._finished()
        result = runs[arm, seed].result
        values = ", ".join(f"{name.upper()} {result['test'][name]:.4f}" for name in COMPARED)
        total = len(self.plan.run_keys())
        self._display.notes.line(
            f"  {arm}, seed {seed}: {values} (test), {result['protocol']['weights']} weights of "
            f"epoch {result['protocol']['selected_epoch']}; {seconds:.0f} s; {len(runs)} of {total}"
            f"{self._left(seconds, total - len(runs))}"
        )

    def _left(self, seconds: float, count: int) -> str:
        """Returns the time that `count` more runs will take, by those that this process trained."""
        self._seconds.append(seconds)
        mean = sum(self._seconds) / len(self._seconds)
        return f", about {mean * count / 60:.1f} min left" if count else ""

    def _finished(self) -> Runs:
        keys = self.plan.run_keys()
        for key in keys:
            if key not in self._read and self.plan.is_done(*key):
                self._read[key] = read_run(self.plan.run_path(*key), self.plan.split)
        return {key: self._read[key] for key in keys if key in self._read}

    def stopped_after(self, arm: str, seed: int) -> list[int]:
        """Returns the earlier seeds after which the stopping rule ended the arm, or none."""
        settings = self.plan.config.comparison
        if not settings.stop_hopeless or arm == self.plan.reference:
            return []
        runs = self._finished()
        before = self.plan.seeds[: self.plan.seeds.index(seed)]
        for number in range(1, len(before) + 1):
            if self._is_hopeless(arm, runs, before[:number]):
                return list(before[:number])
        return []

    def _is_hopeless(self, arm: str, runs: Runs, seeds: tuple[int, ...]) -> bool:
        """True if the stopping rule ends the arm after these seeds; judged once for each set."""
        reference = self.plan.reference
        keys = [key for key in runs if key[0] in (arm, reference) and key[1] in seeds]
        asked = (arm, *keys)
        if asked not in self._judged:
            settings = self.plan.config.comparison
            self._judged[asked] = is_hopeless(
                {key: runs[key] for key in keys},
                arm,
                reference,
                metric=self.plan.config.training.monitor or MAIN,
                margin=settings.stop_hopeless,
                chosen=metrics_of(self.plan.config),
            )
        return self._judged[asked]

    def write(self) -> dict[str, Any]:
        """Writes comparison.json, .md, .csv, .tex and report.html; returns the first of them."""
        summary = json_value(self._summary())
        with turn_at(self.plan.path):
            write_hashed_json(self.plan.path / "comparison.json", summary)
            write_text(self.plan.path / "comparison.md", markdown(summary))
            write_text(self.plan.path / "comparison.csv", csv(summary))
            write_text(self.plan.path / "comparison.tex", latex(summary))
            write_text(self.plan.path / "report.html", page(summary))
        return summary

    @working_on("testing the differences")
    def _summary(self) -> dict[str, Any]:
        plan, runs, config = self.plan, self._finished(), self._record["config"]
        settings, training = plan.config.comparison, config["training"]
        chosen = metrics_of(plan.config)
        compared = chosen.compared(training["monitor"])
        rows = arm_rows(
            plan.arms,
            runs,
            plan.reference,
            config=config,
            margin=settings.margin,
            num_resamples=settings.resamples,
            metrics=compared,
            chosen=chosen,
        )
        names = [arm.name for arm in plan.arms]
        against = arms_against_baseline(runs, names, self._baselines, plan.split)
        rows = [{**row, "against_baseline": against[row["name"]]} for row in rows]
        return {
            "format_version": FORMAT_VERSION,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "verdict": headline(rows, plan.reference),
            "baseline_verdict": baseline_verdict(rows),
            "reference": plan.reference,
            "seeds": plan.seeds,
            "arms": rows,
            "baselines": baseline_rows(self._baselines, chosen),
            "slices": slice_numbers(runs, make_slices(plan.split), names, plan.reference),
            "missing": self._missing(runs),
            "data": {
                **plan.split.interactions.as_json(),
                "evaluated_users": len(plan.split.evaluated_users("test")),
            },
            "split": plan.split.name,
            "protocol": _shared_protocol(runs),
            "selection": {
                "metric": training["monitor"] or "none: the last weights",
                "every_epochs": config["evaluation"]["every"],
                "weights": config["evaluation"]["weights"],
                "scores_both": plan.scores_both,
            },
            "budget": {key: training[key] for key in ("num_epochs", "max_steps", "patience")},
            "stop_hopeless": settings.stop_hopeless,
            "statistics": {
                **METHOD,
                "margin": settings.margin,
                "resamples": settings.resamples,
                "seed": 0,
            },
            "explanation": EXPLANATION,
            "weights_notes": plan.weights_notes(),
            **{key: self._record[key] for key in ("versions", "git_commit", "command_line")},
            "config": config,
            **({"compared": compared} if compared != COMPARED else {}),
        }

    def _missing(self, runs: Runs) -> list[dict[str, Any]]:
        """Returns the runs that are missing from the report, each with the reason."""
        missing = []
        for arm, seed in self.plan.run_keys():
            if (arm, seed) in runs:
                continue
            if (arm, seed) in self._failed:
                why = f"failed: {self._failed[arm, seed]}"
            elif stopped := self.stopped_after(arm, seed):
                after = ", ".join(map(str, stopped))
                why = f"not run: by the stopping rule, after seed {after}"
            elif is_in_use(self.plan.run_path(arm, seed)):
                why = "another process is training it"
            else:
                why = "not trained yet"
            missing.append({"arm": arm, "seed": seed, "why": why})
        return missing

    def _show_report(self, summary: dict[str, Any]) -> None:
        display, path = self._display, self.plan.path
        for words in headlines(summary):
            display.heading(words)
        display.line()
        is_wide = display.console.is_terminal
        width = display.console.width if is_wide else FILE_WIDTH
        display.table(*screen_table(summary, width), gap=GAP)
        for note in notes(summary):
            display.line(f"  {note}")
        for gap in summary["missing"]:
            display.line(f"  missing: {gap['arm']}, seed {gap['seed']}: {gap['why']}")
        display.notes.heading("Where things are")
        display.notes.block(
            [f"{path}/report.html, comparison.md .csv .tex .json", f"{path}/runs/ARM/seed_S"],
            wraps=False,
        )


def _shared_protocol(runs: Runs) -> dict[str, Any]:
    """Returns the protocol that all runs share; what only some models read is among its leaks."""
    if not runs:
        return {}
    protocol = dict(next(iter(runs.values())).result["protocol"])
    for key in ("weights", "selected_epoch", "request_time"):
        protocol.pop(key, None)
    asked = {arm for (arm, _), run in runs.items() if "request_time" in run.result["protocol"]}
    if asked:
        line = f"{', '.join(sorted(asked))}: reads when each target was taken (request_time)"
        protocol["leaks"] = [*protocol.get("leaks", []), line]
    return protocol
