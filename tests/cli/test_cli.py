"""Bad input, case by case: exit code, one line on the error stream, nothing made or changed."""

import errno
import gzip
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from tests.helpers.runs import (
    LIGHT,
    PLANTED,
    TINY,
    command,
    contents,
    metric_lines,
    pairs_text,
    read,
    rewrite,
    run,
    run_apart,
    train,
)
from ufnrec_tf import __version__
from ufnrec_tf.cli.modes import MODES

pytestmark = pytest.mark.usefixtures("eagerly")

CSV = "".join(f"u{user},i{item},{item}\n" for user in range(9) for item in range(5))
TIMED, RATED = "user,item,timestamp\n" + CSV, "user,item,rating\n" + CSV


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def refused(capfd, code, *words, got):
    """Asserts the exit code and that one line says so with these words; returns the line."""
    screen = capfd.readouterr()
    assert got == code, screen
    lines = screen.err.splitlines()
    assert len(lines) == 1, screen.err
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]
    for noise in ("Traceback", "internal error", "{{", "[Op:"):
        assert noise not in screen.err + screen.out
    return lines[0]


def write(name, data):
    Path(name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return name


def zipped(*texts):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number, text in enumerate(texts):
            archive.writestr(f"log{number}.txt", text)
    return file.getvalue()


PAIRS = pairs_text()
FILES = {
    "empty file": ("", ["log", "empty"]),
    "blank lines": ("\n \n", ["log", "empty"]),
    "one field": (PAIRS + "u1\n" + PAIRS, ["log, line 121:", "1 field", "two", "mend"]),
    "three fields": (PAIRS + "u1 i2 9\n", ["log, line 121:", "3 field", "two", "mend"]),
    "text for a time": (TIMED + "u1,i2,noon\n", ["log, line 47:", "timestamp 'noon'", "mend"]),
    "no time": (TIMED + "u1,i2,\n", ["log, line 47:", "timestamp ''", "mend"]),
    "nan for a time": (TIMED + "u1,i2,nan\n", ["log, line 47:", "'nan' is not finite"]),
    "inf for a time": (TIMED + "u1,i2,inf\n", ["log, line 47:", "'inf' is not finite"]),
    "-inf for a time": (TIMED + "u1,i2,-Infinity\n", ["log, line 47:", "not finite"]),
    "too large a time": (TIMED + "u1,i2,1e999\n", ["log, line 47:", "1e999"]),
    "text for a rating": (RATED + "u1,i2,good\n", ["log, line 47:", "rating 'good'", "mend"]),
    "no user column": (
        "whoever,item,rating\n" + CSV,
        ["log, line 1:", "user column", "'whoever'", "--config.data.user_column"],
    ),
    "one user": ("u i1\nu i2\nu i3\nu i4\n", ["log", "1 user", "at least 2"]),
    "one item": ("u i\n" * 4 + "v i\n" * 4, ["log", "1 item", "at least 2"]),
    "nobody with 3 events": ("u a\nu b\nv a\nv b\n", ["log", "no user has 3 events"]),
    "not UTF-8": (PAIRS.encode() + b"u1 caf\xe9\n", ["log, line 121:", "0xe9", "UTF-8", "iconv"]),
    "UTF-16": (PAIRS.encode("utf-16"), ["log: ", "UTF-16", "UTF-8", "iconv"]),
    "gzip": (gzip.compress(PAIRS.encode())[:-9], ["log: ", "gzip", "cut short", "gunzip"]),
    "zip": (zipped(PAIRS, PAIRS), ["log: ", "a zip archive of 2 files", "unzip -p log"]),
}


@pytest.mark.parametrize("case", FILES)
def test_a_bad_file(case, capfd):
    data, words = FILES[case]
    filters = ["--config.data.min_rating=1"] if case == "text for a rating" else []
    got = run(f"--data={write('log', data)}", "--workdir=w", *filters, *TINY)
    refused(capfd, 1, *words, got=got)
    assert not Path("w").exists()


@pytest.mark.parametrize("mode", ["train", "evaluate", "export"])
def test_a_missing_file(mode, capfd, trained):
    at_work = Path("w")
    if mode != "train":
        shutil.copytree(trained, at_work)
    before = contents(at_work)
    got = run(f"--mode={mode}", "--data=none.txt", "--workdir=w")
    # The planted log needs no file, so that --data is one too many there.
    words = ["no such file"] if mode == "train" else ["both name the data"]
    refused(capfd, 1, "none.txt", *words, got=got)
    assert contents(at_work) == before


@pytest.mark.parametrize("mode", ["compare", "sweep"])
def test_a_pipe_for_several_runs(mode, capfd):
    os.mkfifo("pipe")
    flags = ["--config.sweep.space=backbone.dropout=0.1:0.7"] * (mode == "sweep")
    got = run(f"--mode={mode}", "--data=pipe", "--workdir=w", *flags)
    refused(capfd, 1, "--data=pipe", "can be read only once", "each run", "to a file", got=got)
    assert not Path("w").exists()


def test_the_demo_of_another_backbone_has_no_setting_that_it_does_not_read(capfd):
    """It comes as far as the number of items, which only the data tells."""
    got = run("--config.backbone.name=gru4rec", "--config.evaluation.cutoffs=(5000,)")
    refused(capfd, 1, "evaluation.cutoffs", "number of items, 1,000", got=got)


def test_a_folder_for_a_file(capfd):
    Path("folder").mkdir()
    refused(capfd, 1, "folder", "directory", got=run("--data=folder", "--workdir=w"))
    assert not Path("w").exists()


SETTINGS = {
    "training.batch_size=-4": (1, ["training.batch_size", "at least 1", "-4"]),
    "training.batch_size=many": (1, ["training.batch_size", "a whole number", "'many'"]),
    "backbone.max_length=0": (1, ["backbone.max_length", "at least 1", "0"]),
    "backbone.widht=8": (2, ["--config.backbone.widht", "'backbone.width'"]),
    "bakbone.width=8": (2, ["--config.bakbone.width", "'backbone.width'"]),
    "data.format=pears": (1, ["data.format", "'pears'", "'pairs'"]),
    "backbone.name=sasrek": (1, ["backbone.name", "'sasrek'", "'sasrec'"]),
    "backbone.variant=corected": (1, ["backbone.variant", "'corrected'"]),
    "backbone.num_heads=3": (1, ["backbone.num_heads", "divide", "width 8", "num_heads=1"]),
    "memory.policy=ufnrek": (1, ["memory.policy", "'ufnrek'", "'ufnrec'"]),
    "loss.name=poled_bce": (1, ["loss.name", "'poled_bce'", "'pooled_bce'"]),
    "gate.kind=platau": (1, ["gate.kind", "'platau'", "'plateau'"]),
    "distribution.strategy=mirored": (1, ["distribution.strategy", "'mirrored'"]),
    "comparison.baselines=popularty": (1, ["comparison.baselines", "'popularity'"]),
    "comparison.arms=plan": (1, ["comparison.arms", "'plain'"]),
    "training.monitor=ndcg@7": (1, ["training.monitor", "'ndcg@7'", "ndcg@10"]),
    "training.steps_per_execution=2": (1, ["training.steps_per_execution", "divisor of 3"]),
    "evaluation.mask=sen": (1, ["evaluation.mask", "'seen'"]),
    "data.name=plantd": (1, ["data.name", "'planted'"]),
    "data.titles=none.csv": (1, ["none.csv", "no such file"]),
    "optimizer.learning_rate=nan": (1, ["optimizer.learning_rate", "nan"]),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_bad_setting(setting, capfd):
    code, words = SETTINGS[setting]
    data = write("log", pairs_text(num_users=40))
    got = run(f"--data={data}", "--workdir=w", *TINY, f"--config.{setting}")
    refused(capfd, code, *words, got=got)
    assert not Path("w").exists()


FLAGS = {
    "--mode=trian": (2, ["--mode=trian", "'train'", "evaluate"]),
    "--modee=train": (2, ["--modee=train", "'mode'"]),
    "train": (2, ["train", "--help"]),
    "--config.width": (1, ["--config.width", "needs a value", "--config.width=VALUE"]),
    "--seed=one": (1, ["--seed", "'one'"]),
    "--seed=-1": (1, ["--seed", "-1"]),
    "--config=configs/papr.py": (1, ["configs/papr.py", "'paper'"]),
    "--mode=evaluate": (1, ["w", "not a trained work directory", "--mode=train"]),
    "--mode=export": (1, ["w", "not a trained work directory", "--mode=train"]),
    "--mode=recommend": (1, ["--histories", "--help=recommend"]),
    "--top_k=3": (1, ["--top_k has no effect with --mode=train", "--config.evaluation.cutoffs=3"]),
    "--split=": (1, ["--split", "test, validation"]),
}


@pytest.mark.parametrize("flag", FLAGS)
def test_a_bad_flag(flag, capfd):
    code, words = FLAGS[flag]
    got = run(f"--data={write('log', PAIRS)}", "--workdir=w", flag)
    refused(capfd, code, *words, got=got)
    assert not Path("w").exists()


def test_no_data_and_two_of_it(capfd):
    got = run("--config=configs/paper.py", "--workdir=w")
    refused(capfd, 1, "no data", "--data=FILE", got=got)
    got = run(f"--data={write('log', PAIRS)}", "--workdir=w", *PLANTED)
    refused(capfd, 1, "log", "planted", "Leave one out", got=got)
    assert not Path("w").exists()


def test_modes_that_need_a_workdir(capfd):
    for mode in ("evaluate", "export", "recommend"):
        refused(capfd, 1, f"--mode={mode} needs --workdir", got=run(f"--mode={mode}"))
    words = "no exported model", "--mode=export"
    got = run("--mode=recommend", "--workdir=w", "--histories=h", "--output=o")
    refused(capfd, 1, *words, got=got)
    assert os.listdir() == []


@pytest.mark.parametrize("path", ["log", "log/below"])
def test_a_workdir_that_cannot_be_made(path, capfd):
    write("log", PAIRS)
    got = run("--data=log", f"--workdir={path}", *TINY)
    refused(capfd, 1, f"--workdir={path}", "cannot be made", "Give another --workdir", got=got)
    assert os.listdir() == ["log"]
    assert Path("log").read_text(encoding="utf-8") == PAIRS


def test_help_is_a_page_of_our_own(capfd):
    for flag in ("--help", "-h"):
        assert run(flag) == 0
        screen = capfd.readouterr()
        assert screen.err == ""
        for words in (*MODES, "--workdir", "--config.memory.patience=5", "Paper: m."):
            assert words in screen.out
    assert __version__


# A work directory that is there already.


@pytest.fixture
def workdir(trained):
    """A copy of the trained work directory, `w`."""
    shutil.copytree(trained, "w")
    return Path("w")


def retrain(*arguments, data=PLANTED):
    return train("w", "--config.training.num_epochs=9", *arguments, data=data)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config.data.planted_seed=1"], ["data of sha256"]),
        (["--config.backbone.width=12"], ["backbone.width 8", "12"]),
        (["--config.backbone.variant=corrected"], ["backbone.variant 'authors'", "'corrected'"]),
        (["--config.memory.policy=keep"], ["memory.policy 'ufnrec'", "'plain'"]),
        (["--config.training.batch_size=8"], ["training.batch_size 16", "8"]),
        (["--seed=1"], ["seed 0", "1"]),
    ],
)
def test_a_workdir_of_another_run(workdir, capfd, arguments, words):
    before = contents(workdir)
    refused(capfd, 1, "--workdir=w", *words, "Give another --workdir", got=retrain(*arguments))
    assert contents(workdir) == before


