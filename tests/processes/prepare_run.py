"""Run by test_prepare in a process of its own: a preparation that is killed in the middle."""

import os
import signal
import sys

from tests.helpers.runs import run
from ufnrec_tf.reading import parquet, text_files
from ufnrec_tf.reading.prepare import prepare as preparation
from ufnrec_tf.reading.prepare import user_buckets

POINTS = {
    "bucket": (user_buckets.UserBuckets, "add"),
    "shard": (preparation, "write_shard"),
    "items": (preparation, "write_items"),
    "move": (preparation.os, "replace"),
    "manifest": (preparation, "write_manifest"),
}
"""Where it is killed: name -> object and the function of it that is called there."""


def make_small(patch):
    """Makes batches and shards so small that a tiny log has many of each."""
    patch(text_files, "BLOCK_BYTES", 512)
    patch(parquet, "BATCH_ROWS", 16)
    patch(preparation, "SHARD_BYTES", 2048)


def kill_at(owner, name, call):
    """Kills this process when a function is called for the `call`-th time, from 1."""
    original, calls = getattr(owner, name), []

    def counted(*arguments, **named):
        calls.append(name)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **named)

    setattr(owner, name, counted)


if __name__ == "__main__":
    log, folder, point, call = sys.argv[1:]
    make_small(setattr)
    kill_at(*POINTS[point], int(call))
    sys.exit(run("--mode=prepare", f"--data={log}", f"--workdir={folder}"))
