"""`make soak`: random logs read in every way: `python -m tests.soak.one_way --logs=500 --seed=0`.

Each log, half of them messy, is written in every form and read as train, prepare, a DataFrame and
--histories read it. All must find the events that plain Python finds, or refuse it in the same
words. Part of `make soak`. A log depends on the seed and its number alone: `--only=NUMBER`.
"""

import argparse
import random
import shutil
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest import mock

from tests.helpers.random_logs import FORMS, check, messy_case, random_case
from tests.processes.prepare_run import make_small


def run_log(folder, number, seed):
    """Checks a log by its number; returns its kind and whether it is refused."""
    place, rng = folder / str(number), random.Random(f"{seed}:{number}")
    make = messy_case if number % 2 else random_case
    try:
        with ExitStack() as stack:
            stack.enter_context(redirect_stdout(StringIO()))
            if rng.random() < 0.5:  # blocks of some lines
                make_small(
                    lambda owner, name, value: stack.enter_context(
                        mock.patch.object(owner, name, value)
                    )
                )
            is_refused = check(make(rng), place, FORMS)
    except BaseException:
        print(f"failed: --seed={seed} --only={number}", file=sys.stderr)
        raise
    shutil.rmtree(place)
    return "messy" if number % 2 else "plain", "refused" if is_refused else "read"


def main():
    """Checks the logs and prints how many were read and refused."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--logs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, default=-1)
    options = parser.parse_args()
    counts = Counter[tuple[str, str]]()
    with tempfile.TemporaryDirectory() as name:
        numbers = range(options.logs) if options.only < 0 else [options.only]
        for number in numbers:
            counts[run_log(Path(name), number, options.seed)] += 1
    for (kind, end), count in sorted(counts.items()):
        print(f"  {kind}: {count:,} {end} alike in {len(FORMS)} forms")


if __name__ == "__main__":
    main()