def test_a_workdir_of_another_backbone(workdir, capfd):
    text = (workdir / "config.json").read_text(encoding="utf-8")
    rewrite(workdir / "config.json", **json.loads(text.replace('"sasrec"', '"gru4rec"')))
    before = contents(workdir)
    refused(capfd, 1, "--workdir=w", "backbone.name 'gru4rec'", "'sasrec'", got=retrain())
    assert contents(workdir) == before


def test_evaluation_on_other_data(workdir, capfd):
    record = read(workdir / "config.json")
    record["identity"]["data of sha256"] = "0" * 64
    rewrite(workdir / "config.json", **record)
    before = contents(workdir)
    for mode in ("evaluate", "export"):
        got = run(f"--mode={mode}", "--workdir=w")
        refused(capfd, 1, "--workdir=w", "data of sha256", "000", "--data", got=got)
    assert contents(workdir) == before


@pytest.mark.parametrize("mode", ["evaluate", "export"])
def test_training_settings_of_a_trained_model(workdir, capfd, mode):
    before = contents(workdir)
    got = run(f"--mode={mode}", "--workdir=w", "--config.backbone.width=9")
    words = "--config.backbone.width", "evaluation.*", "another --workdir"
    refused(capfd, 1, *words, got=got)
    got = run(f"--mode={mode}", "--workdir=w", "--config.evaluation.mask=sen")
    refused(capfd, 1, "evaluation.mask", "'seen'", got=got)
    got = run(f"--mode={mode}", "--workdir=w", "--config.evaluation.msk=seen")
    refused(capfd, 2, "evaluation.msk", "'evaluation.mask'", got=got)
    assert contents(workdir) == before


