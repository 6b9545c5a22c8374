"""What TensorBoard shows of training, from the sums of an epoch, and of its end."""

import re
from collections.abc import Set
from typing import Any

import keras

from ufnrec_tf.board import Board, one_line
from ufnrec_tf.distribution import ALONE, Workers
from ufnrec_tf.memory_usage import over_workers
from ufnrec_tf.model import UFNRecModel
from ufnrec_tf.run_state import Progress
from ufnrec_tf.teacher import warm_up_decay

_SHARES_OF_NEGATIVES = {
    "false_negatives/share_of_labels_flipped": "flips",
    "false_negatives/hard_share_of_negatives": "hard",
    "memory/shown_share_of_negatives": "shown",
}


def write_scalars(
    board: Board,
    sums: dict[str, float],
    progress: Progress,
    *,
    model: UFNRecModel,
    num_teacher_updates: int,
    workers: Workers = ALONE,
) -> None:
    """Writes the scalars and the histogram of an epoch; all workers call it together.

    Args:
        board: Where to.
        sums: What the steps since the last time added up.
        progress: Where the run stands.
        model: The model, its memory and teacher.
        num_teacher_updates: Updates that the teacher has had.
        workers: Those that train together; each has a part of the memory.
    """
    steps, users = max(sums["steps"], 1.0), max(sums["users"], 1.0)
    positions = max(sums["positions"], 1.0)
    seconds = progress.timing.get("train_seconds", 0.0)
    values = {
        "loss/total": sums["loss"] / steps,
        "loss/ranking": sums["ranking"] / steps,
        "loss/consistency": sums["consistency"] / steps,
        "loss/l2": sums["l2"] / steps,
        "false_negatives/flips_per_step": sums["flips"] / steps,
        "false_negatives/flips_per_epoch": sums["flips"],
        "false_negatives/removed_per_step": sums["removals"] / steps,
        "false_negatives/flips_per_positive": sums["flips"] / positions,
        "optimizer/learning_rate": float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)),
        "speed/users_per_second": progress.timing["train_users"] / seconds if seconds else 0.0,
        "gate/is_open": float(progress.gate_epoch is not None),
    }
    if model.teacher is not None:
        decay = float(warm_up_decay(model.teacher.decay, num_teacher_updates))
        values["teacher/decay"] = decay if num_teacher_updates else 0.0
        values["teacher/share_of_users"] = sums["teacher_users"] / users
    if model.memory is not None:
        usage = over_workers(model.memory.usage(), workers.sum)
        counters = model.memory.read_counters(workers.sum)
        board.count_histogram("memory/counts", usage.count_histogram, step=progress.step)
        size = max(usage.num_rows * usage.num_slots, 1)
        values["memory/share_of_slots_used"] = usage.num_counted / size
        values["memory/remembered_per_row"] = usage.num_remembered / max(usage.num_rows, 1)
        values["memory/evictions"] = float(counters["evictions"])
        values["memory/refusals"] = float(counters["refusals"])
    if sums["negatives"]:  # a loss over the whole catalogue draws none
        for tag, name in _SHARES_OF_NEGATIVES.items():
            if model.memory is not None or not tag.startswith("memory/"):
                values[tag] = sums[name] / sums["negatives"]
    board.scalars("train", values, step=progress.step)
    board.flush()


def write_false_negatives(board: Board, found: dict[str, Any], *, step: int) -> None:
    """Writes what a run found of false negatives: scalars, and a page to read.

    Args:
        board: Where to.
        found: What `false_negatives.describe` returned.
        step: The run's last step.
    """
    values = {name: found["detection"][name] for name in _PLANTED if "detection" in found}
    values |= {f"auc_{name}": value for name, value in found.get("auc", {}).items()}
    for name in ("matched_on_popularity", "matched_on_popularity_and_score"):
        values[f"future_lift_{name}"] = found.get("future", {}).get(name, {}).get("lift")
    values["future_rate"] = found.get("future", {}).get("rate")
    known = {f"false_negatives/{k}": float(v) for k, v in values.items() if v is not None}
    board.scalars("train", known, step=step)
    if "future" in found:
        board.text(SUMMARY_CARD, markdown(found))


SUMMARY_CARD = "false_negatives/summary"
"""Tag of the page to read."""
_PLANTED = ("precision", "recall", "base_rate", "lift")


def markdown(found: dict[str, Any]) -> str:
    """Returns what a run flagged as Markdown: numbers, items, some users; see `describe`."""
    future = found["future"]
    # These users may have no held-out events, where others are held out.
    taken = "what these users took later is not known"
    if future.get("rate", 0) is not None or not future["num_flagged"]:
        taken = f"{future['hits']:,} of them were taken later"
    lines = [
        f"{future['num_flagged']:,} pairs flagged, of {future['users']:,} users; {taken}.",
        "",
        "| beside unflagged pairs | their rate | lift | 95% interval |",
        "|---|---|---|---|",
    ]
    for name in ("matched_on_popularity", "matched_on_popularity_and_score"):
        row = future[name]
        if row["lift"] is not None:
            lines.append(
                f"| {name.replace('_', ' ')} | {row['rate']:.5f} | {row['lift']:.2f} | "
                f"{row['low']:.2f} to {row['high']:.2f} |"
            )
    lines += ["", "| most flagged | users | train events |", "|---|---|---|"]
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
            f"- flagged {example['num_flagged']:,}, by count: {', '.join(flagged)}",
            f"- later: {', '.join(map(cell, example['later'])) or 'nothing'}",
        ]
    return "\n".join(lines)


def without_users(text: str, users: Set[str]) -> str:
    """Returns Markdown made by `markdown` without the paragraphs on some users, by raw id."""
    cells = {cell(user) for user in users}
    head, *examples = re.split(r"\n\n(?=\*\*.*\*\* had )", text)
    kept = [e for e in examples if e[2 : e.index("** had ")] not in cells]
    return "\n\n".join([head, *kept])


def cell(text: str) -> str:
    """Returns text as Markdown that shows it as it is, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>|#~])", r"\\\1", one_line(text))
