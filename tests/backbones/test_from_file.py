"""A backbone of the user's own: the example, the command line, and the errors of a broken one."""

from pathlib import Path

import numpy as np
import pytest

from examples.own_backbone import train as train_example
from tests.helpers.runs import ROOT, run, train
from ufnrec_tf import backbones
from ufnrec_tf.common.errors import UserError

EXAMPLE = f"{ROOT / 'examples' / 'own_backbone.py'}:DilatedConvolutions"
WORKING = """
import keras
import tensorflow as tf
from ufnrec_tf.backbones.base import Backbone


class Mine(Backbone):
    is_causal = True

    def __init__(self, *, num_items, width=4, max_length=6, times=2):
        super().__init__(num_items=num_items, width=width, max_length=max_length, times=times)
        self.item_table = self.add_weight(shape=(num_items + 1, width), name="item_table")
        self.build_now()

    def call(self, histories, training=False):
        return tf.cumsum(tf.gather(tf.convert_to_tensor(self.item_table), histories), axis=1)
"""


@pytest.mark.slow
def test_the_example_learns():
    losses = train_example(
        12,
        ("data.planted_users", "60"),
        ("data.planted_items", "40"),
        ("backbone.width", "8"),
        ("backbone.max_length", "10"),
        ("negatives.count", "8"),
        ("optimizer.learning_rate", "0.01"),
        ("training.jit_compile", "false"),
    )
    assert len(losses) == 12 and np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])


@pytest.mark.slow
@pytest.mark.usefixtures("without_graphs")
def test_the_example_from_the_command_line(tmp_path, capsys):
    options = f"--config.backbone.name={EXAMPLE}", "--config.training.num_epochs=2"
    assert train(tmp_path, *options, "--config.comparison.baselines=") == 0
    assert "DilatedConvolutions+UFNRec" in capsys.readouterr().out
    assert run("--mode=evaluate", f"--workdir={tmp_path}") == 0
    assert run("--mode=export", f"--workdir={tmp_path}") == 0


def test_a_class_is_made_with_its_own_settings_and_copied(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(WORKING)
    backbone = backbones.create(f"{path}:Mine", num_items=9, times=3)
    assert backbone.settings == {"num_items": 9, "width": 4, "max_length": 6, "times": 3}
    histories = np.array([[0, 0, 1, 2, 3, 9]])
    np.testing.assert_array_equal(backbone.clone()(histories), backbone(histories))


BROKEN = {
    "syntax": ("is_causal = True", "is_causal = = True", r"mine.py, line 8: does not run \(Syntax"),
    "raises": ("class Mine", "1 / 0\n\n\nclass Mine", r"line 7: does not run \(ZeroDivisionError"),
    "name": ("class Mine", "class Mone", r"no Backbone of the name 'Mine'; it has: Mone.*Did you"),
    "kind": ("(Backbone)", "(keras.layers.Layer)", "it has: none"),
    "constructor": ("shape=(num", "shape=(numm", r"line 12: does not run \(NameError"),
    "settings": (", times=times", "", "must pass `times` to super"),
    "required": ("times=2", "times", r"does not run \(TypeError.*times"),
    "shape": ("axis=1)", "axis=1)[:, :, :2]", r"must return float32 \(2, 6, 4\).*2, 6, 2"),
    "table": ("self.item_table = ", "self.table = self.other = ", "does not run"),
    "future": ("axis=1)", "axis=1, reverse=True)", "earlier columns change"),
    "weights": (
        "self.build_now()",
        "self.norm = keras.layers.BatchNormalization(); self.norm.build((1, 4)); self.build_now()",
        "float weights that are not trained",
    ),
}


@pytest.mark.parametrize("name", list(BROKEN))
def test_broken_classes_are_explained_in_one_line(name, tmp_path):
    old, new, message = BROKEN[name]
    path = tmp_path / "mine.py"
    assert old in WORKING
    path.write_text(WORKING.replace(old, new, 1))
    with pytest.raises(UserError, match=message) as caught:
        backbones.create(f"{path}:Mine", num_items=9)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.py:Mine", "nowhere.py: no such file.*path/to/file.py:ClassName"),
        ("mine.py", "must be path/to/file.py:ClassName"),
        ("mine.txt:Mine", "must be path/to/file.py:ClassName"),
        (f"{Path(__file__)}:", "must be path/to/file.py:ClassName"),
    ],
)
def test_names_that_are_no_class(name, message):
    with pytest.raises(UserError, match=message):
        backbones.find(name)
