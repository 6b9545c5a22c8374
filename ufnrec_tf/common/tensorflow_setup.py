"""Imports TensorFlow without its start-up messages; returns freed memory to the system."""

import ctypes
import gc
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from ufnrec_tf.common.progress import working_on


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Holds back what libraries write to stderr, and shows it only if the block raises."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    with tempfile.TemporaryFile() as kept:
        saved = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except Exception:  # whichever it is, it goes on its way with what was said before it
            kept.seek(0)
            os.write(saved, kept.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)


@contextmanager
def _without_matplotlib() -> Iterator[None]:
    """Keeps Keras from importing Matplotlib, which takes half a second and is not needed."""
    name = "matplotlib"
    is_hidden = name not in sys.modules
    if is_hidden:
        # Ignored: None in place of a module makes an import of it fail, which no type says.
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if is_hidden:
            del sys.modules[name]


@contextmanager
def without_collecting() -> Iterator[None]:
    """Stops the garbage collector in the block.

    For work that makes hundreds of thousands of objects that stay, an import or a trace: the
    collector would go through them many times.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def import_tensorflow() -> None:
    """Imports TensorFlow and Keras quietly."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with (
        working_on("starting TensorFlow"),
        quiet_stderr(),
        _without_matplotlib(),
        without_collecting(),
    ):
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")
        # The first device call logs, too.
        tf.config.list_physical_devices()
        gc.freeze()  # or the collector would go through all of TensorFlow with each graph


def give_back() -> None:
    """Asks glibc to give freed memory back to the operating system. Does nothing without glibc.

    Compiling a step and exporting a model leave hundreds of megabytes free but held, on top of
    which the next peak would come.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return
    trim(0)
