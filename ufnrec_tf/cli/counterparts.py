"""What a flag or key that a mode does not take is called there."""

import shlex

_RUN_MODES = "train compare sweep"

COUNTERPARTS: dict[str, dict[str, str]] = {
    "output": {
        f"{_RUN_MODES} prepare": "--workdir={value}, the folder for all that it writes",
        "export": "--config.export.path={value}",
    },
    "workdir": {"inspect": "--output=FILE.json to keep what it finds"},
    "histories": {f"{_RUN_MODES} inspect prepare": "--data={value}"},
    "split": {f"{_RUN_MODES} inspect": "--config.split.name=temporal to split in another way"},
    "top_k": {
        f"{_RUN_MODES} evaluate": "--config.evaluation.cutoffs={value} for the lists that are "
        "scored",
        "export": "--config.export.top_k={value}",
        "serve": '"k": {value} in a request',
    },
    "diversity": {"serve": '"diversity": {value} in a request'},
    "exclude": {"serve": '"exclude" in a request'},
    "allow": {"serve": '"allow" in a request'},
    "export": {
        _RUN_MODES: "--workdir=DIR, which gets the model as DIR/export",
        "export": "--config.export.path={value}",
        "recommend": "--workdir=DIR, where the model is DIR/export",
    },
    "config": {
        "evaluate": "--config.evaluation.KEY=VALUE",
        "export": "--config.export.KEY=VALUE",
    },
    "seed": {"compare": "--config.comparison.seeds={value}"},
    "comparison.seeds": {"train sweep": "--seed=NUMBER"},
    "export.path": {
        "train": "--mode=export --config.export.path={value} once it is trained",
        "serve": "--export={value}",
        "recommend": "--workdir=DIR, where the model is DIR/export",
    },
    "export.top_k": {"recommend": "--top_k={value}", "serve": '"k": {value} in a request'},
    "evaluation.cutoffs": {"recommend": "--top_k=NUMBER"},
    "data.titles": {
        "recommend report serve": "it to --mode=export, which keeps the titles for all modes",
    },
}
"""Flag, or key of the configuration -> modes that do not take it -> what does there."""


def counterpart(name: str, mode: str, value: object) -> str:
    """Returns what stands for a flag or key in a mode that does not take it; "" for nothing.

    Args:
        name: The flag without hyphens, or the key.
        mode: The mode.
        value: The value that was given.
    """
    for modes, text in COUNTERPARTS.get(name, {}).items():
        if mode in modes.split():
            return text.replace("{value}", shlex.quote(str(value)))
    return ""
