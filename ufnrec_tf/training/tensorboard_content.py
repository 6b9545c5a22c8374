"""The content of a run's TensorBoard: scalars, cards, HParams, projector.

TensorBoard sorts charts by their tags: `loss` and `ranking` come first, and then the groups with
later letters: `teacher`, `training`, `ufnrec`, `ufnrec_memory`. What is written once is no chart:
it is a text card, or stands in the HParams tab.
"""

import re
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from ufnrec_tf.backbones.base import Backbone
from ufnrec_tf.common.distribution import ALONE, Workers
from ufnrec_tf.common.text import one_line
from ufnrec_tf.config import as_json, default_config, option_table
from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.data.splits import Split, train_counts
from ufnrec_tf.evaluation.metrics import COMPARED
from ufnrec_tf.evaluation.teacher_words import FOUND_BY, teacher_lines
from ufnrec_tf.method.memory_usage import over_workers
from ufnrec_tf.method.model import UFNRecModel
from ufnrec_tf.method.teacher import warm_up_decay
from ufnrec_tf.runs.state import Progress
from ufnrec_tf.runs.tensorboard_files import CURVES, Board

_SHARES_OF_NEGATIVES = {
    "ufnrec/share_of_labels_flipped": "flips",
    "ufnrec/hard_share_of_negatives": "hard",
    "ufnrec_memory/shown_share_of_negatives": "shown",
}


SUMMARY_CARD = "run/false_negatives"
"""Tag of the page to read."""
_PLANTED = ("precision", "recall", "base_rate", "lift")
MOST_VECTORS = 10_000
"""Items in the projector, the most popular; a browser does not like many more."""
_SECTIONS = ("split", "backbone", "loss", "negatives", "memory", "teacher", "gate", "optimizer")
_TRAINING = ("batch_size", "draw", "windows", "num_epochs", "max_steps", "patience")


def write_scalars(
    board: Board,
    sums: dict[str, float],
    progress: Progress,
    *,
    model: UFNRecModel,
    num_teacher_updates: int,
    workers: Workers = ALONE,
) -> None:
    """Writes the scalars and the histogram of an epoch. All workers call it together.

    Args:
        board: The run's event files.
        sums: Sums over the steps since the last call.
        progress: The run's progress.
        model: The model, its memory and teacher.
        num_teacher_updates: Number of updates of the teacher so far.
        workers: The workers that train together; each has a part of the memory.
    """
    steps, users = max(sums["steps"], 1.0), max(sums["users"], 1.0)
    positions = max(sums["positions"], 1.0)
    seconds = progress.timing.get("train_seconds", 0.0)
    values = {
        "loss/total": sums["loss"] / steps,
        "loss/ranking": sums["ranking"] / steps,
        "ufnrec/flips_per_step": sums["flips"] / steps,
        "ufnrec/flips_per_epoch": sums["flips"],
        "ufnrec/removed_per_step": sums["removals"] / steps,
        "ufnrec/flips_per_positive": sums["flips"] / positions,
        "training/learning_rate": float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)),
        "training/users_per_second": progress.timing["train_users"] / seconds if seconds else 0.0,
        "ufnrec/gate_is_open": float(progress.gate_epoch is not None),
    }
    if model.policy.is_softened:
        values["loss/consistency"] = sums["consistency"] / steps
    if model.objective.l2:
        values["loss/l2"] = sums["l2"] / steps
    if model.teacher is not None:
        decay = float(warm_up_decay(model.teacher.decay, num_teacher_updates))
        values["teacher/decay"] = decay if num_teacher_updates else 0.0
        values["teacher/share_of_users"] = sums["teacher_users"] / users
    if model.memory is not None:
        usage = over_workers(model.memory.usage(), workers.sum)
        counters = model.memory.read_counters(workers.sum)
        board.count_histogram("ufnrec_memory/counts", usage.count_histogram, step=progress.step)
        size = max(usage.num_rows * usage.num_slots, 1)
        values["ufnrec_memory/share_of_slots_used"] = usage.num_counted / size
        values["ufnrec_memory/remembered_per_row"] = usage.num_remembered / max(usage.num_rows, 1)
        values["ufnrec_memory/evictions"] = float(counters["evictions"])
        values["ufnrec_memory/refusals"] = float(counters["refusals"])
    if sums["negatives"]:  # a loss over the whole catalogue draws none
        for tag, name in _SHARES_OF_NEGATIVES.items():
            if model.memory is not None or not tag.startswith("ufnrec_memory/"):
                values[tag] = sums[name] / sums["negatives"]
    board.scalars(CURVES, values, step=progress.step)
    board.flush()


