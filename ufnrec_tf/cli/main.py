"""The command line: reads the flags, runs the mode, returns the exit code."""

import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from absl import flags

from ufnrec_tf.cli.help import ALL, SHORT, Pages
from ufnrec_tf.cli.modes import FLAGS, MODES, Overrides, check_flags
from ufnrec_tf.common.display import Display, set_quiet
from ufnrec_tf.common.errors import Terminated, UserError, end_at_once
from ufnrec_tf.common.hashes import set_verified
from ufnrec_tf.common.lookup import nearest
from ufnrec_tf.common.memory_errors import is_out_of_memory, memory_line
from ufnrec_tf.common.progress import ProgressWatcher
from ufnrec_tf.common.streams import ScreenError, checked_screen, complain, drop_screen
from ufnrec_tf.common.text import program_name
from ufnrec_tf.config import DEMO_WORKDIR, check_value, option_table


def _define_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    define: dict[type, Callable[..., object]] = {
        bool: flags.DEFINE_bool,
        int: flags.DEFINE_integer,
        str: flags.DEFINE_string,
    }
    for name, option in FLAGS.items():
        define[type(option.default)](name, option.default, option.help, flag_values=values)
    return values


_HELP_FORMS = {
    "-h": f"--help={SHORT}",
    "-help": f"--help={SHORT}",
    "--help": f"--help={SHORT}",
    "--help=": f"--help={SHORT}",
    "--helpfull": f"--help={ALL}",
}
"""Forms of --help without a value, and the topic that each stands for."""


def _parse(argv: Sequence[str]) -> tuple[flags.FlagValues, Overrides]:
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
            rest.append(_HELP_FORMS.get(argument, argument))
    try:
        left = values(rest, known_only=True)[1:]
    except flags.Error as error:
        code = 2 if isinstance(error, flags.UnrecognizedFlagError) else 1
        raise UserError(f"{error} (`--help` lists the flags).", exit_code=code) from error
    if left:
        name = left[0].lstrip("-").partition("=")[0]
        hint = nearest(name, [*values, "config.SECTION.KEY"])
        raise UserError(f"unknown flag {left[0]}.{hint} `--help` lists them.", exit_code=2)
    for name, option in FLAGS.items():
        check_value(f"--{name}", values[name].value, option)
    return values, overrides


def _run(argv: Sequence[str]) -> None:
    values, overrides = _parse(argv)
    mode = values.mode
    if values.help:
        pages = Pages(program_name(sys.argv[0]), modes=MODES, flags=FLAGS, table=option_table())
        print(pages.page(values.help, mode=mode if values["mode"].present else ""))
        return
    if mode not in MODES:
        raise UserError(
            f"unknown --mode={mode}. Known: {', '.join(MODES)}.{nearest(mode, MODES)}", exit_code=2
        )
    check_flags(mode, values, overrides)
    set_quiet(values.quiet)
    set_verified(values.verify)
    with ProgressWatcher(Display()):
        MODES[mode].run(values, overrides, list(argv))


def _silence_libraries() -> None:
    """Keeps libraries from writing on the user's screen."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    warnings.filterwarnings("ignore")
    logging.getLogger("absl").setLevel(logging.ERROR)


@contextmanager
def _termination_raises() -> Iterator[None]:
    """Raises an exception on a termination signal, as Python does on Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, end_at_once)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _keep_traceback(argv: Sequence[str]) -> str:
    """Writes the traceback of a bug to error.log and returns a sentence that says where."""
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
    _silence_libraries()
    try:
        with checked_screen(), _termination_raises():
            _run(argv)
    except UserError as error:
        if isinstance(error, ScreenError):
            drop_screen()
        complain(f"error: {error}")
        return error.exit_code
    except BrokenPipeError:  # as by `--help | head`; else Python reports it again at exit
        drop_screen()
        return 1
    except KeyboardInterrupt as end:
        complain(str(end) or "interrupted")
        return 130
    except Terminated as end:
        complain(str(end) or "terminated; run the same command again to resume")
        return 143
    except Exception as error:
        if hasattr(error, "exit_code"):  # an interruption that has written its checkpoint
            return error.exit_code
        if is_out_of_memory(error):
            complain(memory_line())
            return 1
        complain(
            f"internal error (a bug in ufnrec-tf): {type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}; {_keep_traceback(argv)}"
        )
        return 1
    return 0
