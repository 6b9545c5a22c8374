"""Run by test_crash in a process of its own: one run undisturbed, one killed again and again.

    python -m tests.processes.crash_short FOLDER CASE

The lives are forks of this process, which therefore uses TensorFlow only after the last of them.
"""

import fnmatch
import json
import sys
from pathlib import Path

from tests.helpers.crashes import KILLED, flags, fork
from tests.processes.crash_run import cut_file
from ufnrec_tf.common.tensorflow_setup import import_tensorflow

GATE = "--config.gate.kind=epochs"
LIGHT = ("--config.backbone.num_blocks=0", "--config.training.max_steps=18", GATE)
KILLS = {
    "ufnrec": (
        "half:variables checkpoints/.step-00000006.new/variables#1",
        "after:rename checkpoints/.best.old#2",  # the old one is away, the new one not yet there
        "half:model export/.1.new#1",
    ),
    "ufnrec_soft": (
        "half:variables teacher/checkpoints/.step-00000006.new/variables#1",
        "after:replace teacher/labels-*/items.i32#1",  # between the two files
    ),
}
"""Case to the writes at which it is killed; an asterisk stands for what only the run knows."""
UNFINISHED = {"ufnrec_soft"}
"""Cases that leave the end of the run out, which is killed in others."""
DAMAGED_BEFORE = 2
"""Before this life the newest checkpoint loses half of its variables."""


def whole_name(kill, notes):
    """The kill with the whole name of its write, which the undisturbed run has noted."""
    moment, _, pattern = kill.partition(":")
    (name,) = fnmatch.filter(notes.read_text(encoding="utf-8").splitlines(), pattern)
    return f"{moment}:{name}"


def main(folder, case):
    import_tensorflow()
    import tensorflow as tf

    # Tracing takes longer than the steps. This is a setting of Python, which the forks inherit.
    tf.config.run_functions_eagerly(True)
    further = ["--config.training.finish=false"] if case in UNFINISHED else []
    flags_of = {
        name: [*flags(case, folder / name), *LIGHT, *further] for name in ("whole", "killed")
    }
    notes = folder / "whole.txt"
    lives = [fork("", notes, flags_of["whole"])]
    kills = [whole_name(kill, notes) for kill in KILLS[case]]
    for number, kill in enumerate((*kills, "")):
        if number == DAMAGED_BEFORE and case == "ufnrec":
            newest = sorted((folder / "killed/checkpoints").glob("step-*"))[-1]
            cut_file(next(newest.glob("variables.data-*")))
        lives.append(fork(kill, folder / f"life{number}.txt", flags_of["killed"]))
    text = json.dumps([life._asdict() for life in lives])
    (folder / "lives.json").write_text(text, encoding="utf-8")
    assert [life.code for life in lives] == [0, *[KILLED] * len(kills), 0], lives
    from tests.helpers import same_run  # after TensorFlow's noise

    is_whole = case not in UNFINISHED
    compare = same_run.assert_same_run if is_whole else same_run.assert_same_training
    compare(folder / "killed", folder / "whole")
    (folder / "leftovers.json").write_text(json.dumps(same_run.leftovers(folder / "killed")))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
