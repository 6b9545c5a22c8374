"""Tests of the configuration: defaults, files, overrides, and what is refused."""

import pytest

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.config import (
    MOST,
    as_json,
    configs_folder,
    default_config,
    load_config,
    option_table,
)

TABLE = option_table()
KEYS = [(section, key) for section, options in TABLE.items() for key in options]
SHIPPED = sorted(path.name for path in configs_folder().glob("*.py") if path.stem != "base")
CONTRACT = [
    "data.name",
    "data.format",
    "backbone.name",
    "backbone.width",
    "backbone.num_blocks",
    "backbone.num_heads",
    "backbone.dropout",
    "backbone.max_length",
    "loss.name",
    "negatives.count",
    "memory.policy",
    "memory.patience",
    "memory.slots",
    "teacher.decay",
    "teacher.weight",
    "teacher.always",
    "gate.kind",
    "gate.epochs",
    "optimizer.learning_rate",
    "training.batch_size",
    "training.num_epochs",
    "training.max_steps",
    "training.deterministic",
    "training.monitor",
    "evaluation.weights",
    "distribution.strategy",
    "comparison.arms",
]


def refuse(path, overrides, *words, code=1):
    with pytest.raises(UserError) as caught:
        load_config(str(path), overrides)
    assert caught.value.exit_code == code
    for word in words:
        assert word in str(caught.value)
    return str(caught.value)


def config_file(tmp_path, body, name="mine.py"):
    path = tmp_path / name
    path.write_text(body, encoding="utf-8")
    return path


@pytest.mark.parametrize(("section", "key"), KEYS)
def test_default_is_within_its_own_bounds_and_explained(section, key):
    option = TABLE[section][key]
    assert option.help.strip().endswith((".", "..."))
    assert type(option.default) in (bool, int, float, str, tuple)
    if option.choices:
        assert option.default in option.choices
    if option.minimum is not None:
        assert option.default >= option.minimum
    if option.maximum is not None:
        assert option.default <= option.maximum


def test_has_every_key_of_the_contract():
    known = {f"{section}.{key}" for section, key in KEYS}
    assert known >= set(CONTRACT)


def test_defaults_of_the_paper():
    config = default_config(TABLE)
    assert (config.negatives.count, config.memory.patience) == (100, 5)
    assert (config.teacher.decay, config.teacher.weight) == (0.999, 0.3)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configurations_load(name):
    config = load_config(f"configs/{name}", [])
    assert config.to_dict() != default_config(TABLE).to_dict()
    module_text = (configs_folder() / name).read_text(encoding="utf-8")
    assert f"--config=configs/{name}" in module_text or name == "demo.py"


def test_a_shipped_configuration_is_found_from_any_folder(tmp_path, monkeypatch):
    shipped = load_config(str(configs_folder() / "paper.py"), [])
    assert shipped.gate.kind == "plateau" != TABLE["gate"]["kind"].default
    monkeypatch.chdir(tmp_path)
    assert load_config("configs/paper.py", []).to_dict() == shipped.to_dict()
    (tmp_path / "configs").mkdir()
    own = "def configure(c):\n    c.backbone.width = 7\n"
    (tmp_path / "configs" / "paper.py").write_text(own, encoding="utf-8")
    assert load_config("configs/paper.py", []).backbone.width == 7  # the user's comes first


def test_an_older_name_of_a_value_is_the_present_one(tmp_path):
    path = config_file(tmp_path, "def configure(c):\n    c.memory.policy = 'keep'\n")
    assert load_config(str(path), []).memory.policy == "plain"
    config = load_config("", [("memory.policy", "keep"), ("data.repeats", "keep")])
    assert config == load_config("", [("memory.policy", "plain")])
    assert config.data.repeats == "keep"


def test_order_is_base_then_file_then_flags(tmp_path):
    path = config_file(
        tmp_path, "def configure(c):\n    c.backbone.width = 7\n    c.backbone.dropout = 0\n"
    )
    config = load_config(str(path), [("backbone.width", "9"), ("backbone.width", "11")])
    assert config.backbone.width == 11  # the last one counts
    assert config.backbone.dropout == 0.0
    assert config.backbone.num_blocks == TABLE["backbone"]["num_blocks"].default


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("backbone.width", "64", 64),
        ("backbone.dropout", "0", 0.0),
        ("optimizer.learning_rate", "1e-3", 0.001),
        ("teacher.always", "True", True),
        ("teacher.always", "false", False),
        ("data.name", "planted", "planted"),
        ("data.titles", "a=b.csv", "a=b.csv"),
        ("comparison.arms", "keep,replay", ("keep", "replay")),
        ("comparison.arms", "('keep')".replace("'", ""), ("keep",)),
        ("comparison.arms", "", ()),
        ("comparison.seeds", "3,1", (3, 1)),
        ("training.monitor", "", ""),
    ],
)
def test_overrides(key, text, value):
    section, _, name = key.partition(".")
    got = load_config("", [(key, text)])[section][name]
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("backbone.widht", "backbone.width"),
        ("bakbone.width", "backbone.width"),
        ("memory.polcy", "memory.policy"),
        ("width", "backbone.width"),
    ],
)
def test_unknown_key_is_exit_2_and_names_the_nearest(key, near):
    refuse("", [(key, "1")], f"--config.{key}", f"Did you mean '{near}'?", code=2)


def test_unknown_section_lists_the_sections():
    refuse("", [("zzz", "1")], "--config.zzz", "backbone", "training", code=2)


