"""The modes and flags of the command line, in one table each, and the functions of the modes.

`--help`, the check of the flags and the call of a mode's function come from these tables: a new
mode is a function and an entry of `MODES`. TensorFlow and pandas are imported within the
functions, TensorFlow only after the input has been checked.
"""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ml_collections import ConfigDict

from ufnrec_tf.cli.counterparts import counterpart
from ufnrec_tf.common.compiled_programs import keep_programs
from ufnrec_tf.common.display import Display
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.files import check_folder, check_workdir
from ufnrec_tf.common.tensorflow_setup import import_tensorflow
from ufnrec_tf.config import COMPARE_CONFIG, DEMO_CONFIG, DEMO_WORKDIR, Option, load_config
from ufnrec_tf.runs.inherited_settings import RunSettings, prefer_given_data, run_settings
from ufnrec_tf.runs.trained_settings import check_changeable, keep_titles, trained_config
from ufnrec_tf.runs.workdir import Workdir
from ufnrec_tf.training.unused_settings import unused_line, unused_settings

if TYPE_CHECKING:
    from ufnrec_tf.data.splits import Split
    from ufnrec_tf.reading.sources import Source

Overrides = list[tuple[str, str]]
TRAIN_HISTORIES = "train"
"""Value of --histories: every user of the data that the work directory was trained with."""

FLAGS = {
    "mode": Option("train", "What to do: one of the modes."),
    "data": Option("", "The log: a file, or a folder that --mode=prepare made.", is_path=True),
    "config": Option(
        "",
        "A file of configs/, or a configuration file of your own. A work directory, or its "
        "config.json: the settings of that run.",
        is_path=True,
    ),
    "workdir": Option("", "The work directory, where a run keeps its files.", is_path=True),
    "seed": Option(0, "Seed of everything random.", minimum=0, maximum=2**32 - 1),
    "split": Option(
        "test", "The split to score: test or validation.", choices=("test", "validation")
    ),
    "histories": Option(
        "",
        "Log in any form that --data takes, or file with one history a line. train: the histories "
        "of all users of the data that the run was trained with.",
        is_path=True,
    ),
    "users": Option(
        "",
        "File of the run's own users, one raw id a line, or a table with a user column. They get "
        "recommendations by the histories that the run read, in place of --histories.",
        is_path=True,
    ),
    "similar": Option(
        "",
        "File of items, one raw id a line, or a table with an item column. They get the items most "
        "like them, in place of recommendations for --histories.",
        is_path=True,
    ),
    "exclude": Option(
        "", "Items never to recommend. Raw ids separated by commas, or a file with one id a line."
    ),
    "allow": Option(
        "",
        "The only items to recommend. Raw ids separated by commas, or a file with one id a line.",
    ),
    "top_k": Option(10, "Recommended items for each history.", minimum=1),
    "diversity": Option(
        0.0,
        "How little alike the items of a list should be, 0 to 1. 0: the best items as they are. "
        "Else maximal marginal relevance among the 100 best.",
        minimum=0.0,
        maximum=1.0,
    ),
    "output": Option(
        "",
        "File to write. --mode=recommend: a .csv, .csv.gz or .parquet file. --mode=inspect: a JSON "
        "file. --mode=report: the page.",
        is_path=True,
    ),
    "export": Option(
        "", "Folder of exported versions. Empty: the one in the work directory.", is_path=True
    ),
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
    "version": Option(False, "Show the versions of ufnrec-tf, Python, TensorFlow and Keras."),
    "help": Option("", "Show this page, or the page of a topic (see the end of this page)."),
}
"""The flags, in the order in which --help lists them."""

