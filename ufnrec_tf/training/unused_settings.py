"""Settings that were given and that nothing reads, for the heading of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ml_collections import ConfigDict

from ufnrec_tf.config import unmet_condition
from ufnrec_tf.training.arms import configure_arm, parse_arms

if TYPE_CHECKING:
    from ufnrec_tf.data.log_description import LogDescription

_WITHOUT_SEPARATOR = {
    "parquet": "the log is Parquet",
    "jsonl": "the log is JSON lines",
    "dat": "the log is a .dat file",
    "dataframe": "the log is a DataFrame",
}
"""Forms of a log without a separator of the user's choice."""


def unused_line(reasons: Mapping[str, str]) -> list[str]:
    """Returns the line that names what was given and is not used; no line if there is nothing.

    Args:
        reasons: Flag or key to the reason why nothing reads it.
    """
    named = ", ".join(f"{name} ({reason})" for name, reason in reasons.items())
    return [f"given but not used: {named}"] if named else []


def unused_settings(
    config: ConfigDict,
    given: Iterable[str],
    *,
    log: LogDescription | None = None,
    is_compared: bool = False,
    varied: Iterable[str] = (),
) -> dict[str, str]:
    """Returns the keys that were given and that no run of a configuration reads.

    Args:
        config: The configuration; each of its arms counts, too.
        given: The keys that were given.
        log: How the log was read; None if it is not known.
        is_compared: True if only the arms are trained.
        varied: Keys that a sweep sets in each trial: they may meet any condition.

    Returns:
        Key to the reason, such as `memory.patience` to `memory.policy is plain`.
    """
    arms = parse_arms(config.comparison.arms)
    configs = [configure_arm(config, arm) for arm in arms]
    if not is_compared or not arms:
        configs.append(config)
    varied, found = tuple(varied), {}
    for key in given:
        unmet = [unmet_condition(each, key) for each in configs]
        is_open = any(reason.startswith(f"{other} is ") for reason in unmet for other in varied)
        if key in varied:
            found[key] = "sweep.space varies it"
        elif is_compared and arms and all(key in arm.overrides for arm in arms):
            found[key] = "every arm sets it"
        elif all(unmet) and not is_open:
            found[key] = unmet[-1]
        elif key in ("gate.kind", "gate.epochs") and all(map(_stays_shut, configs)):
            found[key] = f"training.num_epochs is {config.training.num_epochs}: it stays shut"
        elif log is not None and (reason := _unread_of_log(key, log)):
            found[key] = reason
    return found


def _stays_shut(config: ConfigDict) -> bool:
    """True if a run ends before its gate opens."""
    return config.gate.kind == "epochs" and config.gate.epochs >= config.training.num_epochs > 0


def _unread_of_log(key: str, log: LogDescription) -> str:
    """Returns why a key of section `data` was not needed to read a log, or an empty text."""
    if key == "data.separator":
        return _WITHOUT_SEPARATOR.get(log.format, "")
    if key == "data.format" and log.format == "dataframe":
        return _WITHOUT_SEPARATOR[log.format]
    if key == "data.time_unit" and "time" not in log.columns:
        return "the log has no column of times"
    return ""
