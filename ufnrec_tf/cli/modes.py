"""The modes and flags of the command line, in one table each, and the functions of the modes.

`--help`, the check of the flags and the call of a mode's function come from these tables: a new
mode is a function and an entry of `MODES`. TensorFlow and pandas are imported within the
functions, TensorFlow only after the input has been checked.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ml_collections import ConfigDict

from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.files import check_folder, check_workdir
from ufnrec_tf.common.lookup import pick
from ufnrec_tf.common.tensorflow_setup import import_tensorflow
from ufnrec_tf.config import COMPARE_CONFIG, DEMO_CONFIG, DEMO_WORKDIR, Option, load_config
from ufnrec_tf.method.policies import POLICIES
from ufnrec_tf.runs.trained_settings import trained_config
from ufnrec_tf.runs.workdir import Workdir
from ufnrec_tf.training.arms import parse_arms

if TYPE_CHECKING:
    from ufnrec_tf.data.splits import Split
    from ufnrec_tf.reading.sources import Source

Overrides = list[tuple[str, str]]
TRAIN_HISTORIES = "train"
"""Value of --histories: every user of the data that the work directory was trained with."""

FLAGS = {
    "mode": Option("train", "What to do: one of the modes."),
    "data": Option("", "The log: a file, or a folder that --mode=prepare made."),
    "config": Option("", "A file of configs/, or a configuration file of your own."),
    "workdir": Option("", "The work directory, where a run keeps its files."),
    "seed": Option(0, "Seed of everything random.", minimum=0, maximum=2**32 - 1),
    "split": Option(
        "test", "The split to score: test or validation.", choices=("test", "validation")
    ),
    "histories": Option(
        "",
        "Log in any form that --data takes, or file with one history a line. train: the histories "
        "of all users of the data that the run was trained with.",
    ),
    "top_k": Option(10, "Recommended items for each history."),
    "output": Option(
        "",
        "File to write. --mode=recommend: a .csv, .csv.gz or .parquet file. --mode=inspect: a JSON "
        "file. --mode=report: the page.",
    ),
    "export": Option("", "Folder of exported versions. Empty: the one in the work directory."),
    "host": Option("127.0.0.1", "Address to listen on. The default is open to this machine only."),
    "port": Option(
        8501, "Port to listen on. 0: any free port, which is shown.", minimum=0, maximum=65535
    ),
    "verify": Option(
        True,
        "Check the files of a run or an export against their sha256 when they are read. false: "
        "read them as they are.",
    ),
    "quiet": Option(False, "Show only results and errors."),
    "help": Option("", "Show this page, or the page of a topic (see the end of this page)."),
}
"""The flags, in the order in which --help lists them."""

HISTORY_KEYS = tuple(
    f"data.{key}"
    for key in (
        *("format", "user_column", "item_column", "time_column", "rating_column", "separator"),
        *("time_unit", "exclude_users", "min_rating", "start", "end"),
    )
)
"""Keys by which --mode=recommend reads --histories, as other modes read --data."""
COMMON_FLAGS = ("mode", "data", "config", "workdir", "seed", "verify", "quiet", "help")
"""Flags that every mode accepts, also where it does not read them."""
ALL_SECTIONS = ("*",)
"""Sections of a mode that reads the whole configuration."""


class Mode(NamedTuple):
    """One mode of the command line.

    Attributes:
        text: What it does, in sentences; the first one is also shown by itself.
        run: The function that does it.
        example: The flags of an example.
        needs: Flags that it cannot do without.
        takes: Further flags that it reads.
        sections: Sections of the configuration that it reads, or `ALL_SECTIONS`.
        keys: Further keys that it reads, of other sections.
    """

    text: str
    run: Callable[[Any, Overrides, list[str]], None]
    example: str
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


def inspect(flags: Any, overrides: Overrides, argv: list[str]) -> None:
    """Shows what a run would read of a log, without TensorFlow."""
    config = load_config(flags.config, overrides)
    from ufnrec_tf.reading.inspection.inspect_log import inspect as inspect_log

    inspect_log(config, flags.data, output=flags.output, arguments=argv, display=Display())


def prepare(flags: Any, overrides: Overrides, argv: list[str]) -> None:
    """Turns a log of any size into a folder that --data takes."""
    for key, _ in overrides:
        if not key.startswith("data.") or key.startswith("data.planted"):
            raise _no_effect(f"--config.{key}", flags.mode)
    config = load_config(flags.config, overrides)
    if not flags.data and not config.data.name:
        raise _missing_flag("data", flags.mode)
    from ufnrec_tf.reading.prepare.prepare import prepare as prepare_log
    from ufnrec_tf.reading.sources import large_log

    path, settings = large_log(config, flags.data)
    prepare_log(path, settings, workdir=flags.workdir, display=Display())


def train(flags: Any, overrides: Overrides, argv: list[str]) -> None:
    """Trains a model; without --config and data, the demo's on the embedded data set."""
    has_data = flags.data or any(key == "data.name" for key, _ in overrides)
    is_demo = not flags.config and not has_data
    config = load_config(flags.config or (DEMO_CONFIG if is_demo else ""), overrides)
    pick(POLICIES, config.memory.policy, key="memory.policy")
    workdir = flags.workdir or (DEMO_WORKDIR if is_demo else _default_workdir(flags, config))
    if config.distribution.strategy != "multi_worker":  # there only the chief uses it
        check_workdir(Path(workdir))
    display = Display()
    source, split = _read_and_split(config, flags.data, display)
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
    """Trains arms x seeds and compares them, or trains only the run `comparison.run`."""
    if flags["seed"].present:
        raise UserError(
            f"--seed has no effect with --mode=compare. Set --config.comparison.seeds={flags.seed}."
        )
    config = load_config(flags.config or COMPARE_CONFIG, overrides)
    parse_arms(config.comparison.arms)
    workdir = flags.workdir or f"{_default_workdir(flags, config)}_compared"
    check_workdir(Path(workdir), is_shared=True)
    display = Display()
    source, split = _read_and_split(config, flags.data, display)
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


