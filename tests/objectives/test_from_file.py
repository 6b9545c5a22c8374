"""A loss of the user's own: found in its file, and the errors of a broken one."""

import pytest

from ufnrec_tf import objectives
from ufnrec_tf.common.errors import UserError

WORKING = """
import tensorflow as tf
from ufnrec_tf.objectives.base import Objective
from ufnrec_tf.objectives.softmax import SampledSoftmax


class Hinge(Objective):
    def ranking_term(self, scored):
        margins = tf.nn.relu(1.0 - scored.logits[:, :1] + scored.logits[:, 1:])
        losses = tf.where(scored.is_counted[:, 1:], margins, 0.0)
        return tf.reduce_sum(losses) / scored.counts.positions

    def consistency_term(self, scored):
        return tf.zeros([])


class Mine(SampledSoftmax):
    pass
"""


def written(tmp_path, text=WORKING):
    path = tmp_path / "mine.py"
    path.write_text(text, encoding="utf-8")
    return path


def test_classes_of_a_file_are_found(tmp_path):
    path = written(tmp_path)
    for name in ("Hinge", "Mine"):
        assert objectives.find(f"{path}:{name}").__name__ == name
    assert objectives.find("nce") is objectives.OBJECTIVES["nce"]


SUM = "tf.reduce_sum(losses) / scored.counts.positions"
BROKEN = {
    "raises": ("class Hinge", "1 / 0\n\n\nclass Hinge", r"line 7: does not run \(ZeroDivision"),
    "name": ("class Hinge", "class Hinges", "no Objective of the name 'Hinge'.*Did you.*Hinges"),
    "kind": ("(Objective)", "", "no Objective of the name 'Hinge'; it has: Mine"),
    "abstract": ("def consistency_term", "def x", r"does not run \(TypeError.*consistency_term"),
    "term": ("relu(1.0", "rely(1.0", r"line 9: does not run \(AttributeError"),
    "shape": ("losses) /", "losses, axis=1) /", "float32 scalar from `ranking_term`"),
    "number": ("return tf.zeros([])", "return 0.0", "scalar from `consistency_term`.*0.0"),
    "finite": ("tf.zeros([])", "tf.math.log(0.0)", "finite number from `consistency_term`.*-inf"),
    "gradient": (SUM, f"tf.stop_gradient({SUM})", "must have a gradient"),
    "fillers": ("tf.where(scored.is_counted[:, 1:], margins, 0.0)", "margins", "only fill"),
    "mean": (SUM, "tf.reduce_mean(losses)", "only fill the batch"),
    "values": (SUM, f"{SUM} + 0 * losses.numpy()[0, 0]", r"does not run \(AttributeError.*numpy"),
    "negatives": ("(Objective):", "(Objective):\n    most_negatives = -1", "`most_negatives`"),
}


@pytest.mark.parametrize("name", list(BROKEN))
def test_broken_classes_are_explained_in_one_line(name, tmp_path):
    old, new, message = BROKEN[name]
    assert old in WORKING
    path = written(tmp_path, WORKING.replace(old, new, 1))
    with pytest.raises(UserError, match=message) as caught:
        objectives.find(f"{path}:Hinge")
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.py:Mine", "`loss.name`: nowhere.py: no such file.*path/to/file.py:ClassName"),
        ("mine.py", "`loss.name` of a file must be path/to/file.py:ClassName"),
        ("mine.txt:Mine", "must be path/to/file.py:ClassName"),
        ("nse", "`loss.name` must be one of bce.*Did you mean 'nce'"),
    ],
)
def test_names_that_are_no_class(name, message):
    with pytest.raises(UserError, match=message):
        objectives.find(name)