def _judgement_lines(found: dict[str, Any]) -> list[str]:
    """Returns a table of what planted data tell of the pairs found; no lines of other data."""
    values = {name: found["detection"][name] for name in _PLANTED if "detection" in found}
    values |= {f"auc_{name}": value for name, value in found.get("auc", {}).items()}
    known = [f"| {name} | {value:.4f} |" for name, value in values.items() if value is not None]
    return ["", "| against the planted truth | |", "|---|---|", *known] if known else []


def findings_card(found: dict[str, Any]) -> str:
    """Returns the findings of `findings.judge` as Markdown: numbers, items, some users."""
    future, is_labelled = found["future"], "found_by" in found
    # These users may have no held-out events, where others are held out.
    taken = "what these users took later is not known"
    if future.get("rate", 0) is not None or not future["num_flagged"]:
        taken = f"{future['hits']:,} of them were taken later"
    pairs = f"pairs that {FOUND_BY} put above the observed item" if is_labelled else "pairs flagged"
    lines = [
        f"{future['num_flagged']:,} {pairs}, of {future['users']:,} users; {taken}.",
        "",
        "| beside unflagged pairs | their rate | lift | 95% interval | hits matched |",
        "|---|---|---|---|---|",
    ]
    for name in ("matched_on_popularity", "matched_on_popularity_and_score"):
        row = future[name]
        if row["lift"] is not None:
            lines.append(
                f"| {name.replace('_', ' ')} | {row['rate']:.5f} | {row['lift']:.2f} | "
                f"{row['low']:.2f} to {row['high']:.2f} | {row['hits']:,} of {future['hits']:,} |"
            )
    lines += _judgement_lines(found)
    most = "most often above" if is_labelled else "most flagged"
    lines += ["", f"| {most} | users | train events |", "|---|---|---|"]
    for item in found["most_flagged"]:
        lines.append(f"| {cell(item['name'])} | {item['users']:,} | {item['train_events']:,} |")
    for example in found["examples"]:
        flagged = [
            f"{cell(item['item'])} ({item['count']}{', **taken later**' * item['taken_later']})"
            for item in example["flagged"]
        ]
        lines += [
            "",
            f"**{cell(example['user'])}** had {', '.join(map(cell, example['history']))}",
            "",
            *_expected_lines(example),
            f"- {'above' if is_labelled else 'flagged'} {example['num_flagged']:,}, by count: "
            f"{', '.join(flagged)}",
            f"- later: {', '.join(map(cell, example['later'])) or 'nothing'}",
        ]
    return "\n".join(lines)


def _expected_lines(example: dict[str, Any]) -> list[str]:
    """Returns what was observed after the history, and the labels there; nothing of a memory."""
    if "expected" not in example:
        return []
    expected = [
        f"{cell(item['item'])} ({item['share']:.0%}{', **taken later**' * item['taken_later']})"
        for item in example["expected"]
    ]
    return [
        f"- observed then: {cell(example['observed'])}",
        f"- expected by the teacher: {', '.join(expected)}",
    ]


