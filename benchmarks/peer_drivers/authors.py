"""The authors' UFNRec (github UFNRec-code/UFNRec, PyTorch), its main.py for exactly N steps.

Set: their own arguments --batch_size, --maxlen, --hidden_units, --num_blocks, --num_heads,
--dropout_rate, --neg_nums=100 and --device=cpu; the rest at its default. Their `flag`, which turns
memory and teacher on once the loss rests and not before epoch 9, is set before the first step
(the teacher is made in it and scores from the second on); with --off it stays false, which it does
by itself in a run of one epoch. What a step does is theirs. How the run is cut to N steps:
torch_script.py.
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
from benchmarks.peer_drivers.torch_script import SHAPE_OPTIONS, Globals, run_script

OPTIONS = {**SHAPE_OPTIONS, "dataset": "bench", "name": "run", "neg_nums": 100, "gpu": ""}


def train(arguments: Arguments, journal: Journal) -> None:
    """Trains `num_steps` steps."""
    script = import_root(arguments.path, "UFN_utils.py") / "main.py"
    write_pairs(read_sequences(arguments.data), Path("data/bench.txt"))

    def before_step(variables: Globals, num_done: int) -> None:
        if num_done == 0:
            variables["flag"] = not arguments.off
        if num_done == arguments.num_steps - 1:
            lists = variables["hard_items"].values()
            journal.notes = {
                "rows_remembered": len(lists),
                "items_remembered": sum(map(len, lists)),
                "flips_before_last_step": len(variables.get("reverse", ())),
            }

    run_script(
        script,
        OPTIONS,
        sampler_module="SASRec_utils",
        num_steps=arguments.num_steps,
        journal=journal,
        before_step=before_step,
    )


if __name__ == "__main__":
    run_driver(train)
