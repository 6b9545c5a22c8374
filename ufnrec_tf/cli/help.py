"""--help, from that table and the table of keys."""

import shutil
import textwrap
from collections.abc import Mapping
from typing import NamedTuple

from absl import flags

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.common.lookup import nearest
from ufnrec_tf.config import Option, Table, help_lines

NEEDED = "*"
"""Ends the name of a flag that a mode cannot do without."""


class Use(NamedTuple):
    """How a mode is used.

    Attributes:
        text: What it does, in so few words that they fit on a line with its flags.
        flags: The flags it takes, `*` behind those it needs; its own come by their help, which
            begins with the mode's name and a colon.
        sections: Sections of the configuration that it reads; `*` for all.
        example: Its arguments, as one would type them.
    """

    text: str
    flags: tuple[str, ...]
    sections: tuple[str, ...] = ()
    example: str = ""


USES = {
    "inspect": Use(
        "look at a log: problems first, and what mends them",
        ("data*", "config", "output"),
        ("data", "split"),
        "--data=events.csv",
    ),
    "prepare": Use(
        "turn a log of any size into a folder of files",
        ("data*", "workdir*"),
        ("data",),
        "--data=events.csv --workdir=prepared",
    ),
    "train": Use(
        "from a log to a scored and exported model",
        ("data", "config", "workdir", "seed"),
        ("*",),
        "--data=events.csv --workdir=runs/mine",
    ),
    "evaluate": Use(
        "score a trained run again",
        ("workdir*", "data"),
        ("evaluation", "export"),
        "--workdir=runs/mine --config.evaluation.mask=train",
    ),
    "compare": Use(
        "arms x seeds, tested, in one report",
        ("data", "config", "workdir"),
        ("*",),
        "--config=configs/compare_demo.py --workdir=runs/compared",
    ),
    "sweep": Use(
        "search good settings, by validation alone",
        ("data", "config", "workdir", "seed"),
        ("*",),
        "--config=configs/sweep_demo.py --workdir=runs/sweep",
    ),
    "report": Use("one page about a run", ("workdir*", "data"), (), "--workdir=runs/mine"),
    "recommend": Use(
        "lists for a file of histories",
        ("workdir*", "histories*", "output*", "data"),
        (),
        "--workdir=runs/mine --histories=histories.txt --output=out.csv",
    ),
    "export": Use(
        "write the SavedModel again",
        ("workdir*", "data"),
        ("export", "evaluation"),
        "--workdir=runs/mine",
    ),
    "serve": Use(
        "a local server of the model", ("workdir", "data"), ("serving",), "--workdir=runs/mine"
    ),
}
"""Mode -> how it is used, in the order of use: a mode that is added gets its line here."""

EXAMPLES = ("inspect", "train", "recommend")
"""Modes whose examples the short page shows."""

MOST_USED = {
    "backbone.name": "sasrec, gru4rec, fmlp, bsarec, hstu, or your own.",
    "backbone.max_length": "Newest items of a history that are read.",
    "loss.name": "pooled_bce (authors), cross_entropy and others.",
    "negatives.count": "Negatives a position.",
    "memory.policy": "plain (without a memory), ufnrec, ufnrec_safe and others.",
    "memory.patience": "A negative shown more often than this is ripe.",
    "optimizer.learning_rate": "Adam's rate.",
    "training.num_epochs": "Epochs at most.",
}
"""Keys that the short page explains, in so few words that they fit on a line."""

WIDTH = 100
SHORT, ALL = "short", "all"
LAST_FLAGS = ("quiet", "help")
"""Flags that the short page lists below the others."""


