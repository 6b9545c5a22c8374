"""False negatives that a run found, judged after training.

They are what its memory suspects, in false_negatives.parquet, or what the stored labels of its
teacher put above the observed item.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ufnrec_tf.backbones.base import Backbone
from ufnrec_tf.common.files import write_parquet
from ufnrec_tf.common.progress import working_on
from ufnrec_tf.data.splits import Split, train_counts
from ufnrec_tf.data.synthetic.planted import detection
from ufnrec_tf.data.windows import Samples
from ufnrec_tf.evaluation.future_lift import FutureLift, LiftSums, future_lift
from ufnrec_tf.evaluation.outranking import (
    StoredPart,
    find_outranking,
    newest_expectation,
    open_part,
)
from ufnrec_tf.evaluation.planted_detection import margin_auc, suspect_aucs
from ufnrec_tf.evaluation.suspects import (
    Suspects,
    margins,
    newest_vectors,
    read_suspects,
    windows_of,
)
from ufnrec_tf.evaluation.teacher_words import FOUND_BY
from ufnrec_tf.method.soft_labels import worker_folder
from ufnrec_tf.reading.sources import Source
from ufnrec_tf.runs.state import Progress
from ufnrec_tf.runs.workdir import LIFTS_FILE
from ufnrec_tf.training.build import Experiment

MOST_FLAGGED = 20
_SUSPECT_COLUMNS = ("user", "item", "count", "margin")
_SHOWN_HISTORY = 10
_SHOWN_FLAGGED = 5


@working_on("judging the false negatives found")
def judge(
    experiment: Experiment,
    source: Source,
    split: Split,
    backbone: Backbone,
    progress: Progress,
    *,
    at_gate: Backbone | None = None,
    labels: Path | None = None,
    path: Path,
    seed: int,
    most_rows: int,
    num_examples: int,
) -> dict[str, Any]:
    """Returns how many pairs a run found and how right they were; writes its Parquet files.

    Args:
        experiment: The run whose memory is read.
        source: Holds the truth of planted data.
        split: Its held-out events are what users took later.
        backbone: The weights that are reported, by which suspects are scored.
        progress: The progress of the run at its end.
        at_gate: The weights at which the gate opened, by which pairs are matched on score: later
            ones were trained towards the flagged pairs. None: the reported weights do it.
        labels: The folder of the run's stored labels; None if it has none.
        path: The work directory.
        seed: The run's seed.
        most_rows: Suspects kept, or pairs of the labels judged, at most.
        num_examples: Users to show.
    """
    totals, memory = progress.totals, experiment.model.memory
    found: dict[str, Any] = {
        "flips": totals.get("flips", 0.0),
        "removals": totals.get("removals", 0.0),
        "flips_per_step": totals.get("flips", 0.0) / max(progress.step, 1),
        "shown": totals.get("shown", 0.0),
        "gate_epoch": progress.gate_epoch,
    }
    if memory is None:
        if source.truth is not None:
            found["auc"] = _for_json(margin_auc(source.truth, split, backbone, seed=seed))
        if labels is not None:
            parts = _label_parts(labels, experiment)
            pairs = find_outranking(parts, split, most=most_rows)
            flagged = pd.DataFrame(
                {"user": pairs.users, "item": pairs.items, "count": pairs.counts}
            )
            found |= {"found_by": FOUND_BY, "is_cut": pairs.is_cut}
            found |= _judged(source, split, backbone, flagged, path=path, seed=seed)
            found["future"]["scored_by"] = "the reported weights"
            found["examples"] = _examples(split, flagged, num_examples, parts)
        return found
    suspects = read_suspects(memory, most=most_rows)
    frame = _suspect_rows(split, experiment.samples, backbone, suspects)
    flagged = frame.loc[frame["is_flagged"], ["user", "item", "count"]]
    flagged = flagged.groupby(["user", "item"], as_index=False).max()
    found["suspects"] = {
        "counted": suspects.num_suspects,
        "flagged": suspects.num_flagged,
        "kept": len(suspects.rows),
    }
    if source.truth is not None:
        found["auc"] = _for_json(
            margin_auc(source.truth, split, backbone, seed=seed)
            | suspect_aucs(
                source.truth,
                split,
                **{f"{name}s": frame[name].to_numpy() for name in _SUSPECT_COLUMNS},
                seed=seed,
            )
        )
    found |= _judged(source, split, at_gate or backbone, flagged, path=path, seed=seed)
    scored_by = f"weights of epoch {progress.gate_epoch}, when the gate opened"
    found["future"]["scored_by"] = scored_by if at_gate else "the reported weights"
    found["examples"] = _examples(split, flagged, num_examples)
    _write_suspects(path, split, frame, suspects, progress, patience=memory.patience)
    return found


def _judged(
    source: Source,
    split: Split,
    backbone: Backbone,
    flagged: pd.DataFrame,
    *,
    path: Path,
    seed: int,
) -> dict[str, Any]:
    """Returns how right pairs are, and their items; writes what each user adds to the lifts.

    Args:
        source: Holds the truth of planted data.
        split: Its held-out events are what users took later.
        backbone: Scores the pairs.
        flagged: The distinct pairs, columns user and item.
        path: The work directory.
        seed: The run's seed.
    """
    users, items = flagged["user"].to_numpy(), flagged["item"].to_numpy()
    found: dict[str, Any] = {"ripe_pairs": len(flagged)}
    if source.truth is not None and len(flagged):
        is_trained = split.has_train_events
        found["detection"] = detection(source.truth, users, items, is_trained=is_trained)
    future = _future(split, backbone, users, items, seed)
    found["future"] = dict(future.values)
    found["most_flagged"] = _most_flagged(split, items)
    _write_lifts(path / LIFTS_FILE, split, future.sums)
    return found


def _label_parts(labels: Path, experiment: Experiment) -> list[StoredPart]:
    """Returns the stored labels of all transitions, those of each worker a part.

    Args:
        labels: The folder of this worker's labels.
        experiment: The run.
    """
    events, count = experiment.samples.events_of_rows(), experiment.workers.count
    if count == 1:
        return [open_part(labels, events)]
    return [
        open_part(
            worker_folder(labels.parent, worker, count),
            events[experiment.row_owners.rows_of(worker, count)],
        )
        for worker in range(count)
    ]


def _for_json(values: dict[str, float]) -> dict[str, float | None]:
    """Returns the values for JSON, with null for NaN."""
    return {name: None if np.isnan(value) else value for name, value in values.items()}


def _suspect_rows(
    split: Split, samples: Samples, backbone: Backbone, suspects: Suspects
) -> pd.DataFrame:
    """Returns one row a suspect, in order, with internal ids."""
    windows = windows_of(samples, suspects.rows)
    position = suspects.rows - samples.first_rows[windows] + samples.first_positions[windows]
    return pd.DataFrame(
        {
            "user": samples.users[windows],
            "item": suspects.items,
            "position": position.astype(np.int32),
            "count": suspects.counts,
            "margin": margins(
                backbone,
                split.interactions.items,
                samples,
                rows=suspects.rows,
                items=suspects.items,
                times=split.interactions.seconds_for(backbone),
            ),
            "is_flagged": suspects.is_flagged,
        }
    )


def _write_suspects(
    path: Path,
    split: Split,
    frame: pd.DataFrame,
    suspects: Suspects,
    progress: Progress,
    *,
    patience: int,
) -> None:
    """Writes false_negatives.parquet with raw ids."""
    log = split.interactions
    raw = pd.DataFrame(
        {
            "user": log.user_ids[frame["user"].to_numpy()],
            "item": log.item_ids[frame["item"].to_numpy()],
            "position": frame["position"],
            "count": frame["count"],
            "margin": frame["margin"],
            "flagged": frame["is_flagged"],
        }
    )
    raw.attrs = {
        "margin": "logit of the item less that of the positive, dropout off, "
        f"{progress.best_weights} weights of epoch {progress.best_epoch}",
        "position": "index in the user's history of the event before the positive, from 0",
        "flagged": f"count above {patience}",
        "rows_in_memory": suspects.num_suspects,
        "flagged_in_memory": suspects.num_flagged,
        "is_cut": len(frame) < suspects.num_suspects,
    }
    write_parquet(path / "false_negatives.parquet", raw)


def _future(
    split: Split, backbone: Backbone, users: np.ndarray, items: np.ndarray, seed: int
) -> FutureLift:
    log, known = split.interactions, np.unique(users)
    starts, times = log.offsets[known], log.seconds_for(backbone)
    vectors = newest_vectors(backbone, log.items, starts, split.train_ends[known], times)
    table = backbone.item_embeddings().numpy()
    return future_lift(split, users, items, vectors=vectors, item_table=table, seed=seed)


def _write_lifts(path: Path, split: Split, sums: dict[str, LiftSums]) -> None:
    """Writes what each user adds to the future lifts, so that runs can be pooled."""
    frames = [
        pd.DataFrame(
            {"match": name, "user": split.interactions.user_ids[part.users].astype(str)}
            | {key: getattr(part, key) for key in LiftSums._fields[1:]}
        )
        for name, part in sums.items()
    ]
    write_parquet(path, pd.concat(frames, ignore_index=True))


def _most_flagged(split: Split, items: np.ndarray) -> list[dict[str, Any]]:
    """Returns the items that are flagged for the most users."""
    log, counts = split.interactions, train_counts(split)
    num_users = np.bincount(items, minlength=log.num_items + 1)
    order = np.argsort(-num_users, kind="stable")[:MOST_FLAGGED]
    return [
        {
            "item": str(log.item_ids[item]),
            "name": log.item_name(item),
            "users": int(num_users[item]),
            "train_events": int(counts[item]),
        }
        for item in order
        if num_users[item]
    ]


def _examples(
    split: Split, flagged: pd.DataFrame, count: int, labels: Sequence[StoredPart] = ()
) -> list[dict[str, Any]]:
    """Returns the flagged items of a few users, evenly spaced among users with a flagged pair.

    Of stored labels also those of the user's newest transition in which one is above the item that
    was observed; the history is the one before that.
    """
    log, known = split.interactions, flagged["user"].unique()
    examples = []
    for place in np.unique(np.linspace(0, len(known) - 1, min(count, len(known))).astype(int)):
        user = known[place]
        begin, held_out, end = log.offsets[user], split.train_ends[user], log.offsets[user + 1]
        later = set(log.items[held_out:end].tolist())
        own = flagged[flagged["user"] == user].sort_values("count", ascending=False, kind="stable")
        newest = newest_expectation(labels, split, user, most=_SHOWN_FLAGGED)
        observed: dict[str, Any] = {}
        middle = held_out
        if newest is not None:
            middle = newest.event + 1
            observed["observed"] = log.item_name(log.items[middle])
            observed["expected"] = [
                {"item": log.item_name(i), "share": float(x), "taken_later": int(i) in later}
                for i, x in zip(newest.items, newest.shares, strict=True)
            ]
        examples.append(
            {
                "user": str(log.user_ids[user]),
                "history": [log.item_name(i) for i in log.items[begin:middle][-_SHOWN_HISTORY:]],
                **observed,
                "num_flagged": len(own),
                "flagged": [
                    {"item": log.item_name(i), "count": int(n), "taken_later": int(i) in later}
                    for i, n in zip(own["item"], own["count"], strict=True)
                ][:_SHOWN_FLAGGED],
                "later": [log.item_name(i) for i in log.items[held_out:end]][:_SHOWN_HISTORY],
            }
        )
    return examples