def sweep(flags: Any, overrides: Overrides, argv: list[str]) -> None:
    """Searches for good settings, each trial in a process of its own."""
    config = load_config(flags.config, overrides)
    from ufnrec_tf.sweep.plan import parse_space

    parse_space(config.sweep.space)
    workdir = flags.workdir or f"{_default_workdir(flags, config)}_sweep"
    check_workdir(Path(workdir))
    display = Display()
    source, _ = _read_and_split(config, flags.data, display)
    from ufnrec_tf.sweep.plan import check_choices, enter, make_sweep_plan
    from ufnrec_tf.sweep.search import Sweep

    plan = make_sweep_plan(
        config,
        workdir,
        seed=flags.seed,
        data_path=flags.data,
        config_path=flags.config,
        overrides=overrides,
    )
    check_choices(plan)
    with Workdir(plan.path):
        Sweep(plan, enter(plan, source, argv), display=display).run()


def evaluate(flags: Any, overrides: Overrides, argv: list[str]) -> None:
    """Scores a trained work directory on a split."""
    with Workdir(flags.workdir, must_exist=True).held_if_writable():
        config, record, source = _trained_source(flags, overrides)
        from ufnrec_tf.training.evaluate import evaluate_workdir

        evaluate_workdir(config, record, source, flags.workdir, flags.split, Display())


def export(flags: Any, overrides: Overrides, argv: list[str]) -> None:
    """Publishes the SavedModel of a trained work directory as a new version."""
    # Several may publish at once: they take turns in the folder of versions.
    with Workdir(flags.workdir, must_exist=True).read():
        config, _ = trained_config(flags.workdir, overrides)
        check_folder(config.export.path or f"{flags.workdir}/export", key="export.path")
        config, record, source = _trained_source(flags, overrides)
        from ufnrec_tf.training.export import export_workdir

        export_workdir(config, record, source, flags.workdir, Display())


def report(flags: Any, overrides: Overrides, argv: list[str]) -> None:
    """Writes report.html and pictures of a work directory, finished or not."""
    config, record = trained_config(flags.workdir, overrides)
    from ufnrec_tf.report.write import report as write_report

    write_report(
        Path(flags.workdir),
        config,
        record,
        data=flags.data,
        output=flags.output,
        display=Display(),
    )


def recommend(flags: Any, overrides: Overrides, argv: list[str]) -> None:
    """Recommends items for the histories of a file, by the exported model."""
    is_train = flags.histories == TRAIN_HISTORIES
    if is_train and overrides:
        raise _no_effect(f"--config.{overrides[0][0]}", f"{flags.mode} --histories=train")
    from ufnrec_tf.reading.sources import load, settings_of

    settings, log = settings_of(load_config("", overrides)), None
    if is_train:
        config, record = trained_config(flags.workdir, [])
        log = load(config, flags.data or record["data_path"]).interactions
    import_tensorflow()
    from ufnrec_tf.cli.recommend import recommend_workdir

    recommend_workdir(flags, log, settings, Display())


def serve(flags: Any, overrides: Overrides, argv: list[str]) -> None:
    """Serves the newest exported version on this machine until it is ended."""
    if not flags.workdir and not flags.export:
        raise UserError("--mode=serve needs --workdir, or the folder of exports as --export.")
    from ufnrec_tf.cli.serve import ServeOptions, check_overrides
    from ufnrec_tf.cli.serve import serve as serve_export

    check_overrides(overrides)
    config = load_config("", overrides)
    trained_with = trained_config(flags.workdir, [])[0] if flags.workdir else config
    options = ServeOptions(flags.workdir, flags.export, flags.data, flags.host, flags.port)
    serve_export(options, config, trained_with, Display())


