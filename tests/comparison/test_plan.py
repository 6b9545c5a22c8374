"""One rule for the weights that the arms of a comparison are scored by."""

import json
from typing import Any

import pytest

from ufnrec_tf.common.errors import UserError
from ufnrec_tf.comparison.plan import Plan, _check_same_weights, make_plan
from ufnrec_tf.config import as_json, load_config
from ufnrec_tf.training.build import num_weight_sets, scored_weights


def plan_of(*arms: str, **settings: str) -> Plan:
    overrides = [("comparison.arms", ",".join(arms))]
    overrides += [(key.replace("__", "."), value) for key, value in settings.items()]
    nothing: Any = None  # neither data nor split matter here
    return make_plan(load_config("", overrides), nothing, nothing, "w")


def sets_of(plan: Plan) -> dict[str, int]:
    return {arm.name: num_weight_sets(plan.run_config(arm.name)) for arm in plan.arms}


@pytest.mark.parametrize(
    ("arms", "expected"),
    [
        (("ema", "ufnrec_safe"), {"ema": 2, "ufnrec_safe": 2}),
        (("ema", "ufnrec", "ufnrec_safe"), {"ema": 2, "ufnrec": 2, "ufnrec_safe": 2}),
        (("base", "ema", "ufnrec_safe"), {"base": 1, "ema": 2, "ufnrec_safe": 2}),
        (("ema", "s:memory.policy=ufnrec_safe"), {"ema": 2, "s": 2}),
        (("base", "ema", "ufnrec"), {"base": 1, "ema": 1, "ufnrec": 1}),
    ],
)
def test_every_arm_with_an_average_has_as_many_scored_sets(arms, expected):
    assert sets_of(plan_of(*arms)) == expected


@pytest.mark.parametrize("weights", ["student", "better"])
def test_a_rule_that_is_given_stays(weights):
    plan = plan_of("ema", "ufnrec_safe", evaluation__weights=weights)
    found = {scored_weights(plan.run_config(arm)) for arm in ("ema", "ufnrec_safe")}
    assert found == {weights}


def test_without_a_safe_arm_nothing_changes():
    plan = plan_of("base", "ema")
    assert {plan.run_config(arm).evaluation.weights for arm in ("base", "ema")} == {"auto"}


@pytest.mark.parametrize(
    ("arms", "settings", "words"),
    [
        (("ema", "ufnrec_safe"), {}, []),
        (("ema", "base"), {}, []),
        (("base", "plain"), {}, []),
        (("base", "ufnrec_safe"), {"evaluation__weights": "student"}, []),
        (
            ("base", "ema", "ufnrec_safe"),
            {},
            ["base, the reference, is scored by one set of weights, ema, ufnrec_safe by"],
        ),
        (
            ("base", "ufnrec_safe"),
            {"evaluation__weights": "better"},
            ["base, the reference, is scored by one set of weights, ufnrec_safe by the better"],
        ),
        (("base", "ema"), {}, ["base, the reference, has no averaged weights, ema has"]),
        (
            ("base", "ufnrec_safe"),
            {"comparison__reference": "ufnrec_safe"},
            ["ufnrec_safe, the reference, is scored by the better of student and average"],
        ),
    ],
)
def test_a_reference_of_another_kind_is_said(arms, settings, words):
    notes = plan_of(*arms, **settings).weights_notes()
    assert len(notes) == len(words)
    for note, start in zip(notes, words, strict=True):
        assert note.startswith(start)


def test_runs_of_the_older_rule_are_not_mixed_in(tmp_path):
    plan = plan_of("ema", "ufnrec_safe")
    record = {"config": as_json(plan.run_config("ema"))}
    (tmp_path / "config.json").write_text(json.dumps(record), encoding="utf-8")
    _check_same_weights(plan.run_config("ema"), tmp_path)
    record["config"]["evaluation"]["weights"] = "auto"
    (tmp_path / "config.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(UserError, match="was scored by 1 set of weights, this comparison scores 2"):
        _check_same_weights(plan.run_config("ema"), tmp_path)
    record["config"] = as_json(plan.run_config("ufnrec_safe"))
    record["config"]["evaluation"]["weights"] = "auto"  # which was better for this arm
    (tmp_path / "config.json").write_text(json.dumps(record), encoding="utf-8")
    _check_same_weights(plan.run_config("ufnrec_safe"), tmp_path)
