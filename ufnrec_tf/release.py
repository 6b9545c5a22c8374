"""Giving memory back to the system after a peak."""

import ctypes


def give_back() -> None:
    """Returns freed memory of the C library to the system, where that is glibc.

    Compiling a step and exporting a model leave hundreds of megabytes free but held, on top of
    which the next peak would come.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return
    trim(0)
