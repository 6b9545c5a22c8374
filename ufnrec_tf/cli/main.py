"""The command line: flags, modes, exit codes, one line an error."""

import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from absl import flags

from ufnrec_tf.cli.help import ALL, SHORT, Pages
from ufnrec_tf.common.errors import Terminated, UserError, end_at_once
from ufnrec_tf.common.lookup import nearest
from ufnrec_tf.common.text import program_name
from ufnrec_tf.completion import completion_script
from ufnrec_tf.config import DEMO_WORKDIR, option_table

MODES = {
    "inspect": "show what would be read of --data, problems first, with the flags that mend them",
    "train": "read, split, train, select on validation, score the test set once, export",
    "sweep": "search for good settings by validation alone, resumable (needs the extra `sweep`)",
    "compare": "train arms x seeds, test the differences, write one report",
    "evaluate": "score a trained work directory; --config.evaluation.* may change the protocol",
    "report": "write one page of a run, report.html, and its charts as pictures",
    "export": "publish the SavedModel as a further version, into --config.export.path if given",
    "prepare": "turn a log of any size into a folder of sharded files, in bounded memory",
    "recommend": "recommend for a file of histories, by the exported model",
    "serve": "answer requests on this machine by the exported model, with a page to try it",
    "forget": "remove users from a work directory's memory and files, or from prepared data",
}


def _define_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string("mode", "train", "What to do.", flag_values=values)
    flags.DEFINE_bool("quiet", False, "Show results and errors only.", flag_values=values)
    flags.DEFINE_string(
        "completion", "", "Print tab completion for bash, zsh or fish.", flag_values=values
    )
    flags.DEFINE_string("config", "", "A file of configs/ or your own.", flag_values=values)
    flags.DEFINE_string(
        "data", "", "The log, a file; or a folder that --mode=prepare made.", flag_values=values
    )
    flags.DEFINE_string("workdir", "", "Where a run keeps everything.", flag_values=values)
    flags.DEFINE_integer(
        "seed",
        0,
        "Seed of everything random.",
        lower_bound=0,
        upper_bound=2**32 - 1,
        flag_values=values,
    )
    flags.DEFINE_string(
        "histories",
        "",
        "recommend: a log in any form that --data takes, or a file of one history a line; `train`: "
        "every user of the data that was trained with.",
        flag_values=values,
    )
    flags.DEFINE_integer("top_k", 10, "recommend: items a history.", flag_values=values)
    flags.DEFINE_string(
        "output",
        "",
        "recommend: .csv, .csv.gz or .parquet file to write; inspect: JSON file.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "index",
        "exact",
        "recommend: exact, or faiss for huge catalogues, approximate, its recall measured.",
        flag_values=values,
    )
    flags.DEFINE_string("split", "test", "evaluate: test or validation.", flag_values=values)
    flags.DEFINE_string("users", "", "forget: one raw user id a line.", flag_values=values)
    flags.DEFINE_string(
        "export", "", "serve: folder of exports; empty: the work directory's.", flag_values=values
    )
    flags.DEFINE_string(
        "host", "127.0.0.1", "serve: address to listen on, here alone.", flag_values=values
    )
    flags.DEFINE_integer(
        "port",
        8501,
        "serve: port to listen on; 0: any free one, which is shown.",
        lower_bound=0,
        upper_bound=65535,
        flag_values=values,
    )
    flags.DEFINE_string("help", "", "This page, or that of a topic; see below.", flag_values=values)
    return values


_HELP = {
    "-h": f"--help={SHORT}",
    "-help": f"--help={SHORT}",
    "--help": f"--help={SHORT}",
    "--help=": f"--help={SHORT}",
    "--helpfull": f"--help={ALL}",
}
"""What stands for what: --help alone takes no value."""


