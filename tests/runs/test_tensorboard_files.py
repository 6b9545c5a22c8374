"""Tests of the board: what a run that goes on leaves of the event files of the one before."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.helpers.same_run import points
from tests.processes.crash_run import cut_events
from ufnrec_tf.method.policies import POLICIES
from ufnrec_tf.runs.tensorboard_files import Board
from ufnrec_tf.training.tensorboard_content import write_scalars


def shown(folder):
    return {key[1:]: len(values) for key, values in points(folder).items()}


def test_what_is_after_the_checkpoint_or_half_written_goes(tmp_path):
    board = Board(tmp_path)
    for step in (4, 8, 12):
        board.scalars("train", {"loss/total": float(step)}, step=step)
    board.close()
    cut_events(tmp_path)  # the process died while it wrote that of step 12
    board = Board(tmp_path)
    board.cut_after(8)
    assert shown(tmp_path) == {("loss/total", 4): 1, ("loss/total", 8): 1}
    board.cut_after(4)
    assert shown(tmp_path) == {("loss/total", 4): 1}
    board.scalars("train", {"loss/total": 8.0}, step=8)
    board.close()
    assert shown(tmp_path) == {("loss/total", 4): 1, ("loss/total", 8): 1}
    assert not list(tmp_path.rglob("*.new"))


def test_what_a_run_tells_at_its_end_is_told_once(tmp_path):
    for _ in range(2):
        board = Board(tmp_path)
        board.cut_after(8)
        board.begin_end()
        board.scalars("test", {"ranking/mrr": 0.5}, step=4)
        board.close()
    assert shown(tmp_path) == {("ranking/mrr", 4): 1}


def test_a_worker_that_writes_nothing_cuts_nothing(tmp_path):
    board = Board(tmp_path)
    board.scalars("train", {"loss/total": 1.0}, step=4)
    board.close()
    Board(tmp_path, is_written=False).cut_after(0)
    assert shown(tmp_path) == {("loss/total", 4): 1}


@pytest.mark.parametrize(("negatives", "expected"), [(40.0, 0.25), (0.0, None)])
def test_a_loss_without_negatives_has_no_shares_of_them(negatives, expected):
    written: dict[str, float] = {}
    board: Any = SimpleNamespace(
        scalars=lambda part, values, step: written.update(values), flush=lambda: None
    )
    sums = dict.fromkeys(("loss", "ranking", "consistency", "l2", "removals", "shown", "hard"), 1.0)
    sums |= {"steps": 2.0, "users": 4.0, "positions": 8.0, "flips": 10.0, "negatives": negatives}
    model: Any = SimpleNamespace(
        optimizer=SimpleNamespace(learning_rate=0.1),
        teacher=None,
        memory=None,
        policy=POLICIES["plain"],
        objective=SimpleNamespace(l2=0.0),
    )
    progress: Any = SimpleNamespace(step=2, timing={"train_users": 4}, gate_epoch=None)
    write_scalars(board, sums, progress, model=model, num_teacher_updates=0)
    assert written.get("ufnrec/share_of_labels_flipped") == expected
    assert written["ufnrec/flips_per_positive"] == 1.25
    assert not {"loss/consistency", "loss/l2"} & written.keys()  # charts of terms that are off
    assert "ufnrec_memory/shown_share_of_negatives" not in written
