"""Training on prefixes: the same transitions as in whole windows, for backbones that need it."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from tests.helpers.runs import run, train
from tests.helpers.tiny import (
    MAX_LENGTH,
    NUM_ITEMS,
    Run,
    RunSettings,
    make_run,
    split_of,
    tiny_histories,
)
from tests.helpers.tiny import train as train_tiny
from ufnrec_tf import backbones
from ufnrec_tf.common.errors import UserError
from ufnrec_tf.config import load_config
from ufnrec_tf.training.build import check_backbone, check_windows, make_backbone


def short_run(backbone: str, windows: str) -> Run:
    """Every step visits every transition; histories fit one window."""
    histories = [history[: MAX_LENGTH + 2] for history in tiny_histories()]
    settings = RunSettings(
        backbone=backbone,
        windows=windows,
        batch_size=80,
        num_steps=6,
        patience=0,
        max_flips=0,
        agreement="none",
    )
    return train_tiny(make_run(settings, split_of(histories, NUM_ITEMS)))


@pytest.mark.slow
@pytest.mark.usefixtures("without_graphs")
@pytest.mark.parametrize("backbone", ["gru4rec", "hstu"])
def test_prefixes_are_trained_as_whole_windows_are(backbone):
    """For backbones that are causal and do not know the column; memory and teacher included."""
    whole, prefixes = (short_run(backbone, windows) for windows in ("all", "prefixes"))
    assert len(prefixes.samples.users) == whole.samples.num_rows > len(whole.samples.users)
    assert prefixes.samples.num_rows == whole.samples.num_rows
    np.testing.assert_allclose(prefixes.losses, whole.losses, rtol=0, atol=1e-5)
    for mine, theirs in zip(prefixes.steps, whole.steps, strict=True):
        for name in ("positions", "shown", "flips", "hard", "negatives"):
            assert mine.sums[name] == theirs.sums[name], name
        for name, table in mine.tables.items():
            np.testing.assert_array_equal(table, theirs.tables[name])
        pairs = [*zip(mine.weights_after, theirs.weights_after, strict=True)]
        for one, other in [*pairs, *zip(mine.teacher_after, theirs.teacher_after, strict=True)]:
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)
    assert sum(step.sums["flips"] for step in whole.steps) > 20
    assert sum(step.sums["teacher_users"] for step in prefixes.steps) > 20


def config_of(*overrides: tuple[str, str]) -> ConfigDict:
    return load_config("", overrides)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fmlp", "bsarec"])
@pytest.mark.parametrize("windows", ["last", "all"])
def test_who_sees_later_items_is_trained_on_prefixes_alone(name, windows):
    settings = ("backbone.name", name), ("backbone.width", "4"), ("training.windows", windows)
    config = config_of(*settings)
    with pytest.raises(UserError, match=r"windows=prefixes, or --config.backbone.filter=causal"):
        check_windows(make_backbone(config, 5), config)
    for mended in (("training.windows", "prefixes"), ("backbone.filter", "causal")):
        config = config_of(*settings, mended)
        check_windows(make_backbone(config, 5), config)


def test_settings_of_another_backbone_are_refused():
    config = config_of(("backbone.name", "hstu"), ("backbone.variant", "corrected"))
    with pytest.raises(UserError, match=r"'corrected'.*'hstu'.*--config.backbone.variant=authors"):
        check_backbone(config)


@pytest.mark.parametrize("name", list(backbones.BACKBONES))
def test_a_backbone_gets_the_settings_that_it_names(name):
    config = config_of(
        ("backbone.name", name), ("backbone.width", "6"), ("backbone.num_blocks", "1")
    )
    backbone = make_backbone(config, 5)
    assert type(backbone) is backbones.BACKBONES[name] and backbone.width == 6
    assert ("variant" in backbone.settings) == (name == "sasrec")
    assert ("low_frequencies" in backbone.settings) == (name == "bsarec")
    assert ("filter" in backbone.settings) == (name in ("fmlp", "bsarec"))


@pytest.mark.slow
@pytest.mark.usefixtures("without_graphs")
def test_from_the_command_line(tmp_path, capsys):
    """Refused with the reason; then trained, scored, exported and used."""
    options = (
        "--config.backbone.name=fmlp",
        "--config.training.num_epochs=2",
        "--config.comparison.baselines=",
        "--config.training.batch_size=200",
    )
    assert train(tmp_path / "run", *options) == 1
    assert "sees later items" in capsys.readouterr().err
    assert train(tmp_path / "run", *options, "--config.training.windows=prefixes") == 0
    assert "FMLP-Rec+UFNRec" in capsys.readouterr().out
    histories = tmp_path / "histories.txt"
    histories.write_text("i01 i02\n")
    output = tmp_path / "out.csv"
    given = f"--workdir={tmp_path / 'run'}", f"--histories={histories}", f"--output={output}"
    assert run("--mode=recommend", *given) == 0
    assert len(output.read_text().splitlines()) == 11
