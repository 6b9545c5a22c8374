"""How a Parquet file is recognised."""

import os
from pathlib import Path

from ufnrec_tf.reading.data_files import DataFile

MAGIC = b"PAR1"
"""What a Parquet file begins and ends with."""


def is_parquet(path: str | os.PathLike[str]) -> bool:
    """Returns True if a file begins and ends as Parquet does."""
    local = path.local if isinstance(path, DataFile) else Path(path)
    try:
        if not local.is_file():  # of a pipe the start would be lost to whoever reads it
            return False
        with open(local, "rb") as file:
            start = file.read(len(MAGIC))
            file.seek(-len(MAGIC), os.SEEK_END)
            return start == MAGIC == file.read()
    except (OSError, ValueError):
        return False  # whoever reads it will say why
