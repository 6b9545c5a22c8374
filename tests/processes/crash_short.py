"""Run by test_crash in a process of its own: one run undisturbed, one killed again and again.

The lives are forks of this process, which therefore uses TensorFlow only after the last of them.
"""

import json
import sys
from pathlib import Path

from tests.helpers.crashes import KILLED, flags, fork
from tests.processes.crash_run import cut_file
from ufnrec_tf.common.tensorflow_setup import import_tensorflow

GATE = "--config.gate.kind=epochs"
LIGHT = ("--config.backbone.num_blocks=0", "--config.training.max_steps=18", GATE)
KILLS = (
    "half:variables checkpoints/.step-00000006.new/variables#1",
    "after:rename checkpoints/.best.old#2",  # the old one is away, the new one not yet there
    "half:model export/.1.new#1",
)
DAMAGED_BEFORE = 2
"""Before this life the newest checkpoint loses half of its variables."""


def main(folder):
    import_tensorflow()
    import tensorflow as tf

    # Tracing takes longer than the steps. This is a setting of Python, which the forks inherit.
    tf.config.run_functions_eagerly(True)
    flags_of = {name: [*flags("ufnrec", folder / name), *LIGHT] for name in ("whole", "killed")}
    lives = [fork("", folder / "whole.txt", flags_of["whole"])]
    for number, kill in enumerate((*KILLS, "")):
        if number == DAMAGED_BEFORE:
            newest = sorted((folder / "killed/checkpoints").glob("step-*"))[-1]
            cut_file(next(newest.glob("variables.data-*")))
        lives.append(fork(kill, folder / f"life{number}.txt", flags_of["killed"]))
    text = json.dumps([life._asdict() for life in lives])
    (folder / "lives.json").write_text(text, encoding="utf-8")
    assert [life.code for life in lives] == [0, *[KILLED] * len(KILLS), 0], lives
    from tests.helpers.same_run import assert_same_run, leftovers  # after TensorFlow's noise

    assert_same_run(folder / "killed", folder / "whole")
    (folder / "leftovers.json").write_text(json.dumps(leftovers(folder / "killed")))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
