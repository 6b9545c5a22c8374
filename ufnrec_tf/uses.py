"""How each mode is used, for `--help` and tab completion: a mode that is added gets its line."""

from typing import NamedTuple

NEEDED = "*"
"""Ends the name of a flag that a mode cannot do without."""


class Use(NamedTuple):
    """How a mode is used.

    Attributes:
        text: What it does, in so few words that they fit on a line with its flags.
        flags: The flags it takes, `*` behind those it needs; its own come by their help, which
            begins with the mode's name and a colon.
        sections: Sections of the configuration that it reads; `*` for all.
        example: Its arguments, as one would type them.
    """

    text: str
    flags: tuple[str, ...]
    sections: tuple[str, ...] = ()
    example: str = ""


USES = {
    "inspect": Use(
        "look at a log: problems first, and what mends them",
        ("data*", "config", "output"),
        ("data", "split"),
        "--data=events.csv",
    ),
    "prepare": Use(
        "turn a log of any size into a folder of files",
        ("data*", "workdir*"),
        ("data",),
        "--data=events.csv --workdir=prepared",
    ),
    "train": Use(
        "from a log to a scored and exported model",
        ("data", "config", "workdir", "seed"),
        ("*",),
        "--data=events.csv --workdir=runs/mine",
    ),
    "evaluate": Use(
        "score a trained run again",
        ("workdir*", "data"),
        ("evaluation", "export"),
        "--workdir=runs/mine --config.evaluation.mask=train",
    ),
    "compare": Use(
        "arms x seeds, tested, in one report",
        ("data", "config", "workdir"),
        ("*",),
        "--config=configs/compare_demo.py --workdir=runs/compared",
    ),
    "sweep": Use(
        "search good settings, by validation alone",
        ("data", "config", "workdir", "seed"),
        ("*",),
        "--config=configs/sweep_demo.py --workdir=runs/sweep",
    ),
    "report": Use("one page about a run", ("workdir*", "data"), (), "--workdir=runs/mine"),
    "recommend": Use(
        "lists for a file of histories",
        ("workdir*", "histories*", "output*", "data"),
        (),
        "--workdir=runs/mine --histories=histories.txt --output=out.csv",
    ),
    "export": Use(
        "write the SavedModel again",
        ("workdir*", "data"),
        ("export", "evaluation"),
        "--workdir=runs/mine",
    ),
    "serve": Use(
        "a local server of the model", ("workdir", "data"), ("serving",), "--workdir=runs/mine"
    ),
    "forget": Use(
        "remove users from a run or prepared data",
        ("users*", "workdir", "data"),
        (),
        "--users=gone.txt --workdir=runs/mine",
    ),
}
"""Mode -> how it is used, in the order of use: a mode that is added gets its line here."""

EXAMPLES = ("inspect", "train", "recommend")
"""Modes whose examples the short page shows."""

MOST_USED = {
    "backbone.name": "sasrec, gru4rec, fmlp, bsarec, hstu, or your own.",
    "backbone.max_length": "Newest items of a history that are read.",
    "loss.name": "pooled_bce (authors), cross_entropy and others.",
    "negatives.count": "Negatives a position.",
    "memory.policy": "keep (plain training), ufnrec, ufnrec_safe and others.",
    "memory.patience": "A negative shown more often than this is ripe.",
    "optimizer.learning_rate": "Adam's rate.",
    "training.num_epochs": "Epochs at most.",
}
"""Keys that the short page explains, in so few words that they fit on a line."""
