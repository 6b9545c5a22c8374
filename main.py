"""Runs the command line: `python main.py --help`."""

import sys

from ufnrec_tf.cli.start import run

if __name__ == "__main__":
    sys.exit(run())
