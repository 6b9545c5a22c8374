"""--mode=board: TensorBoard on a work directory, or on a folder of them."""

import time
from pathlib import Path

from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import Terminated, UserError, own_words
from ufnrec_tf.common.tensorflow_setup import import_tensorflow
from ufnrec_tf.runs.event_files import EVENTS

PORT = 6006
"""TensorBoard's own port."""


def board(folder: Path, *, host: str, port: int, display: Display) -> None:
    """Shows the curves of all runs below a folder until a signal ends it.

    Args:
        folder: A work directory, or a folder of them.
        host: Address to listen on.
        port: Port to listen on, 0 for any free one.
        display: The screen.

    Raises:
        UserError: If there is nothing to show, or the address cannot be listened on.
    """
    if not folder.is_dir():
        raise UserError(
            f"--workdir={folder}: not found. Give a work directory, or a folder of them."
        )
    if next(folder.rglob(f"{EVENTS}*"), None) is None:
        raise UserError(f"--workdir={folder}: has no TensorBoard files. Run --mode=train first.")
    import_tensorflow()  # which TensorBoard imports, too, and fills the screen
    from tensorboard.data.server_ingester import NoDataServerError, get_server_binary
    from tensorboard.program import TensorBoard, TensorBoardServerException

    try:
        get_server_binary()
        is_fast = "true"  # "auto" is the same with a note on the screen
    except NoDataServerError:
        is_fast = "false"
    program = TensorBoard()
    program.configure(
        argv=[
            "",
            f"--logdir={folder}",
            f"--host={host}",
            f"--port={port}",
            f"--load_fast={is_fast}",
        ]
    )
    try:
        url = program.launch()
    except (TensorBoardServerException, OSError) as error:
        raise UserError(
            f"--port={port}: TensorBoard cannot start there ({own_words(error)[:200]}). Give "
            "another one, or --port=0 for any that is free."
        ) from error
    display.line(f"{folder}: TensorBoard at {url}; Ctrl-C ends it", wraps=False)
    try:
        while True:
            time.sleep(3600)
    except (KeyboardInterrupt, Terminated) as end:
        raise type(end)("stopped") from None
