"""What each --mode does; TensorFlow is imported only once the input has been found good."""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.lookup import pick
from ufnrec_tf.common.tensorflow_setup import import_tensorflow
from ufnrec_tf.config import COMPARE_CONFIG, DEMO_CONFIG, DEMO_WORKDIR, load_config
from ufnrec_tf.method.policies import POLICIES
from ufnrec_tf.runs.trained_settings import trained_config
from ufnrec_tf.runs.workdir import Workdir
from ufnrec_tf.training.arms import parse_arms

Overrides = list[tuple[str, str]]
TRAIN_HISTORIES = "train"
"""Value of --histories: every user of the data that the work directory was trained with."""

HISTORY_KEYS = tuple(
    f"data.{key}"
    for key in (
        *("format", "user_column", "item_column", "time_column", "rating_column", "separator"),
        *("time_unit", "min_rating", "start", "end"),
    )
)
"""Keys by which --mode=recommend reads --histories, as other modes read --data."""


def train(flags: Any, overrides: Overrides, argv: list[str]) -> None:
    """Trains; with neither --config nor --data on the embedded data set."""
    names_data = flags.data or any(key == "data.name" for key, _ in overrides)
    is_demo = not flags.config and not names_data
    config = load_config(flags.config or (DEMO_CONFIG if is_demo else ""), overrides)
    pick(POLICIES, config.memory.policy, key="memory.policy")
    workdir = flags.workdir or (DEMO_WORKDIR if is_demo else _default_workdir(flags, config))
    display = Display()
    from ufnrec_tf.data.summary import summary, summary_lines
    from ufnrec_tf.reading.sources import load, make_split

    source = load(config, flags.data)
    split = make_split(config, source.interactions)
    display.notes.block(summary_lines(summary(split)))
    import_tensorflow()
    from ufnrec_tf.training.checks import check_names
    from ufnrec_tf.training.train import train as train_run

    check_names(config)
    train_run(
        config,
        source,
        split,
        workdir=workdir,
        seed=flags.seed,
        data_path=flags.data,
        command=argv,
        display=display,
    )


def compare(flags: Any, overrides: Overrides, argv: list[str]) -> None:
    """Trains arms x seeds and compares them; with `comparison.run` trains that run alone."""
    if flags["seed"].present:
        raise UserError(
            f"--seed has no effect with --mode=compare. Set --config.comparison.seeds={flags.seed}."
        )
    config = load_config(flags.config or COMPARE_CONFIG, overrides)
    parse_arms(config.comparison.arms)
    workdir = flags.workdir or f"{_default_workdir(flags, config)}_compared"
    display = Display()
    from ufnrec_tf.data.summary import summary, summary_lines
    from ufnrec_tf.reading.sources import load, make_split

    source = load(config, flags.data)
    split = make_split(config, source.interactions)
    display.notes.block(summary_lines(summary(split)))
    import_tensorflow()
    from ufnrec_tf.comparison.compare import Comparison
    from ufnrec_tf.comparison.plan import (
        check_arms,
        chosen_run,
        comparison_record,
        enter,
        make_plan,
    )
    from ufnrec_tf.training.train import train as train_run

    plan = make_plan(config, source, split, workdir)
    check_arms(plan)
    chosen = chosen_run(plan) if config.comparison.run else None
    record = comparison_record(plan, flags.data, argv)
    enter(plan, record)
    if chosen is None:
        Comparison(plan, record, arguments=argv[1:], display=display).run()
        return
    arm, seed = chosen
    train_run(
        plan.run_config(arm),
        source,
        split,
        workdir=str(plan.run_path(arm, seed)),
        seed=seed,
        data_path=flags.data,
        command=argv,
        display=display,
    )


def inspect(flags: Any, overrides: Overrides, argv: list[str]) -> None:
    """Shows what a run would read, problems first; needs no TensorFlow."""
    config = load_config(flags.config, overrides)
    from ufnrec_tf.reading.inspection.inspect_log import inspect as inspect_log

    inspect_log(config, flags.data, output=flags.output, arguments=argv, display=Display())


def prepare(flags: Any, overrides: Overrides, argv: list[str]) -> None:
    """Turns a log of any size into a folder that --data takes."""
    _need(flags, "workdir")
    _refuse([(k, v) for k, v in overrides if not _is_of_a_log(k)], flags.mode)
    config = load_config(flags.config, overrides)
    if not config.data.name:
        _need(flags, "data")
    from ufnrec_tf.reading.prepare.prepare import prepare as prepare_log
    from ufnrec_tf.reading.sources import large_log

    path, settings = large_log(config, flags.data)
    prepare_log(path, settings, workdir=flags.workdir, display=Display())


def _is_of_a_log(key: str) -> bool:
    return key.startswith("data.") and not key.startswith("data.planted")


def _default_workdir(flags: Any, config: ConfigDict) -> str:
    return f"runs/{Path(flags.data).stem if flags.data else config.data.name}"


def _need(flags: Any, *names: str) -> None:
    for name in names:
        if not getattr(flags, name):
            raise UserError(
                f"--mode={flags.mode} needs --{name} (`--help={flags.mode}` has an example)."
            )