def cell(text: str) -> str:
    """Returns a text escaped for a Markdown table, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>|#~])", r"\\\1", one_line(text))


def write_cards(
    board: Board, config: ConfigDict, *, split: Split, backbone: Backbone, result: dict[str, Any]
) -> None:
    """Writes cards, HParams and the projector's files, beside the test metrics.

    Args:
        board: The run's event files; `begin_end` has been called.
        config: The configuration of the run.
        split: The split of the run.
        backbone: The selected weights.
        result: The content of result.json.
    """
    board.session(_settings(config, result) | _results(result), step=result["steps"])
    board.text("run/settings", settings_card(config))
    board.text("run/protocol", protocol_card(result))
    if "future" in result["false_negatives"]:
        board.text(SUMMARY_CARD, findings_card(result["false_negatives"]))
    if teacher := result.get("teacher"):
        lines = [f"- {cell(line)}" for line in teacher_lines(teacher)]
        board.text("run/teacher", "\n".join(lines))
    counts = train_counts(split)
    items = 1 + np.argsort(-counts[1:], kind="stable")[:MOST_VECTORS]
    vectors = tf.gather(backbone.item_embeddings(), items)
    columns = item_columns(split.interactions, items, counts)
    board.projector(tf.cast(vectors, tf.float32).numpy(), columns)


def _settings(config: ConfigDict, result: dict[str, Any]) -> dict[str, Any]:
    """Returns the settings for HParams."""
    keys = [(part, key) for part in _SECTIONS for key in config[part]]
    keys += [("training", key) for key in _TRAINING]
    return {
        "label": result["label"],
        "seed": result["seed"],
        "data.source": result["data"]["source"],
        "data.sha256": result["data"]["sha256"][:12],
        **{f"{part}.{key}": config[part][key] for part, key in keys},
    }


def _results(result: dict[str, Any]) -> dict[str, float]:
    """Returns the results for HParams beside the test metrics, which are scalars there."""
    timing = result["timing"]
    thousands = timing["train_users"] / 1000
    found = {
        f"result.validation_{name}": result["validation"][name]
        for name in result.get("compared", COMPARED)
    }
    found["result.flips"] = result["false_negatives"]["flips"]
    found["result.train_seconds"] = timing["train_seconds"]
    if thousands:
        found["result.cpu_seconds_per_1000_users"] = timing["train_cpu_seconds"] / thousands
    return found


def settings_card(config: ConfigDict) -> str:
    """Returns the settings as a Markdown table with changed ones in bold."""
    values, default = as_json(config), as_json(default_config(option_table()))
    lines = ["| key | value | default |", "|---|---|---|"]
    for part, keys in values.items():
        for key, value in keys.items():
            usual = default.get(part, {}).get(key)
            text = cell(_shown_setting(value))
            shown = text if value == usual or not text else f"**{text}**"
            lines.append(f"| {part}.{key} | {shown} | {cell(_shown_setting(usual))} |")
    return "\n".join(lines)


def _shown_setting(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown_setting(each)}" for key, each in value.items())
    return ", ".join(map(_shown_setting, value)) if isinstance(value, list) else str(value)


def protocol_card(result: dict[str, Any]) -> str:
    """Returns the protocol of a run and its numbers as Markdown."""
    lines = ["| | |", "|---|---|"]
    for part in ("data", "protocol"):
        for key, value in result[part].items():
            lines.append(f"| {part}: {key.replace('_', ' ')} | {cell(_shown_setting(value))} |")
    lines += [f"| seed | {result['seed']} |", "", "| test | value |", "|---|---|"]
    lines += [f"| {name} | {value:.4f} |" for name, value in result["test"].items()]
    return "\n".join(lines)


def item_columns(log: Interactions, items: np.ndarray, counts: np.ndarray) -> dict[str, list[str]]:
    """Returns the projector's columns of item labels; columns without a value are left out.

    Args:
        log: The raw ids, titles, categories and prices of the items.
        items: int [N], internal ids.
        counts: int [num_items + 1], train events.
    """
    raw_ids = [str(text) for text in log.item_ids[items]]
    titles = raw_ids if log.item_titles is None else log.item_titles[items]
    columns = {
        "title": [str(title or raw) for title, raw in zip(titles, raw_ids, strict=True)],
        "item_id": raw_ids,
    }
    if log.item_categories is not None:
        columns["category"] = [str(text) for text in log.item_categories[items]]
    if log.item_prices is not None:
        prices = log.item_prices[items]
        columns["price"] = ["" if np.isnan(price) else f"{price:g}" for price in prices]
    columns["train_events"] = [str(count) for count in counts[items]]
    return columns