def test_a_split_that_is_none(workdir, capfd):
    got = run("--mode=evaluate", "--workdir=w", "--split=tets")
    refused(capfd, 1, "--split", "'tets'", "validation", got=got)


def newest(workdir):
    return sorted((workdir / "checkpoints").glob("step-*"))[-1]


@pytest.mark.slow
def test_a_corrupt_checkpoint(workdir, capfd):
    data = next(newest(workdir).glob("variables.data-*"))
    data.write_bytes(data.read_bytes()[:1000])
    before = contents(workdir)
    words = [newest(workdir).name, "damaged", "Remove this folder", "another --workdir"]
    refused(capfd, 1, *words, got=retrain())
    got = run("--mode=evaluate", "--workdir=w", "--config.evaluation.weights=student")
    refused(capfd, 1, *words, got=got)
    assert contents(workdir) == before


@pytest.mark.slow
def test_a_corrupt_state(workdir, capfd):
    (newest(workdir) / "state.json").write_text('{"format', encoding="utf-8")
    before = contents(workdir)
    refused(capfd, 1, newest(workdir).name, "damaged", got=retrain())
    (newest(workdir) / "state.json").write_text('{"format_version": 99}', encoding="utf-8")
    refused(capfd, 1, newest(workdir).name, "format 99 is newer", got=retrain())
    (newest(workdir) / "state.json").write_text('{"format_version": 1}', encoding="utf-8")
    refused(capfd, 1, newest(workdir).name, "format 1 is older", got=retrain())
    assert {k for k, v in contents(workdir).items() if before[k] != v} == {
        str((newest(workdir) / "state.json").relative_to(workdir))
    }


