"""The common parts of the drivers: arguments, the data, a scratch directory, the report.

A driver is a process of its own, under the peer's interpreter: nothing but the standard library
is imported here.
"""

import argparse
import contextlib
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

REPORT = "PEER_REPORT "


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
    """The arguments of a driver: the peer's directory, the log, the steps, and `off`."""

    path: Path
    data: Path
    num_steps: int
    off: bool


class UserError(Exception):
    """Something the user can put right; shown as one line."""


class Journal:
    """The steps, users and losses that a run really did."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.num_users = 0.0
        self.notes: dict[str, object] = {}

    def step(self, loss: float, *, num_users: float) -> None:
        """Adds one optimizer step."""
        self.losses.append(loss)
        self.num_users += num_users

    def report(self) -> None:
        """Prints one line that peers.py reads."""
        tenth = max(1, len(self.losses) // 10)
        values = {
            "num_steps": len(self.losses),
            "num_users": self.num_users,
            "first_loss": sum(self.losses[:tenth]) / tenth,
            "last_loss": sum(self.losses[-tenth:]) / tenth,
            **self.notes,
            "packages": package_versions(),
        }
        print(f"\n{REPORT}{json.dumps(values)}", flush=True)


def package_versions() -> dict[str, str]:
    """Returns the versions of Python and of the installed packages that a peer may use."""
    versions = {"python": platform.python_version()}
    for name in ("torch", "tensorflow", "keras", "numpy", "pandas"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def run_driver(train: Callable[[Arguments, Journal], None]) -> None:
    """Parses the command line, trains in a scratch directory, reports; errors are one line."""
    parser = argparse.ArgumentParser(description="Trains exactly --num-steps steps of a peer.")
    parser.add_argument("--path", type=Path, required=True, help="where the peer's code is")
    parser.add_argument("--data", type=Path, required=True, help="a log: user item item ...")
    parser.add_argument("--num-steps", type=int, required=True)
    parser.add_argument("--off", action="store_true", help="authors: memory and teacher never on")
    given = parser.parse_args()
    arguments = Arguments(given.path.resolve(), given.data.resolve(), given.num_steps, given.off)
    journal = Journal()
    try:
        with scratch_directory():
            train(arguments, journal)
    except UserError as error:
        sys.exit(f"error: {error}")
    if len(journal.losses) != arguments.num_steps:
        sys.exit(f"error: {len(journal.losses)} steps were seen, not {arguments.num_steps}.")
    journal.report()


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


def import_root(path: Path, marker: str, *, folders: tuple[str, ...] = ("",)) -> Path:
    """Puts the folder of a peer that holds its modules first on sys.path and returns it.

    Args:
        path: The peer's directory.
        marker: A file that only its code has, relative to the folder.
        folders: The folders to look in, relative to `path`.

    Raises:
        UserError: If there is no such file.
    """
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
