"""pmixer's SASRec.pytorch (github pmixer/SASRec.pytorch), its main.py for exactly N steps.

Set: its own arguments --batch_size, --maxlen, --hidden_units, --num_blocks, --num_heads,
--dropout_rate and --device=cpu; the rest, one negative a position, is its default. What a step does
is its own, the line it prints included. How the run is cut to N steps: torch_script.py.
"""

from pathlib import Path

from benchmarks.peer_drivers.common import (
    Arguments,
    Journal,
    import_root,
    read_sequences,
    run_driver,
    write_pairs,
)
from benchmarks.peer_drivers.torch_script import SHAPE_OPTIONS, run_script

OPTIONS = {**SHAPE_OPTIONS, "dataset": "bench", "train_dir": "run"}


def train(arguments: Arguments, journal: Journal) -> None:
    """Trains `num_steps` steps."""
    # Its files lay in the top folder before the Rust port came.
    root = import_root(arguments.path, "utils.py", folders=("python", ""))
    write_pairs(read_sequences(arguments.data), Path("data/bench.txt"))
    run_script(
        root / "main.py",
        OPTIONS,
        sampler_module="utils",
        num_steps=arguments.num_steps,
        journal=journal,
    )


if __name__ == "__main__":
    run_driver(train)
