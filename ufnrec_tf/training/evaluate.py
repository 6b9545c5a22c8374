"""Scores a trained work directory again."""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from ufnrec_tf.backbones.base import Backbone
from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.files import is_writable
from ufnrec_tf.data.summary import leaks
from ufnrec_tf.evaluation.protocol import (
    heldout_targets_lines,
    masked_targets_lines,
    newcomers_lines,
    request_time_lines,
    targets_text,
)
from ufnrec_tf.reading.sources import Source, make_split
from ufnrec_tf.runs.workdir import JsonLines
from ufnrec_tf.training.build import (
    best_store,
    build,
    make_backbone,
    make_evaluator,
    prepare_tensorflow,
)
from ufnrec_tf.training.checks import check_names


def check_same_data(record: dict[str, Any], source: Source, workdir: str) -> None:
    """Raises UserError unless the directory was trained with this data."""
    before = record["identity"]["data of sha256"]
    if source.interactions.sha256 != before:
        raise UserError(
            f"--workdir={workdir}: was trained with data of sha256 {before!r}, now "
            f"{source.interactions.sha256!r}. Give the --data it was trained with."
        )


def selected_backbone(
    config: ConfigDict, source: Source, workdir: str
) -> tuple[Backbone, dict[str, Any]]:
    """Returns a backbone with the selected weights, and their step, epoch and kind."""
    backbone = make_backbone(config, source.interactions.num_items)
    store = best_store(Path(workdir) / "checkpoints", backbone)
    return backbone, store.restore("best", "step", "epoch", "weights")


def _weights(
    config: ConfigDict, record: dict[str, Any], source: Source, workdir: str
) -> tuple[Backbone, dict[str, Any]]:
    """Returns a backbone with the weights that `evaluation.weights` names, and their step.

    `auto`, `better`: those that were selected. `student`, `teacher`: of the newest checkpoint.
    """
    if config.evaluation.weights in ("auto", "better"):
        return selected_backbone(config, source, workdir)
    check_names(config)
    config.distribution.strategy, config.distribution.num_virtual_devices = "one", 0
    strategy = prepare_tensorflow(config, record["seed"])
    split = make_split(config, source.interactions)
    experiment = build(config, split, record["seed"], strategy=strategy)
    store, _ = experiment.stores(Path(workdir))
    newest = store.newest()
    if not newest:
        raise UserError(f"{workdir}/checkpoints: no checkpoint. Run --mode=train with it first.")
    state = store.restore(newest, "step", "progress")
    model = experiment.model
    teacher = model.teacher.settle() if model.teacher else model.backbone
    backbone = teacher if config.evaluation.weights == "teacher" else model.backbone
    epoch = state["progress"]["epoch"]
    return backbone, {
        "step": state["step"],
        "epoch": epoch,
        "weights": config.evaluation.weights,
    }


def evaluate_workdir(
    config: ConfigDict,
    record: dict[str, Any],
    source: Source,
    workdir: str,
    part: str,
    display: Display,
) -> dict[str, float]:
    """Scores a trained work directory on a part of the split; shows, records, returns it.

    Nothing is recorded in a directory that cannot be written to.
    """
    check_same_data(record, source, workdir)
    backbone, state = _weights(config, record, source, workdir)
    split = make_split(config, source.interactions)
    evaluator = make_evaluator(config, split, part, record["seed"])
    score = evaluator.evaluate(backbone)
    protocol = evaluator.protocol() | {"leaks": leaks(split)}
    display.heading(f"{part}, full ranking, {workdir}")
    display.table(["metric", "value"], [[k, f"{v:.4f}"] for k, v in score.metrics.items()])
    display.block(
        [
            f"{score.num_users:,} users{targets_text(protocol)}, {protocol['candidates']:,} "
            f"candidates, masked: {protocol['masked']}; ties {protocol['ties']}; "
            f"{state['weights']} weights of step {state['step']:,}; "
            f"data {source.interactions.sha256[:12]}; seed {record['seed']}",
            *masked_targets_lines(protocol),
            *heldout_targets_lines(protocol),
            *newcomers_lines(protocol),
            *request_time_lines(protocol),
            *protocol["leaks"],
        ]
    )
    is_recorded = is_writable(Path(workdir))
    if not is_recorded:
        display.line("  not recorded in metrics.jsonl: the work directory cannot be written to")
    JsonLines(Path(workdir) / "metrics.jsonl", is_written=is_recorded).append(
        {
            "step": state["step"],
            "epoch": state["epoch"],
            "mode": "evaluate",
            "split": part,
            "weights": state["weights"],
            "protocol": protocol,
            **score.metrics,
        }
    )
    return score.metrics
