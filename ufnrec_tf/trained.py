"""Work with a trained work directory: score it again, export it again."""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from ufnrec_tf.backbone_setup import make_backbone
from ufnrec_tf.backbones.base import Backbone
from ufnrec_tf.checks import check_names
from ufnrec_tf.display import Display
from ufnrec_tf.errors import UserError
from ufnrec_tf.experiment import (
    best_store,
    build,
    make_evaluator,
    prepare_tensorflow,
)
from ufnrec_tf.results import export
from ufnrec_tf.run_state import Progress
from ufnrec_tf.showing import masked_targets_lines, newcomers_lines
from ufnrec_tf.sources import Source, make_split
from ufnrec_tf.workdir import JsonLines


def _check_data(record: dict[str, Any], source: Source, workdir: str) -> None:
    before = record["identity"]["data of sha256"]
    if source.interactions.sha256 != before:
        raise UserError(
            f"--workdir={workdir}: was trained with data of sha256 {before!r}, now "
            f"{source.interactions.sha256!r}. Give the --data it was trained with."
        )


def _selected(config: ConfigDict, source: Source, workdir: str) -> tuple[Backbone, dict[str, Any]]:
    """Returns the selected weights in a backbone, and what is known of them."""
    backbone = make_backbone(config, source.interactions.num_items)
    store = best_store(Path(workdir) / "checkpoints", backbone)
    return backbone, store.restore("best", "step", "epoch", "weights")


def _weights(
    config: ConfigDict, record: dict[str, Any], source: Source, workdir: str
) -> tuple[Backbone, dict[str, Any]]:
    """Returns the weights that `evaluation.weights` asks for.

    `auto`, `better`: those that were selected. `student`, `teacher`: of the newest checkpoint.
    """
    if config.evaluation.weights in ("auto", "better"):
        return _selected(config, source, workdir)
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
    teacher = model.teacher.backbone if model.teacher else model.backbone
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
) -> None:
    """Scores a trained work directory on a part of the split; shows and records it."""
    _check_data(record, source, workdir)
    backbone, state = _weights(config, record, source, workdir)
    evaluator = make_evaluator(
        config, make_split(config, source.interactions), part, record["seed"]
    )
    score = evaluator.evaluate(backbone)
    protocol = evaluator.protocol()
    display.heading(f"{part}, full ranking, {workdir}")
    display.table(["metric", "value"], [[k, f"{v:.4f}"] for k, v in score.metrics.items()])
    display.block(
        [
            f"{score.num_users:,} users, {protocol['candidates']:,} candidates, masked: "
            f"{protocol['masked']}; ties {protocol['ties']}; {state['weights']} weights of step "
            f"{state['step']:,}; data {source.interactions.sha256[:12]}; seed {record['seed']}",
            *masked_targets_lines(protocol),
            *newcomers_lines(protocol),
        ]
    )
    JsonLines(Path(workdir) / "metrics.jsonl").append(
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


def export_workdir(
    config: ConfigDict,
    record: dict[str, Any],
    source: Source,
    workdir: str,
    display: Display,
) -> None:
    """Writes the SavedModel of the selected weights again."""
    _check_data(record, source, workdir)
    backbone, state = _selected(config, source, workdir)
    progress = Progress(
        best_weights=state["weights"], best_step=state["step"], best_epoch=state["epoch"]
    )
    export(config, backbone, source.interactions, Path(workdir), progress, record["seed"])
    display.line(
        f"{workdir}/export/1: written, {state['weights']} weights of step {state['step']:,}"
    )
