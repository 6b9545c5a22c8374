"""What a run's weights score along the way: evaluated, written down, shown."""

from collections.abc import Callable

from ufnrec_tf.backbones.base import Backbone
from ufnrec_tf.board import Board
from ufnrec_tf.errors import UserError
from ufnrec_tf.evaluation import NotFiniteError, RankingEvaluator
from ufnrec_tf.run_state import LoopSettings, Progress
from ufnrec_tf.workdir import JsonLines

Scored = Callable[[], tuple[str, Backbone]]
"""Returns which weights stand for the run now, `student` or `teacher`, and their backbone."""


class RunScores:
    """Scores weights on a part of the split, into metrics.jsonl and TensorBoard.

    Args:
        evaluators: `validation` and `test`.
        metrics_log: metrics.jsonl.
        board: TensorBoard.
        settings: When things happen.
        progress: Where the run stands; timing and the better weights are changed in place.
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
        """Returns the validation metrics of the weights that stand for the run.

        Where both are asked for, the better of student and teacher from now on stand for it.
        """
        if self.settings.weights != "better":
            return self.evaluate("validation", *scored())
        name, metrics = self.settings.monitor or "ndcg@10", {}
        for weights in ("student", "teacher"):
            self.progress.better_weights = weights
            label, backbone = scored()
            metrics[label] = self.evaluate("validation", label, backbone)
            if label != weights:  # there is no teacher
                break
        self.progress.better_weights = max(metrics, key=lambda label: metrics[label][name])
        better = metrics[self.progress.better_weights]
        self._show("validation", better)
        return better

    def evaluate(self, part: str, weights: str, backbone: Backbone) -> dict[str, float]:
        """Returns the metrics of a backbone, the run's `weights`, on a part of the split."""
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
        is_one_of_two = self.settings.weights == "better" and part == "validation"
        self._show(f"validation_{weights}" if is_one_of_two else part, result.metrics)
        return result.metrics

    def _show(self, part: str, metrics: dict[str, float]) -> None:
        scalars = {f"ranking/{name}": value for name, value in metrics.items()}
        self.board.scalars(part, scalars, step=self.progress.step)