HISTORY_KEYS = tuple(
    f"data.{key}"
    for key in (
        *("format", "user_column", "item_column", "time_column", "rating_column", "separator"),
        *("event_column", "time_format", "strip", "time_unit", "exclude_users", "null_ids"),
        *("null_times", "events", "min_rating", "start", "end"),
    )
)
"""Keys by which --mode=recommend reads --histories, as other modes read --data."""
TITLE_KEYS = ("data.titles", "data.title_column")
"""Keys by which --mode=export gives titles to a run that was trained."""
OWN_KEYS = tuple(
    key
    for key in HISTORY_KEYS
    # Columns, ratings and event types are taken where the file has them
    # (`history_forms.OwnReading`). Form, dates and users are those of another file.
    if not key.endswith("_column")
    and key.removeprefix("data.")
    not in ("format", "separator", "exclude_users", "min_rating", "events", "start", "end")
)
"""Those of them that --mode=recommend takes from the run if the command does not set them."""
COMMON_FLAGS = ("mode", "data", "config", "workdir", "seed", "verify", "quiet", "version", "help")
"""Flags that every mode accepts."""
_OF_SOME_MODES = ("data", "config", "workdir", "seed")
"""Those of them that only some modes read."""
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
        unread: Keys of its sections that it does not read, some by a pattern.
        refuses_others: True if a key that it does not read is an error; else it is named.
    """

    text: str
    run: Callable[[Any, Overrides, list[str]], None]
    example: str
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    refuses_others: bool = False


def inspect(flags: Any, overrides: Overrides, argv: list[str]) -> None:
    """Shows what a run would read of a log, without TensorFlow."""
    config = _data_settings(flags, overrides)
    from ufnrec_tf.reading.inspection.inspect_log import inspect as inspect_log

    inspect_log(config, flags.data, output=flags.output, arguments=argv, display=Display())


def prepare(flags: Any, overrides: Overrides, argv: list[str]) -> None:
    """Turns a log of any size into a folder that --data takes."""
    config = _data_settings(flags, overrides)
    if not flags.data and not config.data.name:
        raise _missing_flag("data", flags.mode)
    from ufnrec_tf.reading.prepare.prepare import prepare as prepare_log
    from ufnrec_tf.reading.sources import large_log

    path, settings = large_log(config, flags.data)
    prepare_log(path, settings, workdir=flags.workdir, display=Display())


def train(flags: Any, overrides: Overrides, argv: list[str]) -> None:
    """Trains a model; without --config and data, the demo's on the embedded data set."""
    has_data = flags.data or {"data.name", "training.warm_start"} & dict(overrides).keys()
    is_demo = not flags.config and not has_data
    if is_demo and dict(overrides).get("backbone.name", "sasrec") != "sasrec":
        overrides = [("backbone.variant", "authors"), *overrides]  # the demo's is one of SASRec's
    settings = _run_settings(flags, overrides, flags.config or (DEMO_CONFIG if is_demo else ""))
    config, data_path = settings.config, settings.data_path
    _check_settings(config)
    workdir = flags.workdir or (DEMO_WORKDIR if is_demo else _default_workdir(data_path, config))
    if config.distribution.strategy != "multi_worker":  # there only the chief uses it
        check_workdir(Path(workdir))
    display = Display()
    is_free = not flags.config and not is_demo
    source, split = _read_and_split(settings, flags, overrides, display, is_free=is_free)
    from ufnrec_tf.training.checks import check_names
    from ufnrec_tf.training.train import train as train_run

    check_names(config)
    train_run(
        config,
        source,
        split,
        workdir=workdir,
        seed=flags.seed,
        data_path=data_path,
        command=argv,
        display=display,
    )


def compare(flags: Any, overrides: Overrides, argv: list[str]) -> None:
    """Trains arms x seeds and compares them, or trains only the run `comparison.run`."""
    if flags["seed"].present:
        raise _no_effect("--seed", flags.mode, counterpart("seed", flags.mode, flags.seed))
    settings = _run_settings(flags, overrides, flags.config or COMPARE_CONFIG)
    config, data_path = settings.config, settings.data_path
    _refuse_pipes(config, data_path)
    from ufnrec_tf.comparison.arms_and_seeds import arms_and_seeds, chosen_run

    arms, seeds, _ = arms_and_seeds(config)
    _check_settings(config, is_compared=True)
    workdir = flags.workdir or f"{_default_workdir(data_path, config)}_compared"
    check_workdir(Path(workdir), is_shared=True)
    display = Display()
    source, split = _read_and_split(settings, flags, overrides, display)
    from ufnrec_tf.comparison.compare import Comparison
    from ufnrec_tf.comparison.plan import check_arms, comparison_record, enter, make_plan
    from ufnrec_tf.training.train import train as train_run

    plan = make_plan(config, source, split, workdir)
    check_arms(plan)
    run = config.comparison.run
    chosen = chosen_run(arms, seeds, run) if run else None
    record = comparison_record(plan, data_path, argv)
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
        data_path=data_path,
        command=argv,
        display=display,
    )


