"""What a comparison that Python starts passes to the processes of its runs: arms and a table."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from ufnrec_tf.common.arguments import shown
from ufnrec_tf.common.errors import UserError, own_words
from ufnrec_tf.common.files import write_error

TABLE = "data.parquet"


def arms_text(arms: Any, setting_text: Callable[[str, Any], str]) -> str:
    """Returns arms as the value of `comparison.arms`.

    Args:
        arms: Names of arms, texts `NAME:SECTION.KEY=VALUE`, or name -> settings; None or empty
            settings are those of the arm of that name.
        setting_text: Returns the text of a key's value.

    Raises:
        UserError: If they are of another type.
    """
    if isinstance(arms, Mapping):
        return ",".join(_arm_text(name, own, setting_text) for name, own in arms.items())
    if isinstance(arms, str) or not isinstance(arms, Iterable):
        raise UserError(
            '`arms` must be a list such as ["ema", "ufnrec_safe"], or a dict such as {"base": None,'
            f' "wide": {{"backbone.width": 128}}}}. Received: {shown(arms)}.'
        )
    return ",".join(map(str, arms))


def _arm_text(name: Any, own: Any, setting_text: Callable[[str, Any], str]) -> str:
    if not own:
        return str(name)
    if not isinstance(own, Mapping):
        raise UserError(f"`arms`: the settings of {name!r} must be a dict. Received: {shown(own)}.")
    texts = {key: setting_text(key, value) for key, value in own.items()}
    for key, text in texts.items():
        if "," in text:
            raise UserError(f'`arms`: "{key}" of {name!r} must be one value. Received: {text!r}.')
    return f"{name}:{','.join(f'{key}={text}' for key, text in texts.items())}"


@contextmanager
def kept_table(frame: pd.DataFrame, workdir: Path) -> Iterator[str]:
    """Writes a table of events into a comparison's directory, as each run reads it again.

    If the block fails before the comparison has begun, the file is removed again.

    Args:
        frame: The events.
        workdir: The comparison's directory.

    Returns:
        The path of the Parquet file. One that is there with the same rows stays as it is.

    Raises:
        UserError: If the directory has other events, or the table cannot be written.
    """
    path = workdir / TABLE
    try:
        _keep(frame, path)
        yield str(path)
    except BaseException:
        if not (workdir / "config.json").exists():
            path.unlink(missing_ok=True)
            with suppress(OSError):  # of a directory that was there with other files
                workdir.rmdir()
        raise


def _keep(frame: pd.DataFrame, path: Path) -> None:
    beside = path.with_name(f".{path.name}")
    is_taken = not path.exists() and (path.parent / "config.json").exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.to_parquet(beside, index=False)
        if path.exists():
            is_taken = not pd.read_parquet(path).equals(pd.read_parquet(beside))
        elif not is_taken:
            beside.rename(path)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise UserError(
            f"`data` cannot be kept as Parquet for the runs ({own_words(error)[:200]}). Give each "
            "column one type, or the path of a file."
        ) from error
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        beside.unlink(missing_ok=True)
    if is_taken:
        raise UserError(f"{path.parent}: holds runs of other data. Give another workdir.")
