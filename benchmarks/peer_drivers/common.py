"""The common parts of the drivers: arguments, the data, a scratch directory, the report.

A driver is a process of its own, under the peer's interpreter: nothing but the standard library
is imported here. With --timed-from=M it reads its own CPU clock after step M and after the last
step, so that start and end fall out without a second process.
"""

import argparse
import contextlib
import json
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

REPORT = "PEER_REPORT "
PACKAGES = (
    *("rectools", "replay-rec", "recbole", "torch", "pytorch-lightning", "lightning"),
    *("tensorflow", "keras", "numpy", "pandas", "polars", "pyarrow"),
)


class Shapes(NamedTuple):
    """What both sides train with; peers.py gives ours the same."""

    batch_size: int = 128
    max_length: int = 50
    width: int = 50
    num_blocks: int = 2
    num_heads: int = 1
    dropout: float = 0.5


SHAPES = Shapes()


class Arguments(NamedTuple):
    """The arguments of a driver.

    Attributes:
        path: The peer's code; None: the interpreter's own packages.
        data: The log.
        num_steps: Optimizer steps.
        timed_from: Steps before the timed ones; 0: the driver times nothing.
        num_rankings: How often the whole catalogue is ranked for all users after training.
        off: authors: memory and teacher stay off.
        variant: Which of a peer's ways to train it takes; each driver has a default.
        loss: `bce` or `cross_entropy`.
        num_negatives: Negatives of `bce`.
    """

    path: Path | None
    data: Path
    num_steps: int
    timed_from: int = 0
    num_rankings: int = 0
    off: bool = False
    variant: str = ""
    loss: str = "bce"
    num_negatives: int = 1


class UserError(Exception):
    """Something the user can put right; shown as one line."""


class Mark(NamedTuple):
    """CPU seconds of this process since its start, and the users that it trained or ranked."""

    cpu_seconds: float
    num_users: float


class Journal:
    """The steps, users, losses and costs of a run."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.num_users = 0.0
        self.notes: dict[str, object] = {}
        self._steps: list[Mark] = []
        self._rankings: list[Mark] = []
        self._peak_rss_bytes = 0

    def step(self, loss: float, *, num_users: float) -> None:
        """Adds one optimizer step."""
        self.losses.append(loss)
        self.num_users += num_users
        self._steps.append(Mark(time.process_time(), self.num_users))
        self._peak_rss_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def ranking(self, num_users: int) -> None:
        """Adds one ranking of the whole catalogue for `num_users` users."""
        self._rankings.append(Mark(time.process_time(), num_users * (1 + len(self._rankings))))

    def report(self, *, timed_from: int = 0) -> None:
        """Prints one line that peers.py reads."""
        tenth = max(1, len(self.losses) // 10)
        values = {
            "num_steps": len(self.losses),
            "num_users": self.num_users,
            "first_loss": sum(self.losses[:tenth]) / tenth,
            "last_loss": sum(self.losses[-tenth:]) / tenth,
            **(self._costs(timed_from) if timed_from else {}),
            **self.notes,
            "packages": package_versions(),
        }
        print(f"\n{REPORT}{json.dumps(values)}", flush=True)

    def _costs(self, timed_from: int) -> dict[str, float]:
        """Returns the costs by this process's clock, without the first ranking, which prepares."""
        first, last = self._steps[timed_from - 1], self._steps[-1]
        train = _per_thousand(first, last)
        costs = {
            "train": train,
            "start_cpu_seconds": self._steps[0].cpu_seconds,
            "one_time_cpu_seconds": first.cpu_seconds - train * first.num_users / 1000,
            "peak_rss_bytes": self._peak_rss_bytes,
        }
        if len(self._rankings) > 1:
            costs["rank"] = _per_thousand(self._rankings[0], self._rankings[-1])
        return costs


def _per_thousand(first: Mark, last: Mark) -> float:
    """Returns the CPU seconds per 1,000 users between two marks."""
    return 1000 * (last.cpu_seconds - first.cpu_seconds) / (last.num_users - first.num_users)


def package_versions() -> dict[str, str]:
    """Returns the versions of Python and of the installed packages that a peer may use."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def run_driver(train: Callable[[Arguments, Journal], None]) -> None:
    """Parses the command line, trains in a scratch directory, reports; errors are one line."""
    parser = argparse.ArgumentParser(description="Trains exactly --num-steps steps of a peer.")
    parser.add_argument("--path", type=Path, help="where the peer's code is")
    parser.add_argument("--data", type=Path, required=True, help="a log: user item item ...")
    parser.add_argument("--num-steps", type=int, required=True)
    parser.add_argument("--timed-from", type=int, default=0)
    parser.add_argument("--num-rankings", type=int, default=0)
    parser.add_argument("--off", action="store_true", help="authors: memory and teacher never on")
    parser.add_argument("--variant", default="")
    parser.add_argument("--loss", choices=("bce", "cross_entropy"), default="bce")
    parser.add_argument("--num-negatives", type=int, default=1)
    given = parser.parse_args()
    given.path, given.data = given.path and given.path.resolve(), given.data.resolve()
    arguments = Arguments(**vars(given))
    journal = Journal()
    try:
        with scratch_directory():
            train(arguments, journal)
    except UserError as error:
        sys.exit(f"error: {error}")
    if len(journal.losses) != arguments.num_steps:
        sys.exit(f"error: {len(journal.losses)} steps were seen, not {arguments.num_steps}.")
    journal.report(timed_from=arguments.timed_from)


@contextlib.contextmanager
def scratch_directory() -> Iterator[Path]:
    """Changes to a directory that is gone afterwards: peers write beside themselves."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(before)


def import_root(path: Path | None, marker: str, *, folders: tuple[str, ...] = ("",)) -> Path:
    """Puts the folder of a peer that holds its modules first on sys.path and returns it.

    Args:
        path: The peer's directory.
        marker: A file that only its code has, relative to the folder.
        folders: The folders to look in, relative to `path`.

    Raises:
        UserError: If there is no such file.
    """
    if path is None:
        raise UserError("--path must name the folder of the peer's code.")
    for folder in folders:
        if (path / folder / marker).is_file():
            sys.path.insert(0, str(path / folder))
            return path / folder
    raise UserError(f"{path} does not hold the peer's code: there is no {marker} in it.")


def read_sequences(data: Path) -> list[list[int]]:
    """Returns each user's items, oldest first, numbered from 1 in order of appearance.

    Raises:
        UserError: If the file is not of the form `user item item ...`.
    """
    numbers: dict[str, int] = {}
    sequences = []
    for place, line in enumerate(data.read_text(encoding="utf-8").splitlines(), start=1):
        _, *items = line.split() or [""]
        if not items:
            raise UserError(f"{data}:{place}: expected `user item item ...`.")
        sequences.append([numbers.setdefault(item, len(numbers) + 1) for item in items])
    return sequences


def write_pairs(sequences: list[list[int]], file: Path) -> None:
    """Writes `user item` lines, users numbered from 1, as pmixer's and the authors' code read."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8") as lines:
        for user, items in enumerate(sequences, start=1):
            lines.writelines(f"{user} {item}\n" for item in items)
