"""The pages of --help, made from the tables of modes, flags and configuration keys."""

import shutil
import textwrap
from collections.abc import Mapping

from ufnrec_tf.cli.modes import ALL_SECTIONS, Mode
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.lookup import nearest
from ufnrec_tf.config import Option, Table, did_you_mean, named_settings

SHORT, ALL = "short", "all"
EXAMPLES = ("inspect", "train", "recommend")
"""Modes whose examples are on the short page."""
MOST_USED = (
    "backbone.name",
    "loss.name",
    "negatives.count",
    "memory.policy",
    "memory.patience",
    "optimizer.learning_rate",
    "training.num_epochs",
)
"""Keys that are on the short page."""
WIDEST = 100
_LONGEST_CHOICES = 50
"""Characters of the choices that stand in one word."""
PAPER = "Paper: "
"""Begins the last sentence of a help text: the paper's symbol of the key."""


class Pages:
    """The pages of help, as wide as the terminal.

    Args:
        program: The name by which the user calls the program, such as `python main.py`.
        modes: Name to mode, in the order of use.
        flags: Name to flag.
        table: The keys of the configuration.
    """

    def __init__(
        self,
        program: str,
        *,
        modes: Mapping[str, Mode],
        flags: Mapping[str, Option],
        table: Table,
    ) -> None:
        self.program, self.modes, self.flags, self.table = program, modes, flags, table
        columns = shutil.get_terminal_size((WIDEST, 24)).columns
        self._width = max(60, min(WIDEST, columns))

    def page(self, topic: str, *, mode: str = "") -> str:
        """Returns the page about a topic.

        Args:
            topic: `short`, `all`, a section, a key (with or without its section), a flag or a mode.
            mode: The mode that stands beside `--help`: the page is then about that mode.

        Raises:
            UserError: For an unknown topic (exit code 2), with the nearest known one.
        """
        topic = topic.lstrip("-").removeprefix("config.").removeprefix("mode=").rstrip("=")
        if topic in ("", SHORT):
            return "\n".join(self._mode(mode) if mode in self.modes else self._short())
        if topic == ALL:
            return "\n".join(self._all())
        keys = {
            f"config.{section}.{key}": option
            for section, options in self.table.items()
            for key, option in options.items()
            if topic in (f"{section}.{key}", key)
        }
        parts = [
            self._mode(topic) if topic in self.modes else [],
            self._flag(topic) if topic in self.flags else [],
            self._section(topic) if topic in self.table else [],
            *(self._option(name, option, allowed=True) for name, option in keys.items()),
        ]
        if not any(parts):
            raise self._unknown(topic)
        return "\n\n".join("\n".join(part) for part in parts if part)

    def _short(self) -> list[str]:
        num_keys = sum(map(len, self.table.values()))
        return [
            *self._usage(),
            *self._first_sentences(self.flags),
            "",
            *self._wrapped(
                f"keys of the configuration most often set (of {num_keys}; configs/base.py < the "
                "--config file < these)"
            ),
            *self._first_sentences({f"config.{key}": self._key(key) for key in MOST_USED}),
            "",
            "examples",
            *(f"  {self._example(mode)}" for mode in EXAMPLES if mode in self.modes),
            "",
            *self._wrapped(
                "more: --help=all (everything), --help=MODE, --help=FLAG, --help=memory.patience "
                f"(one key), --help=SECTION: {', '.join(self.table)}"
            ),
        ]

    def _all(self) -> list[str]:
        lines = self._usage()
        for name, option in self.flags.items():
            lines += self._option(name, option, indent=2)
        lines += ["", *self._wrapped("configuration: configs/base.py < the --config file < these")]
        for section in self.table:
            lines += ["", *self._section(section)]
        return lines

    def _usage(self) -> list[str]:
        lines = [
            *textwrap.wrap(
                f"usage: {self.program} [--mode=MODE] [--FLAG=VALUE ...] "
                "[--config.SECTION.KEY=VALUE ...]",
                self._width,
                subsequent_indent=" " * 7,
                break_on_hyphens=False,
            ),
            "",
            *self._wrapped("modes, in the order of use, with the flags that each takes (* needed)"),
        ]
        for name, mode in self.modes.items():
            text = _first_sentence(mode.text)
            names = [f"--{need}*" for need in mode.needs]
            names += [self._short_head(flag) for flag in mode.takes]
            line = f"  {name:10} {text}  {' '.join(names)}"
            if len(line) <= self._width:
                lines.append(line)
            else:
                lines += self._wrapped(f"{name:10} {text}", indent=2)
                lines += self._wrapped(" ".join(names), indent=15)
        return [*lines, "", "flags"]

    def _short_head(self, name: str) -> str:
        """Returns a flag that only one mode takes with its default, any other without."""
        is_own = len(self._takers(name)) == 1 and self.flags[name].default
        return _head(name, self.flags[name]) if is_own else f"--{name}"

    def _mode(self, name: str) -> list[str]:
        mode = self.modes[name]
        lines = self._wrapped(f"--mode={name}: {mode.text}")
        lines += ["", f"  {self._example(name)}", "", "flags"]
        taken = {flag: self.flags[flag] for flag in (*mode.needs, *mode.takes)}
        needed = dict.fromkeys(mode.needs, " Needed.")
        lines += self._entries(
            {_head(flag, o): o.help + needed.get(flag, "") for flag, o in taken.items()}
        )
        if mode.sections == ALL_SECTIONS:
            text = (
                f"configuration: all of {', '.join(self.table)}; --help=SECTION explains its keys"
            )
            return [*lines, "", *self._wrapped(text)]
        for section in mode.sections:
            lines += ["", *self._section(section)]
        if mode.keys:
            lines += ["", "configuration"]
            for key in mode.keys:
                section, _, name = key.partition(".")
                lines += self._option(f"config.{key}", self.table[section][name], indent=2)
        return lines

    def _flag(self, name: str) -> list[str]:
        lines = self._option(name, self.flags[name], allowed=True)
        takers = self._takers(name)
        return [*lines, *self._wrapped(f"modes: {', '.join(takers)}", 4)] if takers else lines

    def _takers(self, name: str) -> list[str]:
        """Returns the modes that take a flag."""
        return [mode for mode, use in self.modes.items() if name in (*use.needs, *use.takes)]

    def _section(self, section: str) -> list[str]:
        lines = [f"section {section}"]
        for key, option in self.table[section].items():
            lines += self._option(f"config.{section}.{key}", option, indent=2)
        return lines

    def _option(
        self, name: str, option: Option, *, indent: int = 0, allowed: bool = False
    ) -> list[str]:
        """Returns a flag or key with its default, and below it what it does."""
        joined = "|".join(option.choices)
        if len(joined) > _LONGEST_CHOICES:  # such a word would not be broken
            joined = ", ".join(option.choices)
        choices = f" [{joined}]" if joined else ""
        lines = [" " * indent + _head(name, option)]
        lines += self._wrapped(option.help + choices, indent + 4)
        return [*lines, f"{'':{indent + 4}}{_allowed_values(option)}"] if allowed else lines

    def _entries(self, texts: Mapping[str, str]) -> list[str]:
        """Returns heads in one column and their texts in another."""
        column = max(map(len, texts), default=0) + 4
        lines = []
        for head, text in texts.items():
            first, *rest = self._wrapped(text, column) or [""]
            lines += [f"  {head}".ljust(column) + first[column:], *rest]
        return lines

    def _wrapped(self, text: str, indent: int = 0) -> list[str]:
        space = " " * indent
        return textwrap.wrap(
            text,
            self._width,
            initial_indent=space,
            subsequent_indent=space,
            break_long_words=False,
            break_on_hyphens=False,
        )

    def _first_sentences(self, options: Mapping[str, Option]) -> list[str]:
        return self._entries(
            {
                _head(name, option): _first_sentence(option.help) + _paper_symbol(option)
                for name, option in options.items()
            }
        )

    def _key(self, key: str) -> Option:
        section, _, name = key.partition(".")
        return self.table[section][name]

    def _example(self, mode: str) -> str:
        return f"{self.program} --mode={mode} {self.modes[mode].example}"

    def _unknown(self, topic: str) -> UserError:
        keys = [f"{section}.{key}" for section, options in self.table.items() for key in options]
        names = [key for options in self.table.values() for key in options]
        known = [*self.modes, *self.flags, *self.table, *keys, *names]
        meant = did_you_mean(named_settings().get(topic, ())) or nearest(topic, known)
        return UserError(
            f"--help={topic}: no such topic.{meant} Topics are the modes "
            f"({', '.join(self.modes)}), the flags, the sections of the configuration "
            f"({', '.join(self.table)}), keys such as memory.patience, and all.",
            exit_code=2,
        )


def _head(name: str, option: Option) -> str:
    """Returns a flag or key with its default, as one types it."""
    value = option.default
    if isinstance(value, tuple):
        value = ",".join(map(str, value))
    return f"--{name}={str(value).lower() if isinstance(value, bool) else value}"


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].rstrip(".") + "."


def _paper_symbol(option: Option) -> str:
    """Returns the paper's symbol of a key, which its help ends with, or an empty text."""
    _, paper, symbol = option.help.partition(PAPER)
    return f" {paper}{symbol}" if paper else ""


def _allowed_values(option: Option) -> str:
    """Returns the type and bounds of a key in words."""
    types = {bool: "true or false", int: "whole number", float: "number", str: "text"}
    words = [types.get(type(option.default), "a list, separated by commas")]
    if option.minimum is not None:
        words.append(f"at least {option.minimum}")
    if option.maximum is not None:
        words.append(f"at most {option.maximum}")
    return ", ".join(words)
