"""The loop around steps and epochs: scores, selection, gate, checkpoints, stopping."""

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras

from ufnrec_tf.backbones.base import Backbone
from ufnrec_tf.common.compiled_programs import seal_programs
from ufnrec_tf.common.display import Display, ProgressBar
from ufnrec_tf.common.distribution import ALONE, Workers
from ufnrec_tf.common.errors import UserError, end_at_once
from ufnrec_tf.common.tensorflow_setup import give_back
from ufnrec_tf.evaluation.evaluator import NotFiniteError, RankingEvaluator
from ufnrec_tf.method.gate import Gate
from ufnrec_tf.method.model import UFNRecModel
from ufnrec_tf.method.step_state import NEVER, TOTALS, StepState
from ufnrec_tf.runs.checkpoints import GATE, CheckpointStore, named_variables
from ufnrec_tf.runs.state import WARM_UP_STEPS, Interrupted, LoopSettings, Progress, Stopwatch
from ufnrec_tf.runs.tensorboard_files import CURVES, END_PART, Board
from ufnrec_tf.runs.workdir import JsonLines
from ufnrec_tf.training.tensorboard_content import write_scalars

Scored = Callable[[], tuple[str, Backbone]]
"""Returns which weights stand for the run now, `student` or `teacher`, and their backbone."""


class RunScores:
    """Scores weights on a part of the split and records them in metrics.jsonl and TensorBoard.

    Args:
        evaluators: Part to evaluator: `settings.selects_on` and, but for a teacher, `test`.
        metrics_log: metrics.jsonl.
        board: TensorBoard.
        settings: The times of evaluations, checkpoints and the end.
        progress: The run's progress; timing and the better weights are changed in place.
    """

    def __init__(
        self,
        *,
        evaluators: dict[str, RankingEvaluator],
        metrics_log: JsonLines,
        board: Board,
        settings: LoopSettings,
        progress: Progress,
    ) -> None:
        self.evaluators = evaluators
        self.metrics_log = metrics_log
        self.board = board
        self.settings = settings
        self.progress = progress

    def validate(self, scored: Scored) -> dict[str, float]:
        """Returns the metrics of the run's weights on the part that selects.

        Where both are asked for, the better of student and teacher from now on stand for it.
        """
        part = self.settings.selects_on
        if self.settings.weights != "better":
            return self.evaluate(part, *scored())
        name, metrics = self.settings.monitor or "ndcg@10", {}
        for weights in ("student", "teacher"):
            self.progress.better_weights = weights
            label, backbone = scored()
            metrics[label] = self.evaluate(part, label, backbone)
            if label != weights:  # there is no teacher
                break
        self.progress.better_weights = max(metrics, key=lambda label: metrics[label][name])
        better = metrics[self.progress.better_weights]
        self._write_ranking_scalars(part, better)
        return better

    def evaluate(self, part: str, weights: str, backbone: Backbone) -> dict[str, float]:
        """Returns the metrics of a backbone on a part of the split; `weights` is their kind."""
        try:
            result = self.evaluators[part].evaluate(backbone)
        except NotFiniteError as error:
            raise UserError(
                f"evaluation after step {self.progress.step}: {error} Lower "
                "--config.optimizer.learning_rate."
            ) from error
        timing = self.progress.timing
        for name, value in (
            ("evaluation_cpu_seconds", result.cpu_seconds),
            ("evaluation_users", float(result.num_users)),
        ):
            timing[name] = timing.get(name, 0.0) + value
        self.metrics_log.append(
            {
                "step": self.progress.step,
                "epoch": self.progress.epoch,
                "split": part,
                "weights": weights,
                "protocol": self.evaluators[part].protocol(),
                **{name: self.progress.totals[name] for name in ("flips", "positions")},
                **result.metrics,
            }
        )
        is_one_of_two = self.settings.weights == "better" and part == self.settings.selects_on
        group = f"ranking_{weights}" if is_one_of_two else "ranking"
        self._write_ranking_scalars(part, result.metrics, group=group)
        return result.metrics

    def _write_ranking_scalars(
        self, part: str, metrics: dict[str, float], *, group: str = "ranking"
    ) -> None:
        scalars = {f"{group}/{name}": value for name, value in metrics.items()}
        folder = END_PART if part == END_PART else CURVES
        self.board.scalars(folder, scalars, step=self.progress.step)


