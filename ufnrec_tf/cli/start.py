"""Starts the command line, and reports in one line what keeps it from starting."""

import sys

from ufnrec_tf.common.memory_errors import is_out_of_memory, memory_line


def run() -> int:
    """Runs the command line on the arguments of the process, and returns the exit code."""
    try:
        from ufnrec_tf.cli.main import main
    except (ImportError, MemoryError, OSError) as error:
        line = f"error: a package that is needed cannot be imported ({error}). Install it again."
        print(memory_line() if is_out_of_memory(error) else line, file=sys.stderr)
        return 1
    return main(sys.argv)
