"""Checkpoints: everything that a run needs to resume, written beside and then renamed."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from ufnrec_tf.common.distribution import ALONE, Workers
from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.common.files import to_disk
from ufnrec_tf.common.progress import working_on
from ufnrec_tf.runs.worker_state import WorkerState

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
"""What TensorFlow's names of saved values end in."""

FORMAT_VERSION = 3
"""In 3 the memory's tables are written without their empty columns; 2 is read too."""
_OLDEST_STEP_FORMAT = 2
"""Before, the tables of the memory stood with the weights."""
_STATE_FILE = "state.json"
GATE = "gate"
"""The name of the checkpoint of a run's weights as its gate opened."""

_STEP = "step-"
_DAMAGED = "damaged-"
_HASH = "sha256"
"""The key of state.json that holds the hash of the others: a changed digit is still JSON."""
_WAY = "Remove this folder to resume from the one before it, or give another --workdir."


def named_variables(variables: list[Any]) -> dict[str, tf.Variable]:
    """Returns the TensorFlow variables behind Keras or TensorFlow ones, named by their place."""
    raw = [v.value if hasattr(v, "path") else v for v in variables]
    return {f"{place:03d}": variable for place, variable in enumerate(raw)}


class CheckpointStore:
    """The checkpoints of a work directory: folders `step-N`, each whole or absent.

    With several workers all call `save_step` and `restore_newest` at the same time, and share
    the folder. The chief writes what is equal on all, every worker what only it has.

    Args:
        folder: The folder of the checkpoints; made when the first is written.
        variables: Group name to name to variable; what is saved and restored, equal on all workers.
        own: The state that only this worker has, or None.
        workers: The workers that train together.
        num_kept: Number of newest checkpoints that are kept.
    """

    def __init__(
        self,
        folder: Path,
        variables: dict[str, dict[str, tf.Variable]] | None = None,
        *,
        own: WorkerState | None = None,
        workers: Workers = ALONE,
        num_kept: int = 2,
    ) -> None:
        self.folder = folder
        self.num_kept = num_kept
        self._own = own
        self._workers = workers
        self._checkpoint = tf.train.Checkpoint(
            **{
                group: tf.train.Checkpoint(**members)
                for group, members in (variables or {}).items()
                if members
            }
        )

    @working_on("writing a checkpoint")
    def save(self, name: str, state: dict[str, Any]) -> None:
        """Writes a checkpoint called `name` and replaces an older one of that name.

        Args:
            name: Folder name, such as `step-00000120` or `best`.
            state: Plain JSON values to keep beside the variables.

        Raises:
            UserError: If the disk is full or not writable; earlier checkpoints stay.
        """
        new, old = self.folder / f".{name}.new", self.folder / f".{name}.old"
        is_chief = self._workers.is_chief
        try:
            if is_chief:
                self._together(name, lambda: self._begin(name, new, old))
                self._together(name, lambda: self._write_checkpoint(new, state))
                self._together(name, lambda: self._publish(name, new, old))
            else:
                self._together(name, lambda: None)
                self._together(name, lambda: self._write_own(new))
                self._together(name, lambda: None)
        except UserError:
            if is_chief:
                shutil.rmtree(new, ignore_errors=True)
            raise

    def _together(self, name: str, act: Callable[[], None]) -> None:
        """Calls `act` on all workers and waits for them; raises on all if one failed."""
        failure: Exception | None = None
        try:
            act()
        except (OSError, tf.errors.OpError) as error:
            failure = error
        if not self._workers.any(failure is not None):
            return
        reason = own_words(failure) if failure else "reported by another worker"
        raise UserError(
            f"{self.folder}: the checkpoint {name} could not be written ({reason}); earlier ones "
            "are kept. Free some space and run the same command again."
        ) from failure

    def _begin(self, name: str, new: Path, old: Path) -> None:
        self._put_back(name)
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)
        new.mkdir(parents=True)

    def _write_checkpoint(self, new: Path, state: dict[str, Any]) -> None:
        self._checkpoint.write(str(new / "variables"))
        self._write_own(new)
        whole = {"format_version": FORMAT_VERSION, "num_workers": self._workers.count, **state}
        text = json.dumps({**whole, _HASH: _hash(whole)})
        (new / _STATE_FILE).write_text(text, encoding="utf-8")

    def _write_own(self, new: Path) -> None:
        if self._own is not None:
            self._own.write(new)

    def _publish(self, name: str, new: Path, old: Path) -> None:
        for path in new.iterdir():
            to_disk(path)
        to_disk(new)
        target = self.folder / name
        if target.exists():
            target.rename(old)
        new.rename(target)
        to_disk(self.folder)
        shutil.rmtree(old, ignore_errors=True)

    def save_step(self, step: int, state: dict[str, Any]) -> None:
        """Writes the checkpoint of a step and keeps only the newest `num_kept`."""
        self.save(f"{_STEP}{step:08d}", {"step": step, **state})
        if self._workers.is_chief:
            for name in self.steps()[: -self.num_kept]:
                shutil.rmtree(self.folder / name, ignore_errors=True)

    def newest(self) -> str:
        """Returns the name of the newest checkpoint, or an empty string."""
        steps = self.steps()
        return steps[-1] if steps else ""

    def steps(self) -> list[str]:
        """Returns the names of the steps' checkpoints, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(path.name for path in self.folder.glob(f"{_STEP}*") if path.is_dir())

    def restore_newest(self, *keys: str, warn: Callable[[str], None]) -> dict[str, Any] | None:
        """Restores the newest whole checkpoint and renames damaged ones.

        Args:
            *keys: Plain values that must be there.
            warn: Called with a line for each checkpoint that was passed over.

        Returns:
            Its plain values and its `name`, or None if there is no checkpoint.

        Raises:
            UserError: If there are some and none can be read.
        """
        if self._workers.is_chief:
            self._clear()
        self._workers.any(False)  # nobody looks before that
        names, passed_over = self.steps(), list[str]()
        for name in reversed(names):
            failure: UserError | None = None
            state: dict[str, Any] = {}
            try:
                state = self.restore(name, *keys)
            except UserError as error:
                failure = error
            if not self._workers.any(failure is not None):
                self._put_aside(passed_over)
                return {"name": name, **state}
            failure = failure or self._damaged(name, ValueError("another worker cannot read it"))
            if name == names[0]:
                raise _none_left(failure, passed_over) from failure
            reason = str(failure).removesuffix(_WAY).rstrip()
            warn(f"{reason} Passed over; trying an older one.")
            passed_over.append(name)
        return None

    def _clear(self) -> None:
        """Removes the leftovers of a killed save and puts back a checkpoint that it moved."""
        for path in self.folder.glob(f".{_STEP}*"):
            self._put_back(path.name[1:].removesuffix(".old"))
            shutil.rmtree(path, ignore_errors=True)

    def _put_aside(self, names: list[str]) -> None:
        """Renames damaged checkpoints, so that they are neither counted nor tried again."""
        for name in names if self._workers.is_chief else []:
            aside = self.folder / f"{_DAMAGED}{name}"
            shutil.rmtree(aside, ignore_errors=True)
            (self.folder / name).rename(aside)

    def state(self, name: str) -> dict[str, Any]:
        """Returns the plain values of a checkpoint: its JSON state.

        Raises:
            UserError: If they are missing, damaged, or of another format.
        """
        path = self.folder / name / _STATE_FILE
        try:
            self._put_back(name)
            state = json.loads(path.read_text(encoding="utf-8"))
            version = int(state["format_version"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._damaged(name, error) from error
        if version > FORMAT_VERSION:
            raise UserError(
                f"{path}: format {version} is newer than this program's {FORMAT_VERSION}. "
                "Use the version of ufnrec-tf that wrote it."
            )
        recorded = state.pop(_HASH, "")  # older checkpoints have none
        if recorded and recorded != _hash(state):
            raise self._damaged(name, ValueError(f"{_STATE_FILE} is not what was written"))
        if name.startswith(_STEP) and version < _OLDEST_STEP_FORMAT:
            raise UserError(
                f"{path}: format {version} is older than the oldest that this program can resume "
                f"from ({_OLDEST_STEP_FORMAT}). Finish with the version of ufnrec-tf that wrote "
                "it, or give another --workdir."
            )
        return state

    @working_on("reading a checkpoint")
    def restore(self, name: str, *keys: str) -> dict[str, Any]:
        """Reads a checkpoint into the variables and returns its plain values.

        Args:
            name: Folder name.
            *keys: Plain values that must be there.

        Raises:
            UserError: If it is damaged or belongs to another model.
        """
        state = self.state(name)
        for key in keys:
            if key not in state:
                raise self._damaged(name, KeyError(key))
        folder = self.folder / name
        try:
            self._checkpoint.read(str(folder / "variables")).assert_existing_objects_matched()
            if self._own is not None:
                self._own.read(folder, num_workers=int(state["num_workers"]))
        # Which it raises depends on the byte that is damaged: OpError, IndexError, ValueError, ...
        except Exception as error:
            raise self._damaged(name, error) from error
        return state

    def _put_back(self, name: str) -> None:
        """Restores the earlier checkpoint if a save was killed between its two renames."""
        target, old = self.folder / name, self.folder / f".{name}.old"
        if self._workers.is_chief and old.exists() and not target.exists():
            old.rename(target)

    def _damaged(self, name: str, error: Exception) -> UserError:
        reason = own_words(error)[:200]
        way = _WAY
        if not name.startswith(_STEP):
            way = "Train on, for more epochs, or again with another --workdir."
        return UserError(
            f"{self.folder / name}: the checkpoint is damaged or of another model ({reason}). {way}"
        )


def _hash(state: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _none_left(failure: UserError, newer: list[str]) -> UserError:
    """Returns the UserError for a directory none of whose checkpoints can be read."""
    reason = str(failure).removesuffix(_WAY).rstrip()
    if reason == str(failure) and not newer:
        return failure  # of another format, which has a way out of its own
    also, ones = "", "this folder"
    if newer:
        also, ones = f" So are the newer ones, {', '.join(newer)}.", "these folders"
    return UserError(
        f"{reason}{also} Remove {ones} to start from the beginning, or give another --workdir."
    )
