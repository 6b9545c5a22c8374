"""Work with a trained work directory: score it again, publish it again."""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from ufnrec_tf.backbone_setup import make_backbone
from ufnrec_tf.backbones.base import Backbone
from ufnrec_tf.checks import check_names
from ufnrec_tf.data.leakage import leaks
from ufnrec_tf.display import Display
from ufnrec_tf.errors import UserError
from ufnrec_tf.experiment import (
    best_store,
    build,
    make_evaluator,
    prepare_tensorflow,
)
from ufnrec_tf.export import read_metadata
from ufnrec_tf.onnx_export import check_onnx, onnx_line
from ufnrec_tf.results import EXPORT_FOLDER, export
from ufnrec_tf.run_state import Progress
from ufnrec_tf.showing import masked_targets_lines, newcomers_lines, targets_text
from ufnrec_tf.sources import Source, make_split
from ufnrec_tf.table_check import table_check_line
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
) -> dict[str, float]:
    """Scores a trained work directory on a part of the split; shows, records, returns it."""
    _check_data(record, source, workdir)
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
            *newcomers_lines(protocol),
            *protocol["leaks"],
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
    return score.metrics


def export_workdir(
    config: ConfigDict,
    record: dict[str, Any],
    source: Source,
    workdir: str,
    display: Display,
) -> None:
    """Publishes the SavedModel of the selected weights as a further version."""
    if config.export.onnx:
        check_onnx(config.backbone.name)
    _check_data(record, source, workdir)
    backbone, state = _selected(config, source, workdir)
    progress = Progress(
        best_weights=state["weights"], best_step=state["step"], best_epoch=state["epoch"]
    )
    folder = Path(config.export.path or f"{workdir}/{EXPORT_FOLDER}")
    split = make_split(config, source.interactions)
    published = export(config, backbone, split, folder, progress, record["seed"])
    weights = f"{state['weights']} weights of step {state['step']:,}"
    if not published.is_new:
        display.line(f"{published.path}: is the same model already; nothing written ({weights})")
        return
    display.line(f"{published.path}: written, {weights}")
    document = read_metadata(published.path)
    display.block([line for line in (table_check_line(document), onnx_line(document)) if line])
    if published.removed:
        numbers = ", ".join(map(str, published.removed))
        display.line(
            f"  older versions removed: {numbers} (--config.export.versions_kept="
            f"{config.export.versions_kept})"
        )