def gate_store(folder: Path, backbone: Backbone) -> CheckpointStore:
    """Returns the store that keeps a backbone's weights as `GATE`."""
    # Not the trainable ones: a teacher is frozen, which empties that list.
    return CheckpointStore(folder, {"weights": named_variables(backbone.weights)})


SHOW_SECONDS = 0.5
_NUM_SLOW = 3
"""First steps that are left out of the bar's rate: they compile."""
_COMPILES_ABOVE = 10
"""A step that takes so many times as long as the shortest, and a second, has compiled a program:
there is one for each of several numbers of positions."""
POLL_STEPS = 16
"""Steps after which several workers ask each other whether to stop or to write a checkpoint."""


def step_bar(
    display: Display, label: str, settings: LoopSettings, progress: Progress, *, num_steps: int
) -> ProgressBar:
    """Returns the bar of a training of `num_steps` steps, which goes on from its progress."""
    return ProgressBar(
        display,
        label=label,
        total=num_steps,
        done=progress.step,
        may_end_early=settings.may_stop_early,
        num_slow=_NUM_SLOW,
    )


class TrainingLoop(keras.callbacks.Callback):
    """The Keras callback around the steps of one `keras.Model.fit`.

    After an epoch: evaluate, keep the best weights, ask the gate, write metrics and
    TensorBoard, checkpoint, stop. Between steps: progress, signals, the step limit.

    Args:
        ufnrec: The model.
        host: The step state on the worker's host.
        gate: The rule that opens the gate.
        evaluators: Part to evaluator: `settings.selects_on` and, but for a teacher, `test`.
        best: A backbone that holds the best weights so far.
        store: The checkpoints; `best_store` those of `best`.
        metrics_log: metrics.jsonl.
        board: TensorBoard.
        bar: The progress bar.
        settings: The times of evaluations, checkpoints and the end.
        progress: The run's progress; changed in place.
        workers: The workers that train together.
    """

    def __init__(
        self,
        *,
        ufnrec: UFNRecModel,
        host: StepState,
        gate: Gate,
        evaluators: dict[str, RankingEvaluator],
        best: Backbone,
        store: CheckpointStore,
        best_store: CheckpointStore,
        metrics_log: JsonLines,
        board: Board,
        bar: ProgressBar,
        settings: LoopSettings,
        progress: Progress,
        workers: Workers = ALONE,
    ) -> None:
        super().__init__()
        self.ufnrec = ufnrec
        self.workers = workers
        self.host = host
        self.gate = gate
        self.evaluators = evaluators
        self.best = best
        self.store = store
        self.best_store = best_store
        self.board = board
        self.bar = bar
        self.settings = settings
        self.progress = progress
        self.scores = RunScores(
            evaluators=evaluators,
            metrics_log=metrics_log,
            board=board,
            settings=settings,
            progress=progress,
        )
        self._stopwatch = Stopwatch(progress.timing, workers)
        self._epoch_base = progress.step
        self._fit_first = progress.step
        self._read_at_start = {"users": 0.0, "positions": 0.0}
        self._shown = self._saved = self._step_began = time.monotonic()
        self._shortest_step = float("inf")
        self._saved_step = -1
        self.signal = 0
        self._metric_text = ""

    # Between steps.

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Records the step at which the epoch begins."""
        self._epoch_base = self.progress.step
        if self.progress.step - self._fit_first >= WARM_UP_STEPS:
            self._start_stopwatch()
        self._step_began = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Counts the step, shows progress, and stops if asked to."""
        progress, settings = self.progress, self.settings
        self._leave_out_compiling(time.monotonic() - self._step_began)
        progress.step = self._epoch_base + batch + 1
        if "first_step_at" not in progress.timing:
            # Unix time, from which a caller can compute how long the start took, and its CPU time.
            progress.timing["first_step_at"] = time.time()
            progress.timing["first_step_cpu_seconds"] = time.process_time()
        if not self._stopwatch.is_running and progress.step - self._fit_first >= WARM_UP_STEPS:
            self._start_stopwatch()
        if progress.step == self._fit_first + 1:
            give_back()  # what compiling took
        if 0 < settings.max_steps <= progress.step:
            self.ufnrec.stop_training = True
        elif progress.step % settings.steps_per_epoch:  # else once this has been evaluated
            self._poll()
        now = time.monotonic()
        if now - self._shown >= SHOW_SECONDS:
            self._shown = now
            self._check_finite()
            self.bar.update(
                progress.step, self._epoch_text(progress.epoch + 1, self.host.read_sums())
            )
        self._step_began = time.monotonic()

    def _leave_out_compiling(self, seconds: float) -> None:
        """Takes a step that has compiled a program out of the bar's time left."""
        if seconds > max(_COMPILES_ABOVE * self._shortest_step, 1.0):
            self.bar.leave_out(seconds - self._shortest_step)
        self._shortest_step = min(self._shortest_step, seconds)

    def _poll(self) -> None:
        """Stops, or writes a checkpoint, within an epoch if either is due."""
        if self.workers.count > 1 and self.progress.step % POLL_STEPS:
            return
        self.stop_if_asked()
        if self._is_due():
            is_timed = self._stopwatch.is_running
            self._stop_stopwatch(self.host.read_sums())
            self._check_finite()
            self.save()
            if is_timed:
                self._start_stopwatch()

    def _is_due(self) -> bool:
        """True if the chief decides that a checkpoint is due."""
        steps, seconds = self.settings.checkpoint_steps, self.settings.checkpoint_seconds
        passed = time.monotonic() - self._saved
        is_due = 0 < seconds <= passed
        if steps:
            is_due |= self.progress.step // steps > max(self._saved_step, self._fit_first) // steps
        return bool(self.workers.gather(float(is_due))[0])

    def ask_to_stop(self, number: int, frame: Any = None) -> None:
        """Signal handler: stops at the next step, at once before the first or if asked twice."""
        has_nothing = self.progress.step == self._fit_first and self.workers.count == 1
        if self.signal or has_nothing:
            end_at_once(number)
        self.signal = number

    def _start_stopwatch(self) -> None:
        self._read_at_start = self.host.read_sums()
        self._stopwatch.start()

    def _stop_stopwatch(self, sums: dict[str, float]) -> None:
        before = self._read_at_start
        self._stopwatch.stop(
            sums["users"] - before["users"], sums["positions"] - before["positions"]
        )

    def stop_if_asked(self) -> None:
        """Writes a checkpoint and raises `Interrupted` if a signal has arrived."""
        if not (number := int(self.workers.gather(self.signal).max())):
            return
        self._stop_stopwatch(self.host.read_sums())
        self._check_finite()
        self.save()
        self.bar.close(self.progress.step)
        raise Interrupted(128 + number, self.progress.step)

    def _epoch_text(self, epoch: int, sums: dict[str, float]) -> str:
        loss = f"{sums['loss'] / max(sums['steps'], 1.0):.4f}"
        return f"epoch {epoch} loss {loss}{self._metric_text}{self._speed(sums)}"

    def _speed(self, sums: dict[str, float]) -> str:
        timing, watch = self.progress.timing, self._stopwatch
        seconds, users = timing.get("train_seconds", 0.0), timing.get("train_users", 0.0)
        if watch.is_running:
            own = sums["users"] - self._read_at_start["users"]
            seconds, users = seconds + watch.seconds, users + own * self.workers.count
        return f", {users / seconds:,.0f} users/s" if seconds else ""

    def _check_finite(self) -> None:
        bad = int(self.host.first_bad_step)
        if bad == NEVER:
            return
        kept = self.store.newest()
        where = f"the checkpoint {kept} is kept" if kept else "no checkpoint was written yet"
        self.bar.close(self.progress.step)
        raise UserError(
            f"the loss was not a finite number at step {bad + 1}, epoch "
            f"{bad // self.settings.steps_per_epoch + 1}; {where}. Lower "
            "--config.optimizer.learning_rate or set --config.optimizer.clip_norm=1, with another "
            "--workdir."
        )

    # After an epoch.

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Evaluates, selects, opens the gate, records, checkpoints and stops, in this order."""
        self._stop_stopwatch(self.host.read_sums())
        sums = self.host.read_all_sums(clear=True)
        self._check_finite()
        give_back()
        seal_programs()
        progress, settings = self.progress, self.settings
        logs = {} if logs is None else logs  # what the callbacks of a user get, after this one
        logs["loss"] = sums["loss"] / max(sums["steps"], 1.0)
        is_whole = progress.step % settings.steps_per_epoch == 0
        progress.epoch = progress.step // settings.steps_per_epoch
        for name in TOTALS:
            progress.totals[name] = progress.totals.get(name, 0.0) + sums[name]
        metric = None
        if self.ufnrec.stop_training or progress.epoch % settings.every == 0:
            name = settings.monitor or "ndcg@10"
            scores = self.scores.validate(self.scored)
            metric = scores[name]
            self._metric_text = f", {name} {metric:.4f}"
            # MLflow takes no @ in a name.
            logs |= {f"val_{key.replace('@', '_')}": value for key, value in scores.items()}
        if settings.test_every and progress.epoch % settings.test_every == 0:
            self.scores.evaluate("test", *self.scored())
        if metric is not None and settings.monitor:
            self._select(metric)
        if progress.gate_epoch is None and is_whole:
            self._ask_gate(progress.epoch_loss + sums["loss"], metric)
        progress.epoch_loss = 0.0 if is_whole else progress.epoch_loss + sums["loss"]
        self._write_scalars(sums)
        if settings.may_stop_early and progress.num_without >= settings.patience:
            self.ufnrec.stop_training = progress.stopped_early = True
        self.stop_if_asked()
        if self._is_due():
            self.save()
        self.bar.update(progress.step, self._epoch_text(progress.epoch, sums))

    def scored(self) -> tuple[str, Backbone]:
        """Returns the kind of the run's weights, `student` or `teacher`, and their backbone."""
        teacher, choice = self.ufnrec.teacher, self.settings.weights
        is_made = self._num_teacher_updates() > 0
        if choice == "better":
            choice = self.progress.better_weights
        if teacher is not None and (choice == "teacher" or (choice == "auto" and is_made)):
            return "teacher", teacher.settle()
        return "student", self.ufnrec.backbone

    def _select(self, metric: float) -> None:
        progress = self.progress
        if progress.best is not None and metric <= progress.best:
            progress.num_without += int(progress.best >= self.settings.floor)
            return
        progress.best, progress.num_without = metric, 0
        progress.best_step, progress.best_epoch = progress.step, progress.epoch
        progress.best_weights, backbone = self.scored()
        self.best.set_weights_from(backbone)
        self.save_best()

    def _ask_gate(self, loss_sum: float, metric: float | None) -> None:
        progress = self.progress
        if self.gate.opens_after(epoch=progress.epoch, loss_sum=loss_sum, metric=metric):
            self.host.open_gate(progress.step)
            progress.gate_epoch = progress.epoch
            # What it starts must have time to show, in every policy alike.
            progress.num_without = 0
            self._save_gate()
        progress.gate_state = self.gate.state

    def _write_scalars(self, sums: dict[str, float]) -> None:
        write_scalars(
            self.board,
            sums,
            self.progress,
            model=self.ufnrec,
            num_teacher_updates=self._num_teacher_updates(),
            workers=self.workers,
        )

    def _num_teacher_updates(self) -> int:
        since = 0 if self.ufnrec.has_teacher_always else int(self.host.active_since) + 1
        return max(self.progress.step - since, 0)

    def save_best(self) -> None:
        """Saves the selected weights with their kind, step and epoch."""
        if not self.workers.is_chief:
            return
        progress = self.progress
        self.best_store.save(
            "best",
            {
                "step": progress.best_step,
                "epoch": progress.best_epoch,
                "weights": progress.best_weights,
            },
        )

    def _save_gate(self) -> None:
        """Saves the run's weights as the gate opens, which no suspect has changed yet.

        Flagged pairs are matched by the scores of these weights.
        """
        if self.ufnrec.memory is None or not self.workers.is_chief:
            return
        weights, backbone = self.scored()
        store, progress = gate_store(self.best_store.folder, backbone), self.progress
        store.save(GATE, {"step": progress.step, "epoch": progress.epoch, "weights": weights})

    def save(self) -> None:
        """Writes a checkpoint of the current step."""
        self.store.save_step(self.progress.step, {"progress": asdict(self.progress)})
        self._saved, self._saved_step = time.monotonic(), self.progress.step

    def save_last(self) -> None:
        """Writes the last checkpoint of the run, unless it was just written."""
        if self._saved_step != self.progress.step:
            self.save()
