"""What TensorBoard gets once, at a run's end: HParams, the projector's files, cards to read."""

from typing import Any

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from ufnrec_tf.backbones.base import Backbone
from ufnrec_tf.board import Board, BoardMetric, Setting
from ufnrec_tf.config import as_json, default_config, option_table
from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.data.popularity import train_counts
from ufnrec_tf.data.splits import Split
from ufnrec_tf.run_scalars import cell
from ufnrec_tf.showing import SHOWN_METRICS

MOST_VECTORS = 10_000
"""Items in the projector, the most popular; a browser does not like many more."""
FIRST_SETTINGS = (
    "backbone.name",
    "loss.name",
    "memory.policy",
    "optimizer.learning_rate",
    "backbone.width",
    "backbone.num_blocks",
    "backbone.dropout",
    "backbone.max_length",
    "negatives.count",
    "training.batch_size",
    "gate.kind",
)
"""What runs are mostly compared by: the first columns of the HParams tab."""
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


def _settings(config: ConfigDict, result: dict[str, Any]) -> list[Setting]:
    """Returns the settings to compare runs by, the most telling first."""
    options = option_table()
    names = [f"{part}.{key}" for part in _SECTIONS for key in options[part]]
    names += [f"training.{key}" for key in _TRAINING]
    settings = [
        Setting("label", result["label"], "Backbone and policy."),
        Setting("data.source", result["data"]["source"], "The log."),
        Setting("seed", result["seed"], "Seed of everything random."),
    ]
    for name in dict.fromkeys([*FIRST_SETTINGS, *names]):
        part, _, key = name.partition(".")
        option = options[part][key]
        settings.append(Setting(name, config[part][key], option.help, option.choices))
    return [*settings, Setting("data.sha256", result["data"]["sha256"][:12], "Of the log's bytes.")]


def _metrics(result: dict[str, Any]) -> list[BoardMetric]:
    """Returns the columns of results in the HParams tab."""
    metrics = []
    for part in ("test", "validation"):
        for name in SHOWN_METRICS:
            metrics.append(
                BoardMetric(
                    f"selected/{part}_{name}",
                    result[part][name],
                    f"{name.upper()}, {part}",
                    f"{part}, full ranking, the selected weights",
                )
            )
    timing = result["timing"]
    thousands = timing["train_users"] / 1000
    cpu_seconds = timing["train_cpu_seconds"] / thousands if thousands else 0.0
    return [
        *metrics,
        BoardMetric(
            "cost/train_seconds", timing["train_seconds"], "training, s", "First steps left out."
        ),
        BoardMetric(
            "cost/cpu_seconds_per_1000_users",
            cpu_seconds,
            "CPU s per 1,000 users",
            "CPU seconds of all threads while training.",
        ),
        BoardMetric(
            "cost/flips",
            result["false_negatives"]["flips"],
            "labels flipped",
            "Over the whole run.",
        ),
    ]


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
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


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
