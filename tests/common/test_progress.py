"""Tests of what is shown of long work: when, with which rate, and where a bar moves."""

import re
import sys
import time
from types import SimpleNamespace

import pytest

from ufnrec_tf.common.display import Display, ProgressBar, running_bar, set_quiet
from ufnrec_tf.common.notebook import UpdatedLine, in_notebook
from ufnrec_tf.common.progress import Phase, ProgressWatcher, busy, current, hide_phases, working_on
from ufnrec_tf.runs.state import LoopSettings, Progress
from ufnrec_tf.training.loop import step_bar


@pytest.fixture
def clock(monkeypatch):
    """Sets the time."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def advance(seconds):
        now[0] += seconds
        return now[0]

    return advance


def test_text_has_share_rate_and_time_left(clock):
    with working_on("ranking", 1000, "users") as found:
        clock(10.0)
        assert found.text() == "ranking: 10 s so far"
        found.advance(250)
        # 250 in 10 s are 25 a second, so that 750 take 30 s.
        assert found.text() == "ranking: 25%, 25 users/s, 30 s left"
        found.advance(900)
        assert found.text().startswith("ranking: 100%")
        assert found.text().endswith(" 0 s left")


def now() -> Phase:
    found = current()
    assert found is not None
    return found


def test_innermost_piece_of_work_counts_and_errors_end_it():
    assert current() is None
    with working_on("outer"):
        with pytest.raises(ZeroDivisionError), working_on("inner"):
            assert now().label == "inner"
            raise ZeroDivisionError
        assert now().label == "outer"
        with working_on("ended") as found:
            found.end()
            assert now().label == "outer"
    assert current() is None


def test_decorated_function_says_what_it_does_at_each_call():
    @working_on("adding")
    def add(first, second):
        return first + second, current()

    (total, one), (_, other) = add(1, 2), add(3, 4)
    assert total == 3
    assert one.label == "adding"
    assert one is not other
    assert current() is None


def test_watcher_is_silent_for_five_seconds_and_then_shows_a_line_every_fifteen(clock, capsys):
    watcher = ProgressWatcher(Display())
    watcher.look(clock(0.0))
    with working_on("exporting"):
        for _ in range(80):
            watcher.look(clock(0.5))
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"  exporting: {seconds} s so far" for seconds in (5, 20, 35)]


def test_watcher_that_runs_shows_and_ends(monkeypatch, capsys):
    monkeypatch.setattr("ufnrec_tf.common.progress.FIRST_SECONDS", 0.0)
    monkeypatch.setattr("ufnrec_tf.common.progress.LOOK_SECONDS", 0.01)
    with ProgressWatcher(Display()) as watcher, working_on("reading"):
        for _ in range(500):
            if watcher._shown is not None:
                break
            time.sleep(0.01)
    assert not watcher._thread.is_alive()
    assert capsys.readouterr().out == "  reading: 0 s so far\n"


def test_quiet_shows_no_work(clock, capsys):
    set_quiet(True)
    try:
        with ProgressWatcher(Display()) as watcher, working_on("reading"):
            assert not watcher._thread.is_alive()
            watcher.look(clock(60.0))
    finally:
        set_quiet(False)
    assert capsys.readouterr().out == ""


def test_a_worker_whose_chief_prints_shows_no_work(clock, capsys, monkeypatch):
    monkeypatch.setattr("ufnrec_tf.common.progress._are_hidden", False)
    watcher = ProgressWatcher(Display())
    with working_on("compiling the training step"):
        watcher.look(clock(6.0))
        assert "compiling the training step" in capsys.readouterr().out
        hide_phases()
        watcher.look(clock(60.0))
    assert capsys.readouterr().out == ""


def test_bar_that_moves_shows_the_work_itself(clock, capsys, monkeypatch):
    display = Display()
    bar = ProgressBar(display, label="SASRec", total=10, done=0)
    assert running_bar() is bar
    said = []
    monkeypatch.setattr(ProgressBar, "is_moving", True)
    monkeypatch.setattr(ProgressBar, "say", lambda self, text: said.append(text))
    watcher = ProgressWatcher(display)
    with working_on("compiling the training step"):
        watcher.look(clock(6.0))
    bar.close(10)
    assert running_bar() is None
    assert said == ["compiling the training step: 6 s so far"]
    assert capsys.readouterr().out == ""


def test_time_left_does_not_count_what_came_before_the_first_step(clock, capsys):
    bar = ProgressBar(Display(), label="SASRec", total=100, done=0)
    clock(60.0)  # of compiling
    bar.update(1, "loss 1.5")
    clock(20.0)
    bar.update(11, "loss 1.4")
    bar.close(11)
    # Ten steps took 20 s, so that 89 take 178 s.
    assert capsys.readouterr().out.splitlines() == [
        "  SASRec: 1% loss 1.5",
        "  SASRec: 11% loss 1.4, 178 s left",
    ]


def test_time_left_is_by_the_later_steps_and_leaves_out_what_compiles(clock, capsys):
    bar = ProgressBar(
        Display(), label="teacher", total=1000, done=0, may_end_early=True, num_slow=3
    )
    for step, seconds in ((1, 60.0), (2, 20.0), (3, 20.0), (13, 20.0)):
        clock(seconds)
        bar.update(step, "loss 1.5")
    clock(50.0)
    bar.leave_out(45.0)  # a step that compiled a program of its own
    bar.update(18, "loss 1.4")
    clock(16.0)
    bar.update(33, "loss 1.3")
    # Steps 1 to 3 are slow. Then 2 s a step, 25 s for 15 steps, and 16 s for the later half of 30.
    assert capsys.readouterr().out.splitlines() == [
        "  teacher: 0% loss 1.5",
        "  teacher: 0% loss 1.5",
        "  teacher: 0% loss 1.5",
        "  teacher: 1% loss 1.5, at most 1974 s left",
        "  teacher: 1% loss 1.4, at most 1637 s left",
        "  teacher: 3% loss 1.3, at most 1031 s left",
    ]
    bar.close(33)


@pytest.mark.parametrize(("monitor", "words"), [("ndcg@10", "at most 178 s"), ("", "178 s")])
def test_the_bar_of_a_training_knows_whether_it_may_stop_early(clock, capsys, monitor, words):
    settings = LoopSettings(
        steps_per_epoch=10,
        max_steps=0,
        monitor=monitor,
        patience=10,
        floor=0.0,
        every=1,
        test_every=0,
        weights="auto",
        checkpoint_seconds=0,
    )
    bar = step_bar(Display(), "SASRec", settings, Progress(), num_steps=103)
    for step in (3, 14):
        clock(22.0)
        bar.update(step, "loss 1.4")
    bar.close(14)
    assert capsys.readouterr().out.splitlines()[1] == f"  SASRec: 13% loss 1.4, {words} left"


def resumed_bar(clock, *, label="SASRec+UFNRec", may_end_early=False):
    bar = ProgressBar(Display(), label=label, total=200, done=100, may_end_early=may_end_early)
    clock(60.0)  # of reading and compiling
    bar.update(101, "epoch 7 loss 0.1048, ndcg@10 0.0370, 2,391 users/s")
    clock(20.0)
    bar.update(111, "epoch 7 loss 0.1048, ndcg@10 0.0370, 2,391 users/s")
    return bar


@pytest.mark.parametrize("label", ["SASRec+UFNRec", "a backbone whose name is long" * 3])
@pytest.mark.parametrize("may_end_early", [False, True])
def test_bar_of_a_terminal_is_one_line_and_its_time_left_is_of_this_process(
    clock, capsys, monkeypatch, label, may_end_early
):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    bar = resumed_bar(clock, label=label, may_end_early=may_end_early)
    assert bar._bar is not None
    bar._bar.refresh()
    bar.close(111)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().out)
    lines = [line for line in re.split(r"[\r\n]+", shown) if line]
    assert all(len(line) <= 80 and "…" not in line[25:] for line in lines)
    # Ten steps took 20 s, so that 89 take 178 s.
    left = "at most 2:58 left" if may_end_early else "time left 2:58"
    assert any(f"55% {left}, epoch 7 loss 0.1048" in line for line in lines)
    assert not any("2:58" in line and "users/s" in line for line in lines)  # no room


def test_bar_of_a_notebook_overwrites_itself(clock, capsys, monkeypatch):
    shown = []
    monkeypatch.setattr("ufnrec_tf.common.display.in_notebook", lambda: True)
    monkeypatch.setattr(UpdatedLine, "show", lambda self, text: shown.append(text))
    bar = resumed_bar(clock)
    assert bar.is_moving
    bar.close(111, is_over=True)
    assert capsys.readouterr().out == ""
    assert "░  55% time left 2:58, epoch 7 loss 0.1048" in shown[1]
    assert shown[-1].startswith(f"SASRec+UFNRec {'█' * 24} 100% took 1:20, epoch 7")
    assert all(len(line) <= 100 for line in shown)


def test_only_a_kernel_is_a_notebook(monkeypatch):
    for shell, expected in ((None, False), (object(), False), (SimpleNamespace(kernel=1), True)):
        python = SimpleNamespace(get_ipython=lambda shell=shell: shell)
        monkeypatch.setitem(sys.modules, "IPython", python)
        assert in_notebook() is expected


def test_reading_a_table_says_how_far_it_is(monkeypatch, write):
    from ufnrec_tf.reading import rows
    from ufnrec_tf.reading.text_files import load_text

    monkeypatch.setattr(rows, "_AT_A_TIME", 2)
    file = load_text(write("user,item\nu,1\nu,2\nu,3\n", "log.csv"))
    layout = rows.Table(["user", "item"], ",", is_quoted=True)
    seen = [(row, now().done, now().total) for _, row in rows.rows(file, layout)]
    assert seen == [
        (["user", "item"], 0, 4),
        (["u", "1"], 0, 4),
        (["u", "2"], 2, 4),
        (["u", "3"], 2, 4),
    ]
    assert current() is None


def test_process_of_its_own_is_shown_by_its_phase_outside_a_terminal(clock, capsys):
    watcher = ProgressWatcher(Display())
    with busy(Display(), "keep, seed 0") as tell:
        watcher.look(clock(6.0))
        tell("  SASRec: 38% epoch 3 loss 1.2, 2,900 users/s, 12 s left")
        tell("leave_one_out leaks: 99.9% of targets are earlier than some train event")
        watcher.look(clock(15.0))
    assert current() is None
    assert capsys.readouterr().out.splitlines() == [
        "  keep, seed 0: 6 s so far",
        "  keep, seed 0 [SASRec 38%]: 21 s so far",
    ]
