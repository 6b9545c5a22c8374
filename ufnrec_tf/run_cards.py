"""What TensorBoard gets once, at a run's end: HParams, the projector's files, cards to read."""

import math
from typing import Any

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from ufnrec_tf.backbones.base import Backbone
from ufnrec_tf.board import Board
from ufnrec_tf.config import as_json, default_config, option_table
from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.data.popularity import train_counts
from ufnrec_tf.data.splits import Split
from ufnrec_tf.run_scalars import cell
from ufnrec_tf.showing import SHOWN_METRICS

MOST_VECTORS = 10_000
"""Items in the projector, the most popular; a browser does not like many more."""
_SECTIONS = ("split", "backbone", "loss", "negatives", "memory", "teacher", "gate", "optimizer")
_TRAINING = ("batch_size", "draw", "windows", "num_epochs", "max_steps", "patience")


def write_cards(
    board: Board, config: ConfigDict, *, split: Split, backbone: Backbone, result: dict[str, Any]
) -> None:
    """Writes what stands in the part `summary` of the board.

    Args:
        board: Where to; `begin_end` has been called.
        config: Of the run.
        split: Of the run.
        backbone: The selected weights.
        result: What result.json will hold.
    """
    board.session(_settings(config, result), _metrics(result), step=result["steps"])
    board.text("run/settings", settings_card(config), part="summary")
    board.text("run/protocol", protocol_card(result), part="summary")
    counts = train_counts(split)
    items = 1 + np.argsort(-counts[1:], kind="stable")[:MOST_VECTORS]
    vectors = tf.gather(backbone.item_embeddings(), items)
    columns = item_columns(split.interactions, items, counts)
    board.projector(tf.cast(vectors, tf.float32).numpy(), columns)


def _settings(config: ConfigDict, result: dict[str, Any]) -> dict[str, Any]:
    """Returns the settings to compare runs by."""
    keys = [(part, key) for part in _SECTIONS for key in config[part]]
    keys += [("training", key) for key in _TRAINING]
    return {
        "label": result["label"],
        "seed": result["seed"],
        "data.source": result["data"]["source"],
        "data.sha256": result["data"]["sha256"][:12],
        **{f"{part}.{key}": config[part][key] for part, key in keys},
    }


def _metrics(result: dict[str, Any]) -> dict[str, float]:
    """Returns tag to result; in the order of the tags they are the columns beside the settings."""
    timing = result["timing"]
    thousands = timing["train_users"] / 1000
    scores = {
        f"result/{part}_{name}": result[part][name]
        for part in ("test", "validation")
        for name in SHOWN_METRICS
    }
    return {
        **scores,
        "run/cpu_seconds_per_1000_users": (
            timing["train_cpu_seconds"] / thousands if thousands else math.nan
        ),
        "run/flips": result["false_negatives"]["flips"],
        "run/train_seconds": timing["train_seconds"],
    }


def settings_card(config: ConfigDict) -> str:
    """Returns the settings as a Markdown table; what is not the default stands out."""
    values, default = as_json(config), as_json(default_config(option_table()))
    lines = ["| key | value | default |", "|---|---|---|"]
    for part, keys in values.items():
        for key, value in keys.items():
            usual = default.get(part, {}).get(key)
            text = cell(_plain(value))
            shown = text if value == usual or not text else f"**{text}**"
            lines.append(f"| {part}.{key} | {shown} | {cell(_plain(usual))} |")
    return "\n".join(lines)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(each)}" for key, each in value.items())
    return ", ".join(map(_plain, value)) if isinstance(value, list) else str(value)


def protocol_card(result: dict[str, Any]) -> str:
    """Returns what the numbers of a run are numbers of, and the numbers, as Markdown."""
    lines = ["| | |", "|---|---|"]
    for part in ("data", "protocol"):
        for key, value in result[part].items():
            lines.append(f"| {part}: {key.replace('_', ' ')} | {cell(_plain(value))} |")
    lines += [f"| seed | {result['seed']} |", "", "| test | value |", "|---|---|"]
    lines += [f"| {name} | {value:.4f} |" for name, value in result["test"].items()]
    return "\n".join(lines)


def item_columns(log: Interactions, items: np.ndarray, counts: np.ndarray) -> dict[str, list[str]]:
    """Returns what the projector tells of items, a column each; what nobody knows is left out.

    Args:
        log: Their raw ids, titles, categories and prices.
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