def _parse(argv: Sequence[str]) -> tuple[flags.FlagValues, list[tuple[str, str]]]:
    """Returns the flags and the `--config.SECTION.KEY=VALUE` overrides."""
    values = _define_flags()
    overrides, rest, arguments = [], [argv[0]], list(argv[1:])
    while arguments:
        argument = arguments.pop(0)
        name = argument.lstrip("-")
        if argument.startswith("--") and name.startswith("config."):
            key, equals, text = name.removeprefix("config.").partition("=")
            if not equals:
                if not arguments or arguments[0].startswith("--"):
                    raise UserError(
                        f"--config.{key} needs a value: --config.{key}=VALUE (`--help={key}`)."
                    )
                text = arguments.pop(0)
            overrides.append((key, text))
        else:
            rest.append(_HELP.get(argument, argument))
    try:
        left = values(rest, known_only=True)[1:]
    except flags.Error as error:
        code = 2 if isinstance(error, flags.UnrecognizedFlagError) else 1
        raise UserError(f"{error} (`--help` lists the flags).", exit_code=code) from error
    if left:
        name = left[0].lstrip("-").partition("=")[0]
        hint = nearest(name, [*values, "config.SECTION.KEY"])
        raise UserError(f"unknown flag {left[0]}.{hint} `--help` lists them.", exit_code=2)
    return values, overrides


def _pages() -> Pages:
    return Pages(program_name(sys.argv[0]), MODES, values=_define_flags(), table=option_table())


def _run(argv: Sequence[str]) -> None:
    values, overrides = _parse(argv)
    mode = values.mode
    if values.help:
        print(_pages().page(values.help, mode=mode if values["mode"].present else ""))
        return
    if values.completion:
        print(completion_script(values.completion, _pages()))
        return
    if mode not in MODES:
        raise UserError(
            f"unknown --mode={mode}. Known: {', '.join(MODES)}.{nearest(mode, MODES)}", exit_code=2
        )
    from ufnrec_tf.common.display import Display, set_quiet
    from ufnrec_tf.common.progress import ProgressWatcher

    set_quiet(values.quiet)
    from ufnrec_tf.cli import modes  # after the flags: it brings pandas

    with ProgressWatcher(Display()):
        getattr(modes, mode)(values, overrides, list(argv))


def _calm() -> None:
    """Keeps libraries from writing on the user's screen."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    warnings.filterwarnings("ignore")
    logging.getLogger("absl").setLevel(logging.ERROR)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Makes an exception of a termination signal, as Python does of Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end_at_once)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _report_bug(argv: Sequence[str]) -> str:
    """Keeps the traceback of a bug and says where."""
    text = traceback.format_exc()
    workdir = next((a.partition("=")[2] for a in argv if a.startswith("--workdir=")), DEMO_WORKDIR)
    folder = Path(workdir) if Path(workdir).is_dir() else Path.cwd()
    path = folder / "error.log"
    try:
        path.write_text(text, encoding="utf-8")
    except OSError:
        return f"and its traceback could not be kept: {text}"
    return f"its traceback is in {path}"


def main(argv: Sequence[str]) -> int:
    """Runs the command line and returns the exit code.

    Returns:
        0; 2 for an unknown flag, key or mode; 1 for other bad input or a bug; 130 after Ctrl-C
        and 143 after a termination signal.
    """
    _calm()
    try:
        with _ended_by_signals():
            _run(argv)
            sys.stdout.flush()  # here, where a closed pipe is known for what it is
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # as by `--help | head`; Python would complain once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt as end:
        print(str(end) or "interrupted", file=sys.stderr)
        return 130
    except Terminated as end:
        text = str(end) or "terminated; run the same command again, it goes on"
        print(text, file=sys.stderr)
        return 143
    except Exception as error:
        if hasattr(error, "exit_code"):  # an interruption that has written its checkpoint
            return error.exit_code
        print(
            f"internal error (a bug in ufnrec-tf): {type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}; {_report_bug(argv)}",
            file=sys.stderr,
        )
        return 1
    return 0


def run() -> None:
    """The console command."""
    sys.exit(main(sys.argv))
