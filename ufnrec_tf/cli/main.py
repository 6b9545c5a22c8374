"""The command line: reads the flags, runs the mode, returns the exit code."""

import difflib
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
from ufnrec_tf.cli.modes import FLAGS, MODES, Overrides, check_flags, unused_flags
from ufnrec_tf.common.compiled_programs import drop_programs
from ufnrec_tf.common.display import Display, set_quiet
from ufnrec_tf.common.errors import Terminated, UserError, end_at_once
from ufnrec_tf.common.hashes import set_verified
from ufnrec_tf.common.lookup import nearest
from ufnrec_tf.common.memory_errors import is_out_of_memory, memory_line
from ufnrec_tf.common.paths import expanded
from ufnrec_tf.common.progress import ProgressWatcher
from ufnrec_tf.common.streams import ScreenError, checked_screen, complain, drop_screen
from ufnrec_tf.common.text import program_name
from ufnrec_tf.common.version import versions_line
from ufnrec_tf.config import (
    DEMO_WORKDIR,
    check_value,
    did_you_mean,
    likely_names,
    named_settings,
    option_table,
    parse_text,
)
from ufnrec_tf.training.unused_settings import unused_line


def _define_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    for name, option in FLAGS.items():
        # Numbers are parsed as those of the configuration are.
        define = flags.DEFINE_bool if name in _SWITCHES else flags.DEFINE_string
        define(name, None, option.help, flag_values=values)
    return values


_SWITCHES = {
    form
    for name, option in FLAGS.items()
    if isinstance(option.default, bool)
    for form in (name, f"no{name}")
}
"""Flags that need no value."""
_HYPHENS = "-\u2010\u2011\u2012\u2013\u2014\u2212"
"""Hyphens, and the dashes that a text processor makes of them."""
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
        argument = _HELP_FORMS.get(argument, argument)
        name, equals, text = argument.removeprefix("-").removeprefix("-").partition("=")
        is_key = argument.startswith("--config.")
        if not is_key and not (argument.startswith("-") and name in {*FLAGS, *_SWITCHES}):
            raise _unknown_argument(argument, arguments)
        if name in _SWITCHES:
            is_on = parse_text(f"--{name}", text, True) if equals else True
            rest.append(f"--{name}" if is_on else f"--no{name}")
            continue
        if not equals:
            if not arguments or arguments[0].startswith("--"):
                topic = name.removeprefix("config.")
                raise UserError(f"--{name} needs a value: --{name}=VALUE (`--help={topic}`).")
            text = arguments.pop(0)
        if is_key:
            overrides.append((name.removeprefix("config."), text))
        else:
            rest.append(f"--{name}={text}")
    values(rest)
    for name, option in FLAGS.items():
        flag = values[name]
        if flag.value is None:
            flag.value = option.default
        elif name not in _SWITCHES:
            flag.value = parse_text(f"--{name}", flag.value, option.default)
        if option.is_path:
            flag.value = expanded(str(flag.value))
        check_value(f"--{name}", flag.value, option)
        if flag.present and flag.value == "":
            raise UserError(f"--{name}= is empty. Give a value (`--help={name}`), or leave it out.")
    return values, overrides


def _unknown_argument(argument: str, following: Sequence[str]) -> UserError:
    """Returns the UserError for an argument that is no flag, with the flag that it may mean.

    Args:
        argument: The argument.
        following: The arguments after it, of which the first may be its value.
    """
    word, equals, value = argument.partition("=")
    is_word = word[:1] not in _HYPHENS
    name = word.lstrip(_HYPHENS).lower().removeprefix("config.").replace("-", "_")
    if not is_word and not equals and following and following[0][:1] not in _HYPHENS:
        value = following[0]
    if is_word and not equals:
        meant = _meant_by_a_word(word)
    else:
        near = difflib.get_close_matches(name, FLAGS, n=1, cutoff=0.75)
        is_misspelt = bool(near) and name not in named_settings()
        meant = near if is_misspelt else [_as_flag(key, value) for key in likely_names(name)]
    return UserError(
        f"unknown flag {argument}.{did_you_mean(meant)} `--help` lists them.", exit_code=2
    )


def _as_flag(name: str, value: str) -> str:
    """Returns a key, or a flag that has its hyphens, as one types it with a value.

    A number of a device is no value of ours: that key comes with its own.
    """
    flag = name if name.startswith("--") else f"--config.{name}"
    return f"{flag}={value}" if value and "=" not in flag else flag


def _meant_by_a_word(word: str) -> list[str]:
    """Returns the flag that an argument without hyphens may mean: a mode, or a path."""
    if word == "help":
        return ["--help"]
    if os.path.exists(word):  # False for a word too long for a name
        return [f"--{'config' if Path(word).suffix == '.py' else 'data'}={word}"]
    return [f"--mode={mode}" for mode in difflib.get_close_matches(word, MODES, n=1, cutoff=0.75)]


def _run(argv: Sequence[str]) -> None:
    values, overrides = _parse(argv)
    mode = values.mode
    if values.help:
        pages = Pages(program_name(sys.argv[0]), modes=MODES, flags=FLAGS, table=option_table())
        print(pages.page(values.help, mode=mode if values["mode"].present else ""))
        return
    if values.version:
        print(versions_line())
        return
    if mode not in MODES:
        raise UserError(
            f"unknown --mode={mode}. Known: {', '.join(MODES)}.{nearest(mode, MODES)}", exit_code=2
        )
    check_flags(mode, values, overrides)
    set_quiet(values.quiet)
    set_verified(values.verify)
    Display().notes.block(unused_line(unused_flags(values, overrides)))
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
    workdir = os.path.expanduser(workdir)
    folder = Path(workdir) if Path(workdir).is_dir() else Path.cwd()
    path = folder / "error.log"
    try:
        path.write_text(text, encoding="utf-8")
    except OSError:
        return f"and its traceback could not be kept: {text}"
    return f"its traceback is in {path}"


_SMALLER = (
    " Or take a smaller training.batch_size, evaluation.batch_size, backbone.width, "
    "backbone.max_length, negatives.count or evaluation.sampled_negatives (`--help=KEY` explains "
    "them)."
)


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
            complain(memory_line(_SMALLER))
            return 1
        drop_programs()
        complain(
            f"internal error (a bug in ufnrec-tf): {type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}; {_keep_traceback(argv)}"
        )
        return 1
    return 0