def sweep(flags: Any, overrides: Overrides, argv: list[str]) -> None:
    """Searches for good settings, each trial in a process of its own."""
    settings = _run_settings(flags, overrides, flags.config)
    config, data_path = settings.config, settings.data_path
    _refuse_pipes(config, data_path)
    workdir = flags.workdir or f"{_default_workdir(data_path, config)}_sweep"
    from ufnrec_tf.sweep.plan import check_choices, enter, make_sweep_plan
    from ufnrec_tf.training.settings_checks import check_reading

    check_reading(config)
    plan = make_sweep_plan(
        config,
        workdir,
        seed=flags.seed,
        data_path=data_path,
        config_path=flags.config,
        overrides=overrides,
    )
    check_choices(plan)
    check_workdir(Path(workdir))
    display = Display()
    source, _ = _read_and_split(settings, flags, overrides, display, is_free=not flags.config)
    from ufnrec_tf.evaluation.metrics import check_cutoffs
    from ufnrec_tf.sweep.search import Sweep

    check_choices(plan)  # again: the size of the log may have chosen some
    check_cutoffs(config.evaluation.cutoffs, source.interactions.num_items)
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
        config, _ = trained_config(flags.workdir, overrides, further_keys=TITLE_KEYS)
        check_folder(config.export.path or f"{flags.workdir}/export", key="export.path")
        if config.export.onnx:
            import_tensorflow()
            from ufnrec_tf.export.onnx_model import check_onnx

            check_onnx(config.backbone.name, config.backbone.time)
        config, record, source = _trained_source(flags, overrides, further_keys=TITLE_KEYS)
        from ufnrec_tf.training.export import export_workdir

        export_workdir(config, record, source, flags.workdir, Display())
        # The next export, the report and the server's page read the log with the same titles.
        if any(key in TITLE_KEYS for key, _ in overrides):
            keep_titles(flags.workdir, config)


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
    """Recommends items for histories or users, or finds similar ones, by the exported model."""
    given = [name for name in ("histories", "users", "similar") if getattr(flags, name)]
    if len(given) != 1:
        one = ", --users or --similar" if "similar" in given else " or --users"
        end = ", not both" if given else ", or --similar"
        raise UserError(
            f"--mode=recommend needs --histories{one}{end} (`--help=recommend` has an example)."
        )
    is_file = bool(flags.histories) and flags.histories != TRAIN_HISTORIES
    if overrides and not is_file:
        source = f"--{given[0]}{'=train' if flags.histories else ''}"
        raise _no_effect(f"--config.{overrides[0][0]}", f"{flags.mode} {source}")
    if not flags.output:
        raise _missing_flag("output", flags.mode)
    from ufnrec_tf.cli.recommend import opened_run, read_histories, read_lists, recommend_workdir
    from ufnrec_tf.recommend.output import checked_output

    run = opened_run(flags.workdir)
    checked_output(flags.output, None)  # before anything is read, which may take long
    config = load_config("", overrides)
    if run.config is not None:
        for key in OWN_KEYS:
            section, _, name = key.partition(".")
            if key not in dict(overrides):
                config[section][name] = run.config[section][name]
    display, lists = Display(), read_lists(flags, run)
    histories = read_histories(flags, run, config, display)
    import_tensorflow()
    recommend_workdir(flags, run, histories, lists, display)


def serve(flags: Any, overrides: Overrides, argv: list[str]) -> None:
    """Serves the newest exported version on this machine until it is ended."""
    if not flags.workdir and not flags.export:
        raise UserError("--mode=serve needs --workdir, or the folder of exports as --export.")
    from ufnrec_tf.cli.serve import ServeOptions
    from ufnrec_tf.cli.serve import serve as serve_export

    config = load_config("", overrides)
    trained_with = trained_config(flags.workdir, [])[0] if flags.workdir else config
    options = ServeOptions(flags.workdir, flags.export, flags.data, flags.host, flags.port)
    serve_export(options, config, trained_with, Display())


