"""What an arm is made of, and what it may not set."""

import pytest

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.config import load_config, option_table
from ufnrec_tf.method.policies import POLICIES
from ufnrec_tf.training.arms import ARM_SECTIONS, ARMS, Arm, configure_arm, label_of, parse_arms


def refuse(*texts, words, code=1):
    with pytest.raises(UserError) as caught:
        for arm in parse_arms(texts):
            configure_arm(load_config("", []), arm)
    assert caught.value.exit_code == code
    for word in words:
        assert word in str(caught.value)


def test_names_and_texts():
    arms = parse_arms(("base", "plain", "m2:memory.patience=2,teacher.weight=1", "default:"))
    assert [arm.name for arm in arms] == ["base", "plain", "m2", "default"]
    assert arms[0].overrides == {"memory.policy": "plain", "teacher.always": False}
    assert arms[1].overrides == {"memory.policy": "plain"}
    assert arms[2].overrides == {"memory.patience": 2, "teacher.weight": 1.0}
    assert type(arms[2].overrides["teacher.weight"]) is float
    assert arms[3].overrides == {}


def test_the_older_name_of_a_policy_is_one_of_an_arm_and_of_a_value():
    arms = parse_arms(("keep", "x:memory.policy=keep"))
    assert [arm.name for arm in arms] == ["keep", "x"]  # folders keep their names
    config = load_config("", [])
    for arm in (*arms, Arm("y", {"memory.policy": "keep"})):
        own = configure_arm(config, arm)
        assert own.memory.policy == "plain" and own.data.repeats == "keep"
        assert label_of(own) == "SASRec"
    assert all(arm.overrides == {"memory.policy": "plain"} for arm in arms)


@pytest.mark.parametrize(
    ("settings", "label"),
    [
        ("", "SASRec+hindsight"),
        (",teacher.kind=runs", "SASRec+runs"),
        (",teacher.kind=ema,backbone.name=gru4rec", "GRU4Rec+soft EMA"),
        (",teacher.labels=uniform", "SASRec+uniform labels"),
        (",teacher.kind=ema,teacher.labels=popularity", "SASRec+popularity labels"),
        (",teacher.labels=later", "SASRec+own later items"),
        (",teacher.labels=alike", "SASRec+items as popular"),
    ],
)
def test_soft_labels_are_named_by_who_gives_them(settings, label):
    (arm,) = parse_arms((f"x:memory.policy=ufnrec_soft{settings}",))
    assert label_of(configure_arm(load_config("", []), arm)) == label


def test_the_command_line_splits_at_commas_and_arms_are_joined_again():
    text = "ema,m2:memory.patience=2,teacher.always=true,N9:negatives.count=9"
    config = load_config("", [("comparison.arms", text)])
    arms = parse_arms(config.comparison.arms)
    assert [arm.name for arm in arms] == ["ema", "m2", "N9"]
    assert arms[1].overrides == {"memory.patience": 2, "teacher.always": True}


def test_an_arm_changes_what_it_sets_and_nothing_else():
    config = load_config("", [("comparison.arms", "base,ema"), ("backbone.width", "12")])
    own = configure_arm(config, parse_arms(("x:backbone.dropout=0.1,memory.policy=flip",))[0])
    expected = config.to_dict()
    expected["backbone"]["dropout"] = 0.1
    expected["memory"]["policy"] = "flip"
    expected["comparison"]["arms"] = ()
    assert own.to_dict() == expected
    assert config.backbone.dropout == 0.5  # the common one stays


def test_every_policy_is_an_arm():
    for name in POLICIES:
        assert parse_arms((name,))[0].overrides["memory.policy"] == name


def test_weights_are_averaged_in_every_known_arm_but_the_first():
    averaged = {name for name, overrides in ARMS.items() if overrides["teacher.always"]}
    assert averaged == set(ARMS) - {"base"}
    keys = {f"{section}.{key}" for section in ARM_SECTIONS for key in option_table()[section]}
    for overrides in ARMS.values():
        assert set(overrides) <= keys


@pytest.mark.parametrize("name", ["confounders", "sensitivity", "demo", "teachers"])
def test_arms_of_the_shipped_comparisons(name):
    config = load_config(f"configs/compare_{name}.py", [])
    arms = parse_arms(config.comparison.arms)
    assert len(arms) >= 3
    assert len(config.comparison.seeds) == (2 if name == "teachers" else 3)
    settings = [configure_arm(config, arm).to_dict() for arm in arms]
    for place, one in enumerate(settings):  # no two arms are the same
        assert one not in settings[:place]


def test_what_is_refused():
    refuse("bse", words=["comparison.arms", "'bse'", "'base'"])
    refuse("base", "base", words=["two arms", "'base'"])
    refuse("a/b:memory.patience=2", words=["'a/b", "a name of letters"])
    refuse("x:memory.patience", words=["arm 'x'", "SECTION.KEY=VALUE"])
    refuse("x:memory.patiense=2", words=["arm 'x'", "'memory.patience'"], code=2)
    refuse("x:memory.patience=two", words=["arm 'x'", "a whole number", "'two'"])
    refuse("x:memory.patience=-1", words=["arm 'x'", "at least 0", "-1"])
    refuse("x:gate.kind=ever", words=["arm 'x'", "'never'"])
    for key in ("training.num_epochs=9", "evaluation.mask=none", "data.repeats=drop"):
        refuse(f"x:{key}", words=["arm 'x'", key.partition("=")[0], "same in every arm"])
    refuse(3, words=["comparison.arms", "texts"])
