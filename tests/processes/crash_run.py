"""The command line in a process that kills itself at a chosen write; see tests/crashes.py.

    python -m tests.processes.crash_run --kill=MOMENT:WRITE --writes=FILE -- FLAGS OF MAIN

Every write into the work directory has a name, such as `rename checkpoints/best#2` for the
second of its kind. MOMENT is `before`, `after`, or `half` for what a write cut short leaves.
"""

import os
import shutil
import signal
import sys
from collections import Counter
from pathlib import Path

from ufnrec_tf.cli.main import main
from ufnrec_tf.common.tensorflow_setup import import_tensorflow

MOMENTS = ("before", "half", "after")


class Writes:
    """Notes the writes into a folder by name, and dies by SIGKILL at one of them.

    Args:
        folder: Where they are noted; others are left alone.
        kill: `MOMENT:WRITE`, or empty to live on.
        notes: File that gets a line a write.
    """

    def __init__(self, folder, kill, notes):
        self.folder = Path(folder).absolute()
        self.moment, _, self.name = kill.partition(":")
        self.notes = notes
        self.counts: Counter[str] = Counter()

    def around(self, kind, path, write, half):
        """Calls `write`, or, where the process is to die half-way, `half`."""
        path = Path(path).absolute()
        if not path.is_relative_to(self.folder):
            return write()
        label = f"{kind} {path.relative_to(self.folder)}"
        self.counts[label] += 1
        name = f"{label}#{self.counts[label]}"
        with self.notes.open("a", encoding="utf-8") as file:
            file.write(f"{name}\n")
        if name != self.name:
            return write()
        if self.moment != "before":
            (half if self.moment == "half" else write)()
        die()

    def watch(self, owner, name, kind, path_of, cut=None):
        """Puts `around` about a function of a module or a class; `cut` halves what it wrote."""
        original = getattr(owner, name)

        def watched(*arguments, **keywords):
            path = path_of(*arguments)

            def write():
                return original(*arguments, **keywords)

            def half():
                write()
                if cut is not None:
                    cut(path)

            return self.around(kind, path, write, half)

        setattr(owner, name, watched)

    def watch_removals(self):
        original = shutil.rmtree

        def rmtree(folder, *arguments, **keywords):
            if Path(folder).exists():
                self.around(
                    "remove",
                    folder,
                    lambda: original(folder, *arguments, **keywords),
                    lambda: [path.unlink() for path in files(folder)[::2]],
                )

        # Ignored: attributes of the original (avoids_symlink_attacks), which nobody reads here.
        shutil.rmtree = rmtree  # type: ignore[assignment]


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def cut_file(path):
    os.truncate(path, Path(path).stat().st_size // 2)


def cut_line(path):
    """The last line loses its second half."""
    text = Path(path).read_text(encoding="utf-8")
    start = text.rstrip("\n").rfind("\n") + 1
    os.truncate(path, (start + len(text)) // 2)


def cut_variables(prefix):
    cut_file(next(Path(prefix).parent.glob(f"{Path(prefix).name}.data-*")))
    Path(f"{prefix}.index").unlink()


def cut_model(folder):
    cut_file(Path(folder) / "saved_model.pb")


def cut_events(folder):
    """The event file that was written to last ends within an event."""
    path = max(Path(folder).glob("*/events*"), key=lambda path: path.stat().st_mtime_ns)
    os.truncate(path, path.stat().st_size - 3)


def files(folder):
    return [path for path in sorted(Path(folder).rglob("*")) if path.is_file()]


def watch_all(writes):
    """Watches everything by which a run writes."""
    import_tensorflow()
    import pandas as pd
    import tensorflow as tf

    from ufnrec_tf.runs import workdir
    from ufnrec_tf.runs.tensorboard_files import Board

    writes.watch(os, "replace", "replace", lambda source, target: target)
    writes.watch(os, "rename", "rename", lambda source, target: target)
    writes.watch(Path, "write_text", "write", lambda path, text: path, cut_file)
    writes.watch(
        tf.train.Checkpoint, "write", "variables", lambda self, prefix: prefix, cut_variables
    )
    writes.watch(tf.saved_model, "save", "model", lambda model, folder: folder, cut_model)
    writes.watch(pd.DataFrame, "to_parquet", "parquet", lambda frame, path: path, cut_file)
    writes.watch(workdir.JsonLines, "append", "line", lambda self, value: self.path, cut_line)
    writes.watch(Board, "flush", "events", lambda self: self._folder, cut_events)
    writes.watch(Board, "close", "events", lambda self: self._folder, cut_events)
    writes.watch_removals()


def run(kill, notes, flags):
    """Runs the command line with its writes watched; returns the exit code."""
    folder = next(flag.partition("=")[2] for flag in flags if flag.startswith("--workdir="))
    watch_all(Writes(folder, kill, Path(notes)))
    return main(["main.py", *flags])


if __name__ == "__main__":
    kill, notes = (argument.partition("=")[2] for argument in sys.argv[1:3])
    sys.exit(run(kill, notes, sys.argv[4:]))
