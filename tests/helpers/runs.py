"""Runs of the command line for tests: tiny settings, in this process or in one of its own."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from ufnrec_tf.cli.main import main
from ufnrec_tf.common.hashes import write_hashed_json

ROOT = Path(__file__).resolve().parents[2]
PLANTED = (
    "--config.data.name=planted",
    "--config.data.planted_users=60",
    "--config.data.planted_items=40",
)
STEPS = 4
"""Steps of an epoch of `PLANTED` at `TINY`'s batch size: 60 users by 16."""
TINY = (
    "--config.training.recipe=base",
    "--config.backbone.width=8",
    "--config.backbone.num_blocks=1",
    "--config.backbone.max_length=10",
    "--config.negatives.count=8",
    "--config.memory.patience=1",
    "--config.optimizer.learning_rate=0.01",
    "--config.training.batch_size=16",
    # Seconds a program; on again where it matters.
    "--config.training.jit_compile=false",
    "--config.gate.kind=epochs",
    "--config.gate.epochs=1",
)
LIGHT = (
    "--config.backbone.num_blocks=0",
    "--config.comparison.baselines=",
    "--config.comparison.sample_users=0",
)
"""For runs whose model does not matter: half the time, which goes into tracing."""


def run(*arguments):
    """Runs the command line in this process; returns the exit code."""
    return main(["main.py", *map(str, arguments)])


def train(workdir, *arguments, data=PLANTED):
    """Trains at the tiny settings in this process; returns the exit code."""
    return run(f"--workdir={workdir}", *data, *TINY, *arguments)


def command(*arguments):
    """The command line for a process of its own."""
    return [sys.executable, str(ROOT / "main.py"), *map(str, arguments)]


def environment():
    """What such a process inherits: this one's settings but for what quiets TensorFlow here."""
    return {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}


def run_apart(*arguments, cwd):
    """Runs the command line in a process of its own."""
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment(),
        timeout=300,
        check=False,
    )


def read(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def rewrite(path, **values):
    """Changes values of a hashed JSON document as the program itself would."""
    write_hashed_json(Path(path), {**read(path), **values})


def described(version):
    """ufnrec.json of an exported version, without the hashes: TensorFlow's graphs vary by bytes."""
    document = read(Path(version) / "ufnrec.json")
    assert "saved_model.pb" in document.pop("files")
    del document["sha256"]
    return document


def rename_back(folder):
    """Gives plain training the name that it had in records of earlier versions."""
    for path in Path(folder).rglob("config.json"):
        text = path.read_text(encoding="utf-8")
        assert '"plain"' in text
        document = json.loads(text.replace('"plain"', '"keep"'))
        del document["sha256"]  # which they did not have
        path.write_text(json.dumps(document), encoding="utf-8")


def metric_lines(workdir):
    text = (Path(workdir) / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def contents(folder):
    """File name to hash of all that a folder holds, the lock left out."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def pairs_text(num_users=20, num_items=13, length=6):
    """A pairs file: each user's events are distinct items."""
    return "".join(
        f"u{user} i{(user * 3 + event * 7) % num_items}\n"
        for user in range(num_users)
        for event in range(length)
    )
