"""Training on two virtual devices, in a process of its own, against one device.

In float32, compiled, with dropout, on prefixes, clipped; test_distributed.py has the rest.
"""

import json
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.tiny import make_run, train
from tests.processes.forks import run_module
from tests.processes.mirrored_run import PREFIXES, SETTINGS, clipped_step, report, split

pytestmark = pytest.mark.usefixtures("eagerly")  # the one device; the two trace their steps


@pytest.fixture(scope="module")
def mirrored() -> dict[str, Any]:
    return json.loads(run_module("tests.processes.mirrored_run").splitlines()[-1])


@pytest.fixture(scope="module")
def single() -> dict[str, Any]:
    return report(train(make_run(SETTINGS, split())))


def test_replicas_hold_the_same_weights(mirrored):
    for name, differences in mirrored["replicas"].items():
        assert differences == {"student": 0.0, "teacher": 0.0, "optimizer": 0.0}, name


def test_replicas_drop_different_elements(mirrored):
    first, second = mirrored["masks"]
    assert set(first) == set(second) == {0.0, 2.0}
    assert 16 < sum(a != b for a, b in zip(first, second, strict=True)) < 48


def test_losses_are_those_of_one_device(mirrored, single):
    assert mirrored["compiled"]["iterations"] == len(single["losses"]) == SETTINGS.num_steps
    np.testing.assert_allclose(mirrored["compiled"]["losses"], single["losses"], atol=1e-5)


def test_sums_count_every_user_and_entry_once(mirrored, single):
    for number, (two, one) in enumerate(
        zip(mirrored["compiled"]["sums"], single["sums"], strict=True)
    ):
        assert one["steps"] == two["steps"] == 1
        assert one["users"] in (4, 1)
        for name, value in one.items():
            np.testing.assert_allclose(
                two[name], value, rtol=0, atol=1e-5, err_msg=f"{name}, step {number}"
            )
    assert sum(step["flips"] for step in single["sums"]) > 20
    assert sum(step["teacher_users"] for step in single["sums"]) > 20


def test_weights_and_teacher_are_those_of_one_device(mirrored, single):
    for name in ("weights", "teacher"):
        for two, one in zip(mirrored["compiled"][name], single[name], strict=True):
            np.testing.assert_allclose(two, one, rtol=0, atol=2e-5)


def test_memory_is_that_of_one_device_and_holds_rows_of_both_replicas(mirrored, single):
    assert mirrored["compiled"]["tables"] == single["tables"]
    # A replica writes half of the users' rows.
    rows = np.array(mirrored["compiled"]["tables"]["items"]).any(axis=1)
    assert rows.mean() > 0.7


def test_prefixes_of_another_backbone_train_as_on_one_device(mirrored):
    single = report(train(make_run(PREFIXES, split())))
    np.testing.assert_allclose(mirrored["prefixes"]["losses"], single["losses"], atol=1e-5)
    assert mirrored["prefixes"]["tables"] == single["tables"]
    for two, one in zip(mirrored["prefixes"]["weights"], single["weights"], strict=True):
        np.testing.assert_allclose(two, one, rtol=0, atol=2e-5)


def test_dropout_trains_on_two_replicas(mirrored):
    run = mirrored["dropout"]
    assert run["iterations"] == 12 and np.isfinite(run["losses"]).all()
    assert sum(step["flips"] for step in run["sums"]) > 0
    assert np.array(run["tables"]["lists"]).any()


def test_clipping_on_one_device_is_by_the_norm_of_the_whole_gradient():
    found = clipped_step(tf.distribute.get_strategy(), [[3.0, 4.0]])
    np.testing.assert_allclose(found, [-0.6, -0.8], atol=2e-3)


def test_clipping_on_two_replicas_is_by_the_norm_of_the_whole_gradient(mirrored):
    np.testing.assert_allclose(mirrored["clipped"], [-0.6, -0.8], atol=2e-3)