def board(flags: Any, overrides: Overrides, argv: list[str]) -> None:
    """Shows the curves of runs in TensorBoard until it is ended."""
    from ufnrec_tf.cli.board import PORT
    from ufnrec_tf.cli.board import board as show_board

    port = flags.port if flags["port"].present else PORT
    show_board(Path(flags.workdir), host=flags.host, port=port, display=Display())


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
        unread=("data.planted*",),
        refuses_others=True,
    ),
    "train": Mode(
        "Read, split, train, score and export. The weights are selected on validation, and the "
        "test set is scored once, at the end. The same command continues a run that was stopped.",
        train,
        example="--data=events.csv --workdir=runs/mine",
        takes=("data", "config", "workdir", "seed"),
        sections=ALL_SECTIONS,
        unread=(
            *("export.path", "serving.*", "sweep.*", "comparison.seeds", "comparison.reference"),
            *("comparison.run", "comparison.stop_hopeless", "comparison.resamples"),
        ),
    ),
    "evaluate": Mode(
        "Score a trained run again. --config.evaluation.* may change the protocol.",
        evaluate,
        example="--workdir=runs/mine --config.evaluation.mask=train",
        needs=("workdir",),
        takes=("data", "split"),
        sections=("evaluation",),
        unread=("evaluation.every", "evaluation.test_every"),
    ),
    "compare": Mode(
        "Train arms x seeds and test the differences. All results are in one report. The same "
        "command continues a comparison that was stopped.",
        compare,
        example="--config=configs/compare_demo.py --workdir=runs/compared",
        takes=("data", "config", "workdir"),
        sections=ALL_SECTIONS,
        unread=("export.path", "serving.*", "sweep.*"),
    ),
    "sweep": Mode(
        "Search for good settings by validation only. The test set is scored once, for the best "
        "trial. The same command continues a search that was stopped. Needs the extra `sweep`.",
        sweep,
        example="--config=configs/sweep_demo.py --workdir=runs/sweep",
        takes=("data", "config", "workdir", "seed"),
        sections=ALL_SECTIONS,
        unread=(
            *("export.path", "serving.*", "comparison.arms", "comparison.seeds"),
            *("comparison.reference", "comparison.run", "comparison.stop_hopeless"),
            *("comparison.resamples", "training.finish", "evaluation.test_every"),
        ),
    ),
    "report": Mode(
        "Write one page about a run or a comparison. It is report.html in the work directory, and "
        "its charts are beside it as pictures. --output names another file.",
        report,
        example="--workdir=runs/mine",
        needs=("workdir",),
        takes=("data", "output"),
        refuses_others=True,
    ),
    "recommend": Mode(
        "Recommend items, or find similar ones. The newest exported version of the model answers. "
        "Give --histories, --users or --similar, and --output.",
        recommend,
        example="--workdir=runs/mine --histories=histories.txt --output=out.csv",
        needs=("workdir",),
        takes=(
            *("histories", "users", "similar", "output", "data"),
            *("top_k", "diversity", "exclude", "allow"),
        ),
        keys=HISTORY_KEYS,
        refuses_others=True,
    ),
    "export": Mode(
        "Write the SavedModel as a new version. --config.export.path names another folder than "
        "the work directory's. --config.data.titles=FILE gives the items titles.",
        export,
        example="--workdir=runs/mine",
        needs=("workdir",),
        takes=("data",),
        sections=("export",),
        keys=TITLE_KEYS,
    ),
    "serve": Mode(
        "Run a local server of a model. It answers requests by the newest exported version and has "
        "a page to try it.",
        serve,
        example="--workdir=runs/mine",
        takes=("workdir", "export", "data", "host", "port"),
        sections=("serving",),
        refuses_others=True,
    ),
    "board": Mode(
        "Show the curves of a run in TensorBoard. --workdir may be a folder of several work "
        "directories. The port is 6006 if --port is not given.",
        board,
        example="--workdir=runs",
        needs=("workdir",),
        takes=("host", "port"),
        refuses_others=True,
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
            raise _no_effect(f"--{name}", mode, counterpart(name, mode, flags[name].value))
    for key, text in overrides:
        if MODES[mode].refuses_others and not _is_read(mode, key):
            read = ", ".join(f"{section}.*" for section in MODES[mode].sections)
            raise _no_effect(
                f"--config.{key}",
                f"{mode}, which reads only {read}" if read else mode,
                counterpart(key, mode, text),
            )
    if mode in ("evaluate", "export"):
        check_changeable(overrides, MODES[mode].keys)


def unused_flags(flags: Any, overrides: Overrides) -> dict[str, str]:
    """Returns the flags and keys that were given and that a mode does not read, with the reason."""
    mode = flags.mode
    use, found = MODES[mode], {}
    for name in FLAGS:
        if flags[name].present > 1:
            found[f"--{name}"] = "given more than once: the last one counts"
        if flags[name].present and name in _OF_SOME_MODES and name not in use.needs + use.takes:
            found[f"--{name}"] = _not_read(name, mode, flags[name].value)
    if flags.data and mode == "recommend" and flags.histories not in ("", TRAIN_HISTORIES):
        found["--data"] = "--histories names the histories"
    if flags.data and flags.similar:
        found["--data"] = "--similar names the items"
    if flags.diversity and flags.similar:
        found["--diversity"] = "similar items are the most alike"
    if flags.data and mode == "serve" and not flags.workdir:
        found["--data"] = "only a --workdir has users to show"
    last = dict(overrides)
    for key, text in overrides:
        if not _is_read(mode, key):
            found[key] = _not_read(key, mode, text)
        elif text != last[key]:
            found[f"{key} {text}"] = f"given again as {last[key]}"
    return found


def _is_read(mode: str, key: str) -> bool:
    """True if a mode reads a key, at least in some configurations."""
    use, section = MODES[mode], key.partition(".")[0]
    if use.sections != ALL_SECTIONS and section not in use.sections and key not in use.keys:
        return False
    return not any(fnmatchcase(key, pattern) for pattern in use.unread)


def _missing_flag(name: str, mode: str) -> UserError:
    return UserError(f"--mode={mode} needs --{name} (`--help={mode}` has an example).")


def _no_effect(name: str, mode: str, instead: str = "") -> UserError:
    way_out = f"Give {instead}." if instead else "Leave it out."
    return UserError(f"{name} has no effect with --mode={mode}. {way_out}")


def _not_read(name: str, mode: str, value: object) -> str:
    instead = counterpart(name, mode, value)
    return f"--mode={mode} does not read it" + (f": give {instead}" if instead else "")


def _default_workdir(data_path: str, config: ConfigDict) -> str:
    return f"runs/{Path(data_path).stem if data_path else config.data.name}"


def _data_settings(flags: Any, overrides: Overrides) -> ConfigDict:
    """Returns the configuration of a mode that only reads a log."""
    config, notes = load_config(flags.config, overrides), Display().notes
    if flags.data:
        notes.block(prefer_given_data(config, flags.config, overrides))
    keys = [key for key, _ in overrides if _is_read(flags.mode, key)]
    # Ratings are looked at, whether or not a filter reads them.
    unused = unused_settings(config, [key for key in keys if key != "data.rating_column"])
    notes.block(unused_line(unused))
    return config


def _run_settings(flags: Any, overrides: Overrides, path: str) -> RunSettings:
    """Returns the settings of a run or of several, of a configuration file and the flags."""
    config = load_config(path, overrides)
    return run_settings(config, path, overrides, data_path=flags.data, workdir=flags.workdir)


def _refuse_pipes(config: ConfigDict, path: str) -> None:
    """Refuses pipes as the data or the titles of a mode that starts several runs."""
    from ufnrec_tf.reading.data_files import refuse_pipe

    for flag, given in (("--data", path), ("--config.data.titles", config.data.titles)):
        refuse_pipe(given, flag=flag, why="each run of this mode reads it again")


def _read_and_split(
    settings: RunSettings,
    flags: Any,
    overrides: Overrides,
    display: Display,
    *,
    is_free: bool = False,
) -> tuple[Source, Split]:
    """Reads and splits the data, shows a summary, and then imports TensorFlow.

    With `is_free`, settings that nobody has named are chosen by the size of the log.
    """
    from ufnrec_tf.data.summary import summary, summary_lines
    from ufnrec_tf.reading.sources import load, make_split
    from ufnrec_tf.training.recipe import choose_settings

    config = settings.config
    display.notes.block(settings.lines)
    source = load(config, settings.data_path)
    split = make_split(config, source.interactions)
    chosen = choose_settings(config, split, dict(overrides)) if is_free else []
    unused = unused_settings(
        config,
        [key for key, _ in overrides if _is_read(flags.mode, key)],
        log=source.interactions.reading,
        is_compared=flags.mode == "compare",
        varied=[text.partition("=")[0] for text in config.sweep.space] * (flags.mode == "sweep"),
    )
    display.notes.block(unused_line(unused))
    display.notes.block(summary_lines(summary(split)))
    display.notes.block(chosen)
    _keep_programs(config)
    import_tensorflow()
    return source, split


def _check_settings(config: ConfigDict, *, is_compared: bool = False) -> None:
    """Checks all settings that need no data; imports TensorFlow where they need its classes."""
    from ufnrec_tf.training.before_reading import check_before_reading

    check_before_reading(config, prepare=lambda: _keep_programs(config), is_compared=is_compared)


def _keep_programs(config: ConfigDict) -> None:
    """Keeps what XLA compiles for one device, if all parts are of this library.

    What a user's own part calls may be nothing that TensorFlow can write into a file. Call it
    before TensorFlow is imported.
    """
    distribution = config.distribution
    is_one = distribution.strategy in ("auto", "one") and not distribution.num_virtual_devices
    if config.training.jit_compile and is_one and ".py:" not in str(config.to_dict()):
        keep_programs()


def _trained_source(
    flags: Any, overrides: Overrides, *, further_keys: tuple[str, ...] = ()
) -> tuple[ConfigDict, dict[str, Any], Source]:
    """Returns configuration, record and data of a trained run, and imports TensorFlow."""
    config, record = trained_config(flags.workdir, overrides, further_keys=further_keys)
    from ufnrec_tf.reading.sources import load
    from ufnrec_tf.training.settings_checks import check_evaluation

    check_evaluation(config)

    source = load(config, flags.data or record["data_path"])
    import_tensorflow()
    return config, record, source
