"""The numbered versions of an exported model, of which the newest is in force."""

from __future__ import annotations

from pathlib import Path

from ufnrec_tf.errors import UserError


def newest_version(export_folder: Path) -> Path:
    """Returns the version folder with the highest number.

    Raises:
        UserError: Where there is none.
    """
    names = [path.name for path in export_folder.glob("[0-9]*") if path.name.isdecimal()]
    if not names:
        raise UserError(
            f"{export_folder}: there is no exported model. "
            "Run --mode=train or --mode=export with this --workdir first."
        )
    return export_folder / max(names, key=int)