@pytest.mark.slow
@pytest.mark.usefixtures("without_export")
def test_a_corrupt_best_checkpoint(workdir, capfd):
    (workdir / "checkpoints" / "best" / "variables.index").write_bytes(b"")
    before = contents(workdir)
    for mode in ("evaluate", "export"):
        refused(capfd, 1, "best", "damaged", got=run(f"--mode={mode}", "--workdir=w"))
    assert contents(workdir) == before
    # Going on needs the newest checkpoint alone, and writes the best one again.
    assert train("w", "--config.training.num_epochs=4") == 0
    assert run("--mode=evaluate", "--workdir=w") == 0


@pytest.mark.parametrize("text", ["{", "", "[]", "{}", '{"config": 3}'])
def test_a_corrupt_record(workdir, capfd, text):
    (workdir / "config.json").write_text(text, encoding="utf-8")
    before = contents(workdir)
    refused(capfd, 1, "w/config.json", got=run("--mode=evaluate", "--workdir=w"))
    refused(capfd, 1, "w/config.json", got=retrain())
    assert contents(workdir) == before


@pytest.mark.parametrize("mode", ["train", "evaluate", "export"])
def test_a_second_run_at_the_same_time(workdir, capfd, mode):
    import fcntl

    before = contents(workdir)
    with (workdir / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        got = retrain() if mode == "train" else run(f"--mode={mode}", "--workdir=w")
        words = "--workdir=w", "another run is using it", "Wait for it"
        refused(capfd, 1, *words, got=got)
    assert contents(workdir) == before


# Trouble on the way.


@pytest.mark.slow
def test_a_loss_that_turns_nan_at_once(capfd):
    got = train("w", "--config.optimizer.learning_rate=1e30", *LIGHT)
    line = refused(capfd, 1, "not a finite number", "no checkpoint", "learning_rate", got=got)
    assert "at step 2, epoch 1" in line or "at step 3, epoch 1" in line
    assert not Path("w/result.json").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("without_export")
def test_a_loss_that_turns_nan_later(capfd, monkeypatch):
    from ufnrec_tf.training.loop import TrainingLoop

    begin = TrainingLoop.on_epoch_begin

    def poison(loop, epoch, logs=None):
        if epoch == 2:
            loop.ufnrec.backbone.item_table.assign(loop.ufnrec.backbone.item_table * float("nan"))
        begin(loop, epoch, logs)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "on_epoch_begin", poison)
        steps = "--config.training.checkpoint_steps=4"
        got = train("w", "--config.training.num_epochs=3", steps, *LIGHT)
    words = "step 9, epoch 3", "step-00000008 is kept", "--config.optimizer.learning_rate"
    refused(capfd, 1, *words, got=got)
    assert train("w", "--config.training.num_epochs=3", *LIGHT) == 0
    assert "resuming from step-00000008" in capfd.readouterr().out
    assert [line["step"] for line in metric_lines("w")] == [4, 8, 12]