@pytest.mark.parametrize(
    ("key", "text", "noun"),
    [
        ("training.batch_size", "many", "a whole number"),
        ("training.batch_size", "1.5", "a whole number"),
        ("training.batch_size", "", "a whole number"),
        ("optimizer.learning_rate", "fast", "a number"),
        ("teacher.always", "maybe", "true or false"),
        ("training.batch_size", "-4", "at least 1"),
        ("training.batch_size", "0", "at least 1"),
        ("backbone.max_length", "0", "at least 1"),
        ("backbone.dropout", "1", "at most 0.99"),
        ("optimizer.learning_rate", "nan", "at least 0"),
        ("memory.slots", "70000", "at most 65536"),
        ("gate.kind", "platau", "Did you mean 'plateau'?"),
        ("data.format", "pears", "Did you mean 'pairs'?"),
    ],
)
def test_wrong_values(key, text, noun):
    refuse("", [(key, text)], key, noun, text)


def wrong_numbers(option):
    """Texts that are no value of a number's key, with a word of the answer."""
    kind = type(option.default)
    texts = {"": "number", "many": "number", "1,5": "number", "None": "number", "True": "number"}
    if option.or_text:
        texts = {}
    if kind is int:
        texts |= {"1.5": "whole number", "1e3": "whole number", "nan": "whole number"}
        texts |= {str(10**30): "at most", str((option.maximum or MOST) + 1): "at most"}
    else:
        texts |= dict.fromkeys(("nan", "inf", "-inf", "NaN", "1e999"), "finite")
        texts |= {} if option.maximum is None else {str(option.maximum + 0.01): "at most"}
    if option.minimum is not None:
        texts |= {str(option.minimum - 1): "at least"}
    return texts


NUMBERS = [key for key in KEYS if type(TABLE[key[0]][key[1]].default) in (int, float)]


@pytest.mark.parametrize(("section", "key"), NUMBERS)
def test_no_number_outside_its_bounds_is_taken(section, key):
    for text, word in wrong_numbers(TABLE[section][key]).items():
        refuse("", [(f"{section}.{key}", text)], f"{section}.{key}", word)


@pytest.mark.parametrize(
    ("text", "word"), [("0,-1", "at least 0"), ("0,x", "whole"), (f"{2**32}", "at most")]
)
def test_no_part_of_a_list_outside_its_bounds_is_taken(text, word):
    refuse("", [("comparison.seeds", text)], "comparison.seeds", word, text.partition(",")[2])


@pytest.mark.parametrize(
    ("text", "value"), [("1,5", (1, 5)), ("(1, 5)", (1, 5)), ("[1,5,]", (1, 5))]
)
def test_a_list_may_stand_in_brackets(text, value):
    assert load_config("", [("comparison.seeds", text)]).comparison.seeds == value


def test_the_parts_of_a_file_s_list_have_its_type(tmp_path):
    body = "def configure(c):\n    c.comparison.seeds = (0.5,)\n"
    refuse(config_file(tmp_path, body), [], "comparison.seeds", "whole numbers", "0.5")
    body = "def configure(c):\n    c.comparison.arms = (1,)\n"
    refuse(config_file(tmp_path, body), [], "comparison.arms", "texts", "1")


def test_missing_file_lists_the_shipped_ones_and_the_nearest():
    refuse("configs/papr.py", [], "configs/papr.py", "configs/demo.py", "Did you mean 'paper'?")


@pytest.mark.parametrize(
    ("body", "words", "code"),
    [
        ("x = 1\n", ["configure(config)"], 1),
        ("\ndef configure(c) pass\n", ["line 2", "SyntaxError"], 1),
        ("import nowhere_at_all\n", ["line 1", "nowhere_at_all"], 1),
        ("def configure(c):\n    1 / 0\n", ["line 2", "ZeroDivisionError"], 1),
        ("def configure(c):\n    c.backbone.width = '8'\n", ["line 2", "width", "TypeError"], 1),
        ("def configure(c):\n    c.backbone.width = None\n", ["backbone.width", "int"], 1),
        ("def configure(c):\n    c.memory = 1\n", ["line 2", "memory"], 1),
        ("def configure(c):\n    c.training.batch_size = 0\n", ["at least 1"], 1),
        ("def configure(c):\n    c.memory.polcy = 'plain'\n", ["line 2", "'policy'"], 2),
        ("def configure(c):\n    c.memry.policy = 'plain'\n", ["line 2", "'memory'"], 2),
        ("def configure(c):\n    print(c.gate.kid)\n", ["line 2", "'kind'"], 2),
        ("def configure(c):\n    c['gate']['kid'] = 1\n", ["line 2", "'kind'"], 2),
    ],
)
def test_broken_files_name_the_file_the_line_and_the_reason(tmp_path, body, words, code):
    path = config_file(tmp_path, body)
    message = refuse(path, [], "mine.py", *words, code=code)
    assert "\n" not in message


def test_a_file_that_is_no_python_is_refused(tmp_path):
    refuse(config_file(tmp_path, "width: 8\n", "mine.yaml"), [], "mine.yaml", ".py")


def test_the_configuration_survives_json():
    config = load_config("configs/demo.py", [])
    plain = as_json(config)
    assert plain["comparison"]["arms"] == list(config.comparison.arms)
    assert {section: set(keys) for section, keys in plain.items()} == {
        section: set(options) for section, options in TABLE.items()
    }
