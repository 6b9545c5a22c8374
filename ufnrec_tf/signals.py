"""Ctrl-C and termination, handed to the training loop."""

import signal
import threading
from collections.abc import Callable

from ufnrec_tf.callbacks import TrainingLoop


def with_signals(loop: TrainingLoop, run: Callable[[], None]) -> None:
    """Calls `run` with Ctrl-C and termination handled by `loop`; puts the handlers back.

    In a thread other than the main one Python takes no handlers: there a signal does what it does
    without us.
    """
    if threading.current_thread() is not threading.main_thread():
        run()
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, loop.ask_to_stop)
    try:
        run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if loop.signal:  # it came after the last look
        signal.raise_signal(loop.signal)
