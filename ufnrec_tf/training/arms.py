"""Arms: named settings that are trained side by side, everything else equal."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.lookup import nearest
from ufnrec_tf.config import check_config, current_value, option_table, parse_value
from ufnrec_tf.method.policies import POLICIES

BACKBONE_LABELS = {
    "sasrec": "SASRec",
    "gru4rec": "GRU4Rec",
    "fmlp": "FMLP-Rec",
    "bsarec": "BSARec",
    "hstu": "HSTU",
}

ARMS: dict[str, dict[str, Any]] = {
    "base": {"memory.policy": "plain", "teacher.always": False},
    "ema": {"memory.policy": "plain", "teacher.always": True},
    "replay": {"memory.policy": "replay", "teacher.always": True},
    "remove": {"memory.policy": "remove", "teacher.always": True},
    "flip": {"memory.policy": "flip", "teacher.always": True},
    "ufnrec": {"memory.policy": "ufnrec", "teacher.always": True},
    "random": {"memory.policy": "random", "teacher.always": True},
    "neutral": {"memory.policy": "neutral", "teacher.always": True},
    "ufnrec_safe": {"memory.policy": "ufnrec_safe", "teacher.always": True},
    "ufnrec_soft": {"memory.policy": "ufnrec_soft", "teacher.always": True},
}
"""What each known arm sets. Part of UFNRec's gain may come from averaged weights or from showing
hard negatives again: with the average in every arm but `base`, neighbours differ in one thing.
The name of a policy that is not here is an arm, too, which sets only `memory.policy`."""

ARM_SECTIONS = ("backbone", "loss", "negatives", "memory", "teacher", "gate", "optimizer")
"""What an arm may set; data, split, budget, selection and evaluation are those of every arm."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
_SETTING = re.compile(r"[\w.]+=")


class Arm(NamedTuple):
    """One line of a comparison.

    Attributes:
        name: The name of the arm and of its folder.
        overrides: "section.key" to value: what differs from the common configuration.
    """

    name: str
    overrides: dict[str, Any]


def parse_arms(texts: Iterable[str]) -> tuple[Arm, ...]:
    """Returns the arms that `comparison.arms` names.

    Args:
        texts: Names of arms or policies, and texts `NAME:SECTION.KEY=VALUE,...`. A text that is
            only a setting belongs to the arm before it, as a command line splits at commas.

    Raises:
        UserError: For an unknown name or key, a value that does not fit, or a name used twice.
    """
    joined: list[str] = []
    for text in texts:
        if not isinstance(text, str):
            raise UserError(f"`comparison.arms` must be texts such as ufnrec. Received: {text!r}.")
        if joined and _SETTING.match(text):
            joined[-1] += f",{text}"
        else:
            joined.append(text)
    arms = tuple(_parse_arm(text) for text in joined)
    names = [arm.name for arm in arms]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"`comparison.arms` has two arms {name!r}. Give one another name.")
    return arms


def _parse_arm(text: str) -> Arm:
    name, colon, settings = text.partition(":")
    if not colon:
        return _known_arm(name)
    if not _NAME.fullmatch(name):
        raise UserError(
            f"`comparison.arms`: {text!r} must begin with a name of letters, digits, _ . + - "
            "and a colon, as in m2:memory.patience=2."
        )
    table, overrides = option_table(), {}
    for setting in filter(None, settings.split(",")):
        key, equals, value = (part.strip() for part in setting.partition("="))
        if not equals:
            raise UserError(
                f"`comparison.arms`, arm {name!r}: expected SECTION.KEY=VALUE, not {setting!r}."
            )
        section = key.partition(".")[0]
        if section in table and section not in ARM_SECTIONS:
            raise UserError(
                f"`comparison.arms`, arm {name!r}: cannot set {key}, which is the same in every "
                f"arm. An arm may set keys of {', '.join(ARM_SECTIONS)}."
            )
        with of_arm(name):
            overrides[key] = current_value(key, parse_value(table, key, value))
    return Arm(name, overrides)


def _known_arm(name: str) -> Arm:
    if name in ARMS:
        return Arm(name, dict(ARMS[name]))
    policy = current_value("memory.policy", name)
    if policy in POLICIES:
        return Arm(name, {"memory.policy": policy})
    known = sorted({*ARMS, *POLICIES})
    raise UserError(
        f"`comparison.arms` must be of {', '.join(known)}, or NAME:SECTION.KEY=VALUE. "
        f"Received: {name!r}.{nearest(name, known)}"
    )


@contextmanager
def of_arm(name: str) -> Iterator[None]:
    """Prefixes the arm's name to a `UserError` raised in the block."""
    try:
        yield
    except UserError as error:
        text = f"`comparison.arms`, arm {name!r}: {error}"
        raise UserError(text, exit_code=error.exit_code) from error


def configure_arm(config: ConfigDict, arm: Arm) -> ConfigDict:
    """Returns the configuration of one run of an arm, without arms or baselines of its own.

    Raises:
        UserError: If a value of the arm is out of range.
    """
    own = ConfigDict(config.to_dict())
    for key, value in arm.overrides.items():
        section, _, name = key.partition(".")
        own[section][name] = current_value(key, value)
    own.comparison.arms = ()
    with of_arm(arm.name):
        check_config(own, option_table())
    return own


SOFT_LABELS = {
    "uniform": "uniform labels",
    "popularity": "popularity labels",
    "later": "own later items",
    "alike": "items as popular",
}
"""What the controls of `teacher.labels` are called."""


def label_of(config: ConfigDict) -> str:
    """Returns the name of a run's arm, such as `SASRec+UFNRec` or `SASRec+hindsight`."""
    name = config.backbone.name
    backbone = BACKBONE_LABELS.get(name, name.rpartition(":")[2])
    policy, teacher = config.memory.policy, config.teacher
    if policy == "plain":
        return backbone
    known = {"ufnrec": "UFNRec"}.get(policy, policy)
    if policy in POLICIES and POLICIES[policy].has_soft_labels:
        known = SOFT_LABELS.get(teacher.labels, {"ema": "soft EMA"}.get(teacher.kind, teacher.kind))
    return f"{backbone}+{known}"
