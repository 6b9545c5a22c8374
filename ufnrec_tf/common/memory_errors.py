"""Errors that mean that memory or address space ran out, whichever library raised them."""

import errno

_WORDS = (
    "failed to map segment",
    "annot allocate memory",
    "bad_alloc",
    "out of memory",
    "OOM when allocating",
    "can't start new thread",
)


def is_out_of_memory(error: BaseException | None) -> bool:
    """True if an error, or one that it came from, is about memory."""
    while error is not None:
        is_number = isinstance(error, OSError) and error.errno == errno.ENOMEM
        if isinstance(error, MemoryError) or is_number:
            return True
        if any(words in str(error) for words in _WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False


def memory_line(advice: str = "") -> str:
    """Returns the line for a process that has run out of memory.

    Args:
        advice: A further sentence, with a space before it.
    """
    return (
        "error: memory or address space ran out. Free some, use a machine with more, or raise the "
        f"limit (`ulimit -v`).{advice}"
    )
