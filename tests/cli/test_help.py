"""Tests of the pages of help: short enough, whole, and made of the tables of the program."""

import pytest

from tests.helpers.runs import run
from ufnrec_tf.cli import main
from ufnrec_tf.cli.help import MOST_USED, USES, Pages
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.config import Option, option_table

TABLE = option_table()


@pytest.fixture
def shown(capsys, monkeypatch):
    """Runs the command line and returns what it printed; it must have been well."""
    monkeypatch.setenv("COLUMNS", "100")  # pytest-xdist says 80

    def show(*arguments, code=0):
        assert run(*arguments) == code
        screen = capsys.readouterr()
        return screen.out if code == 0 else screen.err

    return show


def test_short_page_is_short_and_names_every_mode_and_flag_with_its_default(shown):
    text = shown("--help")
    lines = text.splitlines()
    assert len(lines) <= 48
    assert max(map(len, lines)) <= 100
    for mode in main.MODES:
        assert any(line.startswith(f"  {mode} ") for line in lines), mode
    values = main._define_flags()
    for name in values:
        assert f"--{values[name].name}" in text
    assert "--top_k=10" in text
    assert "--seed=0" in text
    assert "  --config.negatives.count=100           Negatives a position. Paper: N." in lines
    assert shown("-h") == text


def test_modes_stand_in_the_order_of_use(shown):
    lines = shown("--help").splitlines()
    begins = [line for line in lines if line[:2] == "  " and line[2:3].strip()]
    names = [line.split()[0] for line in begins if line.split()[0] in USES]
    assert names == [mode for mode in USES if mode in names]
    assert set(names) == set(main.MODES)


def test_every_mode_has_its_line_in_the_table():
    assert set(main.MODES) <= set(USES)
    defined = set(main._define_flags())
    for mode in main.MODES:
        assert {name.rstrip("*") for name in USES[mode].flags} <= defined, mode
    for key in MOST_USED:
        section, _, name = key.partition(".")
        assert name in TABLE[section]


def test_whole_page_has_every_key_with_default_and_symbol(shown):
    text = shown("--help=all")
    for section, options in TABLE.items():
        for key in options:
            assert f"--config.{section}.{key}=" in text
    assert text.count("Paper: ") == sum(
        "Paper: " in o.help for s in TABLE.values() for o in s.values()
    )
    assert shown("--helpfull") == text
    assert max(map(len, text.splitlines())) <= 100


def test_page_of_a_section_has_its_keys_alone(shown):
    text = shown("--help=memory")
    assert "--config.memory.policy=ufnrec" in text
    assert "--config.memory.slots=16" in text
    assert "--config.gate." not in text


def test_page_of_a_key(shown):
    assert shown("--help=memory.patience") == (
        "--config.memory.patience=5\n"
        "    A negative shown more often than this is ripe. Paper: m.\n"
        "    whole number, at least 0\n"
    )
    assert shown("--help=--config.memory.patience") == shown("--help=memory.patience")
    text = shown("--help=patience")
    for key in ("memory.patience", "gate.patience", "training.patience"):
        assert f"--config.{key}=" in text


def test_page_of_a_mode_has_its_flags_and_sections(shown):
    text = shown("--mode=recommend", "--help")
    assert "--histories=        a log in any form that --data takes" in text
    assert "--top_k=10          items a history." in text
    assert "--split" not in text
    assert "--config." not in text
    assert shown("--help=recommend") == text
    assert "--config.evaluation.mask=seen" in shown("--mode=evaluate", "-h")


def test_topic_that_is_a_flag_and_a_section_shows_both(shown):
    text = shown("--help=data")
    assert "--data=\n" in text
    assert "--config.data.format=auto" in text
    assert "modes: " in shown("--help=top_k")


@pytest.mark.parametrize(
    ("topic", "near"),
    [("memory.polcy", "memory.policy"), ("trian", "train"), ("optimzer", "optimizer")],
)
def test_unknown_topic_names_the_nearest(shown, topic, near):
    text = shown(f"--help={topic}", code=2)
    assert f"Did you mean '{near}'?" in text
    assert len(text.splitlines()) == 1


def test_what_is_added_to_the_tables_appears_by_itself():
    from absl import flags

    values = flags.FlagValues()
    flags.DEFINE_string("workdir", "", "Where.", flag_values=values)
    flags.DEFINE_integer("port", 8501, "dance, train: the port.", flag_values=values)
    table = {**TABLE, "dancing": {"steps": Option(3, "Steps. Paper: s.", minimum=1)}}
    modes = {"train": "learn", "dance": "move about"}
    pages = Pages("ufnrec", modes, values=values, table=table)
    assert pages.flags_of("dance") == ["port"]
    assert "  dance      move about  --port=8501" in pages.page("short").splitlines()
    assert "--config.dancing.steps=3\n    Steps. Paper: s.\n    whole number" in pages.page("steps")
    with pytest.raises(UserError, match="dancing"):
        pages.page("nothing like it")
