"""Checkpoints: everything a run needs to go on, written beside and then renamed."""

import json
import shutil
from pathlib import Path
from typing import Any

import tensorflow as tf

from ufnrec_tf.errors import UserError, own_words

FORMAT_VERSION = 1
NUM_KEPT = 2
_STATE_FILE = "state.json"
_STEP = "step-"


def named_variables(variables: list[Any]) -> dict[str, tf.Variable]:
    """Returns TensorFlow's variables behind a list of Keras or TensorFlow ones, by place."""
    raw = [v.value if hasattr(v, "path") else v for v in variables]
    return {f"{place:03d}": variable for place, variable in enumerate(raw)}


class CheckpointStore:
    """The checkpoints of a work directory, each a folder `step-N` that is there whole or not.

    Args:
        folder: Where they are; made when the first is written.
        variables: Group name to name to variable; what is saved and restored.
    """

    def __init__(
        self, folder: Path, variables: dict[str, dict[str, tf.Variable]] | None = None
    ) -> None:
        self.folder = folder
        self._checkpoint = tf.train.Checkpoint(
            **{
                group: tf.train.Checkpoint(**members)
                for group, members in (variables or {}).items()
                if members
            }
        )

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Writes a checkpoint called `name`, replacing one of that name.

        Args:
            name: Folder name, such as `step-00000120` or `best`.
            state: Plain JSON values to keep beside the variables.

        Raises:
            UserError: If the disk is full or not writable; earlier checkpoints stay.
        """
        new, old = self.folder / f".{name}.new", self.folder / f".{name}.old"
        try:
            self._put_back(name)
            for leftover in (new, old):
                shutil.rmtree(leftover, ignore_errors=True)
            new.mkdir(parents=True)
            self._checkpoint.write(str(new / "variables"))
            text = json.dumps({"format_version": FORMAT_VERSION, **state})
            (new / _STATE_FILE).write_text(text, encoding="utf-8")
            target = self.folder / name
            if target.exists():
                target.rename(old)
            new.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        except (OSError, tf.errors.OpError) as error:
            shutil.rmtree(new, ignore_errors=True)
            raise UserError(
                f"{self.folder}: the checkpoint {name} could not be written "
                f"({own_words(error)}); earlier ones are kept. Free some space and run the same "
                "command again."
            ) from error

    def save_step(self, step: int, state: dict[str, Any]) -> None:
        """Writes the checkpoint of a step and removes all but the newest `NUM_KEPT`."""
        self.save(f"{_STEP}{step:08d}", {"step": step, **state})
        for name in self._steps()[:-NUM_KEPT]:
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def newest(self) -> str:
        """Returns the name of the newest checkpoint, or an empty string."""
        steps = self._steps()
        return steps[-1] if steps else ""

    def state(self, name: str) -> dict[str, Any]:
        """Returns the plain values of a checkpoint.

        Raises:
            UserError: If they are missing, damaged, or of a newer format.
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
        return state

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
        prefix = str(self.folder / name / "variables")
        try:
            self._checkpoint.read(prefix).assert_existing_objects_matched()
        # Which it raises depends on the byte that is damaged: OpError, IndexError, ValueError, ...
        except Exception as error:
            raise self._damaged(name, error) from error
        return state

    def _put_back(self, name: str) -> None:
        """Puts the earlier one back where a save was killed between its two renames."""
        target, old = self.folder / name, self.folder / f".{name}.old"
        if old.exists() and not target.exists():
            old.rename(target)

    def _damaged(self, name: str, error: Exception) -> UserError:
        reason = own_words(error)[:200]
        way = "Remove this folder to go on from the one before it, or give another --workdir."
        if not name.startswith(_STEP):
            way = "Train on, for more epochs, or again with another --workdir."
        return UserError(
            f"{self.folder / name}: the checkpoint is damaged or of another model ({reason}). {way}"
        )

    def _steps(self) -> list[str]:
        if not self.folder.is_dir():
            return []
        return sorted(path.name for path in self.folder.glob(f"{_STEP}*") if path.is_dir())
