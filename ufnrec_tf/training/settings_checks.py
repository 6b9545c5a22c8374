"""Checks of settings against each other, which need neither data nor TensorFlow."""

from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.lookup import nearest, pick
from ufnrec_tf.method.policies import POLICIES

_FILTERED = ("fmlp", "bsarec")
"""Backbones of the library whose filter may read later items."""

OTHER_RUNS = "Give finished runs on this data with this split, or train without them."
"""The way out where a run of `teacher.runs` cannot be a teacher."""


def check_settings(config: ConfigDict) -> None:
    """Checks the policy's name, and that settings fit each other.

    Raises:
        UserError: Naming the settings, and a value that fits.
    """
    check_weights(config)
    if POLICIES[config.memory.policy].has_soft_labels:
        _check_teacher(config.teacher)
    backbone, training = config.backbone, config.training
    if backbone.width % backbone.num_heads:
        raise UserError(
            "`backbone.num_heads` must divide `backbone.width`. Received: "
            f"{backbone.num_heads} heads, width {backbone.width}. Set "
            "--config.backbone.num_heads=1, or a width that it divides."
        )
    is_filtered = backbone.name in _FILTERED and backbone.filter == "circular"
    if is_filtered and training.windows != "prefixes":
        raise later_items_error(config, has_filter=True)
    if training.max_steps % training.steps_per_execution:
        raise UserError(
            f"`training.steps_per_execution` must be a divisor of {training.max_steps} "
            f"(training.max_steps). Received: {training.steps_per_execution}."
        )


def later_items_error(config: ConfigDict, *, has_filter: bool) -> UserError:
    """Returns the UserError for a backbone that would be trained on items that it sees."""
    return UserError(
        f"backbone {config.backbone.name!r} sees later items of the history, so that a loss at "
        f"every position (training.windows={config.training.windows}) would show it the answers. "
        "Set --config.training.windows=prefixes"
        + (", or --config.backbone.filter=causal, which costs a fraction." if has_filter else ".")
    )


def check_weights(config: ConfigDict) -> None:
    """Raises UserError if weights are to be scored that the policy does not make."""
    policy = pick(POLICIES, config.memory.policy, key="memory.policy")
    has_teacher = policy.has_teacher or config.teacher.always
    if config.evaluation.weights == "teacher" and not has_teacher:
        raise UserError(
            f"`evaluation.weights` is teacher, but policy {config.memory.policy!r} has none. "
            "Set --config.teacher.always=true, or --config.evaluation.weights=auto."
        )


def check_metrics(config: ConfigDict) -> None:
    """Raises UserError for a metric that is not known, or one of `training.monitor` not computed.

    A metric of the user's own runs its file.
    """
    from ufnrec_tf.evaluation.metrics import choose_metrics

    settings, monitor = config.evaluation, config.training.monitor
    known = choose_metrics(settings.metrics, settings.cutoffs).names
    if monitor and monitor not in known:
        raise UserError(
            f"`training.monitor` must be one of {', '.join(known)}. Received: {monitor!r}."
            f"{nearest(monitor, known)} --config.evaluation.metrics and "
            "--config.evaluation.cutoffs name further ones."
        )


def check_evaluation(config: ConfigDict) -> None:
    """Raises UserError for settings by which no trained run can be scored again."""
    from ufnrec_tf.evaluation.metrics import choose_metrics

    choose_metrics(config.evaluation.metrics, config.evaluation.cutoffs)
    check_weights(config)


def check_reading(config: ConfigDict) -> None:
    """Raises UserError for a filter or a split that no log allows."""
    from ufnrec_tf.data.splits import SplitSettings, check_split
    from ufnrec_tf.reading.filters import check_filters
    from ufnrec_tf.reading.sources import filters_of

    check_filters(filters_of(config))
    values = config.split.to_dict()
    check_split(values.pop("name"), SplitSettings(**values))


def _check_teacher(settings: ConfigDict) -> None:
    """Raises UserError if the settings of the soft labels do not fit each other."""
    if settings.labels == "alike" and settings.kind == "ema":
        raise UserError(
            "`teacher.labels` must not be alike with `teacher.kind` ema, whose labels are not "
            "kept. Set --config.teacher.kind=hindsight, or --config.teacher.labels=teacher."
        )
    is_taught = settings.labels in ("teacher", "alike")
    if is_taught and settings.kind == "runs" and not settings.runs:
        raise UserError(
            "`teacher.runs` must name at least one finished run with `teacher.kind` runs. Set "
            "--config.teacher.runs=WORKDIR,WORKDIR, or --config.teacher.kind=hindsight."
        )
    if is_taught and settings.kind == "runs":
        for name in settings.runs:
            check_finished(name)


def check_finished(run: str) -> None:
    """Raises UserError unless `run`, of `teacher.runs`, is the work directory of a finished run."""
    if not (Path(run) / "result.json").is_file():
        raise UserError(
            f"--config.teacher.runs={run}: is not the work directory of a finished run. "
            f"{OTHER_RUNS}"
        )


def check_seeds(seeds: Sequence[int]) -> None:
    """Raises UserError unless there are seeds, all of them different."""
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(
            "`comparison.seeds` must be different whole numbers from 0, as in 0,1,2. Received: "
            f"{','.join(map(str, seeds)) or 'none'}."
        )
