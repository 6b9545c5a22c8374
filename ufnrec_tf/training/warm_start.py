"""`training.warm_start`: a new run starts from an older run's weights and memory.

Weights: those that the older run selected, for student, teacher and best alike; each is copied
whole but for the item table, whose rows go by raw item id. New items keep their fresh draw: in
neither run has anything been learnt of them. Memory: see `Carrier`. What is not taken over:
optimizer moments and steps, which start at zero, and the gate, which is shut as in any run.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from ufnrec_tf.backbones.base import Backbone
from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.common.files import reading
from ufnrec_tf.config import RECORD
from ufnrec_tf.data.splits import Split
from ufnrec_tf.method.policies import POLICIES
from ufnrec_tf.runs.checkpoints import VALUE, CheckpointStore, named_variables
from ufnrec_tf.runs.inherited_settings import (
    check_older_run,
    check_other_workdir,
    check_same_backbone,
)
from ufnrec_tf.runs.raw_ids import RunIds, match_items, match_rows, read_ids
from ufnrec_tf.runs.record import ids_of_samples
from ufnrec_tf.runs.state import Progress
from ufnrec_tf.runs.workdir import read_record
from ufnrec_tf.training.build import Experiment
from ufnrec_tf.training.memory_transfer import Carried, Carrier


class Older(NamedTuple):
    """The older run.

    Attributes:
        path: The work directory of the older run.
        config: Section to key to value, as it was trained.
        ids: The raw ids behind its internal ids.
        store: The checkpoints of the older run.
    """

    path: Path
    config: dict[str, dict[str, Any]]
    ids: RunIds
    store: CheckpointStore


def start_warm(
    config: ConfigDict,
    experiment: Experiment,
    split: Split,
    *,
    path: Path,
    progress: Progress,
    display: Display,
) -> None:
    """Copies weights and memory of the run that `training.warm_start` names, if any.

    For a run that has done no step; all workers call it. What was found is kept in the progress.

    Raises:
        UserError: If the older run is missing, damaged, or of another backbone.
    """
    if not config.training.warm_start:
        return
    older_path = Path(config.training.warm_start)
    check_other_workdir(older_path, path)
    with reading(older_path):
        older = _find_older_run(config, older_path)
        new_ids = ids_of_samples(split, experiment.samples)
        new_items = match_items(older.ids, new_ids)
        state = _take_weights(older, experiment, new_items)
        carried, reason = _take_memory(config, experiment, split, older, new_ids, new_items)
    progress.warm_start = {
        "from": str(older.path.resolve()),
        **{key: state.get(key) for key in ("weights", "epoch", "step")},
        "items": _overlap(older.ids.items[1:], new_ids.items[1:]),
        "users": _overlap(older.ids.users, new_ids.users),
        "memory": None if carried is None else carried._asdict(),
        "memory_left_out": reason,
    }
    _show_carried(progress.warm_start, display)


def _find_older_run(config: ConfigDict, path: Path) -> Older:
    """Returns the older run after checking that it fits."""
    check_older_run(path)
    record = read_record(path / RECORD)
    check_same_backbone(config, record, str(path))
    return Older(path, record["config"], read_ids(path), CheckpointStore(path / "checkpoints"))


def _take_weights(older: Older, experiment: Experiment, new_items: np.ndarray) -> dict[str, Any]:
    """Copies the selected weights into student, teacher and best; returns their description."""
    best, model = experiment.best, experiment.model
    state = older.store.state("best")
    fresh = {name: v.numpy() for name, v in named_variables(best.trainable_variables).items()}
    table = _name_of_table(best)
    found = _read_weights(older, list(fresh))
    if found[table].shape[0] != len(new_items):
        raise _unfit(older, f"{found[table].shape[0] - 1} items, ids/ has {len(new_items) - 1}")
    rows = fresh[table].copy()
    is_known = new_items > 0
    is_known[0] = True  # padding
    if rows.shape[1:] == found[table].shape[1:]:
        rows[new_items[is_known]] = found[table][is_known]
        found[table] = rows
    for name, variable in named_variables(best.trainable_variables).items():
        if found[name].shape != fresh[name].shape:
            raise _unfit(older, f"a weight of {found[name].shape}, here {fresh[name].shape}")
        variable.assign(found[name])
    model.backbone.set_weights_from(best)
    if model.teacher is not None:
        model.teacher.backbone.set_weights_from(best)
    return state


def _name_of_table(backbone: Backbone) -> str:
    names = named_variables(backbone.trainable_variables)
    which = [v is backbone.item_table for v in backbone.trainable_variables].index(True)
    return list(names)[which]


def _read_weights(older: Older, names: list[str]) -> dict[str, np.ndarray]:
    folder = older.store.folder / "best"
    try:
        reader = tf.train.load_checkpoint(str(folder / "variables"))
        keys = [k for k in reader.get_variable_to_shape_map() if k.startswith("weights/")]
        if len(keys) != len(names):
            raise ValueError(f"{len(keys)} weights, here {len(names)}")
        return {name: np.asarray(reader.get_tensor(f"weights/{name}{VALUE}")) for name in names}
    # Which it raises depends on the byte that is damaged.
    except Exception as error:
        raise _unfit(older, own_words(error)[:200]) from error


def _unfit(older: Older, reason: str) -> UserError:
    return UserError(
        f"--config.training.warm_start={older.path}: checkpoints/best is damaged or of another "
        f"backbone ({reason}). Give another work directory, or train without it."
    )


def _take_memory(
    config: ConfigDict,
    experiment: Experiment,
    split: Split,
    older: Older,
    new_ids: RunIds,
    new_items: np.ndarray,
) -> tuple[Carried | None, str]:
    """Fills the memory; returns the counts of what was copied, or None and the reason."""
    memory, newest = experiment.model.memory, older.store.newest()
    reason = _why_none(config, older)
    if memory is None or reason:
        return None, reason
    carrier = Carrier(
        split=split,
        users_of_rows=experiment.samples.users_of_rows(),
        own_rows=experiment.row_owners.rows_of(experiment.workers.index, experiment.workers.count),
        new_rows=match_rows(older.ids, new_ids, new_items),
        new_items=new_items,
        memory=memory,
    )
    folder = older.store.folder / newest
    try:
        num_workers = int(older.store.state(newest)["num_workers"])
        carried = carrier.carry(
            experiment.worker_state().tables, folder, older.ids, num_workers=num_workers
        )
    except (KeyError, ValueError, OSError, tf.errors.OpError) as error:
        raise UserError(
            f"--config.training.warm_start={older.path}: the memory in checkpoints/{newest} cannot "
            f"be read ({own_words(error)[:200]}). Give another work directory."
        ) from error
    return carried.over_workers(experiment.workers), ""


def _why_none(config: ConfigDict, older: Older) -> str:
    """Returns the reason why no memory can be copied, or an empty string."""
    policy, before = POLICIES[config.memory.policy], older.config["memory"]["policy"]
    if not policy.remembers:
        return "this run has none"
    if before not in POLICIES or not POLICIES[before].remembers:
        return "the older run has none"
    if POLICIES[before].is_safe != policy.is_safe:
        return "the two policies count different things"
    return "" if older.store.newest() else "the older run has no checkpoint of a step"


def _overlap(before: np.ndarray, now: np.ndarray) -> dict[str, int]:
    known = len(set(before.tolist()) & set(now.tolist()))
    return {"known": known, "new": len(now) - known, "gone": len(before) - known}


def _show_carried(found: dict[str, Any], display: Display) -> None:
    display = display.notes
    display.heading(f"Warm start from {found['from']}")
    lines = [
        f"{found['weights']} weights of epoch {found['epoch']}, for student and teacher alike; "
        "optimizer and steps start at zero, the gate is shut",
        *(
            f"{noun}: {found[noun]['known']:,} known, {found[noun]['new']:,} new, "
            f"{found[noun]['gone']:,} gone"
            for noun in ("items", "users")
        ),
    ]
    memory = found["memory"]
    if memory is None:
        lines.append(f"no memory was taken over: {found['memory_left_out']}")
    else:
        lines.append(
            f"memory: {memory['rows_carried']:,} rows with {memory['items_carried']:,} items "
            f"({memory['remembered_carried']:,} remembered) taken over; "
            f"{memory['rows_dropped']:,} rows, {memory['items_dropped']:,} items "
            f"({memory['remembered_dropped']:,} remembered) dropped"
        )
    display.block(lines)
