"""What TensorBoard shows of training, from the sums of an epoch."""

import keras

from ufnrec_tf.board import Board
from ufnrec_tf.model import UFNRecModel
from ufnrec_tf.run_state import Progress
from ufnrec_tf.teacher import warm_up_decay


def write_scalars(
    board: Board,
    sums: dict[str, float],
    progress: Progress,
    *,
    model: UFNRecModel,
    num_teacher_updates: int,
) -> None:
    """Writes the scalars and the histogram of an epoch.

    Args:
        board: Where to.
        sums: What the steps since the last time added up.
        progress: Where the run stands.
        model: The model, its memory and teacher.
        num_teacher_updates: Updates that the teacher has had.
    """
    steps, users = max(sums["steps"], 1.0), max(sums["users"], 1.0)
    negatives, positions = max(sums["negatives"], 1.0), max(sums["positions"], 1.0)
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
        "false_negatives/share_of_labels_flipped": sums["flips"] / negatives,
        "false_negatives/hard_share_of_negatives": sums["hard"] / negatives,
        "optimizer/learning_rate": float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)),
        "speed/users_per_second": progress.timing["train_users"] / seconds if seconds else 0.0,
        "gate/is_open": float(progress.gate_epoch is not None),
    }
    if model.teacher is not None:
        decay = float(warm_up_decay(model.teacher.decay, num_teacher_updates))
        values["teacher/decay"] = decay if num_teacher_updates else 0.0
        values["teacher/share_of_users"] = sums["teacher_users"] / users
    if model.memory is not None:
        usage, counters = model.memory.usage(), model.memory.read_counters()
        board.count_histogram("memory/counts", usage.count_histogram, step=progress.step)
        size = max(usage.num_rows * usage.num_slots, 1)
        values["memory/share_of_slots_used"] = usage.num_counted / size
        values["memory/remembered_per_row"] = usage.num_remembered / max(usage.num_rows, 1)
        values["memory/evictions"] = float(counters["evictions"])
        values["memory/refusals"] = float(counters["refusals"])
        values["memory/shown_share_of_negatives"] = sums["shown"] / negatives
    board.scalars("train", values, step=progress.step)
    board.flush()
