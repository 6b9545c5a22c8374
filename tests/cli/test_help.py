"""Tests of the pages of help: short enough, whole, and made of the tables of the program."""

import re

import pytest

from tests.helpers.runs import run
from ufnrec_tf.cli.help import MOST_USED, Pages
from ufnrec_tf.cli.modes import COMMON_FLAGS, FLAGS, MODES, Mode
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
    assert len(lines) <= 46 + len(MODES)  # 21 of them flags
    assert max(map(len, lines)) <= 100
    for mode in MODES:
        assert any(line.startswith(f"  {mode} ") for line in lines), mode
    for name in FLAGS:
        assert f"  --{name}=" in text
    assert "--top_k=10" in text
    assert "--seed=0" in text
    assert (
        "  --config.negatives.count=100            Negatives for each position. Paper: N." in lines
    )
    assert shown("-h") == text


def test_versions(shown):
    text = shown("--version")
    assert re.fullmatch(r"ufnrec-tf \S+, Python 3\.\S+, TensorFlow 2\S+, Keras 3\S+\n", text)


def test_modes_stand_in_the_order_of_use(shown):
    lines = shown("--help").splitlines()
    begins = [line for line in lines if line[:2] == "  " and line[2:3].strip()]
    names = [line.split()[0] for line in begins if line.split()[0] in MODES]
    assert names == list(MODES)


def test_the_table_of_modes_is_whole():
    taken = set(COMMON_FLAGS)
    for name, mode in MODES.items():
        flags = {*mode.needs, *mode.takes}
        assert flags <= set(FLAGS), name
        assert set(mode.sections) <= {"*", *TABLE}, name
        assert set(re.findall(r"--(\w+)=", mode.example)) >= set(mode.needs), name
        taken |= flags
    assert taken == set(FLAGS)
    for key in MOST_USED:
        section, _, name = key.partition(".")
        assert name in TABLE[section]


def test_whole_page_has_every_key_with_default_and_symbol(shown):
    text = shown("--help=all")
    for section, options in TABLE.items():
        for key in options:
            assert f"--config.{section}.{key}=" in text
    assert "--config.backbone.width=50\n" in text
    assert "[plateau|validation|epochs|never]" in " ".join(text.split())
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
        "    A negative shown more often is a suspect. Paper: m.\n"
        "    whole number, at least 0\n"
    )
    assert shown("--help=--config.memory.patience") == shown("--help=memory.patience")
    text = shown("--help=patience")
    for key in ("memory.patience", "gate.patience", "training.patience"):
        assert f"--config.{key}=" in text


def test_page_of_a_mode_has_its_flags_and_sections(shown):
    text = shown("--mode=recommend", "--help")
    assert (
        "  --histories=     Log in any form that --data takes, or file with one history a" in text
    )
    assert "  --top_k=10       Recommended items for each history." in text
    assert "Needed." in text
    assert "--split" not in text
    assert "--config.data.min_rating" in text
    assert "--config.data.titles" not in text
    assert shown("--help=recommend") == text
    assert "--config.evaluation.mask=seen" in shown("--mode=evaluate", "-h")


def test_topic_that_is_a_flag_and_a_section_shows_both(shown):
    text = shown("--help=data")
    assert "--data=\n" in text
    assert "--config.data.format=auto" in text
    assert "modes: " in shown("--help=top_k")


@pytest.mark.parametrize(
    ("topic", "near"),
    [
        ("memory.polcy", "memory.policy"),
        ("trian", "train"),
        ("optimzer", "optimizer"),
        ("lr", "optimizer.learning_rate"),
    ],
)
def test_unknown_topic_names_the_nearest(shown, topic, near):
    text = shown(f"--help={topic}", code=2)
    assert f"Did you mean '{near}'?" in text
    assert len(text.splitlines()) == 1


def test_what_is_added_to_the_tables_appears_by_itself():
    table = {**TABLE, "dancing": {"steps": Option(3, "Steps. Paper: s.", minimum=1)}}
    mode = Mode("Move about. Twice.", print, "--port=1", takes=("port",), sections=("dancing",))
    flags = {"port": Option(8501, "The port. Or 0.")}
    pages = Pages("ufnrec", modes={"dance": mode}, flags=flags, table=table)
    lines = pages.page("short").splitlines()
    assert "  dance      Move about.  --port=8501" in lines
    assert "  --port=8501  The port." in lines
    assert "--config.dancing.steps=3\n    Steps. Paper: s.\n    whole number" in pages.page("steps")
    page = pages.page("dance")
    assert page.startswith("--mode=dance: Move about. Twice.\n\n  ufnrec --mode=dance --port=1\n")
    assert "--config.dancing.steps=3" in page
    with pytest.raises(UserError, match="dancing"):
        pages.page("nothing like it")


@pytest.mark.parametrize("width", [60, 80, 100])
def test_pages_fit_the_terminal(shown, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    for topic in ("all", *MODES, "short"):
        for line in shown(f"--help={topic}").splitlines():
            # An example is one line, to be copied; a name is never broken.
            assert len(line) <= width or "main.py" in line or " " not in line.strip(), line
