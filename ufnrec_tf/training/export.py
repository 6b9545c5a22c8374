"""Exports a run's selected weights as the next version."""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from ufnrec_tf.backbones.base import Backbone
from ufnrec_tf.common.display import Display
from ufnrec_tf.data.interactions import some_histories
from ufnrec_tf.data.splits import Split, train_counts
from ufnrec_tf.export.items import ItemFacts
from ufnrec_tf.export.onnx_model import check_onnx, onnx_line, with_onnx
from ufnrec_tf.export.publish import PublishedModel, publish
from ufnrec_tf.export.saved_model import make_model, read_metadata
from ufnrec_tf.export.small_table_check import table_check_line, with_table_check
from ufnrec_tf.reading.sources import Source, make_split
from ufnrec_tf.runs.state import Progress
from ufnrec_tf.training.evaluate import check_same_data, selected_backbone

EXPORT_FOLDER = "export"


def export(
    config: ConfigDict,
    backbone: Backbone,
    split: Split,
    folder: Path,
    progress: Progress,
    seed: int,
) -> PublishedModel:
    """Publishes the SavedModel of the selected weights in a folder of versions."""
    log, settings = split.interactions, config.export
    model = make_model(
        backbone,
        log.item_ids,
        max_length=config.backbone.max_length,
        top_k=settings.top_k,
        mask_seen=settings.mask_seen,
        metadata={
            "data_sha256": log.sha256,
            "weights": progress.best_weights,
            "step": progress.best_step,
            "epoch": progress.best_epoch,
            "seed": seed,
        },
        facts=ItemFacts(train_counts(split), log.item_titles, log.item_categories, log.item_prices),
        fallback=settings.fallback,
        warm_up=settings.warm_up,
        table=settings.table,
    )
    model = with_table_check(model, backbone, log.item_ids, some_histories(log))
    if settings.onnx:
        model = with_onnx(model, log.item_ids)
    return publish(folder, model, versions_kept=settings.versions_kept)


def export_workdir(
    config: ConfigDict,
    record: dict[str, Any],
    source: Source,
    workdir: str,
    display: Display,
) -> None:
    """Publishes the SavedModel of the selected weights as a further version."""
    if config.export.onnx:
        check_onnx(config.backbone.name, config.backbone.time)
    check_same_data(record, source, workdir)
    backbone, state = selected_backbone(config, source, workdir)
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
    reading = source.interactions.reading
    if reading is not None and reading.titles is not None:
        display.block(reading.titles.lines())
    document = read_metadata(published.path)
    display.block([line for line in (table_check_line(document), onnx_line(document)) if line])
    if published.removed:
        numbers = ", ".join(map(str, published.removed))
        display.line(
            f"  older versions removed: {numbers} (--config.export.versions_kept="
            f"{config.export.versions_kept})"
        )