class Disk:
    """A disk on which no file can grow beyond `size` bytes, without being root."""

    def __init__(self, size):
        self.size = size

    def __enter__(self):
        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.before[1]))

    def __exit__(self, *error):
        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)


@pytest.mark.slow
@pytest.mark.usefixtures("without_export")
def test_a_full_disk_and_room_again(capsys, monkeypatch):
    # capsys keeps the screen in memory, where the limit does not reach.
    settings = ["--config.training.num_epochs=2", *LIGHT]
    for size, place in ((200, "config.json"), (11_000, "checkpoint step")):
        with Disk(size):
            got = train("w", *settings)
        refused(capsys, 1, "w/", place, "File too large", "Free some space", got=got)
        assert not Path("w/result.json").exists()
    with monkeypatch.context() as patch:
        patch.setattr(pd.DataFrame, "to_parquet", no_space_at("false_negatives"))
        got = train("w", *settings)
    refused(capsys, 1, "w/false_negatives.parquet", "No space left on device", got=got)
    assert train("w", *settings) == 0
    assert [line["step"] for line in metric_lines("w")] == [4, 8]
    assert read("w/result.json")["steps"] == 8


def no_space_at(name):
    """Returns a DataFrame.to_parquet that finds the disk full at files of this name."""
    original = pd.DataFrame.to_parquet

    def to_parquet(frame, path, **options):
        if name in str(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(frame, path, **options)

    return to_parquet


def test_a_bug_names_itself_and_keeps_its_traceback(workdir, capfd, monkeypatch):
    from ufnrec_tf.cli import modes

    def broken(*arguments):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(modes, "load_config", broken)
    got = run("--workdir=w", *PLANTED)
    lines = capfd.readouterr().err.splitlines()
    assert got == 1
    assert len(lines) == 1
    assert lines[0].startswith("internal error (a bug in ufnrec-tf): RuntimeError: two lines;")
    assert "w/error.log" in lines[0]
    assert "Traceback" in (workdir / "error.log").read_text(encoding="utf-8")


def test_too_little_memory_is_no_bug(capfd, monkeypatch):
    from ufnrec_tf.cli import modes

    exhausted = type("ResourceExhaustedError", (Exception,), {})("OOM when allocating")
    for error in (MemoryError("96 GiB"), exhausted):

        def broken(*arguments, error=error):
            raise error

        monkeypatch.setattr(modes, "load_config", broken)
        refused(capfd, 1, "memory", "training.batch_size", got=run("--workdir=w", *PLANTED))
    assert os.listdir() == []


# In a process of its own: TensorFlow's start must not show.


@pytest.mark.slow
def test_the_process_says_one_line_before_the_data_and_after(tmp_path):
    write("log", PAIRS)
    # The number of items is known only once the data has been told.
    for argument, code, num_lines in (
        ("--config.bakbone.width=8", 2, 0),
        ("--config.backbone.name=sasrek", 1, 0),
        ("--config.evaluation.cutoffs=(1000,)", 1, 8),
    ):
        done = run_apart("--data=log", "--workdir=w", argument, cwd=tmp_path)
        assert done.returncode == code
        # On a slow machine also what takes long.
        shown = [line for line in done.stdout.splitlines() if " so far" not in line]
        assert len(shown) == num_lines
        assert "error" not in done.stdout
        assert len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith("error: ")
    assert os.listdir() == ["log"]


def test_a_closed_pipe_is_no_bug(tmp_path):
    with subprocess.Popen(
        command("--help"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode in (1, -signal.SIGPIPE)
    assert os.listdir() == []
