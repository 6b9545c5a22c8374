"""Damages published data sets at random: `python -m tests.soak.raw_sets --minutes=10 --seed=0`.

Whatever comes must be read, or refused in one line: no traceback, no growth, nothing half-written.
Part of `make soak`.
"""

import argparse
import gzip
import io
import random
import resource
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

from tests.helpers.raw_sets import RAW_SETS
from tests.soak.common import damaged
from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.reading.published.convert import convert
from ufnrec_tf.reading.published.datasets import find_dataset
from ufnrec_tf.reading.published.layouts import LAYOUTS
from ufnrec_tf.reading.readers import read_interactions


def damaged_inside(name, body, chance):
    """Returns an archive that is whole, of members that are not."""

    def maybe(member):
        return damaged(member, chance) if chance.random() < 0.7 else member

    buffer = io.BytesIO()
    if name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(body)) as old, zipfile.ZipFile(buffer, "w") as new:
            for info in old.infolist():
                new.writestr(info.filename, maybe(old.read(info)))
    elif ".tar" in name:
        with (
            tarfile.open(fileobj=io.BytesIO(body)) as whole,
            tarfile.open(fileobj=buffer, mode="w") as tar,
        ):
            for member in whole:
                file = whole.extractfile(member)
                content = maybe(file.read() if file else b"")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        return gzip.compress(buffer.getvalue(), 1) if name.endswith("gz") else buffer.getvalue()
    else:
        return gzip.compress(damaged(gzip.decompress(body), chance), 1)
    return buffer.getvalue()


def read(folder, name, chance):
    """Converts a damaged data set and now and then reads what was written; whether it was taken."""
    paths = []
    for file, body in RAW_SETS[name].files.items():
        is_outside = chance.random() < 0.25
        change = damaged(body, chance) if is_outside else damaged_inside(file, body, chance)
        paths.append(folder / file)
        paths[-1].write_bytes(change)
    events, items = folder / "interactions.parquet", folder / "items.parquet"
    layout = LAYOUTS[find_dataset(name)[1].layout]
    try:
        shown = Display(is_shown=False)
        counts = convert(layout, paths, interactions=events, items=items, display=shown)
        if chance.random() < 0.2:
            read_interactions(events, titles_path=items if counts.num_described else "")
    except UserError as error:
        assert "\n" not in str(error), error
        return False
    return True


def main():
    """Damages and reads until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance, taken, refused = random.Random(arguments.seed), 0, 0
    end, early = time.monotonic() + 60 * arguments.minutes, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        while time.monotonic() < end:
            if read(folder, chance.choice(list(RAW_SETS)), chance):
                taken += 1
            else:
                refused += 1
            assert not list(folder.glob("*.new")) + list(folder.glob(".*.new"))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            if taken + refused == 1000:
                early = peak
            assert not early or peak < early + (200 << 10), f"grew from {early} to {peak} KiB"
    print(f"{taken + refused:,} damaged data sets: {taken:,} read, {refused:,} refused in a line")


if __name__ == "__main__":
    main()
