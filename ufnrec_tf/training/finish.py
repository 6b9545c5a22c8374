"""The end of a run: scores the test set once, writes result.json, exports, shows results."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from ufnrec_tf.backbones.base import Backbone
from ufnrec_tf.common.display import Display
from ufnrec_tf.common.files import write_parquet
from ufnrec_tf.common.tensorflow_setup import give_back
from ufnrec_tf.config import current_value
from ufnrec_tf.data.splits import Split, train_counts
from ufnrec_tf.data.summary import leakage, leaks
from ufnrec_tf.evaluation.baselines import rank_baselines
from ufnrec_tf.evaluation.list_quality import beyond_accuracy
from ufnrec_tf.evaluation.metrics import COMPARED, MAIN, metrics_from_ranks
from ufnrec_tf.evaluation.run_verdict import (
    Ranks,
    against_baseline,
    is_rising,
    validation_curve,
)
from ufnrec_tf.method.policies import POLICIES
from ufnrec_tf.reading.sources import Source
from ufnrec_tf.runs.checkpoints import GATE
from ufnrec_tf.runs.run_files import read_result, write_result
from ufnrec_tf.runs.state import TRAIN_TIMES, Progress
from ufnrec_tf.runs.workdir import RANKS_FILES
from ufnrec_tf.training.arms import label_of, parse_arms
from ufnrec_tf.training.build import Experiment, make_backbone, metrics_of
from ufnrec_tf.training.export import EXPORT_FOLDER, export
from ufnrec_tf.training.findings import judge
from ufnrec_tf.training.loop import TrainingLoop, gate_store
from ufnrec_tf.training.shown_results import show_finished
from ufnrec_tf.training.tensorboard_content import write_cards

LIST_LENGTH = 10
"""Items of the lists that `beyond_accuracy` is about."""


def finish(
    *,
    config: ConfigDict,
    experiment: Experiment,
    loop: TrainingLoop,
    split: Split,
    path: Path,
    seed: int,
    display: Display,
    source: Source,
    ceiling: dict[str, float],
    ceiling_without_noise: dict[str, float],
    teacher: dict[str, Any],
    labels: Path | None,
    peak_rss_bytes: int,
) -> None:
    """Scores, writes and shows a trained run.

    The weights are those that validation selected, or the last where nothing selects. The test
    set is read here, once. `teacher` is what the teacher's phase recorded, or empty; `labels` the
    folder of the stored labels, or None.
    """
    progress, workers = loop.progress, loop.workers
    backbone = select(config, loop)
    give_back()
    scores = {part: loop.evaluators[part].evaluate(backbone) for part in ("validation", "test")}
    lists, _ = loop.evaluators["test"].top_k(backbone, LIST_LENGTH)
    if not workers.is_chief:
        workers.any(False)  # the chief has written everything
        return
    give_back()
    found = judge(
        experiment,
        source,
        split,
        backbone,
        progress,
        at_gate=_at_gate(config, split, progress, path),
        labels=labels,
        path=path,
        seed=seed,
        most_rows=config.detection.most_rows,
        num_examples=config.comparison.sample_users,
    )
    loop.board.begin_end()
    give_back()
    # In the chart of the validation curve, at the step that was selected; test_every has it there.
    if not loop.settings.test_every or progress.best_epoch % loop.settings.test_every:
        test_point = {f"ranking/{name}": value for name, value in scores["test"].metrics.items()}
        loop.board.scalars("test", test_point, step=progress.best_step)
    log = split.interactions
    evaluation_cpu = sum(score.cpu_seconds for score in scores.values())
    baselines = rank_baselines(config.comparison.baselines, split, mask=config.evaluation.mask)
    curve = validation_curve(loop.scores.metrics_log.read(), config.training.monitor or MAIN)
    # A run of a few steps has no timing of its own.
    timing = {**dict.fromkeys(TRAIN_TIMES, 0.0), **progress.timing}
    for name, value in (
        ("evaluation_cpu_seconds", evaluation_cpu),
        ("evaluation_users", sum(score.num_users for score in scores.values())),
    ):
        timing[name] = timing.get(name, 0.0) + value
    result = {
        "label": label_of(config),
        "test": scores["test"].metrics,
        "validation": scores["validation"].metrics,
        "protocol": {
            **loop.evaluators["test"].protocol(),
            "leaks": leaks(split),
            "leakage": leakage(split),
            "weights": progress.best_weights,
            "selected_epoch": progress.best_epoch,
            "selected_by": config.training.monitor or "nothing: the last weights",
        },
        "data": {
            **log.as_json(),
            **({"reading": log.reading.as_json()} if log.reading else {}),
        },
        "seed": seed,
        "steps": progress.step,
        "epochs": progress.epoch,
        "stopped_early": progress.stopped_early,
        "asked": {key: config.training[key] for key in ("num_epochs", "max_steps", "patience")},
        "timing": timing,
        "totals": progress.totals,
        "memory": _memory_record(experiment, peak_rss_bytes),
        "false_negatives": found,
        "ceiling": ceiling,
        "ceiling_without_noise": ceiling_without_noise,
        "against_baseline": against_baseline(
            [{part: score.ranks for part, score in scores.items()}],
            baselines,
            {part: split.users(part) for part in scores},
        ),
        "is_rising": not progress.stopped_early and is_rising(curve),
        "table": _table(config, baselines, path, label_of(config), scores["test"].metrics),
        **_lists(config, split, lists),
        **({"warm_start": progress.warm_start} if progress.warm_start else {}),
        **({"teacher": teacher} if teacher else {}),
    }
    compared = metrics_of(config).compared(config.training.monitor)
    if compared != COMPARED:
        result["compared"] = compared
    give_back()  # what the baselines took
    for part, score in scores.items():
        _write_ranks(path / RANKS_FILES[part], split, part, score.ranks)
    export(config, backbone, split, path / EXPORT_FOLDER, progress, seed)
    write_cards(loop.board, config, split=split, backbone=backbone, result=result)
    loop.board.close()
    write_result(path, result)
    workers.any(False)  # lets the others end
    if path.parent.name != "baselines":
        show_finished(path, display)


def select(config: ConfigDict, loop: TrainingLoop) -> Backbone:
    """Returns the backbone with the weights to report; saves them if they are the last ones."""
    progress = loop.progress
    if not config.training.monitor or progress.best is None:
        progress.best_weights, backbone = loop.scored()
        progress.best_step, progress.best_epoch = progress.step, progress.epoch
        loop.best.set_weights_from(backbone)
    # If the run was killed and resumed, the one on the disk may be ahead of its checkpoint.
    loop.save_best()
    return loop.best


def _at_gate(config: ConfigDict, split: Split, progress: Progress, path: Path) -> Backbone | None:
    """Returns a backbone with the weights at which the gate opened; None if they were not kept.

    They are not where the gate was open from the start or stayed shut, in runs of older versions,
    and where nothing is remembered.
    """
    folder = path / "checkpoints"
    if not progress.gate_epoch or not (folder / GATE).is_dir():
        return None
    backbone = make_backbone(config, split.interactions.num_items)
    store = gate_store(folder, backbone)
    # A run that was killed and resumed may have opened its gate at another epoch.
    if store.state(GATE).get("epoch") != progress.gate_epoch:
        return None
    store.restore(GATE)
    return backbone


def _memory_record(experiment: Experiment, peak_rss_bytes: int) -> dict[str, Any]:
    memory = experiment.model.memory
    if memory is None:
        return {"table_bytes": 0, "slots": 0, "peak_rss_bytes": peak_rss_bytes}
    usage, counters = memory.usage(), memory.read_counters()
    return {
        "table_bytes": usage.table_bytes,
        "bytes_per_slot": usage.bytes_per_slot,
        "rows": usage.num_rows,
        "slots": usage.num_slots,
        "fill": usage.num_counted / max(usage.num_rows * usage.num_slots, 1),
        "counted": usage.num_counted,
        "remembered": usage.num_remembered,
        "evictions": counters["evictions"],
        "refusals": counters["refusals"],
        "peak_rss_bytes": peak_rss_bytes,
    }


def _table(
    config: ConfigDict,
    baselines: Mapping[str, Ranks],
    path: Path,
    label: str,
    metrics: dict[str, float],
) -> list[dict[str, Any]]:
    """Returns the rows of the final table: simple baselines, trained ones, this run."""
    rows = []
    for name, ranks in baselines.items():
        scores = metrics_from_ranks(ranks["test"], chosen=metrics_of(config))
        rows.append({"label": name, **scores})
    for arm in parse_arms(config.comparison.arms):
        arm_result = read_result(path / "baselines" / arm.name)
        is_policy = current_value("memory.policy", arm.name) in POLICIES
        shown = arm_result["label"] if is_policy else f"{arm_result['label']}, {arm.name}"
        rows.append({"label": shown, **arm_result["test"]})
    rows.append({"label": label, **metrics})
    return rows


def _lists(config: ConfigDict, split: Split, items: np.ndarray) -> dict[str, Any]:
    """Returns coverage, novelty and examples of the recommended lists int32 [M, 10]."""
    return {
        "beyond_accuracy": beyond_accuracy(items, train_counts(split)),
        "samples": _samples(config, split, items),
    }


def _samples(config: ConfigDict, split: Split, items: np.ndarray) -> list[dict[str, Any]]:
    """Returns the histories and recommendations of a few users as raw ids."""
    log, ends = split.interactions, split.history_ends("test")
    users, targets = split.users("test"), split.targets("test")
    # The newest target of each user.
    places = np.flatnonzero(np.diff(users, append=-1))
    count = min(config.comparison.sample_users, len(places))
    samples = []
    for place in places[np.linspace(0, len(places) - 1, count).astype(int)]:
        user = users[place]
        history = log.items[log.offsets[user] : ends[place]][-5:]
        samples.append(
            {
                "user": str(log.user_ids[user]),
                "history": [log.item_name(item) for item in history],
                "recommended": [log.item_name(item) for item in items[place, :5] if item],
                "taken_next": log.item_name(targets[place]),
            }
        )
    return samples


def _write_ranks(path: Path, split: Split, part: str, ranks: np.ndarray) -> None:
    """Writes one row a target: raw ids, rank, and place in the user's history, from 0."""
    log, users = split.interactions, split.users(part)
    frame = pd.DataFrame(
        {
            "user": log.user_ids[users].astype(str),
            "item": log.item_ids[split.targets(part)].astype(str),
            "rank": ranks,
            "position": (split.target_index(part) - log.offsets[users]).astype(np.int32),
        }
    )
    write_parquet(path, frame)
