"""Prints the table and the verdicts of comparison.json files, older ones judged again.

python -m benchmarks.verdicts benchmarks/results/planted_10.json
"""

import argparse
import sys
from pathlib import Path

from ufnrec_tf.common.files import read_json
from ufnrec_tf.comparison.markdown import notes, table_lines
from ufnrec_tf.report.judgement import current


def main(arguments: list[str] | None = None) -> int:
    """Prints each file's table; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verdicts", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, help="comparison.json of a comparison")
    for path in parser.parse_args(arguments).files:
        summary = current(read_json(path))
        print("\n".join([f"{path}", "", *table_lines(summary), "", *notes(summary), ""]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
