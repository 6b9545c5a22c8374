"""`make soak`: runs killed at random again and again, each compared with an undisturbed one.

    python -m tests.soak.kills --kills=20 --seed=0 --cases=ufnrec,ufnrec_safe,arms,compiled

Half of the processes are main.py, killed from outside after a random time; half kill themselves at
a random one of their writes: before it, half-way or after it.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.helpers.crashes import CASES, KILLED, flags, start
from tests.processes.crash_run import MOMENTS
from ufnrec_tf.common.tensorflow_setup import import_tensorflow

KILLS_A_RUN = 4


class Case:
    """An undisturbed run, and others that are killed and compared with it."""

    def __init__(self, name, folder):
        self.name, self.folder, self.num_runs = name, folder, 0
        self.whole = folder / "whole"
        notes = folder / "whole.txt"
        began = time.monotonic()
        life = start(flags(name, self.whole), notes=notes)
        self.seconds = time.monotonic() - began
        assert life.code == 0, life
        self.writes = notes.read_text(encoding="utf-8").splitlines()

    def run(self, most, pick):
        """Kills a run up to `most` times, lets it end and compares it; returns where it died."""
        self.num_runs += 1
        workdir = self.folder / f"run{self.num_runs}"
        died: list[str] = []
        reached = 0
        while len(died) < most:
            where, life, reached = self._live(workdir, pick, reached)
            if life.code == 0:
                break
            assert (life.code, life.err) == (KILLED, ""), life
            died.append(where)
            print(f"  {self.name}, run {self.num_runs}: killed {where}", flush=True)
        else:
            life = start(flags(self.name, workdir))
        assert (life.code, life.err) == (0, ""), life
        from tests.helpers.same_run import assert_same_run, leftovers  # after TensorFlow's noise

        assert_same_run(workdir, self.whole)
        assert not leftovers(workdir), leftovers(workdir)
        print(f"  {self.name}, run {self.num_runs}: ended as the undisturbed one", flush=True)
        return died

    def _live(self, workdir, pick, reached):
        """Lets a process live until a random moment; returns it, how it ended, and how far."""
        if pick.random() < 0.5:
            seconds = pick.uniform(0.1, 1.0) * self.seconds
            life = start(flags(self.name, workdir), seconds=seconds)
            return f"outside, after {seconds:.1f} s", life, reached
        place = pick.randrange(reached, len(self.writes))
        label, _, number = self.writes[place].rpartition("#")
        before = sum(write.rpartition("#")[0] == label for write in self.writes[:reached])
        # The first one again, where the life before has done the same.
        number = max(int(number) - before, 1)
        kill = f"{pick.choice(MOMENTS)}:{label}#{number}"
        life = start(flags(self.name, workdir), kill=kill, notes=self.folder / "notes.txt")
        moment, _, write = kill.partition(":")
        return f"{moment} {write}", life, place if life.code == KILLED else reached


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="processes to kill, over all cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", default=",".join(CASES), help=f"of {', '.join(CASES)}")
    parser.add_argument("--folder", default="", help="where the runs go and stay; default: removed")
    return parser.parse_args(argv)


def soak(options, folder):
    pick, names = random.Random(options.seed), options.cases.split(",")
    cases: dict[str, Case] = {}
    died: Counter[str] = Counter()
    left, turn = options.kills, 0
    while left:
        name = names[turn % len(names)]
        turn += 1
        if name not in cases:
            (folder / name).mkdir(parents=True, exist_ok=True)
            cases[name] = Case(name, folder / name)
        share = min(KILLS_A_RUN, left, max(1, -(-options.kills // len(names))))
        where = cases[name].run(share, pick)
        left -= len(where)
        died.update(place.split()[0].rstrip(",") for place in where)
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(died.items()))
    runs = sum(case.num_runs for case in cases.values())
    print(f"{options.kills} kills ({counts}) in {runs} runs; all ended as the undisturbed ones")


def main(argv):
    options = parse(argv)
    import_tensorflow()
    with tempfile.TemporaryDirectory() as own:
        soak(options, Path(options.folder or own).absolute())


if __name__ == "__main__":
    main(sys.argv[1:])
