"""Settings by the size of a log: what is chosen, for whom, and what stays."""

import numpy as np
import pytest

from tests.helpers.runs import LIGHT, PLANTED, read, run
from ufnrec_tf.config import check_config, default_config, load_config, option_table
from ufnrec_tf.data.splits import leave_one_out
from ufnrec_tf.data.synthetic.planted import planted
from ufnrec_tf.data.windows import make_samples
from ufnrec_tf.training.build import check_backbone
from ufnrec_tf.training.recipe import (
    BY_SIZE,
    MOST_ITEMS_IN_FULL,
    LogSize,
    choose_settings,
    recipe_of,
)
from ufnrec_tf.training.settings_checks import check_settings

SIZES = {
    name: LogSize(users, items, events, windows, long)
    for name, users, items, events, windows, long in [
        ("small", 500, 300, 5_000, 500, 20),
        ("dense", 943, 1_682, 98_000, 2_500, 370),
        ("sparse", 22_363, 12_101, 154_000, 22_500, 18),
        ("long", 60_000, 12_101, 900_000, 60_500, 30),
        ("large", 500_000, MOST_ITEMS_IN_FULL + 1, 5_000_000, 600_000, 40),
    ]
}


@pytest.fixture(scope="module")
def split():
    return leave_one_out(planted(num_users=60, num_items=400, mean_length=50).interactions)


@pytest.mark.parametrize("name", list(SIZES))
def test_a_recipe_is_of_settings_that_exist_and_fit(name):
    config = default_config(option_table())
    values = recipe_of(SIZES[name])
    for key, value in values.items():
        section, _, setting = key.partition(".")
        config[section][setting] = value
    check_config(config, option_table())
    check_settings(config)
    loss = "sampled_softmax_logq" if name == "large" else "cross_entropy"
    assert values["loss.name"] == loss
    policy = "ufnrec_soft" if name in ("small", "sparse") else "plain"
    assert values["memory.policy"] == policy
    # About as many steps between two evaluations of a small log as an epoch of a larger one has.
    steps = -(-SIZES[name].num_windows // values["training.batch_size"])
    assert steps * values["evaluation.every"] >= 25 or steps >= 50


def test_the_size_is_that_of_the_train_events(split):
    size = LogSize.of(split)
    lengths = split.train_ends - split.interactions.offsets[:-1]
    assert size.num_users == (lengths > 0).sum() and size.num_items == 400
    assert np.mean(lengths[lengths > 0] <= size.long) >= 0.94
    windows = make_samples(split, max_length=50, windows="all")
    assert len(windows.users) == size.num_windows


def test_what_was_named_stays_and_the_rest_is_said(split):
    named = {"loss.name": "bce", "training.batch_size": "32"}
    config = load_config("", named.items())
    (line,) = choose_settings(config, split, named)
    assert (config.loss.name, config.training.batch_size) == ("bce", 32)
    assert config.backbone.variant == "corrected" and "backbone.dropout=0.4" in line
    assert "loss.name" not in line and "batch_size" not in line
    assert line.startswith("chosen for 60 users (95% have up to ") and " and 400 items: " in line


@pytest.mark.parametrize("name", ["gru4rec", "hstu"])
def test_a_network_keeps_the_settings_that_it_does_not_read(split, name):
    named = {"backbone.name": name}
    config = load_config("", named.items())
    choose_settings(config, split, named)
    check_backbone(config)
    assert config.backbone.width == 64 and config.loss.name == "cross_entropy"


@pytest.mark.parametrize(
    ("key", "policy"),
    [
        ("seed", "ufnrec_soft"),
        ("loss.name", "plain"),
        ("memory.patience", "ufnrec"),
        ("gate.epochs", "ufnrec"),
    ],
)
def test_who_names_a_loss_or_a_memory_gets_no_soft_labels(split, key, policy):
    config = load_config("", [])
    choose_settings(config, split, [key])
    assert config.memory.policy == policy


def test_the_keys_that_are_shown_are_those_that_depend_on_the_size():
    recipes = [recipe_of(size) for size in SIZES.values()]
    differ = {
        key
        for recipe in recipes
        for key in recipe
        if any(recipe[key] != other.get(key) for other in recipes)
    }
    assert differ == set(BY_SIZE)


@pytest.mark.parametrize("key", ["training.recipe=base", "training.warm_start=older"])
def test_nothing_is_chosen_for_base_and_for_a_warm_start(split, key):
    config = load_config("", [tuple(key.split("="))])
    before = config.to_json()
    assert choose_settings(config, split, ()) == []
    assert config.to_json() == before


@pytest.mark.usefixtures("without_graphs", "without_export")
def test_a_run_without_a_configuration_keeps_what_was_chosen(tmp_path, capsys):
    arguments = [*PLANTED, *LIGHT, f"--workdir={tmp_path}", "--config.memory.policy=plain"]
    arguments += ["--config.training.num_epochs=0"]
    assert run(*arguments) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "chosen for 60 users" in shown and "loss.name=cross_entropy" in shown
    config = read(tmp_path / "config.json")["config"]
    assert config["loss"]["name"] == "cross_entropy" and config["backbone"]["num_blocks"] == 0
    assert run(*arguments) == 0  # the same settings again: the finished run is shown
    assert "chosen for" in " ".join(capsys.readouterr().out.split())
