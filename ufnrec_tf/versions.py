"""Version folders of an export: `export/1`, `export/2`, ...; the highest number is in force."""

from pathlib import Path

from ufnrec_tf.errors import UserError


def newest_version(export_folder: Path) -> Path:
    """Returns the version folder with the highest number.

    Raises:
        UserError: If there is none.
    """
    try:
        names = [path.name for path in export_folder.iterdir() if path.is_dir()]
    except OSError:
        names = []
    numbers = [int(name) for name in names if name.isdecimal() and name.isascii()]
    if not numbers:
        raise UserError(
            f"{export_folder}: there is no exported model. "
            "Run --mode=train or --mode=export with this --workdir first."
        )
    return export_folder / str(max(numbers))