def _refuse(overrides: Overrides, mode: str) -> None:
    """Refuses keys that a mode does not read."""
    for key, _ in overrides:
        raise UserError(f"--config.{key} has no effect with --mode={mode}. Leave it out.")


def evaluate(flags: Any, overrides: Overrides, argv: list[str]) -> None:
    """Scores a trained work directory on a split."""
    _need(flags, "workdir")
    if flags.split not in ("test", "validation"):
        raise UserError(f"--split must be test or validation. Received: {flags.split!r}.")
    with Workdir(flags.workdir, must_exist=True):
        config, record = trained_config(flags.workdir, overrides)
        from ufnrec_tf.reading.sources import load

        source = load(config, flags.data or record["data_path"])
        import_tensorflow()
        from ufnrec_tf.training.evaluate import evaluate_workdir

        evaluate_workdir(config, record, source, flags.workdir, flags.split, Display())


def export(flags: Any, overrides: Overrides, argv: list[str]) -> None:
    """Publishes the SavedModel of a trained work directory as a further version."""
    _need(flags, "workdir")
    with Workdir(flags.workdir, must_exist=True):
        config, record = trained_config(flags.workdir, overrides)
        from ufnrec_tf.reading.sources import load

        source = load(config, flags.data or record["data_path"])
        import_tensorflow()
        from ufnrec_tf.training.export import export_workdir

        export_workdir(config, record, source, flags.workdir, Display())


def report(flags: Any, overrides: Overrides, argv: list[str]) -> None:
    """Writes report.html and pictures of a work directory, finished or not."""
    _need(flags, "workdir")
    _refuse(overrides, flags.mode)
    config, record = trained_config(flags.workdir, overrides)
    from ufnrec_tf.report.write import report as write_report

    write_report(Path(flags.workdir), config, record, data=flags.data, display=Display())


def recommend(flags: Any, overrides: Overrides, argv: list[str]) -> None:
    """Recommends for the histories of a file, by the exported model."""
    _need(flags, "workdir", "histories", "output")
    is_train = flags.histories == TRAIN_HISTORIES
    read = () if is_train else HISTORY_KEYS
    _refuse([(key, value) for key, value in overrides if key not in read], flags.mode)
    from ufnrec_tf.reading.sources import load, settings_of

    settings, log = settings_of(load_config("", overrides)), None
    if is_train:
        config, record = trained_config(flags.workdir, [])
        log = load(config, flags.data or record["data_path"]).interactions
    import_tensorflow()
    from ufnrec_tf.cli.recommend import recommend_workdir

    recommend_workdir(flags, log, settings, Display())


def forget(flags: Any, overrides: Overrides, argv: list[str]) -> None:
    """Removes the users of a file from a work directory, from prepared data, or from both."""
    _need(flags, "users")
    if not flags.workdir and not flags.data:
        raise UserError("--mode=forget needs --workdir, or the folder of prepared data as --data.")
    _refuse(overrides, flags.mode)
    from ufnrec_tf.reading.filters import read_users

    users = read_users(flags.users)
    import_tensorflow()
    from ufnrec_tf.forget import forget as forget_users

    forget_users(users, workdir=flags.workdir, data=flags.data, display=Display())


def sweep(flags: Any, overrides: Overrides, argv: list[str]) -> None:
    """Searches for good settings, a process a trial."""
    config = load_config(flags.config, overrides)
    from ufnrec_tf.sweep.plan import parse_space
    from ufnrec_tf.sweep.trials import import_optuna

    parse_space(config.sweep.space)
    import_optuna()
    display = Display()
    from ufnrec_tf.data.summary import summary, summary_lines
    from ufnrec_tf.reading.sources import load, make_split

    source = load(config, flags.data)
    split = make_split(config, source.interactions)
    display.notes.block(summary_lines(summary(split)))
    import_tensorflow()
    from ufnrec_tf.sweep.plan import check_choices, enter, make_sweep_plan
    from ufnrec_tf.sweep.search import Sweep

    plan = make_sweep_plan(
        config,
        flags.workdir or f"{_default_workdir(flags, config)}_sweep",
        seed=flags.seed,
        data_path=flags.data,
        config_path=flags.config,
        overrides=overrides,
    )
    check_choices(plan)
    with Workdir(plan.path):
        Sweep(plan, enter(plan, source, split, argv), display=display).run()


def serve(flags: Any, overrides: Overrides, argv: list[str]) -> None:
    """Serves the newest export on this machine until told to stop."""
    if not flags.workdir and not flags.export:
        raise UserError("--mode=serve needs --workdir, or the folder of exports as --export.")
    from ufnrec_tf.cli.serve import ServeOptions, check_overrides
    from ufnrec_tf.cli.serve import serve as serve_export

    check_overrides(overrides)
    config = load_config("", overrides)
    trained_with = trained_config(flags.workdir, [])[0] if flags.workdir else config
    place = ServeOptions(flags.workdir, flags.export, flags.data, flags.host, flags.port)
    serve_export(place, config, trained_with, Display())
