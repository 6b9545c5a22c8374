"""Run by test_leak in a process of its own: runs on a log and on the log with other held-out items.

Deterministic operations stay on for the rest of a process, hence not in that of the tests.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from tests.helpers.logs import build_interactions
from tests.helpers.runs import LIGHT, TINY
from ufnrec_tf.common.display import Display
from ufnrec_tf.config import load_config
from ufnrec_tf.data.interactions import Interactions
from ufnrec_tf.data.splits import Split
from ufnrec_tf.reading.sources import Source, make_split
from ufnrec_tf.training import finish, train

SPLITS = ("leave_one_out", "temporal")
FURTHER = {
    "leave_last_n": ("--config.split.num_targets=2",),
    "user_holdout": ("--config.split.validation_share=0.3", "--config.split.test_share=0.3"),
}
"""Splits that are run with one arm alone, and their settings."""
COMMON = (
    *TINY,
    *LIGHT,
    "--config.split.validation_time=60",
    "--config.split.test_time=80",
    "--config.training.deterministic=true",
    "--config.memory.patience=0",
    "--config.training.num_epochs=3",
    "--config.training.batch_size=20",
    "--config.backbone.dropout=0.2",
)
FIXED = ("--config.training.monitor=", "--config.gate.kind=epochs", "--config.gate.epochs=1")
SELECTED = (
    "--config.training.monitor=ndcg@10",
    "--config.training.patience=2",
    "--config.training.num_epochs=4",
    "--config.gate.kind=validation",
    "--config.gate.patience=1",
    "--config.gate.popularity_lift=0.1",
    "--config.evaluation.test_every=1",
)
UFNREC = ("--config.memory.policy=ufnrec",)
PLAIN = ("--config.memory.policy=plain",)

SOFT = ("--config.memory.policy=ufnrec_soft", "--config.teacher.num_epochs=2")
HINDSIGHT = (
    *SOFT,
    "--config.loss.name=cross_entropy",
    "--config.teacher.kind=hindsight",
    "--config.teacher.left_out=0.2",
)
BY_RUNS = (*SOFT, "--config.teacher.kind=runs")

FIXED_RUNS = {
    "ufnrec": UFNREC,
    "plain": PLAIN,
    "hindsight": HINDSIGHT,
}
"""With a fixed number of epochs, where nothing held out may reach the weights."""


def make_log() -> Interactions:
    """Forty users, 12 events each in 0..100, 18 items, of which three only after 80."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(40):
        place = int(rng.integers(15))
        for time in np.sort(rng.choice(100, size=12, replace=False)):
            place += int(rng.integers(1, 4))
            item = 15 + place % 3 if time >= 80 and rng.random() < 0.2 else place % 15
            rows.append((f"u{user}", f"i{item}", float(time)))
    frame = pd.DataFrame(rows, columns=["user", "item", "time"])
    return build_interactions(frame, sha256="", source="log")


def permuted(log: Interactions, is_chosen: np.ndarray) -> Interactions:
    """The log with the items of the chosen events dealt out anew among these."""
    items = log.items.copy()
    items[is_chosen] = np.random.default_rng(1).permutation(items[is_chosen])
    return replace(log, items=items)


def events_of_test(split: Split) -> np.ndarray:
    """Whether each event is in the test part, bool [E]."""
    log = split.interactions
    if split.times is not None and log.timestamps is not None:
        return log.timestamps >= split.times[1]
    is_test = np.zeros(log.num_events, bool)
    is_test[split.target_index("test")] = True
    return is_test


def split_of(log: Interactions, name: str, settings: tuple[str, ...]) -> Split:
    """The split that the command line would make."""
    given = [f"--config.split.name={name}", *settings]
    pairs = [option.removeprefix("--config.").split("=", 1) for option in given]
    return make_split(load_config("", [(key, value) for key, value in pairs]), log)


def run(workdir: Path, log: Interactions, split_name: str, settings: tuple[str, ...]) -> None:
    """Trains on a log as the command line does on a file."""
    given = [*COMMON, f"--config.split.name={split_name}", *settings]
    pairs = [option.removeprefix("--config.").split("=", 1) for option in given]
    config = load_config("", [(key, value) for key, value in pairs])
    train.train(
        config,
        Source(log, None),
        make_split(config, log),
        workdir=str(workdir),
        seed=0,
        data_path="",
        command=[],
        display=Display(),
    )


def main(folder: Path) -> None:
    # The export is a copy of weights that are compared, and takes longer than a run.
    setattr(finish, "export", lambda *_: None)  # noqa: B010
    # Tracing takes ten times as long as these steps; what the steps compute is the same.
    tf.config.run_functions_eagerly(True)
    log = make_log()
    for name in SPLITS:
        pairs = (("split.name", name), ("split.validation_time", "60"), ("split.test_time", "80"))
        split = make_split(load_config("", pairs), log)
        other = permuted(log, ~split.is_train)
        for arm, settings in FIXED_RUNS.items():
            for which, events in (("log", log), ("permuted", other)):
                run(folder / name / arm / which, events, name, (*FIXED, *settings))
        other = permuted(log, events_of_test(split))
        for which, events in (("log", log), ("permuted", other)):
            run(folder / name / "selected" / which, events, name, (*SELECTED, *UFNREC))
    other = permuted(log, ~split_of(log, SPLITS[0], ()).is_train)
    for which, events in (("log", log), ("permuted", other)):
        older = f"--config.teacher.runs={folder / SPLITS[0] / 'plain' / which}"
        run(folder / SPLITS[0] / "runs" / which, events, SPLITS[0], (*FIXED, *BY_RUNS, older))
    for name, given in FURTHER.items():
        other = permuted(log, ~split_of(log, name, given).is_train)
        for which, events in (("log", log), ("permuted", other)):
            run(folder / name / "ufnrec" / which, events, name, (*given, *FIXED, *UFNREC))
    split = make_split(load_config("", ()), log)
    other = permuted(log, split.is_train)
    run(folder / "control", other, SPLITS[0], (*FIXED, *UFNREC))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
