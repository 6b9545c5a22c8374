"""Ctrl-C and termination, handed to the training loop."""

import signal
from collections.abc import Callable

from ufnrec_tf.callbacks import TrainingLoop


def with_signals(loop: TrainingLoop, run: Callable[[], None]) -> None:
    """Calls `run` with Ctrl-C and termination handled by `loop`; puts the handlers back."""
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
