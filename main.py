"""Runs the command line: `python main.py --help`."""

import sys

from ufnrec_tf.cli.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv))