class Pages:
    """The pages of help.

    Args:
        program: How the program is called, such as `python main.py`.
        modes: Mode -> what it does.
        values: The defined flags.
        table: The keys of the configuration.

    Attributes:
        modes: As given, in the order of use.
        defined: Name -> flag, without short names.
        table: As given.
    """

    def __init__(
        self, program: str, modes: Mapping[str, str], *, values: flags.FlagValues, table: Table
    ) -> None:
        self.program = program
        self.table = table
        self.modes = {name: modes[name] for name in [*USES, *modes] if name in modes}
        self.defined = {name: values[name] for name in values if values[name].name == name}
        self._width = max(60, min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns))

    def page(self, topic: str, *, mode: str = "") -> str:
        """Returns the page about a topic.

        Args:
            topic: `short`, `all`, a section, a key (with or without its section), a flag or a mode.
            mode: The mode named beside `--help`, which the short page then is about.

        Raises:
            UserError: For an unknown topic (exit code 2), with the nearest known ones.
        """
        topic = topic.lstrip("-").removeprefix("config.").removeprefix("mode=").rstrip("=")
        if topic in ("", SHORT):
            return self._joined(self._mode(mode) if mode in self.modes else self._short())
        if topic == ALL:
            return self._joined(self._all())
        parts = [
            self._mode(topic) if topic in self.modes else [],
            self._flag(topic) if topic in self.defined else [],
            help_lines({topic: self.table[topic]}) if topic in self.table else [],
            *(self._key(section, key) for section, key in self._keys_called(topic)),
        ]
        lines = [line for part in parts if part for line in ["", *part]]
        if not lines:
            raise self._unknown(topic)
        return self._joined(lines)

    def _joined(self, lines: list[str]) -> str:
        """Returns the page, its lines broken where they are too long."""
        every = "\n".join(lines).strip("\n").split("\n")
        return "\n".join(line for text in every for line in self._fitted(text))

    def flags_of(self, mode: str) -> list[str]:
        """Returns the names of the flags that a mode takes, `*` behind those it needs."""
        uses = USES[mode].flags if mode in USES else ()
        shared = [name for name in uses if name.rstrip(NEEDED) in self.defined]
        named = {name.rstrip(NEEDED) for name in shared}
        own = [n for n, flag in self.defined.items() if mode in self._modes_named_by(flag)]
        return [*shared, *(name for name in own if name not in named)]

    def _modes_named_by(self, flag: flags.Flag) -> list[str]:
        """Returns the modes before the colon that the help of a mode's own flag begins with."""
        names, colon, _ = (flag.help or "").partition(":")
        modes = [name.strip() for name in names.split(",")]
        return modes if colon and set(modes) <= set(self.modes) else []

    def _short(self) -> list[str]:
        lines = [
            f"usage: {self.program} [--mode=MODE] [--data=FILE] [--workdir=DIR] "
            "[--config.SECTION.KEY=VALUE]",
            "",
            f"modes, in the order of use, with the flags each takes ({NEEDED} needed)",
        ]
        for mode, text in self.modes.items():
            names = " ".join(self._short_flag(name) for name in self.flags_of(mode))
            lines += self._entry(mode, USES[mode].text if mode in USES else text, names)
        lines += ["", "flags of several modes"]
        shared = [n for n, flag in self.defined.items() if not self._modes_named_by(flag)]
        for name in sorted(shared, key=lambda name: name in LAST_FLAGS):
            flag = self.defined[name]
            lines += self._wrapped(f"--{name}={_text(flag.default)}", flag.help or "", 20)
        lines += ["", "keys of the configuration most often set (of "]
        count = sum(map(len, self.table.values()))
        lines[-1] += f"{count}; configs/base.py < the --config file < these)"
        for key, text in MOST_USED.items():
            section, _, name = key.partition(".")
            option = self.table[section][name]
            head = f"--config.{key}={_text(option.default)}"
            lines += self._wrapped(head, text + _paper(option), 39)
        lines += ["", "examples"]
        for mode in EXAMPLES:
            if mode in self.modes:
                lines.append(f"  {self._example(mode)}")
        lines += [
            "",
            "more: --help=all (every key), --help=MODE, --help=memory.patience (one key)",
            f"      --help=SECTION: {', '.join(self.table)}",
        ]
        return lines

    def _fitted(self, line: str) -> list[str]:
        indent = " " * (len(line) - len(line.lstrip()))
        if len(line) <= self._width:
            return [line]
        return textwrap.wrap(
            line.lstrip(), self._width, initial_indent=indent, subsequent_indent=indent
        )

    def _entry(self, mode: str, text: str, names: str) -> list[str]:
        """Returns a mode's line, or two where text and flags do not fit on one."""
        if len(text) + len(names) + 16 <= self._width:
            return [f"  {mode:10} {text}  {names}"]
        return [f"  {mode:10} {text}", f"{'':13}  {names}"]

    def _short_flag(self, name: str) -> str:
        flag = self.defined[name.rstrip(NEEDED)]
        default = f"={_text(flag.default)}" if self._modes_named_by(flag) and flag.default else ""
        return f"--{name}{default}"

    def _wrapped(self, head: str, text: str, column: int) -> list[str]:
        """Returns `head` and, from a column on, its text."""
        indent = " " * (column + 2)
        lines = textwrap.wrap(text, self._width - column - 2) or [""]
        if len(head) >= column:
            return [f"  {head}", *(f"{indent}{line}" for line in lines)]
        return [f"  {head:{column}}{lines[0]}", *(f"{indent}{line}" for line in lines[1:])]

    def _example(self, mode: str) -> str:
        return f"{self.program} --mode={mode} {USES[mode].example if mode in USES else ''}".rstrip()

    def _mode(self, mode: str) -> list[str]:
        lines = [f"--mode={mode}: {self.modes[mode]}", "", f"  {self._example(mode)}", "", "flags"]
        for name in self.flags_of(mode):
            plain = name.rstrip(NEEDED)
            needed = " Needed." if name.endswith(NEEDED) else ""
            lines += self._wrapped(
                f"--{plain}={_text(self.defined[plain].default)}",
                self._own_words(plain) + needed,
                20,
            )
        sections = USES[mode].sections if mode in USES else ("*",)
        if sections == ("*",):
            lines += ["", f"configuration: all of {', '.join(self.table)}; --help=SECTION has each"]
        elif sections:
            lines += ["", "configuration"]
            lines += help_lines({name: self.table[name] for name in sections if name in self.table})
        return lines

    def _own_words(self, name: str) -> str:
        flag = self.defined[name]
        text = flag.help or ""
        return text.partition(":")[2].strip() if self._modes_named_by(flag) else text

    def _flag(self, name: str) -> list[str]:
        flag = self.defined[name]
        takers = [m for m in self.modes if name in (f.rstrip(NEEDED) for f in self.flags_of(m))]
        lines = [f"--{name}={_text(flag.default)}", f"    {flag.help}"]
        return [*lines, f"    modes: {', '.join(takers)}"] if takers else lines

    def _keys_called(self, topic: str) -> list[tuple[str, str]]:
        """Returns (section, key) of the keys that a topic names, by the key alone perhaps."""
        return [
            (section, key)
            for section, options in self.table.items()
            for key in options
            if topic in (f"{section}.{key}", key)
        ]

    def _key(self, section: str, key: str) -> list[str]:
        option = self.table[section][key]
        lines = help_lines({section: {key: option}})[1:]
        return [*(line[4:] for line in lines[0].split("\n")), f"    {_allowed(option)}"]

    def _all(self) -> list[str]:
        lines = [f"usage: {self.program} [--FLAG=VALUE ...] [--config.SECTION.KEY=VALUE ...]", ""]
        lines.append(f"modes, with the flags each takes ({NEEDED} needed)")
        for mode, text in self.modes.items():
            lines += self._entry(mode, text, " ".join(f"--{n}" for n in self.flags_of(mode)))
        lines.append("\nflags")
        for name in sorted(self.defined):
            flag = self.defined[name]
            lines.append(f"  --{name}={_text(flag.default)}\n        {flag.help}")
        lines.append("\nconfiguration: configs/base.py < the --config file < these flags")
        return [*lines, *help_lines(self.table)]

    def _unknown(self, topic: str) -> UserError:
        keys = [f"{section}.{key}" for section, options in self.table.items() for key in options]
        alone = [key for options in self.table.values() for key in options]
        known = [*self.modes, *self.defined, *self.table, *keys, *alone]
        return UserError(
            f"--help={topic}: no such topic.{nearest(topic, known)} Topics are the modes "
            f"({', '.join(self.modes)}), the flags, the sections of the configuration "
            f"({', '.join(self.table)}), keys such as memory.patience, and all.",
            exit_code=2,
        )


def _text(value: object) -> str:
    """Returns a default as it is typed."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _paper(option: Option) -> str:
    """Returns the paper's symbol of a key, as its help ends with it."""
    _, paper, symbol = option.help.partition("Paper: ")
    return f" {paper}{symbol}" if paper else ""


def _allowed(option: Option) -> str:
    """Returns what a key takes, in words."""
    kinds = {bool: "true or false", int: "whole number", float: "number", str: "text"}
    words = [kinds.get(type(option.default), "a list, by commas")]
    if option.minimum is not None:
        words.append(f"at least {option.minimum}")
    if option.maximum is not None:
        words.append(f"at most {option.maximum}")
    return ", ".join(words)
