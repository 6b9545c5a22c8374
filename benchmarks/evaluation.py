"""Ranks the whole catalogue for all users of a log, some number of times; for bench.py.

python -m benchmarks.evaluation --data=FILE --times=4
"""

import argparse
import sys
from pathlib import Path


def main() -> int:
    """Evaluates a fresh SASRec; prints the number of users."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--times", type=int, default=4)
    parser.add_argument("--max-length", type=int, default=50)
    flags = parser.parse_args()
    from ufnrec_tf import backbones
    from ufnrec_tf.config import load_config
    from ufnrec_tf.data.splits import leave_one_out
    from ufnrec_tf.evaluation.evaluator import RankingEvaluator
    from ufnrec_tf.reading import sources

    config = load_config("", [])
    split = leave_one_out(sources.load(config, str(flags.data)).interactions)
    backbone = backbones.create(
        "sasrec", num_items=split.interactions.num_items, max_length=flags.max_length
    )
    evaluator = RankingEvaluator(
        split, "test", max_length=flags.max_length, batch_size=config.evaluation.batch_size
    )
    for _ in range(flags.times):
        evaluator.ranks(backbone)
    print(len(evaluator.users))
    return 0


if __name__ == "__main__":
    sys.exit(main())