MODES = {
    "inspect": Mode(
        "Show what would be read of a log, problems first. The flags that mend a problem stand "
        "beside it. The log may be named by data.name too.",
        inspect,
        example="--data=events.csv",
        needs=("data",),
        takes=("config", "output"),
        sections=("data", "split"),
    ),
    "prepare": Mode(
        "Turn a log of any size into a folder of files. It needs little memory, and --data takes "
        "the folder in place of the log.",
        prepare,
        example="--data=events.csv --workdir=prepared",
        needs=("data", "workdir"),
        takes=("config",),
        sections=("data",),
    ),
    "train": Mode(
        "Read, split, train, score and export. The weights are selected on validation, and the "
        "test set is scored once, at the end. The same command continues a run that was stopped.",
        train,
        example="--data=events.csv --workdir=runs/mine",
        takes=("data", "config", "workdir", "seed"),
        sections=ALL_SECTIONS,
    ),
    "evaluate": Mode(
        "Score a trained run again. --config.evaluation.* may change the protocol.",
        evaluate,
        example="--workdir=runs/mine --config.evaluation.mask=train",
        needs=("workdir",),
        takes=("data", "split"),
        sections=("evaluation", "export"),
    ),
    "compare": Mode(
        "Train arms x seeds and test the differences. All results are in one report. The same "
        "command continues a comparison that was stopped.",
        compare,
        example="--config=configs/compare_demo.py --workdir=runs/compared",
        takes=("data", "config", "workdir"),
        sections=ALL_SECTIONS,
    ),
    "sweep": Mode(
        "Search for good settings by validation only. The test set is scored once, for the best "
        "trial. The same command continues a search that was stopped. Needs the extra `sweep`.",
        sweep,
        example="--config=configs/sweep_demo.py --workdir=runs/sweep",
        takes=("data", "config", "workdir", "seed"),
        sections=ALL_SECTIONS,
    ),
    "report": Mode(
        "Write one page about a run or a comparison. It is report.html in the work directory, and "
        "its charts are beside it as pictures. --output names another file.",
        report,
        example="--workdir=runs/mine",
        needs=("workdir",),
        takes=("data", "output"),
    ),
    "recommend": Mode(
        "Recommend items for histories. The newest exported version of the model answers.",
        recommend,
        example="--workdir=runs/mine --histories=histories.txt --output=out.csv",
        needs=("workdir", "histories", "output"),
        takes=("data", "top_k"),
        keys=HISTORY_KEYS,
    ),
    "export": Mode(
        "Write the SavedModel as a new version. --config.export.path names another folder than "
        "the work directory's.",
        export,
        example="--workdir=runs/mine",
        needs=("workdir",),
        takes=("data",),
        sections=("export", "evaluation"),
    ),
    "serve": Mode(
        "Run a local server of a model. It answers requests by the newest exported version and has "
        "a page to try it.",
        serve,
        example="--workdir=runs/mine",
        takes=("workdir", "export", "data", "host", "port"),
        sections=("serving",),
    ),
}
"""The modes, in the order in which they are used and in which --help lists them."""


def check_flags(mode: str, flags: Any, overrides: Overrides) -> None:
    """Checks that a mode has the flags that it needs, and none that are for other modes.

    Raises:
        UserError: Naming the flag or key.
    """
    for name in MODES[mode].needs:
        # A configuration may name the data in place of the flag.
        if name != "data" and not getattr(flags, name):
            raise _missing_flag(name, mode)
    for name in FLAGS:
        is_known = name in (*COMMON_FLAGS, *MODES[mode].needs, *MODES[mode].takes)
        if flags[name].present and not is_known:
            raise _no_effect(f"--{name}", mode)
    if not MODES[mode].sections:
        for key, _ in overrides:
            if key not in MODES[mode].keys:
                raise _no_effect(f"--config.{key}", mode)


def _missing_flag(name: str, mode: str) -> UserError:
    return UserError(f"--mode={mode} needs --{name} (`--help={mode}` has an example).")


def _no_effect(name: str, mode: str) -> UserError:
    return UserError(f"{name} has no effect with --mode={mode}. Leave it out.")


def _default_workdir(flags: Any, config: ConfigDict) -> str:
    return f"runs/{Path(flags.data).stem if flags.data else config.data.name}"


def _read_and_split(config: ConfigDict, path: str, display: Display) -> tuple[Source, Split]:
    """Reads and splits the data, shows a summary, and then imports TensorFlow."""
    from ufnrec_tf.data.summary import summary, summary_lines
    from ufnrec_tf.reading.sources import load, make_split

    source = load(config, path)
    split = make_split(config, source.interactions)
    display.notes.block(summary_lines(summary(split)))
    import_tensorflow()
    return source, split


def _trained_source(flags: Any, overrides: Overrides) -> tuple[ConfigDict, dict[str, Any], Source]:
    """Returns configuration, record and data of a trained run, and imports TensorFlow."""
    config, record = trained_config(flags.workdir, overrides)
    from ufnrec_tf.reading.sources import load

    source = load(config, flags.data or record["data_path"])
    import_tensorflow()
    return config, record, source
